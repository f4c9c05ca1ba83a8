package wire

// Verdict is what a parser's Check makes of the first bytes of a message. The order is that of package l7's shapes.
type Verdict uint8

// Verdicts.
const (
	No       Verdict = iota // not a message of the protocol
	Maybe                   // more bytes would tell
	Request                 // a message of the side that asks
	Response                // a message of the side that answers
	Either                  // a message whose side does not show
)
