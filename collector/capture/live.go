package capture

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
)

// LiveOptions say what is captured from the network and through which buffers.
type LiveOptions struct {
	// Interface is the name of the interface. "" or "any": all, also those that appear later.
	Interface string
	// Select captures on the interfaces of a set, which may come and go; Interface is empty then. One socket serves all of
	// them: the kernel's filter is replaced when the set changes. The first packets of a new interface are missed, a
	// few milliseconds. Nil: what Interface says.
	Select *Selection
	// Namespace is the network namespace to capture in; it may be closed when the source is open. Nil: that of the calling
	// thread.
	Namespace *Namespace
	// SnapBytes is how much of each frame is captured, 64 to 262144 bytes; less costs less. Zero: 4096.
	SnapBytes int
	// BlockBytes is the size of a block of the kernel's ring, a multiple of 4096 and of the page size, at most 64 MiB.
	// A block is handed over when it is full or BlockTimeout has passed. Zero: 1 MiB.
	BlockBytes int
	// Blocks is their number, at least 2. Zero: 32.
	Blocks int
	// BlockTimeout is how long a frame waits at most in a block that does not fill up, 1 ms to 10 s. Zero: 50 ms.
	BlockTimeout time.Duration
	// BatchFrames is the largest number of frames in a batch. Zero: 256.
	BatchFrames int
	// Promiscuous also captures frames for other hosts. It needs Interface or Select.
	Promiscuous bool
	// Exclude leaves packets out that match one of the rules: one's own traffic. Empty: none.
	Exclude []Rule
	// Only, when not empty, leaves packets out that match none of these rules. Exclude wins.
	Only []Rule
	// Filter leaves packets out that it does not match, in the kernel; Exclude and Only come first. Nil: none.
	Filter *pcapfilter.Expr
}

// Rule matches IP packets of which one side, source or destination, has an address in Prefix and the port Port. It looks
// at the outermost IP header; a fragment without ports matches only rules without a port.
type Rule struct {
	// Prefix of addresses. The zero value: every address.
	Prefix netip.Prefix
	// Port of TCP or UDP. Zero: every port, and protocols without ports.
	Port uint16
	// Proto is the IP protocol number. Zero: every protocol.
	Proto uint8
}

const (
	defaultSnapBytes    = 4096
	minSnapBytes        = 64
	maxSnapBytes        = 256 << 10
	defaultBlockBytes   = 1 << 20
	maxBlockRingBytes   = 64 << 20
	defaultBlocks       = 32
	defaultBlockTimeout = 50 * time.Millisecond
	// AnyInterface names all interfaces.
	AnyInterface = "any"
)

// errOption begins every complaint about LiveOptions.
var errOption = errors.New("capture option")

// setDefaults fills in what is zero and checks the rest.
func (o *LiveOptions) setDefaults() error {
	if o.Interface == AnyInterface {
		o.Interface = ""
	}
	if o.SnapBytes == 0 {
		o.SnapBytes = defaultSnapBytes
	}
	if o.BlockBytes == 0 {
		o.BlockBytes = defaultBlockBytes
	}
	if o.Blocks == 0 {
		o.Blocks = defaultBlocks
	}
	if o.BlockTimeout == 0 {
		o.BlockTimeout = defaultBlockTimeout
	}
	if o.BatchFrames <= 0 {
		o.BatchFrames = defaultBatchFrames
	}
	switch {
	case o.SnapBytes < minSnapBytes || o.SnapBytes > maxSnapBytes:
		return fmt.Errorf("%w: snap length of %d bytes", errOption, o.SnapBytes)
	case o.BlockBytes < 4096 || o.BlockBytes%4096 != 0 || o.BlockBytes > maxBlockRingBytes:
		return fmt.Errorf("%w: block of %d bytes", errOption, o.BlockBytes)
	case o.Blocks < 2 || o.Blocks > 1<<16:
		return fmt.Errorf("%w: %d blocks", errOption, o.Blocks)
	case o.BlockTimeout < time.Millisecond || o.BlockTimeout > 10*time.Second:
		return fmt.Errorf("%w: block timeout %v", errOption, o.BlockTimeout)
	case o.Select != nil && o.Interface != "":
		return fmt.Errorf("%w: both the name of an interface and a selection", errOption)
	case o.Promiscuous && o.Interface == "" && o.Select == nil:
		return fmt.Errorf("%w: promiscuous needs the name of an interface", errOption)
	}
	for _, rules := range [][]Rule{o.Exclude, o.Only} {
		for _, r := range rules {
			if r == (Rule{}) {
				return fmt.Errorf("%w: a rule without prefix, port and protocol matches everything", errOption)
			}
		}
	}
	return nil
}
