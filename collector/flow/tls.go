package flow

import (
	"encoding/binary"

	"github.com/flowlake/flowlake/collector/packet"
)

// The TLS handshake is timed without reassembly: record headers (RFC 8446 §5.1) are found by their sequence numbers. It
// begins with the ClientHello and is over when both sides have switched to their keys, which shows as a
// ChangeCipherSpec or an application-data record (in TLS 1.3 also what is encrypted of the handshake).

const (
	tlsHeader           = 5
	tlsChangeCipherSpec = 20
	tlsAlert            = 21
	tlsHandshake        = 22
	tlsAppData          = 23
	tlsMaxRecord        = 1<<14 + 2048
	tlsClientHello      = 1
	tlsServerHello      = 2
)

type tlsPhase uint8

const (
	tlsUntried tlsPhase = iota // no data yet
	tlsHello                   // ClientHello seen
	tlsOver                    // done, or not TLS
)

// tlsState follows one handshake.
type tlsState struct {
	hello uint32    // microseconds from the flow's start to the ClientHello
	next  [2]uint32 // sequence number of the next record header, by side
	known [2]bool   // next is set
	keyed [2]bool   // the side has switched to its keys
	phase tlsPhase
}

func (t *tlsState) reverse() {
	swap(&t.next)
	swap(&t.known)
	swap(&t.keyed)
}

// segment looks at a segment's payload. It returns the handshake's duration in microseconds (at least 1) when it
// ends here, else 0.
func (t *tlsState) segment(p *packet.Packet, dir int, startNanos int64) uint32 {
	if t.phase == tlsUntried {
		b := p.Payload
		if dir != 0 || len(b) < tlsHeader+1 || b[0] != tlsHandshake || b[1] != 3 || b[5] != tlsClientHello {
			t.phase = tlsOver
			return 0
		}
		t.phase, t.hello = tlsHello, sinceMicros(startNanos, p.TimeNanos)
	}
	if !t.known[dir] {
		t.known[dir], t.next[dir] = true, p.Seq
	}
	for {
		at := t.next[dir] - p.Seq
		if int32(at) < 0 { // what lies before was seen
			return 0
		}
		if at >= p.PayloadLen {
			if at-p.PayloadLen > tlsMaxRecord { // lost the place
				t.phase = tlsOver
			}
			return 0
		}
		if uint32(len(p.Payload)) < at+tlsHeader {
			t.phase = tlsOver // a header across two segments, or cut off
			return 0
		}
		h := p.Payload[at:]
		size := uint32(binary.BigEndian.Uint16(h[3:]))
		if h[1] != 3 || size > tlsMaxRecord || h[0] == tlsAlert {
			t.phase = tlsOver
			return 0
		}
		t.next[dir] += tlsHeader + size
		if h[0] == tlsChangeCipherSpec || h[0] == tlsAppData {
			t.keyed[dir] = true
			if t.keyed[1-dir] {
				t.phase = tlsOver
				return max(sinceMicros(startNanos, p.TimeNanos)-t.hello, 1)
			}
		}
	}
}

// sinceMicros counts the microseconds from start to t, modulo 2^32: differences of up to 71 minutes come out right.
func sinceMicros(startNanos, t int64) uint32 { return uint32((t - startNanos) / 1000) }
