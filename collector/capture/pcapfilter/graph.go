package pcapfilter

import (
	"fmt"
	"strings"

	"golang.org/x/net/bpf"
)

// testOp is what jumps compare with.
type testOp uint8

const (
	testEqual testOp = iota
	testGreater
	testGreaterEqual
)

func (o testOp) holds(a, k uint32) bool {
	switch o {
	case testEqual:
		return a == k
	case testGreater:
		return a > k
	}
	return a >= k
}

// base says what the offset of a load counts from.
type base uint8

const (
	baseFrame     base = iota // the start of the frame, or what the kernel addresses by high numbers
	baseTransport             // the same and the length of the IPv4 header at load.header
	baseExtension             // the number of a value that the kernel has beside the frame
	baseLength                // the length of the frame
)

// load is what a test reads.
type load struct {
	base   base
	size   uint8 // 1, 2 or 4
	off    uint32
	header uint32 // of baseTransport: where the IPv4 header begins
}

// test compares the bits of mask of what load reads with k.
type test struct {
	load load
	mask uint32
	op   testOp
	k    uint32
}

// accept and reject are the blocks at which programs end.
const (
	accept = iota
	reject
	firstBlock
)

// block is a test with the blocks that come next, which have lower numbers.
type block struct {
	test test
	comp *compare // instead of test
	yes  int
	no   int
}

// graph holds blocks; equal ones are made once.
type graph struct {
	blocks []block
	known  map[block]int
}

func newGraph() *graph {
	return &graph{blocks: make([]block, firstBlock), known: map[block]int{}}
}

// build makes blocks of a condition, and returns the first.
func (g *graph) build(c cond, yes, no int) int {
	switch c := c.(type) {
	case always:
		if c {
			return yes
		}
		return no
	case both:
		return g.build(c.left, g.build(c.right, yes, no), no)
	case either:
		return g.build(c.left, yes, g.build(c.right, yes, no))
	case inverse:
		return g.build(c.of, no, yes)
	case test:
		return g.add(block{test: c, yes: yes, no: no})
	case compare:
		return g.add(block{comp: &c, yes: yes, no: no})
	}
	panic("pcapfilter: unknown condition") // the lowerer makes no others
}

func (g *graph) add(b block) int {
	if n, ok := g.known[b]; ok {
		return n
	}
	g.blocks = append(g.blocks, b)
	g.known[b] = len(g.blocks) - 1
	return len(g.blocks) - 1
}

// fact is what is known of the bytes of a frame on a way through the graph.
type fact struct {
	load  load
	mask  uint32
	value uint32
	equal bool // the bits have the value; otherwise they have another
}

// maxFacts bounds what is remembered on a way: what is close counts.
const maxFacts = 32

// after adds what is known when a block's test has come out so.
func after(in []fact, b *block, yes bool) []fact {
	if b.comp != nil || b.test.op != testEqual {
		return in
	}
	in = in[max(0, len(in)-maxFacts+1):]
	out := make([]fact, len(in), len(in)+1)
	copy(out, in)
	return append(out, fact{b.test.load, b.test.mask, b.test.k, yes})
}

// decide says how a test comes out, if that is known. Only a test whose load has succeeded before is decided.
func decide(facts []fact, b *block) (yes, known bool) {
	if b.comp != nil {
		return false, false
	}
	t := &b.test
	for i := range facts {
		f := &facts[i]
		switch {
		case f.load != t.load:
		case f.equal && f.mask&t.mask == t.mask:
			return t.op.holds(f.value&t.mask, t.k), true
		case !f.equal && t.op == testEqual && f.mask == t.mask && f.value == t.k:
			return false, true
		}
	}
	return false, false
}

// common is what two ways know both.
func common(a, b []fact) []fact {
	out := make([]fact, 0, min(len(a), len(b)))
	for _, f := range a {
		for _, h := range b {
			if f == h {
				out = append(out, f)
				break
			}
		}
	}
	return out
}

// thread lets every jump go past blocks whose outcome is known on that way. It returns the blocks that are still reached,
// in the order of the program.
func (g *graph) thread(entry int) []int {
	known := make([][]fact, entry+1)
	reached := make([]bool, entry+1)
	reached[entry] = true
	var order []int
	for i := entry; i >= firstBlock; i-- {
		if !reached[i] {
			continue
		}
		order = append(order, i)
		b := &g.blocks[i]
		for _, yes := range []bool{true, false} {
			next := &b.no
			if yes {
				next = &b.yes
			}
			facts := after(known[i], b, yes)
			for *next >= firstBlock {
				to := &g.blocks[*next]
				outcome, ok := decide(facts, to)
				if !ok {
					break
				}
				if *next = to.no; outcome {
					*next = to.yes
				}
			}
			if n := *next; n >= firstBlock {
				if reached[n] {
					facts = common(known[n], facts)
				}
				known[n], reached[n] = facts, true
			}
		}
	}
	return order
}

// registers is what A and X hold at a place of the program.
type registers struct {
	loaded bool // A holds what load reads, and mask was applied
	load   load
	mask   uint32
	header uint32 // X holds the length of the IPv4 header here
	x      bool
}

// piece is a block's code: instructions, then a conditional jump.
type piece struct {
	code            []ins
	jump            ins
	yes, no         int // blocks
	longYes, longNo bool
	at              int
}

func (p *piece) size() int {
	n := len(p.code) + 1
	if p.longYes {
		n++
	}
	if p.longNo {
		n++
	}
	return n
}

// assemble makes a program of the blocks that can be reached from entry.
func assemble(g *graph, entry int) (*Program, error) {
	if entry < firstBlock {
		k := uint32(1)
		if entry == reject {
			k = 0
		}
		return &Program{code: []bpf.RawInstruction{{Op: opReturn, K: k}}}, nil
	}
	order := g.thread(entry)
	pieces := make([]piece, len(order))
	where := make(map[int]int, len(order)) // block -> piece
	for i, n := range order {
		where[n] = i
	}
	g.generate(order, pieces)
	end := layOut(pieces, where)
	if end+2 > maxProgram {
		return nil, fmt.Errorf("%w: %d instructions of %d", ErrTooLong, end+2, maxProgram)
	}
	code := make([]bpf.RawInstruction, 0, end+2)
	for i := range pieces {
		code = pieces[i].emit(code, pieces, where, end)
	}
	return &Program{code: append(code, bpf.RawInstruction{Op: opReturn, K: 1}, bpf.RawInstruction{Op: opReturn})}, nil
}

// generate makes the code of the blocks; what a register holds already on all ways to a block is not loaded again.
func (g *graph) generate(order []int, pieces []piece) {
	before := make(map[int]*registers, len(order))
	for i, n := range order {
		b, p := &g.blocks[n], &pieces[i]
		p.yes, p.no = b.yes, b.no
		r := registers{}
		if known := before[n]; known != nil {
			r = *known
		}
		if b.comp != nil {
			p.code, r = b.comp.code, registers{}
			p.jump = ins{opIf | jumpBits(b.comp.op), b.comp.k}
			if b.comp.x {
				p.jump = ins{opIf | jumpBits(b.comp.op) | fromX, 0}
			}
		} else {
			p.test(&b.test, &r)
		}
		for _, to := range []int{b.yes, b.no} {
			if known := before[to]; known != nil {
				known.meet(&r)
			} else {
				c := r
				before[to] = &c
			}
		}
	}
}

// meet keeps what both know.
func (r *registers) meet(o *registers) {
	if r.loaded && (!o.loaded || r.load != o.load || r.mask != o.mask) {
		r.loaded = false
	}
	if r.x && (!o.x || r.header != o.header) {
		r.x = false
	}
}

func jumpBits(o testOp) uint16 {
	const jeq, jgt, jge = 0x10, 0x20, 0x30
	return [...]uint16{testEqual: jeq, testGreater: jgt, testGreaterEqual: jge}[o]
}

// test makes the code of a test.
func (p *piece) test(t *test, r *registers) {
	if !r.loaded || r.load != t.load || r.mask != noMask && r.mask != t.mask {
		p.load(t.load, r)
	}
	const jset = 0x40
	if t.op == testEqual && t.k == 0 && t.mask != noMask && r.mask == noMask {
		p.jump = ins{opIf | jset, t.mask} // any of the bits
		p.yes, p.no = p.no, p.yes
		return
	}
	if t.mask != r.mask {
		p.code = append(p.code, ins{opALU | aluAnd, t.mask})
		r.mask = t.mask
	}
	p.jump = ins{opIf | jumpBits(t.op), t.k}
}

// load reads into A.
func (p *piece) load(l load, r *registers) {
	const extensions = 0xfffff000 // SKF_AD_OFF
	r.loaded, r.load, r.mask = true, l, noMask
	switch l.base {
	case baseLength:
		p.code = append(p.code, ins{opLoadLength, 0})
	case baseExtension:
		p.code = append(p.code, ins{opLoadAbsolute, extensions + l.off})
	case baseTransport:
		if !r.x || r.header != l.header {
			p.code = append(p.code, ins{opLoadXHeader, l.header})
			r.x, r.header = true, l.header
		}
		p.code = append(p.code, ins{opLoadIndirect | sizeBits[l.size], l.off})
	default:
		p.code = append(p.code, ins{opLoadAbsolute | sizeBits[l.size], l.off})
	}
}

// layOut gives every piece its place, and returns where the two last instructions begin. A conditional jump reaches 255
// instructions; those that have farther to go get a plain jump behind them.
func layOut(pieces []piece, where map[int]int) (end int) {
	const reach = 255
	for changed := true; changed; {
		changed = false
		end = 0
		for i := range pieces {
			pieces[i].at = end
			end += pieces[i].size()
		}
		for i := range pieces {
			p := &pieces[i]
			from := p.at + len(p.code) + 1
			for _, w := range []struct {
				to   int
				long *bool
			}{{p.yes, &p.longYes}, {p.no, &p.longNo}} {
				if !*w.long && target(w.to, pieces, where, end)-from > reach {
					*w.long, changed = true, true
				}
			}
		}
	}
	return end
}

// target is the instruction at which a block begins.
func target(b int, pieces []piece, where map[int]int, end int) int {
	switch b {
	case accept:
		return end
	case reject:
		return end + 1
	}
	return pieces[where[b]].at
}

func (p *piece) emit(out []bpf.RawInstruction, pieces []piece, where map[int]int, end int) []bpf.RawInstruction {
	for _, i := range p.code {
		out = append(out, bpf.RawInstruction{Op: i.op, K: i.k})
	}
	from := p.at + len(p.code) + 1
	yes, no := target(p.yes, pieces, where, end), target(p.no, pieces, where, end)
	j := bpf.RawInstruction{Op: p.jump.op, K: p.jump.k}
	var long []bpf.RawInstruction
	if p.longYes {
		long = append(long, bpf.RawInstruction{Op: opJump, K: uint32(yes - from - 1)})
	} else {
		j.Jt = uint8(yes - from)
	}
	if p.longNo {
		j.Jf = uint8(len(long))
		long = append(long, bpf.RawInstruction{Op: opJump, K: uint32(no - from - len(long) - 1)})
	} else {
		j.Jf = uint8(no - from)
	}
	return append(append(out, j), long...)
}

// String lists the blocks, for tests.
func (g *graph) String() string {
	var b strings.Builder
	for i := firstBlock; i < len(g.blocks); i++ {
		fmt.Fprintf(&b, "%d: %+v\n", i, g.blocks[i])
	}
	return b.String()
}
