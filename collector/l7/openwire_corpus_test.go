package l7

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Deviations: WireFormatInfo, which only says how commands are written, is no exchange; a command and its answer are one; a
// second answer to the same command is none; the address of the broker is the domain of all commands behind its BrokerInfo;
// lengths count the number in front. Where lines show segments that are a part of a command, commands are whole here.
func TestCorpusOpenWire(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "openwire", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	const prefix = 4
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		rec, m := replay(t, f, Options{}, false)
		got, lines := rec.exchanges, resultLines(t, f)
		if m.ParseFailures+m.WrongSide+m.Unpaired+m.Resyncs+m.GaveUp != 0 {
			t.Errorf("%s: %+v", name, m)
		}
		if rec, _ := replay(t, f, Options{}, true); len(rec.exchanges) != len(got) {
			t.Errorf("%s reversed: %d exchanges, not %d", name, len(rec.exchanges), len(got))
		}
		used, found, answered := make([]bool, len(got)), 0, map[string]bool{}
		for n, l := range lines {
			what := fmt.Sprintf("%s, line %d", name, n+1)
			kind, id := debugField(l, "command_type"), debugField(l, "command_id")
			if kind == "WireFormatInfo" || kind == "" {
				continue
			}
			if debugField(l, "msg_type") == "Response" {
				answer := fmt.Sprint(debugField(l, "resp_command_id"), l)
				if answered[answer] {
					continue
				}
				found := false
				for i := range got {
					e := &got[i]
					if e.Kind == KindSession && num(e.RequestID) == debugField(l, "resp_command_id") && num(e.ResponseBytes-prefix) == debugField(l, "res_msg_size") && e.ResponseResult == kind {
						found, answered[answer] = true, true
						want := map[string]string{"Ok": "ok", "ServerError": "server_error"}[debugField(l, "status")]
						compare(t, what, [3]string{"status", e.Status.String(), want})
						if text := debugField(l, "err_msg"); !strings.HasSuffix(e.ResponseException, text) {
							t.Errorf("%s: exception %q, want %q", what, e.ResponseException, text)
						}
						break
					}
				}
				if !found {
					t.Errorf("%s: no answer to %s", what, debugField(l, "resp_command_id"))
				}
				continue
			}
			at := -1
			for i := range got {
				e := &got[i]
				connection := ""
				for _, a := range e.Attributes {
					if a.Key == "connection_id" {
						connection = a.Value
					}
				}
				// Of a message that is delivered or acknowledged, lines have number, connection and session of who sent it, not of who gets it.
				// Of what is removed, and what is in the cache, lines have no connection.
				want := debugField(l, "connection_id")
				same := num(e.RequestID) == id && (want == connection || want == "")
				if delivered := kind == "MessageDispatch" || kind == "MessageAck"; !used[i] && e.RequestType == kind && (same || delivered) {
					at = i
					break
				}
			}
			if at < 0 {
				t.Errorf("%s: no exchange for %s %s", what, kind, id)
				continue
			}
			used[at] = true
			found++
			e := &got[at]
			attrs := map[string]string{}
			for _, a := range e.Attributes {
				attrs[a.Key] = a.Value
			}
			session := debugField(l, "session_id")
			if session == "18446744073709551615" {
				session = "-1"
			}
			if broker := debugField(l, "broker_url"); broker != "" {
				compare(t, what, [3]string{"domain", e.RequestDomain, broker})
			}
			if kind != "MessageDispatch" { // where lines have no correlation id of the message
				compare(t, what, [][3]string{{"correlation", attrs["correlation_id"], debugField(l, "correlation_id")},
					{"answered", fmt.Sprint(e.Kind == KindSession), debugField(l, "response_required")}}...)
			}
			if trace := debugField(l, "field"); trace != "" || name != "openwire_segmented" { // where it is in another segment, lines have none
				compare(t, what, [][3]string{{"trace", e.TraceID, trace}, {"span", e.SpanID, debugField(l, "span_id")}}...)
			}
			if topic := debugField(l, "topic"); topic != "" || kind != "ConsumerInfo" && name != "openwire_segmented" { // none in loose encoding, nor from the cache
				compare(t, what, [3]string{"resource", e.RequestResource, topic})
			}
			compare(t, what, [][3]string{
				{"endpoint", e.Endpoint, e.RequestResource}, {"version", e.Version, debugField(l, "version")},
				{"bytes", num(e.RequestBytes - prefix), debugField(l, "req_msg_size") + debugField(l, "res_msg_size")},
			}...)
			if session != "" {
				compare(t, what, [3]string{"session", attrs["session_id"], session})
			}
		}
		if found != len(got) {
			t.Errorf("%s: %d exchanges, want %d", name, len(got), found)
		}
	}
}
