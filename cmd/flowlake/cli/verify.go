package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/vfs"
	"github.com/flowlake/flowlake/query/render"
)

type verifyFlags struct {
	data, format string
	quiet        bool
}

func newVerify(s *Streams) *cobra.Command {
	f := &verifyFlags{format: "table"}
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Read all of a data folder and say what is damaged",
		Long: `Read every page of every segment and tag file and every record of the log of a data folder or a backup, check their checksums, and
compare them with MANIFEST. Nothing is changed; a folder that a server has open can be verified as well. Problems are listed with
the file and the offset in it, and the exit code is 1 when there are any.`,
		Example: `  flowlake verify --data DIR
  flowlake verify --data /backup/flowlake-2026-01-31 --format ndjson`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, s) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", s.defaultData(), "data folder or backup to read")
	fl.StringVar(&f.format, "format", f.format, "how problems are written: "+strings.Join(render.Names(), ", "))
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no summary")
	return cmd
}

func (f *verifyFlags) run(cmd *cobra.Command, s *Streams) error {
	switch {
	case f.data == "":
		return usagef("--data names no folder")
	case render.MIME(f.format) == "":
		return usagef("unknown format %q; there are %s", f.format, strings.Join(render.Names(), ", "))
	}
	if err := existingFolder(f.data); err != nil {
		return err
	}
	ctx, stop := s.interruptible(cmd.Context())
	defer stop()
	w := newWork(s, f.quiet, "verify")
	problems, err := db.VerifyFolder(ctx, vfs.OS, f.data, w.update)
	w.end()
	if ctx.Err() != nil {
		err = errors.New("interrupted: not all was read")
	}
	if lerr := f.list(s, problems, err); lerr != nil {
		return errors.Join(err, lerr)
	}
	switch {
	case err != nil:
		return err
	case len(problems) > 0:
		return fmt.Errorf("%s has %s", f.data, plural(len(problems), "problem"))
	}
	if !f.quiet {
		fmt.Fprintf(s.Err, "%s is sound: %s in %s\n", f.data, plural(w.last.TotalFiles, "file"), humanBytes(float64(w.last.TotalBytes)))
		if n := setAside(f.data); n > 0 {
			fmt.Fprintf(s.Err, "note: %s set aside earlier because of damage: rows in them are missing from answers, the files are in %s\n",
				plural(n, "segment"), filepath.Join(f.data, "quarantine"))
		}
	}
	return nil
}

// setAside is how many segments are no longer read because they were found damaged.
func setAside(dir string) (n int) {
	err := db.InspectManifest(vfs.OS, dir, func(e db.ManifestEdit) error {
		n += len(e.Quarantined)
		return nil
	})
	if err != nil {
		return 0 // verifying it has said what there is to say
	}
	return n
}

// list writes the problems; where there are none, a table has nothing to show, and a program's format still its frame.
func (f *verifyFlags) list(s *Streams, problems []db.Problem, failed error) error {
	if len(problems) == 0 && (f.format == "table" || failed != nil) {
		return nil
	}
	out := &listing{s: s, format: f.format}
	out.head("kind", "file", "offset:n", "table", "rows:n", "problem")
	for _, p := range problems {
		offset, rows := p.Offset, p.Rows
		if offset < 0 {
			offset = absent
		}
		if p.Kind != db.ProblemSegment || rows == 0 {
			rows = absent
		}
		if err := out.row(p.Kind, p.File, offset, p.Table, rows, p.Reason); err != nil {
			return errors.Join(err, out.close())
		}
	}
	return out.close()
}

// existingFolder is an error that says so when a path is no folder.
func existingFolder(dir string) error {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("there is no folder %s", dir)
	case err != nil:
		return fmt.Errorf("look at %s: %w", dir, err)
	case !st.IsDir():
		return fmt.Errorf("%s is a file, not a data folder", dir)
	}
	return nil
}

// plural is "1 file", "2 files".
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
