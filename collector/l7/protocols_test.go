package l7

import "testing"

func TestProtocolNames(t *testing.T) {
	seen := map[string]Protocol{}
	for p := range numProtocols {
		name := p.String()
		if (name == "") != (p == Unknown) {
			t.Errorf("protocol %d is called %q", p, name)
		}
		if q, ok := seen[name]; ok {
			t.Errorf("%q is %d and %d", name, q, p)
		}
		seen[name] = p
		if q, ok := ProtocolNamed(name); p != Unknown && (q != p || !ok) {
			t.Errorf("ProtocolNamed(%q) = %d, %v", name, q, ok)
		}
		if d := &protocols[p]; d.make != nil && (d.over == 0 || d.timeout <= 0 || d.family != Unknown) {
			t.Errorf("%s: incomplete line %+v", name, *d)
		}
	}
	if _, ok := ProtocolNamed(""); ok || Protocol(255).String() != "" {
		t.Error("a name for nothing")
	}
}

func TestContextField(t *testing.T) {
	tr := NewTracker(Options{}, &recorder{})
	type field struct{ key, value string }
	const (
		parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
		sw8    = "1-dHJhY2U=-c2VnbWVudA==-3-x-y-z-w"
		b3     = "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1"
		uber   = "abc:def:0:1"
	)
	for _, c := range []struct {
		name, trace, span string
		fields            []field
	}{
		{"traceparent", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", []field{{"TraceParent", parent}}},
		{"sw8", "trace", "segment-3", []field{{"sw8", sw8}}},
		{"b3", "80f198ee56343ba864fe8b2a57d3eff7", "e457b5a2e4d86bd1", []field{{"b3", b3}}},
		{"uber", "abc", "def", []field{{"uber-trace-id", uber}}},
		{"x-b3", "t1", "s1", []field{{"X-B3-SpanId", "s1"}, {"X-B3-TraceId", "t1"}}},
		{"the better one comes later", "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", []field{{"uber-trace-id", uber}, {"x-b3-spanid", "s1"}, {"traceparent", parent}, {"sw8", sw8}}},
		{"the better one is malformed", "abc", "def", []field{{"traceparent", "00-x"}, {"uber-trace-id", uber}}},
		{"of two x-b3 and sw8", "trace", "segment-3", []field{{"x-b3-traceid", "t1"}, {"sw8", sw8}, {"x-b3-spanid", "s1"}}},
	} {
		var ex Exchange
		for _, f := range c.fields {
			if !tr.contextField(&ex, []byte(f.key), []byte(f.value)) {
				t.Errorf("%s: %s is no field", c.name, f.key)
			}
		}
		if ex.TraceID != c.trace || ex.SpanID != c.span {
			t.Errorf("%s: trace %q span %q, want %q %q", c.name, ex.TraceID, ex.SpanID, c.trace, c.span)
		}
	}
	ex := Exchange{Kind: KindRequest}
	tr.contextField(&ex, []byte("X-Request-ID"), []byte("r1"))
	ex.Kind = KindSession
	tr.contextField(&ex, []byte("x-request-id"), []byte("r2"))
	if ex.XRequestIDRequest != "r1" || ex.XRequestIDResponse != "r2" {
		t.Errorf("request ids %q %q", ex.XRequestIDRequest, ex.XRequestIDResponse)
	}
	for _, key := range []string{"", "host", "x-b3-sampled", "a-very-long-name-of-a-field"} {
		if tr.contextField(&ex, []byte(key), []byte("v")) {
			t.Errorf("%q is a field", key)
		}
	}
}
