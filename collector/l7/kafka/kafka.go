// Package kafka reads requests and responses of Apache Kafka's protocol (kafka.apache.org/protocol) from bytes somebody else
// sent, into views of the input. Produce, Fetch and the calls of consumer groups are read in detail over all their versions, flexible ones
// (KIP-482) included; of the other calls the header, and the error of a response where it is in a plain place. It allocates nothing.
package kafka

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not a Kafka message.
	ErrMalformed = errors.New("not a Kafka message")
	// ErrShort is returned when the bytes end within the header.
	ErrShort = errors.New("the Kafka message is cut")
)

const (
	sizeBytes   = 4
	maxMessage  = 1 << 30 // bytes; brokers refuse far less (socket.request.max.bytes is 100 MiB)
	maxClientID = 1 << 10
	maxName     = 249 // bytes of a topic's name
	uuidBytes   = 16
	maxUnhinted = 4 << 20
	maxNames    = 512 // topics whose names are taken from one response
)

// Request is a request. The slices are views of the parsed bytes; what is absent or cut off is nil.
type Request struct {
	API         API
	Version     int16
	Correlation int32
	ClientID    []byte
	// Group, or for transactional calls the transaction's id; of FindCoordinator what is looked for.
	Group []byte
	// Topic is the first topic; nil when it is told by TopicID (16 bytes) only.
	Topic, TopicID []byte
	// Partition of the first topic, -1 when there is none; Offset asked for by a Fetch, -1 otherwise.
	Partition int32
	Offset    int64
	// Topics is how many topics the request names, of those that were counted.
	Topics int
	// NoResponse says that the sender wants no answer: a Produce with acks 0.
	NoResponse bool
	// Records are the first record batch of a Produce, as much of it as is there.
	Records []byte
	// Software names the client's library and its version (ApiVersions).
	Software, SoftwareVersion []byte
	// Mechanism of a SaslHandshake.
	Mechanism []byte
}

// Response is a response; what its request was has to be known to read it.
type Response struct {
	Correlation int32
	// Code is the first error that is not 0; HasCode that there was a place for one.
	Code    int16
	HasCode bool
	// Topic is the first topic, Partition and Offset its first partition and the base offset (Produce) or -1.
	Topic, TopicID []byte
	Partition      int32
	Offset         int64
	// Records are the first record batch of a Fetch.
	Records []byte
	// Names are the topics that a Metadata response tells the ids of, some hundreds at most; its memory is used again.
	Names []TopicName
}

// TopicName is a topic's id (16 bytes) and name.
type TopicName struct{ ID, Name []byte }

// Size is the length of the message that p begins with, its size field included; 0 when p is too short to tell, -1 when no
// message is that long.
func Size(p []byte) int {
	if len(p) < sizeBytes {
		return 0
	}
	r := wire.NewReader(p)
	n := int32(r.U32())
	if n < 4 || n > maxMessage-sizeBytes {
		return -1
	}
	return sizeBytes + int(n)
}

// CheckRequest says whether p begins with a request: a length that fits, an API and version that exist, a correlation id that is not
// negative, a client id of printable characters. Where nothing hints at Kafka, the message has to be of a usual length and the
// client id must not be empty; and all of the header has to be there, as clients write it at once.
func CheckRequest(p []byte, hint bool) wire.Verdict {
	n := Size(p)
	const fixed = sizeBytes + 2 + 2 + 4 + 2
	switch {
	case n < 0 || !hint && (n > maxUnhinted || len(p) < fixed):
		return wire.No
	case n == 0:
		return wire.Maybe
	}
	r := wire.NewReader(p[sizeBytes:])
	api, version, correlation, client := API(r.U16()), int16(r.U16()), int32(r.U32()), int16(r.U16())
	if len(p) >= sizeBytes+2 && !api.known() || len(p) >= sizeBytes+4 && !api.has(version) || len(p) >= fixed-2 && correlation < 0 {
		return wire.No
	}
	if len(p) < fixed {
		return wire.Maybe
	}
	if client < -1 || client > maxClientID || fixed+max(int(client), 0) > n {
		return wire.No
	}
	name := r.UpTo(max(int(client), 0))
	if !printable(name) || !hint && client <= 0 {
		return wire.No
	}
	if len(name) < int(client) {
		return wire.Maybe
	}
	return wire.Request
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c >= 0x7f {
			return false
		}
	}
	return true
}

// ParseRequest reads a request and returns its whole length, which may exceed len(p): what is there is read.
func ParseRequest(p []byte, m *Request) (n int, err error) {
	*m = Request{Partition: -1, Offset: -1}
	if n = Size(p); n < 0 {
		return 0, ErrMalformed
	}
	r := reader{Reader: wire.NewReader(p[min(sizeBytes, len(p)):min(max(n, sizeBytes), len(p))])}
	m.API, m.Version, m.Correlation = API(r.U16()), int16(r.U16()), int32(r.U32())
	if !r.OK() {
		return 0, ErrShort
	}
	if !m.API.known() || !m.API.has(m.Version) {
		return 0, ErrMalformed
	}
	if m.API == ControlledShutdown && m.Version == 0 { // the only one without a client id
		return n, nil
	}
	m.ClientID = r.nullable()
	if r.flex = m.API.flexible(m.Version); r.flex {
		r.tags()
	}
	r.request(m)
	return n, nil
}

// ParseResponse reads the response to a request of that API and version and returns its whole length, which may exceed len(p).
func ParseResponse(p []byte, api API, version int16, m *Response) (n int, err error) {
	*m = Response{Partition: -1, Offset: -1, Names: m.Names[:0]}
	if n = Size(p); n < 0 {
		return 0, ErrMalformed
	}
	r := reader{Reader: wire.NewReader(p[min(sizeBytes, len(p)):min(max(n, sizeBytes), len(p))])}
	m.Correlation = int32(r.U32())
	if !r.OK() {
		return 0, ErrShort
	}
	if r.flex = api.flexible(version); r.flex && api != ApiVersions { // its header stays as it was (KIP-511)
		r.tags()
	}
	r.response(api, version, m)
	return n, nil
}

// Correlation is the correlation id of the response that p begins with, ok that it is there.
func Correlation(p []byte) (id int32, ok bool) {
	if len(p) < sizeBytes+4 {
		return 0, false
	}
	r := wire.NewReader(p[sizeBytes:])
	return int32(r.U32()), true
}

// reader reads the primitive types of both kinds of version.
type reader struct {
	wire.Reader
	flex bool
}

// nullable is a string with a length of 2 bytes, -1 for null.
func (r *reader) nullable() []byte {
	if n := int16(r.U16()); n >= 0 {
		return r.UpTo(int(n))
	}
	return nil
}

// str is a string or nullable string of the version's kind.
func (r *reader) str() []byte {
	if !r.flex {
		return r.nullable()
	}
	if n := r.Uvarint(); n > 0 {
		return r.UpTo(int(min(n-1, maxMessage)))
	}
	return nil
}

// count is the number of elements of an array, 0 for null.
func (r *reader) count() int {
	if !r.flex {
		return max(int(int32(r.U32())), 0)
	}
	return max(int(min(r.Uvarint(), maxMessage))-1, 0)
}

// data is a byte string: its length, of which the whole may not be there.
func (r *reader) data() []byte {
	n := 0
	if r.flex {
		n = int(min(r.Uvarint(), maxMessage)) - 1
	} else {
		n = int(int32(r.U32()))
	}
	if n <= 0 {
		return nil
	}
	return r.UpTo(n)
}

// tags passes over the tagged fields at the end of a structure of a flexible version.
func (r *reader) tags() {
	if !r.flex {
		return
	}
	for n := r.Uvarint(); n > 0 && r.OK(); n-- {
		r.Uvarint()
		r.Skip(int(min(r.Uvarint(), maxMessage)))
	}
}
