package capture

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/flowlake/flowlake/collector/packet"
)

// maxFrameBytes bounds one captured frame. The largest that Linux hands out is an unsplit segment of 512 KiB; a length
// beyond 1 MiB is corruption, and nothing is allocated for it.
const maxFrameBytes = 1 << 20

// step is what a format found at the start of the bytes it was given.
type step struct {
	// size of the record. Beyond the given bytes it says how many are needed to go on, or to be skipped.
	size int64
	// skip: the record holds nothing of interest and need not be in memory.
	skip bool
	// frame: the frame was filled in.
	frame bool
}

// format reads the records of one file format from bytes in memory.
type format interface {
	// next looks at the record at the start of b and, when all of it is there, acts on it.
	next(b []byte, f *Frame) (step, error)
}

// order reads integers in the byte order of a file.
type order struct{ big bool }

func (o order) u16(b []byte) uint16 {
	if o.big {
		return binary.BigEndian.Uint16(b)
	}
	return binary.LittleEndian.Uint16(b)
}

func (o order) u32(b []byte) uint32 {
	if o.big {
		return binary.BigEndian.Uint32(b)
	}
	return binary.LittleEndian.Uint32(b)
}

func (o order) u64(b []byte) uint64 {
	if o.big {
		return binary.BigEndian.Uint64(b)
	}
	return binary.LittleEndian.Uint64(b)
}

// The classic format: draft-ietf-opsawg-pcap. The modified one has longer record headers (Alexey Kuznetsov's patch).
const (
	magicMicros   = 0xa1b2c3d4
	magicNanos    = 0xa1b23c4d
	magicModified = 0xa1b2cd34
	magicSection  = 0x0a0d0d0a

	pcapFileHeader     = 24
	pcapRecordHeader   = 16
	pcapModifiedHeader = 24
)

type pcapFormat struct {
	order
	header   int64 // size of a record header
	nanos    int64 // nanoseconds per unit of the time's fraction
	modified bool
	link     packet.LinkType
}

// newFormat recognises a file by its first bytes and returns how many of them its header takes.
func newFormat(b []byte) (format, int, error) {
	if len(b) < 4 {
		return nil, 0, ErrNotCapture
	}
	p := &pcapFormat{header: pcapRecordHeader, nanos: 1000}
	magic := binary.LittleEndian.Uint32(b)
	if magic == magicSection {
		return &ngFormat{}, 0, nil
	}
	switch m := binary.BigEndian.Uint32(b); m {
	case magicMicros, magicNanos, magicModified:
		p.big, magic = true, m
	}
	switch magic {
	case magicMicros:
	case magicNanos:
		p.nanos = 1
	case magicModified:
		p.modified, p.header = true, pcapModifiedHeader
	default:
		return nil, 0, ErrNotCapture
	}
	if len(b) < pcapFileHeader {
		return nil, 0, fmt.Errorf("file header: %w", ErrTruncated)
	}
	if major, minor := p.u16(b[4:]), p.u16(b[6:]); major != 2 || minor < 3 {
		return nil, 0, fmt.Errorf("%w: pcap version %d.%d", ErrUnsupported, major, minor)
	}
	// The upper half tells of a frame check sequence, which length fields below the link leave out anyway.
	p.link = linkType(uint16(p.u32(b[20:])))
	if !p.link.Supported() {
		return nil, 0, fmt.Errorf("%w: link type %d", ErrUnsupported, p.link)
	}
	return p, pcapFileHeader, nil
}

// linkType maps the numbers that BSDs wrote for raw IP to the registered one.
func linkType(n uint16) packet.LinkType {
	const rawBSD, rawOpenBSD = 12, 14
	if n == rawBSD || n == rawOpenBSD {
		return packet.LinkRaw
	}
	return packet.LinkType(n)
}

func (p *pcapFormat) next(b []byte, f *Frame) (step, error) {
	if int64(len(b)) < p.header {
		return step{size: p.header}, nil
	}
	captured, wire := p.u32(b[8:]), p.u32(b[12:])
	if captured > maxFrameBytes {
		return step{}, fmt.Errorf("%w: captured length %d", ErrCorrupt, captured)
	}
	size := p.header + int64(captured)
	if int64(len(b)) < size {
		return step{size: size}, nil
	}
	*f = Frame{
		Data:      b[p.header:size:size],
		TimeNanos: int64(p.u32(b))*1e9 + int64(p.u32(b[4:]))*p.nanos,
		WireLen:   wireLen(wire, captured),
		Link:      p.link,
	}
	if p.modified {
		f.Interface = p.u32(b[16:])
	}
	cookedInterface(f)
	return step{size: size, frame: true}, nil
}

// wireLen is a recorded wire length as an int of any size; below the captured length it cannot be.
func wireLen(wire, captured uint32) int { return int(min(max(wire, captured), math.MaxInt32)) }

// cookedInterface takes the interface index from a cooked header, when the file itself has none.
func cookedInterface(f *Frame) {
	if f.Link == packet.LinkLinuxSLL2 && f.Interface == 0 && len(f.Data) >= 8 {
		f.Interface = binary.BigEndian.Uint32(f.Data[4:])
	}
}
