package capture_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packet"
)

// Read a capture and print what each packet is. A live source is used the same way.
func Example() {
	file := "\xd4\xc3\xb2\xa1\x02\x00\x04\x00" + strings.Repeat("\x00", 8) + "\xff\xff\x00\x00\x65\x00\x00\x00" + // raw IP
		"\x01\x00\x00\x00\x00\x00\x00\x00\x20\x00\x00\x00\x20\x00\x00\x00" +
		"\x45\x00\x00\x20\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02" + "\x04\x00\x00\x35\x00\x0c\x00\x00" + "ping"
	source, err := capture.NewReader(strings.NewReader(file))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer source.Close()
	decoder := packet.NewDecoder()
	err = source.Run(context.Background(), func(b *capture.Batch) error {
		for i := range b.Frames {
			var p packet.Packet
			if err := b.Frames[i].Decode(decoder, &p); err != nil {
				continue // counted in decoder.Metrics
			}
			fmt.Printf("%d -> %d: %q\n", p.SrcPort, p.DstPort, p.Payload)
		}
		return nil
	})
	if err != nil {
		fmt.Println(err)
	}
	// Output: 1024 -> 53: "ping"
}
