package db

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/flowlake/flowlake/db/vfs"
)

// ManifestEdit is one record of a MANIFEST as InspectManifest shows it.
type ManifestEdit struct {
	Offset  int64  // in the file
	Flushed uint64 // 0 when the edit does not say
	Added   []SegmentInfo
	Dropped []string
	// Quarantined are segments set aside; TagFiles the paths of tag files.
	Quarantined []string
	TagFiles    []string
	// Notes are what it says about rollups and retention, a line each.
	Notes []string
}

// InspectManifest calls fn for each record of the MANIFEST in a data folder, without opening the database or changing
// anything. Damage is a *CorruptionError after the records before it.
func InspectManifest(fsys vfs.FS, dir string, fn func(ManifestEdit) error) error {
	name := filepath.Join(dir, manifestName)
	f, err := fsys.Open(name)
	if err != nil {
		return fmt.Errorf("inspect manifest: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("inspect manifest: %w", err)
	}
	_, err = readManifest(f, st.Size(), name, func(off int64, e *edit) error {
		out := ManifestEdit{Offset: off, Flushed: e.Flushed, Dropped: e.Drop}
		for _, s := range e.Add {
			out.Added = append(out.Added, s.info())
		}
		for _, q := range e.Quarantine {
			out.Quarantined = append(out.Quarantined, q.Path)
		}
		out.Dropped = append(out.Dropped, e.DropTags...)
		for _, t := range e.Tags {
			out.TagFiles = append(out.TagFiles, t.Path)
		}
		out.Notes = e.notes()
		return fn(out)
	})
	return err
}

// notes are the parts about rollups and retention as text.
func (e *edit) notes() (out []string) {
	for _, r := range e.Rollups {
		out = append(out, fmt.Sprintf("rollup %s of %s every %s: %d of %d segments pending", r.Name, r.Source, r.Every, len(r.Pending), r.Total))
	}
	for _, r := range e.Rolled {
		for _, p := range r.Segments {
			out = append(out, fmt.Sprintf("rolled up into %s: %s", r.Rollup, p))
		}
	}
	for _, name := range e.DropRollups {
		out = append(out, "drop rollup "+name)
	}
	for _, table := range slices.Sorted(maps.Keys(e.Retention)) {
		out = append(out, fmt.Sprintf("retention of %s: %s", table, time.Duration(e.Retention[table])))
	}
	return out
}

func (m *segmentMeta) info() SegmentInfo {
	return SegmentInfo{
		Table: m.Table, Path: m.Path, Level: m.Level, Rows: m.Rows, Bytes: m.Bytes,
		MinTime: m.MinTime, MaxTime: m.MaxTime, MinIndex: m.MinIndex, MaxIndex: m.MaxIndex, State: "live",
	}
}
