package l7

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

// amqpFrame is a frame of AMQP.
func amqpFrame(kind byte, channel uint16, payload string) string {
	p := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	p = binary.BigEndian.AppendUint32(p, uint32(len(payload)))
	return string(p) + payload + "\xce"
}

// amqpCall is a method on channel 1.
func amqpCall(class, method byte, args string) string {
	return amqpFrame(1, 1, string([]byte{0, class, 0, method})+args)
}

// amqpClose closes channel 1 because of class and method.
func amqpClose(code uint16, text string, class, method byte) string {
	return amqpCall(20, 40, string(binary.BigEndian.AppendUint16(nil, code))+string([]byte{byte(len(text))})+text+string([]byte{0, class, 0, method}))
}

// amqpContent is a content header with one field, and a body.
func amqpContent(key, value, body string) string {
	f := string([]byte{byte(len(key))}) + key + "S" + string(binary.BigEndian.AppendUint32(nil, uint32(len(value)))) + value
	h := binary.BigEndian.AppendUint64([]byte{0, 60, 0, 0}, uint64(len(body)))
	h = binary.BigEndian.AppendUint32(append(h, 0x20, 0), uint32(len(f)))
	return amqpFrame(2, 1, string(h)+f) + amqpFrame(3, 1, body)
}

var (
	amqpDeclare = amqpCall(50, 10, "\x00\x00\x01q\x00\x00\x00\x00\x00")
	amqpPublish = amqpCall(60, 40, "\x00\x00\x01e\x01k\x00") + amqpContent("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "body")
	amqpSelect  = amqpCall(85, 10, "\x00")
)

func amqpAck(method byte, tag uint64, multiple byte) string {
	return amqpCall(60, method, string(append(binary.BigEndian.AppendUint64(nil, tag), multiple)))
}

func newAMQP(t *testing.T) *talk {
	t.Helper()
	k := newTalk(t, Options{})
	k.c = k.tr.NewConn(transportTCP, 40000, 5672)
	return k
}

func TestAMQPFields(t *testing.T) {
	k := newAMQP(t)
	k.client("AMQP\x00\x00\x09\x01" + amqpFrame(1, 0, "\x00\x0a\x00\x28\x02/x\x00\x00"))
	k.server(amqpFrame(1, 0, "\x00\x0a\x00\x29\x00"))
	k.want("session Connection.Open /x > -1 ok")
	k.client(amqpPublish[:9])
	k.client(amqpPublish[9:60])
	k.client(amqpPublish[60:])
	want := Exchange{Kind: KindRequest, Protocol: AMQP, Version: "0-9-1", StartNanos: 3e6, EndNanos: 3e6, RequestType: "Basic.Publish", RequestDomain: "/x",
		RequestResource: "e.k", RequestID: 1, Endpoint: "e.k", RequestBytes: int64(len(amqpPublish) - 8), ResponseBytes: -1, Status: StatusOK, ResponseCode: -1,
		AffectedRows: -1, TraceID: "4bf92f3577b34da6a3ce929d0e0e4736", SpanID: "00f067aa0ba902b7", RequestSeq: 0xffffffe0 + 8 + 17, Attributes: []Attribute{}}
	if got := k.one(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	k.client(amqpFrame(8, 0, ""))
	k.server(amqpFrame(8, 0, ""))
	k.want()
}

// TestAMQPError: the request that a channel is closed for has the error.
func TestAMQPError(t *testing.T) {
	k := newAMQP(t)
	k.client(amqpCall(60, 10, "\x00\x00\x00\x00\x00\x01\x00") + amqpDeclare)
	k.server(amqpCall(60, 11, "") + amqpClose(406, "PRECONDITION_FAILED", 50, 10))
	k.client(amqpCall(20, 41, ""))
	k.want("session Basic.Qos  > -1 ok", "session Queue.Declare q > 406 client_error", "session Channel.Close  > 406 ok")
	k.client(amqpPublish)
	k.server(amqpClose(404, "NOT_FOUND - no exchange", 60, 40))
	k.client(amqpCall(20, 41, ""))
	k.want("request Basic.Publish e.k > -1 ok", "session Channel.Close  > 404 client_error")
	k.server(amqpCall(60, 50, "\x01\x38\x08NO_ROUTE\x01e\x01k") + amqpContent("a", "b", "c"))
	if e := k.one(); brief(&e) != "request Basic.Return e.k > 312 client_error" || !e.ServerInitiated || e.ResponseException != "NO_ROUTE" {
		t.Errorf("%+v", e)
	}
	for code, want := range map[uint16]Status{200: StatusOK, 320: StatusServerError, 403: StatusClientError, 530: StatusClientError, 541: StatusServerError} {
		if got := statusAMQP(code); got != want {
			t.Errorf("%d is %s", code, got)
		}
	}
}

func TestAMQPConfirms(t *testing.T) {
	k := newAMQP(t)
	k.client(amqpSelect)
	k.server(amqpCall(85, 11, ""))
	k.client(strings.Repeat(amqpPublish, 4))
	k.want("session Confirm.Select  > -1 ok")
	k.server(amqpAck(80, 2, 1))
	k.server(amqpAck(120, 4, 0))
	k.want("session Basic.Publish e.k > -1 ok", "session Basic.Publish e.k > -1 ok", "session Basic.Publish e.k > -1 server_error")
	k.skip(Client, 30) // what may have been published is not counted
	k.client(amqpPublish)
	k.tr.Tick(k.time + int64(time.Minute))
	k.server(amqpAck(80, 5, 0))
	k.want("request Basic.Publish e.k > -1 unknown", "request Basic.Publish e.k > -1 ok")
}

func TestAMQPConsumer(t *testing.T) {
	k := newAMQP(t)
	k.server(amqpCall(60, 60, "\x01t\x00\x00\x00\x00\x00\x00\x00\x09\x00\x01e\x01k") + amqpContent("sw8", "1-dHJhY2U=-c2VnbWVudA==-3-x-y-z-w", strings.Repeat("x", 500)))
	k.client(amqpAck(80, 9, 0))
	e := k.rec.exchanges[0]
	if e.TraceID != "trace" || fmt.Sprint(e.Attributes) != "[{consumer_tag t} {delivery_tag 9} {initiator server}]" || e.RequestBytes != 595 {
		t.Errorf("%+v", e)
	}
	k.want("request Basic.Deliver e.k > -1 ok", "request Basic.Ack  > -1 ok")
	get := amqpCall(60, 70, "\x00\x00\x01q\x00")
	k.client(get)
	k.server(amqpCall(60, 71, "\x00\x00\x00\x00\x00\x00\x00\x0a\x00\x00\x01q\x00\x00\x00\x00") + amqpContent("b3", "80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-1", "x"))
	if e := k.one(); e.TraceID != "80f198ee56343ba864fe8b2a57d3eff7" || e.ResponseResult != "message" || brief(&e) != "session Basic.Get q > -1 ok" {
		t.Errorf("%+v", e)
	}
	k.client(get)
	k.server(amqpCall(60, 72, "\x00"))
	if e := k.one(); e.ResponseResult != "empty" {
		t.Errorf("%+v", e)
	}
}

func TestAMQPTimeout(t *testing.T) {
	k := newAMQP(t)
	k.client(amqpDeclare)
	k.tr.Tick(int64(5 * time.Minute))
	k.want("request Queue.Declare q > -1 timeout")
	// A body that is not there, and one that goes by unseen.
	k.client(amqpFrame(1, 1, "\x00\x3c\x00\x28\x00\x00\x01e\x01k\x00"))
	k.c.End(k.time)
	k.want("request Basic.Publish e.k > -1 ok")
}

// TestAMQPMiddle: a connection picked up anywhere is followed from the next method on that only one side sends.
func TestAMQPMiddle(t *testing.T) {
	k := newAMQP(t)
	k.server(amqpFrame(3, 1, "rest of a body"))
	k.server(amqpCall(50, 11, "\x01q\x00\x00\x00\x00\x00\x00\x00\x00"))
	k.want("response Queue.Declare q > -1 ok")
	k.client(amqpDeclare[:10])
	k.client(amqpDeclare[10:])
	k.server(amqpCall(50, 11, "\x01q\x00\x00\x00\x00\x00\x00\x00\x00"))
	k.want("session Queue.Declare q > -1 ok")
	k.server(amqpDeclare) // the wrong side
	if m := k.tr.Metrics(); m.WrongSide != 1 || m.ParseFailures != 1 {
		t.Errorf("%+v", m)
	}
}
