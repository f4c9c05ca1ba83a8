package wal

import (
	"errors"
	"fmt"
	"time"

	"github.com/flowlake/flowlake/db/vfs"
)

// Options are the settings of a log. Open fills in the defaults.
type Options struct {
	// SegmentBytes is the size of a segment file, reserved when it is made. Default (0): 64 MiB. At least 64 KiB.
	// A larger append gets a larger segment of its own.
	SegmentBytes int64
	// MaxRecordBytes is the largest record that is taken. Default (0): 64 MiB. At most 1 GiB.
	MaxRecordBytes int
	// MaxBatchBytes is how many bytes of waiting appends are written at once. Default (0): 8 MiB.
	// A single larger append is still written as one.
	MaxBatchBytes int
	// MaxDelay is how long an append waits for others to share its sync. Default (0): not at all, those who come
	// while a sync is running share the next one.
	MaxDelay time.Duration
	// RecycleSegments is how many segments that are no longer needed are kept to be used again; writing into them is
	// nearly twice as fast. Default (0): 2. Negative: none.
	RecycleSegments int
	// NoSync leaves out every sync: a killed process loses nothing, a power cut may lose everything.
	NoSync bool
	// Committed, if not nil, is called for each append, with the index of its first record, the records as they were
	// handed in, and the note of AppendNoted, nil for other appends. It is called in the order of the indices, by one goroutine at a time, when the records are durable and
	// can be read, and before Append returns; no later append is acknowledged meanwhile. So what it makes visible is
	// durable, and what is acknowledged is visible. The records are borrowed until it returns. It must not call methods
	// that change the log, and what Open finds in the log is not passed to it (see Range).
	Committed func(first uint64, recs [][]byte, note any)
	// FS is the file system. Default (nil): vfs.OS.
	FS vfs.FS
	// NowNanos is the clock, for the sync latency in Metrics and the creation time in segments: Unix nanoseconds.
	// Default (nil): the clock of the system.
	NowNanos func() int64
}

func (o *Options) fill() error {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 64 << 20
	}
	if o.MaxRecordBytes == 0 {
		o.MaxRecordBytes = 64 << 20
	}
	if o.MaxBatchBytes == 0 {
		o.MaxBatchBytes = 8 << 20
	}
	if o.RecycleSegments == 0 {
		o.RecycleSegments = 2
	}
	if o.FS == nil {
		o.FS = vfs.OS
	}
	if o.NowNanos == nil {
		base := time.Now()
		o.NowNanos = func() int64 { return base.UnixNano() + int64(time.Since(base)) }
	}
	switch {
	case o.SegmentBytes < 64<<10 || o.SegmentBytes > 16<<30:
		return fmt.Errorf("SegmentBytes is %d, want 64 KiB to 16 GiB", o.SegmentBytes)
	case o.MaxRecordBytes < 1 || o.MaxRecordBytes > maxRecordBytes:
		return fmt.Errorf("MaxRecordBytes is %d, want 1 to %d", o.MaxRecordBytes, maxRecordBytes)
	case o.MaxBatchBytes < 1:
		return errors.New("MaxBatchBytes is negative")
	case o.MaxDelay < 0:
		return errors.New("MaxDelay is negative")
	}
	return nil
}
