// Package segment writes and reads the database's files: plain Parquet that any engine can read, with an index block of
// our own behind the pages that lets us open, prune and verify a file without decoding the Parquet footer
// (docs/format/segment.md).
package segment

import (
	"errors"
	"fmt"

	"github.com/flowlake/flowlake/db/batch"
)

// Errors of this package.
var (
	// ErrCorrupt is returned (inside a *CorruptionError) when a file's bytes are not what was written.
	ErrCorrupt = errors.New("segment is corrupt")
	// ErrNewerFormat is returned when a file was written by a later version of the format.
	ErrNewerFormat = errors.New("segment has a newer format")
	// ErrColumnType is returned when a column of a file has another type than the table's column of that name.
	ErrColumnType = errors.New("segment column has another type than the table")
	// ErrValue is returned when a value cannot be written: an INTEGER outside 32 bits, an INET that is not 16 bytes, a
	// value longer than MaxValueBytes.
	ErrValue = errors.New("value cannot be stored")
	// ErrClosed is returned when a writer is used after Finish or Abort.
	ErrClosed = errors.New("segment writer is closed")
)

// CorruptionError says where a file is damaged. errors.Is(err, ErrCorrupt) holds for it.
type CorruptionError struct {
	File   string
	Offset int64 // byte of the file at which the damaged part begins
	Reason string
}

// Error names file, offset and reason.
func (e *CorruptionError) Error() string {
	return fmt.Sprintf("segment %s is corrupt at offset %d: %s", e.File, e.Offset, e.Reason)
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *CorruptionError) Is(target error) bool { return target == ErrCorrupt }

// MaxValueBytes is the longest single value a segment takes.
const MaxValueBytes = 64 << 20

// Options tune a Writer. The zero value is right for a flush.
type Options struct {
	// PageRows is the number of rows in a page, the unit of reading and pruning: 64 to 65536, default 16384.
	PageRows int
	// RowGroupRows is the number of rows in a row group (one dictionary per column each): at most and by default 1 Mi; the
	// default is 256 Ki where a column has a Bloom filter.
	RowGroupRows int
	// PageBytes closes a page early when a column's values in it reach this many bytes; default 4 MiB.
	PageBytes int
	// DictionaryBytes is the largest dictionary of a column in a row group; past it values are stored one by one.
	// Default 4 MiB.
	DictionaryBytes int
	// Sorted says that the rows are appended in the order of Order over all of them. The file then states it, and
	// compaction may merge it.
	Sorted bool
	// Level is the number of compactions the rows went through; 0 for a flush.
	Level int
	// MinIndex and MaxIndex are the log indexes whose rows the file holds; 0 where there is no log.
	MinIndex, MaxIndex uint64
	// Portable leaves out BYTE_STREAM_SPLIT, which older readers of Parquet do not know (arrow/go v15; Spark's vectorised
	// reader): files are some 15 % larger.
	Portable bool
	// Urgent, when set and true, has the writer not yield to other goroutines after each page of a column.
	Urgent func() bool
	// CreatedBy goes into the Parquet footer; default "flowlake".
	CreatedBy string
}

// Info describes a segment.
type Info struct {
	Path       string
	Table      string
	Resolution string
	Format     int   // version of the format
	Rows       int64 // number of rows
	Bytes      int64 // size of the file
	RowGroups  int
	Units      int // number of page rows over all row groups: what a full scan reads one by one
	// MinTime and MaxTime are the smallest and largest time, Unix nanoseconds; both 0 when there are no rows.
	MinTime, MaxTime int64
	// MinTag and MaxTag are the smallest and largest tag-set id over all TagSet columns.
	MinTag, MaxTag uint32
	// MinIndex and MaxIndex are what the writer was given.
	MinIndex, MaxIndex uint64
	Level              int
	Sorted             bool
	// Order is the table's order (schema.Table.Order) when the segment was written.
	Order int
	// FooterCRC is the CRC-32C of the file's index block and footer: together with Bytes it tells two files apart.
	FooterCRC uint32
	// BadText is the number of distinct values whose bytes were not UTF-8 and were stored with U+FFFD instead.
	BadText int64
}

// Unit is one page of rows of a segment: what Read reads at once.
type Unit struct {
	RowGroup int32
	Page     int32
	Rows     int32
	slices   uint64 // of its rows that are worth looking at, a bit each; 0 stands for all
}

// OpenOptions tune a Reader.
type OpenOptions struct {
	// Cache keeps decoded dictionaries and open files; share one among all readers of a database. Nil gives the reader one
	// of its own with a budget of 32 MiB for dictionaries.
	Cache *Cache
}

// Scratch is the memory of one goroutine's reads. Use one Scratch per destination batch: after Read, vectors of dst may
// use memory of s until the next Read with s.
type Scratch struct {
	scratch
}

// guard turns a panic while decoding foreign bytes into corruption: no file can take the process down.
func guard(file string, off int64, err *error) {
	if p := recover(); p != nil {
		*err = &CorruptionError{File: file, Offset: off, Reason: fmt.Sprintf("decoder failed: %v", p)}
	}
}

// Order is the order in which a table's rows lie in a segment: the permutation that sorts b by Table.Sort. It is stable.
// Inet and Varchar columns are ordered by value, tag sets by id.
func Order(b *batch.Batch) []int32 { return order(b) }
