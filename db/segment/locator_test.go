package segment

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// TestLocatorFinds every value in its part, and few others.
func TestLocatorFinds(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 9))
	for _, byPage := range []bool{true, false} {
		for _, n := range []int{2, 3, 50, 1000, 5000, 70_000} {
			for _, pageCount := range []int{2, 7, 16, 100} {
				locatorFinds(t, rng, n, pageCount, byPage)
			}
		}
	}
}

func locatorFinds(t *testing.T, rng *rand.Rand, n, pageCount int, byPage bool) {
	m := &chunkMeta{pages: make([]pageMeta, pageCount)}
	hashes := make([]uint64, n)
	var pages []locatorPage
	for i := range hashes {
		if hashes[i] = rng.Uint64(); i > 0 && rng.IntN(4) == 0 {
			hashes[i] = hashes[rng.IntN(i)] // in several pages
		}
	}
	for p := range pageCount {
		m.pages[p].rows = uint32((p+1)*n/pageCount - p*n/pageCount)
		pages = append(pages, locatorPage{page: p, end: (p + 1) * n / pageCount})
	}
	l, data := locatorOf(m, pages, hashes, byPage)
	if int64(len(data)) != l.bytes() || len(data) > 3*n+16 || byPage && len(data) > 2*n+16 {
		t.Fatalf("%d hashes, %d pages: %d bytes, %d said", n, pageCount, len(data), l.bytes())
	}
	find := func(h uint64) (parts partSet) {
		s := l.sections[l.section(h)]
		l.find(&parts, data[s.at:s.at+s.size], h)
		return parts
	}
	row, starts := 0, m.starts()
	for _, p := range pages {
		for ; row < p.end; row++ {
			parts := find(hashes[row])
			if byPage {
				if !parts.has(m.pagePart(p.page)) {
					t.Fatalf("%d hashes, %d pages: hash %d is not in page %d", n, pageCount, row, p.page)
				}
				continue
			}
			first, rows := starts[p.page], int(m.pages[p.page].rows)
			u := Unit{slices: parts.slices(first, rows, n)}
			if !slices.Contains(u.rows(nil, rows), int32(row-first)) {
				t.Fatalf("%d hashes, %d pages: hash %d is not in slices %x of page %d", n, pageCount, row, u.slices, p.page)
			}
		}
	}
	wrong := 0
	for range 1000 {
		if find(rng.Uint64()) != (partSet{}) {
			wrong++
		}
	}
	most := 450 // 4 entries a slot, a sixteenth of which has the same four bits: a quarter
	if !byPage {
		most = 60
	}
	if wrong > most {
		t.Errorf("%d hashes, %d pages: %d of 1000 others are found", n, pageCount, wrong)
	}
}

// TestLocatorOfEqualHashes: one value everywhere is 16 entries, or one; more in a slot than it can count makes no locator.
func TestLocatorOfEqualHashes(t *testing.T) {
	m := &chunkMeta{pages: make([]pageMeta, 16)}
	var pages []locatorPage
	for p := range 16 {
		m.pages[p].rows = 64
		pages = append(pages, locatorPage{page: p, end: (p + 1) * 64})
	}
	for _, byPage := range []bool{true, false} {
		l, data := locatorOf(m, pages, make([]uint64, 1024), byPage)
		var parts partSet
		l.find(&parts, data, 0)
		want, size := partSet{1<<locatorPages - 1}, 16
		if !byPage {
			want, size = partSet{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)}, 2
		}
		if len(l.sections) != 1 || parts != want || len(data) != 1<<l.slotBits+size {
			t.Errorf("one value in all parts: found in %x, %d bytes", parts, len(data))
		}
		hashes := make([]uint64, 1024)
		for i := range hashes { // all of the first slot, in each part with all tags
			hashes[i] = uint64(i%16) << (60 - l.slotBits)
			if !byPage {
				hashes[i] = uint64(i%256) << (56 - l.slotBits)
			}
		}
		if l, data := locatorOf(m, pages, hashes, byPage); len(l.sections) > 0 || data != nil {
			t.Errorf("a slot of 256 entries: %d bytes", len(data))
		}
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
	var pages [3]int
	for k, version := range []uint16{versionLocator - 1, versionRows - 1, formatVersion} {
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
	if pages[1]*5 > pages[0] || pages[2] > pages[1] {
		t.Errorf("%d pages read without locators, %d with those of pages, %d with those of rows", pages[0], pages[1], pages[2])
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
