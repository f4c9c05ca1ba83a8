package mongodb

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/klauspost/compress/zstd"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// element is an element of a BSON document: e("name", value).
func e(name string, v any) string {
	var kind Kind
	var p []byte
	switch v := v.(type) {
	case string:
		kind, p = String, append(binary.LittleEndian.AppendUint32(nil, uint32(len(v)+1)), v+"\x00"...)
	case int:
		kind, p = Int32, binary.LittleEndian.AppendUint32(nil, uint32(v))
	case int64:
		kind, p = Int64, binary.LittleEndian.AppendUint64(nil, uint64(v))
	case float64:
		kind, p = Double, binary.LittleEndian.AppendUint64(nil, math.Float64bits(v))
	case bool:
		kind, p = Boolean, []byte{map[bool]byte{true: 1}[v]}
	case doc:
		kind, p = Document, []byte(v)
	case array:
		kind = Array
		var items []string
		for i, item := range v {
			items = append(items, e(fmt.Sprint(i), item))
		}
		p = []byte(d(items...))
	case raw:
		kind, p = v.kind, []byte(v.value)
	case nil:
		kind = Null
	}
	return string(rune(kind)) + name + "\x00" + string(p)
}

type (
	doc   string
	array []any
	raw   struct {
		kind  Kind
		value string
	}
)

// d is a document of elements.
func d(elements ...string) doc {
	s := strings.Join(elements, "")
	return doc(binary.LittleEndian.AppendUint32(nil, uint32(len(s)+5))) + doc(s) + "\x00"
}

// message is a message with its header.
func message(id, to int32, op Op, body string) string {
	p := binary.LittleEndian.AppendUint32(nil, uint32(16+len(body)))
	p = binary.LittleEndian.AppendUint32(p, uint32(id))
	p = binary.LittleEndian.AppendUint32(p, uint32(to))
	return string(binary.LittleEndian.AppendUint32(p, uint32(op))) + body
}

// msg is an OP_MSG.
func msg(id, to int32, flags uint32, body doc) string {
	return message(id, to, OpMsg, string(binary.LittleEndian.AppendUint32(nil, flags))+"\x00"+string(body))
}

var find = d(e("find", "users"), e("filter", d(e("age", d(e("$in", array{1, 2, 3}))), e("name", "Ada"))), e("lsid", d(e("id", 1))), e("$db", "shop"))

func TestParse(t *testing.T) {
	zero := "\x00\x00\x00\x00"
	insert := d(e("insert", "users"), e("$db", "shop"))
	sequence := "documents\x00" + string(d(e("_id", 1)))
	sequence = string(binary.LittleEndian.AppendUint32(nil, uint32(len(sequence)+4))) + sequence
	for _, c := range []struct{ in, want string }{
		{msg(1, 0, 0, find), "OP_MSG 1 0 find shop users"},
		{message(2, 0, OpMsg, "\x02\x00\x00\x00\x01"+sequence+"\x00"+string(insert)), "OP_MSG 2 0 insert shop users"},
		{message(3, 0, OpMsg, "\x00\x00\x00\x00\x00"+string(insert)+"\x01"+sequence), "OP_MSG 3 0 insert shop users"},
		{message(4, 0, OpQuery, zero+"admin.$cmd\x00"+zero+"\xff\xff\xff\xff"+string(d(e("isMaster", 1)))), "OP_QUERY 4 0 isMaster admin "},
		{message(5, 0, OpQuery, zero+"shop.users\x00"+zero+zero+string(d(e("name", "Ada")))), "OP_QUERY 5 0 find shop users"},
		{message(6, 0, OpQuery, zero+"shop.$cmd\x00"+zero+zero+string(d(e("$query", d(e("count", "users")))))), "OP_QUERY 6 0 count shop users"},
		{message(7, 0, OpInsert, zero+"shop.users\x00"+string(d(e("name", "Ada")))), "OP_INSERT 7 0 insert shop users"},
		{message(8, 0, OpDelete, zero+"shop.users\x00"+zero+string(d())), "OP_DELETE 8 0 delete shop users"},
		{message(9, 0, OpGetMore, zero+"shop.users\x00"+zero+"\x05\x00\x00\x00\x00\x00\x00\x00"), "OP_GET_MORE 9 0 getMore shop users cursor 5"},
		{message(10, 0, OpKillCursors, zero+"\x01\x00\x00\x00"), "OP_KILL_CURSORS 10 0 killCursors  "},
		{message(11, 0, OpCommand, "shop\x00find\x00"+string(find)), "OP_COMMAND 11 0 find shop users"},
		{msg(12, 0, 0, d(e("getMore", int64(77)), e("collection", "users"), e("$db", "shop"))), "OP_MSG 12 0 getMore shop users cursor 77"},
		{msg(13, 0, 0, d(e("ping", 1.0), e("$db", "admin"))), "OP_MSG 13 0 ping admin "},
		{msg(14, 0, 0, d(e("createUser", "ada"), e("$db", "admin"))), "OP_MSG 14 0 createUser admin "},
		{"", ErrShort.Error()}, {msg(1, 0, 0, find)[:22], ErrShort.Error()},
		{message(1, 0, 999, "xxxxxxxx"), ErrMalformed.Error()}, {message(1, 0, OpMsg, "\x04\x00\x00\x00\x00"+string(find)), ErrMalformed.Error()},
		{message(1, 0, OpMsg, zero+"\x02"+string(find)), ErrMalformed.Error()}, {message(1, 0, OpMsg, zero+"\x00\xff\x00\x00\x00"), ErrMalformed.Error()},
		{"\xff\xff\xff\xff" + msg(1, 0, 0, find)[4:], ErrMalformed.Error()}, {"\x10" + msg(1, 0, 0, find)[1:], ErrMalformed.Error()},
		{message(1, 0, OpQuery, zero), ErrMalformed.Error()},
	} {
		var m Message
		var cmd Command
		n, err := Parse([]byte(c.in), &m)
		m.Command(&cmd)
		got := fmt.Sprintf("%s %d %d %s %s %s", m.Op, m.RequestID, m.ResponseTo, cmd.Name, cmd.Database, cmd.Collection)
		if cmd.Cursor != 0 {
			got += fmt.Sprint(" cursor ", cmd.Cursor)
		}
		if err != nil {
			got = err.Error()
		} else if n != len(c.in) || m.Want > n {
			t.Errorf("%q: n=%d of %d, want=%d", c.in, n, len(c.in), m.Want)
		}
		if got != c.want {
			t.Errorf("%q: %s, want %s", c.in, got, c.want)
		}
	}
	// Cut anywhere: as long as header and length of the document are there it is read.
	whole := msg(1, 0, 0, find)
	for cut := range len(whole) {
		var m Message
		var cmd Command
		n, err := Parse([]byte(whole[:cut]), &m)
		if m.Command(&cmd); (err == nil) != (cut >= 25) || err == nil && (n != len(whole) || m.Want != len(whole)) {
			t.Fatalf("%d: n=%d %v", cut, n, err)
		}
	}
}

func TestResult(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{msg(1, 2, 0, d(e("ok", 1.0))), "false 0   0"},
		{msg(1, 2, 0, d(e("cursor", d(e("firstBatch", array{d(e("a", 1))}), e("id", int64(9)), e("ns", "a.b"))), e("ok", 1.0))), "false 0   9"},
		{msg(1, 2, 0, d(e("ok", 0.0), e("errmsg", "no such command"), e("code", 59), e("codeName", "CommandNotFound"))), "true 59 CommandNotFound no such command 0"},
		{msg(1, 2, 0, d(e("errmsg", "x"), e("code", int64(8)), e("ok", 0))), "true 8  x 0"},
		{msg(1, 2, 0, d(e("n", 0), e("writeErrors", array{d(e("index", 0), e("code", 11000), e("errmsg", "dup"))}), e("ok", 1.0))), "true 11000  dup 0"},
		{msg(1, 2, 0, d(e("n", 1), e("writeConcernError", d(e("code", 64), e("codeName", "W"), e("errmsg", "timed out"))), e("ok", 1.0))), "true 64 W timed out 0"},
		{msg(1, 2, 0, d(e("n", 1), e("code", 5), e("ok", true))), "false 0   0"},
		{message(1, 2, OpReply, "\x02\x00\x00\x00"+strings.Repeat("\x00", 12)+"\x01\x00\x00\x00"+string(d(e("$err", "bad"), e("code", 17)))), "true 17  bad 0"},
		{message(1, 2, OpReply, "\x01\x00\x00\x00"+strings.Repeat("\x00", 16)), "true 43  cursor not found 0"},
		{message(1, 2, OpReply, "\x08\x00\x00\x00\x05\x00\x00\x00"+strings.Repeat("\x00", 12)), "false 0   5"},
	} {
		var m Message
		var r Result
		if _, err := Parse([]byte(c.in), &m); err != nil {
			t.Errorf("%q: %v", c.in, err)
		}
		m.Result(&r)
		if got := fmt.Sprintf("%v %d %s %s %d", r.Failed, r.Code, r.CodeName, r.Text, r.Cursor); got != c.want {
			t.Errorf("%q: %s, want %s", c.in, got, c.want)
		}
	}
	for code, want := range map[int64]bool{11000: false, 59: false, 13: false, 40324: false, 1: true, 91: true, 50: true, 112: true, 10107: true, 13435: true} {
		if ServerFault(code) != want {
			t.Errorf("code %d", code)
		}
	}
}

func TestAppendText(t *testing.T) {
	all := d(e("s", "a"), e("d", 1.5), e("i", 5), e("l", int64(-6)), e("b", true), e("n", nil), e("a", array{1, "x"}), e("o", d()),
		e("id", raw{ObjectID, "\x67\x2c\x2b\xc7\xf4\xef\x2b\xe0\x5f\x1d\xdc\xc4"}), e("bin", raw{Binary, "\x02\x00\x00\x00\x04hi"}),
		e("t", raw{Date, "\x00\x00\x00\x00\x00\x00\x00\x00"}), e("ts", raw{Timestamp, "\x02\x00\x00\x00\x01\x00\x00\x00"}),
		e("re", raw{Regex, "^a\x00i\x00"}), e("dec", raw{Decimal, strings.Repeat("\x00", 16)}), e("min", raw{MaxKey, ""}))
	pipeline := d(e("aggregate", "users"), e("pipeline", array{d(e("$match", d(e("a", 1)))), d(e("$limit", 5))}), e("$db", "shop"))
	for _, c := range []struct {
		in                doc
		command, literals bool
		want              string
	}{
		{find, true, false, `{ "find": "users", "filter": { "age": { "$in": [?, ...] }, "name": ? }, "$db": "shop" }`},
		{find, true, true, `{ "find": "users", "filter": { "age": { "$in": [1, 2, 3] }, "name": "Ada" }, "lsid": { "id": 1 }, "$db": "shop" }`},
		{d(e("name", "Ada"), e("$db", "x")), false, false, `{ "name": ?, "$db": ? }`},
		{pipeline, true, false, `{ "aggregate": "users", "pipeline": [{ "$match": { "a": ? } }, { "$limit": ? }], "$db": "shop" }`},
		{d(e("insert", "u"), e("documents", array{d(e("a", 1)), d(e("a", 2))})), true, false, `{ "insert": "u", "documents": [{ "a": ? }, ...] }`},
		{d(), true, false, `{}`},
		{all, false, true, `{ "s": "a", "d": 1.5, "i": 5, "l": -6, "b": true, "n": null, "a": [1, "x"], "o": {}, "id": ObjectId("672c2bc7f4ef2be05f1ddcc4"), ` +
			`"bin": Binary(0x4, aGk=), "t": DateTime("1970-01-01T00:00:00.000Z"), "ts": Timestamp(1, 2), "re": ?, "dec": ?, "min": MaxKey }`},
	} {
		if got := string(AppendText(nil, []byte(c.in), c.command, c.literals, 1024)); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		for limit := range 60 {
			if got := AppendText(nil, []byte(c.in), c.command, c.literals, limit); len(got) > limit {
				t.Errorf("limit %d: %q", limit, got)
			}
		}
	}
	deep := d(e("x", 1))
	for range 100 {
		deep = d(e("a", deep))
	}
	if got := string(AppendText(nil, []byte(deep), false, true, 4096)); strings.Count(got, "{") > maxDepth+1 || !strings.Contains(got, "...") {
		t.Error(got)
	}
}

func TestInflate(t *testing.T) {
	text := []byte(strings.Repeat(string(find), 200))
	var z, zs bytes.Buffer
	zw := zlib.NewWriter(&z)
	if _, err := zw.Write(text); err != nil || zw.Close() != nil {
		t.Fatal(err)
	}
	sw, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sw.Write(text); err != nil || sw.Close() != nil {
		t.Fatal(err)
	}
	var f Inflater
	for c, p := range map[Compressor][]byte{Noop: text, Snappy: snappy.Encode(nil, text), Zlib: z.Bytes(), Zstd: zs.Bytes()} {
		for range 2 {
			for _, limit := range []int{1, 100, 5000, 1 << 20} {
				got, err := f.Inflate(c, p, limit)
				if want := text[:min(len(text), limit)]; err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d, limit %d: %d bytes, want %d: %v", c, limit, len(got), len(want), err)
				}
			}
			for _, cut := range []int{len(p) - 1, len(p) / 2} {
				if got, _ := f.Inflate(c, p[:cut], 1<<20); !bytes.HasPrefix(text, got) {
					t.Errorf("%d, cut to %d: wrong bytes", c, cut)
				}
			}
		}
		if c == Noop {
			continue
		}
		if _, err := f.Inflate(c, []byte("\x05garbage, not compressed"), 100); err == nil && c != Snappy {
			t.Errorf("%d takes garbage", c)
		}
	}
	// A literal with a length of its own.
	long := bytes.Repeat([]byte("0123456789abcdef"), 40)
	if got, err := f.Inflate(Snappy, snappy.Encode(nil, long[:600]), 1000); err != nil || !bytes.Equal(got, long[:600]) {
		t.Errorf("%v %d", err, len(got))
	}
	for _, bad := range []string{"", "\x05\x01\x05", "\xff\xff\xff\xff\x7f\x00a", "\x10\x00a\x0e\xff\xff", "\x10\xfc\xff\xff\xff\xffabc"} {
		if got, _ := f.Inflate(Snappy, []byte(bad), 100); len(got) > 1 {
			t.Errorf("%q gives %q", bad, got)
		}
	}
	if _, err := f.Inflate(9, text, 100); err == nil {
		t.Error("unknown compressor")
	}
}

func TestCompressed(t *testing.T) {
	body := "\x00\x00\x00\x00\x00" + string(find)
	head := binary.LittleEndian.AppendUint32(nil, uint32(OpMsg))
	head = append(binary.LittleEndian.AppendUint32(head, uint32(len(body))), byte(Snappy))
	p := []byte(message(1, 0, OpCompressed, string(head)+string(snappy.Encode(nil, []byte(body)))))
	var m Message
	n, err := Parse(p, &m)
	if err != nil || n != len(p) || !m.Compressed || m.Op != OpMsg || m.Want != n {
		t.Fatalf("%d %v %+v", n, err, m)
	}
	var f Inflater
	inflated, err := f.Inflate(m.Compressor, m.Payload, 1<<14)
	if err != nil || m.ParseBody(inflated, len(inflated)) != nil || string(m.Doc) != string(find) {
		t.Errorf("%v %q", err, m.Doc)
	}
	if Check(p, false) != wire.Request {
		t.Error("not recognised")
	}
	p[24] = 7
	if _, err := Parse(p, &m); err == nil {
		t.Error("unknown compressor")
	}
}

func TestCheck(t *testing.T) {
	zero := "\x00\x00\x00\x00"
	for _, c := range []struct {
		in   string
		want wire.Verdict
	}{
		{msg(1, 0, 0, find), wire.Request}, {msg(1, 7, 0, d(e("ok", 1.0))), wire.Response}, {msg(1, 0, ExhaustAllowed, find), wire.Request},
		{msg(1, 0, 1<<17, find), wire.No}, {msg(1, 0, 0, find)[:20], wire.Maybe}, {msg(1, 0, 0, find)[:28], wire.Maybe}, {"", wire.Maybe},
		{message(4, 0, OpQuery, zero+"admin.$cmd\x00"+zero+zero+string(d(e("isMaster", 1)))), wire.Request},
		{message(4, 0, OpQuery, zero+"admin cmd\x00"+zero+zero+string(d(e("isMaster", 1)))), wire.No},
		{message(1, 2, OpReply, strings.Repeat("\x00", 20)+string(d(e("ok", 1.0)))), wire.Response},
		{message(1, 2, OpInsert, zero+"shop.users\x00"+string(d(e("name", "Ada")))), wire.No},
		{msg(1, 0, 0, d("\x02fi\x01nd\x00")), wire.No}, {msg(1, 0, 0, d("\x77find\x00")), wire.No}, {msg(1, 0, 0, d()), wire.Request},
		{"GET / HTTP/1.1\r\nHost: x\r\n", wire.No}, {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abcdefghijklm", wire.No},
	} {
		if got := Check([]byte(c.in), true); got != c.want {
			t.Errorf("%q: %d, want %d", c.in, got, c.want)
		}
		if got := Check([]byte(c.in), false); got != c.want && (len(c.in) >= 16 || got != wire.No) {
			t.Errorf("%q: %d without hint, want %d", c.in, got, c.want)
		}
	}
}

func TestAllocations(t *testing.T) {
	req, rep := []byte(msg(1, 0, 0, find)), []byte(msg(1, 2, 0, d(e("ok", 0.0), e("errmsg", "no"), e("code", 59))))
	var m Message
	var c Command
	var r Result
	var f Inflater
	packed := snappy.Encode(nil, req)
	text := make([]byte, 0, 1024)
	if n := testing.AllocsPerRun(100, func() {
		_, err := Parse(req, &m)
		m.Command(&c)
		text = AppendText(text[:0], m.Doc, true, false, 1000)
		_, err2 := Parse(rep, &m)
		m.Result(&r)
		_, err3 := f.Inflate(Snappy, packed, 4096)
		if err != nil || err2 != nil || err3 != nil || Check(req, false) != wire.Request || !r.Failed {
			t.Fatal(err, err2, err3)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(msg(1, 0, 0, find)), byte(0))
	f.Add([]byte(msg(1, 2, 0, d(e("ok", 0.0), e("errmsg", "no"), e("code", 59)))), byte(0))
	f.Add([]byte(message(4, 0, OpQuery, "\x00\x00\x00\x00admin.$cmd\x00\x00\x00\x00\x00\x01\x00\x00\x00"+string(d(e("isMaster", 1))))), byte(0))
	f.Add(snappy.Encode(nil, []byte(msg(1, 0, 0, find))), byte(1))
	f.Add([]byte(message(1, 2, OpReply, strings.Repeat("\x00", 20)+string(d(e("a", array{1, d(e("b", nil))}))))), byte(0))
	f.Fuzz(func(t *testing.T, p []byte, c byte) {
		Check(p, false)
		var m Message
		if n, err := Parse(p, &m); err == nil && (n <= 16 || m.Want > n || len(m.Doc) > len(p)) {
			t.Fatalf("n=%d want=%d", n, m.Want)
		}
		var cmd Command
		m.Command(&cmd)
		var r Result
		m.Result(&r)
		for _, literals := range []bool{false, true} {
			if text := AppendText(nil, m.Doc, cmd.IsCommand, literals, 200); len(text) > 200 {
				t.Fatalf("%d bytes", len(text))
			}
		}
		if c%4 == byte(Snappy) {
			var f Inflater
			if out, _ := f.Inflate(Snappy, p, 1000); len(out) > 1000 {
				t.Fatalf("%d bytes", len(out))
			}
			n, err := snappy.DecodedLen(p)
			if err != nil || n > 1000 {
				return
			}
			if want, err := snappy.Decode(nil, p); err == nil {
				if out, _ := f.Inflate(Snappy, p, 1000); !bytes.Equal(out, want) {
					t.Fatalf("%q, want %q", out, want)
				}
			}
		}
	})
}
