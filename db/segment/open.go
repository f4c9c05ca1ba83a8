package segment

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// Reader reads one segment. It is safe for concurrent use; each goroutine brings a Scratch of its own. The open file and its
// index, about 70 bytes a page and column, belong to the cache: they are let go of when others need the room, and opened
// again when the segment is read next.
type Reader struct {
	fs    vfs.FS
	path  string
	table *schema.Table
	cache *Cache
	id    uint64 // in the cache
	info  Info

	opening sync.Mutex // held while the file is opened: one goroutine does it for all
	// Guarded by cache.mu:
	open    *opened // nil while the file is closed
	pins    int     // who uses open at the moment
	closed  bool
	failed  error   // of closing the file
	younger *Reader // neighbours in the cache's order of use
	older   *Reader
}

// ErrReaderClosed is returned by methods of a Reader that was closed.
var ErrReaderClosed = errors.New("segment reader is closed")

// Open opens a segment of the table. Columns that the file does not have read as their default, columns that the table
// does not have are ignored. Errors: *CorruptionError, ErrNewerFormat, ErrColumnType.
func Open(fs vfs.FS, path string, t *schema.Table, opts ...func(*OpenOptions)) (*Reader, error) {
	var o OpenOptions
	for _, f := range opts {
		f(&o)
	}
	if o.Cache == nil {
		o.Cache = NewCache(32 << 20)
	}
	r := &Reader{fs: fs, path: path, table: t, cache: o.Cache, id: o.Cache.readers.Add(1)}
	f, err := r.pin()
	if err != nil {
		return nil, err
	}
	defer r.unpin()
	r.info = f.index.info
	return r, nil
}

// openFile opens the file and reads its index.
func (r *Reader) openFile() (f *opened, err error) {
	defer guard(r.path, 0, &err)
	file, err := r.fs.Open(r.path)
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	f = &opened{path: r.path, file: file, table: r.table, cache: r.cache, id: r.id, owner: r}
	done := false
	defer func() {
		if !done { // also when foreign bytes make the parser panic
			err = errors.Join(err, file.Close())
		}
	}()
	if err = f.load(); err == nil {
		err = f.bind()
	}
	if err != nil {
		return nil, err
	}
	f.bytes = f.index.memory() + int64(len(f.columns))*8
	done = true
	return f, nil
}

// pin is the open file, which stays open until unpin.
func (r *Reader) pin() (*opened, error) {
	if f, err := r.cache.use(r); f != nil || err != nil {
		return f, err
	}
	r.opening.Lock()
	defer r.opening.Unlock()
	if f, err := r.cache.use(r); f != nil || err != nil { // somebody else has opened it
		return f, err
	}
	f, err := r.openFile()
	if err != nil {
		return nil, err
	}
	gone, err := r.cache.admit(r, f)
	r.cache.closeAll(gone)
	return f, err
}

// unpin ends a use of the open file.
func (r *Reader) unpin() { r.cache.closeAll(r.cache.release(r)) }

// held is the open file of somebody who has pinned it.
func (r *Reader) held() *opened {
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	return r.open
}

// Info describes the segment.
func (r *Reader) Info() Info { return r.info }

// Table is the table the reader was opened for.
func (r *Reader) Table() *schema.Table { return r.table }

// Close closes the file. No Read may be running or follow. It also tells of errors of closing it earlier.
func (r *Reader) Close() error {
	r.cache.drop(r.id)
	r.cache.closeAll(r.cache.forget(r))
	return r.cache.closeError(r)
}

// unreadable is the row group of the unit of a segment whose index cannot be read.
const unreadable = -1

// Units lists the pages of rows that can hold rows of req, in file order, leaving out what time range, page bounds,
// Bloom filters and dictionaries rule out; it counts into req.Stats. What cannot be read here is left in, so that Read
// reports the error.
func (r *Reader) Units(req *pred.Request) []Unit {
	f, err := r.pin()
	if err != nil {
		return []Unit{{RowGroup: unreadable, Rows: 1}} // no unit is without rows
	}
	defer r.unpin()
	return f.units(req)
}

// Read fills dst with the rows of u that satisfy req, in the form that pred.Scan promises: dst.Cols is parallel to
// req.Columns and never nil, tag-set columns hold ids. Columns of the terms are decoded first and evaluated on codes; of
// the others only the rows that are left are taken. Vectors may use memory of s and of the reader's cache: they are valid
// until the next Read with s or into dst. Dictionaries are never overwritten while anybody holds them.
func (r *Reader) Read(ctx context.Context, u Unit, req *pred.Request, s *Scratch, dst *batch.Batch) error {
	f, err := r.pin()
	if err != nil {
		return err
	}
	defer r.unpin()
	if u.RowGroup == unreadable { // and yet it could be opened now
		return fmt.Errorf("read segment %s: its index could not be read before", r.path)
	}
	return f.read(ctx, u, req, s, dst)
}

// UnitBytes is about what all columns of a unit take in memory when they are decoded, dictionaries included: the typed
// slices, and the text as it is stored uncompressed. It is 0 where the segment cannot be read, which Read then reports.
func (r *Reader) UnitBytes(u Unit) int64 {
	f, err := r.pin()
	if err != nil {
		return 0
	}
	defer r.unpin()
	if u.RowGroup == unreadable {
		return 0
	}
	return f.unitBytes(u)
}

// Verify reads the whole file and checks everything in it: each page's header and data against their checksums, that
// every value decodes, and the Bloom filters. The index block and the footer are checked whenever the file is opened.
func (r *Reader) Verify(ctx context.Context) error {
	f, err := r.pin()
	if err != nil {
		return err
	}
	defer r.unpin()
	return f.verify(ctx)
}
