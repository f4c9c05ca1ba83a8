package capture

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"github.com/klauspost/compress/gzip"

	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/collector/packet"
)

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// bo builds integers in one byte order.
type bo struct{ binary.AppendByteOrder }

var (
	le = bo{binary.LittleEndian}
	be = bo{binary.BigEndian}
)

func (o bo) u16(v ...uint16) (b []byte) {
	for _, x := range v {
		b = o.AppendUint16(b, x)
	}
	return b
}

func (o bo) u32(v ...uint32) (b []byte) {
	for _, x := range v {
		b = o.AppendUint32(b, x)
	}
	return b
}

func (o bo) u64(v uint64) []byte { return o.AppendUint64(nil, v) }

func (o bo) pcap(magic, link uint32, records ...[]byte) []byte {
	return cat(o.u32(magic), o.u16(2, 4), o.u32(0, 0, 65535, link), cat(records...))
}

func (o bo) record(sec, frac uint32, data string) []byte {
	return cat(o.u32(sec, frac, uint32(len(data)), uint32(len(data)+100)), []byte(data))
}

func (o bo) block(kind uint32, body ...[]byte) []byte {
	b := cat(body...)
	b = append(b, make([]byte, -len(b)&3)...)
	n := uint32(len(b) + 12)
	return cat(o.u32(kind, n), b, o.u32(n))
}

func (o bo) section() []byte {
	return o.block(magicSection, o.u32(byteOrderMagic), o.u16(1, 0), o.u64(math.MaxUint64))
}

func (o bo) iface(link uint16, options ...[]byte) []byte {
	return o.block(blockInterface, o.u16(link, 0), o.u32(0), cat(options...))
}

func (o bo) option(code uint16, value ...byte) []byte {
	return cat(o.u16(code, uint16(len(value))), value, make([]byte, -len(value)&3))
}

func (o bo) enhanced(id uint32, ticks uint64, data string) []byte {
	return o.block(blockEnhanced, o.u32(id, uint32(ticks>>32), uint32(ticks), uint32(len(data)), uint32(len(data)+100)), []byte(data))
}

type got struct {
	data  string
	nanos int64
	wire  int
	iface uint32
	link  packet.LinkType
}

// readAll returns every frame and the error that ended reading.
func readAll(r io.Reader, opts ...func(*FileOptions)) ([]got, Metrics, error) {
	s, err := NewReader(r, opts...)
	if err != nil {
		return nil, Metrics{}, err
	}
	defer s.Close()
	var out []got
	err = s.Run(context.Background(), func(b *Batch) error {
		for _, f := range b.Frames {
			out = append(out, got{string(f.Data), f.TimeNanos, f.WireLen, f.Interface, f.Link})
		}
		return nil
	})
	return out, s.Metrics(), err
}

// TestFileFilter has several kinds of links in one file; what does not go with one of them is an error.
func TestFileFilter(t *testing.T) {
	udp := "\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02\x13\x88\x00\x35\x00\x08\x00\x00"
	other := strings.Replace(udp, "\x00\x35", "\x00\x36", 1)
	ethernet := strings.Repeat("\x02", 12) + "\x08\x00"
	file := cat(le.section(), le.iface(1), le.iface(101), le.enhanced(0, 1, ethernet+udp), le.enhanced(1, 2, other), le.enhanced(1, 3, udp),
		le.enhanced(0, 4, ethernet+other))
	filtered := func(text string) ([]got, Metrics, error) {
		e, err := pcapfilter.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return readAll(bytes.NewReader(file), func(o *FileOptions) { o.Filter = e })
	}
	frames, m, err := filtered("udp port 53")
	if err != nil || len(frames) != 2 || frames[0].iface != 1 || frames[1].iface != 2 || m.Packets != 2 || m.Filtered != 2 {
		t.Errorf("%d frames, %+v, %v", len(frames), m, err)
	}
	frames, _, err = filtered("ether src 2:2:2:2:2:2")
	if !errors.Is(err, pcapfilter.ErrSyntax) || len(frames) != 0 || !strings.Contains(err.Error(), "no MAC addresses") {
		t.Errorf("%d frames, %v", len(frames), err)
	}
}

func TestPcapVariants(t *testing.T) {
	const eth = packet.LinkEthernet
	modified := func(o bo) []byte {
		return o.pcap(magicModified, 1, o.u32(10, 20, 3, 60, 7), o.u16(8, 0), []byte("abc"))
	}
	sll2 := "\x08\x00\x00\x00\x00\x00\x00\x05rest"
	tests := []struct {
		name string
		file []byte
		want []got
	}{
		{"micros", le.pcap(magicMicros, 1, le.record(10, 20, "abc"), le.record(11, 999999, "")),
			[]got{{"abc", 10_000_020_000, 103, 0, eth}, {"", 11_999_999_000, 100, 0, eth}}},
		{"micros big-endian", be.pcap(magicMicros, 1, be.record(10, 20, "abc")), []got{{"abc", 10_000_020_000, 103, 0, eth}}},
		{"nanos", le.pcap(magicNanos, 101, le.record(10, 20, "abc")), []got{{"abc", 10_000_000_020, 103, 0, packet.LinkRaw}}},
		{"nanos big-endian", be.pcap(magicNanos, 12, be.record(10, 20, "abc")), []got{{"abc", 10_000_000_020, 103, 0, packet.LinkRaw}}},
		{"year 2106", le.pcap(magicMicros, 1, le.record(math.MaxUint32, 0, "x")), []got{{"x", math.MaxUint32 * 1e9, 101, 0, eth}}},
		{"modified", modified(le), []got{{"abc", 10_000_020_000, 60, 7, eth}}},
		{"modified big-endian", modified(be), []got{{"abc", 10_000_020_000, 60, 7, eth}}},
		{"wire length below captured", le.pcap(magicMicros, 1, le.u32(1, 0, 3, 1), []byte("abc")), []got{{"abc", 1e9, 3, 0, eth}}},
		{"frame check sequence bits", le.pcap(magicMicros, 0x14000001, le.record(1, 0, "x")), []got{{"x", 1e9, 101, 0, eth}}},
		{"cooked v2 knows the interface", le.pcap(magicMicros, 276, le.record(1, 0, sll2)), []got{{sll2, 1e9, 112, 5, packet.LinkLinuxSLL2}}},
		{"no packets", le.pcap(magicMicros, 1), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, tt.file, tt.want) })
	}
}

func check(t *testing.T, file []byte, want []got) {
	t.Helper()
	frames, m, err := readAll(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(frames) != len(want) {
		t.Fatalf("%d frames, want %d", len(frames), len(want))
	}
	for i := range want {
		if frames[i] != want[i] {
			t.Errorf("frame %d: %+v, want %+v", i, frames[i], want[i])
		}
	}
	if m.Packets != uint64(len(want)) {
		t.Errorf("metrics %+v", m)
	}
}

func TestPcapng(t *testing.T) {
	const eth = packet.LinkEthernet
	tests := []struct {
		name string
		file []byte
		want []got
	}{
		{"enhanced", cat(le.section(), le.iface(1), le.enhanced(0, 1_500_000, "abc")), []got{{"abc", 1_500_000_000, 103, 1, eth}}},
		{"big-endian", cat(be.section(), be.iface(1), be.enhanced(0, 1_500_000, "abcd")), []got{{"abcd", 1_500_000_000, 104, 1, eth}}},
		{"link types by interface", cat(le.section(), le.iface(1), le.iface(101), le.enhanced(1, 1, "raw"), le.enhanced(0, 2, "eth")),
			[]got{{"raw", 1000, 103, 2, packet.LinkRaw}, {"eth", 2000, 103, 1, eth}}},
		{"two sections, two byte orders", cat(le.section(), le.iface(1), le.iface(1), le.enhanced(1, 1, "a"), be.section(), be.iface(101), be.enhanced(0, 2, "b")),
			[]got{{"a", 1000, 101, 2, eth}, {"b", 2000, 101, 3, packet.LinkRaw}}},
		{"simple", cat(le.section(), le.iface(1), le.enhanced(0, 7, "x"), le.block(blockSimple, le.u32(5), []byte("hello"))),
			[]got{{"x", 7000, 101, 1, eth}, {"hello", 7000, 5, 1, eth}}},
		{"simple cut by snap length", cat(le.section(), le.block(blockInterface, le.u16(1, 0), le.u32(4)), le.block(blockSimple, le.u32(500), []byte("hell"))),
			[]got{{"hell", 0, 500, 1, eth}}},
		{"obsolete packet block", cat(le.section(), le.iface(1), le.block(blockPacket, le.u16(0, 9), le.u32(0, 1, 3, 60), []byte("abc"))),
			[]got{{"abc", 1000, 60, 1, eth}}},
		{"other blocks", cat(le.section(), le.block(0x0bad, make([]byte, 100)), le.iface(1), le.block(5, make([]byte, 12)), le.enhanced(0, 1, "abc"), le.block(4)),
			[]got{{"abc", 1000, 103, 1, eth}}},
		{"large block skipped", cat(le.section(), le.iface(1), le.enhanced(0, 1, "a"), le.block(0x0bad, make([]byte, 3<<20)), le.enhanced(0, 2, "b")),
			[]got{{"a", 1000, 101, 1, eth}, {"b", 2000, 101, 1, eth}}},
		{"link that cannot be decoded", cat(le.section(), le.iface(147), le.iface(1), le.enhanced(0, 1, "a"), le.enhanced(1, 2, "b")),
			[]got{{"b", 2000, 101, 2, eth}}},
		{"options", cat(le.section(), le.iface(1, le.option(2, []byte("eth0")...), le.option(9, 9), le.option(14, le.u64(100)...), le.option(0)), le.enhanced(0, 5, "a")),
			[]got{{"a", 100_000_000_005, 101, 1, eth}}},
		{"empty section", le.section(), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { check(t, tt.file, tt.want) })
	}
}

func TestResolutions(t *testing.T) {
	tests := []struct {
		resolution byte
		offset     int64
		ticks      uint64
		want       int64
		ok         bool
	}{
		{0, 0, 5, 5e9, true},
		{3, 0, 1500, 1_500_000_000, true},
		{6, 0, 1_500_000, 1_500_000_000, true},
		{6, -1, 1_500_000, 500_000_000, true},
		{9, 0, 1_500_000_007, 1_500_000_007, true},
		{12, 0, 1_500_000_007_999, 1_500_000_007, true},
		{19, 0, math.MaxUint64, 1_844_674_407, true},
		{0x80, 3, 5, 8e9, true},
		{0x80 | 10, 0, 1536, 1_500_000_000, true},
		{0x80 | 32, 0, 3 << 31, 1_500_000_000, true},
		{0x80 | 63, 0, 3 << 62, 1_500_000_000, true},
		{0x80 | 30, 0, math.MaxUint64, 0, false}, // year 2514
		{6, 0, math.MaxUint64, 0, false},
		{0, 0, math.MaxUint64, 0, false},
		{6, math.MaxInt64, 1, 0, false},
		{6, math.MinInt64, 1, 0, false},
	}
	for _, tt := range tests {
		i := ngInterface{clock: ngClock{binary: tt.resolution&0x80 != 0, exp: tt.resolution & 0x7f}, offset: tt.offset}
		nanos, ok := i.nanos(tt.ticks)
		if ok != tt.ok || ok && nanos != tt.want {
			t.Errorf("resolution %#x, offset %d, %d ticks: %d %v", tt.resolution, tt.offset, tt.ticks, nanos, ok)
		}
	}
}

func TestBadFiles(t *testing.T) {
	ng := cat(le.section(), le.iface(1))
	eth := le.pcap(magicMicros, 1)
	tests := []struct {
		name   string
		file   []byte
		want   error
		offset int64 // -1: fails to open
	}{
		{"empty", nil, ErrNotCapture, -1},
		{"one byte", []byte{0xd4}, ErrNotCapture, -1},
		{"text", []byte("this is no capture file, only some text"), ErrNotCapture, -1},
		{"gzip of text", gzipped([]byte("this is no capture file")), ErrNotCapture, -1},
		{"gzip header cut", []byte{0x1f, 0x8b, 8}, ErrNotCapture, -1},
		{"file header cut", eth[:20], ErrTruncated, -1},
		{"version", cat(le.u32(magicMicros), le.u16(3, 4), make([]byte, 16)), ErrUnsupported, -1},
		{"link type", le.pcap(magicMicros, 147), ErrUnsupported, -1},
		{"record header cut", cat(eth, make([]byte, 10)), ErrTruncated, 24},
		{"record cut", cat(eth, le.u32(1, 1, 10, 10), make([]byte, 9)), ErrTruncated, 24},
		{"captured length 4 GiB", cat(eth, le.u32(1, 1, math.MaxUint32, math.MaxUint32), make([]byte, 9)), ErrCorrupt, 24},
		{"captured length beyond 1 MiB", cat(eth, le.u32(1, 1, maxFrameBytes+1, 1), make([]byte, 9)), ErrCorrupt, 24},
		{"largest record cut", cat(eth, le.u32(1, 1, maxFrameBytes, 1), make([]byte, 9)), ErrTruncated, 24},
		{"byte order mark", cat(le.u32(magicSection, 28, 1), make([]byte, 16)), ErrCorrupt, 0},
		{"pcapng version", le.block(magicSection, le.u32(byteOrderMagic), le.u16(2, 0), le.u64(0)), ErrUnsupported, 0},
		{"section cut", ng[:20], ErrTruncated, 0},
		{"section too short", le.block(magicSection, le.u32(byteOrderMagic), le.u16(1, 0)), ErrCorrupt, 0},
		{"block length 0", cat(ng, le.u32(6, 0, 0)), ErrCorrupt, 48},
		{"block length odd", cat(ng, le.u32(6, 33, 0)), ErrCorrupt, 48},
		{"block length 4 GiB", cat(ng, le.u32(6, math.MaxUint32-3, 0)), ErrCorrupt, 48},
		{"skipped block cut", cat(ng, le.u32(77, math.MaxUint32-3, 0)), ErrTruncated, 48},
		{"lengths differ", cat(ng, le.u32(3, 16, 0, 20)), ErrCorrupt, 48},
		{"packet before interface", cat(le.section(), le.enhanced(0, 1, "a")), ErrCorrupt, 28},
		{"simple before interface", cat(le.section(), le.block(blockSimple, le.u32(0))), ErrCorrupt, 28},
		{"interface beyond", cat(ng, le.enhanced(1, 1, "a")), ErrCorrupt, 48},
		{"captured beyond block", cat(ng, le.block(blockEnhanced, le.u32(0, 0, 0, 5, 5), []byte("abcd"))), ErrCorrupt, 48},
		{"captured 4 GiB in block", cat(ng, le.block(blockEnhanced, le.u32(0, 0, 0, math.MaxUint32, 5), []byte("abcd"))), ErrCorrupt, 48},
		{"packet block too short", cat(ng, le.block(blockEnhanced, le.u32(0))), ErrCorrupt, 48},
		{"simple block too short", cat(ng, le.block(blockSimple)), ErrCorrupt, 48},
		{"interface too short", cat(ng, le.block(blockInterface, le.u32(1))), ErrCorrupt, 48},
		{"option beyond", cat(ng, le.iface(1, le.u16(2, 400))), ErrCorrupt, 48},
		{"resolution", cat(ng, le.iface(1, le.option(9, 20))), ErrCorrupt, 48},
		{"binary resolution", cat(ng, le.iface(1, le.option(9, 0xc0))), ErrCorrupt, 48},
		{"time", cat(ng, le.enhanced(0, math.MaxUint64, "a")), ErrCorrupt, 48},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := readAll(bytes.NewReader(tt.file))
			if !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want %v", err, tt.want)
			}
			var at *FileError
			if is := errors.As(err, &at); is != (tt.offset >= 0) || is && at.Offset != tt.offset {
				t.Errorf("got %v, want offset %d", err, tt.offset)
			}
		})
	}
}

func gzipped(b []byte) []byte {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	z.Write(b)
	z.Close()
	return buf.Bytes()
}

// TestCutAnywhere cuts good files at every byte: what is whole is delivered, and the error says where it ends.
func TestCutAnywhere(t *testing.T) {
	files := map[string][]byte{
		"pcap":   le.pcap(magicMicros, 1, le.record(1, 0, "first"), le.record(2, 0, "second"), le.record(3, 0, "third")),
		"pcapng": cat(le.section(), le.iface(1), le.enhanced(0, 1, "first"), le.block(99, make([]byte, 40)), le.enhanced(0, 2, "second"), le.enhanced(0, 3, "third")),
	}
	for name, file := range files {
		whole, _, err := readAll(bytes.NewReader(file))
		if err != nil || len(whole) != 3 {
			t.Fatal(name, err, len(whole))
		}
		last := 0
		for n := 24; n < len(file); n++ {
			frames, _, err := readAll(bytes.NewReader(file[:n]))
			if len(frames) < last || len(frames) > 3 {
				t.Fatalf("%s cut to %d: %d frames after %d", name, n, len(frames), last)
			}
			last = len(frames)
			for i := range frames {
				if frames[i] != whole[i] {
					t.Fatalf("%s cut to %d: frame %d is %+v", name, n, i, frames[i])
				}
			}
			var at *FileError
			switch {
			case err == nil: // between records
			case !errors.Is(err, ErrTruncated) || !errors.As(err, &at) || at.Offset >= int64(n) || at.Packets != uint64(last):
				t.Fatalf("%s cut to %d: %v", name, n, err)
			}
		}
		if last != 2 {
			t.Errorf("%s: %d frames before the last byte", name, last)
		}
		// The same within gzip: the data is cut, whatever gzip had buffered.
		z := gzipped(file)
		if frames, _, err := readAll(bytes.NewReader(z)); err != nil || len(frames) != 3 {
			t.Errorf("%s gzip: %d frames, %v", name, len(frames), err)
		}
		if _, _, err := readAll(bytes.NewReader(z[:len(z)-12])); !errors.Is(err, ErrTruncated) {
			t.Errorf("%s gzip cut: %v", name, err)
		}
		z[len(z)-5] ^= 1
		if _, _, err := readAll(bytes.NewReader(z)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s gzip checksum: %v", name, err)
		}
	}
}

// TestManyFrames crosses the ends of buffers and batches.
func TestManyFrames(t *testing.T) {
	var records [][]byte
	const n = 5000
	for i := range n {
		records = append(records, le.record(uint32(i), 0, strings.Repeat(string(rune('a'+i%26)), i%1500)))
	}
	records = append(records, le.record(n, 0, strings.Repeat("z", maxFrameBytes)))
	file := le.pcap(magicMicros, 1, records...)
	for _, batch := range []int{0, 1, 7} {
		i := 0
		s, err := NewReader(bytes.NewReader(file), func(o *FileOptions) { o.BatchFrames = batch })
		if err != nil {
			t.Fatal(err)
		}
		err = s.Run(context.Background(), func(b *Batch) error {
			if len(b.Frames) == 0 || batch > 0 && len(b.Frames) > batch {
				t.Fatalf("batch of %d", len(b.Frames))
			}
			for _, f := range b.Frames {
				want, c := i%1500, byte('a'+i%26)
				if i == n {
					want, c = maxFrameBytes, 'z'
				}
				if f.TimeNanos != int64(i)*1e9 || len(f.Data) != want || bytes.Count(f.Data, []byte{c}) != want {
					t.Fatalf("frame %d: time %d, %d bytes", i, f.TimeNanos, len(f.Data))
				}
				i++
			}
			return nil
		})
		if err != nil || i != n+1 || s.Metrics().Packets != n+1 {
			t.Fatal(err, i, s.Metrics())
		}
	}
}

func TestOpenFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := OpenFile(filepath.Join(dir, "absent")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("absent: %v", err)
	}
	if _, err := OpenFile(dir); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("directory: %v", err)
	}
	name := filepath.Join(dir, "x.pcap.gz")
	file := gzipped(le.pcap(magicMicros, 1, le.record(1, 0, "abc"), le.record(2, 0, "def")))
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	var read, total int64
	s, err := OpenFile(name, func(o *FileOptions) {
		o.Progress = func(r, of int64) {
			if r < read {
				t.Errorf("progress goes back from %d to %d", read, r)
			}
			read, total = r, of
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	if err := s.Run(context.Background(), func(b *Batch) error { calls += len(b.Frames); return nil }); err != nil {
		t.Fatal(err)
	}
	if calls != 2 || read != int64(len(file)) || total != read {
		t.Errorf("%d frames, progress %d of %d, file %d", calls, read, total, len(file))
	}
	if err := s.Run(context.Background(), nil); !errors.Is(err, ErrBusy) {
		t.Errorf("second Run: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error("second Close:", err)
	}
	if err := s.Run(context.Background(), nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Run after Close: %v", err)
	}
}

func TestFileRunEnds(t *testing.T) {
	file := le.pcap(magicMicros, 1, le.record(1, 0, "abc"), le.record(2, 0, "def"))
	open := func() *File {
		s, err := NewReader(bytes.NewReader(file), func(o *FileOptions) { o.BatchFrames = 1 })
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	boom := errors.New("boom")
	if err := open().Run(context.Background(), func(*Batch) error { return boom }); err != boom {
		t.Errorf("callback: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	if err := open().Run(ctx, func(*Batch) error { n++; cancel(); return nil }); !errors.Is(err, context.Canceled) || n != 1 {
		t.Errorf("cancelled: %v after %d", err, n)
	}
	// Close ends a Run that waits for a pipe.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	go w.Write(file)
	s, err := newFile(r, "pipe", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.closer = r
	done := make(chan error, 1)
	go func() { done <- s.Run(context.Background(), func(*Batch) error { return nil }) }()
	deadline(t, func() bool { return s.Metrics().Packets == 2 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Errorf("closed: %v", err)
	}
}

// deadline waits until ok, at most a minute: a busy machine may not run us for seconds.
func deadline(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("did not happen within a minute")
		}
	}
}

// TestAgainstPcapgo reads what gopacket writes, and the corpus as gopacket does.
func TestAgainstPcapgo(t *testing.T) {
	var buf bytes.Buffer
	w, err := pcapgo.NewNgWriter(&buf, layers.LinkTypeEthernet)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		data := bytes.Repeat([]byte{byte(i)}, i)
		if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(0, int64(i)*1e9+7), Length: i + 1, CaptureLength: i}, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	frames, _, err := readAll(&buf)
	if err != nil || len(frames) != 300 {
		t.Fatal(err, len(frames))
	}
	for i, f := range frames {
		if f.nanos != int64(i)*1e9+7 || f.wire != i+1 || f.data != string(bytes.Repeat([]byte{byte(i)}, i)) {
			t.Errorf("frame %d: %+v", i, f)
		}
	}
	files, skipped := 0, 0
	err = filepath.WalkDir(corpusDir(t), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".pcap") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		frames, _, err := readAll(bytes.NewReader(b))
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		r, err := pcapgo.NewReader(bytes.NewReader(b))
		if err != nil { // the modified format, which pcapgo does not know
			skipped++
			return nil
		}
		r.SetSnaplen(1 << 20)
		for i := 0; ; i++ {
			data, ci, err := r.ReadPacketData()
			if errors.Is(err, io.EOF) && i == len(frames) {
				return nil
			}
			if err != nil || i >= len(frames) || frames[i].data != string(data) || frames[i].nanos != ci.Timestamp.UnixNano() || frames[i].wire != ci.Length {
				t.Errorf("%s: frame %d differs (%v)", path, i, err)
				return nil
			}
		}
	})
	if err != nil || files < 80 || skipped > 2 {
		t.Error(files, skipped, err)
	}
}

func corpusDir(tb testing.TB) string {
	tb.Helper()
	dir := os.Getenv("FLOWLAKE_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(dir); err != nil {
		tb.Skipf("no capture corpus (set FLOWLAKE_CORPUS): %v", err)
	}
	return dir
}

// TestWhyNotPcapgo holds the reasons why this package reads files itself. When it fails, gopacket has got better.
func TestWhyNotPcapgo(t *testing.T) {
	if r, err := pcapgo.NewReader(bytes.NewReader(le.pcap(magicMicros, 276))); err != nil || int(r.LinkType()) == 276 {
		t.Error("pcapgo knows link type 276", err)
	}
	panics := func(file []byte) (p bool) {
		defer func() { p = recover() != nil }()
		r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
		if err == nil {
			_, _, _ = r.ReadPacketData()
		}
		return false
	}
	if !panics(cat(le.section(), le.iface(1, le.option(9, 0xc0), le.option(0)), le.enhanced(0, 1, "abcd"))) {
		t.Error("pcapgo survives a time resolution of 2^-64")
	}
	if _, err := pcapgo.NewReader(bytes.NewReader(le.pcap(magicModified, 1))); err == nil {
		t.Error("pcapgo reads the modified format")
	}
}

func FuzzReader(f *testing.F) {
	ng := cat(le.section(), le.iface(1, le.option(9, 9)), le.enhanced(0, 1, "first"), le.block(99, make([]byte, 8)), le.block(blockSimple, le.u32(5), []byte("hello")))
	f.Add(ng)
	f.Add(cat(be.section(), be.iface(101), be.block(blockPacket, be.u16(0, 9), be.u32(0, 1, 3, 60), []byte("abc")), ng))
	f.Add(le.pcap(magicMicros, 1, le.record(1, 2, "abc"), le.record(3, 4, "d")))
	f.Add(be.pcap(magicNanos, 276, be.record(1, 2, "abcdefghi")))
	f.Add(be.pcap(magicModified, 1, be.u32(10, 20, 3, 60, 7), be.u16(8, 0), []byte("abc")))
	f.Add(gzipped(ng))
	f.Add(cat(le.pcap(magicMicros, 1), le.u32(1, 1, math.MaxUint32, 1)))
	f.Fuzz(func(t *testing.T, file []byte) {
		d := packet.NewDecoder()
		s, err := NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		n, limit := 0, 1<<22 // gzip may expand; no more than this is asked of the fuzzer
		stop := errors.New("enough")
		err = s.Run(context.Background(), func(b *Batch) error {
			for i := range b.Frames {
				fr := &b.Frames[i]
				if fr.WireLen < len(fr.Data) || len(fr.Data) > maxFrameBytes || !fr.Link.Supported() {
					t.Fatalf("frame %+v", fr)
				}
				var p packet.Packet
				_ = fr.Decode(d, &p)
				n++
			}
			if limit -= len(b.Frames); limit < 0 {
				return stop
			}
			return nil
		})
		if cap(s.buf) > maxBlockBytes {
			t.Fatalf("buffer of %d bytes", cap(s.buf))
		}
		var at *FileError
		if err != nil && err != stop && !errors.As(err, &at) {
			t.Fatalf("error without a place: %v", err)
		}
		if s.Metrics().Packets != uint64(n) {
			t.Fatalf("%d frames, metrics %+v", n, s.Metrics())
		}
	})
}
