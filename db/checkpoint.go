package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/flowlake/flowlake/db/vfs"
)

// BackupOptions tune Backup.
type BackupOptions struct {
	// Copy has files copied also where they could be linked. Links share the bytes on disk: they cost nothing, and they do
	// not help when that disk fails.
	Copy bool
	// Progress, if not nil, is called now and then on the calling goroutine.
	Progress func(VerifyProgress)
}

// Checkpoint is Backup with the default options.
func (d *DB) Checkpoint(ctx context.Context, dir string) error { return d.Backup(ctx, dir) }

// Backup makes a copy of the database in dir, which must not exist or be empty: what is in the head is flushed, then
// segments and tag files get a second name there (hard links), so that it takes neither time nor room in proportion to the
// data. Where that cannot be, as on another file system, they are copied. Reads, writes and merges go on meanwhile. The copy
// opens as a database of its own; one that was not completed has no OPTIONS file and does not open.
func (d *DB) Backup(ctx context.Context, dir string, opts ...func(*BackupOptions)) error {
	var o BackupOptions
	for _, f := range opts {
		f(&o)
	}
	if err := d.backup(ctx, dir, o); err != nil {
		return fmt.Errorf("back up to %s: %w", dir, err)
	}
	return nil
}

func (d *DB) backup(ctx context.Context, dir string, o BackupOptions) error {
	if inside(dir, d.dir) {
		return fmt.Errorf("it is inside the data folder: %w", ErrNotAFolder)
	}
	if err := refuseFull(d.fs, dir); err != nil {
		return err
	}
	if err := d.Flush(ctx); err != nil {
		return err
	}
	e, held, err := d.hold()
	if err != nil {
		return err
	}
	defer func() {
		d.releaseTags()
		if err := releaseAll(held); err != nil {
			d.backgroundError("release segments after a backup", err)
		}
	}()
	var files []fileCopy
	for _, s := range e.Add {
		files = append(files, fileCopy{s.Path, s.Bytes})
	}
	for _, t := range e.Tags {
		st, err := d.fs.Stat(filepath.Join(d.dir, filepath.FromSlash(t.Path)))
		if err != nil {
			return fmt.Errorf("look at %s: %w", t.Path, err)
		}
		files = append(files, fileCopy{t.Path, st.Size()})
	}
	c := copier{fs: d.fs, from: d.dir, to: dir, link: !o.Copy, progress: o.Progress}
	if err := c.all(ctx, files); err != nil {
		return err
	}
	if d.log != nil {
		// the copy's log begins anew: its indexes go on from 1
		e.Flushed = 0
		for i := range e.Add {
			e.Add[i].MinIndex, e.Add[i].MaxIndex = 0, 0
		}
	}
	text, err := vfs.ReadFile(d.fs, filepath.Join(d.dir, "OPTIONS"), 1<<20)
	if err != nil {
		return fmt.Errorf("read options: %w", err)
	}
	return c.finish(e, text)
}

// hold is the present contents as one edit, with references that keep the segments' files there: segments come and go
// meanwhile. Tag files stay until releaseTags.
func (d *DB) hold() (*edit, []*segmentRef, error) {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.closed {
		return nil, nil, ErrClosed
	}
	var held []*segmentRef
	for _, list := range d.segments {
		for _, s := range list {
			s.acquire()
			held = append(held, s)
		}
	}
	d.holdTags()
	e := d.manifest.clone().asEdit()
	e.Quarantine = nil
	return e, held, nil
}

// inside says whether a path is that of a folder or below it.
func inside(dir, parent string) bool {
	rel, err := filepath.Rel(parent, dir)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// refuseFull is an error when a folder has files.
func refuseFull(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if len(names) > 0 {
		return fmt.Errorf("it is not empty, it has %s: %w", names[0], ErrNotAFolder)
	}
	return nil
}

// fileCopy is a file to be copied.
type fileCopy struct {
	path  string // below the folder, with forward slashes
	bytes int64
}

// copier makes a data folder of the files of another one. OPTIONS is the last to come: without it a folder does not open.
type copier struct {
	fs       vfs.FS
	from, to string
	link     bool // as long as that works
	progress func(VerifyProgress)
	p        VerifyProgress
	buf      []byte
}

const copyBytes = 1 << 20

// all links or copies files, durably.
func (c *copier) all(ctx context.Context, files []fileCopy) error {
	if err := vfs.MkdirAllSync(c.fs, filepath.Join(c.to, "tmp")); err != nil {
		return err
	}
	c.p.TotalFiles = len(files)
	for _, f := range files {
		c.p.TotalBytes += f.bytes
	}
	dirs := map[string]bool{}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		c.report(f.path)
		from, to := filepath.Join(c.from, filepath.FromSlash(f.path)), filepath.Join(c.to, filepath.FromSlash(f.path))
		if parent := filepath.Dir(to); !dirs[parent] {
			if err := vfs.MkdirAllSync(c.fs, parent); err != nil {
				return err
			}
			dirs[parent] = true
		}
		done := c.p.Bytes
		if err := c.one(ctx, from, to); err != nil {
			return fmt.Errorf("copy %s: %w", f.path, err)
		}
		c.p.Bytes = done + f.bytes
		c.p.Files++
	}
	for parent := range dirs {
		if err := vfs.SyncDir(c.fs, parent); err != nil {
			return err
		}
	}
	c.report("")
	return nil
}

func (c *copier) report(file string) {
	if c.progress != nil {
		c.p.File = file
		c.progress(c.p)
	}
}

// one links a file, or copies it where it cannot: on another file system, or one without links.
func (c *copier) one(ctx context.Context, from, to string) error {
	if c.link {
		err := c.fs.Link(from, to)
		if err == nil || errors.Is(err, fs.ErrExist) || errors.Is(err, fs.ErrNotExist) {
			return err
		}
		c.link = false // to try it for each of many files takes time
	}
	if _, err := c.fs.Stat(to); err == nil {
		return fs.ErrExist // it may be a link to the very file: never empty it
	}
	return c.copy(ctx, from, to)
}

func (c *copier) copy(ctx context.Context, from, to string) (err error) {
	in, err := c.fs.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := c.fs.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if c.buf == nil {
		c.buf = make([]byte, copyBytes)
	}
	for off := int64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := in.ReadAt(c.buf, off)
		if n > 0 {
			if _, err := out.Write(c.buf[:n]); err != nil {
				return err
			}
			off += int64(n)
			c.p.Bytes += int64(n)
			c.report(c.p.File)
		}
		if errors.Is(err, io.EOF) {
			return out.Sync()
		} else if err != nil {
			return err
		}
	}
}

// finish writes MANIFEST and then OPTIONS: only now the folder is a database.
func (c *copier) finish(e *edit, options []byte) error {
	f, _, err := createManifest(c.fs, filepath.Join(c.to, manifestName), e.magic(), e)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close manifest: %w", err)
	}
	if err := vfs.SyncDir(c.fs, c.to); err != nil { // MANIFEST is there before OPTIONS can be
		return err
	}
	if err := vfs.WriteFileAtomic(c.fs, filepath.Join(c.to, "OPTIONS"), options); err != nil {
		return fmt.Errorf("write options: %w", err)
	}
	return nil
}
