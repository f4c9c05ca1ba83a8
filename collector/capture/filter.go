package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/net/bpf"
)

// errFilterTooLong is returned when there are more rules than a kernel filter holds.
var errFilterTooLong = errors.New("too many rules for the kernel's filter")

// maxFilter is BPF_MAXINSNS, the longest classic BPF program that the kernel takes.
const maxFilter = 4096

// Scratch words of the filter program: what the rules compare.
const (
	slotBase  = 0  // offset of the IP header
	slotSrc   = 1  // 1..4: source address, IPv4 in the first word
	slotDst   = 5  // 5..8: destination address
	slotProto = 9  // IP protocol
	slotSport = 10 // source port, noPort when there is none
	slotDport = 11
)

const (
	noPort = 1 << 16 // no 16-bit load can yield it

	// networkOffset addresses the IP header wherever the link puts it (SKF_NET_OFF). Only bytes in the linear part of a
	// kernel buffer can be read this way, so Ethernet, where drivers may leave headers elsewhere, counts from its start.
	networkOffset = 0xfff00000

	hatypeEthernet = 1   // ARPHRD_ETHER
	hatypeLoopback = 772 // ARPHRD_LOOPBACK
	typeOutgoing   = 4   // PACKET_OUTGOING

	returnConstant = 0x06 // BPF_RET | BPF_K
)

// program assembles the filter that the kernel runs on every frame: it drops the outgoing copy of what the loopback
// interface is about to deliver and what comes from interfaces that are not selected, applies the rules and the expression,
// and cuts frames to the snap length.
func program(o *LiveOptions, selected []span) ([]bpf.RawInstruction, error) {
	var a assembler
	a.loopback()
	if o.Select != nil {
		a.interfaces(selected)
	}
	if len(o.Exclude)+len(o.Only) > 0 {
		a.links()
		a.rules(o)
	}
	if o.Filter != nil {
		p, err := o.Filter.CompileKernel()
		if err != nil {
			return nil, err
		}
		a.then = p.Raw(uint32(o.SnapBytes))
	}
	return a.assemble(uint32(o.SnapBytes))
}

// span is a range of interface indexes, both ends included.
type span struct{ low, high uint32 }

// dropAll is the filter of a socket that is still being set up.
func dropAll() []bpf.RawInstruction {
	raw, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 0}})
	if err != nil {
		panic("capture: a constant program does not assemble")
	}
	return raw
}

// loopback drops outgoing frames of the loopback interface; each comes back as an incoming one.
func (a *assembler) loopback() {
	a.add(bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	a.unless(bpf.JumpEqual, hatypeLoopback, "links")
	a.add(bpf.LoadExtension{Num: bpf.ExtType})
	a.when(bpf.JumpEqual, typeOutgoing, "drop")
	a.label("links")
}

// interfaces drops frames of interfaces whose index is in none of the spans, which are sorted.
func (a *assembler) interfaces(spans []span) {
	a.add(bpf.LoadExtension{Num: bpf.ExtInterfaceIndex})
	for _, s := range spans {
		next := fmt.Sprintf("above%d", s.high)
		a.when(bpf.JumpGreaterThan, s.high, next)
		a.when(bpf.JumpGreaterOrEqual, s.low, "selected")
		a.jump("drop")
		a.label(next)
	}
	a.jump("drop")
	a.label("selected")
}

// links finds the IP header: behind Ethernet with up to two VLAN tags, or where the kernel says.
func (a *assembler) links() {
	a.add(bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	a.when(bpf.JumpEqual, hatypeEthernet, "ethernet")
	a.when(bpf.JumpEqual, hatypeLoopback, "ethernet")
	a.add(bpf.LoadExtension{Num: bpf.ExtProto})
	a.bases(networkOffset)
	a.jump("other")
	a.label("ethernet")
	a.ethernet()
}

// ethernet finds the IP header behind an Ethernet header.
func (a *assembler) ethernet() {
	const vlan, qinq = 0x8100, 0x88a8
	for tags := range uint32(3) {
		a.add(bpf.LoadAbsolute{Off: 12 + 4*tags, Size: 2})
		a.bases(14 + 4*tags)
		if tags < 2 {
			next := fmt.Sprintf("tag%d", tags)
			a.when(bpf.JumpEqual, vlan, next)
			a.unless(bpf.JumpEqual, qinq, "other")
			a.label(next)
		}
	}
	a.jump("other")
}

// bases branches on the ether type in A: the IP header begins at base.
func (a *assembler) bases(base uint32) {
	for _, v := range []struct {
		etherType uint32
		label     string
	}{{0x0800, "ipv4"}, {0x86dd, "ipv6"}} {
		next := fmt.Sprintf("not%s%x", v.label, base)
		a.unless(bpf.JumpEqual, v.etherType, next)
		a.add(bpf.LoadConstant{Dst: bpf.RegX, Val: base}, bpf.StoreScratch{Src: bpf.RegX, N: slotBase})
		a.jump(v.label)
		a.label(next)
	}
}

// rules loads what they compare into scratch words and compares.
func (a *assembler) rules(o *LiveOptions) {
	a.label("ipv4")
	a.field(12, 4, slotSrc)
	a.field(16, 4, slotDst)
	a.field(9, 1, slotProto)
	a.noPorts()
	a.add(bpf.LoadIndirect{Off: 6, Size: 2}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0x1fff})
	a.unless(bpf.JumpEqual, 0, "rules4") // a later fragment
	a.hasPorts("rules4")
	a.add(bpf.LoadIndirect{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2}, bpf.ALUOpX{Op: bpf.ALUOpAdd}, bpf.TAX{})
	a.ports()
	a.label("rules4")
	a.verdict(o, true)

	a.label("ipv6")
	for i := range uint32(4) {
		a.field(8+4*i, 4, slotSrc+int(i))
		a.field(24+4*i, 4, slotDst+int(i))
	}
	a.field(6, 1, slotProto)
	a.noPorts()
	a.hasPorts("rules6")
	a.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotBase}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 40}, bpf.TAX{})
	a.ports()
	a.label("rules6")
	a.verdict(o, false)

	a.label("other") // not IP: no rule matches
	if len(o.Only) > 0 {
		a.jump("drop")
	}
	a.jump("accept")
}

// field stores bytes of the IP header, which X points to, in a scratch word.
func (a *assembler) field(off uint32, size, slot int) {
	a.add(bpf.LoadIndirect{Off: off, Size: size}, bpf.StoreScratch{Src: bpf.RegA, N: slot})
}

func (a *assembler) noPorts() {
	a.add(bpf.LoadConstant{Dst: bpf.RegA, Val: noPort}, bpf.StoreScratch{Src: bpf.RegA, N: slotSport},
		bpf.StoreScratch{Src: bpf.RegA, N: slotDport})
}

// hasPorts goes on for TCP and UDP only.
func (a *assembler) hasPorts(otherwise string) {
	a.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotProto})
	a.when(bpf.JumpEqual, 6, otherwise+"ports")
	a.unless(bpf.JumpEqual, 17, otherwise)
	a.label(otherwise + "ports")
}

// ports stores the ports of the header that X points to.
func (a *assembler) ports() {
	a.field(0, 2, slotSport)
	a.field(2, 2, slotDport)
}

// verdict tries the rules for one IP version in turn.
func (a *assembler) verdict(o *LiveOptions, v4 bool) {
	for _, r := range o.Exclude {
		a.rule(r, v4, "drop")
	}
	if len(o.Only) == 0 {
		a.jump("accept")
		return
	}
	for _, r := range o.Only {
		a.rule(r, v4, "accept")
	}
	a.jump("drop")
}

// rule jumps to the label when the rule matches.
func (a *assembler) rule(r Rule, v4 bool, match string) {
	prefix := r.Prefix
	if prefix.IsValid() {
		prefix = unmapped(prefix)
		if prefix.Addr().Is4() != v4 {
			return
		}
	}
	n := len(a.ins) // unique in this program
	next := fmt.Sprintf("next%d", n)
	if r.Proto != 0 {
		a.add(bpf.LoadScratch{Dst: bpf.RegA, N: slotProto})
		a.unless(bpf.JumpEqual, uint32(r.Proto), next)
	}
	for _, side := range []struct {
		addr, port int
		otherwise  string
	}{{slotSrc, slotSport, fmt.Sprintf("dst%d", n)}, {slotDst, slotDport, next}} {
		if r.Port != 0 {
			a.add(bpf.LoadScratch{Dst: bpf.RegA, N: side.port})
			a.unless(bpf.JumpEqual, uint32(r.Port), side.otherwise)
		}
		if prefix.IsValid() {
			a.prefix(prefix, side.addr, side.otherwise)
		}
		a.jump(match)
		a.label(side.otherwise)
	}
}

// prefix goes on when the address in the scratch words from slot on lies in p.
func (a *assembler) prefix(p netip.Prefix, slot int, otherwise string) {
	b := p.Masked().Addr().AsSlice()
	for left := p.Bits(); left > 0; left -= 32 {
		a.add(bpf.LoadScratch{Dst: bpf.RegA, N: slot})
		if left < 32 {
			a.add(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: ^uint32(0) << (32 - left)})
		}
		a.unless(bpf.JumpEqual, binary.BigEndian.Uint32(b), otherwise)
		b, slot = b[4:], slot+1
	}
}

// unmapped turns a prefix of mapped IPv4 addresses into one of IPv4 addresses.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// assembler collects instructions with jumps to labels, which may be farther away than a conditional jump reaches.
type assembler struct {
	ins    []bpf.Instruction
	jumps  map[int]string // instruction -> label
	labels map[string]int
	then   []bpf.RawInstruction // a whole program, which decides about what the rules accept
}

func (a *assembler) add(ins ...bpf.Instruction) { a.ins = append(a.ins, ins...) }

// jump goes to a label further down.
func (a *assembler) jump(label string) {
	if a.jumps == nil {
		a.jumps = map[int]string{}
	}
	a.jumps[len(a.ins)] = label
	a.add(bpf.Jump{})
}

// when jumps if the comparison of A holds, unless if it does not.
func (a *assembler) when(cond bpf.JumpTest, val uint32, label string) {
	a.add(bpf.JumpIf{Cond: cond, Val: val, SkipFalse: 1})
	a.jump(label)
}

func (a *assembler) unless(cond bpf.JumpTest, val uint32, label string) {
	a.add(bpf.JumpIf{Cond: cond, Val: val, SkipTrue: 1})
	a.jump(label)
}

func (a *assembler) label(name string) {
	if a.labels == nil {
		a.labels = map[string]int{}
	}
	a.labels[name] = len(a.ins)
}

// assemble ends the program with its two verdicts and resolves the jumps.
func (a *assembler) assemble(snap uint32) ([]bpf.RawInstruction, error) {
	if a.then == nil {
		a.then = []bpf.RawInstruction{{Op: returnConstant, K: snap}}
	}
	a.jump("accept")
	a.label("drop")
	a.add(bpf.RetConstant{Val: 0})
	a.label("accept") // a.then, which is appended as it is
	if n := len(a.ins) + len(a.then); n > maxFilter {
		return nil, fmt.Errorf("%w: %d instructions of %d", errFilterTooLong, n, maxFilter)
	}
	for at, name := range a.jumps {
		to, ok := a.labels[name]
		if !ok || to <= at {
			return nil, fmt.Errorf("capture filter: no label %q after instruction %d", name, at)
		}
		a.ins[at] = bpf.Jump{Skip: uint32(to - at - 1)}
	}
	raw, err := bpf.Assemble(a.ins)
	if err != nil {
		return nil, fmt.Errorf("assemble capture filter: %w", err)
	}
	return append(raw, a.then...), nil
}
