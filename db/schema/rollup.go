package schema

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Errors of rollups. ErrUnknownTable says that a source is not there.
var (
	// ErrRollupExists is returned when a rollup or table of that name is there already.
	ErrRollupExists = errors.New("rollup exists")
	// ErrUnknownRollup is returned when there is no rollup of that name.
	ErrUnknownRollup = errors.New("unknown rollup")
	// ErrRollupDef is returned when a definition cannot be: an unknown column, a bad interval, a name that is taken.
	ErrRollupDef = errors.New("bad rollup definition")
	// ErrBuiltinRollup is returned when a rollup that belongs to the program is dropped.
	ErrBuiltinRollup = errors.New("built-in rollup")
)

// Merge is how the values of rows with equal keys become one. All are commutative and associative, so the order and the
// grouping in which partial rows are merged do not matter (sums of DOUBLE: but for rounding).
type Merge uint8

// Merges. NULL is passed over; where all are NULL, so is the result.
const (
	MergeNone   Merge = iota // a key, or a column that rollups leave out
	MergeSum                 // sum; BIGINT wraps around
	MergeCount               // number of values, or of rows; partial counts are added
	MergeMin                 // smallest; of DOUBLE: NaN is above all numbers, as in PostgreSQL
	MergeMax                 // largest; likewise
	MergeSketch              // enc.Sketch: quantiles to within a relative error of enc.SketchAccuracy
	MergeUniq                // enc.HLL: number of distinct values, within about 1.6 %
)

var mergeNames = [...]string{"", "sum", "count", "min", "max", "sketch", "uniq"}

// String is the word for m in SHOW COLUMNS; "" for MergeNone.
func (m Merge) String() string {
	if int(m) < len(mergeNames) {
		return mergeNames[m]
	}
	return fmt.Sprintf("merge(%d)", uint8(m))
}

// merge is the column's Merge, from its role where it says none.
func (c *Column) merge() Merge {
	switch {
	case c.Merge != MergeNone:
		return c.Merge
	case c.Role == Counter:
		return MergeSum
	case c.Role == Max:
		return MergeMax
	case c.Role == Sketch:
		return MergeSketch
	}
	return MergeNone
}

func (c *Column) checkMerge() error {
	m := c.merge()
	number := c.Type.Physical() == Int64 || c.Type.Physical() == Float64
	switch {
	case m == MergeNone:
		return nil
	case c.Role == Key || c.Role == Time:
		return errors.New("keys are not merged")
	case m > MergeUniq:
		return fmt.Errorf("unknown %s", m)
	case (m == MergeSketch || m == MergeUniq) != (c.Type == Bytes) || c.Type != Bytes && !number:
		return fmt.Errorf("%s of a column of type %s", m, c.Type)
	}
	return nil
}

// RollupKey is one thing that a rollup groups by: a column, or a key of the tag set in a column.
type RollupKey struct {
	// Column is a column of the source that is not DOUBLE; neither its time nor a metric.
	Column string `json:"column"`
	// TagKey is a key of the tag set in Column: rows of sets without it have ''. "" stands for the column itself, also for
	// a tag-set column: then rows of different sets stay apart.
	TagKey string `json:"tag,omitempty"`
}

// Name is the key's column in the rollup: the column's own name or, for a tag key, the side and the key as SQL writes them:
// "client.pod", "server.service", "tag.job".
func (k RollupKey) Name() string {
	if k.TagKey == "" {
		return k.Column
	}
	return TagSide(k.Column) + "." + k.TagKey
}

// TagSide is the word before the dot with which SQL reads a key of a tag-set column: "client" for client_tags, "tag" for tags.
func TagSide(column string) string {
	if side, ok := strings.CutSuffix(column, "_tags"); ok {
		return side
	}
	return "tag"
}

// RollupDef is what a user declares. Its JSON form is part of the MANIFEST.
type RollupDef struct {
	// Name is the rollup's and its table's.
	Name string `json:"name"`
	// Source is the table rolled up: any that is not itself a rollup.
	Source string `json:"source"`
	// Every is the length of a bucket: from MinEvery on, whole seconds. Buckets begin at multiples of it since 1970 UTC.
	Every time.Duration `json:"every"`
	// Keys are what rows are grouped by, besides the bucket; none is allowed.
	Keys []RollupKey `json:"keys,omitempty"`
	// Keep is the default retention; 0 keeps for ever.
	Keep time.Duration `json:"keep,omitempty"`
}

// MinEvery and MaxEvery bound RollupDef.Every.
const (
	MinEvery = time.Second
	MaxEvery = 366 * day
	// maxRollupKeys bounds the keys of a rollup.
	maxRollupKeys = 32
)

// Part is one metric of a rollup: a column of its table and what it is made of.
type Part struct {
	Target int // ordinal in Rollup.Target
	Source int // ordinal in Rollup.Source; -1: the part is the number of rows
	// Merge makes the part from values of the source column, and one part from several. Where the source column is a
	// sketch already (Role Sketch), sketches are merged; otherwise values are counted into one.
	Merge Merge
}

// Rollup is a definition applied to its source: the table that it fills and how.
//
// Its columns are: the time column (name as in the source), the beginning of the bucket; one per key, in order; `rows`, the
// number of source rows, unless the source is itself a table of partials, whose rows have no meaning of their own; and for
// the columns of the source, in order,
//   - x for a counter (sum), a maximum, and whatever a table of partials has;
//   - x_sum, x_count, x_min, x_max, x_sketch for a gauge x (x_sum_us, x_count, x_min_us, x_max_us, x_sketch for x_us), where
//     x_count counts values that are not NULL, and the others are NULL or empty when there are none;
//   - x_uniq for a column that asks for it (Column.Uniq) and is not a key.
//
// Columns that a later version appends to the source append theirs here, so that the table's old segments stay readable.
type Rollup struct {
	Def    RollupDef
	Source *Table
	Target *Table
	// Keys are, parallel to Def.Keys, the ordinals in Target and Source.
	Keys  []KeyPart
	Parts []Part
	// Builtin rollups belong to the program and cannot be dropped.
	Builtin bool
}

// KeyPart is a key of a rollup as ordinals.
type KeyPart struct {
	Target, Source int
	TagKey         string
}

// Bucket is the beginning of the bucket that a time lies in.
func (r *Rollup) Bucket(nanos int64) int64 { return floorTo(nanos, int64(r.Def.Every)) }

func floorTo(t, every int64) int64 {
	m := t % every
	if m < 0 {
		m += every
	}
	if t < -1<<63+m { // the bucket begins before the first time there is
		return t - t%every
	}
	return t - m
}

// NewRollup derives the table of a rollup. It fails with ErrUnknownTable or ErrRollupDef, naming what is wrong.
func NewRollup(def RollupDef, reg *Registry) (*Rollup, error) {
	src, ok := reg.Table(def.Source)
	if !ok {
		return nil, fmt.Errorf("rollup %s: %w: %q", def.Name, ErrUnknownTable, def.Source)
	}
	def.Keys = slices.Clone(def.Keys)
	r := &Rollup{Def: def, Source: src}
	if err := r.derive(reg); err != nil {
		return nil, fmt.Errorf("%w: rollup %s: %w", ErrRollupDef, def.Name, err)
	}
	return r, nil
}

func (r *Rollup) derive(reg *Registry) error {
	if err := r.check(reg); err != nil {
		return err
	}
	src := r.Source
	base, resolution := r.Def.Name, resolutionName(r.Def.Every)
	if b, ok := strings.CutSuffix(base, "_"+resolution); ok && b == src.Base {
		base = b // network_1m is network at 1m
	}
	t := Table{
		Name: r.Def.Name, Base: base, Resolution: resolution, Partial: true, Retention: r.Def.Keep,
		Doc: fmt.Sprintf("%s in buckets of %s", src.Name, resolution),
	}
	tc := src.Columns[src.TimeColumn]
	t.Columns = append(t.Columns, Column{Name: tc.Name, Type: Timestamp, Role: Time, Doc: "beginning of the bucket of " + resolution})
	sort := []string{tc.Name + "/" + sortBucket(r.Def.Every)}
	for _, k := range r.Def.Keys {
		c, part, err := r.key(k)
		if err != nil {
			return err
		}
		part.Target = len(t.Columns)
		t.Columns = append(t.Columns, c)
		r.Keys = append(r.Keys, part)
		sort = append(sort, c.Name)
	}
	r.parts(&t)
	made, err := New(t, append(sort, tc.Name)...)
	r.Target = made
	return err
}

func (r *Rollup) check(reg *Registry) error {
	d := &r.Def
	switch {
	case d.Every < MinEvery || d.Every > MaxEvery || d.Every%time.Second != 0:
		return fmt.Errorf("buckets of %s: whole seconds from %s to %s", d.Every, MinEvery, MaxEvery)
	case d.Keep < 0:
		return fmt.Errorf("a retention of %s is negative", d.Keep)
	case len(d.Keys) > maxRollupKeys:
		return fmt.Errorf("%d keys, at most %d", len(d.Keys), maxRollupKeys)
	}
	if _, ok := reg.Rollup(d.Source); ok {
		return fmt.Errorf("%s is a rollup itself: take its source %s", d.Source, sourceOf(reg, d.Source))
	}
	return CheckName(d.Name, reg)
}

func sourceOf(reg *Registry, name string) string {
	u, _ := reg.Rollup(name)
	return u.Def.Source
}

// reservedNames are logical and virtual tables, and words that tables must not be called.
var reservedNames = []string{"network", "application", "metrics", "system", "information_schema", "pg_catalog", "resources", "events", "logs", "tag", "client", "server"}

// CheckName says whether a table may be called so: lower-case letters, digits and _, not beginning with a digit, at most 63,
// and neither a table nor a word that means something else.
func CheckName(name string, reg *Registry) error {
	if name == "" || len(name) > 63 {
		return fmt.Errorf("the name %q is not of 1 to 63 characters", name)
	}
	for i, c := range []byte(name) {
		if c != '_' && (c < 'a' || c > 'z') && (c < '0' || c > '9' || i == 0) {
			return fmt.Errorf("the name %q has other characters than a to z, 0 to 9 and _, or begins with a digit", name)
		}
	}
	if _, ok := reg.Table(name); ok {
		return fmt.Errorf("there is a table %s already: %w", name, ErrRollupExists)
	}
	if slices.Contains(reservedNames, name) {
		return fmt.Errorf("the name %q means something else", name)
	}
	return nil
}

// key is the column of a key.
func (r *Rollup) key(k RollupKey) (Column, KeyPart, error) {
	src := r.Source
	i := src.Column(k.Column)
	if i < 0 {
		return Column{}, KeyPart{}, fmt.Errorf("%s has no column %q", src.Name, k.Column)
	}
	c := src.Columns[i]
	switch {
	case k.TagKey != "" && c.Type != TagSet:
		return c, KeyPart{}, fmt.Errorf("%q is not a tag set", k.Column)
	case c.Role == Time:
		return c, KeyPart{}, fmt.Errorf("%q is the time: the bucket stands for it", k.Column)
	case c.Merge != MergeNone || c.Type == Double || c.Type == Bytes:
		return c, KeyPart{}, fmt.Errorf("%q is a metric, not a key", k.Column)
	}
	out := Column{Name: k.Name(), Type: c.Type, Unit: c.Unit, Nullable: c.Nullable, Doc: c.Doc}
	if k.TagKey != "" {
		out.Type, out.Doc = Varchar, fmt.Sprintf("tag %s of %s", k.TagKey, k.Column)
	}
	return out, KeyPart{Source: i, TagKey: k.TagKey}, nil
}

// parts appends the metrics.
func (r *Rollup) parts(t *Table) {
	grouped := map[int]bool{r.Source.TimeColumn: true}
	for _, k := range r.Keys {
		grouped[k.Source] = true
	}
	add := func(source int, m Merge, c Column) {
		c.Merge = m
		r.Parts = append(r.Parts, Part{Target: len(t.Columns), Source: source, Merge: m})
		t.Columns = append(t.Columns, c)
	}
	if !r.Source.Partial {
		add(-1, MergeCount, Column{Name: "rows", Type: BigInt, Role: Counter, Unit: "rows", Doc: "number of rows of " + r.Source.Name})
	}
	for i, c := range r.Source.Columns {
		switch {
		case grouped[i]:
		case c.Merge != MergeNone:
			// also where it says count: counts are added
			add(i, c.Merge, Column{Name: c.Name, Type: c.Type, Role: c.Role, Unit: c.Unit, Nullable: c.Nullable, Doc: c.Doc})
		case c.Role == Gauge && (c.Type.Physical() == Int64 || c.Type.Physical() == Float64):
			null := c.Nullable
			add(i, MergeSum, Column{Name: gaugeName(c.Name, "sum"), Type: sumType(c.Type), Role: Counter, Unit: c.Unit, Nullable: null, Doc: c.Doc + ": sum"})
			add(i, MergeCount, Column{Name: gaugeName(c.Name, "count"), Type: BigInt, Role: Counter, Doc: c.Doc + ": number of values"})
			add(i, MergeMin, Column{Name: gaugeName(c.Name, "min"), Type: c.Type, Role: Gauge, Unit: c.Unit, Nullable: null, Doc: c.Doc + ": smallest"})
			add(i, MergeMax, Column{Name: gaugeName(c.Name, "max"), Type: c.Type, Role: Max, Unit: c.Unit, Nullable: null, Doc: c.Doc + ": largest"})
			add(i, MergeSketch, Column{Name: gaugeName(c.Name, "sketch"), Type: Bytes, Role: Sketch, Doc: c.Doc + ": sketch for percentiles"})
		case c.Uniq:
			add(i, MergeUniq, Column{Name: c.Name + "_uniq", Type: Bytes, Role: Sketch, Doc: c.Doc + ": sketch for the number of distinct values"})
		}
	}
}

// gaugeName is x_sum for x, and rtt_sum_us for rtt_us: a unit stays last, except where the part has none.
func gaugeName(name, part string) string {
	base, ok := strings.CutSuffix(name, "_us")
	switch {
	case !ok:
		return name + "_" + part
	case part == "count" || part == "sketch":
		return base + "_" + part
	}
	return base + "_" + part + "_us"
}

func sumType(t Type) Type {
	if t == Double {
		return Double
	}
	return BigInt
}

// resolutionName is "1s", "90s", "1m", "1h", "1d": the longest unit that divides the duration.
func resolutionName(d time.Duration) string {
	for _, u := range []struct {
		name string
		d    time.Duration
	}{{"d", day}, {"h", time.Hour}, {"m", time.Minute}} {
		if d%u.d == 0 {
			return fmt.Sprintf("%d%s", d/u.d, u.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// sortBucket is the stretch of time whose rows are ordered by key in a segment: long enough for rows of one key to lie
// together, short enough for a query's time range to leave pages out.
func sortBucket(every time.Duration) string {
	switch {
	case every < time.Minute:
		return "1m"
	case every < time.Hour:
		return "1h"
	}
	return "24h"
}

// RollupStatus is a rollup as a database has it.
type RollupStatus struct {
	Rollup *Rollup
	// Ready says that all rows there were when it was created are in it: before that, answers from it would lack some.
	Ready bool
	// Done of Total segments that the source had then have been rolled up or are gone.
	Done, Total int64
	// Damaged is the number of its own segments that were set aside since it was created: their rows are missing from it, though
	// the source may still have those that they were made of.
	Damaged int64
	Created time.Time
}

// RollupAdmin is what a database offers that keeps rollups. All methods are safe for concurrent use, and what they change
// survives restart.
type RollupAdmin interface {
	// Rollups lists the rollups by name.
	Rollups() []RollupStatus
	// CreateRollup adds a rollup. Rows written from then on are in it at once; those there are already come into it in the
	// background. It fails with ErrRollupExists, ErrUnknownTable or ErrRollupDef.
	CreateRollup(ctx context.Context, def RollupDef) error
	// DropRollup removes a rollup and its rows. It fails with ErrUnknownRollup, unless ifExists, and ErrBuiltinRollup.
	DropRollup(ctx context.Context, name string, ifExists bool) error
	// SetRetention sets how long rows of a table or rollup are kept; 0: for ever. It fails with ErrUnknownTable.
	SetRetention(ctx context.Context, table string, d time.Duration) error
	// Retention is how long rows of a table are kept now; 0: for ever.
	Retention(table string) time.Duration
}
