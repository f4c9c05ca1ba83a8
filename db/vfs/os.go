package vfs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// OS is the file system of the operating system. New files have mode 0640 and directories 0750, less the umask.
var OS FS = osFS{}

type osFS struct{}

// osFile is an open file. Write is for one goroutine, as File says.
type osFile struct {
	*os.File
	behind *writeBehind // nil: what is written stays with the system until it is synced
}

func open(name string, flag int) (File, error) {
	f, err := openFile(name, flag)
	if err != nil {
		return nil, err
	}
	return osFile{File: f}, nil
}

func (osFS) Create(name string) (File, error) {
	f, err := openFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return nil, err
	}
	return osFile{f, new(writeBehind)}, nil
}

// behindBytes is how much of a new file is written before it is sent on its way to the disk.
const behindBytes = 1 << 20

// writeBehind keeps a file that is written from its beginning to its end (a segment, a tag file) from filling the disk's
// queue with all of it when it is synced: a log's sync on the same disk would wait for that. Each piece is sent when it is
// complete and the one before it has arrived, so that no more than one is under way while the next is made.
type writeBehind struct{ from, sent, end int64 } // from to sent is under way, sent to end is not

// Write appends to what Write wrote before. The error may be that of an earlier write.
func (f osFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	b := f.behind
	if b == nil || err != nil {
		return n, err
	}
	if b.end += int64(n); b.end-b.sent >= behindBytes {
		// What failed on the way to the disk is told here or by the next sync, but not by both.
		err = sendBehind(f.File, b.from, b.sent, b.end)
		b.from, b.sent = b.sent, b.end
	}
	return n, err
}

func (osFS) Open(name string) (File, error) { return open(name, os.O_RDONLY) }

func (osFS) OpenReadWrite(name string) (File, error) { return open(name, os.O_RDWR) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) RemoveAll(name string) error { return os.RemoveAll(name) }

func (osFS) Rename(oldname, newname string) error { return rename(oldname, newname) }

func (osFS) Link(oldname, newname string) error { return os.Link(oldname, newname) }

func (osFS) MkdirAll(name string) error { return os.MkdirAll(name, 0o750) }

func (osFS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

func (osFS) FreeSpace(name string) (Space, error) { return freeSpace(name) }

func (osFS) List(name string) ([]string, error) {
	entries, err := os.ReadDir(name) // sorted by name
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (f osFile) SyncData() error { return syncData(f.File) }

func (f osFile) Preallocate(off, length int64) error {
	if off < 0 || length <= 0 {
		return &fs.PathError{Op: "preallocate", Path: f.Name(), Err: fs.ErrInvalid}
	}
	return preallocate(f.File, off, length)
}

// growTo is Preallocate where the system cannot reserve space.
func growTo(f *os.File, size int64) error {
	st, err := f.Stat()
	if err != nil || st.Size() >= size {
		return err
	}
	return f.Truncate(size)
}

// osDir is a directory opened to sync it.
type osDir struct{ osFile }

func (osFS) OpenDir(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.IsDir() {
		err = &fs.PathError{Op: "opendir", Path: name, Err: syscall.ENOTDIR}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return osDir{osFile{File: f}}, nil
}

func (d osDir) Sync() error     { return syncDir(d.File) }
func (d osDir) SyncData() error { return syncDir(d.File) }

// osLock is a held lock file; closing the descriptor releases the lock.
type osLock struct{ f *os.File }

func (l osLock) Close() error {
	// The text goes first, so that nobody reads a holder who no longer holds.
	return errors.Join(l.f.Truncate(0), l.f.Close())
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o640)
	if err != nil {
		return nil, err
	}
	held, err := tryLock(f)
	if err == nil && held {
		var b [512]byte
		n, _ := f.ReadAt(b[:], 0)
		err = &LockedError{Path: filepath.Clean(name), Holder: strings.TrimSpace(string(b[:n]))}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err = f.Truncate(0); err == nil {
		_, err = f.WriteAt([]byte(holderText()), 0)
	}
	if err != nil && !IsNoSpace(err) { // the text is a courtesy: a full disk must not keep the owner out
		return nil, errors.Join(err, f.Close())
	}
	return osLock{f}, nil
}
