package schema

import (
	"sync"
	"time"
)

const day = 24 * time.Hour

// short constructors keep the definitions below readable as a table
func key(name string, t Type, doc string) Column { return Column{Name: name, Type: t, Doc: doc} }

func counter(name, unit, doc string) Column {
	return Column{Name: name, Type: BigInt, Role: Counter, Unit: unit, Doc: doc}
}

func maximum(name, unit, doc string) Column {
	return Column{Name: name, Type: BigInt, Role: Max, Unit: unit, Doc: doc}
}

func nullable(name string, t Type, unit, doc string) Column {
	return Column{Name: name, Type: t, Role: Gauge, Unit: unit, Nullable: true, Doc: doc}
}

// nullableKey is an identifier that may be unknown.
func nullableKey(name string, t Type, doc string) Column {
	return Column{Name: name, Type: t, Nullable: true, Doc: doc}
}

func id(name, doc string) Column { return Column{Name: name, Type: Varchar, Bloom: true, Doc: doc} }

func traceID(doc string) Column {
	c := id("trace_id", doc)
	c.Uniq = true
	return c
}

// uniq is key for a column whose distinct values rollups count.
func uniq(name string, t Type, doc string) Column {
	return Column{Name: name, Type: t, Uniq: true, Doc: doc}
}

func timeColumn(doc string) Column {
	return Column{Name: "time", Type: Timestamp, Role: Time, Doc: doc}
}

func must(t *Table, err error) *Table {
	if err != nil {
		panic(err) // a broken built-in definition: found by the package's own tests
	}
	return t
}

// Flows is the definition of the table flows: one row per flow per report.
func Flows() *Table { return flows() }

var flows = sync.OnceValue(func() *Table {
	return must(New(Table{Name: "flows", Retention: 3 * day, Order: 1, Doc: "one row per flow per report: each minute while it is open, and at its end", Columns: []Column{
		timeColumn("time of the report: the last packet of the flow in it"),
		key("start_time", Timestamp, "first packet of the flow"),
		key("end_time", Timestamp, "last packet of the flow so far"),
		key("flow_id", BigInt, "the same in all reports of a flow and in its spans"),
		key("close_type", Varchar, "how the flow ended, or forced_report while it is open"),
		key("status", Varchar, "ok, client_error, server_error or unknown, from close_type"),
		key("is_new", Boolean, "whether this is the first report of the flow"),
		uniq("client_ip", Inet, "address of the side that asked"),
		uniq("server_ip", Inet, "address of the side that answered"),
		key("client_port", Integer, "port of the client"),
		key("server_port", Integer, "port of the server"),
		key("protocol", Varchar, "tcp, udp, icmp, ..."),
		key("l7_protocol", Varchar, "application protocol, '' when unknown"),
		key("vlan", Integer, "innermost VLAN id, 0 when untagged"),
		key("tunnel_type", Varchar, "tunnel taken off the packets: vxlan, gre, ipip, geneve, ..."),
		key("tunnel_id", BigInt, "VNI or key of that tunnel"),
		key("client_mac", Varchar, "MAC address seen for the client"),
		key("server_mac", Varchar, "MAC address seen for the server"),
		key("source", Varchar, "packet (pcap files too), ebpf or otel"),
		key("observation_point", Varchar, "where on the path it was seen: c, s, local, rest, ..."),
		key("agent", Varchar, "host name of the collector"),
		key("interface", Varchar, "network interface it was seen on"),
		key("direction_score", Integer, "0..255, how sure it is who is the server"),
		nullableKey("client_pid", Integer, "process id of the client, where known"),
		nullableKey("server_pid", Integer, "process id of the server, where known"),
		key("client_process", Varchar, "process name of the client, where known"),
		key("server_process", Varchar, "process name of the server, where known"),
		counter("packets_tx", "packets", "packets from client to server"),
		counter("packets_rx", "packets", "packets from server to client"),
		counter("bytes_tx", "bytes", "frame bytes from client to server, Ethernet header included"),
		counter("bytes_rx", "bytes", "frame bytes from server to client, Ethernet header included"),
		counter("payload_bytes_tx", "bytes", "transport payload from client to server"),
		counter("payload_bytes_rx", "bytes", "transport payload from server to client"),
		key("tcp_flags_tx", Integer, "OR of the TCP flags from client to server"),
		key("tcp_flags_rx", Integer, "OR of the TCP flags from server to client"),
		counter("syn_count", "packets", "SYN packets, retransmitted ones included"),
		counter("synack_count", "packets", "SYN-ACK packets, retransmitted ones included"),
		counter("fin_count", "packets", "FIN packets"),
		counter("retrans_syn", "packets", "repeated SYN packets"),
		counter("retrans_synack", "packets", "repeated SYN-ACK packets"),
		counter("retrans_tx", "packets", "retransmissions from client to server"),
		counter("retrans_rx", "packets", "retransmissions from server to client"),
		counter("ooo_tx", "packets", "out-of-order packets from client to server"),
		counter("ooo_rx", "packets", "out-of-order packets from server to client"),
		counter("zero_window_tx", "packets", "zero-window packets from client to server"),
		counter("zero_window_rx", "packets", "zero-window packets from server to client"),
		nullable("rtt_us", BigInt, "us", "TCP handshake: first SYN to the client's ACK"),
		nullable("rtt_client_us", BigInt, "us", "client part of the handshake: SYN-ACK to ACK"),
		nullable("rtt_server_us", BigInt, "us", "server part of the handshake: SYN to SYN-ACK"),
		counter("srt_sum_us", "us", "system response time: data to its pure ACK, sum"),
		counter("srt_count", "", "number of system response times"),
		maximum("srt_max_us", "us", "longest system response time"),
		counter("art_sum_us", "us", "application response time: client data to first server data, sum"),
		counter("art_count", "", "number of application response times"),
		maximum("art_max_us", "us", "longest application response time"),
		counter("cit_sum_us", "us", "client idle time: server data to the next client data, sum"),
		counter("cit_count", "", "number of client idle times"),
		maximum("cit_max_us", "us", "longest client idle time"),
		nullable("tls_rtt_us", BigInt, "us", "TLS handshake"),
		counter("l7_request", "requests", "application requests"),
		counter("l7_response", "responses", "application responses"),
		counter("l7_client_error", "responses", "responses that blame the client"),
		counter("l7_server_error", "responses", "responses that blame the server"),
		counter("l7_timeout", "requests", "requests given up without a response"),
		counter("rrt_sum_us", "us", "request to response time, sum"),
		counter("rrt_count", "", "number of request to response times"),
		maximum("rrt_max_us", "us", "longest request to response time"),
		key("client_tags", TagSet, "tags of the client; in SQL client.<key>"),
		key("server_tags", TagSet, "tags of the server; in SQL server.<key>"),
	}}, "time/10m", "server_tags", "client_tags", "server_ip", "client_ip", "server_port", "client_port", "observation_point", "agent", "time"))
})

// Spans is the definition of the table spans: one row per request, from any source.
func Spans() *Table { return spans() }

var spans = sync.OnceValue(func() *Table {
	return must(New(Table{Name: "spans", Retention: 3 * day, Doc: "one row per request (request and response merged), from any source", Columns: []Column{
		timeColumn("start of the request"),
		key("end_time", Timestamp, "time of the response"),
		{Name: "duration_us", Type: BigInt, Role: Gauge, Unit: "us", Nullable: true, Doc: "request to response, NULL when only one was seen"},
		{Name: "id", Type: BigInt, Bloom: true, Doc: "row id: unique among all spans"},
		key("flow_id", BigInt, "flow that carried it; 0 for OpenTelemetry spans"),
		key("type", Varchar, "request, response or session (both)"),
		uniq("client_ip", Inet, "address of the side that asked"),
		uniq("server_ip", Inet, "address of the side that answered"),
		key("client_port", Integer, "port of the client"),
		key("server_port", Integer, "port of the server"),
		key("protocol", Varchar, "tcp, udp, ..."),
		key("source", Varchar, "packet (pcap files too), ebpf or otel"),
		key("observation_point", Varchar, "where on the path it was seen: c-app, c-p, c, s, s-p, s-app, ..."),
		key("agent", Varchar, "host name of the collector"),
		key("interface", Varchar, "network interface it was seen on"),
		key("is_tls", Boolean, "whether it was encrypted on the wire"),
		key("is_async", Boolean, "whether the answer may come over another connection"),
		key("l7_protocol", Varchar, "application protocol"),
		key("version", Varchar, "version of that protocol"),
		key("request_type", Varchar, "method, command or query type"),
		key("request_domain", Varchar, "host, authority or queried name"),
		key("request_resource", Varchar, "path, statement or key"),
		nullableKey("request_id", BigInt, "the protocol's own id of the request"),
		uniq("endpoint", Varchar, "resource without its variable parts"),
		nullable("request_bytes", BigInt, "bytes", "length of the request"),
		nullable("response_bytes", BigInt, "bytes", "length of the response"),
		key("response_status", Varchar, "ok, client_error, server_error, timeout or unknown"),
		nullableKey("response_code", Integer, "the protocol's own status code"),
		key("response_exception", Varchar, "error text"),
		key("response_result", Varchar, "what was answered, for protocols that say it in short"),
		nullable("sql_affected_rows", BigInt, "rows", "rows changed by a statement"),
		traceID("trace id found in headers or given by OpenTelemetry"),
		id("span_id", "span id found in headers or given by OpenTelemetry"),
		key("parent_span_id", Varchar, "span id of the caller"),
		key("span_kind", Varchar, "client, server, producer, consumer or internal"),
		key("span_name", Varchar, "name of an OpenTelemetry span"),
		key("service_name", Varchar, "service.name of the resource"),
		id("x_request_id_request", "X-Request-ID of the request"),
		id("x_request_id_response", "X-Request-ID of the response"),
		key("syscall_trace_id_request", BigInt, "id that joins the syscalls of one thread, at the request"),
		key("syscall_trace_id_response", BigInt, "id that joins the syscalls of one thread, at the response"),
		key("thread_request", BigInt, "thread that carried the request"),
		key("thread_response", BigInt, "thread that carried the response"),
		key("coroutine_request", BigInt, "goroutine that carried the request"),
		key("coroutine_response", BigInt, "goroutine that carried the response"),
		key("cap_seq_request", BigInt, "number of the captured buffer of its socket, request"),
		key("cap_seq_response", BigInt, "number of the captured buffer of its socket, response"),
		key("tcp_seq_request", BigInt, "TCP sequence number of the request's first byte"),
		key("tcp_seq_response", BigInt, "TCP sequence number of the response's first byte"),
		nullableKey("client_pid", Integer, "process id of the client, where known"),
		nullableKey("server_pid", Integer, "process id of the server, where known"),
		key("client_process", Varchar, "process name of the client, where known"),
		key("server_process", Varchar, "process name of the server, where known"),
		key("attributes", Map, "further attributes"),
		key("events", Varchar, "events of an OpenTelemetry span, JSON"),
		key("client_tags", TagSet, "tags of the client; in SQL client.<key>"),
		key("server_tags", TagSet, "tags of the server; in SQL server.<key>"),
	}}, "time/1m", "server_tags", "client_tags", "endpoint", "time"))
})

// Samples is the definition of the table samples: Prometheus, Influx and OTLP metrics.
func Samples() *Table { return samples() }

var samples = sync.OnceValue(func() *Table {
	return must(New(Table{Name: "samples", Retention: 7 * day, Doc: "metric samples: one value of one series at one time", Columns: []Column{
		timeColumn("time of the sample"),
		key("tags", TagSet, "labels of the series, its name as __name__; in SQL tag.<key>"),
		{Name: "value", Type: Double, Role: Gauge, Doc: "the value"},
	}}, "tags", "time"))
})

// Logs is the definition of the table logs.
func Logs() *Table { return logs() }

var logs = sync.OnceValue(func() *Table {
	return must(New(Table{Name: "logs", Retention: 30 * day, Doc: "log records", Columns: []Column{
		timeColumn("time of the record"),
		key("severity", Varchar, "trace, debug, info, warn, error or fatal"),
		key("body", Varchar, "the message"),
		traceID("trace the record belongs to"),
		id("span_id", "span the record belongs to"),
		key("tags", TagSet, "tags of the sender; in SQL tag.<key>"),
		key("attributes", Map, "further attributes"),
	}}, "time/1m", "tags", "time"))
})

// Builtin is the registry of all built-in tables and rollups.
func Builtin() *Registry { return builtin() }

var builtin = sync.OnceValue(func() *Registry {
	r, err := NewRegistry(Flows(), Spans(), Samples(), Logs(), Network(), Application())
	for _, def := range builtinRollups() {
		if err == nil {
			r, err = r.With(def)
		}
	}
	if err != nil {
		panic(err) // as in must
	}
	for _, u := range r.rollups {
		u.Builtin = true
	}
	return r
})
