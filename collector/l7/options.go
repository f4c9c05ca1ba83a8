package l7

import "time"

// Options configure a Tracker. The zero value of every field selects its default.
type Options struct {
	// Protocols lists the protocols to look for; empty means all that the package knows.
	Protocols []Protocol
	// MaxPending bounds the requests of one connection that wait for their response. The oldest is given up (reported as
	// a request of unknown status) when another one comes. Of Redis and memcached, whose clients are used to send many at
	// once, eight times as many may wait. Default 128, at most 32768.
	MaxPending int
	// MaxTotalPending bounds the same over all connections of the Tracker, oldest first per protocol. Default 65536.
	MaxTotalPending int
	// MaxPendingBytes bounds, in bytes, the texts of those requests, oldest first as above: long ones cost more. Default
	// 64 MiB, at least 64 KiB.
	MaxPendingBytes int
	// MaxTotalBuffer bounds, in bytes, what all connections of the Tracker keep of incomplete and early messages; past it
	// they are read as far as they are there. Default 64 MiB, at least 64 KiB.
	MaxTotalBuffer int
	// Timeouts is how long a request of a protocol waits for its response, in packet time. Default 120 s; for DNS, TLS, NTP,
	// DHCP and ping 15 s.
	Timeouts map[Protocol]time.Duration
	// MaxConnBuffer bounds, in bytes and per direction of a connection, what is kept of an incomplete message header and
	// of segments that came out of order (each on its own). Default 16 KiB, at least 1 KiB, at most 1 MiB.
	MaxConnBuffer int
	// MaxHeldSegments bounds the segments per direction that are kept because they came out of order. Default 8.
	MaxHeldSegments int
	// HoldTime is how long such a segment waits for the missing one, in packet time. Default 1 s.
	HoldTime time.Duration
	// InferPayloads is how many payloads of a connection may go by without a recognised message before the connection
	// is not looked at any more. Default 8.
	InferPayloads int
	// MaxText bounds every text taken from the wire, in bytes; longer ones are cut. Default 1024.
	MaxText int
	// MaxAttribute bounds the value of an attribute, in bytes. Default 256.
	MaxAttribute int
	// RequestHeaders and ResponseHeaders name further HTTP headers to keep, as attributes named
	// http.request.header.<name> and http.response.header.<name>, the name in lower case. Default none.
	RequestHeaders, ResponseHeaders []string
	// KeepLiterals keeps the values in statements and commands (SQL literals, Redis values, fields of MongoDB documents) as they
	// are. Default false: each is replaced by a question mark. Passwords are left out either way.
	KeepLiterals bool
	// QuietNXDomain lists domain suffixes ("svc.cluster.local") for which NXDOMAIN is an ordinary answer: resolvers walk
	// their search list through them. The status is then ok. Default none.
	QuietNXDomain []string
}

// withDefaults returns o with every unset field filled in.
func (o Options) withDefaults() Options {
	def := func(p *int, v, lo, hi int) {
		if *p <= 0 {
			*p = v
		}
		*p = min(max(*p, lo), hi)
	}
	def(&o.MaxPending, 128, 1, maxPending)
	def(&o.MaxTotalPending, 1<<16, 1, 1<<24)
	def(&o.MaxPendingBytes, 64<<20, 64<<10, 1<<40)
	def(&o.MaxTotalBuffer, 64<<20, 64<<10, 1<<40)
	def(&o.MaxConnBuffer, 16<<10, 1<<10, 1<<20)
	def(&o.MaxHeldSegments, 8, 1, 64)
	def(&o.InferPayloads, 8, 1, 255)
	def(&o.MaxText, 1024, 16, 1<<16)
	def(&o.MaxAttribute, 256, 16, 1<<16)
	if o.HoldTime <= 0 {
		o.HoldTime = time.Second
	}
	if len(o.Protocols) == 0 {
		o.Protocols = Protocols()
	}
	return o
}

// Metrics counts what a Tracker has seen and dropped since it was made. Conns, Pending, PendingBytes and
// Buffered are of this moment.
type Metrics struct {
	Conns   int // connections open
	Pending int // requests waiting for a response
	// PendingBytes is how much text is kept of them.
	PendingBytes int
	// Buffered is what is kept of incomplete and early messages, in bytes.
	Buffered int

	Identified uint64 // connections whose protocol was recognised
	GaveUp     uint64 // connections not looked at any more because no protocol was recognised
	Requests   uint64 // request messages
	Responses  uint64 // response messages

	ParseFailures  uint64 // messages of a recognised protocol that could not be parsed
	WrongSide      uint64 // messages dropped because the other side should have sent them
	Duplicates     uint64 // repeated DNS queries and answers, and the further messages of a zone transfer
	Unpaired       uint64 // responses without a request
	Timeouts       uint64 // requests not answered in time, or before their connection ended
	EvictedPending uint64 // requests given up because of MaxPending, MaxTotalPending or MaxPendingBytes
	LostPairing    uint64 // requests given up because a hole may have swallowed their response

	RetransmittedBytes uint64 // payload bytes that were there before
	HeldSegments       uint64 // segments that came out of order and were kept
	DroppedWindow      uint64 // holes given up because too many segments, bytes or too much time waited behind them
	GapBytes           uint64 // payload bytes never seen: holes and the cut part of snapped packets
	Resyncs            uint64 // times a parser lost its place because of such bytes or of a parse failure
	DroppedBuffer      uint64 // messages cut because of MaxConnBuffer or MaxTotalBuffer
}
