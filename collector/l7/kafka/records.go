package kafka

import "github.com/flowlake/flowlake/collector/l7/wire"

// Batch is the header of a record batch of the format in use since Kafka 0.11 (magic 2).
type Batch struct {
	BaseOffset int64
	// Records is how many there are in the batch.
	Records int32
	// Compression is 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
	Compression uint8
	body        []byte
}

const (
	batchMagic     = 2
	maxHeaders     = 64 // of a record that are looked at
	compressionSet = 7
)

// ParseBatch reads the header of the record batch that p begins with; ok says that it is one.
func ParseBatch(p []byte, b *Batch) (ok bool) {
	r := wire.NewReader(p)
	b.BaseOffset = int64(r.U64())
	r.Skip(4 + 4) // length, leader epoch
	magic := r.U8()
	r.Skip(4) // checksum
	b.Compression = uint8(r.U16() & compressionSet)
	r.Skip(4 + 8 + 8 + 8 + 2 + 4) // last offset, times, producer, its epoch, its sequence
	b.Records = int32(r.U32())
	if !r.OK() || magic != batchMagic || b.Records < 0 {
		*b = Batch{}
		return false
	}
	b.body = r.Rest()
	return true
}

// Headers calls f with the headers of the first record, until f returns false. A compressed batch is not looked into.
func (b *Batch) Headers(f func(key, value []byte) bool) {
	if b.Compression != 0 || b.Records == 0 {
		return
	}
	r := wire.NewReader(b.body)
	r.Varint()    // length
	r.Skip(1)     // attributes
	r.Varint()    // time
	r.Varint()    // offset
	skipField(&r) // key
	skipField(&r) // value
	n := min(r.Varint(), maxHeaders)
	for ; n > 0 && r.OK(); n-- {
		key := field(&r)
		value := field(&r)
		if r.OK() && !f(key, value) {
			return
		}
	}
}

// field is a byte string with a zig-zag length, -1 for null.
func field(r *wire.Reader) []byte {
	n := r.Varint()
	if n < 0 {
		return nil
	}
	return r.Bytes(int(min(n, maxMessage)))
}

func skipField(r *wire.Reader) {
	if n := r.Varint(); n > 0 {
		r.Skip(int(min(n, maxMessage)))
	}
}
