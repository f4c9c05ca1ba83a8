package pulsar

import (
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/wire"
)

// Type is the type of a command. Its value is also the number of the command's field in BaseCommand.
type Type uint8

// Types of commands that pairing looks at.
const (
	Connect             Type = 2
	Connected           Type = 3
	Subscribe           Type = 4
	Producer            Type = 5
	Send                Type = 6
	SendReceipt         Type = 7
	SendError           Type = 8
	Message             Type = 9
	Ack                 Type = 10
	Flow                Type = 11
	Success             Type = 13
	Error               Type = 14
	CloseProducer       Type = 15
	CloseConsumer       Type = 16
	ProducerSuccess     Type = 17
	Ping                Type = 18
	Pong                Type = 19
	PartitionedMetadata Type = 21
	Lookup              Type = 23
	AuthChallenge       Type = 36
	AuthResponse        Type = 37
)

const numTypes = 70

// kind says what a command is in a conversation.
type kind uint8

const (
	unknown  kind = iota
	asks          // of the client, answered
	tells         // of the client, not answered
	answers       // of the server
	delivers      // of the server, unasked
	either        // of both
)

// layout says which fields of a command hold what; 0 is none.
type layout struct {
	name                                    string
	kind                                    kind
	request, producer, consumer, sequence   uint8
	topic, subscription, place              uint8
	code, text, software, version, messages uint8
}

var layouts = [numTypes]layout{
	2:  {name: "CONNECT", kind: asks, software: 1, version: 4},
	3:  {name: "CONNECTED", kind: answers, software: 1, version: 2},
	4:  {name: "SUBSCRIBE", kind: asks, topic: 1, subscription: 2, consumer: 4, request: 5},
	5:  {name: "PRODUCER", kind: asks, topic: 1, producer: 2, request: 3},
	6:  {name: "SEND", kind: asks, producer: 1, sequence: 2, messages: 3},
	7:  {name: "SEND_RECEIPT", kind: answers, producer: 1, sequence: 2, place: 3},
	8:  {name: "SEND_ERROR", kind: answers, producer: 1, sequence: 2, code: 3, text: 4},
	9:  {name: "MESSAGE", kind: delivers, consumer: 1, place: 2},
	10: {name: "ACK", kind: tells, consumer: 1, place: 3, request: 8},
	11: {name: "FLOW", kind: tells, consumer: 1},
	12: {name: "UNSUBSCRIBE", kind: asks, consumer: 1, request: 2},
	13: {name: "SUCCESS", kind: answers, request: 1},
	14: {name: "ERROR", kind: answers, request: 1, code: 2, text: 3},
	15: {name: "CLOSE_PRODUCER", kind: either, producer: 1, request: 2},
	16: {name: "CLOSE_CONSUMER", kind: either, consumer: 1, request: 2},
	17: {name: "PRODUCER_SUCCESS", kind: answers, request: 1},
	18: {name: "PING", kind: either},
	19: {name: "PONG", kind: either},
	20: {name: "REDELIVER_UNACKNOWLEDGED_MESSAGES", kind: tells, consumer: 1},
	21: {name: "PARTITIONED_METADATA", kind: asks, topic: 1, request: 2},
	22: {name: "PARTITIONED_METADATA_RESPONSE", kind: answers, request: 2, code: 4, text: 5},
	23: {name: "LOOKUP", kind: asks, topic: 1, request: 2},
	24: {name: "LOOKUP_RESPONSE", kind: answers, request: 4, code: 6, text: 7},
	25: {name: "CONSUMER_STATS", kind: asks, request: 1, consumer: 4},
	26: {name: "CONSUMER_STATS_RESPONSE", kind: answers, request: 1, code: 2, text: 3},
	27: {name: "REACHED_END_OF_TOPIC", kind: delivers, consumer: 1},
	28: {name: "SEEK", kind: asks, consumer: 1, request: 2, place: 3},
	29: {name: "GET_LAST_MESSAGE_ID", kind: asks, consumer: 1, request: 2},
	30: {name: "GET_LAST_MESSAGE_ID_RESPONSE", kind: answers, place: 1, request: 2},
	31: {name: "ACTIVE_CONSUMER_CHANGE", kind: delivers, consumer: 1},
	32: {name: "GET_TOPICS_OF_NAMESPACE", kind: asks, request: 1, topic: 2},
	33: {name: "GET_TOPICS_OF_NAMESPACE_RESPONSE", kind: answers, request: 1},
	34: {name: "GET_SCHEMA", kind: asks, request: 1, topic: 2},
	35: {name: "GET_SCHEMA_RESPONSE", kind: answers, request: 1, code: 2, text: 3},
	36: {name: "AUTH_CHALLENGE", kind: delivers},
	37: {name: "AUTH_RESPONSE", kind: tells},
	38: {name: "ACK_RESPONSE", kind: answers, consumer: 1, code: 4, text: 5, request: 6},
	39: {name: "GET_OR_CREATE_SCHEMA", kind: asks, request: 1, topic: 2},
	40: {name: "GET_OR_CREATE_SCHEMA_RESPONSE", kind: answers, request: 1, code: 2, text: 3},
	50: {name: "NEW_TXN", kind: asks, request: 1},
	51: {name: "NEW_TXN_RESPONSE", kind: answers, request: 1, code: 4, text: 5},
	52: {name: "ADD_PARTITION_TO_TXN", kind: asks, request: 1},
	53: {name: "ADD_PARTITION_TO_TXN_RESPONSE", kind: answers, request: 1, code: 4, text: 5},
	54: {name: "ADD_SUBSCRIPTION_TO_TXN", kind: asks, request: 1},
	55: {name: "ADD_SUBSCRIPTION_TO_TXN_RESPONSE", kind: answers, request: 1, code: 4, text: 5},
	56: {name: "END_TXN", kind: asks, request: 1},
	57: {name: "END_TXN_RESPONSE", kind: answers, request: 1, code: 4, text: 5},
	64: {name: "WATCH_TOPIC_LIST", kind: asks, request: 1, topic: 3},
	65: {name: "WATCH_TOPIC_LIST_SUCCESS", kind: answers, request: 1},
	66: {name: "WATCH_TOPIC_UPDATE", kind: delivers},
	67: {name: "WATCH_TOPIC_LIST_CLOSE", kind: tells, request: 1},
}

func (t Type) known() bool { return t < numTypes && layouts[t].kind != unknown }

// carries says that a message follows the command.
func (t Type) carries() bool { return t == Send || t == Message }

// Answered says that the client waits for an answer to the command.
func (t Type) Answered() bool { return t < numTypes && layouts[t].kind == asks }

// Delivered says that the server sends the command unasked.
func (t Type) Delivered() bool { return t < numTypes && layouts[t].kind == delivers }

// side is what the type says of the sender.
func (t Type) side() wire.Verdict {
	switch layouts[t].kind {
	case asks, tells:
		return wire.Request
	case answers, delivers:
		return wire.Response
	}
	return wire.Either
}

// String is the command's name; "" for an unknown one.
func (t Type) String() string {
	if t < numTypes {
		return layouts[t].name
	}
	return ""
}

// errors are the names of ServerError.
var serverErrors = [...]string{"UnknownError", "MetadataError", "PersistenceError", "AuthenticationError", "AuthorizationError", "ConsumerBusy", "ServiceNotReady",
	"ProducerBlockedQuotaExceededError", "ProducerBlockedQuotaExceededException", "ChecksumError", "UnsupportedVersionError", "TopicNotFound",
	"SubscriptionNotFound", "ConsumerNotFound", "TooManyRequests", "TopicTerminatedError", "ProducerBusy", "InvalidTopicName", "IncompatibleSchema",
	"ConsumerAssignError", "TransactionCoordinatorNotFound", "InvalidTxnStatus", "NotAllowedError", "TransactionConflict", "TransactionNotFound", "ProducerFenced"}

// ErrorName is the name of an error code, its number where it has none here.
func ErrorName(code uint64) string {
	if code < uint64(len(serverErrors)) {
		return serverErrors[code]
	}
	return strconv.FormatUint(code, 10)
}

// ClientError says that an error is the client's: who it is, what it asks for, what it may.
func ClientError(code uint64) bool {
	switch code {
	case 3, 4, 5, 9, 10, 11, 12, 13, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25:
		return true
	}
	return false
}
