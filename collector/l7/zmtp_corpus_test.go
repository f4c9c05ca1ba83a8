package l7

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// Deviations: greetings are no exchanges; the parts of a message are one exchange, with the lengths of their heads; a command
// of the handshake and its answer are one, as are the messages of REQ and REP; a published message has its topic as resource.
func TestCorpusZMTP(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "zmtp", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	const shortHead = 2 // all frames of these captures are short
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".pcap")
		got, lines := brokerCapture(t, "zmtp/"+name)
		i, handshake, answers := -1, "", false
		size, topic, parts := 0, "", 0
		for n, l := range lines {
			what := fmt.Sprintf("%s, line %d", name, n+1)
			command := debugField(l, "command_name")
			var length int
			fmt.Sscan(debugField(l, "req_msg_size")+debugField(l, "res_msg_size"), &length)
			switch {
			case debugField(l, "frame_type") == "Greeting":
				continue
			case command != "" && handshake != "": // the other side's
				e := got[i]
				compare(t, what, [][3]string{{"kind", e.Kind.String(), "session"}, {"result", e.ResponseResult, command}, {"status", e.Status.String(), "ok"},
					{"bytes", num(e.ResponseBytes), fmt.Sprint(length + shortHead)}}...)
				handshake = ""
				continue
			case command != "":
				i++
				e := got[i]
				compare(t, what, [][3]string{{"type", e.RequestType, command}, {"resource", e.RequestResource, debugField(l, "subscription")},
					{"bytes", num(e.RequestBytes), fmt.Sprint(length + shortHead)}, {"version", e.Version, "3.1"}}...)
				if command == "HELLO" || command == "INITIATE" {
					handshake = command
				}
				continue
			}
			if size == 0 {
				topic, parts = payloadOf(l), 0
			}
			size += length + shortHead
			if parts++; debugField(l, "more_frames") == "true" {
				continue
			}
			kind := debugField(l, "msg_type")
			if answers = kind == "Response"; !answers {
				i++
			}
			e := got[i]
			bytes, resource := e.RequestBytes, topic
			if kind != "Session" {
				resource, kind = "", "Session"
			} else {
				kind = "Request"
			}
			if answers {
				bytes = e.ResponseBytes
			}
			if name == "zmtp_plain" && !answers {
				size += shortHead // a line for the last part only
			}
			if parts < 2 {
				resource = ""
			}
			compare(t, what, [][3]string{{"type", e.RequestType, "MESSAGE"}, {"kind", e.Kind.String(), strings.ToLower(kind)}, {"status", e.Status.String(), "ok"},
				{"resource", e.RequestResource, resource}, {"bytes", num(bytes), fmt.Sprint(size)}}...)
			size = 0
		}
		if i != len(got)-1 {
			t.Errorf("%s: %d exchanges, want %d", name, len(got), i+1)
		}
	}
}

// payloadOf is the list of numbers in a line, as text.
func payloadOf(line string) string {
	_, list, _ := strings.Cut(line, "payload: [")
	list, _, _ = strings.Cut(list, "]")
	var b []byte
	for _, s := range strings.Split(list, ", ") {
		var c byte
		if _, err := fmt.Sscan(s, &c); err == nil {
			b = append(b, c)
		}
	}
	return string(b)
}
