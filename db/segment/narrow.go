package segment

import (
	"math"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// Gathering the rows of a large batch waits for memory at each of them. Most numbers need two or four bytes of their eight: a
// copy of the column in so many is read from a nearer cache, and costs one pass over it in order.

// narrowMin is the number of rows whose numbers fill a core's own cache.
const narrowMin = 64 << 10

// narrow is a column of numbers, each less base. Either list may be in use.
type narrow struct {
	base  int64
	words []uint16
	longs []uint32 // where words is empty
}

// nearer is a copy of the numbers of v, which has so many rows; nil where it is not worth it. It is valid until the next call.
func (e *encoder) nearer(v *batch.Vector, rows int) *narrow {
	if rows < narrowMin || v.Type.Physical() != schema.Int64 {
		return nil
	}
	lo, hi := rangeOf(v.I64[:rows])
	n := &e.near
	n.base, n.words, n.longs = lo, n.words[:0], n.longs[:0]
	switch span := uint64(hi) - uint64(lo); {
	case span <= math.MaxUint16:
		n.words = shrink(n.words, v.I64[:rows], lo)
	case span <= math.MaxUint32:
		n.longs = shrink(n.longs, v.I64[:rows], lo)
	default:
		return nil
	}
	return n
}

func shrink[T uint16 | uint32](dst []T, src []int64, base int64) []T {
	dst = extend(dst, 0, len(src))
	for i, x := range src {
		dst[i] = T(uint64(x) - uint64(base))
	}
	return dst
}

// gather is gatherRange of the rows of an order.
func (n *narrow) gather(dst []int64, order []int32) (lo, hi int64) {
	if len(n.words) > 0 {
		return gatherNear(dst, n.words, n.base, order)
	}
	return gatherNear(dst, n.longs, n.base, order)
}

func gatherNear[T uint16 | uint32](dst []int64, src []T, base int64, order []int32) (lo, hi int64) {
	dst = dst[:len(order)]
	least := src[order[0]]
	most := least
	for i, r := range order {
		x := src[r]
		dst[i] = base + int64(x)
		least, most = min(least, x), max(most, x)
	}
	return base + int64(least), base + int64(most)
}
