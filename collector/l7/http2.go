package l7

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/flowlake/flowlake/collector/l7/http2"
)

// http2Driver speaks HTTP/2, and gRPC and Dubbo's Triple, which are HTTP/2 with fields of their own.
type http2Driver struct {
	t          *Tracker
	fields     http2.Fields
	block      []byte // of a header in several frames
	reqHeaders []kept
	rspHeaders []kept
}

// http2State is what is known of a connection.
type http2State struct {
	side  [2]*http2Side // of the client, of the server
	sure  bool          // a header has told which end asks
	calls []grpcCall    // of the streams that are open
}

// http2Side is one direction.
type http2Side struct {
	table http2.Table
	begun bool   // a frame was read
	last  uint32 // the greatest stream that it opened
}

// grpcCall counts the messages of a call.
type grpcCall struct {
	stream uint32
	way    [2]http2.Messages // of the client, of the server
}

func newHTTP2Driver(t *Tracker) driver {
	return &http2Driver{t: t, reqHeaders: keptHeaders(t.o.RequestHeaders, requestHeader), rspHeaders: keptHeaders(t.o.ResponseHeaders, responseHeader)}
}

func (d *http2Driver) state(c *Conn) *http2State {
	st, ok := c.state.(*http2State)
	if !ok {
		st = &http2State{side: [2]*http2Side{{}, {}}}
		c.state = st
	}
	return st
}

// way is the index of a direction in http2State.
func way(server bool) int {
	if server {
		return 1
	}
	return 0
}

func (d *http2Driver) check(c *Conn, in *input, hint bool) shape {
	v := shape(http2.Check(in.p, hint, &d.fields))
	if c.Proto == Unknown {
		return v
	}
	st := d.state(c)
	st.side[way(in.server)].table.Lose()
	for i := range st.calls {
		st.calls[i].way[way(in.server)].Lose()
	}
	if v > shapeMaybe {
		if !st.sure {
			return shapeEither
		}
		return v
	}
	// In the middle, it may be a frame of a stream that is open.
	if w := shape(http2.Plausible(in.p)); w <= shapeMaybe {
		return w
	}
	var f http2.Frame
	if _, err := http2.ParseFrame(in.p, &f); err != nil || f.Stream != 0 && c.find(uint64(f.Stream)) == nil || f.Type == http2.Continuation {
		return shapeNo
	}
	return shapeEither
}

func (d *http2Driver) step(c *Conn, in *input) (int, error) {
	st := d.state(c)
	if n := min(len(in.p), len(http2.Preface)); n > 0 && string(in.p[:n]) == http2.Preface[:n] {
		if n < len(http2.Preface) {
			return 0, nil
		}
		d.direct(c, st, in, false)
		side := st.side[way(in.server)]
		side.begun = true
		side.table.Begin()
		return n, nil
	}
	var f http2.Frame
	n, err := http2.ParseFrame(in.p, &f)
	if errors.Is(err, http2.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	side := st.side[way(in.server)]
	if !side.begun && f.Type == http2.Settings && !f.Has(http2.FlagAck) {
		side.table.Begin()
	}
	side.begun = true
	switch f.Type {
	case http2.Data:
		return d.data(c, st, in, &f, n), nil
	case http2.Headers, http2.PushPromise:
		return d.headers(c, st, in, &f, n)
	case http2.RSTStream, http2.GoAway:
		const enough = http2.HeaderLen + 8
		if len(in.p) < min(n, enough) {
			return 0, nil
		}
		code, last, _ := f.Control(in.p[http2.HeaderLen:min(n, len(in.p))])
		if f.Type == http2.GoAway {
			d.goAway(c, in, code, last)
		} else {
			d.reset(c, st, in, f.Stream, code)
		}
	}
	return n, nil
}

// direct notes that the sender of in is the server or is not; where the connection was recognised by frames that either end
// sends, it may have been taken for the wrong one. false: it is known to be the other.
func (d *http2Driver) direct(c *Conn, st *http2State, in *input, server bool) bool {
	if in.server == server {
		st.sure = true
		return true
	}
	if st.sure {
		c.t.m.WrongSide++
		return false
	}
	c.identify(c.Proto, int(c.server^1))
	st.side[0], st.side[1] = st.side[1], st.side[0]
	in.server, st.sure = server, true
	return true
}

// data passes over the content of a request or response, of n bytes with the frame's header, and counts gRPC's messages in it.
func (d *http2Driver) data(c *Conn, st *http2State, in *input, f *http2.Frame, n int) int {
	pd := c.find(uint64(f.Stream))
	if pd == nil {
		return n
	}
	size, at := f.Length, http2.HeaderLen
	if f.Has(http2.FlagPadded) {
		if len(in.p) <= at {
			if !in.cut {
				return 0
			}
		} else {
			size, at = max(size-1-int(in.p[at]), 0), at+1
		}
	}
	if pd.ex.Protocol == GRPC {
		m := &st.call(c, f.Stream).way[way(in.server)]
		next := *m
		next.Walk(in.p[at:min(at+size, len(in.p))], size)
		if next.Lost() && !m.Lost() && !in.cut && len(in.p) < n {
			return 0
		}
		*m = next
	}
	total := &pd.ex.RequestBytes
	if in.server {
		total = &pd.ex.ResponseBytes
	}
	if *total >= 0 {
		*total += int64(size)
	}
	if pd.deadline-in.atNanos < c.t.timeouts[pd.proto]/2 {
		c.touch(pd, in.atNanos)
	}
	if in.server && f.Has(http2.FlagEndStream) {
		d.end(c, st, pd, in)
	}
	return n
}

// call returns the count of a stream's messages.
func (st *http2State) call(c *Conn, stream uint32) *grpcCall {
	for i := range st.calls {
		if st.calls[i].stream == stream {
			return &st.calls[i]
		}
	}
	if len(st.calls) >= c.t.o.MaxPending { // some of them were given up
		kept := st.calls[:0]
		for i := range st.calls {
			if c.find(uint64(st.calls[i].stream)) != nil {
				kept = append(kept, st.calls[i])
			}
		}
		st.calls = kept
	}
	st.calls = append(st.calls, grpcCall{stream: stream})
	return &st.calls[len(st.calls)-1]
}

// headers reads a header block, which begins with the frame f of n bytes and may go on in others.
func (d *http2Driver) headers(c *Conn, st *http2State, in *input, f *http2.Frame, n int) (int, error) {
	block, promised, total, whole, err := d.collect(in, f, n)
	if err != nil || total == 0 {
		return 0, err
	}
	if !whole && !in.lost {
		c.t.m.DroppedBuffer++
	}
	side := st.side[way(in.server)]
	d.fields.Reset(&side.table, block)
	more := d.fields.Next()
	ok := true
	switch {
	case f.Type == http2.PushPromise:
		ok = d.direct(c, st, in, true)
	case more && d.fields.NameKnown && len(d.fields.Name) > 0 && d.fields.Name[0] == ':':
		ok = d.direct(c, st, in, http2.Pseudo(d.fields.Name) == http2.Status)
	}
	switch {
	case !ok:
	case f.Type == http2.PushPromise:
		d.request(c, side, in, promised, len(block), more)
	case in.server:
		d.response(c, st, in, f, len(block), more)
	default:
		d.request(c, side, in, f.Stream, len(block), more)
	}
	for d.fields.Next() { // for the table's sake
	}
	if !whole || d.fields.Err() != nil {
		side.table.Lose()
	}
	if whole && d.fields.Err() != nil {
		c.t.m.ParseFailures++
	}
	return total, nil
}

// collect gathers a header block from its frames, of total bytes; 0 when more has to come. Not whole: the rest is lost.
func (d *http2Driver) collect(in *input, f *http2.Frame, n int) (block []byte, promised uint32, total int, whole bool, err error) {
	p := in.p
	if len(p) < n && !in.cut {
		return nil, 0, 0, false, nil
	}
	block, promised, err = f.Fragment(p[http2.HeaderLen:min(n, len(p))])
	if errors.Is(err, http2.ErrShort) {
		return block, promised, n, false, nil
	}
	if err != nil || f.Has(http2.FlagEndHeaders) {
		return block, promised, n, true, err
	}
	d.block = append(d.block[:0], block...)
	for {
		var next http2.Frame
		k, err := http2.ParseFrame(p[n:], &next)
		switch {
		case err == nil && (next.Type != http2.Continuation || next.Stream != f.Stream):
			return nil, 0, 0, false, http2.ErrMalformed
		case err == nil && n+k <= len(p):
			d.block = append(d.block, p[n+http2.HeaderLen:n+k]...)
			if n += k; next.Has(http2.FlagEndHeaders) {
				return d.block, promised, n, true, nil
			}
			continue
		case err != nil && !errors.Is(err, http2.ErrShort):
			return nil, 0, 0, false, err
		case !in.cut:
			return nil, 0, 0, false, nil
		case err == nil:
			d.block = append(d.block, p[n+http2.HeaderLen:]...)
			return d.block, promised, n + k, false, nil
		}
		return d.block, promised, len(p), false, nil
	}
}

// request handles a header of size bytes that opens a stream; more says that its first field was read. The server's are those
// of what it pushes.
func (d *http2Driver) request(c *Conn, side *http2Side, in *input, stream uint32, size int, more bool) {
	if c.find(uint64(stream)) != nil || stream <= side.last { // trailers
		return
	}
	pd := c.newPending(in)
	ex := &pd.ex
	pd.key, ex.RequestID, ex.Version, ex.ServerInitiated = uint64(stream), int64(stream), "2", in.server
	pseudo := false
	for ; more; more = d.fields.Next() {
		// What is not known may be one of them.
		pseudo = !d.fields.NameKnown || d.requestField(ex) || pseudo
	}
	if !pseudo { // the trailers of a request that was not seen
		c.drop(pd)
		return
	}
	side.last = stream
	ex.RequestBytes = int64(size)
	ex.Endpoint = endpoint(ex.RequestResource)
	if ex.Protocol == GRPC {
		nameGRPC(ex)
	}
	c.push(pd)
}

// requestField takes the current field of a request; it says whether that is a pseudo-header field.
func (d *http2Driver) requestField(ex *Exchange) bool {
	t, name, value := d.t, d.fields.Name, d.fields.Value
	switch string(name) {
	case ":method":
		ex.RequestType = t.text(value, t.o.MaxText)
	case ":path":
		ex.RequestResource = t.text(value, t.o.MaxText)
	case ":authority":
		ex.RequestDomain = t.text(value, t.o.MaxText)
	case ":scheme":
	case ":protocol":
		t.attribute(ex, "upgrade", value)
	default:
		if len(value) > 0 && !t.contextField(ex, name, value) {
			d.ordinaryField(ex, name, value)
		}
		t.captureField(ex, d.reqHeaders, name, value)
		return false
	}
	return true
}

// ordinaryField takes a field of a request that is not the protocol's own.
func (d *http2Driver) ordinaryField(ex *Exchange, name, value []byte) {
	t := d.t
	switch string(name) {
	case "host":
		if ex.RequestDomain == "" {
			ex.RequestDomain = t.text(value, t.o.MaxText)
		}
	case "content-type":
		t.attribute(ex, "request_content_type", value)
		if http2.IsGRPC(value) {
			ex.Protocol = GRPC
		}
	case "user-agent":
		t.attribute(ex, "user_agent", value)
	case "referer":
		t.attribute(ex, "referer", value)
	case "x-forwarded-for":
		t.attribute(ex, "x_forwarded_for", value)
	case "grpc-timeout":
		t.attribute(ex, "grpc_timeout", value)
	case "tri-service-version":
		t.attribute(ex, "rpc_service_version", value)
	case "tri-service-group":
		t.attribute(ex, "rpc_service_group", value)
	case "tri-consumer-appname":
		t.attribute(ex, "rpc_consumer", value)
	case "tri-trace-traceid":
		if ex.context == rankNone {
			ex.TraceID = t.once(value, maxID)
		}
	case "tri-trace-rpcid":
		if ex.context == rankNone {
			ex.SpanID = t.once(value, maxID)
		}
	}
}

// attributeOf is the value of an attribute, "" without one.
func (e *Exchange) attributeOf(key string) string {
	for i := range e.Attributes {
		if e.Attributes[i].Key == key {
			return e.Attributes[i].Value
		}
	}
	return ""
}

// nameGRPC sets endpoint and resource of a gRPC call: the path /package.Service/Method, and its service.
func nameGRPC(ex *Exchange) {
	path, _, _ := strings.Cut(ex.RequestResource, "?")
	ex.Endpoint, ex.RequestResource = path, ""
	if end := strings.LastIndexByte(path, '/'); end > 1 {
		ex.RequestResource = path[1:end]
	}
}

// response handles a header of the server: a response, interim or not, or trailers; more says that its first field was read.
func (d *http2Driver) response(c *Conn, st *http2State, in *input, f *http2.Frame, size int, more bool) {
	code := -1
	if more && d.fields.NameKnown && string(d.fields.Name) == ":status" && d.fields.ValueKnown {
		if n, err := strconv.ParseUint(string(d.fields.Value), 10, 16); err == nil && n >= 100 && n < 1000 {
			code = int(n)
		}
	}
	if code >= 100 && code < 200 && !f.Has(http2.FlagEndStream) {
		return
	}
	pd := c.find(uint64(f.Stream))
	fresh := pd == nil || !pd.begun
	if fresh && code < 0 && (pd == nil || f.Has(http2.FlagEndStream)) { // trailers, for all that is known
		if pd != nil {
			c.giveUp(pd)
		}
		return
	}
	if pd == nil {
		pd = c.orphan(in, uint64(f.Stream))
		pd.ex.RequestID, pd.ex.Version = int64(f.Stream), "2"
	}
	ex := c.begin(pd, in)
	if fresh {
		ex.ResponseBytes = 0
		if code > 0 {
			ex.ResponseCode, ex.Status = int64(code), statusHTTP(code)
		}
	}
	if ex.ResponseBytes >= 0 {
		ex.ResponseBytes += int64(size)
	}
	for context := ex.context == rankNone; more; more = d.fields.Next() {
		if d.fields.NameKnown && d.fields.ValueKnown {
			d.responseField(ex, context)
		}
	}
	if ex.Protocol == GRPC && ex.Status == StatusOK && ex.ResponseCode >= 100 {
		ex.Status = StatusUnknown // until grpc-status comes: all calls begin with HTTP's 200
	}
	if f.Has(http2.FlagEndStream) {
		d.end(c, st, pd, in)
	}
}

// responseField takes the current field of a response or its trailers, trace context only if asked to.
func (d *http2Driver) responseField(ex *Exchange, context bool) {
	t, name, value := d.t, d.fields.Name, d.fields.Value
	switch string(name) {
	case "content-type":
		t.attribute(ex, "content_type", value)
		if http2.IsGRPC(value) {
			d.isGRPC(ex)
		}
	case "grpc-status":
		n, err := strconv.ParseUint(string(value), 10, 16)
		if err != nil {
			return
		}
		d.isGRPC(ex)
		ex.ResponseCode, ex.Status = int64(n), statusGRPC(int64(n))
	case "grpc-message":
		t.scratch = http2.AppendUnescaped(t.scratch[:0], value)
		ex.ResponseException = t.text(t.scratch, t.o.MaxText)
	case "x-request-id":
		ex.XRequestIDResponse = t.once(value, t.o.MaxText)
	default:
		if context {
			t.contextField(ex, name, value)
		}
	}
	t.captureField(ex, d.rspHeaders, name, value)
}

// isGRPC says that a call is one of gRPC, if that was not clear from the request.
func (d *http2Driver) isGRPC(ex *Exchange) {
	if ex.Protocol != GRPC {
		ex.Protocol = GRPC
		nameGRPC(ex)
	}
}

func statusGRPC(code int64) Status {
	switch {
	case code == 0:
		return StatusOK
	case http2.GRPCClientError(code):
		return StatusClientError
	}
	return StatusServerError
}

// end reports a stream that the server has ended.
func (d *http2Driver) end(c *Conn, st *http2State, pd *pending, in *input) {
	c.unlink(pd)
	ex := &pd.ex
	if !pd.begun { // the header was lost
		ex = c.answer(pd, in)
	}
	d.complete(st, pd.key, ex)
	c.finish(pd, ex)
}

// complete fills in what is known at the end only.
func (d *http2Driver) complete(st *http2State, stream uint64, ex *Exchange) {
	t := d.t
	switch {
	case ex.Status == StatusOK && ex.Protocol == GRPC:
		ex.ResponseException = ""
	case ex.Status == StatusOK || ex.Status == StatusUnknown || ex.ResponseException != "":
	case ex.Protocol == GRPC && ex.ResponseCode < 100:
		ex.ResponseException = http2.GRPCCodeString(ex.ResponseCode)
	default:
		ex.ResponseException = http.StatusText(int(ex.ResponseCode))
	}
	for i := range st.calls {
		if uint64(st.calls[i].stream) != stream {
			continue
		}
		call := st.calls[i]
		st.calls[i] = st.calls[len(st.calls)-1]
		st.calls = st.calls[:len(st.calls)-1]
		t.streaming(ex, &call)
		return
	}
}

// streaming says which ends of a call have sent more than one message, and how many.
func (t *Tracker) streaming(ex *Exchange, call *grpcCall) {
	kind := ""
	for i, key := range [...]string{"grpc_request_messages", "grpc_response_messages"} {
		m := &call.way[i]
		if m.Count < 2 {
			continue
		}
		switch {
		case i == 0:
			kind = "client"
		case kind == "client":
			kind = "bidi"
		default:
			kind = "server"
		}
		if !m.Lost() {
			t.scratch = strconv.AppendUint(t.scratch[:0], uint64(m.Count), 10)
			t.attribute(ex, key, t.scratch)
		}
	}
	t.attribute(ex, "grpc_streaming", []byte(kind))
}

// reset handles a RST_STREAM. Of a response that has begun, the server's makes an error; the client's only says that it wants no
// more of it.
func (d *http2Driver) reset(c *Conn, st *http2State, in *input, stream, code uint32) {
	pd := c.take(uint64(stream))
	if pd == nil {
		return
	}
	ex, name := &pd.ex, http2.CodeString(code)
	if code != http2.CodeNone {
		d.t.attribute(ex, "rst_stream", []byte(name))
	}
	if !pd.begun && !in.server {
		if !ex.ServerInitiated {
			ex.Status, ex.ResponseException = StatusClientError, name
		}
		d.complete(st, pd.key, ex)
		c.report(ex)
		d.t.putPending(pd)
		return
	}
	if !pd.begun {
		ex = c.answer(pd, in)
	}
	if in.server && code != http2.CodeNone {
		ex.Status, ex.ResponseException = StatusServerError, name
	}
	d.complete(st, pd.key, ex)
	c.finish(pd, ex)
}

// goAway handles a GOAWAY of the server: it has not looked at the streams behind the last, and will not.
func (d *http2Driver) goAway(c *Conn, in *input, code, last uint32) {
	if !in.server {
		return
	}
	var next *pending
	for pd := c.first; pd != nil; pd = next {
		if next = pd.next; pd.key <= uint64(last) || pd.ex.ServerInitiated || pd.begun {
			continue
		}
		c.unlink(pd)
		d.t.attribute(&pd.ex, "goaway", []byte(http2.CodeString(code)))
		if code == http2.CodeNone { // the client may ask elsewhere
			c.report(&pd.ex)
			d.t.putPending(pd)
			continue
		}
		ex := c.answer(pd, in)
		ex.Status, ex.ResponseException = StatusServerError, http2.CodeString(code)
		c.finish(pd, ex)
	}
}
