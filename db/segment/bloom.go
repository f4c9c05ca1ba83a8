package segment

import (
	"encoding/binary"

	"github.com/cespare/xxhash/v2"

	"github.com/flowlake/flowlake/db/schema"
)

// Bloom filters are Parquet's split block filter (parquet-format, BloomFilter.md): blocks of 32 bytes, one bit set in
// each of the block's eight words, XXH64 with seed 0 over a value's PLAIN encoding without its length.

var bloomSalt = [8]uint32{0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d, 0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31}

const bloomBlock = 32

func bloomHash(v []byte) uint64 { return xxhash.Sum64(v) }

// bloomHashInt is the hash of an integer in the width that its type has in the file.
func bloomHashInt(v int64, t schema.Type) uint64 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], uint64(v))
	if physicalOf(t) == pqInt32 {
		return xxhash.Sum64(b[:4])
	}
	return xxhash.Sum64(b[:])
}

// hasBloom says whether a column gets a filter: text and integers do.
func hasBloom(c *schema.Column) bool {
	switch c.Type.Physical() {
	case schema.Code:
		return c.Bloom
	case schema.Int64:
		return c.Bloom && c.Type != schema.Boolean
	}
	return false
}

const maxBloom = 16 << 20

// bloomSize is the filter's size in bytes for n values: 8 to 16 bits each, a power of two, as some readers want.
func bloomSize(n int) int {
	size := bloomBlock
	for size < n {
		size *= 2
	}
	return min(size, maxBloom)
}

// bloomIndex is the block of a filter of that many blocks in which a hash lies.
func bloomIndex(hash uint64, blocks int) int {
	return int((hash >> 32) * uint64(blocks) >> 32)
}

func bloomAdd(filter []byte, hash uint64) {
	block := filter[bloomBlock*bloomIndex(hash, len(filter)/bloomBlock):]
	for i, s := range bloomSalt {
		bit := uint32(hash) * s >> 27
		block[4*i+int(bit>>3)] |= 1 << (bit & 7)
	}
}

func bloomHas(block []byte, hash uint64) bool {
	for i, s := range bloomSalt {
		bit := uint32(hash) * s >> 27
		if block[4*i+int(bit>>3)]&(1<<(bit&7)) == 0 {
			return false
		}
	}
	return true
}
