package sqlshell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"github.com/reeflective/readline"
	"github.com/reeflective/readline/inputrc"

	"github.com/flowlake/flowlake/query/parse"
)

// LineReader reads what somebody types: whole statements, or lines. It returns io.EOF at the end and
// readline.ErrInterrupt for Ctrl-C.
type LineReader interface {
	Readline() (string, error)
}

// Interactive reads and runs statements until the end or \q. An error is shown and the shell goes on; Ctrl-C ends the
// statement that runs, not the shell.
func (r *Runner) Interactive(ctx context.Context, in LineReader) error {
	for ctx.Err() == nil {
		text, err := in.Readline()
		switch {
		case errors.Is(err, io.EOF):
			fmt.Fprintln(r.Err)
			return nil
		case errors.Is(err, readline.ErrInterrupt):
			continue
		case err != nil:
			return fmt.Errorf("read the terminal: %w", err)
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		if err := r.line(ctx, text); errors.Is(err, errQuit) {
			return nil
		} else if err != nil {
			fmt.Fprintln(r.Err, "error: "+Explain(err))
		}
	}
	return ctx.Err()
}

// line runs what was typed.
func (r *Runner) line(ctx context.Context, text string) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt)
	defer stop()
	if s := strings.TrimSpace(text); strings.HasPrefix(s, `\`) {
		return r.Meta(ctx, s)
	}
	for _, sql := range parse.Split(text) {
		switch sql {
		case "quit", "exit":
			return errQuit
		case "help":
			return r.Meta(ctx, `\?`)
		}
		if err := r.Statement(ctx, sql); err != nil {
			if ctx.Err() != nil {
				return errors.New("canceled")
			}
			return err
		}
	}
	return nil
}

// rowsBelow makes the terminal scroll until there are two rows below the cursor, and leaves the cursor on its text: index (ESC D)
// and cursor up (ECMA-48 CUU). The second one is for a line that ends at the right edge.
const rowsBelow = "\x1bD\x1bD\x1b[2A"

// NewLineReader is the terminal's, with history and completion. Failing to keep a history costs the history only: the
// error is returned beside the reader.
func NewLineReader(s Session, historyFile string) (LineReader, error) {
	rl := readline.NewShell()
	rl.Prompt.Primary(func() string { return "flowlake> " })
	rl.Prompt.Secondary(func() string { return "       -> " })
	bindInterrupt(rl)
	// the prompt begins its line: to ask the terminal where it is would lose keys that come before the answer
	if err := rl.Config.Set("cursor-position-probe", false); err != nil {
		return rl, fmt.Errorf("set up the terminal: %w", err)
	}
	// not knowing the cursor's row, the library takes for granted that there are rows below what is typed: in a terminal that is
	// full it would overwrite the end of the last result
	rl.SyntaxHighlighter = func(line []rune) string { return string(line) + rowsBelow }
	rl.AcceptMultiline = func(line []rune) bool { return accept(string(line)) }
	c := &Completer{Session: s}
	rl.Completer = func(line []rune, cursor int) readline.Completions { return completions(c, line, cursor) }
	h, err := openHistory(historyFile)
	if err != nil {
		return rl, err
	}
	rl.History.Add("statements", &history{h})
	return rl, nil
}

// bindInterrupt has Ctrl-C give up what was typed. (The library's own binding does so for Ctrl-G only, and loses the key after it.)
func bindInterrupt(rl *readline.Shell) {
	const command = "give-up-line"
	rl.Keymap.Register(map[string]func(){command: func() {
		rl.Display.AcceptLine()
		rl.History.Accept(false, false, readline.ErrInterrupt)
	}})
	for _, keymap := range []string{"emacs", "emacs-standard", "vi", "vi-insert", "vi-command", "vi-move"} {
		if rl.Config.Binds[keymap] != nil {
			rl.Config.Binds[keymap][inputrc.Unescape(`\C-c`)] = inputrc.Bind{Action: command}
		}
	}
}

// accept says whether what was typed is to be run: a command of the shell, a whole statement, nothing.
func accept(text string) bool {
	s := strings.TrimSpace(text)
	return s == "" || strings.HasPrefix(s, `\`) || s == "quit" || s == "exit" || s == "help" || parse.Complete(text)
}

func completions(c *Completer, line []rune, cursor int) readline.Completions {
	cursor = min(max(cursor, 0), len(line))
	text, at := string(line), len(string(line[:cursor]))
	from, list := c.Complete(text, at)
	values := make([]readline.Completion, len(list))
	for i, v := range list {
		values[i] = readline.Completion{Value: v.Value, Display: v.Value, Description: v.Doc, Tag: v.Kind}
	}
	out := readline.CompleteRaw(values)
	out.PREFIX = text[from:at]
	return out
}

// history leaves out what would make the file's lines too long to read back.
type history struct{ readline.History }

// maxHistoryEntry bounds a statement in the history.
const maxHistoryEntry = 16 << 10

// Write adds an entry.
func (h *history) Write(s string) (int, error) {
	if len(s) > maxHistoryEntry {
		return h.Len(), nil
	}
	return h.History.Write(s)
}

// openHistory opens the file, which only its user may read: statements can hold what is nobody else's business.
func openHistory(path string) (readline.History, error) {
	if path == "" {
		return readline.NewInMemoryHistory(), nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("make history folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open history: %w", err)
	}
	h, err := readline.NewHistoryFromFile(path)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	return h, nil
}
