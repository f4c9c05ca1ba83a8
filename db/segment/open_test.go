package segment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/vfs"
)

// countingFS counts the files that are open for reading, and fails to open or to close them when told to.
type countingFS struct {
	vfs.FS
	open, most, opens atomic.Int64
	failOpen          atomic.Bool
	failClose         atomic.Bool
}

type countedFile struct {
	vfs.File
	fs *countingFS
}

var errTest = errors.New("told to fail")

func (c *countingFS) Open(name string) (vfs.File, error) {
	if c.failOpen.Load() {
		return nil, errTest
	}
	f, err := c.FS.Open(name)
	if err != nil {
		return nil, err
	}
	c.opens.Add(1)
	n := c.open.Add(1)
	for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
	}
	return &countedFile{f, c}, nil
}

func (f *countedFile) Close() error {
	f.fs.open.Add(-1)
	err := f.File.Close()
	if f.fs.failClose.Load() {
		return errTest
	}
	return err
}

// manyFiles are n segments of a few rows, opened with one cache, and the rows of each.
func manyFiles(t *testing.T, n int, l Limits) (*countingFS, *Cache, []*Reader, [][]string) {
	t.Helper()
	fs := &countingFS{FS: vfs.NewMem()}
	table := everyType(t)
	cache := NewCacheOf(l)
	readers, rows := make([]*Reader, n), make([][]string, n)
	for i := range n {
		name := fmt.Sprintf("seg%d", i)
		b := randomBatch(rand.New(rand.NewPCG(uint64(i), 1)), table, 200)
		writeAll(t, fs, name, b, Order(b), Options{})
		r, err := Open(fs, name, table, func(o *OpenOptions) { o.Cache = cache })
		if err != nil {
			t.Fatal(err)
		}
		readers[i] = r
		t.Cleanup(func() { r.Close() })
		rows[i] = readRows(t, r, everything(table))
	}
	return fs, cache, readers, rows
}

// TestOpenFilesBounded reads many segments from several goroutines: no more files are open than the limit says and are in use.
func TestOpenFilesBounded(t *testing.T) {
	const limit, workers = 4, 5
	fs, cache, readers, want := manyFiles(t, 24, Limits{DictionaryBytes: 1 << 20, Files: limit})
	table := readers[0].Table()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(7, uint64(w)))
			for range 60 {
				i := rng.IntN(len(readers))
				var got []string
				var s Scratch
				var dst batch.Batch
				for _, u := range readers[i].Units(everything(table)) {
					if err := readers[i].Read(context.Background(), u, everything(table), &s, &dst); err != nil {
						t.Error(err)
						return
					}
					got = append(got, rowsOf(&dst, allColumns(table), nil, true)...)
				}
				if len(got) != len(want[i]) || got[0] != want[i][0] || got[len(got)-1] != want[i][len(got)-1] {
					t.Errorf("segment %d reads otherwise after it was closed", i)
				}
			}
		}()
	}
	wg.Wait()
	// a goroutine that opens a file closes those it takes the place of after it: twice as many at worst
	if most := fs.most.Load(); most > limit+2*workers {
		t.Errorf("%d files were open at a time, the limit is %d for %d at work", most, limit, workers)
	}
	if files, _ := cache.Open(); files > limit || fs.open.Load() != int64(files) {
		t.Errorf("%d files are open, the cache says %d, the limit is %d", fs.open.Load(), files, limit)
	}
	if fs.opens.Load() <= int64(len(readers)) {
		t.Error("no file was opened again")
	}
	for _, r := range readers {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	if files, bytes := cache.Open(); files != 0 || bytes != 0 || fs.open.Load() != 0 {
		t.Errorf("after closing all, %d files of %d bytes are open", files, bytes)
	}
}

// TestIndexBytesBounded lets go of indexes past the limit of bytes, the least recently used first.
func TestIndexBytesBounded(t *testing.T) {
	_, cache, _, _ := manyFiles(t, 1, Limits{})
	_, one := cache.Open()
	if one < 1000 {
		t.Fatalf("an index of %d bytes", one)
	}
	fs, cache, readers, _ := manyFiles(t, 10, Limits{IndexBytes: 3*one + one/2})
	files, bytes := cache.Open()
	if bytes > 3*one+one/2 || files < 2 || files > 4 || int64(files) != fs.open.Load() {
		t.Errorf("%d indexes of %d bytes are held, one has %d", files, bytes, one)
	}
	opens := fs.opens.Load()
	readRows(t, readers[9], everything(readers[9].Table()))
	if fs.opens.Load() != opens {
		t.Error("the segment that was used last was opened again")
	}
	readRows(t, readers[0], everything(readers[0].Table()))
	if fs.opens.Load() != opens+1 {
		t.Errorf("the segment that was used first was opened %d times, not once", fs.opens.Load()-opens)
	}
}

// TestReopenFails: what cannot be opened again fails the read, is not left out, and works when it can be opened again.
func TestReopenFails(t *testing.T) {
	fs, _, readers, want := manyFiles(t, 3, Limits{Files: 1})
	r, table := readers[0], readers[0].Table()
	fs.failOpen.Store(true)
	var s Scratch
	var dst batch.Batch
	units := r.Units(everything(table))
	if len(units) != 1 || r.UnitBytes(units[0]) != 0 {
		t.Fatalf("%d units of a file that cannot be opened", len(units))
	}
	if err := r.Read(context.Background(), units[0], everything(table), &s, &dst); !errors.Is(err, errTest) {
		t.Errorf("read: %v", err)
	}
	if err := r.Hold(); !errors.Is(err, errTest) {
		t.Errorf("hold: %v", err)
	}
	if err := r.Verify(context.Background()); !errors.Is(err, errTest) {
		t.Errorf("verify: %v", err)
	}
	fs.failOpen.Store(false)
	if err := r.Read(context.Background(), units[0], everything(table), &s, &dst); err == nil {
		t.Error("a unit that stands for a whole segment was read")
	}
	sameRows(t, readRows(t, r, everything(table)), want[0])
}

// TestCloseFails: who needs the room of a file does not get the error of closing it, who closes its reader does.
func TestCloseFails(t *testing.T) {
	fs, _, readers, want := manyFiles(t, 2, Limits{Files: 1})
	fs.failClose.Store(true)
	sameRows(t, readRows(t, readers[0], everything(readers[0].Table())), want[0]) // closes the other's file
	fs.failClose.Store(false)
	if err := readers[1].Close(); !errors.Is(err, errTest) {
		t.Errorf("close: %v", err)
	}
	if err := readers[0].Close(); err != nil {
		t.Errorf("close of the other: %v", err)
	}
	var s Scratch
	var dst batch.Batch
	err := readers[0].Read(context.Background(), Unit{}, everything(readers[0].Table()), &s, &dst)
	if !errors.Is(err, ErrReaderClosed) {
		t.Errorf("read of a closed reader: %v", err)
	}
}

// TestHold keeps a segment open past the limit.
func TestHold(t *testing.T) {
	fs, cache, readers, _ := manyFiles(t, 4, Limits{Files: 1})
	if err := readers[0].Hold(); err != nil {
		t.Fatal(err)
	}
	opens := fs.opens.Load()
	for _, r := range readers[1:] {
		if err := r.Verify(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, ok := readers[0].Uniform(Unit{}, 0); ok && readers[0].Info().MinTime != readers[0].Info().MaxTime {
		t.Error("different times are the same")
	}
	readRows(t, readers[0], everything(readers[0].Table()))
	if got := fs.opens.Load() - opens; got != 3 {
		t.Errorf("%d files were opened, not 3", got)
	}
	readers[0].Let()
	if files, _ := cache.Open(); files != 1 {
		t.Errorf("%d files are open", files)
	}
}
