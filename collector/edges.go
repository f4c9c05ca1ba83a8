package collector

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// Edges: what the flows and requests between two tag sets did in each second, as rows of network_1s and application_1s.
// docs/guide/edges.md says what each column counts. All that comes in during a second of packet time is added up and
// leaves at its end; what belongs to an earlier second is rows of its own then, as those tables have partial rows.

// Tagger knows the tag set of an address. Several goroutines may ask.
type Tagger interface {
	// Lookup appends the encoding of the tag set of an address (16 bytes; IPv4 mapped) to dst.
	Lookup(dst, addr []byte) []byte
	// Version changes when Lookup may answer otherwise.
	Version() uint64
}

// Bounds of what is added up at once. Past them the rows leave early, and the second gets further ones.
const (
	maxEdges     = 1 << 16 // of either table; 32 MiB
	maxSamples   = 1 << 18 // of delays, for sketches; 2 MiB of either kind
	maxAddresses = 1 << 16 // whose tag sets are remembered; 4 MiB
	maxSets      = 1 << 17 // tag sets
	// maxEarly rows of either table leave early in a second at most: edges that are new then count as others.
	maxEarly = maxEdges
)

// others is the tag set, on both sides, of all edges for which there was no room.
var others = tags.AppendSet(nil, tags.Tag{Key: "other", Value: "true"})

// edgeKey is one edge in one second.
type edgeKey struct {
	sec            int64  // since 1970
	client, server uint32 // tag sets, as numbers in edges.sets
	port           uint16 // of the server
	proto          uint8
	point          uint8 // observation point, see pointNames
}

// networkEdge is what flows did on an edge.
type networkEdge struct {
	key edgeKey
	flow.Sums
}

// applicationKey is one kind of request on an edge in one second.
type applicationKey struct {
	edgeKey
	l7       l7.Protocol
	endpoint string
}

// applicationEdge is what requests did there.
type applicationEdge struct {
	key                                                       applicationKey
	requests, responses, clientErrors, serverErrors, timeouts int64
	rrt                                                       flow.Delays
}

// sample is a value for the sketch of an edge: its bucket.
type sample struct {
	edge uint32 // index
	key  int32
}

// endpoint is what is known of an address.
type endpoint struct {
	set   uint32 // number of its tag set
	local bool
}

// edges adds up. It belongs to a worker.
type edges struct {
	place *place
	tags  Tagger
	full  func(*batch.Builder) // is told after each row

	addrs    map[packet.Addr]endpoint
	numbers  map[string]uint32 // of tag sets
	sets     [][]byte          // the first is others
	version  uint64            // of tags
	addr     packet.Addr       // scratch
	scratch  []byte
	counts   []enc.KeyCount
	sketches []byte

	// earlyNetwork and earlyApplication are the rows that have left early since the last second
	earlyNetwork, earlyApplication int

	networks     map[edgeKey]uint32
	network      []networkEdge
	applications map[applicationKey]uint32
	application  []applicationEdge
	// rtt and rrt are of network, app of application
	rtt, rrt, app []sample

	networkRows     *edgeRows[networkEdge]
	applicationRows *edgeRows[applicationEdge]
	l7Protocol      int // ordinals
	endpointCol     int
	rttSketch       int
	rrtSketch       int
	appSketch       int

	m EdgeMetrics
}

// EdgeMetrics counts rows of edges.
type EdgeMetrics struct {
	// NetworkRows and ApplicationRows were made for network_1s and application_1s.
	NetworkRows, ApplicationRows uint64
	// EarlyRows of them left before their second was over, because there were too many edges at once.
	EarlyRows uint64
	// Others is how many times something counted as the edge of all others, because too many rows had left early.
	Others uint64
}

var _ flow.SecondHandler = (*edges)(nil)

func newEdges(tables *schema.Registry, p *place, t Tagger, full func(*batch.Builder)) (*edges, error) {
	network, ok := tables.Table("network_1s")
	if !ok {
		return nil, fmt.Errorf("collect: %w: network_1s", schema.ErrUnknownTable)
	}
	application, ok := tables.Table("application_1s")
	if !ok {
		return nil, fmt.Errorf("collect: %w: application_1s", schema.ErrUnknownTable)
	}
	return &edges{place: p, tags: t, full: full, sets: [][]byte{others},
		addrs: map[packet.Addr]endpoint{}, numbers: map[string]uint32{}, version: t.Version(),
		networks: map[edgeKey]uint32{}, applications: map[applicationKey]uint32{},
		networkRows: newEdgeRows(network, networkInts), applicationRows: newEdgeRows(application, applicationInts),
		l7Protocol: application.MustColumn("l7_protocol"), endpointCol: application.MustColumn("endpoint"),
		rttSketch: network.MustColumn("rtt_sketch"), rrtSketch: network.MustColumn("rrt_sketch"),
		appSketch: application.MustColumn("rrt_sketch")}, nil
}

// Second implements flow.SecondHandler.
func (e *edges) Second(f *flow.Flow, s *flow.Second) {
	n := e.networkOf(e.flowKey(f, s.StartNanos))
	e.network[n].Add(s)
	if us := s.RTTMicros(); us >= 0 {
		e.rtt = e.sampled(e.rtt, n, us)
		if len(e.rtt) >= maxSamples {
			e.early()
		}
	}
}

// Ended implements flow.SecondHandler.
func (e *edges) Ended(f *flow.Flow, atNanos int64, c flow.CloseType) {
	e.network[e.networkOf(e.flowKey(f, atNanos))].Ended[c]++
}

// SecondsOver implements flow.SecondHandler.
func (e *edges) SecondsOver(int64) {
	e.flush()
	e.earlyNetwork, e.earlyApplication = 0, 0
	if v := e.tags.Version(); v != e.version || len(e.sets) > maxSets/2 {
		e.version = v
		e.forget()
	}
}

// exchange adds a request, in the second of its start.
func (e *edges) exchange(f *flow.Flow, x *l7.Exchange) {
	k := applicationKey{edgeKey: e.exchangeKey(f, x), l7: x.Protocol, endpoint: x.Endpoint}
	i := e.applicationOf(k)
	a := &e.application[i]
	if x.Kind != l7.KindResponse {
		a.requests++
	}
	if x.Kind != l7.KindRequest {
		a.responses++
	}
	switch x.Status {
	case l7.StatusClientError:
		a.clientErrors++
	case l7.StatusServerError:
		a.serverErrors++
	case l7.StatusTimeout:
		a.timeouts++
	}
	us := durationMicros(x)
	if us < 0 {
		return
	}
	a.rrt.Add(us)
	e.app = e.sampled(e.app, i, us)
	n := e.networkOf(k.edgeKey)
	e.rrt = e.sampled(e.rrt, n, us)
	if len(e.rrt) >= maxSamples {
		e.early()
	}
}

func (e *edges) sampled(list []sample, edge uint32, us int64) []sample {
	key, _ := enc.SketchKey(float64(us))
	return append(list, sample{edge, key})
}

func (e *edges) flowKey(f *flow.Flow, atNanos int64) edgeKey {
	client, _ := f.Client()
	server, port := f.Server()
	return e.key(client, server, port, f.Proto(), atNanos)
}

func (e *edges) exchangeKey(f *flow.Flow, x *l7.Exchange) edgeKey {
	client, _, server, port := requestEnds(f)
	return e.key(client, server, port, f.Proto(), x.StartNanos)
}

func (e *edges) key(client, server packet.Addr, port uint16, proto uint8, atNanos int64) edgeKey {
	c, s := e.endpoint(client), e.endpoint(server)
	return edgeKey{sec: atNanos / 1e9, client: c.set, server: s.set, port: port, proto: proto, point: pointOf(c.local, s.local)}
}

// networkOf is the index of the edge of k.
func (e *edges) networkOf(k edgeKey) uint32 {
	i, ok := e.networks[k]
	if ok {
		return i
	}
	if len(e.network) >= maxEdges && e.earlyNetwork < maxEarly {
		e.early()
	}
	if len(e.network) >= maxEdges {
		k = e.other(k)
		if i, ok = e.networks[k]; ok {
			return i
		}
	}
	i = uint32(len(e.network))
	e.networks[k] = i
	e.network = append(e.network, networkEdge{key: k})
	return i
}

// applicationOf is the index of the requests of k.
func (e *edges) applicationOf(k applicationKey) uint32 {
	i, ok := e.applications[k]
	if ok {
		return i
	}
	if len(e.application) >= maxEdges && e.earlyApplication < maxEarly {
		e.early()
	}
	if len(e.application) >= maxEdges {
		k.edgeKey, k.endpoint = e.other(k.edgeKey), ""
		if i, ok = e.applications[k]; ok {
			return i
		}
	}
	i = uint32(len(e.application))
	e.applications[k] = i
	e.application = append(e.application, applicationEdge{key: k})
	return i
}

// other is the edge of all for which there is no room. There are few: one for each second, protocol and point.
func (e *edges) other(k edgeKey) edgeKey {
	e.m.Others++
	k.client, k.server, k.port = 0, 0, 0
	return k
}

func (e *edges) endpoint(a packet.Addr) endpoint {
	p, ok := e.addrs[a]
	if ok {
		return p
	}
	if len(e.addrs) >= maxAddresses {
		clear(e.addrs)
	}
	e.addr = a // a itself would escape
	e.scratch = e.tags.Lookup(e.scratch[:0], e.addr[:])
	p = endpoint{e.number(e.scratch), e.place.local[a]}
	e.addrs[a] = p
	return p
}

// number is that of a tag set, which is copied; that of others when there are too many.
func (e *edges) number(set []byte) uint32 {
	no, ok := e.numbers[string(set)]
	if !ok {
		if len(e.sets) >= maxSets {
			e.m.Others++
			return 0
		}
		no = uint32(len(e.sets))
		set = slices.Clone(set)
		e.sets = append(e.sets, set)
		e.numbers[string(set)] = no
	}
	return no
}

// moved has addresses looked up anew, because place has changed.
func (e *edges) moved() { clear(e.addrs) }

// forget has addresses looked up anew, and forgets their tag sets. Nothing may be added up at the time.
func (e *edges) forget() {
	clear(e.addrs)
	clear(e.numbers)
	clear(e.sets)
	e.sets = append(e.sets[:0], others)
}

// early makes the rows of what there is, for want of room. Numbers of tag sets stay.
func (e *edges) early() {
	e.earlyNetwork += len(e.network)
	e.earlyApplication += len(e.application)
	e.m.EarlyRows += uint64(len(e.network) + len(e.application))
	e.flush()
}

// flush makes the rows of what was added up.
func (e *edges) flush() {
	if len(e.network) > 0 {
		e.flushNetwork()
	}
	if len(e.application) > 0 {
		e.flushApplication()
	}
}

func (e *edges) flushNetwork() {
	sortSamples(e.rtt)
	sortSamples(e.rrt)
	rtt, rrt := e.rtt, e.rrt
	for i := range e.network {
		n := &e.network[i]
		e.networkRows.fill(e, n, &n.key)
		rtt = e.sketch(e.networkRows.Builder, e.rttSketch, rtt, uint32(i))
		rrt = e.sketch(e.networkRows.Builder, e.rrtSketch, rrt, uint32(i))
		e.networkRows.EndRow()
		e.full(e.networkRows.Builder)
	}
	e.m.NetworkRows += uint64(len(e.network))
	clear(e.networks)
	e.network, e.rtt, e.rrt = e.network[:0], e.rtt[:0], e.rrt[:0]
}

func (e *edges) flushApplication() {
	sortSamples(e.app)
	app := e.app
	rows := e.applicationRows
	for i := range e.application {
		a := &e.application[i]
		rows.fill(e, a, &a.key.edgeKey)
		if a.key.l7 != l7.Unknown {
			rows.String(e.l7Protocol, a.key.l7.String())
		}
		if a.key.endpoint != "" {
			rows.String(e.endpointCol, text(a.key.endpoint))
		}
		app = e.sketch(rows.Builder, e.appSketch, app, uint32(i))
		rows.EndRow()
		e.full(rows.Builder)
	}
	e.m.ApplicationRows += uint64(len(e.application))
	clear(e.applications)
	clear(e.application) // lets go of the endpoints' text
	e.application, e.app = e.application[:0], e.app[:0]
}

func sortSamples(list []sample) {
	slices.SortFunc(list, func(a, b sample) int {
		return cmp.Or(cmp.Compare(a.edge, b.edge), cmp.Compare(a.key, b.key))
	})
}

// sketch sets the sketch of an edge from its samples, the first of a sorted list, and returns the others.
func (e *edges) sketch(b *batch.Builder, col int, list []sample, edge uint32) []sample {
	n := 0
	for n < len(list) && list[n].edge == edge {
		n++
	}
	if n == 0 {
		return list
	}
	e.counts = e.counts[:0]
	for _, s := range list[:n] {
		e.counts = append(e.counts, enc.KeyCount{Key: s.key, Count: 1})
	}
	e.sketches = enc.AppendSketch(e.sketches[:0], e.counts)
	b.Text(col, e.sketches)
	return list[n:]
}

// edgeRows writes rows of one table of edges.
type edgeRows[T any] struct {
	*batch.Builder
	ints                                                       []intColumn[T]
	intCols                                                    []int
	time, client, server, port, protocol, point, agent, source int
}

func newEdgeRows[T any](t *schema.Table, ints []intColumn[T]) *edgeRows[T] {
	r := &edgeRows[T]{Builder: batch.NewBuilder(t), ints: ints,
		time: t.MustColumn("time"), client: t.MustColumn("client_tags"), server: t.MustColumn("server_tags"),
		port: t.MustColumn("server_port"), protocol: t.MustColumn("protocol"), point: t.MustColumn("observation_point"),
		agent: t.MustColumn("agent"), source: t.MustColumn("source")}
	for _, c := range ints {
		r.intCols = append(r.intCols, t.MustColumn(c.name))
	}
	return r
}

// fill sets the keys and the numbers of a row.
func (r *edgeRows[T]) fill(e *edges, v *T, k *edgeKey) {
	r.Int(r.time, k.sec*1e9)
	r.Tags(r.client, e.sets[k.client])
	r.Tags(r.server, e.sets[k.server])
	r.Int(r.port, int64(k.port))
	r.String(r.protocol, protocolName(k.proto))
	r.String(r.point, pointNames[k.point])
	r.String(r.agent, e.place.agent)
	r.String(r.source, "packet")
	for i, c := range r.ints {
		if x := c.get(v); x != 0 {
			r.Int(r.intCols[i], x)
		}
	}
}

// endedAs counts the flows of an edge that ended in one of these ways.
func endedAs(name string, types ...flow.CloseType) intColumn[networkEdge] {
	return intColumn[networkEdge]{name, func(e *networkEdge) (n int64) {
		for _, c := range types {
			n += int64(e.Ended[c])
		}
		return n
	}}
}

func delays[T any](name string, of func(*T) *flow.Delays) []intColumn[T] {
	return []intColumn[T]{
		{name + "_sum_us", func(e *T) int64 { return int64(of(e).SumMicros) }},
		{name + "_count", func(e *T) int64 { return int64(of(e).Count) }},
		{name + "_max_us", func(e *T) int64 { return int64(of(e).MaxMicros) }},
	}
}

var networkInts = slices.Concat(
	[]intColumn[networkEdge]{
		{"packets_tx", func(e *networkEdge) int64 { return int64(e.PacketsTx) }},
		{"packets_rx", func(e *networkEdge) int64 { return int64(e.PacketsRx) }},
		{"bytes_tx", func(e *networkEdge) int64 { return int64(e.BytesTx) }},
		{"bytes_rx", func(e *networkEdge) int64 { return int64(e.BytesRx) }},
		{"payload_bytes_tx", func(e *networkEdge) int64 { return int64(e.PayloadBytesTx) }},
		{"payload_bytes_rx", func(e *networkEdge) int64 { return int64(e.PayloadBytesRx) }},
		{"syn_count", func(e *networkEdge) int64 { return int64(e.SYNCount) }},
		{"synack_count", func(e *networkEdge) int64 { return int64(e.SYNACKCount) }},
		{"fin_count", func(e *networkEdge) int64 { return int64(e.FINCount) }},
		{"retrans_syn", func(e *networkEdge) int64 { return int64(e.RetransSYN) }},
		{"retrans_synack", func(e *networkEdge) int64 { return int64(e.RetransSYNACK) }},
		{"retrans_tx", func(e *networkEdge) int64 { return int64(e.RetransTx) }},
		{"retrans_rx", func(e *networkEdge) int64 { return int64(e.RetransRx) }},
		{"ooo_tx", func(e *networkEdge) int64 { return int64(e.OutOfOrderTx) }},
		{"ooo_rx", func(e *networkEdge) int64 { return int64(e.OutOfOrderRx) }},
		{"zero_window_tx", func(e *networkEdge) int64 { return int64(e.ZeroWindowTx) }},
		{"zero_window_rx", func(e *networkEdge) int64 { return int64(e.ZeroWindowRx) }},
		{"new_flow", func(e *networkEdge) int64 { return int64(e.NewFlows) }},
		{"closed_flow", func(e *networkEdge) (n int64) {
			for _, c := range e.Ended {
				n += int64(c)
			}
			return n
		}},
		{"flow_load", func(e *networkEdge) int64 { return int64(e.ActiveFlows) }},
		{"l7_request", func(e *networkEdge) int64 { return int64(e.L7Requests) }},
		{"l7_response", func(e *networkEdge) int64 { return int64(e.L7Responses) }},
		{"l7_client_error", func(e *networkEdge) int64 { return int64(e.L7ClientErrors) }},
		{"l7_server_error", func(e *networkEdge) int64 { return int64(e.L7ServerErrors) }},
		{"l7_error", func(e *networkEdge) int64 { return int64(e.L7ClientErrors + e.L7ServerErrors) }},
		{"l7_timeout", func(e *networkEdge) int64 { return int64(e.L7Timeouts) }},
	},
	delays("rtt", func(e *networkEdge) *flow.Delays { return &e.RTT }),
	delays("rtt_client", func(e *networkEdge) *flow.Delays { return &e.RTTClient }),
	delays("rtt_server", func(e *networkEdge) *flow.Delays { return &e.RTTServer }),
	delays("srt", func(e *networkEdge) *flow.Delays { return &e.SRT }),
	delays("art", func(e *networkEdge) *flow.Delays { return &e.ART }),
	delays("cit", func(e *networkEdge) *flow.Delays { return &e.CIT }),
	delays("rrt", func(e *networkEdge) *flow.Delays { return &e.RRT }),
	[]intColumn[networkEdge]{
		endedAs("client_rst_flow", flow.CloseClientRST),
		endedAs("server_rst_flow", flow.CloseServerRST),
		endedAs("client_half_close_flow", flow.CloseClientHalfClose),
		endedAs("server_half_close_flow", flow.CloseServerHalfClose),
		endedAs("tcp_timeout", flow.CloseTransferTimeout),
		endedAs("server_queue_lack", flow.CloseServerQueueOverflow),
		endedAs("client_ack_miss", flow.CloseClientACKMiss),
		endedAs("client_source_port_reuse", flow.CloseClientPortReuse),
		endedAs("client_establish_other_rst", flow.CloseClientEstablishRST),
		endedAs("server_syn_miss", flow.CloseServerSYNMiss),
		endedAs("server_reset", flow.CloseServerDirectRST),
		endedAs("server_establish_other_rst", flow.CloseServerEstablishRST),
		endedAs("client_establish_fail", clientSetup...),
		endedAs("server_establish_fail", serverSetup...),
		endedAs("tcp_establish_fail", append(slices.Clone(clientSetup), serverSetup...)...),
		endedAs("tcp_transfer_fail", flow.CloseServerRST, flow.CloseClientRST, flow.CloseServerQueueOverflow, flow.CloseTransferTimeout),
		endedAs("tcp_rst_fail", flow.CloseClientEstablishRST, flow.CloseServerEstablishRST, flow.CloseServerDirectRST,
			flow.CloseServerRST, flow.CloseClientRST),
	},
)

// Ways in which a handshake fails because of one side.
var (
	clientSetup = []flow.CloseType{flow.CloseClientACKMiss, flow.CloseClientPortReuse, flow.CloseClientEstablishRST}
	serverSetup = []flow.CloseType{flow.CloseServerSYNMiss, flow.CloseServerDirectRST, flow.CloseServerEstablishRST}
)

var applicationInts = slices.Concat(
	[]intColumn[applicationEdge]{
		{"request", func(e *applicationEdge) int64 { return e.requests }},
		{"response", func(e *applicationEdge) int64 { return e.responses }},
		{"client_error", func(e *applicationEdge) int64 { return e.clientErrors }},
		{"server_error", func(e *applicationEdge) int64 { return e.serverErrors }},
		{"error", func(e *applicationEdge) int64 { return e.clientErrors + e.serverErrors }},
		{"timeout", func(e *applicationEdge) int64 { return e.timeouts }},
	},
	delays("rrt", func(e *applicationEdge) *flow.Delays { return &e.rrt }),
)
