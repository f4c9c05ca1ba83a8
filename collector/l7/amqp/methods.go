package amqp

// Classes.
const (
	ClassConnection = 10
	ClassChannel    = 20
	ClassExchange   = 40
	ClassQueue      = 50
	ClassBasic      = 60
	ClassConfirm    = 85
	ClassTx         = 90
)

// Methods that drivers tell apart.
const (
	ConnectionStart   = ClassConnection<<16 | 10
	ConnectionStartOk = ClassConnection<<16 | 11
	ConnectionOpen    = ClassConnection<<16 | 40
	ConnectionClose   = ClassConnection<<16 | 50
	ChannelOpen       = ClassChannel<<16 | 10
	ChannelClose      = ClassChannel<<16 | 40
	ChannelCloseOk    = ClassChannel<<16 | 41
	QueueDeclareOk    = ClassQueue<<16 | 11
	BasicConsumeOk    = ClassBasic<<16 | 21
	BasicPublish      = ClassBasic<<16 | 40
	BasicReturn       = ClassBasic<<16 | 50
	BasicDeliver      = ClassBasic<<16 | 60
	BasicGet          = ClassBasic<<16 | 70
	BasicGetOk        = ClassBasic<<16 | 71
	BasicGetEmpty     = ClassBasic<<16 | 72
	BasicAck          = ClassBasic<<16 | 80
	BasicReject       = ClassBasic<<16 | 90
	BasicNack         = ClassBasic<<16 | 120
	ConfirmSelect     = ClassConfirm<<16 | 10
	ConfirmSelectOk   = ClassConfirm<<16 | 11
)

// sender says which side may send a method.
type sender uint8

const (
	client sender = 1 << iota
	server
	both = client | server
)

// method is what is known of one.
type method struct {
	name    string
	from    sender
	answers uint32 // the method it is the answer to, 0 if none
	waits   bool   // it is answered, unless it says no-wait
	content bool   // a content header and a body follow
	fields  string // its arguments, see fields
}

// methods has every method of AMQP 0-9-1 and of RabbitMQ's extensions. The letters of fields are those of Message.arguments.
var methods = map[uint32]*method{
	ConnectionStart:          {name: "Connection.Start", from: server, waits: true, fields: "2TLL"},
	ConnectionStartOk:        {name: "Connection.StartOk", from: client, answers: ConnectionStart, fields: "TmL"},
	ClassConnection<<16 | 20: {name: "Connection.Secure", from: server, waits: true},
	ClassConnection<<16 | 21: {name: "Connection.SecureOk", from: client, answers: ClassConnection<<16 | 20},
	ClassConnection<<16 | 30: {name: "Connection.Tune", from: server, waits: true},
	ClassConnection<<16 | 31: {name: "Connection.TuneOk", from: client, answers: ClassConnection<<16 | 30},
	ConnectionOpen:           {name: "Connection.Open", from: client, waits: true, fields: "v"},
	ClassConnection<<16 | 41: {name: "Connection.OpenOk", from: server, answers: ConnectionOpen},
	ConnectionClose:          {name: "Connection.Close", from: both, waits: true, fields: "cyM"},
	ClassConnection<<16 | 51: {name: "Connection.CloseOk", from: both, answers: ConnectionClose},
	ClassConnection<<16 | 60: {name: "Connection.Blocked", from: server, fields: "y"},
	ClassConnection<<16 | 61: {name: "Connection.Unblocked", from: server},
	ClassConnection<<16 | 70: {name: "Connection.UpdateSecret", from: client, waits: true},
	ClassConnection<<16 | 71: {name: "Connection.UpdateSecretOk", from: server, answers: ClassConnection<<16 | 70},

	ChannelOpen:           {name: "Channel.Open", from: client, waits: true},
	ClassChannel<<16 | 11: {name: "Channel.OpenOk", from: server, answers: ChannelOpen},
	ClassChannel<<16 | 20: {name: "Channel.Flow", from: both, waits: true},
	ClassChannel<<16 | 21: {name: "Channel.FlowOk", from: both, answers: ClassChannel<<16 | 20},
	ChannelClose:          {name: "Channel.Close", from: both, waits: true, fields: "cyM"},
	ChannelCloseOk:        {name: "Channel.CloseOk", from: both, answers: ChannelClose},

	ClassExchange<<16 | 10: {name: "Exchange.Declare", from: client, waits: true, fields: "2esN4"},
	ClassExchange<<16 | 11: {name: "Exchange.DeclareOk", from: server, answers: ClassExchange<<16 | 10},
	ClassExchange<<16 | 20: {name: "Exchange.Delete", from: client, waits: true, fields: "2eN1"},
	ClassExchange<<16 | 21: {name: "Exchange.DeleteOk", from: server, answers: ClassExchange<<16 | 20},
	ClassExchange<<16 | 30: {name: "Exchange.Bind", from: client, waits: true, fields: "2serN0"},
	ClassExchange<<16 | 31: {name: "Exchange.BindOk", from: server, answers: ClassExchange<<16 | 30},
	ClassExchange<<16 | 40: {name: "Exchange.Unbind", from: client, waits: true, fields: "2serN0"},
	ClassExchange<<16 | 51: {name: "Exchange.UnbindOk", from: server, answers: ClassExchange<<16 | 40},

	ClassQueue<<16 | 10: {name: "Queue.Declare", from: client, waits: true, fields: "2qN4"},
	QueueDeclareOk:      {name: "Queue.DeclareOk", from: server, answers: ClassQueue<<16 | 10, fields: "q"},
	ClassQueue<<16 | 20: {name: "Queue.Bind", from: client, waits: true, fields: "2qerN0"},
	ClassQueue<<16 | 21: {name: "Queue.BindOk", from: server, answers: ClassQueue<<16 | 20},
	ClassQueue<<16 | 30: {name: "Queue.Purge", from: client, waits: true, fields: "2qN0"},
	ClassQueue<<16 | 31: {name: "Queue.PurgeOk", from: server, answers: ClassQueue<<16 | 30},
	ClassQueue<<16 | 40: {name: "Queue.Delete", from: client, waits: true, fields: "2qN2"},
	ClassQueue<<16 | 41: {name: "Queue.DeleteOk", from: server, answers: ClassQueue<<16 | 40},
	ClassQueue<<16 | 50: {name: "Queue.Unbind", from: client, waits: true, fields: "2qer"},
	ClassQueue<<16 | 51: {name: "Queue.UnbindOk", from: server, answers: ClassQueue<<16 | 50},

	ClassBasic<<16 | 10:  {name: "Basic.Qos", from: client, waits: true},
	ClassBasic<<16 | 11:  {name: "Basic.QosOk", from: server, answers: ClassBasic<<16 | 10},
	ClassBasic<<16 | 20:  {name: "Basic.Consume", from: client, waits: true, fields: "2qtN3"},
	BasicConsumeOk:       {name: "Basic.ConsumeOk", from: server, answers: ClassBasic<<16 | 20, fields: "t"},
	ClassBasic<<16 | 30:  {name: "Basic.Cancel", from: both, waits: true, fields: "tN0"},
	ClassBasic<<16 | 31:  {name: "Basic.CancelOk", from: both, answers: ClassBasic<<16 | 30, fields: "t"},
	BasicPublish:         {name: "Basic.Publish", from: client, content: true, fields: "2er"},
	BasicReturn:          {name: "Basic.Return", from: server, content: true, fields: "cyer"},
	BasicDeliver:         {name: "Basic.Deliver", from: server, content: true, fields: "td1er"},
	BasicGet:             {name: "Basic.Get", from: client, waits: true, fields: "2q"},
	BasicGetOk:           {name: "Basic.GetOk", from: server, answers: BasicGet, content: true, fields: "d1er"},
	BasicGetEmpty:        {name: "Basic.GetEmpty", from: server, answers: BasicGet},
	BasicAck:             {name: "Basic.Ack", from: both, fields: "du"},
	BasicReject:          {name: "Basic.Reject", from: client, fields: "d"},
	ClassBasic<<16 | 100: {name: "Basic.RecoverAsync", from: client},
	ClassBasic<<16 | 110: {name: "Basic.Recover", from: client, waits: true},
	ClassBasic<<16 | 111: {name: "Basic.RecoverOk", from: server, answers: ClassBasic<<16 | 110},
	BasicNack:            {name: "Basic.Nack", from: both, fields: "du"},

	ConfirmSelect:    {name: "Confirm.Select", from: client, waits: true, fields: "N0"},
	ConfirmSelectOk:  {name: "Confirm.SelectOk", from: server, answers: ConfirmSelect},
	ClassTx<<16 | 10: {name: "Tx.Select", from: client, waits: true},
	ClassTx<<16 | 11: {name: "Tx.SelectOk", from: server, answers: ClassTx<<16 | 10},
	ClassTx<<16 | 20: {name: "Tx.Commit", from: client, waits: true},
	ClassTx<<16 | 21: {name: "Tx.CommitOk", from: server, answers: ClassTx<<16 | 20},
	ClassTx<<16 | 30: {name: "Tx.Rollback", from: client, waits: true},
	ClassTx<<16 | 31: {name: "Tx.RollbackOk", from: server, answers: ClassTx<<16 | 30},
}
