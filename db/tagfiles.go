package db

import (
	"context"
	"fmt"
	"path"
	"path/filepath"
	"slices"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/tags"
)

// TagSetsTable is the table that tag files hold: one row per tag of each set.
var TagSetsTable = newTagSetsTable()

// ordinals of TagSetsTable
const (
	tagTime = iota
	tagID
	tagKey
	tagValue
)

func newTagSetsTable() *schema.Table {
	t, err := schema.New(schema.Table{Name: "tag_sets", Doc: "tags of tag sets", Columns: []schema.Column{
		tagTime:  {Name: "time", Type: schema.Timestamp, Role: schema.Time, Doc: "when the file was written"},
		tagID:    {Name: "id", Type: schema.BigInt, Doc: "id of the tag set"},
		tagKey:   {Name: "key", Type: schema.Varchar, Doc: "key of the tag"},
		tagValue: {Name: "value", Type: schema.Varchar, Doc: "value of the tag"},
	}}, "key", "id")
	if err != nil {
		panic(err) // a constant
	}
	return t
}

// tagFileRows is how many rows of a tag file are made at once.
const tagFileRows = 256 << 10

// tags writes the sets that are in no tag file yet.
func (w *flushWriter) tags() error {
	v := w.d.tags.View()
	from, to := w.d.tagsTo, uint32(v.Len())
	from = max(from, 1) // id 0 is the empty set
	if from >= to {
		return nil
	}
	rel := w.d.tagFilePath(from, to)
	_, err := w.file(rel, TagSetsTable, segment.Options{Portable: w.d.opts.Portable, Sorted: true}, func(s *segment.Writer) error {
		return appendTagSets(context.Background(), s, v, from, to, w.d.opts.Now().UnixNano())
	})
	if err != nil {
		return err
	}
	w.edit.Tags = append(w.edit.Tags, tagFile{Path: rel, From: from, To: to, By: tagsByKey})
	return nil
}

// tagFilePath is a path that was never used for a tag file.
func (d *DB) tagFilePath(from, to uint32) string {
	return path.Join("tags", fmt.Sprintf("%d-%d-%d.parquet", from, to, d.nextSeq.Add(1)-1))
}

// tagGroupRows is how many sets a key must have for its rows to be a row group, or some, of their own: the dictionary of its
// values then holds no others.
const tagGroupRows = 128 << 10

// appendTagSets writes sets key by key, so that ids ascend one by one and values are of one kind.
func appendTagSets(ctx context.Context, s *segment.Writer, v *tags.View, from, to uint32, nowNanos int64) error {
	times := make([]int64, min(tagFileRows, int(to-from)))
	for i := range times {
		times[i] = nowNanos
	}
	codes := make([]uint32, len(times))
	rows, key := 0, batch.DictOf("")
	return v.Columns(from, to, tagFileRows, func(c *tags.Column) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !c.Last && rows == 0 || len(c.IDs) >= tagGroupRows {
			if err := s.EndGroup(); err != nil {
				return err
			}
		}
		if rows == 0 {
			key = batch.DictOf(c.Key)
		}
		n := len(c.IDs)
		b := &batch.Batch{Table: TagSetsTable, N: n, Cols: []*batch.Vector{
			tagTime:  {Type: schema.Timestamp, I64: times[:n]},
			tagID:    {Type: schema.BigInt, I64: c.IDs},
			tagKey:   {Type: schema.Varchar, Codes: codes[:n], Dict: key},
			tagValue: {Type: schema.Varchar, Codes: c.Codes, Dict: batch.NewDict(c.Data, c.Offs)},
		}}
		if err := s.Append(b, nil); err != nil {
			return err
		}
		if rows += n; !c.Last {
			return nil
		}
		big := rows >= tagGroupRows
		rows = 0
		if big {
			return s.EndGroup()
		}
		return nil
	})
}

// loadTags reads the tag files in order, so every set gets the id it had.
func (d *DB) loadTags() error {
	files := slices.Clone(d.manifest.tags)
	slices.SortFunc(files, func(a, b tagFile) int { return int(a.From) - int(b.From) })
	next := uint32(1)
	for _, f := range files {
		full := filepath.Join(d.dir, filepath.FromSlash(f.Path))
		if f.From != next {
			return &CorruptionError{File: full, Reason: fmt.Sprintf("tag sets from %d on are expected, it begins at %d", next, f.From)}
		}
		if err := d.loadTagFile(full, f); err != nil {
			return fmt.Errorf("load tag sets: %w", err)
		}
		next = f.To
	}
	d.tagsTo = next
	return nil
}

func (d *DB) loadTagFile(full string, f tagFile) error {
	r, err := segment.Open(d.fs, full, TagSetsTable, d.cached)
	if err != nil {
		return err
	}
	defer r.Close()
	req := &pred.Request{Table: TagSetsTable, Columns: []int{tagID, tagKey, tagValue}, From: pred.MinTime, To: pred.MaxTime}
	if int64(f.To)-int64(f.From) > r.Info().Rows {
		return &CorruptionError{File: full, Reason: fmt.Sprintf("it has %d tags, and not those of tag sets %d to %d", r.Info().Rows, f.From, f.To)}
	}
	to, err := d.tags.NewLoader(f.From, f.To)
	if err != nil {
		return &CorruptionError{File: full, Reason: err.Error()}
	}
	l := tagLoader{to: to}
	var sc segment.Scratch
	var rows batch.Batch
	for _, u := range r.Units(req) {
		if err := r.Read(context.Background(), u, req, &sc, &rows); err != nil {
			return err
		}
		if err := l.rows(&rows); err != nil {
			return &CorruptionError{File: full, Reason: err.Error()}
		}
	}
	if err := to.Finish(); err != nil {
		return &CorruptionError{File: full, Reason: err.Error()}
	}
	return nil
}

// tagLoader gives the rows of a tag file to a loader, as many at a time as have the same key. What stands in a dictionary is
// looked up once.
type tagLoader struct {
	to           *tags.Loader
	keys, values *batch.Dict
	keyNo        []int64     // by key's code: its number, -1 while it is not known
	known        []knownPair // by value's code
	codes        []uint32
}

// knownPair is the pair that a value came in last.
type knownPair struct {
	code uint32 // of the value
	key  uint32 // code of the key, plus one
}

// rows takes rows of the columns id, key and value.
func (l *tagLoader) rows(b *batch.Batch) error {
	ids, keys, values := b.Cols[0].I64, b.Cols[1], b.Cols[2]
	if keys.Dict != l.keys || values.Dict != l.values {
		l.keys, l.values = keys.Dict, values.Dict
		l.known = slices.Grow(l.known[:0], values.Dict.Len())[:values.Dict.Len()]
		clear(l.known)
		l.keyNo = l.keyNo[:0]
		for range keys.Dict.Len() {
			l.keyNo = append(l.keyNo, -1)
		}
	}
	for at := 0; at < b.N; {
		key, end := keys.Codes[at], at+1
		for end < b.N && keys.Codes[end] == key {
			end++
		}
		if err := l.run(ids[at:end], key, values.Codes[at:end]); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// run takes rows with the same key.
func (l *tagLoader) run(ids []int64, key uint32, values []uint32) error {
	if l.keyNo[key] < 0 {
		no, err := l.to.Key(l.keys.At(int(key)))
		if err != nil {
			return err
		}
		l.keyNo[key] = int64(no)
	}
	no := uint32(l.keyNo[key])
	l.codes = slices.Grow(l.codes[:0], len(ids))[:len(ids)]
	for i, v := range values {
		k := &l.known[v]
		if k.key != key+1 {
			code, err := l.to.Value(no, l.values.At(int(v)), uint32(ids[i]))
			if err != nil {
				return fmt.Errorf("tag set %d: %w", ids[i], err)
			}
			*k = knownPair{code, key + 1}
		}
		l.codes[i] = k.code
	}
	return l.to.Add(no, ids, l.codes)
}
