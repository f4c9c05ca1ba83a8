package l7

import (
	"bytes"
	"encoding/base64"

	"github.com/flowlake/flowlake/collector/l7/http1"
)

// trace takes the trace context from a header: of several conventions the first that is there and well formed. The
// span id is the sender's, as the header has it.
func (t *Tracker) trace(h *http1.Head, e *Exchange) {
	switch {
	case t.traceparent(h.Fields[http1.Traceparent], e):
	case t.skywalking(h.Fields[http1.SW8], e):
	case t.skywalking(h.Fields[http1.SW6], e):
	case t.b3(h.Fields[http1.B3], e):
	case h.Fields[http1.XB3TraceID] != nil:
		e.TraceID = t.once(h.Fields[http1.XB3TraceID], maxID)
		e.SpanID = t.once(h.Fields[http1.XB3SpanID], maxID)
	default:
		t.uber(h.Fields[http1.UberTraceID], e)
	}
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
