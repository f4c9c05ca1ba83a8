package l7

import (
	"bytes"
	"compress/zlib"
	"io"

	"github.com/flowlake/flowlake/collector/l7/mysql"
)

// frameHead is the length of the header of a compressed packet: the length of what follows, a number, and the length of that
// inflated, 0 when it is as it was (MySQL source documentation, "Compressed Packet").
const frameHead = 7

const (
	maxInflated  = 256 << 10 // of a frame, in bytes; the rest of it is not looked at
	inflateChunk = 16 << 10
	maxInnerHead = 512 // bytes kept of a packet that goes on in the next frame
)

// innerStream is one direction of the packets within frames.
type innerStream struct {
	head []byte // of a packet that is not complete
	skip int64  // bytes to pass over
	lost bool   // the next frame that may begin a message is waited for
}

// inflater inflates frames, one after the other.
type inflater struct {
	src bytes.Reader
	z   io.ReadCloser
	buf []byte
}

// begin takes a frame's content, of which p may be the beginning.
func (f *inflater) begin(p []byte) bool {
	f.src.Reset(p)
	if f.z == nil {
		z, err := zlib.NewReader(&f.src)
		if err != nil {
			return false
		}
		f.z, f.buf = z, make([]byte, inflateChunk)
		return true
	}
	return f.z.(zlib.Resetter).Reset(&f.src, nil) == nil
}

// next returns the next bytes, at most most of them; none at the end, and where p ends or is damaged.
func (f *inflater) next(most int) []byte {
	n, _ := io.ReadFull(f.z, f.buf[:min(most, len(f.buf))])
	return f.buf[:n]
}

// frameHeader reads the header of a compressed packet.
func frameHeader(p []byte) (size int, seq uint8, inflated int) {
	return int(p[0]) | int(p[1])<<8 | int(p[2])<<16, p[3], int(p[4]) | int(p[5])<<8 | int(p[6])<<16
}

// isZlib says whether p begins as a zlib stream does (RFC 1950 §2.2).
func isZlib(p []byte) bool {
	return len(p) > 2 && p[0]&15 == 8 && p[0]>>4 <= 7 && (int(p[0])<<8|int(p[1]))%31 == 0
}

// isFrame says whether p begins with a compressed packet of the client in which a command begins.
func (d *mysqlDriver) isFrame(p []byte, lenient bool) bool {
	const peek = 256
	if len(p) < frameHead+mysql.HeaderLen+1 {
		return false
	}
	size, seq, inflated := frameHeader(p)
	body := p[frameHead:]
	if seq != 0 || size < mysql.HeaderLen+1 || len(body) > size {
		return false
	}
	if inflated > 0 {
		if inflated <= mysql.HeaderLen || size > inflated+64 || !isZlib(body) || !d.inflate.begin(body) {
			return false
		}
		if body = d.inflate.next(peek); len(body) <= mysql.HeaderLen {
			return false
		}
		return mysql.Check(body, false) == mysql.IsRequest
	}
	n, _ := mysql.Header(body)
	return mysql.HeaderLen+n <= size && mysql.Check(body, lenient) == mysql.IsRequest
}

// againFrame is again for a compressed connection.
func (d *mysqlDriver) againFrame(st *mysqlState, in *input) shape {
	found := shapeRequest
	if !in.server {
		if !d.isFrame(in.p, true) {
			return shapeNo
		}
	} else {
		if len(in.p) < frameHead+mysql.HeaderLen+1 {
			return shapeNo
		}
		size, seq, inflated := frameHeader(in.p)
		body := in.p[frameHead:]
		if seq > 1 || size < mysql.HeaderLen+1 || inflated > 0 && !isZlib(body) ||
			inflated == 0 && mysql.CheckResponse(body) != mysql.IsResponse {
			return shapeNo
		}
		found, st.phase = shapeResponse, mysqlIdle
	}
	if st.inner != nil {
		st.inner[sideOf(in)].reset()
	}
	st.more[sideOf(in)] = false
	return found
}

func sideOf(in *input) Side {
	if in.server {
		return Server
	}
	return Client
}

func (is *innerStream) reset() { is.head, is.skip, is.lost = is.head[:0], 0, false }

// frame reads a compressed packet.
func (d *mysqlDriver) frame(c *Conn, st *mysqlState, in *input) (int, error) {
	p := in.p
	if len(p) < frameHead {
		return orNothing(p, in.cut), nil
	}
	size, seq, inflated := frameHeader(p)
	whole := frameHead + size
	if size == 0 || inflated > 0 && len(p) >= frameHead+3 && !isZlib(p[frameHead:]) && st.caps&mysql.CapZstd == 0 {
		return 0, mysql.ErrMalformed
	}
	if st.inner == nil {
		st.inner = &[2]innerStream{}
	}
	is := &st.inner[sideOf(in)]
	if is.lost {
		first := uint8(0) // the number begins anew with each command
		if in.server {
			first = 1
		}
		if seq != first {
			return whole, nil
		}
		is.reset()
		st.more[sideOf(in)] = false
		if in.server {
			st.phase = mysqlIdle
		}
	}
	if len(p) < whole {
		if !in.cut {
			return 0, nil
		}
		if !in.lost {
			d.t.m.DroppedBuffer++
		}
	}
	d.view, d.began = *in, false
	body := p[frameHead:min(len(p), whole)]
	if inflated == 0 {
		d.feed(c, st, is, body)
		is.lost = is.lost || len(p) < whole
		return whole, nil
	}
	total := 0
	if isZlib(body) && d.inflate.begin(body) { // else zstd
		total = d.inflated(c, st, is, inflated)
	}
	if total < inflated {
		is.lost = true
		if in.server && seq <= 1 && !d.began && st.phase == mysqlIdle { // a response all the same
			d.unreadable(c, st)
		}
	}
	return whole, nil
}

// inflated feeds what d.inflate gives, of size bytes as much as is looked at, and returns how much that was.
func (d *mysqlDriver) inflated(c *Conn, st *mysqlState, is *innerStream, size int) int {
	total, most := 0, min(size, maxInflated)
	for total < most && !is.lost && st.compress && !c.off {
		chunk := d.inflate.next(most - total)
		if len(chunk) == 0 {
			break
		}
		total += len(chunk)
		d.feed(c, st, is, chunk)
	}
	return total
}

// unreadable handles the beginning of a response that cannot be inflated.
func (d *mysqlDriver) unreadable(c *Conn, st *mysqlState) {
	if pd := c.waitingAt(d.view.atNanos); pd != nil {
		c.begin(pd, &d.view)
		st.paired = true
	}
}

// feed reads the next bytes of the stream of packets.
func (d *mysqlDriver) feed(c *Conn, st *mysqlState, is *innerStream, p []byte) {
	k := min(is.skip, int64(len(p)))
	is.skip -= k
	p = p[k:]
	if len(is.head) > 0 {
		d.join = append(append(d.join[:0], is.head...), p...)
		p, is.head = d.join, is.head[:0]
	}
	for len(p) > 0 && !c.off {
		n, err := d.packet(c, st, &d.view, p, false)
		if n == 0 && err == nil && len(p) > maxInnerHead { // its beginning will do
			n, err = d.packet(c, st, &d.view, p, true)
		}
		if err != nil {
			d.t.m.ParseFailures++
			is.lost = true
			return
		}
		if n == 0 {
			is.head = append(is.head[:0], p...)
			return
		}
		if n > len(p) {
			is.skip = int64(n - len(p))
			return
		}
		p = p[n:]
	}
}
