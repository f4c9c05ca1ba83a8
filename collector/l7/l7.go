// Package l7 turns the payload bytes of a connection into requests and responses: it infers the protocol, calls the
// parser (one package each below this folder) and pairs responses with their requests. It knows bytes and times, not
// packets: eBPF payloads take the same path.
package l7

// Side is the sender of some payload.
type Side uint8

// Sides of a connection, as the caller believes them to be when it hands the payload over.
const (
	Client Side = iota
	Server
)

// Status is the class of a response.
type Status uint8

// Statuses; the names are the words stored in response_status.
const (
	StatusUnknown Status = iota
	StatusOK
	StatusClientError
	StatusServerError
	StatusTimeout
)

// String is the word stored in response_status.
func (s Status) String() string {
	switch s {
	case StatusOK:
		return "ok"
	case StatusClientError:
		return "client_error"
	case StatusServerError:
		return "server_error"
	case StatusTimeout:
		return "timeout"
	}
	return "unknown"
}

// Kind says which halves an Exchange has; the names are the words stored in spans.type.
type Kind uint8

// Kinds of exchange.
const (
	KindRequest  Kind = iota // a request without a response (timed out, or the connection ended)
	KindResponse             // a response without a request (capture began in the middle)
	KindSession              // both
)

// String is the word stored in spans.type.
func (k Kind) String() string {
	switch k {
	case KindResponse:
		return "response"
	case KindSession:
		return "session"
	}
	return "request"
}

// Exchange is one request and its response, merged: what becomes a row of spans. Absent numbers are -1, absent text is "".
// Strings are copies: they outlive the call.
type Exchange struct {
	Kind     Kind
	Protocol Protocol
	Version  string // "1.1"; "" for DNS

	// StartNanos is the time of the request's first byte (of the response's for KindResponse), EndNanos that of the
	// response's first byte (for KindRequest the request's). Unix nanoseconds.
	StartNanos, EndNanos int64

	RequestType     string // method, query type
	RequestDomain   string
	RequestResource string
	RequestID       int64
	Endpoint        string
	RequestBytes    int64 // length of the message: header and body as declared by the protocol
	ResponseBytes   int64

	Status            Status
	ResponseCode      int64
	ResponseException string
	ResponseResult    string
	// AffectedRows is how many rows an SQL statement says that it wrote or returned.
	AffectedRows int64
	// ServerInitiated tells a message that the server sent unasked (a broker's delivery); it is also the attribute
	// initiator=server.
	ServerInitiated bool

	TraceID, SpanID, ParentSpanID         string
	XRequestIDRequest, XRequestIDResponse string
	// Attributes are further key/value pairs worth keeping (user_agent, ...), sorted by key. The slice is reused.
	Attributes []Attribute

	// RequestSeq and ResponseSeq are the TCP sequence numbers of the first byte of each half; 0 for UDP or an absent half.
	RequestSeq, ResponseSeq uint32

	context contextRank // of what TraceID and SpanID come from
}

// Attribute is one key and its value.
type Attribute struct{ Key, Value string }

// Handler is told what a connection says, in order, from within Conn.Payload, Conn.End, Conn.Close and
// Tracker.Tick. It must not
// keep the pointers.
type Handler interface {
	// Identified is called when the protocol of c is certain. server is the side that answers: when it is Client,
	// the caller had the direction the wrong way round; the Conn has already turned itself and expects the sides by their
	// right names from the next Payload on (as after Reverse, which is not to be called then). It is called again, with
	// Server, when the connection goes on in another protocol (an upgrade, STARTTLS), and with Client when it was recognised by
	// messages that either side sends, and the first call turns out to be the server's.
	Identified(c *Conn, proto Protocol, server Side)
	// Request is called for each complete request header. awaited says that a Response or a Timeout may follow.
	Request(c *Conn, atNanos int64, awaited bool)
	// Response is called for each response; rrtNanos is the time since its request, -1 when that was not seen.
	Response(c *Conn, atNanos int64, status Status, rrtNanos int64)
	// Timeout is called for each request that was not answered in time, or before its connection ended (Conn.End); one that
	// was pushed out by others, whose response may have gone by unseen, or whose connection is followed no longer
	// (Conn.Close), is only an Exchange with StatusUnknown.
	Timeout(c *Conn, atNanos int64)
	// Exchange is called when an exchange is complete or given up. e is reused after the call.
	Exchange(c *Conn, e *Exchange)
}
