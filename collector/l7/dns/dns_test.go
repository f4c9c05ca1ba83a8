package dns

import (
	"encoding/binary"
	"strings"
	"testing"
)

// builder writes messages for tests.
type builder struct{ p []byte }

// message starts a message with the given flags and counts of the four sections.
func message(id, flags uint16, counts ...uint16) *builder {
	b := &builder{}
	b.u16(id).u16(flags)
	for i := range 4 {
		n := uint16(0)
		if i < len(counts) {
			n = counts[i]
		}
		b.u16(n)
	}
	return b
}

func (b *builder) u16(v uint16) *builder {
	b.p = binary.BigEndian.AppendUint16(b.p, v)
	return b
}

func (b *builder) raw(s string) *builder {
	b.p = append(b.p, s...)
	return b
}

// name writes a name without compression.
func (b *builder) name(s string) *builder {
	for l := range strings.SplitSeq(strings.TrimSuffix(s, "."), ".") {
		if l != "" {
			b.raw(string(rune(len(l))) + l)
		}
	}
	return b.raw("\x00")
}

func (b *builder) question(name string, typ uint16) *builder { return b.name(name).u16(typ).u16(1) }

// record writes a record whose owner is the first question.
func (b *builder) record(typ uint16, ttl uint16, data string) *builder {
	return b.u16(0xc00c).u16(typ).u16(1).u16(0).u16(ttl).u16(uint16(len(data))).raw(data)
}

func wireName(s string) string { return string((&builder{}).name(s).p) }

func TestRecordText(t *testing.T) {
	f := func(typ uint16, data, want string) {
		t.Helper()
		p := message(1, 0x8180, 1, 1).question("example.com", typ).record(typ, 60, data).p
		var m Message
		if err := Parse(p, &m); err != nil || m.Cut || m.Size != len(p) {
			t.Fatalf("%s: %v %+v", want, err, m)
		}
		if got := string(m.AppendResult(nil, 1<<16)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	f(TypeA, "\xc0\x00\x02\x01", "A=192.0.2.1 TTL=60")
	f(TypeA, "\xc0\x00\x02", `A=\# 3 c00002 TTL=60`)
	f(TypeAAAA, "\x20\x01\x0d\xb8"+strings.Repeat("\x00", 11)+"\x01", "AAAA=2001:db8::1 TTL=60")
	f(TypeCNAME, "\x03WWW\xc0\x0c", "CNAME=www.example.com TTL=60")
	f(TypeNS, wireName("ns.test"), "NS=ns.test TTL=60")
	f(TypePTR, "\x00", "PTR=. TTL=60")
	f(TypeNS, "\xc0\xff", `NS=\# 2 c0ff TTL=60`)
	f(TypeMX, "\x00\x0a"+wireName("mx.test"), "MX=10 mx.test TTL=60")
	f(TypeTXT, "\x03a\"b\x02\\\x01", `TXT="a\"b" "\\\001" TTL=60`)
	f(TypeTXT, "\x05ab", `TXT=\# 3 056162 TTL=60`)
	f(TypeSOA, wireName("ns.test")+wireName("root.test")+strings.Repeat("\x00", 20), "SOA=ns.test TTL=60")
	f(TypeSRV, "\x00\x01\x00\x02\x00\x50"+wireName("a.test"), "SRV=1 2 80 a.test TTL=60")
	f(TypeCAA, "\x00\x05issueca.test", `CAA=0 issue "ca.test" TTL=60`)
	f(TypeNAPTR, "\x00\x64\x00\x0a\x01S\x07SIP+D2U\x00"+wireName("_sip._udp.test"),
		`NAPTR=100 10 "S" "SIP+D2U" "" _sip._udp.test TTL=60`)
	f(TypeHTTPS, "\x00\x01\x00\x00\x01\x00\x06\x02h2\x02h3\x00\x03\x00\x02\x01\xbb\x00\x04\x00\x04\xc0\x00\x02\x01\x00\x05\x00\x01x",
		"HTTPS=1 . alpn=h2,h3 port=443 ipv4hint=192.0.2.1 ech TTL=60")
	f(TypeSVCB, "\x00\x00"+wireName("a.test"), "SVCB=0 a.test TTL=60")
	f(TypeDS, "\x12\x34\x08\x02\xab\xcd", "DS=4660 8 2 abcd TTL=60")
	f(TypeRRSIG, "\x00\x01"+strings.Repeat("\x00", 16)+wireName("test")+"sig", "RRSIG=A test TTL=60")
	f(TypeDNAME, wireName("b.test"), "DNAME=b.test TTL=60")
	f(65280, "\x01\x02", `TYPE65280=\# 2 0102 TTL=60`)
	f(65280, strings.Repeat("\xff", 70), `TYPE65280=\# 70 `+strings.Repeat("ff", 64)+"... TTL=60")
	f(TypeNS, wireName(`a b.c"d`), `NS=a\032b.c"d TTL=60`)
}

func TestResult(t *testing.T) {
	p := message(7, 0x8180, 1, 2, 1, 1).question("example.com", TypeA).
		record(TypeCNAME, 5, wireName("x.test")).record(TypeA, 6, "\x01\x02\x03\x04").record(TypeNS, 7, wireName("ns.test")).
		record(TypeA, 8, "\x05\x06\x07\x08").p
	var m Message
	if err := Parse(p, &m); err != nil {
		t.Fatal(err)
	}
	const want = "CNAME=x.test TTL=5; A=1.2.3.4 TTL=6; NS=ns.test TTL=7"
	for limit, want := range map[int]string{1000: want, len(want): want, len(want) - 1: want[:35], 5: want[:5]} {
		if got := string(m.AppendResult([]byte("x"), limit)); got != "x"+want {
			t.Errorf("limit %d: %q, want %q", limit, got, "x"+want)
		}
	}
}

func TestEDNS(t *testing.T) {
	p := message(7, 0x8180, 1, 0, 0, 1).question("example.com", TypeA).raw("\x00\x00\x29\x04\xd0\x01\x00\x80\x00\x00\x00").p
	var m Message
	if err := Parse(p, &m); err != nil || m.RCode != 16 || RCodeString(m.RCode) != "BADVERS" {
		t.Fatalf("%v %+v", err, m)
	}
	var r Record
	it := m.Records()
	if !it.Next(&r) || r.Section != Additional {
		t.Fatal("no OPT record")
	}
	if got := string(m.AppendRecord(nil, &r)); got != "OPT=udp 1232 do" {
		t.Error(got)
	}
}

func TestCut(t *testing.T) {
	whole := message(7, 0x8180, 1, 2).question("example.com", TypeA).record(TypeA, 5, "\x01\x02\x03\x04").record(TypeA, 6, "\x05\x06\x07\x08").p
	for n := range whole {
		var m Message
		err := Parse(whole[:n], &m)
		if question := 12 + 17; (err == nil) != (n >= question) {
			t.Errorf("%d bytes: %v", n, err)
		}
		if err == nil && (!m.Cut || m.ID != 7 || string(m.AppendQName(nil)) != "example.com") {
			t.Errorf("%d bytes: %+v", n, m)
		}
	}
}

func TestNames(t *testing.T) {
	f := func(tail, want string) {
		t.Helper()
		p := append(message(1, 0, 1).p, tail...)
		if got, _ := appendName(nil, p, 12); string(got) != want {
			t.Errorf("%q: %q, want %q", tail, got, want)
		}
	}
	f("\x00", ".")
	f("\x01A\x00", "a")
	f("\x01.\x01\\\x00", `\..\\`)
	f("\x01\xff\x00", `\255`)
	f("\xc0\x0c", "")       // to itself
	f("\x01a\xc0\x0c", "a") // to its own start
	f("\xc0\x00", "")       // into the header
	f("\x01a\xc0\x20", "a") // forward
	f("\x40a", "")          // reserved kind of label
	f("\x05ab", "")         // behind the end
	f("\x01a", "a")         // no end
	long := strings.Repeat("\x3f"+strings.Repeat("a", 63), 4) + "\x00"
	if skipName([]byte(long), 0) >= 0 {
		t.Error("a name of more than 255 bytes was accepted")
	}
	p := []byte("............\x01a\x00\x01b\xc0\x0c\x01c\xc0\x0f")
	if got, ok := appendName(nil, p, 19); string(got) != "c.b.a" || !ok {
		t.Errorf("chain: %q %v", got, ok)
	}
}

func TestCheck(t *testing.T) {
	query := message(1, 0x0100, 1).question("example.com", TypeA).p
	f := func(what string, p []byte, want Verdict) {
		t.Helper()
		if got := Check(p, len(p)); got != want {
			t.Errorf("%s: %d, want %d", what, got, want)
		}
	}
	f("query", query, Yes)
	f("answer", message(1, 0x8180, 1, 1).question("a.b", TypeA).record(TypeA, 1, "\x01\x02\x03\x04").p, Yes)
	f("root", message(1, 0x0100, 1).question(".", TypeNS).p, Yes)
	f("two questions", message(1, 0x0100, 2).question("a.b", TypeA).question("a.b", TypeAAAA).p, No)
	f("no question", message(1, 0x8180, 0).raw("12345").p, No)
	f("query with rcode", message(1, 0x0103, 1).question("a.b", TypeA).p, No)
	f("more records than bytes", message(1, 0x8180, 1, 9).question("a.b", TypeA).p, No)
	f("class", message(1, 0x0100, 1).name("a.b").u16(1).u16(77).p, No)
	f("type", message(1, 0x0100, 1).name("a.b").u16(0).u16(1).p, No)
	f("binary label", message(1, 0x0100, 1).question("a\x01b", TypeA).p, No)
	f("http", []byte("GET /index.html HTTP/1.1\r\n\r\n"), No)
	f("tls", []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefgh"), No)
	stream := append([]byte{0, byte(len(query))}, query...)
	for n := range stream {
		if got := CheckStream(stream[:n]); got != Maybe {
			t.Errorf("%d bytes of a stream: %d", n, got)
		}
	}
	if CheckStream(stream) != Yes {
		t.Error("a whole message of a stream")
	}
}

func TestStrings(t *testing.T) {
	for got, want := range map[string]string{
		TypeString(28): "AAAA", TypeString(4711): "TYPE4711", RCodeString(3): "NXDOMAIN", RCodeString(12): "RCODE12",
		RCodeString(4000): "RCODE4000", OpcodeString(5): "UPDATE", OpcodeString(3): "OPCODE3", OpcodeString(15): "OPCODE15",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func benchAnswer() []byte {
	return message(7, 0x8180, 1, 2, 1).question("details.shop.svc.cluster.local", TypeA).record(TypeCNAME, 5, wireName("x.test")).
		record(TypeA, 6, "\x01\x02\x03\x04").record(TypeNS, 7, wireName("ns.test")).p
}

func TestNoAllocation(t *testing.T) {
	p := benchAnswer()
	var m Message
	dst := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		if err := Parse(p, &m); err != nil {
			t.Fatal(err)
		}
		dst = m.AppendResult(m.AppendQName(dst[:0]), 512)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(benchAnswer())
	f.Add(message(1, 0x0100, 1).question("example.com", TypeA).p)
	f.Add(message(1, 0x8180, 1, 2).question("a.b", TypeHTTPS).record(TypeHTTPS, 1, "\x00\x01\x00\x00\x03\x00\x02\x01\xbb").
		record(TypeNAPTR, 1, "\x00\x64\x00\x0a\x01S\x00\x00\x00").p)
	f.Fuzz(func(t *testing.T, p []byte) {
		v := Check(p, len(p))
		for n := range min(len(p), 64) {
			if early := Check(p[:n], len(p)); early != Maybe && early != v {
				t.Fatalf("%d bytes: %d, all: %d", n, early, v)
			}
		}
		var m Message
		if Parse(p, &m) != nil {
			return
		}
		if m.Size > len(p) {
			t.Fatal("size behind the end")
		}
		m.AppendQName(nil)
		if got := m.AppendResult(nil, 100); len(got) > 100 {
			t.Fatalf("%d bytes", len(got))
		}
		var r Record
		var dst []byte
		for it := m.Records(); it.Next(&r); {
			dst = m.AppendName(m.AppendRecord(dst[:0], &r), &r)
		}
	})
}

func BenchmarkParseAnswer(b *testing.B) {
	p := benchAnswer()
	var m Message
	var dst []byte
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Parse(p, &m); err != nil {
			b.Fatal(err)
		}
		dst = m.AppendResult(m.AppendQName(dst[:0]), 512)
	}
}
