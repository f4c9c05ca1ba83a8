package gen

import (
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/schema"
)

// EdgeOptions shape the rows of edges. Zero values take the defaults.
type EdgeOptions struct {
	// Seed chooses the rows; equal seeds give equal rows.
	Seed uint64
	// StartNanos is the first second, Unix nanoseconds; default 2026-01-01.
	StartNanos int64
	// Edges is the number of pairs of pods that talk; default 2000. A few have most of the rows.
	Edges int
	// RowsPerSecond is how many rows there are of a virtual second; default 100. Some are of the same edge: collectors send
	// partial rows.
	RowsPerSecond int
	// Late is the part of all rows that come one to five virtual minutes late; default 0.01, negative for none.
	Late float64
}

// edge is a pair of pods as one collector sees it.
type edge struct {
	client, server uint32
	agent, service uint16
	atClient       bool
	rtt, size      float64
}

// Edges makes batches of a table of edges: what happened between two tag sets in a second. Not safe for concurrent use.
type Edges struct {
	o      EdgeOptions
	rnd    rnd
	table  *schema.Table
	edges  []edge
	second int64 // nanoseconds
	left   int   // rows of it
	known  coder
	// of the batch in hand
	rows   []edge
	sketch enc.Sketch
}

// NewNetwork starts a stream of rows of network_1s.
func NewNetwork(o EdgeOptions) *Edges { return newEdges(schema.Network(), o) }

// NewApplication starts a stream of rows of application_1s.
func NewApplication(o EdgeOptions) *Edges { return newEdges(schema.Application(), o) }

func newEdges(t *schema.Table, o EdgeOptions) *Edges {
	if o.StartNanos == 0 {
		o.StartNanos = 1767225600e9
	}
	if o.Edges <= 0 {
		o.Edges = 2000
	}
	if o.RowsPerSecond <= 0 {
		o.RowsPerSecond = 100
	}
	switch {
	case o.Late == 0:
		o.Late = defaultLate
	case o.Late < 0:
		o.Late = 0
	}
	whole := Options{Seed: o.Seed}
	whole.setDefaults()
	c := newCluster(&whole)
	e := &Edges{o: o, rnd: newRnd(o.Seed, 5), table: t, edges: make([]edge, o.Edges), second: o.StartNanos / 1e9 * 1e9, left: o.RowsPerSecond}
	for i := range e.edges {
		x := &e.edges[i]
		x.agent, x.atClient = uint16(e.rnd.below(whole.Agents)), e.rnd.next()&1 == 0
		x.client, x.server = c.ends(&e.rnd, x.agent, x.atClient)
		x.service = c.service[podSlot(x.server)]
		x.rtt, x.size = 100+1e4*e.rnd.unit()*e.rnd.unit(), 100+8000*e.rnd.unit()*e.rnd.unit()
	}
	return e
}

// Next is the next n rows. Tag-set columns hold ids; ByValue and PodTags make sets of them.
func (e *Edges) Next(n int) *batch.Batch {
	c := newColumns(e.table, n, 36)
	at := c.ints("time")
	e.rows = e.rows[:0]
	for i := range at {
		if e.left == 0 {
			e.second, e.left = e.second+1e9, e.o.RowsPerSecond
		}
		e.left--
		at[i] = e.second
		if e.rnd.chance(e.o.Late) {
			at[i] -= int64(1+e.rnd.below(mostLate)) * minute
		}
		k := e.rnd.below(len(e.edges))
		e.rows = append(e.rows, e.edges[min(k, e.rnd.below(k+1))])
	}
	e.keys(c)
	if e.table.Column("endpoint") >= 0 {
		e.application(c)
	} else {
		e.network(c)
	}
	return c.b
}

func (e *Edges) keys(c *columns) {
	rows, port := e.rows, c.ints("server_port")
	client, server := make([]uint32, len(rows)), make([]uint32, len(rows))
	for i := range rows {
		client[i], server[i], port[i] = rows[i].client, rows[i].server, appOf(int(rows[i].service)).port
	}
	c.set("client_tags", client, nil)
	c.set("server_tags", server, nil)
	app := func(i int) uint64 { return uint64(int(rows[i].service) % len(apps)) }
	c.words("protocol", &e.known, distinct(app, protocolWords), protocolWords)
	c.words("observation_point", &e.known, func(i int) uint64 {
		if rows[i].atClient {
			return 0
		}
		return 1
	}, []string{"c", "s"})
	c.text("agent", &e.known, func(i int) uint64 { return uint64(rows[i].agent) }, func(dst []byte, k uint64) []byte {
		return append(dst, nodeName(int(k))...)
	})
	c.words("source", &e.known, func(int) uint64 { return 0 }, []string{"packet"})
}

// network makes the metrics of network_1s. A row has at most one handshake, so its round-trip time is known without the sketch.
func (e *Edges) network(c *columns) {
	r := &e.rnd
	packetsTx, packetsRx, bytesTx, bytesRx := c.ints("packets_tx"), c.ints("packets_rx"), c.ints("bytes_tx"), c.ints("bytes_rx")
	payloadTx, payloadRx := c.ints("payload_bytes_tx"), c.ints("payload_bytes_rx")
	syn, synACK, fin := c.ints("syn_count"), c.ints("synack_count"), c.ints("fin_count")
	begun, closed, load := c.ints("new_flow"), c.ints("closed_flow"), c.ints("flow_load")
	rttSum, rttN, rttMax := c.ints("rtt_sum_us"), c.ints("rtt_count"), c.ints("rtt_max_us")
	artSum, artN, artMax := c.ints("art_sum_us"), c.ints("art_count"), c.ints("art_max_us")
	request, response, serverError, l7Error := c.ints("l7_request"), c.ints("l7_response"), c.ints("l7_server_error"), c.ints("l7_error")
	rrtSum, rrtN, rrtMax := c.ints("rrt_sum_us"), c.ints("rrt_count"), c.ints("rrt_max_us")
	rtt, rrt := newSketches(c.b.N), newSketches(c.b.N)
	for i := range e.rows {
		x := &e.rows[i]
		a := appOf(int(x.service))
		n := 1 + r.around(3)
		load[i] = 1 + int64(r.below(3))
		payloadTx[i], payloadRx[i] = n*60+r.around(100), n*90+r.around(float64(n)*x.size)
		packetsTx[i], packetsRx[i] = 2*n, n+payloadRx[i]/1448
		bytesTx[i], bytesRx[i] = payloadTx[i]+66*packetsTx[i], payloadRx[i]+66*packetsRx[i]
		if r.below(4) == 0 {
			begun[i], closed[i] = 1, int64(r.below(2))
			if a.protocol == "tcp" {
				syn[i], synACK[i], fin[i], rttN[i] = 1, 1, 2*closed[i], 1
				rttSum[i] = 1 + r.around(x.rtt)
				rttMax[i] = rttSum[i]
			}
		}
		rtt.add(&e.sketch, rttSum[i], rttN[i], 1)
		artN[i] = n
		artSum[i], artMax[i] = r.delays(n, 300+5*x.rtt)
		if a.l7 == "" {
			rrt.add(&e.sketch, 0, 0, 1)
			continue
		}
		request[i], response[i] = n, n
		if r.below(100) == 0 {
			serverError[i], l7Error[i] = 1, 1
		}
		rrtSum[i], rrtN[i], rrtMax[i] = artSum[i], n, artMax[i]
		rrt.add(&e.sketch, artSum[i]/n, n, artMax[i])
	}
	rtt.set(c, "rtt_sketch")
	rrt.set(c, "rrt_sketch")
}

// application makes the keys and metrics that application_1s has besides.
func (e *Edges) application(c *columns) {
	r, rows := &e.rnd, e.rows
	app := func(i int) uint64 { return uint64(int(rows[i].service) % len(apps)) }
	c.words("l7_protocol", &e.known, distinct(app, l7Words), l7Words)
	noun := make([]uint64, len(rows))
	for i := range noun {
		noun[i] = uint64(min(r.below(len(nouns)), r.below(len(nouns))))
	}
	c.text("endpoint", &e.known, func(i int) uint64 { return noun[i] }, func(dst []byte, k uint64) []byte {
		return append(append(dst, "/api/v1/"...), nouns[k]...)
	})
	c.text("service_name", &e.known, func(i int) uint64 { return uint64(rows[i].service) }, func(dst []byte, k uint64) []byte {
		return append(dst, serviceName(int(k))...)
	})
	request, response, serverError, wrong := c.ints("request"), c.ints("response"), c.ints("server_error"), c.ints("error")
	rrtSum, rrtN, rrtMax := c.ints("rrt_sum_us"), c.ints("rrt_count"), c.ints("rrt_max_us")
	rrt := newSketches(c.b.N)
	for i := range rows {
		n := 1 + r.around(3)
		request[i], response[i], rrtN[i] = n, n, n
		if r.below(100) == 0 {
			serverError[i], wrong[i] = 1, 1
		}
		rrtSum[i], rrtMax[i] = r.delays(n, 300+5*rows[i].rtt)
		rrt.add(&e.sketch, rrtSum[i]/n, n, rrtMax[i])
	}
	rrt.set(c, "rrt_sketch")
}

// sketches is a column of sketches that is being made.
type sketches struct {
	dict  batch.DictBuilder
	codes []uint32
	bytes []byte
}

func newSketches(n int) *sketches { return &sketches{codes: make([]uint32, 0, n)} }

// add adds a row's sketch: of n values, the largest of which is most, the others about mean.
func (s *sketches) add(k *enc.Sketch, mean, n, most int64) {
	k.Reset()
	if n > 0 {
		k.AddN(float64(mean), uint64(max(1, n-1)))
	}
	if n > 1 {
		k.Add(float64(most))
	}
	s.bytes = k.AppendTo(s.bytes[:0])
	s.codes = append(s.codes, s.dict.Code(s.bytes))
}

func (s *sketches) set(c *columns, name string) { c.set(name, s.codes, s.dict.Seal()) }
