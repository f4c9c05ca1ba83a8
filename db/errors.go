package db

import (
	"errors"
	"fmt"

	"github.com/flowlake/flowlake/db/batch"
)

var (
	// ErrLocked is returned by Open when another process has the folder open.
	ErrLocked = errors.New("data folder is in use")
	// ErrNewerFormat is returned by Open when the folder was written by a later version of Flowlake.
	ErrNewerFormat = errors.New("data folder has a newer format")
	// ErrCorrupt is returned when a checksum or a structure on disk is wrong; the error is a *CorruptionError.
	ErrCorrupt = errors.New("data is damaged")
	// ErrNotAFolder is returned by Open when the path is something else than a folder, or a folder of other files.
	ErrNotAFolder = errors.New("not a data folder")
	// ErrBadBatch is returned by Write when a batch does not fit its table. Writing it again cannot succeed.
	ErrBadBatch = fmt.Errorf("bad batch: %w", batch.ErrRefused)
	// ErrTooManyTagSets is returned by Write when the batch's new tag sets would pass a limit (Options.MaxTagSets,
	// MaxTagBytes, MaxTagKeys, MaxTagValues). It wraps a *tags.LimitError, which says which.
	ErrTooManyTagSets = fmt.Errorf("too many tag sets: %w", batch.ErrRefused)
	// ErrBusy is returned by Write when unflushed rows fill their memory bound and flushing does not keep up; try again later.
	ErrBusy = errors.New("too many unflushed rows")
	// ErrDiskFull is returned by Write when there is no room for the log; reads go on, and writes do once there is room.
	ErrDiskFull = errors.New("disk is full")
	// ErrReadOnly is returned by Write after the log has failed in a way that makes further writes unsafe; open the
	// folder again.
	ErrReadOnly = errors.New("database is read-only")
	// ErrClosed is returned when the database is used after Close.
	ErrClosed = errors.New("database is closed")
)

// CorruptionError says where data is damaged. errors.Is(err, ErrCorrupt) holds.
type CorruptionError struct {
	File   string
	Offset int64
	Reason string
}

// Error names file, offset and reason.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("%s is damaged at offset %d: %s", e.File, e.Offset, e.Reason)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptionError) Is(target error) bool { return target == ErrCorrupt }
