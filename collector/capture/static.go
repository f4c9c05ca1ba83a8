package capture

import (
	"fmt"

	"golang.org/x/net/bpf"

	"github.com/flowlake/flowlake/collector/packet"
)

// staticProgram assembles a filter for frames of one kind of link, on systems whose kernel knows nothing of a frame but its
// bytes: rules, then the expression.
func staticProgram(o *LiveOptions, link packet.LinkType) ([]bpf.RawInstruction, error) {
	var a assembler
	if len(o.Exclude)+len(o.Only) > 0 {
		switch link {
		case packet.LinkEthernet:
			a.ethernet()
		case packet.LinkNull, packet.LinkLoop:
			a.versions(4)
		case packet.LinkRaw, packet.LinkIPv4, packet.LinkIPv6:
			a.versions(0)
		default:
			return nil, fmt.Errorf("%w: rules for link type %d", ErrUnsupported, link)
		}
		a.rules(o)
	}
	if o.Filter != nil {
		p, err := o.Filter.Compile(link)
		if err != nil {
			return nil, err
		}
		a.then = p.Raw(uint32(o.SnapBytes))
	}
	return a.assemble(uint32(o.SnapBytes))
}

// versions tells IP packets apart by their first four bits.
func (a *assembler) versions(base uint32) {
	a.add(bpf.LoadAbsolute{Off: base, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	for _, v := range []struct {
		version uint32
		label   string
	}{{4, "ipv4"}, {6, "ipv6"}} {
		next := "not" + v.label
		a.unless(bpf.JumpEqual, v.version, next)
		a.add(bpf.LoadConstant{Dst: bpf.RegX, Val: base}, bpf.StoreScratch{Src: bpf.RegX, N: slotBase})
		a.jump(v.label)
		a.label(next)
	}
	a.jump("other")
}
