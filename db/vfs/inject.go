package vfs

import (
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
)

// OpKind is a kind of file operation, and in a Rule a set of them.
type OpKind uint32

// The kinds of operation. Those of a directory handle count as OpSyncDir and OpClose.
const (
	OpCreate OpKind = 1 << iota
	OpOpen
	OpOpenReadWrite
	OpOpenDir
	OpRemove
	OpRemoveAll
	OpRename
	OpLink
	OpMkdirAll
	OpList
	OpStat
	OpLock
	OpFreeSpace
	OpRead
	OpWrite // Write and WriteAt
	OpSync
	OpSyncData
	OpSyncDir
	OpPreallocate
	OpTruncate
	OpClose

	// OpChanges are the operations that change what is on disk or what of it is durable.
	OpChanges = OpCreate | OpRemove | OpRemoveAll | OpRename | OpLink | OpMkdirAll |
		OpWrite | OpSync | OpSyncData | OpSyncDir | OpPreallocate | OpTruncate
	// OpAny is every kind.
	OpAny = OpClose<<1 - 1
)

var opNames = [...]string{"create", "open", "openrw", "opendir", "remove", "removeall", "rename", "link", "mkdirall", "list", "stat", "lock",
	"freespace", "read", "write", "sync", "syncdata", "syncdir", "preallocate", "truncate", "close"}

// String lists the kinds by name, joined by "|".
func (k OpKind) String() string {
	var names []string
	for i, name := range opNames {
		if k&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, "|")
}

// Call is one file operation.
type Call struct {
	Kind    OpKind
	Path    string
	NewPath string // of rename and link
	Offset  int64  // of ReadAt, WriteAt, Preallocate; the size of Truncate
	Bytes   int    // of reads and writes
	Seq     int64  // 1 for the first operation of an OpChanges kind; others carry the number of the last change
}

// Fault is what an operation is to suffer. The zero Fault lets it pass.
type Fault struct {
	// Err is returned instead of doing the operation.
	Err error
	// ShortBytes is how many bytes a write still writes before it fails with Err.
	ShortBytes int
}

// Injector decides before each operation what happens to it. It is called from whatever goroutine does the operation.
type Injector interface {
	Inject(Call) Fault
}

// InjectorFunc is a function as an Injector.
type InjectorFunc func(Call) Fault

// Inject calls f.
func (f InjectorFunc) Inject(c Call) Fault { return f(c) }

// Injecting is a file system that counts the operations on another one, and may fail them.
type Injecting struct {
	fs      FS
	in      Injector
	after   atomic.Pointer[func(Call, error)]
	changes atomic.Int64
}

var _ FS = (*Injecting)(nil)

// NewInjecting returns a file system that asks in before each operation on fsys. in may be nil.
func NewInjecting(fsys FS, in Injector) *Injecting { return &Injecting{fs: fsys, in: in} }

// NewCounting returns a file system that calls after (if not nil) when an operation has been done, with its error.
func NewCounting(fsys FS, after func(Call, error)) *Injecting {
	i := NewInjecting(fsys, nil)
	i.OnDone(after)
	return i
}

// OnDone sets the function that is called when an operation has been done; it must be safe for concurrent use.
// A test that clones the file system there sees it as a power cut after that operation would leave it.
func (i *Injecting) OnDone(after func(Call, error)) {
	if after == nil {
		i.after.Store(nil)
		return
	}
	i.after.Store(&after)
}

// Changes returns how many operations of the kinds OpChanges there have been, failed ones included.
func (i *Injecting) Changes() int64 { return i.changes.Load() }

// start announces an operation and returns the fault it is to suffer.
func (i *Injecting) start(c *Call) Fault {
	if c.Kind&OpChanges != 0 {
		c.Seq = i.changes.Add(1)
	} else {
		c.Seq = i.changes.Load()
	}
	if i.in == nil {
		return Fault{}
	}
	f := i.in.Inject(*c)
	if f.Err != nil {
		f.Err = &fs.PathError{Op: c.Kind.String(), Path: c.Path, Err: f.Err}
	}
	return f
}

func (i *Injecting) done(c Call, err error) {
	if after := i.after.Load(); after != nil {
		(*after)(c, err)
	}
}

// do runs an operation without a result.
func (i *Injecting) do(c Call, op func() error) error {
	err := i.start(&c).Err
	if err == nil {
		err = op()
	}
	i.done(c, err)
	return err
}

func (i *Injecting) open(kind OpKind, name string, op func(string) (File, error)) (File, error) {
	var f File
	err := i.do(Call{Kind: kind, Path: name}, func() (err error) {
		f, err = op(name)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &injFile{File: f, i: i, dir: kind == OpOpenDir}, nil
}

// Create implements FS.
func (i *Injecting) Create(name string) (File, error) { return i.open(OpCreate, name, i.fs.Create) }

// Open implements FS.
func (i *Injecting) Open(name string) (File, error) { return i.open(OpOpen, name, i.fs.Open) }

// OpenReadWrite implements FS.
func (i *Injecting) OpenReadWrite(name string) (File, error) {
	return i.open(OpOpenReadWrite, name, i.fs.OpenReadWrite)
}

// OpenDir implements FS.
func (i *Injecting) OpenDir(name string) (File, error) { return i.open(OpOpenDir, name, i.fs.OpenDir) }

// Remove implements FS.
func (i *Injecting) Remove(name string) error {
	return i.do(Call{Kind: OpRemove, Path: name}, func() error { return i.fs.Remove(name) })
}

// RemoveAll implements FS.
func (i *Injecting) RemoveAll(name string) error {
	return i.do(Call{Kind: OpRemoveAll, Path: name}, func() error { return i.fs.RemoveAll(name) })
}

// Rename implements FS.
func (i *Injecting) Rename(oldname, newname string) error {
	return i.do(Call{Kind: OpRename, Path: oldname, NewPath: newname}, func() error { return i.fs.Rename(oldname, newname) })
}

// Link implements FS.
func (i *Injecting) Link(oldname, newname string) error {
	return i.do(Call{Kind: OpLink, Path: oldname, NewPath: newname}, func() error { return i.fs.Link(oldname, newname) })
}

// MkdirAll implements FS.
func (i *Injecting) MkdirAll(name string) error {
	return i.do(Call{Kind: OpMkdirAll, Path: name}, func() error { return i.fs.MkdirAll(name) })
}

// List implements FS.
func (i *Injecting) List(name string) (names []string, err error) {
	err = i.do(Call{Kind: OpList, Path: name}, func() (err error) { names, err = i.fs.List(name); return err })
	return names, err
}

// Stat implements FS.
func (i *Injecting) Stat(name string) (info fs.FileInfo, err error) {
	err = i.do(Call{Kind: OpStat, Path: name}, func() (err error) { info, err = i.fs.Stat(name); return err })
	return info, err
}

// Lock implements FS.
func (i *Injecting) Lock(name string) (c io.Closer, err error) {
	err = i.do(Call{Kind: OpLock, Path: name}, func() (err error) { c, err = i.fs.Lock(name); return err })
	return c, err
}

// FreeSpace implements FS.
func (i *Injecting) FreeSpace(name string) (s Space, err error) {
	err = i.do(Call{Kind: OpFreeSpace, Path: name}, func() (err error) { s, err = i.fs.FreeSpace(name); return err })
	return s, err
}

// injFile is an open file of an Injecting.
type injFile struct {
	File
	i   *Injecting
	dir bool
}

func (f *injFile) transfer(c Call, p []byte, op func([]byte) (int, error)) (n int, err error) {
	c.Path, c.Bytes = f.Name(), len(p)
	fault := f.i.start(&c)
	switch {
	case fault.Err == nil:
		n, err = op(p)
	case c.Kind == OpWrite && fault.ShortBytes > 0:
		n, err = op(p[:min(fault.ShortBytes, len(p))])
		if err == nil {
			err = fault.Err
		}
	default:
		err = fault.Err
	}
	f.i.done(c, err)
	return n, err
}

func (f *injFile) Read(p []byte) (int, error) { return f.transfer(Call{Kind: OpRead}, p, f.File.Read) }

func (f *injFile) ReadAt(p []byte, off int64) (int, error) {
	return f.transfer(Call{Kind: OpRead, Offset: off}, p, func(p []byte) (int, error) { return f.File.ReadAt(p, off) })
}

func (f *injFile) Write(p []byte) (int, error) {
	return f.transfer(Call{Kind: OpWrite}, p, f.File.Write)
}

func (f *injFile) WriteAt(p []byte, off int64) (int, error) {
	return f.transfer(Call{Kind: OpWrite, Offset: off}, p, func(p []byte) (int, error) { return f.File.WriteAt(p, off) })
}

func (f *injFile) Sync() error {
	kind := OpSync
	if f.dir {
		kind = OpSyncDir
	}
	return f.i.do(Call{Kind: kind, Path: f.Name()}, f.File.Sync)
}

func (f *injFile) SyncData() error {
	if f.dir {
		return f.Sync()
	}
	return f.i.do(Call{Kind: OpSyncData, Path: f.Name()}, f.File.SyncData)
}

func (f *injFile) Preallocate(off, length int64) error {
	return f.i.do(Call{Kind: OpPreallocate, Path: f.Name(), Offset: off, Bytes: int(length)},
		func() error { return f.File.Preallocate(off, length) })
}

func (f *injFile) Truncate(size int64) error {
	return f.i.do(Call{Kind: OpTruncate, Path: f.Name(), Offset: size}, func() error { return f.File.Truncate(size) })
}

func (f *injFile) Stat() (info fs.FileInfo, err error) {
	err = f.i.do(Call{Kind: OpStat, Path: f.Name()}, func() (err error) { info, err = f.File.Stat(); return err })
	return info, err
}

// Close closes the file below even when the fault says that it failed: a test must not leak descriptors.
func (f *injFile) Close() error {
	c := Call{Kind: OpClose, Path: f.Name()}
	err := f.i.start(&c).Err
	if closeErr := f.File.Close(); err == nil {
		err = closeErr
	}
	f.i.done(c, err)
	return err
}

// Rule fails some operations.
type Rule struct {
	// Kinds is which kinds of operation it is about; 0 means OpChanges.
	Kinds OpKind
	// Pattern is matched against the base name, or, if it holds a slash, against the whole path (filepath.Match).
	// '' means any.
	Pattern string
	// Skip is how many matching operations pass before the first one fails.
	Skip int
	// Count is how many fail; 0 means all.
	Count int
	// Fault is what they suffer. Without an Err it is ErrInjected.
	Fault Fault
}

// Rules is an Injector that applies rules in the order in which they were added: the first that matches decides.
// It is safe for concurrent use. The zero Rules lets everything pass.
type Rules struct {
	mu    sync.Mutex // guards rules
	rules []*Rule
}

// Add adds a rule.
func (r *Rules) Add(rule Rule) {
	if rule.Kinds == 0 {
		rule.Kinds = OpChanges
	}
	if rule.Count == 0 {
		rule.Count = -1
	}
	if rule.Fault.Err == nil {
		rule.Fault.Err = ErrInjected
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = append(r.rules, &rule)
}

// Clear removes all rules: the disk works again.
func (r *Rules) Clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rules = nil
}

// Inject implements Injector.
func (r *Rules) Inject(c Call) Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rule := range r.rules {
		if rule.Kinds&c.Kind == 0 || !rule.matches(c.Path) {
			continue
		}
		if rule.Skip > 0 {
			rule.Skip--
			continue
		}
		if rule.Count == 0 {
			continue
		}
		if rule.Count > 0 {
			rule.Count--
		}
		return rule.Fault
	}
	return Fault{}
}

func (r *Rule) matches(path string) bool {
	if r.Pattern == "" {
		return true
	}
	path = filepath.ToSlash(path)
	if !strings.Contains(r.Pattern, "/") {
		path = path[strings.LastIndexByte(path, '/')+1:]
	}
	ok, err := filepath.Match(r.Pattern, path)
	return ok && err == nil
}

// CutAfter is an Injector that lets n changing operations pass and fails everything after them with ErrCut: the process
// is dead to the disk. A CrashClone of the file system below then shows what a restart finds.
func CutAfter(n int64) Injector {
	return InjectorFunc(func(c Call) Fault {
		if c.Seq > n {
			return Fault{Err: ErrCut}
		}
		return Fault{}
	})
}
