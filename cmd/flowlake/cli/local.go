package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/query"
)

// openExisting opens a data folder that must be there already: a question does not make one. It tells on w of segments that are
// set aside meanwhile.
func openExisting(dir string, w io.Writer) (*db.DB, error) {
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("there is no data folder %s; 'flowlake server' or 'flowlake import' makes one", dir)
	case err != nil:
		return nil, fmt.Errorf("open data folder: %w", err)
	case !st.IsDir():
		return nil, fmt.Errorf("%s is a file, not a data folder", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "OPTIONS")); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not a data folder: it has no OPTIONS file", dir)
	}
	return db.Open(dir, func(o *db.Options) {
		o.NoCompaction = true // whoever asks a question waits for nothing else
		o.Events.Quarantined = func(path string, reason error) {
			fmt.Fprintf(w, "flowlake: set %s aside, its rows are missing from answers from now on: %v\n", path, reason)
		}
	})
}

// newEngine is a query engine over an open database, with the tables of system.
func newEngine(d *db.DB, info *systemInfo, opts ...func(*query.Options)) *query.Engine {
	return query.New(d, append([]func(*query.Options){func(o *query.Options) {
		o.Version = versionLine()
		o.Virtual = info.tables(d)
	}}, opts...)...)
}

// runIn runs statements in one session, so that SET holds.
func runIn(s *query.Session) api.QueryFunc {
	return func(ctx context.Context, sql string, args ...any) (api.Rows, error) {
		return api.Result(s.Query(ctx, sql, args...))
	}
}

// queryTimeout is what a timeout flag means to the engine: 0 is none.
func queryTimeout(d time.Duration) time.Duration {
	if d == 0 {
		return -1
	}
	return d
}
