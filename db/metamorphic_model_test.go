package db

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// edges is a table with a column of every physical form, and with tags on both sides.
var edges = func() *schema.Table {
	t, err := schema.New(schema.Table{Name: "edges", Resolution: "1s", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "id", Type: schema.BigInt},
		{Name: "ok", Type: schema.Boolean},
		{Name: "load", Type: schema.Double, Role: schema.Gauge, Nullable: true},
		{Name: "ip", Type: schema.Inet},
		{Name: "trace_id", Type: schema.Varchar, Bloom: true},
		{Name: "attributes", Type: schema.Map},
		{Name: "n", Type: schema.Integer, Nullable: true},
		{Name: "client_tags", Type: schema.TagSet},
		{Name: "server_tags", Type: schema.TagSet},
	}}, "client_tags", "server_tags", "time/1m")
	if err != nil {
		panic(err)
	}
	return t
}()

// metaTables are the tables of the metamorphic test; metaKeep is the retention of the second.
var metaTables = []*schema.Table{events, edges}

const metaKeep = 60 * time.Hour

var metaRegistry = func() *schema.Registry {
	r, err := schema.NewRegistry(metaTables...)
	if err != nil {
		panic(err)
	}
	return r
}()

// metaStep is the time from one row to the next.
const metaStep = 40 * int64(time.Second)

// metaRow is a row as the model knows it: the values by column ordinal, int64, float64, []byte, or nil for NULL. All of it
// follows from table and id.
type metaRow []any

func metaTime(id int) int64 {
	at := t0 + int64(id)*metaStep
	h := uint64(id)*0x9e3779b97f4a7c15 ^ 0x5bd1e995
	if h>>60 == 0 { // late by up to five days
		at -= int64(h>>20) % int64(5*24*time.Hour)
	}
	return at
}

// metaClock is the time at which the row of an id is written.
func metaClock(id int) time.Time { return time.Unix(0, t0+int64(id)*metaStep) }

func makeRow(t *schema.Table, id int) metaRow {
	rng := rand.New(rand.NewPCG(uint64(id), uint64(len(t.Columns))))
	pod := id/40 + rng.IntN(6) // new ones come, old ones go
	set := func(side string) []byte {
		return tags.AppendSet(nil, tags.Tag{Key: "pod", Value: fmt.Sprint("pod-", pod)}, tags.Tag{Key: side, Value: fmt.Sprint("app-", rng.IntN(5))})
	}
	var n any
	if rng.IntN(3) > 0 {
		n = int64(rng.IntN(50) - 10)
	}
	if t == events {
		return metaRow{metaTime(id), int64(id), []byte(fmt.Sprint("name-", rng.IntN(17))), n, set("app")}
	}
	var load any
	if rng.IntN(4) > 0 {
		load = float64(rng.IntN(2000))/16 - 20
	}
	ip := make([]byte, 16)
	copy(ip, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\x0a\x00")
	ip[15] = byte(rng.IntN(9))
	trace := []byte{}
	if rng.IntN(2) > 0 {
		trace = fmt.Appendf(nil, "trace-%d", id/7)
	}
	attributes := []byte{}
	if rng.IntN(3) == 0 {
		attributes = tags.AppendSet(nil, tags.Tag{Key: "k", Value: fmt.Sprint(rng.IntN(4))})
	}
	client, server := set("app"), set("service")
	if rng.IntN(10) == 0 {
		server = []byte{}
	}
	return metaRow{metaTime(id), int64(id), int64(rng.IntN(2)), load, ip, trace, attributes, n, client, server}
}

// metaBatch makes the batch of some ids.
func metaBatch(t *schema.Table, first, n int) *batch.Batch {
	b := batch.NewBuilder(t)
	for id := first; id < first+n; id++ {
		for col, v := range makeRow(t, id) {
			switch v := v.(type) {
			case int64:
				b.Int(col, v)
			case float64:
				b.Float(col, v)
			case []byte:
				switch {
				case t.Columns[col].Type == schema.TagSet:
					b.Tags(col, v)
				case len(v) > 0:
					b.Text(col, v)
				}
			}
		}
		b.EndRow()
	}
	return b.Seal()
}

// metaTerm is a condition that both sides can evaluate: as a pred.Term, and on a metaRow.
type metaTerm struct {
	term  pred.Term
	holds func(v any) bool // for a value that is not NULL
}

func (m *metaTerm) match(r metaRow) bool {
	v := r[m.term.Column]
	if m.term.Kind == pred.IsNull {
		return (v == nil) != m.term.Not
	}
	return v != nil && m.holds(v) != m.term.Not
}

// metaTermOf picks a condition on a column.
func metaTermOf(t *schema.Table, col int, rng *rand.Rand, view *tags.View, ids int) metaTerm {
	c := &t.Columns[col]
	m := metaTerm{term: pred.Term{Column: col, Not: rng.IntN(4) == 0}}
	if c.Nullable && rng.IntN(4) == 0 {
		m.term.Kind = pred.IsNull
		return m
	}
	switch {
	case c.Type == schema.TagSet:
		key := []string{"pod", "app", "service"}[rng.IntN(3)]
		want := fmt.Sprint("app-", rng.IntN(5))
		if key == "pod" {
			want = fmt.Sprint("pod-", rng.IntN(ids/40+1))
		}
		m.term.Kind, m.term.IDs = pred.Tags, view.Equal(key, want)
		if m.term.IDs == nil {
			m.term.IDs = roaring.New()
		}
		m.holds = func(v any) bool { got, ok := tags.Get(v.([]byte), key); return ok && string(got) == want }
	case c.Type.Physical() == schema.Code:
		like := makeRow(t, rng.IntN(ids+1))[col].([]byte)
		m.term.Kind, m.term.Equal = pred.Text, [][]byte{like}
		if rng.IntN(2) == 0 {
			m.term.Equal = nil
		}
		m.term.Match = func(v []byte) bool { return bytes.Equal(v, like) }
		m.holds = func(v any) bool { return bytes.Equal(v.([]byte), like) }
	case c.Type.Physical() == schema.Float64:
		lo := float64(rng.IntN(120) - 20)
		m.term.Kind, m.term.FLo, m.term.FHi = pred.FloatRange, lo, lo+float64(rng.IntN(30))
		m.holds = func(v any) bool { return m.term.FLo <= v.(float64) && v.(float64) <= m.term.FHi }
	case rng.IntN(2) == 0:
		for range rng.IntN(5) + 1 {
			if v, ok := makeRow(t, rng.IntN(ids+1))[col].(int64); ok {
				m.term.Ints = append(m.term.Ints, v)
			}
		}
		slices.Sort(m.term.Ints)
		m.term.Ints = slices.Compact(m.term.Ints)
		m.term.Kind = pred.IntSet
		m.holds = func(v any) bool { return slices.Contains(m.term.Ints, v.(int64)) }
	default:
		a, _ := makeRow(t, rng.IntN(ids+1))[col].(int64)
		b, _ := makeRow(t, rng.IntN(ids+1))[col].(int64)
		m.term.Kind, m.term.Lo, m.term.Hi = pred.IntRange, min(a, b), max(a, b)
		m.holds = func(v any) bool { return m.term.Lo <= v.(int64) && v.(int64) <= m.term.Hi }
	}
	return m
}

// metaOp is one operation. Everything it does follows from it, so that a history can be cut and run again.
type metaOp struct {
	Op    string `json:"op"`
	Table int    `json:"table,omitempty"` // or rollup
	First int    `json:"first,omitempty"` // of write: the first id
	N     int    `json:"n,omitempty"`     // of write: rows
	Seed  uint64 `json:"seed,omitempty"`
	In    string `json:"in,omitempty"` // of crash: the operation in which it happens
}

// metaHistory makes n operations.
func metaHistory(seed uint64, n int) []metaOp {
	rng := rand.New(rand.NewPCG(seed, 77))
	next := 0
	var ops []metaOp
	write := func() metaOp {
		rows := rng.IntN(30) + 1
		if rng.IntN(12) == 0 {
			rows = rng.IntN(400) + 1
		}
		op := metaOp{Op: "write", Table: rng.IntN(len(metaTables)), First: next, N: rows}
		next += rows
		return op
	}
	for range n {
		switch p := rng.IntN(100); {
		case p < 38:
			ops = append(ops, write())
		case p < 48: // a rollup lives for some time
			op := metaOp{Op: []string{"create", "create", "create", "backfill", "rolled", "rolled", "rolled", "keep", "drop"}[rng.IntN(9)]}
			op.Table, op.Seed = rng.IntN(len(metaRollups)), rng.Uint64()
			ops = append(ops, op)
		case p < 70:
			ops = append(ops, metaOp{Op: "scan", Table: rng.IntN(len(metaTables)), Seed: rng.Uint64()})
		case p < 77:
			ops = append(ops, metaOp{Op: "flush"})
		case p < 82:
			ops = append(ops, metaOp{Op: "compact"})
		case p < 85:
			ops = append(ops, metaOp{Op: "reopen"})
		case p < 88:
			ops = append(ops, metaOp{Op: "backup", Seed: rng.Uint64()})
		case p < 90:
			ops = append(ops, metaOp{Op: "restore"})
		case p < 92:
			ops = append(ops, metaOp{Op: "verify"})
		default:
			in := []string{"write", "write", "flush", "compact", "reopen", "create", "backfill", "drop"}[rng.IntN(8)]
			op := metaOp{}
			switch in {
			case "write":
				op = write()
			case "create", "backfill", "drop":
				op.Table = rng.IntN(len(metaRollups))
			}
			op.Op, op.In, op.Seed = "crash", in, rng.Uint64()
			ops = append(ops, op)
		}
	}
	for i := range metaRollups {
		ops = append(ops, metaOp{Op: "rolled", Table: i})
	}
	return append(ops, metaOp{Op: "scan", Table: 0}, metaOp{Op: "scan", Table: 1})
}

func (op metaOp) String() string {
	text, err := json.Marshal(op)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
