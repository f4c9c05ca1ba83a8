package sqlshell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/query/parse"
	"github.com/flowlake/flowlake/query/render"
)

var (
	// ErrStatementTooLong is returned for a statement that is longer than the engine takes.
	ErrStatementTooLong = errors.New("statement is longer than 1 MiB")
	// errQuit ends a script or a shell: \q.
	errQuit = errors.New("quit")
)

// maxStatement is the longest statement: the parser's limit.
const maxStatement = 1 << 20

// Expanded says when tables are written one value a line.
type Expanded int

// The values of Expanded.
const (
	ExpandAuto Expanded = iota // when they do not fit
	ExpandOn
	ExpandOff
)

// Runner runs statements and the shell's commands and writes what comes of them. For one goroutine.
type Runner struct {
	Session Session
	// Out takes results, Err messages.
	Out, Err io.Writer
	// Format is how results are written.
	Format string
	// Timeout bounds each statement; 0 leaves it to the other side.
	Timeout time.Duration
	// Width is the width of the terminal behind Out, asked before each result; 0 when it is none.
	Width func() int
	// Timing prints how long each statement took to Err.
	Timing bool
	// Expanded says when tables are written one value a line.
	Expanded Expanded

	file  *os.File // \o: results go there instead
	depth int      // of \i
}

// Statement runs one statement and writes its result.
func (r *Runner) Statement(ctx context.Context, sql string) error {
	start := time.Now()
	res, err := r.Session.Query(ctx, sql, r.Timeout)
	if err != nil {
		return err
	}
	n, err := r.write(res)
	if cerr := res.Close(); err == nil && cerr != nil {
		err = cerr
	}
	if r.Timing {
		fmt.Fprintf(r.Err, "Time: %s (%s)\n", roundTime(time.Since(start)), plural(n, "row"))
	}
	if err == nil && !r.Session.Keeps() && isSet(sql) {
		fmt.Fprintln(r.Err, "note: a server keeps no settings between statements; SET had no effect beyond its own")
	}
	return err
}

func isSet(sql string) bool {
	word, _, _ := strings.Cut(strings.TrimSpace(sql), " ")
	return strings.EqualFold(word, "set")
}

func (r *Runner) write(res Result) (int64, error) {
	out := r.Out
	width := 0
	if r.file != nil {
		out = r.file
	} else if r.Width != nil && r.Expanded != ExpandOff {
		width = r.Width()
	}
	format := r.Format
	if format == "table" && r.Expanded == ExpandOn {
		format = "vertical"
	}
	w, err := render.New(format, out, render.Options{Width: width})
	if err != nil {
		return 0, err
	}
	cols := res.Columns()
	if len(cols) == 0 { // SET and the like
		return res.Copy(discard{})
	}
	if err := w.Columns(cols); err != nil {
		return 0, fmt.Errorf("write rows: %w", err)
	}
	n, err := res.Copy(w)
	if err != nil {
		_ = w.Flush() // what there is; the error below is the one to tell
		return n, err
	}
	if err := w.Close(); err != nil {
		return n, fmt.Errorf("write rows: %w", err)
	}
	return n, nil
}

// discard is a render.Writer for results without columns.
type discard struct{}

func (discard) Columns([]render.Column) error { return nil }
func (discard) Row([]render.Cell) error       { return nil }
func (discard) Flush() error                  { return nil }
func (discard) Close() error                  { return nil }

func roundTime(d time.Duration) time.Duration {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond)
	case d < time.Second:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Millisecond)
}

func plural(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Text runs all statements of a text, as of -c. The first error ends it.
func (r *Runner) Text(ctx context.Context, text string) error {
	if rest, ok := strings.CutPrefix(strings.TrimSpace(text), `\`); ok && !strings.Contains(rest, "\n") {
		return r.quitIsFine(r.Meta(ctx, `\`+rest))
	}
	statements := parse.Split(text)
	if len(statements) == 0 {
		return &api.Problem{Message: "there is no statement", SQLState: "42601"}
	}
	for _, sql := range statements {
		if err := r.Statement(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

func (r *Runner) quitIsFine(err error) error {
	if errors.Is(err, errQuit) {
		return nil
	}
	return err
}

// Script runs what it reads, statement by statement as they come: of a file or a pipe. The last one needs no semicolon.
// The first error ends it and says in which line the statement began.
func (r *Runner) Script(ctx context.Context, in io.Reader) error {
	return r.quitIsFine(r.script(ctx, in))
}

func (r *Runner) script(ctx context.Context, in io.Reader) error {
	lines := bufio.NewReaderSize(in, 64<<10)
	var p pending
	for end := false; !end; {
		line, err := readLine(lines, maxStatement-len(p.text))
		switch {
		case errors.Is(err, io.EOF):
			end = true
		case err != nil:
			return fmt.Errorf("line %d: %w", p.line+1, err)
		}
		if meta, ok := p.meta(line); ok {
			p.line++
			if err := r.Meta(ctx, meta); err != nil {
				return p.at(err)
			}
			continue
		}
		for _, sql := range p.add(line, end) {
			if err := r.Statement(ctx, sql); err != nil {
				return p.at(err)
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// pending is text that does not make a whole statement yet.
type pending struct {
	text  string
	line  int // lines read
	first int // line that text began in
}

// meta is a line that is a command of the shell: one that begins with \ where a statement may begin.
func (p *pending) meta(line string) (string, bool) {
	s := strings.TrimSpace(line)
	return s, strings.HasPrefix(s, `\`) && strings.TrimSpace(p.text) == ""
}

// add takes a line, with its end, and gives the statements that are whole now; at the end of the input, all.
func (p *pending) add(line string, end bool) []string {
	if strings.TrimSpace(p.text) == "" {
		p.text, p.first = "", p.line+1
	}
	if line != "" {
		p.line++
	}
	p.text += line
	if !end && (!strings.Contains(line, ";") || !parse.Complete(p.text)) {
		return nil
	}
	out := parse.Split(p.text)
	p.text = ""
	return out
}

// at says where in a script an error is.
func (p *pending) at(err error) error {
	if errors.Is(err, errQuit) {
		return err
	}
	return &ScriptError{Line: max(p.first, 1), Err: err}
}

// ScriptError is an error of a statement in a script.
type ScriptError struct {
	// Line is where the statement began, from 1.
	Line int
	Err  error
}

// Error names the line.
func (e *ScriptError) Error() string { return fmt.Sprintf("statement at line %d: %v", e.Line, e.Err) }

// Unwrap is the error below.
func (e *ScriptError) Unwrap() error { return e.Err }

// readLine reads a line with its end, of at most limit bytes; at the end of the input it returns io.EOF with the rest.
func readLine(r *bufio.Reader, limit int) (string, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > limit {
			return "", ErrStatementTooLong
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return string(line), err
		}
	}
}

// Explain writes an error for a user, with the place in the statement.
func Explain(err error) string {
	var p *api.Problem
	if !errors.As(err, &p) {
		return err.Error()
	}
	text := p.Detail
	if text == "" {
		text = p.Message
		if p.Hint != "" {
			text += "\nhint: " + p.Hint
		}
	}
	var s *ScriptError
	if errors.As(err, &s) {
		return fmt.Sprintf("statement at line %d: %s", s.Line, text)
	}
	return text
}

// Close closes the file of \o.
func (r *Runner) Close() error {
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file = nil
	return err
}
