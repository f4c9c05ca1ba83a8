package cli

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

func newInspectView(s *Streams) *cobra.Command {
	var dir string
	var exact bool
	cmd := &cobra.Command{
		Use:   "view",
		Short: "Print SQL with which DuckDB reads a data folder",
		Long: `Print statements for DuckDB that make a view of each table in the data folder, with the tag sets joined: client and server (tag in
tables of one side) are maps, as in client['service']. Rows that are only in the log yet are not in them; an orderly end of the server
leaves none. The views read whatever files are there when they are asked. While a server has the folder open, that can be files
that a merge has just replaced, too: --files names those that the MANIFEST lists now instead.`,
		Example: `  flowlake inspect view --data DIR > views.sql
  duckdb -init views.sql
  flowlake inspect view --files --data DIR | duckdb copy.duckdb`,
		Args: args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if dir == "" {
				return usagef("--data names no folder")
			}
			return printViews(s.Out, dir, exact)
		},
	}
	cmd.Flags().StringVar(&dir, "data", s.defaultData(), "data folder")
	cmd.Flags().BoolVar(&exact, "files", false, "name the files there are now instead of patterns")
	return cmd
}

// viewFiles are the files of a data folder that the MANIFEST lists, sorted, their paths relative to the folder.
type viewFiles struct {
	tags     []string
	segments map[string][]string // by table and resolution, as in "flows/raw"
}

func readViewFiles(dir string) (viewFiles, error) {
	v := viewFiles{segments: map[string][]string{}}
	live, tagFiles := map[string]bool{}, map[string]bool{}
	err := db.InspectManifest(vfs.OS, dir, func(e db.ManifestEdit) error {
		for _, s := range e.Added {
			live[s.Path] = true
		}
		for _, p := range slices.Concat(e.Dropped, e.Quarantined) {
			delete(live, p)
		}
		for _, p := range e.TagFiles {
			tagFiles[p] = true
		}
		return nil
	})
	if err != nil {
		return v, fmt.Errorf("inspect view: %w", err)
	}
	for p := range live {
		rel := strings.TrimPrefix(p, "tables/")
		group := path.Dir(path.Dir(rel))
		v.segments[group] = append(v.segments[group], p)
	}
	for _, list := range v.segments {
		slices.Sort(list)
	}
	for p := range tagFiles {
		v.tags = append(v.tags, p)
	}
	slices.Sort(v.tags)
	return v, nil
}

// printViews writes the statements for the tables that have segments.
func printViews(out io.Writer, dir string, exact bool) error {
	files, err := readViewFiles(dir)
	if err != nil {
		return err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("inspect view: %w", err)
	}
	w := bufio.NewWriter(out)
	fmt.Fprintf(w, "-- Views of the Flowlake data folder %s for DuckDB. Rows that are only in the log yet are not in them.\n", oneLine(abs))
	fmt.Fprint(w, "CREATE OR REPLACE VIEW tag_sets AS\n")
	if len(files.tags) == 0 {
		fmt.Fprint(w, "  SELECT NULL::BIGINT AS id, NULL::MAP(VARCHAR, VARCHAR) AS tags WHERE false;\n")
	} else {
		from := parquetFiles(abs, []string{"tags/*.parquet"})
		if exact {
			from = parquetFiles(abs, files.tags)
		}
		fmt.Fprintf(w, "  SELECT id, map(list(key ORDER BY key), list(value ORDER BY key)) AS tags\n"+
			"  FROM (SELECT DISTINCT id, key, value FROM %s)\n  GROUP BY id;\n", from)
	}
	groups := make([]string, 0, len(files.segments))
	for g := range files.segments {
		groups = append(groups, g)
	}
	slices.Sort(groups)
	for _, g := range groups {
		from := parquetFiles(abs, []string{"tables/" + g + "/*/*.parquet"})
		if exact {
			from = parquetFiles(abs, files.segments[g])
		}
		writeView(w, g, from)
	}
	return w.Flush()
}

// writeView writes the view of one table and resolution, such as "flows/raw".
func writeView(w io.Writer, group, from string) {
	table, resolution := path.Split(group)
	table = strings.TrimSuffix(table, "/")
	view := table
	if resolution != "raw" {
		view += "_" + resolution
	}
	var names, joins strings.Builder
	if t, ok := schema.Builtin().Table(view); ok {
		for _, c := range t.Columns {
			if c.Type != schema.TagSet {
				continue
			}
			name := strings.TrimSuffix(c.Name, "_tags") // client_tags: client
			if name == c.Name {
				name = "tag"
			}
			fmt.Fprintf(&names, ", coalesce(%s_set.tags, MAP {}) AS %s", name, name)
			fmt.Fprintf(&joins, "\n  LEFT JOIN tag_sets %s_set ON %s_set.id = r.%s", name, name, c.Name)
		}
	}
	fmt.Fprintf(w, "CREATE OR REPLACE VIEW %q AS\n  SELECT r.*%s\n  FROM %s r%s;\n", view, names.String(), from, joins.String())
}

// parquetFiles is the table function that reads files of a folder; they may be patterns, the folder is none.
func parquetFiles(dir string, files []string) string {
	var b strings.Builder
	b.WriteString("read_parquet([")
	for i, f := range files {
		if i > 0 {
			b.WriteString(", ")
		}
		p := noPattern.Replace(filepath.ToSlash(dir)) + "/" + f
		b.WriteString("'" + strings.ReplaceAll(p, "'", "''") + "'")
	}
	b.WriteString("], union_by_name = true)")
	return b.String()
}

// noPattern has DuckDB take a path as it is.
var noPattern = strings.NewReplacer("*", "[*]", "?", "[?]", "[", "[[]")

// oneLine makes text fit a comment.
func oneLine(s string) string { return strings.NewReplacer("\n", " ", "\r", " ").Replace(s) }
