package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
)

// Each flush that met new tag sets adds a tag file. Neighbours are merged so that there stay few, however long that goes on:
// a file's level is how often its number of sets is tagFileSets times eight, and where there are tagMergeFiles of a level with
// none of a higher one between them, they become one. What has the highest level stays as it is. So a set is written about
// once for each level.
const (
	tagMergeFiles = 8
	tagFileSets   = 4096 // sets of level 0
	tagFileLevels = 4
)

func tagLevel(f tagFile) (level int) {
	for n := (f.To - f.From) / tagFileSets; n > 0 && level < tagFileLevels; n /= 8 {
		level++
	}
	return level
}

// pickTags returns the files to merge, in order of their sets, none when there are few.
func pickTags(files []tagFile) []tagFile {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b tagFile) int { return cmp.Compare(a.From, b.From) })
	for level := range tagFileLevels {
		from, count := 0, 0 // files[from:i] have the level or a lower one, count of them the level
		for i := 0; i <= len(files); i++ {
			if i < len(files) && tagLevel(files[i]) <= level {
				if tagLevel(files[i]) == level {
					count++
				}
				continue
			}
			if count >= tagMergeFiles {
				return files[from:i]
			}
			from, count = i+1, 0
		}
	}
	return nil
}

// mergeTags replaces some tag files by one, if there are many; it says whether it did. The sets are those of the store, so
// nothing is read.
func (d *DB) mergeTags(ctx context.Context) (bool, error) {
	d.compactMu.Lock()
	defer d.compactMu.Unlock()
	d.commitMu.Lock()
	files := pickTags(d.manifest.tags)
	if len(files) == 0 {
		d.commitMu.Unlock()
		return false, nil
	}
	to := tagFile{From: files[0].From, To: files[len(files)-1].To, By: tagsByKey}
	to.Path = d.tagFilePath(to.From, to.To)
	d.commitMu.Unlock()
	if err := d.writeTags(ctx, to); err != nil {
		return false, fmt.Errorf("merge %d tag files: %w", len(files), err)
	}
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	if err := d.replaceTags(files, to); err != nil {
		return false, fmt.Errorf("merge %d tag files: %w", len(files), err)
	}
	return true, nil
}

// writeTags writes a tag file to its place and syncs the folder.
func (d *DB) writeTags(ctx context.Context, f tagFile) error {
	v, full := d.tags.View(), filepath.Join(d.dir, filepath.FromSlash(f.Path))
	_, err := d.writeFile(f.Path, func(tmp string) (segment.Info, error) {
		s, err := segment.NewWriter(d.fs, tmp, TagSetsTable, segment.Options{Portable: d.opts.Portable, Sorted: true})
		if err != nil {
			return segment.Info{}, err
		}
		if err := appendTagSets(ctx, s, v, f.From, f.To, d.opts.Now().UnixNano()); err != nil {
			s.Abort()
			return segment.Info{}, err
		}
		return s.Finish()
	})
	if err == nil {
		err = vfs.SyncDir(d.fs, filepath.Dir(full))
	}
	if err != nil {
		d.removeFiles([]string{full})
	}
	return err
}

// replaceTags makes a file the one that has the sets of some others, which go. The caller holds commitMu.
func (d *DB) replaceTags(files []tagFile, by tagFile) error {
	full := filepath.Join(d.dir, filepath.FromSlash(by.Path))
	d.mu.RLock()
	closed := d.closed
	d.mu.RUnlock()
	if closed {
		d.removeFiles([]string{full})
		return ErrClosed
	}
	e := &edit{NextSeq: d.nextSeq.Load(), Tags: []tagFile{by}}
	var gone []string
	for _, f := range files {
		e.DropTags = append(e.DropTags, f.Path)
		gone = append(gone, filepath.Join(d.dir, filepath.FromSlash(f.Path)))
	}
	if err := d.commit(e, []string{full}); err != nil {
		return err
	}
	if d.tagReaders > 0 {
		d.goneTags = append(d.goneTags, gone...)
		return nil
	}
	d.removeFiles(gone)
	return nil
}

// holdTags keeps tag files there, merged ones too, until releaseTags. The caller holds commitMu.
func (d *DB) holdTags() { d.tagReaders++ }

func (d *DB) releaseTags() {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	if d.tagReaders--; d.tagReaders == 0 {
		d.removeFiles(d.goneTags)
		d.goneTags = nil
	}
}

// maintainTags merges tag files until there are few. One merge at a time makes way for segments in between.
func (d *DB) maintainTags(ctx context.Context) error {
	for ctx.Err() == nil {
		if did, err := d.mergeTags(ctx); err != nil || !did {
			if errors.Is(err, ErrClosed) {
				return nil
			}
			return err
		}
	}
	return nil
}
