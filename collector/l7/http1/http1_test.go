package http1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestParseRequest(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var r Request
		n, err := ParseRequest([]byte(in), false, &r)
		got := "error"
		if err == nil {
			got = fmt.Sprintf("%d %s|%s|1.%d", n, r.Method, r.Target, r.Minor)
		}
		if n == 0 && err == nil {
			got = "more"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("GET / HTTP/1.1\r\n\r\n", "18 GET|/|1.1")
	f("GET / HTTP/1.0\n\n", "16 GET|/|1.0")
	f("GET / HTTP/1.1\r\nA: b\r\n\r\nrest", "24 GET|/|1.1")
	f("CONNECT a:443 HTTP/1.1\r\n\r\n", "26 CONNECT|a:443|1.1")
	f("M-SEARCH * HTTP/1.1\r\n\r\n", "23 M-SEARCH|*|1.1")
	f("GET /a b HTTP/1.1\r\n\r\n", "21 GET|/a b|1.1")
	f("GET http://h/p HTTP/1.1\r\n\r\n", "27 GET|http://h/p|1.1")
	f("", "more")
	f("GE", "more")
	f("GET /", "more")
	f("GET / HTTP/1.1\r\nHost: x\r\n", "more")
	f("GET / HTTP/1.1\r\nHost: x\r\n\r", "more")
	f("GET / HTTP/2.0\r\n\r\n", "error")
	f("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "error")
	f("GET /\r\n\r\n", "error")
	f("GET HTTP/1.1\r\n\r\n", "error")
	f("GET  HTTP/1.1\r\n\r\n", "error")
	f(" GET / HTTP/1.1\r\n\r\n", "error")
	f("G\x01T / HTTP/1.1\r\n\r\n", "error")
	f(strings.Repeat("G", 40)+" / HTTP/1.1\r\n\r\n", "error")
	f("\x16\x03\x01\x02\x00\x01", "error")
	f("*1\r\n$4\r\nPING\r\n", "error")
	f("HTTP/1.1 200 OK\r\n\r\n", "error")
}

func TestParseResponse(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		var r Response
		n, err := ParseResponse([]byte(in), false, &r)
		got := "error"
		if err == nil {
			got = fmt.Sprintf("%d %d|%s|1.%d", n, r.Code, r.Reason, r.Minor)
		}
		if n == 0 && err == nil {
			got = "more"
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", in, got, want)
		}
	}
	f("HTTP/1.1 200 OK\r\n\r\n", "19 200|OK|1.1")
	f("HTTP/1.0 404 Not Found\n\n", "24 404|Not Found|1.0")
	f("HTTP/1.1 404\r\n\r\n", "16 404||1.1")
	f("HTTP/1.1 404 \r\n\r\n", "17 404||1.1")
	f("HTT", "more")
	f("HTTP/1.1 200 OK", "more")
	f("HTTP/1.1 200 OK\r\n", "more")
	f("HTTP/1.1 099 OK\r\n\r\n", "error")
	f("HTTP/1.1 2000\r\n\r\n", "error")
	f("HTTP/2 200\r\n\r\n", "error")
	f("GET / HTTP/1.1\r\n\r\n", "error")
}

func TestPartial(t *testing.T) {
	var r Response
	n, err := ParseResponse([]byte("HTTP/1.0 503 Busy\r\nContent-Type: a/b\r\nX-Request-ID: cut her"), true, &r)
	if err != nil || n == 0 || r.Code != 503 || string(r.Fields[ContentType]) != "a/b" || r.Fields[XRequestID] != nil {
		t.Errorf("got %d %v %+v", n, err, r)
	}
	if _, err := ParseResponse([]byte("HTTP/1.0 503 Bu"), true, &r); err == nil {
		t.Error("an incomplete status line was read")
	}
	var q Request
	if n, err := ParseRequest([]byte("GET /x HTTP/1.1\r\n"), true, &q); err != nil || n != 17 || string(q.Target) != "/x" {
		t.Errorf("got %d %v %q", n, err, q.Target)
	}
	if _, err := ParseRequest([]byte("GET /x"), true, &q); err == nil {
		t.Error("an incomplete request line was read")
	}
}

func TestFields(t *testing.T) {
	f := func(header string, field Field, want string) {
		t.Helper()
		var r Request
		in := "GET / HTTP/1.1\r\n" + header + "\r\n\r\n"
		if n, err := ParseRequest([]byte(in), false, &r); err != nil || n != len(in) {
			t.Fatalf("%q: %d %v", header, n, err)
		}
		if got := string(Unfold(nil, r.Fields[field])); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
	f("Host: a", Host, "a")
	f("HOST:a", Host, "a")
	f("host:\t a \t", Host, "a")
	f("Host : a", Host, "a")
	f("Host: a\r\nHost: b", Host, "a")
	f("Host: a\nUser-Agent: b", UserAgent, "b")
	f("User-Agent: a\r\n b\r\n\tc", UserAgent, "a b c")
	f("User-Agent:\r\n b", UserAgent, "b")
	f("Accept: a\r\n b\r\nUser-Agent: c", UserAgent, "c")
	f("no colon\r\n: empty\r\nHost: a", Host, "a")
	f(" folded first\r\nHost: a", Host, "a")
	f("Referer:", Referer, "")
	f("X-Forwarded-For: 1, 2", XForwardedFor, "1, 2")
	f("X-B3-TraceId: t\r\nX-B3-SpanId: s", XB3SpanID, "s")
	f("uber-trace-id: u\r\nSW8: x", SW8, "x")
	f("a-name-that-is-longer-than-every-known-one: x\r\nb3: y", B3, "y")
}

func TestFraming(t *testing.T) {
	f := func(header, want string) {
		t.Helper()
		var r Response
		if _, err := ParseResponse([]byte("HTTP/1.1 200 OK\r\n"+header+"\r\n\r\n"), false, &r); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(r.Length, r.Chunked, r.BadLength); got != want {
			t.Errorf("%q: %s, want %s", header, got, want)
		}
	}
	f("A: b", "-1 false false")
	f("Content-Length: 0", "0 false false")
	f("Content-Length: 17", "17 false false")
	f("Content-Length: 17, 17", "17 false false")
	f("Content-Length: 17\r\nContent-Length: 17", "17 false false")
	f("Content-Length: 17\r\nContent-Length: 18", "17 false true")
	f("Content-Length: 17, 18", "-1 false true")
	f("Content-Length: -1", "-1 false true")
	f("Content-Length: 9999999999999999999", "-1 false true")
	f("Content-Length:", "-1 false true")
	f("Transfer-Encoding: chunked", "-1 true false")
	f("Transfer-Encoding: gzip, Chunked", "-1 true false")
	f("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", "-1 true false")
	f("Transfer-Encoding: chunked, gzip", "-1 false false")
	f("Transfer-Encoding: chunked\r\nContent-Length: 5", "5 true false")
}

func TestAll(t *testing.T) {
	var r Request
	in := "GET / HTTP/1.1\r\nA: 1\r\nbad\r\nB: 2\r\n 3\r\nC:4\r\n\r\n"
	if _, err := ParseRequest([]byte(in), false, &r); err != nil {
		t.Fatal(err)
	}
	var got []string
	r.All(func(name, value []byte) bool {
		got = append(got, string(name)+"="+string(Unfold(nil, value)))
		return len(got) < 3
	})
	if s := strings.Join(got, ","); s != "A=1,B=2 3,C=4" {
		t.Error(s)
	}
}

func TestChecks(t *testing.T) {
	words := map[Verdict]string{No: "no", Maybe: "maybe", Yes: "yes"}
	f := func(in, request, response string) {
		t.Helper()
		if got := words[CheckRequest([]byte(in), 0)]; got != request {
			t.Errorf("request %q: %s, want %s", in, got, request)
		}
		if got := words[CheckResponse([]byte(in))]; got != response {
			t.Errorf("response %q: %s, want %s", in, got, response)
		}
	}
	f("", "maybe", "maybe")
	f("H", "maybe", "maybe")
	f("HTTP/1.1 200", "no", "maybe")
	f("HTTP/1.1 200 ", "no", "yes")
	f("HTTP/1.1 200\n", "no", "yes")
	f("GET", "maybe", "no")
	f("GET ", "maybe", "no")
	f("GET /x", "maybe", "no")
	f("GET /x\x00", "no", "no")
	f("GET /x HTTP/1.1\r", "maybe", "no")
	f("GET /x HTTP/1.1\r\n", "yes", "no")
	f("EHLO mail.example.com\r\n", "no", "no")
	f("\x00", "no", "no")
}

// TestCheckSteps compares a check in steps with a check at once.
func TestCheckSteps(t *testing.T) {
	for _, s := range []string{"GET /x HTTP/1.1\r\n\r\n", "GET /x\r\n", "GET /\x01 HTTP/1.1\r\n"} {
		want := CheckRequest([]byte(s), 0)
		got, from := Maybe, 0
		for i := 0; i <= len(s) && got == Maybe; i++ {
			got, from = CheckRequest([]byte(s[:i]), from), i
		}
		if got != want {
			t.Errorf("%q: %d in steps, %d at once", s, got, want)
		}
	}
}

func TestFindEnd(t *testing.T) {
	for _, s := range []string{"a\r\n\r\n", "a\n\n", "a\r\nb\r\n\r\nc", "a\n\r\n", "a\r\n\r", "a\n"} {
		want := FindEnd([]byte(s), 0)
		for from := 0; from <= len(s); from++ {
			if FindEnd([]byte(s[:from]), 0) != 0 {
				break
			}
			if got := FindEnd([]byte(s), from); got != want {
				t.Errorf("%q from %d: %d, want %d", s, from, got, want)
			}
		}
	}
}

func TestBody(t *testing.T) {
	// f cuts in in two at every place; rest is what the body must leave.
	f := func(b Body, in, rest string, seen int64) {
		t.Helper()
		for cut := 0; cut <= len(in); cut++ {
			b := b
			left := in[cut:]
			n, done, err := b.Consume([]byte(in[:cut]))
			if err == nil && !done {
				var k int
				k, done, err = b.Consume([]byte(left))
				n += k
			}
			if err != nil || !done || in[n:] != rest || b.Seen() != seen {
				t.Errorf("%q cut at %d: left %q, done %v, %v, %d seen; want %q, %d", in, cut, in[n:], done, err, b.Seen(), rest, seen)
			}
		}
	}
	f(Counted(3), "abcd", "d", 3)
	f(Counted(0), "abcd", "abcd", 0)
	f(ChunkedBody(), "3\r\nabc\r\n0\r\n\r\nx", "x", 3)
	f(ChunkedBody(), "3\nabc\n0\n\nx", "x", 3)
	f(ChunkedBody(), "00A;n=v\r\n0123456789\r\n1 \r\nx\r\n0\r\nT: 1\r\nU: 2\r\n\r\nGET", "GET", 11)
	f(Drain([]byte("A: b"), Counted(2)), "c\r\nD: e\r\n\r\nxyz", "z", 2)
	f(Drain([]byte("A: b\r\n"), Body{}), "\r\nz", "z", 0)
	f(Drain([]byte("A: b\r\n\r"), Body{}), "\nz", "z", 0)
	f(Drain([]byte("A"), ChunkedBody()), "\r\n\r\n1\r\nx\r\n0\r\n\r\nz", "z", 1)

	for _, bad := range []string{"x", "\r\n", "1g", "3\r\nabcd", "11111111111111111", "-1"} {
		b := ChunkedBody()
		if _, _, err := b.Consume([]byte(bad)); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
	b := UntilClose()
	if n, done, err := b.Consume([]byte("abc")); n != 3 || done || err != nil || !b.IsUntilClose() {
		t.Error(n, done, err)
	}
}

func TestBodyLose(t *testing.T) {
	b := Counted(10)
	if !b.Lose(4) || b.Lose(7) || !b.Lose(6) || !b.Done() {
		t.Error("counted")
	}
	b = ChunkedBody()
	if b.Lose(1) {
		t.Error("before a size")
	}
	if _, _, err := b.Consume([]byte("a\r\n")); err != nil || b.Lose(10) || !b.Lose(9) {
		t.Error("chunk data", err)
	}
	if _, done, err := b.Consume([]byte("x\r\n0\r\n\r\n")); !done || err != nil || b.Seen() != 10 {
		t.Error(done, err, b.Seen())
	}
	b = UntilClose()
	if !b.Lose(1<<20) || b.Done() {
		t.Error("until close")
	}
}

func TestNoAllocation(t *testing.T) {
	in := []byte(benchRequest)
	var r Request
	if n := testing.AllocsPerRun(100, func() {
		if n, err := ParseRequest(in, false, &r); n != len(in) || err != nil {
			t.Fatal(n, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(benchRequest))
	f.Add([]byte("POST http://u:p@h/x?y HTTP/1.0\nContent-Length: 3, 3\n a\n\nabc"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var r Request
		n, err := ParseRequest(p, false, &r)
		if n > len(p) || n < 0 || n > 0 && err != nil {
			t.Fatal(n, err)
		}
		if n > 0 {
			if FindEnd(p, 0) != n {
				t.Fatalf("head of %d bytes ends at %d", n, FindEnd(p, 0))
			}
			if CheckRequest(p, 0) != Yes {
				t.Fatal("the check contradicts the parser")
			}
			for i := range n {
				if k, err := ParseRequest(p[:i], false, &r); k != 0 || err != nil {
					t.Fatalf("%d of %d bytes: %d %v", i, n, k, err)
				}
			}
		}
		if _, err := ParseRequest(p, true, &r); err == nil {
			r.All(func(name, value []byte) bool { return len(Unfold(nil, value)) <= len(value) })
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"))
	f.Add([]byte("HTTP/1.0 404\nContent-Length: 3\n\nabc"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var r Response
		n, err := ParseResponse(p, false, &r)
		if n > len(p) || n < 0 || n > 0 && (err != nil || r.Code < 100 || r.Code > 999) {
			t.Fatal(n, err, r.Code)
		}
		if n == 0 {
			return
		}
		if FindEnd(p, 0) != n {
			t.Fatalf("head of %d bytes ends at %d", n, FindEnd(p, 0))
		}
		// The body does not depend on how it is cut.
		whole, bytewise := ChunkedBody(), ChunkedBody()
		wn, wdone, werr := whole.Consume(p[n:])
		bn, bdone, berr := 0, false, error(nil)
		for i := n; i < len(p) && !bdone && berr == nil; i++ {
			var k int
			k, bdone, berr = bytewise.Consume(p[i : i+1])
			bn += k
		}
		if wn != bn || wdone != bdone || werr != berr || whole.Seen() != bytewise.Seen() {
			t.Fatal(wn, bn, wdone, bdone, werr, berr)
		}
	})
}

const benchRequest = "GET /api/v1/orders/4711?expand=items HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/8.5.0\r\n" +
	"Accept: */*\r\nX-Request-ID: 46364834-4fb8-9692-a5d6-ab638447a787\r\n" +
	"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n"

func BenchmarkParseRequest(b *testing.B) {
	in := []byte(benchRequest)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	var r Request
	for b.Loop() {
		if n, err := ParseRequest(in, false, &r); n == 0 || err != nil {
			b.Fatal(err)
		}
	}
}

func TestUnfoldKeepsPlainText(t *testing.T) {
	in := []byte("a  b\tc")
	if got := Unfold([]byte("x"), in); !bytes.Equal(got, []byte("xa  b\tc")) {
		t.Errorf("%q", got)
	}
}
