package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowlake/flowlake/db"
)

type backupFlags struct {
	data, server string
	copies       bool
	quiet        bool
}

func newBackup(s *Streams) *cobra.Command {
	f := &backupFlags{}
	cmd := &cobra.Command{
		Use:   "backup DEST",
		Short: "Make a copy of a data folder",
		Long: `Make a copy of a data folder in the folder DEST, which must not exist or be empty. On one file system the files get a second name
there (hard links), which takes next to no time and room but shares the bytes on the disk; on another file system, or with --copy,
they are copied. The copy is a data folder of its own: 'flowlake restore' makes a folder of it, 'flowlake sql --data DEST' asks it.
The folder must not be open elsewhere: stop the server for the moment that it takes.`,
		Example: `  flowlake backup /backup/flowlake-2026-01-31 --data DIR
  flowlake backup /mnt/other-disk/flowlake --data DIR && flowlake verify --data /mnt/other-disk/flowlake
  flowlake backup DEST --data DIR --copy`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error { return f.run(cmd, s, a[0]) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", s.defaultData(), "data folder to copy")
	fl.StringVar(&f.server, "server", "", "not in this version: a folder is backed up while no server has it open")
	fl.BoolVar(&f.copies, "copy", false, "copy files also where hard links would do")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no summary")
	return cmd
}

func (f *backupFlags) run(cmd *cobra.Command, s *Streams, dest string) (err error) {
	switch {
	case onCommandLine(cmd.Flags(), "server"):
		return usagef("--server is not in this version: stop the server, run 'flowlake backup %s --data DIR' with the folder it uses, and start it again", dest)
	case f.data == "":
		return usagef("--data names no folder")
	case dest == "":
		return usagef("the folder to make has no name")
	}
	ctx, stop := s.interruptible(cmd.Context())
	defer stop()
	if err := refuseNested(dest, f.data); err != nil {
		return err
	}
	if err := refuseFilled(dest); err != nil {
		return err
	}
	d, err := openExisting(f.data, s.Err)
	if err != nil {
		return err
	}
	w := newWork(s, f.quiet, "backup")
	began := time.Now()
	err = d.Backup(ctx, dest, func(o *db.BackupOptions) { o.Copy, o.Progress = f.copies, w.update })
	w.end()
	if err = errors.Join(err, d.Close()); err != nil {
		return unfinished(ctx, err, dest)
	}
	if !f.quiet {
		fmt.Fprintf(s.Err, "backed up %s to %s: %s in %s, took %v\n", f.data, dest, plural(w.last.TotalFiles, "file"),
			humanBytes(float64(w.last.TotalBytes)), time.Since(began).Round(time.Millisecond))
	}
	return nil
}

// unfinished adds what is left to do to the error of a copy that was cut short.
func unfinished(ctx context.Context, err error, dest string) error {
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if entries, lerr := os.ReadDir(dest); lerr == nil && len(entries) > 0 {
		if _, serr := os.Stat(filepath.Join(dest, "OPTIONS")); serr != nil {
			return fmt.Errorf("%w; %s is not complete and cannot be used: remove it", err, dest)
		}
	}
	return err
}

// refuseFilled says which folder is not empty before anything else is done.
func refuseFilled(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("look at %s: %w", dir, err)
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: it has %s; name a new or empty folder", dir, entries[0].Name())
	}
	return nil
}

// refuseNested is an error when one folder is inside the other, whichever way they are written.
func refuseNested(a, b string) error {
	ra, err := realPath(a)
	if err != nil {
		return err
	}
	rb, err := realPath(b)
	if err != nil {
		return err
	}
	if under(ra, rb) || under(rb, ra) {
		return fmt.Errorf("%s and %s are the same folder, or one is inside the other", a, b)
	}
	return nil
}

func under(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// realPath is a path without symbolic links, also of what does not exist yet.
func realPath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	rest := ""
	for dir := abs; ; dir = filepath.Dir(dir) {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			return filepath.Join(real, rest), nil
		}
		if !errors.Is(err, os.ErrNotExist) || dir == filepath.Dir(dir) {
			return abs, nil //nolint:nilerr // whoever opens it says what is wrong
		}
		rest = filepath.Join(filepath.Base(dir), rest)
	}
}

// work shows how far something with many files is.
type work struct {
	p    *progress
	what string
	last db.VerifyProgress
}

func newWork(s *Streams, quiet bool, what string) *work {
	w := &work{what: what}
	if !quiet {
		w.p = &progress{w: s.Err, width: terminalWidth(s.Err), name: what, now: time.Now, began: time.Now()}
	}
	return w
}

func (w *work) update(p db.VerifyProgress) {
	w.last = p
	if w.p == nil {
		return
	}
	w.p.name = fmt.Sprintf("%s (%d of %s)", w.what, p.Files, plural(p.TotalFiles, "file"))
	w.p.update(p.Bytes, p.TotalBytes)
}

func (w *work) end() {
	if w.p != nil {
		w.p.end()
	}
}
