package wal

import (
	"errors"
	"fmt"
)

var (
	// ErrClosed is returned by a log or a Stable after Close.
	ErrClosed = errors.New("log is closed")
	// ErrNotFound is returned for an index or a key that is not there.
	ErrNotFound = errors.New("not found")
	// ErrReadOnly is returned by every change after a sync or the undoing of a write has failed: what is on disk is not
	// known any more, and stays so until the log is opened anew. Reads go on. Appends that get it from the failure itself
	// are whole or absent after that; appends that come later are absent.
	ErrReadOnly = errors.New("log is read-only after a failure")
	// ErrTooLarge is returned for a record over Options.MaxRecordBytes, and for a Stable over 1 MiB.
	ErrTooLarge = errors.New("too large")
	// ErrOutOfOrder is returned by AppendAt when the index is not the next one and the log is not empty.
	ErrOutOfOrder = errors.New("index out of order")
	// ErrCorrupt is returned, as a *CorruptionError, when bytes that were durable are damaged or missing.
	ErrCorrupt = errors.New("corrupt")
	// ErrNewerFormat is returned when a file was written by a version that this one does not know.
	ErrNewerFormat = errors.New("written by a newer version")
)

// CorruptionError says where a file is damaged. errors.Is(err, ErrCorrupt) is true for it.
type CorruptionError struct {
	File   string
	Offset int64 // bytes from the start of the file
	Reason string
}

func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s is corrupt at offset %d: %s", e.File, e.Offset, e.Reason)
}

// Is reports whether target is ErrCorrupt.
func (e *CorruptionError) Is(target error) bool { return target == ErrCorrupt }
