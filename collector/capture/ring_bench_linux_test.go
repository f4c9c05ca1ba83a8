package capture

import (
	"encoding/binary"
	"testing"

	"github.com/flowlake/flowlake/collector/packet"
)

// ringBlock fills a block as the kernel does.
func ringBlock(size int, frame []byte) (block []byte, n int) {
	block = make([]byte, size)
	const mac, first = 82, 48
	step := (mac + len(frame) + 15) &^ 15
	at := first
	for ; at+step <= size; at += step {
		h := block[at:]
		binary.NativeEndian.PutUint32(h[hdrNext:], uint32(step))
		binary.NativeEndian.PutUint32(h[hdrSnap:], uint32(len(frame)))
		binary.NativeEndian.PutUint32(h[hdrLen:], uint32(len(frame)))
		binary.NativeEndian.PutUint16(h[hdrMAC:], mac)
		binary.NativeEndian.PutUint16(h[hdrNet:], mac+14)
		binary.NativeEndian.PutUint16(h[llHatype:], hatypeEthernet)
		copy(h[mac:], frame)
		n++
	}
	binary.NativeEndian.PutUint32(block[blockPackets:], uint32(n))
	binary.NativeEndian.PutUint32(block[blockFirst:], first)
	return block, n
}

// BenchmarkRingBlock reads and decodes one full block of 1 MiB, larger than the first caches: what a packet costs between
// the kernel and the flow table.
func BenchmarkRingBlock(b *testing.B) {
	l := &Live{o: LiveOptions{BatchFrames: defaultBatchFrames}}
	l.batch.Frames = make([]Frame, 0, defaultBatchFrames)
	for _, payload := range []struct {
		name string
		n    int
	}{{"0", 0}, {"300", 300}, {"1448", 1448}} {
		block, n := ringBlock(1<<20, tcpFrame(payload.n))
		b.Run("payload="+payload.name, func(b *testing.B) {
			d := packet.NewDecoder()
			var p packet.Packet
			fn := func(batch *Batch) error {
				for i := range batch.Frames {
					if err := batch.Frames[i].Decode(d, &p); err != nil {
						return err
					}
				}
				return nil
			}
			b.SetBytes(int64(len(block)))
			b.ReportAllocs()
			for b.Loop() {
				if err := l.deliver(block, fn); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/packet")
		})
	}
}

// TestDeliver hands a block out whole, in batches of the set size, without allocating.
func TestDeliver(t *testing.T) {
	l := &Live{o: LiveOptions{BatchFrames: 10}}
	l.batch.Frames = make([]Frame, 0, 10)
	block, n := ringBlock(1<<16, tcpFrame(100))
	got, last := 0, 0
	fn := func(b *Batch) error { last = len(b.Frames); got += last; return nil }
	if err := l.deliver(block, fn); err != nil || got != n || last != (n-1)%10+1 {
		t.Errorf("%d frames of %d, last batch of %d, %v", got, n, last, err)
	}
	if a := testing.AllocsPerRun(10, func() { _ = l.deliver(block, fn) }); a != 0 {
		t.Errorf("%v allocations", a)
	}
	if m := l.packets.Load(); int(m) != 12*n || l.bytes.Load() != m*154 {
		t.Errorf("counted %d packets, %d bytes", m, l.bytes.Load())
	}
}
