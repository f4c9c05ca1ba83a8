package segment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/flowlake/flowlake/db/tags"
)

// A map is a tag-set encoding in memory and the text of a JSON object in the file, '{}' when it is empty: any reader can
// take it apart, and the pairs keep their order.

var errMapJSON = errors.New("map is not a JSON object of strings")

// appendMapJSON appends the JSON of a tag-set encoding.
func appendMapJSON(dst, set []byte) ([]byte, error) {
	dst = append(dst, '{')
	first := true
	err := tags.Each(set, func(key, value []byte) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = appendJSONString(dst, key)
		dst = append(dst, ':')
		dst = appendJSONString(dst, value)
	})
	if err != nil {
		return dst, fmt.Errorf("%w: MAP: %w", ErrValue, err)
	}
	return append(dst, '}'), nil
}

func appendJSONString(dst, s []byte) []byte {
	const digits = "0123456789abcdef"
	if !utf8.Valid(s) {
		s = bytes.ToValidUTF8(s, []byte("\uFFFD"))
	}
	dst = append(dst, '"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}

// appendMapFromJSON appends the tag-set encoding of a JSON object whose values are strings.
func appendMapFromJSON(dst, src []byte) ([]byte, error) {
	if string(src) == "{}" {
		return dst, nil
	}
	start := len(dst)
	var last []byte
	p := jsonParser{src: src}
	p.expect('{')
	for i := 0; p.err == nil; i++ {
		key := p.text(0)
		p.expect(':')
		value := p.text(1)
		if p.err != nil {
			break
		}
		if len(value) == 0 || i > 0 && bytes.Compare(last, key) >= 0 { // not as we write it: let the JSON package see to it
			return appendForeignMap(dst[:start], src)
		}
		dst = tags.AppendTag(dst, key, value)
		last = append(last[:0], key...)
		if p.pos < len(src) && src[p.pos] == ',' {
			p.pos++
			continue
		}
		p.expect('}')
		break
	}
	if p.err == nil && p.pos == len(src) {
		return dst, nil
	}
	return appendForeignMap(dst[:start], src)
}

func appendForeignMap(dst, src []byte) ([]byte, error) {
	var m map[string]string
	if err := json.Unmarshal(src, &m); err != nil {
		return dst, fmt.Errorf("%w: %w", errMapJSON, err)
	}
	pairs := make([]tags.Tag, 0, len(m))
	for k, v := range m {
		pairs = append(pairs, tags.Tag{Key: k, Value: v})
	}
	return tags.AppendSet(dst, pairs...), nil
}

// jsonParser reads the JSON that appendJSONString writes; anything else is an error.
type jsonParser struct {
	src []byte
	pos int
	buf [2][]byte // unescaped strings
	err error
}

func (p *jsonParser) expect(c byte) {
	if p.err == nil && (p.pos >= len(p.src) || p.src[p.pos] != c) {
		p.err = errMapJSON
	}
	p.pos++
}

// text is the string at the position, valid until the next call with the same slot.
func (p *jsonParser) text(slot int) []byte {
	p.expect('"')
	if p.err != nil {
		return nil
	}
	rest := p.src[p.pos:]
	end := bytes.IndexAny(rest, "\"\\")
	if end >= 0 && rest[end] == '"' {
		p.pos += end + 1
		return rest[:end]
	}
	return p.escaped(slot)
}

func (p *jsonParser) escaped(slot int) []byte {
	out := p.buf[slot][:0]
	for p.pos < len(p.src) {
		c := p.src[p.pos]
		p.pos++
		if c == '"' {
			p.buf[slot] = out
			return out
		}
		if c != '\\' {
			out = append(out, c)
			continue
		}
		if p.pos >= len(p.src) {
			break
		}
		switch c = p.src[p.pos]; {
		case c == '"' || c == '\\':
			out = append(out, c)
			p.pos++
		case c == 'u' && len(p.src)-p.pos >= 5 && p.src[p.pos+1] == '0' && p.src[p.pos+2] == '0':
			hi, lo := unhex(p.src[p.pos+3]), unhex(p.src[p.pos+4])
			if hi > 1 || lo > 15 {
				p.err = errMapJSON
				return nil
			}
			out = append(out, hi<<4|lo)
			p.pos += 5
		default:
			p.err = errMapJSON
			return nil
		}
	}
	p.err = errMapJSON
	return nil
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}
