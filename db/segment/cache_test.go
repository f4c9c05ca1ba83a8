package segment

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/vfs"
)

// TestReadersShare has several goroutines read one Reader at a time, as workers of a scan do, over a cache that holds all
// dictionaries, some, or none: each sees the rows that were written.
func TestReadersShare(t *testing.T) {
	table := everyType(t)
	fs := vfs.NewMem()
	rng := rand.New(rand.NewPCG(21, 1))
	b := randomBatch(rng, table, 3000)
	writeAll(t, fs, "seg", b, nil, Options{PageRows: 256, RowGroupRows: 1024})
	want := rowsOf(b, allColumns(table), nil, false)
	for _, limit := range []int64{64 << 20, 64 << 10, 1} {
		cache := NewCache(limit)
		r, err := Open(fs, "seg", table, func(o *OpenOptions) { o.Cache = cache })
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if err := readShared(r, want); err != nil {
					t.Errorf("cache of %d bytes: %v", limit, err)
				}
			})
		}
		wg.Wait()
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if n := cache.Bytes(); n != 0 {
			t.Errorf("cache of %d bytes: %d of them are held for a closed reader", limit, n)
		}
	}
}

// readShared compares all rows of a reader, twice, with those that it should have.
func readShared(r *Reader, want []string) error {
	var s Scratch
	var dst batch.Batch
	for range 2 {
		req := everything(r.Table())
		var got []string
		for _, u := range r.Units(req) {
			if err := r.Read(context.Background(), u, req, &s, &dst); err != nil {
				return err
			}
			dst.Table = req.Table
			got = append(got, rowsOf(&dst, req.Columns, nil, true)...)
		}
		if !slices.Equal(got, want) {
			return fmt.Errorf("%d rows are not the %d that were written", len(got), len(want))
		}
	}
	return nil
}
