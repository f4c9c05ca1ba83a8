package l7

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// corpusProtocols says which protocol the captures of a folder of the corpus are of, where it is not the folder's name.
var corpusProtocols = map[string]Protocol{
	"postgre": PostgreSQL, "mongo": MongoDB, "some_ip": SomeIP,
}

// ownProtocols says which protocol our own captures are of, where it is not the file's name.
var ownProtocols = map[string]Protocol{"http1": HTTP, "grpc": HTTP2, "websocket": HTTP, "bolt": SofaRPC}

// captures are our own files, and those of the corpus where that is there, with the protocol that is in them.
func captures(t *testing.T) map[string]Protocol {
	t.Helper()
	all := map[string]Protocol{}
	own, err := filepath.Glob(filepath.Join("testdata", "captures", "*.pcap"))
	if err != nil || len(own) == 0 {
		t.Fatal("no captures", err)
	}
	for _, f := range own {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		p, ok := ownProtocols[name]
		if !ok {
			p, ok = ProtocolNamed(name)
		}
		if !ok {
			t.Fatalf("%s: no protocol is called %s", f, name)
		}
		all[f] = p
	}
	files, err := filepath.Glob(filepath.Join(corpusPath(), "l7", "*", "*.pcap"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		folder := filepath.Base(filepath.Dir(f))
		p, ok := corpusProtocols[folder]
		if !ok {
			p, ok = ProtocolNamed(folder)
		}
		if !ok {
			t.Fatalf("%s: no protocol is called %s", f, folder)
		}
		all[f] = p
	}
	return all
}

// TestCorpusIdentified: with all protocols looked for, each capture is taken for what it is, or for nothing.
func TestCorpusIdentified(t *testing.T) {
	for f, want := range captures(t) {
		rec, _ := replay(t, f, Options{}, false)
		for _, line := range rec.lines {
			name, ok := strings.CutPrefix(line, "identified ")
			if !ok {
				continue
			}
			name, _, _ = strings.Cut(name, " ")
			got, _ := ProtocolNamed(name)
			if got != want && protocols[got].family != want && !(want == HTTP && (got == HTTP2 || got == GRPC)) && !upgraded(f, got) {
				t.Errorf("%s/%s: taken for %s", filepath.Base(filepath.Dir(f)), filepath.Base(f), name)
			}
		}
	}
}

// upgraded says that a capture of ours holds another protocol, too: an upgrade, and one that is refused.
func upgraded(file string, got Protocol) bool {
	switch filepath.Base(file) {
	case "websocket.pcap":
		return got == WebSocket
	case "http2.pcap":
		return got == HTTP
	}
	return false
}

// TestCorpusBroken plays each capture cut, reordered, doubled, with holes, from the middle and from one side only: no panic,
// and no request gets another's response.
func TestCorpusBroken(t *testing.T) {
	for f := range captures(t) {
		all := payloads(t, f)
		whole, _ := playPayloads(all, Options{}, false)
		for name, broken := range variants(all) {
			rec, m := playPayloads(broken, Options{}, false)
			if bad := wrongPairs(whole.exchanges, rec.exchanges); bad != "" {
				t.Errorf("%s/%s, %s: %s", filepath.Base(filepath.Dir(f)), filepath.Base(f), name, bad)
			}
			if n, most := len(rec.exchanges), 2*len(whole.exchanges)+2; n > most {
				t.Errorf("%s, %s: %d exchanges, %d in the whole capture", f, name, n, len(whole.exchanges))
			}
			if m.Buffered != 0 || m.Pending != 0 || m.PendingBytes != 0 || m.Conns != 0 {
				t.Errorf("%s, %s: left behind %+v", f, name, m)
			}
		}
	}
}

// wrongPairs describes the first session of got that is not one of want; "" when all are. Where the beginning of a message is lost,
// a message of got may begin within one of want: both numbers have to lie in messages that belong together. Where requests carry an
// id, the same request with the same id is enough: parts of several answers may come in turns.
func wrongPairs(want, got []Exchange) string {
	w := pairing{byID: map[[2]int64]bool{}, partner: map[uint32]uint32{}, kinds: map[uint32][]string{}, times: map[[2]int64][]string{}}
	for i := range want {
		if e := &want[i]; e.Kind != KindResponse {
			w.requests = append(w.requests, e.RequestSeq)
		}
		if e := &want[i]; e.Kind != KindRequest {
			w.responses = append(w.responses, e.ResponseSeq)
		}
		if e := &want[i]; e.Kind == KindSession {
			w.add(e)
		}
	}
	slices.Sort(w.requests)
	slices.Sort(w.responses)
	for i := range got {
		if e := &got[i]; e.Kind == KindSession && !w.has(e) {
			return fmt.Sprintf("wrong pair %s (seq %d, %d)", brief(e), e.RequestSeq, e.ResponseSeq)
		}
	}
	return ""
}

// pairing is which requests and responses belong together.
type pairing struct {
	requests, responses []uint32            // where messages begin, sorted
	partner             map[uint32]uint32   // by request
	kinds               map[uint32][]string // the types of request, by request
	byID                map[[2]int64]bool   // request and id
	times               map[[2]int64][]string
}

func (w *pairing) add(e *Exchange) {
	if isDatagram(e) {
		k := [2]int64{e.StartNanos, e.EndNanos}
		w.times[k] = append(w.times[k], e.RequestType)
		return
	}
	w.partner[e.RequestSeq] = e.ResponseSeq
	w.kinds[e.RequestSeq] = append(w.kinds[e.RequestSeq], e.RequestType)
	if e.RequestID >= 0 {
		w.byID[[2]int64{int64(e.RequestSeq), e.RequestID}] = true
	}
}

func (w *pairing) has(e *Exchange) bool {
	cut := func(kind string) bool { return strings.HasPrefix(kind, e.RequestType) }
	if isDatagram(e) {
		return slices.ContainsFunc(w.times[[2]int64{e.StartNanos, e.EndNanos}], cut)
	}
	request := within(w.requests, e.RequestSeq)
	if !slices.ContainsFunc(w.kinds[request], cut) {
		return false
	}
	return w.partner[request] == within(w.responses, e.ResponseSeq) || e.RequestID >= 0 && w.byID[[2]int64{int64(request), e.RequestID}]
}

// isDatagram says that an exchange has no sequence numbers.
func isDatagram(e *Exchange) bool { return e.RequestSeq == 0 && e.ResponseSeq == 0 }

// within is where the message begins that seq lies in: the greatest start that is not beyond it.
func within(starts []uint32, seq uint32) uint32 {
	i, ok := slices.BinarySearch(starts, seq)
	if !ok && i > 0 {
		i--
	}
	if i == len(starts) {
		return 0
	}
	return starts[i]
}

// variants are what may become of a capture on its way.
func variants(all []captured) map[string][]captured {
	r := rand.New(rand.NewPCG(1, uint64(len(all))))
	v := map[string][]captured{}
	for _, snap := range []int{20, 60, 128, 300} {
		v[fmt.Sprintf("cut to %d", snap)] = each(all, func(p captured) []captured {
			p.payload = p.payload[:min(snap, len(p.payload))]
			return []captured{p}
		})
	}
	v["doubled"] = each(all, func(p captured) []captured { return []captured{p, p} })
	v["split"] = each(all, func(p captured) []captured {
		if p.transport != transportTCP || len(p.payload) < 2 {
			return []captured{p}
		}
		at := 1 + r.IntN(len(p.payload)-1)
		q := p
		p.payload, p.wire = p.payload[:at], at
		q.payload, q.seq, q.wire = q.payload[at:], q.seq+uint32(at), q.wire-at
		return []captured{p, q}
	})
	reordered := slices.Clone(all)
	for i := 0; i+1 < len(reordered); i += 2 {
		if a, b := &reordered[i], &reordered[i+1]; a.transport == transportTCP && a.side == b.side && a.conn == b.conn {
			a.atNanos, b.atNanos = b.atNanos, a.atNanos
			*a, *b = *b, *a
		}
	}
	v["reordered"] = reordered
	for i := range 6 {
		v[fmt.Sprintf("holes %d", i)] = each(all, func(p captured) []captured {
			if r.IntN(4) == 0 {
				return nil
			}
			return []captured{p}
		})
	}
	for _, from := range []int{1, 2, 3, len(all) / 2} {
		if from < len(all) {
			v[fmt.Sprintf("from %d", from)] = all[from:]
			v[fmt.Sprintf("until %d", from)] = all[:from]
		}
	}
	for _, side := range []Side{Client, Server} {
		v[fmt.Sprintf("side %d only", side)] = each(all, func(p captured) []captured {
			if p.side != side {
				return nil
			}
			return []captured{p}
		})
	}
	for i := range 4 {
		v[fmt.Sprintf("late %d", i)] = late(all, r)
	}
	return v
}

// late moves some payloads of a TCP connection a few places back.
func late(all []captured, r *rand.Rand) []captured {
	out := slices.Clone(all)
	for range 1 + len(out)/8 {
		i := r.IntN(len(out))
		for j := i; j+1 < len(out) && j < i+3; j++ {
			if out[j].transport != transportTCP || out[j].conn != out[j+1].conn || out[j].side != out[j+1].side {
				break
			}
			out[j], out[j+1] = out[j+1], out[j]
		}
	}
	return out
}

func each(all []captured, f func(captured) []captured) (out []captured) {
	for _, p := range all {
		out = append(out, f(p)...)
	}
	return out
}

// TestCorpusGarbled plays each capture with damaged bytes: no panic, nothing is left behind.
func TestCorpusGarbled(t *testing.T) {
	for f := range captures(t) {
		all := payloads(t, f)
		r := rand.New(rand.NewPCG(2, uint64(len(all))))
		for range 8 {
			garbled := each(all, func(p captured) []captured {
				p.payload = slices.Clone(p.payload)
				for range 1 + len(p.payload)/64 {
					p.payload[r.IntN(len(p.payload))] ^= 1 << r.IntN(8)
				}
				return []captured{p}
			})
			if _, m := playPayloads(garbled, Options{}, r.IntN(2) == 0); m.Buffered != 0 || m.Pending != 0 || m.PendingBytes != 0 || m.Conns != 0 {
				t.Errorf("%s: left behind %+v", f, m)
			}
		}
	}
}
