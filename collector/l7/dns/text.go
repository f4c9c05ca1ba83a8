package dns

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
)

// Record types the package reads (IANA, "Resource Record (RR) TYPEs").
const (
	TypeA     = 1
	TypeNS    = 2
	TypeCNAME = 5
	TypeSOA   = 6
	TypePTR   = 12
	TypeHINFO = 13
	TypeMX    = 15
	TypeTXT   = 16
	TypeRP    = 17
	TypeAFSDB = 18
	TypeAAAA  = 28
	TypeSRV   = 33
	TypeNAPTR = 35
	TypeKX    = 36
	TypeDNAME = 39
	TypeOPT   = 41
	TypeDS    = 43
	TypeRRSIG = 46
	TypeNSEC  = 47
	TypeCDS   = 59
	TypeSVCB  = 64
	TypeHTTPS = 65
	TypeSPF   = 99
	TypeCAA   = 257
)

var typeNames = map[uint16]string{
	1: "A", 2: "NS", 3: "MD", 4: "MF", 5: "CNAME", 6: "SOA", 7: "MB", 8: "MG", 9: "MR", 10: "NULL", 11: "WKS", 12: "PTR",
	13: "HINFO", 14: "MINFO", 15: "MX", 16: "TXT", 17: "RP", 18: "AFSDB", 19: "X25", 20: "ISDN", 21: "RT", 24: "SIG",
	25: "KEY", 28: "AAAA", 29: "LOC", 33: "SRV", 35: "NAPTR", 36: "KX", 37: "CERT", 39: "DNAME", 41: "OPT", 42: "APL",
	43: "DS", 44: "SSHFP", 45: "IPSECKEY", 46: "RRSIG", 47: "NSEC", 48: "DNSKEY", 49: "DHCID", 50: "NSEC3",
	51: "NSEC3PARAM", 52: "TLSA", 53: "SMIMEA", 55: "HIP", 59: "CDS", 60: "CDNSKEY", 61: "OPENPGPKEY", 62: "CSYNC",
	63: "ZONEMD", 64: "SVCB", 65: "HTTPS", 99: "SPF", 108: "EUI48", 109: "EUI64", 249: "TKEY", 250: "TSIG", 251: "IXFR",
	252: "AXFR", 253: "MAILB", 254: "MAILA", 255: "ANY", 256: "URI", 257: "CAA",
}

// TypeString is the name of a record type, TYPEnnn for an unknown one (RFC 3597 §5).
func TypeString(t uint16) string {
	if s, ok := typeNames[t]; ok {
		return s
	}
	return "TYPE" + strconv.Itoa(int(t))
}

// RCodeString is the name of a response code, RCODEnnn for an unknown one.
func RCodeString(c uint16) string {
	names := [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET",
		"NOTAUTH", "NOTZONE", "DSOTYPENI", 16: "BADVERS", 17: "BADKEY", 18: "BADTIME", 19: "BADMODE", 20: "BADNAME",
		21: "BADALG", 22: "BADTRUNC", 23: "BADCOOKIE"}
	if int(c) < len(names) && names[c] != "" {
		return names[c]
	}
	return "RCODE" + strconv.Itoa(int(c))
}

// OpcodeString is the name of an operation, OPCODEnnn for an unknown one.
func OpcodeString(c uint8) string {
	names := [...]string{"QUERY", "IQUERY", "STATUS", "", "NOTIFY", "UPDATE", "DSO"}
	if int(c) < len(names) && names[c] != "" {
		return names[c]
	}
	return "OPCODE" + strconv.Itoa(int(c))
}

// AppendResult appends the answer and authority records as "A=192.0.2.1 TTL=60; NS=ns.example.com TTL=60". It stops
// before the record that would take the text past limit bytes; a single longer one is cut.
func (m *Message) AppendResult(dst []byte, limit int) []byte {
	begin := len(dst)
	var r Record
	for it := m.Records(); it.Next(&r) && r.Section != Additional; {
		before := len(dst)
		if before > begin {
			dst = append(dst, "; "...)
		}
		dst = m.AppendRecord(dst, &r)
		if len(dst)-begin > limit {
			if before == begin {
				return dst[:begin+limit]
			}
			return dst[:before]
		}
	}
	return dst
}

// AppendRecord appends "TYPE=data TTL=seconds". An SOA is told by its primary server; OPT has no TTL.
func (m *Message) AppendRecord(dst []byte, r *Record) []byte {
	dst = m.AppendData(append(appendType(dst, r.Type), '='), r)
	if r.Type == TypeOPT {
		return dst
	}
	return appendUint(append(dst, " TTL="...), uint64(r.TTL))
}

// AppendData appends the data of a record in presentation form, in the generic form of RFC 3597 when it is unknown or
// broken.
func (m *Message) AppendData(dst []byte, r *Record) []byte {
	begin := len(dst)
	dst, ok := m.appendData(dst, r)
	if !ok {
		dst = appendOpaque(dst[:begin], r.Data)
	}
	return dst
}

// appendOpaque appends \# length hex, of long data only the beginning.
func appendOpaque(dst, data []byte) []byte {
	dst = append(dst, `\# `...)
	dst = appendUint(dst, uint64(len(data)))
	if len(data) == 0 {
		return dst
	}
	dst = append(dst, ' ')
	const most = 64
	dst = hex.AppendEncode(dst, data[:min(len(data), most)])
	if len(data) > most {
		dst = append(dst, "..."...)
	}
	return dst
}

func (m *Message) appendData(dst []byte, r *Record) ([]byte, bool) {
	d := r.Data
	switch r.Type {
	case TypeA:
		if len(d) != 4 {
			return dst, false
		}
		return netip.AddrFrom4([4]byte(d)).AppendTo(dst), true
	case TypeAAAA:
		if len(d) != 16 {
			return dst, false
		}
		return netip.AddrFrom16([16]byte(d)).AppendTo(dst), true
	case TypeNS, TypeCNAME, TypePTR, TypeDNAME, TypeSOA:
		return m.appendDataName(dst, r, 0)
	case TypeMX, TypeAFSDB, TypeKX:
		return m.appendNumbersName(dst, r, 1)
	case TypeSRV:
		return m.appendNumbersName(dst, r, 3)
	case TypeRP:
		return m.appendDataName(dst, r, 0)
	case TypeTXT, TypeSPF, TypeHINFO:
		return appendStrings(dst, d)
	case TypeCAA:
		return appendCAA(dst, d)
	case TypeNAPTR:
		return m.appendNAPTR(dst, r)
	case TypeOPT:
		return appendOPT(dst, r), true
	case TypeSVCB, TypeHTTPS:
		return m.appendSVCB(dst, r)
	case TypeDS, TypeCDS:
		return appendDS(dst, d)
	case TypeRRSIG:
		if len(d) < 18 {
			return dst, false
		}
		dst = appendType(dst, binary.BigEndian.Uint16(d))
		return m.appendDataName(append(dst, ' '), r, 18)
	case TypeNSEC:
		return m.appendDataName(dst, r, 0)
	}
	return dst, false
}

// appendDataName appends the name at r.Data[off:].
func (m *Message) appendDataName(dst []byte, r *Record, off int) ([]byte, bool) {
	if off >= len(r.Data) {
		return dst, false
	}
	return appendName(dst, m.p[:r.data+len(r.Data)], r.data+off)
}

// appendNumbersName appends n 16-bit numbers and a name.
func (m *Message) appendNumbersName(dst []byte, r *Record, n int) ([]byte, bool) {
	if len(r.Data) <= 2*n {
		return dst, false
	}
	for i := range n {
		dst = append(appendUint(dst, uint64(binary.BigEndian.Uint16(r.Data[2*i:]))), ' ')
	}
	return m.appendDataName(dst, r, 2*n)
}

// appendStrings appends the character strings of d, quoted.
func appendStrings(dst, d []byte) ([]byte, bool) {
	for first := true; len(d) > 0; first = false {
		n := int(d[0])
		if 1+n > len(d) {
			return dst, false
		}
		if !first {
			dst = append(dst, ' ')
		}
		dst = appendQuoted(dst, d[1:1+n])
		d = d[1+n:]
	}
	return dst, true
}

func appendQuoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c >= 0x7f:
			dst = append(dst, '\\', '0'+c/100, '0'+c/10%10, '0'+c%10)
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendCAA: flags, tag, value (RFC 8659 §4.1).
func appendCAA(dst, d []byte) ([]byte, bool) {
	if len(d) < 2 || 2+int(d[1]) > len(d) {
		return dst, false
	}
	tag := d[2 : 2+int(d[1])]
	dst = append(appendUint(dst, uint64(d[0])), ' ')
	for _, c := range tag {
		dst = appendLabelByte(dst, c)
	}
	return appendQuoted(append(dst, ' '), d[2+len(tag):]), true
}

// appendNAPTR: order, preference, flags, services, regexp, replacement (RFC 3403 §4.1).
func (m *Message) appendNAPTR(dst []byte, r *Record) ([]byte, bool) {
	d := r.Data
	if len(d) < 7 {
		return dst, false
	}
	dst = append(appendUint(dst, uint64(binary.BigEndian.Uint16(d))), ' ')
	dst = append(appendUint(dst, uint64(binary.BigEndian.Uint16(d[2:]))), ' ')
	at := 4
	for range 3 {
		if at >= len(d) || at+1+int(d[at]) > len(d) {
			return dst, false
		}
		end := at + 1 + int(d[at])
		dst = append(appendQuoted(dst, d[at+1:end]), ' ')
		at = end
	}
	return m.appendDataName(dst, r, at)
}

// appendOPT: the sender's UDP size, the EDNS version, DO (RFC 6891 §6.1).
func appendOPT(dst []byte, r *Record) []byte {
	dst = appendUint(append(dst, "udp "...), uint64(r.Class))
	if v := r.TTL >> 16 & 0xff; v != 0 {
		dst = appendUint(append(dst, " version "...), uint64(v))
	}
	if r.TTL&0x8000 != 0 {
		dst = append(dst, " do"...)
	}
	return dst
}

// appendDS: key tag, algorithm, digest type, digest (RFC 4034 §5.1).
func appendDS(dst, d []byte) ([]byte, bool) {
	if len(d) < 5 {
		return dst, false
	}
	dst = append(appendUint(dst, uint64(binary.BigEndian.Uint16(d))), ' ')
	dst = append(appendUint(dst, uint64(d[2])), ' ')
	dst = append(appendUint(dst, uint64(d[3])), ' ')
	return hex.AppendEncode(dst, d[4:min(len(d), 4+64)]), true
}

var svcKeys = [...]string{"mandatory", "alpn", "no-default-alpn", "port", "ipv4hint", "ech", "ipv6hint", "dohpath"}

// appendSVCB: priority, target, parameters (RFC 9460 §2.2); keys whose value is not plain are named only.
func (m *Message) appendSVCB(dst []byte, r *Record) ([]byte, bool) {
	if len(r.Data) < 3 {
		return dst, false
	}
	dst = append(appendUint(dst, uint64(binary.BigEndian.Uint16(r.Data))), ' ')
	end := skipName(r.Data, 2)
	dst, ok := m.appendDataName(dst, r, 2)
	if !ok || end < 0 {
		return dst, false
	}
	for d := r.Data[end:]; len(d) > 0; {
		if len(d) < 4 {
			return dst, false
		}
		key, n := binary.BigEndian.Uint16(d), int(binary.BigEndian.Uint16(d[2:]))
		if 4+n > len(d) {
			return dst, false
		}
		if dst, ok = appendSvcParam(append(dst, ' '), key, d[4:4+n]); !ok {
			return dst, false
		}
		d = d[4+n:]
	}
	return dst, true
}

func appendSvcParam(dst []byte, key uint16, v []byte) ([]byte, bool) {
	if int(key) >= len(svcKeys) {
		return appendUint(append(dst, "key"...), uint64(key)), true
	}
	dst = append(dst, svcKeys[key]...)
	switch svcKeys[key] {
	case "port":
		if len(v) != 2 {
			return dst, false
		}
		return appendUint(append(dst, '='), uint64(binary.BigEndian.Uint16(v))), true
	case "alpn":
		for sep := byte('='); len(v) > 0; sep = ',' {
			n := int(v[0])
			if 1+n > len(v) {
				return dst, false
			}
			dst = append(dst, sep)
			for _, c := range v[1 : 1+n] {
				dst = appendLabelByte(dst, c)
			}
			v = v[1+n:]
		}
	case "ipv4hint":
		for sep := byte('='); len(v) >= 4; sep, v = ',', v[4:] {
			dst = netip.AddrFrom4([4]byte(v[:4])).AppendTo(append(dst, sep))
		}
	case "ipv6hint":
		for sep := byte('='); len(v) >= 16; sep, v = ',', v[16:] {
			dst = netip.AddrFrom16([16]byte(v[:16])).AppendTo(append(dst, sep))
		}
	}
	return dst, true
}

func appendType(dst []byte, t uint16) []byte {
	if s, ok := typeNames[t]; ok {
		return append(dst, s...)
	}
	return appendUint(append(dst, "TYPE"...), uint64(t))
}

func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }
