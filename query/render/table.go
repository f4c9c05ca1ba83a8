package render

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/flowlake/flowlake/db/schema"
)

// tableWriter lays out aligned columns. The first MaxRows rows, or maxBuffered bytes, are kept to find the widths; where they are too wide for
// the terminal, the widest text columns are cut, and where that does not help, rows are written one value a line.
type tableWriter struct {
	w        *bufio.Writer
	o        Options
	cols     []Column
	rows     [][]string
	widths   []int
	laidOut  bool
	vertical *verticalWriter
	n        int64
	bytes    int // of rows
}

// maxBuffered bounds what is kept to find the widths.
const maxBuffered = 16 << 20

// minWidth is the least a text column is cut to.
const minWidth = 8

func newTable(w io.Writer, o Options) Writer {
	return &tableWriter{w: bufio.NewWriterSize(w, 64<<10), o: o}
}

func (t *tableWriter) Columns(cols []Column) error {
	t.cols = cols
	t.widths = make([]int, len(cols))
	for i, c := range cols {
		t.widths[i] = text.StringWidthWithoutEscSequences(c.Name)
	}
	return nil
}

// oneLine makes control characters visible: a value stays on its line and cannot drive the terminal.
func oneLine(c Cell) string {
	if c.Null {
		return "NULL"
	}
	s := strings.ToValidUTF8(string(c.Text), "\uFFFD")
	if !strings.ContainsFunc(s, control) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString("⏎")
		case control(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// control are runes that move the cursor or turn the direction of writing.
func control(r rune) bool {
	return r < 0x20 || r >= 0x7f && r < 0xa0 || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// canCut says whether a column still tells something when its text is cut: not so numbers, times and addresses.
func canCut(t schema.Type) bool {
	return t == schema.Varchar || t == schema.Map || t == schema.TagSet || t == schema.Bytes
}

func (t *tableWriter) Row(cells []Cell) error {
	t.n++
	if t.laidOut {
		return t.write(lines(cells))
	}
	row := lines(cells)
	for i, s := range row {
		t.widths[i] = max(t.widths[i], text.StringWidthWithoutEscSequences(s))
		t.bytes += len(s)
	}
	t.rows = append(t.rows, row)
	if len(t.rows) < t.o.MaxRows && t.bytes < maxBuffered {
		return nil
	}
	return t.layOut()
}

func lines(cells []Cell) []string {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = oneLine(c)
	}
	return row
}

// total is the width of a line.
func (t *tableWriter) total() int {
	n := 3*len(t.widths) - 1
	for _, w := range t.widths {
		n += w
	}
	return n
}

// fit cuts the widest text columns until a line fits; false when it cannot.
func (t *tableWriter) fit() bool {
	for t.o.Width > 0 && t.total() > t.o.Width {
		widest := -1
		for i, w := range t.widths {
			if canCut(t.cols[i].Type) && w > minWidth && (widest < 0 || w > t.widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			return false
		}
		t.widths[widest] = max(minWidth, t.widths[widest]-max(1, (t.total()-t.o.Width)/4))
	}
	return true
}

func (t *tableWriter) layOut() error {
	t.laidOut = true
	natural := slices.Clone(t.widths)
	if !t.fit() {
		t.widths = natural
		t.vertical = &verticalWriter{w: t.w}
		if err := t.vertical.Columns(t.cols); err != nil {
			return err
		}
	} else if err := t.header(); err != nil {
		return err
	}
	for _, row := range t.rows {
		if err := t.write(row); err != nil {
			return err
		}
	}
	t.rows = nil
	return nil
}

func (t *tableWriter) header() error {
	var line, rule strings.Builder
	for i, c := range t.cols {
		if i > 0 {
			line.WriteString(" │")
			rule.WriteString("─┼")
		}
		line.WriteString(" " + t.cell(c.Name, i, false))
		rule.WriteString("─" + strings.Repeat("─", t.widths[i]))
	}
	_, err := fmt.Fprintf(t.w, "%s\n%s─\n", strings.TrimRight(line.String(), " "), rule.String())
	return err
}

func (t *tableWriter) cell(s string, col int, right bool) string {
	w := t.widths[col]
	n := text.StringWidthWithoutEscSequences(s)
	if n > w {
		s = text.Snip(s, w, "…")
		n = text.StringWidthWithoutEscSequences(s)
	}
	pad := strings.Repeat(" ", max(0, w-n))
	if right {
		return pad + s
	}
	return s + pad
}

func (t *tableWriter) write(row []string) error {
	if t.vertical != nil {
		return t.vertical.lines(row)
	}
	var line strings.Builder
	for i, s := range row {
		if i > 0 {
			line.WriteString(" │")
		}
		line.WriteString(" " + t.cell(s, i, isNumber(t.cols[i].Type)))
	}
	_, err := t.w.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	return err
}

// Flush writes what is laid out.
func (t *tableWriter) Flush() error { return t.w.Flush() }

func (t *tableWriter) Close() error {
	if !t.laidOut && len(t.cols) > 0 {
		if err := t.layOut(); err != nil {
			return err
		}
	}
	if len(t.cols) > 0 {
		if _, err := fmt.Fprintf(t.w, "(%s)\n", plural(t.n)); err != nil {
			return err
		}
	}
	return t.w.Flush()
}

func plural(n int64) string {
	if n == 1 {
		return "1 row"
	}
	return fmt.Sprintf("%d rows", n)
}

// verticalWriter writes one value a line.
type verticalWriter struct {
	w     *bufio.Writer
	cols  []Column
	width int
	n     int
}

func newVertical(w io.Writer, _ Options) Writer {
	return &verticalWriter{w: bufio.NewWriterSize(w, 64<<10)}
}

func (v *verticalWriter) Columns(cols []Column) error {
	v.cols = cols
	for _, c := range cols {
		v.width = max(v.width, text.StringWidthWithoutEscSequences(c.Name))
	}
	return nil
}

func (v *verticalWriter) Row(cells []Cell) error { return v.lines(lines(cells)) }

func (v *verticalWriter) lines(row []string) error {
	v.n++
	head := fmt.Sprintf("─[ row %d ]", v.n)
	if _, err := fmt.Fprintf(v.w, "%s%s\n", head, strings.Repeat("─", max(0, v.width+20-text.StringWidthWithoutEscSequences(head)))); err != nil {
		return err
	}
	for i, s := range row {
		name := v.cols[i].Name
		pad := strings.Repeat(" ", v.width-text.StringWidthWithoutEscSequences(name))
		if _, err := fmt.Fprintf(v.w, "%s%s │ %s\n", name, pad, s); err != nil {
			return err
		}
	}
	return nil
}

func (v *verticalWriter) Flush() error { return v.w.Flush() }
func (v *verticalWriter) Close() error { return v.w.Flush() }

// markdownWriter writes a table as GitHub reads it.
type markdownWriter struct {
	w    *bufio.Writer
	cols []Column
}

func newMarkdown(w io.Writer, _ Options) Writer {
	return &markdownWriter{w: bufio.NewWriterSize(w, 64<<10)}
}

func (m *markdownWriter) Columns(cols []Column) error {
	m.cols = cols
	var head, rule strings.Builder
	for _, c := range cols {
		head.WriteString("| " + escapeMarkdown(c.Name) + " ")
		if isNumber(c.Type) {
			rule.WriteString("|---:")
		} else {
			rule.WriteString("|---")
		}
	}
	_, err := fmt.Fprintf(m.w, "%s|\n%s|\n", head.String(), rule.String())
	return err
}

// escapeMarkdown keeps a value in its cell and keeps it from being HTML.
func escapeMarkdown(s string) string {
	return markdownEscapes.Replace(s)
}

var markdownEscapes = strings.NewReplacer("|", `\|`, "<", "&lt;", "&", "&amp;")

func (m *markdownWriter) Row(cells []Cell) error {
	for _, c := range cells {
		s := ""
		if !c.Null {
			s = escapeMarkdown(oneLine(c))
		}
		if _, err := m.w.WriteString("| " + s + " "); err != nil {
			return err
		}
	}
	_, err := m.w.WriteString("|\n")
	return err
}

func (m *markdownWriter) Flush() error { return m.w.Flush() }
func (m *markdownWriter) Close() error { return m.w.Flush() }
