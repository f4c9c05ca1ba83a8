package packetring

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packet"
)

const second = 1_000_000_000

// frame is an Ethernet frame that begins with its number; at is its time in seconds.
func frame(n, at, size int) capture.Frame {
	d := make([]byte, size)
	copy(d, fmt.Sprintf("%012d", n))
	return capture.Frame{Data: d, TimeNanos: int64(at) * second, WireLen: size + 10, Interface: uint32(1 + n%3), Link: packet.LinkEthernet}
}

type found struct {
	number string
	at     int64
	name   string
}

func readAll(t *testing.T, dir string, span Span) (out []found, damage []error) {
	t.Helper()
	err := Read(context.Background(), dir, span, func(b *capture.Batch, name func(uint32) string) error {
		for i := range b.Frames {
			f := &b.Frames[i]
			out = append(out, found{string(f.Data[:12]), f.TimeNanos, name(f.Interface)})
		}
		return nil
	}, func(err error) { damage = append(damage, err) })
	if err != nil {
		t.Fatal(err)
	}
	return out, damage
}

func open(t *testing.T, dir string, size int64) *Ring {
	t.Helper()
	r, err := Open(dir, func(o *Options) {
		o.MaxBytes, o.Error = size, func(err error) { t.Error(err) }
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func disk(t *testing.T, dir string) (total int64, files []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
		files = append(files, e.Name())
	}
	return total, files
}

func TestRing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "packets")
	names := map[uint32]string{1: "eth0", 2: "lo"}
	n := 0
	for range 3 { // a ring is opened again with what is there
		r := open(t, dir, MinBytes)
		for range 3000 {
			f := frame(n, 1_700_000_000+n, 1000)
			r.Write("", names, []capture.Frame{f})
			n++
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		m := r.Metrics()
		total, files := disk(t, dir)
		if m.Packets != 3000 || m.DroppedBuffer+m.DroppedDisk != 0 || m.Files != len(files) || m.DiskBytes != total || total > MinBytes {
			t.Fatalf("%+v; %d bytes in %d files", m, total, len(files))
		}
	}
	all, damage := readAll(t, dir, Everything)
	if len(damage) != 0 || len(all) < 2000 || len(all) >= n {
		t.Fatalf("%d packets of %d, %v", len(all), n, damage)
	}
	for i, p := range all {
		want := n - len(all) + i
		if p.number != fmt.Sprintf("%012d", want) || p.at != int64(1_700_000_000+want)*second || p.name != []string{"eth0", "lo", "if3"}[want%3] {
			t.Fatalf("packet %d: %+v", want, p)
		}
	}
	last := all[len(all)-1].at
	some, _ := readAll(t, dir, Span{last - 20*second, last})
	if len(some) == 0 || len(some) >= len(all) || some[len(some)-1].at != last {
		t.Errorf("%d packets of the last seconds, of %d", len(some), len(all))
	}
	if none, _ := readAll(t, dir, Span{0, second}); len(none) != 0 {
		t.Errorf("%d packets of 1970", len(none))
	}
}

// TestNamespaces has two interfaces of the same number, a tag that was taken off, and frames without a link header.
func TestNamespaces(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, MinBytes)
	tagged := frame(2, 1, 60)
	tagged.VLAN = 42
	raw := frame(1, 2, 60)
	raw.Link = packet.LinkRaw
	r.Write("", map[uint32]string{3: "eth0", 2: "tun0"}, []capture.Frame{tagged, raw})
	r.Write("blue", map[uint32]string{3: "blue/eth0"}, []capture.Frame{frame(2, 3, 60)})
	r.Write("blue", nil, []capture.Frame{frame(1, 4, 60)})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := Read(context.Background(), dir, Everything, func(b *capture.Batch, name func(uint32) string) error {
		for i := range b.Frames {
			f := &b.Frames[i]
			got = append(got, fmt.Sprintf("%s %d %d %d %x", name(f.Interface), f.Link, len(f.Data), f.WireLen, f.Data[12:16]))
		}
		return nil
	}, func(err error) { t.Error(err) })
	want := []string{"eth0 1 64 74 8100002a", "tun0 101 60 70 00000000", "blue/eth0 1 60 70 00000000", "blue/if2 1 60 70 00000000"}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestFull fills the buffer while nothing is written: what does not fit is dropped, what fits is complete.
func TestFull(t *testing.T) {
	dir := t.TempDir()
	r := newRing(dir, Options{MaxBytes: 64 << 20, Error: func(err error) { t.Error(err) }}, nil)
	n := 0
	for ; r.Metrics().DroppedBuffer < 100; n++ {
		r.Write("", nil, []capture.Frame{frame(n, n, 50_000)})
	}
	r.w.flush()
	f := frame(n, n, 100)
	f.Interface = 77 // first seen after packets were dropped
	r.Write("", nil, []capture.Frame{f})
	r.w.flush()
	if err := r.w.end(); err != nil {
		t.Fatal(err)
	}
	m := r.Metrics()
	all, damage := readAll(t, dir, Everything)
	if m.DroppedBuffer != 100 || int(m.Packets) != n-100+1 || len(all) != int(m.Packets) || len(damage) != 0 {
		t.Errorf("%d packets, %+v, read %d, %v", n+1, m, len(all), damage)
	}
	if p := all[len(all)-1]; p.name != "if77" {
		t.Errorf("last packet %+v", p)
	}
}

func TestManyInterfaces(t *testing.T) {
	r := newRing(t.TempDir(), Options{MaxBytes: MinBytes}, nil)
	for i := range maxInterfaces + 10 {
		f := frame(0, 1, 20)
		f.Interface = uint32(i)
		r.Write("", nil, []capture.Frame{f})
	}
	if m := r.Metrics(); m.DroppedBuffer != 10 {
		t.Errorf("%+v", m)
	}
}

// TestDiskFails has the folder go away and come back.
func TestDiskFails(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "packets")
	var errs []error
	r := newRing(dir, Options{MaxBytes: MinBytes, Error: func(err error) { errs = append(errs, err) }}, nil)
	for i := range 3 {
		r.Write("", nil, []capture.Frame{frame(i, i, 100)})
		r.w.flush()
	}
	if m := r.Metrics(); m.DroppedDisk != 3 || len(errs) != 1 || !errors.Is(errs[0], os.ErrNotExist) {
		t.Fatalf("%+v, %v", m, errs)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	r.w.retry = r.w.retry.Add(-retryAfter)
	r.Write("", nil, []capture.Frame{frame(4, 4, 100)})
	r.w.flush()
	if err := r.w.end(); err != nil {
		t.Fatal(err)
	}
	all, damage := readAll(t, dir, Everything)
	if len(all) != 1 || len(damage) != 0 || all[0].name != "if2" {
		t.Errorf("%v, %v", all, damage)
	}
}

// TestDamage cuts a file, spoils another, and puts files there that are none of ours.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	for i := range 4 {
		r := open(t, dir, MinBytes)
		r.Write("", nil, []capture.Frame{frame(2*i, 10*i, 100), frame(2*i+1, 10*i, 100)})
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	_, files := disk(t, dir)
	if len(files) != 4 || files[0] != "0000000001-0000000000000000000.pcapng" || !strings.HasSuffix(files[3], "-0000000030000000000.pcapng") {
		t.Fatalf("files %v", files)
	}
	path := func(i int) string { return filepath.Join(dir, files[i]) }
	b, err := os.ReadFile(path(1))
	if err != nil {
		t.Fatal(err)
	}
	spoilt := bytes.Clone(b) // of the same packets
	copy(spoilt[len(b)-20:], bytes.Repeat([]byte{0xff}, 20))
	for name, content := range map[string][]byte{path(1): b[:len(b)-50], path(2): spoilt, filepath.Join(dir, "notes.txt"): []byte("x"),
		filepath.Join(dir, "x-y.pcapng"): []byte("x"), filepath.Join(dir, "0000000009-0000000000000000000.pcapng"): nil} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, damage := readAll(t, dir, Everything)
	var numbers []string
	for _, p := range all {
		numbers = append(numbers, strings.TrimLeft(p.number, "0"))
	}
	if fmt.Sprint(numbers) != "[ 1 2 2 6 7]" || len(damage) != 1 || !errors.Is(damage[0], capture.ErrCorrupt) {
		t.Errorf("%v, %v", numbers, damage)
	}
	// the next file gets a number that none has had
	r := open(t, dir, MinBytes)
	r.Write("", nil, []capture.Frame{frame(9, 9, 100)})
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "0000000010-0000000009000000000.pcapng")); err != nil {
		t.Error(err)
	}
}

// TestConcurrent has several sources write, somebody read, and files go meanwhile.
func TestConcurrent(t *testing.T) {
	dir := t.TempDir()
	r := open(t, dir, MinBytes)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 2000 {
				r.Write(fmt.Sprint(g), nil, []capture.Frame{frame(i, i, 1400)})
			}
		}()
	}
	for range 5 {
		if _, damage := readAll(t, dir, Everything); len(damage) != 0 {
			t.Error(damage)
		}
	}
	wg.Wait()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	m := r.Metrics()
	if m.Packets+m.DroppedBuffer != 8000 {
		t.Errorf("%+v", m)
	}
	if total, _ := disk(t, dir); total > MinBytes {
		t.Errorf("%d bytes", total)
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil {
		t.Error("a ring of no size is opened")
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(file, func(o *Options) { o.MaxBytes = MinBytes }); err == nil {
		t.Error("a file is opened as a folder")
	}
	if err := Read(context.Background(), filepath.Join(file, "none"), Everything, nil, nil); err == nil {
		t.Error("no folder is read")
	}
}

func TestWriteDoesNotAllocate(t *testing.T) {
	r := newRing(t.TempDir(), Options{MaxBytes: MinBytes}, nil)
	frames := []capture.Frame{frame(1, 1, 100)}
	r.Write("", nil, frames)
	if n := testing.AllocsPerRun(1000, func() { r.Write("", nil, frames) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkWrite(b *testing.B) {
	r, err := Open(b.TempDir(), func(o *Options) { o.MaxBytes = 64 << 20 })
	if err != nil {
		b.Fatal(err)
	}
	frames := make([]capture.Frame, 256)
	for i := range frames {
		frames[i] = frame(i, i, 400)
	}
	b.SetBytes(256 * 400)
	for b.Loop() {
		r.Write("", nil, frames)
	}
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
}
