package segment

import (
	"container/list"
	"sync"
	"sync/atomic"

	"github.com/flowlake/flowlake/db/batch"
)

// Cache keeps decoded dictionaries of any number of readers within a budget of bytes, the most recently used ones. A
// dictionary that is kept is the same *batch.Dict at every Read, so users may key tables of their own by it. It is safe
// for concurrent use.
type Cache struct {
	limit   int64
	readers atomic.Uint64

	mu    sync.Mutex // guards all below
	used  int64
	byKey map[cacheKey]*list.Element
	order *list.List // of *cacheEntry, most recently used first
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
	cost int64
}

// NewCache is a cache of at most that many bytes.
func NewCache(limitBytes int64) *Cache {
	return &Cache{limit: limitBytes, byKey: make(map[cacheKey]*list.Element), order: list.New()}
}

// Bytes is what the cache holds at the moment.
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
