package l7

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// rocketmqFrame is a command with a header in JSON.
func rocketmqFrame(header, body string) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(4+len(header)+len(body)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(header)))
	return string(b) + header + body
}

func TestRocketMQPairing(t *testing.T) {
	k := newTalk(t, Options{})
	send := `{"code":310,"extFields":{"a":"g","b":"orders","e":"3","i":"traceparent\u000100-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\u0002UNIQ_KEY\u0001K1\u0002"},"flag":0,"language":"JAVA","opaque":%d,"version":401}`
	k.client(rocketmqFrame(fmt.Sprintf(send, 7), "body") + rocketmqFrame(fmt.Sprintf(send, 8), strings.Repeat("b", 50000))[:300])
	k.client(rocketmqFrame(fmt.Sprintf(send, 8), strings.Repeat("b", 50000))[300:])
	k.client(rocketmqFrame(`{"code":15,"extFields":{"topic":"orders","consumerGroup":"g","queueId":"1","commitOffset":"5"},"flag":2,"opaque":9,"version":401}`, ""))
	k.server(rocketmqFrame(`{"code":17,"flag":1,"opaque":8,"remark":"no \"topic\"","version":401}`, ""))
	k.server(rocketmqFrame(`{"code":0,"extFields":{"queueId":"3","queueOffset":"27","msgId":"x"},"flag":1,"opaque":7,"version":399}`, ""))
	var got []string
	for _, e := range k.rec.exchanges {
		got = append(got, fmt.Sprint(e.Kind, " ", e.RequestType, " ", e.RequestResource, " ", e.Endpoint, " ", e.RequestID, " ", e.ResponseCode, " ", e.Status, " ", e.ResponseException, " ", e.Version, " ", e.TraceID, " ", e.Attributes))
	}
	want := []string{
		"request UPDATE_CONSUMER_OFFSET orders-1:5 orders-1 9 -1 unknown  V4_9_4  [{group g}]",
		`session SEND_MESSAGE_V2 orders-3 orders-3 8 17 client_error no "topic" V4_9_4 4bf92f3577b34da6a3ce929d0e0e4736 [{group g} {message_id K1}]`,
		"session SEND_MESSAGE_V2 orders-3:27 orders-3 7 0 ok  V4_9_4 4bf92f3577b34da6a3ce929d0e0e4736 [{group g} {message_id K1}]",
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// TestCorpusRocketMQ compares with the expectations, one row for each request line. Deviations: the id of a message is the
// request's where a producer names it, the first pulled message's of a pull.
func TestCorpusRocketMQ(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(corpusDir(t), "l7", "rocketmq", "*.pcap"))
	if err != nil || len(files) == 0 {
		t.Fatal("no captures", err)
	}
	for _, f := range files {
		requests, responses := map[string]string{}, map[string]string{}
		for _, line := range resultLines(t, f) {
			if strings.Contains(line, "msg_type: Request") {
				requests[debugField(line, "opaque")] = line
			} else {
				responses[debugField(line, "opaque")] = line
			}
		}
		rec, m := replay(t, f, Options{}, false)
		if len(rec.exchanges) != len(requests) || m.ParseFailures+m.Unpaired != 0 { // some captures leave packets out
			t.Errorf("%s: %q, %+v", f, rec.lines, m)
		}
		for _, e := range rec.exchanges {
			req, rsp := requests[fmt.Sprint(e.RequestID)], responses[fmt.Sprint(e.RequestID)]
			message := debugField(req, "msg_key") + debugField(rsp, "msg_key")
			trace, span := prioField(req, "trace_ids")+prioField(rsp, "trace_ids"), debugField(req, "span_id")+debugField(rsp, "span_id")
			got := map[string]string{}
			for _, a := range e.Attributes {
				got[a.Key] = a.Value
			}
			for _, c := range []struct{ what, got, want string }{
				{"type", e.RequestType, debugField(req, "req_code_name")},
				{"topic", e.RequestDomain, debugField(req, "ext_topic")},
				{"endpoint", e.Endpoint, debugField(req, "endpoint")},
				{"group", got["group"], debugField(req, "ext_group")},
				{"version", e.Version, debugField(req, "version")},
				{"code", fmt.Sprint(e.ResponseCode), debugField(rsp, "resp_code")},
				{"name", e.ResponseResult, debugField(rsp, "resp_code_name")},
				{"status", e.Status.String(), strings.ToLower(debugField(rsp, "status"))},
				{"message", got["message_id"], message},
				{"trace", e.TraceID, trace},
				{"span", e.SpanID, span},
				{"request bytes", fmt.Sprint(e.RequestBytes), debugField(req, "captured_request_byte")},
				{"response bytes", fmt.Sprint(e.ResponseBytes), debugField(rsp, "captured_response_byte")},
				{"rrt", fmt.Sprint((e.EndNanos - e.StartNanos) / 1000), debugField(rsp, "rrt")},
			} {
				if c.got != c.want {
					t.Errorf("%s, %d: %s %q, want %q", filepath.Base(f), e.RequestID, c.what, c.got, c.want)
				}
			}
		}
	}
}

// prioField is the first value of a list of candidates in a line of an expectation.
func prioField(line, name string) string {
	_, rest, _ := strings.Cut(line, name+": PrioFields([")
	list, _, _ := strings.Cut(rest, "])")
	return debugField(list, "field")
}
