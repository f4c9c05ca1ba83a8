package mongodb

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Compressor says how an OP_COMPRESSED is compressed.
type Compressor uint8

// Compressors.
const (
	Noop Compressor = iota
	Snappy
	Zlib
	Zstd
)

// Inflater inflates the beginnings of messages. The zero value is ready; it keeps its memory and is not safe for concurrent
// use.
type Inflater struct {
	src  bytes.Reader
	zlib io.ReadCloser
	zstd *zstd.Decoder
	out  []byte
}

// maxWindow bounds what a Zstandard frame may ask to be kept, in bytes.
const maxWindow = 8 << 20

// Inflate inflates p, which may be cut, up to limit bytes. The result is valid until the next call. An error means that
// nothing could be inflated.
func (f *Inflater) Inflate(c Compressor, p []byte, limit int) ([]byte, error) {
	if cap(f.out) < limit {
		f.out = make([]byte, 0, limit)
	}
	f.out = f.out[:0]
	var err error
	switch c {
	case Noop:
		return p[:min(len(p), limit)], nil
	case Snappy:
		f.out, err = appendSnappy(f.out, p, limit)
	case Zlib:
		err = f.inflateZlib(p, limit)
	case Zstd:
		err = f.inflateZstd(p, limit)
	default:
		err = ErrMalformed
	}
	if len(f.out) == 0 && err != nil {
		return nil, fmt.Errorf("inflate message: %w", err)
	}
	return f.out, nil
}

func (f *Inflater) inflateZlib(p []byte, limit int) (err error) {
	f.src.Reset(p)
	if f.zlib == nil {
		if f.zlib, err = zlib.NewReader(&f.src); err != nil {
			f.zlib = nil
			return err
		}
	} else if err := f.zlib.(zlib.Resetter).Reset(&f.src, nil); err != nil {
		return err
	}
	return f.read(f.zlib, limit)
}

func (f *Inflater) inflateZstd(p []byte, limit int) (err error) {
	f.src.Reset(p)
	if f.zstd == nil { // with a concurrency of 1 it has no goroutines
		f.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return err
		}
	}
	if err := f.zstd.Reset(&f.src); err != nil {
		return err
	}
	return f.read(f.zstd, limit)
}

// read fills f.out from r. That the source ends early is no error.
func (f *Inflater) read(r io.Reader, limit int) error {
	n, err := io.ReadFull(r, f.out[:limit])
	f.out = f.out[:n]
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// appendSnappy inflates a Snappy block (google/snappy format_description.txt) as far as p and limit go.
func appendSnappy(dst, p []byte, limit int) ([]byte, error) {
	size, n := binary.Uvarint(p)
	if n <= 0 || size > maxMessage {
		return dst, ErrMalformed
	}
	limit = min(limit, int(size))
	for p = p[n:]; len(p) > 0 && len(dst) < limit; {
		tag := p[0]
		length, extra := int(tag>>2)+1, 1
		if tag&3 == 0 {
			if length > 60 {
				extra += length - 60
				length = 1
				for i := 1; i < min(extra, len(p)); i++ {
					length += int(p[i]) << (8 * (i - 1))
				}
			}
			if extra >= len(p) {
				return dst, nil
			}
			if length <= 0 || length > maxMessage {
				return dst, ErrMalformed
			}
			p = p[extra:]
			have := min(length, len(p))
			dst = append(dst, p[:min(have, limit-len(dst))]...)
			p = p[have:]
			continue
		}
		offset := 0
		switch tag & 3 {
		case 1:
			length, extra = int(tag>>2&7)+4, 2
		case 2:
			extra = 3
		case 3:
			extra = 5
		}
		if extra > len(p) {
			return dst, nil
		}
		for i := 1; i < extra; i++ {
			offset |= int(p[i]) << (8 * (i - 1))
		}
		if tag&3 == 1 {
			offset |= int(tag>>5) << 8
		}
		if offset <= 0 || offset > len(dst) {
			return dst, ErrMalformed
		}
		p = p[extra:]
		for range min(length, limit-len(dst)) {
			dst = append(dst, dst[len(dst)-offset])
		}
	}
	return dst, nil
}
