package flow

import (
	"github.com/flowlake/flowlake/collector/l7"
	"github.com/flowlake/flowlake/collector/packet"
)

// Delays sums up the samples of one kind of delay, in microseconds. Count 0 means that there is nothing to tell.
type Delays struct {
	SumMicros uint64
	Count     uint64
	MaxMicros uint32
}

func (s timeStat) delays() Delays { return Delays{s.sum, uint64(s.count), s.max} }

// mean is the average, -1 without samples.
func (s timeStat) mean() int64 {
	if s.count == 0 {
		return -1
	}
	return int64(s.sum / uint64(s.count))
}

// Report is what a row of the table flows says about a flow, without what the agent adds (tags, processes, its own name).
// Counters are of the time since the flow's last report, or since its start. Tx is client to server, Rx server to client.
type Report struct {
	// TimeNanos is the moment the report is for: the last nanosecond of the report interval for an open flow, the moment
	// of the end (time-out included) for one that ended.
	TimeNanos int64
	// StartNanos and EndNanos are the times of the first and the newest packet of the flow.
	StartNanos, EndNanos int64
	FlowID               uint64
	CloseType            CloseType
	Status               Status
	IsNew                bool // the flow's first report

	IPv6                   bool
	Client, Server         packet.Addr
	ClientPort, ServerPort uint16 // 0 for protocols without ports
	Proto                  uint8
	L7Protocol             l7.Protocol
	L7Reversed             bool // requests go from Server to Client
	VLAN                   uint16
	TunnelType             packet.TunnelType
	TunnelTier             uint8
	TunnelID               uint32
	ClientMAC, ServerMAC   [6]byte
	Interface              uint32 // of the first packet, 0 if unknown
	DirectionScore         uint8  // 0 to 255: how sure it is which side is the server

	PacketsTx, PacketsRx           uint64
	BytesTx, BytesRx               uint64 // of frames, from the (inner) Ethernet header on
	PayloadBytesTx, PayloadBytesRx uint64 // of the transport's payload

	TCPFlagsTx, TCPFlagsRx       uint16 // all flags seen, ORed
	SYNCount, SYNACKCount        uint32
	FINCount                     uint32
	RetransSYN, RetransSYNACK    uint32
	RetransTx, RetransRx         uint32 // repeated data segments, SYN and SYN-ACK
	OutOfOrderTx, OutOfOrderRx   uint32
	ZeroWindowTx, ZeroWindowRx   uint32
	RTTMicros                    int64 // of the handshake; -1: not measured since the last report
	RTTClientMicros              int64 // its client's half; -1 as above
	RTTServerMicros              int64 // its server's half, averaged; -1 as above
	RTTServer                    Delays
	SRT, ART, CIT                Delays
	TLSRTTMicros                 int64 // ClientHello to the end of the TLS handshake; -1 as above
	L7Requests, L7Responses      uint32
	L7ClientErrors, L7ServerErrs uint32
	L7Timeouts                   uint32
	RRT                          Delays
}

// report fills r and starts a new interval.
func (f *Flow) report(r *Report, atNanos int64, c CloseType) {
	n := &f.perf.counts
	client, server := &f.perf.peers[0], &f.perf.peers[1]
	*r = Report{
		TimeNanos: atNanos, StartNanos: f.start, EndNanos: f.last, FlowID: f.id,
		CloseType: c, Status: c.Status(), IsNew: !f.has(flagReported),

		IPv6: f.has(flagIPv6), Proto: f.key.proto, L7Protocol: f.l7proto, L7Reversed: f.has(flagL7Reversed),
		VLAN: f.vlan, TunnelType: f.key.tunnel, TunnelTier: f.tier, TunnelID: f.key.tunnelID,
		ClientMAC: f.mac[0], ServerMAC: f.mac[1], Interface: f.iface, DirectionScore: f.score,

		PacketsTx: uint64(n.packets[0]), PacketsRx: uint64(n.packets[1]), BytesTx: n.bytes[0], BytesRx: n.bytes[1],
		PayloadBytesTx: n.payload[0], PayloadBytesRx: n.payload[1],

		TCPFlagsTx: client.flagsSeen, TCPFlagsRx: server.flagsSeen,
		SYNCount: n.syn, SYNACKCount: n.synACK, FINCount: n.fin, RetransSYN: n.retransSYN, RetransSYNACK: n.retransSA,
		RetransTx: n.retrans[0], RetransRx: n.retrans[1], OutOfOrderTx: n.outOfOrder[0], OutOfOrderRx: n.outOfOrder[1],
		ZeroWindowTx: n.zeroWindow[0], ZeroWindowRx: n.zeroWindow[1],
		RTTMicros: int64(n.rtt) - 1, RTTClientMicros: int64(n.rttClient) - 1, RTTServerMicros: n.rttServer.mean(),
		RTTServer: n.rttServer.delays(),
		SRT:       n.srt[1].delays(), ART: n.art[1].delays(), CIT: n.cit.delays(), TLSRTTMicros: -1,
		L7Requests: n.requests, L7Responses: n.responses, L7ClientErrors: n.clientErrors, L7ServerErrs: n.serverErrors,
		L7Timeouts: n.timeouts, RRT: n.rrt.delays(),
	}
	r.Client, r.ClientPort = f.Client()
	r.Server, r.ServerPort = f.Server()
	if f.tls.micros != 0 {
		r.TLSRTTMicros = int64(f.tls.micros)
	}
	f.flags = f.flags&^flagCounted | flagReported
	f.tls.micros = 0
	f.perf.resetInterval()
}
