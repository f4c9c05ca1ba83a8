package segment

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

func putFile(tb testing.TB, fs vfs.FS, path string, data []byte) {
	tb.Helper()
	f, err := fs.Create(path)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := f.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := f.Close(); err != nil {
		tb.Fatal(err)
	}
}

func smallFile(tb testing.TB, table *schema.Table, seed uint64) (data []byte, b *batch.Batch) {
	tb.Helper()
	fs := vfs.NewMem()
	b = randomBatch(rand.New(rand.NewPCG(seed, 4)), table, 110)
	writeAll(tb, fs, "seg", b, nil, Options{PageRows: 64, RowGroupRows: 128, DictionaryBytes: 256})
	data, err := vfs.ReadFile(fs, "seg", 0)
	if err != nil {
		tb.Fatal(err)
	}
	return data, b
}

// readBytes opens and reads all of a file that may be anything.
func readBytes(tb testing.TB, data []byte, table *schema.Table) ([]string, error) {
	tb.Helper()
	fs := vfs.NewMem()
	putFile(tb, fs, "seg", data)
	r, err := Open(fs, "seg", table)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var rows []string
	var s Scratch
	var dst batch.Batch
	req := everything(table)
	for _, u := range r.Units(req) {
		if err := r.Read(context.Background(), u, req, &s, &dst); err != nil {
			return nil, err
		}
		rows = append(rows, rowsOf(&dst, req.Columns, nil, true)...)
	}
	return rows, nil
}

// Whichever byte is damaged, reading fails with corruption or gives the same rows, and Verify finds it.
func TestEveryByteFlipped(t *testing.T) {
	noRace(t)
	table := everyType(t)
	data, b := smallFile(t, table, 1)
	want := rowsOf(b, allColumns(table), nil, false)
	harmless := 0
	for i := range data {
		bad := append([]byte(nil), data...)
		bad[i] ^= byte(1 + i%255)
		rows, err := readBytes(t, bad, table)
		switch {
		case err == nil:
			sameRows(t, rows, want)
			harmless++
		case !errors.Is(err, ErrCorrupt):
			t.Fatalf("byte %d: %v is no corruption", i, err)
		}
		fs := vfs.NewMem()
		putFile(t, fs, "seg", bad)
		if r, err := Open(fs, "seg", table); err == nil {
			if err = r.Verify(context.Background()); err == nil && !inPageIndex(r, int64(i)) {
				t.Errorf("byte %d: Verify sees nothing", i)
			}
			r.Close()
		}
	}
	t.Logf("%d bytes, %d of them read by others only", len(data), harmless)
}

// inPageIndex says that a byte lies where only other readers look and no checksum of ours covers it: Parquet's own page
// indexes and Bloom headers.
func inPageIndex(r *Reader, off int64) bool {
	for g := range r.open.index.groups {
		for _, m := range r.open.index.groups[g].chunks {
			for _, p := range append([]pageMeta{m.dict}, m.pages...) {
				if off >= p.off && off < p.off+int64(p.hdr)+int64(p.size) {
					return false
				}
			}
			if off >= m.bloomOff && off < m.bloomOff+int64(m.bloomLen) {
				return false
			}
		}
	}
	return off >= 4
}

func TestEveryCut(t *testing.T) {
	noRace(t)
	table := everyType(t)
	data, _ := smallFile(t, table, 2)
	for n := range data {
		if _, err := readBytes(t, data[:n], table); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(data), err)
		}
	}
}

func TestNewerFormat(t *testing.T) {
	table := everyType(t)
	data, _ := smallFile(t, table, 3)
	at := sealAt(data)
	data[at+4]++
	binary.LittleEndian.PutUint32(data[at+sealSize-4:], crc32.Checksum(data[at:at+sealSize-4], castagnoli))
	if _, err := readBytes(t, data, table); !errors.Is(err, ErrNewerFormat) || errors.Is(err, ErrCorrupt) {
		t.Errorf("a newer version gives %v", err)
	}
}

// Files of the formats before this one are read.
func TestOlderFormat(t *testing.T) {
	table := everyType(t)
	for version := uint16(1); version < formatVersion; version++ {
		fs := vfs.NewMem()
		b := randomBatch(rand.New(rand.NewPCG(3, 3)), table, 2000)
		w, err := NewWriter(fs, "seg", table, Options{Portable: version < 2, DictionaryBytes: 1000})
		if err != nil {
			t.Fatal(err)
		}
		w.index.version = version
		if err := w.Append(b, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Finish(); err != nil {
			t.Fatal(err)
		}
		data, err := vfs.ReadFile(fs, "seg", 0)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := readBytes(t, data, table)
		if err != nil {
			t.Fatal(err)
		}
		sameRows(t, rows, rowsOf(b, allColumns(table), nil, false))
	}
}

// A disk that fails is not taken for a file that is damaged, wherever Verify meets it.
func TestVerifyTellsDiskFromDamage(t *testing.T) {
	table := everyType(t)
	data, _ := smallFile(t, table, 1)
	mem := vfs.NewMem()
	putFile(t, mem, "seg", data)
	// The first read of Verify fails, or the second, ...
	for skip := range 40 {
		left := -1 // reads until one fails; none while the file is opened
		fs := vfs.NewInjecting(mem, vfs.InjectorFunc(func(c vfs.Call) (f vfs.Fault) {
			if c.Kind == vfs.OpRead {
				if left == 0 {
					f.Err = syscall.EIO
				}
				left--
			}
			return f
		}))
		r, err := Open(fs, "seg", table)
		if err != nil {
			t.Fatal(err)
		}
		left = skip
		if err := r.Verify(context.Background()); !errors.Is(err, syscall.EIO) || errors.Is(err, ErrCorrupt) {
			t.Errorf("read %d fails: %v", skip, err)
		}
		r.Close()
	}
}

func sealAt(data []byte) int {
	foot := int(binary.LittleEndian.Uint32(data[len(data)-8:]))
	return len(data) - 8 - foot - sealSize
}

// forge makes all checksums of a damaged file right again, so that the decoders behind them are reached.
func forge(data []byte) []byte {
	if len(data) < sealSize+tailSize {
		return data
	}
	foot := int64(binary.LittleEndian.Uint32(data[len(data)-8:]))
	at := int64(len(data)) - 8 - foot - sealSize
	if at < 4 || at+sealSize > int64(len(data)) {
		return data
	}
	le := binary.LittleEndian
	off, n := le.Uint64(data[at+8:]), uint64(le.Uint32(data[at+16:]))
	if off > uint64(at) || off+n != uint64(at) {
		return data
	}
	if x, err := parseIndex(data[off:at], int64(len(data)), le.Uint16(data[at+4:])); err == nil {
		for g := range x.groups {
			for k := range x.groups[g].chunks {
				m := &x.groups[g].chunks[k]
				for i := range m.locator.sections {
					l := &m.locator.sections[i]
					l.crc = crc32.Checksum(data[m.locator.off+int64(l.at):][:l.size], castagnoli)
				}
				m.dict.crc = crc32.ChecksumIEEE(data[m.dict.off+int64(m.dict.hdr):][:m.dict.size])
				for i := range m.pages {
					p := &m.pages[i]
					p.crc = crc32.ChecksumIEEE(data[p.off+int64(p.hdr):][:p.size])
				}
			}
		}
		if block := x.appendIndex(nil); len(block) == int(n) {
			copy(data[off:], block)
		}
	}
	le.PutUint32(data[at+20:], crc32.Checksum(data[off:at], castagnoli))
	le.PutUint32(data[at+24:], crc32.Checksum(data[at+sealSize:at+sealSize+foot], castagnoli))
	le.PutUint32(data[at+sealSize-4:], crc32.Checksum(data[at:at+sealSize-4], castagnoli))
	return data
}

func FuzzOpen(f *testing.F) {
	table := everyType(f)
	for seed := range uint64(4) {
		data, _ := smallFile(f, table, seed)
		f.Add(data, uint32(seed*1000), byte(0x55))
		f.Add(data, uint32(len(data)-600), byte(1))
	}
	var s Scratch // a decoder is dear to make
	var dst batch.Batch
	f.Fuzz(func(t *testing.T, data []byte, at uint32, flip byte) {
		if len(data) > 1<<20 {
			return
		}
		data = append([]byte(nil), data...)
		if len(data) > 0 {
			data[int(at)%len(data)] ^= flip
		}
		data = forge(data)
		fs := vfs.NewMem()
		putFile(t, fs, "seg", data)
		if _, err := Inspect(fs, "seg"); err != nil {
			return
		}
		r, err := Open(fs, "seg", table)
		if err != nil {
			return
		}
		defer r.Close()
		_ = r.Verify(context.Background())
		all := everything(table)
		for _, u := range r.Units(all) {
			if r.Read(context.Background(), u, all, &s, &dst) != nil { // must not panic
				break
			}
		}
		key := [][]byte{[]byte("value-1-ü")}
		req := everything(table)
		req.Terms = []pred.Term{{Column: 7, Kind: pred.Text, Equal: key, Match: func(v []byte) bool { return string(v) == string(key[0]) }}}
		_ = r.Units(req)
	})
}

// The decoders take any bytes and yield what they are asked for or an error.
func FuzzDecode(f *testing.F) {
	e, err := newEncoder()
	if err != nil {
		f.Fatal(err)
	}
	ints, err := e.int64s([]int64{1, 5, -7, 1 << 60, 0, 0, 0})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte(nil), ints...), uint16(7))
	codes, err := e.codes([]int32{1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 3, 0, 5})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append([]byte(nil), codes...), uint16(13))
	f.Add(appendLevels(nil, batch.Bitmap{^uint64(0), 5, 0, 7}, 200), uint16(200))
	f.Add(append([]byte(nil), e.booleans([]int64{1, 0, 1, 1, 1})...), uint16(5))
	f.Fuzz(func(t *testing.T, src []byte, count uint16) {
		n := int(count)
		src = append(make([]byte, 0, len(src)+padding), src...)
		_, _ = decodeDelta(make([]int64, n), src)
		_, _ = decodeDelta(make([]int32, n), src)
		codes := make([]uint32, n)
		if decodeCodes(codes, src, 10) == nil {
			for _, c := range codes {
				if c >= 10 {
					t.Fatalf("code %d of 10", c)
				}
			}
		}
		_ = decodeLevels(batch.NewBitmap(n), src, n)
		_ = decodeBooleans(make([]int64, n), batch.NewBitmap(n), src)
		if data, err := decodeLengths(make([]uint32, n), make([]int32, n), src); err == nil && len(data) > len(src) {
			t.Fatal("values longer than their page")
		}
		if out, err := appendMapFromJSON(nil, src); err == nil {
			if _, err := appendMapJSON(nil, out); err != nil {
				t.Fatalf("%q becomes a map that is none: %v", src, err)
			}
		}
		_, _ = parseAddr(src)
		_, _ = parseDictionary(src, n, schema.Inet)
		_ = decodePlain(make([]int64, n), src, schema.Integer)
		_ = decodePlain(make([]int64, n), src, schema.Timestamp)
		_, _ = parseIndex(src, 1<<20, 1)
		_, _ = parseIndex(src, 1<<20, formatVersion)
	})
}
