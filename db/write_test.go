package db

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/head"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
)

// largeHead keeps everything in the head, so that a test can look at it.
func largeHead(o *Options) { o.HeadBytes, o.MemoryBytes, o.LogSegmentBytes = 64<<20, 128<<20, 1<<20 }

// taggedRows is a batch whose rows have the tag sets with the given numbers, of which others may be known.
func taggedRows(sets []int) *batch.Batch {
	b := batch.NewBuilder(events)
	for i, set := range sets {
		b.Int(0, t0+int64(i))
		b.Int(1, int64(set))
		b.Tags(4, tags.AppendSet(nil, tags.Tag{Key: "n", Value: fmt.Sprint(set)}))
		b.EndRow()
	}
	return b.Seal()
}

// headEntries are the entries of events in the active head by index.
func headEntries(d *DB) map[uint64]*head.Entry {
	d.mu.RLock()
	defer d.mu.RUnlock()
	out := map[uint64]*head.Entry{}
	for _, e := range d.active.Entries(events) {
		out[e.Index] = e
	}
	return out
}

// TestReplayEqualsWrite checks that a record gives the same entry and the same ids to tag sets when Write applies what it
// has made and when the record is read from the log: with sets known, new, and new to several writers at once.
func TestReplayEqualsWrite(t *testing.T) {
	fsys := vfs.NewMem()
	d := mustOpen(t, fsys, largeHead)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			for i := range 40 {
				sets := make([]int, 1+rng.IntN(60))
				for k := range sets {
					sets[k] = rng.IntN(10 * (i + 1)) // most are known, some nobody has seen
				}
				if err := d.Write(context.Background(), taggedRows(sets)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	written, store := headEntries(d), d.Tags()
	clone := fsys.CrashClone(vfs.CrashConfig{})
	defer d.Close()
	again := mustOpen(t, clone, largeHead)
	defer again.Close()
	read, storeAgain := headEntries(again), again.Tags()
	if len(written) != 160 || len(read) != len(written) || store.Len() != storeAgain.Len() {
		t.Fatalf("%d entries written, %d read; %d and %d tag sets", len(written), len(read), store.Len(), storeAgain.Len())
	}
	for id := range uint32(store.Len()) {
		if !bytes.Equal(store.Set(id), storeAgain.Set(id)) {
			t.Fatalf("tag set %d is %q and %q", id, store.Set(id), storeAgain.Set(id))
		}
	}
	for index, e := range written {
		r := read[index]
		if r == nil || !bytes.Equal(e.View.Bytes(), r.View.Bytes()) || !slices.Equal(e.IDs[4], r.IDs[4]) {
			t.Fatalf("record %d is read as another", index)
		}
		var ids, numbers batch.Vector
		for _, x := range []*head.Entry{e, r} {
			if err := errors.Join(x.Column(4, &ids), x.Column(1, &numbers)); err != nil {
				t.Fatal(err)
			}
			for i, id := range ids.Codes {
				want := tags.AppendSet(nil, tags.Tag{Key: "n", Value: fmt.Sprint(numbers.I64[i])})
				if !bytes.Equal(store.Set(id), want) {
					t.Fatalf("record %d, row %d has the tags %q, want %q", index, i, store.Set(id), want)
				}
			}
		}
	}
}

// TestKnownTagSetsAreIDs checks that what the log has of known sets is their ids.
func TestKnownTagSetsAreIDs(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), largeHead)
	defer d.Close()
	mustWrite(t, d, taggedRows([]int{1, 2, 3}))
	mustWrite(t, d, taggedRows([]int{3, 1, 4, 3}))
	e := headEntries(d)[2]
	sets, top, err := e.View.Sets(4)
	if err != nil || !e.View.HasIDs(4) || sets.Len() != 1 || top != 4 {
		t.Fatalf("%d sets by value, ids below %d (%v)", sets.Len(), top, err)
	}
}

func TestWriteRefusesValues(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), largeHead)
	defer d.Close()
	good := rowsOf(0, 30)
	for name, spoil := range map[string]func(b *batch.Batch){
		"a number beyond INTEGER": func(b *batch.Batch) { b.Cols[3].I64[3] = 1 << 31 },
		"a code of text":          func(b *batch.Batch) { b.Cols[2].Codes[3] = 1000 },
		"a code of tags":          func(b *batch.Batch) { b.Cols[4].Codes[3] = 1000 },
		"tags that are none":      func(b *batch.Batch) { b.Cols[4].Dict = batch.DictOf(append(make([]string, 29), "\xff")...) },
		"tag sets too few":        func(b *batch.Batch) { b.Cols[4].Dict = batch.DictOf("") },
	} {
		b := rowsOf(0, 30)
		spoil(b)
		if err := d.Write(context.Background(), b); !errors.Is(err, ErrBadBatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := d.Metrics().Refused["bad_batch"]; n != 5*30 {
		t.Errorf("%d rows refused", n)
	}
	mustWrite(t, d, good)
	equalIDs(t, "after refusals", allIDs(t, d), upTo(30))
}

// oldFrame is a frame of version 1 whose tag sets are references.
func oldFrame(t *testing.T, id uint64) []byte {
	b := rowsOf(0, 1)
	entry := binary.AppendUvarint([]byte{oldReference}, id)
	b.Cols[4].Dict = batch.NewDict(entry, []uint32{0, uint32(len(entry))})
	frame, err := batch.AppendFrame(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	frame[3] = '1'
	return frame
}

// TestReferencesMustBeKnown applies records that name tag sets by ids, of frames of both versions.
func TestReferencesMustBeKnown(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), func(o *Options) { o.ExternalLog = true })
	defer d.Close()
	withID := func(id uint32) []byte {
		v, err := batch.Encode(rowsOf(0, 1), []*batch.TagIDs{4: {Codes: []uint32{id}, Sets: batch.DictOf()}})
		if err != nil {
			t.Fatal(err)
		}
		return v.Bytes()
	}
	byValue, err := batch.AppendFrame(nil, rowsOf(0, 1))
	if err != nil {
		t.Fatal(err)
	}
	for i, rec := range [][]byte{byValue, oldFrame(t, 1), withID(1), withID(0)} {
		if err := d.Apply(uint64(i+1), rec); err != nil {
			t.Fatalf("record %d: %v", i+1, err)
		}
	}
	for _, rec := range [][]byte{oldFrame(t, 2), withID(2), withID(1 << 31)} {
		if err := d.Apply(5, rec); !errors.Is(err, batch.ErrBadFrame) {
			t.Errorf("a tag set that nobody has: %v", err)
		}
	}
	var ids batch.Vector
	for index, want := range []uint32{1, 1, 1, 0} {
		if err := headEntries(d)[uint64(index+1)].Column(4, &ids); err != nil || ids.Codes[0] != want {
			t.Errorf("record %d has the tag set %d (%v), want %d", index+1, ids.Codes[0], err, want)
		}
	}
}

// TestWriteAllocations bounds what a Write of known tag sets allocates: the record and what the head knows of it.
func TestWriteAllocations(t *testing.T) {
	d := mustOpen(t, vfs.NewMem(), largeHead)
	defer d.Close()
	b := rowsOf(0, 4096)
	mustWrite(t, d, b)
	n := testing.AllocsPerRun(10, func() { mustWrite(t, d, b) })
	t.Logf("%v allocations", n)
	if n > 200 { // 30 without the race detector, which empties pools
		t.Errorf("%v allocations for a batch of %d rows", n, b.N)
	}
}
