package capture

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"

	"github.com/flowlake/flowlake/collector/packet"
)

// Where fields lie in the ring (linux/if_packet.h: tpacket_block_desc, tpacket3_hdr, sockaddr_ll), native byte order.
const (
	blockStatus  = 8  // u32, shared: who owns the block
	blockPackets = 12 // u32
	blockFirst   = 16 // u32, offset of the first packet

	hdrNext    = 0  // u32, offset of the next packet from this one
	hdrSec     = 4  // u32
	hdrNsec    = 8  // u32
	hdrSnap    = 12 // u32, captured bytes
	hdrLen     = 16 // u32, bytes on the wire
	hdrStatus  = 20 // u32
	hdrMAC     = 24 // u16, offset of the frame
	hdrNet     = 26 // u16, offset of the IP header
	hdrVLAN    = 32 // u32, tag control information
	hdrBytes   = 48
	llProtocol = hdrBytes + 2 // u16, big-endian
	llIndex    = hdrBytes + 4 // u32
	llHatype   = hdrBytes + 8 // u16
	llBytes    = hdrBytes + 20
)

// errRing is returned when the kernel's ring contradicts itself; it cannot, unless the layout above is not the kernel's.
var errRing = errors.New("capture: ring is inconsistent")

// deliver hands the frames of a block out in batches.
func (l *Live) deliver(block []byte, fn func(*Batch) error) error {
	n := int(binary.NativeEndian.Uint32(block[blockPackets:]))
	at := uint64(binary.NativeEndian.Uint32(block[blockFirst:]))
	l.batch.Frames = l.batch.Frames[:0]
	size := 0
	for i := range n {
		if at+llBytes > uint64(len(block)) {
			return errRing
		}
		h := block[at:]
		var f Frame
		switch ok, err := ringFrame(h, &f); {
		case err != nil:
			return err
		case ok:
			l.batch.Frames = append(l.batch.Frames, f)
			size += len(f.Data)
		default:
			l.ignored.Add(1)
		}
		if k := len(l.batch.Frames); k == l.o.BatchFrames || i == n-1 && k > 0 {
			l.packets.Add(uint64(k))
			l.bytes.Add(uint64(size))
			err := fn(&l.batch)
			l.batch.Frames, size = l.batch.Frames[:0], 0
			if err != nil {
				return err
			}
		}
		at += uint64(binary.NativeEndian.Uint32(h[hdrNext:]))
	}
	return nil
}

// ringFrame reads one packet of a block, h from its header on; false for a link that cannot be decoded.
func ringFrame(h []byte, f *Frame) (bool, error) {
	mac, net := int(binary.NativeEndian.Uint16(h[hdrMAC:])), int(binary.NativeEndian.Uint16(h[hdrNet:]))
	captured, wire := int(binary.NativeEndian.Uint32(h[hdrSnap:])), int(binary.NativeEndian.Uint32(h[hdrLen:]))
	if mac < llBytes || uint64(mac)+uint64(captured) > uint64(len(h)) {
		return false, errRing
	}
	*f = Frame{
		Data:      h[mac : mac+captured : mac+captured],
		TimeNanos: int64(binary.NativeEndian.Uint32(h[hdrSec:]))*1e9 + int64(binary.NativeEndian.Uint32(h[hdrNsec:])),
		WireLen:   max(wire, captured),
		Interface: binary.NativeEndian.Uint32(h[llIndex:]),
		Link:      packet.LinkEthernet,
	}
	if binary.NativeEndian.Uint32(h[hdrStatus:])&unix.TP_STATUS_VLAN_VALID != 0 {
		f.VLAN = uint16(binary.NativeEndian.Uint32(h[hdrVLAN:])) & 0x0fff
	}
	switch binary.NativeEndian.Uint16(h[llHatype:]) {
	case hatypeEthernet, hatypeLoopback:
		return true, nil
	}
	// Tunnels, tun devices and the like: whatever their header is, the kernel knows where IP begins.
	switch binary.BigEndian.Uint16(h[llProtocol:]) {
	case packet.EtherTypeIPv4, packet.EtherTypeIPv6:
	default:
		return false, nil
	}
	if net < mac {
		return false, errRing
	}
	skip := min(net-mac, captured)
	f.Data, f.WireLen, f.Link = f.Data[skip:], f.WireLen-skip, packet.LinkRaw
	return true, nil
}
