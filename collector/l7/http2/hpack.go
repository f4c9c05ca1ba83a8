package http2

import "golang.org/x/net/http2/hpack"

// Sizes of a dynamic table.
const (
	entryOverhead = 32      // what an entry counts besides its name and value (RFC 7541 §4.1)
	defaultMax    = 4 << 10 // the size of a table as long as nobody says another (RFC 9113 §6.5.2)
	// tableLimit bounds the entries that are remembered, counted as above; older ones of a greater table are unknown.
	tableLimit = 16 << 10
)

// Table is the dynamic table of one direction of a connection, as far as its entries went by. The zero value is that of a
// connection picked up in the middle: the entries that come later have the right numbers, those before are unknown.
type Table struct {
	entries []entry // oldest first
	head    int     // entries[:head] are evicted
	data    []byte  // names and values
	size    int
	max     int // the size it really has, plus one; 0: not known
}

type entry struct {
	off, name, value      int32 // where in data, and the lengths
	counted               int32 // what it takes of the size
	nameKnown, valueKnown bool
}

// Begin says that the table is empty and all that goes into it will be seen: the connection begins here.
func (t *Table) Begin() {
	t.Lose()
	t.max = defaultMax + 1
}

// Lose says that header blocks went by unseen: what is known is not worth anything.
func (t *Table) Lose() {
	t.entries, t.head, t.data, t.size, t.max = t.entries[:0], 0, t.data[:0], 0, 0
}

// limit is how much the entries may take.
func (t *Table) limit() int {
	if t.max > 0 {
		return min(tableLimit, t.max-1)
	}
	return tableLimit
}

// evict drops the oldest entries until the others fit in.
func (t *Table) evict(limit int) {
	for t.size > limit {
		t.size -= int(t.entries[t.head].counted)
		t.head++
	}
	if t.head == len(t.entries) {
		t.entries, t.head, t.data = t.entries[:0], 0, t.data[:0]
		return
	}
	const fewEntries, fewBytes = 32, 1 << 10
	start := t.entries[t.head].off
	if t.head > fewEntries && t.head >= len(t.entries)/2 || start > fewBytes && int(start) >= len(t.data)/2 {
		t.entries = t.entries[:copy(t.entries, t.entries[t.head:])]
		t.data, t.head = t.data[:copy(t.data, t.data[start:])], 0
		for i := range t.entries {
			t.entries[i].off -= start
		}
	}
}

// add puts a field in front. An entry that is greater than the table empties it (RFC 7541 §4.4). Other entries are evicted by
// the next call of Next only: the field may be a view of them.
func (t *Table) add(f *Fields) {
	counted := entryOverhead + len(f.Name) + len(f.Value)
	if t.max > 0 && counted > t.max-1 {
		t.entries, t.head, t.size = t.entries[:0], 0, 0
		return
	}
	e := entry{off: int32(len(t.data)), counted: entryOverhead}
	if counted <= tableLimit { // else it is too long to be remembered, but has a number all the same
		e.name, e.value, e.counted = int32(len(f.Name)), int32(len(f.Value)), int32(counted)
		e.nameKnown, e.valueKnown = f.NameKnown, f.ValueKnown
		t.data = append(append(t.data, f.Name...), f.Value...)
	}
	t.entries = append(t.entries, e)
	t.size += int(e.counted)
}

// get sets f to the entry with the number i, the newest being 0.
func (t *Table) get(i int, f *Fields) {
	at := len(t.entries) - 1 - i
	if at < t.head {
		f.Name, f.Value, f.NameKnown, f.ValueKnown = nil, nil, false, false
		return
	}
	e := &t.entries[at]
	mid, end := e.off+e.name, e.off+e.name+e.value
	f.Name, f.Value, f.NameKnown, f.ValueKnown = t.data[e.off:mid:mid], t.data[mid:end:end], e.nameKnown, e.valueKnown
}

// Fields reads the fields of a header block. The zero value is ready for Reset; it keeps its scratch space.
type Fields struct {
	// Name and Value are those of the field that Next has read: views that are valid until the next call. What is not known is
	// nil.
	Name, Value           []byte
	NameKnown, ValueKnown bool

	table   *Table
	empty   Table // stands in for a nil table
	p       []byte
	err     error
	scratch []byte
	first   bool // no field was read yet
}

// Reset begins to read a header block; t remembers its fields. Without t, only those of the static table and of the block are
// known. The block has to be read to its end.
func (f *Fields) Reset(t *Table, block []byte) {
	if t == nil {
		t = &f.empty
		t.Lose()
	}
	f.Name, f.Value, f.NameKnown, f.ValueKnown = nil, nil, false, false
	f.table, f.p, f.err, f.first = t, block, nil, true
}

// Err says why Next has returned false: nil at the end of the block, ErrShort when it is cut, ErrMalformed.
func (f *Fields) Err() error { return f.err }

// Next reads the next field (RFC 7541 §6).
func (f *Fields) Next() bool {
	f.table.evict(f.table.limit())
	for len(f.p) > 0 && f.err == nil {
		switch b := f.p[0]; {
		case b >= 0x80: // indexed
			f.first = false
			i := f.number(7)
			if f.err == nil && i == 0 {
				f.err = ErrMalformed
			}
			if f.err != nil {
				return false
			}
			f.lookup(i)
			return true
		case b >= 0x40:
			return f.literal(6, true)
		case b >= 0x20: // a change of size
			n := f.number(5)
			if f.err == nil && !f.first {
				f.err = ErrMalformed
			}
			if f.err == nil {
				f.table.max = n + 1
				f.table.evict(f.table.limit())
			}
		default:
			return f.literal(4, false)
		}
	}
	return false
}

// lookup sets name and value to the entry i of the static table and the dynamic one behind it.
func (f *Fields) lookup(i int) {
	if i <= len(static) {
		f.Name, f.Value, f.NameKnown, f.ValueKnown = static[i-1].name, static[i-1].value, true, true
		return
	}
	f.table.get(i-len(static)-1, f)
}

// literal reads a field whose value, and perhaps name, is spelled out.
func (f *Fields) literal(prefix uint, add bool) bool {
	f.first = false
	i := f.number(prefix)
	f.scratch = f.scratch[:0]
	f.Name, f.NameKnown = nil, true
	name, nameEnd := []byte(nil), -1
	if i > 0 {
		f.lookup(i)
	} else if name = f.text(); f.err == nil {
		nameEnd = len(f.scratch)
	}
	if f.err != nil {
		return false
	}
	value := f.text()
	if f.err != nil {
		return false
	}
	// scratch moves while it grows: views of it are made at the end.
	if i == 0 {
		if f.Name = name; name == nil {
			f.Name = f.scratch[:nameEnd:nameEnd]
		}
	} else {
		nameEnd = 0
	}
	if f.Value = value; value == nil {
		f.Value = f.scratch[nameEnd:]
	}
	f.ValueKnown = true
	if add {
		f.table.add(f)
	}
	return true
}

// text reads a string (RFC 7541 §5.2): a view of the block, or nil when it was appended to scratch because it is coded.
func (f *Fields) text() []byte {
	if len(f.p) == 0 {
		f.err = ErrShort
		return nil
	}
	coded := f.p[0]&0x80 != 0
	n := f.number(7)
	if f.err != nil {
		return nil
	}
	if n > len(f.p) {
		f.err = ErrShort
		return nil
	}
	s := f.p[:n:n]
	f.p = f.p[n:]
	if !coded {
		return s
	}
	if _, err := hpack.HuffmanDecode((*appender)(&f.scratch), s); err != nil {
		f.err = ErrMalformed
	}
	return nil
}

// appender is an io.Writer that appends.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// number reads an integer with a prefix of so many bits (RFC 7541 §5.1); one that is too great for anything is malformed.
func (f *Fields) number(prefix uint) int {
	mask := 1<<prefix - 1
	v := int(f.p[0]) & mask
	f.p = f.p[1:]
	if v < mask {
		return v
	}
	for shift := uint(0); shift <= 21; shift += 7 {
		if len(f.p) == 0 {
			f.err = ErrShort
			return 0
		}
		b := f.p[0]
		f.p = f.p[1:]
		v += int(b&0x7f) << shift
		if b&0x80 == 0 {
			return v
		}
	}
	f.err = ErrMalformed
	return 0
}

// static is the static table (RFC 7541, Appendix A).
var static = func() (t [61]struct{ name, value []byte }) {
	for i, f := range [len(t)][2]string{
		{":authority"}, {":method", "GET"}, {":method", "POST"}, {":path", "/"}, {":path", "/index.html"}, {":scheme", "http"},
		{":scheme", "https"}, {":status", "200"}, {":status", "204"}, {":status", "206"}, {":status", "304"}, {":status", "400"},
		{":status", "404"}, {":status", "500"}, {"accept-charset"}, {"accept-encoding", "gzip, deflate"}, {"accept-language"},
		{"accept-ranges"}, {"accept"}, {"access-control-allow-origin"}, {"age"}, {"allow"}, {"authorization"}, {"cache-control"},
		{"content-disposition"}, {"content-encoding"}, {"content-language"}, {"content-length"}, {"content-location"},
		{"content-range"}, {"content-type"}, {"cookie"}, {"date"}, {"etag"}, {"expect"}, {"expires"}, {"from"}, {"host"},
		{"if-match"}, {"if-modified-since"}, {"if-none-match"}, {"if-range"}, {"if-unmodified-since"}, {"last-modified"}, {"link"},
		{"location"}, {"max-forwards"}, {"proxy-authenticate"}, {"proxy-authorization"}, {"range"}, {"referer"}, {"refresh"},
		{"retry-after"}, {"server"}, {"set-cookie"}, {"strict-transport-security"}, {"transfer-encoding"}, {"user-agent"}, {"vary"},
		{"via"}, {"www-authenticate"},
	} {
		t[i].name, t[i].value = []byte(f[0]), []byte(f[1])
	}
	return t
}()
