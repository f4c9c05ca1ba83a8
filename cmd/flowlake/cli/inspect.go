package cli

import (
	"errors"
	"fmt"
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
		Long:  "Show what the files of a data folder hold. Nothing is changed, and a folder that is in use can be looked at, but for its tags.",
		Example: `  flowlake inspect wal DIR/wal
  flowlake inspect segment DIR/tables/flows/raw/2026-01-31/*.parquet
  flowlake inspect manifest DIR --format ndjson
  flowlake inspect tags DIR`,
	})
	for _, c := range []struct {
		name, short string
		check       cobra.PositionalArgs
		run         func(out *listing, paths []string) error
	}{
		{"wal", "List the records of a log (the folder DIR/wal)", cobra.ExactArgs(1), inspectWAL},
		{"segment", "List the columns of segments (Parquet files)", cobra.MinimumNArgs(1), inspectSegments},
		{"manifest", "List the edits of a MANIFEST (of a data folder)", cobra.ExactArgs(1), inspectManifest},
		{"tags", "List the tag sets of a data folder", cobra.ExactArgs(1), inspectTags},
	} {
		format := "table"
		sub := &cobra.Command{Use: c.name + " PATH", Short: c.short, Args: args(c.check), RunE: func(_ *cobra.Command, paths []string) error {
			if render.MIME(format) == "" {
				return usagef("unknown format %q; there are %s", format, strings.Join(render.Names(), ", "))
			}
			for i, p := range paths { // people name what is in the folder, or the folder
				if base := filepath.Base(p); c.name == "manifest" && base == "MANIFEST" {
					paths[i] = filepath.Dir(p)
				}
			}
			out := &listing{s: s, format: format}
			if err := c.run(out, paths); err != nil {
				return errors.Join(err, out.close())
			}
			return out.close()
		}}
		sub.Flags().StringVar(&format, "format", format, "how the list is written: "+strings.Join(render.Names(), ", "))
		cmd.AddCommand(sub)
	}
	return cmd
}

// listing writes rows of text, numbers and times in any of the formats.
type listing struct {
	s      *Streams
	format string
	w      render.Writer
	cells  []render.Cell
}

// col is a column of a listing: "name" is text, "name:n" a number, "name:t" a time.
func col(spec string) render.Column {
	name, kind, _ := strings.Cut(spec, ":")
	c := render.Column{Name: name, Type: map[string]schema.Type{"n": schema.BigInt, "t": schema.Timestamp}[kind]}
	if c.Type == schema.Invalid {
		c.Type = schema.Varchar
	}
	c.TypeName = c.Type.String()
	return c
}

func (l *listing) columns(specs ...string) error {
	w, err := render.New(l.format, l.s.Out, render.Options{Width: terminalWidth(l.s.Out)})
	if err != nil {
		return err
	}
	l.w = w
	var cols []render.Column
	for _, c := range specs {
		cols = append(cols, col(c))
	}
	return w.Columns(cols)
}

// absent is a number that is not there.
const absent = math.MinInt64

// row writes strings, int64s and time.Times.
func (l *listing) row(values ...any) error {
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

func (l *listing) close() error {
	if l.w == nil {
		return nil
	}
	return l.w.Close()
}

func inspectWAL(out *listing, paths []string) error {
	if err := out.columns("file", "offset:n", "kind", "index:n", "bytes:n", "group:n", "end", "time:t", "note"); err != nil {
		return err
	}
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
	if err := out.columns("file", "column", "type", "pages:n", "encodings", "stored_bytes:n", "raw_bytes:n", "dictionary_entries:n", "bloom_bytes:n", "nulls:n"); err != nil {
		return err
	}
	var errs []error
	for _, p := range paths {
		in, err := segment.Inspect(vfs.OS, p)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		i := in.Info
		fmt.Fprintf(out.s.Err, "%s: table %s, %d rows, %s, %d row groups, level %d, log records %d to %d, %s to %s\n", p, i.Table, i.Rows,
			humanBytes(float64(i.Bytes)), i.RowGroups, i.Level, i.MinIndex, i.MaxIndex, shortTime(i.MinTime), shortTime(i.MaxTime))
		for _, c := range in.Columns {
			var enc []string
			for _, k := range slices.Sorted(maps.Keys(c.Encodings)) {
				enc = append(enc, fmt.Sprintf("%s %d", k, c.Encodings[k]))
			}
			if err := out.row(filepath.Base(p), c.Name, c.Type.String(), int64(c.Pages), strings.Join(enc, ", "), c.Stored, c.Raw, c.DictionaryItems, c.Bloom, c.Nulls); err != nil {
				return err
			}
		}
	}
	return errors.Join(errs...)
}

func shortTime(nanos int64) string {
	return time.Unix(0, nanos).UTC().Format("2006-01-02T15:04:05.000Z")
}

func inspectManifest(out *listing, paths []string) error {
	if err := out.columns("offset:n", "edit", "table", "path", "level:n", "rows:n", "bytes:n", "min_time:t", "max_time:t"); err != nil {
		return err
	}
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
	d, err := openExisting(paths[0])
	if err != nil {
		return err
	}
	view := d.Tags()
	err = out.columns("id:n", "key", "value")
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
