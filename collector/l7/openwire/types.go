package openwire

// Type is the data type of a command or of an object in it.
type Type uint8

// Commands that drivers tell apart.
const (
	WireFormatInfo    Type = 1
	BrokerInfo        Type = 2
	ConnectionInfo    Type = 3
	KeepAliveInfo     Type = 10
	RemoveInfo        Type = 12
	ConnectionError   Type = 16
	MessageDispatch   Type = 21
	Response          Type = 30
	ExceptionResponse Type = 31
	lastResponse      Type = 34

	firstMessage Type = 23
	lastMessage  Type = 29

	messageID        Type = 110
	firstDestination Type = 100
	lastDestination  Type = 103
)

// object is what is known of a data type. Its fields are read as far as they are of interest, one letter each: o an object, c
// one that may be in the cache, s a text, l, i, y numbers of 8, 4 and 1 bytes, b a truth, B bytes, a a list of objects; and, kept
// in the Message: K the name of a connection, S the number of a session, D of a destination, U of a broker, N of a user, C of
// the message that is answered, R the command that is answered, X an exception, M properties.
type object struct {
	name    string
	command bool
	fields  string
}

// objects are all data types of OpenWire that can stand where objects are read.
var objects = [256]object{
	WireFormatInfo: {"WireFormatInfo", false, ""}, BrokerInfo: {"BrokerInfo", true, "cU"}, ConnectionInfo: {"ConnectionInfo", true, "cssN"},
	4: {"SessionInfo", true, "c"}, 5: {"ConsumerInfo", true, "cbc"}, 6: {"ProducerInfo", true, "cc"}, 7: {"TransactionInfo", true, "cc"},
	8: {"DestinationInfo", true, "cc"}, 9: {"RemoveSubscriptionInfo", true, "c"}, KeepAliveInfo: {"KeepAliveInfo", true, ""},
	11: {"ShutdownInfo", true, ""}, RemoveInfo: {"RemoveInfo", true, "c"}, 14: {"ControlCommand", true, "s"}, 15: {"FlushCommand", true, ""},
	ConnectionError: {"ConnectionError", true, "Xo"}, 17: {"ConsumerControl", true, ""}, 18: {"ConnectionControl", true, ""},
	19: {"ProducerAck", true, "o"}, 20: {"MessagePull", true, "cc"}, MessageDispatch: {"MessageDispatch", true, "cco"}, 22: {"MessageAck", true, "ccc"},
	firstMessage: {"ActiveMQMessage", true, message}, 24: {"ActiveMQBytesMessage", true, message}, 25: {"ActiveMQMapMessage", true, message},
	26: {"ActiveMQObjectMessage", true, message}, 27: {"ActiveMQStreamMessage", true, message}, 28: {"ActiveMQTextMessage", true, message},
	lastMessage: {"ActiveMQBlobMessage", true, message},
	Response:    {"Response", true, "R"}, ExceptionResponse: {"ExceptionResponse", true, "RX"}, 32: {"DataResponse", true, "R"},
	33: {"DataArrayResponse", true, "R"}, lastResponse: {"IntegerResponse", true, "R"},
	firstDestination: {"queue", false, "D"}, 101: {"topic", false, "D"}, 102: {"temporary queue", false, "D"}, lastDestination: {"temporary topic", false, "D"},
	messageID: {"MessageId", false, "cll"}, 111: {"LocalTransactionId", false, "lc"}, 112: {"XATransactionId", false, "iBB"},
	120: {"ConnectionId", false, "K"}, 121: {"SessionId", false, "KS"}, 122: {"ConsumerId", false, "KSl"}, 123: {"ProducerId", false, "KlS"},
	124: {"BrokerId", false, "s"},
}

// message are the fields of a message: producer, destination, transaction, original destination, id, original transaction,
// group and its sequence, correlation id, persistent, expiration, priority, reply to, timestamp, type, content, properties.
const message = "ccccocsiCblyolsBM"

// String is the name of the type; "" for unknown ones.
func (t Type) String() string { return objects[t].name }

// IsMessage says whether it is a message of an application.
func (t Type) IsMessage() bool { return t >= firstMessage && t <= lastMessage }

// IsResponse says whether it answers a command.
func (t Type) IsResponse() bool { return t >= Response && t <= lastResponse }
