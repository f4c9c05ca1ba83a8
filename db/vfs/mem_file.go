package vfs

import (
	"io"
	"io/fs"
	"slices"
	"syscall"
)

// memFile is an open file or directory of a Mem; m.mu guards its fields.
type memFile struct {
	m           *Mem
	n           *memNode
	name        string
	pos         int64
	read, write bool
	closed      bool
}

var _ File = (*memFile)(nil)

// enter takes the lock and checks that the operation is allowed; the caller unlocks whatever it returns.
func (f *memFile) enter(op string, ok bool) error {
	f.m.mu.Lock()
	switch {
	case f.closed:
		return pathErr(op, f.name, fs.ErrClosed)
	case f.n.dir && op != "sync" && op != "stat":
		return pathErr(op, f.name, syscall.EISDIR)
	case !ok:
		return pathErr(op, f.name, syscall.EBADF)
	}
	return nil
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return pathErr("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *memFile) Read(p []byte) (int, error) {
	err := f.enter("read", f.read)
	defer f.m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := f.readAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	err := f.enter("read", f.read)
	defer f.m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathErr("readat", f.name, fs.ErrInvalid)
	}
	return f.readAt(p, off)
}

func (f *memFile) readAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Write(p []byte) (int, error) {
	err := f.enter("write", f.write)
	defer f.m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := f.writeAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	err := f.enter("write", f.write)
	defer f.m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathErr("writeat", f.name, fs.ErrInvalid)
	}
	return f.writeAt(p, off)
}

func (f *memFile) writeAt(p []byte, off int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	m, n, want := f.m, f.n, off+int64(len(p))
	room := m.roomFor(n, want)
	if room < want {
		p = p[:max(room-off, 0)]
	}
	if len(p) > 0 {
		m.grow(n, off+int64(len(p)))
		copy(n.data[off:], p)
		if m.track {
			n.pending = append(n.pending, dataOp{off: off, data: slices.Clone(p)})
		}
		m.touch(n)
	}
	if room < want {
		return len(p), pathErr("write", f.name, syscall.ENOSPC)
	}
	return len(p), nil
}

// roomFor returns the size up to which n may grow towards end. m.mu is held.
func (m *Mem) roomFor(n *memNode, end int64) int64 {
	size := int64(len(n.data))
	if m.capacity == 0 || n.links == 0 || end <= size {
		return end
	}
	return min(end, size+max(m.capacity-m.used, 0))
}

// grow makes n at least size bytes long. m.mu is held.
func (m *Mem) grow(n *memNode, size int64) {
	old := int64(len(n.data))
	if size <= old {
		return
	}
	n.data = slices.Grow(n.data, int(size-old))[:size]
	clear(n.data[old:])
	if n.links > 0 {
		m.used += size - old
	}
}

// resize sets the size of n. m.mu is held.
func (m *Mem) resize(n *memNode, size int64) {
	old := int64(len(n.data))
	if size == old {
		return
	}
	if size > old {
		m.grow(n, size)
	} else {
		n.data = n.data[:size]
		if n.links > 0 {
			m.used -= old - size
		}
	}
	if m.track {
		n.pending = append(n.pending, dataOp{size: size})
	}
	m.touch(n)
}

func (f *memFile) Truncate(size int64) error {
	err := f.enter("truncate", f.write)
	defer f.m.mu.Unlock()
	if err != nil {
		return err
	}
	if size < 0 {
		return pathErr("truncate", f.name, fs.ErrInvalid)
	}
	if f.m.roomFor(f.n, size) < size {
		return pathErr("truncate", f.name, syscall.ENOSPC)
	}
	f.m.resize(f.n, size)
	return nil
}

func (f *memFile) Preallocate(off, length int64) error {
	err := f.enter("preallocate", f.write)
	defer f.m.mu.Unlock()
	if err != nil {
		return err
	}
	if off < 0 || length <= 0 {
		return pathErr("preallocate", f.name, fs.ErrInvalid)
	}
	end := off + length
	if f.m.roomFor(f.n, end) < end {
		return pathErr("preallocate", f.name, syscall.ENOSPC)
	}
	if end > int64(len(f.n.data)) {
		f.m.resize(f.n, end)
	}
	return nil
}

func (f *memFile) Sync() error {
	err := f.enter("sync", true)
	defer f.m.mu.Unlock()
	if err == nil {
		f.n.sync()
	}
	return err
}

func (f *memFile) SyncData() error { return f.Sync() }

func (f *memFile) Stat() (fs.FileInfo, error) {
	err := f.enter("stat", true)
	defer f.m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return f.m.info(f.name, f.n), nil
}
