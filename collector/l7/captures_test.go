package l7

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write the golden rows anew; look at the difference")

// TestCaptures plays the captures that testdata/record made with real servers, and compares all rows with the golden ones.
func TestCaptures(t *testing.T) {
	files, err := filepath.Glob("testdata/captures/*.pcap")
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		t.Run(name, func(t *testing.T) {
			all := payloads(t, f)
			if len(all) == 0 {
				t.Skip("neither TCP nor UDP")
			}
			rec, m := playPayloads(all, Options{}, false)
			var b strings.Builder
			for i := range rec.exchanges {
				describe(&b, &rec.exchanges[i], all[0].atNanos)
			}
			if m.Buffered != 0 || m.Pending != 0 {
				t.Errorf("left behind %+v", m)
			}
			golden := filepath.Join("testdata/captures", name+".golden")
			if *rewrite && b.Len() > 0 {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil && b.Len() > 0 {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("rows of %s:\n%s\nwant (-rewrite writes them anew):\n%s", f, b.String(), want)
			}
		})
	}
}

// describe writes an exchange in a few lines: what is absent is left out, times are since the first payload.
func describe(b *strings.Builder, e *Exchange, firstNanos int64) {
	fmt.Fprintf(b, "%s %s %s at %d us", e.Kind, e.Protocol, e.Status, (e.StartNanos-firstNanos)/1000)
	if e.Kind == KindSession {
		fmt.Fprintf(b, ", took %d us", (e.EndNanos-e.StartNanos)/1000)
	}
	b.WriteByte('\n')
	text := func(name, v string) {
		if v != "" {
			fmt.Fprintf(b, "  %s %q\n", name, v)
		}
	}
	number := func(name string, v int64) {
		if v != -1 {
			fmt.Fprintf(b, "  %s %d\n", name, v)
		}
	}
	text("version", e.Version)
	text("request_type", e.RequestType)
	text("request_domain", e.RequestDomain)
	text("request_resource", e.RequestResource)
	text("endpoint", e.Endpoint)
	number("request_id", e.RequestID)
	number("request_bytes", e.RequestBytes)
	number("response_bytes", e.ResponseBytes)
	number("response_code", e.ResponseCode)
	text("response_exception", e.ResponseException)
	text("response_result", e.ResponseResult)
	number("sql_affected_rows", e.AffectedRows)
	text("trace_id", e.TraceID)
	text("span_id", e.SpanID)
	text("x_request_id_request", e.XRequestIDRequest)
	text("x_request_id_response", e.XRequestIDResponse)
	for _, a := range e.Attributes {
		text("attribute "+a.Key, a.Value)
	}
}
