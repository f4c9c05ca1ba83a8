package pcapfilter

// relation compares two numbers, of a frame that has the protocols which they are read from.
func (l *lowerer) relation(n *relNode) cond {
	guard := and(l.guards(n.left), l.guards(n.right))
	left, right, op := n.left, n.right, n.op
	if _, ok := left.(constant); ok { // the constant goes to the right
		left, right = right, left
		op = [...]relOp{relEqual: relEqual, relNotEqual: relNotEqual, relGreater: relLess, relGreaterEqual: relLessEqual,
			relLess: relGreater, relLessEqual: relGreaterEqual}[op]
	}
	var o testOp
	inverted := false
	switch op {
	case relEqual:
		o = testEqual
	case relNotEqual:
		o, inverted = testEqual, true
	case relGreater:
		o = testGreater
	case relLessEqual:
		o, inverted = testGreater, true
	case relGreaterEqual:
		o = testGreaterEqual
	case relLess:
		o, inverted = testGreaterEqual, true
	}
	c := l.comparison(n, left, right, o)
	if inverted {
		c = not(c)
	}
	return and(guard, c)
}

func (l *lowerer) comparison(n *relNode, left, right arith, op testOp) cond {
	k, isConst := right.(constant)
	if v, ok := left.(constant); ok && isConst {
		return always(op.holds(v.n, k.n))
	}
	if isConst {
		if ld, mask, ok := l.simple(left); ok {
			return test{load: ld, mask: mask, op: op, k: k.n}
		}
		a := arithCode{l: l, at: n.at}
		a.value(left, 0)
		return compare{code: a.code, op: op, k: k.n}
	}
	a := arithCode{l: l, at: n.at}
	a.value(right, 0)
	a.add(ins{opStore, 0})
	a.value(left, 1)
	a.add(ins{opLoadXScratch, 0})
	return compare{code: a.code, op: op, x: true}
}

// simple recognises a load from a place that does not depend on the frame's contents, perhaps with a mask: most comparisons.
func (l *lowerer) simple(a arith) (load, uint32, bool) {
	mask := noMask
	if b, ok := a.(binaryExpr); ok && b.op == '&' {
		left, right := b.left, b.right
		if _, ok := left.(constant); ok {
			left, right = right, left
		}
		if m, ok := right.(constant); ok {
			mask, a = m.n, left
		}
	}
	switch a := a.(type) {
	case length:
		return load{base: baseLength, size: 4}, mask, true
	case loadExpr:
		index, ok := a.index.(constant)
		if !ok {
			return load{}, 0, false
		}
		off, transport := l.place(&a)
		if !l.inRange(&a, index.n) {
			return load{}, 0, false
		}
		ld := load{base: baseFrame, off: off + index.n, size: a.size}
		if transport {
			ld.base, ld.header = baseTransport, l.net()
		}
		return ld, mask, true
	}
	return load{}, 0, false
}

func (l *lowerer) inRange(a *loadExpr, index uint32) bool {
	const most = 1 << 20 // no frame is longer
	if index > most {
		l.fail(a.at, "an offset that no frame reaches")
		return false
	}
	return true
}

// place is where offsets of a load count from, and whether the length of IPv4's header has to be added.
func (l *lowerer) place(a *loadExpr) (off uint32, transport bool) {
	switch a.proto {
	case protoLink:
		return 0, false
	case protoIP, protoIP6, protoARP, protoRARP:
		return l.net(), false
	case protoICMP6:
		return l.net() + 40, false
	}
	return l.net(), true
}

// guards are what a frame must be for the loads in an arithmetic expression to mean something.
func (l *lowerer) guards(a arith) cond {
	switch a := a.(type) {
	case binaryExpr:
		return and(l.guards(a.left), l.guards(a.right))
	case negated:
		return l.guards(a.of)
	case loadExpr:
		inner := l.guards(a.index)
		switch a.proto {
		case protoLink:
			return inner
		case protoIP, protoIP6, protoARP, protoRARP:
			return and(inner, l.proto(a.proto))
		case protoICMP6:
			return and(inner, and(l.etherType(etherIPv6), l.equal(6, 1, 58)))
		}
		n, _ := a.proto.ipNumber()
		return and(inner, and(l.protoNumber(protoIP, n), l.firstFragment()))
	}
	return always(true)
}

// ins is one instruction of classic BPF without a jump.
type ins struct {
	op uint16
	k  uint32
}

// Instructions (linux/bpf_common.h).
const (
	opLoadAbsolute = 0x20 // plus size
	opLoadIndirect = 0x40 // plus size
	opLoadLength   = 0x80
	opLoadConstant = 0x00
	opLoadScratch  = 0x60
	opLoadXHeader  = 0xb1 // X = 4 * (byte & 15)
	opLoadXScratch = 0x61
	opStore        = 0x02
	opMoveToX      = 0x07
	opALU          = 0x04
	opReturn       = 0x06
	opJump         = 0x05
	opIf           = 0x05 // plus comparison
	fromX          = 0x08 // operand is X, not k

	aluAdd = 0x00
	aluAnd = 0x50

	scratchWords = 16
)

var sizeBits = [...]uint16{1: 0x10, 2: 0x08, 4: 0x00}

var aluBits = map[byte]uint16{'+': aluAdd, '-': 0x10, '*': 0x20, '/': 0x30, '|': 0x40, '&': aluAnd, '<': 0x60, '>': 0x70, '%': 0x90, '^': 0xa0}

// arithCode generates the code of an arithmetic expression.
type arithCode struct {
	l    *lowerer
	at   int // of the comparison in the text
	code []ins
}

func (a *arithCode) add(i ...ins) { a.code = append(a.code, i...) }

// store keeps A in a scratch word.
func (a *arithCode) store(word int) {
	if word >= scratchWords {
		a.l.fail(a.at, "an arithmetic expression that is too deep")
		word = 0
	}
	a.add(ins{opStore, uint32(word)})
}

// value computes an expression into A; scratch words from free on may be used. X is lost.
func (a *arithCode) value(e arith, free int) {
	switch e := e.(type) {
	case constant:
		a.add(ins{opLoadConstant, e.n})
	case length:
		a.add(ins{opLoadLength, 0})
	case negated:
		a.value(e.of, free)
		a.add(ins{opALU | aluBits['*'], ^uint32(0)}) // times -1; x/net's machine has no negation
	case binaryExpr:
		if k, ok := e.right.(constant); ok {
			a.value(e.left, free)
			a.add(ins{opALU | aluBits[e.op], k.n})
			return
		}
		a.value(e.right, free)
		a.store(free)
		a.value(e.left, free+1)
		a.add(ins{opLoadXScratch, uint32(min(free, scratchWords-1))}, ins{opALU | aluBits[e.op] | fromX, 0})
	case loadExpr:
		a.load(&e, free)
	}
}

func (a *arithCode) load(e *loadExpr, free int) {
	off, transport := a.l.place(e)
	size := sizeBits[e.size]
	index, isConst := e.index.(constant)
	if isConst && !a.l.inRange(e, index.n) {
		return
	}
	switch {
	case isConst && !transport:
		a.add(ins{opLoadAbsolute | size, off + index.n})
	case isConst:
		a.add(ins{opLoadXHeader, a.l.net()}, ins{opLoadIndirect | size, off + index.n})
	case !transport:
		a.value(e.index, free)
		a.add(ins{opMoveToX, 0}, ins{opLoadIndirect | size, off})
	default:
		a.value(e.index, free)
		a.store(free)
		a.add(ins{opLoadXHeader, a.l.net()}, ins{opLoadScratch, uint32(min(free, scratchWords-1))},
			ins{opALU | aluAdd | fromX, 0}, ins{opMoveToX, 0}, ins{opLoadIndirect | size, off})
	}
}
