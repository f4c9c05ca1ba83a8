package db

import (
	"fmt"
	"path/filepath"

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
		for _, t := range e.Tags {
			out.TagFiles = append(out.TagFiles, t.Path)
		}
		return fn(out)
	})
	return err
}

func (m *segmentMeta) info() SegmentInfo {
	return SegmentInfo{
		Table: m.Table, Path: m.Path, Level: m.Level, Rows: m.Rows, Bytes: m.Bytes,
		MinTime: m.MinTime, MaxTime: m.MaxTime, MinIndex: m.MinIndex, MaxIndex: m.MaxIndex, State: "live",
	}
}
