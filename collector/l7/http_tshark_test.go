package l7

import (
	stdtls "crypto/tls"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// sameTexts compares without regard to order: responses do not come in the order of requests.
func sameTexts(t *testing.T, what string, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n got %q\ntshark %q", what, got, want)
	}
}

// TestTsharkHTTP2: the same requests and responses. tshark does not follow the capture's attempt at an upgrade, which nginx
// answers with an error.
func TestTsharkHTTP2(t *testing.T) {
	t.Parallel()
	for file, port := range map[string]string{"http2": "8081", "grpc": "50051"} {
		path := "testdata/captures/" + file + ".pcap"
		rec, _ := replay(t, path, Options{}, false)
		var requests, answers, wantRequests, wantAnswers []string
		for i := range rec.exchanges {
			e := &rec.exchanges[i]
			switch e.Protocol {
			case GRPC:
				requests = append(requests, fmt.Sprint(e.RequestType, e.RequestDomain, e.Endpoint))
				answers = append(answers, "200") // the code is gRPC's; HTTP's is this
			case HTTP2:
				requests = append(requests, fmt.Sprint(e.RequestType, e.RequestDomain, e.RequestResource))
				answers = append(answers, num(e.ResponseCode))
			}
		}
		for _, row := range tsharkKV(t, path, "tcp.port=="+port+",http2", "http2.headers.path or http2.headers.status", "http2.headers.method", "http2.headers.authority", "http2.headers.path", "http2.headers.status") {
			if row[3] != "" {
				wantAnswers = append(wantAnswers, strings.Split(row[3], "|")...)
				continue
			}
			methods, hosts, paths := strings.Split(row[0], "|"), strings.Split(row[1], "|"), strings.Split(row[2], "|")
			for i := range methods {
				wantRequests = append(wantRequests, methods[i]+hosts[i]+paths[i])
			}
		}
		sameTexts(t, file+" requests", requests, wantRequests)
		sameTexts(t, file+" answers", answers, wantAnswers)
	}
}

// TestTsharkTLS: the same names, ciphers and alerts.
func TestTsharkTLS(t *testing.T) {
	t.Parallel()
	const file = "testdata/captures/tls.pcap"
	rec, _ := replay(t, file, Options{}, false)
	var names, ciphers, alerts, wantNames, wantCiphers, wantAlerts []string
	for i := range rec.exchanges {
		e := &rec.exchanges[i]
		names, ciphers = append(names, e.RequestDomain), append(ciphers, e.attributeOf("tls_cipher"))
		if e.ResponseCode >= 0 {
			alerts = append(alerts, num(e.ResponseCode))
		}
	}
	for _, row := range tsharkKV(t, file, "", "tls.handshake.type in {1, 2} or tls.alert_message.desc", "tls.handshake.type", "tls.handshake.extensions_server_name", "tls.handshake.ciphersuite", "tls.alert_message.desc") {
		switch kind, _, _ := strings.Cut(row[0], "|"); kind {
		case "1":
			wantNames = append(wantNames, row[1])
		case "2":
			id, err := strconv.ParseUint(row[2], 0, 16)
			if err != nil {
				t.Fatal(err)
			}
			wantCiphers = append(wantCiphers, stdtls.CipherSuiteName(uint16(id)))
		default:
			wantAlerts = append(wantAlerts, row[3])
		}
	}
	sameTexts(t, "names", names, wantNames)
	sameTexts(t, "ciphers", ciphers, wantCiphers)
	sameTexts(t, "alerts", alerts, wantAlerts)
}
