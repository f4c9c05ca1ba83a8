package rocketmq

import "strconv"

// Requests whose fields have short names, or whose answers carry messages.
const (
	PullMessage        = 11
	SendMessageV2      = 310
	SendBatchMessage   = 320
	SendReplyMessageV2 = 325
)

// requests are the names of request codes (RequestCode of the remoting module).
var requests = map[int32]string{
	10: "SEND_MESSAGE", 11: "PULL_MESSAGE", 12: "QUERY_MESSAGE", 13: "QUERY_BROKER_OFFSET", 14: "QUERY_CONSUMER_OFFSET", 15: "UPDATE_CONSUMER_OFFSET",
	17: "UPDATE_AND_CREATE_TOPIC", 21: "GET_ALL_TOPIC_CONFIG", 22: "GET_TOPIC_CONFIG_LIST", 23: "GET_TOPIC_NAME_LIST", 25: "UPDATE_BROKER_CONFIG",
	26: "GET_BROKER_CONFIG", 27: "TRIGGER_DELETE_FILES", 28: "GET_BROKER_RUNTIME_INFO", 29: "SEARCH_OFFSET_BY_TIMESTAMP", 30: "GET_MAX_OFFSET",
	31: "GET_MIN_OFFSET", 32: "GET_EARLIEST_MSG_STORETIME", 33: "VIEW_MESSAGE_BY_ID", 34: "HEART_BEAT", 35: "UNREGISTER_CLIENT",
	36: "CONSUMER_SEND_MSG_BACK", 37: "END_TRANSACTION", 38: "GET_CONSUMER_LIST_BY_GROUP", 39: "CHECK_TRANSACTION_STATE",
	40: "NOTIFY_CONSUMER_IDS_CHANGED", 41: "LOCK_BATCH_MQ", 42: "UNLOCK_BATCH_MQ", 43: "GET_ALL_CONSUMER_OFFSET", 45: "GET_ALL_DELAY_OFFSET",
	46: "CHECK_CLIENT_CONFIG", 100: "PUT_KV_CONFIG", 101: "GET_KV_CONFIG", 102: "DELETE_KV_CONFIG", 103: "REGISTER_BROKER", 104: "UNREGISTER_BROKER",
	105: "GET_ROUTEINFO_BY_TOPIC", 106: "GET_BROKER_CLUSTER_INFO", 200: "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP",
	201: "GET_ALL_SUBSCRIPTIONGROUP_CONFIG", 202: "GET_TOPIC_STATS_INFO", 203: "GET_CONSUMER_CONNECTION_LIST", 204: "GET_PRODUCER_CONNECTION_LIST",
	205: "WIPE_WRITE_PERM_OF_BROKER", 206: "GET_ALL_TOPIC_LIST_FROM_NAMESERVER", 207: "DELETE_SUBSCRIPTIONGROUP", 208: "GET_CONSUME_STATS",
	215: "DELETE_TOPIC_IN_BROKER", 216: "DELETE_TOPIC_IN_NAMESRV", 219: "GET_KVLIST_BY_NAMESPACE", 220: "RESET_CONSUMER_CLIENT_OFFSET",
	221: "GET_CONSUMER_STATUS_FROM_CLIENT", 222: "INVOKE_BROKER_TO_RESET_OFFSET", 223: "INVOKE_BROKER_TO_GET_CONSUMER_STATUS",
	300: "QUERY_TOPIC_CONSUME_BY_WHO", 307: "GET_CONSUMER_RUNNING_INFO", 309: "CONSUME_MESSAGE_DIRECTLY", 310: "SEND_MESSAGE_V2",
	315: "VIEW_BROKER_STATS_DATA", 320: "SEND_BATCH_MESSAGE", 324: "SEND_REPLY_MESSAGE", 325: "SEND_REPLY_MESSAGE_V2", 326: "PUSH_REPLY_MESSAGE_TO_CLIENT",
	200050: "POP_MESSAGE", 200051: "ACK_MESSAGE", 200052: "PEEK_MESSAGE", 200053: "CHANGE_MESSAGE_INVISIBLETIME", 200054: "NOTIFICATION",
}

// RequestName is the name of a request code, its number where it has none here.
func RequestName(code int32) string {
	if name, ok := requests[code]; ok {
		return name
	}
	return strconv.Itoa(int(code))
}

// responses are the names of response codes (ResponseCode).
var responses = map[int32]string{
	0: "SUCCESS", 1: "SYSTEM_ERROR", 2: "SYSTEM_BUSY", 3: "REQUEST_CODE_NOT_SUPPORTED", 4: "TRANSACTION_FAILED", 10: "FLUSH_DISK_TIMEOUT",
	11: "SLAVE_NOT_AVAILABLE", 12: "FLUSH_SLAVE_TIMEOUT", 13: "MESSAGE_ILLEGAL", 14: "SERVICE_NOT_AVAILABLE", 15: "VERSION_NOT_SUPPORTED",
	16: "NO_PERMISSION", 17: "TOPIC_NOT_EXIST", 18: "TOPIC_EXIST_ALREADY", 19: "PULL_NOT_FOUND", 20: "PULL_RETRY_IMMEDIATELY",
	21: "PULL_OFFSET_MOVED", 22: "QUERY_NOT_FOUND", 23: "SUBSCRIPTION_PARSE_FAILED", 24: "SUBSCRIPTION_NOT_EXIST", 25: "SUBSCRIPTION_NOT_LATEST",
	26: "SUBSCRIPTION_GROUP_NOT_EXIST", 206: "CONSUMER_NOT_ONLINE", 207: "CONSUME_MSG_TIMEOUT", 208: "NO_MESSAGE", 209: "POLLING_FULL", 210: "POLLING_TIMEOUT",
}

// ResponseName is the name of a response code, its number where it has none here.
func ResponseName(code int32) string {
	if name, ok := responses[code]; ok {
		return name
	}
	return strconv.Itoa(int(code))
}

// Class says whose fault a response code is.
type Class uint8

// Classes.
const (
	OK Class = iota
	ClientError
	ServerError
)

// ClassOf sorts response codes: that there is nothing to pull, now, is no error; what the client asked wrongly is its own.
func ClassOf(code int32) Class {
	switch code {
	case 0, 19, 20, 21, 208, 209, 210:
		return OK
	case 3, 13, 15, 16, 17, 18, 22, 23, 24, 25, 26, 206:
		return ClientError
	}
	return ServerError
}

// AppendVersion appends the name of a version number: releases are two apart, ten to a minor one, with 4.4.0 at 293; the even numbers between
// them are snapshots (MQVersion).
func AppendVersion(dst []byte, v int32) []byte {
	const base, number, first, last = 293, 440, 213, 613
	if v < first || v > last {
		return strconv.AppendInt(dst, int64(v), 10)
	}
	n := number + (v-base+1)>>1 // rounds down, also below base
	dst = append(dst, 'V', byte('0'+n/100), '_', byte('0'+n/10%10), '_', byte('0'+n%10))
	if v%2 == 0 {
		dst = append(dst, "_SNAPSHOT"...)
	}
	return dst
}
