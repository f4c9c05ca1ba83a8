package pcapfilter

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/flowlake/flowlake/collector/packet"
)

// ErrTooLong is returned for an expression whose program is longer than a kernel takes.
var ErrTooLong = errors.New("the filter's program is too long")

// maxProgram is BPF_MAXINSNS.
const maxProgram = 4096

// Program is a compiled expression. It is immutable and may be shared.
type Program struct {
	code []bpf.RawInstruction
}

// Compile compiles the expression for frames of a kind of link, as they lie in a capture file. An expression on what such
// frames lack (MAC addresses of raw IP, say) is an *Error.
func (e *Expr) Compile(link packet.LinkType) (*Program, error) {
	f, ok := frameOf(link)
	if !ok {
		return nil, fmt.Errorf("%w: link type %d is not supported", ErrSyntax, link)
	}
	l := &lowerer{text: e.text, frame: f}
	c := l.node(e.root)
	if l.err != nil {
		return nil, l.err
	}
	g := newGraph()
	return assemble(g, g.build(c, accept, reject))
}

// CompileKernel compiles the expression for a Linux packet socket of type SOCK_RAW, whose interfaces may be of any kind: the
// program asks the kernel what kind a frame is of. Conditions on what a kind lacks are never true of it. A VLAN tag that the
// kernel took off the frame counts as the first one.
func (e *Expr) CompileKernel() (*Program, error) {
	g := newGraph()
	one := func(f frame) (int, bool, error) {
		l := &lowerer{text: e.text, frame: f, live: true}
		c := l.node(e.root)
		return g.build(c, accept, reject), l.tagged, l.err
	}
	other, _, err := one(frameKernel)
	if err != nil {
		return nil, err
	}
	ethernet, tagged, err := one(frameEthernet)
	if err != nil {
		return nil, err
	}
	if tagged {
		beside, _, err := one(frameTagged)
		if err != nil {
			return nil, err
		}
		ethernet = g.build(extension(extVLANExists, noMask, 0), ethernet, beside)
	}
	const hatypeEthernet, hatypeLoopback = 1, 772
	is := or(extension(extHatype, noMask, hatypeEthernet), extension(extHatype, noMask, hatypeLoopback))
	return assemble(g, g.build(is, ethernet, other))
}

// Raw returns the program, which lets snap bytes of a frame through that it accepts, and 0 of others.
func (p *Program) Raw(snap uint32) []bpf.RawInstruction {
	out := append([]bpf.RawInstruction(nil), p.code...)
	for i := range out {
		if out[i].Op == opReturn && out[i].K != 0 {
			out[i].K = snap
		}
	}
	return out
}

// Len is the number of instructions.
func (p *Program) Len() int { return len(p.code) }

// String lists the program, an instruction a line.
func (p *Program) String() string {
	list, _ := bpf.Disassemble(p.code)
	out := ""
	for i, in := range list {
		out += fmt.Sprintf("(%03d) %v\n", i, in)
	}
	return out
}
