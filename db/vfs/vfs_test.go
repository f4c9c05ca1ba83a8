package vfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// class reduces an error to what callers may ask of it.
func class(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrNotExist):
		return "not exist"
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTEMPTY):
		return "exist"
	case errors.Is(err, io.EOF):
		return "eof"
	}
	return "other"
}

// randomOps does n random operations below root and describes each with its outcome.
func randomOps(fsys FS, root string, seed uint64, n int) (trace []string) {
	rng := rand.New(rand.NewPCG(seed, 1))
	names := []string{"a", "b", "d/a", "d/b", "d", "d/e/a", "d/e", "missing/x", "a/x"}
	name := func() (string, string) {
		s := names[rng.IntN(len(names))]
		return s, filepath.Join(root, filepath.FromSlash(s))
	}
	var files []File
	log := func(format string, args ...any) { trace = append(trace, fmt.Sprintf(format, args...)) }
	for range n {
		s, p := name()
		s2, p2 := name()
		kind := rng.IntN(18)
		off, size, fill := rng.Int64N(3000), rng.IntN(2000), byte(rng.Uint32())
		pick := rng.IntN(1 << 20)
		var f File
		if len(files) > 0 {
			f = files[pick%len(files)]
		}
		switch kind {
		case 0, 1:
			f, err := []func(string) (File, error){fsys.Create, fsys.OpenReadWrite}[kind](p)
			log("open%d %s: %s", kind, s, class(err))
			if err == nil {
				files = append(files, f)
			}
		case 2:
			log("remove %s: %s", s, class(fsys.Remove(p)))
		case 3:
			if rng.IntN(4) == 0 {
				// No file as parent: what package os says then depends on the system.
				if s != "a/x" {
					log("removeall %s: %s", s, class(fsys.RemoveAll(p)))
				}
			}
		case 4, 5:
			log("rename %s %s: %s", s, s2, class(fsys.Rename(p, p2)))
		case 6:
			log("link %s %s: %s", s, s2, class(fsys.Link(p, p2)))
		case 7, 8:
			log("mkdir %s: %s", s, class(fsys.MkdirAll(p)))
		case 9:
			l, err := fsys.List(p)
			log("list %s: %v %s", s, l, class(err))
		case 10:
			st, err := fsys.Stat(p)
			log("stat %s: %s", s, class(err))
			if err == nil {
				log("dir %v %s", st.IsDir(), st.Name())
				if !st.IsDir() {
					log("size %d", st.Size())
				}
			}
		default:
			if f != nil {
				log("%s", fileOp(f, kind, off, size, fill))
			}
		}
	}
	for _, f := range files {
		b := make([]byte, 8000)
		n, err := f.ReadAt(b, 0)
		log("content %d %x %s close %s", n, b[:min(n, 100)], class(err), class(f.Close()))
		log("after close %s %s", class(f.Close()), class(f.Sync()))
	}
	return trace
}

func fileOp(f File, kind int, off int64, size int, fill byte) string {
	b := bytes.Repeat([]byte{fill}, size)
	switch kind {
	case 11:
		n, err := f.WriteAt(b, off)
		return fmt.Sprint("writeat ", n, class(err))
	case 12:
		n, err := f.Write(b)
		return fmt.Sprint("write ", n, class(err))
	case 13:
		n, err := f.Read(b)
		return fmt.Sprintf("read %d %x %s", n, b[:min(n, 64)], class(err))
	case 14:
		n, err := f.ReadAt(b, off)
		return fmt.Sprintf("readat %d %x %s", n, b[:min(n, 64)], class(err))
	case 15:
		return "truncate " + class(f.Truncate(off))
	case 16:
		return "preallocate " + class(f.Preallocate(off-100, int64(size)))
	}
	st, err := f.Stat()
	if err != nil {
		return class(err)
	}
	return fmt.Sprint("sync ", class(f.Sync()), class(f.SyncData()), st.Size())
}

func TestMemBehavesAsOS(t *testing.T) {
	for seed := range uint64(40) {
		want := randomOps(OS, t.TempDir(), seed, 150)
		mem := NewMem()
		if err := mem.MkdirAll("root"); err != nil {
			t.Fatal(err)
		}
		for what, fsys := range map[string]FS{"mem": mem, "counting": NewCounting(OS, nil)} {
			root := "root"
			if what == "counting" {
				root = t.TempDir()
			}
			got := randomOps(fsys, root, seed, 150)
			for i := range want {
				if i >= len(got) || got[i] != want[i] {
					t.Fatalf("seed %d, step %d: os %q, %s %q", seed, i, want[i], what, got[min(i, len(got)-1)])
				}
			}
		}
	}
}

// write makes a file of the given content; sync says whether its content is durable.
func write(t *testing.T, fsys FS, name, content string, sync bool) {
	t.Helper()
	f, err := fsys.Create(name)
	if err == nil {
		_, err = f.Write([]byte(content))
	}
	if err == nil && sync {
		err = f.SyncData()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func do(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// tree lists all files with their content.
func tree(t *testing.T, fsys FS, dir string) (out []string) {
	t.Helper()
	names, err := fsys.List(dir)
	do(t, err)
	for _, n := range names {
		p := filepath.Join(dir, n)
		if st, err := fsys.Stat(p); err != nil || st.IsDir() {
			do(t, err)
			out = append(out, tree(t, fsys, p)...)
			continue
		}
		b, err := ReadFile(fsys, p, 0)
		do(t, err)
		out = append(out, fmt.Sprintf("%s=%s", p, b))
	}
	return out
}

func TestCrashSemantics(t *testing.T) {
	cases := []struct {
		name string
		do   func(m *Mem)
		// lost is what is left when nothing unsynced survives, all when everything does
		lost, all []string
	}{
		{"nothing synced", func(m *Mem) { write(t, m, "a", "1", false) }, nil, []string{"a=1"}},
		{"content synced, name not", func(m *Mem) { write(t, m, "a", "1", true) }, nil, []string{"a=1"}},
		{"name synced, content not", func(m *Mem) {
			write(t, m, "a", "1", false)
			do(t, SyncDir(m, "/"))
		}, []string{"a="}, []string{"a=1"}},
		{"both synced", func(m *Mem) {
			write(t, m, "a", "1", true)
			do(t, SyncDir(m, "/"))
		}, []string{"a=1"}, []string{"a=1"}},
		{"overwritten", func(m *Mem) {
			write(t, m, "a", "old", true)
			do(t, SyncDir(m, "/"))
			write(t, m, "a", "newer", false)
		}, []string{"a=old"}, []string{"a=newer"}},
		{"renamed without dir sync", func(m *Mem) {
			write(t, m, "a", "1", true)
			write(t, m, "b", "2", true)
			do(t, SyncDir(m, "/"), m.Rename("a", "b"))
		}, []string{"a=1", "b=2"}, []string{"b=1"}},
		{"renamed with dir sync", func(m *Mem) {
			write(t, m, "a", "1", true)
			do(t, m.Rename("a", "b"), SyncDir(m, "/"))
		}, []string{"b=1"}, []string{"b=1"}},
		{"removed without dir sync", func(m *Mem) {
			write(t, m, "a", "1", true)
			do(t, SyncDir(m, "/"), m.Remove("a"))
		}, []string{"a=1"}, nil},
		{"directory not synced", func(m *Mem) {
			do(t, m.MkdirAll("d/e"))
			write(t, m, "d/e/a", "1", true)
			do(t, SyncDir(m, "d/e"), SyncDir(m, "d"))
		}, nil, []string{"d/e/a=1"}},
		{"directories synced", func(m *Mem) {
			do(t, MkdirAllSync(m, "d/e"))
			write(t, m, "d/e/a", "1", true)
			do(t, SyncDir(m, "d/e"))
		}, []string{"d/e/a=1"}, []string{"d/e/a=1"}},
		{"moved, new directory synced", func(m *Mem) {
			do(t, MkdirAllSync(m, "d"))
			write(t, m, "a", "1", true)
			do(t, SyncDir(m, "/"), m.Rename("a", "d/a"), SyncDir(m, "d"))
		}, []string{"a=1", "d/a=1"}, []string{"d/a=1"}},
		{"atomic file", func(m *Mem) {
			do(t, WriteFileAtomic(m, "a", []byte("1")), WriteFileAtomic(m, "a", []byte("2")))
		}, []string{"a=2"}, []string{"a=2"}},
		{"linked", func(m *Mem) {
			write(t, m, "a", "1", true)
			do(t, m.Link("a", "b"), SyncDir(m, "/"), m.Remove("a"))
		}, []string{"a=1", "b=1"}, []string{"b=1"}},
		{"truncated", func(m *Mem) {
			write(t, m, "a", "123456", true)
			do(t, SyncDir(m, "/"))
			f, err := m.OpenReadWrite("a")
			do(t, err, f.Truncate(2), f.Close())
		}, []string{"a=123456"}, []string{"a=12"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			m := NewMem()
			c.do(m)
			for keep, want := range map[float64][]string{0: c.lost, 1: c.all} {
				clone := m.CrashClone(CrashConfig{KeepUnsynced: keep})
				if got := tree(t, clone, "."); !slices.Equal(got, want) {
					t.Errorf("keep %v: %q, want %q", keep, got, want)
				}
				// What has survived is durable.
				if got := tree(t, clone.CrashClone(CrashConfig{}), "."); !slices.Equal(got, want) {
					t.Errorf("keep %v, second crash: %q, want %q", keep, got, want)
				}
			}
			if got := tree(t, m, "."); !slices.Equal(got, c.all) {
				t.Errorf("the original has become %q", got)
			}
		})
	}
}

// TestCrashSectors checks that each sector is in a state that it has had, and that all combinations come up.
func TestCrashSectors(t *testing.T) {
	m := NewMem()
	write(t, m, "a", string(bytes.Repeat([]byte{'0'}, 4*512)), true)
	do(t, SyncDir(m, "."))
	f, err := m.OpenReadWrite("a")
	do(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{'1'}, 2*512), 512)
	do(t, err)
	_, err = f.WriteAt(bytes.Repeat([]byte{'2'}, 512), 1024)
	do(t, err)
	seen := map[string]int{}
	for seed := range uint64(500) {
		clone := m.CrashClone(CrashConfig{Seed: seed, KeepUnsynced: 0.5})
		b, err := ReadFile(clone, "a", 0)
		do(t, err)
		if len(b) != 4*512 {
			t.Fatalf("size %d", len(b))
		}
		var state []byte
		for s := 0; s < len(b); s += 512 {
			if n := bytes.Count(b[s:s+512], b[s:s+1]); n != 512 {
				t.Fatal("a sector is torn")
			}
			state = append(state, b[s])
		}
		seen[string(state)]++
		again, err := ReadFile(m.CrashClone(CrashConfig{Seed: seed, KeepUnsynced: 0.5}), "a", 0)
		if do(t, err); !bytes.Equal(b, again) {
			t.Fatal("the same seed left something else")
		}
	}
	for _, want := range []string{"0000", "0100", "0110", "0120", "0010", "0020"} {
		if seen[want] == 0 {
			t.Errorf("state %s never came up: %v", want, seen)
		}
		delete(seen, want)
	}
	if len(seen) > 0 {
		t.Errorf("impossible states %v", seen)
	}
}

func TestCapacity(t *testing.T) {
	m := NewMem()
	m.SetCapacity(1000)
	f, err := m.Create("a")
	do(t, err, f.Preallocate(0, 600))
	if n, err := f.WriteAt(make([]byte, 600), 0); n != 600 || err != nil {
		t.Fatal("write into reserved space:", n, err)
	}
	if n, err := f.WriteAt(make([]byte, 600), 600); n != 400 || !IsNoSpace(err) {
		t.Fatal("write beyond the capacity:", n, err)
	}
	g, err := m.Create("b")
	do(t, err)
	if n, err := g.Write([]byte("x")); n != 0 || !IsNoSpace(err) {
		t.Fatal("write on a full disk:", n, err)
	}
	for _, err := range []error{g.Preallocate(0, 1), g.Truncate(1)} {
		if !IsNoSpace(err) {
			t.Fatal(err)
		}
	}
	do(t, m.Link("a", "c"), m.Remove("a"))
	if s, err := m.FreeSpace("b"); err != nil || s.AvailBytes != 0 {
		t.Fatal(s, err)
	}
	do(t, m.Remove("c"))
	if s, err := m.FreeSpace("b"); err != nil || s.AvailBytes != 1000 || s.TotalBytes != 1000 {
		t.Fatal(s, err)
	}
	if _, err := g.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if _, err := m.FreeSpace("missing"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
}

func TestLock(t *testing.T) {
	for name, fsys := range map[string]FS{"os": OS, "mem": NewMem(), "injecting": NewInjecting(OS, nil)} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "LOCK")
			do(t, fsys.MkdirAll(filepath.Dir(path)))
			for range 2 {
				l, err := fsys.Lock(path)
				do(t, err)
				_, err = fsys.Lock(path)
				var locked *LockedError
				if !errors.Is(err, ErrLocked) || !errors.As(err, &locked) || !bytes.Contains([]byte(locked.Holder), []byte("pid ")) {
					t.Fatalf("second lock: %v", err)
				}
				do(t, l.Close())
			}
		})
	}
}

func TestOSFreeSpace(t *testing.T) {
	s, err := OS.FreeSpace(t.TempDir())
	if err != nil || s.TotalBytes == 0 || s.AvailBytes > s.FreeBytes || s.FreeBytes > s.TotalBytes {
		t.Fatal(s, err)
	}
	if _, err := OS.FreeSpace(filepath.Join(t.TempDir(), "missing")); err == nil {
		t.Fatal("free space of nothing")
	}
}

func TestHelpers(t *testing.T) {
	for name, fsys := range map[string]FS{"os": OS, "mem": NewMem()} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "x", "y")
			do(t, MkdirAllSync(fsys, dir), MkdirAllSync(fsys, dir))
			p := filepath.Join(dir, "f")
			do(t, WriteFileAtomic(fsys, p, []byte("hello")), WriteFileAtomic(fsys, p, []byte("world!")))
			if b, err := ReadFile(fsys, p, 6); err != nil || string(b) != "world!" {
				t.Fatalf("%q %v", b, err)
			}
			if _, err := ReadFile(fsys, p, 5); err == nil {
				t.Fatal("read beyond the limit")
			}
			if l, err := fsys.List(dir); err != nil || !slices.Equal(l, []string{"f"}) {
				t.Fatal(l, err)
			}
			if _, err := fsys.OpenDir(p); err == nil {
				t.Fatal("opened a file as directory")
			}
		})
	}
}

func TestRules(t *testing.T) {
	var rules Rules
	var calls []string
	fsys := NewInjecting(NewMem(), &rules)
	fsys.OnDone(func(c Call, err error) { calls = append(calls, fmt.Sprintf("%s %d %s", c.Kind, c.Seq, class(err))) })
	rules.Add(Rule{Kinds: OpWrite, Pattern: "*.log", Skip: 1, Count: 1, Fault: Fault{Err: syscall.ENOSPC, ShortBytes: 3}})
	rules.Add(Rule{Pattern: "sub/*", Kinds: OpAny})
	f, err := fsys.Create("a.log")
	do(t, err)
	g, err := fsys.Create("b.txt")
	do(t, err)
	for i, want := range []int{5, 3, 5} {
		n, err := f.Write([]byte("12345"))
		if n != want || (err != nil) != (i == 1) || i == 1 && !IsNoSpace(err) {
			t.Fatalf("write %d: %d %v", i, n, err)
		}
		_, err = g.Write([]byte("x"))
		do(t, err)
	}
	if b, err := ReadFile(fsys, "a.log", 0); err != nil || string(b) != "1234512312345" {
		t.Fatalf("%q %v", b, err)
	}
	if err := fsys.Remove("sub/x"); !errors.Is(err, ErrInjected) {
		t.Fatal(err)
	}
	rules.Clear()
	if err := fsys.Remove("sub/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	do(t, f.Close(), g.Close())
	if fsys.Changes() != 10 || calls[0] != "create 1 ok" || !slices.Contains(calls, "write 5 other") {
		t.Fatalf("%d changes, %q", fsys.Changes(), calls)
	}
}

func TestCutAfter(t *testing.T) {
	fsys := NewInjecting(NewMem(), CutAfter(3))
	f, err := fsys.Create("a")
	do(t, err)
	for i := range 4 {
		if _, err := f.Write([]byte("x")); (err == nil) != (i < 2) || i >= 2 && !errors.Is(err, ErrCut) {
			t.Fatalf("write %d: %v", i, err)
		}
	}
	for _, err := range []error{f.Sync(), f.Close(), second(fsys.Stat("a"))} {
		if !errors.Is(err, ErrCut) {
			t.Fatal(err)
		}
	}
}

func second(_ fs.FileInfo, err error) error { return err }

func TestOpKindString(t *testing.T) {
	if s := (OpCreate | OpClose).String(); s != "create|close" {
		t.Fatal(s)
	}
	if OpAny.String()[:6] != "create" || OpAny&OpClose == 0 {
		t.Fatal("OpAny lacks a kind")
	}
}

// What is sent to the disk while a file is written is what was written, in pieces of any size.
func TestOSWriteBehind(t *testing.T) {
	for _, piece := range []int{1000, 64<<10 + 1, behindBytes, 3*behindBytes + 7} {
		name := filepath.Join(t.TempDir(), "f")
		f, err := OS.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, 7*behindBytes+11)
		for i := range want {
			want[i] = byte(i * i >> 8)
		}
		for rest := want; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			if n, err := f.Write(rest[:min(piece, len(rest))]); err != nil || n != min(piece, len(rest)) {
				t.Fatalf("write: %d, %v", n, err)
			}
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("pieces of %d: %d bytes, %v", piece, len(got), err)
		}
	}
}
