// Package wire is the way from an agent to a server: an agent's batches travel as frames over Arrow Flight, wait in a buffer
// on the agent's disk while the server is away, and are answered one by one. docs/format/wire.md has the protocol.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/apache/arrow/go/v15/arrow/flight"
)

const (
	protocolVersion = 1
	idBytes         = 16
	maxName         = 255
	maxReason       = 1 << 10
	// maxFrame bounds a frame, in bytes.
	maxFrame = 64 << 20
)

// MaxMessageBytes is the size of message, in bytes, that a gRPC server for agents has to permit.
const MaxMessageBytes = maxFrame + 4<<10

// path is the descriptor of the call.
var path = []string{"flowlake", "batches"}

// The codes of an answer.
const (
	codeStored  = 0
	codeRefused = 1
)

// ErrProtocol is returned when the other side does not speak this protocol.
var ErrProtocol = errors.New("not the batch protocol")

// hello is what an agent says first.
type hello struct {
	id   [idBytes]byte
	name string
}

func (h *hello) message() *flight.FlightData {
	b := append([]byte{protocolVersion}, h.id[:]...)
	return &flight.FlightData{FlightDescriptor: &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: path},
		AppMetadata: append(b, h.name[:min(len(h.name), maxName)]...)}
}

func parseHello(d *flight.FlightData) (h hello, err error) {
	if f := d.GetFlightDescriptor(); f.GetType() != flight.DescriptorPATH || !slices.Equal(f.GetPath(), path) {
		return h, fmt.Errorf("%w: the descriptor is not the path %s", ErrProtocol, strings.Join(path, "/"))
	}
	b := d.GetAppMetadata()
	switch {
	case len(b) == 0 || b[0] != protocolVersion:
		return h, fmt.Errorf("%w: version %d is wanted", ErrProtocol, protocolVersion)
	case len(b) < 1+idBytes || len(b) > 1+idBytes+maxName:
		return h, fmt.Errorf("%w: a greeting of %d bytes", ErrProtocol, len(b))
	}
	copy(h.id[:], b[1:])
	h.name = strings.ToValidUTF8(string(b[1+idBytes:]), "\uFFFD")
	return h, nil
}

// answer is what a server says of a frame, or, first of all, of what it has.
type answer struct {
	code   byte
	number uint64
	reason string // of a refusal
}

func (a *answer) message() *flight.PutResult {
	b := binary.LittleEndian.AppendUint64([]byte{a.code}, a.number)
	return &flight.PutResult{AppMetadata: append(b, a.reason[:min(len(a.reason), maxReason)]...)}
}

func parseAnswer(b []byte) (a answer, err error) {
	const head = 1 + 8
	if len(b) < head || len(b) > head+maxReason || b[0] > codeRefused {
		return a, fmt.Errorf("%w: an answer of %d bytes", ErrProtocol, len(b))
	}
	return answer{b[0], binary.LittleEndian.Uint64(b[1:]), strings.ToValidUTF8(string(b[head:]), "\uFFFD")}, nil
}

// number of a frame.
func parseNumber(b []byte) (uint64, error) {
	if len(b) != 8 {
		return 0, fmt.Errorf("%w: a frame number of %d bytes", ErrProtocol, len(b))
	}
	return binary.LittleEndian.Uint64(b), nil
}
