package wal

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/flowlake/flowlake/db/vfs"
)

// InfoKind is what an Info is about.
type InfoKind string

// The kinds of Info.
const (
	InfoSegment InfoKind = "segment" // the header of a segment; First, Front, PrevEnd, Bytes (of the file), TimeNanos, Unsynced
	InfoRecord  InfoKind = "record"  // a valid record; Index, Bytes (of the payload), Group, End
	InfoFront   InfoKind = "front"   // a valid front record; Front
	InfoEnd     InfoKind = "end"     // where the valid records of a segment end; Index is the next one, Reason why
	InfoDamage  InfoKind = "damage"  // damage; Reason
	InfoSpare   InfoKind = "spare"   // a file kept to be used again; Bytes
)

// Info is one finding of Inspect.
type Info struct {
	Kind      InfoKind
	File      string // base name
	Offset    int64  // in the file
	Index     uint64
	Bytes     int64
	First     uint64
	Front     uint64
	PrevEnd   int64
	Group     int64 // offset of the start of the record's group
	End       bool  // whether the record is the last of its append
	TimeNanos int64 // creation of the segment
	Unsynced  bool
	Reason    string
}

// Inspect tells fn what is in the directory of a log, segment by segment, and returns the first error of fn or of reading.
// Damage is told, not returned. It changes nothing, and works on a log that is in use, whose last records it may see in part.
func Inspect(fsys vfs.FS, dir string, fn func(Info) error) error {
	if fsys == nil {
		fsys = vfs.OS
	}
	d, err := readFolder(fsys, dir)
	if err != nil {
		return err
	}
	for i, seq := range d.segments {
		end := int64(0) // as the next segment states it
		if i+1 < len(d.segments) && d.segments[i+1] == seq+1 {
			if h, err := headerOf(fsys, dir, seq+1); err == nil {
				end = h.prevEnd
			}
		}
		if err := inspectSegment(fsys, dir, seq, end, i+1 == len(d.segments), fn); err != nil {
			return err
		}
	}
	for _, seq := range d.spares {
		st, err := fsys.Stat(filepath.Join(dir, spareName(seq)))
		if err != nil {
			return err
		}
		if err := fn(Info{Kind: InfoSpare, File: spareName(seq), Bytes: st.Size()}); err != nil {
			return err
		}
	}
	return nil
}

func headerOf(fsys vfs.FS, dir string, seq uint64) (segmentHeader, error) {
	f, err := fsys.Open(filepath.Join(dir, segmentName(seq)))
	if err != nil {
		return segmentHeader{}, err
	}
	defer f.Close()
	return readSegmentHeader(f, segmentName(seq))
}

func inspectSegment(fsys vfs.FS, dir string, seq uint64, end int64, tail bool, fn func(Info) error) error {
	name := segmentName(seq)
	f, err := fsys.Open(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	damage := func(off int64, reason string) error {
		return fn(Info{Kind: InfoDamage, File: name, Offset: off, Reason: reason})
	}
	hdr, err := readSegmentHeader(f, name)
	var corrupt *CorruptionError
	if errors.As(err, &corrupt) {
		return damage(corrupt.Offset, corrupt.Reason)
	}
	if errors.Is(err, ErrNewerFormat) {
		return damage(8, err.Error())
	}
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := fn(Info{Kind: InfoSegment, File: name, First: hdr.first, Front: hdr.front, PrevEnd: hdr.prevEnd, Bytes: st.Size(),
		TimeNanos: hdr.createdNanos, Unsynced: hdr.flags&flagUnsynced != 0}); err != nil {
		return err
	}
	size := st.Size()
	if end > size {
		return damage(size, fmt.Sprintf("the next segment says that this one ends at offset %d", end))
	}
	if end > 0 {
		size = end
	}
	res, err := newScanner(f, size, hdr, func(r record, off int64) error {
		return inspectRecord(f, name, r, off, fn)
	}).scan(tail && hdr.flags&flagUnsynced == 0)
	switch {
	case err != nil:
		return err
	case end > 0 && res.end != end:
		return damage(res.stop, orElse(res.reason, "append is not complete"))
	case res.later != 0:
		return damage(res.stop, fmt.Sprintf("%s, yet a later write follows at offset %d", res.reason, res.later))
	}
	return fn(Info{Kind: InfoEnd, File: name, Offset: res.end, Index: res.next, Reason: res.reason})
}

func inspectRecord(f vfs.File, name string, r record, off int64, fn func(Info) error) error {
	info := Info{Kind: InfoRecord, File: name, Offset: off, Index: r.index, Bytes: int64(r.length),
		Group: off - int64(r.back)*recordAlign, End: r.flags&flagEnd != 0}
	if r.typ == typeFront {
		var b [8]byte
		if _, err := f.ReadAt(b[:], off+recordHeader); err != nil {
			return err
		}
		info.Kind, info.Front = InfoFront, le.Uint64(b[:])
	}
	return fn(info)
}
