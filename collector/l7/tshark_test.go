package l7

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// view is something that tshark and we both read from a capture, as a list of values whose order does not matter.
type view struct {
	what   string
	filter string // which packets tshark looks at
	field  string // all occurrences of it
	ours   func(e *Exchange) []string
}

func one(v string, there bool) []string {
	if !there {
		return nil
	}
	return []string{v}
}

// of are the values of rows of the types; all rows without types.
func of(value func(e *Exchange) string, types ...string) func(e *Exchange) []string {
	return func(e *Exchange) []string {
		return one(value(e), e.Kind != KindResponse && (len(types) == 0 || slices.Contains(types, e.RequestType)))
	}
}

func resourceOf(e *Exchange) string { return e.RequestResource }
func typeOf(e *Exchange) string     { return e.RequestType }
func idOf(e *Exchange) string       { return fmt.Sprint(e.RequestID) }

// codeOf are the response codes of rows with a response, those of errors only if failed.
func codeOf(failed bool) func(e *Exchange) []string {
	return func(e *Exchange) []string {
		return one(fmt.Sprint(e.ResponseCode), e.Kind != KindRequest && e.ResponseCode >= 0 && (!failed || e.ResponseException != ""))
	}
}

// differential says what tshark is asked about captures of a protocol, by the protocol's driver, and by which name it is told to
// read the port.
var differential = map[Protocol]struct {
	dissector string
	views     []view
}{
	HTTP: {"http", []view{
		// of a PUT whose body was refused it tells only the answer
		{"resources", "http.request.method in {\"GET\", \"HEAD\"}", "http.request.uri", of(resourceOf, "GET", "HEAD")},
		{"codes", "http.response", "http.response.code", codeOf(false)},
	}},
	HTTP2: {"http2", []view{
		{"paths", "http2.headers.path", "http2.headers.path", func(e *Exchange) []string { return one(e.RequestResource, e.Protocol == HTTP2) }},
		{"codes", "http2.headers.status", "http2.headers.status", codeOf(false)},
	}},
	GRPC: {"http2", []view{
		{"paths", "http2.headers.path", "http2.headers.path", of(func(e *Exchange) string { return e.Endpoint })},
	}},
	DNS: {"dns", []view{
		{"names", "dns.flags.response == 0", "dns.qry.name", of(resourceOf)},
		{"ids", "dns.flags.response == 1", "dns.id", func(e *Exchange) []string { return one(fmt.Sprintf("0x%04x", e.RequestID), e.Kind != KindRequest) }},
		{"codes", "dns.flags.response == 1", "dns.flags.rcode", codeOf(false)},
	}},
	MySQL: {"mysql", []view{
		{"statements", "mysql.command == 3 || mysql.command == 22", "mysql.query", of(resourceOf, "COM_QUERY", "COM_STMT_PREPARE")},
		{"errors", "mysql.error_code", "mysql.error_code", codeOf(true)},
	}},
	PostgreSQL: {"pgsql", []view{
		{"statements", "pgsql.type == \"Simple query\"", "pgsql.query", of(resourceOf, "QUERY")},
	}},
	Kafka: {"kafka", []view{
		{"calls", "kafka.request_key", "kafka.correlation_id", func(e *Exchange) []string { return one(idOf(e), e.Kind != KindResponse) }},
		{"clients", "kafka.request_key", "kafka.client_id", func(e *Exchange) []string {
			for _, a := range e.Attributes {
				if a.Key == "client_id" {
					return []string{a.Value}
				}
			}
			return nil
		}},
	}},
	MQTT: {"mqtt", []view{
		{"topics published", "mqtt.msgtype == 3", "mqtt.topic", of(resourceOf, "PUBLISH")},
	}},
	LDAP: {"ldap", []view{
		{"results", "ldap.resultCode", "ldap.resultCode", codeOf(false)},
	}},
	SMTP: {"smtp", []view{
		{"commands", "smtp.req.command", "smtp.req.command", of(typeOf, "EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT", "STARTTLS")},
	}},
	TLS: {"tls", []view{
		{"server names", "tls.handshake.type == 1", "tls.handshake.extensions_server_name", func(e *Exchange) []string { return one(e.RequestDomain, e.RequestDomain != "") }},
	}},
	Ping: {"", []view{
		{"requests", "icmp.type == 8", "icmp.seq", of(func(e *Exchange) string { return fmt.Sprint(e.RequestID & 0xffff) })},
	}},
	NTP: {"", []view{
		{"requests", "ntp.flags.mode == 3", "ntp.flags.mode", func(e *Exchange) []string { return one("3", e.Kind != KindResponse) }},
	}},
}

// differentialCaptures are our own captures and those of the corpus that are asked about.
func differentialCaptures() map[string]Protocol {
	all := map[string]Protocol{}
	for name, p := range map[string]Protocol{"http1": HTTP, "http2": HTTP2, "grpc": GRPC, "dns": DNS, "mysql": MySQL, "postgresql": PostgreSQL,
		"kafka": Kafka, "mqtt": MQTT, "ldap": LDAP, "smtp": SMTP, "tls": TLS, "ping": Ping, "ntp": NTP} {
		all[filepath.Join("testdata", "captures", name+".pcap")] = p
	}
	for name, p := range map[string]Protocol{"dns/nxdomain": DNS, "mqtt/mqtt_pub": MQTT,
		"mqtt/mqtt_one_packet_multi_publish": MQTT, "mysql/mysql-error": MySQL, "mysql/mysql-table-insert": MySQL, "kafka/00-produce-v2": Kafka,
		"kafka/18-api-versions-v3": Kafka} {
		file := filepath.Join(corpusPath(), "l7", filepath.FromSlash(name)+".pcap")
		if _, err := os.Stat(file); err == nil {
			all[file] = p
		}
	}
	return all
}

// TestTshark compares what tshark reads in captures with our rows.
func TestTshark(t *testing.T) {
	program, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("there is no tshark to compare with")
	}
	var compared atomic.Int64
	t.Run("captures", func(t *testing.T) {
		for file, p := range differentialCaptures() {
			t.Run(filepath.Base(file), func(t *testing.T) {
				if protocols[p].make == nil && protocols[p].family == Unknown {
					t.Skipf("%s is not read yet", p)
				}
				t.Parallel() // tshark takes half a second to start
				compared.Add(compareTshark(t, program, file, p))
			})
		}
	})
	if n := compared.Load(); n < 100 {
		t.Errorf("only %d values were compared", n)
	}
}

// compareTshark compares one capture and returns how many values tshark has read.
func compareTshark(t *testing.T, program, file string, p Protocol) (compared int64) {
	all := payloads(t, file)
	if len(all) == 0 {
		t.Fatal("nothing in it")
	}
	rec, _ := playPayloads(all, Options{KeepLiterals: true, MaxText: 1 << 16}, false)
	port := all[0].ports[1]
	if all[0].ports[0] < port {
		port = all[0].ports[0]
	}
	how := differential[p]
	for _, v := range how.views {
		theirs := askTshark(t, program, file, how.dissector, int(port), v)
		var ours []string
		for i := range rec.exchanges {
			ours = append(ours, v.ours(&rec.exchanges[i])...)
		}
		slices.Sort(ours)
		slices.Sort(theirs)
		if !slices.Equal(ours, theirs) {
			t.Errorf("%s:\n  ours %q\ntshark %q", v.what, ours, theirs)
		}
		compared += int64(len(theirs))
	}
	return compared
}

// askTshark returns all values of the view's field.
func askTshark(t *testing.T, program, file, dissector string, port int, v view) (values []string) {
	t.Helper()
	const separator = "\x1f"
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	args := []string{"-r", file, "-n", "-Y", v.filter, "-T", "fields", "-e", v.field,
		"-E", "occurrence=a", "-E", "aggregator=" + separator}
	if dissector != "" && dissector != "dns" {
		args = append(args, "-d", fmt.Sprintf("tcp.port==%d,%s", port, dissector))
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark %q: %v\n%s", args, err, stderr.Bytes())
	}
	for line := range strings.Lines(string(out)) {
		for _, value := range strings.Split(strings.TrimSuffix(line, "\n"), separator) {
			if value != "" {
				values = append(values, strings.TrimSpace(value))
			}
		}
	}
	return values
}
