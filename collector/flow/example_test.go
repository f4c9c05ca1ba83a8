package flow_test

import (
	"fmt"

	"github.com/flowlake/flowlake/collector/flow"
	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
)

type printer struct{}

func (printer) Flow(r *flow.Report) {
	fmt.Println(r.ClientPort, "->", r.ServerPort, r.CloseType, r.Status, r.PacketsTx, r.PacketsRx)
}

func (printer) Exchange(f *flow.Flow, e *l7.Exchange) {}

func Example() {
	table := flow.New(flow.Options{}, printer{})
	p := packet.Packet{TimeNanos: 1e18, Proto: packet.ProtoTCP, TCPFlags: packet.FlagSYN, SrcPort: 40000, DstPort: 80,
		Src: packet.Addr{15: 1}, Dst: packet.Addr{15: 2}}
	table.Packet(&p)
	p.TimeNanos += 1e6
	p.Src, p.Dst, p.SrcPort, p.DstPort = p.Dst, p.Src, p.DstPort, p.SrcPort
	p.TCPFlags = packet.FlagRST | packet.FlagACK
	table.Packet(&p)
	table.Flush(p.TimeNanos)
	// Output: 40000 -> 80 server_direct_rst server_error 1 1
}
