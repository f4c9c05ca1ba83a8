package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packet"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// corpus is the folder of captures; the test is skipped where there is none.
func corpus(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("FLOWLAKE_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no corpus of captures (FLOWLAKE_CORPUS): %v", err)
	}
	return dir
}

// table keeps rows as text, by column name; wait makes it slow.
type table struct {
	mu   sync.Mutex
	rows map[string][]map[string]string
	wait time.Duration
}

func (s *table) Write(_ context.Context, b *batch.Batch) error {
	time.Sleep(s.wait)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rows == nil {
		s.rows = map[string][]map[string]string{}
	}
	for i := range b.N {
		row := map[string]string{}
		for c, v := range b.Cols {
			if v == nil || v.IsNull(i) {
				if col := b.Table.Columns[c]; v == nil && col.Role == schema.Counter {
					row[col.Name] = "0" // a column that was never set
				}
				continue
			}
			row[b.Table.Columns[c].Name] = cell(v, i)
		}
		s.rows[b.Table.Name] = append(s.rows[b.Table.Name], row)
	}
	return nil
}

func (s *table) find(name string, match func(map[string]string) bool) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rows[name] {
		if match(r) {
			return r
		}
	}
	return nil
}

func cell(v *batch.Vector, i int) string {
	switch {
	case v.Type == schema.Inet && len(v.Bytes(i)) == 16:
		return netip.AddrFrom16([16]byte(v.Bytes(i))).Unmap().String()
	case v.Type.Physical() == schema.Int64:
		return fmt.Sprint(v.I64[i])
	}
	return string(v.Bytes(i))
}

func captures(t *testing.T, folders ...string) []string {
	t.Helper()
	var files []string
	for _, f := range folders {
		list, err := filepath.Glob(filepath.Join(corpus(t), f, "*.pcap"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, list...)
	}
	if len(files) == 0 {
		t.Fatal("the corpus has no captures")
	}
	return files
}

// TestImportDependsOnTheFileAlone imports each capture twice, the second time into a sink that is slow.
func TestImportDependsOnTheFileAlone(t *testing.T) {
	for _, file := range captures(t, "l4", "tunnel", "l7/http", "l7/dns") {
		var quick table
		slow := table{wait: 5 * time.Millisecond}
		a, err := Import(context.Background(), file, &quick)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		b, err := Import(context.Background(), file, &slow)
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if fmt.Sprint(quick.rows) != fmt.Sprint(slow.rows) || a.Flows != b.Flows || a.Spans != b.Spans {
			t.Errorf("%s: two imports give different rows", file)
		}
		if a.Packets == 0 || a.Flows == 0 {
			t.Errorf("%s: %+v", file, a)
		}
	}
}

// TestImportRows looks at what some captures are known to hold.
func TestImportRows(t *testing.T) {
	dir := corpus(t)
	for _, c := range []struct {
		file, table string
		want        map[string]string
	}{
		{"l4/tcp-one-syn.pcap", "flows", map[string]string{"close_type": "server_syn_miss", "status": "server_error", "syn_count": "1", "protocol": "tcp", "source": "packet", "observation_point": "rest"}},
		{"l4/syn-1.pcap", "flows", map[string]string{"close_type": "client_port_reuse", "status": "client_error"}},
		{"l4/server-reset.pcap", "flows", map[string]string{"close_type": "server_direct_rst", "status": "server_error"}},
		{"l4/client-no-response.pcap", "flows", map[string]string{"close_type": "server_establish_rst", "status": "server_error"}},
		{"l4/art-continues-payload-len-larger-than-1.pcap", "flows", map[string]string{"rtt_us": "30548", "rtt_client_us": "20322", "rtt_server_us": "10226",
			"srt_sum_us": "10040", "art_sum_us": "30358", "cit_sum_us": "15033", "syn_count": "1", "synack_count": "1", "fin_count": "2"}},
		{"l4/http.pcap", "spans", map[string]string{"l7_protocol": "http", "type": "session", "response_status": "ok", "response_code": "200", "duration_us": "149"}},
		{"l7/dns/nxdomain.pcap", "spans", map[string]string{"l7_protocol": "dns", "response_status": "client_error", "response_code": "3"}},
		{"tunnel/ff-vxlan.pcap", "flows", map[string]string{"tunnel_type": "vxlan"}},
		{"tunnel/geneve.pcap", "flows", map[string]string{"tunnel_type": "geneve"}},
		{"tunnel/ipip.pcap", "flows", map[string]string{"tunnel_type": "ipip"}},
		{"tunnel/vmware-gre-teb.pcap", "flows", map[string]string{"tunnel_type": "gre"}},
		{"tunnel/vxlan-nsh.pcap", "flows", map[string]string{"tunnel_type": "vxlan_nsh"}},
	} {
		var s table
		if _, err := Import(context.Background(), filepath.Join(dir, c.file), &s); err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		if s.find(c.table, func(r map[string]string) bool {
			for k, v := range c.want {
				if r[k] != v {
					return false
				}
			}
			return true
		}) == nil {
			t.Errorf("%s: no row of %s with %v among\n%v", c.file, c.table, c.want, s.rows[c.table])
		}
	}
}

// TestImportKeepsWhatItCouldRead cuts a capture within its last packet.
func TestImportKeepsWhatItCouldRead(t *testing.T) {
	whole, err := os.ReadFile(filepath.Join(corpus(t), "l4", "http.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.pcap")
	if err := os.WriteFile(cut, whole[:len(whole)-5], 0o600); err != nil {
		t.Fatal(err)
	}
	var s table
	stats, err := Import(context.Background(), cut, &s)
	if !errors.Is(err, capture.ErrTruncated) || stats.Flows == 0 || len(s.rows["flows"]) == 0 {
		t.Fatalf("%+v, %v", stats, err)
	}
	garbage := filepath.Join(t.TempDir(), "garbage.pcap")
	if err := os.WriteFile(garbage, []byte(strings.Repeat("no capture at all ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Import(context.Background(), garbage, &s); !errors.Is(err, capture.ErrNotCapture) {
		t.Fatalf("garbage: %v", err)
	}
}

type failing struct{}

func (failing) Write(context.Context, *batch.Batch) error { return errors.New("no room") }

func TestImportSaysWhenTheSinkFails(t *testing.T) {
	_, err := Import(context.Background(), filepath.Join(corpus(t), "l4", "http.pcap"), failing{})
	if err == nil || !strings.Contains(err.Error(), "no room") {
		t.Fatalf("%v", err)
	}
}

// live starts a collector on the loopback interface, or skips.
func live(t *testing.T, sink batch.Sink, opts ...func(*Options)) (c *Collector, stop func()) {
	t.Helper()
	c, err := New(sink, append([]func(*Options){func(o *Options) { o.Interfaces = []string{"lo"}; o.RingBytes = 4 << 20 }}, opts...)...)
	if errors.Is(err, capture.ErrPermission) || errors.Is(err, capture.ErrUnsupported) {
		t.Skipf("no live capture here: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Errorf("run: %v", err)
				}
			case <-time.After(2 * time.Minute):
				t.Error("the collector does not stop")
			}
		})
	}
	t.Cleanup(stop)
	return c, stop
}

func serve(t *testing.T) (url string, port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/missing" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "hello")
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return "http://" + l.Addr().String(), l.Addr().(*net.TCPAddr).Port
}

func get(t *testing.T, url string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
}

// TestLiveRows asks a local web server and wants the rows soon after: within two seconds on a machine that has time for us,
// which only the log says, since tests do not own one.
func TestLiveRows(t *testing.T) {
	url, port := serve(t)
	var s table
	c, stop := live(t, &s, func(o *Options) { o.Agent = "me" })
	began := time.Now()
	get(t, url+"/missing?q=1")
	mine := func(r map[string]string) bool { return r["server_port"] == fmt.Sprint(port) }
	var span, flow map[string]string
	for deadline := began.Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if span, flow = s.find("spans", mine), s.find("flows", mine); span != nil && flow != nil {
			break
		}
	}
	took := time.Since(began)
	drops := c.Metrics().Capture.KernelDrops // of a machine that has no time for us while others fill the ring
	if (span == nil || flow == nil) && drops > 0 {
		t.Skipf("the kernel dropped %d packets", drops)
	}
	if span == nil || flow == nil {
		t.Fatalf("after %v: span %v, flow %v; %+v", took, span, flow, c.Metrics())
	}
	t.Logf("both rows were there after %v", took)
	for k, want := range map[string]string{"request_type": "GET", "request_resource": "/missing?q=1", "response_code": "404", "response_status": "client_error",
		"type": "session", "observation_point": "local", "agent": "me", "interface": "lo", "client_ip": "127.0.0.1", "flow_id": flow["flow_id"]} {
		if span[k] != want {
			t.Errorf("span %s = %q, want %q", k, span[k], want)
		}
	}
	for k, want := range map[string]string{"close_type": "normal", "status": "ok", "syn_count": "1", "synack_count": "1", "fin_count": "2",
		"l7_protocol": "http", "l7_request": "1", "l7_client_error": "1", "retrans_tx": "0"} {
		if flow[k] != want {
			t.Errorf("flow %s = %q, want %q", k, flow[k], want)
		}
	}
	if flow["rtt_us"] == "" {
		t.Error("no rtt")
	}
	stop()
	if m := c.Metrics(); m.DroppedRows["queue_full"] != 0 || m.Rows == 0 || m.Frames == 0 {
		t.Errorf("%+v", m)
	}
}

// TestStopReportsOpenFlows: what is open when the collector stops is not lost.
func TestStopReportsOpenFlows(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var s table
	c, stop := live(t, &s)
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for deadline := time.Now().Add(time.Minute); c.Metrics().Flow.Created == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the connection was not seen")
		}
	}
	stop()
	port := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	r := s.find("flows", func(r map[string]string) bool { return r["server_port"] == port })
	if r == nil || r["close_type"] != "forced_report" {
		t.Fatalf("open flow: %v", r)
	}
}

// TestOwnTrafficIsLeftOut excludes a port in the kernel.
func TestOwnTrafficIsLeftOut(t *testing.T) {
	url, port := serve(t)
	other, otherPort := serve(t)
	var s table
	_, stop := live(t, &s, func(o *Options) { o.Exclude = []capture.Rule{{Port: uint16(port)}} })
	get(t, url)
	get(t, other)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if s.find("spans", func(r map[string]string) bool { return r["server_port"] == fmt.Sprint(otherPort) }) != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other server's request was not seen")
		}
	}
	stop()
	if r := s.find("flows", func(r map[string]string) bool { return r["server_port"] == fmt.Sprint(port) }); r != nil {
		t.Fatalf("excluded traffic was captured: %v", r)
	}
}

// TestSlowSinkDropsAndCounts: capture goes on, rows are dropped by cause.
func TestSlowSinkDropsAndCounts(t *testing.T) {
	url, _ := serve(t)
	s := table{wait: 300 * time.Millisecond}
	c, stop := live(t, &s, func(o *Options) { o.QueueBytes, o.SealEvery = 1, 10*time.Millisecond })
	deadline := time.Now().Add(time.Minute)
	for c.Metrics().DroppedRows["queue_full"] == 0 {
		get(t, url)
		if time.Now().After(deadline) {
			t.Fatalf("nothing was dropped: %+v", c.Metrics())
		}
	}
	stop() // that rows were dropped says that the slow sink did not hold up capture
}

func TestAddFields(t *testing.T) {
	type inner struct{ A [2]uint32 }
	type outer struct {
		N int
		U uint64
		I inner
	}
	a, b := outer{1, 2, inner{[2]uint32{3, 4}}}, outer{10, 20, inner{[2]uint32{30, 40}}}
	addFields(&a, &b)
	if want := (outer{11, 22, inner{[2]uint32{33, 44}}}); a != want {
		t.Fatalf("%+v", a)
	}
}

func TestObservationPoint(t *testing.T) {
	a, b, far := packet.Addr{15: 1}, packet.Addr{15: 2}, packet.Addr{15: 3}
	p := &place{local: map[packet.Addr]bool{a: true, b: true}}
	for _, c := range []struct {
		client, server packet.Addr
		want           string
	}{{a, b, "local"}, {a, far, "c"}, {far, b, "s"}, {far, far, "rest"}} {
		if got := p.point(c.client, c.server); got != c.want {
			t.Errorf("%v to %v: %s, want %s", c.client, c.server, got, c.want)
		}
	}
}
