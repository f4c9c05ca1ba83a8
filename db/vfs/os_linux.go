package vfs

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

func retryEINTR(op string, f *os.File, call func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = raw.Control(func(fd uintptr) {
		for {
			if callErr = call(int(fd)); callErr != unix.EINTR {
				return
			}
		}
	})
	if err == nil && callErr != nil {
		err = &fs.PathError{Op: op, Path: f.Name(), Err: callErr}
	}
	return err
}

func syncData(f *os.File) error { return retryEINTR("fdatasync", f, unix.Fdatasync) }

// sendBehind waits until the bytes from to sent are on their way no more, and sends those from sent to end. It is no sync:
// neither metadata nor the disk's cache are flushed.
func sendBehind(f *os.File, from, sent, end int64) error {
	err := retryEINTR("sync_file_range", f, func(fd int) error {
		if from < sent {
			if err := unix.SyncFileRange(fd, from, sent-from, unix.SYNC_FILE_RANGE_WAIT_BEFORE); err != nil {
				return err
			}
		}
		return unix.SyncFileRange(fd, sent, end-sent, unix.SYNC_FILE_RANGE_WRITE)
	})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESPIPE) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil // not on this file system: its sync does all
	}
	return err
}

func preallocate(f *os.File, off, length int64) error {
	err := retryEINTR("fallocate", f, func(fd int) error { return unix.Fallocate(fd, 0, off, length) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return growTo(f, off+length)
	}
	return err
}
