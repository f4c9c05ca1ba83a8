package db

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/flowlake/flowlake/db/vfs"
)

// RestoreOptions tune Restore.
type RestoreOptions struct {
	// Verify is how the backup is checked first; by default as VerifyFolder does.
	Verify func(*VerifyOptions)
	// Verifying and Copying, if not nil, are called now and then on the calling goroutine.
	Verifying, Copying func(VerifyProgress)
}

// DamagedError is returned by Restore when the backup has problems; nothing is restored then. errors.Is(err, ErrCorrupt)
// holds.
type DamagedError struct {
	Problems []Problem
}

// Error names the first problem.
func (e *DamagedError) Error() string {
	if n := len(e.Problems) - 1; n > 0 {
		return fmt.Sprintf("%v; and %d more problems", e.Problems[0], n)
	}
	return e.Problems[0].String()
}

// Is makes errors.Is(err, ErrCorrupt) true.
func (e *DamagedError) Is(target error) bool { return target == ErrCorrupt }

// Restore makes a data folder dir, which must not exist or be empty, of a backup in src. All of src is verified first. Files
// are copied, never linked: what happens to the folder later must not happen to the backup. src may also be a data folder
// that nobody has open; its log is then copied, too. A restore that was not completed has no OPTIONS file and does not open.
func Restore(ctx context.Context, fsys vfs.FS, src, dir string, opts ...func(*RestoreOptions)) error {
	var o RestoreOptions
	for _, f := range opts {
		f(&o)
	}
	if err := restore(ctx, fsys, src, dir, o); err != nil {
		return fmt.Errorf("restore %s to %s: %w", src, dir, err)
	}
	return nil
}

func restore(ctx context.Context, fsys vfs.FS, src, dir string, o RestoreOptions) (err error) {
	if inside(dir, src) || inside(src, dir) {
		return fmt.Errorf("one is inside the other: %w", ErrNotAFolder)
	}
	if err := refuseFull(fsys, dir); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	unlock, err := lockIfUsed(fsys, src)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	var check []func(*VerifyOptions)
	if o.Verify != nil {
		check = append(check, o.Verify)
	}
	problems, err := VerifyFolder(ctx, fsys, src, o.Verifying, check...)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return &DamagedError{problems}
	}
	text, err := vfs.ReadFile(fsys, filepath.Join(src, "OPTIONS"), 1<<20)
	if err != nil {
		return fmt.Errorf("read options: %w", err)
	}
	contents, _, err := manifestOf(fsys, src)
	if err != nil {
		return err
	}
	e := contents.asEdit()
	e.Quarantine = nil // their files stay where they are
	files, err := filesOf(fsys, src, e)
	if err != nil {
		return err
	}
	c := copier{fs: fsys, from: src, to: dir, progress: o.Copying}
	if err := c.all(ctx, files); err != nil {
		return err
	}
	return c.finish(e, text)
}

// lockIfUsed keeps others from opening a folder that was open before; a backup that never was stays as it is.
func lockIfUsed(fsys vfs.FS, dir string) (unlock func() error, err error) {
	none := func() error { return nil }
	name := filepath.Join(dir, "LOCK")
	if _, err := fsys.Stat(name); errors.Is(err, fs.ErrNotExist) {
		return none, nil
	}
	lock, err := fsys.Lock(name)
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return nil, fmt.Errorf("%w: %w; stop it, or restore a backup of it", ErrLocked, err)
	case errors.Is(err, syscall.EROFS): // then nobody writes it
		return none, nil
	case err != nil:
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	return lock.Close, nil
}

// filesOf are the files that an edit names, and those of the log.
func filesOf(fsys vfs.FS, dir string, e *edit) ([]fileCopy, error) {
	var files []fileCopy
	add := func(path string) error {
		st, err := fsys.Stat(filepath.Join(dir, filepath.FromSlash(path)))
		if err != nil {
			return fmt.Errorf("look at %s: %w", path, err)
		}
		files = append(files, fileCopy{path, st.Size()})
		return nil
	}
	for _, s := range e.Add {
		if err := add(s.Path); err != nil {
			return nil, err
		}
	}
	for _, t := range e.Tags {
		if err := add(t.Path); err != nil {
			return nil, err
		}
	}
	names, err := fsys.List(filepath.Join(dir, "wal"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list log: %w", err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, ".wal") { // the others are spare
			if err := add("wal/" + n); err != nil {
				return nil, err
			}
		}
	}
	return files, nil
}
