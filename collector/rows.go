package collector

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// place is what rows say about where they were seen.
type place struct {
	agent string
	// local are the addresses of the host; nil for files, whose observation point is then "rest".
	local map[packet.Addr]bool
	// names maps interface indexes to names.
	names map[uint32]string
}

// point is the observation point of traffic between two addresses.
func (p *place) point(client, server packet.Addr) string {
	return pointNames[pointOf(p.local[client], p.local[server])]
}

// pointNames are the observation points of traffic as pointOf numbers them.
var pointNames = [...]string{"rest", "c", "s", "local"}

// pointOf is the observation point of traffic whose client, server are addresses of the host.
func pointOf(client, server bool) (n uint8) {
	if client {
		n = 1
	}
	if server {
		n += 2
	}
	return n
}

// intColumn and textColumn say how a column is filled from a T. Absent numbers are negative and stay NULL.
type intColumn[T any] struct {
	name string
	get  func(*T) int64
}

type textColumn[T any] struct {
	name string
	get  func(*T) string
}

var flowInts = []intColumn[flow.Report]{
	{"time", func(r *flow.Report) int64 { return r.TimeNanos }},
	{"start_time", func(r *flow.Report) int64 { return r.StartNanos }},
	{"end_time", func(r *flow.Report) int64 { return r.EndNanos }},
	{"flow_id", func(r *flow.Report) int64 { return rowID(r.FlowID) }},
	{"is_new", func(r *flow.Report) int64 { return boolInt(r.IsNew) }},
	{"client_port", func(r *flow.Report) int64 { return int64(r.ClientPort) }},
	{"server_port", func(r *flow.Report) int64 { return int64(r.ServerPort) }},
	{"vlan", func(r *flow.Report) int64 { return int64(r.VLAN) }},
	{"tunnel_id", func(r *flow.Report) int64 { return int64(r.TunnelID) }},
	{"direction_score", func(r *flow.Report) int64 { return int64(r.DirectionScore) }},
	{"packets_tx", func(r *flow.Report) int64 { return int64(r.PacketsTx) }},
	{"packets_rx", func(r *flow.Report) int64 { return int64(r.PacketsRx) }},
	{"bytes_tx", func(r *flow.Report) int64 { return int64(r.BytesTx) }},
	{"bytes_rx", func(r *flow.Report) int64 { return int64(r.BytesRx) }},
	{"payload_bytes_tx", func(r *flow.Report) int64 { return int64(r.PayloadBytesTx) }},
	{"payload_bytes_rx", func(r *flow.Report) int64 { return int64(r.PayloadBytesRx) }},
	{"tcp_flags_tx", func(r *flow.Report) int64 { return int64(r.TCPFlagsTx) }},
	{"tcp_flags_rx", func(r *flow.Report) int64 { return int64(r.TCPFlagsRx) }},
	{"syn_count", func(r *flow.Report) int64 { return int64(r.SYNCount) }},
	{"synack_count", func(r *flow.Report) int64 { return int64(r.SYNACKCount) }},
	{"fin_count", func(r *flow.Report) int64 { return int64(r.FINCount) }},
	{"retrans_syn", func(r *flow.Report) int64 { return int64(r.RetransSYN) }},
	{"retrans_synack", func(r *flow.Report) int64 { return int64(r.RetransSYNACK) }},
	{"retrans_tx", func(r *flow.Report) int64 { return int64(r.RetransTx) }},
	{"retrans_rx", func(r *flow.Report) int64 { return int64(r.RetransRx) }},
	{"ooo_tx", func(r *flow.Report) int64 { return int64(r.OutOfOrderTx) }},
	{"ooo_rx", func(r *flow.Report) int64 { return int64(r.OutOfOrderRx) }},
	{"zero_window_tx", func(r *flow.Report) int64 { return int64(r.ZeroWindowTx) }},
	{"zero_window_rx", func(r *flow.Report) int64 { return int64(r.ZeroWindowRx) }},
	{"rtt_us", func(r *flow.Report) int64 { return r.RTTMicros }},
	{"rtt_client_us", func(r *flow.Report) int64 { return r.RTTClientMicros }},
	{"rtt_server_us", func(r *flow.Report) int64 { return r.RTTServerMicros }},
	{"srt_sum_us", func(r *flow.Report) int64 { return int64(r.SRT.SumMicros) }},
	{"srt_count", func(r *flow.Report) int64 { return int64(r.SRT.Count) }},
	{"srt_max_us", func(r *flow.Report) int64 { return int64(r.SRT.MaxMicros) }},
	{"art_sum_us", func(r *flow.Report) int64 { return int64(r.ART.SumMicros) }},
	{"art_count", func(r *flow.Report) int64 { return int64(r.ART.Count) }},
	{"art_max_us", func(r *flow.Report) int64 { return int64(r.ART.MaxMicros) }},
	{"cit_sum_us", func(r *flow.Report) int64 { return int64(r.CIT.SumMicros) }},
	{"cit_count", func(r *flow.Report) int64 { return int64(r.CIT.Count) }},
	{"cit_max_us", func(r *flow.Report) int64 { return int64(r.CIT.MaxMicros) }},
	{"tls_rtt_us", func(r *flow.Report) int64 { return r.TLSRTTMicros }},
	{"l7_request", func(r *flow.Report) int64 { return int64(r.L7Requests) }},
	{"l7_response", func(r *flow.Report) int64 { return int64(r.L7Responses) }},
	{"l7_client_error", func(r *flow.Report) int64 { return int64(r.L7ClientErrors) }},
	{"l7_server_error", func(r *flow.Report) int64 { return int64(r.L7ServerErrs) }},
	{"l7_timeout", func(r *flow.Report) int64 { return int64(r.L7Timeouts) }},
	{"rrt_sum_us", func(r *flow.Report) int64 { return int64(r.RRT.SumMicros) }},
	{"rrt_count", func(r *flow.Report) int64 { return int64(r.RRT.Count) }},
	{"rrt_max_us", func(r *flow.Report) int64 { return int64(r.RRT.MaxMicros) }},
}

var flowTexts = []textColumn[flow.Report]{
	{"close_type", func(r *flow.Report) string { return r.CloseType.String() }},
	{"status", func(r *flow.Report) string { return r.Status.String() }},
	{"protocol", func(r *flow.Report) string { return protocolName(r.Proto) }},
	{"l7_protocol", func(r *flow.Report) string { return r.L7Protocol.String() }},
	{"tunnel_type", func(r *flow.Report) string { return r.TunnelType.String() }},
	{"source", func(*flow.Report) string { return "packet" }},
}

var spanInts = []intColumn[l7.Exchange]{
	{"time", func(e *l7.Exchange) int64 { return e.StartNanos }},
	{"end_time", func(e *l7.Exchange) int64 { return e.EndNanos }},
	{"duration_us", durationMicros},
	{"request_id", func(e *l7.Exchange) int64 { return e.RequestID }},
	{"request_bytes", func(e *l7.Exchange) int64 { return e.RequestBytes }},
	{"response_bytes", func(e *l7.Exchange) int64 { return e.ResponseBytes }},
	{"response_code", func(e *l7.Exchange) int64 { return e.ResponseCode }},
	{"sql_affected_rows", func(e *l7.Exchange) int64 { return e.AffectedRows }},
	{"tcp_seq_request", func(e *l7.Exchange) int64 { return int64(e.RequestSeq) }},
	{"tcp_seq_response", func(e *l7.Exchange) int64 { return int64(e.ResponseSeq) }},
}

var spanTexts = []textColumn[l7.Exchange]{
	{"type", func(e *l7.Exchange) string { return e.Kind.String() }},
	{"source", func(*l7.Exchange) string { return "packet" }},
	{"l7_protocol", func(e *l7.Exchange) string { return e.Protocol.String() }},
	{"version", func(e *l7.Exchange) string { return e.Version }},
	{"request_type", func(e *l7.Exchange) string { return e.RequestType }},
	{"request_domain", func(e *l7.Exchange) string { return e.RequestDomain }},
	{"request_resource", func(e *l7.Exchange) string { return e.RequestResource }},
	{"endpoint", func(e *l7.Exchange) string { return e.Endpoint }},
	{"response_status", func(e *l7.Exchange) string { return e.Status.String() }},
	{"response_exception", func(e *l7.Exchange) string { return e.ResponseException }},
	{"response_result", func(e *l7.Exchange) string { return e.ResponseResult }},
	{"trace_id", func(e *l7.Exchange) string { return e.TraceID }},
	{"span_id", func(e *l7.Exchange) string { return e.SpanID }},
	{"parent_span_id", func(e *l7.Exchange) string { return e.ParentSpanID }},
	{"x_request_id_request", func(e *l7.Exchange) string { return e.XRequestIDRequest }},
	{"x_request_id_response", func(e *l7.Exchange) string { return e.XRequestIDResponse }},
}

// absent is what stands for a number that is not there; others below 0 are numbers (TARS codes, Dubbo ids).
const absent = -1

// rows writes reports of type T into batches of one table.
type rows[T any] struct {
	*batch.Builder
	place *place
	ints  []intColumn[T]
	texts []textColumn[T]
	// ordinals, parallel to ints and texts, and of the columns that both tables have
	intCols, textCols                []int
	nullable                         []bool
	clientIP, serverIP, agent, iface int
	point                            int
}

func newRows[T any](t *schema.Table, p *place, ints []intColumn[T], texts []textColumn[T]) *rows[T] {
	r := &rows[T]{Builder: batch.NewBuilder(t), place: p, ints: ints, texts: texts,
		clientIP: t.MustColumn("client_ip"), serverIP: t.MustColumn("server_ip"),
		agent: t.MustColumn("agent"), iface: t.MustColumn("interface"), point: t.MustColumn("observation_point")}
	for _, c := range ints {
		i := t.MustColumn(c.name)
		r.intCols = append(r.intCols, i)
		r.nullable = append(r.nullable, t.Columns[i].Nullable)
	}
	for _, c := range texts {
		r.textCols = append(r.textCols, t.MustColumn(c.name))
	}
	return r
}

// fill sets the columns that come from v and from the place; the caller sets the others and ends the row.
func (r *rows[T]) fill(v *T, client, server packet.Addr, iface uint32) {
	for i, c := range r.ints {
		unset := int64(0) // is what it is anyway
		if r.nullable[i] {
			unset = absent
		}
		if x := c.get(v); x != unset {
			r.Int(r.intCols[i], x)
		}
	}
	for i, c := range r.texts {
		if s := c.get(v); s != "" {
			r.String(r.textCols[i], text(s))
		}
	}
	r.Text(r.clientIP, client[:])
	r.Text(r.serverIP, server[:])
	r.String(r.agent, r.place.agent)
	if name := r.place.names[iface]; name != "" {
		r.String(r.iface, name)
	}
	r.String(r.point, r.place.point(client, server))
}

// flowRows writes the table flows.
type flowRows struct {
	*rows[flow.Report]
	clientMAC, serverMAC int
	mac                  [17]byte
}

func newFlowRows(t *schema.Table, p *place) *flowRows {
	return &flowRows{rows: newRows(t, p, flowInts, flowTexts), clientMAC: t.MustColumn("client_mac"), serverMAC: t.MustColumn("server_mac")}
}

func (w *flowRows) add(r *flow.Report) {
	w.fill(r, r.Client, r.Server, r.Interface)
	w.setMAC(w.clientMAC, r.ClientMAC)
	w.setMAC(w.serverMAC, r.ServerMAC)
	w.EndRow()
}

func (w *flowRows) setMAC(col int, m [6]byte) {
	if m == [6]byte{} {
		return
	}
	b := w.mac[:0]
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = hex.AppendEncode(b, []byte{x})
	}
	w.Text(col, b)
}

// spanRows writes the table spans.
type spanRows struct {
	*rows[l7.Exchange]
	id, flowID, clientPort, serverPort, protocol, attributes int
	enc                                                      []byte
	attrs                                                    []tags.Tag
}

func newSpanRows(t *schema.Table, p *place) *spanRows {
	return &spanRows{rows: newRows(t, p, spanInts, spanTexts), id: t.MustColumn("id"), flowID: t.MustColumn("flow_id"),
		clientPort: t.MustColumn("client_port"), serverPort: t.MustColumn("server_port"), protocol: t.MustColumn("protocol"),
		attributes: t.MustColumn("attributes")}
}

func (w *spanRows) add(f *flow.Flow, e *l7.Exchange) {
	client, clientPort, server, serverPort := requestEnds(f)
	w.fill(e, client, server, f.Interface())
	w.Int(w.id, spanID(f.ID(), e))
	w.Int(w.flowID, rowID(f.ID()))
	w.Int(w.clientPort, int64(clientPort))
	w.Int(w.serverPort, int64(serverPort))
	w.String(w.protocol, protocolName(f.Proto()))
	if len(e.Attributes) > 0 {
		w.attrs = w.attrs[:0]
		for _, a := range e.Attributes {
			w.attrs = append(w.attrs, tags.Tag{Key: cut(text(a.Key), tags.MaxKeyBytes), Value: cut(text(a.Value), tags.MaxValueBytes)})
		}
		w.enc = tags.AppendSet(w.enc[:0], w.attrs...)
		w.Text(w.attributes, w.enc)
	}
	w.EndRow()
}

// requestEnds are the two sides of the requests of f: who asks is the client, whoever opened the connection.
func requestEnds(f *flow.Flow) (client packet.Addr, clientPort uint16, server packet.Addr, serverPort uint16) {
	client, clientPort = f.Client()
	server, serverPort = f.Server()
	if f.L7Reversed() {
		return server, serverPort, client, clientPort
	}
	return client, clientPort, server, serverPort
}

// durationMicros is the time from request to response, -1 when only one was seen.
func durationMicros(e *l7.Exchange) int64 {
	if e.Kind != l7.KindSession {
		return -1
	}
	return max(e.EndNanos-e.StartNanos, 0) / 1000
}

// text is what a wire calls text, as UTF-8: a header may hold any bytes, a column only text.
func text(s string) string {
	if utf8.ValidString(s) { // eight bytes at a time
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// cut shortens s to at most n bytes, between characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// rowID makes a positive BIGINT of a 64-bit hash.
func rowID(h uint64) int64 { return int64(h >> 1) }

// spanID tells exchanges apart, and is the same whenever the same packets are read: a hash of the flow and of what places
// the exchange in it.
func spanID(flowID uint64, e *l7.Exchange) int64 {
	var b [41]byte
	binary.LittleEndian.PutUint64(b[0:], flowID)
	binary.LittleEndian.PutUint64(b[8:], uint64(e.StartNanos))
	binary.LittleEndian.PutUint64(b[16:], uint64(e.EndNanos))
	binary.LittleEndian.PutUint64(b[24:], uint64(e.RequestID))
	binary.LittleEndian.PutUint32(b[32:], e.RequestSeq)
	binary.LittleEndian.PutUint32(b[36:], e.ResponseSeq)
	b[40] = byte(e.Kind)
	return rowID(xxhash.Sum64(b[:]))
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// protocolName is the word for an IP protocol number.
func protocolName(p uint8) string {
	switch p {
	case packet.ProtoTCP:
		return "tcp"
	case packet.ProtoUDP:
		return "udp"
	case packet.ProtoICMP:
		return "icmp"
	case packet.ProtoICMPv6:
		return "icmpv6"
	case 2:
		return "igmp"
	case 4:
		return "ipip"
	case 47:
		return "gre"
	case 50:
		return "esp"
	case 89:
		return "ospf"
	case 112:
		return "vrrp"
	case 132:
		return "sctp"
	}
	return "ip-" + strconv.Itoa(int(p))
}
