package capture

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/gzip"

	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/collector/packet"
)

// FileOptions say how a capture file is read.
type FileOptions struct {
	// BatchFrames is the largest number of frames in a batch. Zero: 256.
	BatchFrames int
	// Progress, when set, is called by Run now and then with the bytes read of the file as it lies on disk, and its
	// size (0: unknown, as for pipes). The last call of a Run that reached the end has read == total.
	Progress func(read, total int64)
	// Filter leaves frames out that it does not match. An expression that does not go with the kind of link of a frame
	// (see pcapfilter.Expr.Compile) ends Run with an error. Nil: none.
	Filter *pcapfilter.Expr
}

const (
	defaultBatchFrames = 256
	// fileBufferBytes is read at once, few enough to stay in a cache: 34 ns a packet, 64 ns with 512 KiB. The buffer
	// grows to the largest record, at most maxBlockBytes.
	fileBufferBytes = 128 << 10
)

// File is a Source that reads a pcap or pcapng file once.
type File struct {
	o      FileOptions
	name   string
	total  int64
	raw    countingReader
	in     io.Reader // raw, or what gzip makes of it
	closer io.Closer // nil for readers

	run    sync.Mutex // held by Run
	done   bool       // guarded by run
	closed atomic.Bool

	format format
	buf    []byte // buf[r:w] is read and not yet parsed
	r, w   int
	offset int64 // of buf[r] in the capture
	batch  Batch
	filter fileFilter

	packets, bytes, ignored, filtered atomic.Uint64
}

// fileFilter compiles an expression for the kinds of links as they come.
type fileFilter struct {
	programs map[packet.LinkType]*pcapfilter.Program
	link     packet.LinkType // of last
	last     *pcapfilter.Program
}

// match says whether the expression matches a frame.
func (c *fileFilter) match(e *pcapfilter.Expr, f *Frame) (bool, error) {
	if c.last == nil || f.Link != c.link {
		p := c.programs[f.Link]
		if p == nil {
			var err error
			if p, err = e.Compile(f.Link); err != nil {
				return false, err
			}
			if c.programs == nil {
				c.programs = map[packet.LinkType]*pcapfilter.Program{}
			}
			c.programs[f.Link] = p
		}
		c.last, c.link = p, f.Link
	}
	return c.last.Match(f.Data, f.WireLen), nil
}

type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// OpenFile opens a capture file: pcap (micro- or nanoseconds, either byte order, also the modified variant) or pcapng,
// plain or gzip'ed. It reads the file header and fails with ErrNotCapture on anything else.
func OpenFile(name string, opts ...func(*FileOptions)) (*File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	var size int64
	st, err := f.Stat()
	if err == nil && st.IsDir() {
		err = errors.New("is a directory")
	}
	if err == nil && st.Mode().IsRegular() {
		size = st.Size()
	}
	var s *File
	if err == nil {
		s, err = newFile(f, name, size, opts)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open capture %s: %w", name, err)
	}
	s.closer = f
	return s, nil
}

// NewReader reads a capture like OpenFile, from r. Close does not close r.
func NewReader(r io.Reader, opts ...func(*FileOptions)) (*File, error) {
	s, err := newFile(r, "", 0, opts)
	if err != nil {
		return nil, fmt.Errorf("open capture: %w", err)
	}
	return s, nil
}

func newFile(r io.Reader, name string, total int64, opts []func(*FileOptions)) (*File, error) {
	s := &File{name: name, total: total}
	for _, f := range opts {
		f(&s.o)
	}
	if s.o.BatchFrames <= 0 {
		s.o.BatchFrames = defaultBatchFrames
	}
	s.raw.r = r
	br := bufio.NewReaderSize(&s.raw, 16<<10)
	s.in = br
	if magic, _ := br.Peek(2); string(magic) == "\x1f\x8b" {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNotCapture, err)
		}
		s.in = z
	}
	s.buf = make([]byte, fileBufferBytes)
	if err := s.fill(pcapFileHeader); err != nil && !isTruncation(err) {
		if badGzip(err) {
			err = fmt.Errorf("%w: %w", ErrNotCapture, err)
		}
		return nil, err
	}
	var err error
	if s.format, s.r, err = newFormat(s.buf[:s.w]); err != nil {
		return nil, err
	}
	s.offset = int64(s.r)
	s.batch.Frames = make([]Frame, 0, s.o.BatchFrames)
	return s, nil
}

// Run delivers the frames of the file; it can be called once. An error that has to do with the file is a *FileError.
func (s *File) Run(ctx context.Context, fn func(*Batch) error) error {
	if !s.run.TryLock() {
		return ErrBusy
	}
	defer s.run.Unlock()
	if s.closed.Load() {
		return ErrClosed
	}
	if s.done {
		return ErrBusy
	}
	s.done = true
	err := s.read(ctx, fn)
	if errors.Is(err, errStop) {
		return nil
	}
	if err == nil {
		s.progress()
	}
	return err
}

// errStop ends read when the file was closed.
var errStop = errors.New("closed")

func (s *File) read(ctx context.Context, fn func(*Batch) error) error {
	var f Frame
	for {
		st, err := s.format.next(s.buf[s.r:s.w], &f)
		switch have := int64(s.w - s.r); {
		case err != nil:
		case st.skip:
			err = s.skip(ctx, fn, st.size)
		case st.size > have:
			// The buffer is about to move: what points into it goes out first.
			if err := s.flush(ctx, fn); err != nil {
				return err
			}
			if err = s.fill(int(st.size)); errors.Is(err, io.EOF) {
				return nil
			}
		default:
			s.r += int(st.size)
			s.offset += st.size
			if st.frame {
				err = s.add(ctx, fn, &f)
			}
		}
		if err == nil {
			continue
		}
		var ours *callbackError
		if errors.As(err, &ours) {
			return ours.err
		}
		if err := s.flush(ctx, fn); err != nil {
			return err
		}
		if s.closed.Load() {
			return errStop
		}
		return &FileError{Name: s.name, Offset: s.offset, Packets: s.packets.Load() + s.ignored.Load() + s.filtered.Load(), Err: err}
	}
}

// callbackError marks an error that is to be returned as it is.
type callbackError struct{ err error }

func (e *callbackError) Error() string { return e.err.Error() }

// add appends a frame to the batch and delivers it when it is full.
func (s *File) add(ctx context.Context, fn func(*Batch) error, f *Frame) error {
	if !f.Link.Supported() {
		s.ignored.Add(1)
		return nil
	}
	if s.o.Filter != nil {
		ok, err := s.filter.match(s.o.Filter, f)
		if err != nil {
			return &callbackError{err}
		}
		if !ok {
			s.filtered.Add(1)
			return nil
		}
	}
	s.batch.Frames = append(s.batch.Frames, *f)
	if len(s.batch.Frames) < s.o.BatchFrames {
		return nil
	}
	if err := s.flush(ctx, fn); err != nil {
		return &callbackError{err}
	}
	return nil
}

// flush delivers what is in the batch.
func (s *File) flush(ctx context.Context, fn func(*Batch) error) error {
	if s.closed.Load() {
		return errStop
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	n := len(s.batch.Frames)
	if n == 0 {
		return nil
	}
	size := 0
	for i := range s.batch.Frames {
		size += len(s.batch.Frames[i].Data)
	}
	err := fn(&s.batch)
	s.batch.Frames = s.batch.Frames[:0]
	s.packets.Add(uint64(n))
	s.bytes.Add(uint64(size))
	return err
}

// fill makes buf[r:w] hold at least n bytes, n <= maxBlockBytes. io.EOF: the file ended before the first of them.
func (s *File) fill(n int) error {
	s.progress()
	copy(s.buf, s.buf[s.r:s.w])
	s.r, s.w = 0, s.w-s.r
	if n > len(s.buf) {
		buf := make([]byte, n)
		copy(buf, s.buf[:s.w])
		s.buf = buf
	}
	got, err := io.ReadAtLeast(s.in, s.buf[s.w:], n-s.w)
	s.w += got
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF) && s.w == 0:
		return io.EOF
	case isTruncation(err):
		return fmt.Errorf("%w: %d bytes of %d", ErrTruncated, s.w, n)
	case badGzip(err):
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return err
}

// skip passes over a record of any size without holding it.
func (s *File) skip(ctx context.Context, fn func(*Batch) error, size int64) error {
	here := min(size, int64(s.w-s.r))
	s.r += int(here)
	left := size - here
	for left > 0 {
		if err := s.flush(ctx, fn); err != nil {
			return &callbackError{err}
		}
		s.progress()
		s.r, s.w = 0, 0
		got, err := s.in.Read(s.buf[:min(left, int64(len(s.buf)))])
		left -= int64(got)
		if err != nil && left > 0 {
			if errors.Is(err, io.EOF) || isTruncation(err) {
				err = fmt.Errorf("%w: %d bytes of %d", ErrTruncated, size-left, size)
			} else if badGzip(err) {
				err = fmt.Errorf("%w: %w", ErrCorrupt, err)
			}
			return err
		}
	}
	s.offset += size
	return nil
}

func isTruncation(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrTruncated)
}

func badGzip(err error) bool {
	var bad flate.CorruptInputError
	return errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) || errors.As(err, &bad)
}

func (s *File) progress() {
	if s.o.Progress != nil {
		s.o.Progress(s.raw.n.Load(), s.total)
	}
}

// Metrics returns the counters.
func (s *File) Metrics() Metrics {
	return Metrics{Packets: s.packets.Load(), Bytes: s.bytes.Load(), Ignored: s.ignored.Load(), Filtered: s.filtered.Load()}
}

// InterfaceName is the name of an interface, by its number in frames; "" when the file has none. It is for the callback of Run.
func (s *File) InterfaceName(n uint32) string {
	if f, ok := s.format.(*ngFormat); ok {
		return f.names[n]
	}
	return ""
}

// Close ends Run at its next batch, also when it waits for a pipe, waits for it and closes the file.
func (s *File) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	var err error
	if s.closer != nil {
		err = s.closer.Close()
	}
	s.run.Lock() // until Run has ended
	defer s.run.Unlock()
	if err != nil {
		return fmt.Errorf("close capture %s: %w", s.name, err)
	}
	return nil
}
