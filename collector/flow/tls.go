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
)

// Bits of tlsState.flags; those of the server are the client's shifted by one.
const (
	tlsKnown = 1 << iota // next[0] is set
	_
	tlsKeyed // the client has switched to its keys
	_
	tlsHello // the ClientHello was seen
	tlsOver  // done, or not TLS
)

// tlsState follows one handshake.
type tlsState struct {
	hello  uint32    // microseconds from the flow's start to the ClientHello
	micros uint32    // what was measured since the last report; 0: nothing
	next   [2]uint32 // sequence number of the next record header, by side
	flags  uint8
}

func (t *tlsState) reverse() {
	swap(&t.next)
	const sides = tlsKnown | tlsKeyed
	t.flags = t.flags&^(sides|sides<<1) | t.flags&sides<<1 | t.flags>>1&sides
}

// segment looks at the payload of a segment of side dir, whose first byte has the number seq.
func (t *tlsState) segment(p *packet.Packet, dir int, seq uint32, startNanos int64) {
	if t.flags&tlsHello == 0 {
		b := p.Payload
		if dir != 0 || len(b) < tlsHeader+1 || b[0] != tlsHandshake || b[1] != 3 || b[5] != tlsClientHello {
			t.flags |= tlsOver
			return
		}
		t.flags |= tlsHello
		t.hello = sinceMicros(startNanos, p.TimeNanos)
	}
	if t.flags&(tlsKnown<<dir) == 0 {
		t.flags |= tlsKnown << dir
		t.next[dir] = seq
	}
	for {
		at := t.next[dir] - seq
		if int32(at) < 0 { // what lies before was seen
			return
		}
		if at >= p.PayloadLen {
			if at-p.PayloadLen > tlsMaxRecord { // lost the place
				t.flags |= tlsOver
			}
			return
		}
		if uint32(len(p.Payload)) < at+tlsHeader {
			t.flags |= tlsOver // a header across two segments, or cut off
			return
		}
		h := p.Payload[at:]
		size := uint32(binary.BigEndian.Uint16(h[3:]))
		if h[1] != 3 || size > tlsMaxRecord || h[0] == tlsAlert {
			t.flags |= tlsOver
			return
		}
		t.next[dir] += tlsHeader + size
		if h[0] == tlsChangeCipherSpec || h[0] == tlsAppData {
			t.flags |= tlsKeyed << dir
			if t.flags&(tlsKeyed|tlsKeyed<<1) == tlsKeyed|tlsKeyed<<1 {
				t.flags |= tlsOver
				t.micros = max(sinceMicros(startNanos, p.TimeNanos)-t.hello, 1)
				return
			}
		}
	}
}

// sinceMicros counts the microseconds from start to t, modulo 2^32: differences of up to 71 minutes come out right.
func sinceMicros(startNanos, t int64) uint32 { return uint32((t - startNanos) / 1000) }
