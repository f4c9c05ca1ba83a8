package l7

import (
	"cmp"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// brokerCapture replays a capture of the corpus both ways round and returns its exchanges in order of their beginning, and the
// lines of the expectation. Nothing in it may be misread.
func brokerCapture(t *testing.T, name string) (exchanges []Exchange, lines []string) {
	t.Helper()
	exchanges, lines = rpcCapture(t, name)
	slices.SortStableFunc(exchanges, func(a, b Exchange) int { return cmp.Compare(a.StartNanos, b.StartNanos) })
	return exchanges, lines
}

// Deviations: the protocol header is no exchange; method, content header and body of a message are one, with the trace context
// of the header; a request and its response are one; domain is the connection's virtual host on both of its sides' messages.
func TestCorpusAMQP(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "amqp", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		got, lines := brokerCapture(t, "amqp/"+name)
		i := -1
		for n, l := range lines {
			what := fmt.Sprintf("%s, line %d", name, n+1)
			switch {
			case strings.Contains(l, "is_protcol_header"), debugField(l, "frame_type") == "Body":
				continue
			case debugField(l, "frame_type") == "Header":
				e := got[i]
				compare(t, what, [][3]string{{"trace", e.TraceID, debugField(l, "field")}, {"span", e.SpanID, debugField(l, "span_id")}}...)
				continue
			}
			if debugField(l, "msg_type") == "Response" {
				e := got[i]
				compare(t, what, [][3]string{
					{"kind", e.Kind.String(), "session"}, {"status", e.Status.String(), strings.ToLower(debugField(l, "resp_status"))},
					{"bytes", num(e.ResponseBytes), debugField(l, "resp_len")}, {"rrt", num((e.EndNanos - e.StartNanos) / 1000), debugField(l, "rtt")},
					{"endpoint", e.Endpoint, debugField(l, "endpoint")},
				}...)
				continue
			}
			if i++; i >= len(got) {
				t.Fatalf("%s: no exchange", what)
			}
			e := got[i]
			kind := "session"
			if debugField(l, "msg_type") == "Session" {
				kind = "request"
			}
			resource := debugField(l, "queue")
			if resource == "" {
				resource = debugField(l, "endpoint")
			}
			code, text := "-1", ""
			if strings.Contains(l, "resp_code: Some(Success)") {
				code, text = "200", debugField(l, "resp_text")
			}
			domain := debugField(l, "vhost")
			if e.ServerInitiated && e.RequestType == "Basic.Deliver" && name == "amqp2" {
				domain = "" // another connection, which the capture has from its middle on
			}
			compare(t, what, [][3]string{
				{"kind", e.Kind.String(), kind}, {"type", e.RequestType, debugField(l, "class_id") + "." + debugField(l, "method_id")},
				{"domain", e.RequestDomain, domain}, {"resource", e.RequestResource, resource}, {"endpoint", e.Endpoint, debugField(l, "endpoint")},
				{"id", num(e.RequestID), debugField(l, "channel_id")}, {"status", e.Status.String(), "ok"}, {"version", e.Version, "0-9-1"},
				{"code", num(e.ResponseCode), code}, {"result", e.ResponseResult, text},
			}...)
			if kind == "session" {
				compare(t, what, [3]string{"bytes", num(e.RequestBytes), debugField(l, "req_len")})
			}
		}
		if i != len(got)-1 {
			t.Errorf("%s: %d exchanges, want %d", name, len(got), i+1)
		}
	}
}
