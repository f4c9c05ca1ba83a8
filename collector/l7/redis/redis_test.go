package redis

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// command is a command as clients send it.
func command(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

func TestParseCommand(t *testing.T) {
	long := "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1000\r\n"
	for _, c := range []struct {
		in, want string
	}{
		{command("LRANGE", "mylist", "0", "299"), "[LRANGE mylist 0 299] 4 n=44 left=0"},
		{command("get", "abcd") + "*1\r\n", "[get abcd] 2 n=23 left=0"},
		{"*0\r\n", "[] 0 n=4 left=0"},
		{"*-1\r\n", "[] 0 n=5 left=0"},
		{"\r\n", "[] 0 n=2 left=0"},
		{"PING\r\n", "[PING] 1 n=6 left=0 inline"},
		{"set  a\tb\n", "[set a b] 3 n=9 left=0 inline"},
		{long + "abc", "[SET k abc] 3 n=1029 left=0 cut"},
		{long, "[SET k ] 3 n=1029 left=0 cut"},
		{long[:len(long)-1], "[SET k] 3 n=20 left=1"},
		{"*2\r\n$3\r\nge", "[ge] 2 n=13 left=1 cut"},
		{"*2\r\n", "[] 2 n=4 left=2"},
		{"", ErrShort.Error()}, {"*", ErrShort.Error()}, {"*2\r", ErrShort.Error()}, {"PIN", ErrShort.Error()},
		{"*x\r\n", ErrMalformed.Error()}, {"*2\n", ErrMalformed.Error()}, {"*2\r\n:1\r\n", ErrMalformed.Error()},
		{"*1\r\n$-1\r\n", ErrMalformed.Error()}, {"*1\r\n$3\r\nabcde", ErrMalformed.Error()}, {"*2000000\r\n", ErrMalformed.Error()},
		{"*1\r\n$99999999999999\r\n", ErrMalformed.Error()}, {"a\x01b\r\n", ErrMalformed.Error()}, {"{json}\r\n", ErrMalformed.Error()},
		{"*00000000000000000000000000000000000001\r\n", ErrMalformed.Error()},
	} {
		var m Command
		n, left, err := ParseCommand([]byte(c.in), &m)
		got := fmt.Sprintf("%s %d n=%d left=%d", m.Args[:m.Len], m.Count, n, left)
		if m.Cut {
			got += " cut"
		}
		if m.Inline && m.Count > 0 {
			got += " inline"
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
	var m Command
	n, left, err := ParseCommand([]byte(command(strings.Split("DEL"+strings.Repeat(" k", 99), " ")...)), &m)
	if err != nil || left != 0 || m.Len != MaxArgs || m.Count != 100 || n != 6+9+99*7 {
		t.Errorf("many words: %v, n=%d left=%d len=%d count=%d", err, n, left, m.Len, m.Count)
	}
}

func TestSkip(t *testing.T) {
	nested := "*3\r\n:1\r\n*2\r\n$1\r\na\r\n%1\r\n+k\r\n_\r\n#t\r\n"
	for _, c := range []struct {
		in   string
		ask  int64
		want string
	}{
		{nested, 1, fmt.Sprintf("%d 0 <nil>", len(nested))},
		{nested + "+OK\r\n", 1, fmt.Sprintf("%d 0 <nil>", len(nested))},
		{nested[:20], 1, "19 2 <nil>"},
		{nested[:8], 1, "8 2 <nil>"},
		{"$-1\r\n*-1\r\n", 2, "10 0 <nil>"},
		{"|1\r\n+ttl\r\n:5\r\n$1\r\na\r\n", 1, "21 0 <nil>"},
		{"$5000\r\n", 1, "5009 0 <nil>"},
		{"~2\r\n,1.5\r\n(12345\r\n=7\r\ntxt:abc\r\n!3\r\nERR\r\n", 3, "40 0 <nil>"},
		{"", 3, "0 3 <nil>"},
		{"*1", 3, "0 3 <nil>"},
		{"X", 1, "0 1 not RESP"},
		{"+OK\n", 1, "0 1 not RESP"},
		{"*-2\r\n", 1, "0 1 not RESP"},
	} {
		n, left, err := Skip([]byte(c.in), c.ask)
		if got := fmt.Sprintf("%d %d %v", n, left, err); got != c.want {
			t.Errorf("%q: %s, want %s", c.in, got, c.want)
		}
	}
	// Each level may hold many: the sum is bounded.
	if _, _, err := Skip([]byte(strings.Repeat("*2147483648\r\n", 600)), 1); err == nil {
		t.Error("endless nesting is taken")
	}
}

func TestParseReply(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"+OK\r\n", "+ OK 0 n=5 left=0"},
		{"-NOAUTH Authentication required.\r\n", "- NOAUTH Authentication required. 0 n=34 left=0"},
		{":5\r\n", ": 5 0 n=4 left=0"},
		{"$3\r\nabc\r\n", "$ abc 3 n=9 left=0"},
		{"$0\r\n\r\n", "$  0 n=6 left=0"},
		{"$300\r\nabc", "$ abc 300 n=308 left=0"},
		{"$-1\r\n", "$  0 n=5 left=0 null"},
		{"*-1\r\n", "*  -1 n=5 left=0 null"},
		{"_\r\n", "_  0 n=3 left=0 null"},
		{"*300\r\n$3\r\n", "*  300 n=6 left=300"},
		{"%2\r\n", "%  2 n=4 left=4"},
		{"*3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", "*  3 n=4 left=3 event=subscribe channel=c number"},
		{"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n", "*  3 n=4 left=3 event=message channel=c"},
		{">4\r\n$8\r\npmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n", ">  4 n=4 left=4 event=pmessage channel=c"},
		{"*2\r\n:1\r\n:2\r\n", "*  2 n=4 left=2"},
		{"|1\r\n+ttl\r\n:5\r\n$1\r\na\r\n", "$ a 1 n=21 left=0"},
		{"!9\r\nERR oops!\r\n", "! ERR oops! 9 n=15 left=0"},
		{"|1\r\n+ttl\r\n:5\r\n", ErrShort.Error()}, {"|1\r\n+t", ErrShort.Error()}, {"+OK", ErrShort.Error()},
		{"*3\r\n$9\r\nsubs", ErrShort.Error()}, {"*3\r\n", ErrShort.Error()},
		{"", ErrShort.Error()}, {"hello\r\n", ErrMalformed.Error()}, {"|1\r\n+a\r\n+b\r\n|1\r\n", ErrMalformed.Error()},
	} {
		var r Reply
		n, left, err := ParseReply([]byte(c.in), false, &r)
		got := fmt.Sprintf("%c %s %d n=%d left=%d", r.Type, r.Text, r.Count, n, left)
		for _, f := range []struct {
			is   bool
			text string
		}{{r.Null, " null"}, {r.Event != nil, " event=" + string(r.Event)}, {r.Channel != nil, " channel=" + string(r.Channel)}, {r.Number, " number"}} {
			if f.is {
				got += f.text
			}
		}
		if err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%q:\n got %s\nwant %s", c.in, got, c.want)
		}
	}
	var r Reply
	if n, left, err := ParseReply([]byte("*3\r\n$9\r\nsubs"), true, &r); n != 4 || left != 3 || err != nil {
		t.Errorf("cut: %d %d %v", n, left, err)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		in             string
		strict, inline wire.Verdict
		reply          wire.Verdict
	}{
		{command("get", "a"), wire.Request, wire.Request, wire.Response},
		{command("HGETALL", "a")[:14], wire.Maybe, wire.Maybe, wire.Response},
		{command("JSON.GET", "a"), wire.Request, wire.Request, wire.Response},
		{command("nonsense", "a"), wire.No, wire.Either, wire.Response},
		{"*2\r\n", wire.Maybe, wire.Maybe, wire.Maybe},
		{"*", wire.Maybe, wire.Maybe, wire.Maybe},
		{"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n", wire.No, wire.No, wire.Response},
		{"PING\r\n", wire.No, wire.Request, wire.No},
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", wire.No, wire.No, wire.No},
		{"POST / HTTP/1.1\r\n", wire.No, wire.No, wire.No},
		{"PI", wire.No, wire.Maybe, wire.No},
		{"+OK\r\n", wire.No, wire.No, wire.Response},
		{"+OK", wire.No, wire.Maybe, wire.Maybe},
		{"-ERR x\r\n", wire.No, wire.No, wire.Response},
		{"- x\r\n", wire.No, wire.No, wire.No},
		{":12\r\n", wire.No, wire.No, wire.Response},
		{":1a\r\n", wire.No, wire.No, wire.No},
		{"#t\r\n", wire.No, wire.No, wire.Response},
		{"# comment\r\n", wire.No, wire.No, wire.No},
		{"$3\r\nabc\r\n", wire.No, wire.No, wire.Response},
		{"$3\r\nabcde", wire.No, wire.No, wire.No},
		{"\x16\x03\x01\x02\x00\x01", wire.No, wire.No, wire.No},
		{"", wire.Maybe, wire.Maybe, wire.Maybe},
	} {
		if got := CheckCommand([]byte(c.in), false); got != c.strict {
			t.Errorf("%q: strict %d, want %d", c.in, got, c.strict)
		}
		if got := CheckCommand([]byte(c.in), true); got != c.inline && c.in != "+OK" {
			t.Errorf("%q: inline %d, want %d", c.in, got, c.inline)
		}
		if got := CheckReply([]byte(c.in)); got != c.reply {
			t.Errorf("%q: reply %d, want %d", c.in, got, c.reply)
		}
	}
}

func TestAppendText(t *testing.T) {
	for in, want := range map[string]string{
		"LRANGE mylist 0 299":             "LRANGE mylist ?",
		"set k secret EX 60":              "set k ?",
		"GET k":                           "GET k",
		"MGET a b c":                      "MGET a b c",
		"MSET a 1 b 2":                    "MSET a ? b ?",
		"BLPOP a b 0":                     "BLPOP a b ?",
		"SMOVE a b x":                     "SMOVE a b ?",
		"OBJECT ENCODING k":               "OBJECT ENCODING k",
		"BITOP AND d a":                   "BITOP AND d ?",
		"CONFIG SET requirepass geheim":   "CONFIG SET requirepass ?",
		"CLIENT SETNAME me":               "CLIENT SETNAME ?",
		"AUTH user geheim":                "AUTH ?",
		"HELLO 3 AUTH user geheim":        "HELLO 3 ?",
		"EVAL return(1) 2 a b x":          "EVAL ? 2 a b ?",
		"EVALSHA abc 1 a x":               "EVALSHA abc 1 a ?",
		"ZUNIONSTORE d 2 a b WEIGHTS 1 2": "ZUNIONSTORE d 2 a b ?",
		"SINTERCARD 2 a b LIMIT 1":        "SINTERCARD 2 a b ?",
		"SINTERCARD x a b":                "SINTERCARD ?",
		"XREADGROUP GROUP g c COUNT 1 STREAMS a b > 0": "XREADGROUP ? STREAMS a b ?",
		"XREAD COUNT 1":       "XREAD ?",
		"FT.SEARCH idx query": "FT.SEARCH idx ?",
		"MULTI":               "MULTI",
		"PING hello":          "PING ?",
	} {
		var c Command
		if _, _, err := ParseCommand([]byte(command(strings.Fields(in)...)), &c); err != nil {
			t.Fatal(err)
		}
		if got := string(c.AppendText(nil, false, 1024)); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
		got := string(c.AppendText(nil, true, 1024))
		if c.Secret() {
			in = want
		}
		if got != in {
			t.Errorf("with literals %q, want %q", got, in)
		}
		if got := c.AppendText(nil, true, 5); len(got) > 5 {
			t.Errorf("%q is longer than 5", got)
		}
	}
}

func TestAllocations(t *testing.T) {
	p, rep := []byte(command("XREADGROUP", "GROUP", "g", "c", "STREAMS", "a", ">")), []byte("*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n")
	var c Command
	var r Reply
	text := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		if CheckCommand(p, true) != wire.Request || CheckReply(rep) != wire.Response {
			t.Fatal("not RESP")
		}
		_, _, err := ParseCommand(p, &c)
		_, left, err2 := ParseReply(rep, false, &r)
		if err != nil || err2 != nil || left != 3 {
			t.Fatal(err, err2)
		}
		text = c.AppendText(text[:0], false, 200)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{command("LRANGE", "mylist", "0", "299"), command("get", "abcd"), "-NOAUTH Authentication required.\r\n",
		"*300\r\n$3\r\nxxx\r\n$3\r\nxxx\r\n", "PING\r\n", "*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$2\r\nhi\r\n", "|1\r\n+ttl\r\n:5\r\n%1\r\n+k\r\n_\r\n",
		command("XREAD", "STREAMS", "a", "0"), command("ZUNIONSTORE", "d", "99999999", "a")} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		CheckReply(p)
		var c Command
		if n, left, err := ParseCommand(p, &c); err == nil {
			if n <= 0 || left < 0 || c.Len > c.Count || len(c.AppendText(nil, false, 100)) > 100 {
				t.Fatalf("n=%d left=%d %+v", n, left, c)
			}
			if n < len(p) && left > 0 && left < int64(c.Count) && n == 0 {
				t.Fatal("nothing was taken")
			}
		}
		CheckCommand(p, true)
		var r Reply
		if n, left, err := ParseReply(p, len(p)%2 == 0, &r); err == nil && (n <= 0 || left < 0) {
			t.Fatalf("n=%d left=%d", n, left)
		}
		// What is read in one go is read in two.
		n, left, err := Skip(p, 1)
		if err != nil || n > len(p) {
			return
		}
		half := len(p) / 2
		n1, left1, err := Skip(p[:half], 1)
		if err != nil {
			t.Fatal(err)
		}
		if n1 < len(p) {
			n2, left2, err := Skip(p[n1:], left1)
			if err != nil || n1+n2 != n || left2 != left {
				t.Fatalf("%d+%d of %d, left %d of %d: %v", n1, n2, n, left2, left, err)
			}
		}
	})
}
