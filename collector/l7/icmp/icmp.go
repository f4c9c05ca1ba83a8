// Package icmp reads ICMP echo messages (RFC 792; for IPv6 RFC 4443 §4). It allocates nothing.
package icmp

import (
	"encoding/binary"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// HeaderLen is the length of an echo's header, in bytes.
const HeaderLen = 8

// Types of the messages that make an echo.
const (
	echoReply, echo   = 0, 8
	echo6, echoReply6 = 128, 129
)

// Echo is the header of an echo or of its reply.
type Echo struct {
	Reply   bool
	ID, Seq uint16
}

// Parse reads p; anything but an echo or its reply is No.
func Parse(p []byte, e *Echo) wire.Verdict {
	if len(p) < HeaderLen || p[1] != 0 {
		return wire.No
	}
	*e = Echo{ID: binary.BigEndian.Uint16(p[4:]), Seq: binary.BigEndian.Uint16(p[6:])}
	switch p[0] {
	case echo, echo6:
		return wire.Request
	case echoReply, echoReply6:
		e.Reply = true
		return wire.Response
	}
	return wire.No
}
