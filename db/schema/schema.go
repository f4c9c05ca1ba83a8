// Package schema says what tables and columns exist: names, types, units, roles, and how segments of a table are sorted.
// The built-in tables are defined here once; storage, query and docs all read this definition.
package schema

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// ErrUnknownTable is returned when a table name is not in the registry.
var ErrUnknownTable = errors.New("unknown table")

// Type is the SQL type of a column.
type Type uint8

// Column types. The comment names the physical form in a batch.Vector.
const (
	Invalid   Type = iota
	Boolean        // int64 0 or 1
	Integer        // int64 in the range of int32
	BigInt         // int64
	Double         // float64
	Timestamp      // int64, Unix nanoseconds UTC
	Interval       // int64 nanoseconds; in expressions only
	Varchar        // dictionary code
	Inet           // dictionary code, entries of 16 bytes (IPv4 mapped), "" for unknown
	TagSet         // tag-set id
	Map            // dictionary code, entries are tag-set encodings (sorted key/value pairs)
	Bytes          // dictionary code, opaque bytes (sketches)
)

var typeNames = [...]string{
	Invalid: "INVALID", Boolean: "BOOLEAN", Integer: "INTEGER", BigInt: "BIGINT", Double: "DOUBLE",
	Timestamp: "TIMESTAMP", Interval: "INTERVAL", Varchar: "VARCHAR", Inet: "INET", TagSet: "TAGS",
	Map: "MAP(VARCHAR, VARCHAR)", Bytes: "BYTEA",
}

// String is the SQL name of the type.
func (t Type) String() string {
	if int(t) < len(typeNames) {
		return typeNames[t]
	}
	return fmt.Sprintf("TYPE(%d)", uint8(t))
}

// Physical is the form a type takes in memory.
type Physical uint8

// Physical forms.
const (
	Int64   Physical = iota // []int64
	Float64                 // []float64
	Code                    // []uint32 into a dictionary of byte strings
	ID                      // []uint32 tag-set ids (or codes into a dictionary of tag-set encodings before interning)
)

// Physical is the form that t takes in memory.
func (t Type) Physical() Physical {
	switch t {
	case Double:
		return Float64
	case Varchar, Inet, Map, Bytes:
		return Code
	case TagSet:
		return ID
	}
	return Int64
}

// Role says what a column means, and so how it is aggregated when rows are rolled up.
type Role uint8

// Roles.
const (
	Key     Role = iota // identifies: grouped by
	Time                // the table's time column
	Counter             // summed
	Max                 // maximum is kept
	Gauge               // a value at a time
	Sketch              // merged
)

var roleNames = [...]string{Key: "key", Time: "time", Counter: "counter", Max: "max", Gauge: "gauge", Sketch: "sketch"}

// String is the role's word as shown by SHOW COLUMNS.
func (r Role) String() string { return roleNames[r] }

// Column is one column of a table.
type Column struct {
	Name string
	Type Type
	Role Role
	// Unit is the unit of a number ("us", "bytes", "packets"); "" where there is none.
	Unit string
	// Nullable columns keep a validity bitmap. Only numbers are nullable: unknown text is ''.
	Nullable bool
	// Bloom asks for a Bloom filter over the column's values in each segment (for ids that are looked up).
	Bloom bool
	// Merge says how the values of rows with equal keys become one when rows are rolled up or merged. New sets it from Role
	// where it is MergeNone; keys and the time have none.
	Merge Merge
	// Uniq asks rollups that do not group by the column for a count of its distinct values (Rollup).
	Uniq bool
	// From and Expr say what a metric of a table of partials is, in SQL, over the raw rows of a table: From is that table,
	// Expr an aggregate over its rows of the same keys and second. "" for keys and in other tables.
	From, Expr string
	// Doc is one line for SHOW COLUMNS and the docs.
	Doc string
}

// SortTerm is one part of the order of rows in a segment.
type SortTerm struct {
	Column int
	// Bucket truncates a time column to multiples of this many nanoseconds; 0 takes the value as it is.
	Bucket int64
}

// Table is a table's definition. Column ordinals are stable: columns are only ever appended (frames and log records
// refer to them by ordinal).
type Table struct {
	Name string
	// Base is the logical table of which this is one resolution, and its folder on disk; New sets it to Name when it is "".
	Base       string
	Resolution string // folder below the table: "raw", "1s", "1m"
	// Partial says that a row is a partial result: rows that are equal in time and all key columns stand for the one that
	// Column.Merge makes of them. Storage merges such rows when it likes; whoever reads must do so, too.
	Partial    bool
	Columns    []Column
	TimeColumn int
	Sort       []SortTerm
	// Order numbers the definitions that Sort has had, 0 to 127: segments of another one are sorted anew when they are merged.
	Order int
	// Retention is the default time rows are kept; 0 keeps them for ever.
	Retention time.Duration
	Doc       string

	byName map[string]int
}

// Column is the ordinal of the named column, -1 when there is none.
func (t *Table) Column(name string) int {
	if i, ok := t.byName[name]; ok {
		return i
	}
	return -1
}

// MustColumn is the ordinal of a column that the caller knows to exist; it panics where the definition has none.
func (t *Table) MustColumn(name string) int {
	i := t.Column(name)
	if i < 0 {
		panic(fmt.Sprintf("schema: table %s has no column %q", t.Name, name))
	}
	return i
}

// New checks a definition and indexes its columns. sort names the columns rows are ordered by within a segment; the
// time column may carry a bucket as "time/1m". Errors name the offending column.
func New(t Table, sort ...string) (*Table, error) {
	t.byName = make(map[string]int, len(t.Columns))
	t.TimeColumn = -1
	t.Columns = slices.Clone(t.Columns)
	for i, c := range t.Columns {
		if _, dup := t.byName[c.Name]; dup || c.Name == "" || c.Type == Invalid || c.Type == Interval {
			return nil, fmt.Errorf("table %s: column %d %q: duplicate, unnamed or of no stored type", t.Name, i, c.Name)
		}
		if p := c.Type.Physical(); c.Nullable && p != Int64 && p != Float64 {
			return nil, fmt.Errorf("table %s: column %q: only numbers are nullable", t.Name, c.Name)
		}
		if c.Role == Time {
			if t.TimeColumn >= 0 || c.Type != Timestamp {
				return nil, fmt.Errorf("table %s: column %q: a table has one time column, of type TIMESTAMP", t.Name, c.Name)
			}
			t.TimeColumn = i
		}
		if err := c.checkMerge(); err != nil {
			return nil, fmt.Errorf("table %s: column %q: %w", t.Name, c.Name, err)
		}
		t.Columns[i].Merge = c.merge()
		if t.Partial && t.Columns[i].Merge == MergeNone && c.Role != Key && c.Role != Time {
			return nil, fmt.Errorf("table %s: column %q: a column of partials is a key or can be merged", t.Name, c.Name)
		}
		t.byName[c.Name] = i
	}
	if t.Base == "" {
		t.Base = t.Name
	}
	if t.TimeColumn < 0 {
		return nil, fmt.Errorf("table %s: no time column", t.Name)
	}
	if t.Resolution == "" {
		t.Resolution = "raw"
	}
	for _, s := range sort {
		term := SortTerm{}
		if name, bucket, ok := cutBucket(s); ok {
			s, term.Bucket = name, bucket
		}
		term.Column = t.Column(s)
		if term.Column < 0 {
			return nil, fmt.Errorf("table %s: sort column %q is not a column", t.Name, s)
		}
		t.Sort = append(t.Sort, term)
	}
	return &t, nil
}

func cutBucket(s string) (name string, nanos int64, ok bool) {
	i := slices.Index([]byte(s), '/')
	if i < 0 {
		return s, 0, false
	}
	d, err := time.ParseDuration(s[i+1:])
	if err != nil || d <= 0 {
		return s, 0, false
	}
	return s[:i], int64(d), true
}
