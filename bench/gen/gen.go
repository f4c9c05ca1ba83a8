// Package gen makes rows that look like those of a busy cluster, for benchmarks and tests: seeded, so that the same seed
// gives the same rows on every machine.
package gen

import (
	"fmt"
	"math/rand/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Options shape the traffic. Zero values take the defaults.
type Options struct {
	// Seed chooses the traffic; equal seeds give equal rows.
	Seed uint64
	// Edges is the number of distinct client/server pairs that talk; default 20000. A few talk most of the time (zipf).
	Edges int
	// Services is the number of services; default 200. Each has up to 40 pods, each pod a tag set and an address.
	Services int
	// StartNanos is the time of the first row, Unix nanoseconds; default 2026-01-01.
	StartNanos int64
	// RowsPerSecond says how fast time goes on; default 100000.
	RowsPerSecond int
}

// world is the cluster whose traffic is made.
type world struct {
	rng   *rand.Rand
	zipf  *rand.Zipf
	edges []edge
	pods  []pod
	now   int64
	step  int64 // nanoseconds between two rows
	ids   uint64
}

type pod struct {
	tags    uint32 // tag-set id
	service int
	ip      [16]byte
	agent   int
}

type edge struct {
	client, server int // pods
	port           int64
	protocol, l7   string
	point          string
	endpoints      []string
	rtt            float64 // mean, microseconds
}

var (
	l7s       = []string{"http", "http", "http", "grpc", "grpc", "mysql", "redis", "kafka", "dns", ""}
	l7Ports   = map[string]int64{"http": 8080, "grpc": 9090, "mysql": 3306, "redis": 6379, "kafka": 9092, "dns": 53, "": 443}
	points    = []string{"c", "s", "c-p", "s-p", "c-nd", "s-nd"}
	closeType = []string{"normal", "normal", "normal", "forced_report", "forced_report", "forced_report", "server_rst", "client_rst", "transfer_timeout"}
	verbs     = []string{"GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE"}
	nouns     = []string{"users", "orders", "carts", "items", "payments", "sessions", "search", "stock", "prices", "reviews"}
)

func newWorld(o Options) *world {
	if o.Edges == 0 {
		o.Edges = 20000
	}
	if o.Services == 0 {
		o.Services = 200
	}
	if o.StartNanos == 0 {
		o.StartNanos = 1767225600e9
	}
	if o.RowsPerSecond == 0 {
		o.RowsPerSecond = 100000
	}
	w := &world{rng: rand.New(rand.NewPCG(o.Seed, 0x9e3779b97f4a7c15)), now: o.StartNanos, step: int64(1e9) / int64(o.RowsPerSecond)}
	service := make([][]int, o.Services)
	for s := range service {
		for range 1 + w.rng.IntN(40) {
			n := len(w.pods)
			p := pod{tags: uint32(n + 1), service: s, agent: w.rng.IntN(64)}
			p.ip = [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: byte(p.agent), 14: byte(n >> 8), 15: byte(n)}
			service[s] = append(service[s], n)
			w.pods = append(w.pods, p)
		}
	}
	w.edges = make([]edge, o.Edges)
	for i := range w.edges {
		e := &w.edges[i]
		e.client, e.server = w.rng.IntN(len(w.pods)), w.rng.IntN(len(w.pods))
		e.l7 = l7s[w.pods[e.server].service%len(l7s)]
		e.port, e.protocol, e.point = l7Ports[e.l7], "tcp", points[w.rng.IntN(len(points))]
		if e.l7 == "dns" {
			e.protocol = "udp"
		}
		e.rtt = 100 + 3000*w.rng.Float64()*w.rng.Float64()
		for range 1 + w.rng.IntN(8) {
			e.endpoints = append(e.endpoints, fmt.Sprintf("/api/v%d/%s", 1+w.rng.IntN(2), nouns[w.rng.IntN(len(nouns))]))
		}
	}
	w.zipf = rand.NewZipf(w.rng, 1.1, 50, uint64(len(w.edges)-1))
	return w
}

// tick is the time of the next row: they come almost in order.
func (w *world) tick() int64 {
	w.now += w.step/2 + w.rng.Int64N(w.step+1)
	return w.now - w.rng.Int64N(1e6)
}

// around is a number spread widely around mean, as latencies and sizes are.
func (w *world) around(mean float64) int64 { return int64(mean * w.rng.ExpFloat64()) }

func (w *world) ephemeral() int64 { return 32768 + w.rng.Int64N(28232) }

func (w *world) hex(b []byte) []byte {
	const digits = "0123456789abcdef"
	for i := 0; i < len(b); i += 16 {
		v := w.rng.Uint64()
		for k := i; k < min(i+16, len(b)); k++ {
			b[k] = digits[v&15]
			v >>= 4
		}
	}
	return b
}

// Flows makes batches of table flows.
type Flows struct {
	world
	b   *batch.Builder
	col map[string]int
}

// NewFlows starts a stream of flow reports.
func NewFlows(o Options) *Flows {
	t := schema.Flows()
	f := &Flows{world: *newWorld(o), b: batch.NewBuilder(t), col: map[string]int{}}
	for i, c := range t.Columns {
		f.col[c.Name] = i
	}
	return f
}

// Next is the next n rows. Tag-set columns hold ids, as storage wants them (1 to a few thousand).
func (f *Flows) Next(n int) *batch.Batch {
	client, server := make([]uint32, n), make([]uint32, n)
	for i := range n {
		e := &f.edges[f.zipf.Uint64()]
		client[i], server[i] = f.pods[e.client].tags, f.pods[e.server].tags
		f.row(e)
		f.b.EndRow()
	}
	b := f.b.Seal()
	b.Cols[f.col["client_tags"]] = &batch.Vector{Type: schema.TagSet, Codes: client}
	b.Cols[f.col["server_tags"]] = &batch.Vector{Type: schema.TagSet, Codes: server}
	return b
}

func (f *Flows) row(e *edge) {
	b, rng := f.b, f.rng
	num := func(name string, v int64) { b.Int(f.col[name], v) }
	text := func(name, v string) { b.String(f.col[name], v) }
	now := f.tick()
	long := rng.IntN(10) == 0
	life := f.around(40e6)
	if long {
		life = 60e9 + f.around(300e9)
	}
	num("time", now)
	num("start_time", now-life)
	num("end_time", now)
	num("flow_id", int64(rng.Uint64()>>1))
	how := closeType[rng.IntN(len(closeType))]
	text("close_type", how)
	status := "ok"
	if how == "server_rst" || how == "transfer_timeout" {
		status = "server_error"
	}
	text("status", status)
	b.Bool(f.col["is_new"], !long)
	c, s := &f.pods[e.client], &f.pods[e.server]
	b.Text(f.col["client_ip"], c.ip[:])
	b.Text(f.col["server_ip"], s.ip[:])
	num("client_port", f.ephemeral())
	num("server_port", e.port)
	text("protocol", e.protocol)
	text("l7_protocol", e.l7)
	text("source", "packet")
	text("observation_point", e.point)
	text("agent", fmt.Sprintf("node-%02d", c.agent))
	text("interface", "eth0")
	num("direction_score", 255)
	requests := 1 + f.around(4)
	packets := 2*requests + 3
	sent, received := requests*(80+f.around(200)), requests*(200+f.around(2000))
	num("packets_tx", packets)
	num("packets_rx", packets+received/1400)
	num("bytes_tx", sent+packets*66)
	num("bytes_rx", received+packets*66)
	num("payload_bytes_tx", sent)
	num("payload_bytes_rx", received)
	f.performance(num, e, how, requests)
}

// performance sets the columns of delays, retransmissions and application metrics.
func (f *Flows) performance(num func(string, int64), e *edge, how string, requests int64) {
	rng := f.rng
	if e.protocol == "tcp" {
		num("tcp_flags_tx", 0x1b)
		num("tcp_flags_rx", 0x1b)
		if how != "forced_report" {
			num("syn_count", 1)
			num("synack_count", 1)
			num("fin_count", 2)
			half := f.around(e.rtt / 2)
			num("rtt_us", 2*half+1)
			num("rtt_client_us", half)
			num("rtt_server_us", half+1)
		}
		if rng.IntN(50) == 0 {
			num("retrans_tx", 1+rng.Int64N(4))
			num("retrans_rx", rng.Int64N(3))
			num("ooo_rx", rng.Int64N(2))
		}
		if rng.IntN(500) == 0 {
			num("zero_window_rx", 1)
		}
		srt := f.around(e.rtt)
		num("srt_sum_us", srt*requests)
		num("srt_count", requests)
		num("srt_max_us", srt+f.around(50))
	}
	if e.l7 == "" {
		return
	}
	art := 300 + f.around(5*e.rtt)
	num("art_sum_us", art*requests)
	num("art_count", requests)
	num("art_max_us", art+f.around(500))
	num("l7_request", requests)
	num("l7_response", requests)
	if rng.IntN(40) == 0 {
		num("l7_server_error", 1)
	}
	num("rrt_sum_us", art*requests)
	num("rrt_count", requests)
	num("rrt_max_us", art+f.around(500))
}

// Spans makes batches of table spans.
type Spans struct {
	world
	b   *batch.Builder
	col map[string]int
	// the trace in hand: a few spans share one
	trace, parent []byte
	left          int
}

// NewSpans starts a stream of spans.
func NewSpans(o Options) *Spans {
	t := schema.Spans()
	s := &Spans{world: *newWorld(o), b: batch.NewBuilder(t), col: map[string]int{}, trace: make([]byte, 32), parent: make([]byte, 16)}
	for i, c := range t.Columns {
		s.col[c.Name] = i
	}
	return s
}

// Next is the next n rows. Tag-set columns hold ids.
func (s *Spans) Next(n int) *batch.Batch {
	client, server := make([]uint32, n), make([]uint32, n)
	for i := range n {
		e := &s.edges[s.zipf.Uint64()]
		client[i], server[i] = s.pods[e.client].tags, s.pods[e.server].tags
		s.row(e)
		s.b.EndRow()
	}
	b := s.b.Seal()
	b.Cols[s.col["client_tags"]] = &batch.Vector{Type: schema.TagSet, Codes: client}
	b.Cols[s.col["server_tags"]] = &batch.Vector{Type: schema.TagSet, Codes: server}
	return b
}

func (s *Spans) row(e *edge) {
	b, rng := s.b, s.rng
	num := func(name string, v int64) { b.Int(s.col[name], v) }
	text := func(name, v string) { b.String(s.col[name], v) }
	now, took := s.tick(), 200+s.around(4*e.rtt)
	s.ids++
	num("time", now)
	num("end_time", now+1000*took)
	num("duration_us", took)
	num("id", int64(s.ids<<8|uint64(rng.IntN(256))))
	num("flow_id", int64(rng.Uint64()>>1))
	text("type", "session")
	c, v := &s.pods[e.client], &s.pods[e.server]
	b.Text(s.col["client_ip"], c.ip[:])
	b.Text(s.col["server_ip"], v.ip[:])
	num("client_port", s.ephemeral())
	num("server_port", e.port)
	text("protocol", e.protocol)
	text("source", "ebpf")
	text("observation_point", e.point)
	text("agent", fmt.Sprintf("node-%02d", c.agent))
	text("interface", "eth0")
	text("l7_protocol", e.l7)
	text("version", "1.1")
	endpoint := e.endpoints[rng.IntN(len(e.endpoints))]
	text("request_type", verbs[rng.IntN(len(verbs))])
	text("request_domain", fmt.Sprintf("svc-%d.prod", v.service))
	text("request_resource", fmt.Sprintf("%s/%d", endpoint, rng.IntN(100000)))
	text("endpoint", endpoint)
	num("request_bytes", 100+s.around(300))
	num("response_bytes", 200+s.around(4000))
	code, status := int64(200), "ok"
	switch rng.IntN(100) {
	case 0:
		code, status = 500, "server_error"
	case 1, 2:
		code, status = 404, "client_error"
	}
	num("response_code", code)
	text("response_status", status)
	s.identify()
	text("service_name", fmt.Sprintf("svc-%d", v.service))
	num("thread_request", 1000+rng.Int64N(64))
	num("thread_response", 1000+rng.Int64N(64))
	num("syscall_trace_id_request", int64(s.ids*3))
	num("syscall_trace_id_response", int64(s.ids*3+1))
	num("tcp_seq_request", int64(rng.Uint32()))
	num("tcp_seq_response", int64(rng.Uint32()))
	num("client_pid", 100+rng.Int64N(4000))
	num("server_pid", 100+rng.Int64N(4000))
	text("client_process", fmt.Sprintf("app-%d", c.service))
	text("server_process", fmt.Sprintf("app-%d", v.service))
}

// identify sets the ids of a span: a trace goes on for some rows, each the child of the one before.
func (s *Spans) identify() {
	if s.left == 0 {
		s.left = 1 + s.rng.IntN(12)
		s.hex(s.trace)
		clear(s.parent)
	}
	s.left--
	s.b.Text(s.col["trace_id"], s.trace)
	if s.parent[0] != 0 {
		s.b.Text(s.col["parent_span_id"], s.parent)
	}
	s.b.Text(s.col["span_id"], s.hex(s.parent))
}
