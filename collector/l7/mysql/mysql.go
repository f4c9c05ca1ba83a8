// Package mysql reads the packets of the MySQL client/server protocol, which MariaDB, TiDB and others speak too, from bytes
// somebody else sent, without allocation. It knows packets, not connections: what a packet of the server means depends on
// the command before it, which the caller remembers. Sections are those of the MySQL source documentation, "Client/Server
// Protocol".
package mysql

import (
	"errors"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

var (
	// ErrMalformed is returned when the bytes are not what they are read as.
	ErrMalformed = errors.New("not a MySQL packet")
	// ErrShort is returned when the bytes end before what is asked for.
	ErrShort = errors.New("MySQL packet cut short")
)

// HeaderLen is the length of a packet's header: the length of its payload (3 bytes) and its number in the exchange.
const HeaderLen = 4

// MaxPayload is the longest payload; a message that is longer goes on in the next packet ("Packets").
const MaxPayload = 1<<24 - 1

// Header reads the header of a packet, of which at least HeaderLen bytes must be there.
func Header(p []byte) (size int, seq uint8) {
	return int(p[0]) | int(p[1])<<8 | int(p[2])<<16, p[3]
}

// Capabilities of client and server ("Capabilities Flags").
const (
	CapConnectWithDB    = 1 << 3
	CapCompress         = 1 << 5
	CapProtocol41       = 1 << 9
	CapSSL              = 1 << 11
	CapSecureConnection = 1 << 15
	CapPluginAuth       = 1 << 19
	CapConnectAttrs     = 1 << 20
	CapLenencAuth       = 1 << 21
	CapSessionTrack     = 1 << 23
	CapDeprecateEOF     = 1 << 24
	CapZstd             = 1 << 26
	CapQueryAttributes  = 1 << 27
)

// Status flags of the server ("SERVER_STATUS_flags_enum").
const (
	StatusMoreResults  = 1 << 3
	StatusCursorExists = 1 << 6
	StatusStateChanged = 1 << 14
)

// First bytes of a response.
const (
	OKByte     = 0x00
	MoreByte   = 0x01 // more data of the authentication
	InfileByte = 0xfb // the client is to send a file
	EOFByte    = 0xfe // also: another authentication method
	ErrByte    = 0xff
)

// Greeting is the first packet of a connection ("Protocol::HandshakeV10").
type Greeting struct {
	Version  []byte // of the server
	ThreadID uint32
	Caps     uint32
}

// ParseGreeting reads the payload of a greeting.
func ParseGreeting(p []byte, m *Greeting) error {
	const protocol, salt1, reserved = 10, 8, 10
	*m = Greeting{}
	r := wire.NewReader(p)
	if r.U8() != protocol {
		return ErrMalformed
	}
	m.Version = r.CString()
	m.ThreadID = r.U32LE()
	r.Skip(salt1)
	filler := r.U8()
	m.Caps = uint32(r.U16LE())
	if !r.OK() {
		return ErrShort
	}
	if filler != 0 || len(m.Version) == 0 || len(m.Version) > 64 || !printable(m.Version) {
		return ErrMalformed
	}
	if r.Len() == 0 {
		return nil // a server before 4.1
	}
	r.Skip(1 + 2) // character set, status
	m.Caps |= uint32(r.U16LE()) << 16
	r.Skip(1 + reserved)
	if !r.OK() {
		return ErrShort
	}
	return nil
}

// Login is the client's answer to a greeting ("Protocol::HandshakeResponse41"), or its demand for TLS ("Protocol::SSLRequest").
type Login struct {
	Caps     uint32
	SSL      bool // a demand for TLS: nothing below is there
	User     []byte
	Database []byte
	attrs    []byte
}

// ParseLogin reads the payload of a login.
func ParseLogin(p []byte, m *Login) error {
	const reserved, sslLen = 19, 32 // behind the 19 bytes MariaDB has 4 bytes of capabilities
	*m = Login{}
	r := wire.NewReader(p)
	m.Caps = r.U32LE()
	r.Skip(4 + 1) // greatest packet, character set
	zeros := r.Bytes(reserved)
	r.Skip(4)
	if !r.OK() {
		return ErrShort
	}
	if m.Caps&CapProtocol41 == 0 || !allZero(zeros) {
		return ErrMalformed
	}
	if len(p) == sslLen {
		if m.Caps&CapSSL == 0 {
			return ErrMalformed
		}
		m.SSL = true
		return nil
	}
	m.User = r.CString()
	switch {
	case m.Caps&CapLenencAuth != 0:
		r.Skip(lenencLen(&r))
	case m.Caps&CapSecureConnection != 0:
		r.Skip(int(r.U8()))
	default:
		r.CString()
	}
	if m.Caps&CapConnectWithDB != 0 {
		m.Database = r.CString()
	}
	if m.Caps&CapPluginAuth != 0 && r.Len() > 0 {
		r.CString()
	}
	if m.Caps&CapConnectAttrs != 0 && r.Len() > 0 {
		m.attrs = r.UpTo(lenencLen(&r))
	}
	if !r.OK() {
		return ErrShort
	}
	if len(m.User) > 255 || !printable(m.User) {
		return ErrMalformed
	}
	return nil
}

// Pairs walks over keys and values.
type Pairs struct{ r wire.Reader }

// Attributes walks over what the client tells of itself: _client_name, program_name, ...
func (m *Login) Attributes() Pairs { return Pairs{r: wire.NewReader(m.attrs)} }

// Next returns the next pair, views of the packet.
func (it *Pairs) Next() (key, value []byte, ok bool) {
	key = it.r.Bytes(lenencLen(&it.r))
	value = it.r.Bytes(lenencLen(&it.r))
	return key, value, it.r.OK() && len(key) > 0
}

// OK is the answer to a command that has no rows, and the end of rows where both sides do without EOF ("OK_Packet").
type OK struct {
	Affected uint64 // rows
	Status   uint16
	Warnings uint16
	Info     []byte
	Schema   []byte // the database chosen by the command, where the server tells
}

// ParseOK reads the payload of an OK packet. What is cut off reads as absent.
func ParseOK(p []byte, m *OK) error {
	*m = OK{}
	r := wire.NewReader(p)
	r.Skip(1)
	m.Affected, _ = lenenc(&r)
	lenenc(&r) // last insert id
	m.Status = r.U16LE()
	m.Warnings = r.U16LE()
	if !r.OK() {
		return ErrShort
	}
	rest := r.Rest()
	if len(rest) == 0 {
		return nil
	}
	if m.Status&StatusStateChanged == 0 && int(rest[0]) != len(rest)-1 {
		m.Info = rest // CapSessionTrack is off
		return nil
	}
	m.Info = r.UpTo(lenencLen(&r))
	if m.Status&StatusStateChanged != 0 {
		changes := wire.NewReader(r.UpTo(lenencLen(&r)))
		for changes.Len() > 0 {
			const schema = 1
			typ := changes.U8()
			data := wire.NewReader(changes.Bytes(lenencLen(&changes)))
			if typ == schema {
				m.Schema = data.Bytes(lenencLen(&data))
			}
		}
	}
	return nil
}

// Err is the answer to a command that failed ("ERR_Packet").
type Err struct {
	Code    uint16
	State   []byte // SQLSTATE, 5 characters; nil where the server has none
	Message []byte
}

// IsProgress says whether the payload is that of a report on the progress of a long statement, which MariaDB sends before
// the response: it looks like an error (MariaDB "ERR_Packet").
func IsProgress(p []byte) bool {
	return len(p) >= 3 && p[0] == ErrByte && p[1] == 0xff && p[2] == 0xff
}

// ParseErr reads the payload of an ERR packet.
func ParseErr(p []byte, m *Err) error {
	const state = 5
	*m = Err{}
	r := wire.NewReader(p)
	r.Skip(1)
	m.Code = r.U16LE()
	if !r.OK() {
		return ErrShort
	}
	if r.Peek() == '#' {
		r.Skip(1)
		m.State = r.Bytes(state)
	}
	m.Message = r.Rest()
	return nil
}

// ParseEOF reads the payload of an EOF packet ("EOF_Packet").
func ParseEOF(p []byte) (status uint16, err error) {
	r := wire.NewReader(p)
	r.Skip(1 + 2) // warnings
	status = r.U16LE()
	if !r.OK() {
		return 0, ErrShort
	}
	return status, nil
}

// Prepared is the answer to COM_STMT_PREPARE ("COM_STMT_PREPARE Response"). The definitions of parameters and columns follow.
type Prepared struct {
	ID              uint32
	Columns, Params uint16
}

// PreparedLen is the length of its payload, but for a flag that some servers add.
const PreparedLen = 12

// ParsePrepared reads its payload.
func ParsePrepared(p []byte, m *Prepared) error {
	*m = Prepared{}
	r := wire.NewReader(p)
	r.Skip(1)
	m.ID, m.Columns, m.Params = r.U32LE(), r.U16LE(), r.U16LE()
	if !r.OK() {
		return ErrShort
	}
	return nil
}

// ParseColumns reads the packet before the rows of a result: the number of columns, and whether their definitions follow
// (MariaDB leaves them out when the client knows them).
func ParseColumns(p []byte) (n int, defined bool, err error) {
	const maxColumns = 4096
	r := wire.NewReader(p)
	v, null := lenenc(&r)
	if !r.OK() {
		return 0, false, ErrShort
	}
	if null || v == 0 || v > maxColumns || r.Len() > 1 {
		return 0, false, ErrMalformed
	}
	return int(v), r.Len() == 0 || r.U8() != 0, nil
}

// lenenc reads a number of 1 to 9 bytes ("Protocol::LengthEncodedInteger").
func lenenc(r *wire.Reader) (v uint64, null bool) {
	switch b := r.U8(); b {
	case 0xfb:
		return 0, true
	case 0xfc:
		return uint64(r.U16LE()), false
	case 0xfd:
		return uint64(r.U24LE()), false
	case 0xfe:
		return r.U64LE(), false
	case 0xff:
		r.Short = true
		return 0, false
	default:
		return uint64(b), false
	}
}

// lenencLen reads the length of what follows; one that does not fit an int is short.
func lenencLen(r *wire.Reader) int {
	v, _ := lenenc(r)
	if v > 1<<31 {
		r.Short = true
		return 0
	}
	return int(v)
}

func printable(p []byte) bool {
	for _, b := range p {
		if b < ' ' || b == 0x7f {
			return false
		}
	}
	return true
}

func allZero(p []byte) bool {
	for _, b := range p {
		if b != 0 {
			return false
		}
	}
	return true
}
