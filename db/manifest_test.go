package db

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"github.com/flowlake/flowlake/db/vfs"
)

func testEdits() []*edit {
	return []*edit{
		{Flushed: 3, NextSeq: 2, Add: []segmentMeta{{Table: "events", Path: "a", Rows: 1}}, Tags: []tagFile{{Path: "t", From: 1, To: 4}}},
		{Flushed: 9, NextSeq: 4, Add: []segmentMeta{{Table: "events", Path: "b"}, {Table: "events", Path: "c"}}},
		{Drop: []string{"a", "b"}, Add: []segmentMeta{{Table: "events", Path: "d", Level: 1}}},
		{Quarantine: []quarantined{{Path: "c", Reason: "why"}}},
	}
}

// TestManifestCutAnywhere cuts the file at every byte: the edits that are whole count, the rest is gone.
func TestManifestCutAnywhere(t *testing.T) {
	file := []byte(manifestMagic)
	ends := []int{len(file)}
	for _, e := range testEdits() {
		var err error
		if file, err = appendRecord(file, e); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, len(file))
	}
	for n := len(manifestMagic); n <= len(file); n++ {
		whole := 0
		for _, end := range ends[1:] {
			if n >= end {
				whole++
			}
		}
		edits := 0
		off, err := readManifest(bytes.NewReader(file[:n]), int64(n), "MANIFEST", func(int64, *edit) error { edits++; return nil })
		if whole == 0 && n > ends[0] { // the first record was whole before the file got its name
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut at %d, in the first record: %v", n, err)
			}
			continue
		}
		if err != nil || edits != whole || off != int64(ends[whole]) {
			t.Fatalf("cut at %d: %d edits up to %d, %v; want %d up to %d", n, edits, off, err, whole, ends[whole])
		}
	}
}

// TestManifestDamage changes every byte: in the middle it is an error or at least never a silent loss of later edits.
func TestManifestDamage(t *testing.T) {
	file := []byte(manifestMagic)
	last := 0
	for _, e := range testEdits() {
		var err error
		last = len(file)
		if file, err = appendRecord(file, e); err != nil {
			t.Fatal(err)
		}
	}
	for i := range last {
		bad := bytes.Clone(file)
		bad[i] ^= 0x20
		_, err := readManifest(bytes.NewReader(bad), int64(len(bad)), "MANIFEST", func(int64, *edit) error { return nil })
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerFormat) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
}

func TestManifestRewrite(t *testing.T) {
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll("d/tmp"); err != nil {
		t.Fatal(err)
	}
	m, err := openManifest(fsys, "d")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range testEdits() {
		if _, err := m.commit(e); err != nil {
			t.Fatal(err)
		}
	}
	want := fmt.Sprintf("%+v", m.contents)
	if err := m.rewrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.commit(&edit{Flushed: 11}); err != nil {
		t.Fatal(err)
	}
	if inDoubt, err := m.commit(&edit{Drop: []string{"nope"}}); err == nil || inDoubt {
		t.Fatal("an edit that cannot be was taken")
	}
	m.close()
	again, err := openManifest(fsys, "d")
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if again.flushed != 11 {
		t.Fatalf("flushed %d", again.flushed)
	}
	again.flushed = 9
	if got := fmt.Sprintf("%+v", again.contents); got != want {
		t.Fatalf("\n got %s\nwant %s", got, want)
	}
}

func TestInspectManifest(t *testing.T) {
	fsys := vfs.NewMem()
	d := mustOpen(t, fsys)
	mustWrite(t, d, rowsOf(0, 10))
	mustFlush(t, d)
	defer d.Close()
	var added, tagFiles int
	if err := InspectManifest(fsys, "data", func(e ManifestEdit) error {
		added += len(e.Added)
		tagFiles += len(e.TagFiles)
		return nil
	}); err != nil || added != 1 || tagFiles != 1 {
		t.Fatalf("%d segments, %d tag files, %v", added, tagFiles, err)
	}
}

func FuzzManifest(f *testing.F) {
	file := []byte(manifestMagic)
	f.Add(file)
	for _, e := range testEdits() {
		var err error
		if file, err = appendRecord(file, e); err != nil {
			f.Fatal(err)
		}
		f.Add(bytes.Clone(file))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c := newContents()
		off, err := readManifest(bytes.NewReader(data), int64(len(data)), "MANIFEST", func(_ int64, e *edit) error { return c.apply(e) })
		if err == nil && off > int64(len(data)) {
			t.Fatalf("read up to %d of %d bytes", off, len(data))
		}
	})
}
