package l7

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// kafkaMessage puts a length before what a message is made of.
func kafkaMessage(parts ...any) string {
	var b []byte
	for _, p := range parts {
		switch v := p.(type) {
		case string: // with its length
			b = append(binary.BigEndian.AppendUint16(b, uint16(len(v))), v...)
		case []byte:
			b = append(b, v...)
		default:
			b, _ = binary.Append(b, binary.BigEndian, v)
		}
	}
	return string(binary.BigEndian.AppendUint32(nil, uint32(len(b)))) + string(b)
}

func kafkaProduce(id int32, acks int16, partition int32) string {
	return kafkaMessage(int16(0), int16(2), id, "app", acks, int32(1000), int32(1), "orders", int32(1), partition, int32(0))
}

func kafkaProduced(id int32, partition int32, code int16, offset int64) string {
	return kafkaMessage(id, int32(1), "orders", int32(1), partition, code, offset, int64(-1), int32(0))
}

func newKafka(t *testing.T, o Options) *talk {
	k := newTalk(t, o)
	k.c = k.tr.NewConn(transportTCP, 40000, 9092)
	return k
}

// TestKafkaPairing: responses go by their number, whatever the order.
func TestKafkaPairing(t *testing.T) {
	k := newKafka(t, Options{})
	k.client(kafkaProduce(1, 1, 3) + kafkaProduce(2, 1, 4)[:20])
	k.client(kafkaProduce(2, 1, 4)[20:])
	k.server(kafkaProduced(2, 4, 6, -1))
	k.server(kafkaProduced(1, 3, 0, 99))
	var got []string
	for _, e := range k.rec.exchanges {
		got = append(got, fmt.Sprintf("%s %s %s %s %s %d %d %s %s", e.Kind, e.RequestType, e.RequestDomain, e.RequestResource, e.Endpoint, e.RequestID, e.ResponseCode, e.Status, e.ResponseException))
	}
	want := []string{"session Produce orders orders-4 orders-4 2 6 server_error NOT_LEADER_OR_FOLLOWER", "session Produce orders orders-3:99 orders-3 1 0 ok NONE"}
	want[1] = strings.TrimSuffix(want[1], "NONE")
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestKafkaNoAnswer: a Produce with acks 0 is not waited for.
func TestKafkaNoAnswer(t *testing.T) {
	k := newKafka(t, Options{})
	k.client(kafkaProduce(1, 0, 3))
	if e := k.one(); e.Kind != KindRequest || e.Status != StatusUnknown || k.tr.Metrics().Pending != 0 {
		t.Errorf("%+v", e)
	}
}

func TestKafkaTimeout(t *testing.T) {
	k := newKafka(t, Options{Timeouts: map[Protocol]time.Duration{Kafka: time.Second}})
	k.client(kafkaProduce(0, 1, 3))
	k.server(kafkaProduced(0, 3, 0, 8))
	k.one()
	k.client(kafkaProduce(1, 1, 3))
	k.tr.Tick(k.time + 2e9)
	if e := k.one(); e.Status != StatusTimeout {
		t.Errorf("%+v", e)
	}
	k.server(kafkaProduced(1, 3, 0, 9)) // too late: nobody knows what it answers
	if e := k.one(); e.Kind != KindResponse || e.RequestID != 1 || e.Status != StatusUnknown {
		t.Errorf("%+v", e)
	}
}

// TestKafkaBigMessages: records are passed over unseen.
func TestKafkaBigMessages(t *testing.T) {
	k := newKafka(t, Options{})
	big := make([]byte, 100<<10)
	req := kafkaMessage(int16(0), int16(2), int32(1), "app", int16(1), int32(1000), int32(1), "orders", int32(1), int32(3), int32(len(big)), big)
	for part := range slices.Chunk([]byte(req), 1400) {
		k.client(string(part))
	}
	k.server(kafkaProduced(1, 3, 0, 5))
	k.client(kafkaProduce(2, 1, 3))
	k.server(kafkaProduced(2, 3, 0, 6))
	if len(k.rec.exchanges) != 2 || k.rec.exchanges[0].RequestBytes != int64(len(req)) || k.rec.exchanges[1].RequestResource != "orders-3:6" {
		t.Errorf("%q", k.rec.lines)
	}
	if m := k.tr.Metrics(); m.Buffered != 0 || m.ParseFailures != 0 {
		t.Errorf("%+v", m)
	}
}

// TestKafkaMiddle: a connection is picked up in the middle, from a request on; after a hole the next message is found.
func TestKafkaMiddle(t *testing.T) {
	k := newKafka(t, Options{})
	k.server(string(make([]byte, 500))) // the end of some response
	k.client(kafkaProduce(7, 1, 3))
	k.server(kafkaProduced(7, 3, 0, 5))
	k.want("session Produce ordersorders-3:5 > 0 ok")
	k.skip(Client, 100)
	k.client(kafkaProduce(9, 1, 3))
	k.skip(Server, 50)
	k.server(kafkaProduced(9, 3, 0, 6))
	k.tr.Tick(k.time + 5e9)
	k.want("session Produce ordersorders-3:6 > 0 ok")
}

// TestCorpusKafka compares with the expectations; there is no deviation.
func TestCorpusKafka(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "kafka", "*.result"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".result")
		pcap := strings.TrimSuffix(f, ".result") + ".pcap"
		lines := resultLines(t, pcap)
		for _, reversed := range []bool{false, true} {
			rec, m := replay(t, pcap, Options{}, reversed)
			if len(rec.exchanges) != 1 || len(lines) != 2 || m.ParseFailures+m.Resyncs+m.Unpaired != 0 {
				t.Errorf("%s, reversed %v: %q, %+v", name, reversed, rec.lines, m)
				continue
			}
			e, req, rsp := rec.exchanges[0], lines[0], lines[1]
			attribute := func(key string) string {
				for _, a := range e.Attributes {
					if a.Key == key {
						return a.Value
					}
				}
				return ""
			}
			resource := debugField(req, "resource")
			if r := debugField(rsp, "resource"); r != "" {
				resource = r
			}
			for _, c := range []struct{ what, got, want string }{
				{"type", e.RequestType, debugField(req, "command")},
				{"id", fmt.Sprint(e.RequestID), debugField(req, "correlation_id")},
				{"version", e.Version, debugField(req, "api_version")},
				{"domain", e.RequestDomain, debugField(req, "topic_name")},
				{"resource", e.RequestResource, resource},
				{"endpoint", e.Endpoint, debugField(req, "endpoint")},
				{"client", attribute("client_id"), debugField(req, "client_id")},
				{"group", attribute("group"), debugField(req, "group_id")},
				{"code", fmt.Sprint(e.ResponseCode), debugField(rsp, "status_code")},
				{"status", strings.ReplaceAll(e.Status.String(), "_", ""), strings.ToLower(debugField(rsp, "status"))},
				{"request bytes", fmt.Sprint(e.RequestBytes), debugField(req, "captured_request_byte")},
				{"response bytes", fmt.Sprint(e.ResponseBytes), debugField(rsp, "captured_response_byte")},
			} {
				if c.got != c.want {
					t.Errorf("%s, reversed %v: %s %q, want %q", name, reversed, c.what, c.got, c.want)
				}
			}
		}
	}
}
