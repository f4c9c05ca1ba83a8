package l7

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

// owString is a string in the loose encoding.
func owString(s string) string {
	return "\x01" + string(binary.BigEndian.AppendUint16(nil, uint16(len(s)))) + s
}

// owCommand is a command in the loose encoding.
func owCommand(kind byte, id uint32, wants bool, fields string) string {
	p := binary.BigEndian.AppendUint32([]byte{kind}, id)
	if p = append(p, 0); wants {
		p[len(p)-1] = 1
	}
	p = append(p, fields...)
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(p)))) + string(p)
}

func owFormat(fields string) string {
	p := "\x01ActiveMQ\x00\x00\x00\x0b\x01" + string(binary.BigEndian.AppendUint32(nil, uint32(len(fields)))) + fields
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(p)))) + p
}

func owAnswer(kind byte, id uint32, fields string) string {
	return owCommand(kind, 0, false, string(binary.BigEndian.AppendUint32(nil, id))+fields)
}

var (
	owConnect = owCommand(3, 1, true, "\x01\x78"+owString("ID:c")+owString("app")+owString("geheim")+owString("bob"))
	owProduce = owCommand(6, 2, true, "\x01\x7b"+owString("ID:c")+strings.Repeat("\x00", 15)+"\x07"+"\x01\x64"+owString("Q.1"))
)

func newOpenWire(t *testing.T) *talk {
	t.Helper()
	k := newTalk(t, Options{})
	k.client(owFormat("\x00\x00\x00\x00")[:7])
	k.server(owFormat("\x00\x00\x00\x00"))
	k.client(owFormat("\x00\x00\x00\x00")[7:])
	k.client(owConnect)
	k.server(owAnswer(30, 1, ""))
	return k
}

func TestOpenWireFields(t *testing.T) {
	k := newOpenWire(t)
	want := Exchange{Kind: KindSession, Protocol: OpenWire, Version: "11", StartNanos: 4e6, EndNanos: 5e6, RequestType: "ConnectionInfo", RequestID: 1,
		RequestBytes: int64(len(owConnect)), ResponseBytes: 14, Status: StatusOK, ResponseCode: -1, ResponseResult: "Response", AffectedRows: -1,
		Attributes: []Attribute{{"connection_id", "ID:c"}, {"user", "bob"}}}
	got := k.one()
	want.RequestSeq, want.ResponseSeq = got.RequestSeq, got.ResponseSeq
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	k.client(owProduce)
	k.server(owAnswer(31, 2, "\x01"+owString("java.lang.SecurityException")+owString("no")))
	if e := k.one(); brief(&e) != "session ProducerInfo Q.1 > -1 server_error" || e.ResponseException != "java.lang.SecurityException: no" || e.Endpoint != "Q.1" {
		t.Errorf("%+v", e)
	}
	k.server(owCommand(16, 0, false, "\x01"+owString("java.io.EOFException")+owString("")+"\x00"))
	if e := k.one(); brief(&e) != "request ConnectionError  > -1 server_error" || !e.ServerInitiated {
		t.Errorf("%+v", e)
	}
}

// TestOpenWirePairs: answers come in any order, some twice, some never.
func TestOpenWirePairs(t *testing.T) {
	k := newOpenWire(t)
	k.want("session ConnectionInfo  > -1 ok")
	remove := func(id uint32) string { return owCommand(12, id, true, "\x01\x78"+owString("ID:c")) }
	k.client(remove(5) + remove(6) + remove(7) + owCommand(10, 8, false, ""))
	k.server(owAnswer(30, 6, "") + owAnswer(30, 6, "") + owAnswer(30, 5, ""))
	k.tr.Tick(k.time + int64(5*time.Minute))
	k.want("session RemoveInfo  > -1 ok", "session RemoveInfo  > -1 ok", "request RemoveInfo  > -1 timeout")
	if m := k.tr.Metrics(); m.Duplicates != 1 || m.Unpaired != 0 {
		t.Errorf("%+v", m)
	}
	k.skip(Client, 20)
	k.client(owProduce)
	k.tr.Tick(k.time + 2e9)
	k.server(owAnswer(30, 2, ""))
	k.want("session ProducerInfo Q.1 > -1 ok")
}

// TestOpenWireNoSize: what cannot be told apart is not read.
func TestOpenWireNoSize(t *testing.T) {
	const off = "\x00\x00\x00\x01\x00\x12SizePrefixDisabled\x01\x01"
	k := newTalk(t, Options{})
	k.client(owFormat(off))
	k.server(owFormat(off))
	k.client(owConnect[4:])
	k.want()
	if m := k.tr.Metrics(); m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
}
