package flow

import "github.com/flowlake/flowlake/collector/l7"

// Metrics counts what a Table has seen and dropped since it was made. Open, Services, Fragments and the bytes are present
// values.
type Metrics struct {
	Open       int // flows
	Services   int // endpoints in the service table
	Fragments  int // datagrams in the fragment table
	TableBytes int // memory of flows, their index, their sequence ranges and open seconds; without application protocols

	Packets uint64 // handed in, those below included
	Reports uint64 // handed out
	Created uint64 // flows
	Closed  uint64 // flows, for whatever reason
	// ClosedBy splits Closed by close type.
	ClosedBy [numCloseTypes]uint64
	// Evicted flows ended early because of MaxFlows; Reused ones because a new connection took their ports.
	Evicted, Reused uint64
	// EarlySeconds is how often what flows did in a second was told before it was over, because too many had traffic.
	EarlySeconds uint64
	// LateSeconds is how often a packet belonged to an earlier second than the packets before it.
	LateSeconds uint64
	// SetBack is how often the clock was set back, which ends all flows: a Tick or many packets in a row were older than
	// MaxDisorder.
	SetBack uint64
	// Reversed flows turned out to be the other way round after their first packet.
	Reversed uint64

	// Packets that were ignored altogether, by cause: a time before 1970 or after 2103; older than MaxDisorder; a later
	// fragment whose first is not known.
	IgnoredTime, IgnoredLate, IgnoredFragment uint64
	// Packets that were counted in their flow but not measured, by cause: flags that make no sense; older than the flow's
	// newest packet; data that overlaps what was seen without repeating it.
	UnmeasuredFlags, UnmeasuredLate, UnmeasuredOverlap uint64
	// EvictedServices and EvictedFragments were forgotten for want of room.
	EvictedServices, EvictedFragments uint64

	L7 l7.Metrics
}
