package l7

import (
	"fmt"
	"testing"
	"time"
)

// ldapMessage is a message with the number id.
func ldapMessage(id, op byte, content string) string {
	body := string([]byte{2, 1, id, op, byte(len(content))}) + content
	return string([]byte{0x30, byte(len(body))}) + body
}

// ldapResult is a result.
func ldapResult(code byte, text string) string {
	return string([]byte{10, 1, code, 4, 0, 4, byte(len(text))}) + text
}

const (
	ldapBind   = "\x02\x01\x03\x04\x04cn=a\x80\x06secret"
	ldapSearch = "\x04\x04dc=a\x0a\x01\x02\x0a\x01\x00\x02\x01\x00\x02\x01\x00\x01\x01\x00\xa3\x07\x04\x02cn\x04\x01x\x30\x00"
	ldapEntry  = "\x04\x04cn=x\x30\x00"
)

func newLDAP(t *testing.T, bind string) *talk {
	t.Helper()
	k := newTalk(t, Options{Protocols: []Protocol{LDAP}})
	k.client(ldapMessage(1, 0x60, bind))
	k.server(ldapMessage(1, 0x61, ldapResult(0, "")))
	k.want("session bind cn=a > 0 ok")
	return k
}

func TestLDAPFields(t *testing.T) {
	k := newLDAP(t, ldapBind)
	search, entry, done := ldapMessage(2, 0x63, ldapSearch), ldapMessage(2, 0x64, ldapEntry), ldapMessage(2, 0x65, ldapResult(0, ""))
	k.client(search)
	k.server(entry[:5])
	k.server(entry[5:])
	k.server(entry + done)
	want := Exchange{Kind: KindSession, Protocol: LDAP, StartNanos: 3e6, EndNanos: 4e6, RequestType: "search", RequestResource: "dc=a", RequestID: 2,
		Endpoint: "search sub equality", RequestBytes: int64(len(search)), ResponseBytes: int64(2*len(entry) + len(done)), Status: StatusOK, AffectedRows: -1,
		ResponseSeq: 5014, Attributes: []Attribute{{"entries", "2"}, {"filter", "equality"}, {"filter_attribute", "cn"}, {"scope", "sub"}}}
	got := k.one()
	want.RequestSeq = got.RequestSeq
	if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestLDAPPairs: answers come in any order; some are not waited for.
func TestLDAPPairs(t *testing.T) {
	k := newLDAP(t, ldapBind)
	k.client(ldapMessage(2, 0x63, ldapSearch) + ldapMessage(3, 0x4a, "cn=x") + ldapMessage(4, 0x63, ldapSearch) + ldapMessage(5, 0x50, "\x04"))
	k.server(ldapMessage(3, 0x6b, ldapResult(50, "")) + ldapMessage(2, 0x64, ldapEntry))
	k.tr.Tick(k.time + int64(time.Minute))
	k.want("request search dc=a > -1 unknown", "request abandon  > -1 ok", "session delete cn=x > 50 client_error")
	k.server(ldapMessage(2, 0x65, ldapResult(4, "size")))
	if e := k.one(); e.ResponseException != "size" || e.Status != StatusClientError {
		t.Errorf("%+v", e)
	}
	k.client(ldapMessage(6, 0x63, ldapSearch))
	k.tr.Tick(k.time + int64(5*time.Minute))
	k.server(ldapMessage(0, 0x78, ldapResult(52, "bye")))
	k.server(ldapMessage(9, 0x6b, ldapResult(0, "")))
	k.client(ldapMessage(7, 0x42, ""))
	k.want("request search dc=a > -1 timeout", "request notice  > 52 server_error", "response   > 0 ok", "request unbind  > -1 ok")
}

func TestLDAPSecurity(t *testing.T) {
	k := newLDAP(t, ldapBind)
	k.client(ldapMessage(2, 0x77, "\x80\x161.3.6.1.4.1.1466.20037"))
	k.server(ldapMessage(2, 0x78, ldapResult(0, "")))
	k.client("\x16\x03\x01\x00\x05hello")
	if e := k.one(); e.Endpoint != "StartTLS" || e.Status != StatusOK {
		t.Errorf("%+v", e)
	}
	k = newLDAP(t, "\x02\x01\x03\x04\x04cn=a\xa3\x08\x04\x06GSSAPI")
	k.client("\x00\x00\x00\x10sealed")
	k.want()
	if m := k.tr.Metrics(); m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
}

func TestLDAPStatus(t *testing.T) {
	for code, want := range map[uint32]Status{0: StatusOK, 6: StatusOK, 14: StatusOK, 32: StatusClientError, 49: StatusClientError, 51: StatusServerError, 80: StatusServerError} {
		if got := statusLDAP(code); got != want {
			t.Errorf("%d is %s", code, got)
		}
		if statusLDAP(code) != StatusOK && ldapResults[code] == "" {
			t.Errorf("%d has no name", code)
		}
	}
}
