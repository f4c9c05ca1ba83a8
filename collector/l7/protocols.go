package l7

import "time"

// Protocol is an application protocol.
type Protocol uint8

// Protocols. Unknown is the zero value.
const (
	Unknown Protocol = iota
	HTTP
	HTTP2
	GRPC
	WebSocket
	DNS
	TLS
	MySQL
	PostgreSQL
	MongoDB
	Redis
	Memcached
	Kafka
	MQTT
	AMQP
	NATS
	RocketMQ
	Pulsar
	OpenWire
	ZMTP
	Dubbo
	SofaRPC
	BRPC
	Tars
	SomeIP
	Thrift
	KRPC
	FastCGI
	SMTP
	LDAP
	NTP
	DHCP
	Ping

	numProtocols
)

// transports is a set of transports a protocol is spoken over.
type transports uint8

const (
	overTCP transports = 1 << iota
	overUDP
	overICMP
)

// protocol is what a Tracker has to know of a protocol before it speaks it.
type protocol struct {
	name  string     // the word stored in l7_protocol
	over  transports // where it is looked for
	ports []uint16   // where it is usual: a hint, asked first
	// timeout is how long a request waits for its response, in packet time.
	timeout time.Duration
	// ordered: responses carry no number and come in the order of the requests.
	ordered bool
	// deep: clients are used to send many requests before they read the first response; more of them may wait.
	deep bool
	// family is the protocol whose driver speaks this one too; it is not looked for by itself.
	family Protocol
	make   func(*Tracker) driver // nil: not looked for
}

const (
	usualTimeout = 120 * time.Second
	shortTimeout = 15 * time.Second
)

// protocols has a line per Protocol. The order of the constants is that in which protocols are tried.
var protocols = [numProtocols]protocol{
	HTTP:       {name: "http", over: overTCP, ports: []uint16{80, 8080, 8000}, timeout: usualTimeout, ordered: true, make: newHTTPDriver},
	HTTP2:      {name: "http2", over: overTCP, ports: []uint16{80, 8080, 50051}, timeout: usualTimeout, make: newHTTP2Driver},
	GRPC:       {name: "grpc", timeout: usualTimeout, family: HTTP2},
	WebSocket:  {name: "websocket", over: overTCP, timeout: usualTimeout, make: newWebSocketDriver},
	DNS:        {name: "dns", over: overTCP | overUDP, ports: []uint16{portDNS, portMDNS, portLLMNR}, timeout: shortTimeout, make: newDNSDriver},
	TLS:        {name: "tls", over: overTCP, ports: []uint16{443, 8443, 853}, timeout: shortTimeout, ordered: true, make: newTLSDriver},
	MySQL:      {name: "mysql", over: overTCP, ports: []uint16{3306, 33060, 4000}, timeout: usualTimeout, ordered: true, make: newMySQLDriver},
	PostgreSQL: {name: "postgresql", over: overTCP, ports: []uint16{5432, 6432}, timeout: usualTimeout, ordered: true, make: newPostgreSQLDriver},
	MongoDB:    {name: "mongodb", over: overTCP, ports: []uint16{27017, 27018, 27019}, timeout: usualTimeout, make: newMongoDBDriver},
	Redis:      {name: "redis", over: overTCP, ports: []uint16{6379, 6380, 26379}, timeout: usualTimeout, ordered: true, deep: true, make: newRedisDriver},
	Memcached:  {name: "memcached", over: overTCP, ports: []uint16{11211}, timeout: usualTimeout, ordered: true, deep: true, make: newMemcachedDriver},
	Kafka:      {name: "kafka", over: overTCP, ports: []uint16{9092, 9093, 19092}, timeout: usualTimeout, make: newKafkaDriver},
	MQTT:       {name: "mqtt", over: overTCP, ports: []uint16{1883}, timeout: usualTimeout, make: newMQTTDriver},
	AMQP:       {name: "amqp", over: overTCP, ports: []uint16{5672}, timeout: usualTimeout, make: newAMQPDriver},
	NATS:       {name: "nats", over: overTCP, ports: []uint16{4222, 6222}, timeout: usualTimeout, make: newNATSDriver},
	RocketMQ:   {name: "rocketmq", over: overTCP, ports: []uint16{9876, 10909, 10911, 10912}, timeout: usualTimeout, make: newRocketMQDriver},
	Pulsar:     {name: "pulsar", over: overTCP, ports: []uint16{6650}, timeout: usualTimeout, make: newPulsarDriver},
	OpenWire:   {name: "openwire", over: overTCP, ports: []uint16{61616}, timeout: usualTimeout, make: newOpenWireDriver},
	ZMTP:       {name: "zmtp", over: overTCP, ports: []uint16{5555, 5556}, timeout: usualTimeout, make: newZMTPDriver},
	Dubbo:      {name: "dubbo", over: overTCP, ports: []uint16{20880}, timeout: usualTimeout, make: newDubboDriver},
	SofaRPC:    {name: "sofarpc", over: overTCP, ports: []uint16{12200}, timeout: usualTimeout, make: newSofaRPCDriver},
	BRPC:       {name: "brpc", over: overTCP, ports: []uint16{8000, 8002}, timeout: usualTimeout, make: newBRPCDriver},
	Tars:       {name: "tars", over: overTCP, ports: []uint16{17890, 18993}, timeout: usualTimeout, make: newTarsDriver},
	SomeIP:     {name: "someip", over: overTCP | overUDP, ports: []uint16{30490, 30501, 30502, 30509}, timeout: usualTimeout, make: newSomeIPDriver},
	Thrift:     {name: "thrift", over: overTCP, ports: []uint16{9090}, timeout: usualTimeout, make: newThriftDriver},
	KRPC:       {name: "krpc", over: overTCP, timeout: usualTimeout, make: newKRPCDriver},
	FastCGI:    {name: "fastcgi", over: overTCP, ports: []uint16{9000}, timeout: usualTimeout, make: newFastCGIDriver},
	SMTP:       {name: "smtp", over: overTCP, ports: []uint16{25, 465, 587, 2525}, timeout: usualTimeout, ordered: true, make: newSMTPDriver},
	LDAP:       {name: "ldap", over: overTCP, ports: []uint16{389, 3268}, timeout: usualTimeout, make: newLDAPDriver},
	NTP:        {name: "ntp", over: overUDP, ports: []uint16{123}, timeout: shortTimeout, make: newNTPDriver},
	DHCP:       {name: "dhcp", over: overUDP, ports: []uint16{67, 68, 546, 547}, timeout: shortTimeout, make: newDHCPDriver},
	Ping:       {name: "ping", over: overICMP, timeout: shortTimeout, make: newPingDriver},
}

// String is the word stored in l7_protocol; "" for Unknown.
func (p Protocol) String() string {
	if p < numProtocols {
		return protocols[p].name
	}
	return ""
}

// Protocols are all protocols that a Tracker can look for, in the order in which it tries them.
func Protocols() (all []Protocol) {
	for p := range numProtocols {
		if protocols[p].make != nil {
			all = append(all, p)
		}
	}
	return all
}

// ProtocolNamed is the protocol with the name that String returns.
func ProtocolNamed(name string) (p Protocol, ok bool) {
	for p := range numProtocols {
		if name != "" && protocols[p].name == name {
			return p, true
		}
	}
	return Unknown, false
}
