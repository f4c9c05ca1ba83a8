package kafka

import (
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// message builds messages.
type message []byte

func (m message) i8(v int8) message   { return append(m, byte(v)) }
func (m message) i16(v int16) message { return binary.BigEndian.AppendUint16(m, uint16(v)) }
func (m message) i32(v int32) message { return binary.BigEndian.AppendUint32(m, uint32(v)) }
func (m message) i64(v int64) message { return binary.BigEndian.AppendUint64(m, uint64(v)) }
func (m message) str(s string) message {
	return append(m.i16(int16(len(s))), s...)
}
func (m message) compact(s string) message {
	return append(binary.AppendUvarint(m, uint64(len(s)+1)), s...)
}
func (m message) u(v uint64) message   { return binary.AppendUvarint(m, v) }
func (m message) v(v int64) message    { return binary.AppendVarint(m, v) }
func (m message) raw(b []byte) message { return append(m, b...) }
func (m message) sized() []byte        { return append(message(nil).i32(int32(len(m))), m...) }
func head(a API, v int16, id int32, client string) message {
	return message(nil).i16(int16(a)).i16(v).i32(id).str(client)
}

var uuid = []byte("0123456789abcdef")

// batch is a record batch of one record with a header.
func batch() message {
	record := message(nil).i8(0).v(0).v(0).v(-1).v(5).raw([]byte("value")).v(1).v(2).raw([]byte("b3")).v(3).raw([]byte("abc"))
	b := message(nil).i64(40).i32(0).i32(0).i8(2).i32(0).i16(0).i32(0).i64(0).i64(0).i64(-1).i16(-1).i32(-1).i32(1)
	return b.v(int64(len(record))).raw(record)
}

func TestRequests(t *testing.T) {
	for name, c := range map[string]struct {
		in   message
		want string
	}{
		"Produce 2": {head(Produce, 2, 7, "c").i16(1).i32(1000).i32(1).str("orders").i32(1).i32(3).i32(int32(len(batch()))).raw(batch()),
			"Produce 2 7 c group= topic=orders id= -3 @-1 topics=1 records=40+1"},
		"Produce 8, no answer": {head(Produce, 8, 7, "c").i16(-1).i16(0).i32(1000).i32(1).str("orders").i32(1).i32(3).i32(0),
			"Produce 8 7 c group= topic=orders id= -3 @-1 topics=1 no-response"},
		"Produce 13": {head(Produce, 13, 7, "c").u(0).u(0).i16(-1).i32(1).u(2).raw(uuid).u(2).i32(3).u(uint64(len(batch()) + 1)).raw(batch()),
			"Produce 13 7 c group= topic= id=0123456789abcdef -3 @-1 topics=1 records=40+1"},
		"Fetch 4":              {head(Fetch, 4, 1, "c").i32(-1).i32(500).i32(1).i32(9).i8(0).i32(1).str("t").i32(1).i32(5).i64(77), "Fetch 4 1 c group= topic=t id= -5 @77 topics=1"},
		"Fetch 12":             {head(Fetch, 12, 1, "c").u(0).i32(-1).i32(500).i32(1).i32(9).i8(0).i32(0).i32(0).u(2).compact("t").u(2).i32(5).i32(0).i64(77), "Fetch 12 1 c group= topic=t id= -5 @77 topics=1"},
		"Fetch 16":             {head(Fetch, 16, 1, "c").u(0).i32(500).i32(1).i32(9).i8(0).i32(0).i32(0).u(2).raw(uuid).u(2).i32(5).i32(0).i64(77), "Fetch 16 1 c group= topic= id=0123456789abcdef -5 @77 topics=1"},
		"Fetch of nothing new": {head(Fetch, 12, 1, "c").u(0).i32(-1).i32(500).i32(1).i32(9).i8(0).i32(3).i32(4).u(1).u(1), "Fetch 12 1 c group= topic= id= --1 @-1 topics=0"},
		"Metadata 1 of all":    {head(Metadata, 1, 1, "c").i32(-1), "Metadata 1 1 c group= topic= id= --1 @-1 topics=0"},
		"Metadata 12":          {head(Metadata, 12, 1, "c").u(0).u(3).raw(uuid).compact("t"), "Metadata 12 1 c group= topic=t id= --1 @-1 topics=2"},
		"OffsetCommit 2":       {head(OffsetCommit, 2, 1, "c").str("g").i32(4).str("m").i64(-1).i32(1).str("t").i32(1).i32(2).i64(9), "OffsetCommit 2 1 c group=g topic=t id= -2 @9 topics=1"},
		"OffsetFetch 8":        {head(OffsetFetch, 8, 1, "c").u(0).u(2).compact("g").u(2).compact("t").u(2).i32(6), "OffsetFetch 8 1 c group=g topic=t id= -6 @-1 topics=1"},
		"FindCoordinator 1":    {head(FindCoordinator, 1, 1, "c").str("g").i8(0), "FindCoordinator 1 1 c group=g topic= id= --1 @-1 topics=0"},
		"FindCoordinator 4":    {head(FindCoordinator, 4, 1, "c").u(0).i8(0).u(2).compact("g"), "FindCoordinator 4 1 c group=g topic= id= --1 @-1 topics=0"},
		"JoinGroup 7":          {head(JoinGroup, 7, 1, "c").u(0).compact("g"), "JoinGroup 7 1 c group=g topic= id= --1 @-1 topics=0"},
		"ListOffsets 6":        {head(ListOffsets, 6, 1, "c").u(0).i32(-1).i8(0).u(2).compact("t").u(2).i32(8), "ListOffsets 6 1 c group= topic=t id= -8 @-1 topics=1"},
		"ListOffsets 1":        {head(ListOffsets, 1, 1, "c").i32(-1).i32(1).str("t").i32(1).i32(8), "ListOffsets 1 1 c group= topic=t id= -8 @-1 topics=1"},
		"DescribeGroups 5":     {head(DescribeGroups, 5, 1, "c").u(0).u(2).compact("g"), "DescribeGroups 5 1 c group=g topic= id= --1 @-1 topics=0"},
		"ApiVersions 3":        {head(ApiVersions, 3, 1, "c").u(0).compact("lib").compact("1"), "ApiVersions 3 1 c group= topic= id= --1 @-1 topics=0 lib/1"},
		"SaslHandshake 1":      {head(SaslHandshake, 1, 1, "c").str("PLAIN"), "SaslHandshake 1 1 c group= topic= id= --1 @-1 topics=0 PLAIN"},
		"AddPartitionsToTxn 3": {head(AddPartitionsToTxn, 3, 1, "c").u(0).compact("x").i64(1).i16(1).u(2).compact("t").u(2).i32(1),
			"AddPartitionsToTxn 3 1 c group=x topic=t id= -1 @-1 topics=1"},
		"DeleteTopics 6":       {head(DeleteTopics, 6, 1, "c").u(0).u(2).u(0).raw(uuid), "DeleteTopics 6 1 c group= topic= id=0123456789abcdef --1 @-1 topics=1"},
		"no client id":         {message(nil).i16(3).i16(0).i32(5).i16(-1).i32(0), "Metadata 0 5  group= topic= id= --1 @-1 topics=0"},
		"ControlledShutdown 0": {message(nil).i16(7).i16(0).i32(5).i32(1), "ControlledShutdown 0 5  group= topic= id= --1 @-1 topics=0"},
	} {
		p := c.in.sized()
		var m Request
		n, err := ParseRequest(p, &m)
		if err != nil || n != len(p) {
			t.Errorf("%s: %d of %d, %v", name, n, len(p), err)
			continue
		}
		if got := show(&m); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		if v := CheckRequest(p, true); v != wire.Request {
			t.Errorf("%s: verdict %d", name, v)
		}
		for cut := range p { // what is cut is read as far as it is there
			var part Request
			if _, err := ParseRequest(p[:cut], &part); err == nil && part.Topic != nil && len(part.Topic) > len(m.Topic) {
				t.Errorf("%s cut to %d: topic %q", name, cut, part.Topic)
			}
			if v := CheckRequest(p[:cut], true); v == wire.No {
				t.Errorf("%s cut to %d is none", name, cut)
			}
		}
	}
}

func show(m *Request) string {
	s := fmt.Sprintf("%s %d %d %s group=%s topic=%s id=%s -%d @%d topics=%d", m.API, m.Version, m.Correlation, m.ClientID, m.Group, m.Topic, m.TopicID, m.Partition, m.Offset, m.Topics)
	if m.NoResponse {
		s += " no-response"
	}
	var b Batch
	if ParseBatch(m.Records, &b) {
		s += fmt.Sprintf(" records=%d+%d", b.BaseOffset, b.Records)
	}
	if m.Software != nil {
		s += fmt.Sprintf(" %s/%s", m.Software, m.SoftwareVersion)
	}
	if m.Mechanism != nil {
		s += " " + string(m.Mechanism)
	}
	return s
}

func TestResponses(t *testing.T) {
	for name, c := range map[string]struct {
		api     API
		version int16
		in      message
		want    string
	}{
		"Produce 2":           {Produce, 2, message(nil).i32(1).str("t").i32(2).i32(3).i16(0).i64(99).i64(-1).i32(4).i16(6).i64(-1).i64(-1).i32(0), "6 true t  -3 @99"},
		"Produce 9":           {Produce, 9, message(nil).u(0).u(2).compact("t").u(2).i32(3).i16(0).i64(99).i64(-1).i64(0).u(1).u(0).u(0).u(0).i32(0).u(0), "0 true t  -3 @99"},
		"Produce 13":          {Produce, 13, message(nil).u(0).u(2).raw(uuid).u(2).i32(3).i16(100).i64(-1).i64(-1).i64(0).u(1).u(0).u(0).u(0).i32(0).u(0), "100 true  0123456789abcdef -3 @-1"},
		"Fetch 4":             {Fetch, 4, message(nil).i32(0).i32(1).str("t").i32(1).i32(5).i16(1).i64(0).i64(0).i32(-1).i32(0), "1 true t  -5 @-1"},
		"Fetch 12":            {Fetch, 12, message(nil).u(0).i32(0).i16(70).i32(0).u(1).u(0), "70 true   --1 @-1"},
		"Fetch 12 of records": {Fetch, 12, message(nil).u(0).i32(0).i16(0).i32(0).u(2).compact("t").u(2).i32(5).i16(0).i64(1).i64(1).i64(0).u(1).i32(-1).u(uint64(len(batch()) + 1)).raw(batch()).u(0).u(0).u(0), "0 true t  -5 @-1 records=40+1"},
		"ListOffsets 1":       {ListOffsets, 1, message(nil).i32(1).str("t").i32(2).i32(1).i16(0).i64(0).i64(0).i32(2).i16(3).i64(0).i64(0), "3 true t  -1 @-1"},
		"ListOffsets 0":       {ListOffsets, 0, message(nil).i32(1).str("t").i32(1).i32(1).i16(0).i32(1).i64(0), "0 true t  -1 @-1"},
		"OffsetCommit 3":      {OffsetCommit, 3, message(nil).i32(0).i32(1).str("t").i32(1).i32(1).i16(25), "25 true t  -1 @-1"},
		"OffsetFetch 5":       {OffsetFetch, 5, message(nil).i32(0).i32(1).str("t").i32(1).i32(1).i64(8).i32(0).i16(-1).i16(0).i16(16), "16 true t  -1 @8"},
		"Metadata 1":          {Metadata, 1, message(nil).i32(1).i32(1).str("host").i32(9092).i16(-1).i32(1).i32(1).i16(5).str("t").i8(0).i32(0), "5 true t  --1 @-1"},
		"Metadata 12":         {Metadata, 12, message(nil).u(0).i32(0).u(1).compact("cl").i32(1).u(3).i16(0).compact("t").raw(uuid).i8(0).u(2).i16(0).i32(0).i32(0).i32(0).u(2).i32(1).u(2).i32(1).u(1).u(0).i32(0).u(0).i16(3).compact("x").raw(make([]byte, 16)).i8(0).u(1).i32(0).u(0).u(0), "3 true t  --1 @-1 names=2"},
		"FindCoordinator 0":   {FindCoordinator, 0, message(nil).i16(15).i32(-1), "15 true   --1 @-1"},
		"FindCoordinator 4":   {FindCoordinator, 4, message(nil).u(0).i32(0).u(2).compact("g").i32(1).compact("host").i32(9).i16(15).u(0).u(0).u(0), "15 true   --1 @-1"},
		"JoinGroup 1":         {JoinGroup, 1, message(nil).i16(27), "27 true   --1 @-1"},
		"Heartbeat 4":         {Heartbeat, 4, message(nil).u(0).i32(0).i16(27).u(0), "27 true   --1 @-1"},
		"ApiVersions 3":       {ApiVersions, 3, message(nil).i16(35).u(1).i32(0).u(0), "35 true   --1 @-1"},
		"CreateTopics 7":      {CreateTopics, 7, message(nil).u(0).i32(0).u(2).compact("t").raw(uuid).i16(36), "36 true t 0123456789abcdef --1 @-1"},
		"unknown":             {API(-1), 0, message(nil).i32(1).i32(2), "0 false   --1 @-1"},
	} {
		p := message(nil).i32(5).raw(c.in).sized()
		var m Response
		n, err := ParseResponse(p, c.api, c.version, &m)
		if err != nil || n != len(p) || m.Correlation != 5 {
			t.Errorf("%s: %d of %d, %v", name, n, len(p), err)
			continue
		}
		got := fmt.Sprintf("%d %v %s %s -%d @%d", m.Code, m.HasCode, m.Topic, m.TopicID, m.Partition, m.Offset)
		var b Batch
		if ParseBatch(m.Records, &b) {
			got += fmt.Sprintf(" records=%d+%d", b.BaseOffset, b.Records)
		}
		if len(m.Names) > 0 {
			got += fmt.Sprintf(" names=%d", len(m.Names))
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		for cut := 8; cut < len(p); cut++ {
			if _, err := ParseResponse(p[:cut], c.api, c.version, &m); err != nil {
				t.Errorf("%s cut to %d: %v", name, cut, err)
			}
		}
	}
}

func TestHeaders(t *testing.T) {
	var b Batch
	if !ParseBatch(batch(), &b) {
		t.Fatal("no batch")
	}
	got := ""
	b.Headers(func(k, v []byte) bool { got += fmt.Sprintf("%s=%s ", k, v); return true })
	if got != "b3=abc " {
		t.Errorf("headers %q", got)
	}
	b.Compression = 4
	b.Headers(func(k, v []byte) bool { t.Errorf("%s=%s of a compressed batch", k, v); return true })
	if ParseBatch(batch()[:60], &b) || ParseBatch(nil, &b) {
		t.Error("a batch without its header")
	}
}

func TestStrangers(t *testing.T) {
	for name, p := range map[string][]byte{
		"http":          []byte("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
		"fastcgi":       {1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0},
		"unknown call":  head(API(200), 0, 1, "c").sized(),
		"version":       head(Fetch, 90, 1, "c").sized(),
		"correlation":   head(Fetch, 1, -2, "c").sized(),
		"client id":     head(Fetch, 1, 1, "\x00\x01").sized(),
		"too long":      append(message(nil).i32(8), head(Fetch, 1, 1, "client")...),
		"negative size": message(nil).i32(-5).i64(1).i64(1),
	} {
		if v := CheckRequest(p, false); v != wire.No {
			t.Errorf("%s: verdict %d", name, v)
		}
	}
	var m Request
	if _, err := ParseRequest(head(API(200), 0, 1, "c").sized(), &m); err == nil {
		t.Error("an unknown call was read")
	}
	if _, err := ParseRequest([]byte{0, 0, 0, 9, 0}, &m); err == nil {
		t.Error("half a header was read")
	}
}

func TestNames(t *testing.T) {
	if API(92).String() != "DeleteShareGroupOffsets" || API(93).String() != "" || API(-1).String() != "" {
		t.Error("names of calls")
	}
	for code, want := range map[int16]string{-1: "UNKNOWN_SERVER_ERROR", 0: "NONE", 3: "UNKNOWN_TOPIC_OR_PARTITION", 16: "NOT_COORDINATOR", 35: "UNSUPPORTED_VERSION",
		58: "SASL_AUTHENTICATION_FAILED", 72: "LISTENER_NOT_FOUND", 79: "MEMBER_ID_REQUIRED", 100: "UNKNOWN_TOPIC_ID", 110: "FENCED_MEMBER_EPOCH", 127: "VOTER_NOT_FOUND", 129: "REBOOTSTRAP_REQUIRED", 133: "SHARE_SESSION_LIMIT_REACHED", 1000: "", -2: ""} {
		if got := CodeString(code); got != want {
			t.Errorf("error %d is called %q, want %q", code, got, want)
		}
	}
}

func TestAllocations(t *testing.T) {
	p := head(Produce, 2, 7, "c").i16(1).i32(1000).i32(1).str("orders").i32(1).i32(3).i32(int32(len(batch()))).raw(batch()).sized()
	q := message(nil).i32(5).i32(1).str("t").i32(1).i32(3).i16(0).i64(99).i64(-1).i32(0).sized()
	var m Request
	var r Response
	if n := testing.AllocsPerRun(100, func() {
		_ = CheckRequest(p, false)
		_, _ = ParseRequest(p, &m)
		_, _ = ParseResponse(q, Produce, 2, &r)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(head(Produce, 13, 7, "c").u(0).u(0).i16(-1).i32(1).u(2).raw(uuid).u(2).i32(3).u(uint64(len(batch())+1)).raw(batch()).sized(), int16(0), int16(13))
	f.Add(message(nil).i32(5).u(0).i32(0).u(1).compact("cl").i32(1).u(2).i16(0).compact("t").raw(uuid).sized(), int16(3), int16(12))
	f.Add(message(nil).i32(5).u(0).i32(0).i16(0).i32(0).u(2).compact("t").u(2).i32(5).sized(), int16(1), int16(12))
	f.Fuzz(func(t *testing.T, p []byte, api, version int16) {
		var m Request
		var r Response
		var b Batch
		if n, err := ParseRequest(p, &m); err == nil {
			if n < 4 || m.API.String() == "" {
				t.Fatalf("%d bytes of %+v", n, m)
			}
			if ParseBatch(m.Records, &b) {
				b.Headers(func(_, _ []byte) bool { return true })
			}
		}
		if _, err := ParseResponse(p, API(api), version, &r); err == nil && ParseBatch(r.Records, &b) {
			b.Headers(func(_, _ []byte) bool { return true })
		}
		if len(r.Names) > maxNames {
			t.Fatal("too many names")
		}
		_ = CheckRequest(p, true)
	})
}
