package l7

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packet"
)

// corpusPath is where the folder of the reference captures is, if it is there.
func corpusPath() string {
	if dir := os.Getenv("FLOWLAKE_CORPUS"); dir != "" {
		return dir
	}
	return filepath.Join("..", "..", "..", "shared", "corpus")
}

// corpusDir is the folder of the reference captures; the test is skipped without it.
func corpusDir(t *testing.T) string {
	t.Helper()
	dir := corpusPath()
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("no reference captures: %v", err)
	}
	return dir
}

// captured is one payload of a capture.
type captured struct {
	conn      int // which connection
	transport uint8
	ports     [2]uint16 // of who sent the connection's first payload, and of the other
	side      Side      // Client sent the connection's first payload
	atNanos   int64
	seq       uint32
	payload   []byte
	wire      int
	ack       uint32
}

// payloads reads the payloads of a capture of one or more connections.
func payloads(t testing.TB, file string) (all []captured) {
	t.Helper()
	src, err := capture.OpenFile(file)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	type end struct {
		addr packet.Addr
		port uint16
	}
	type key struct {
		transport uint8
		from, to  end
	}
	type connection struct {
		n     int
		side  Side
		ports [2]uint16
	}
	conns := map[key]connection{}
	var d packet.Decoder
	err = src.Run(t.Context(), func(b *capture.Batch) error {
		for i := range b.Frames {
			var p packet.Packet
			if b.Frames[i].Decode(&d, &p) != nil {
				continue
			}
			isReply := false // of a host that asks itself, which addresses do not tell
			switch p.Proto {
			case transportTCP, transportUDP:
			case transportICMP, transportICMPv6:
				const echoReply, echoReply6 = 0, 129
				kind := p.SrcPort >> 8
				isReply = p.Src == p.Dst && (kind == echoReply || kind == echoReply6)
				p.Payload, p.PayloadLen = p.AppendEcho(nil), p.PayloadLen+8
				p.SrcPort = p.DstPort // the id
			default:
				continue
			}
			if len(p.Payload) == 0 {
				continue
			}
			from, to := end{p.Src, p.SrcPort}, end{p.Dst, p.DstPort}
			c, ok := conns[key{p.Proto, from, to}]
			if !ok {
				c = connection{len(conns), Client, [2]uint16{p.SrcPort, p.DstPort}}
				conns[key{p.Proto, from, to}] = c
				conns[key{p.Proto, to, from}] = connection{c.n, Server, c.ports}
			}
			if p.Src == p.Dst && p.Proto != transportTCP && p.Proto != transportUDP {
				if c.side = Client; isReply {
					c.side = Server
				}
			}
			seq := p.Seq
			if p.Proto != transportTCP {
				seq = 0
			}
			all = append(all, captured{c.n, p.Proto, c.ports, c.side, p.TimeNanos, seq, bytes.Clone(p.Payload), int(p.PayloadLen), p.Ack})
		}
		return nil
	})
	if err != nil && !errors.Is(err, capture.ErrTruncated) {
		t.Fatal(err)
	}
	return all
}

// playPayloads hands payloads to a Tracker and returns what it said. A connection's client is the sender of its first payload, unless
// reversed.
func playPayloads(all []captured, o Options, reversed bool) (*recorder, Metrics) {
	rec := &recorder{}
	tr := NewTracker(o, rec)
	conns := map[int]*Conn{}
	var order []*Conn
	var last int64
	for _, p := range all {
		last = max(last, p.atNanos)
		c := conns[p.conn]
		if c == nil {
			c = tr.NewConn(p.transport, p.ports[0], p.ports[1])
			conns[p.conn] = c
			order = append(order, c)
		}
		side := p.side ^ Side(c.turn) // once the server is known to be the other end, the Conn has turned
		if reversed {
			side ^= 1
		}
		if p.transport == transportTCP {
			c.Ack(side, p.ack)
		}
		c.Payload(side, p.atNanos, p.seq, p.payload, p.wire)
	}
	for _, c := range order {
		c.Close(last)
	}
	return rec, tr.Metrics()
}

// replay plays a capture.
func replay(t testing.TB, file string, o Options, reversed bool) (*recorder, Metrics) {
	t.Helper()
	return playPayloads(payloads(t, file), o, reversed)
}

// dnsLine is a line of a DNS expectation.
type dnsLine struct {
	ID       int64  `json:"request_id"`
	Type     string `json:"request_type"`
	Resource string `json:"request_resource"`
	Result   string `json:"response_result"`
	Status   string `json:"response_status"`
	Code     *int64 `json:"response_code"`
	Message  string `json:"msg_type"`
	RRT      int64  `json:"rrt"`
}

func dnsLines(t *testing.T, file string) (lines []dnsLine) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		var l dnsLine
		if err := json.NewDecoder(strings.NewReader(line)).Decode(&l); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		lines = append(lines, l)
	}
	return lines
}

// checkDNS compares each request and response line with the exchange of its id.
func checkDNS(t *testing.T, rec *recorder, lines []dnsLine) {
	t.Helper()
	byID := map[int64]Exchange{}
	for _, e := range rec.exchanges {
		byID[e.RequestID] = e
	}
	for _, l := range lines {
		e := byID[l.ID]
		domain := ""
		if l.Type == "A" || l.Type == "AAAA" {
			domain = l.Resource
		}
		if e.Kind != KindSession || e.Protocol != DNS || e.RequestType != l.Type || e.RequestResource != l.Resource ||
			e.Endpoint != l.Resource || e.RequestDomain != domain {
			t.Errorf("request %+v:\n got %+v", l, e)
		}
		if l.Message == "Request" {
			continue
		}
		if e.ResponseResult != l.Result || e.ResponseCode != *l.Code || e.Status.String() != l.Status ||
			(e.EndNanos-e.StartNanos)/1000 != l.RRT {
			t.Errorf("response %+v:\n got %+v", l, e)
		}
	}
	if want := len(lines) / 2; len(rec.exchanges) != want {
		t.Errorf("%d exchanges, want %d", len(rec.exchanges), want)
	}
}

func TestCorpusDNS(t *testing.T) {
	dir := corpusDir(t)
	files, err := filepath.Glob(filepath.Join(dir, "l7", "dns", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no DNS captures", err)
	}
	// The expectations of nxdomain.pcap were made with cluster names declared harmless.
	o := Options{QuietNXDomain: []string{"svc.cluster.local"}}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			lines := dnsLines(t, strings.TrimSuffix(f, ".pcap")+".result")
			for _, reversed := range []bool{false, true} {
				rec, m := replay(t, f, o, reversed)
				checkDNS(t, rec, lines)
				if m.ParseFailures+m.WrongSide+m.Unpaired+m.Resyncs != 0 {
					t.Errorf("reversed %v: %+v", reversed, m)
				}
			}
		})
	}
}

// httpField finds a field of a HttpInfo line: name: value, with Some() and quotes taken off.
func httpField(line, name string) string {
	m := regexp.MustCompile(`\b` + name + `: (?:Some\()?"?([^,")]*)`).FindStringSubmatch(line)
	if m == nil || m[1] == "None" {
		return ""
	}
	return m[1]
}

func TestCorpusHTTP1(t *testing.T) {
	base := filepath.Join(corpusDir(t), "l7", "http", "istio-tcp-frag")
	text, err := os.ReadFile(base + ".result")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	for _, reversed := range []bool{false, true} {
		rec, _ := replay(t, base+".pcap", Options{}, reversed)
		if len(rec.exchanges) != 1 {
			t.Fatalf("reversed %v: %d exchanges, want 1", reversed, len(rec.exchanges))
		}
		e := rec.exchanges[0]
		req, rsp := lines[0], lines[1]
		for _, c := range []struct{ what, got, want string }{
			{"method", e.RequestType, strings.ToUpper(httpField(req, "method"))},
			{"path", e.RequestResource, httpField(req, "path")},
			{"host", e.RequestDomain, httpField(req, "host")},
			{"endpoint", e.Endpoint, httpField(req, "endpoint")},
			{"version", "V" + strings.ReplaceAll(e.Version, ".", "_"), httpField(req, "version")},
			{"code", fmt.Sprint(e.ResponseCode), httpField(rsp, "status_code")},
			{"status", e.Status.String(), strings.ToLower(httpField(rsp, "status"))},
			{"request bytes", fmt.Sprint(e.RequestBytes), httpField(req, "captured_request_byte")},
			// The expectations were made with the capture of these headers off; the values are those in the packets.
			{"trace id", e.TraceID, "744a02a3033b7d5960cd96456ba069a0"},
			{"span id", e.SpanID, "03df9f227df14072"},
			{"x-request-id", e.XRequestIDRequest, "46364834-4fb8-9692-a5d6-ab638447a787"},
			{"attributes", fmt.Sprint(e.Attributes), "[{user_agent curl/7.81.0-DEV}]"},
			{"rrt", fmt.Sprint(e.EndNanos - e.StartNanos), "167000"},
		} {
			if c.got != c.want {
				t.Errorf("reversed %v: %s %q, want %q", reversed, c.what, c.got, c.want)
			}
		}
	}
}

// TestCorpusOthers plays the captures of all other protocols: nothing in them may be taken for HTTP/1 or DNS.
func TestCorpusOthers(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "*", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, f := range files {
		if p := filepath.Base(filepath.Dir(f)); p == "dns" || p == "http" {
			continue
		}
		if rec, _ := replay(t, f, Options{Protocols: []Protocol{HTTP, DNS}}, false); len(rec.lines) != 0 {
			t.Errorf("%s: %q", f, rec.lines)
		}
	}
}

func TestCorpusL4HTTP(t *testing.T) {
	rec, m := replay(t, filepath.Join(corpusDir(t), "l4", "http.pcap"), Options{}, false)
	want := []string{
		"identified http server=1",
		"request @1652942696394695000",
		"response @1652942696394844000 ok rrt=149000",
		"exchange session GET 10.1.6.92/ > 200 ok",
	}
	if fmt.Sprint(rec.lines) != fmt.Sprint(want) {
		t.Errorf("got %q", rec.lines)
	}
	const head, body = 240, 4833
	if e := rec.exchanges[0]; e.ResponseBytes != head+body || e.RequestBytes != 73 || e.RequestSeq != 1407912178 || e.ResponseSeq != 1550768555 {
		t.Errorf("got %+v", e)
	}
	if m.Resyncs+m.ParseFailures+m.GapBytes != 0 {
		t.Errorf("metrics %+v", m)
	}
}
