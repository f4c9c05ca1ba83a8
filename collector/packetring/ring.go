// Package packetring keeps the packets of the last minutes or hours in a folder of bounded size, as pcapng files, and reads
// them back. docs/format/packet-ring.md has the format.
package packetring

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packet"
)

// Options configure a Ring.
type Options struct {
	// MaxBytes bounds the files altogether, at least 4 MiB. Required.
	MaxBytes int64
	// Error is told when files cannot be written or removed; default nobody. It is called by one goroutine at a time.
	Error func(error)
}

const (
	// MinBytes is the smallest size of a ring.
	MinBytes = 4 << 20

	minFileBytes = 1 << 20
	maxFileBytes = 64 << 20
	chunkBytes   = 256 << 10
	// maxChunks is how many chunks wait to be written at most.
	maxChunks  = 32
	flushEvery = time.Second
	// retryAfter is how long nothing is written after a failure.
	retryAfter = time.Second
	// maxInterfaces bounds the descriptions that every file begins with.
	maxInterfaces = 4096

	extension   = ".pcapng"
	application = "flowlake"
)

// Ring writes packets. Its methods may be called from several goroutines at a time, Close after all others.
type Ring struct {
	dir     string
	o       Options
	perFile int64

	mu    sync.Mutex // guards what follows
	ids   map[source]uint32
	heads []byte // descriptions of all interfaces so far
	chunk *chunk // is being filled; nil when there is none
	m     Metrics

	full chan *chunk // to the writer
	free chan *chunk // back from it
	done chan struct{}
	wg   sync.WaitGroup // the writer
	w    writer         // owned by the writer
}

// source is what an interface of the files stands for.
type source struct {
	namespace string
	index     uint32
	link      packet.LinkType
}

// chunk is encoded packets, and what has to precede them in a file that begins with them.
type chunk struct {
	b       []byte
	heads   []byte // borrowed from Ring.heads, which is only appended to
	first   int64  // time of the first packet
	packets int
}

// Metrics counts what a Ring has seen. All values but Files, DiskBytes and OldestNanos only grow.
type Metrics struct {
	// Packets and Bytes were written; Bytes are those of files.
	Packets, Bytes uint64
	// DroppedBuffer packets came when too many waited to be written, DroppedDisk could not be written.
	DroppedBuffer, DroppedDisk uint64
	// Files there are, of DiskBytes.
	Files     int
	DiskBytes int64
	// OldestNanos is the time of the first packet in the oldest file, 0 when there is none.
	OldestNanos int64
}

// Open makes the folder if need be and begins to write to it. One Ring at a time may have a folder.
func Open(dir string, opts ...func(*Options)) (*Ring, error) {
	var o Options
	for _, f := range opts {
		f(&o)
	}
	if o.MaxBytes < MinBytes {
		return nil, fmt.Errorf("open packet ring: %d bytes are less than %d", o.MaxBytes, MinBytes)
	}
	if o.Error == nil {
		o.Error = func(error) {}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open packet ring: %w", err)
	}
	files, err := list(dir)
	if err != nil {
		return nil, fmt.Errorf("open packet ring: %w", err)
	}
	r := newRing(dir, o, files)
	r.wg.Add(1)
	go func() { defer r.wg.Done(); r.w.run() }()
	return r, nil
}

// newRing is one whose writer does not run.
func newRing(dir string, o Options, files []file) *Ring {
	r := &Ring{dir: dir, o: o, perFile: min(max(o.MaxBytes/16, minFileBytes), maxFileBytes), ids: map[source]uint32{},
		full: make(chan *chunk, maxChunks), free: make(chan *chunk, maxChunks+2), done: make(chan struct{})}
	r.w = writer{r: r, files: files}
	for _, f := range files {
		r.w.total += f.size
		r.w.seq = max(r.w.seq, f.seq)
	}
	r.w.trim(0)
	r.w.note()
	return r
}

// Write takes frames of a source in; it never waits for the disk. namespace is "" or the name of the network namespace, which
// tells its interfaces from those of others; names has the names of interfaces by their index.
func (r *Ring) Write(namespace string, names map[uint32]string, frames []capture.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range frames {
		if !r.add(namespace, names, &frames[i]) {
			r.m.DroppedBuffer++
		}
	}
}

// add encodes a frame; false when there is no room. r.mu is held.
func (r *Ring) add(namespace string, names map[uint32]string, f *capture.Frame) bool {
	if r.chunk != nil && len(r.chunk.b) >= chunkBytes && !r.pass() {
		return false
	}
	if r.chunk == nil {
		select {
		case r.chunk = <-r.free:
		default:
			if len(r.full) == maxChunks {
				return false
			}
			r.chunk = &chunk{b: make([]byte, 0, chunkBytes+4<<10)}
		}
	}
	c := r.chunk
	if c.packets == 0 {
		c.b, c.heads, c.first = c.b[:0], r.heads, f.TimeNanos
	}
	s := source{namespace, f.Interface, f.Link}
	id, ok := r.ids[s]
	if !ok {
		if len(r.ids) == maxInterfaces {
			return false
		}
		id = uint32(len(r.ids))
		name := names[f.Interface]
		if name == "" {
			name = "if" + strconv.FormatUint(uint64(f.Interface), 10)
			if namespace != "" {
				name = namespace + "/" + name
			}
		}
		r.ids[s] = id
		r.heads = capture.AppendInterface(r.heads, name, f.Link)
		c.b = capture.AppendInterface(c.b, name, f.Link)
	}
	c.b = capture.AppendPacket(c.b, id, f)
	c.packets++
	if len(c.b) >= chunkBytes {
		r.pass()
	}
	return true
}

// pass gives the chunk to the writer, if there is room. A chunk is never dropped but with the file that it belongs to: those
// after it refer to interfaces that it may be the one to describe. r.mu is held.
func (r *Ring) pass() bool {
	select {
	case r.full <- r.chunk:
		r.chunk = nil
		return true
	default:
		return false
	}
}

// Metrics returns the counters.
func (r *Ring) Metrics() Metrics {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.m
}

// Close writes what waits and ends.
func (r *Ring) Close() error {
	close(r.done)
	r.wg.Wait()
	return r.w.end()
}

// file is a file of the ring.
type file struct {
	name  string
	seq   uint64
	first int64
	size  int64
}

// list finds the files of a ring, by their numbers.
func list(dir string) ([]file, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []file
	for _, e := range entries {
		base, ok := strings.CutSuffix(e.Name(), extension)
		seq, first, both := strings.Cut(base, "-")
		if !ok || !both || !e.Type().IsRegular() {
			continue
		}
		n, err1 := strconv.ParseUint(seq, 10, 64)
		t, err2 := strconv.ParseInt(first, 10, 64)
		info, err3 := e.Info()
		if err1 != nil || err2 != nil || err3 != nil { // not ours, or gone by now
			continue
		}
		out = append(out, file{e.Name(), n, t, info.Size()})
	}
	slices.SortFunc(out, func(a, b file) int { return cmp.Compare(a.seq, b.seq) })
	return out, nil
}

// writer writes chunks to files.
type writer struct {
	r     *Ring
	files []file // oldest first; the last one is f if that is open
	total int64  // bytes of files
	seq   uint64 // of the last file
	f     *os.File
	retry time.Time
}

func (w *writer) run() {
	flush := time.NewTicker(flushEvery)
	defer flush.Stop()
	for {
		select {
		case c := <-w.r.full:
			w.write(c)
		case <-flush.C:
			w.flush()
		case <-w.r.done:
			w.flush()
			return
		}
	}
}

// flush writes all that there is.
func (w *writer) flush() {
	for passed := false; !passed; {
		w.r.mu.Lock()
		passed = w.r.chunk == nil || w.r.chunk.packets == 0 || w.r.pass()
		n := len(w.r.full)
		w.r.mu.Unlock()
		for range n {
			w.write(<-w.r.full)
		}
	}
}

// write appends a chunk to the file, or begins another one with it.
func (w *writer) write(c *chunk) {
	if c.packets > 0 {
		n, err := w.append(c)
		w.r.mu.Lock()
		if err != nil {
			w.r.m.DroppedDisk += uint64(c.packets)
		} else {
			w.r.m.Packets += uint64(c.packets)
			w.r.m.Bytes += uint64(n)
		}
		w.r.mu.Unlock()
		w.note()
		if err != nil && !errors.Is(err, errWaiting) {
			w.r.o.Error(fmt.Errorf("packet ring: %w", err))
		}
	}
	c.packets = 0
	select {
	case w.r.free <- c:
	default:
	}
}

// errWaiting is returned while nothing is written because of a failure before.
var errWaiting = errors.New("waiting after a failure")

func (w *writer) append(c *chunk) (int, error) {
	if time.Now().Before(w.retry) {
		return 0, errWaiting
	}
	if w.f != nil && w.files[len(w.files)-1].size+int64(len(c.b)) > w.r.perFile {
		if err := w.end(); err != nil {
			return 0, w.fail(err)
		}
	}
	var head []byte
	if w.f == nil {
		w.trim(max(w.r.perFile, int64(len(c.heads)+len(c.b))))
		w.seq++
		name := fmt.Sprintf("%010d-%019d%s", w.seq, max(c.first, 0), extension)
		f, err := os.OpenFile(filepath.Join(w.r.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return 0, w.fail(err)
		}
		w.f = f
		w.files = append(w.files, file{name: name, seq: w.seq, first: max(c.first, 0)})
		head = append(capture.AppendSection(nil, application), c.heads...)
	}
	n := 0
	for _, b := range [][]byte{head, c.b} {
		k, err := w.f.Write(b)
		n += k
		w.files[len(w.files)-1].size += int64(k)
		w.total += int64(k)
		if err != nil {
			return n, w.fail(err)
		}
	}
	return n, nil
}

// fail ends the file, which may end within a block now, and waits a while.
func (w *writer) fail(err error) error {
	w.retry = time.Now().Add(retryAfter)
	return errors.Join(err, w.end())
}

func (w *writer) end() error {
	if w.f == nil {
		return nil
	}
	err := w.f.Close()
	w.f = nil
	return err
}

// trim removes the oldest files until there is room for so many bytes more.
func (w *writer) trim(room int64) {
	for len(w.files) > 0 && w.total+room > w.r.o.MaxBytes {
		err := os.Remove(filepath.Join(w.r.dir, w.files[0].name))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			w.r.o.Error(fmt.Errorf("packet ring: %w", err))
			return // the ring is larger than it should be until it can be removed
		}
		w.total -= w.files[0].size
		w.files = w.files[1:]
	}
}

// note updates the metrics of what is on disk.
func (w *writer) note() {
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	w.r.m.Files, w.r.m.DiskBytes, w.r.m.OldestNanos = len(w.files), w.total, 0
	if len(w.files) > 0 {
		w.r.m.OldestNanos = w.files[0].first
	}
}
