//go:build linux || darwin || freebsd

package vfs

import (
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func isPlatformNoSpace(error) bool { return false }

func syncDir(d *os.File) error { return d.Sync() }

// tryLock reports held when another open file has the lock.
func tryLock(f *os.File) (held bool, err error) {
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch err {
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
			return true, nil
		case nil:
			return false, nil
		}
		return false, &fs.PathError{Op: "flock", Path: f.Name(), Err: err}
	}
}

func freeSpace(name string) (Space, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(name, &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return Space{}, &fs.PathError{Op: "statfs", Path: name, Err: err}
		}
		size := uint64(st.Bsize)
		return Space{TotalBytes: st.Blocks * size, FreeBytes: st.Bfree * size, AvailBytes: uint64(st.Bavail) * size}, nil
	}
}
