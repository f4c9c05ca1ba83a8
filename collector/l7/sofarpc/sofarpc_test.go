package sofarpc

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

const (
	head    = "\x01\x01\x00\x01\x01\x00\x00\x00\x02\x01\x00\x00'\x10\x00,\x01\x1a\x00\x00\x01\x94com.alipay.sofa.rpc.core.request.SofaRequest"
	headers = "\x00\x00\x00\x18sofa_head_target_service\x00\x00\x00*com.mycompany.app.common.ServInterface:1.0\x00\x00\x00\x08protocol\x00\x00\x00\x04bolt\x00\x00\x00\x07service\x00\x00\x00*com.mycompany.app.common.ServInterface:1.0\x00\x00\x00\x15new_rpc_trace_context\x00\x00\x00>tcid=0a2200ce1670900283956100813525&spid=0&pspid=&sample=true&\x00\x00\x00\x15sofa_head_method_name\x00\x00\x00\x0btestSuccess"
	object  = "O\xbccom.alipay.sofa.rpc.core.request.SofaRequest\x95\x0dtargetAppName\x0amethodName\x17targetServiceUniqueName\x0crequestProps\x0dmethodArgSigso\x90N\x0btestSuccessS\x00*com.mycompany.app.common.ServInterface:1.0M\x08protocol\x04bolt\x15new_rpc_trace_contextS\x00>tcid=0a2200ce1670900283956100813525&spid=0&pspid=&sample=true&zVt\x00\x07[stringn\x01\x1ccom.mycompany.app.common.ReqzO\xaccom.mycompany.app.common.Req\x92\x04name\x03ageo\x91\x1eaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\xcb\xe7"
	request = head + headers + object
	reply   = "\x01\x00\x00\x02\x01\x00\x00\x00\x02\x01\x00\x00\x00.\x00\x00\x00\x00\x00\xa4com.alipay.sofa.rpc.core.response.SofaResponseO\xbecom.alipay.sofa.rpc.core.response.SofaResponse\x94\x07isError\x08errorMsg\x0bappResponse\x0dresponsePropso\x90FNO\xadcom.mycompany.app.common.Resp\x92\x09exception\x04codeo\x91\x0faaaaaaaaaaaaaaa\xc8{N"
)

func u16(n int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(n))) }
func u32(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }

// message makes a message of version v.
func message(v, kind, command, codec, status int, class, headers, content string) string {
	p := string([]byte{byte(v)})
	if v == 2 {
		p += "\x01"
	}
	p += string([]byte{byte(kind)}) + u16(command) + "\x01" + u32(7) + string([]byte{byte(codec)})
	if v == 2 {
		p += "\x01" // with a checksum
	}
	if kind == typeResponse {
		p += u16(status)
	} else {
		p += u32(3000)
	}
	p += u16(len(class)) + u16(len(headers)) + u32(len(content)) + class + headers + content
	if v == 2 {
		p += "\x01\x02\x03\x04"
	}
	return p
}

func pair(k, v string) string { return u32(len(k)) + k + u32(len(v)) + v }

func brief(m *Message) string {
	s := fmt.Sprintf("v%d", m.Version)
	switch {
	case m.Heartbeat:
		s += " heartbeat"
	case m.OneWay:
		s += " oneway"
	case m.Request:
		s += " request"
	default:
		s += fmt.Sprintf(" %s", m.Status)
	}
	return s + fmt.Sprintf(" %d %s/%s %s %s %s %v %s%s", m.ID, m.Service, m.Method, m.TraceID, m.SpanID, m.ParentID, m.Failed, m.Thrown, m.Error)
}

func TestParse(t *testing.T) {
	const service = "com.mycompany.app.common.ServInterface:1.0"
	const class = "com.alipay.sofa.rpc.core.response.SofaResponse"
	for _, c := range []struct {
		name, p, want string
		verdict       wire.Verdict
		need          int
	}{
		{"capture", request, "v1 request 2 " + service + "/testSuccess 0a2200ce1670900283956100813525 0  false ", wire.Request, 348},
		{"content without map", message(1, 1, 1, 1, 0, "a.SofaRequest", "", object), "v1 request 7 " + service + "/testSuccess 0a2200ce1670900283956100813525 0  false ", wire.Request, 0},
		{"old properties", message(1, 1, 1, 1, 0, "a.SofaRequest", "", "O\x91A\x92\x0amethodName\x0crequestPropso\x90\x04pingM\x11rpc_trace_contextMt\x00\x01m\x0bsofaTraceId\x02t1\x09sofaRpcId\x030.1zz"),
			"v1 request 7 /ping t1 0.1  false ", wire.Request, 0},
		{"old map", message(1, 2, 1, 1, 0, "a.SofaRequest", pair("sofa_head_target_service", "S")+pair("sofa_head_method_name", "m")+pair("rpc_trace_context.sofaTraceId", "t2")+pair("rpc_trace_context.sofaRpcId", "0.2"), ""),
			"v1 oneway 7 S/m t2 0.2  false ", wire.Request, 0},
		{"version 2", message(2, 1, 1, 11, 0, "a.SofaRequest", "\xff\xff\xff\xff\xff\xff\xff\xff"+pair("sofa_head_target_service", "S")+pair("sofa_head_method_name", "m")+pair("new_rpc_trace_context", "tcid=t3&spid=0.1&pspid=0"), "\x0a\x01x"),
			"v2 request 7 S/m t3 0.1 0 false ", wire.Request, 0},
		{"heartbeat", message(1, 1, 0, 1, 0, "", "", ""), "v1 heartbeat 7 /    false ", wire.Either, 0},
		{"its answer", message(2, 0, 0, 1, 0, "", "", ""), "v2 heartbeat 7 /    false ", wire.Either, 0},
		{"answer of the capture", reply, "v1 SUCCESS 2 /    false ", wire.Response, 0},
		{"error", message(1, 0, 2, 1, 0, class, "", "O\xbe"+class+"\x93\x07isError\x08errorMsg\x0bappResponseo\x90T\x04boomN"), "v1 SUCCESS 7 /    true boom", wire.Response, 0},
		{"exception", message(1, 0, 2, 1, 0, class, pair("sofa_head_response_error", "true"), "O\xbe"+class+"\x94\x07isError\x08errorMsg\x0bappResponse\x0dresponsePropso\x90FN"+
			"O\x93a.B\x92\x05cause\x0ddetailMessageo\x91N\x04boomN"), "v1 SUCCESS 7 /    true a.Bboom", wire.Response, 0},
		{"exception in protobuf", message(1, 0, 2, 11, 0, class, pair("sofa_head_response_error", "true"), "\x0a\x01x"), "v1 SUCCESS 7 /    true ", wire.Response, 0},
		{"status", message(2, 0, 2, 1, 4, class, "", ""), "v2 SERVER_THREADPOOL_BUSY 7 /    false ", wire.Response, 0},
	} {
		var m Message
		n, err := Parse([]byte(c.p), &m)
		if got := brief(&m); err != nil || n != len(c.p) || got != c.want {
			t.Errorf("%s: %d of %d, %v\n%q, want\n%q", c.name, n, len(c.p), err, got, c.want)
		}
		if c.need > 0 && m.Want != c.need || m.Want > n {
			t.Errorf("%s: wants %d, want %d", c.name, m.Want, c.need)
		}
		if v := Check([]byte(c.p)); v != c.verdict {
			t.Errorf("%s: verdict %d", c.name, v)
		}
		for cut := range c.p {
			var m Message
			if n, err := Parse([]byte(c.p[:cut]), &m); err == nil && n != len(c.p) || err != nil && !errors.Is(err, ErrShort) {
				t.Fatalf("%s cut to %d: %d, %v", c.name, cut, n, err)
			}
			if v := Check([]byte(c.p[:cut])); v != wire.Maybe && v != c.verdict {
				t.Fatalf("%s cut to %d: verdict %d", c.name, cut, v)
			}
		}
	}
}

func TestCheck(t *testing.T) {
	for _, p := range []string{
		"GET / HTTP/1.1\r\n\r\n", "\x01\x01\x00\x01\x00\x08\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00", // FastCGI begins alike
		"\x02\x02", "\x01\x03\x00\x01\x01\x00", "\x01\x00\x00\x01\x01\x00", "\x01\x01\x00\x02\x01\x00",
		message(1, 1, 1, 1, 0, "", "", "xx"), message(1, 1, 1, 1, 0, "noclass", "", ""), message(1, 1, 1, 1, 0, "a b.c", "", ""),
		message(1, 1, 1, 9, 0, "a.B", "", ""), message(1, 0, 2, 1, 12, "a.B", "", ""), message(1, 1, 0, 1, 0, strings.Repeat("x", 300), "", ""),
	} {
		if v := Check([]byte(p)); v != wire.No {
			t.Errorf("%q: verdict %d", p, v)
		}
	}
	for _, p := range []string{"\x00", "\x01\x03\x00\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"} {
		if _, err := Parse([]byte(p), &Message{}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: %v", p, err)
		}
	}
	if Status(12).String() != "" || Status(99).String() != "" || Status(0x10).String() != "CONNECTION_CLOSED" {
		t.Error("names of statuses")
	}
}

func TestNoAllocation(t *testing.T) {
	p, q, r := []byte(request), []byte(reply), []byte(message(1, 1, 1, 1, 0, "a.SofaRequest", "", object))
	var m Message
	if n := testing.AllocsPerRun(100, func() {
		for _, p := range [][]byte{p, q, r} {
			if _, err := Parse(p, &m); err != nil {
				t.Fatal(err)
			}
			for h := m.Headers(); h.Next(); {
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(request))
	f.Add([]byte(reply))
	f.Add([]byte(message(2, 2, 1, 1, 0, "a.SofaRequest", pair("a", "b"), object)))
	f.Fuzz(func(t *testing.T, p []byte) {
		var m Message
		n, err := Parse(p, &m)
		if err == nil && (n < 20 || m.Want > n) {
			t.Fatal(n, m.Want)
		}
		for h := m.Headers(); h.Next(); {
		}
		Check(p)
	})
}
