package vfs

import (
	"maps"
	"math/rand/v2"
	"slices"
)

// CrashConfig says what a power cut leaves of what was not synced.
type CrashConfig struct {
	// Seed decides every choice: the same seed on the same history leaves the same.
	Seed uint64
	// KeepUnsynced is the probability, 0 to 1, that a sector or a directory entry that was not synced is there all the
	// same. 0 leaves exactly what was synced, 1 leaves everything; in between it may also be a state that was
	// overwritten later.
	KeepUnsynced float64
	// SectorBytes is the unit that survives whole or not at all: 512 for torn pages, 4096 for whole ones. 0 means 512.
	SectorBytes int
}

// sync makes the present state of a node durable. m.mu is held.
func (n *memNode) sync() {
	for _, op := range n.pending {
		n.durable = op.applyAll(n.durable)
	}
	n.pending = nil
	for _, op := range n.pendingEntries {
		op.apply(n.durableChildren)
	}
	n.pendingEntries = nil
}

func (op entryOp) apply(children map[string]*memNode) {
	for _, e := range op {
		if e.node == nil {
			delete(children, e.name)
		} else {
			children[e.name] = e.node
		}
	}
}

// end is the size that the op leaves of a file of the given size.
func (op dataOp) end(size int64) int64 {
	if op.data == nil {
		return op.size
	}
	return max(size, op.off+int64(len(op.data)))
}

func setLen(b []byte, size int64) []byte {
	old := int64(len(b))
	if size <= old {
		return b[:size]
	}
	b = slices.Grow(b, int(size-old))[:size]
	clear(b[old:])
	return b
}

func (op dataOp) applyAll(b []byte) []byte {
	b = setLen(b, op.end(int64(len(b))))
	if op.data != nil {
		copy(b[op.off:], op.data)
	}
	return b
}

// applySector applies the op to the part of a file that starts at off; what lies behind the end of the file is zero.
func (op dataOp) applySector(sector []byte, off int64) {
	if op.data == nil {
		if op.size < off+int64(len(sector)) {
			clear(sector[max(op.size-off, 0):])
		}
		return
	}
	if op.off < off {
		if skip := off - op.off; skip < int64(len(op.data)) {
			copy(sector, op.data[skip:])
		}
	} else if at := op.off - off; at < int64(len(sector)) {
		copy(sector[at:], op.data)
	}
}

// CrashClone returns a copy of the file system as it may look after a power cut at this moment. Synced content and synced
// directory entries are there; of the rest, each sector, each size and each change of a directory survives or not by
// itself, as cfg says. Open files keep working on m; the copy has no open files, no locks and no capacity limit.
func (m *Mem) CrashClone(cfg CrashConfig) *Mem {
	if cfg.SectorBytes <= 0 {
		cfg.SectorBytes = 512
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &cloner{cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 0x632e6372617368)), track: m.track, done: map[*memNode]*memNode{}}
	out := &Mem{locks: map[string]bool{}, track: m.track, nextTick: m.nextTick}
	out.root = c.node(m.root)
	out.root.links = 1
	out.used = c.used
	return out
}

type cloner struct {
	cfg   CrashConfig
	rng   *rand.Rand
	track bool
	done  map[*memNode]*memNode // a file with two names stays one file
	used  int64
}

// version picks how many of n changes are applied.
func (c *cloner) version(n int) int {
	switch p := c.cfg.KeepUnsynced; {
	case n == 0 || p <= 0:
		return 0
	case p >= 1:
		return n
	case c.rng.Float64() >= p:
		return 0
	case c.rng.Float64() < 0.5:
		return n
	}
	return 1 + c.rng.IntN(n)
}

func (c *cloner) node(n *memNode) *memNode {
	if out := c.done[n]; out != nil {
		out.links++
		return out
	}
	if !n.dir {
		out := &memNode{modTick: n.modTick, links: 1, data: c.content(n)}
		out.durable = slices.Clone(out.data)
		c.used += int64(len(out.data))
		c.done[n] = out
		return out
	}
	out := newMemDir()
	out.modTick, out.links = n.modTick, 1
	children := n.children
	if c.track {
		children = maps.Clone(n.durableChildren)
		for _, op := range n.pendingEntries {
			if c.version(1) == 1 {
				op.apply(children)
			}
		}
	}
	for _, name := range sortedNames(children) { // sorted: the choices below must depend on the seed alone
		out.children[name] = c.node(children[name])
	}
	out.durableChildren = maps.Clone(out.children)
	return out
}

// content picks a state of a file: of each sector the state after some of the changes, and a size.
func (c *cloner) content(n *memNode) []byte {
	if !c.track {
		return slices.Clone(n.data)
	}
	b := slices.Clone(n.durable)
	if len(n.pending) == 0 {
		return b
	}
	keep := c.version(len(n.pending))
	size, maxSize := int64(len(b)), int64(len(b))
	for i, op := range n.pending {
		end := op.end(size)
		maxSize = max(maxSize, end)
		if i < keep {
			size = end
		}
	}
	sector := int64(c.cfg.SectorBytes)
	b = setLen(b, (max(maxSize, size)+sector-1)/sector*sector)
	for _, s := range touchedSectors(n.pending, sector, int64(len(b))) {
		part := b[s*sector : (s+1)*sector]
		for _, op := range n.pending[:c.version(len(n.pending))] {
			op.applySector(part, s*sector)
		}
	}
	return b[:size]
}

// touchedSectors lists the sectors that the changes may differ in, in order.
func touchedSectors(ops []dataOp, sector, size int64) []int64 {
	seen := map[int64]bool{}
	for _, op := range ops {
		from, to := op.off, op.off+int64(len(op.data))
		if op.data == nil {
			from, to = op.size, size
		}
		for s := from / sector; s*sector < min(to, size); s++ {
			seen[s] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
