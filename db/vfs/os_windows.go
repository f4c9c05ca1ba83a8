package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

func isPlatformNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// syncDir does nothing: NTFS journals its directories and offers no call to flush one.
func syncDir(*os.File) error { return nil }

// lockByte lies far behind the text of the holder: a locked range cannot be read by others.
const lockByte = 1 << 30

func tryLock(f *os.File) (held bool, err error) {
	ol := &windows.Overlapped{Offset: lockByte}
	err = windows.LockFileEx(windows.Handle(f.Fd()),
		windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, ol)
	switch {
	case err == nil:
		return false, nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return true, nil
	}
	return false, &fs.PathError{Op: "lock", Path: f.Name(), Err: err}
}

func freeSpace(name string) (Space, error) {
	st, err := os.Stat(name)
	if err != nil {
		return Space{}, err
	}
	if !st.IsDir() {
		name = filepath.Dir(name)
	}
	p, err := windows.UTF16PtrFromString(name)
	if err != nil {
		return Space{}, err
	}
	var s Space
	if err := windows.GetDiskFreeSpaceEx(p, &s.AvailBytes, &s.TotalBytes, &s.FreeBytes); err != nil {
		return Space{}, &fs.PathError{Op: "freespace", Path: name, Err: err}
	}
	return s, nil
}
