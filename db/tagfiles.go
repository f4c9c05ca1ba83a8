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
	}}, "id")
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
	rel := path.Join("tags", fmt.Sprintf("%d-%d-%d.parquet", from, to, w.d.manifest.nextSeq))
	w.d.manifest.nextSeq++
	_, err := w.file(rel, TagSetsTable, segment.Options{Portable: w.d.opts.Portable, Sorted: true}, func(s *segment.Writer) error {
		return appendTagSets(s, v, from, to, w.d.opts.Now().UnixNano())
	})
	if err != nil {
		return err
	}
	w.edit.Tags = append(w.edit.Tags, tagFile{Path: rel, From: from, To: to})
	return nil
}

func appendTagSets(s *segment.Writer, v *tags.View, from, to uint32, nowNanos int64) error {
	b := batch.NewBuilder(TagSetsTable)
	for id := from; id < to; id++ {
		v.Each(id, func(key, value string) {
			b.Int(tagTime, nowNanos)
			b.Int(tagID, int64(id))
			b.String(tagKey, key)
			b.String(tagValue, value)
			b.EndRow()
		})
		if b.Len() >= tagFileRows || id+1 == to && b.Len() > 0 {
			if err := s.Append(b.Seal(), nil); err != nil {
				return err
			}
		}
	}
	return nil
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
	l := tagLoader{to: d.tags.NewLoader(), next: f.From}
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
	if err := l.finish(f.To); err != nil {
		return &CorruptionError{File: full, Reason: err.Error()}
	}
	return nil
}

// tagLoader gathers a set's rows and adds it when the next one begins. A pair of dictionary entries is looked up once.
type tagLoader struct {
	to   *tags.Loader
	next uint32 // id of the set being gathered
	set  []tags.Ref

	keys, values *batch.Dict
	known        []knownPair // by value's code
}

// knownPair is the pair that a value came in last.
type knownPair struct {
	ref tags.Ref
	key uint32 // code of the key, plus one
}

// rows takes rows of the columns id, key and value.
func (l *tagLoader) rows(b *batch.Batch) error {
	keys, values := b.Cols[1], b.Cols[2]
	if keys.Dict != l.keys || values.Dict != l.values {
		l.keys, l.values = keys.Dict, values.Dict
		l.known = slices.Grow(l.known[:0], values.Dict.Len())[:values.Dict.Len()]
		clear(l.known)
	}
	for i, id := range b.Cols[0].I64 {
		if id != int64(l.next) {
			if err := l.flush(); err != nil {
				return err
			}
			if id != int64(l.next) {
				return fmt.Errorf("tag set %d where %d is expected", id, l.next)
			}
		}
		key := keys.Codes[i]
		k := &l.known[values.Codes[i]]
		if k.key != key+1 {
			ref, err := l.to.Pair(keys.Bytes(i), values.Bytes(i))
			if err != nil {
				return fmt.Errorf("tag set %d: %w", id, err)
			}
			*k = knownPair{ref, key + 1}
		}
		l.set = append(l.set, k.ref)
	}
	return nil
}

func (l *tagLoader) flush() error {
	if err := l.to.Add(l.next, l.set); err != nil {
		return fmt.Errorf("tag set %d: %w", l.next, err)
	}
	l.set = l.set[:0]
	l.next++
	return nil
}

func (l *tagLoader) finish(to uint32) error {
	if len(l.set) > 0 {
		if err := l.flush(); err != nil {
			return err
		}
	}
	if l.next != to {
		return fmt.Errorf("it ends before tag set %d, at %d", to, l.next)
	}
	return nil
}
