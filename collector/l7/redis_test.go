package l7

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// newRedis is a conversation with a Redis server.
func newRedis(t *testing.T, o Options) *talk {
	t.Helper()
	k := newTalk(t, o)
	k.c = k.tr.NewConn(transportTCP, 40000, 6379)
	return k
}

// resp is an array of strings, which commands and some replies are.
func resp(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

func TestRedisFields(t *testing.T) {
	k := newRedis(t, Options{})
	k.client(resp("set", "user:1", "geheim"))
	k.server("+OK\r\n")
	want := Exchange{Kind: KindSession, Protocol: Redis, StartNanos: 1e6, EndNanos: 2e6, RequestType: "set", RequestResource: "set user:1 ?",
		RequestID: -1, Endpoint: "SET", RequestBytes: 37, ResponseBytes: 5, Status: StatusOK, ResponseCode: -1, AffectedRows: -1,
		ResponseResult: "OK", RequestSeq: 0xffffffe0, ResponseSeq: 5000, Attributes: []Attribute{}}
	if got := k.one(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if s := strings.Join(k.rec.lines[:3], "|"); s != "identified redis server=1|request @1000000|response @2000000 ok rrt=1000000" {
		t.Error(s)
	}
	k.client(resp("CONFIG", "get", "maxmemory"))
	k.server(resp("maxmemory", "0"))
	if e := k.one(); e.Endpoint != "CONFIG GET" || e.RequestResource != "CONFIG get maxmemory" || e.ResponseResult != "array" {
		t.Errorf("%+v", e)
	}
}

func TestRedisLiterals(t *testing.T) {
	k := newRedis(t, Options{KeepLiterals: true})
	k.client(resp("SET", "k", "v") + resp("AUTH", "geheim") + resp("x"))
	k.server("+OK\r\n+OK\r\n-ERR unknown command 'x', with args beginning with: 'a'\r\n")
	k.want("session SET SET k v > -1 ok", "session AUTH AUTH ? > -1 ok", "session x x > -1 server_error")
}

func TestRedisStatus(t *testing.T) {
	k := newRedis(t, Options{})
	k.client(resp("GET", "k"))
	k.server("$-1\r\n")
	k.one()
	for reply, want := range map[string]string{
		"-ERR syntax error": "server_error ERR syntax error",
		"-ERR unknown command 'x', with args beginning with: 'geheim'": "server_error ERR unknown command 'x'",
		"-WRONGTYPE Operation against a key":                           "client_error WRONGTYPE Operation against a key",
		"-NOAUTH Authentication required.":                             "client_error NOAUTH Authentication required.",
		"-MOVED 3999 127.0.0.1:6381":                                   "ok MOVED 3999 127.0.0.1:6381",
		"-LOADING":                                                     "server_error LOADING",
		"!10\r\nSYNTAX bad":                                            "client_error SYNTAX bad",
	} {
		k.client(resp("GET", "k"))
		k.server(reply + "\r\n")
		if e := k.one(); e.Status.String()+" "+e.ResponseException != want {
			t.Errorf("%s: %s %s", reply, e.Status, e.ResponseException)
		}
	}
}

func TestRedisPipeline(t *testing.T) {
	k := newRedis(t, Options{})
	k.client(resp("MULTI") + resp("INCR", "a") + resp("GET", "b") + resp("EXEC")[:6])
	k.client(resp("EXEC")[6:] + "PING\r\n")
	k.server("+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:1\r\n")
	k.server("$1\r\nx\r\n+PONG\r\n")
	k.want("session MULTI MULTI > -1 ok", "session INCR INCR a > -1 ok", "session GET GET b > -1 ok", "session EXEC EXEC > -1 ok",
		"session PING PING > -1 ok")
}

// TestRedisDeep: pipelines of many commands are usual.
func TestRedisDeep(t *testing.T) {
	const n = 1000
	k := newRedis(t, Options{})
	k.client(strings.Repeat(resp("GET", "k"), n))
	k.server(strings.Repeat("$-1\r\n", n))
	if m := k.tr.Metrics(); len(k.rec.exchanges) != n || m.EvictedPending != 0 || m.Unpaired != 0 {
		t.Errorf("%d exchanges, %+v", len(k.rec.exchanges), m)
	}
	k = newRedis(t, Options{MaxPending: 10})
	k.client(strings.Repeat(resp("GET", "k"), 81))
	k.server(strings.Repeat("$-1\r\n", 81))
	if m := k.tr.Metrics(); m.EvictedPending != 1 || m.Unpaired != 1 || len(k.rec.exchanges) != 82 {
		t.Errorf("%d exchanges, %+v", len(k.rec.exchanges), m)
	}
}

// TestRedisLong: values cost nothing however long they are, and their length is known.
func TestRedisLong(t *testing.T) {
	k := newRedis(t, Options{})
	const big = 5 << 20
	k.client("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5242880\r\n" + strings.Repeat("x", 2000))
	if m := k.tr.Metrics(); m.Buffered != 0 || m.Requests != 1 {
		t.Errorf("%+v", m)
	}
	k.skip(Client, big-2000-1)
	k.client("x\r\n")
	k.server("+OK\r\n")
	k.client(resp("GET", "k"))
	k.server("$5242880\r\n")
	k.skip(Server, big)
	k.server("\r\n")
	es := k.rec.exchanges
	if len(es) != 2 || es[0].RequestBytes != big+32 || es[1].ResponseBytes != big+12 {
		t.Errorf("%+v", es)
	}
	k.rec.exchanges = nil
	// An array without end, cut anywhere.
	k.client(resp("LRANGE", "l", "0", "-1"))
	list := "*5000\r\n" + strings.Repeat("$3\r\nabc\r\n", 5000)
	for s := list; len(s) > 0; {
		n := min(len(s), 1001)
		k.server(s[:n])
		s = s[n:]
		if m := k.tr.Metrics(); m.Buffered > 16 {
			t.Fatalf("%+v", m)
		}
	}
	if e := k.one(); e.ResponseBytes != int64(len(list)) || e.EndNanos >= k.time || e.ResponseResult != "array" {
		t.Errorf("%+v", e)
	}
	// A few strings of any length.
	k.client(resp("MGET", "a", "b"))
	k.server("*2\r\n$5242880\r\nxx")
	if m := k.tr.Metrics(); m.Buffered != 0 {
		t.Errorf("%+v", m)
	}
	k.skip(Server, big)
	k.server("$1\r\nx\r\n")
	if e := k.one(); e.ResponseBytes != 4+10+big+2+7 {
		t.Errorf("%+v", e)
	}
	// A command of many words.
	words := resp(strings.Split("MSET"+strings.Repeat(" key value", 400), " ")...)
	k.client(words[:3000])
	k.client(words[3000:])
	k.server("+OK\r\n")
	if e := k.one(); e.RequestBytes != int64(len(words)) || !strings.HasPrefix(e.RequestResource, "MSET key ? key ?") {
		t.Errorf("%+v", e)
	}
	if m := k.tr.Metrics(); m.ParseFailures+m.Resyncs+m.Unpaired != 0 {
		t.Errorf("%+v", m)
	}
}

func TestRedisSubscribe(t *testing.T) {
	k := newRedis(t, Options{})
	confirm := func(kind, ch string) string { return strings.Replace(resp(kind, ch), "*2", "*3", 1) + ":1\r\n" }
	k.client(resp("SUBSCRIBE", "a", "b"))
	k.server(confirm("subscribe", "a"))
	k.server(confirm("subscribe", "b"))
	k.server(resp("message", "a", "hello") + resp("pmessage", "x*", "xy", "hello"))
	k.client(resp("PING"))
	k.server(resp("message", "b", "hello") + resp("pong", ""))
	k.client(resp("UNSUBSCRIBE"))
	k.server(confirm("unsubscribe", "a") + confirm("unsubscribe", "b"))
	k.want("session SUBSCRIBE SUBSCRIBE a b > -1 ok", "request message a > -1 ok", "request pmessage x* > -1 ok", "request message b > -1 ok",
		"session PING PING > -1 ok", "session UNSUBSCRIBE UNSUBSCRIBE > -1 ok")
	// RESP3: pushes are told by their type, and come between request and reply.
	k.client(resp("GET", "k"))
	k.server(">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n$1\r\nv\r\n")
	if e := k.rec.exchanges[0]; !e.ServerInitiated || fmt.Sprint(e.Attributes) != "[{initiator server}]" {
		t.Errorf("%+v", e)
	}
	k.want("request invalidate  > -1 ok", "session GET GET k > -1 ok")
	if m := k.tr.Metrics(); m.Unpaired+m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
	k.c.End(9e9)
	k.want()
	// From the middle: nobody waits for a message.
	k = newRedis(t, Options{})
	k.server(resp("message", "a", "hello"))
	k.server(resp("message", "a", "hello"))
	k.want("request message a > -1 ok", "request message a > -1 ok")
}

func TestRedisNoReply(t *testing.T) {
	k := newRedis(t, Options{})
	k.client(resp("CLIENT", "REPLY", "SKIP") + resp("SET", "a", "1") + resp("GET", "a"))
	k.server("$1\r\n1\r\n")
	k.client(resp("CLIENT", "REPLY", "OFF") + resp("SET", "a", "1") + resp("CLIENT", "REPLY", "ON"))
	k.server("+OK\r\n")
	k.want("request CLIENT CLIENT REPLY ? > -1 unknown", "request SET SET a ? > -1 unknown", "session GET GET a > -1 ok",
		"request CLIENT CLIENT REPLY ? > -1 unknown", "request SET SET a ? > -1 unknown", "session CLIENT CLIENT REPLY ? > -1 ok")
	words := resp(strings.Split("MSET"+strings.Repeat(" key value", 400), " ")...)
	k.client(resp("GET", "a") + resp("CLIENT", "REPLY", "SKIP") + words[:3000])
	k.client(words[3000:])
	k.server("$-1\r\n")
	if es := k.rec.exchanges; len(es) != 3 || es[1].RequestBytes != -1 || es[2].RequestBytes != 20 {
		t.Errorf("%+v", es)
	}
	k.rec.exchanges = nil
	k.client(resp("MONITOR"))
	k.server("+OK\r\n+1339518083.107412 [0 127.0.0.1:60866] \"keys\" \"*\"\r\n")
	k.want("session MONITOR MONITOR > -1 ok")
	k.client(resp("PSYNC", "?", "-1"))
	k.server("+FULLRESYNC abc 0\r\n$4\r\nRDBx" + resp("SET", "a", "1"))
	k.want("session PSYNC PSYNC ? -1 > -1 ok")
	if !k.c.off {
		t.Error("replication is read")
	}
}

func TestRedisTimeout(t *testing.T) {
	k := newRedis(t, Options{Timeouts: map[Protocol]time.Duration{Redis: time.Second}})
	k.client(resp("BLPOP", "a", "0"))
	k.client(resp("GET", "b"))
	k.tr.Tick(1e6 + 1e9)
	k.want("request BLPOP BLPOP a ? > -1 timeout")
	k.server("$1\r\n1\r\n") // of BLPOP
	k.server("$1\r\n2\r\n")
	k.want("response   > -1 ok", "session GET GET b > -1 ok")
	// A reply that goes on for longer than the request may wait is a reply.
	k.client(resp("LRANGE", "a", "0", "9"))
	k.server("*2\r\n$1\r\na\r\n")
	k.tr.Tick(k.time + 1e9)
	k.want("session LRANGE LRANGE a ? > -1 ok")
	k.server("$1\r\nb\r\n")
	k.client(resp("GET", "b"))
	k.server("$1\r\nb\r\n")
	k.want("session GET GET b > -1 ok")
}

// TestRedisHoles: what is lost of a reply is not made up for by its elements.
func TestRedisHoles(t *testing.T) {
	k := newRedis(t, Options{HoldTime: time.Nanosecond})
	item := "$3\r\nabc\r\n"
	k.client(resp("LRANGE", "a", "0", "9"))
	k.server("*10\r\n" + item + item)
	k.skip(Server, 2*len(item))
	k.server(item + item)
	k.tr.Tick(k.time + 1e9)
	k.server(item + item + item + item)
	k.want("session LRANGE LRANGE a ? > -1 ok")
	k.client(resp("GET", "b"))
	k.server("+OK\r\n")
	k.want("session GET GET b > -1 ok")
	if m := k.tr.Metrics(); m.Unpaired != 0 || m.Pending != 0 {
		t.Errorf("%+v", m)
	}
	k.client("*2\r\n$7\r\nHGET") // half a name, though also a name
	k.skip(Client, 12)
	k.client(resp("GET", "c"))
	k.tr.Tick(k.time + 1e9)
	k.server("$1\r\nc\r\n")
	k.want("session GET GET c > -1 ok")
	// A hole in a command.
	k.client("*4\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n$3\r\nabc\r\n$3\r\nab")
	k.skip(Client, 4)
	k.client(resp("GET", "c"))
	k.tr.Tick(k.time + 1e9)
	k.server(":2\r\n")
	k.server("$1\r\nc\r\n")
	k.want("session RPUSH RPUSH k ? > -1 ok", "session GET GET c > -1 ok")
}

func TestRedisPickUp(t *testing.T) {
	k := newRedis(t, Options{})
	k.server("*2\r\n$1\r\na\r\n$1\r\nb\r\n")
	k.client("get k\r\n") // inline
	k.server("$1\r\nb\r\n")
	k.want("response   > -1 ok", "session get get k > -1 ok")
	k = newRedis(t, Options{}) // nobody knows the command
	k.client(resp("nonsense", "a"))
	k.server("-ERR unknown command 'nonsense', with args beginning with: 'a'\r\n")
	k.want("session nonsense nonsense a > -1 server_error")
	k = newTalk(t, Options{Protocols: []Protocol{Redis}}) // no known port
	k.server("+OK\r\n")
	k.client("PING\r\n")
	if k.c.Proto != Unknown {
		t.Error("taken for Redis")
	}
	k.client(resp("PING"))
	k.server("+PONG\r\n")
	k.want("session PING PING > -1 ok")
}

func TestRedisAllocations(t *testing.T) {
	tr := NewTracker(Options{}, &discard{})
	c := tr.NewConn(transportTCP, 40000, 6379)
	q, a := []byte(resp("lrange", "mylist", "0", "-1")), []byte(resp("a", "b", "c"))
	var qs, as uint32
	if n := testing.AllocsPerRun(200, func() {
		c.Payload(Client, 1, qs, q, len(q))
		c.Payload(Server, 2, as, a, len(a))
		qs, as = qs+uint32(len(q)), as+uint32(len(a))
	}); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}
