package gen

import (
	"encoding/binary"
	"math/rand/v2"
)

// PacketOptions say what packets are made.
type PacketOptions struct {
	Seed uint64
	// Packets is about how many there are: conversations that have begun are finished.
	Packets int
	// Open is how many conversations are under way at a time.
	Open int
	// TLS makes all of them TLS.
	TLS bool
}

// Packets are frames as a network card sees them: each conversation from its beginning to its end, many at once.
type Packets struct {
	// Data holds the Ethernet frames one after the other; Ends is where each ends.
	Data []byte
	Ends []int
	// Conversations and Requests are what the packets are made of; Requests are those of HTTP/1 and DNS.
	Conversations, Requests int
}

// Len is the number of packets.
func (p *Packets) Len() int { return len(p.Ends) }

// At is the frame with number i.
func (p *Packets) At(i int) []byte {
	if i == 0 {
		return p.Data[:p.Ends[0]:p.Ends[0]]
	}
	return p.Data[p.Ends[i-1]:p.Ends[i]:p.Ends[i]]
}

// conversation makes the frames of one connection.
type conversation struct {
	client, server         uint32
	clientPort, serverPort uint16
	kind                   int
	step, rounds           int
	seq                    [2]uint32
}

// Kinds of conversation.
const (
	talkDNS  = iota // a look-up and its answer
	talkHTTP        // HTTP/1 requests over one connection
	talkTLS         // records that nobody can read
)

var (
	dnsQuery    = []byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04shop\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01")
	dnsAnswer   = append(append([]byte("\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00"), dnsQuery[12:]...), "\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x1e\x00\x04\x0a\x60\x00\x01"...)
	httpRequest = []byte("GET /api/v1/items/4711?page=2 HTTP/1.1\r\nHost: shop.svc.cluster.local\r\nUser-Agent: curl/8.5.0\r\nAccept: application/json\r\n" +
		"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n")
	httpHead   = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 06:00:00 GMT\r\nContent-Length: 3000\r\n\r\n")
	httpShort  = []byte("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: Mon, 23 Nov 2026 06:00:00 GMT\r\nContent-Length: 300\r\n\r\n")
	tlsRecord  = []byte{0x17, 3, 3, 5, 0xa3}
	segment    = 1448
	tcpFlagSYN = byte(2)
	tcpFlagPSH = byte(8)
	tcpFlagACK = byte(16)
	tcpFlagFIN = byte(1)
)

// NewPackets makes packets: of three conversations one is a look-up, one HTTP/1 with up to eight requests whose responses
// take three segments, one TLS records of up to twelve exchanges. Equal options give equal packets.
func NewPackets(o PacketOptions) *Packets {
	rnd := rand.New(rand.NewPCG(o.Seed, 4))
	p := &Packets{Data: make([]byte, 0, o.Packets*768), Ends: make([]int, 0, o.Packets*3/2)}
	open := make([]*conversation, 0, o.Open)
	for p.Len() < o.Packets || len(open) > 0 {
		if p.Len() < o.Packets && len(open) < o.Open {
			c := newConversation(rnd, p.Conversations)
			if o.TLS {
				c.begin(rnd, talkTLS)
			}
			open = append(open, c)
			p.Conversations++
		}
		i := rnd.IntN(len(open))
		if open[i].next(rnd, p) {
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
		}
	}
	return p
}

func newConversation(rnd *rand.Rand, n int) *conversation {
	c := &conversation{client: 0x0a000000 + uint32(rnd.IntN(5000)), server: 0x0a600000 + uint32(rnd.IntN(300)),
		clientPort: uint16(1024 + n%64000), seq: [2]uint32{rnd.Uint32() >> 1, rnd.Uint32() >> 1}}
	c.begin(rnd, rnd.IntN(3))
	return c
}

// HTTPExchange are a handshake, a request and its short response.
func HTTPExchange() *Packets {
	p := &Packets{Conversations: 1, Requests: 1}
	c := &conversation{client: 0x0a000001, server: 0x0a600001, clientPort: 1024, serverPort: 8080, seq: [2]uint32{1000, 2000}}
	c.tcp(p, 0, tcpFlagSYN, nil, 0)
	c.tcp(p, 1, tcpFlagSYN|tcpFlagACK, nil, 0)
	c.tcp(p, 0, tcpFlagACK, nil, 0)
	c.tcp(p, 0, tcpFlagPSH|tcpFlagACK, httpRequest, 0)
	c.tcp(p, 1, tcpFlagPSH|tcpFlagACK, httpShort, 300)
	return p
}

// begin makes it a conversation of a kind.
func (c *conversation) begin(rnd *rand.Rand, kind int) {
	switch c.kind = kind; kind {
	case talkDNS:
		c.serverPort = 53
	case talkHTTP:
		c.serverPort, c.rounds = 8080, 1+rnd.IntN(8)
	case talkTLS:
		c.serverPort, c.rounds = 443, 1+rnd.IntN(12)
	}
}

// next appends the next frame and says whether it was the last.
func (c *conversation) next(rnd *rand.Rand, p *Packets) (last bool) {
	c.step++
	if c.kind == talkDNS {
		if c.step == 1 {
			p.Requests++
			c.udp(p, 0, dnsQuery)
			return false
		}
		c.udp(p, 1, dnsAnswer)
		return true
	}
	switch c.step {
	case 1:
		c.tcp(p, 0, tcpFlagSYN, nil, 0)
	case 2:
		c.tcp(p, 1, tcpFlagSYN|tcpFlagACK, nil, 0)
	case 3:
		c.tcp(p, 0, tcpFlagACK, nil, 0)
	case 4:
		if c.kind == talkHTTP {
			p.Requests++
			c.tcp(p, 0, tcpFlagPSH|tcpFlagACK, httpRequest, 0)
		} else {
			c.tcp(p, 0, tcpFlagPSH|tcpFlagACK, tlsRecord, 60+rnd.IntN(500))
		}
	case 5:
		if c.kind == talkHTTP {
			c.tcp(p, 1, tcpFlagACK, httpHead, segment-len(httpHead))
		} else {
			c.tcp(p, 1, tcpFlagACK, tlsRecord, segment-len(tlsRecord))
		}
	case 6:
		c.tcp(p, 1, tcpFlagACK, nil, segment)
	case 7:
		c.tcp(p, 0, tcpFlagACK, nil, 0)
	case 8:
		c.tcp(p, 1, tcpFlagPSH|tcpFlagACK, nil, len(httpHead)+3000-2*segment)
		if c.rounds--; c.rounds > 0 {
			c.step = 3
		}
	case 9:
		c.tcp(p, 0, tcpFlagFIN|tcpFlagACK, nil, 0)
	case 10:
		c.tcp(p, 1, tcpFlagFIN|tcpFlagACK, nil, 0)
	default:
		c.tcp(p, 0, tcpFlagACK, nil, 0)
		return true
	}
	return false
}

// ip appends Ethernet and IPv4 headers and the ports of a packet of side dir (0 the client).
func (c *conversation) ip(p *Packets, dir int, proto byte, size int) {
	be := binary.BigEndian
	src, dst, sp, dp := c.client, c.server, c.clientPort, c.serverPort
	if dir == 1 {
		src, dst, sp, dp = dst, src, dp, sp
	}
	b := append(p.Data, 2, 0, byte(dst>>24), byte(dst>>16), byte(dst>>8), byte(dst), 2, 0, byte(src>>24), byte(src>>16), byte(src>>8), byte(src), 8, 0, 0x45, 0)
	b = be.AppendUint16(b, uint16(20+size))
	b = append(b, 0, 0, 0x40, 0, 64, proto, 0, 0)
	b = be.AppendUint32(be.AppendUint32(b, src), dst)
	p.Data = be.AppendUint16(be.AppendUint16(b, sp), dp)
}

func (c *conversation) udp(p *Packets, dir int, data []byte) {
	c.ip(p, dir, 17, 8+len(data))
	p.Data = append(binary.BigEndian.AppendUint16(p.Data, uint16(8+len(data))), 0, 0)
	p.Data = append(p.Data, data...)
	p.Ends = append(p.Ends, len(p.Data))
}

// tcp appends a segment with data and so many bytes more.
func (c *conversation) tcp(p *Packets, dir int, flags byte, data []byte, more int) {
	be := binary.BigEndian
	size := len(data) + more
	c.ip(p, dir, 6, 32+size)
	p.Data = be.AppendUint32(be.AppendUint32(p.Data, c.seq[dir]), c.seq[1-dir])
	p.Data = append(p.Data, 0x80, flags, 0x10, 0, 0, 0, 0, 0, 1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1) // with timestamps
	p.Data = append(p.Data, data...)
	for range more {
		p.Data = append(p.Data, 0xa5)
	}
	p.Ends = append(p.Ends, len(p.Data))
	c.seq[dir] += uint32(size)
	if flags&(tcpFlagSYN|tcpFlagFIN) != 0 {
		c.seq[dir]++
	}
}
