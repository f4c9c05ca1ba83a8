package flow

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
)

// corpusDir is where the reference captures lie: beside the repository, or where FLOWLAKE_CORPUS says.
func corpusDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("FLOWLAKE_CORPUS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "corpus")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("the reference captures are not here (%v); FLOWLAKE_CORPUS names their folder", err)
	}
	return dir
}

// readPcap decodes all packets of a capture; each owns its payload.
func readPcap(t testing.TB, path string) []packet.Packet {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	d := packet.NewDecoder()
	var all []packet.Packet
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		p := packet.Packet{TimeNanos: ci.Timestamp.UnixNano()}
		if err := d.Decode(&p, data, ci.Length, packet.LinkType(r.LinkType())); err != nil {
			t.Logf("%s: packet %d: %v", path, len(all)+1, err)
			continue
		}
		all = append(all, p)
	}
}

// recorder keeps all that a Table reports.
type recorder struct {
	reports   []Report
	exchanges []l7.Exchange
}

func (r *recorder) Flow(rep *Report)                 { r.reports = append(r.reports, *rep) }
func (r *recorder) Exchange(f *Flow, e *l7.Exchange) { r.exchanges = append(r.exchanges, *e) }

// runOut feeds packets to a new Table and lets the flows time out.
func runOut(o Options, packets []packet.Packet) (*recorder, *Table) {
	r := &recorder{}
	t := New(o, r)
	for i := range packets {
		t.Packet(&packets[i])
	}
	t.Tick(t.now + 301*second)
	return r, t
}

// run feeds packets to a new Table and flushes it.
func run(o Options, packets []packet.Packet) (*recorder, *Table) {
	r := &recorder{}
	t := New(o, r)
	for i := range packets {
		t.Packet(&packets[i])
	}
	t.Flush(t.now)
	return r, t
}

// perfFields renders a perf like the expectation files do, one field per entry. What is not kept beyond a report's needs
// (repeated handshake packets by side) the caller has counted.
func perfFields(p *perf, handshakeRetrans [2]uint32) map[string]string {
	m := map[string]string{}
	num := func(name string, n uint32) { m[name] = strconv.Itoa(int(n)) }
	stat := func(name string, s timeStat) {
		num(name+".count", s.count)
		m[name+".sum"] = (time.Duration(s.sum) * time.Microsecond).String()
		m[name+".max"] = (time.Duration(s.max) * time.Microsecond).String()
		m[name+".updated"] = strconv.FormatBool(s.count > 0)
	}
	var rttClient timeStat
	if p.rttClient > 0 {
		rttClient.addNanos(int64(p.rttClient-1) * 1000)
	}
	stat("rtt_0", rttClient)
	stat("rtt_1", p.rttServer)
	stat("art_0", p.art[0])
	stat("art_1", p.art[1])
	stat("srt_0", p.srt[0])
	stat("srt_1", p.srt[1])
	stat("cit", p.cit)
	m["rtt_full"] = (time.Duration(max(p.rtt, 1)-1) * time.Microsecond).String()
	num("retrans_sum", p.retrans[0]+p.retrans[1])
	for i := range 2 {
		s := strconv.Itoa(i)
		num("retrans_"+s, p.retrans[i])
		num("retrans_syn_"+s, handshakeRetrans[i])
		num("zero_win_count_"+s, p.zeroWindow[i])
		num("ooo_"+s, p.outOfOrder[i])
		m["psh_urg_count_"+s] = "0" // not in any table
	}
	num("syn", p.syn)
	num("synack", p.synACK)
	num("retrans_syn", p.retransSYN)
	num("retrans_synack", p.retransSA)
	num("fin_count", p.fin)
	empty := *p
	empty.resetInterval()
	m["updated"] = strconv.FormatBool(empty != *p)
	return m
}

var (
	reField  = regexp.MustCompile(`^\s+(\w+): (.*),$`)
	reNested = regexp.MustCompile(`^\s+(\w+): TimeStats \{$`)
)

// parseDump reads consecutive Debug dumps of PerfData.
func parseDump(t *testing.T, path string) []map[string]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]string
	var cur map[string]string
	prefix := ""
	for _, l := range strings.Split(string(b), "\n") {
		switch {
		case strings.HasSuffix(l, "PerfData {"):
			cur = map[string]string{}
		case l == "}":
			all = append(all, cur)
		case strings.TrimSpace(l) == "},":
			prefix = ""
		case reNested.MatchString(l):
			prefix = reNested.FindStringSubmatch(l)[1] + "."
		case reField.MatchString(l):
			m := reField.FindStringSubmatch(l)
			cur[prefix+m[1]] = m[2]
		}
	}
	return all
}

// TestCorpusPerf compares every field after every packet with DeepFlow's own expectations.
func TestCorpusPerf(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(corpusDir(t), "l4", "*.result"))
	compared := 0
	for _, result := range files {
		name := strings.TrimSuffix(filepath.Base(result), ".result")
		if strings.HasPrefix(name, "udp") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			want := parseDump(t, result)
			packets := readPcap(t, strings.TrimSuffix(result, "result")+"pcap")
			if len(want) != len(packets) || len(want) == 0 {
				t.Fatalf("%d dumps for %d packets", len(want), len(packets))
			}
			var p perf
			var handshakeRetrans [2]uint32
			pool := &rangePool{max: 16}
			for i := range packets {
				dir := 0
				if packets[i].Src != packets[0].Src {
					dir = 1
				}
				before := p.retransSYN + p.retransSA
				p.tcp(pool, &packets[i], dir)
				handshakeRetrans[dir] += p.retransSYN + p.retransSA - before
				got := perfFields(&p, handshakeRetrans)
				for k, v := range want[i] {
					compared++
					if g, ok := got[k]; !ok || normal(g) != normal(v) {
						t.Errorf("packet %d: %s is %q, want %q", i+1, k, g, v)
					}
				}
			}
		})
	}
	t.Logf("%d fields compared", compared)
	if compared < 3000 {
		t.Errorf("only %d fields compared", compared)
	}
}

// normal makes durations comparable: "10.226ms" is 10226000.
func normal(s string) string {
	if d, err := time.ParseDuration(s); err == nil {
		return strconv.FormatInt(int64(d), 10)
	}
	return s
}

// statsFields renders what a report says like the exported TcpPerfStats.
func statsFields(f *Flow, r *Report) map[string]int64 {
	rttClient := max(r.RTTClientMicros, 0)
	count := int64(0)
	if r.RTTClientMicros >= 0 {
		count = 1
	}
	m := map[string]int64{
		"rtt": max(r.RTTMicros, 0), "rtt_client_max": rttClient, "rtt_client_sum": rttClient, "rtt_client_count": count,
		"syn_count": int64(r.SYNCount), "synack_count": int64(r.SYNACKCount), "fin_count": int64(r.FINCount),
		"retrans_syn_count": int64(r.RetransSYN), "retrans_synack_count": int64(r.RetransSYNACK),
		"total_retrans_count": int64(r.RetransTx + r.RetransRx),
		"0.retrans_count":     int64(r.RetransTx), "1.retrans_count": int64(r.RetransRx),
		"0.zero_win_count": int64(r.ZeroWindowTx), "1.zero_win_count": int64(r.ZeroWindowRx),
		"0.ooo_count": int64(r.OutOfOrderTx), "1.ooo_count": int64(r.OutOfOrderRx),
	}
	for name, d := range map[string]Delays{"rtt_server": r.RTTServer, "srt": r.SRT, "art": r.ART, "cit": r.CIT} {
		m[name+"_sum"], m[name+"_count"], m[name+"_max"] = int64(d.SumMicros), int64(d.Count), int64(d.MaxMicros)
	}
	return m
}

// parseStats reads consecutive Debug dumps of TcpPerfStats.
func parseStats(t *testing.T, path string) []map[string]int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var all []map[string]int64
	var cur map[string]int64
	prefix, peer := "", 0
	for _, l := range strings.Split(string(b), "\n") {
		switch {
		case l == "TcpPerfStats {":
			cur, peer = map[string]int64{}, 0
		case l == "}":
			all = append(all, cur)
		case strings.HasSuffix(l, "TcpPerfCountsPeer {"):
			prefix = strconv.Itoa(peer) + "."
			peer++
		case strings.TrimSpace(l) == "},":
			prefix = ""
		case reField.MatchString(l):
			m := reField.FindStringSubmatch(l)
			n, err := strconv.ParseInt(m[2], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			cur[prefix+m[1]] = n
		}
	}
	return all
}

// TestCorpusReport replays what DeepFlow's test does to get its exported statistics: reports in the middle, a reversed
// flow, packets left out, and the capture once more a minute later.
func TestCorpusReport(t *testing.T) {
	const name = "art-continues-payload-len-larger-than-1"
	dir := filepath.Join(corpusDir(t), "l4")
	want := parseStats(t, filepath.Join(dir, name+".report"))
	var got []map[string]int64
	for _, c := range []struct {
		reportAfter int // packets, 0 for none
		reversed    bool
		skip        int // number of a packet that is left out, 0 for none
		twice       int // packets that were seen a minute before
	}{
		{}, {reversed: true}, {reportAfter: 3}, {reportAfter: 2}, {reportAfter: 3, skip: 1}, {reportAfter: 2, skip: 3},
		{twice: 3}, {skip: 3, twice: 3},
	} {
		packets := readPcap(t, filepath.Join(dir, name+".pcap"))
		f := &Flow{}
		pool := &rangePool{max: 16}
		report := func() {
			if c.reversed {
				f.perf.reverse()
			}
			var r Report
			f.report(&r, 0, CloseForcedReport)
			got = append(got, statsFields(f, &r))
		}
		enter := func(p *packet.Packet) {
			dir := 0
			if p.Src != packets[0].Src {
				dir = 1
			}
			f.perf.tcp(pool, p, dir)
		}
		for i := range c.twice {
			enter(&packets[i])
		}
		if c.twice > 0 {
			report()
		}
		for i := range packets {
			packets[i].TimeNanos += int64(time.Minute)
			if i+1 == c.skip {
				continue
			}
			enter(&packets[i])
			if i+1 == c.reportAfter {
				report()
			}
		}
		report()
	}
	if len(got) != len(want) {
		t.Fatalf("%d reports, want %d", len(got), len(want))
	}
	for i := range want {
		for k, v := range want[i] {
			if g, ok := got[i][k]; !ok || g != v {
				t.Errorf("report %d: %s is %d, want %d", i+1, k, g, v)
			}
		}
	}
}

// TestCorpusUDP compares art with DeepFlow's expectations after every packet.
func TestCorpusUDP(t *testing.T) {
	dir := filepath.Join(corpusDir(t), "l4")
	b, err := os.ReadFile(filepath.Join(dir, "udp_normal.result"))
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`art_max: (\S+), art_sum: (\S+), art_count: (\d+), last_pkt_direction: (\w+)`).
		FindAllStringSubmatch(string(b), -1)
	packets := readPcap(t, filepath.Join(dir, "udp_normal.pcap"))
	if len(want) != len(packets) {
		t.Fatalf("%d dumps for %d packets", len(want), len(packets))
	}
	var p perf
	for i := range packets {
		dir := 0
		if packets[i].Src != packets[0].Src {
			dir = 1
		}
		p.datagram(&packets[i], dir)
		s := p.art[1]
		got := fmt.Sprintf("%d %d %d %s", int64(s.max)*1000, int64(s.sum)*1000, s.count,
			[]string{"ClientToServer", "ServerToClient"}[dir])
		if exp := fmt.Sprint(normal(want[i][1]), " ", normal(want[i][2]), " ", want[i][3], " ", want[i][4]); got != exp {
			t.Errorf("packet %d: %s, want %s", i+1, got, exp)
		}
	}
}

// TestCorpusCloseTypes runs whole captures through a Table.
func TestCorpusCloseTypes(t *testing.T) {
	dir := filepath.Join(corpusDir(t), "l4")
	for name, want := range map[string]CloseType{
		"tcp-one-syn":        CloseServerSYNMiss,
		"syn-1":              CloseClientPortReuse,
		"server-reset":       CloseServerDirectRST,
		"client-no-response": CloseServerEstablishRST,
		"http":               CloseNormal,
		"syn-retrans":        CloseNormal,
		"out-of-order":       CloseNormal,
		"rtt-rtt-2":          CloseNormal,
		"handshake-error":    CloseServerHalfClose,
		"xiangdao-retrans":   CloseTransferTimeout,
		"tcp-segment":        CloseTransferTimeout,
		"ip-fragment":        CloseNormal,
		"udp_normal":         CloseNormal,
		"art-continues-payload-len-larger-than-1": CloseNormal,
	} {
		packets := readPcap(t, filepath.Join(dir, name+".pcap"))
		r, table := runOut(Options{}, packets)
		if len(r.reports) == 0 || table.Metrics().Created != 1 {
			t.Errorf("%s: %d reports, %d flows", name, len(r.reports), table.Metrics().Created)
			continue
		}
		if got := last(t, r).CloseType; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		// At the end of the file nobody knows whether an open connection would have gone on.
		if want == CloseTransferTimeout {
			want = CloseForcedReport
		}
		r, _ = run(Options{}, packets)
		if got := last(t, r).CloseType; got != want {
			t.Errorf("%s, flushed: %v, want %v", name, got, want)
		}
	}
}

// TestCorpusTwice: every capture gives the same rows whether it is read at once or with the clock ticking in between, and
// all its packets are in them.
func TestCorpusTwice(t *testing.T) {
	dir := corpusDir(t)
	var files []string
	for _, sub := range []string{"l4", "tunnel", "l7/http", "l7/dns"} {
		m, _ := filepath.Glob(filepath.Join(dir, sub, "*.pcap"))
		files = append(files, m...)
	}
	for _, file := range files {
		packets := readPcap(t, file)
		want, table := run(Options{}, packets)
		got := &recorder{}
		slow := New(Options{}, got)
		for i := range packets {
			slow.Packet(&packets[i])
			slow.Tick(packets[i].TimeNanos)
			slow.Tick(packets[i].TimeNanos + 1)
		}
		slow.Flush(slow.now)
		if table.m.IgnoredLate+slow.m.IgnoredLate == 0 && table.m.UnmeasuredLate == 0 {
			for i := range min(len(got.reports), len(want.reports)) { // the last tick was a nanosecond later
				got.reports[i].TimeNanos = min(got.reports[i].TimeNanos, want.reports[i].TimeNanos)
			}
			compareReports(t, got.reports, want.reports)
		}
		var n uint64
		tunnels := false
		for i := range want.reports {
			r := &want.reports[i]
			n += r.PacketsTx + r.PacketsRx
			tunnels = tunnels || r.TunnelType != packet.TunnelNone && r.TunnelTier > 0
		}
		if tunnels != (filepath.Base(filepath.Dir(file)) == "tunnel") {
			t.Errorf("%s: flows in tunnels: %v", file, tunnels)
		}
		if m := table.Metrics(); n+m.IgnoredLate+m.IgnoredFragment+m.IgnoredTime != uint64(len(packets)) {
			t.Errorf("%s: %d packets of %d reported, %+v", file, n, len(packets), m)
		}
	}
}
