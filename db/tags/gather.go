package tags

import (
	"math/bits"

	"github.com/RoaringBitmap/roaring/v2"
)

// code is a width in which a block keeps its codes.
type code interface{ uint8 | uint16 | uint32 }

// blockWords is a bit per id of a block.
type blockWords [blockLen / 64]uint64

// gather collects ids block by block, ascending: in a list while they are few, then as bits.
type gather struct {
	n     uint32 // ids are below
	ids   []uint32
	words []uint64 // a multiple of blockWords long
}

// put takes the ids of one block.
func (g *gather) put(no uint32, w *blockWords) {
	if g.words == nil {
		count := 0
		for _, x := range w {
			count += bits.OnesCount64(x)
		}
		if len(g.ids)+count <= int(g.n/64)+64 {
			for i, x := range w {
				for ; x != 0; x &= x - 1 {
					g.ids = append(g.ids, no<<blockBits+uint32(i*64+bits.TrailingZeros64(x)))
				}
			}
			return
		}
		g.toWords()
	}
	out := g.words[no*uint32(len(w)):][:len(w)]
	for i, x := range w {
		out[i] |= x
	}
}

func (g *gather) toWords() {
	g.words = make([]uint64, (int(g.n)+blockLen-1)>>blockBits*len(blockWords{}))
	for _, id := range g.ids {
		g.words[id>>6] |= 1 << (id & 63)
	}
}

func (g *gather) bitmap() *roaring.Bitmap {
	var b *roaring.Bitmap
	if g.words != nil {
		b = roaring.FromDense(g.words, false)
	} else {
		b = roaring.New()
		b.AddMany(g.ids)
	}
	b.RunOptimize()
	return b
}

// all takes every set of the span.
func (g *gather) all(sp *span) {
	var w blockWords
	if sp.ids == nil {
		setRange(w[:], sp.base&(blockLen-1), uint32(sp.n))
	} else {
		for _, off := range sp.ids {
			w[off>>6&63] |= 1 << (off & 63)
		}
	}
	g.put(sp.base>>blockBits, &w)
}

// setRange sets n bits from bit at on; n is at least 1.
func setRange(w []uint64, at, n uint32) {
	first, last := at>>6, (at+n-1)>>6
	head, tail := ^uint64(0)<<(at&63), ^uint64(0)>>(63-(at+n-1)&63)
	if first == last {
		w[first] |= head & tail
		return
	}
	w[first] |= head
	for i := first + 1; i < last; i++ {
		w[i] = ^uint64(0)
	}
	w[last] |= tail
}

// equal takes the sets of the span that have the code.
func (g *gather) equal(sp *span, code uint32) {
	var w blockWords
	at, want := sp.base&(blockLen-1), code-sp.lo
	switch {
	case sp.w8 != nil:
		if want < 1<<8 {
			markEqual(&w, at, sp.ids, sp.w8, uint8(want))
		}
	case sp.w16 != nil:
		if want < 1<<16 {
			markEqual(&w, at, sp.ids, sp.w16, uint16(want))
		}
	case sp.w32 != nil:
		markEqual(&w, at, sp.ids, sp.w32, want)
	case want == 0:
		g.all(sp)
		return
	}
	g.put(sp.base>>blockBits, &w)
}

// markEqual sets the bits of the sets whose code is want.
func markEqual[T code](w *blockWords, at uint32, ids []uint16, codes []T, want T) {
	if ids != nil {
		ids = ids[:len(codes)]
		for i, c := range codes {
			var bit uint64
			if c == want {
				bit = 1
			}
			off := ids[i]
			w[off>>6&63] |= bit << (off & 63)
		}
		return
	}
	for len(codes) > 0 {
		k := min(len(codes), int(64-at&63))
		var x uint64
		for i, c := range codes[:k] {
			var bit uint64
			if c == want {
				bit = 1
			}
			x |= bit << (uint32(i) & 63)
		}
		w[at>>6&63] |= x << (at & 63)
		at += uint32(k)
		codes = codes[k:]
	}
}

// match takes the sets of the span whose code has its bit set in lut.
func (g *gather) match(sp *span, lut []uint64) {
	var w blockWords
	at := sp.base & (blockLen - 1)
	switch {
	case sp.w8 != nil:
		markMatch(&w, at, sp.ids, sp.w8, sp.lo, lut)
	case sp.w16 != nil:
		markMatch(&w, at, sp.ids, sp.w16, sp.lo, lut)
	case sp.w32 != nil:
		markMatch(&w, at, sp.ids, sp.w32, sp.lo, lut)
	default:
		if lut[sp.lo>>6]>>(sp.lo&63)&1 != 0 {
			g.all(sp)
		}
		return
	}
	g.put(sp.base>>blockBits, &w)
}

// markMatch sets the bits of the sets whose code, lo added, has its bit set in lut.
func markMatch[T code](w *blockWords, at uint32, ids []uint16, codes []T, lo uint32, lut []uint64) {
	if ids != nil {
		ids = ids[:len(codes)]
		for i, c := range codes {
			c := uint32(c) + lo
			off := ids[i]
			w[off>>6&63] |= lut[c>>6] >> (c & 63) & 1 << (off & 63)
		}
		return
	}
	for len(codes) > 0 {
		k := min(len(codes), int(64-at&63))
		var x uint64
		for i, c := range codes[:k] {
			c := uint32(c) + lo
			x |= lut[c>>6] >> (c & 63) & 1 << (uint32(i) & 63)
		}
		w[at>>6&63] |= x << (at & 63)
		at += uint32(k)
		codes = codes[k:]
	}
}
