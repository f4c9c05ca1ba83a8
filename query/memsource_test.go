package query_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// memSource is a query.Source over batches in memory. It keeps the contract of pred.Scan to the letter: vectors are
// reused by the next Read, so whoever keeps them longer is found out.
type memSource struct {
	reg     *schema.Registry
	tags    *tags.Store
	units   map[string][]*batch.Batch
	open    atomic.Int64 // scans that were not closed
	flushed int
	pending map[string]bool  // rollups whose backfill is not done
	damaged map[string]int64 // segments of rollups that were set aside
	keep    map[string]time.Duration
	stored  map[string]bool                 // rollups whose rows are in units
	onRead  func(ctx context.Context) error // called by every Read
}

func newMemSource(t testing.TB) *memSource {
	t.Helper()
	b := schema.Builtin()
	tables := slices.DeleteFunc(b.Tables(), func(t *schema.Table) bool {
		_, ok := b.Rollup(t.Name)
		return ok
	})
	reg, err := schema.NewRegistry(append(tables, testTable(t))...)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range b.Rollups() {
		if reg, err = reg.With(u.Def); err != nil {
			t.Fatal(err)
		}
		made, _ := reg.Rollup(u.Def.Name)
		made.Builtin = true
	}
	return &memSource{reg: reg, tags: tags.New(tags.Limits{}), units: map[string][]*batch.Batch{},
		pending: map[string]bool{}, damaged: map[string]int64{}, keep: map[string]time.Duration{}, stored: map[string]bool{}}
}

// testTable has one column of every type, some nullable.
func testTable(t testing.TB) *schema.Table {
	t.Helper()
	col := func(name string, typ schema.Type, null bool) schema.Column {
		return schema.Column{Name: name, Type: typ, Nullable: null, Doc: name}
	}
	tab, err := schema.New(schema.Table{Name: "t", Doc: "test", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time, Doc: "time"},
		col("i", schema.BigInt, true), col("j", schema.Integer, false), col("f", schema.Double, true), col("b", schema.Boolean, true),
		col("s", schema.Varchar, false), col("ip", schema.Inet, false), col("m", schema.Map, false), col("u", schema.BigInt, false),
		col("tags", schema.TagSet, false),
	}}, "time")
	if err != nil {
		t.Fatal(err)
	}
	tab.Columns[8].Unit = "us"
	return tab
}

func (m *memSource) Tables() []*schema.Table              { return m.reg.Tables() }
func (m *memSource) Table(n string) (*schema.Table, bool) { return m.reg.Table(n) }
func (m *memSource) Tags() *tags.View                     { return m.tags.View() }
func (m *memSource) Flush(context.Context) error          { m.flushed++; return nil }
func (m *memSource) mustTable(name string) *schema.Table  { t, _ := m.reg.Table(name); return t }

// add takes a batch in as one unit; its tag sets are interned.
func (m *memSource) add(t testing.TB, b *batch.Batch) {
	t.Helper()
	for i := range b.Table.Columns {
		c := &b.Table.Columns[i]
		if b.Cols[i] == nil {
			b.Cols[i] = &batch.Vector{}
			b.Cols[i].Default(c, b.N)
			continue
		}
		if c.Type == schema.TagSet {
			v := &batch.Vector{Type: c.Type, Codes: make([]uint32, b.N)}
			for r, code := range b.Cols[i].Codes {
				id, _, err := m.tags.Intern(b.Cols[i].Dict.At(int(code)))
				if err != nil {
					t.Fatal(err)
				}
				v.Codes[r] = id
			}
			b.Cols[i] = v
		}
	}
	m.units[b.Table.Name] = append(m.units[b.Table.Name], b)
}

func (m *memSource) Scan(_ context.Context, req *pred.Request) (pred.Scan, error) {
	m.open.Add(1)
	return &memScan{m: m, req: req, units: m.rolled(req)}, nil
}

type memScan struct {
	m     *memSource
	req   *pred.Request
	units []*batch.Batch
}

func (s *memScan) Units() int { return len(s.units) }
func (s *memScan) Close()     { s.m.open.Add(-1) }

func (s *memScan) Read(ctx context.Context, unit int, dst *batch.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.m.onRead != nil {
		if err := s.m.onRead(ctx); err != nil {
			return err
		}
	}
	b := s.units[unit]
	rows := []int32{} // nil would stand for all rows
	for i, t := range b.Cols[s.req.Table.TimeColumn].I64 {
		if s.req.SourceTime && !s.m.stored[s.req.Table.Name] || s.req.From <= t && t < s.req.To {
			rows = append(rows, int32(i))
		}
	}
	for i := range s.req.Terms {
		t := &s.req.Terms[i]
		rows = t.Select(rows[:0], b.Cols[t.Column], b.N, rows, nil)
		if len(rows) == 0 {
			break
		}
	}
	if st := s.req.Stats; st != nil {
		st.HeadBatches.Add(1)
		st.RowsScanned.Add(int64(b.N))
		st.RowsMatched.Add(int64(len(rows)))
	}
	for len(dst.Cols) < len(s.req.Columns) {
		dst.Cols = append(dst.Cols, &batch.Vector{})
	}
	dst.N = len(rows)
	for i, c := range s.req.Columns {
		batch.Gather(dst.Cols[i], b.Cols[c], rows)
	}
	return nil
}

var testStart = time.Date(2026, 1, 5, 10, 0, 0, 0, time.UTC).UnixNano()

func ip16(s string) []byte {
	b := netip.MustParseAddr(s).As16()
	return b[:]
}

// fill makes a small world: 600 rows of t in six units, 240 flows in three, 90 samples in two. The same every time.
func fill(t testing.TB) *memSource {
	t.Helper()
	m := newMemSource(t)
	rng := rand.New(rand.NewPCG(1, 2))
	tab := m.mustTable("t")
	for u := range 6 {
		b := batch.NewBuilder(tab)
		for i := range 100 {
			fillRow(b, rng, testStart+int64(u*100+i)*int64(time.Second))
		}
		m.add(t, b.Seal())
	}
	fillFlows(t, m, rng)
	fillSamples(t, m)
	fillNetwork(t, m)
	return m
}

func fillRow(b *batch.Builder, rng *rand.Rand, at int64) {
	b.Int(0, at)
	if rng.IntN(5) > 0 {
		b.Int(1, int64(rng.IntN(40)-20))
	}
	b.Int(2, int64(rng.IntN(1000)))
	if rng.IntN(6) > 0 {
		b.Float(3, float64(rng.IntN(200)-100)/4)
	}
	if rng.IntN(7) > 0 {
		b.Bool(4, rng.IntN(2) == 0)
	}
	words := []string{"", "alpha", "beta", "Gamma", "delta/x", "delta/y", "ümlaut", "100%"}
	b.String(5, words[rng.IntN(len(words))])
	if n := rng.IntN(6); n > 0 {
		b.Text(6, ip16([]string{"10.0.0.1", "10.1.2.3", "192.168.7.7", "8.8.8.8", "2001:db8::1"}[n-1]))
	}
	b.Text(7, tags.AppendSet(nil, tags.Tag{Key: "k", Value: words[rng.IntN(3)]}, tags.Tag{Key: "http.route", Value: "/" + words[rng.IntN(2)+1]}))
	b.Int(8, int64(rng.IntN(100_000)))
	set := []tags.Tag{{Key: "job", Value: fmt.Sprintf("job%d", rng.IntN(3))}}
	if rng.IntN(3) > 0 {
		set = append(set, tags.Tag{Key: "pod", Value: fmt.Sprintf("pod-%d", rng.IntN(5))})
	}
	b.Tags(9, tags.AppendSet(nil, set...))
	b.EndRow()
}

func fillFlows(t testing.TB, m *memSource, rng *rand.Rand) {
	t.Helper()
	tab := m.mustTable("flows")
	col := tab.MustColumn
	for u := range 3 {
		b := batch.NewBuilder(tab)
		for i := range 80 {
			n := u*80 + i
			b.Int(col("time"), testStart+int64(n)*int64(10*time.Second))
			b.Int(col("flow_id"), int64(n))
			b.Text(col("client_ip"), ip16(fmt.Sprintf("10.0.0.%d", n%7+1)))
			b.Text(col("server_ip"), ip16(fmt.Sprintf("192.168.1.%d", n%3+1)))
			b.Int(col("client_port"), int64(40000+n))
			b.Int(col("server_port"), []int64{80, 443, 53}[n%3])
			b.String(col("protocol"), []string{"tcp", "tcp", "udp"}[n%3])
			b.String(col("close_type"), []string{"normal", "server_rst", "forced_report", "normal"}[n%4])
			b.Int(col("bytes_tx"), int64(rng.IntN(1000)))
			b.Int(col("bytes_rx"), int64(rng.IntN(5000)))
			if n%3 != 2 {
				b.Int(col("rtt_us"), int64(100+n))
			}
			b.Tags(col("client_tags"), tags.AppendSet(nil, tags.Tag{Key: "pod", Value: fmt.Sprintf("web-%d", n%4)}, tags.Tag{Key: "label.app", Value: "web"}))
			if n%5 > 0 {
				b.Tags(col("server_tags"), tags.AppendSet(nil, tags.Tag{Key: "service", Value: fmt.Sprintf("svc%d", n%3)}, tags.Tag{Key: "label.app", Value: "db"}))
			}
			b.EndRow()
		}
		m.add(t, b.Seal())
	}
}

func fillSamples(t testing.TB, m *memSource) {
	t.Helper()
	tab := m.mustTable("samples")
	for u := range 2 {
		b := batch.NewBuilder(tab)
		for i := range 45 {
			n := u*45 + i
			b.Int(0, testStart+int64(n)*int64(time.Second))
			b.Tags(1, tags.AppendSet(nil, tags.Tag{Key: "__name__", Value: []string{"up", "cpu_seconds"}[n%2]},
				tags.Tag{Key: "instance", Value: fmt.Sprintf("host%d", n%4)}))
			b.Float(2, float64(n)/2)
			b.EndRow()
		}
		m.add(t, b.Seal())
	}
}

// fillNetwork makes 120 rows of network_1s in two units, of 30 seconds, with several partials of a key and second.
func fillNetwork(t testing.TB, m *memSource) {
	t.Helper()
	tab := m.mustTable("network_1s")
	col := tab.MustColumn
	for u := range 2 {
		b := batch.NewBuilder(tab)
		for i := range 60 {
			n := u*60 + i
			b.Int(col("time"), testStart+int64(n/4)*int64(7*time.Second))
			b.String(col("protocol"), []string{"tcp", "udp"}[n%2])
			b.Int(col("server_port"), int64(80+n%3))
			b.Int(col("bytes_tx"), int64(n*10))
			b.Int(col("rtt_max_us"), int64(n))
			var s enc.Sketch
			s.Add(float64(100 + n))
			b.Text(col("rtt_sketch"), s.AppendTo(nil))
			b.Tags(col("server_tags"), tags.AppendSet(nil, tags.Tag{Key: "service", Value: fmt.Sprintf("svc%d", n%3)}))
			b.EndRow()
		}
		m.add(t, b.Seal())
	}
}
