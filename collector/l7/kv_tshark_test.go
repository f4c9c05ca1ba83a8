package l7

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// tsharkKV returns what tshark says about the packets of a capture that match its filter: the values of the fields, a packet a
// row. The test is skipped without tshark.
func tsharkKV(t *testing.T, file, as, filter string, fields ...string) (rows [][]string) {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Skipf("tshark, which reads the same files, is not installed: %v", err)
	}
	args := []string{"-r", file, "-Y", filter, "-T", "fields", "-E", "aggregator=|"}
	if as != "" {
		args = append(args, "-d", as)
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	out, err := exec.Command(path, args...).Output()
	if err != nil {
		t.Skipf("tshark does not read %s: %v", file, err) // an old one that does not know a field
	}
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "\t"))
	}
	return rows
}

// eachFile runs f, beside others, for captures of ours (by name) and of the corpus (by folder and name).
func eachFile(t *testing.T, f func(t *testing.T, file string), names ...string) {
	t.Parallel()
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(name, "/") {
				f(t, filepath.Join(corpusDir(t), "l7", filepath.FromSlash(name)+".pcap"))
			} else {
				f(t, filepath.Join("testdata", "captures", name+".pcap"))
			}
		})
	}
}

// sameSet compares two lists in any order.
func sameSet(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, tshark has %q", what, got, want)
	}
}

// some takes the elements that are not empty out of aggregated values.
func some(values string) (all []string) {
	for v := range strings.SplitSeq(values, "|") {
		if v != "" {
			all = append(all, v)
		}
	}
	return all
}

// TestTsharkMQTT: as many packets of each type, with the same topics.
func TestTsharkMQTT(t *testing.T) {
	names := []string{1: "CONNECT", 3: "PUBLISH", 6: "PUBREL", 8: "SUBSCRIBE", 10: "UNSUBSCRIBE", 12: "PINGREQ", 14: "DISCONNECT", 15: "AUTH"}
	eachFile(t, func(t *testing.T, file string) {
		rec, _ := replay(t, file, Options{}, false)
		var requests, topics, wantRequests, wantTopics []string
		answers, wantAnswers := 0, 0
		for i := range rec.exchanges {
			e := &rec.exchanges[i]
			requests = append(requests, e.RequestType)
			if e.Kind == KindSession {
				answers++
			}
			if e.RequestResource != "" {
				topics = append(topics, strings.Split(e.RequestResource, ",")...)
			}
		}
		for _, row := range tsharkKV(t, file, "", "mqtt", "mqtt.msgtype", "mqtt.topic") {
			for _, v := range some(row[0]) {
				if kind, _ := strconv.Atoi(v); kind < len(names) && names[kind] != "" {
					wantRequests = append(wantRequests, names[kind])
				} else {
					wantAnswers++
				}
			}
			wantTopics = append(wantTopics, some(row[1])...)
		}
		sameSet(t, file+": requests", requests, wantRequests)
		sameSet(t, file+": topics", topics, wantTopics)
		if answers != wantAnswers {
			t.Errorf("%s: %d answers, tshark has %d", file, answers, wantAnswers)
		}
	}, "mqtt", "mqtt/mqtt_pub", "mqtt/mqtt_sub", "mqtt/mqtt_one_packet_multi_publish")
}

// TestTsharkMemcached: the same binary requests and responses. Of the text protocol tshark reads little.
func TestTsharkMemcached(t *testing.T) {
	t.Parallel()
	const file = "testdata/captures/memcached.pcap"
	rec, _ := replay(t, file, Options{}, false)
	var requests, answers, wantRequests, wantAnswers []string
	for i := range rec.exchanges {
		if e := &rec.exchanges[i]; e.RequestID >= 0 {
			_, key, _ := strings.Cut(e.RequestResource, " ")
			requests = append(requests, fmt.Sprint(e.RequestID, key))
			answers = append(answers, fmt.Sprint(e.RequestID, e.ResponseCode))
		}
	}
	for _, row := range tsharkKV(t, file, "", "memcache.magic", "memcache.magic", "memcache.opaque", "memcache.key", "memcache.status") {
		opaque, err := strconv.Atoi(row[1])
		if err != nil {
			t.Fatal(err)
		}
		if row[0] == "128" {
			wantRequests = append(wantRequests, fmt.Sprint(opaque, row[2]))
			continue
		}
		status, err := strconv.ParseInt(row[3], 0, 32)
		if err != nil {
			t.Fatal(err)
		}
		wantAnswers = append(wantAnswers, fmt.Sprint(opaque, status))
	}
	sameSet(t, "requests", requests, wantRequests)
	sameSet(t, "answers", answers, wantAnswers)
}

// TestTsharkRedis: the same errors and statuses.
func TestTsharkRedis(t *testing.T) {
	eachFile(t, func(t *testing.T, file string) {
		rec, _ := replay(t, file, Options{KeepLiterals: true}, false)
		var got, want []string
		types := map[string]bool{"string": true, "integer": true, "array": true, "map": true, "null": true, "error": true}
		for i := range rec.exchanges {
			e := &rec.exchanges[i]
			if e.ResponseException != "" {
				got = append(got, e.ResponseException)
			} else if e.ResponseResult != "" && !types[e.ResponseResult] {
				got = append(got, e.ResponseResult)
			}
		}
		for _, row := range tsharkKV(t, file, "", "resp", "resp.error", "resp.string") {
			want = append(want, append(some(row[0]), some(row[1])...)...)
		}
		sameSet(t, file, got, want)
	}, "redis", "redis/redis-error")
}

// TestTsharkMongo: the same numbers and operation.
func TestTsharkMongo(t *testing.T) {
	t.Parallel()
	file := filepath.Join(corpusDir(t), "l7", "mongo", "mongo-msg.pcap")
	rec, _ := replay(t, file, Options{}, false)
	rows := tsharkKV(t, file, "tcp.port==3717,mongo", "mongo", "mongo.request_id", "mongo.response_to", "mongo.opcode", "mongo.message_length")
	if len(rec.exchanges) != 1 || len(rows) != 2 {
		t.Fatalf("%d exchanges, %d packets", len(rec.exchanges), len(rows))
	}
	e := &rec.exchanges[0]
	id, err := strconv.ParseInt(rows[0][0], 0, 64)
	to, err2 := strconv.ParseInt(rows[1][1], 0, 64)
	if err != nil || err2 != nil || e.RequestID != id || e.RequestID != to || rows[0][2] != "2013" || e.RequestType != "OP_MSG" ||
		fmt.Sprint(e.RequestBytes) != rows[0][3] || fmt.Sprint(e.ResponseBytes) != rows[1][3] {
		t.Errorf("%+v, tshark has %q", e, rows)
	}
}
