package cli

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/ingest"
	"github.com/flowlake/flowlake/ingest/enrich"
	"github.com/flowlake/flowlake/query"
)

// edgeKeysSQL are the keys of network_1s as text; a tag set is its tags here.
const edgeKeysSQL = "date_trunc('second', time) AS s, client.ip, client.internet, server.ip, server.internet, server_port, protocol, observation_point, agent, source"

// TestEdgesAreWhatTheirDefinitionsSay imports captures and random traffic with flows reported each second, and asks for
// each metric of network_1s and application_1s twice: from those tables, and by its definition in db/schema from the rows
// of flows and spans. Then the sums over all time are asked of a database with flows reported each minute.
func TestEdgesAreWhatTheirDefinitionsSay(t *testing.T) {
	files := []string{randomCapture(t, 1), randomCapture(t, 2)}
	corpus := os.Getenv("FLOWLAKE_CORPUS")
	if corpus == "" {
		corpus = filepath.Join("..", "..", "..", "..", "shared", "corpus")
	}
	for _, pattern := range []string{"l4/*.pcap", "tunnel/*.pcap", "l7/*/*.pcap"} { // none where there is no corpus
		more, err := filepath.Glob(filepath.Join(corpus, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, more...)
	}
	each, late := importAll(t, files, time.Second)
	network, application := schema.Network(), schema.Application()
	inTime := "agent NOT IN ('" + strings.Join(append(late, ""), "','") + "')"
	for _, c := range []struct {
		table *schema.Table
		from  string
		keys  string
	}{
		{network, "flows", edgeKeysSQL},
		{network, "spans", edgeKeysSQL},
		{application, "spans", edgeKeysSQL + ", l7_protocol, endpoint, service_name"},
	} {
		stored, raw := metricsSQL(c.table, c.from)
		got := grouped(t, each, fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s GROUP BY %s", c.keys, stored, c.table.Name, inTime, ordinals(c.keys)), c.keys)
		want := grouped(t, each, fmt.Sprintf("SELECT %s, %s FROM %s WHERE %s GROUP BY %s", c.keys, raw, c.from, inTime, ordinals(c.keys)), c.keys)
		if len(want) == 0 {
			t.Errorf("%s from %s: nothing to compare", c.table.Name, c.from)
		}
		compareRows(t, c.table.Name+" from "+c.from, stored, got, want)
	}
	minutes, _ := importAll(t, files, time.Minute)
	for _, c := range []struct{ stored, raw string }{
		{"SELECT agent, protocol, sum(packets_tx + packets_rx), sum(bytes_tx + bytes_rx), sum(new_flow), sum(closed_flow), sum(rtt_sum_us), sum(rtt_count), max(rtt_max_us), approx_percentile(rtt_sketch, 0.9), " +
			"sum(l7_request), sum(l7_response), sum(l7_error), sum(l7_timeout), sum(retrans_tx + retrans_rx), sum(tcp_establish_fail) FROM network GROUP BY 1, 2",
			"SELECT agent, protocol, sum(packets_tx + packets_rx), sum(bytes_tx + bytes_rx), count(*) FILTER (WHERE is_new), count(*) FILTER (WHERE close_type <> 'forced_report'), coalesce(sum(rtt_us), 0), count(rtt_us), coalesce(max(rtt_us), 0), approx_percentile(rtt_us, 0.9), " +
				"sum(l7_request), sum(l7_response), sum(l7_client_error + l7_server_error), sum(l7_timeout), sum(retrans_tx + retrans_rx), " +
				"count(*) FILTER (WHERE close_type IN ('client_ack_miss', 'client_port_reuse', 'client_establish_rst', 'server_syn_miss', 'server_direct_rst', 'server_establish_rst')) FROM flows GROUP BY 1, 2"},
		{"SELECT agent, l7_protocol, sum(request), sum(response), sum(error), sum(timeout), sum(rrt_sum_us), max(rrt_max_us), approx_percentile(rrt_sketch, 0.5) FROM application GROUP BY 1, 2",
			"SELECT agent, l7_protocol, count(*) FILTER (WHERE type <> 'response'), count(*) FILTER (WHERE type <> 'request'), count(*) FILTER (WHERE response_status IN ('client_error', 'server_error')), " +
				"count(*) FILTER (WHERE response_status = 'timeout'), coalesce(sum(duration_us), 0), coalesce(max(duration_us), 0), approx_percentile(duration_us, 0.5) FROM spans GROUP BY 1, 2"},
	} {
		compareRows(t, c.stored, c.stored, grouped(t, minutes, c.stored, "a, b"), grouped(t, minutes, c.raw, "a, b"))
	}
}

// metricsSQL are the metrics of an edge table that come from a table, as SQL over the edge table and over that table.
func metricsSQL(table *schema.Table, from string) (stored, raw string) {
	var a, b []string
	for _, c := range table.Columns {
		switch {
		case c.From != from:
		case c.Role == schema.Sketch:
			of := strings.TrimSuffix(strings.TrimPrefix(c.Expr, "sketch("), ")")
			for _, q := range []string{"0", "0.5", "0.9", "0.99", "1"} {
				a = append(a, fmt.Sprintf("coalesce(approx_percentile(%s, %s), 0)", c.Name, q))
				b = append(b, fmt.Sprintf("coalesce(approx_percentile(%s, %s), 0)", of, q))
			}
		case c.Role == schema.Max:
			a, b = append(a, "max("+c.Name+")"), append(b, "coalesce("+c.Expr+", 0)")
		default:
			a, b = append(a, "sum("+c.Name+")"), append(b, "coalesce("+c.Expr+", 0)")
		}
	}
	return strings.Join(a, ", "), strings.Join(b, ", ")
}

// ordinals are the numbers of a list of columns.
func ordinals(keys string) string {
	var out []string
	for i := range strings.Count(keys, ", ") + 1 - strings.Count(keys, "(") { // one comma is within date_trunc
		out = append(out, fmt.Sprint(i+1))
	}
	return strings.Join(out, ", ")
}

// grouped are the rows of a query by its keys, which come first. Those without anything but zeros are left out: idle flows
// are rows of flows each second, and of no edge.
func grouped(t *testing.T, d *db.DB, sql, keys string) map[string]string {
	t.Helper()
	n := strings.Count(ordinals(keys), ",") + 1
	res, err := query.New(d).NewSession().Query(context.Background(), sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	rows, err := res.All(context.Background())
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	out := map[string]string{}
	for _, row := range rows {
		if slices.ContainsFunc(row[n:], func(v string) bool { return strings.Trim(v, "0.") != "" }) {
			out[strings.Join(row[:n], " ")] = strings.Join(row[n:], " ")
		}
	}
	return out
}

func compareRows(t *testing.T, what, columns string, got, want map[string]string) {
	t.Helper()
	wrong := 0
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			if wrong++; wrong <= 3 {
				t.Errorf("%s: %s\n%s:\n%s, want\n%s", what, k, columns, got[k], want[k])
			}
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: %s: %s, want nothing", what, k, got[k])
			return
		}
	}
}

// importAll imports files into a new database, each as an agent of its own. late are those with packets out of order: these
// count in the second of their own time, but in the next report of their flow.
func importAll(t *testing.T, files []string, interval time.Duration) (d *db.DB, late []string) {
	t.Helper()
	d, err := db.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	catalogue := enrich.New()
	p := ingest.New(d, func(o *ingest.Options) { o.Enricher = catalogue })
	defer p.Close(context.Background())
	for i, file := range files {
		agent := fmt.Sprintf("%d-%s", i, filepath.Base(file))
		st, err := collector.Import(context.Background(), file, p, func(o *collector.ImportOptions) {
			o.Agent, o.Tags, o.Flow.ReportInterval = agent, catalogue, interval
		})
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if st.Flow.LateSeconds > 0 {
			late = append(late, agent)
		}
	}
	return d, late
}

// randomCapture is a capture of three minutes of connections with requests, look-ups and failures.
func randomCapture(t *testing.T, seed uint64) string {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 7))
	type frame struct {
		at   int64
		data []byte
	}
	var frames []frame
	for i := range 300 {
		c := &cable{client: uint32(0x0a000000 + rnd.IntN(20)), server: []uint32{0x0a000102, 0x0a000103, 0x08080808}[rnd.IntN(3)], port: uint16(20000 + i)}
		at := rnd.Int64N(180e9)
		say := func(d []byte) {
			frames = append(frames, frame{at, d})
			at += 1000 * (1 + rnd.Int64N(300_000))
			if rnd.IntN(12) == 0 {
				at += rnd.Int64N(40e9) / 1000 * 1000
			}
		}
		if rnd.IntN(4) == 0 { // a look-up, perhaps without an answer
			q := []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x07example\x00\x00\x01\x00\x01")
			say(c.udp(true, 53, q))
			if rnd.IntN(4) > 0 {
				q[2], q[3] = 0x81, byte(0x80+3*rnd.IntN(2))
				say(c.udp(false, 53, q))
			}
			continue
		}
		say(c.tcp(true, 0x02, nil))
		if rnd.IntN(10) == 0 {
			say(c.tcp(false, 0x14, nil))
			continue
		}
		say(c.tcp(false, 0x12, nil))
		say(c.tcp(true, 0x10, nil))
		for range rnd.IntN(12) {
			say(c.tcp(true, 0x18, fmt.Appendf(nil, "GET /item/%d HTTP/1.1\r\nHost: shop\r\n\r\n", rnd.IntN(3))))
			if rnd.IntN(6) == 0 {
				continue
			}
			say(c.tcp(true, 0x10, nil)) // nothing new: a pure ACK of the client
			say(c.tcp(false, 0x18, []byte([]string{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
				"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"}[rnd.IntN(3)])))
		}
		switch rnd.IntN(3) {
		case 0:
			say(c.tcp(true, 0x11, nil))
			say(c.tcp(false, 0x11, nil))
			say(c.tcp(true, 0x10, nil))
		case 1:
			say(c.tcp(rnd.IntN(2) == 0, 0x14, nil))
		}
	}
	slices.SortStableFunc(frames, func(a, b frame) int { return int(a.at/1000 - b.at/1000) })
	le := binary.LittleEndian
	out := le.AppendUint32(nil, 0xa1b2c3d4)
	out = append(out, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	for _, f := range frames {
		at := 1_700_000_010e9 + f.at
		out = le.AppendUint32(out, uint32(at/1e9))
		out = le.AppendUint32(out, uint32(at%1e9/1000))
		out = le.AppendUint32(out, uint32(len(f.data)))
		out = le.AppendUint32(out, uint32(len(f.data)))
		out = append(out, f.data...)
	}
	name := filepath.Join(t.TempDir(), "random.pcap")
	if err := os.WriteFile(name, out, 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

// cable makes the frames of a connection.
type cable struct {
	client, server uint32
	port           uint16
	seq            [2]uint32 // of client and server
}

func (c *cable) ip(fromClient bool, proto byte, serverPort uint16, rest []byte) []byte {
	be := binary.BigEndian
	f := []byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0}
	f = be.AppendUint16(f, uint16(24+len(rest)))
	f = append(f, 0, 0, 0, 0, 64, proto, 0, 0)
	src, dst, sp, dp := c.client, c.server, c.port, serverPort
	if !fromClient {
		src, dst, sp, dp = dst, src, dp, sp
	}
	f = be.AppendUint32(be.AppendUint32(f, src), dst)
	return append(be.AppendUint16(be.AppendUint16(f, sp), dp), rest...)
}

func (c *cable) udp(fromClient bool, serverPort uint16, data []byte) []byte {
	rest := binary.BigEndian.AppendUint16(nil, uint16(8+len(data)))
	return c.ip(fromClient, 17, serverPort, append(append(rest, 0, 0), data...))
}

func (c *cable) tcp(fromClient bool, flags byte, data []byte) []byte {
	be := binary.BigEndian
	me := 1
	if fromClient {
		me = 0
	}
	rest := be.AppendUint32(be.AppendUint32(nil, c.seq[me]), c.seq[1-me])
	rest = append(rest, 0x50, flags, 4, 0, 0, 0, 0, 0)
	c.seq[me] += uint32(len(data))
	if flags&3 != 0 {
		c.seq[me]++
	}
	return c.ip(fromClient, 6, 80, append(rest, data...))
}
