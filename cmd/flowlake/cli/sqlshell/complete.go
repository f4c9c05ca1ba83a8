package sqlshell

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/render"
)

// Candidate is something that a word may be completed to.
type Candidate struct {
	Value string
	// Doc is one line about it; may be "".
	Doc string
	// Kind is what it is: "table", "column", "function", "keyword", "command", "file".
	Kind string
}

var keywords = strings.Fields(`ALTER ANALYZE AND AS ASC BETWEEN BY CASE CAST CHECKPOINT CREATE DESC DESCRIBE DISTINCT DROP ELSE
	END EVERY EXISTS EXPLAIN FILTER FOREVER FROM GROUP HAVING IF ILIKE IN INTERVAL IS KEEP KEY LIKE LIMIT NOT NULL OFFSET ON OR ORDER
	RETENTION ROLLUP SELECT SET SHOW TABLE THEN UNION VALUES WHEN WHERE WITH COLUMNS FUNCTIONS KEYS ROLLUPS SETTINGS TABLES TAG`)

// Completer completes words from what the session says there is, which it asks for when first needed and keeps for a
// while. For one goroutine.
type Completer struct {
	Session Session
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	loaded    time.Time
	tables    []Candidate
	functions []Candidate
	columns   map[string][]Candidate // by table
}

// refreshNames is how long names are kept.
const refreshNames = time.Minute

// askTimeout bounds each question for names: somebody waits for a key.
const askTimeout = 2 * time.Second

// Complete is what the word that ends at the byte offset cursor of text may become, in order of likelihood, and where
// that word begins.
func (c *Completer) Complete(text string, cursor int) (from int, out []Candidate) {
	cursor = min(max(cursor, 0), len(text))
	from = wordStart(text, cursor)
	word, before := text[from:cursor], text[:from]
	if trimmed := strings.TrimLeft(before, " \t\n"); trimmed == "" && strings.HasPrefix(word, `\`) || strings.HasPrefix(trimmed, `\`) {
		return from, matching(c.meta(trimmed, word), word)
	}
	c.load()
	qualifier, rest, dotted := cutLast(word, ".")
	previous := lastWord(before)
	switch previous {
	case "from", "join", "describe", "table":
		return from, matching(c.tables, word)
	}
	if dotted {
		if cols, ok := c.columns[c.tableOf(text, strings.ToLower(qualifier))]; ok {
			return from + len(qualifier) + 1, matching(cols, rest)
		}
	}
	list := c.visible(text)
	list = append(list, c.functions...)
	for _, k := range keywords {
		list = append(list, Candidate{Value: k, Kind: "keyword"})
	}
	if word == "" {
		list = list[:0:0] // everything would be no help
		list = append(list, c.visible(text)...)
	}
	return from, matching(list, word)
}

// wordStart is where the word that ends at cursor begins; names may hold dots.
func wordStart(text string, cursor int) int {
	i := cursor
	for i > 0 {
		ch := text[i-1]
		if ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch >= '0' && ch <= '9' || ch == '_' || ch == '.' || ch >= 0x80 ||
			ch == '\\' || ch == '/' && strings.HasPrefix(strings.TrimLeft(text, " \t\n"), `\`) {
			i--
			continue
		}
		break
	}
	return i
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+len(sep):], true
}

func lastWord(text string) string {
	f := strings.Fields(text)
	if len(f) == 0 {
		return ""
	}
	return strings.ToLower(f[len(f)-1])
}

// meta completes commands of the shell and their arguments.
func (c *Completer) meta(before, word string) []Candidate {
	switch strings.TrimSpace(before) {
	case "":
		var out []Candidate
		for _, m := range metaCommands {
			out = append(out, Candidate{m.name, m.doc, "command"})
		}
		return out
	case `\d`:
		c.load()
		return c.tables
	case `\format`:
		var out []Candidate
		for _, n := range render.Names() {
			out = append(out, Candidate{Value: n, Kind: "format"})
		}
		return out
	case `\timing`, `\x`:
		out := []Candidate{{Value: "on"}, {Value: "off"}}
		if strings.TrimSpace(before) == `\x` {
			out = append(out, Candidate{Value: "auto"})
		}
		return out
	case `\i`, `\o`:
		files, err := filepath.Glob(word + "*") // a bad pattern completes to nothing
		if err != nil {
			return nil
		}
		var out []Candidate
		for _, f := range files[:min(len(files), 200)] {
			if st, err := os.Stat(f); err == nil && st.IsDir() {
				f += "/"
			}
			out = append(out, Candidate{Value: f, Kind: "file"})
		}
		return out
	}
	return nil
}

// matching are those that begin with the word; keywords take its case.
func matching(list []Candidate, word string) []Candidate {
	var out []Candidate
	seen := map[string]bool{}
	for _, c := range list {
		if !strings.HasPrefix(strings.ToLower(c.Value), strings.ToLower(word)) || seen[c.Value] {
			continue
		}
		seen[c.Value] = true
		if c.Kind == "keyword" && word != strings.ToUpper(word) {
			c.Value = strings.ToLower(c.Value)
		}
		out = append(out, c)
	}
	return out
}

// mentioned are the tables that the statement names, with their aliases.
func (c *Completer) mentioned(text string) map[string]string {
	out := map[string]string{}
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return strings.ContainsRune(" \t\n\r,();", r) })
	for i, w := range words {
		if _, ok := c.columns[w]; !ok || i == 0 || words[i-1] != "from" && words[i-1] != "join" {
			continue
		}
		out[w] = w
		next := i + 1
		if next < len(words) && words[next] == "as" {
			next++
		}
		if next < len(words) && !ast.IsReserved(words[next]) {
			out[words[next]] = w
		}
	}
	return out
}

func (c *Completer) tableOf(text, qualifier string) string { return c.mentioned(text)[qualifier] }

// visible are the columns that a statement can name: those of the tables it mentions, of all when it mentions none.
func (c *Completer) visible(text string) []Candidate {
	var out []Candidate
	names := map[string]bool{}
	for _, t := range c.mentioned(text) {
		names[t] = true
	}
	for _, t := range c.tables {
		if names[t.Value] || len(names) == 0 && !strings.HasPrefix(t.Value, "system.") {
			out = append(out, c.columns[t.Value]...)
		}
	}
	return out
}

// load asks for the names when they are old. What cannot be had is not offered.
func (c *Completer) load() {
	now := time.Now
	if c.Now != nil {
		now = c.Now
	}
	if !c.loaded.IsZero() && now().Sub(c.loaded) < refreshNames {
		return
	}
	c.loaded = now()
	c.columns = map[string][]Candidate{}
	c.tables = c.ask("SHOW TABLES", "table")
	c.functions = c.ask("SHOW FUNCTIONS", "function")
	for _, t := range c.tables {
		c.columns[t.Value] = c.ask("SHOW COLUMNS FROM "+quoteName(t.Value), "column")
	}
}

// ask takes the first column of a list for names, and the one that describes for their line.
func (c *Completer) ask(sql, kind string) []Candidate {
	ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
	defer cancel()
	res, err := c.Session.Query(ctx, sql, askTimeout)
	if err != nil {
		return nil
	}
	defer res.Close()
	names := &collect{kind: kind, doc: slices.IndexFunc(res.Columns(), func(c render.Column) bool {
		return c.Name == "description" || c.Name == "doc"
	})}
	if _, err := res.Copy(names); err != nil {
		return nil
	}
	return names.list
}

// collect is a render.Writer that keeps names.
type collect struct {
	discard
	kind string
	doc  int // column, -1 for none
	list []Candidate
}

// maxNames bounds what is kept for completion.
const maxNames = 10000

func (c *collect) Row(cells []render.Cell) error {
	if len(cells) == 0 || len(c.list) >= maxNames {
		return nil
	}
	n := Candidate{Value: string(cells[0].Text), Kind: c.kind}
	if c.doc >= 0 {
		n.Doc = string(cells[c.doc].Text)
	}
	c.list = append(c.list, n)
	return nil
}
