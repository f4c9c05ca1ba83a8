package amqp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

func frame(kind Kind, channel uint16, payload string) string {
	p := binary.BigEndian.AppendUint16([]byte{byte(kind)}, channel)
	p = binary.BigEndian.AppendUint32(p, uint32(len(payload)))
	return string(p) + payload + "\xce"
}

const (
	declare = "\x01\x00\x01\x00\x00\x00\x11\x00\x32\x00\x0a\x00\x00\x05hello\x00\x00\x00\x00\x00\xce"
	closing = "\x01\x00\x01\x00\x00\x00\x1a\x00\x14\x00\x28\x00\xc8\x0fNormal shutdown\x00\x00\x00\x00\xce"
	publish = "\x01\x00\x01\x00\x00\x00\x17\x00\x3c\x00\x28\x00\x00\x0aexchange-1\x04rk-1\x00\xce"
	deliver = "\x01\x00\x01\x00\x00\x00\x23\x00\x3c\x00\x3c\x05Alice\x00\x00\x00\x00\x00\x00\x00\x01\x00\x0aexchange-1\x04rk-1\xce"
)

var (
	start   = frame(Method, 0, "\x00\x0a\x00\x0a\x00\x09"+table("\x07productS\x00\x00\x00\x08RabbitMQ\x01xt\x01\x01yV")+"\x00\x00\x00\x05PLAIN\x00\x00\x00\x05en_US")
	content = frame(Header, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\xb6\x80\x0atext/plain"+table("\x0btraceparentS\x00\x00\x00\x02ab\x01nl\x00\x00\x00\x00\x00\x00\x00\x01")+"\x02\x02id\x02re\x01m")
	ack     = frame(Method, 1, "\x00\x3c\x00\x50\x00\x00\x00\x00\x00\x00\x00\x07\x01")
)

func table(fields string) string {
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(fields)))) + fields
}

func brief(m *Message) string {
	s := fmt.Sprintf("%d %d %s", m.Kind, m.Channel, m.Name())
	for _, f := range []struct {
		name string
		v    []byte
	}{{"vhost", m.VHost}, {"queue", m.Queue}, {"exchange", m.Exchange}, {"key", m.RoutingKey}, {"tag", m.ConsumerTag}, {"text", m.ReplyText},
		{"type", m.ContentType}, {"corr", m.CorrelationID}, {"reply", m.ReplyTo}, {"id", m.MessageID}} {
		if len(f.v) > 0 {
			s += fmt.Sprintf(" %s=%s", f.name, f.v)
		}
	}
	if m.ReplyCode != 0 {
		s += fmt.Sprint(" code=", m.ReplyCode)
	}
	if m.DeliveryTag != 0 {
		s += fmt.Sprint(" delivery=", m.DeliveryTag)
	}
	for _, t := range []Table{m.Table, m.Headers} {
		for t.Next() {
			s += fmt.Sprintf(" %s:%s", t.Key, t.Value)
		}
	}
	return s
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, p, want string
		verdict, own  wire.Verdict
	}{
		{"protocol header", header, "0 0 ", wire.Request, wire.Request},
		{"start", start, "1 0 Connection.Start product:RabbitMQ x: y:", wire.Response, wire.Response},
		{"declare", declare, "1 1 Queue.Declare queue=hello", wire.Request, wire.Request},
		{"close", closing, "1 1 Channel.Close text=Normal shutdown code=200", wire.No, wire.Either},
		{"publish", publish, "1 1 Basic.Publish exchange=exchange-1 key=rk-1", wire.Request, wire.Request},
		{"deliver", deliver, "1 1 Basic.Deliver exchange=exchange-1 key=rk-1 tag=Alice delivery=1", wire.Response, wire.Response},
		{"content", content, "2 1  type=text/plain corr=id reply=re id=m traceparent:ab n:", wire.No, wire.Either},
		{"ack", ack, "1 1 Basic.Ack delivery=7", wire.No, wire.Either},
		{"heartbeat", frame(Heartbeat, 0, ""), "8 0 ", wire.No, wire.Either},
		{"body", frame(Body, 3, "abc"), "3 3 ", wire.No, wire.Either},
		{"consume", frame(Method, 1, "\x00\x3c\x00\x14\x00\x00\x01q\x01t\x08\x00\x00\x00\x00"), "1 1 Basic.Consume queue=q tag=t", wire.Request, wire.Request},
	} {
		var m Message
		n, err := Parse([]byte(c.p), &m)
		if got := brief(&m); err != nil || n != len(c.p) || got != c.want {
			t.Errorf("%s: %d of %d, %v, %q", c.name, n, len(c.p), err, got)
		}
		for own, want := range map[bool]wire.Verdict{false: c.verdict, true: c.own} {
			if v := Check([]byte(c.p), own); v != want {
				t.Errorf("%s, own %v: verdict %d, want %d", c.name, own, v, want)
			}
			for cut := range c.p {
				if v := Check([]byte(c.p[:cut]), own); v != wire.Maybe && v != want {
					t.Errorf("%s cut to %d, own %v: verdict %d", c.name, cut, own, v)
				}
			}
		}
		for cut := range c.p {
			if n, err := Parse([]byte(c.p[:cut]), &m); err == nil && n != len(c.p) || err != nil && !errors.Is(err, ErrShort) {
				t.Errorf("%s cut to %d: %d, %v", c.name, cut, n, err)
			}
		}
	}
	var m Message
	if _, err := Parse([]byte(frame(Method, 1, "\x00\x3c\x00\x14\x00\x00\x01q\x01t\x08\x00\x00\x00\x00")), &m); err != nil || !m.NoWait || m.Waits() {
		t.Error("no-wait", err)
	}
}

func TestMalformed(t *testing.T) {
	for _, p := range []string{
		"GET / HTTP/1.1\r\n\r\n", "AMQP\x00\x01\x00\x00", "AMQP\x03\x01\x00\x00", declare[:len(declare)-1] + "x", frame(Method, 1, "\x00\x32\x00\x63"),
		frame(Method, 0, "\x00\x32\x00\x0a\x00\x00\x05hello\x00\x00\x00\x00\x00"), frame(Method, 1, "\x00\x32"), frame(Heartbeat, 0, "x"),
		"\x01\x00\x01\x7f\x00\x00\x00\x00\x0a\x00\x0a", frame(Method, 1, "\x00\x32\x00\x0a\x00\x00\x09hello"), frame(Header, 1, "\x00\x3d\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
		"\x04\x00\x00\x00\x00\x00\x00\xce",
	} {
		if n, err := Parse([]byte(p), &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %d, %v", p, n, err)
		}
		if v := Check([]byte(p), true); v != wire.No {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
	var m Message // a table of unknown types is read as far as it is understood
	if _, err := Parse([]byte(frame(Header, 1, "\x00\x3c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0c\x20\x00"+table("\x01aS\x00\x00\x00\x01b\x01c?xx"))), &m); err != nil || brief(&m) != "2 1  a:b" {
		t.Errorf("%v, %q", err, brief(&m))
	}
}

// TestMethods: every answer answers something that waits, and the other side sends it.
func TestMethods(t *testing.T) {
	for id, m := range methods {
		if m.answers == 0 {
			continue
		}
		q := methods[m.answers]
		if q == nil || !q.waits || m.waits || q.from != both && q.from == m.from || m.answers>>16 != id>>16 {
			t.Errorf("%s answers %+v", m.name, q)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	in := []byte(content)
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Parse(in, &m); err != nil {
			t.Fatal(err)
		}
		for f := m.Headers; f.Next(); {
			_ = f.Value
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{header, start, declare, closing, publish, deliver, content, ack} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		n, err := Parse(p, &m)
		if err == nil && n <= 0 || err != nil && !errors.Is(err, ErrShort) && !errors.Is(err, ErrMalformed) {
			t.Fatal(n, err)
		}
		for _, tab := range []Table{m.Table, m.Headers} {
			for i := 0; tab.Next(); i++ {
				if i > len(p) {
					t.Fatal("endless table")
				}
			}
		}
		for _, own := range []bool{false, true} {
			if v := Check(p, own); v == wire.Maybe && err == nil && n <= len(p) || v > wire.Maybe && err != nil {
				t.Fatalf("verdict %d, %d, %v", v, n, err)
			}
		}
	})
}
