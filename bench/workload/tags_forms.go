package workload

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/flowlake/flowlake/bench/gen"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// TaggedTable is the table of the workload tags: rows of flows that have little more than the tags of both sides.
const TaggedTable = "tagged"

// What the tags of a row of TaggedTable may be stored as.
const (
	TagSets    = ""        // a tag set a side
	TagStrings = "strings" // a column of text for each tag of a side
	TagIDs     = "ids"     // a column of numbers for each tag of a side, and the table tag_values of what they stand for
)

const (
	valuesTable = "tag_values"
	// askedZone is the availability zone whose clients are asked for: a sixth of the pods is in it.
	askedZone = "eu-west-0a"
)

// tagSides are the tag-set columns of TaggedTable without their suffix.
var tagSides = [...]string{"client", "server"}

// podTagKeys are the keys of gen.PodTags, ascending.
var podTagKeys = func() (keys []string) {
	if err := tags.Each(gen.PodTags(1), func(k, _ []byte) { keys = append(keys, string(k)) }); err != nil {
		panic(fmt.Sprintf("tags of a pod: %v", err)) // they are constants
	}
	return keys
}()

// TagForm is a form of the workload tags: how a system stores the tags, and the question put to it then.
type TagForm struct {
	Form, SQL string
}

// TagForms is the forms that a system is measured in. All have the same answer: for each service, the flows and bytes that
// come to it from the clients of one zone.
func TagForms(system string) []TagForm {
	form := func(name, service, from, where string) TagForm {
		return TagForm{name, "SELECT " + service + " AS service, count(*) AS flows, sum(bytes_rx) AS bytes FROM " + from + " WHERE " + where + " = '" +
			askedZone + "' GROUP BY " + service + " ORDER BY service"}
	}
	if system != "flowlake" {
		return []TagForm{form(TagSets, "server_tags_service", TaggedTable, "client_tags_az")}
	}
	return []TagForm{
		form(TagSets, "server.service", TaggedTable, "client.az"),
		form(TagStrings, "server_service", TaggedTable, "client_az"),
		{TagIDs, "SELECT v.value AS service, t.flows, t.bytes FROM (SELECT server_service AS service, count(*) AS flows, sum(bytes_rx) AS bytes FROM " +
			TaggedTable + " WHERE client_az = (SELECT max(code) FROM " + valuesTable + " WHERE key = 'az' AND value = '" + askedZone + "') GROUP BY server_service) t JOIN " +
			valuesTable + " v ON v.code = t.service WHERE v.key = 'service' ORDER BY service"},
	}
}

// formTables are the tables of each form, made once: a database knows a table by its address.
var formTables = map[string]func() ([]*schema.Table, error){
	TagSets:    sync.OnceValues(func() ([]*schema.Table, error) { return newTagged(TagSets) }),
	TagStrings: sync.OnceValues(func() ([]*schema.Table, error) { return newTagged(TagStrings) }),
	TagIDs:     sync.OnceValues(func() ([]*schema.Table, error) { return newTagged(TagIDs) }),
}

// taggedTables are the tables of a form: TaggedTable first.
func taggedTables(form string) ([]*schema.Table, error) {
	made, ok := formTables[form]
	if !ok {
		return nil, fmt.Errorf("tags are not stored as %q", form)
	}
	return made()
}

func newTagged(form string) ([]*schema.Table, error) {
	at := schema.Column{Name: "time", Type: schema.Timestamp, Role: schema.Time, Doc: "time of the report"}
	columns := []schema.Column{at,
		{Name: "server_port", Type: schema.Integer, Doc: "port of the server"},
		{Name: "bytes_rx", Type: schema.BigInt, Role: schema.Counter, Unit: "bytes", Doc: "bytes from the server"}}
	server, client := "server_tags", "client_tags"
	for _, side := range tagSides {
		if form == TagSets {
			columns = append(columns, schema.Column{Name: side + "_tags", Type: schema.TagSet, Doc: "tags of the " + side})
			continue
		}
		server, client = "server_pod", "client_pod"
		t := schema.Varchar
		if form == TagIDs {
			t = schema.Integer
		}
		for _, key := range podTagKeys {
			columns = append(columns, schema.Column{Name: side + "_" + key, Type: t, Doc: "tag " + key + " of the " + side})
		}
	}
	t, err := schema.New(schema.Table{Name: TaggedTable, Columns: columns, Doc: "flows with little more than tags"},
		"time/1m", server, client, "server_port", "time")
	if err != nil || form != TagIDs {
		return []*schema.Table{t}, err
	}
	values, err := schema.New(schema.Table{Name: valuesTable, Doc: "what the numbers of tags stand for", Columns: []schema.Column{at,
		{Name: "key", Type: schema.Varchar, Doc: "key of the tag"},
		{Name: "code", Type: schema.Integer, Doc: "number of the value, from 1 for each key"},
		{Name: "value", Type: schema.Varchar, Doc: "value of the tag"}}}, "key", "code", "time")
	return []*schema.Table{t, values}, err
}

// tables has a database of TaggedTable know the tables of the spec's form; others have those that are built in.
func (s Spec) tables(o *db.Options) {
	if s.Table != TaggedTable {
		return
	}
	all, err := taggedTables(s.Form)
	if err == nil {
		o.Tables, err = schema.NewRegistry(all...)
	}
	if err != nil {
		panic(fmt.Sprintf("tables of the workload tags: %v", err)) // they are constants
	}
}

// tagger makes rows of TaggedTable of a form from those of flows.
type tagger struct {
	flows *gen.Flows
	g     *Generator
	form  string
	table *schema.Table
	// of the form ids, by key: the number of each value, and the values in the order of their numbers, from 1
	ids    map[string]map[string]int64
	values map[string][]string
}

func newTagger(s Spec, g *Generator) (*tagger, error) {
	all, err := taggedTables(s.Form)
	if err != nil {
		return nil, err
	}
	t := &tagger{flows: gen.NewFlows(gen.Options{Seed: s.Seed}), g: g, form: s.Form, table: all[0], ids: map[string]map[string]int64{}, values: map[string][]string{}}
	for _, key := range podTagKeys {
		t.ids[key] = map[string]int64{}
	}
	return t, nil
}

// next is the next n rows, tag sets by value.
func (t *tagger) next(n int) *batch.Batch {
	from := t.flows.Next(n)
	gen.ByValue(from, t.g.set)
	b := &batch.Batch{Table: t.table, N: n, Cols: make([]*batch.Vector, len(t.table.Columns))}
	for i, c := range t.table.Columns {
		if k := from.Table.Column(c.Name); k >= 0 {
			v := *from.Cols[k]
			v.I64 = slices.Clone(v.I64) // it would keep the memory of all columns of flows
			b.Cols[i] = &v
		}
	}
	if t.form == TagSets {
		return b
	}
	for _, side := range tagSides {
		sets := from.Cols[from.Table.MustColumn(side+"_tags")]
		for _, key := range podTagKeys {
			b.Cols[t.table.MustColumn(side+"_"+key)] = t.column(sets, key)
		}
	}
	return b
}

// column is one tag of each row, as text or as a number.
func (t *tagger) column(sets *batch.Vector, key string) *batch.Vector {
	if t.form == TagStrings {
		var dict batch.DictBuilder
		codes, of := make([]uint32, len(sets.Codes)), make([]uint32, sets.Dict.Len())
		for i := range of {
			value, _ := tags.Get(sets.Dict.At(i), key)
			of[i] = dict.Code(value)
		}
		for i, c := range sets.Codes {
			codes[i] = of[c]
		}
		return &batch.Vector{Type: schema.Varchar, Codes: codes, Dict: dict.Seal()}
	}
	values, of := make([]int64, len(sets.Codes)), make([]int64, sets.Dict.Len())
	for i := range of {
		value, _ := tags.Get(sets.Dict.At(i), key)
		of[i] = t.id(key, string(value))
	}
	for i, c := range sets.Codes {
		values[i] = of[c]
	}
	return &batch.Vector{Type: schema.Integer, I64: values}
}

// id is the number of a value.
func (t *tagger) id(key, value string) int64 {
	id := t.ids[key][value]
	if id == 0 {
		t.values[key] = append(t.values[key], value)
		id = int64(len(t.values[key]))
		t.ids[key][value] = id
	}
	return id
}

// dictionary is the rows of tag_values for all numbers given so far, in batches.
func (t *tagger) dictionary() ([]*batch.Batch, error) {
	all, err := taggedTables(t.form)
	if err != nil || len(all) < 2 {
		return nil, err
	}
	var out []*batch.Batch
	for _, key := range podTagKeys {
		next := int64(0)
		for values := range slices.Chunk(t.values[key], BatchRows) {
			var keys, texts batch.DictBuilder
			n := len(values)
			times, codes := make([]int64, n), make([]int64, n)
			keyCodes, textCodes := make([]uint32, n), make([]uint32, n)
			for i, v := range values {
				next++
				times[i], codes[i], keyCodes[i], textCodes[i] = dayBegins*1e9, next, keys.Code([]byte(key)), texts.Code([]byte(v))
			}
			out = append(out, &batch.Batch{Table: all[1], N: n, Cols: []*batch.Vector{
				{Type: schema.Timestamp, I64: times}, {Type: schema.Varchar, Codes: keyCodes, Dict: keys.Seal()},
				{Type: schema.Integer, I64: codes}, {Type: schema.Varchar, Codes: textCodes, Dict: texts.Seal()}}})
		}
	}
	return out, nil
}

// tagged stores all rows in the spec's form until they are in segments, and merges.
func tagged(ctx context.Context, s Spec) (*Outcome, error) {
	rows, err := newStream(s, true)
	if err != nil {
		return nil, err
	}
	values, err := rows.g.tagged.dictionary()
	if err != nil {
		return nil, err
	}
	rows.g = nil // only the pool is needed
	runtime.GC()
	var waiting runtime.MemStats
	runtime.ReadMemStats(&waiting)
	d, err := db.Open(s.Dir, keep, s.tables)
	if err != nil {
		return nil, err
	}
	out := &Outcome{Notes: []string{fmt.Sprintf("%.0f MiB of the memory are rows that wait to be stored", float64(waiting.HeapAlloc)/(1<<20))}}
	m := startMeter()
	for _, b := range values {
		if err := d.Write(ctx, b); err != nil {
			return nil, errors.Join(err, d.Close())
		}
		out.Rows -= int64(b.N)
	}
	err = writeAll(ctx, d, rows, func(began time.Time) bool {
		out.Millis = append(out.Millis, millis(began))
		return true
	})
	if err == nil {
		err = d.Flush(ctx)
	}
	m.stop(out)
	out.Rows += d.Metrics().Rows
	if err = errors.Join(err, d.Compact(ctx), d.Close()); err != nil {
		return nil, err
	}
	out.Disk, err = diskBytes(s.Dir)
	return out, err
}
