package tags

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/cespare/xxhash/v2"
)

// Limits bound a store. Zero fields take the defaults.
type Limits struct {
	// MaxSets is the number of sets, the empty one included. Default 16 Mi, at most 2^31-1.
	MaxSets int
	// MaxBytes bounds the memory of sets and index, in bytes, without hash tables and Dense caches. Default 2 GiB, at most 3 GiB.
	MaxBytes int64
	// MaxKeys is the number of distinct keys. Default 65536.
	MaxKeys int
	// DenseBytes bounds the memory kept for Dense maps, in bytes; past it they are made anew for each call. Default 256 MiB.
	DenseBytes int64
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
	if l.DenseBytes <= 0 {
		l.DenseBytes = 256 << 20
	}
	l.MaxSets = min(l.MaxSets, math.MaxInt32)
	l.MaxBytes = min(l.MaxBytes, 3<<30) // addresses in an arena are 32 bits
}

// Stats are counters of a store since it was made.
type Stats struct {
	Sets   int   // in the store, the empty one included
	Keys   int   // distinct
	Bytes  int64 // of sets and index, as Limits.MaxBytes counts them
	Dense  int64 // bytes of cached Dense maps
	Misses int64 // sets that Intern added

	// Refused by cause.
	RefusedSets, RefusedBytes, RefusedKeys, RefusedInvalid int64
}

// Store holds distinct tag sets and an index over them. Intern and Load take turns; Lookup, Len, View and everything on a
// View may run at any time in any goroutine and wait for nobody.
//
// It only grows. Every structure is an array to which the writer appends and then publishes by an atomic counter or
// pointer; a reader that looks no further than what was published when it began never meets the writer.
type Store struct {
	limits Limits

	n     atomic.Uint32            // sets published; ids below it are readable
	sets  atomic.Pointer[setArena] // replaced when it grows
	table atomic.Pointer[idTable]  // replaced when it grows
	keys  sync.Map                 // string -> *key
	list  atomic.Pointer[[]*key]   // in order of arrival; appended to in place

	dense atomic.Int64 // bytes of cached Dense maps
	bytes atomic.Int64

	misses, refusedSets, refusedBytes, refusedKeys, refusedInvalid atomic.Int64

	mu     sync.Mutex      // held by Intern and Load while they add
	byName map[string]*key // guarded by mu; keys once more, for look-ups without allocation
	last   []*key          // guarded by mu; keys of the set added last: the next one often has the same
	at     []*key          // guarded by mu; keys of the set being added, nil where new
}

// New makes a store that holds the empty set, id 0.
func New(limits Limits) *Store {
	limits.ensureDefaults()
	s := &Store{limits: limits, byName: map[string]*key{}}
	s.sets.Store(&setArena{})
	s.table.Store(newIDTable(64))
	s.list.Store(&[]*key{})
	s.sets.Store(s.sets.Load().put(0, nil))
	s.n.Store(1)
	return s
}

// Len is the number of sets, the empty one included: the next id.
func (s *Store) Len() int { return int(s.n.Load()) }

// Stats returns the store's counters.
func (s *Store) Stats() Stats {
	return Stats{
		Sets: s.Len(), Keys: len(*s.list.Load()), Bytes: s.bytes.Load(), Dense: s.dense.Load(), Misses: s.misses.Load(),
		RefusedSets: s.refusedSets.Load(), RefusedBytes: s.refusedBytes.Load(),
		RefusedKeys: s.refusedKeys.Load(), RefusedInvalid: s.refusedInvalid.Load(),
	}
}

// Lookup returns the id of a set that is in the store.
func (s *Store) Lookup(enc []byte) (id uint32, ok bool) {
	if len(enc) == 0 {
		return 0, true
	}
	return s.lookup(enc, uint32(xxhash.Sum64(enc)))
}

func (s *Store) lookup(enc []byte, hash uint32) (id uint32, ok bool) {
	t := s.table.Load()
	for i := hash; ; i++ {
		slot := t.slots[i&t.mask].Load()
		if slot == 0 {
			return 0, false
		}
		// The arena is loaded after the slot, so it holds the slot's set.
		if uint32(slot>>32) == hash && bytes.Equal(s.sets.Load().get(uint32(slot)), enc) {
			return uint32(slot), true
		}
	}
}

// Intern returns the id of a set, which is added when it is new. enc is copied. It fails with what Valid says of enc, or
// with ErrTooManySets when a limit of the store is reached; both leave the store as it was and are counted by cause.
func (s *Store) Intern(enc []byte) (id uint32, created bool, err error) {
	if len(enc) == 0 {
		return 0, false, nil
	}
	hash := uint32(xxhash.Sum64(enc))
	if id, ok := s.lookup(enc, hash); ok {
		return id, false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if id, ok := s.lookup(enc, hash); ok {
		return id, false, nil
	}
	if err := Valid(enc); err != nil {
		s.refusedInvalid.Add(1)
		return 0, false, err
	}
	if err := s.admit(enc); err != nil {
		return 0, false, err
	}
	s.misses.Add(1)
	return s.add(enc, hash), true, nil
}

// Load adds the set that had the given id when it was stored, during recovery. Ids come in order; limits are not applied,
// except that an arena is addressed by 32 bits. enc is copied.
func (s *Store) Load(id uint32, enc []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.load(id, enc)
}

func (s *Store) load(id uint32, enc []byte) error {
	if n := s.n.Load(); id != n {
		return fmt.Errorf("%w: %d where %d is next", ErrOrder, id, n)
	}
	if len(enc) == 0 {
		return fmt.Errorf("%w: id %d is empty", ErrDuplicate, id)
	}
	if err := Valid(enc); err != nil {
		return err
	}
	hash := uint32(xxhash.Sum64(enc))
	if was, ok := s.lookup(enc, hash); ok {
		return fmt.Errorf("%w: id %d is %d", ErrDuplicate, id, was)
	}
	if s.bytes.Load() > 3<<30 {
		return fmt.Errorf("load: %w: more than 3 GiB", ErrTooManySets)
	}
	s.resolve(enc)
	s.add(enc, hash)
	return nil
}

// Admits says whether the sets that are not in the store yet fit into three quarters of its limits: a check to make before
// they are promised to somebody. The last quarter is for those who were told so at the same time. It fails with what Valid
// says of a set, or with ErrTooManySets; nothing is added or counted.
func (s *Store) Admits(sets [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n, size := int64(s.n.Load()), s.bytes.Load()
	fresh := map[string]bool{}
	for _, enc := range sets {
		if _, ok := s.Lookup(enc); ok {
			continue
		}
		if err := Valid(enc); err != nil {
			return err
		}
		n++
		size += 2 * int64(len(enc))
		for rest := enc; len(rest) > 0; {
			var name []byte
			name, _, rest, _ = next(rest)
			if s.byName[string(name)] == nil {
				fresh[string(name)] = true
			}
		}
	}
	l := &s.limits
	switch {
	case n > int64(l.MaxSets)/4*3+3:
		return fmt.Errorf("%w: %d, the limit is %d", ErrTooManySets, n, l.MaxSets/4*3)
	case size > l.MaxBytes/4*3:
		return fmt.Errorf("%w: %d bytes of them, the limit is %d", ErrTooManySets, size, l.MaxBytes/4*3)
	case len(fresh) > 0 && len(s.byName)+len(fresh) > l.MaxKeys/4*3:
		return fmt.Errorf("%w: %d distinct keys, the limit is %d", ErrTooManySets, len(s.byName)+len(fresh), l.MaxKeys/4*3)
	}
	return nil
}

// admit checks the limits for one more set; mu is held.
func (s *Store) admit(enc []byte) error {
	if int(s.n.Load()) >= s.limits.MaxSets {
		s.refusedSets.Add(1)
		return fmt.Errorf("%w: the limit is %d", ErrTooManySets, s.limits.MaxSets)
	}
	if s.bytes.Load()+2*int64(len(enc)) > s.limits.MaxBytes {
		s.refusedBytes.Add(1)
		return fmt.Errorf("%w: the limit is %d bytes", ErrTooManySets, s.limits.MaxBytes)
	}
	fresh := s.resolve(enc)
	if fresh > 0 && len(s.byName)+fresh > s.limits.MaxKeys {
		s.refusedKeys.Add(1)
		return fmt.Errorf("%w: the limit is %d distinct keys", ErrTooManySets, s.limits.MaxKeys)
	}
	return nil
}

// resolve puts the keys of a valid set into s.at and returns how many are new; mu is held.
func (s *Store) resolve(enc []byte) (fresh int) {
	s.at = s.at[:0]
	for i := 0; len(enc) > 0; i++ {
		var name []byte
		name, _, enc, _ = next(enc)
		if i < len(s.last) && s.last[i].name == string(name) {
			s.at = append(s.at, s.last[i])
			continue
		}
		k := s.byName[string(name)]
		if k == nil {
			fresh++
		}
		s.at = append(s.at, k)
	}
	return fresh
}

// add appends a valid set that is not in the store and whose keys are resolved; mu is held. Readers see it when n moves, and
// find it by Lookup when its slot is written, in this order.
func (s *Store) add(enc []byte, hash uint32) uint32 {
	id := s.n.Load()
	before := s.sets.Load()
	if after := before.put(id, enc); after != before {
		s.sets.Store(after)
	}
	size := int64(len(enc)) + 20
	for i, rest := 0, enc; len(rest) > 0; i++ {
		var name, value []byte
		name, value, rest, _ = next(rest)
		k := s.at[i]
		if k == nil {
			k = s.newKey(string(name), id)
			s.at[i] = k
			size += int64(len(name)) + 400
		}
		code, grown := k.values.intern(value, id)
		if grown {
			size += int64(len(value)) + 16
		}
		k.col.append(id, code)
		size += 4
	}
	s.last, s.at = s.at, s.last
	s.bytes.Add(size)
	s.n.Store(id + 1)
	if t := s.table.Load(); t.full(id) {
		s.table.Store(t.grow())
	}
	s.table.Load().insert(hash, id)
	return id
}

func (s *Store) newKey(name string, first uint32) *key {
	k := &key{name: name, first: first}
	k.values.init()
	k.col.init()
	s.byName[name] = k
	list := append(*s.list.Load(), k) // readers of the old header do not look at the new element
	s.list.Store(&list)
	s.keys.Store(name, k)
	return k
}

// Arena of the encodings: fixed chunks, so that growing moves nothing.
const (
	chunkBits = 18 // 256 KiB, four of the longest sets
	chunkLen  = 1 << chunkBits
)

// setArena is a snapshot of the arena's headers. The writer fills chunks and locs in place behind what is published and
// makes a new setArena when a header must change.
type setArena struct {
	chunks [][]byte
	locs   []uint32 // by id: chunk number and offset in it; len is the capacity
	end    uint32   // first free address; the writer's
}

// get returns a published set.
func (a *setArena) get(id uint32) []byte {
	loc := a.locs[id]
	b := a.chunks[loc>>chunkBits][loc&(chunkLen-1):]
	size, n := binary.Uvarint(b)
	end := n + int(size)
	return b[n:end:end]
}

// put stores the set of the given id and returns the arena to publish, which is a itself when no header changed.
func (a *setArena) put(id uint32, enc []byte) *setArena {
	out := a
	if int(id) >= len(a.locs) {
		locs := make([]uint32, max(64, len(a.locs)+len(a.locs)/2))
		copy(locs, a.locs)
		out = &setArena{chunks: a.chunks, locs: locs, end: a.end}
	}
	need := uint32(len(enc) + binary.MaxVarintLen32)
	if room := uint32(len(out.chunks))<<chunkBits - out.end; room < need {
		out = &setArena{chunks: append(out.chunks, make([]byte, chunkLen)), locs: out.locs, end: uint32(len(out.chunks)) << chunkBits}
	}
	chunk := out.chunks[out.end>>chunkBits]
	at := out.end & (chunkLen - 1)
	n := binary.PutUvarint(chunk[at:], uint64(len(enc)))
	copy(chunk[at+uint32(n):], enc)
	out.locs[id] = out.end
	out.end += uint32(n + len(enc))
	return out
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
