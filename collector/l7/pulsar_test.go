package l7

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/flowlake/flowlake/collector/l7/pulsar"
)

// TestCorpusPulsar compares with the expectations. Deviations: FLOW, PING, PONG and ACK without a number make no rows; a
// response is part of its request's row; the topic of a SEND is that of its producer.
func TestCorpusPulsar(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "pulsar", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, f := range files {
		type frame struct {
			Message string `json:"msg_type"`
			Command map[string]json.RawMessage
			ID      *int64 `json:"request_id"`
		}
		var want, got []string
		responses := 0
		for _, line := range resultLines(t, f) {
			var l frame
			if err := json.NewDecoder(strings.NewReader(line)).Decode(&l); err != nil {
				t.Fatal(err)
			}
			var typ pulsar.Type
			if err := json.Unmarshal(l.Command["type"], &typ); err != nil {
				t.Fatal(err)
			}
			switch {
			case typ.Answered() || l.Message == "Request" && typ == pulsar.CloseProducer:
				var fields struct{ Topic string }
				for name, raw := range l.Command {
					if name != "type" {
						_ = json.Unmarshal(raw, &fields)
					}
				}
				id := int64(-1)
				if l.ID != nil {
					id = *l.ID
				}
				want = append(want, fmt.Sprint(typ, " ", id, " ", fields.Topic))
			case l.Message == "Response" && typ != pulsar.Pong && typ != pulsar.Ping:
				responses++
			}
		}
		rec, m := replay(t, f, Options{}, false)
		sessions := 0
		for _, e := range rec.exchanges {
			if e.Kind == KindSession {
				sessions++
			}
			if e.ServerInitiated {
				continue
			}
			topic := e.RequestDomain
			if e.RequestType == "SEND" || e.RequestType == "CLOSE_PRODUCER" { // they have none
				topic = ""
			}
			if e.Kind == KindSession && e.Status != StatusOK {
				t.Errorf("%+v", e)
			}
			got = append(got, fmt.Sprint(e.RequestType, " ", e.RequestID, " ", topic))
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) || sessions != responses {
			t.Errorf("%s: %d sessions, want %d\ngot  %q\nwant %q", f, sessions, responses, got, want)
		}
		if m.ParseFailures+m.Unpaired != 0 {
			t.Errorf("%s: %+v", f, m)
		}
	}
}

// pulsarFrame is a frame with a command of one field after its type, and what follows it.
func pulsarFrame(typ byte, fields string, behind string) string {
	command := string([]byte{1 << 3, typ}) + string(protowire.AppendVarint(protowire.AppendTag(nil, protowire.Number(typ), protowire.BytesType), uint64(len(fields)))) + fields
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(command)+len(behind)))
	return string(binary.BigEndian.AppendUint32(b, uint32(len(command)))) + command + behind
}

func pulsarNumber(num protowire.Number, v uint64) string {
	return string(protowire.AppendVarint(protowire.AppendTag(nil, num, protowire.VarintType), v))
}

func pulsarText(num protowire.Number, v string) string {
	return string(protowire.AppendString(protowire.AppendTag(nil, num, protowire.BytesType), v))
}

// TestPulsarConversation: a consumer gets messages, with trace context, and is refused another topic.
func TestPulsarConversation(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(pulsarFrame(2, pulsarText(1, "test 1")+pulsarNumber(4, 19), ""))
	k.server(pulsarFrame(3, pulsarText(1, "server")+pulsarNumber(2, 19), ""))
	k.client(pulsarFrame(4, pulsarText(1, "orders")+pulsarText(2, "readers")+pulsarNumber(4, 7)+pulsarNumber(5, 1), ""))
	k.server(pulsarFrame(13, pulsarNumber(1, 1), ""))
	k.client(pulsarFrame(11, pulsarNumber(1, 7)+pulsarNumber(2, 1000), ""))
	metadata := pulsarText(1, "p") + pulsarNumber(2, 3) + pulsarText(4, pulsarText(1, "traceparent")+pulsarText(2, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"))
	behind := string([]byte{0x0e, 0x01, 1, 2, 3, 4, 0, 0, 0, byte(len(metadata))}) + metadata + strings.Repeat("x", 30000)
	message := pulsarFrame(9, pulsarNumber(1, 7)+pulsarText(2, pulsarNumber(1, 5)+pulsarNumber(2, 6)), behind)
	k.server(message[:2000])
	k.server(message[2000:])
	k.client(pulsarFrame(10, pulsarNumber(1, 7)+pulsarText(3, pulsarNumber(1, 5)+pulsarNumber(2, 6)), ""))
	k.client(pulsarFrame(23, pulsarText(1, "missing")+pulsarNumber(2, 2), ""))
	k.server(pulsarFrame(18, "", ""))
	k.client(pulsarFrame(19, "", ""))
	k.server(pulsarFrame(24, pulsarNumber(4, 2)+pulsarNumber(6, 11)+pulsarText(7, "gone"), ""))
	var got []string
	for _, e := range k.rec.exchanges {
		got = append(got, fmt.Sprint(e.Kind, " ", e.RequestType, " ", e.RequestResource, " ", e.RequestID, " ", e.Status, " ", e.ResponseCode, " ", e.ResponseException, " ", e.TraceID, " ", e.Attributes))
	}
	want := []string{
		"session CONNECT  -1 ok -1   [{client_software test 1} {server_software server}]",
		"session SUBSCRIBE orders 1 ok -1   [{subscription readers}]",
		"request MESSAGE orders:5:6 -1 ok -1  4bf92f3577b34da6a3ce929d0e0e4736 [{initiator server}]",
		"session LOOKUP missing 2 client_error 11 TopicNotFound: gone  []",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if m := k.tr.Metrics(); m.ParseFailures+m.Unpaired != 0 || m.Buffered != 0 {
		t.Errorf("%+v", m)
	}
}
