package l7

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// http2Deviations are the places where the rows differ from the expectations of the reference captures, with the reason.
var http2Deviations = map[string]string{
	"grpc-unary status":   "the capture ends before grpc-status comes: until then it is unknown, theirs is that of HTTP",
	"grpc-unknown status": "the fields of the trailers went by before the capture: grpc-status is unknown, theirs is that of HTTP",
}

// TestCorpusHTTP2 compares each line of the expectations with the exchange of its stream. These deviations are everywhere:
//   - a request and its response are one exchange; the lines are one per packet, and empty ones of packets without headers or whose
//     frames are not their first are left out;
//   - the type of a gRPC request is POST, as their rows have it too; the lines have an inner name;
//   - lengths are those of all header blocks and content of a message; theirs are of the first data frame;
//   - user agents are kept; there, the capture of that header was off.
func TestCorpusHTTP2(t *testing.T) {
	dir := filepath.Join(corpusDir(t), "l7", "http")
	for name, streams := range map[string]int{"grpc-segmented": 1, "grpc-service-name": 1, "grpc-unary": 1, "grpc-unknown": 1, "http2-multi": 2, "httpv2-stream-id": 1} {
		text, err := os.ReadFile(filepath.Join(dir, name+".result"))
		if err != nil {
			t.Fatal(err)
		}
		for _, reversed := range []bool{false, true} {
			rec, m := replay(t, filepath.Join(dir, name+".pcap"), Options{}, reversed)
			if m.ParseFailures+m.WrongSide+m.Unpaired+m.Resyncs+m.GaveUp != 0 || len(rec.exchanges) != streams {
				t.Errorf("%s reversed %v: %d exchanges, %+v", name, reversed, len(rec.exchanges), m)
			}
			for line := range strings.Lines(string(text)) {
				id := httpField(line, "stream_id")
				for i := range rec.exchanges {
					if e := &rec.exchanges[i]; num(e.RequestID) == id {
						compareHTTP2(t, name, e, line)
					}
				}
			}
		}
	}
}

// compareHTTP2 compares an exchange with a line about its request, or about its response.
func compareHTTP2(t *testing.T, name string, e *Exchange, line string) {
	t.Helper()
	check := func(field, got, want string) {
		t.Helper()
		if _, known := http2Deviations[name+" "+field]; known == (got == want) {
			t.Errorf("%s stream %d: %s %q, want %q (deviation: %v)", name, e.RequestID, field, got, want, known)
		}
	}
	check("protocol", e.Protocol.String(), strings.ToLower(httpField(line, "proto")))
	check("version", e.Version, "2")
	check("trace", e.TraceID+e.SpanID+e.XRequestIDRequest+e.XRequestIDResponse, "")
	if code := httpField(line, "status_code"); code != "" {
		grpc := httpField(line, "grpc_status_code")
		if grpc != "" { // what their rows have as the code
			code = grpc
		}
		check("code", num(e.ResponseCode), code)
		check("status", e.Status.String(), strings.ToLower(httpField(line, "status")))
		check("kind", e.Kind.String(), "session")
		return
	}
	if method := httpField(line, "method"); method == "_RequestData" { // a packet of data only
		return
	} else if method[0] != '_' {
		check("method", e.RequestType, strings.ToUpper(method))
	} else {
		check("method", e.RequestType, "POST")
	}
	check("host", e.RequestDomain, httpField(line, "host"))
	if e.Protocol == GRPC {
		check("service", e.RequestResource, strings.TrimSuffix(strings.TrimSpace(httpField(line, "service_name")), "None } is_http: true"))
		check("path", e.Endpoint, httpField(line, "path"))
	} else {
		check("path", e.RequestResource, httpField(line, "path"))
	}
	check("endpoint", e.Endpoint, httpField(line, "endpoint"))
}

// TestCorpusHTTP2Values has what the packets say and the expectations do not.
func TestCorpusHTTP2Values(t *testing.T) {
	for name, want := range map[string]string{
		"grpc-segmented":    "grpc 2511 -1 [{request_content_type application/grpc} {user_agent tonic/0.8.3}]",
		"grpc-service-name": "grpc 168 146 [{content_type application/grpc} {grpc_request_messages 3} {grpc_streaming client} {request_content_type application/grpc} {user_agent grpc-go/1.64.0}]",
		"grpc-unary":        "grpc 312 16398 [{content_type application/grpc} {request_content_type application/grpc} {user_agent tonic/0.8.3}]",
		"grpc-unknown":      "grpc 105 200 [{request_content_type application/grpc} {user_agent grpc-go/1.44.1-dev}]",
		"httpv2-stream-id":  "http2 53 -1 []",
	} {
		rec, _ := replay(t, filepath.Join(corpusDir(t), "l7", "http", name+".pcap"), Options{}, false)
		e := rec.exchanges[0]
		if got := fmt.Sprint(e.Protocol, " ", e.RequestBytes, " ", e.ResponseBytes, " ", e.Attributes); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
