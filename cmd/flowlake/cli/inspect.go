package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/db/vfs"
	"github.com/flowlake/flowlake/db/wal"
	"github.com/flowlake/flowlake/query/render"
)

func newInspect(s *Streams) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "inspect",
		Short: "Show what the files of a data folder hold",
		Long: `Show what the files of a data folder hold. Nothing is changed, and a folder that a server has open can be looked at, but for its tags:
those are in the server's table system.tags.`,
		Example: `  flowlake inspect wal DIR
  flowlake inspect segment DIR/tables/flows/raw/2026-01-31/*.parquet
  flowlake inspect manifest DIR --format ndjson
  flowlake inspect tags DIR
  flowlake inspect view --data DIR > views.sql`,
	})
	for _, c := range []struct {
		use, short, example string
		check               cobra.PositionalArgs
		run                 func(out *listing, paths []string) error
	}{
		{"wal DIR", "List the records of the log of a data folder (or of its folder wal)",
			"  flowlake inspect wal DIR\n  flowlake inspect wal DIR/wal --format ndjson", exactly("data folder"), inspectWAL},
		{"segment FILE...", "List the columns of segments (Parquet files)",
			"  flowlake inspect segment DIR/tables/flows/raw/2026-01-31/*.parquet", atLeastOne("segments"), inspectSegments},
		{"manifest DIR", "List the edits of the MANIFEST of a data folder",
			"  flowlake inspect manifest DIR\n  flowlake inspect manifest DIR/MANIFEST --format ndjson", exactly("data folder"), inspectManifest},
		{"tags DIR", "List the tag sets of a data folder that no server has open",
			"  flowlake inspect tags DIR\n  flowlake sql -c 'SELECT * FROM system.tags'   # of a running server", exactly("data folder"), inspectTags},
	} {
		format := "table"
		sub := &cobra.Command{Use: c.use, Short: c.short, Example: c.example, Args: c.check, RunE: func(cmd *cobra.Command, paths []string) error {
			if render.MIME(format) == "" {
				return usagef("unknown format %q; there are %s", format, strings.Join(render.Names(), ", "))
			}
			for i, p := range paths { // people name what is in the folder, or the folder
				if base := filepath.Base(p); cmd.Name() == "manifest" && base == "MANIFEST" {
					paths[i] = filepath.Dir(p)
				}
			}
			out := &listing{s: s, format: format}
			if err := c.run(out, paths); err != nil {
				return errors.Join(err, out.closeAfter())
			}
			return out.close()
		}}
		sub.Flags().StringVar(&format, "format", format, "how the list is written: "+strings.Join(render.Names(), ", "))
		cmd.AddCommand(sub)
	}
	cmd.AddCommand(newInspectView(s))
	return cmd
}

// listing writes rows of text, numbers and times in any of the formats.
type listing struct {
	s       *Streams
	format  string
	w       render.Writer // nil until there is a row, or none came at the end: an error comes without an empty list
	columns []render.Column
	cells   []render.Cell
}

// col is a column of a listing: "name" is text, "name:n" a whole number, "name:f" another, "name:t" a time.
func col(spec string) render.Column {
	name, kind, _ := strings.Cut(spec, ":")
	c := render.Column{Name: name, Type: map[string]schema.Type{"n": schema.BigInt, "f": schema.Double, "t": schema.Timestamp}[kind]}
	if c.Type == schema.Invalid {
		c.Type = schema.Varchar
	}
	c.TypeName = c.Type.String()
	return c
}

// head says which columns the rows have.
func (l *listing) head(specs ...string) {
	for _, c := range specs {
		l.columns = append(l.columns, col(c))
	}
}

func (l *listing) begin() error {
	if l.w != nil {
		return nil
	}
	w, err := render.New(l.format, l.s.Out, render.Options{Width: terminalWidth(l.s.Out)})
	if err != nil {
		return err
	}
	l.w = w
	return w.Columns(l.columns)
}

// absent is a number that is not there.
const absent = math.MinInt64

// row writes strings, int64s and time.Times.
func (l *listing) row(values ...any) error {
	if err := l.begin(); err != nil {
		return err
	}
	l.cells = l.cells[:0]
	for _, v := range values {
		c := render.Cell{}
		switch v := v.(type) {
		case string:
			c.Text = []byte(v)
		case int64:
			if c.Null = v == absent; !c.Null {
				c.Text = strconv.AppendInt(nil, v, 10)
			}
		case float64:
			if c.Null = v != v; !c.Null {
				c.Text = strconv.AppendFloat(nil, v, 'f', -1, 64)
			}
		case time.Time:
			if c.Null = v.IsZero(); !c.Null {
				c.Text = v.UTC().AppendFormat(nil, time.RFC3339Nano)
			}
		default:
			panic(fmt.Sprintf("listing: a cell of type %T", v))
		}
		l.cells = append(l.cells, c)
	}
	return l.w.Row(l.cells)
}

// close ends the list, which may be empty.
func (l *listing) close() error {
	if err := l.begin(); err != nil {
		return err
	}
	return l.w.Close()
}

// closeAfter ends the list after an error, if there is one yet.
func (l *listing) closeAfter() error {
	if l.w == nil {
		return nil
	}
	return l.w.Close()
}

func inspectWAL(out *listing, paths []string) error {
	out.head("file", "offset:n", "kind", "index:n", "bytes:n", "group:n", "end", "time:t", "note")
	dir := paths[0]
	if st, err := os.Stat(filepath.Join(dir, "wal")); err == nil && st.IsDir() { // the data folder was named
		dir = filepath.Join(dir, "wal")
	}
	damaged, seen := 0, 0
	err := wal.Inspect(nil, dir, func(i wal.Info) error {
		seen++
		var at time.Time
		if i.TimeNanos != 0 {
			at = time.Unix(0, i.TimeNanos)
		}
		index, size, group, end, note := int64(absent), int64(absent), int64(absent), "", i.Reason
		switch i.Kind {
		case wal.InfoSegment:
			index, size = int64(i.First), i.Bytes
			note = fmt.Sprintf("records before %d are not needed", i.Front)
			if i.Unsynced {
				note += "; not synced"
			}
		case wal.InfoRecord:
			index, size, group, end = int64(i.Index), i.Bytes, i.Group, strconv.FormatBool(i.End)
		case wal.InfoFront:
			note = fmt.Sprintf("records before %d are not needed", i.Front)
		case wal.InfoEnd:
			index = int64(i.Index)
		case wal.InfoSpare:
			size = i.Bytes
		case wal.InfoDamage:
			damaged++
		}
		return out.row(i.File, i.Offset, string(i.Kind), index, size, group, end, at, note)
	})
	switch {
	case err != nil:
		return fmt.Errorf("inspect log: %w", err)
	case damaged > 0:
		return fmt.Errorf("inspect log: %s is damaged in %d places", dir, damaged)
	case seen > 0:
		return nil
	}
	// a log is empty until the first write
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		return errors.Join(fmt.Errorf("inspect log: there is no log in %s", dir), err)
	}
	return nil
}

func inspectSegments(out *listing, paths []string) error {
	out.head("file", "column", "type", "pages:n", "encodings", "zstd_pages:n", "stored_bytes:n", "raw_bytes:n",
		"bytes_per_row:f", "ratio:f", "dictionary_entries:n", "bloom_bytes:n", "nulls:n", "why")
	var errs []error
	for _, p := range paths {
		in, err := segment.Inspect(vfs.OS, p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		i := in.Info
		fmt.Fprintf(out.s.Err, "%s: table %s, %d rows, %s, %.2f bytes a row, %d row groups, level %d, log records %d to %d, %s to %s\n", p, i.Table, i.Rows,
			humanBytes(float64(i.Bytes)), perOne(i.Bytes, i.Rows), i.RowGroups, i.Level, i.MinIndex, i.MaxIndex, shortTime(i.MinTime), shortTime(i.MaxTime))
		for _, c := range in.Columns {
			var enc []string
			for _, k := range slices.Sorted(maps.Keys(c.Encodings)) {
				enc = append(enc, fmt.Sprintf("%s %d", k, c.Encodings[k]))
			}
			if err := out.row(filepath.Base(p), c.Name, c.Type.String(), int64(c.Pages), strings.Join(enc, ", "), int64(c.Compressed), c.Stored, c.Raw,
				perOne(c.Stored+c.Bloom, i.Rows), perOne(c.Plain, c.Stored), c.DictionaryItems, c.Bloom, c.Nulls, c.Why()); err != nil {
				return err
			}
		}
	}
	return errors.Join(errs...)
}

// perOne is sum/n to three digits behind the point, NaN for an n of 0.
func perOne(sum, n int64) float64 {
	if n == 0 {
		return math.NaN()
	}
	return math.Round(1000*float64(sum)/float64(n)) / 1000
}

func shortTime(nanos int64) string {
	return time.Unix(0, nanos).UTC().Format("2006-01-02T15:04:05.000Z")
}

func inspectManifest(out *listing, paths []string) error {
	out.head("offset:n", "edit", "table", "path", "level:n", "rows:n", "bytes:n", "min_time:t", "max_time:t")
	return db.InspectManifest(vfs.OS, paths[0], func(e db.ManifestEdit) error {
		plain := func(what, path string) error {
			return out.row(e.Offset, what, "", path, int64(absent), int64(absent), int64(absent), time.Time{}, time.Time{})
		}
		if e.Flushed > 0 {
			if err := plain(fmt.Sprintf("log records to %d are in segments", e.Flushed), ""); err != nil {
				return err
			}
		}
		for _, s := range e.Added {
			if err := out.row(e.Offset, "add", s.Table, s.Path, int64(s.Level), s.Rows, s.Bytes, time.Unix(0, s.MinTime), time.Unix(0, s.MaxTime)); err != nil {
				return err
			}
		}
		for _, n := range e.Notes {
			if err := plain(n, ""); err != nil {
				return err
			}
		}
		for _, c := range []struct {
			what  string
			paths []string
		}{{"drop", e.Dropped}, {"quarantine", e.Quarantined}, {"tags", e.TagFiles}} {
			for _, p := range c.paths {
				if err := plain(c.what, p); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func inspectTags(out *listing, paths []string) error {
	d, err := openExisting(paths[0], io.Discard)
	if errors.Is(err, db.ErrLocked) {
		return fmt.Errorf("%w; the tags of a running server: flowlake sql -c 'SELECT * FROM system.tags'", err)
	} else if err != nil {
		return err
	}
	view := d.Tags()
	out.head("id:n", "key", "value")
	for id := uint32(0); err == nil && int(id) < view.Len(); id++ {
		set := view.Set(id)
		if id > 0 && len(set) == 0 {
			continue
		}
		var rerr error
		err = tags.Each(set, func(k, v []byte) {
			if rerr == nil {
				rerr = out.row(int64(id), string(k), string(v))
			}
		})
		err = errors.Join(err, rerr)
	}
	return errors.Join(err, d.Close())
}
