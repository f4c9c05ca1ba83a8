package l7

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
)

// view is something that tshark and we both read from a capture, as a list of values whose order does not matter.
type view struct {
	what  string
	field string // all occurrences of it ...
	guard string // ... in packets where this field has ...
	value string // ... this value, or any where it is empty; without a guard, in all packets
	ours  func(e *Exchange) []string
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

// differential says what tshark is asked about captures of a protocol, and by which name it is told to read the port. MQTT, Redis, memcached
// and MongoDB are compared by TestTsharkMQTT and its neighbours.
var differential = map[Protocol]struct {
	dissector string
	views     []view
}{
	HTTP: {"http", []view{
		// of a PUT whose body was refused tshark tells only the answer
		{"resources", "http.request.uri", "http.request.method", "", of(resourceOf, "GET", "HEAD")},
		{"codes", "http.response.code", "", "", codeOf(false)},
	}},
	HTTP2: {"http2", []view{
		{"paths", "http2.headers.path", "", "", func(e *Exchange) []string { return one(e.RequestResource, e.Protocol == HTTP2) }},
		{"codes", "http2.headers.status", "", "", codeOf(false)},
	}},
	GRPC: {"http2", []view{
		{"paths", "http2.headers.path", "", "", of(func(e *Exchange) string { return e.Endpoint })},
	}},
	DNS: {"dns", []view{
		{"names", "dns.qry.name", "dns.flags.response", "0", of(resourceOf)},
		{"ids", "dns.id", "dns.flags.response", "1", func(e *Exchange) []string { return one(fmt.Sprintf("0x%04x", e.RequestID), e.Kind != KindRequest) }},
		{"codes", "dns.flags.rcode", "dns.flags.response", "1", codeOf(false)},
	}},
	MySQL: {"mysql", []view{
		{"statements", "mysql.query", "", "", of(resourceOf, "COM_QUERY", "COM_STMT_PREPARE")},
		{"errors", "mysql.error_code", "", "", codeOf(true)},
	}},
	PostgreSQL: {"pgsql", []view{
		{"statements", "pgsql.query", "pgsql.type", "Simple query", of(resourceOf, "QUERY")},
	}},
	Kafka: {"kafka", []view{
		{"calls", "kafka.correlation_id", "kafka.request_key", "", func(e *Exchange) []string { return one(idOf(e), e.Kind != KindResponse) }},
	}},
	LDAP: {"ldap", []view{
		{"results", "ldap.resultCode", "", "", codeOf(false)},
	}},
	SMTP: {"smtp", []view{
		{"commands", "smtp.req.command", "", "", of(typeOf, "EHLO", "HELO", "MAIL", "RCPT", "DATA", "QUIT", "STARTTLS")},
	}},
	TLS: {"tls", []view{
		{"server names", "tls.handshake.extensions_server_name", "", "", func(e *Exchange) []string { return one(e.RequestDomain, e.RequestDomain != "") }},
	}},
	NTP: {"ntp", []view{
		{"requests", "ntp.flags.mode", "ntp.flags.mode", "3", func(e *Exchange) []string { return one("3", e.Kind != KindResponse) }},
	}},
}

// differentialCaptures are our own captures and those of the corpus that are asked about.
func differentialCaptures() map[string]Protocol {
	all := map[string]Protocol{}
	for name, p := range map[string]Protocol{"http1": HTTP, "http2": HTTP2, "grpc": GRPC, "dns": DNS, "mysql": MySQL, "postgresql": PostgreSQL,
		"kafka": Kafka, "ldap": LDAP, "smtp": SMTP, "tls": TLS, "ntp": NTP} {
		all[filepath.Join("testdata", "captures", name+".pcap")] = p
	}
	for name, p := range map[string]Protocol{"dns/nxdomain": DNS, "mysql/mysql-table-insert": MySQL, "kafka/00-produce-v2": Kafka} {
		file := filepath.Join(corpusPath(), "l7", filepath.FromSlash(name)+".pcap")
		if _, err := os.Stat(file); err == nil {
			all[file] = p
		}
	}
	return all
}

// TestTshark compares what tshark reads in captures with our rows.
func TestTshark(t *testing.T) {
	var compared atomic.Int64
	t.Run("captures", func(t *testing.T) {
		for file, p := range differentialCaptures() {
			t.Run(filepath.Base(file), func(t *testing.T) {
				t.Parallel() // tshark takes half a second to start
				compared.Add(compareTshark(t, file, p))
			})
		}
	})
	if n := compared.Load(); n > 0 && n < 100 {
		t.Errorf("only %d values were compared", n)
	}
}

// compareTshark compares one capture and returns how many values tshark has read.
func compareTshark(t *testing.T, file string, p Protocol) (compared int64) {
	all := payloads(t, file)
	if len(all) == 0 {
		t.Fatal("nothing in it")
	}
	rec, _ := playPayloads(all, Options{KeepLiterals: true, MaxText: 1 << 16}, false)
	port := all[0].ports[1]
	if all[0].ports[0] < port {
		port = all[0].ports[0]
	}
	how, as := differential[p], ""
	if all[0].transport == transportTCP {
		as = fmt.Sprintf("tcp.port==%d,%s", port, how.dissector)
	}
	var fields []string // each once: tshark prints a field that is asked for twice in one column
	column := func(field string) int {
		if i := slices.Index(fields, field); i >= 0 {
			return i
		}
		fields = append(fields, field)
		return len(fields) - 1
	}
	for _, v := range how.views {
		column(v.field)
		column(cmp.Or(v.guard, v.field))
	}
	rows := tsharkKV(t, file, as, how.dissector, fields...)
	for _, v := range how.views {
		var ours, theirs []string
		for _, row := range rows {
			if guards := some(row[column(cmp.Or(v.guard, v.field))]); len(guards) > 0 && (v.value == "" || slices.Contains(guards, v.value)) {
				theirs = append(theirs, some(row[column(v.field)])...)
			}
		}
		for k := range rec.exchanges {
			ours = append(ours, v.ours(&rec.exchanges[k])...)
		}
		sameSet(t, v.what, ours, theirs)
		compared += int64(len(theirs))
	}
	return compared
}
