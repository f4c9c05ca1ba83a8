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

// captures are the files of the corpus with the protocol that is in them.
func captures(t *testing.T) map[string]Protocol {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "*", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	all := map[string]Protocol{}
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
			if got != want && protocols[got].family != want && !(want == HTTP && (got == HTTP2 || got == GRPC)) {
				t.Errorf("%s/%s: taken for %s", filepath.Base(filepath.Dir(f)), filepath.Base(f), name)
			}
		}
	}
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

// wrongPairs describes the first session of got that is not one of want; "" when all are.
func wrongPairs(want, got []Exchange) string {
	type pair struct {
		protocol   Protocol
		rseq, aseq uint32
		start, end int64
	}
	key := func(e *Exchange) pair {
		k := pair{protocol: e.Protocol, rseq: e.RequestSeq, aseq: e.ResponseSeq}
		if f := protocols[e.Protocol].family; f != Unknown { // what tells gRPC may be cut off
			k.protocol = f
		}
		if e.RequestSeq == 0 && e.ResponseSeq == 0 { // datagrams go by time
			k.start, k.end = e.StartNanos, e.EndNanos
		}
		return k
	}
	pairs := map[pair][]string{} // the types of request
	for i := range want {
		if want[i].Kind == KindSession {
			pairs[key(&want[i])] = append(pairs[key(&want[i])], want[i].RequestType)
		}
	}
	for i := range got {
		cut := func(kind string) bool { return strings.HasPrefix(kind, got[i].RequestType) }
		if e := &got[i]; e.Kind == KindSession && !slices.ContainsFunc(pairs[key(e)], cut) {
			return fmt.Sprintf("wrong pair %s (seq %d, %d)", brief(e), e.RequestSeq, e.ResponseSeq)
		}
	}
	return ""
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
