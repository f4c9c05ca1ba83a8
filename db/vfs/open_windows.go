package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// openFile opens a file so that it can be renamed, replaced and removed while it is open, as everywhere else; os.OpenFile does
// not.
func openFile(name string, flag int) (*os.File, error) {
	access, mode := uint32(windows.GENERIC_READ), uint32(windows.OPEN_EXISTING)
	if flag&os.O_RDWR != 0 {
		access |= windows.GENERIC_WRITE
	}
	if flag&os.O_CREATE != 0 {
		mode = windows.CREATE_ALWAYS
	}
	p, err := widePath(name)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	h, err := windows.CreateFile(p, access, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, nil, mode,
		windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(h), name), nil
}

// widePath is a path for calls of Windows; a long one gets the prefix without which it may have 260 characters only.
func widePath(name string) (*uint16, error) {
	const short = 240
	if len(name) >= short && !strings.HasPrefix(name, `\\`) {
		abs, err := filepath.Abs(name)
		if err != nil {
			return nil, err
		}
		name = `\\?\` + abs
	}
	return windows.UTF16PtrFromString(name)
}

// renameInfo is FILE_RENAME_INFO.
type renameInfo struct {
	flags    uint32
	root     windows.Handle
	length   uint32 // of the name, in bytes
	fileName [windows.MAX_LONG_PATH]uint16
}

// rename replaces newname, also while it is open elsewhere (since Windows 10; before, and on file systems that cannot, that is an
// error).
func rename(oldname, newname string) error {
	err := renamePOSIX(oldname, newname)
	if err == nil {
		return nil
	}
	if errors.Is(err, windows.ERROR_FILE_NOT_FOUND) || errors.Is(err, windows.ERROR_PATH_NOT_FOUND) {
		return &os.LinkError{Op: "rename", Old: oldname, New: newname, Err: err}
	}
	return os.Rename(oldname, newname)
}

func renamePOSIX(oldname, newname string) error {
	from, err := widePath(oldname)
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(newname)
	if err != nil {
		return err
	}
	to, err := windows.UTF16FromString(abs)
	if err != nil {
		return err
	}
	info := &renameInfo{flags: windows.FILE_RENAME_REPLACE_IF_EXISTS | windows.FILE_RENAME_POSIX_SEMANTICS, length: uint32(2 * (len(to) - 1))}
	if copy(info.fileName[:], to) < len(to) {
		return windows.ERROR_FILENAME_EXCED_RANGE
	}
	h, err := windows.CreateFile(from, windows.DELETE|windows.SYNCHRONIZE, windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE,
		nil, windows.OPEN_EXISTING, windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return err
	}
	defer func() { _ = windows.CloseHandle(h) }()
	return windows.SetFileInformationByHandle(h, windows.FileRenameInfoEx, (*byte)(unsafe.Pointer(info)), uint32(unsafe.Sizeof(*info)))
}
