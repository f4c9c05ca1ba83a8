package tags

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// Limits bound a store. Zero fields take the defaults.
type Limits struct {
	// MaxSets is the number of sets, the empty one included. Default 16 Mi, at most 2^31-1.
	MaxSets int
	// MaxBytes bounds the memory of sets, dictionaries and index, in bytes, without Dense caches. Default 2 GiB, at most 3 GiB.
	MaxBytes int64
	// MaxKeys is the number of distinct keys. Default 65536.
	MaxKeys int
	// MaxValues is the number of distinct values of one key. Default: half of MaxSets, so that no key takes the room of all
	// others, but at least 65536.
	MaxValues int
	// DenseBytes bounds the memory kept for Dense maps, in bytes; past it they are made anew for each call. Default 256 MiB.
	DenseBytes int64
	// RecentBytes bounds the hashes kept of sets that were looked up lately, in bytes, so that they are found without their
	// tags being looked up: 32 a set. Default 32 MiB.
	RecentBytes int64
	// NowNanos is the clock for rates of growth, Unix nanoseconds; nothing else depends on it. Default: none, and no rates.
	NowNanos func() int64
}

func (l *Limits) ensureDefaults() {
	if l.MaxSets <= 0 {
		l.MaxSets = 16 << 20
	}
	if l.MaxBytes <= 0 {
		l.MaxBytes = 2 << 30
	}
	if l.MaxKeys <= 0 {
		l.MaxKeys = 1 << 16
	}
	if l.MaxValues <= 0 {
		l.MaxValues = max(l.MaxSets/2, 1<<16)
	}
	if l.DenseBytes <= 0 {
		l.DenseBytes = 256 << 20
	}
	if l.RecentBytes <= 0 {
		l.RecentBytes = 32 << 20
	}
	l.MaxSets = min(l.MaxSets, math.MaxInt32)
	l.MaxBytes = min(l.MaxBytes, maxStoreBytes)
}

// maxStoreBytes keeps addresses in a dictionary to 32 bits.
const maxStoreBytes = 3 << 30

// Stats are counters of a store since it was made.
type Stats struct {
	Sets   int   // in the store, the empty one included
	Keys   int   // distinct
	Bytes  int64 // of sets, dictionaries and index, as Limits.MaxBytes counts them
	Dense  int64 // bytes of cached Dense maps
	Recent int64 // bytes of cached hashes
	Misses int64 // sets that Intern added

	// Refused by cause.
	RefusedSets, RefusedBytes, RefusedKeys, RefusedValues, RefusedInvalid int64
}

// Store holds distinct tag sets and an index over them. Intern and Load take turns; Lookup, Len, View and everything on a
// View may run at any time in any goroutine and wait for nobody.
//
// A set is kept as a code per key, in the columns that filters read, and the number of its shape, which is its list of keys;
// its encoding is made again when it is asked for. The store only grows. Every structure is an array to which the writer
// appends and then publishes by an atomic counter or pointer; a reader that looks no further than what was published when
// it began never meets the writer.
type Store struct {
	limits Limits

	n        atomic.Uint32            // sets published; ids below it are readable
	table    atomic.Pointer[idTable]  // by hash of a set's codes; replaced when it grows
	names    values                   // of the keys: the key of code c is list[c-1]
	list     atomic.Pointer[[]*key]   // in order of arrival; appended to in place
	shapes   atomic.Pointer[[]*shape] // appended to in place
	shapeCol column                   // the shape of each set, plus one
	hint     atomic.Uint32            // shape of a set that was looked up: the next one often has the same
	recent   recent
	marks    marks

	dense atomic.Int64 // bytes of cached Dense maps
	bytes atomic.Int64

	misses, refusedSets, refusedBytes, refusedKeys, refusedValues, refusedInvalid atomic.Int64

	mu      sync.Mutex        // held by Intern and Load while they add
	byKeys  map[string]uint32 // guarded by mu; shape by its keys' numbers
	last    uint32            // guarded by mu; shape of the set added last: the next one often has the same
	pairs   []pair            // guarded by mu; of the set being added
	sum     uint64            // guarded by mu; hash of pairs, of those that have a code
	coded   []coded           // guarded by mu; scratch
	keyText []byte            // guarded by mu; scratch
	fresh   []int32           // guarded by mu; scratch of Admits
}

// New makes a store that holds the empty set, id 0.
func New(limits Limits) *Store {
	limits.ensureDefaults()
	s := &Store{limits: limits, byKeys: map[string]uint32{}}
	s.table.Store(newIDTable(64))
	s.names.init()
	s.list.Store(&[]*key{})
	s.shapes.Store(&[]*shape{{}})
	s.byKeys[""] = 0
	s.shapeCol.init()
	s.recent.init(limits.RecentBytes)
	s.n.Store(1)
	return s
}

// Len is the number of sets, the empty one included: the next id.
func (s *Store) Len() int { return int(s.n.Load()) }

// Stats returns the store's counters.
func (s *Store) Stats() Stats {
	return Stats{
		Sets: s.Len(), Keys: len(*s.list.Load()), Bytes: s.bytes.Load(), Dense: s.dense.Load(), Recent: s.recent.bytes(),
		Misses: s.misses.Load(), RefusedSets: s.refusedSets.Load(), RefusedBytes: s.refusedBytes.Load(),
		RefusedKeys: s.refusedKeys.Load(), RefusedValues: s.refusedValues.Load(), RefusedInvalid: s.refusedInvalid.Load(),
	}
}

// Lookup returns the id of a set that is in the store. enc need not be valid.
func (s *Store) Lookup(enc []byte) (id uint32, ok bool) {
	if len(enc) == 0 {
		return 0, true
	}
	hash := s.recent.hash(enc)
	if id, ok = s.recent.get(hash); ok {
		return id, true
	}
	if id, ok = s.search(enc); ok {
		s.recent.put(hash, id)
	}
	return id, ok
}

// Intern returns the id of a set, which is added when it is new. enc is copied. It fails with what Valid says of enc, or
// with a LimitError when a limit of the store is reached; both leave the store as it was and are counted by cause.
func (s *Store) Intern(enc []byte) (id uint32, created bool, err error) {
	if len(enc) == 0 {
		return 0, false, nil
	}
	hash := s.recent.hash(enc)
	if id, ok := s.recent.get(hash); ok {
		return id, false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	known, err := s.resolve(enc)
	if err != nil {
		s.refusedInvalid.Add(1)
		return 0, false, err
	}
	if known {
		if id, ok := s.findPairs(); ok {
			s.recent.put(hash, id)
			return id, false, nil
		}
	}
	if err := s.admit(); err != nil {
		return 0, false, err
	}
	s.misses.Add(1)
	id = s.add()
	s.recent.put(hash, id)
	return id, true, nil
}

// Load adds the set that had the given id when it was stored, during recovery. Ids come in order; limits are not applied,
// except that all sets take at most 3 GiB. enc is copied. A Loader is faster.
func (s *Store) Load(id uint32, enc []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.n.Load(); id != n {
		return fmt.Errorf("%w: %d where %d is next", ErrOrder, id, n)
	}
	if len(enc) == 0 {
		return fmt.Errorf("%w: id %d is empty", ErrDuplicate, id)
	}
	known, err := s.resolve(enc)
	if err != nil {
		return err
	}
	if known {
		if was, ok := s.findPairs(); ok {
			return fmt.Errorf("%w: id %d is %d", ErrDuplicate, id, was)
		}
	}
	if s.bytes.Load() > maxStoreBytes {
		return fmt.Errorf("load: %w: more than 3 GiB", ErrTooManySets)
	}
	s.add()
	return nil
}

// add appends the set of s.pairs, which is not in the store and whose hash s.sum is; mu is held. Readers see it when n moves, and find it when its
// slot is written, in this order.
func (s *Store) add() uint32 {
	id := s.n.Load()
	if s.limits.NowNanos != nil {
		s.marks.add(s.limits.NowNanos(), id)
	}
	size := int64(setBytes)
	for i := range s.pairs {
		p := &s.pairs[i]
		if p.key == nil {
			p.key = s.key(p.name, id)
			size += int64(len(p.name)) + keyBytes
		}
		if p.code == 0 {
			p.code = p.key.values.insert(p.value, p.hash, id)
			size += valueSize(len(p.value))
			s.sum += mix(p.key.no, p.code)
		}
		size += p.key.col.append(id, p.code)
	}
	no, more := s.shape()
	size += more + s.shapeCol.append(id, no+1)
	s.bytes.Add(size)
	s.n.Store(id + 1)
	if t := s.table.Load(); t.full(id) {
		s.table.Store(t.grow())
	}
	s.table.Load().insert(fold(s.sum), id)
	s.recent.fit(int(id))
	return id
}

func (s *Store) now() int64 {
	if s.limits.NowNanos == nil {
		return 0
	}
	return s.limits.NowNanos()
}

// What a set, a key and a value take beside their codes and text, in bytes: slots of hash tables, offsets, slack of growth.
const (
	setBytes   = 16
	keyBytes   = 500
	valueBytes = 20
)

// valueSize is what a value takes: arrays of text have a fifth of room to grow on average.
func valueSize(length int) int64 { return int64(length+length/4) + valueBytes }

// key returns the index of a key, which is made when it is new; mu is held.
func (s *Store) key(name []byte, first uint32) *key {
	code, created := s.names.intern(name, first)
	list := *s.list.Load()
	if !created {
		return list[code-1] // a set may be refused after its key was made
	}
	st := s.names.state.Load()
	k := &key{name: text(st.get(code)), no: code - 1, first: first}
	k.values.init()
	k.col.init()
	list = append(list, k) // readers of the old header do not look at the new element
	s.list.Store(&list)
	return k
}

// idTable finds ids by hash: open addressing over hash<<32 | id, 0 is free.
type idTable struct {
	slots []atomic.Uint64
	mask  uint32
}

func newIDTable(size int) *idTable {
	return &idTable{slots: make([]atomic.Uint64, size), mask: uint32(size - 1)}
}

// full says whether the table should grow before the set with this id is inserted.
func (t *idTable) full(id uint32) bool { return uint64(id) >= uint64(len(t.slots))*3/4 }

func (t *idTable) insert(hash, id uint32) {
	for i := hash; ; i++ {
		if slot := &t.slots[i&t.mask]; slot.Load() == 0 {
			slot.Store(uint64(hash)<<32 | uint64(id))
			return
		}
	}
}

func (t *idTable) grow() *idTable {
	g := newIDTable(2 * len(t.slots))
	for i := range t.slots {
		if slot := t.slots[i].Load(); slot != 0 {
			g.insert(uint32(slot>>32), uint32(slot))
		}
	}
	return g
}
