package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/flowlake/flowlake/db/vfs"
)

// Checkpoint makes a copy of the database in dir, which must not exist or be empty, and lie on the same file system: what
// is in the head is flushed, then segments and tag files get a second name (hard links), so it takes neither time nor room
// in proportion to the data. The copy opens as a database of its own.
func (d *DB) Checkpoint(ctx context.Context, dir string) error {
	if err := d.Flush(ctx); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if names, err := d.fs.List(dir); err == nil && len(names) > 0 {
		return fmt.Errorf("checkpoint: %s is not empty: %w", dir, ErrNotAFolder)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("checkpoint: %w", err)
	}
	d.commitMu.Lock() // no segment is dropped meanwhile
	defer d.commitMu.Unlock()
	e := d.manifest.asEdit()
	e.Quarantine = nil
	if err := d.linkAll(ctx, dir, e); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if d.log != nil {
		// the copy's log begins anew: its indexes go on from 1
		e.Flushed = 0
		for i := range e.Add {
			e.Add[i].MinIndex, e.Add[i].MaxIndex = 0, 0
		}
	}
	f, _, err := createManifest(d.fs, filepath.Join(dir, manifestName), e)
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	text, err := vfs.ReadFile(d.fs, filepath.Join(d.dir, "OPTIONS"), 1<<20)
	if err == nil {
		err = vfs.WriteFileAtomic(d.fs, filepath.Join(dir, "OPTIONS"), text)
	}
	if err != nil {
		return fmt.Errorf("checkpoint: options: %w", err)
	}
	return nil
}

func (d *DB) linkAll(ctx context.Context, dir string, e *edit) error {
	var paths []string
	for _, s := range e.Add {
		paths = append(paths, s.Path)
	}
	for _, t := range e.Tags {
		paths = append(paths, t.Path)
	}
	if err := vfs.MkdirAllSync(d.fs, filepath.Join(dir, "tmp")); err != nil {
		return err
	}
	dirs := map[string]bool{}
	for _, p := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(p))
		if parent := filepath.Dir(to); !dirs[parent] {
			if err := vfs.MkdirAllSync(d.fs, parent); err != nil {
				return err
			}
			dirs[parent] = true
		}
		if err := d.fs.Link(filepath.Join(d.dir, filepath.FromSlash(p)), to); err != nil {
			return err
		}
	}
	for parent := range dirs {
		if err := vfs.SyncDir(d.fs, parent); err != nil {
			return err
		}
	}
	return nil
}
