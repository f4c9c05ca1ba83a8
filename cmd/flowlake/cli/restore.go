package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/vfs"
)

type restoreFlags struct {
	data  string
	quiet bool
}

func newRestore(s *Streams) *cobra.Command {
	f := &restoreFlags{}
	cmd := &cobra.Command{
		Use:   "restore SRC",
		Short: "Make a data folder of a backup",
		Long: `Make a data folder of the backup SRC. All of SRC is read and checked first; one that has a problem is not restored (and the problems
are listed). The folder of --data must not exist or be empty: nothing is overwritten. SRC may also be a data folder that no server
has open. Files are copied, so the backup stays as it is.`,
		Example: `  flowlake restore /backup/flowlake-2026-01-31 --data DIR
  flowlake restore /backup/flowlake-2026-01-31 --data DIR && flowlake server --data DIR`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error { return f.run(cmd, s, a[0]) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", s.defaultData(), "data folder to make")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no summary")
	return cmd
}

func (f *restoreFlags) run(cmd *cobra.Command, s *Streams, src string) error {
	if f.data == "" {
		return usagef("--data names no folder")
	}
	ctx, stop := s.interruptible(cmd.Context())
	defer stop()
	for _, check := range []func() error{
		func() error { return existingFolder(src) },
		func() error { return refuseNested(f.data, src) },
		func() error { return refuseFilled(f.data) },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	check, copies := newWork(s, f.quiet, "verify"), newWork(s, f.quiet, "restore")
	began := time.Now()
	err := db.Restore(ctx, vfs.OS, src, f.data, func(o *db.RestoreOptions) {
		o.Verifying = check.update
		o.Copying = func(p db.VerifyProgress) { check.end(); copies.update(p) }
	})
	check.end()
	copies.end()
	var damaged *db.DamagedError
	switch {
	case errors.As(err, &damaged):
		for _, p := range damaged.Problems {
			fmt.Fprintf(s.Err, "%s: %v\n", src, p)
		}
		return fmt.Errorf("%s has %s; nothing was restored", src, plural(len(damaged.Problems), "problem"))
	case err != nil:
		return unfinished(ctx, err, f.data)
	}
	if !f.quiet {
		fmt.Fprintf(s.Err, "restored %s to %s: %s in %s, took %v\n", src, f.data, plural(copies.last.TotalFiles, "file"),
			humanBytes(float64(copies.last.TotalBytes)), time.Since(began).Round(time.Millisecond))
	}
	return nil
}
