package sqlshell

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/render"
)

// maxInclude bounds scripts that include scripts.
const maxInclude = 16

// metaCommand is a command of the shell itself.
type metaCommand struct {
	name, args, doc string
	run             func(r *Runner, ctx context.Context, arg string) error
}

var metaCommands []metaCommand

func init() { // \? refers to the list
	metaCommands = []metaCommand{
		{`\?`, "", "this list", (*Runner).metaHelp},
		{`\q`, "", "quit (Ctrl-D does too)", func(*Runner, context.Context, string) error { return errQuit }},
		{`\d`, "[TABLE]", "list the tables, or the columns of one", (*Runner).metaDescribe},
		{`\dt`, "", "list the tables", (*Runner).metaTables},
		{`\df`, "", "list the functions", func(r *Runner, ctx context.Context, _ string) error { return r.Statement(ctx, "SHOW FUNCTIONS") }},
		{`\l`, "", "say what is asked: a server or a folder", (*Runner).metaWhere},
		{`\timing`, "[on|off]", "print how long statements take", (*Runner).metaTiming},
		{`\x`, "[on|off|auto]", "one value a line: always, never, when a table is too wide", (*Runner).metaExpanded},
		{`\format`, "[NAME]", "how results are written: " + strings.Join(render.Names(), ", "), (*Runner).metaFormat},
		{`\i`, "FILE", "run the statements of a file", (*Runner).metaInclude},
		{`\o`, "[FILE]", "write results to a file; without one, to the screen again", (*Runner).metaOutput},
	}
}

func metaProblem(format string, args ...any) error {
	return &api.Problem{Message: fmt.Sprintf(format, args...), Hint: `\? lists the shell's commands`}
}

// Meta runs a command of the shell, such as \d flows.
func (r *Runner) Meta(ctx context.Context, line string) error {
	name, arg, _ := strings.Cut(strings.TrimSpace(line), " ")
	arg = strings.TrimSuffix(strings.TrimSpace(arg), ";")
	name = strings.TrimSuffix(name, ";")
	for _, m := range metaCommands {
		if m.name != name {
			continue
		}
		if arg != "" && m.args == "" {
			return metaProblem("%s takes no argument", name)
		}
		return m.run(r, ctx, arg)
	}
	return metaProblem("unknown command %.40q", name)
}

func (r *Runner) metaHelp(context.Context, string) error {
	for _, m := range metaCommands {
		if _, err := fmt.Fprintf(r.Out, "  %-22s %s\n", strings.TrimSpace(m.name+" "+m.args), m.doc); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(r.Out, "  SELECT ...;            a statement ends with a semicolon and may take several lines")
	return err
}

func (r *Runner) metaTables(ctx context.Context, _ string) error {
	return r.Statement(ctx, "SHOW TABLES")
}

func (r *Runner) metaDescribe(ctx context.Context, arg string) error {
	if arg == "" {
		return r.metaTables(ctx, "")
	}
	return r.Statement(ctx, "SHOW COLUMNS FROM "+quoteName(arg))
}

// quoteName makes a table name SQL: what is quoted already stays.
func quoteName(name string) string {
	if strings.HasPrefix(name, `"`) {
		return name
	}
	parts := strings.Split(strings.ToLower(name), ".")
	for i, p := range parts {
		parts[i] = ast.QuoteIdent(p)
	}
	return strings.Join(parts, ".")
}

func (r *Runner) metaWhere(context.Context, string) error {
	_, err := fmt.Fprintln(r.Out, r.Session.Where())
	return err
}

func (r *Runner) metaTiming(_ context.Context, arg string) error {
	switch arg {
	case "on", "off":
		r.Timing = arg == "on"
	case "":
		r.Timing = !r.Timing
	default:
		return metaProblem(`\timing takes on or off, not %.40q`, arg)
	}
	fmt.Fprintf(r.Err, "Timing is %s.\n", map[bool]string{true: "on", false: "off"}[r.Timing])
	return nil
}

func (r *Runner) metaExpanded(_ context.Context, arg string) error {
	words := map[string]Expanded{"on": ExpandOn, "off": ExpandOff, "auto": ExpandAuto}
	x, ok := words[arg]
	switch {
	case ok:
		r.Expanded = x
	case arg != "":
		return metaProblem(`\x takes on, off or auto, not %.40q`, arg)
	case r.Expanded == ExpandOn:
		r.Expanded = ExpandAuto
	default:
		r.Expanded = ExpandOn
	}
	for word, x := range words {
		if x == r.Expanded {
			fmt.Fprintf(r.Err, "Expanded display is %s.\n", word)
		}
	}
	return nil
}

func (r *Runner) metaFormat(_ context.Context, arg string) error {
	if arg != "" {
		if render.MIME(arg) == "" {
			return metaProblem("unknown format %.40q; there are %s", arg, strings.Join(render.Names(), ", "))
		}
		r.Format = arg
	}
	fmt.Fprintf(r.Err, "Format is %s.\n", r.Format)
	return nil
}

func (r *Runner) metaInclude(ctx context.Context, arg string) error {
	if arg == "" {
		return metaProblem(`\i takes the name of a file`)
	}
	if r.depth >= maxInclude {
		return metaProblem("files include each other more than %d deep", maxInclude)
	}
	f, err := os.Open(arg)
	if err != nil {
		return fmt.Errorf("include: %w", err)
	}
	defer f.Close()
	r.depth++
	defer func() { r.depth-- }()
	if err := r.script(ctx, f); err != nil {
		if err == errQuit {
			return nil
		}
		return fmt.Errorf("%s: %w", arg, err)
	}
	return nil
}

func (r *Runner) metaOutput(_ context.Context, arg string) error {
	if err := r.Close(); err != nil {
		return fmt.Errorf("close output: %w", err)
	}
	if arg == "" {
		return nil
	}
	f, err := os.Create(arg)
	if err != nil {
		return fmt.Errorf("open output: %w", err)
	}
	r.file = f
	return nil
}
