package l7

import (
	"bytes"
	"encoding/base64"

	"github.com/flowlake/flowlake/collector/l7/http1"
)

// contextRank is how much a convention for trace context is preferred: the first of the list that is there and well formed
// counts.
type contextRank uint8

const (
	rankNone contextRank = iota
	rankTraceparent
	rankSW8
	rankSW6
	rankB3
	rankXB3
	rankUber
)

// contextNames are the names of the fields that carry context, in lower case.
var contextNames = map[string]contextRank{
	"traceparent": rankTraceparent, "sw8": rankSW8, "sw6": rankSW6, "b3": rankB3,
	"x-b3-traceid": rankXB3, "x-b3-spanid": rankXB3, "uber-trace-id": rankUber,
}

// longestContext is the length of the longest name above.
const longestContext = len("uber-trace-id")

// trace takes the trace context from a header. The span id is the sender's, as the header has it.
func (t *Tracker) trace(h *http1.Head, e *Exchange) {
	for _, f := range [...]struct {
		name  string
		field http1.Field
	}{
		{"traceparent", http1.Traceparent}, {"sw8", http1.SW8}, {"sw6", http1.SW6}, {"b3", http1.B3},
		{"x-b3-traceid", http1.XB3TraceID}, {"x-b3-spanid", http1.XB3SpanID}, {"uber-trace-id", http1.UberTraceID},
	} {
		if v := h.Fields[f.field]; v != nil {
			t.context(e, contextNames[f.name], f.name, v)
		}
	}
}

// contextField takes trace context, or the id of a request (X-Request-ID), from a field of whatever a protocol has in the
// way of headers: attachments, properties, record headers. The case of the key does not matter. It says whether the key is
// one of those; of several the most preferred convention counts, in any order.
func (t *Tracker) contextField(e *Exchange, key, value []byte) bool {
	var lower [longestContext]byte
	if len(key) > len(lower) {
		return false
	}
	for i, b := range key {
		if b >= 'A' && b <= 'Z' {
			b += 'a' - 'A'
		}
		lower[i] = b
	}
	name := lower[:len(key)]
	if string(name) == "x-request-id" {
		if e.Kind == KindRequest {
			e.XRequestIDRequest = t.once(value, t.o.MaxText)
		} else {
			e.XRequestIDResponse = t.once(value, t.o.MaxText)
		}
		return true
	}
	rank := contextNames[string(name)]
	if rank == rankNone {
		return false
	}
	spanOf := ""
	if rank == rankXB3 && len(name) == len("x-b3-spanid") {
		spanOf = "x-b3-spanid"
	}
	t.context(e, rank, spanOf, value)
	return true
}

// context takes the value of a field that carries context, unless a better one has been there. name only tells the two
// fields of rankXB3 apart.
func (t *Tracker) context(e *Exchange, rank contextRank, name string, value []byte) {
	if e.context != rankNone && (e.context < rank || e.context == rank && rank != rankXB3) || len(value) == 0 {
		return
	}
	switch rank {
	case rankTraceparent:
		if !t.traceparent(value, e) {
			return
		}
	case rankSW8, rankSW6:
		if !t.skywalking(value, e) {
			return
		}
	case rankB3:
		if !t.b3(value, e) {
			return
		}
	case rankXB3:
		if e.context != rankXB3 {
			e.TraceID, e.SpanID = "", ""
		}
		if name == "x-b3-spanid" {
			e.SpanID = t.once(value, maxID)
		} else {
			e.TraceID = t.once(value, maxID)
		}
	case rankUber:
		if !t.uber(value, e) {
			return
		}
	}
	e.context = rank
}

// maxID bounds a trace or span id, in bytes.
const maxID = 256

// traceparent reads version-traceid-spanid-flags (W3C Trace Context §3.2).
func (t *Tracker) traceparent(v []byte, e *Exchange) bool {
	const traceAt, spanAt, length = 3, 36, 55
	if len(v) < length || v[2] != '-' || v[spanAt-1] != '-' || v[spanAt+16] != '-' ||
		!isHex(v[traceAt:spanAt-1]) || !isHex(v[spanAt:spanAt+16]) {
		return false
	}
	e.TraceID = t.once(v[traceAt:spanAt-1], maxID)
	e.SpanID = t.once(v[spanAt:spanAt+16], maxID)
	return true
}

// skywalking reads sample-traceid-segmentid-spanid-..., the first two in base64 (SkyWalking Cross Process Propagation
// Headers Protocol v3; v2 begins alike). A span is named by its segment and its number there.
func (t *Tracker) skywalking(v []byte, e *Exchange) bool {
	if len(v) == 0 {
		return false
	}
	var f [4][]byte
	for i := range f {
		j := bytes.IndexByte(v, '-')
		if j < 0 {
			j = len(v)
		}
		f[i], v = v[:j], v[min(j+1, len(v)):]
	}
	trace, ok := t.unbase64(f[1])
	if !ok || len(trace) == 0 {
		return false
	}
	id := t.once(trace, maxID)
	if segment, ok := t.unbase64(f[2]); ok && len(segment) > 0 && len(f[3]) > 0 {
		t.scratch = append(append(segment, '-'), f[3]...)
		e.SpanID = t.once(t.scratch, maxID)
	}
	e.TraceID = id
	return true
}

// unbase64 decodes into t.scratch.
func (t *Tracker) unbase64(v []byte) ([]byte, bool) {
	if len(v) > 4*maxID {
		return nil, false
	}
	n := base64.StdEncoding.DecodedLen(len(v))
	if cap(t.scratch) < n {
		t.scratch = make([]byte, n, 2*n)
	}
	n, err := base64.StdEncoding.Decode(t.scratch[:n], v)
	return t.scratch[:n], err == nil
}

// b3 reads traceid-spanid[-sampled[-parent]] (openzipkin/b3-propagation); a lone sampling decision is no context.
func (t *Tracker) b3(v []byte, e *Exchange) bool {
	trace, rest, ok := bytes.Cut(v, []byte("-"))
	if !ok || !isHex(trace) || len(trace) != 16 && len(trace) != 32 {
		return false
	}
	span, _, _ := bytes.Cut(rest, []byte("-"))
	e.TraceID, e.SpanID = t.once(trace, maxID), t.once(span, maxID)
	return true
}

// uber reads traceid:spanid:parent:flags (Jaeger client libraries); the colons may be URL-encoded.
func (t *Tracker) uber(v []byte, e *Exchange) bool {
	sep := []byte(":")
	if bytes.IndexByte(v, ':') < 0 {
		sep = []byte("%3A")
	}
	trace, rest, ok := bytes.Cut(v, sep)
	if !ok || len(trace) == 0 {
		return false
	}
	span, _, _ := bytes.Cut(rest, sep)
	e.TraceID, e.SpanID = t.once(trace, maxID), t.once(span, maxID)
	return true
}

func isHex(v []byte) bool {
	for _, c := range v {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return len(v) > 0
}
