package pcapfilter

import "encoding/binary"

// Match runs the program over a frame: data is what was captured, wire its length on the wire in bytes. It is for programs
// of Compile; those of CompileKernel ask for what only the kernel knows, and match nothing here. It does not allocate.
func (p *Program) Match(data []byte, wire int) bool {
	var a, x uint32
	var scratch [scratchWords]uint32
	for pc := 0; pc < len(p.code); pc++ {
		i := &p.code[pc]
		switch class := i.Op & 7; class {
		case 0: // load A
			v, ok := i.K, true
			switch i.Op & 0xe0 {
			case opLoadAbsolute:
				v, ok = bytesAt(data, uint64(i.K), i.Op)
			case opLoadIndirect:
				v, ok = bytesAt(data, uint64(i.K)+uint64(x), i.Op)
			case opLoadScratch:
				v = scratch[i.K&15]
			case opLoadLength:
				v = uint32(wire)
			}
			if !ok {
				return false
			}
			a = v
		case 1: // load X
			if i.Op == opLoadXScratch {
				x = scratch[i.K&15]
				continue
			}
			v, ok := bytesAt(data, uint64(i.K), opLoadAbsolute|sizeBits[1])
			if !ok {
				return false
			}
			x = 4 * (v & 15)
		case opStore:
			scratch[i.K&15] = a
		case opALU:
			var ok bool
			if a, ok = alu(i.Op, a, i.K, x); !ok {
				return false
			}
		case opIf:
			pc += jump(i.Op, a, i.K, x, int(i.Jt), int(i.Jf))
		case opReturn:
			return i.K != 0
		default: // opMoveToX
			x = a
		}
	}
	return false
}

// bytesAt reads a big-endian number of the size in op.
func bytesAt(data []byte, off uint64, op uint16) (uint32, bool) {
	switch op & 0x18 {
	case 0x10:
		if off < uint64(len(data)) {
			return uint32(data[off]), true
		}
	case 0x08:
		if off+2 <= uint64(len(data)) {
			return uint32(binary.BigEndian.Uint16(data[off:])), true
		}
	default:
		if off+4 <= uint64(len(data)) {
			return binary.BigEndian.Uint32(data[off:]), true
		}
	}
	return 0, false
}

// alu calculates; false is a division by zero.
func alu(op uint16, a, k, x uint32) (uint32, bool) {
	b := k
	if op&fromX != 0 {
		b = x
	}
	switch op & 0xf0 {
	case 0x00:
		return a + b, true
	case 0x10:
		return a - b, true
	case 0x20:
		return a * b, true
	case 0x30:
		if b == 0 {
			return 0, false
		}
		return a / b, true
	case 0x40:
		return a | b, true
	case 0x50:
		return a & b, true
	case 0x60:
		return a << b, true
	case 0x70:
		return a >> b, true
	case 0x90:
		if b == 0 {
			return 0, false
		}
		return a % b, true
	}
	return a ^ b, true
}

// jump is how many instructions are passed over.
func jump(op uint16, a, k, x uint32, yes, no int) int {
	b := k
	if op&fromX != 0 {
		b = x
	}
	holds := false
	switch op & 0xf0 {
	case 0x00:
		return int(k)
	case 0x10:
		holds = a == b
	case 0x20:
		holds = a > b
	case 0x30:
		holds = a >= b
	case 0x40:
		holds = a&b != 0
	}
	if holds {
		return yes
	}
	return no
}
