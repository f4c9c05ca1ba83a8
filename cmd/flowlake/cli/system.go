package cli

import (
	"context"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/ingest/wire"
	"github.com/flowlake/flowlake/query"
)

// systemInfo is what the tables of system say beside the database's own. All fields may be nil.
type systemInfo struct {
	counters func() []counter
	settings func() []setting
	queries  func() []queryInfo
	agents   func() []wire.Agent
}

// setting is one flag as it holds.
type setting struct{ name, value, source, doc string }

func text(name, doc string) schema.Column {
	return schema.Column{Name: name, Type: schema.Varchar, Doc: doc}
}
func bigint(name, unit, doc string) schema.Column {
	return schema.Column{Name: name, Type: schema.BigInt, Unit: unit, Doc: doc}
}
func double(name, unit, doc string) schema.Column {
	return schema.Column{Name: name, Type: schema.Double, Unit: unit, Doc: doc}
}
func timestamp(name, doc string) schema.Column {
	return schema.Column{Name: name, Type: schema.Timestamp, Doc: doc}
}

// virtual makes a table of system whose rows are filled in when it is read.
func virtual(name, doc string, fill func(b *batch.Builder), cols ...schema.Column) query.VirtualTable {
	t := &schema.Table{Name: "system." + name, Doc: doc, Columns: cols, TimeColumn: -1}
	return query.VirtualTable{Table: t, Rows: func(context.Context) (*batch.Batch, error) {
		b := batch.NewBuilder(t)
		fill(b)
		out := b.Seal()
		if out == nil {
			return nil, nil
		}
		for i, v := range out.Cols { // a column that no row has set
			if v == nil {
				out.Cols[i] = &batch.Vector{}
				out.Cols[i].Default(&cols[i], out.N)
			}
		}
		return out, nil
	}}
}

// tables are the tables of system over an open database.
func (s *systemInfo) tables(d *db.DB) []query.VirtualTable {
	return []query.VirtualTable{segmentsTable(d), tagsTable(d), s.ingestTable(d), s.settingsTable(), s.queriesTable(), s.agentsTable()}
}

func segmentsTable(d *db.DB) query.VirtualTable {
	return virtual("segments", "the Parquet files of the data folder", func(b *batch.Builder) {
		for _, s := range d.Segments() {
			b.String(0, s.Table)
			b.String(1, s.Path)
			b.Int(2, int64(s.Level))
			b.Int(3, s.Rows)
			b.Int(4, s.Bytes)
			b.Int(5, s.MinTime)
			b.Int(6, s.MaxTime)
			b.Int(7, int64(s.MinIndex))
			b.Int(8, int64(s.MaxIndex))
			b.String(9, s.State)
			b.String(10, s.Reason)
			b.EndRow()
		}
	},
		text("table_name", "table whose rows it holds"), text("path", "file, below the data folder"),
		schema.Column{Name: "level", Type: schema.Integer, Doc: "how often its rows were merged: 0 is as flushed"},
		bigint("rows", "rows", "rows in it"), bigint("bytes", "bytes", "size of the file"),
		timestamp("min_time", "smallest time of a row"), timestamp("max_time", "largest time of a row"),
		bigint("min_index", "", "first log record it holds rows of"), bigint("max_index", "", "last log record it holds rows of"),
		text("state", "live, or quarantined when it is damaged"), text("reason", "why it was set aside"))
}

func tagsTable(d *db.DB) query.VirtualTable {
	return virtual("tags", "the keys of all tag sets and what they cost", func(b *batch.Builder) {
		for _, k := range d.Tags().Cardinality(0) {
			b.String(0, k.Key)
			b.Int(1, int64(k.Sets))
			b.Int(2, int64(k.Values))
			b.Int(3, k.Bytes)
			b.Float(4, k.Share)
			b.Float(5, k.Multiplies)
			b.Float(6, k.NewValues)
			b.Float(7, k.BytesPerSet())
			b.EndRow()
		}
	}, text("key", "key of a tag"), bigint("sets", "sets", "tag sets that have it"), bigint("values", "values", "distinct values of it"),
		bigint("bytes", "bytes", "memory of its values and their index"), double("share", "", "part of the memory of all keys, 0 to 1"),
		double("multiplies", "", "by how much it multiplies the sets that have it; 0 where that was not estimated"),
		double("new_values_per_minute", "", "values that came in the last minutes"),
		double("bytes_per_set", "bytes", "memory of it for each tag set that has it"))
}

func (s *systemInfo) ingestTable(d *db.DB) query.VirtualTable {
	return virtual("ingest", "what was taken, made and lost on the way from the wire to the disk, since the start", func(b *batch.Builder) {
		list := dbCounters(d.Metrics())
		if s.counters != nil {
			list = s.counters()
		}
		for _, c := range list {
			b.String(0, c.stage)
			b.String(1, c.name)
			b.String(2, c.cause)
			b.Float(3, c.value)
			b.String(4, c.doc)
			b.EndRow()
		}
	}, text("stage", "capture, flow, l7, collector, pipeline, db, tag or wal"), text("counter", "what is counted"), text("cause", "why, for what was lost"),
		double("value", "", "the count, or the figure as it is now"), text("description", "what it means"))
}

func (s *systemInfo) settingsTable() query.VirtualTable {
	return virtual("settings", "the settings of the process", func(b *batch.Builder) {
		if s.settings == nil {
			return
		}
		for _, v := range s.settings() {
			b.String(0, v.name)
			b.String(1, v.value)
			b.String(2, v.source)
			b.String(3, v.doc)
			b.EndRow()
		}
	}, text("name", "the flag, without dashes in front"), text("value", "what holds"),
		text("source", "flag, environment, file or default"), text("description", "what it means"))
}

func (s *systemInfo) queriesTable() query.VirtualTable {
	return virtual("queries", "statements that run, and the last ones that ran", func(b *batch.Builder) {
		if s.queries == nil {
			return
		}
		for _, q := range s.queries() {
			b.Int(0, q.id)
			b.Int(1, q.startNanos)
			b.String(2, q.state)
			b.Float(3, q.seconds)
			b.Int(4, q.rows)
			b.String(5, q.err)
			b.String(6, q.sql)
			b.EndRow()
		}
	}, bigint("id", "", "counts up since the start"), timestamp("start_time", "when it began"),
		text("state", "running, done or failed"), double("seconds", "s", "how long it took, or has taken so far"),
		bigint("rows", "rows", "rows given out"), text("error", "why it failed"), text("sql", "the statement, cut to 4096 characters"))
}

func (s *systemInfo) agentsTable() query.VirtualTable {
	return virtual("agents", "the agents that have sent rows since the server started", func(b *batch.Builder) {
		if s.agents == nil {
			return
		}
		for _, a := range s.agents() {
			b.String(0, a.Name)
			b.String(1, a.Address)
			b.Bool(2, a.Connected)
			b.Int(3, a.Since.UnixNano())
			b.Int(4, a.Seen.UnixNano())
			b.Int(5, int64(a.Frames))
			b.Int(6, int64(a.Rows))
			b.Int(7, int64(a.Bytes))
			b.Int(8, int64(a.RefusedRows))
			b.EndRow()
		}
	}, text("name", "name of the agent"), text("address", "where it connected from last"),
		schema.Column{Name: "connected", Type: schema.Boolean, Doc: "whether it is connected now"},
		timestamp("since", "when it connected last"), timestamp("seen", "when it last said something"),
		bigint("batches", "", "batches of it that were stored"), bigint("rows", "rows", "rows of them"),
		bigint("bytes", "bytes", "encoded bytes of them"), bigint("refused_rows", "rows", "rows of it that were not stored"))
}
