package http1

// Body follows the body of a message without looking at it. The zero value is no body: done at once.
type Body struct {
	// left is, by kind: the bytes to come; the bytes of the chunk to come, or its size as far as read; what follows a
	// drained head (a length, or one of the after values).
	left int64
	// seen counts the bytes of content.
	seen  int64
	kind  bodyKind
	state chunkState
}

type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodyCounted
	bodyChunked
	bodyUntilClose
	bodyDrain
)

type chunkState uint8

const (
	chunkFirst   chunkState = iota // before the first digit of a size
	chunkSize                      // within the size
	chunkExt                       // behind it, up to the line's end
	chunkData                      // within the data
	chunkEnd                       // behind the data: CR LF
	trailerStart                   // at the start of a trailer (or header) line
	trailerCR                      // CR at the start of a line
	trailerLine                    // within a line
)

// What follows a drained head, besides a length.
const (
	afterChunked    = -1
	afterUntilClose = -2
)

// Counted is a body of n bytes.
func Counted(n int64) Body { return Body{kind: bodyCounted, left: n} }

// ChunkedBody is a body in chunked coding, its trailers included (RFC 9112 §7.1).
func ChunkedBody() Body { return Body{kind: bodyChunked} }

// UntilClose is a body that ends with the connection.
func UntilClose() Body { return Body{kind: bodyUntilClose} }

// Drain is the rest of a head that is too long to be kept, followed by body. head is what there was of it: its last bytes
// tell where in a line the rest starts.
func Drain(head []byte, body Body) Body {
	d := Body{kind: bodyDrain, state: trailerLine, left: body.left}
	switch body.kind {
	case bodyChunked:
		d.left = afterChunked
	case bodyUntilClose:
		d.left = afterUntilClose
	case bodyNone:
		d.left = 0
	}
	switch n := len(head); {
	case n > 0 && head[n-1] == '\n':
		d.state = trailerStart
	case n > 1 && head[n-1] == '\r' && head[n-2] == '\n':
		d.state = trailerCR
	}
	return d
}

// Seen is the number of content bytes that went by, without the chunks' sizes and trailers.
func (b *Body) Seen() int64 { return b.seen }

// IsUntilClose says whether the body ends with the connection only.
func (b *Body) IsUntilClose() bool { return b.kind == bodyUntilClose }

// Done says whether the body is over.
func (b *Body) Done() bool { return b.kind == bodyNone || b.kind == bodyCounted && b.left == 0 }

// Consume takes the body's next bytes from p and returns how many they are; done means that the body ended with them.
func (b *Body) Consume(p []byte) (n int, done bool, err error) {
	for n < len(p) && !b.Done() {
		switch b.kind {
		case bodyCounted:
			n += b.take(len(p) - n)
		case bodyUntilClose:
			b.seen += int64(len(p) - n)
			n = len(p)
		default:
			if b.state == chunkData {
				n += b.take(len(p) - n)
				if b.left == 0 {
					b.state = chunkEnd
				}
				continue
			}
			if err := b.step(p[n]); err != nil {
				return n, false, err
			}
			n++
		}
	}
	return n, b.Done(), nil
}

func (b *Body) take(n int) int {
	n = int(min(int64(n), b.left))
	b.left -= int64(n)
	b.seen += int64(n)
	return n
}

// step takes one byte of chunked coding that is not data.
func (b *Body) step(c byte) error {
	switch b.state {
	case chunkFirst, chunkSize:
		if d, ok := hexDigit(c); ok {
			if b.left >= 1<<55 {
				return ErrSyntax
			}
			b.left = b.left<<4 | int64(d)
			b.state = chunkSize
			return nil
		}
		if b.state == chunkFirst || c != '\n' && c != '\r' && c != ';' && c != ' ' && c != '\t' {
			return ErrSyntax
		}
		b.state = chunkExt
		if c == '\n' {
			b.sizeRead()
		}
	case chunkExt:
		if c == '\n' {
			b.sizeRead()
		}
	case chunkEnd:
		if c == '\n' {
			b.state = chunkFirst
		} else if c != '\r' {
			return ErrSyntax
		}
	case trailerStart, trailerCR:
		switch {
		case c == '\n':
			b.end()
		case c == '\r' && b.state == trailerStart:
			b.state = trailerCR
		default:
			b.state = trailerLine
		}
	case trailerLine:
		if c == '\n' {
			b.state = trailerStart
		}
	}
	return nil
}

// sizeRead is called at the end of a chunk's first line.
func (b *Body) sizeRead() {
	b.state = chunkData
	if b.left == 0 {
		b.state = trailerStart
	}
}

// end is called behind the empty line of trailers or of a drained head.
func (b *Body) end() {
	seen := b.seen
	switch {
	case b.kind != bodyDrain:
		*b = Body{}
	case b.left == afterChunked:
		*b = ChunkedBody()
	case b.left == afterUntilClose:
		*b = UntilClose()
	default:
		*b = Counted(b.left)
	}
	b.seen = seen
}

// Lose says that n bytes were lost; false means that nobody knows where the message goes on.
func (b *Body) Lose(n int64) bool {
	switch {
	case b.kind == bodyUntilClose:
		b.seen += n
		return true
	case b.kind == bodyCounted && n <= b.left, b.kind == bodyChunked && b.state == chunkData && n < b.left:
		b.left -= n
		b.seen += n
		return true
	}
	return false
}

func hexDigit(c byte) (byte, bool) {
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
