package sqltext

// maxComments is how many comments of a statement are looked at: the first ones and the last.
const maxComments = 8

// comments are the insides of a statement's comments.
type comments struct {
	list [maxComments][]byte
	n    int
}

func (c *comments) add(text []byte) {
	if c == nil {
		return
	}
	c.list[min(c.n, maxComments-1)] = text
	c.n = min(c.n+1, maxComments)
}

// Fields walks over the key/value pairs in the comments of a statement: key='value' as sqlcommenter writes them
// (google/sqlcommenter, specification), key=value, key: value.
type Fields struct {
	c    *comments
	i    int
	rest []byte
}

// Fields starts a walk over the pairs in the comments of the statement that was parsed last.
func (s *Statement) Fields() Fields { return Fields{c: &s.comments} }

// Next returns the next pair, views of the statement; the value may be URL-encoded, see AppendUnescaped.
func (f *Fields) Next() (key, value []byte, ok bool) {
	for {
		for len(f.rest) == 0 {
			if f.i >= f.c.n {
				return nil, nil, false
			}
			f.rest = f.c.list[f.i]
			f.i++
		}
		if key, value, ok = f.pair(); ok {
			return key, value, true
		}
	}
}

// pair takes a word off the rest, and, when it is a key, its value.
func (f *Fields) pair() (key, value []byte, ok bool) {
	p := f.rest
	start := 0
	for start < len(p) && !isKey(p[start]) {
		start++
	}
	end := start
	for end < len(p) && isKey(p[end]) {
		end++
	}
	at := skipSpace(p, end)
	if end == start || at >= len(p) || p[at] != '=' && p[at] != ':' {
		f.rest = p[at:]
		return nil, nil, false
	}
	key = p[start:end]
	at = skipSpace(p, at+1)
	if at < len(p) && p[at] == '\\' { // the comment was in a string once
		at++
	}
	if at < len(p) && (p[at] == '\'' || p[at] == '"') {
		quote := p[at]
		from := at + 1
		for at = from; at < len(p) && p[at] != quote; at++ {
		}
		value, f.rest = p[from:at], p[min(at+1, len(p)):]
		if n := len(value); n > 0 && value[n-1] == '\\' {
			value = value[:n-1]
		}
		return key, value, true
	}
	from := at
	for at < len(p) && classes[p[at]] != classSpace && p[at] != ',' && p[at] != ';' {
		at++
	}
	value, f.rest = p[from:at], p[at:]
	return key, value, true
}

func skipSpace(p []byte, at int) int {
	for at < len(p) && classes[p[at]] == classSpace {
		at++
	}
	return at
}

func isKey(b byte) bool {
	return classes[b]&(classLetter|classDigit) != 0 || b == '-' || b == '.'
}

// AppendUnescaped appends value with its %XX replaced by the bytes they stand for.
func AppendUnescaped(dst, value []byte) []byte {
	for i := 0; i < len(value); i++ {
		if value[i] == '%' && i+2 < len(value) {
			if hi, lo := unhex(value[i+1]), unhex(value[i+2]); hi >= 0 && lo >= 0 {
				dst = append(dst, byte(hi<<4|lo))
				i += 2
				continue
			}
		}
		dst = append(dst, value[i])
	}
	return dst
}

func unhex(b byte) int {
	switch {
	case b >= '0' && b <= '9':
		return int(b - '0')
	case b >= 'a' && b <= 'f':
		return int(b-'a') + 10
	case b >= 'A' && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}
