package l7

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Deviations: what was confirmed by +OK is one exchange with it, as are a message published with an inbox for its reply and that
// reply, and a message delivered to a service and its answer; the request's length is given of all messages.
func TestCorpusNATS(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "nats", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	inner := regexp.MustCompile(`message: (\w+)\(`)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		got, lines := brokerCapture(t, "nats/"+name)
		i, waiting := 0, map[string]int{} // exchanges by the subject of their reply
		var verbose []int                 // exchanges that +OK is for
		var last int
		for n, l := range lines {
			what := fmt.Sprintf("%s, line %d", name, n+1)
			op := strings.ToUpper(inner.FindStringSubmatch(l)[1])
			subject := debugField(l, "subject")
			switch {
			case debugField(l, "msg_type") == "Response":
				e := got[last]
				compare(t, what, [][3]string{{"kind", e.Kind.String(), "session"}, {"result", e.ResponseResult, op},
					{"bytes", num(e.ResponseBytes), debugField(l, "resp_len")}, {"rrt", num((e.EndNanos - e.StartNanos) / 1000), debugField(l, "rtt")}}...)
				continue
			case op == "OK":
				if len(verbose) == 0 {
					continue // that of CONNECT
				}
				e := got[verbose[0]]
				verbose = verbose[1:]
				compare(t, what, [][3]string{{"kind", e.Kind.String(), "session"}, {"result", e.ResponseResult, "+OK"}}...)
				continue
			}
			if at, ok := waiting[subject]; ok && subject != "" {
				e := got[at]
				compare(t, what, [][3]string{{"kind", e.Kind.String(), "session"}, {"status", e.Status.String(), "ok"}}...)
				continue
			}
			if i >= len(got) {
				t.Fatalf("%s: no exchange", what)
			}
			e := got[i]
			last = i
			reply := debugField(l, "reply_to")
			if strings.HasPrefix(reply, "_INBOX.") {
				waiting[reply] = i
			} else if name == "nats-headers" && !e.ServerInitiated && op != "PING" {
				verbose = append(verbose, i)
			}
			i++
			compare(t, what, [][3]string{
				{"type", e.RequestType, op}, {"resource", e.RequestResource, subject}, {"endpoint", e.Endpoint, debugField(l, "endpoint")},
				{"domain", e.RequestDomain, debugField(l, "server_name")}, {"version", e.Version, debugField(l, "version")}, {"status", e.Status.String(), "ok"},
				{"trace", e.TraceID, debugField(l, "field")}, {"span", e.SpanID, debugField(l, "span_id")}, {"initiator", fmt.Sprint(e.ServerInitiated), fmt.Sprint(!strings.Contains(l, "captured_response_byte: 0") || op == "INFO" || op == "PING" && e.ServerInitiated)},
			}...)
			if want := debugField(l, "req_len"); want != "" {
				compare(t, what, [3]string{"bytes", num(e.RequestBytes), want})
			}
		}
		if i != len(got) {
			t.Errorf("%s: %d exchanges, want %d", name, len(got), i)
		}
	}
}
