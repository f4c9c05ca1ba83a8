package batch

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/flowlake/flowlake/db/schema"
)

// withIDs gives every other tag set of a batch an id, as a database does that knows it: entry i has the id 1000+i.
func withIDs(b *Batch) []*TagIDs {
	out := make([]*TagIDs, len(b.Cols))
	for i, v := range b.Cols {
		if v == nil || v.Type != schema.TagSet {
			continue
		}
		var fresh []string
		var lut []uint32
		for k := range v.Dict.Len() {
			if k%2 == 1 {
				lut = append(lut, uint32(len(fresh)))
				fresh = append(fresh, v.Dict.String(k))
			} else {
				lut = append(lut, 1000+uint32(k))
			}
		}
		t := &TagIDs{Sets: DictOf(fresh...)}
		for _, c := range v.Codes {
			if c%2 == 0 {
				t.Codes = append(t.Codes, lut[c]+uint32(len(fresh)))
			} else {
				t.Codes = append(t.Codes, lut[c])
			}
		}
		out[i] = t
	}
	return out
}

// inRange makes a random batch whose booleans are some.
func inRange(tab *schema.Table, rng *rand.Rand, rows int) *Batch {
	b := randomBatch(tab, rng, rows)
	if v := b.Cols[tab.MustColumn("b")]; v != nil {
		for i := range v.I64 {
			v.I64[i] &= 1
		}
	}
	return b
}

// TestEncodeWithIDs checks that what Encode returns is what Open makes of its frame, and that both say what was put in.
func TestEncodeWithIDs(t *testing.T) {
	tab, reg := testTable(t)
	tagCol := tab.MustColumn("tags")
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 5))
		b := inRange(tab, rng, 1+rng.IntN(300))
		ids := withIDs(b)
		made, err := Encode(b, ids)
		if err != nil {
			t.Fatal(err)
		}
		read, err := Open(made.Bytes(), reg)
		if err != nil {
			t.Fatal(err)
		}
		lo, hi, _ := b.TimeRange()
		for what, v := range map[string]*View{"made": made, "read": read} {
			if v.N != b.N || v.MinTime != lo || v.MaxTime != hi || v.Table != tab {
				t.Fatalf("%s: %d rows from %d to %d", what, v.N, v.MinTime, v.MaxTime)
			}
			for col := range tab.Columns {
				if v.Has(col) != (b.Cols[col] != nil) {
					t.Fatalf("%s: column %d is there: %v", what, col, v.Has(col))
				}
				if col != tagCol && v.Has(col) {
					checkColumn(t, v, col, b.Cols[col])
				}
			}
			if ids[tagCol] != nil {
				checkIDs(t, v, tagCol, ids[tagCol])
			}
		}
	}
}

func checkColumn(t *testing.T, v *View, col int, want *Vector) {
	t.Helper()
	var got Vector
	if err := v.Column(col, &got); err != nil {
		t.Fatal(err)
	}
	for i := range v.N {
		if value(&got, i) != value(want, i) {
			t.Fatalf("column %d, row %d is %v, want %v", col, i, value(&got, i), value(want, i))
		}
	}
}

func checkIDs(t *testing.T, v *View, col int, want *TagIDs) {
	t.Helper()
	var got Vector
	if !v.HasIDs(col) || v.Column(col, &got) == nil {
		t.Fatal("the column has no ids, or can be read as if it had none")
	}
	if err := v.Codes(col, &got); err != nil || !slices.Equal(got.Codes, want.Codes) {
		t.Fatalf("codes %v (%v), want %v", got.Codes, err, want.Codes)
	}
	sets, top, err := v.Sets(col)
	if err != nil || sets.Len() != want.Sets.Len() {
		t.Fatalf("%d sets (%v), want %d", sets.Len(), err, want.Sets.Len())
	}
	for i := range sets.Len() {
		if sets.String(i) != want.Sets.String(i) {
			t.Fatalf("set %d is %q", i, sets.At(i))
		}
	}
	wantTop := uint32(0)
	for _, c := range want.Codes {
		if c >= uint32(sets.Len()) {
			wantTop = max(wantTop, c-uint32(sets.Len())+1)
		}
	}
	if top != wantTop {
		t.Fatalf("ids below %d, want %d", top, wantTop)
	}
}

func TestEncodeRefuses(t *testing.T) {
	tab, reg := testTable(t)
	b := inRange(tab, rand.New(rand.NewPCG(1, 1)), 50)
	tagCol, boolCol, nullCol := tab.MustColumn("tags"), tab.MustColumn("b"), tab.MustColumn("ni")
	ids := withIDs(b)
	ids[tagCol].Codes = ids[tagCol].Codes[1:]
	if _, err := Encode(b, ids); !errors.Is(err, ErrBadFrame) {
		t.Errorf("ids for one row less: %v", err)
	}
	if _, err := Encode(b, make([]*TagIDs, len(b.Cols))); err != nil {
		t.Errorf("no ids: %v", err)
	}
	for _, c := range []struct {
		col   int
		value int64
	}{{boolCol, 2}, {boolCol, -1}, {nullCol, 1 << 31}, {nullCol, -1<<31 - 1}, {nullCol, -1 << 63}} {
		bad := inRange(tab, rand.New(rand.NewPCG(1, 1)), 50)
		bad.Cols[c.col].I64[7] = c.value
		if _, err := Encode(bad, nil); !errors.Is(err, ErrRange) {
			t.Errorf("%d in %s: %v", c.value, tab.Columns[c.col].Name, err)
		}
		if _, err := AppendFrame(nil, bad); err != nil {
			t.Errorf("%d in %s of a frame: %v", c.value, tab.Columns[c.col].Name, err)
		}
	}
	bad := inRange(tab, rand.New(rand.NewPCG(1, 1)), 50)
	bad.Cols[tab.MustColumn("s")].Codes[3] = uint32(bad.Cols[tab.MustColumn("s")].Dict.Len())
	if _, err := Encode(bad, nil); !errors.Is(err, ErrBadFrame) || CheckShape(bad) != nil || Check(bad) == nil {
		t.Errorf("a code beyond its dictionary: %v", err)
	}
	// A frame of version 1 is read, but has no ids.
	old, err := AppendFrame(nil, b)
	if err != nil {
		t.Fatal(err)
	}
	old[3] = oldVersion
	if _, err := Open(old, reg); err != nil {
		t.Errorf("version 1: %v", err)
	}
	v, err := Encode(b, withIDs(b))
	if err != nil {
		t.Fatal(err)
	}
	v.Bytes()[3] = oldVersion
	if _, err := Open(v.Bytes(), reg); !errors.Is(err, ErrBadFrame) {
		t.Errorf("ids in a frame of version 1: %v", err)
	}
}
