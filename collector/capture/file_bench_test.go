package capture

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/google/gopacket/pcapgo"

	"github.com/flowlake/flowlake/collector/packet"
)

// tcpFrame is an Ethernet frame with an IPv4 TCP segment of n payload bytes.
func tcpFrame(n int) []byte {
	b := make([]byte, 54+n)
	b[12], b[14], b[22], b[23], b[46] = 8, 0x45, 64, 6, 5<<4
	b[16], b[17] = byte((40+n)>>8), byte(40+n)
	copy(b[26:], []byte{10, 0, 0, 1, 10, 0, 0, 2})
	b[35], b[37] = 80, 81
	return b
}

// replay is a capture in memory of segments of 0 to 1448 bytes, 300 on average.
func replay(n int) (file []byte, frames int) {
	sizes := []int{0, 0, 0, 20, 100, 1448, 0, 100, 200, 1132}
	var records [][]byte
	for i := range n {
		records = append(records, le.record(uint32(i), 0, string(tcpFrame(sizes[i%len(sizes)]))))
	}
	return le.pcap(magicMicros, 1, records...), n
}

func ngReplay(n int) (file []byte, frames int) {
	blocks := [][]byte{le.section(), le.iface(1)}
	for i := range n {
		blocks = append(blocks, le.enhanced(0, uint64(i), string(tcpFrame(300))))
	}
	return cat(blocks...), n
}

func run(tb testing.TB, file []byte, fn func(*Batch) error) {
	s, err := NewReader(bytes.NewReader(file))
	if err == nil {
		err = s.Run(context.Background(), fn)
	}
	if err != nil {
		tb.Fatal(err)
	}
}

// BenchmarkReplay reads a capture from memory, alone and with decoding, beside gopacket's readers.
func BenchmarkReplay(b *testing.B) {
	const n = 20_000
	for _, format := range []struct {
		name string
		make func(int) ([]byte, int)
	}{{"pcap", replay}, {"pcapng", ngReplay}} {
		file, frames := format.make(n)
		perPacket := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(frames), "ns/packet")
		}
		b.Run("format="+format.name+"/read", func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				run(b, file, func(*Batch) error { return nil })
			}
			perPacket(b)
		})
		b.Run("format="+format.name+"/decode", func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			d := packet.NewDecoder()
			var p packet.Packet
			for b.Loop() {
				run(b, file, func(batch *Batch) error {
					for i := range batch.Frames {
						if err := batch.Frames[i].Decode(d, &p); err != nil {
							return err
						}
					}
					return nil
				})
			}
			perPacket(b)
		})
		b.Run("format="+format.name+"/pcapgo", func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			for b.Loop() {
				if got := readPcapgo(b, file); got != frames {
					b.Fatal(got)
				}
			}
			perPacket(b)
		})
	}
}

func readPcapgo(tb testing.TB, file []byte) (n int) {
	var next func() error
	if file[0] == 0x0a {
		r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
		if err != nil {
			tb.Fatal(err)
		}
		next = func() error { _, _, err := r.ZeroCopyReadPacketData(); return err }
	} else {
		r, err := pcapgo.NewReader(bytes.NewReader(file))
		if err != nil {
			tb.Fatal(err)
		}
		next = func() error { _, _, err := r.ZeroCopyReadPacketData(); return err }
	}
	for ; ; n++ {
		if err := next(); err != nil {
			if errors.Is(err, io.EOF) {
				return n
			}
			tb.Fatal(err)
		}
	}
}

// TestReadAllocates shows that reading costs no allocation per packet.
func TestReadAllocates(t *testing.T) {
	short, _ := replay(1000)
	long, _ := replay(5000)
	allocs := func(file []byte) float64 {
		return testing.AllocsPerRun(5, func() { run(t, file, func(*Batch) error { return nil }) })
	}
	if a, b := allocs(short), allocs(long); b > a {
		t.Errorf("%v allocations for 1000 packets, %v for 5000", a, b)
	}
}
