package stages

import (
	"testing"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// BenchmarkBuildRows sets the columns of a row one by one in a Builder, as a collector does, and seals every 8,192 rows.
func BenchmarkBuildRows(b *testing.B) {
	src := flowBatches()
	builder := batch.NewBuilder(src[0].Table)
	perRow(b, batchRows, func(i int) {
		in := src[i%batches]
		for row := range in.N {
			copyRow(builder, in, row)
			builder.EndRow()
		}
		if out := builder.Seal(); out.N != in.N {
			b.Fatal("rows are missing")
		}
	})
}

// copyRow sets in the builder's row what is set in a row of in.
func copyRow(to *batch.Builder, in *batch.Batch, row int) {
	for col, v := range in.Cols {
		if v == nil || v.IsNull(row) {
			continue
		}
		switch v.Type.Physical() {
		case schema.Int64:
			to.Int(col, v.I64[row])
		case schema.Float64:
			to.Float(col, v.F64[row])
		case schema.Code:
			to.Text(col, v.Bytes(row))
		case schema.ID:
			to.Tags(col, v.Bytes(row))
		}
	}
}

// BenchmarkEncodeFrame makes the agent's frame, which is the log record too.
func BenchmarkEncodeFrame(b *testing.B) {
	src := flowBatches()
	var frame []byte
	bytes := 0
	perRow(b, batchRows, func(i int) {
		var err error
		if frame, err = batch.AppendFrame(frame[:0], src[i%batches]); err != nil {
			b.Fatal(err)
		}
		bytes += len(frame)
	})
	b.ReportMetric(float64(bytes)/float64(batchRows*b.N), "B/row")
	sets := 0
	for _, in := range src {
		sets += in.Cols[in.Table.MustColumn("client_tags")].Dict.Len() + in.Cols[in.Table.MustColumn("server_tags")].Dict.Len()
	}
	b.ReportMetric(float64(sets)/batches, "sets/batch")
}

// BenchmarkDecodeFrame opens a frame and decodes columns to typed slices.
func BenchmarkDecodeFrame(b *testing.B) {
	frames := flowFrames()
	t := flowsTable(b)
	run := func(columns []int) func(*testing.B) {
		return func(b *testing.B) {
			dst := make([]batch.Vector, len(t.Columns))
			perRow(b, batchRows, func(i int) {
				v, err := batch.Open(frames[i%batches], registry())
				if err != nil {
					b.Fatal(err)
				}
				for _, c := range columns {
					if err := v.Column(c, &dst[c]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
	all := make([]int, len(t.Columns))
	for i := range all {
		all[i] = i
	}
	b.Run("columns=all", run(all))
	b.Run("columns=3", run(three(t)))
}

// BenchmarkInternTags gives a tag set of 18 tags its id: one that is known, and one that is new.
func BenchmarkInternTags(b *testing.B) {
	const n = 4096
	sets := make([][]byte, n)
	for i := range sets {
		sets[i] = gen.PodTags(uint32(i + 1))
	}
	intern := func(b *testing.B, s *tags.Store) {
		for _, enc := range sets {
			if _, _, err := s.Intern(enc); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("hit", func(b *testing.B) {
		s := tags.New(tags.Limits{})
		intern(b, s)
		per(b, n, "set", func(int) { intern(b, s) })
	})
	b.Run("miss", func(b *testing.B) {
		per(b, n, "set", func(int) { intern(b, tags.New(tags.Limits{})) })
	})
}
