package peer

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/klauspost/compress/snappy"

	"github.com/flowlake/flowlake/bench/workload"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/tags"
)

// WriteRequests writes all rows of a spec of the table samples, those that come again included, as files below dir: each the body of a request of Prometheus' remote write.
func WriteRequests(s workload.Spec, dir string) (files []string, err error) {
	all, err := workload.Batches(s)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	var body, packed []byte
	for b := range all {
		if body, err = appendRequest(body[:0], b); err != nil {
			return nil, err
		}
		path := filepath.Join(dir, fmt.Sprintf("%s-%05d.snappy", s.Table, len(files)))
		packed = snappy.Encode(packed[:cap(packed)], body)
		if err := os.WriteFile(path, packed, 0o666); err != nil {
			return nil, err
		}
		files = append(files, path)
	}
	return files, nil
}

// appendRequest encodes samples as a WriteRequest in protocol buffers: a list of series (1) of labels (1: name 1, value 2)
// and samples (2: value 1, milliseconds 2). Each series has one sample, as scrapers send them.
func appendRequest(dst []byte, b *batch.Batch) ([]byte, error) {
	times, sets := b.Cols[b.Table.TimeColumn].I64, b.Cols[b.Table.MustColumn("tags")]
	values := b.Cols[b.Table.MustColumn("value")].F64
	labels := make([][]byte, sets.Dict.Len())
	for i := range labels {
		err := tags.Each(sets.Dict.At(i), func(k, v []byte) {
			pair := appendBytes(appendBytes(nil, 1, k), 2, v)
			labels[i] = appendBytes(labels[i], 1, pair)
		})
		if err != nil {
			return nil, err
		}
	}
	var sample, series []byte
	for i := range b.N {
		sample = binary.LittleEndian.AppendUint64(append(sample[:0], 1<<3|1), math.Float64bits(values[i]))
		sample = binary.AppendUvarint(append(sample, 2<<3), uint64(times[i]/1e6))
		series = append(series[:0], labels[sets.Codes[i]]...)
		series = appendBytes(series, 2, sample)
		dst = appendBytes(dst, 1, series)
	}
	return dst, nil
}

// appendBytes adds a field of a length and so many bytes.
func appendBytes(dst []byte, field byte, v []byte) []byte {
	dst = binary.AppendUvarint(append(dst, field<<3|2), uint64(len(v)))
	return append(dst, v...)
}
