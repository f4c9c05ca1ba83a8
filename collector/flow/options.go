package flow

import (
	"time"

	"github.com/flowlake/flowlake/collector/l7"
)

// Timeouts say how long a flow lives after its last packet, by the state it is in. A zero field means the default.
type Timeouts struct {
	// Opening is for a handshake under way, for one answered wrongly, and for the first packets of flows other than TCP.
	// Default 5 s.
	Opening time.Duration
	// SingleDirection is for a TCP flow of which only one side was seen, whatever its state. Default 5 s.
	SingleDirection time.Duration
	// Exception is for flag combinations that make no sense, and for what follows an end by RST. Default 5 s.
	Exception time.Duration
	// Established is for an open TCP connection. Default 300 s.
	Established time.Duration
	// EstablishedRST is for an established connection that was reset, and for flows of other protocols than TCP and UDP
	// once both sides were seen. Default 35 s.
	EstablishedRST time.Duration
	// Closing is for a connection of which one side said FIN, and for UDP once both sides were seen. Default 35 s.
	Closing time.Duration
	// OpeningRST is for a handshake that the client ended with RST after the SYN-ACK. Default 1 s.
	OpeningRST time.Duration
	// ClosedFIN is for a connection that both sides closed. Default 2 s.
	ClosedFIN time.Duration
	// Answered is for a UDP flow of a known application protocol that waits for no response: a name look-up is over when
	// it is answered. Default: Closing.
	Answered time.Duration
}

// Options configure a Table. The zero value is ready for use.
type Options struct {
	// Timeouts end idle flows.
	Timeouts Timeouts
	// MaxFlows bounds the flows open at once, and with it the memory (about 512 bytes each, without the state of
	// application protocols). Beyond it the flow that is next to time out ends early and is counted. Default 1<<20.
	MaxFlows int
	// ReportInterval is how often an open flow is reported: at each multiple of it since the epoch. It is rounded up to
	// whole seconds. Default 1 min.
	ReportInterval time.Duration
	// FirstReport makes each flow report once this long after its first packet, for those who watch live; 0 waits for
	// the end of the ReportInterval or of the flow.
	FirstReport time.Duration
	// MaxDisorder is how much older than the newest packet a packet may be. Older ones are ignored and counted; after 128
	// of them in a row the clock is taken to have been set back.
	// Default 10 s.
	MaxDisorder time.Duration
	// KeyByInterface keeps the packets of different interfaces in different flows. Default false.
	KeyByInterface bool
	// Agent is mixed into the flow ids, so that two agents that see the same flow give it different ids. Default 0.
	Agent uint64
	// ServerPorts are TCP and UDP ports that are known to belong to servers (direction score 253). Default none.
	ServerPorts []uint16
	// ServiceTableSize bounds the (address, port) pairs remembered for telling servers from clients. Default 65536.
	ServiceTableSize int
	// FragmentTableSize bounds the datagrams whose later fragments are attributed to their flow. Default 4096.
	FragmentTableSize int
	// Seconds is told what flows did second by second. Default nobody.
	Seconds SecondHandler
	// DisableL7 leaves application protocols alone.
	DisableL7 bool
	// L7 are the options of the application protocols.
	L7 l7.Options
}

func orDefault(d *time.Duration, def time.Duration) {
	if *d <= 0 {
		*d = def
	}
}

// withDefaults fills in what is zero and bounds what is not.
func (o Options) withDefaults() Options {
	orDefault(&o.Timeouts.Opening, 5*time.Second)
	orDefault(&o.Timeouts.SingleDirection, 5*time.Second)
	orDefault(&o.Timeouts.Exception, 5*time.Second)
	orDefault(&o.Timeouts.Established, 300*time.Second)
	orDefault(&o.Timeouts.EstablishedRST, 35*time.Second)
	orDefault(&o.Timeouts.Closing, 35*time.Second)
	orDefault(&o.Timeouts.OpeningRST, time.Second)
	orDefault(&o.Timeouts.ClosedFIN, 2*time.Second)
	orDefault(&o.Timeouts.Answered, o.Timeouts.Closing)
	orDefault(&o.ReportInterval, time.Minute)
	orDefault(&o.MaxDisorder, 10*time.Second)
	o.ReportInterval = (o.ReportInterval + time.Second - 1).Truncate(time.Second)
	if o.FirstReport < 0 {
		o.FirstReport = 0
	}
	if o.MaxFlows <= 0 {
		o.MaxFlows = 1 << 20
	}
	o.MaxFlows = min(o.MaxFlows, 1<<30)
	if o.ServiceTableSize <= 0 {
		o.ServiceTableSize = 1 << 16
	}
	if o.FragmentTableSize <= 0 {
		o.FragmentTableSize = 1 << 12
	}
	return o
}
