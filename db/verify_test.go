package db

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/flowlake/flowlake/db/vfs"
)

// damageable is a folder with several segments, tag files and log records that are in no segment yet, as a killed process
// leaves it.
func damageable(t *testing.T) (*vfs.Mem, []SegmentInfo) {
	t.Helper()
	mem := vfs.NewMem()
	d := mustOpen(t, mem, func(o *Options) { o.NoCompaction, o.HeadBytes = true, 1<<20 })
	for i := range 4 {
		mustWrite(t, d, rowsOf(i*10, 10))
		mustFlush(t, d)
	}
	for i := range 3 {
		mustWrite(t, d, rowsOf(100+i*10, 10))
	}
	left := mem.CrashClone(vfs.CrashConfig{})
	segments := d.Segments()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return left, segments
}

func withEvents(o *VerifyOptions) { o.Tables = eventsOnly }

func verifyFolder(t *testing.T, fsys vfs.FS, dir string) []Problem {
	t.Helper()
	p, err := VerifyFolder(context.Background(), fsys, dir, nil, withEvents)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func copyOf(m *vfs.Mem) *vfs.Mem { return m.CrashClone(vfs.CrashConfig{KeepUnsynced: 1}) }

func namesOf(t *testing.T, fsys vfs.FS, dir string) []string {
	t.Helper()
	names, err := fsys.List("data/" + dir)
	if err != nil || len(names) == 0 {
		t.Fatalf("%s has %q, %v", dir, names, err)
	}
	for i := range names {
		names[i] = dir + "/" + names[i]
	}
	return names
}

func TestVerifyFolderFindsFlippedBytes(t *testing.T) {
	mem, segments := damageable(t)
	if p := verifyFolder(t, mem, "data"); len(p) > 0 {
		t.Fatalf("a sound folder: %v", p)
	}
	size := func(name string) int64 {
		st, err := mem.Stat("data/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	seg, tag, log := segments[0].Path, namesOf(t, mem, "tags")[0], namesOf(t, mem, "wal")[0]
	for _, c := range []struct {
		kind, file string
		at         int64
	}{
		{ProblemOptions, "OPTIONS", 0},
		{ProblemManifest, "MANIFEST", 3},
		{ProblemManifest, "MANIFEST", 20},
		{ProblemSegment, seg, 0},
		{ProblemSegment, seg, 40},
		{ProblemSegment, seg, size(seg) / 2},
		{ProblemSegment, seg, size(seg) - 3},
		{ProblemTags, tag, 40},
		{ProblemTags, tag, size(tag) - 20},
		{ProblemLog, log, 10},
	} {
		t.Run(fmt.Sprintf("%s at %d", c.file, c.at), func(t *testing.T) {
			fsys := copyOf(mem)
			flip(t, fsys, "data/"+c.file, c.at)
			before := listAll(fsys, "data")
			found := verifyFolder(t, fsys, "data")
			if len(found) != 1 {
				t.Fatalf("%d problems: %v", len(found), found)
			}
			p := found[0]
			if p.Kind != c.kind || p.File != c.file || p.Reason == "" {
				t.Fatalf("found %+v", p)
			}
			if p.Offset < 0 || p.Offset > c.at && c.kind != ProblemSegment && c.kind != ProblemTags {
				t.Fatalf("offset %d, the byte is %d", p.Offset, c.at)
			}
			if c.kind == ProblemSegment && (p.Table != "events" || p.Rows != segments[0].Rows) {
				t.Fatalf("found %+v", p)
			}
			if after := listAll(fsys, "data"); !slices.Equal(before, after) {
				t.Fatalf("the folder was changed: %q, %q", before, after)
			}
		})
	}
}

// (Only the page index, for other readers, has no checksum: docs/format/segment.md.) A flipped byte in the pages of a segment is found, at an offset that is not after it and not far before.
func TestVerifyNamesTheOffset(t *testing.T) {
	mem, segments := damageable(t)
	for at := int64(4); at < 420; at += 13 {
		fsys := copyOf(mem)
		flip(t, fsys, "data/"+segments[1].Path, at)
		p := verifyFolder(t, fsys, "data")
		if len(p) != 1 || p[0].File != segments[1].Path || p[0].Offset > at || p[0].Offset < at-600 {
			t.Fatalf("byte %d: %v", at, p)
		}
	}
}

func TestVerifyFolderLogRecord(t *testing.T) {
	mem, _ := damageable(t)
	log := namesOf(t, mem, "wal")[0]
	st, err := mem.Stat("data/" + log)
	if err != nil {
		t.Fatal(err)
	}
	content, err := vfs.ReadFile(mem, "data/"+log, st.Size()+1)
	if err != nil {
		t.Fatal(err)
	}
	at := int64(strings.Index(string(content), "name-"+fmt.Sprint(105%17))) // a value in a record that others follow
	if at < 0 {
		t.Fatal("no value in the log")
	}
	flip(t, mem, "data/"+log, at)
	p := verifyFolder(t, mem, "data")
	if len(p) != 1 || p[0].Kind != ProblemLog || p[0].File != log || p[0].Offset > at || p[0].Offset < 4096 {
		t.Fatalf("byte %d: %v", at, p)
	}
}

func TestVerifyFolderMissingFiles(t *testing.T) {
	mem, segments := damageable(t)
	tagFiles := namesOf(t, mem, "tags")
	for _, c := range []struct {
		kind, remove, reason string
	}{
		{ProblemSegment, segments[2].Path, "missing"},
		{ProblemTags, tagFiles[0], "missing"},
		{ProblemManifest, "MANIFEST", "missing"},
		{ProblemOptions, "OPTIONS", "missing"},
		{ProblemLog, "wal", "records from"},
	} {
		fsys := copyOf(mem)
		if err := fsys.RemoveAll("data/" + c.remove); err != nil {
			t.Fatal(err)
		}
		p := verifyFolder(t, fsys, "data")
		if len(p) != 1 || p[0].Kind != c.kind || p[0].File != c.remove || !strings.Contains(p[0].Reason, c.reason) {
			t.Errorf("without %s: %v", c.remove, p)
		}
	}
}

// With a damaged MANIFEST the files are checked all the same.
func TestVerifyFolderDamagedManifest(t *testing.T) {
	mem, segments := damageable(t)
	flip(t, mem, "data/MANIFEST", 20)
	flip(t, mem, "data/"+segments[3].Path, 40)
	tag := namesOf(t, mem, "tags")[0]
	flip(t, mem, "data/"+tag, 40)
	var files []string
	for _, p := range verifyFolder(t, mem, "data") {
		files = append(files, p.File)
	}
	slices.Sort(files)
	if want := []string{"MANIFEST", segments[3].Path, tag}; !slices.Equal(files, want) {
		t.Fatalf("found %q, want %q", files, want)
	}
}

func TestVerifyFolderComparesWithManifest(t *testing.T) {
	mem, segments := damageable(t)
	a, b := "data/"+segments[0].Path, "data/"+segments[1].Path
	if err := errors.Join(mem.Remove(a), mem.Link(b, a)); err != nil { // a sound file, and the wrong one
		t.Fatal(err)
	}
	p := verifyFolder(t, mem, "data")
	if len(p) != 1 || p[0].File != segments[0].Path || !strings.Contains(p[0].Reason, "MANIFEST says") {
		t.Fatalf("found %v", p)
	}
}

func TestVerifyFolderRefusesOthers(t *testing.T) {
	mem := vfs.NewMem()
	if err := mem.MkdirAll("data"); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyFolder(context.Background(), mem, "data", nil); !errors.Is(err, ErrNotAFolder) {
		t.Fatalf("an empty folder: %v", err)
	}
	if _, err := VerifyFolder(context.Background(), mem, "none", nil); err == nil {
		t.Fatal("no folder")
	}
	if err := write(mem, "data/OPTIONS", `{"format": 99}`); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyFolder(context.Background(), mem, "data", nil); !errors.Is(err, ErrNewerFormat) {
		t.Fatalf("a later version: %v", err)
	}
	sound, _ := damageable(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := VerifyFolder(ctx, sound, "data", nil, withEvents); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
}

// A disk that fails to answer is a problem of that file, not damage, and the others are checked.
func TestVerifyFolderReadFaults(t *testing.T) {
	mem, segments := damageable(t)
	for skip := range 4 {
		var rules vfs.Rules
		rules.Add(vfs.Rule{Kinds: vfs.OpRead, Pattern: "data/" + segments[1].Path, Skip: skip, Fault: vfs.Fault{Err: syscall.EIO}})
		p := verifyFolder(t, vfs.NewInjecting(mem, &rules), "data")
		if len(p) != 1 || p[0].File != segments[1].Path || p[0].corrupt || !strings.Contains(p[0].Reason, "cannot be read") {
			t.Fatalf("from read %d on: %v", skip, p)
		}
	}
}

func TestVerifyOpenDatabase(t *testing.T) {
	mem, segments := damageable(t)
	d := mustOpen(t, mem, func(o *Options) { o.NoCompaction, o.HeadBytes = true, 1<<20 })
	defer d.Close()
	var last VerifyProgress
	p, err := d.Verify(context.Background(), func(p VerifyProgress) { last = p })
	if err != nil || len(p) > 0 {
		t.Fatalf("a sound database: %v, %v", p, err)
	}
	if last.Files != last.TotalFiles || last.Files < 5 || last.Bytes != last.TotalBytes || last.TotalBytes == 0 {
		t.Fatalf("progress %+v", last)
	}
	rows := len(allIDs(t, d))
	flip(t, mem, "data/"+segments[1].Path, 40)
	for _, aside := range []bool{false, true} {
		p, err = d.Verify(context.Background(), nil, func(o *VerifyOptions) { o.SetAside = aside })
		if err != nil || len(p) != 1 || p[0].File != segments[1].Path || p[0].SetAside != aside {
			t.Fatalf("found %+v, %v", p, err)
		}
		if n := d.Metrics().Quarantined; n > 0 != aside {
			t.Fatalf("%d set aside", n)
		}
	}
	if p, err = d.Verify(context.Background(), nil); err != nil || len(p) > 0 {
		t.Fatalf("afterwards: %v, %v", p, err)
	}
	if n := len(allIDs(t, d)); n != rows-int(segments[1].Rows) {
		t.Fatalf("%d rows", n)
	}
}

// Verify beside writers, flushes and merges finds nothing, and writers go on.
func TestVerifyBesideWriters(t *testing.T) {
	mem := vfs.NewMem()
	d := mustOpen(t, mem)
	defer d.Close()
	mustWrite(t, d, rowsOf(0, 50))
	done := make(chan error, 1)
	go func() {
		for i := 1; i < 60; i++ {
			if err := d.Write(context.Background(), rowsOf(i*50, 50)); err != nil {
				done <- err
				return
			}
			if i%20 == 0 {
				if err := d.Compact(context.Background()); err != nil {
					done <- err
					return
				}
			}
		}
		done <- nil
	}()
	for running := true; running; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			running = false
		default:
		}
		p, err := d.Verify(context.Background(), nil)
		if err != nil || len(p) > 0 {
			t.Fatalf("open: %v, %v", p, err)
		}
		if p := verifyFolder(t, mem, "data"); len(p) > 0 {
			t.Fatalf("as a folder in use: %v", p)
		}
	}
}

// Setting aside may fail at every file operation: it is told, the other rows are there, and it works once the disk does.
func TestVerifySetAsideFaults(t *testing.T) {
	source, segments := damageable(t)
	flip(t, source, "data/"+segments[1].Path, 40)
	aside := func(o *VerifyOptions) { o.SetAside = true }
	failed := 0
	for n := 0; ; n++ {
		mem := copyOf(source)
		var rules vfs.Rules
		fsys := vfs.NewInjecting(mem, &rules)
		d := mustOpen(t, fsys, func(o *Options) { o.NoCompaction, o.HeadBytes, o.ScrubEvery = true, 1<<20, -1 })
		rules.Add(vfs.Rule{Kinds: vfs.OpChanges, Skip: n, Fault: vfs.Fault{Err: syscall.EIO}})
		p, err := d.Verify(context.Background(), nil, aside)
		if len(p) != 1 || p[0].File != segments[1].Path || p[0].SetAside != (err == nil) {
			t.Fatalf("operation %d fails: %v, %v", n, p, err)
		}
		rules.Clear()
		if again, rerr := d.Verify(context.Background(), nil, aside); rerr != nil || len(again) > 1 {
			t.Fatalf("operation %d has failed: %v, %v", n, again, rerr)
		}
		if ids := allIDs(t, d); len(ids) != 70-int(segments[1].Rows) {
			t.Fatalf("operation %d has failed: %d rows", n, len(ids))
		}
		if cerr := d.Close(); cerr != nil {
			t.Fatal(cerr)
		}
		if p := verifyFolder(t, mem, "data"); len(p) > 0 {
			t.Fatalf("operation %d has failed, afterwards: %v", n, p)
		}
		if _, serr := mem.Stat("data/quarantine/" + quarantineName(segments[1].Path)); serr != nil {
			t.Fatalf("operation %d has failed: %v", n, serr)
		}
		if err == nil {
			break
		}
		failed++
	}
	if failed < 3 {
		t.Fatalf("%d operations failed", failed)
	}
}
