package cli

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
	"github.com/flowlake/flowlake/ingest"
	"github.com/flowlake/flowlake/query/render"
)

func TestSize(t *testing.T) {
	for in, want := range map[string]struct {
		bytes int64
		text  string
	}{
		"0": {0, "0B"}, "1": {1, "1B"}, "1024": {1024, "1KiB"}, "32MiB": {32 << 20, "32MiB"}, "1.5 gib": {3 << 29, "1536MiB"},
		"1GB": {1e9, "1000000000B"}, "10 B": {10, "10B"}, "2TiB": {2 << 40, "2TiB"},
	} {
		var v size
		if err := v.Set(in); err != nil || int64(v) != want.bytes || v.String() != want.text {
			t.Errorf("%q: %d %s %v", in, v, &v, err)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "1XB", "1e30", "NaN", "Inf", "1 2"} {
		var v size
		if err := v.Set(in); err == nil {
			t.Errorf("%q is taken as %d", in, v)
		}
	}
}

func TestPairsAndDays(t *testing.T) {
	var p pairs
	for _, s := range []string{"b=2, a = 1", "a=x=y", "c="} {
		if err := p.Set(s); err != nil {
			t.Fatal(err)
		}
	}
	if p.String() != "a=x=y,b=2,c=" {
		t.Error(p.String())
	}
	for _, s := range []string{"", "a", "=1", "a=1,,"} {
		if err := (&pairs{}).Set(s); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
	for in, want := range map[string]time.Duration{"3d": 72 * time.Hour, "1.5d": 36 * time.Hour, "72h": 72 * time.Hour, "0": 0, "90m": 90 * time.Minute} {
		if d, err := parseDays(in); err != nil || d != want {
			t.Errorf("%q: %v %v", in, d, err)
		}
	}
	for _, in := range []string{"", "d", "-1d", "-1h", "1000000d", "3w"} {
		if d, err := parseDays(in); err == nil {
			t.Errorf("%q is taken as %v", in, d)
		}
	}
}

func TestHumanBytes(t *testing.T) {
	for in, want := range map[float64]string{0: "0 B", 999: "999 B", 1024: "1 KiB", 6021: "5.88 KiB", 3 << 30: "3 GiB"} {
		if got := humanBytes(in); got != want {
			t.Errorf("%v: %q, want %q", in, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	p := &progress{w: &out, name: "x.pcap (1 of 1)", now: func() time.Time { return now }, began: now}
	for range 25 { // lines now and then where there is no terminal
		now = now.Add(time.Second)
		p.update(5<<20, 10<<20)
	}
	if want := "x.pcap (1 of 1): 50 %, 512 KiB/s\nx.pcap (1 of 1): 50 %, 256 KiB/s\n"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	p.end()
	out.Reset()
	p = &progress{w: &out, width: 40, name: "x.pcap", now: func() time.Time { return now }, began: now}
	now = now.Add(time.Second)
	p.update(1<<20, 2<<20)
	p.end()
	if want := "\r\x1b[Kx.pcap ▕████████─────────▏ 50 % 1 MiB/s\r\x1b[K"; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	for width := range 120 {
		for _, total := range []int64{0, 1 << 20} {
			if got := []rune(bar(strings.Repeat("long/", 20)+"name.pcap", width, 1<<19, total, "1 MiB/s")); len(got) > width {
				t.Errorf("width %d: %d characters %q", width, len(got), string(got))
			}
		}
	}
}

func TestLimited(t *testing.T) {
	now := time.Unix(1000, 0)
	l := &limited{every: time.Minute, now: func() time.Time { return now }}
	for i, want := range []struct {
		held int
		ok   bool
	}{{0, true}, {0, false}, {0, false}, {2, true}} {
		if i == 3 {
			now = now.Add(time.Minute)
		}
		if held, ok := l.next(); held != want.held || ok != want.ok {
			t.Errorf("call %d: %d %v", i, held, ok)
		}
	}
}

func TestLoopback(t *testing.T) {
	for host, want := range map[string]bool{"localhost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "example.com": false} {
		if isLoopback(host) != want {
			t.Errorf("%q: %v", host, !want)
		}
	}
}

// Every figure has one description and one kind, and Prometheus takes them all.
func TestCounters(t *testing.T) {
	d, err := db.Open("data", func(o *db.Options) { o.FS = vfs.NewMem() })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	read := func() []counter {
		list := append(collectorCounters(collector.Metrics{Undecoded: map[string]uint64{"other": 1}, DroppedRows: map[string]uint64{"sink": 2}}),
			pipelineCounters(ingest.Metrics{Dropped: map[string]int64{"future": 1}})...)
		return append(append(list, dbCounters(d.Metrics())...), newQueryLog().counters()...)
	}
	seen := map[string]bool{}
	for _, c := range read() {
		key := c.stage + "." + c.name + "." + c.cause
		if seen[key] || c.doc == "" || c.name == "" {
			t.Errorf("%s: twice, or without a description", key)
		}
		seen[key] = true
	}
	reg := prometheus.NewPedanticRegistry()
	if err := reg.Register(promCounters{read}); err != nil {
		t.Fatal(err)
	}
	families, err := reg.Gather()
	if err != nil || len(families) < 50 {
		t.Errorf("%d families, %v", len(families), err)
	}
}

type someRows struct {
	n   int
	err error
}

func (s *someRows) Columns() []render.Column { return nil }
func (s *someRows) Close() error             { return nil }
func (s *someRows) Next(context.Context) (*batch.Batch, error) {
	if s.n == 0 {
		return nil, s.err
	}
	s.n--
	return &batch.Batch{N: 10}, nil
}

func TestQueryLog(t *testing.T) {
	l := newQueryLog()
	now := time.Unix(1000, 0)
	l.now = func() time.Time { return now }
	run := l.track(func(_ context.Context, sql string, _ ...any) (api.Rows, error) {
		switch sql {
		case "bad":
			return nil, errors.New("bad statement")
		case "late":
			return &someRows{1, errors.New("late failure")}, nil
		}
		return &someRows{2, io.EOF}, nil
	})
	ctx := context.Background()
	if _, err := run(ctx, "bad"); err == nil {
		t.Fatal("no error")
	}
	for _, sql := range []string{"late", strings.Repeat("é", shownSQL)} {
		rows, err := run(ctx, sql)
		if err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, err = rows.Next(ctx)
		}
		now = now.Add(2 * time.Second)
		for range 2 { // a second Close changes nothing
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := run(ctx, "running"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	list := l.list()
	want := []queryInfo{
		{id: 1, state: "failed", err: "bad statement"}, {id: 2, state: "failed", err: "late failure", rows: 10, seconds: 2},
		{id: 3, state: "done", rows: 20, seconds: 2}, {id: 4, state: "running", seconds: 1},
	}
	for i, w := range want {
		g := list[i]
		if g.id != w.id || g.state != w.state || g.err != w.err || g.rows != w.rows || g.seconds != w.seconds || len(g.sql) > shownSQL+3 {
			t.Errorf("%+v, want %+v", g, w)
		}
	}
	for range 2 * recentQueries {
		_, _ = run(ctx, "bad")
	}
	if n := len(l.list()); n != recentQueries+1 {
		t.Errorf("%d statements are remembered", n)
	}
}

// A default address that is taken leaves the door closed; one that was asked for is an error.
func TestListen(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var out bytes.Buffer
	f := &serverFlags{http: taken.Addr().String(), logFlags: logFlags{logFormat: "json"}}
	log := f.newLogger(&out)
	if l, err := f.listen(log); l != nil || err != nil || !strings.Contains(out.String(), "stays closed") {
		t.Errorf("default: %v %v %q", l, err, out.String())
	}
	f.httpAsked = true
	if l, err := f.listen(log); l != nil || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("asked for: %v %v", l, err)
	}
	f.http = "off"
	if l, err := f.listen(log); l != nil || err != nil {
		t.Errorf("off: %v %v", l, err)
	}
}

func TestOwnTraffic(t *testing.T) {
	for address, want := range map[string]capture.Rule{
		"127.0.0.1:0": {Prefix: netip.MustParsePrefix("127.0.0.1/32"), Proto: 6},
		"0.0.0.0:0":   {Proto: 6},
	} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		want.Port = l.Addr().(*net.TCPAddr).AddrPort().Port()
		if got := ownTraffic(l, nil); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %+v, want %+v", address, got, want)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := ownTraffic(nil, nil); got != nil {
		t.Errorf("closed door: %+v", got)
	}
}

// A --tag wins over what is known of the host.
func TestKnowHost(t *testing.T) {
	v := newWatcher(&watchFlags{tags: pairs{"env": "prod", "host": "named"}}, slog.New(slog.DiscardHandler), "real")
	v.knowHost()
	a := netip.MustParseAddr("127.0.0.1").As16()
	set := v.catalogue.Lookup(nil, a[:])
	for key, want := range map[string]string{"env": "prod", "host": "named", "os": runtime.GOOS} {
		if got, _ := tags.Get(set, key); string(got) != want {
			t.Errorf("%s is %q, want %q", key, got, want)
		}
	}
}
