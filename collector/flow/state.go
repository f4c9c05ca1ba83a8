package flow

import "github.com/flowlake/flowlake/collector/packet"

// CloseType says how a flow ended, or that it is still open. The numbers are those of DeepFlow's close_type.
type CloseType uint8

// Close types.
const (
	CloseOther                CloseType = 0
	CloseNormal               CloseType = 1
	CloseServerRST            CloseType = 2
	CloseTransferTimeout      CloseType = 3
	CloseForcedReport         CloseType = 5
	CloseServerSYNMiss        CloseType = 7
	CloseServerHalfClose      CloseType = 8
	CloseClientRST            CloseType = 9
	CloseClientACKMiss        CloseType = 10
	CloseClientHalfClose      CloseType = 11
	CloseClientPortReuse      CloseType = 13
	CloseServerDirectRST      CloseType = 15
	CloseServerQueueOverflow  CloseType = 17
	CloseClientEstablishRST   CloseType = 18
	CloseServerEstablishRST   CloseType = 19
	CloseNormalClientRST      CloseType = 20
	numCloseTypes                       = 21
	minServerPacketsQueueLack           = 3 // a server's RST after more packets than this means its queue was full
)

var closeNames = [numCloseTypes]string{
	CloseOther:               "other",
	CloseNormal:              "normal",
	CloseServerRST:           "server_rst",
	CloseTransferTimeout:     "transfer_timeout",
	CloseForcedReport:        "forced_report",
	CloseServerSYNMiss:       "server_syn_miss",
	CloseServerHalfClose:     "server_half_close",
	CloseClientRST:           "client_rst",
	CloseClientACKMiss:       "client_ack_miss",
	CloseClientHalfClose:     "client_half_close",
	CloseClientPortReuse:     "client_port_reuse",
	CloseServerDirectRST:     "server_direct_rst",
	CloseServerQueueOverflow: "server_queue_overflow",
	CloseClientEstablishRST:  "client_establish_rst",
	CloseServerEstablishRST:  "server_establish_rst",
	CloseNormalClientRST:     "normal_client_rst",
}

// String is the word stored in close_type.
func (c CloseType) String() string {
	if int(c) < len(closeNames) && closeNames[c] != "" {
		return closeNames[c]
	}
	return "other"
}

// Status is whose fault the end of a flow is.
type Status uint8

// Statuses.
const (
	StatusOK Status = iota
	StatusClientError
	StatusServerError
	StatusUnknown // the flow did not follow the protocol
)

// String is the word stored in status.
func (s Status) String() string {
	switch s {
	case StatusOK:
		return "ok"
	case StatusClientError:
		return "client_error"
	case StatusServerError:
		return "server_error"
	}
	return "unknown"
}

// Status is whose fault it is that a flow ended like this.
func (c CloseType) Status() Status {
	switch c {
	case CloseClientRST, CloseClientHalfClose, CloseClientPortReuse, CloseClientACKMiss, CloseClientEstablishRST:
		return StatusClientError
	case CloseServerRST, CloseTransferTimeout, CloseServerHalfClose, CloseServerDirectRST, CloseServerQueueOverflow,
		CloseServerEstablishRST, CloseServerSYNMiss:
		return StatusServerError
	case CloseNormal, CloseForcedReport, CloseNormalClientRST:
		return StatusOK
	}
	return StatusUnknown
}

// tcpState is where a TCP connection is in its life, as DeepFlow tells them apart (agent/src/flow_generator/flow_state.rs).
type tcpState uint8

const (
	stateRaw            tcpState = iota // no packet yet
	stateOpening1                       // SYN
	stateOpening2                       // SYN, SYN-ACK
	stateEstablished                    //
	stateClosingTx1                     // FIN of the client
	stateClosingTx2                     // FIN of the client, then of the server
	stateClosingRx1                     // FIN of the server
	stateClosingRx2                     // FIN of the server, then of the client
	stateClosed                         // both FIN acknowledged
	stateReset                          // RST after the handshake
	stateException                      // flags that make no sense
	stateServerReset                    // SYN, RST of the server
	stateQueueLack                      // SYN-ACK repeated in vain, then RST of the server
	statePortReuse                      // SYN, ACK of the server, RST of the client
	stateSYN1                           // SYN, ACK of the server
	stateSYNACK1                        // established for the client, but the server repeats its SYN-ACK
	stateEstablishReset                 // RST within the handshake
	stateOpeningRST                     // SYN, SYN-ACK, RST of the client
	numStates
)

// flagClass groups the flag combinations that the state machine tells apart.
type flagClass uint8

const (
	classSYN flagClass = iota
	classSYNACK
	classFIN
	classRST
	classACK // ACK alone, with or without payload
	classPSH // ACK with PSH or URG
	numClasses
	classInvalid = numClasses
)

// flagClasses maps the low six flag bits to their class.
var flagClasses = func() (c [64]flagClass) {
	const pshURG = packet.FlagPSH | packet.FlagURG
	for f := range c {
		c[f] = classInvalid
		bare := f &^ pshURG
		switch {
		case f == packet.FlagSYN:
			c[f] = classSYN
		case f == packet.FlagSYN|packet.FlagACK:
			c[f] = classSYNACK
		case f == packet.FlagFIN, bare == packet.FlagFIN|packet.FlagACK:
			c[f] = classFIN
		case f == packet.FlagRST, bare == packet.FlagRST|packet.FlagACK:
			c[f] = classRST
		case f == packet.FlagACK:
			c[f] = classACK
		case bare == packet.FlagACK:
			c[f] = classPSH
		}
	}
	return c
}()

// timeoutKind indexes Table.timeouts.
type timeoutKind uint8

const (
	timeoutOpening timeoutKind = iota
	timeoutSingle
	timeoutException
	timeoutEstablished
	timeoutEstablishedRST
	timeoutClosing
	timeoutOpeningRST
	timeoutClosedFIN
	timeoutAnswered
	numTimeouts
)

// transition is what a packet makes of a state. The zero value means: not in this table.
type transition struct {
	next    tcpState
	timeout timeoutKind
	set     bool
}

func to(s tcpState, t timeoutKind) transition { return transition{s, t, true} }

// transitions[dir][state][class] with dir 0 for packets of the client. What a server's table lacks is looked up in the
// client's; what that lacks is an exception.
var transitions = buildTransitions()

func buildTransitions() (tr [2][numStates][numClasses]transition) {
	const est = timeoutEstablished
	var (
		none      transition
		opening1  = to(stateOpening1, timeoutOpening)
		opening2  = to(stateOpening2, timeoutOpening)
		estab     = to(stateEstablished, est)
		tx1       = to(stateClosingTx1, timeoutClosing)
		tx2       = to(stateClosingTx2, timeoutClosing)
		rx1       = to(stateClosingRx1, timeoutClosing)
		rx2       = to(stateClosingRx2, timeoutClosing)
		closed    = to(stateClosed, timeoutClosedFIN)
		reset     = to(stateReset, timeoutClosing)
		resetFast = to(stateReset, timeoutClosedFIN)
		estReset  = to(stateEstablishReset, timeoutClosing)
		syn1      = to(stateSYN1, timeoutOpening)
		synack1   = to(stateSYNACK1, est)
	)
	// The columns are SYN, SYN-ACK, FIN, RST, ACK, PSH.
	client := &tr[0]
	client[stateRaw] = [...]transition{opening1, none, tx1, reset, estab, estab}
	client[stateOpening1] = [...]transition{opening1, none, tx1, estReset, estab, estab}
	client[stateOpening2] = [...]transition{opening2, none, tx1, to(stateOpeningRST, timeoutOpeningRST), estab, estab}
	client[stateEstablished] = [...]transition{estab, none, tx1, to(stateReset, timeoutEstablishedRST), estab, estab}
	client[stateClosingTx1] = [...]transition{tx1, tx1, tx1, reset, tx1, tx1}
	client[stateClosingTx2] = [...]transition{tx2, tx2, tx2, resetFast, closed, tx2}
	client[stateClosingRx1] = [...]transition{rx1, rx1, rx2, reset, rx1, rx1}
	client[stateClosingRx2] = [...]transition{rx2, rx2, rx2, resetFast, rx2, rx2}
	client[stateSYN1] = [...]transition{opening1, none, tx1, to(statePortReuse, timeoutClosing), estab, estab}
	client[stateSYNACK1] = [...]transition{estab, none, tx1, reset, synack1, synack1}
	// States that nothing leaves; Closed absorbs what was still under way.
	for c := range numClasses {
		for _, s := range []tcpState{stateReset, stateServerReset, stateQueueLack, statePortReuse, stateEstablishReset} {
			client[s][c] = to(s, timeoutException)
		}
		client[stateClosed][c] = closed
		client[stateOpeningRST][c] = to(stateOpeningRST, timeoutOpeningRST)
	}

	server := &tr[1]
	server[stateRaw] = [...]transition{none, opening2, rx1, none, none, none}
	server[stateOpening1] = [...]transition{none, opening2, rx1, to(stateServerReset, timeoutOpening), syn1, syn1}
	server[stateOpening2] = [...]transition{none, opening2, rx1, estReset, none, none}
	server[stateEstablished] = [...]transition{none, synack1, rx1, none, none, none}
	server[stateClosingTx1] = [...]transition{none, none, tx2, none, none, none}
	server[stateClosingTx2] = [...]transition{none, none, none, none, tx2, tx2}
	server[stateClosingRx1] = [...]transition{none, none, rx1, none, none, none}
	server[stateClosingRx2] = [...]transition{none, none, none, none, closed, none}
	server[stateSYN1] = [...]transition{none, opening2, rx1, estReset, syn1, syn1}
	server[stateSYNACK1] = [...]transition{none, synack1, rx1, to(stateQueueLack, timeoutEstablishedRST), estab, estab}
	for s := range server {
		for c := range server[s] {
			if !server[s][c].set {
				server[s][c] = client[s][c]
			}
		}
	}
	return tr
}

// next is the state after a packet with these flags, sent by the client (dir 0) or the server (1).
func (s tcpState) next(dir int, flags uint16) (tcpState, timeoutKind) {
	c := flagClasses[flags&0x3f]
	if c == classInvalid {
		return stateException, timeoutException
	}
	if t := transitions[dir][s][c]; t.set {
		return t.next, t.timeout
	}
	return stateException, timeoutException
}

// reversed is the same state when client and server change places.
func (s tcpState) reversed() tcpState {
	switch s {
	case stateClosingTx1:
		return stateClosingRx1
	case stateClosingTx2:
		return stateClosingRx2
	case stateClosingRx1:
		return stateClosingTx1
	case stateClosingRx2:
		return stateClosingTx2
	}
	return s
}

// ended says whether a new SYN in this state opens another connection instead of belonging to this one.
func (s tcpState) ended() bool {
	switch s {
	case stateRaw, stateOpening1, stateOpening2, stateEstablished, stateSYN1, stateSYNACK1:
		return false
	}
	return true
}

// closeType is how a flow that times out now has ended.
func (f *Flow) closeType() CloseType {
	if f.key.proto != packet.ProtoTCP {
		return CloseNormal
	}
	serverRST := f.perf.peers[1].allFlags&packet.FlagRST != 0
	switch f.state {
	case stateOpening1:
		return CloseServerSYNMiss
	case stateOpening2:
		return CloseClientACKMiss
	case stateEstablished:
		return CloseTransferTimeout
	case stateClosingTx1:
		return CloseServerHalfClose
	case stateClosingRx1:
		return CloseClientHalfClose
	case stateClosingTx2, stateClosingRx2, stateClosed:
		return CloseNormal
	case stateReset:
		switch {
		case f.heartbeat():
			return CloseNormalClientRST
		case serverRST:
			return CloseServerRST
		case f.has(flagL7OK):
			return CloseNormalClientRST
		}
		return CloseClientRST
	case stateSYN1, statePortReuse:
		if f.heartbeat() {
			return CloseNormalClientRST
		}
		return CloseClientPortReuse
	case stateServerReset:
		return CloseServerDirectRST
	case stateSYNACK1:
		return CloseServerQueueOverflow
	case stateQueueLack:
		if f.seen(1) > minServerPacketsQueueLack {
			return CloseServerQueueOverflow
		}
		return CloseClientRST
	case stateEstablishReset, stateOpeningRST:
		switch {
		case f.heartbeat():
			return CloseNormalClientRST
		case serverRST:
			return CloseServerEstablishRST
		}
		return CloseClientEstablishRST
	}
	return CloseOther
}

// heartbeat says whether the flow looks like a health check that only opens a connection: SYN, SYN-ACK, perhaps ACK, then
// RST of the client, and no data.
func (f *Flow) heartbeat() bool {
	c, s := f.perf.peers[0].allFlags, f.perf.peers[1].allFlags
	const synRST, synACK = packet.FlagSYN | packet.FlagRST, packet.FlagSYN | packet.FlagACK
	return (c|s)&packet.FlagPSH == 0 && c&synRST == synRST && s&synACK == synACK
}
