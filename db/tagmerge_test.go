package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
)

// churn is a batch whose rows have tag sets of their own, from number first on.
func churn(first, n int) *batch.Batch {
	b := batch.NewBuilder(events)
	for id := first; id < first+n; id++ {
		b.Int(0, t0+int64(id)*1e9)
		b.Int(1, int64(id))
		b.String(2, nameOf(id))
		b.Tags(4, churnSet(id))
		b.EndRow()
	}
	return b.Seal()
}

func churnSet(id int) []byte {
	set := []tags.Tag{{Key: "pod", Value: fmt.Sprint("pod-", id)}, {Key: "app", Value: fmt.Sprint("app-", id%5)}}
	if id%7 == 0 {
		set = append(set, tags.Tag{Key: "late", Value: fmt.Sprint(id % 3)})
	}
	return tags.AppendSet(nil, set...)
}

// checkChurn says what is wrong with the sets of churn, which are as many.
func checkChurn(d *DB, n int) error {
	v := d.Tags()
	if v.Len() != n+1 {
		return fmt.Errorf("%d tag sets, want %d", v.Len()-1, n)
	}
	for id := range n {
		if got := v.Set(uint32(id) + 1); string(got) != string(churnSet(id)) {
			return fmt.Errorf("tag set %d is %q, want %q", id+1, got, churnSet(id))
		}
	}
	return nil
}

func noMerges(o *Options) { o.NoCompaction = true }

func TestTagFilesAreMerged(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	d := mustOpen(t, mem, noMerges)
	const flushes, each = 30, 11
	for i := range flushes {
		mustWrite(t, d, churn(i*each, each))
		mustFlush(t, d)
	}
	if n := len(namesOf(t, mem, "tags")); n != flushes {
		t.Fatalf("%d tag files after %d flushes", n, flushes)
	}
	// a backup that began before has the files that there were
	before, held, err := d.hold()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(namesOf(t, mem, "tags")); n != flushes+1 || len(d.manifest.tags) != 1 {
		t.Errorf("%d tag files beside a backup, MANIFEST names %v", n, d.manifest.tags)
	}
	for _, f := range before.Tags {
		if _, err := mem.Stat("data/" + f.Path); err != nil {
			t.Errorf("a file of the backup: %v", err)
		}
	}
	d.releaseTags()
	if err := releaseAll(held); err != nil {
		t.Fatal(err)
	}
	if n := len(namesOf(t, mem, "tags")); n != 1 {
		t.Errorf("%d tag files after the backup", n)
	}
	if problems, err := d.Verify(ctx, nil); err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	mustWrite(t, d, churn(flushes*each, each))
	if err := errors.Join(checkChurn(d, (flushes+1)*each), d.Close()); err != nil {
		t.Fatal(err)
	}
	if p := verifyFolder(t, mem, "data"); len(p) > 0 {
		t.Errorf("%v", p)
	}
	d = mustOpen(t, mem)
	defer d.Close()
	if err := checkChurn(d, (flushes+1)*each); err != nil {
		t.Fatal(err)
	}
}

// A power cut at any change that a merge of tag files makes leaves all sets, and no file too many after the next start.
func TestTagMergeCrash(t *testing.T) {
	mem := vfs.NewMem()
	const flushes, each = 8, 3
	cuts, on := 0, false
	counting := vfs.NewCounting(mem, func(c vfs.Call, _ error) {
		if c.Kind&vfs.OpChanges == 0 || !on {
			return
		}
		cuts++
		for _, keep := range []float64{0, 0.5, 1} {
			clone := mem.CrashClone(vfs.CrashConfig{Seed: uint64(c.Seq), KeepUnsynced: keep})
			d, err := Open("data", options(clone, noMerges, func(o *Options) { o.Tables = eventsOnly }))
			if err == nil {
				err = checkChurn(d, flushes*each)
				if n := len(namesOf(t, clone, "tags")); n != len(d.manifest.tags) || n != 1 && n != flushes {
					err = errors.Join(err, fmt.Errorf("%d tag files, MANIFEST names %d", n, len(d.manifest.tags)))
				}
				err = errors.Join(err, d.Close())
			}
			if err != nil {
				t.Errorf("power cut after %s %s, %.1f of the unsynced kept: %v", c.Kind, c.Path, keep, err)
			}
		}
	})
	d := mustOpen(t, counting, noMerges)
	for i := range flushes {
		mustWrite(t, d, churn(i*each, each))
		mustFlush(t, d)
	}
	on = true
	did, err := d.mergeTags(context.Background())
	on = false
	if err := errors.Join(err, d.Close()); err != nil || !did || cuts < 5 {
		t.Fatalf("merged %v, %d file operations, %v", did, cuts, err)
	}
}

// A merge that fails changes nothing.
func TestTagMergeFails(t *testing.T) {
	for skip := range 8 {
		mem := vfs.NewMem()
		var rules vfs.Rules
		d := mustOpen(t, vfs.NewInjecting(mem, &rules), noMerges)
		for i := range 8 {
			mustWrite(t, d, churn(i*3, 3))
			mustFlush(t, d)
		}
		fault := errors.New("no such luck")
		rules.Add(vfs.Rule{Kinds: vfs.OpChanges &^ vfs.OpRemove, Skip: skip, Fault: vfs.Fault{Err: fault}})
		_, err := d.mergeTags(context.Background())
		rules.Clear()
		if err != nil && !errors.Is(err, fault) {
			t.Errorf("fault %d: %v", skip, err)
		}
		if err := d.maintainTags(context.Background()); err != nil {
			t.Fatal(err)
		}
		if n := len(d.manifest.tags); n != 1 {
			t.Errorf("fault %d: %d tag files in the end", skip, n)
		}
		if err := errors.Join(checkChurn(d, 24), d.Close()); err != nil {
			t.Fatal(err)
		}
		d = mustOpen(t, mem)
		if n := len(namesOf(t, mem, "tags")); n != 1 {
			t.Errorf("fault %d: %d tag files are left", skip, n)
		}
		if err := errors.Join(checkChurn(d, 24), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPickTags(t *testing.T) {
	var files []tagFile
	next, written := uint32(1), 0
	most := 0
	for i := range 4000 { // flushes of 100 to 2,500 new sets
		n := uint32(100 + i%5*600)
		files = append(files, tagFile{Path: fmt.Sprint(next), From: next, To: next + n})
		next += n
		for {
			picked := pickTags(files)
			if len(picked) == 0 {
				break
			}
			at := slices.Index(files, picked[0])
			if len(picked) < 2 || !slices.Equal(files[at:], picked) {
				t.Fatalf("picked %d files at %d of %d", len(picked), at, len(files))
			}
			to := tagFile{Path: fmt.Sprint(next, len(picked)), From: picked[0].From, To: next}
			written += int(to.To - to.From)
			files = append(files[:at], to)
		}
		most = max(most, len(files))
	}
	if most > 40 || written > 4*int(next) {
		t.Errorf("up to %d files, %d sets written again of %d", most, written, next)
	}
	t.Logf("up to %d files, %d sets written again of %d", most, written, next)
	// small ones between large ones are not forgotten
	files = []tagFile{{From: 1, To: 1 << 20}}
	for i := range uint32(9) {
		files = append(files, tagFile{From: 1<<20 + i, To: 1<<20 + i + 1})
	}
	files = append(files, tagFile{From: 1<<20 + 9, To: 1 << 21})
	if got := pickTags(files); !slices.Equal(got, files[1:10]) {
		t.Errorf("picked %v", got)
	}
}

// Tag files of before, whose rows are set by set, are read as well.
func TestTagFilesBySet(t *testing.T) {
	mem := vfs.NewMem()
	d := mustOpen(t, mem, noMerges)
	mustWrite(t, d, churn(0, 50))
	mustFlush(t, d)
	v, f := d.Tags(), d.manifest.tags[0]
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := segment.NewWriter(mem, "data/"+f.Path, TagSetsTable, segment.Options{})
	if err != nil {
		t.Fatal(err)
	}
	b := batch.NewBuilder(TagSetsTable)
	for id := f.From; id < f.To; id++ {
		v.Each(id, func(key, value string) {
			b.Int(tagTime, time.Unix(0, t0).UnixNano())
			b.Int(tagID, int64(id))
			b.String(tagKey, key)
			b.String(tagValue, value)
			b.EndRow()
		})
	}
	if err := s.Append(b.Seal(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	if p := verifyFolder(t, mem, "data"); len(p) > 0 {
		t.Errorf("%v", p)
	}
	d = mustOpen(t, mem)
	defer d.Close()
	if err := checkChurn(d, 50); err != nil {
		t.Fatal(err)
	}
}

// What a tag file says wrongly is damage, not a crash or a wrong tag.
func TestTagFileContradicts(t *testing.T) {
	type row struct {
		id         int64
		key, value string
	}
	for _, c := range []struct {
		rows []row
		want string
	}{
		{[]row{{1, "a", "1"}, {2, "a", "2"}}, ""},
		{[]row{{1, "a", "1"}, {1, "b", "1"}, {2, "a", "1"}}, ""},
		{[]row{{1, "a", "1"}}, "not those of tag sets"},
		{[]row{{1, "a", "1"}, {1, "b", "1"}}, "is empty"},
		{[]row{{1, "a", "1"}, {3, "a", "2"}}, "out of order"},
		{[]row{{1, "a", "1"}, {-1, "a", "2"}}, "out of order"},
		{[]row{{1, "a", "1"}, {1 << 40, "a", "2"}}, "out of order"},
		{[]row{{2, "a", "1"}, {1, "a", "2"}}, "out of order"},
		{[]row{{1, "b", "1"}, {2, "b", "1"}, {1, "a", "1"}, {2, "a", "2"}}, "malformed"},
		{[]row{{1, "a", "1"}, {2, "a", "1"}}, "duplicate"},
		{[]row{{1, "", "1"}, {2, "a", "1"}}, "malformed"},
		{[]row{{1, "a", ""}, {2, "a", "1"}}, "malformed"},
		{[]row{{1, "a", "1"}, {2, strings.Repeat("k", 257), "1"}}, "too long"},
	} {
		mem := vfs.NewMem()
		d := mustOpen(t, mem, noMerges)
		mustWrite(t, d, churn(0, 2))
		mustFlush(t, d)
		path := "data/" + d.manifest.tags[0].Path
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		s, err := segment.NewWriter(mem, path, TagSetsTable, segment.Options{})
		if err != nil {
			t.Fatal(err)
		}
		b := batch.NewBuilder(TagSetsTable)
		for _, r := range c.rows {
			b.Int(tagTime, t0)
			b.Int(tagID, r.id)
			b.String(tagKey, r.key)
			b.String(tagValue, r.value)
			b.EndRow()
		}
		if err := s.Append(b.Seal(), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		d, err = Open("data", options(mem, func(o *Options) { o.Tables = eventsOnly }))
		if c.want == "" {
			if err != nil {
				t.Errorf("%v: %v", c.rows, err)
				continue
			}
			d.Close()
			continue
		}
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %s", c.rows, err, c.want)
		}
	}
}
