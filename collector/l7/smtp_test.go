package l7

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// newSMTP is a conversation up to the answer to EHLO.
func newSMTP(t *testing.T, o Options) *talk {
	t.Helper()
	k := newTalk(t, o)
	k.server("220 mx.test ESMTP ready\r\n")
	k.client("EHLO client.test\r\n")
	k.server("250-mx.test\r\n")
	k.server("250 HELP\r\n")
	k.want("request greeting  > 220 ok", "session EHLO client.test > 250 ok")
	return k
}

func TestSMTPFields(t *testing.T) {
	k := newSMTP(t, Options{})
	k.client("mail FROM:<a.b@shop.test> SIZE=10\r\n")
	k.server("550 5.7.1 Not you\r\n")
	want := Exchange{Kind: KindSession, Protocol: SMTP, StartNanos: 5e6, EndNanos: 6e6, RequestType: "MAIL", RequestDomain: "client.test", RequestResource: "?@shop.test",
		RequestID: -1, Endpoint: "MAIL", RequestBytes: 35, ResponseBytes: 19, Status: StatusClientError, ResponseCode: 550, ResponseException: "Not you", AffectedRows: -1,
		ResponseSeq: 5000 + 25 + 13 + 10, Attributes: []Attribute{{"enhanced_status", "5.7.1"}}}
	got := k.one()
	want.RequestSeq = got.RequestSeq
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	k.client("RCPT TO:<a@shop.test>\r\n")
	k.server("550 No such user <a@shop.test>: a\r\n")
	if e := k.one(); e.ResponseException != "No such user <?@shop.test>: a" {
		t.Errorf("%+v", e)
	}
	k = newSMTP(t, Options{KeepLiterals: true})
	k.client("RCPT TO:<a@shop.test>\r\n")
	k.server("451 4.3.0 Later\r\n")
	k.want("session RCPT client.testa@shop.test > 451 server_error")
}

// TestSMTPMessage: a message is passed over to its end, in whatever pieces it comes.
func TestSMTPMessage(t *testing.T) {
	k := newSMTP(t, Options{})
	k.client("MAIL FROM:<>\r\nRCPT TO:<b@x>\r\nDATA\r\n")
	k.server("250 Ok\r\n250 Ok\r\n354 go\r\n")
	k.want("session MAIL client.test > 250 ok", "session RCPT client.test?@x > 250 ok", "session DATA client.test > 354 ok")
	body := "Subject: x\r\n\r\nQUIT\r\n..\r\n" + strings.Repeat("long ", 5000) + "\r\n"
	k.client(body)
	k.client(".")
	k.client("\r\nQUIT\r\n")
	k.server("250 2.0.0 queued\r\n221 Bye\r\n")
	e := k.rec.exchanges[0]
	if e.RequestBytes != int64(len(body)+3) {
		t.Errorf("%d bytes, not %d", e.RequestBytes, len(body)+3)
	}
	k.want("session message client.test > 250 ok", "session QUIT client.test > 221 ok")
	k.client("BDAT 10 LAST\r\n0123456789NOOP\r\n")
	k.server("250 Ok\r\n250 Ok\r\n")
	k.want("session BDAT client.test > 250 ok", "session NOOP client.test > 250 ok")
	k.client("DATA\r\n")
	k.server("503 no\r\n")
	k.client("RSET\r\n")
	k.server("250 Ok\r\n")
	k.want("session DATA client.test > 503 client_error", "session RSET client.test > 250 ok")
	if m := k.tr.Metrics(); m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
}

// TestSMTPHole: bytes of a message may be lost, its end too.
func TestSMTPHole(t *testing.T) {
	k := newSMTP(t, Options{})
	k.client("DATA\r\n")
	k.server("354 go\r\n")
	k.client("Subject: x\r\n")
	k.skip(Client, 500)
	k.client("NOOP in the middle\r\n")
	k.tr.Tick(k.time + 2e9)
	k.server("250 queued\r\n")
	k.client("QUIT\r\n")
	k.server("221 Bye\r\n")
	k.want("session DATA client.test > 354 ok", "session message client.test > 250 ok", "session QUIT client.test > 221 ok")
}

// TestSMTPCut: a reply that is cut is an answer all the same, and its rest is none.
func TestSMTPCut(t *testing.T) {
	k := newSMTP(t, Options{})
	k.client("EHLO again\r\n")
	k.server("250-mx.test\r\n250-SI")
	k.skip(Server, 20)
	k.server("250 HELP\r\n")
	k.tr.Tick(k.time + 2e9)
	k.client("NOOP\r\n")
	k.server("250 Ok\r\n")
	k.want("session EHLO again > 250 ok", "session NOOP again > 250 ok")
}

func TestSMTPSecurity(t *testing.T) {
	k := newSMTP(t, Options{Protocols: []Protocol{SMTP}})
	k.client("AUTH LOGIN\r\n")
	k.server("334 VXNlcm5hbWU6\r\n")
	k.client("Z2VoZWlt\r\n")
	k.server("334 UGFzc3dvcmQ6\r\n")
	k.client("Z2VoZWlt\r\n")
	k.server("535 5.7.8 no\r\n")
	k.client("STARTTLS\r\n")
	k.server("220 go\r\n")
	k.client("\x16\x03\x01\x00\x05hello")
	k.want("session AUTH client.testLOGIN > 535 client_error", "session STARTTLS client.test > 220 ok")
	if m := k.tr.Metrics(); m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
}

func TestSMTPTimeout(t *testing.T) {
	k := newSMTP(t, Options{})
	k.client("NOOP\r\n")
	k.tr.Tick(k.time + int64(5*time.Minute))
	k.server("250 late\r\n")
	k.server("421 4.4.2 idle\r\n")
	k.want("request NOOP client.test > -1 timeout", "response   > 250 ok", "request notice  > 421 server_error")
}
