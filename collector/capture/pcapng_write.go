package capture

import (
	"encoding/binary"

	"github.com/flowlake/flowlake/collector/packet"
)

// Writing pcapng: append-style, little-endian, times in nanoseconds. A file is a section header, then interfaces, each before
// the first packet that refers to it, and packets.

const (
	optionName        = 2 // of an interface
	optionApplication = 4 // of a section
	nanosResolution   = 9
)

var littleEndian = binary.LittleEndian

// AppendSection appends the header of a section; application is what writes it.
func AppendSection(b []byte, application string) []byte {
	start := len(b)
	b = littleEndian.AppendUint32(b, magicSection)
	b = littleEndian.AppendUint32(b, 0)
	b = littleEndian.AppendUint32(b, byteOrderMagic)
	b = littleEndian.AppendUint16(b, 1)
	b = littleEndian.AppendUint16(b, 0)
	b = littleEndian.AppendUint64(b, 1<<64-1) // how long the section is, is not said
	b = appendOption(b, optionApplication, []byte(application))
	return endBlock(appendOption(b, optionEnd, nil), start)
}

// AppendInterface appends the description of an interface; the first one of a section has the number 0.
func AppendInterface(b []byte, name string, link packet.LinkType) []byte {
	start := len(b)
	b = littleEndian.AppendUint32(b, blockInterface)
	b = littleEndian.AppendUint32(b, 0)
	b = littleEndian.AppendUint16(b, uint16(link))
	b = littleEndian.AppendUint16(b, 0)
	b = littleEndian.AppendUint32(b, 0) // no limit to what is captured
	b = appendOption(b, optionName, []byte(name))
	b = appendOption(b, optionResolution, []byte{nanosResolution})
	return endBlock(appendOption(b, optionEnd, nil), start)
}

// AppendPacket appends a frame of an interface of this section. A VLAN tag that was taken off is put back. Times before 1970
// become 1970.
func AppendPacket(b []byte, id uint32, f *Frame) []byte {
	const macs = 12
	tag := f.VLAN != 0 && f.Link == packet.LinkEthernet && len(f.Data) >= macs
	captured, wire := len(f.Data), f.WireLen
	if tag {
		captured, wire = captured+4, wire+4
	}
	start := len(b)
	t := uint64(max(f.TimeNanos, 0))
	for _, v := range []uint32{blockEnhanced, 0, id, uint32(t >> 32), uint32(t), uint32(captured), uint32(wire)} {
		b = littleEndian.AppendUint32(b, v)
	}
	if tag {
		b = append(b, f.Data[:macs]...)
		b = append(b, 0x81, 0, byte(f.VLAN>>8), byte(f.VLAN))
		b = append(b, f.Data[macs:]...)
	} else {
		b = append(b, f.Data...)
	}
	return endBlock(pad(b, captured), start)
}

// pad fills n bytes up to a multiple of four.
func pad(b []byte, n int) []byte {
	var zeros [3]byte
	return append(b, zeros[:-n&3]...)
}

func appendOption(b []byte, code uint16, value []byte) []byte {
	value = value[:min(len(value), 1<<10)]
	b = littleEndian.AppendUint16(b, code)
	b = littleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...), len(value))
}

// endBlock fills in the length of the block that begins at start.
func endBlock(b []byte, start int) []byte {
	n := uint32(len(b) - start + 4)
	littleEndian.PutUint32(b[start+4:], n)
	return littleEndian.AppendUint32(b, n)
}
