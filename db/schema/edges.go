package schema

import (
	"slices"
	"sync"
	"time"
)

// The tables of edges hold what happened between two tag sets in a second. Collectors make their rows, several of one key
// and second if need be; From and Expr of a column say what it counts, over the raw rows of that key and second, where
// flows are reported each second (docs/guide/edges.md).

func edgeMetric(from, name string, role Role, unit, expr, doc string) Column {
	c := Column{Name: name, Type: BigInt, Role: role, Unit: unit, From: from, Expr: expr, Doc: doc}
	if role == Sketch {
		c.Type = Bytes
	}
	return c
}

// summed is a metric that has the name of the column of flows that it sums up.
func summed(name string) Column {
	c := Flows().Columns[Flows().MustColumn(name)]
	expr := "sum(" + name + ")"
	if c.Role == Max {
		expr = "max(" + name + ")"
	}
	return edgeMetric("flows", name, c.Role, c.Unit, expr, c.Doc)
}

// delay is the sum, number and maximum of a delay that flows have at most once.
func delay(name, doc string) []Column {
	x := name + "_us"
	return []Column{
		edgeMetric("flows", name+"_sum_us", Counter, "us", "sum("+x+")", doc+": sum"),
		edgeMetric("flows", name+"_count", Counter, "", "count("+x+")", doc+": number"),
		edgeMetric("flows", name+"_max_us", Max, "us", "max("+x+")", doc+": longest"),
	}
}

// ended counts flows whose close_type is one of a list.
func ended(name, list, doc string) Column {
	return edgeMetric("flows", name, Counter, "flows", "count(*) FILTER (WHERE close_type IN ("+list+"))", doc)
}

// counted counts spans.
func counted(name, unit, condition, doc string) Column {
	return edgeMetric("spans", name, Counter, unit, "count(*) FILTER (WHERE "+condition+")", doc)
}

func edgeKeys() []Column {
	return []Column{
		timeColumn("the second"),
		key("server_tags", TagSet, "tags of the server; in SQL server.<key>"),
		key("client_tags", TagSet, "tags of the client; in SQL client.<key>"),
		key("server_port", Integer, "port of the server"),
		key("protocol", Varchar, "tcp, udp, icmp, ..."),
		key("observation_point", Varchar, "where on the path it was seen: c, s, local, rest, ..."),
		key("agent", Varchar, "host name of the collector"),
		key("source", Varchar, "packet (pcap files too), ebpf or otel"),
	}
}

// Network is the definition of the table network_1s: what flows between two tag sets did in a second.
func Network() *Table { return network() }

var network = sync.OnceValue(func() *Table {
	return must(New(Table{
		Name: "network_1s", Base: "network", Resolution: "1s", Partial: true, Retention: day,
		Doc:     "what the flows between two tag sets did in a second",
		Columns: slices.Concat(edgeKeys(), networkTraffic(), networkDelays(), networkEnds(), networkSketches()),
	}, "time/1m", "server_tags", "client_tags", "server_port", "protocol", "observation_point", "agent", "source", "time"))
})

func networkTraffic() (out []Column) {
	for _, name := range []string{
		"packets_tx", "packets_rx", "bytes_tx", "bytes_rx", "payload_bytes_tx", "payload_bytes_rx",
		"syn_count", "synack_count", "fin_count", "retrans_syn", "retrans_synack", "retrans_tx", "retrans_rx", "ooo_tx", "ooo_rx",
		"zero_window_tx", "zero_window_rx",
	} {
		out = append(out, summed(name))
	}
	return append(out,
		edgeMetric("flows", "new_flow", Counter, "flows", "count(*) FILTER (WHERE is_new)", "flows that began"),
		edgeMetric("flows", "closed_flow", Counter, "flows", "count(*) FILTER (WHERE close_type <> 'forced_report')", "flows that ended"),
		edgeMetric("flows", "flow_load", Counter, "flow seconds", "count(DISTINCT flow_id) FILTER (WHERE packets_tx + packets_rx > 0)",
			"flows with traffic, counted each second: divided by the seconds of a range, the mean number of active flows"),
	)
}

func networkDelays() (out []Column) {
	out = slices.Concat(
		delay("rtt", "TCP handshake: first SYN to the client's ACK"),
		delay("rtt_client", "client part of the handshake: SYN-ACK to ACK"),
		delay("rtt_server", "server part of the handshake: SYN to SYN-ACK"),
	)
	for _, name := range []string{
		"srt_sum_us", "srt_count", "srt_max_us", "art_sum_us", "art_count", "art_max_us", "cit_sum_us", "cit_count", "cit_max_us",
		"l7_request", "l7_response", "l7_client_error", "l7_server_error",
	} {
		out = append(out, summed(name))
	}
	out = append(out, edgeMetric("flows", "l7_error", Counter, "responses", "sum(l7_client_error + l7_server_error)", "responses that blame a side"))
	for _, name := range []string{"l7_timeout", "rrt_sum_us", "rrt_count", "rrt_max_us"} {
		out = append(out, summed(name))
	}
	return out
}

func networkEnds() []Column {
	const (
		clientSetup = "'client_ack_miss', 'client_port_reuse', 'client_establish_rst'"
		serverSetup = "'server_syn_miss', 'server_direct_rst', 'server_establish_rst'"
	)
	return []Column{
		ended("client_rst_flow", "'client_rst'", "flows that the client reset"),
		ended("server_rst_flow", "'server_rst'", "flows that the server reset"),
		ended("client_half_close_flow", "'client_half_close'", "flows closed by one FIN, from the server"),
		ended("server_half_close_flow", "'server_half_close'", "flows closed by one FIN, from the client"),
		ended("tcp_timeout", "'transfer_timeout'", "flows that fell silent"),
		ended("server_queue_lack", "'server_queue_overflow'", "flows whose server repeated its SYN-ACK: its queue was full"),
		ended("client_ack_miss", "'client_ack_miss'", "flows without the ACK that ends the handshake"),
		ended("client_source_port_reuse", "'client_port_reuse'", "flows whose client port was still in use"),
		ended("client_establish_other_rst", "'client_establish_rst'", "flows that the client reset in the handshake"),
		ended("server_syn_miss", "'server_syn_miss'", "flows whose SYN got no answer"),
		ended("server_reset", "'server_direct_rst'", "flows whose SYN was answered by RST"),
		ended("server_establish_other_rst", "'server_establish_rst'", "flows that the server reset in the handshake"),
		ended("client_establish_fail", clientSetup, "handshakes that failed because of the client"),
		ended("server_establish_fail", serverSetup, "handshakes that failed because of the server"),
		ended("tcp_establish_fail", clientSetup+", "+serverSetup, "handshakes that failed"),
		ended("tcp_transfer_fail", "'server_rst', 'client_rst', 'server_queue_overflow', 'transfer_timeout'", "flows that broke after the handshake"),
		ended("tcp_rst_fail", "'client_establish_rst', 'server_establish_rst', 'server_direct_rst', 'server_rst', 'client_rst'", "flows that ended by RST"),
	}
}

func networkSketches() []Column {
	return []Column{
		edgeMetric("flows", "rtt_sketch", Sketch, "", "sketch(rtt_us)", "TCP handshake in us: sketch for percentiles"),
		edgeMetric("spans", "rrt_sketch", Sketch, "", "sketch(duration_us)", "request to response time in us: sketch for percentiles"),
	}
}

// Application is the definition of the table application_1s: what requests between two tag sets did in a second.
func Application() *Table { return application() }

var application = sync.OnceValue(func() *Table {
	return must(New(Table{
		Name: "application_1s", Base: "application", Resolution: "1s", Partial: true, Retention: day,
		Doc: "what the requests between two tag sets did in a second, by endpoint",
		Columns: append(edgeKeys(),
			key("l7_protocol", Varchar, "application protocol"),
			uniq("endpoint", Varchar, "resource without its variable parts"),
			key("service_name", Varchar, "service.name of the resource"),
			counted("request", "requests", "type <> 'response'", "requests"),
			counted("response", "responses", "type <> 'request'", "responses"),
			counted("client_error", "responses", "response_status = 'client_error'", "responses that blame the client"),
			counted("server_error", "responses", "response_status = 'server_error'", "responses that blame the server"),
			counted("error", "responses", "response_status IN ('client_error', 'server_error')", "responses that blame a side"),
			counted("timeout", "requests", "response_status = 'timeout'", "requests given up without a response"),
			edgeMetric("spans", "rrt_sum_us", Counter, "us", "sum(duration_us)", "request to response time, sum"),
			edgeMetric("spans", "rrt_count", Counter, "", "count(duration_us)", "number of request to response times"),
			edgeMetric("spans", "rrt_max_us", Max, "us", "max(duration_us)", "longest request to response time"),
			edgeMetric("spans", "rrt_sketch", Sketch, "", "sketch(duration_us)", "request to response time in us: sketch for percentiles"),
		),
	}, "time/1m", "server_tags", "client_tags", "server_port", "protocol", "observation_point", "l7_protocol", "endpoint", "service_name", "agent", "source", "time"))
})

// builtinRollups are those that every database has: the edges by minute.
func builtinRollups() []RollupDef {
	minutes := func(name string, t *Table) RollupDef {
		d := RollupDef{Name: name, Source: t.Name, Every: time.Minute, Keep: 30 * day}
		for _, s := range t.Sort {
			if s.Column != t.TimeColumn {
				d.Keys = append(d.Keys, RollupKey{Column: t.Columns[s.Column].Name})
			}
		}
		return d
	}
	return []RollupDef{minutes("network_1m", Network()), minutes("application_1m", Application())}
}
