package db

import (
	"context"
	"errors"
	"path"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/vfs"
)

// sealHeads makes so many heads of 50 rows each that wait to be flushed together: nobody flushes while commitMu is held.
func sealHeads(t *testing.T, d *DB, n int) (rows int) {
	t.Helper()
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	for range n {
		mustWrite(t, d, rowsOf(rows, 50))
		d.seal()
		rows += 50
	}
	return rows
}

func segmentFile(c vfs.Call) bool {
	return c.Kind == vfs.OpCreate && path.Ext(c.Path) == ".parquet"
}

// largeHeads are only sealed by hand.
func largeHeads(o *Options) { o.HeadBytes, o.MemoryBytes, o.NoCompaction = 1<<20, 4<<20, true }

func TestHeadsAreFlushedSideBySide(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(maxFlushers))
	var begun atomic.Int64
	both := make(chan struct{})
	late := time.AfterFunc(time.Minute, func() { close(both) })
	fsys := vfs.NewInjecting(vfs.NewMem(), vfs.InjectorFunc(func(c vfs.Call) vfs.Fault {
		if segmentFile(c) && (strings.HasPrefix(path.Base(c.Path), "1-1-") || strings.HasPrefix(path.Base(c.Path), "2-2-")) {
			if begun.Add(1) == 2 && late.Stop() {
				close(both)
			}
			<-both // neither goes on before the other has begun
		}
		return vfs.Fault{}
	}))
	d := mustOpen(t, fsys, largeHeads)
	rows := sealHeads(t, d, 5)
	mustFlush(t, d)
	if begun.Load() != 2 {
		t.Errorf("%d segments were begun together, want 2", begun.Load())
	}
	m := d.Metrics()
	if m.Flushes != 5 || m.FlushedRows != int64(rows) || m.Segments != 5 {
		t.Errorf("%d flushes of %d rows into %d segments", m.Flushes, m.FlushedRows, m.Segments)
	}
	equalIDs(t, "flushed", allIDs(t, d), upTo(rows))
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = mustOpen(t, fsys, largeHeads)
	defer d.Close()
	equalIDs(t, "opened again", allIDs(t, d), upTo(rows))
}

// When an older head cannot be stored, a younger one that could is not either; when a younger one cannot, the older one is.
func TestFlushSideBySideFails(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(maxFlushers))
	for _, c := range []struct {
		name, record string
		stored       int
	}{{"the older", "1-1-", 0}, {"the younger", "2-2-", 1}} {
		t.Run(c.name, func(t *testing.T) {
			broken := errors.New("broken")
			var on atomic.Bool
			on.Store(true)
			fsys := vfs.NewInjecting(vfs.NewMem(), vfs.InjectorFunc(func(call vfs.Call) vfs.Fault {
				if on.Load() && segmentFile(call) && strings.HasPrefix(path.Base(call.Path), c.record) {
					return vfs.Fault{Err: broken}
				}
				return vfs.Fault{}
			}))
			d := mustOpen(t, fsys, largeHeads)
			defer d.Close()
			rows := sealHeads(t, d, 2)
			if err := d.Flush(context.Background()); !errors.Is(err, broken) {
				t.Fatalf("flush: %v", err)
			}
			if n := d.Metrics().Segments; n != int64(c.stored) {
				t.Errorf("%d segments, want %d", n, c.stored)
			}
			equalIDs(t, "after the failure", allIDs(t, d), upTo(rows))
			on.Store(false)
			mustFlush(t, d)
			equalIDs(t, "flushed again", allIDs(t, d), upTo(rows))
			if n := d.Metrics().Segments; n != 2 {
				t.Errorf("%d segments, want 2", n)
			}
		})
	}
}
