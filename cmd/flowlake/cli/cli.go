// Package cli is the command line: one file per subcommand, each of which only reads flags and puts packages together.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/flowlake/flowlake/db"
)

// Streams are what a command reads and writes; tests give their own.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	// Getenv reads the environment; Environ lists it as "KEY=value".
	Getenv  func(string) string
	Environ func() []string
	// Signals says whether commands end on SIGINT and SIGTERM.
	Signals bool
}

// OS are the process's own streams.
func OS() Streams {
	return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Environ: os.Environ, Signals: true}
}

// interruptible is a context that the first SIGINT or SIGTERM ends; the second one ends the process.
func (s *Streams) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	if !s.Signals {
		return context.WithCancel(ctx)
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from then on signals do what they do by default
	return ctx, stop
}

// defaultData is the data folder when none is named: $XDG_DATA_HOME/flowlake, or flowlake-data where the command runs.
func (s *Streams) defaultData() string {
	if dir := s.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "flowlake")
	}
	return "flowlake-data"
}

// terminalWidth is the width of w in characters when it is a terminal, else 0.
func terminalWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 80
	}
	return width
}

// isTerminal says whether both in and out are a terminal: whether somebody types.
func (s *Streams) isTerminal() bool {
	in, ok := s.In.(*os.File)
	return ok && term.IsTerminal(int(in.Fd())) && terminalWidth(s.Out) > 0
}

// Exit codes, as the command line's contract has them.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// usageError is a mistake in how the command was called: exit code 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// reportedError was told to the user already; only the exit code is left to give.
type reportedError struct{ error }

// Run runs the command line and returns the exit code.
func Run(ctx context.Context, args []string, s Streams) int {
	root := newRoot(&s)
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var usage usageError
	var told reportedError
	switch {
	case errors.As(err, &told):
		return exitFailed
	case errors.As(err, &usage), isCobraUsage(err):
		fmt.Fprintf(s.Err, "flowlake: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	}
	fmt.Fprintf(s.Err, "flowlake: %v\n", err)
	if errors.Is(err, db.ErrLocked) {
		fmt.Fprintln(s.Err, "Stop that process, or ask it over the network: flowlake sql --server URL")
	}
	return exitFailed
}

// isCobraUsage recognises the errors with which cobra itself refuses a command line; it has no type for them.
func isCobraUsage(err error) bool {
	for _, p := range []string{"unknown command", "unknown flag", "unknown shorthand", "flag needs an argument", "required flag", "accepts ", "requires at least"} {
		if strings.HasPrefix(err.Error(), p) {
			return true
		}
	}
	return false
}

func newRoot(s *Streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "flowlake",
		Short: "Watch a system without touching its code, store what is seen, ask questions",
		Long: `Flowlake captures requests and network flows, stores them in Parquet and answers SQL.

Start with:
  flowlake server                              capture, store and answer, all in one
  flowlake sql                                 ask it
  flowlake import pcap trace.pcap --data DIR   make flows and requests of a captured file`,
		Example: `  flowlake sql -c "SELECT time, l7_protocol, request_resource, response_code FROM spans ORDER BY time DESC LIMIT 10"
  flowlake check kernel`,
		Version:       versionLine(),
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.ArbitraryArgs, // RunE refuses them
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return applyConfig(cmd, s)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("unknown command %q%s", args[0], suggest(cmd, args[0]))
			}
			return cmd.Help()
		},
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.SetVersionTemplate("{{.Version}}\n")
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	root.AddCommand(newServer(s), newAgent(s), newSQL(s), newImport(s), newExport(s), newInspect(s), newBackup(s), newRestore(s), newVerify(s), newCheck(s), newVersion(s))
	if c := newService(s); c != nil {
		root.AddCommand(c)
	}
	return root
}

// suggest is ", did you mean ...?" for a command that is nearly right.
func suggest(cmd *cobra.Command, word string) string {
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		return fmt.Sprintf(", did you mean %q?", near[0])
	}
	return ""
}

// group is a command that only has subcommands.
func group(c *cobra.Command) *cobra.Command {
	c.Args = cobra.ArbitraryArgs
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef("which one? %s takes %s", cmd.CommandPath(), strings.Join(names(cmd), ", "))
		}
		return usagef("unknown command %q for %q%s; it takes %s", args[0], cmd.CommandPath(), suggest(cmd, args[0]), strings.Join(names(cmd), ", "))
	}
	return c
}

func names(cmd *cobra.Command) []string {
	var out []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			out = append(out, c.Name())
		}
	}
	return out
}

// exactly wants one argument, atLeastOne one or more; what names them.
func exactly(what string) cobra.PositionalArgs { return counted(what, 1) }

func atLeastOne(what string) cobra.PositionalArgs { return counted(what, 1<<30) }

func counted(what string, most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		switch {
		case len(a) == 0:
			return usagef("name the %s: %s", what, cmd.UseLine())
		case len(a) > most:
			return usagef("%s takes one %s, not %d", cmd.CommandPath(), what, len(a))
		}
		return nil
	}
}

// args wraps a cobra argument check so that a wrong number of arguments is a usage error.
func args(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, a []string) error {
		if err := check(cmd, a); err != nil {
			return usageError{err}
		}
		return nil
	}
}
