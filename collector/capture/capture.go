// Package capture delivers frames in batches: live from network interfaces (Linux AF_PACKET) and from pcap and pcapng
// files.
package capture

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowlake/flowlake/collector/packet"
)

var (
	// ErrPermission is returned when the process may not capture.
	ErrPermission = errors.New("capture: not permitted")
	// ErrUnsupported is returned where this platform, or a capture's kind of link, is not supported.
	ErrUnsupported = errors.New("capture: not supported")
	// ErrNoInterface is returned when the named interface does not exist, or has gone away.
	ErrNoInterface = errors.New("capture: no such interface")
	// ErrNotCapture is returned for a file that is neither pcap nor pcapng.
	ErrNotCapture = errors.New("capture: neither a pcap nor a pcapng file")
	// ErrTruncated is returned when a file ends within a packet; what came before was delivered.
	ErrTruncated = errors.New("capture: file ends within a record")
	// ErrCorrupt is returned when a length or number in a file cannot be; what came before was delivered.
	ErrCorrupt = errors.New("capture: corrupt record")
	// ErrBusy is returned by Run while another Run of the same source goes on, and by a second Run of a file.
	ErrBusy = errors.New("capture: source is already being read")
	// ErrClosed is returned by Run of a closed source.
	ErrClosed = errors.New("capture: source is closed")
)

// Frame is one captured frame.
type Frame struct {
	// Data is what was captured, from the link header on. It is borrowed: valid until the callback returns.
	Data []byte
	// TimeNanos is the capture time, Unix nanoseconds.
	TimeNanos int64
	// WireLen is the length on the wire in bytes, without a VLAN tag that the network card took off; >= len(Data).
	WireLen int
	// Interface is the kernel's interface index; in pcapng files the number of the interface in the file, from 1; in
	// pcap files 0, or the recorded index where the format has one.
	Interface uint32
	// VLAN is the 802.1Q id of the outermost tag when the network card or the kernel took it off the frame; otherwise 0
	// and the tag, if any, is in Data.
	VLAN uint16
	// Link says with which header Data begins.
	Link packet.LinkType
}

// Decode decodes the frame into p, with its time, interface and a tag that was taken off.
func (f *Frame) Decode(d *packet.Decoder, p *packet.Packet) error {
	p.TimeNanos, p.Interface = f.TimeNanos, f.Interface
	return d.DecodeTagged(p, f.Data, f.WireLen, f.Link, f.VLAN)
}

// Batch is what a callback gets: at least one frame, in the order of capture. Batch and frames are borrowed.
type Batch struct {
	Frames []Frame
}

// Metrics counts what a Source has seen. All values only grow.
type Metrics struct {
	// Packets and Bytes were handed out; Bytes counts what was captured.
	Packets, Bytes uint64
	// KernelDrops were lost because the ring was full: the callback was too slow.
	KernelDrops uint64
	// Freezes is how often the ring was full.
	Freezes uint64
	// Ignored frames came from a kind of link that cannot be decoded.
	Ignored uint64
	// Filtered frames of a file were left out by FileOptions.Filter. Frames that the kernel's filter rejects are not seen
	// and not counted.
	Filtered uint64
}

// Source is where frames come from.
type Source interface {
	// Run calls fn with one batch after the other, from this goroutine, until the source ends or is closed (nil), ctx
	// ends (its error), fn fails (its error), or reading fails. fn is to be quick: while it runs, frames of a live
	// source pile up in the kernel.
	Run(ctx context.Context, fn func(*Batch) error) error
	// Metrics returns the counters; it may be called at any time, also after Close.
	Metrics() Metrics
	// Close ends Run, waits for it and gives everything back. It must not be called from fn.
	Close() error
}

var (
	_ Source = (*Live)(nil)
	_ Source = (*File)(nil)
)

// FileError says where in a capture file reading ended.
type FileError struct {
	// Name of the file, or "" for a reader.
	Name string
	// Offset in bytes of the record in the (uncompressed) capture.
	Offset int64
	// Packets that were read before it.
	Packets uint64
	// Err is the cause: ErrTruncated, ErrCorrupt or an I/O error, with details.
	Err error
}

func (e *FileError) Error() string {
	name := e.Name
	if name == "" {
		name = "capture"
	}
	return fmt.Sprintf("read %s at offset %d, after %d packets: %v", name, e.Offset, e.Packets, e.Err)
}

// Unwrap returns the cause.
func (e *FileError) Unwrap() error { return e.Err }
