// Package vfs is the file system through which all I/O of the engine goes, so that a test can put memory, a crash or a
// failing disk in the place of the operating system.
package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

var (
	// ErrLocked is returned when a lock file is held by another process, or by another Lock of this one.
	// The error is a *LockedError, which says who holds it.
	ErrLocked = errors.New("locked")
	// ErrInjected is returned by an operation that a Rule failed without naming an error of its own.
	ErrInjected = errors.New("injected fault")
	// ErrCut is returned by every operation after the point at which CutAfter ended the life of the file system.
	ErrCut = errors.New("file system is cut off")
)

// LockedError is the error of Lock when the lock is held. errors.Is(err, ErrLocked) is true for it.
type LockedError struct {
	Path   string // lock file
	Holder string // what the holder wrote about itself ("pid 4711 on host, flowlake"), '' when unreadable
}

func (e *LockedError) Error() string {
	if e.Holder == "" {
		return fmt.Sprintf("%s is locked by another process", e.Path)
	}
	return fmt.Sprintf("%s is locked by %s", e.Path, e.Holder)
}

// Is reports whether target is ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// File is an open file or directory. Reads and writes at offsets are safe from several goroutines; Read and Write share
// one position and are not. Of an open directory only Sync, Stat, Name and Close work.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer
	// Name is the path the file was opened by.
	Name() string
	// Sync makes content, size and attributes durable; on a directory, its entries.
	Sync() error
	// SyncData makes content durable, and of the attributes only what reading it back needs (the size).
	SyncData() error
	// Preallocate reserves disk space for [off, off+length) and grows the file to its end if it is shorter.
	// Bytes never written read as zero. Where the system cannot reserve, the file only grows.
	Preallocate(off, length int64) error
	// Truncate sets the size in bytes; what is added reads as zero.
	Truncate(size int64) error
	Stat() (fs.FileInfo, error)
}

// Space is the room on a file system, in bytes.
type Space struct {
	TotalBytes uint64
	FreeBytes  uint64 // AvailBytes and what is kept for the administrator
	AvailBytes uint64 // what this process may still write
}

// FS is a file system. Names are paths in the form of package path/filepath. Errors satisfy errors.Is with fs.ErrNotExist,
// fs.ErrExist, and IsNoSpace. All methods are safe for concurrent use.
//
// Nothing is durable by itself: content is after File.Sync or SyncData, a new, renamed or removed name after Sync of its
// directory (OpenDir).
type FS interface {
	// Create opens a file for reading and writing, empties it if it exists, and makes it if not.
	Create(name string) (File, error)
	// Open opens an existing file for reading.
	Open(name string) (File, error)
	// OpenReadWrite opens an existing file for reading and writing and leaves its content.
	OpenReadWrite(name string) (File, error)
	// OpenDir opens an existing directory to sync it.
	OpenDir(name string) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes a path with all below it; a path that does not exist is no error.
	RemoveAll(name string) error
	// Rename moves a file or directory and replaces a file of the new name, atomically within one directory.
	Rename(oldname, newname string) error
	// Link gives a file a second name (hard link); the new name must not exist.
	Link(oldname, newname string) error
	// MkdirAll makes a directory and those above it; one that exists is no error.
	MkdirAll(name string) error
	// List returns the base names in a directory, sorted.
	List(name string) ([]string, error)
	Stat(name string) (fs.FileInfo, error)
	// Lock takes an exclusive lock on the file of that name, which is made if missing and stays behind. It does not wait:
	// a held lock is a *LockedError. Close releases it, as does the end of the process.
	Lock(name string) (io.Closer, error)
	// FreeSpace returns the room on the file system that holds name, which must exist.
	FreeSpace(name string) (Space, error)
}

// IsNoSpace reports whether err says that a disk or a quota is full.
func IsNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || isPlatformNoSpace(err)
}

// SyncDir makes the entries of a directory durable.
func SyncDir(fsys FS, dir string) error {
	d, err := fsys.OpenDir(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}

// MkdirAllSync makes a directory and those above it, durably: each directory that got a new entry is synced, and the one
// above dir in any case, as whoever made dir may have been killed before.
func MkdirAllSync(fsys FS, dir string) error {
	var grown []string // directories that get a new entry
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := fsys.Stat(d); err == nil || filepath.Dir(d) == d {
			if len(grown) == 0 {
				grown = append(grown, filepath.Dir(d))
			}
			break
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		grown = append(grown, filepath.Dir(d))
	}
	if err := fsys.MkdirAll(dir); err != nil {
		return err
	}
	for _, d := range grown {
		if err := SyncDir(fsys, d); err != nil {
			return fmt.Errorf("sync directory %s: %w", d, err)
		}
	}
	return nil
}

// ReadFile returns the content of a file. A file larger than limit bytes is an error; limit <= 0 means no limit.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if limit <= 0 {
		return io.ReadAll(f)
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes", name, limit)
	}
	return b, err
}

// WriteFileAtomic puts data into the file of that name so that, whenever the machine stops, the name leads either to the
// old content or to all of the new one; on return the new one is durable. It writes name + ".tmp" beside it first.
func WriteFileAtomic(fsys FS, name string, data []byte) error {
	tmp := name + ".tmp"
	if err := writeSynced(fsys, tmp, data); err != nil {
		_ = fsys.Remove(tmp) // the first error is the one to tell
		return err
	}
	if err := fsys.Rename(tmp, name); err != nil {
		_ = fsys.Remove(tmp)
		return err
	}
	return SyncDir(fsys, filepath.Dir(name))
}

func writeSynced(fsys FS, name string, data []byte) error {
	f, err := fsys.Create(name)
	if err != nil {
		return err
	}
	if _, err = f.Write(data); err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// holderText is what a process writes into its lock file about itself.
func holderText() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("pid %d on %s, %s\n", os.Getpid(), host, filepath.Base(os.Args[0]))
}
