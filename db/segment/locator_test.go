package segment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// TestLocatorFinds every value in its part, and few others.
func TestLocatorFinds(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for _, n := range []int{2, 3, 50, 1000, 5000, 70_000} {
		for _, pageCount := range []int{2, 7, 16, 100} {
			m := &chunkMeta{pages: make([]pageMeta, pageCount)}
			hashes := make([]uint64, n)
			var pages []locatorPage
			for i := range hashes {
				if hashes[i] = rng.Uint64(); i > 0 && rng.IntN(4) == 0 {
					hashes[i] = hashes[rng.IntN(i)] // in several pages
				}
			}
			for p := range pageCount {
				pages = append(pages, locatorPage{page: p, end: (p + 1) * n / pageCount})
			}
			l, data := locatorOf(m, pages, hashes)
			if int64(len(data)) != l.bytes() || len(data) > 2*n+16 {
				t.Fatalf("%d hashes, %d pages: %d bytes, %d said", n, pageCount, len(data), l.bytes())
			}
			find := func(h uint64) uint32 {
				s := l.sections[l.section(h)]
				return l.find(data[s.at:s.at+s.size], h)
			}
			i := 0
			for _, p := range pages {
				for ; i < p.end; i++ {
					if find(hashes[i])>>m.part(p.page)&1 == 0 {
						t.Fatalf("%d hashes, %d pages: hash %d is not in page %d", n, pageCount, i, p.page)
					}
				}
			}
			wrong := 0
			for range 1000 {
				if find(rng.Uint64()) != 0 {
					wrong++
				}
			}
			if wrong > 450 { // 4 entries a slot, a sixteenth of which has the same four bits: a quarter
				t.Errorf("%d hashes, %d pages: %d of 1000 others are found", n, pageCount, wrong)
			}
		}
	}
}

// TestLocatorOfEqualHashes: one value everywhere is 16 entries; more in a slot than it can count makes no locator.
func TestLocatorOfEqualHashes(t *testing.T) {
	m := &chunkMeta{pages: make([]pageMeta, 16)}
	var pages []locatorPage
	for p := range 16 {
		pages = append(pages, locatorPage{page: p, end: (p + 1) * 64})
	}
	l, data := locatorOf(m, pages, make([]uint64, 1024))
	if len(l.sections) != 1 || l.find(data, 0) != 1<<locatorParts-1 || len(data) != 1<<l.slotBits+16 {
		t.Errorf("one value in all parts: found in %x, %d bytes", l.find(data, 0), len(data))
	}
	hashes := make([]uint64, 1024)
	for i := range hashes {
		hashes[i] = uint64(i%16) << (60 - l.slotBits) // all of the first slot, in each part with all tags
	}
	if l, data := locatorOf(m, pages, hashes); len(l.sections) > 0 || data != nil {
		t.Errorf("a slot of 256 entries: %d bytes", len(data))
	}
}

// spanFile is a segment whose ids are stored value by value, three rows in a row or far apart having one id.
func spanFile(t *testing.T, fs vfs.FS, version uint16) (table *schema.Table, ids []string) {
	t.Helper()
	table, err := schema.New(schema.Table{Name: "ids", Columns: []schema.Column{
		{Name: "time", Type: schema.Timestamp, Role: schema.Time},
		{Name: "id", Type: schema.Varchar, Bloom: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(fs, "seg", table, Options{PageRows: 64, RowGroupRows: 2000, DictionaryBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.index.version = version
	b := batch.NewBuilder(table)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range 6000 {
		ids = append(ids, fmt.Sprintf("%032x", rng.Uint64()))
		if i%3 > 0 {
			ids[i] = ids[i-1]
			if i%2 == 0 {
				ids[i] = ids[rng.IntN(i)]
			}
		}
		b.Int(0, int64(i))
		b.Text(1, []byte(ids[i]))
		b.EndRow()
	}
	if err := w.Append(b.Seal(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Finish(); err != nil {
		t.Fatal(err)
	}
	return table, ids
}

// TestLookupByID gives the same rows with and without locators, which files of version 2 do not have, from fewer pages.
func TestLookupByID(t *testing.T) {
	var pages [2]int
	for k, version := range []uint16{versionLocator - 1, formatVersion} {
		fs := vfs.NewMem()
		table, ids := spanFile(t, fs, version)
		r := mustOpen(t, fs, "seg", table)
		if r.Info().Format != int(version) {
			t.Fatalf("version %d", r.Info().Format)
		}
		if err := r.Verify(context.Background()); err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(ids); i += 50 {
			want := 0
			for _, id := range ids {
				if id == ids[i] {
					want++
				}
			}
			got, units := lookUp(t, r, table, ids[i])
			if got != want {
				t.Fatalf("version %d: %d rows of id %d, not %d", version, got, i, want)
			}
			pages[k] += units
		}
		if got, units := lookUp(t, r, table, "none"); got != 0 || units > 3 {
			t.Errorf("%d rows, %d pages of an id that is not there", got, units)
		}
	}
	if pages[1]*5 > pages[0] {
		t.Errorf("%d pages read with locators, %d without", pages[1], pages[0])
	}
}

func lookUp(t *testing.T, r *Reader, table *schema.Table, id string) (rows, units int) {
	t.Helper()
	req := everything(table)
	req.Terms = []pred.Term{{Column: 1, Kind: pred.Text, Equal: [][]byte{[]byte(id)}, Match: func(v []byte) bool { return string(v) == id }}}
	var s Scratch
	var dst batch.Batch
	list := r.Units(req)
	for _, u := range list {
		if err := r.Read(context.Background(), u, req, &s, &dst); err != nil {
			t.Fatal(err)
		}
		rows += dst.N
	}
	return rows, len(list)
}

// TestDamagedLocator loses no row, and Verify tells.
func TestDamagedLocator(t *testing.T) {
	fs := vfs.NewMem()
	table, ids := spanFile(t, fs, formatVersion)
	data, err := vfs.ReadFile(fs, "seg", 0)
	if err != nil {
		t.Fatal(err)
	}
	r := mustOpen(t, fs, "seg", table)
	l := &r.open.index.groups[0].chunks[1].locator
	if len(l.sections) == 0 {
		t.Fatal("there is no locator")
	}
	for i := range l.bytes() {
		data[l.off+i] = 0
	}
	putFile(t, fs, "damaged", data)
	damaged := mustOpen(t, fs, "damaged", table)
	for i := 0; i < 2000; i += 100 {
		want, _ := lookUp(t, r, table, ids[i])
		if got, _ := lookUp(t, damaged, table, ids[i]); got != want {
			t.Errorf("id %d: %d rows, not %d", i, got, want)
		}
	}
	if err := damaged.Verify(context.Background()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("verify: %v", err)
	}
}
