package flow

import "github.com/flowlake/flowlake/collector/l7"

// flowsPerChunk is how many flows are allocated at once.
const flowsPerChunk = 512

// flowChunk holds flows that never move. The flows hold no pointers, so the garbage collector does not look at them; the
// connections beside them do.
type flowChunk struct {
	flows *[flowsPerChunk]Flow
	conns *[flowsPerChunk]*l7.Conn
}

// arena hands out flows by number, starting at 1; 0 is none.
type arena struct {
	chunks []flowChunk
	free   uint32 // first free flow, linked by Flow.next
}

func (a *arena) at(i uint32) *Flow { return &a.chunks[(i-1)/flowsPerChunk].flows[(i-1)%flowsPerChunk] }

func (a *arena) conn(i uint32) **l7.Conn {
	return &a.chunks[(i-1)/flowsPerChunk].conns[(i-1)%flowsPerChunk]
}

// get returns a zeroed flow.
func (a *arena) get() (uint32, *Flow) {
	if a.free == 0 {
		base := uint32(len(a.chunks) * flowsPerChunk)
		c := flowChunk{new([flowsPerChunk]Flow), new([flowsPerChunk]*l7.Conn)}
		for i := range c.flows {
			c.flows[i].next = base + uint32(i) + 2
		}
		c.flows[flowsPerChunk-1].next = 0
		a.chunks = append(a.chunks, c)
		a.free = base + 1
	}
	i := a.free
	f := a.at(i)
	a.free = f.next
	*f = Flow{index: i}
	return i, f
}

// put takes a flow back. Its index becomes 0, the mark of a free flow.
func (a *arena) put(i uint32) {
	f := a.at(i)
	f.index, f.next = 0, a.free
	a.free = i
}

// hashIndex finds flows by hash: open addressing with linear probing, at most 3/4 full. It holds the upper half of the hash
// beside the flow's number, so that a miss rarely touches a flow.
type hashIndex struct {
	slots []hashSlot // length is a power of two
	used  int
}

type hashSlot struct {
	hash uint32
	flow uint32 // 0: empty
}

const minHashSlots = 1 << 10

func newHashIndex() hashIndex { return hashIndex{slots: make([]hashSlot, minHashSlots)} }

// find returns the slot that holds a flow for which match holds, or false.
func (x *hashIndex) find(h uint32, a *arena, k *flowKey, iface uint32, byIface bool) *Flow {
	mask := uint32(len(x.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		s := x.slots[i]
		if s.flow == 0 {
			return nil
		}
		if s.hash == h {
			f := a.at(s.flow)
			if f.key.equal(k) && (!byIface || f.iface == iface) {
				return f
			}
		}
	}
}

func (x *hashIndex) insert(h, flow uint32) {
	if (x.used+1)*4 > len(x.slots)*3 {
		x.grow()
	}
	x.place(h, flow)
	x.used++
}

func (x *hashIndex) place(h, flow uint32) {
	mask := uint32(len(x.slots) - 1)
	i := h & mask
	for x.slots[i].flow != 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = hashSlot{h, flow}
}

func (x *hashIndex) grow() {
	old := x.slots
	x.slots = make([]hashSlot, 2*len(old))
	for _, s := range old {
		if s.flow != 0 {
			x.place(s.hash, s.flow)
		}
	}
}

// remove takes a flow out and moves up what had been pushed behind it.
func (x *hashIndex) remove(h, flow uint32) {
	mask := uint32(len(x.slots) - 1)
	i := h & mask
	for x.slots[i].flow != flow {
		if x.slots[i].flow == 0 {
			return
		}
		i = (i + 1) & mask
	}
	x.used--
	for j := i; ; {
		x.slots[i] = hashSlot{}
		for {
			j = (j + 1) & mask
			s := x.slots[j]
			if s.flow == 0 {
				return
			}
			// s may move to i if i lies between its home and j.
			if (j-s.hash)&mask >= (j-i)&mask {
				x.slots[i] = s
				i = j
				break
			}
		}
	}
}
