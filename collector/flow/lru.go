package flow

// lru is a map of bounded size that forgets what was not used for longest.
type lru[K comparable, V any] struct {
	index   map[K]int32
	entries []lruEntry[K, V] // entry 0 is the ring's anchor: its next is the newest, its prev the oldest
	free    int32
	max     int
	evicted uint64
}

type lruEntry[K comparable, V any] struct {
	key        K
	val        V
	prev, next int32
}

func newLRU[K comparable, V any](size int) *lru[K, V] {
	return &lru[K, V]{index: make(map[K]int32), entries: make([]lruEntry[K, V], 1), max: size}
}

func (c *lru[K, V]) unlink(i int32) {
	e := &c.entries[i]
	c.entries[e.prev].next, c.entries[e.next].prev = e.next, e.prev
}

func (c *lru[K, V]) linkFirst(i int32) {
	e, anchor := &c.entries[i], &c.entries[0]
	e.prev, e.next = 0, anchor.next
	c.entries[anchor.next].prev = i
	anchor.next = i
}

// get returns the value of k and makes it the newest.
func (c *lru[K, V]) get(k K) (v V, ok bool) {
	i, ok := c.index[k]
	if !ok {
		return v, false
	}
	c.unlink(i)
	c.linkFirst(i)
	return c.entries[i].val, true
}

// put sets the value of k and makes it the newest.
func (c *lru[K, V]) put(k K, v V) {
	i, ok := c.index[k]
	switch {
	case ok:
		c.unlink(i)
	case len(c.index) >= c.max:
		i = c.entries[0].prev
		c.unlink(i)
		delete(c.index, c.entries[i].key)
		c.index[k] = i
		c.evicted++
	case c.free != 0:
		i = c.free
		c.free = c.entries[i].next
		c.index[k] = i
	default:
		i = int32(len(c.entries))
		c.entries = append(c.entries, lruEntry[K, V]{})
		c.index[k] = i
	}
	c.entries[i].key, c.entries[i].val = k, v
	c.linkFirst(i)
}

// drop forgets k.
func (c *lru[K, V]) drop(k K) {
	if i, ok := c.index[k]; ok {
		c.unlink(i)
		delete(c.index, k)
		c.entries[i].next = c.free
		c.free = i
	}
}

func (c *lru[K, V]) len() int { return len(c.index) }
