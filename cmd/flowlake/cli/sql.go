package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowlake/flowlake/cmd/flowlake/cli/sqlshell"
	"github.com/flowlake/flowlake/query"
	"github.com/flowlake/flowlake/query/render"
)

// defaultServer is where a server answers unless told otherwise.
const defaultServer = "http://127.0.0.1:7700"

type sqlFlags struct {
	command, file  string
	server, data   string
	format         string
	timeout        time.Duration
	memory         size
	timing, expand bool
}

func newSQL(s *Streams) *cobra.Command {
	f := &sqlFlags{memory: 1 << 30}
	cmd := &cobra.Command{
		Use:   "sql [-c SQL | -f FILE]",
		Short: "Ask a server or a data folder in SQL",
		Long: `Run SQL statements: those of -c, of a file, of a pipe, or, at a terminal, those you type (\? lists what else the shell knows).
The server at ` + defaultServer + ` is asked; --server names another, --data opens a folder in this process instead.
Results go to stdout, all else to stderr. The first statement that fails ends a script with exit code 1.`,
		Example: `  flowlake sql
  flowlake sql -c "SELECT server_port, sum(bytes_tx) FROM flows GROUP BY 1 ORDER BY 2 DESC LIMIT 10"
  flowlake sql --data DIR --format csv -f report.sql > report.csv
  echo "SHOW TABLES" | flowlake sql --server http://10.0.0.7:7700`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, s) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.command, "command", "c", "", "run these statements and exit")
	fl.StringVarP(&f.file, "file", "f", "", "run the statements of this file and exit; - is stdin")
	fl.StringVar(&f.server, "server", defaultServer, "ask the server at this address")
	fl.StringVar(&f.data, "data", "", "open this data folder in process instead of asking a server")
	fl.StringVar(&f.format, "format", "table", "how results are written: "+strings.Join(render.Names(), ", "))
	fl.DurationVar(&f.timeout, "timeout", 0, "end a statement that takes longer, e.g. 30s; 0 leaves it to the server, or to no limit with --data")
	fl.Var(&f.memory, "query-memory", "memory that one query may use with --data")
	fl.BoolVar(&f.timing, "timing", false, "print how long statements take")
	fl.BoolVarP(&f.expand, "expanded", "x", false, "write tables one value a line")
	return cmd
}

func (f *sqlFlags) check(cmd *cobra.Command) error {
	flags := cmd.Flags()
	server, data := flags.Lookup("server").Changed, flags.Lookup("data").Changed
	if server && data { // what was said last wins: the command line over the environment
		switch {
		case !onCommandLine(flags, "server"):
			server = false
		case !onCommandLine(flags, "data"):
			f.data = ""
		default:
			return usagef("--server and --data exclude each other")
		}
	}
	switch {
	case flags.Lookup("command").Changed && flags.Lookup("file").Changed:
		return usagef("-c and -f exclude each other")
	case render.MIME(f.format) == "":
		return usagef("unknown format %q; there are %s", f.format, strings.Join(render.Names(), ", "))
	case f.timeout < 0:
		return usagef("--timeout %v is negative", f.timeout)
	case data && f.data == "" && !server:
		return usagef("--data names no folder")
	}
	return nil
}

// open connects to what is asked, and tells on w of damage that it finds; the function it returns ends that.
func (f *sqlFlags) open(w io.Writer) (sqlshell.Session, func() error, error) {
	if f.data == "" {
		session, err := sqlshell.Remote(f.server)
		if err != nil {
			return nil, nil, usageError{err}
		}
		return session, func() error { return nil }, nil
	}
	d, err := openExisting(f.data, w)
	if err != nil {
		return nil, nil, err
	}
	e := newEngine(d, &systemInfo{}, func(o *query.Options) {
		o.Timeout, o.MemoryLimit = queryTimeout(f.timeout), int64(f.memory)
	})
	return sqlshell.Local(f.data, runIn(e.NewSession())), d.Close, nil
}

func (f *sqlFlags) run(cmd *cobra.Command, s *Streams) (err error) {
	if err := f.check(cmd); err != nil {
		return err
	}
	var script io.Reader
	name := f.file
	switch {
	case name != "" && name != "-":
		file, err := os.Open(name)
		if err != nil {
			return fmt.Errorf("open script: %w", err)
		}
		defer file.Close()
		script = file
	case name == "-" || !s.isTerminal():
		script, name = s.In, "stdin"
	}
	session, closeSession, err := f.open(s.Err)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := closeSession(); err == nil && cerr != nil {
			err = fmt.Errorf("close: %w", cerr)
		}
	}()
	r := &sqlshell.Runner{Session: session, Out: s.Out, Err: s.Err, Format: f.format, Timeout: f.timeout, Timing: f.timing,
		Width: func() int { return terminalWidth(s.Out) }}
	if f.expand {
		r.Expanded = sqlshell.ExpandOn
	}
	defer r.Close()
	if !cmd.Flags().Lookup("command").Changed && script == nil {
		return f.interactive(cmd.Context(), s, r)
	}
	ctx, stop := s.interruptible(cmd.Context())
	defer stop()
	if cmd.Flags().Lookup("command").Changed {
		err = r.Text(ctx, f.command)
	} else if err = r.Script(ctx, script); err != nil {
		err = fmt.Errorf("%s: %w", name, err)
	}
	return told(s, ctx, err)
}

// told shows an error with its place in the statement.
func told(s *Streams, ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		fmt.Fprintln(s.Err, "canceled")
	default:
		fmt.Fprintln(s.Err, "error: "+sqlshell.Explain(err))
	}
	return reportedError{err}
}

func (f *sqlFlags) interactive(ctx context.Context, s *Streams, r *sqlshell.Runner) error {
	fmt.Fprintf(s.Err, "%s, asking %s\nA statement ends with a semicolon. \\? lists commands, \\q quits.\n", versionLine(), r.Session.Where())
	in, err := sqlshell.NewLineReader(r.Session, historyFile(s))
	if err != nil {
		fmt.Fprintln(s.Err, "warning: no history is kept:", err)
	}
	if err := r.Interactive(ctx, in); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// historyFile is $XDG_STATE_HOME/flowlake/history, below ~/.local/state by default; "" where there is no home.
func historyFile(s *Streams) string {
	state := s.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home := s.Getenv("HOME")
		if home == "" {
			return ""
		}
		state = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(state, "flowlake", "history")
}
