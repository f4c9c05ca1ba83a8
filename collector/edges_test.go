package collector

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// tagger gives each address a tag of its own, or all the same.
type tagger struct {
	version uint64
	same    bool
	asked   int
}

func (g *tagger) Lookup(dst, addr []byte) []byte {
	g.asked++
	value := fmt.Sprintf("%x v%d", addr[12:], g.version)
	if g.same {
		value = "all"
	}
	return tags.AppendSet(dst, tags.Tag{Key: "ip", Value: value})
}

func (g *tagger) Version() uint64 { return g.version }

// edgeTable keeps the rows of edges a worker makes.
func edgeWorker(t testing.TB, g *tagger, o flow.Options) (*worker, *table) {
	t.Helper()
	rows := &table{}
	w, err := newWorker(schema.Builtin(), &place{agent: "me"}, g, o, func(b *batch.Batch) error {
		return rows.Write(context.Background(), b)
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, rows
}

func total(rows []map[string]string, column string) (n int64) {
	for _, r := range rows {
		var x int64
		fmt.Sscan(r[column], &x)
		n += x
	}
	return n
}

// TestTooManyEdges: past the bounds there are more rows of a second, and nothing is lost.
func TestTooManyEdges(t *testing.T) {
	const n = maxEarly + maxEdges + 1000
	sums, rows := map[string]int64{}, 0
	w, err := newWorker(schema.Builtin(), &place{}, &tagger{}, flow.Options{}, func(b *batch.Batch) error {
		if b.Table.Name != "network_1s" {
			return nil
		}
		rows += b.N
		for _, name := range []string{"packets_tx", "new_flow", "closed_flow", "flow_load"} {
			if v := b.Cols[b.Table.MustColumn(name)]; v != nil {
				for _, x := range v.I64 {
					sums[name] += x
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p := packet.Packet{TimeNanos: 1_700_000_000_000_000_000, WireLen: 100, Proto: packet.ProtoUDP, SrcPort: 1000, DstPort: 53}
	for i := range n {
		p.Dst = packet.Addr{10: 0xff, 11: 0xff, 12: 10, 13: byte(i >> 16), 14: byte(i >> 8), 15: byte(i)}
		w.table.Packet(&p)
	}
	w.table.Flush(0)
	if err := w.seal(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"packets_tx", "new_flow", "closed_flow", "flow_load"} {
		if sums[name] != n {
			t.Errorf("%s: %d, want %d", name, sums[name], n)
		}
	}
	m := w.edges.m
	if m.EarlyRows != maxEarly || m.Others < 1000 || rows > maxEarly+maxEdges+1 || m.NetworkRows != uint64(rows) || len(w.edges.network) != 0 || cap(w.edges.network) > 2*maxEdges {
		t.Errorf("%+v, %d rows", m, rows)
	}
}

// TestEdgesShareTagSets: addresses with the same tag set are one edge.
func TestEdgesShareTagSets(t *testing.T) {
	g := &tagger{same: true}
	w, rows := edgeWorker(t, g, flow.Options{})
	if err := w.frames(datagrams(1000, 1_700_000_000_000_000_000)); err != nil {
		t.Fatal(err)
	}
	w.table.Flush(0)
	if err := w.seal(); err != nil {
		t.Fatal(err)
	}
	network := rows.rows["network_1s"]
	if len(network) != 1 || network[0]["packets_tx"] != "1000" || network[0]["flow_load"] != "1000" || network[0]["agent"] != "me" ||
		network[0]["observation_point"] != "rest" || network[0]["server_port"] != "9999" || network[0]["protocol"] != "udp" {
		t.Errorf("%v", network)
	}
}

// TestEdgesHeedNewTags: what Lookup says from a version on counts from the next second on.
func TestEdgesHeedNewTags(t *testing.T) {
	const at int64 = 1_700_000_000_000_000_000
	g := &tagger{}
	w, rows := edgeWorker(t, g, flow.Options{})
	for i := range int64(6) {
		if i == 3 {
			g.version++
		}
		if err := w.frames(datagrams(1, at+i*1e9)); err != nil {
			t.Fatal(err)
		}
	}
	w.table.Flush(0)
	_ = w.seal()
	network := rows.rows["network_1s"]
	if len(network) != 6 {
		t.Fatalf("%d rows", len(network))
	}
	old := network[0]["server_tags"]
	for i, r := range network {
		if (r["server_tags"] == old) != (i < 3) {
			t.Errorf("second %d: %q, at first %q", i, r["server_tags"], old)
		}
	}
	if g.asked != 4 {
		t.Errorf("asked %d times", g.asked)
	}
}

// TestLateRequests: a request belongs to the second it began in, whenever its response comes.
func TestLateRequests(t *testing.T) {
	const at int64 = 1_700_000_000_000_000_000
	g := &tagger{}
	w, rows := edgeWorker(t, g, flow.Options{})
	f := &flow.Flow{}
	var want enc.Sketch
	for _, us := range []int64{0, 5, 5, 70_000} {
		w.Exchange(f, &l7.Exchange{Kind: l7.KindSession, Protocol: l7.HTTP, Endpoint: "/x", StartNanos: at, EndNanos: at + us*1000, Status: l7.StatusOK})
		want.Add(float64(us))
	}
	w.edges.SecondsOver(at + 1e9)
	w.Exchange(f, &l7.Exchange{Kind: l7.KindRequest, Protocol: l7.HTTP, Endpoint: "/x", StartNanos: at, Status: l7.StatusTimeout})
	w.Exchange(f, &l7.Exchange{Kind: l7.KindResponse, Protocol: l7.HTTP, Endpoint: "/\xff", StartNanos: at + 121e9, Status: l7.StatusServerError})
	w.edges.SecondsOver(at + 122e9)
	_ = w.seal()
	app := rows.rows["application_1s"]
	if len(app) != 3 || app[0]["time"] != fmt.Sprint(at) || app[1]["time"] != fmt.Sprint(at) || app[2]["time"] != fmt.Sprint(at+121e9) {
		t.Fatalf("%v", app)
	}
	for i, c := range []map[string]string{
		{"request": "4", "response": "4", "rrt_sum_us": "70010", "rrt_count": "4", "rrt_max_us": "70000", "endpoint": "/x", "rrt_sketch": string(want.AppendTo(nil))},
		{"request": "1", "timeout": "1", "endpoint": "/x", "l7_protocol": "http"},
		{"response": "1", "server_error": "1", "error": "1", "endpoint": "/\uFFFD"},
	} {
		for k, v := range c {
			if app[i][k] != v {
				t.Errorf("row %d: %s is %q, want %q", i, k, app[i][k], v)
			}
		}
	}
	if network := rows.rows["network_1s"]; len(network) != 1 || network[0]["rrt_sketch"] != string(want.AppendTo(nil)) || total(network, "rrt_count") != 0 {
		t.Errorf("%v", network)
	}
}

// TestEdgesOfManyRequests: the samples of a second are bounded, too.
func TestEdgesOfManyRequests(t *testing.T) {
	w, rows := edgeWorker(t, &tagger{}, flow.Options{})
	f := &flow.Flow{}
	const n = maxSamples + 10
	for i := range n {
		w.edges.exchange(f, &l7.Exchange{Kind: l7.KindSession, Protocol: l7.DNS, StartNanos: 1e18, EndNanos: 1e18 + int64(i%1000)*1000})
	}
	w.edges.SecondsOver(1e18 + 1e9)
	_ = w.seal()
	if app := rows.rows["application_1s"]; len(app) != 2 || total(app, "rrt_count") != n {
		t.Errorf("%d rows, %d samples", len(app), total(app, "rrt_count"))
	}
}

// TestImportWithoutTagger makes no rows of edges.
func TestImportWithoutTagger(t *testing.T) {
	file := filepath.Join(corpus(t), "l4", "http.pcap")
	var rows table
	if st, err := Import(context.Background(), file, &rows); err != nil || st.Edges != 0 || len(rows.rows["network_1s"]) != 0 {
		t.Errorf("%+v, %v", st, err)
	}
	st, err := Import(context.Background(), file, &rows, func(o *ImportOptions) { o.Tags = &tagger{} })
	if err != nil || st.Edges != int64(len(rows.rows["network_1s"])+len(rows.rows["application_1s"])) || st.Edges < 2 {
		t.Errorf("%+v, %v", st, err)
	}
}

// TestLiveEdges: rows of edges come while flows are open, and the counters tell.
func TestLiveEdges(t *testing.T) {
	var rows table
	w := watch(t, &rows, 3, func(o *Options) { o.Tags = &tagger{} })
	w.stop()
	m := w.ended(t)
	if got := total(rows.rows["network_1s"], "packets_tx"); got != 3 || m.Edges.NetworkRows != uint64(len(rows.rows["network_1s"])) {
		t.Errorf("%d packets, %+v", got, m.Edges)
	}
}

// TestEdgesDoNotAllocate: what is added up to edges that are known costs no memory.
func TestEdgesDoNotAllocate(t *testing.T) {
	w, _ := edgeWorker(t, &tagger{}, flow.Options{DisableL7: true})
	p := packet.Packet{TimeNanos: 1_700_000_000_000_000_000, WireLen: 100, Proto: packet.ProtoUDP, PayloadLen: 10, SrcPort: 1000, DstPort: 53}
	p.Src[15], p.Dst[15] = 1, 2
	flows := uint16(0)
	open := func() {
		flows++
		p.SrcPort = 1024 + flows%1000
		p.TimeNanos += 10_000
		w.table.Packet(&p)
	}
	f := &flow.Flow{}
	e := &l7.Exchange{Kind: l7.KindSession, Protocol: l7.HTTP, Endpoint: "/x", EndNanos: int64(5 * time.Millisecond)}
	request := func() {
		e.StartNanos = p.TimeNanos
		e.EndNanos = p.TimeNanos + 1000
		w.edges.exchange(f, e)
	}
	for range 10_000 {
		open()
		request()
	}
	w.edges.flush()
	for range 100 {
		open()
		request()
	}
	if n := testing.AllocsPerRun(1000, open); n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
	if n := testing.AllocsPerRun(1000, request); n != 0 {
		t.Errorf("%v allocations per request", n)
	}
}
