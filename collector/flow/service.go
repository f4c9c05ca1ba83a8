package flow

import "github.com/flowlake/flowlake/collector/packet"

// Direction scores: how sure it is that an endpoint is a server. See DeepFlow's agent/src/flow_generator/service_table.rs.
const (
	scoreClient     = 0
	scoreHistoryMax = 252 // what the history of first packets can reach
	scoreConfigured = 253 // Options.ServerPorts
	scoreL7         = 254 // a request went there
	scoreSYNACK     = 255 // it sent a SYN-ACK (or an ICMP echo reply)
	scoreMargin     = 8   // with less difference the port numbers decide
	ephemeralPort   = 1 << 15
)

type service struct {
	addr packet.Addr
	port uint16
}

// serviceTable remembers which endpoints have behaved like servers.
type serviceTable struct {
	scores     *lru[service, uint8]
	configured *[1 << 16 / 64]uint64 // bitmap of ports, nil for none
}

func newServiceTable(o *Options) serviceTable {
	t := serviceTable{scores: newLRU[service, uint8](o.ServiceTableSize)}
	if len(o.ServerPorts) > 0 {
		t.configured = new([1 << 16 / 64]uint64)
		for _, p := range o.ServerPorts {
			t.configured[p>>6] |= 1 << (p & 63)
		}
	}
	return t
}

// score is what is known of s; a configured port outdoes history.
func (t *serviceTable) score(s service) uint8 {
	v, _ := t.scores.get(s)
	if t.configured != nil && t.configured[s.port>>6]>>(s.port&63)&1 != 0 {
		v = max(v, scoreConfigured)
	}
	return v
}

// syn scores a SYN: its sender is a client.
func (t *serviceTable) syn(src, dst service, first bool) (srcScore, dstScore uint8) {
	t.scores.drop(src)
	d := t.score(dst)
	if first && d < scoreHistoryMax {
		d++
		t.scores.put(dst, d)
	}
	return scoreClient, d
}

// certain notes that server has shown itself as such, by v, and that client is none.
func (t *serviceTable) certain(server, client service, v uint8) {
	if old, ok := t.scores.get(server); !ok || old < v {
		t.scores.put(server, v)
	}
	t.scores.drop(client)
}

// first scores the first packet of a flow when nothing in it tells who asks: it is more often the client that begins.
func (t *serviceTable) first(src, dst service) (srcScore, dstScore uint8) {
	s, d := t.score(src), t.score(dst)
	if s == scoreSYNACK || d == scoreSYNACK {
		return s, d
	}
	switch {
	case s == 0 || s > scoreHistoryMax:
	case s == 1:
		s = 0
		t.scores.drop(src)
	default:
		s--
		t.scores.put(src, s)
	}
	if d < scoreHistoryMax {
		d++
		t.scores.put(dst, d)
	}
	return byPort(src.port, dst.port, s, d)
}

// byPort lets the lower port win where the scores are close and exactly one port is ephemeral.
func byPort(srcPort, dstPort uint16, s, d uint8) (uint8, uint8) {
	if max(s, d)-min(s, d) >= scoreMargin || (srcPort^dstPort)&ephemeralPort == 0 {
		return s, d
	}
	if srcPort&ephemeralPort != 0 {
		return 0, 1
	}
	return 1, 0
}
