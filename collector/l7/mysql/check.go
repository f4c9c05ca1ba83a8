package mysql

import (
	"encoding/binary"

	"github.com/flowlake/flowlake/collector/l7/sqltext"
)

// Shape is what bytes look like.
type Shape uint8

// Shapes.
const (
	No        Shape = iota
	Maybe           // more bytes would tell
	IsRequest       // a command
	IsLogin         // the client's first packet
	IsGreeting
	IsResponse // the beginning of an answer
)

// Check says whether p begins with a packet of the client, or with the greeting of a server. lenient takes commands without
// a text too, whose shape says little.
func Check(p []byte, lenient bool) Shape {
	const most = 1 << 24
	if len(p) < HeaderLen+1 {
		if len(p) == HeaderLen && p[3] == 0 && p[2] == 0 && p[0]|p[1] != 0 {
			return Maybe
		}
		return No
	}
	size, seq := Header(p)
	if size == 0 || size >= most {
		return No
	}
	body := p[HeaderLen:min(len(p), HeaderLen+size)]
	switch {
	case seq == 1:
		return checkLogin(p, body, size)
	case seq != 0:
		return No
	case body[0] == 10 && len(body) == size && len(p) == HeaderLen+size:
		var g Greeting
		if size > 60 && size < 400 && ParseGreeting(body, &g) == nil && g.Version[0] >= '0' && g.Version[0] <= '9' {
			return IsGreeting
		}
		return No
	case body[0] == ErrByte && lenient && len(p) == HeaderLen+size:
		var e Err // too many connections, host not allowed: before any greeting
		if ParseErr(body, &e) == nil && e.Code >= 1000 && e.Code < 5000 && len(e.Message) > 4 && printable(e.Message) {
			return IsGreeting
		}
		return No
	}
	return checkCommand(p, body, size, lenient)
}

func checkLogin(p, body []byte, size int) Shape {
	var m Login
	if size < 32 || size > 1<<16 || len(p) > HeaderLen+size {
		return No
	}
	err := ParseLogin(body, &m)
	switch {
	case err == nil && (len(body) == size || !m.SSL):
		return IsLogin
	case err == ErrShort && len(body) < size && (len(body) < 32 || len(m.User) > 0):
		if len(body) >= 32 {
			return IsLogin
		}
		return Maybe
	}
	return No
}

// checkCommand: a text has to begin as SQL does; of other commands every byte that is fixed has to fit.
func checkCommand(p, body []byte, size int, lenient bool) Shape {
	exact := len(p) == HeaderLen+size
	switch c := Command(body[0]); c {
	case ComQuery, ComStmtPrepare:
		if len(p) > HeaderLen+size && !follows(p[HeaderLen+size:]) {
			return No
		}
		var m Request
		if ParseRequest(body, 0, CapsUnknown, &m) != nil {
			return No
		}
		if sqltext.Verb(m.Text, sqltext.MySQL) != "" {
			return IsRequest
		}
		if len(body) < size && len(m.Text) < 10 {
			return Maybe
		}
	case ComStmtExecute:
		const head = 10
		if size >= head && len(body) >= head && (exact || len(body) < size) && body[5]&^0x0f == 0 && binary.LittleEndian.Uint32(body[6:]) == 1 {
			return IsRequest
		}
	case ComStmtClose, ComStmtReset:
		if lenient && size == 5 && (exact || len(p) > HeaderLen+size && follows(p[HeaderLen+size:])) {
			return IsRequest
		}
	case ComStmtFetch:
		if lenient && size == 9 && exact {
			return IsRequest
		}
	case ComPing, ComQuit, ComStatistics, ComResetConnection:
		if lenient && size == 1 && exact {
			return IsRequest
		}
	case ComInitDB:
		if lenient && exact && size > 1 && size <= 65 && printable(body[1:]) {
			return IsRequest
		}
	case ComSetOption:
		if lenient && size == 3 && exact {
			return IsRequest
		}
	}
	return No
}

// follows says whether p may be the header of a further command of the client.
func follows(p []byte) bool {
	return len(p) > HeaderLen && p[3] == 0 && Command(p[HeaderLen]).Valid()
}

// CheckResponse says whether p begins with the first packet of an answer to a command. It is for connections that are known
// to be MySQL's: an answer says little about itself.
func CheckResponse(p []byte) Shape {
	if len(p) < HeaderLen {
		return Maybe
	}
	size, seq := Header(p)
	if len(p) == HeaderLen && seq == 1 && size > 0 && size < 1<<12 {
		return Maybe
	}
	if len(p) == HeaderLen {
		return No
	}
	if seq != 1 || size == 0 {
		return No
	}
	body := p[HeaderLen:min(len(p), HeaderLen+size)]
	rest := p[HeaderLen+len(body):]
	goesOn := len(rest) < HeaderLen || rest[3] == seq+1
	switch body[0] {
	case OKByte:
		if size >= 7 && size < 4096 && goesOn {
			return IsResponse
		}
	case ErrByte:
		if size >= 9 && size < 1024 && len(body) > 3 && (body[3] == '#' || IsProgress(body)) && goesOn {
			return IsResponse
		}
	case EOFByte:
		if size == 5 && len(rest) == 0 {
			return IsResponse
		}
	case InfileByte:
		if size > 1 && size < 4096 && len(rest) == 0 && len(body) == size && printable(body[1:]) {
			return IsResponse
		}
	default:
		if _, _, err := ParseColumns(body); err == nil && goesOn {
			return IsResponse
		}
	}
	return No
}
