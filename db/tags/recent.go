package tags

import (
	"hash/maphash"
	"sync/atomic"
)

// recent finds the ids of sets that were met lately by a hash of their encoding: one pass over it instead of a look-up per
// tag. It keeps no encodings, only 96 bits of two hashes whose keys are drawn for each store, 64 to compare and 32 more. So
// of n sets two are taken for one another with a chance of n*n/2^97: 1e-15 for ten million. Any goroutine may use it;
// entries replace each other at will.
type recent struct {
	lines atomic.Pointer[[]line] // by hash; len is a power of two
	keys  [2]maphash.Seed
	limit int64
}

// line is what one hash may be found in: 64 bytes, as the processor reads them.
type line [4]slot

// slot is a set. Its words are written one after the other, by anyone: a reader that gets them from two writers sees a
// hash that is neither's.
type slot struct {
	mixed atomic.Uint64 // first hash ^ rest
	rest  atomic.Uint64 // high half of the second hash, id; 0 is free, since the empty set is never entered
}

const lineBytes = 64

// encHash is what recent knows a set by.
type encHash struct{ first, second uint64 }

func (r *recent) init(limit int64) {
	r.limit = limit
	r.keys = [2]maphash.Seed{maphash.MakeSeed(), maphash.MakeSeed()}
	lines := make([]line, 16)
	r.lines.Store(&lines)
}

func (r *recent) hash(enc []byte) encHash {
	return encHash{maphash.Bytes(r.keys[0], enc), maphash.Bytes(r.keys[1], enc) &^ 0xffffffff}
}

func (r *recent) get(h encHash) (id uint32, ok bool) {
	lines := *r.lines.Load()
	l := &lines[h.first&uint64(len(lines)-1)]
	for i := range l {
		rest := l[i].rest.Load()
		if rest&^0xffffffff == h.second && rest != 0 && l[i].mixed.Load()^rest == h.first {
			return uint32(rest), true
		}
	}
	return 0, false
}

// getAll writes the ids of some sets, Unknown where there is none. No look-up waits for the one before.
func (r *recent) getAll(hashes []encHash, ids []uint32) {
	lines := *r.lines.Load()
	mask := uint64(len(lines) - 1)
	for k, h := range hashes {
		l := &lines[h.first&mask]
		ids[k] = Unknown
		for i := range l {
			rest := l[i].rest.Load()
			if rest&^0xffffffff == h.second && rest != 0 && l[i].mixed.Load()^rest == h.first {
				ids[k] = uint32(rest)
				break
			}
		}
	}
}

// put enters a set that was not found, in place of another where its line is full.
func (r *recent) put(h encHash, id uint32) {
	lines := *r.lines.Load()
	lines[h.first&uint64(len(lines)-1)].put(h, id)
}

func (l *line) put(h encHash, id uint32) {
	at := int(h.first >> 62) // the one to go: as good as drawn by lot
	for i := range l {
		if l[i].rest.Load() == 0 {
			at = i
			break
		}
	}
	rest := h.second | uint64(id)
	l[at].mixed.Store(h.first ^ rest)
	l[at].rest.Store(rest)
}

// fit makes room for n sets, two slots for each, as far as the limit lets it. Only one goroutine calls it; what others enter
// meanwhile may be lost.
func (r *recent) fit(n int) {
	old := *r.lines.Load()
	if n < 2*len(old) || int64(len(old))*2*lineBytes > r.limit {
		return
	}
	lines := make([]line, 2*len(old))
	for i := range old {
		for k := range old[i] {
			if rest := old[i][k].rest.Load(); rest != 0 {
				h := encHash{old[i][k].mixed.Load() ^ rest, rest &^ 0xffffffff}
				lines[h.first&uint64(len(lines)-1)].put(h, uint32(rest))
			}
		}
	}
	r.lines.Store(&lines)
}

// fitAll is fit until there is room.
func (r *recent) fitAll(n int) {
	for was := int64(0); r.bytes() > was; {
		was = r.bytes()
		r.fit(n)
	}
}

// bytes is what it takes.
func (r *recent) bytes() int64 { return int64(len(*r.lines.Load())) * lineBytes }
