package l7

import (
	"fmt"
	"testing"
	"time"
)

const (
	upgradeRequest  = "GET /feed HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
	upgradeResponse = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"
)

// masked is a frame of a client.
func masked(opcode byte, payload string) string {
	key := [4]byte{1, 2, 3, 4}
	b := append([]byte{0x80 | opcode, 0x80 | byte(len(payload))}, key[:]...)
	for i := range len(payload) {
		b = append(b, payload[i]^key[i%4])
	}
	return string(b)
}

// plain is a frame of a server.
func plain(opcode byte, payload string) string {
	return string([]byte{0x80 | opcode, byte(len(payload))}) + payload
}

func TestWebSocket(t *testing.T) {
	k := newTalk(t, Options{})
	k.client(upgradeRequest)
	k.server(upgradeResponse + plain(1, "welcome"))
	if e := k.one(); brief(&e) != "session GET shop/feed > 101 ok" || fmt.Sprint(e.Attributes) != "[{upgrade WebSocket}]" {
		t.Errorf("%+v", e)
	}
	k.client(masked(1, "hello")[:4])
	k.client(masked(1, "hello")[4:] + masked(9, "ping"))
	k.server(plain(10, "ping") + "\x01\x03one" + "\x80\x03two")                        // a message in two frames
	k.server("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00" + string(make([]byte, 60000))) // a long one
	k.server(string(make([]byte, 5536)))
	k.want()
	k.client(masked(8, "\x03\xe8"))
	k.server(plain(8, "\x03\xe8"))
	e := k.one()
	got := fmt.Sprint(e.Protocol, " ", brief(&e), " ", e.Version, " ", e.Endpoint, " ", e.RequestBytes, " ", e.ResponseBytes, " ", e.Attributes)
	want := "websocket request CLOSE shop/feed > 1000 ok 13 /feed 5 65549 [{websocket_client_messages 1} {websocket_server_messages 3}]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if m := k.tr.Metrics(); m.ParseFailures != 0 || m.Requests != 2 || m.Buffered != 0 {
		t.Errorf("%+v", m)
	}
}

func TestWebSocketClose(t *testing.T) {
	for _, c := range []struct {
		by      Side
		payload string
		want    string
	}{
		{Server, "\x03\xe9", "request CLOSE shop/feed > 1001 ok  server"},
		{Server, "\x03\xf3boom", "request CLOSE shop/feed > 1011 server_error boom server"},
		{Server, "\x03\xf0", "request CLOSE shop/feed > 1008 client_error policy violation server"},
		{Client, "\x03\xea", "request CLOSE shop/feed > 1002 server_error protocol error "},
		{Client, "", "request CLOSE shop/feed > 1005 ok  "},
		{Client, "\x0f\xa0bye", "request CLOSE shop/feed > 4000 unknown bye "},
	} {
		k := newTalk(t, Options{})
		k.client(upgradeRequest)
		k.server(upgradeResponse)
		k.want("session GET shop/feed > 101 ok")
		frame := masked(8, c.payload)
		if c.by == Server {
			frame = plain(8, c.payload)
		}
		k.send(c.by, frame)
		e := k.one()
		if got := brief(&e) + " " + e.ResponseException + " " + e.attributeOf("initiator"); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
}

// TestWebSocketLost: behind a hole, only a segment of whole frames is taken for frames, and the counts are not told.
func TestWebSocketLost(t *testing.T) {
	k := newTalk(t, Options{HoldTime: time.Millisecond})
	k.client(upgradeRequest)
	k.server(upgradeResponse)
	k.want("session GET shop/feed > 101 ok")
	k.skip(Server, 100)
	k.server("\x88\x02\x03\xe8 in the middle of something")
	k.time += 1e9
	k.tr.Tick(k.time)
	k.want()
	k.server(plain(1, "hello") + plain(8, "\x03\xe8"))
	e := k.one()
	if brief(&e) != "request CLOSE shop/feed > 1000 ok" || e.RequestBytes != -1 || e.attributeOf("websocket_server_messages") != "" {
		t.Errorf("%+v", e)
	}
}

func TestWebSocketNotLookedFor(t *testing.T) {
	k := newTalk(t, Options{Protocols: []Protocol{HTTP}})
	k.client(upgradeRequest)
	k.server(upgradeResponse)
	k.client(masked(8, ""))
	k.want("session GET shop/feed > 101 ok")
}
