package gen

import (
	"fmt"
	"strconv"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

var (
	verbs = [...]string{"GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE"}
	nouns = [...]string{"users", "orders", "carts", "items", "payments", "sessions", "search", "stock", "prices", "reviews"}
)

// mostSpans is how many spans a trace has at most.
const mostSpans = 24

// Spans makes batches of the table spans: traces that go from service to service. Not safe for concurrent use.
type Spans struct {
	o       Options
	rnd     rnd
	cluster *cluster
	now     int64
	step    int64 // nanoseconds between two traces, on average
	seq     uint64
	made    []span // of the last trace, from next on not handed out
	next    int
	minute  int64
	b       *batch.Builder
	col     map[string]int
}

// span is a row to be made.
type span struct {
	client, server uint32
	parent         int // in the trace, -1 for the first
	start, took    int64
	id             uint64
	trace          [2]uint64
	thread         uint64
}

// NewSpans starts a stream of spans.
func NewSpans(o Options) *Spans {
	o.setDefaults()
	t := schema.Spans()
	s := &Spans{o: o, rnd: newRnd(o.Seed, 3), cluster: newCluster(&o), now: o.StartNanos, b: batch.NewBuilder(t), col: map[string]int{}}
	s.step = max(1, int64(1e9)*meanSpans/int64(o.SpansPerSecond))
	s.minute = s.now / minute
	for i, c := range t.Columns {
		s.col[c.Name] = i
	}
	return s
}

// meanSpans is about how many spans a trace has.
const meanSpans = 6

// Next is the next n rows. Tag-set columns hold ids; ByValue and PodTags make sets of them.
func (s *Spans) Next(n int) *batch.Batch {
	client, server := make([]uint32, n), make([]uint32, n)
	for i := range n {
		if s.next == len(s.made) {
			s.trace()
		}
		p := &s.made[s.next]
		client[i], server[i] = p.client, p.server
		s.row(p)
		s.b.EndRow()
		s.next++
	}
	b := s.b.Seal()
	b.Cols[s.col["client_tags"]] = &batch.Vector{Type: schema.TagSet, Codes: client}
	b.Cols[s.col["server_tags"]] = &batch.Vector{Type: schema.TagSet, Codes: server}
	return b
}

// trace makes a trace: a request to a service, which asks others before it answers.
func (s *Spans) trace() {
	r := &s.rnd
	s.now += r.around(float64(s.step))
	if m := s.now / minute; m != s.minute {
		s.cluster.restart(s.o.PodChurn * float64(s.o.Pods) * float64(m-s.minute))
		s.minute = m
	}
	s.made, s.next = s.made[:0], 0
	first := int32(r.below(len(s.cluster.service)))
	id := [2]uint64{r.next(), r.next()}
	s.call(s.cluster.pod(first), s.cluster.called(r, s.cluster.service[first]), -1, s.now, id, 1+r.below(mostSpans))
}

// call adds a request and what it gives rise to, at most so many spans, and says when it is answered.
func (s *Spans) call(client uint32, server int32, parent int, at int64, trace [2]uint64, most int) int64 {
	r := &s.rnd
	s.seq++
	k := len(s.made)
	p := span{client: client, server: s.cluster.pod(server), parent: parent, start: at, id: mix(s.seq^s.o.Seed<<40) >> 1, trace: trace, thread: s.seq}
	s.made = append(s.made, p)
	at += 50e3 + r.around(1e6)
	service := s.cluster.service[server]
	for len(s.made) < most && len(s.cluster.calls[service]) > 0 && r.below(3) > 0 {
		at = s.call(p.server, s.cluster.called(r, service), k, at, trace, most) + r.around(200e3)
	}
	at += r.around(2e6)
	s.made[k].took = at - p.start
	return at + 50e3
}

func (s *Spans) row(p *span) {
	b, r := s.b, &s.rnd
	num := func(name string, v int64) { b.Int(s.col[name], v) }
	text := func(name, v string) { b.String(s.col[name], v) }
	client, server := podSlot(p.client), podSlot(p.server)
	from, to := int(s.cluster.service[client]), int(s.cluster.service[server])
	a := appOf(to)
	num("time", p.start)
	num("end_time", p.start+p.took)
	num("duration_us", p.took/1000)
	num("id", int64(p.id))
	num("flow_id", int64(mix(uint64(p.client)<<32|uint64(p.server))>>1)) // connections are kept
	text("type", "session")
	c, v := podIP(p.client), podIP(p.server)
	b.Text(s.col["client_ip"], c[:])
	b.Text(s.col["server_ip"], v[:])
	num("client_port", 32768+int64(mix(uint64(p.client)*31+uint64(p.server))%28232))
	num("server_port", a.port)
	text("protocol", a.protocol)
	text("source", "ebpf")
	text("observation_point", "s-p")
	text("agent", nodeName(int(s.cluster.agent[server])))
	if a.tls {
		num("is_tls", 1)
	}
	s.request(p, a, to)
	s.identify(p)
	text("service_name", fmt.Sprintf("svc-%03d", to))
	thread := 1000 + int64(mix(uint64(p.server))%30000) + int64(r.below(16))
	num("thread_request", thread)
	num("thread_response", thread)
	// a counter of each collector, from its start on
	num("syscall_trace_id_request", int64(uint64(s.cluster.agent[server])<<48|p.thread))
	num("syscall_trace_id_response", int64(uint64(s.cluster.agent[server])<<48|p.thread))
	num("tcp_seq_request", int64(uint32(r.next())))
	num("tcp_seq_response", int64(uint32(r.next())))
	num("client_pid", 100+int64(mix(uint64(p.client))%30000))
	num("server_pid", 100+int64(mix(uint64(p.server))%30000))
	text("client_process", fmt.Sprintf("app-%d", from))
	text("server_process", fmt.Sprintf("app-%d", to))
}

// request sets what was asked and answered, by protocol.
func (s *Spans) request(p *span, a *app, service int) {
	b, r := s.b, &s.rnd
	num := func(name string, v int64) { b.Int(s.col[name], v) }
	text := func(name, v string) { b.String(s.col[name], v) }
	noun := nouns[(service+min(r.below(len(nouns)), r.below(len(nouns))))%len(nouns)]
	num("request_bytes", 100+r.around(300))
	num("response_bytes", 200+r.around(4000))
	status, code := "ok", int64(0)
	fault := r.below(100)
	switch {
	case fault == 0:
		status = "server_error"
	case fault < 3:
		status = "client_error"
	}
	text("response_status", status)
	switch a.l7 {
	case "http", "":
		version := fmt.Sprintf("/api/v%d/%s", 1+service%2, noun)
		text("l7_protocol", "http")
		text("version", "1.1")
		text("request_type", verbs[r.below(len(verbs))])
		text("request_domain", fmt.Sprintf("svc-%03d.prod", service))
		text("request_resource", version+"/"+strconv.Itoa(r.below(100000)))
		text("endpoint", version)
		code = map[string]int64{"ok": 200, "client_error": 404, "server_error": 500}[status]
	case "grpc":
		method := fmt.Sprintf("/shop.%s.v1/List", noun)
		text("l7_protocol", a.l7)
		text("version", "2")
		text("request_type", "POST")
		text("request_domain", fmt.Sprintf("svc-%03d.prod:%d", service, a.port))
		text("request_resource", method)
		text("endpoint", method)
		code = map[string]int64{"ok": 0, "client_error": 5, "server_error": 13}[status]
	case "mysql", "postgresql":
		sql := "SELECT * FROM " + noun + " WHERE id = "
		text("l7_protocol", a.l7)
		text("request_type", "COM_QUERY")
		text("request_resource", sql+strconv.Itoa(r.below(100000)))
		text("endpoint", sql+"?")
		num("sql_affected_rows", int64(r.below(20)))
	case "redis":
		text("l7_protocol", a.l7)
		text("request_type", "GET")
		text("request_resource", "GET "+noun+":"+strconv.Itoa(r.below(100000)))
		text("endpoint", "GET")
	default:
		text("l7_protocol", a.l7)
		text("request_type", "query")
		text("request_resource", noun)
		text("endpoint", noun)
	}
	if a.l7 == "http" || a.l7 == "grpc" || a.l7 == "" {
		num("response_code", code)
	}
}

// identify sets the ids of a span.
func (s *Spans) identify(p *span) {
	var id [32]byte
	s.b.Text(s.col["trace_id"], appendHex(appendHex(id[:0], p.trace[0]), p.trace[1]))
	s.b.Text(s.col["span_id"], appendHex(id[:0], mix(p.id)))
	if p.parent >= 0 {
		s.b.Text(s.col["parent_span_id"], appendHex(id[:0], mix(s.made[p.parent].id)))
	}
}

// appendHex adds v as 16 digits.
func appendHex(dst []byte, v uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		dst = append(dst, digits[v>>shift&15])
	}
	return dst
}
