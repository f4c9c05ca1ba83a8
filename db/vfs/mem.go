package vfs

import (
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory. It starts with an empty root directory; "a" and "/a" name the same file. What has not
// been synced is remembered, so that CrashClone can tell what a power cut may leave.
type Mem struct {
	mu       sync.Mutex // guards everything below, and all nodes
	root     *memNode
	locks    map[string]bool
	track    bool  // remember what is not synced
	capacity int64 // bytes that the files may hold together; 0 = no limit
	used     int64
	nextTick int64 // modification times count up, so that they never depend on a clock
}

// memNode is a file or a directory.
type memNode struct {
	dir     bool
	modTick int64
	links   int // names that lead here; the bytes count against the capacity while links > 0

	data    []byte
	durable []byte   // content at the last sync
	pending []dataOp // since then, in order

	children        map[string]*memNode
	durableChildren map[string]*memNode
	pendingEntries  []entryOp
}

// dataOp is a change of content: a write of data at off, or (data nil) a new size.
type dataOp struct {
	off  int64
	data []byte
	size int64
}

// entryOp is a change of a directory: what its names lead to afterwards, nil for removed. One op is atomic.
type entryOp []struct {
	name string
	node *memNode
}

// NewMem returns an empty file system in memory that remembers what is not synced.
func NewMem() *Mem {
	m := &Mem{root: newMemDir(), locks: map[string]bool{}, track: true}
	m.root.links = 1
	return m
}

// NewEphemeral returns an empty file system in memory that holds every byte once: syncs cost nothing and are not
// remembered, and CrashClone copies it as it is.
func NewEphemeral() *Mem {
	m := NewMem()
	m.track = false
	return m
}

// SetCapacity limits the bytes that all files may hold together; what goes over fails as on a full disk (ENOSPC), a write
// after the part that still fits. 0 means no limit. A limit below what is held already only stops growth.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

func newMemDir() *memNode {
	return &memNode{dir: true, children: map[string]*memNode{}, durableChildren: map[string]*memNode{}}
}

func splitPath(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean(name)), "/")
	if name == "." || name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func pathErr(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// walk returns the node of a path. m.mu is held.
func (m *Mem) walk(parts []string) (*memNode, error) {
	n := m.root
	for _, p := range parts {
		if !n.dir {
			return nil, syscall.ENOTDIR
		}
		c := n.children[p]
		if c == nil {
			return nil, fs.ErrNotExist
		}
		n = c
	}
	return n, nil
}

// parent returns the directory that holds the last part of a path, and that part. m.mu is held.
func (m *Mem) parent(name string) (*memNode, string, error) {
	parts := splitPath(name)
	if len(parts) == 0 {
		return nil, "", fs.ErrInvalid
	}
	d, err := m.walk(parts[:len(parts)-1])
	if err == nil && !d.dir {
		err = syscall.ENOTDIR
	}
	return d, parts[len(parts)-1], err
}

// setEntries applies changes of one directory as one atomic step. m.mu is held.
func (m *Mem) setEntries(d *memNode, op entryOp) {
	for _, e := range op {
		if old := d.children[e.name]; old != nil {
			if old.links--; old.links == 0 {
				m.used -= int64(len(old.data))
			}
		}
		if e.node == nil {
			delete(d.children, e.name)
			continue
		}
		if e.node.links++; e.node.links == 1 {
			m.used += int64(len(e.node.data))
		}
		d.children[e.name] = e.node
	}
	if m.track {
		d.pendingEntries = append(d.pendingEntries, op)
	}
	m.touch(d)
}

func (m *Mem) touch(n *memNode) {
	m.nextTick++
	n.modTick = m.nextTick
}

func entry(name string, n *memNode) entryOp {
	return entryOp{{name, n}}
}

// Create implements FS.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent(name)
	if err != nil {
		return nil, pathErr("create", name, err)
	}
	n := d.children[base]
	switch {
	case n == nil:
		n = &memNode{}
		m.touch(n)
		m.setEntries(d, entry(base, n))
	case n.dir:
		return nil, pathErr("create", name, syscall.EISDIR)
	default:
		m.resize(n, 0)
	}
	return &memFile{m: m, n: n, name: name, read: true, write: true}, nil
}

// Open implements FS.
func (m *Mem) Open(name string) (File, error) { return m.open("open", name, false) }

// OpenReadWrite implements FS.
func (m *Mem) OpenReadWrite(name string) (File, error) { return m.open("open", name, true) }

func (m *Mem) open(op, name string, write bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(splitPath(name))
	if err == nil && n.dir && write {
		err = syscall.EISDIR
	}
	if err != nil {
		return nil, pathErr(op, name, err)
	}
	return &memFile{m: m, n: n, name: name, read: true, write: write}, nil
}

// OpenDir implements FS.
func (m *Mem) OpenDir(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(splitPath(name))
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathErr("opendir", name, err)
	}
	return &memFile{m: m, n: n, name: name}, nil
}

// Remove implements FS.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent(name)
	if err != nil {
		return pathErr("remove", name, err)
	}
	n := d.children[base]
	switch {
	case n == nil:
		return pathErr("remove", name, fs.ErrNotExist)
	case n.dir && len(n.children) > 0:
		return pathErr("remove", name, syscall.ENOTEMPTY)
	}
	m.setEntries(d, entry(base, nil))
	return nil
}

// RemoveAll implements FS.
func (m *Mem) RemoveAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, base, err := m.parent(name)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return pathErr("removeall", name, err)
	}
	if n := d.children[base]; n != nil {
		m.empty(n)
		m.setEntries(d, entry(base, nil))
	}
	return nil
}

// empty removes all below a directory, the deepest first. m.mu is held.
func (m *Mem) empty(n *memNode) {
	for _, name := range sortedNames(n.children) {
		m.empty(n.children[name])
		m.setEntries(n, entry(name, nil))
	}
}

// Rename implements FS.
func (m *Mem) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := m.rename(oldname, newname)
	return pathErr("rename", oldname, err)
}

func (m *Mem) rename(oldname, newname string) error {
	od, ob, err := m.parent(oldname)
	if err != nil {
		return err
	}
	nd, nb, err := m.parent(newname)
	if err != nil {
		return err
	}
	n, old := od.children[ob], nd.children[nb]
	switch {
	case n == nil:
		return fs.ErrNotExist
	case old != nil && old.dir:
		return fs.ErrExist // as package os, which refuses even an empty one
	case n == old:
		return nil
	case n.dir && holds(n, nd):
		return fs.ErrInvalid // a directory cannot move into itself
	case n.dir && old != nil:
		return syscall.ENOTDIR
	}
	if od == nd {
		m.setEntries(od, entryOp{{nb, n}, {ob, nil}})
		return nil
	}
	// The two directories become durable each for itself, as on a file system without a journal.
	m.setEntries(nd, entry(nb, n))
	m.setEntries(od, entry(ob, nil))
	return nil
}

// holds reports whether d is n or lies below it.
func holds(n, d *memNode) bool {
	if n == d {
		return true
	}
	for _, c := range n.children {
		if c.dir && holds(c, d) {
			return true
		}
	}
	return false
}

// Link implements FS.
func (m *Mem) Link(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(splitPath(oldname))
	if err != nil {
		return pathErr("link", oldname, err)
	}
	d, base, err := m.parent(newname)
	switch {
	case err != nil:
	case d.children[base] != nil:
		err = fs.ErrExist
	case n.dir:
		err = syscall.EPERM
	default:
		m.setEntries(d, entry(base, n))
	}
	return pathErr("link", newname, err)
}

// MkdirAll implements FS.
func (m *Mem) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.root
	for _, p := range splitPath(name) {
		c := d.children[p]
		if c == nil {
			c = newMemDir()
			m.touch(c)
			m.setEntries(d, entry(p, c))
		}
		if !c.dir {
			return pathErr("mkdir", name, syscall.ENOTDIR)
		}
		d = c
	}
	return nil
}

// List implements FS.
func (m *Mem) List(name string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(splitPath(name))
	if err == nil && !n.dir {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, pathErr("list", name, err)
	}
	return sortedNames(n.children), nil
}

func sortedNames(children map[string]*memNode) []string {
	names := make([]string, 0, len(children))
	for name := range children {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Stat implements FS.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.walk(splitPath(name))
	if err != nil {
		return nil, pathErr("stat", name, err)
	}
	return m.info(name, n), nil
}

// Lock implements FS.
func (m *Mem) Lock(name string) (io.Closer, error) {
	key := strings.Join(splitPath(name), "/")
	m.mu.Lock()
	held := m.locks[key]
	m.mu.Unlock()
	if held {
		b, _ := ReadFile(m, name, 512)
		return nil, &LockedError{Path: filepath.Clean(name), Holder: strings.TrimSpace(string(b))}
	}
	f, err := m.Create(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Write([]byte(holderText())); err != nil && !IsNoSpace(err) {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locks[key] {
		return nil, &LockedError{Path: filepath.Clean(name)}
	}
	m.locks[key] = true
	return &memLock{m: m, key: key}, nil
}

type memLock struct {
	m    *Mem
	key  string
	once sync.Once
}

func (l *memLock) Close() error {
	err := fs.ErrClosed
	l.once.Do(func() {
		l.m.mu.Lock()
		defer l.m.mu.Unlock()
		delete(l.m.locks, l.key)
		err = nil
	})
	return err
}

// FreeSpace implements FS. Without a capacity it answers 1 TiB.
func (m *Mem) FreeSpace(name string) (Space, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.walk(splitPath(name)); err != nil {
		return Space{}, pathErr("statfs", name, err)
	}
	total := m.capacity
	if total == 0 {
		total = 1 << 40
	}
	free := uint64(max(total-m.used, 0))
	return Space{TotalBytes: uint64(total), FreeBytes: free, AvailBytes: free}, nil
}

// memInfo is the fs.FileInfo of a node.
type memInfo struct {
	name string
	size int64
	dir  bool
	tick int64
}

func (m *Mem) info(name string, n *memNode) fs.FileInfo {
	return memInfo{name: filepath.Base(name), size: int64(len(n.data)), dir: n.dir, tick: n.modTick}
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) ModTime() time.Time { return time.Unix(0, i.tick).UTC() }
func (i memInfo) Sys() any           { return nil }
func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o750
	}
	return 0o640
}
