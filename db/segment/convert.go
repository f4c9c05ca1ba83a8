package segment

import (
	"bytes"
	"fmt"
	"net/netip"
	"unicode/utf8"

	"github.com/flowlake/flowlake/db/schema"
)

// converter turns dictionary entries from the form they have in memory to the one they have in the file: addresses to
// text, maps to JSON, text to valid UTF-8. It works on entries, not on rows.
type converter struct {
	typ schema.Type
	buf []byte
	bad int64 // values that were not UTF-8
}

// stored is the form of v in the file, valid until the next call.
func (c *converter) stored(v []byte) ([]byte, error) {
	if len(v) > MaxValueBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrValue, len(v))
	}
	switch c.typ {
	case schema.Inet:
		if len(v) == 0 {
			return v, nil
		}
		a, ok := netip.AddrFromSlice(v)
		if !ok || len(v) != 16 {
			return nil, fmt.Errorf("%w: INET of %d bytes", ErrValue, len(v))
		}
		c.buf = a.Unmap().AppendTo(c.buf[:0])
		return c.buf, nil
	case schema.Map:
		var err error
		c.buf, err = appendMapJSON(c.buf[:0], v)
		return c.buf, err
	case schema.Varchar:
		if !utf8.Valid(v) { // readers refuse a whole file for one such value
			c.bad++
			return bytes.ToValidUTF8(v, []byte("\uFFFD")), nil
		}
	}
	return v, nil
}

// loaded appends the form in memory of a value v of a file to dst.
func loaded(dst []byte, t schema.Type, v []byte) ([]byte, error) {
	switch t {
	case schema.Inet:
		if len(v) == 0 {
			return dst, nil
		}
		a, ok := parseAddr(v)
		if !ok {
			return dst, fmt.Errorf("%q is no address", v)
		}
		return append(dst, a[:]...), nil
	case schema.Map:
		return appendMapFromJSON(dst, v)
	}
	return append(dst, v...), nil
}

// parseAddr parses the canonical text of an address; IPv4 without going through a string, since it is by far the most.
func parseAddr(v []byte) (a [16]byte, ok bool) {
	part, digits, n := 0, 0, 12
	for _, c := range v {
		switch {
		case c >= '0' && c <= '9' && digits < 3:
			part = part*10 + int(c-'0')
			digits++
		case c == '.' && digits > 0 && part < 256 && n < 15:
			a[n] = byte(part)
			part, digits = 0, 0
			n++
		default:
			return parseAddr6(v)
		}
	}
	if n != 15 || digits == 0 || part > 255 {
		return parseAddr6(v)
	}
	a[n], a[10], a[11] = byte(part), 0xff, 0xff
	return a, true
}

func parseAddr6(v []byte) (a [16]byte, ok bool) {
	if len(v) > 64 {
		return a, false
	}
	addr, err := netip.ParseAddr(string(v))
	if err != nil || addr.Zone() != "" {
		return a, false
	}
	return addr.As16(), true
}
