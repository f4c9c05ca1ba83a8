package l7

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
)

// newMongo is a conversation with a MongoDB server.
func newMongo(t *testing.T, o Options) *talk {
	t.Helper()
	k := newTalk(t, o)
	k.c = k.tr.NewConn(transportTCP, 40000, 27017)
	return k
}

// bsonDoc is a document of elements.
func bsonDoc(elements ...string) string {
	s := strings.Join(elements, "")
	return string(binary.LittleEndian.AppendUint32(nil, uint32(len(s)+5))) + s + "\x00"
}

// bsonText, bsonInt and bsonSub are elements: a text, a number, a document.
func bsonText(name, v string) string {
	return "\x02" + name + "\x00" + string(binary.LittleEndian.AppendUint32(nil, uint32(len(v)+1))) + v + "\x00"
}

func bsonInt(name string, v int) string {
	return "\x10" + name + "\x00" + string(binary.LittleEndian.AppendUint32(nil, uint32(v)))
}

func bsonSub(name, doc string) string { return "\x03" + name + "\x00" + doc }

// mongoMessage is a message with its header.
func mongoMessage(id, to, op uint32, body string) string {
	p := binary.LittleEndian.AppendUint32(nil, uint32(16+len(body)))
	for _, v := range []uint32{id, to, op} {
		p = binary.LittleEndian.AppendUint32(p, v)
	}
	return string(p) + body
}

// mongoMsg is an OP_MSG.
func mongoMsg(id, to, flags uint32, doc string) string {
	return mongoMessage(id, to, 2013, string(binary.LittleEndian.AppendUint32(nil, flags))+"\x00"+doc)
}

func mongoFind(id uint32) string {
	return mongoMsg(id, 0, 0, bsonDoc(bsonText("find", "users"), bsonSub("filter", bsonDoc(bsonText("name", "Ada"))), bsonText("$db", "shop")))
}

var mongoOK = bsonDoc(bsonInt("ok", 1))

func TestMongoFields(t *testing.T) {
	k := newMongo(t, Options{})
	q, a := mongoFind(7), mongoMsg(99, 7, 0, bsonDoc(bsonSub("cursor", bsonDoc(bsonText("ns", "shop.users"), bsonInt("id", 5))), bsonInt("ok", 1)))
	k.client(q)
	k.server(a)
	want := Exchange{Kind: KindSession, Protocol: MongoDB, StartNanos: 1e6, EndNanos: 2e6, RequestType: "OP_MSG", RequestDomain: "shop",
		RequestResource: `{ "find": "users", "filter": { "name": ? }, "$db": "shop" }`, RequestID: 7, Endpoint: "find users",
		RequestBytes: int64(len(q)), ResponseBytes: int64(len(a)), Status: StatusOK, ResponseCode: 0, AffectedRows: -1,
		RequestSeq: 0xffffffe0, ResponseSeq: 5000, Attributes: []Attribute{{"mongodb_cursor", "5"}}}
	if got := k.one(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s := strings.Join(k.rec.lines[:3], "|"); s != "identified mongodb server=1|request @1000000|response @2000000 ok rrt=1000000" {
		t.Error(s)
	}
}

func TestMongoPairing(t *testing.T) {
	k := newMongo(t, Options{})
	k.client(mongoFind(1) + mongoFind(2))
	k.client(mongoFind(3)[:30])
	k.client(mongoFind(3)[30:])
	k.server(mongoMsg(50, 3, 0, mongoOK) + mongoMsg(51, 1, 0, mongoOK))
	k.server(mongoMsg(52, 77, 0, mongoOK))
	var ids []int64
	for _, e := range k.rec.exchanges {
		ids = append(ids, e.RequestID)
	}
	if got := fmt.Sprint(ids); got != "[3 1 77]" || k.rec.exchanges[2].Kind != KindResponse {
		t.Error(got)
	}
	k.rec.exchanges = nil
	k.client(mongoFind(0)) // some count from 0
	k.server(mongoMsg(53, 0, 0, mongoOK))
	if e := k.one(); e.Kind != KindSession || e.RequestID != 0 {
		t.Errorf("%+v", e)
	}
	// Nobody answers a write without concern, nor the operations of old.
	k.client(mongoMsg(4, 0, 2, bsonDoc(bsonText("insert", "log"), bsonText("$db", "shop"))))
	k.client(mongoMessage(5, 0, 2002, "\x00\x00\x00\x00shop.log\x00"+bsonDoc(bsonText("text", "geheim"))))
	for i, want := range []string{`{ "insert": "log", "$db": "shop" }`, `{ "text": ? }`} {
		if e := k.rec.exchanges[i]; e.Kind != KindRequest || e.Status != StatusUnknown || e.RequestResource != want || e.Endpoint != "insert log" {
			t.Errorf("%+v", e)
		}
	}
	k.rec.exchanges = nil
	// A cursor that is exhausted without being asked again.
	k.client(mongoMsg(6, 0, 1<<16, bsonDoc(bsonInt("hello", 1), bsonText("$db", "admin"))))
	k.server(mongoMsg(60, 6, 2, mongoOK))
	k.server(mongoMsg(61, 60, 2, mongoOK))
	k.server(mongoMsg(62, 61, 0, mongoOK))
	k.server(mongoMsg(63, 62, 0, mongoOK))
	if m := k.tr.Metrics(); m.Duplicates != 2 || m.Unpaired != 2 || len(k.rec.exchanges) != 2 {
		t.Errorf("%+v %s", m, k.rec.briefs())
	}
	k.c.End(9e9)
	if e := k.rec.exchanges[2]; e.RequestID != 2 || e.Status != StatusTimeout {
		t.Errorf("%+v", e)
	}
}

func TestMongoStatus(t *testing.T) {
	for _, c := range []struct{ doc, want string }{
		{bsonDoc(bsonInt("ok", 0), bsonText("errmsg", "no such command"), bsonInt("code", 59), bsonText("codeName", "CommandNotFound")),
			"59 client_error CommandNotFound no such command"},
		{bsonDoc(bsonInt("ok", 0), bsonText("errmsg", "not primary"), bsonInt("code", 10107)), "10107 server_error  not primary"},
		{bsonDoc(bsonInt("n", 0), "\x04writeErrors\x00"+bsonDoc(bsonSub("0", bsonDoc(bsonInt("code", 11000),
			bsonText("errmsg", "E11000 duplicate key error collection: shop.users index: email_1 dup key: { email: \"geheim\" }")))), bsonInt("ok", 1)),
			"11000 client_error  E11000 duplicate key error collection: shop.users index: email_1"},
		{mongoOK, "0 ok  "},
	} {
		k := newMongo(t, Options{})
		k.client(mongoFind(1))
		k.server(mongoMsg(2, 1, 0, c.doc))
		e := k.one()
		if got := fmt.Sprintf("%d %s %s %s", e.ResponseCode, e.Status, e.ResponseResult, e.ResponseException); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

func TestMongoSecrets(t *testing.T) {
	k := newMongo(t, Options{KeepLiterals: true})
	k.client(mongoMsg(1, 0, 0, bsonDoc(bsonInt("saslStart", 1), bsonText("payload", "geheim"), bsonText("$db", "admin"))))
	k.client(mongoFind(2))
	k.server(mongoMsg(9, 1, 0, mongoOK) + mongoMsg(9, 2, 0, mongoOK))
	es := k.rec.exchanges
	if es[0].RequestResource != `{ "saslStart": ?, "payload": ?, "$db": "admin" }` || es[1].ResponseResult != `{ "ok": 1 }` ||
		es[1].RequestResource != `{ "find": "users", "filter": { "name": "Ada" }, "$db": "shop" }` {
		t.Errorf("%+v", es)
	}
}

func TestMongoTraceContext(t *testing.T) {
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for _, comment := range []string{bsonText("comment", parent), bsonText("comment", "app='x', traceparent='"+parent+"'"),
		bsonSub("comment", bsonDoc(bsonText("traceparent", parent)))} {
		k := newMongo(t, Options{})
		k.client(mongoMsg(1, 0, 0, bsonDoc(bsonText("find", "users"), comment, bsonText("$db", "shop"))))
		k.server(mongoMsg(2, 1, 0, mongoOK))
		if e := k.one(); e.TraceID != "4bf92f3577b34da6a3ce929d0e0e4736" || e.SpanID != "00f067aa0ba902b7" {
			t.Errorf("%q: %+v", comment, e)
		}
	}
}

// TestMongoLong: of a result only the beginning is looked at, of a command as much as is kept.
func TestMongoLong(t *testing.T) {
	k := newMongo(t, Options{})
	k.client(mongoFind(1))
	const size = 1 << 20
	cursor := mongoMsg(9, 1, 0, bsonDoc(bsonSub("cursor", bsonDoc(bsonText("firstBatch", strings.Repeat("x", size))))))
	k.server(cursor[:100])
	if m := k.tr.Metrics(); m.Buffered != 0 || m.Responses != 1 {
		t.Errorf("%+v", m)
	}
	k.skip(Server, len(cursor)-100)
	insert := mongoMsg(2, 0, 0, bsonDoc(bsonText("insert", "users"), bsonSub("documents", bsonDoc(bsonText("text", strings.Repeat("x", size)))),
		bsonText("$db", "shop")))
	for s := insert; len(s) > 0; {
		n := min(len(s), 1400)
		k.client(s[:n])
		s = s[n:]
		if m := k.tr.Metrics(); m.Buffered > 16<<10 {
			t.Fatalf("%+v", m)
		}
	}
	k.server(mongoMsg(10, 2, 0, mongoOK))
	k.client(mongoFind(3))
	k.server(mongoMsg(11, 3, 0, mongoOK))
	es := k.rec.exchanges
	if len(es) != 3 || es[0].ResponseBytes != int64(len(cursor)) || es[1].RequestBytes != int64(len(insert)) || es[1].Endpoint != "insert users" ||
		es[2].RequestDomain != "shop" {
		t.Errorf("%+v", es)
	}
	if m := k.tr.Metrics(); m.ParseFailures+m.Resyncs+m.Unpaired != 0 {
		t.Errorf("%+v", m)
	}
}

func TestMongoCompressed(t *testing.T) {
	k := newMongo(t, Options{})
	pack := func(id, to uint32, message string) string {
		head := binary.LittleEndian.AppendUint32(nil, 2013)
		head = append(binary.LittleEndian.AppendUint32(head, uint32(len(message)-16)), 1)
		return mongoMessage(id, to, 2012, string(head)+string(snappy.Encode(nil, []byte(message[16:]))))
	}
	q, a := pack(1, 0, mongoFind(1)), pack(2, 1, mongoMsg(2, 1, 0, bsonDoc(bsonInt("ok", 0), bsonInt("code", 59))))
	k.client(q[:30])
	k.client(q[30:])
	k.server(a)
	if e := k.one(); e.Endpoint != "find users" || e.RequestDomain != "shop" || e.RequestType != "OP_MSG" || e.ResponseCode != 59 ||
		e.RequestBytes != int64(len(q)) || e.ResponseBytes != int64(len(a)) {
		t.Errorf("%+v", e)
	}
	// Much more than is inflated.
	k.client(pack(2, 0, mongoFind(2)))
	k.server(pack(3, 2, mongoMsg(3, 2, 0, bsonDoc(bsonSub("cursor", bsonDoc(bsonInt("id", 5), bsonText("firstBatch", strings.Repeat("x", 100000)))), bsonInt("ok", 1)))))
	if e := k.one(); fmt.Sprint(e.Attributes) != "[{mongodb_cursor 5}]" || e.Status != StatusOK {
		t.Errorf("%+v", e)
	}
	k.client(mongoMessage(3, 0, 2012, "\xdd\x07\x00\x00\x10\x00\x00\x00\x02garbage"))
	k.server(mongoMsg(4, 3, 0, mongoOK))
	if e := k.one(); e.RequestID != 3 || e.Status != StatusOK {
		t.Errorf("%+v", e)
	}
	if m := k.tr.Metrics(); m.ParseFailures != 1 {
		t.Errorf("%+v", m)
	}
}

func TestMongoPickUp(t *testing.T) {
	k := newMongo(t, Options{Timeouts: map[Protocol]time.Duration{MongoDB: time.Second}, HoldTime: time.Nanosecond})
	k.client("junk" + mongoFind(1)[40:])
	k.client(mongoFind(2))
	k.server(mongoMsg(9, 2, 0, mongoOK))
	k.client(mongoFind(3))
	k.tr.Tick(1e10)
	k.server(mongoMsg(9, 3, 0, mongoOK))
	k.skip(Client, 20)
	k.client(mongoFind(5))
	k.tr.Tick(2e10)
	k.server(mongoMsg(9, 5, 0, mongoOK)[:20])
	k.c.Close(3e10)
	var got []string
	for _, e := range k.rec.exchanges {
		got = append(got, fmt.Sprint(e.Kind, " ", e.RequestID, " ", e.Status))
	}
	if s := strings.Join(got, ", "); s != "session 2 ok, request 3 timeout, response 3 ok, request 5 timeout, response 5 ok" {
		t.Error(s)
	}
}

func TestMongoAllocations(t *testing.T) {
	tr := NewTracker(Options{}, &discard{})
	c := tr.NewConn(transportTCP, 40000, 27017)
	q, a := []byte(mongoFind(1)), []byte(mongoMsg(2, 1, 0, mongoOK))
	var qs, as uint32
	if n := testing.AllocsPerRun(200, func() {
		c.Payload(Client, 1, qs, q, len(q))
		c.Payload(Server, 2, as, a, len(a))
		qs, as = qs+uint32(len(q)), as+uint32(len(a))
	}); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}

// TestCorpusMongo compares with the expectation, a line of the request and one of the response. The documents are the same,
// letter by letter, when literals are kept.
func TestCorpusMongo(t *testing.T) {
	file := filepath.Join(corpusDir(t), "l7", "mongo", "mongo-msg.pcap")
	lines := resultLines(t, file)
	document := func(line, name string) string { return strings.ReplaceAll(debugField(line, name), `\"`, `"`) }
	for _, reversed := range []bool{false, true} {
		rec, m := replay(t, file, Options{KeepLiterals: true}, reversed)
		if len(rec.exchanges) != 1 || len(lines) != 2 || m.ParseFailures+m.Resyncs+m.Unpaired+m.GapBytes != 0 {
			t.Fatalf("%q, %+v", rec.lines, m)
		}
		e, req, rsp := rec.exchanges[0], lines[0], lines[1]
		for _, c := range []struct{ what, got, want string }{
			{"type", e.RequestType, debugField(req, "op_code_name")},
			{"resource", e.RequestResource, document(req, "request")},
			{"id", fmt.Sprint(e.RequestID), debugField(req, "request_id")},
			{"request bytes", fmt.Sprint(e.RequestBytes), debugField(req, "captured_request_byte")},
			{"result", e.ResponseResult, document(rsp, "response")},
			{"code", fmt.Sprint(e.ResponseCode), debugField(rsp, "response_code")},
			{"exception", e.ResponseException, debugField(rsp, "exception")},
			{"status", e.Status.String(), strings.ToLower(debugField(rsp, "status"))},
			{"response bytes", fmt.Sprint(e.ResponseBytes), debugField(rsp, "captured_response_byte")},
			{"rrt", fmt.Sprint((e.EndNanos - e.StartNanos) / 1000), debugField(rsp, "rrt")},
			{"endpoint", e.Endpoint, "find query"}, // there none
			{"domain", e.RequestDomain, "sky-test"},
		} {
			if c.got != c.want {
				t.Errorf("reversed %v: %s\n got %q\nwant %q", reversed, c.what, c.got, c.want)
			}
		}
	}
}
