package http2

import "encoding/binary"

// Messages counts the messages of one direction of a gRPC call: each has a prefix of five bytes, a flag and its length
// (gRPC over HTTP2, Length-Prefixed-Message). The zero value is at the first one.
type Messages struct {
	Count uint32 // messages begun
	left  uint32 // bytes of the current one to come
	have  uint8  // bytes of a prefix that is cut
	lost  bool
	part  [prefixLen]byte
}

const prefixLen = 5

// Lose says that bytes went by unseen: Count stays as it is from now on.
func (m *Messages) Lose() { m.lost = true }

// Lost says whether messages may have gone by uncounted.
func (m *Messages) Lost() bool { return m.lost }

// Walk passes over n bytes, of which p is the beginning that is there.
func (m *Messages) Walk(p []byte, n int) {
	for n > 0 && !m.lost {
		if m.left > 0 {
			k := int(min(uint32(n), m.left))
			m.left -= uint32(k)
			n -= k
			p = p[min(k, len(p)):]
			continue
		}
		k := min(prefixLen-int(m.have), n)
		if k > len(p) {
			m.lost = true
			return
		}
		copy(m.part[m.have:], p[:k])
		m.have += uint8(k)
		p, n = p[k:], n-k
		if m.have == prefixLen {
			if m.part[0] > 1 { // a flag that nobody knows
				m.lost = true
				return
			}
			m.have, m.left = 0, binary.BigEndian.Uint32(m.part[1:])
			m.Count++
		}
	}
}

// grpcCodes are the names of gRPC status codes.
var grpcCodes = [...]string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
	"UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

// GRPCCodeString is the name of a gRPC status code, "" for one that has none.
func GRPCCodeString(code int64) string {
	if code >= 0 && code < int64(len(grpcCodes)) {
		return grpcCodes[code]
	}
	return ""
}

// GRPCClientError says whether a status code other than 0 is the caller's doing: those that the gRPC gateway translates into
// HTTP's 4xx.
func GRPCClientError(code int64) bool {
	switch code {
	case 1, 3, 5, 6, 7, 8, 9, 10, 11, 16:
		return true
	}
	return false
}

// IsGRPC says whether a content type is one of gRPC (application/grpc, application/grpc+proto, application/grpc-web).
func IsGRPC(contentType []byte) bool {
	const prefix = "application/grpc"
	if len(contentType) < len(prefix) || string(contentType[:len(prefix)]) != prefix {
		return false
	}
	rest := contentType[len(prefix):]
	return len(rest) == 0 || rest[0] == '+' || rest[0] == ';' || rest[0] == '-' || rest[0] == ' '
}

// AppendUnescaped appends a grpc-message to dst: in it, bytes are percent-encoded (gRPC over HTTP2, Status-Message).
func AppendUnescaped(dst, message []byte) []byte {
	for i := 0; i < len(message); i++ {
		if c := message[i]; c == '%' && i+2 < len(message) {
			hi, ok1 := unhexed(message[i+1])
			lo, ok2 := unhexed(message[i+2])
			if ok1 && ok2 {
				dst = append(dst, hi<<4|lo)
				i += 2
				continue
			}
		}
		dst = append(dst, message[i])
	}
	return dst
}

func unhexed(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}
