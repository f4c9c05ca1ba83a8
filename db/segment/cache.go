package segment

import (
	"container/list"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/flowlake/flowlake/db/batch"
)

// Cache keeps decoded dictionaries and open files of any number of readers within a budget of bytes, the most recently used ones. A
// dictionary that is kept is the same *batch.Dict at every Read, so users may key tables of their own by it. It is safe
// for concurrent use.
type Cache struct {
	limit   int64
	readers atomic.Uint64

	mu    sync.Mutex // guards all below
	used  int64
	byKey map[cacheKey]*list.Element
	order *list.List // of *cacheEntry, most recently used first
	files openFiles
}

// openFiles are the readers whose files are open, in the order of use.
type openFiles struct {
	maxBytes       int64
	maxFiles       int
	bytes          int64
	n              int
	newest, oldest *Reader
}

// Limits of a Cache.
type Limits struct {
	// DictionaryBytes bounds decoded dictionaries.
	DictionaryBytes int64
	// IndexBytes bounds the indexes of open segments, Files how many of their files are open: past either, those that were
	// used least recently are closed. Segments that are being read stay open whatever the bounds. Defaults: 64 MiB, 512.
	IndexBytes int64
	Files      int
}

type cacheKey struct {
	reader        uint64
	group, column int32
}

type cacheEntry struct {
	key   cacheKey
	value *dictionary
}

// dictionary is a column chunk's dictionary in the form it has in memory.
type dictionary struct {
	text *batch.Dict
	ids  []uint32 // tag-set columns
	ints []int64  // columns of numbers
	cost int64
}

const (
	defaultIndexBytes = 64 << 20
	defaultFiles      = 512
)

// NewCache is a cache of at most that many bytes of dictionaries, and the default limits otherwise.
func NewCache(limitBytes int64) *Cache { return NewCacheOf(Limits{DictionaryBytes: limitBytes}) }

// NewCacheOf is a cache with limits.
func NewCacheOf(l Limits) *Cache {
	if l.IndexBytes <= 0 {
		l.IndexBytes = defaultIndexBytes
	}
	if l.Files <= 0 {
		l.Files = defaultFiles
	}
	return &Cache{limit: l.DictionaryBytes, byKey: make(map[cacheKey]*list.Element), order: list.New(),
		files: openFiles{maxBytes: l.IndexBytes, maxFiles: l.Files}}
}

// Bytes is what the cache holds of dictionaries at the moment.
func (c *Cache) Bytes() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.used
}

func (c *Cache) get(k cacheKey) *dictionary {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.byKey[k]
	if e == nil {
		return nil
	}
	c.order.MoveToFront(e)
	return e.Value.(*cacheEntry).value
}

// put keeps d and returns what is now kept under k: the dictionary of whoever came first.
func (c *Cache) put(k cacheKey, d *dictionary) *dictionary {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.byKey[k]; e != nil {
		return e.Value.(*cacheEntry).value
	}
	if d.cost > c.limit {
		return d
	}
	c.byKey[k] = c.order.PushFront(&cacheEntry{k, d})
	c.used += d.cost
	for c.used > c.limit {
		c.remove(c.order.Back())
	}
	return d
}

func (c *Cache) remove(e *list.Element) {
	entry := c.order.Remove(e).(*cacheEntry)
	delete(c.byKey, entry.key)
	c.used -= entry.value.cost
}

// drop forgets all of a reader's dictionaries.
func (c *Cache) drop(reader uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for e := c.order.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*cacheEntry).key.reader == reader {
			c.remove(e)
		}
		e = next
	}
}

// Open is how many files are open at the moment, and what their indexes take.
func (c *Cache) Open() (files int, indexBytes int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.files.n, c.files.bytes
}

// use is r's open file, pinned; nil when it is closed.
func (c *Cache) use(r *Reader) (*opened, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.closed {
		return nil, fmt.Errorf("read segment %s: %w", r.path, ErrReaderClosed)
	}
	if r.open == nil {
		return nil, nil
	}
	r.pins++
	if c.files.newest != r {
		c.files.remove(r)
		c.files.push(r)
	}
	return r.open, nil
}

// admit makes f r's open file, pinned, and says which files are to be closed for it.
func (c *Cache) admit(r *Reader, f *opened) ([]*opened, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.closed {
		return []*opened{f}, fmt.Errorf("read segment %s: %w", r.path, ErrReaderClosed)
	}
	r.open, r.pins = f, 1
	c.files.push(r)
	return c.files.evict(), nil
}

// release ends a use and says which files are to be closed: some that could not be while they were in use.
func (c *Cache) release(r *Reader) []*opened {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.pins--
	return c.files.evict()
}

// forget closes r for good.
func (c *Cache) forget(r *Reader) []*opened {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.closed = true
	if r.open == nil {
		return nil
	}
	return []*opened{c.files.close(r)}
}

// closeAll closes files that are no longer any reader's. Errors are kept for their readers' Close: whoever needed the room
// has nothing to do with them.
func (c *Cache) closeAll(files []*opened) {
	for _, f := range files {
		if err := f.file.Close(); err != nil {
			c.mu.Lock()
			f.owner.failed = errors.Join(f.owner.failed, fmt.Errorf("close segment %s: %w", f.path, err))
			c.mu.Unlock()
		}
	}
}

func (c *Cache) closeError(r *Reader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return r.failed
}

// push makes r, which is open, the most recently used.
func (l *openFiles) push(r *Reader) {
	r.older, r.younger = l.newest, nil
	if l.newest != nil {
		l.newest.younger = r
	} else {
		l.oldest = r
	}
	l.newest = r
	l.n++
	l.bytes += r.open.bytes
}

// remove takes r out of the order.
func (l *openFiles) remove(r *Reader) {
	if r.younger != nil {
		r.younger.older = r.older
	} else {
		l.newest = r.older
	}
	if r.older != nil {
		r.older.younger = r.younger
	} else {
		l.oldest = r.younger
	}
	r.younger, r.older = nil, nil
	l.n--
	l.bytes -= r.open.bytes
}

// close takes r's open file from it.
func (l *openFiles) close(r *Reader) *opened {
	l.remove(r)
	f := r.open
	r.open = nil
	return f
}

// evict takes files that nobody uses from their readers, the least recently used first, until the limits are kept.
func (l *openFiles) evict() (gone []*opened) {
	for r := l.oldest; r != nil && (l.n > l.maxFiles || l.bytes > l.maxBytes); {
		next := r.younger
		if r.pins == 0 {
			gone = append(gone, l.close(r))
		}
		r = next
	}
	return gone
}
