package db

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/flowlake/flowlake/db/vfs"
)

func openAt(t *testing.T, fsys vfs.FS, dir string) *DB {
	t.Helper()
	d, err := Open(dir, options(fsys, func(o *Options) { o.Tables = eventsOnly }))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func restoreEvents(fsys vfs.FS, src, dir string) error {
	return Restore(context.Background(), fsys, src, dir, func(o *RestoreOptions) { o.Verify = withEvents })
}

func TestBackupAndRestore(t *testing.T) {
	for _, how := range []string{"links", "copies", "no links"} {
		t.Run(how, func(t *testing.T) {
			mem := vfs.NewMem()
			var rules vfs.Rules
			if how == "no links" {
				rules.Add(vfs.Rule{Kinds: vfs.OpLink, Fault: vfs.Fault{Err: syscall.EXDEV}})
			}
			fsys := vfs.NewInjecting(mem, &rules)
			d := mustOpen(t, fsys)
			mustWrite(t, d, rowsOf(0, 300))
			var last VerifyProgress
			err := d.Backup(context.Background(), "backup", func(o *BackupOptions) {
				o.Copy, o.Progress = how == "copies", func(p VerifyProgress) { last = p }
			})
			if err != nil {
				t.Fatal(err)
			}
			if last.Files != last.TotalFiles || last.Files == 0 || last.Bytes != last.TotalBytes || last.Bytes == 0 {
				t.Fatalf("progress %+v", last)
			}
			mustWrite(t, d, rowsOf(300, 50))
			equalIDs(t, "the original", allIDs(t, d), upTo(350))
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if p := verifyFolder(t, fsys, "backup"); len(p) > 0 {
				t.Fatalf("the backup: %v", p)
			}
			if err := restoreEvents(fsys, "backup", "back"); err != nil {
				t.Fatal(err)
			}
			before := listAll(fsys, "backup")
			r := openAt(t, fsys, "back")
			equalIDs(t, "restored", allIDs(t, r), upTo(300))
			mustWrite(t, r, rowsOf(300, 20))
			if err := r.Compact(context.Background()); err != nil {
				t.Fatal(err)
			}
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			r = openAt(t, fsys, "back")
			equalIDs(t, "restored, written to and opened again", allIDs(t, r), upTo(320))
			r.Close()
			if after := listAll(fsys, "backup"); !slices.Equal(before, after) {
				t.Fatalf("the backup changed: %q, %q", before, after)
			}
			for _, err := range []error{restoreEvents(fsys, "backup", "back"), restoreEvents(fsys, "backup", "backup/in"), restoreEvents(fsys, "none", "x")} {
				if err == nil {
					t.Fatal("a restore that has to be refused")
				}
			}
		})
	}
}

// A folder that was killed is restored with its log.
func TestRestoreOfADataFolder(t *testing.T) {
	mem, _ := damageable(t)
	want := mustOpen(t, copyOf(mem))
	ids := allIDs(t, want)
	want.Close()
	if err := restoreEvents(mem, "data", "back"); err != nil {
		t.Fatal(err)
	}
	r := openAt(t, mem, "back")
	equalIDs(t, "restored", allIDs(t, r), ids)
	if err := restoreEvents(mem, "back", "again"); !errors.Is(err, ErrLocked) {
		t.Fatalf("of a folder in use: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := restoreEvents(mem, "back", "again"); err != nil {
		t.Fatal(err)
	}
}

func TestRestoreRefusesDamage(t *testing.T) {
	mem, segments := damageable(t)
	flip(t, mem, "data/"+segments[0].Path, 40)
	err := restoreEvents(mem, "data", "back")
	var damaged *DamagedError
	if !errors.Is(err, ErrCorrupt) || !errors.As(err, &damaged) || len(damaged.Problems) != 1 || !strings.Contains(err.Error(), segments[0].Path) {
		t.Fatalf("restored: %v", err)
	}
	if _, err := mem.Stat("back"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("something was written: %v", err)
	}
}

func TestBackupRefusesFolders(t *testing.T) {
	mem := vfs.NewMem()
	d := mustOpen(t, mem)
	defer d.Close()
	mustWrite(t, d, rowsOf(0, 30))
	if err := write(mem, "full/thesis", "text"); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"full", "data", "data/tables/backup"} {
		if err := d.Backup(context.Background(), dir); !errors.Is(err, ErrNotAFolder) {
			t.Errorf("into %s: %v", dir, err)
		}
	}
}

// However far a backup or a restore comes before the machine stops or the disk fails: the copy is whole, or does not open
// and is told apart; the source is as it was.
func TestBackupAndRestoreCutAnywhere(t *testing.T) {
	source, _ := damageable(t)
	for _, c := range []struct {
		name string
		run  func(fsys vfs.FS) error
	}{
		{"backup by links", func(fsys vfs.FS) error {
			return backupOnce(fsys, false)
		}},
		{"backup by copies", func(fsys vfs.FS) error {
			return backupOnce(fsys, true)
		}},
		{"restore", func(fsys vfs.FS) error { return restoreEvents(fsys, "data", "copy") }},
	} {
		t.Run(c.name, func(t *testing.T) {
			whole, cut := 0, 0
			for n := 0; ; n++ {
				mem := copyOf(source)
				var rules vfs.Rules
				rules.Add(vfs.Rule{Kinds: vfs.OpChanges, Skip: n, Fault: vfs.Fault{Err: syscall.EIO}})
				err := c.run(vfs.NewInjecting(mem, &rules))
				for _, keep := range []float64{0, 0.5, 1} {
					after := mem.CrashClone(vfs.CrashConfig{Seed: uint64(n), KeepUnsynced: keep})
					if judgeCopy(t, after, err == nil) {
						whole++
					} else {
						cut++
					}
				}
				if err == nil {
					break
				}
			}
			if whole < 3 || cut < 30 {
				t.Fatalf("%d whole copies, %d that were cut short", whole, cut)
			}
		})
	}
}

func backupOnce(fsys vfs.FS, copies bool) error {
	d, err := Open("data", options(fsys, func(o *Options) { o.Tables, o.NoCompaction = eventsOnly, true }))
	if err != nil {
		return err
	}
	return errors.Join(d.Backup(context.Background(), "copy", func(o *BackupOptions) { o.Copy = copies }), d.Close())
}

// judgeCopy says whether the copy is whole; it must be when done.
func judgeCopy(t *testing.T, fsys *vfs.Mem, done bool) (whole bool) {
	t.Helper()
	want := 70
	if p := verifyFolder(t, fsys, "data"); len(p) > 0 {
		t.Fatalf("the source: %v", p)
	}
	if _, err := fsys.Stat("copy/OPTIONS"); err == nil {
		if p := verifyFolder(t, fsys, "copy"); len(p) > 0 {
			t.Fatalf("the copy: %v", p)
		}
		c := openAt(t, fsys, "copy")
		defer c.Close()
		if ids := allIDs(t, c); len(ids) != want {
			t.Fatalf("the copy has %d rows", len(ids))
		}
		return true
	}
	if done {
		t.Fatal("a copy that was acknowledged is not there")
	}
	names, err := fsys.List("copy")
	if err != nil || slices.Equal(names, []string{"tmp"}) || len(names) == 0 {
		return false // nothing yet: as good as an empty folder
	}
	if _, err := Open("copy", options(fsys)); !errors.Is(err, ErrNotAFolder) && !errors.Is(err, fs.ErrNotExist) {
		// OPTIONS.tmp alone beside tmp is a first start cut short; with files of a copy it is none
		t.Fatalf("half a copy (%q) opens: %v", names, err)
	}
	return false
}

// A backup of somebody else must not have a restore read or write outside of its folders.
func TestRestoreStaysInItsFolder(t *testing.T) {
	for _, e := range []*edit{
		{Add: []segmentMeta{{Table: "events", Path: "../secret.parquet"}}},
		{Add: []segmentMeta{{Table: "events", Path: "tables/../../secret.parquet"}}},
		{Add: []segmentMeta{{Table: "events", Path: "/secret.parquet"}}},
		{Add: []segmentMeta{{Table: "events", Path: "tables//x"}}},
		{Add: []segmentMeta{{Table: "events", Path: ""}}},
		{Tags: []tagFile{{Path: "tags/../OPTIONS", From: 1, To: 2}}},
		{Tags: []tagFile{{Path: "../tags/x", From: 1, To: 2}}},
	} {
		mem := vfs.NewMem()
		if err := errors.Join(write(mem, "src/OPTIONS", `{"format":1}`), write(mem, "secret.parquet", "text")); err != nil {
			t.Fatal(err)
		}
		f, _, err := createManifest(mem, "src/MANIFEST", e.magic(), e)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		err = restoreEvents(mem, "src", "back")
		var damaged *DamagedError
		if !errors.As(err, &damaged) || damaged.Problems[0].Kind != ProblemManifest {
			t.Errorf("%+v: %v", e, err)
		}
		if _, err := mem.Stat("back"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: something was written", e)
		}
	}
}
