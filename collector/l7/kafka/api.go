package kafka

// API is the key of a call.
type API int16

// Calls that are read in detail.
const (
	Produce                API = 0
	Fetch                  API = 1
	ListOffsets            API = 2
	Metadata               API = 3
	ControlledShutdown     API = 7
	OffsetCommit           API = 8
	OffsetFetch            API = 9
	FindCoordinator        API = 10
	JoinGroup              API = 11
	Heartbeat              API = 12
	LeaveGroup             API = 13
	SyncGroup              API = 14
	DescribeGroups         API = 15
	ListGroups             API = 16
	SaslHandshake          API = 17
	ApiVersions            API = 18
	CreateTopics           API = 19
	DeleteTopics           API = 20
	InitProducerID         API = 22
	AddPartitionsToTxn     API = 24
	AddOffsetsToTxn        API = 25
	EndTxn                 API = 26
	TxnOffsetCommit        API = 28
	SaslAuthenticate       API = 36
	DeleteGroups           API = 42
	ConsumerGroupHeartbeat API = 68
)

// never is the first flexible version of a call that has none.
const never = 1 << 14

// spare is how many versions beyond those known are taken for versions that exist.
const spare = 3

// apis are all calls: name, latest version, first flexible version, as of Kafka 4.1 (clients/src/main/resources/common/message).
var apis = [...]struct {
	name           string
	latest, flexes int16
}{
	0: {"Produce", 13, 9}, 1: {"Fetch", 18, 12}, 2: {"ListOffsets", 11, 6}, 3: {"Metadata", 13, 9},
	4: {"LeaderAndIsr", 7, 4}, 5: {"StopReplica", 4, 2}, 6: {"UpdateMetadata", 8, 6}, 7: {"ControlledShutdown", 3, 3},
	8: {"OffsetCommit", 10, 8}, 9: {"OffsetFetch", 10, 6}, 10: {"FindCoordinator", 6, 3}, 11: {"JoinGroup", 9, 6},
	12: {"Heartbeat", 4, 4}, 13: {"LeaveGroup", 5, 4}, 14: {"SyncGroup", 5, 4}, 15: {"DescribeGroups", 6, 5},
	16: {"ListGroups", 5, 3}, 17: {"SaslHandshake", 1, never}, 18: {"ApiVersions", 4, 3}, 19: {"CreateTopics", 7, 5},
	20: {"DeleteTopics", 6, 4}, 21: {"DeleteRecords", 2, 2}, 22: {"InitProducerId", 6, 2}, 23: {"OffsetForLeaderEpoch", 4, 4},
	24: {"AddPartitionsToTxn", 5, 3}, 25: {"AddOffsetsToTxn", 4, 3}, 26: {"EndTxn", 5, 3}, 27: {"WriteTxnMarkers", 1, 1},
	28: {"TxnOffsetCommit", 5, 3}, 29: {"DescribeAcls", 3, 2}, 30: {"CreateAcls", 3, 2}, 31: {"DeleteAcls", 3, 2},
	32: {"DescribeConfigs", 4, 4}, 33: {"AlterConfigs", 2, 2}, 34: {"AlterReplicaLogDirs", 2, 2}, 35: {"DescribeLogDirs", 4, 2},
	36: {"SaslAuthenticate", 2, 2}, 37: {"CreatePartitions", 3, 2}, 38: {"CreateDelegationToken", 3, 2}, 39: {"RenewDelegationToken", 2, 2},
	40: {"ExpireDelegationToken", 2, 2}, 41: {"DescribeDelegationToken", 3, 2}, 42: {"DeleteGroups", 2, 2}, 43: {"ElectLeaders", 2, 2},
	44: {"IncrementalAlterConfigs", 1, 1}, 45: {"AlterPartitionReassignments", 1, 0}, 46: {"ListPartitionReassignments", 0, 0},
	47: {"OffsetDelete", 0, never}, 48: {"DescribeClientQuotas", 1, 1}, 49: {"AlterClientQuotas", 1, 1},
	50: {"DescribeUserScramCredentials", 0, 0}, 51: {"AlterUserScramCredentials", 0, 0}, 52: {"Vote", 2, 0},
	53: {"BeginQuorumEpoch", 1, 1}, 54: {"EndQuorumEpoch", 1, 1}, 55: {"DescribeQuorum", 2, 0}, 56: {"AlterPartition", 3, 0},
	57: {"UpdateFeatures", 2, 0}, 58: {"Envelope", 0, 0}, 59: {"FetchSnapshot", 1, 0}, 60: {"DescribeCluster", 2, 0},
	61: {"DescribeProducers", 0, 0}, 62: {"BrokerRegistration", 4, 0}, 63: {"BrokerHeartbeat", 1, 0}, 64: {"UnregisterBroker", 0, 0},
	65: {"DescribeTransactions", 0, 0}, 66: {"ListTransactions", 2, 0}, 67: {"AllocateProducerIds", 0, 0},
	68: {"ConsumerGroupHeartbeat", 1, 0}, 69: {"ConsumerGroupDescribe", 1, 0}, 70: {"ControllerRegistration", 0, 0},
	71: {"GetTelemetrySubscriptions", 0, 0}, 72: {"PushTelemetry", 0, 0}, 73: {"AssignReplicasToDirs", 0, 0},
	74: {"ListConfigResources", 1, 0}, 75: {"DescribeTopicPartitions", 0, 0}, 76: {"ShareGroupHeartbeat", 1, 0},
	77: {"ShareGroupDescribe", 1, 0}, 78: {"ShareFetch", 1, 0}, 79: {"ShareAcknowledge", 1, 0}, 80: {"AddRaftVoter", 0, 0},
	81: {"RemoveRaftVoter", 0, 0}, 82: {"UpdateRaftVoter", 0, 0}, 83: {"InitializeShareGroupState", 0, 0},
	84: {"ReadShareGroupState", 0, 0}, 85: {"WriteShareGroupState", 0, 0}, 86: {"DeleteShareGroupState", 0, 0},
	87: {"ReadShareGroupStateSummary", 0, 0}, 88: {"StreamsGroupHeartbeat", 0, 0}, 89: {"StreamsGroupDescribe", 0, 0},
	90: {"DescribeShareGroupOffsets", 0, 0}, 91: {"AlterShareGroupOffsets", 0, 0}, 92: {"DeleteShareGroupOffsets", 0, 0},
}

func (a API) known() bool { return a >= 0 && int(a) < len(apis) }

// has says whether the call may have that version: known ones and a few to come.
func (a API) has(version int16) bool { return version >= 0 && version <= apis[a].latest+spare }

func (a API) flexible(version int16) bool { return a.known() && version >= apis[a].flexes }

// String is the name of the call; "" for an unknown one.
func (a API) String() string {
	if a.known() {
		return apis[a].name
	}
	return ""
}

// codes are the names of errors, from -1 on (clients/.../protocol/Errors.java).
var codes = [...]string{
	"UNKNOWN_SERVER_ERROR", "NONE", "OFFSET_OUT_OF_RANGE", "CORRUPT_MESSAGE", "UNKNOWN_TOPIC_OR_PARTITION", "INVALID_FETCH_SIZE",
	"LEADER_NOT_AVAILABLE", "NOT_LEADER_OR_FOLLOWER", "REQUEST_TIMED_OUT", "BROKER_NOT_AVAILABLE", "REPLICA_NOT_AVAILABLE", "MESSAGE_TOO_LARGE",
	"STALE_CONTROLLER_EPOCH", "OFFSET_METADATA_TOO_LARGE", "NETWORK_EXCEPTION", "COORDINATOR_LOAD_IN_PROGRESS", "COORDINATOR_NOT_AVAILABLE",
	"NOT_COORDINATOR", "INVALID_TOPIC_EXCEPTION", "RECORD_LIST_TOO_LARGE", "NOT_ENOUGH_REPLICAS", "NOT_ENOUGH_REPLICAS_AFTER_APPEND",
	"INVALID_REQUIRED_ACKS", "ILLEGAL_GENERATION", "INCONSISTENT_GROUP_PROTOCOL", "INVALID_GROUP_ID", "UNKNOWN_MEMBER_ID", "INVALID_SESSION_TIMEOUT",
	"REBALANCE_IN_PROGRESS", "INVALID_COMMIT_OFFSET_SIZE", "TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED",
	"INVALID_TIMESTAMP", "UNSUPPORTED_SASL_MECHANISM", "ILLEGAL_SASL_STATE", "UNSUPPORTED_VERSION", "TOPIC_ALREADY_EXISTS", "INVALID_PARTITIONS",
	"INVALID_REPLICATION_FACTOR", "INVALID_REPLICA_ASSIGNMENT", "INVALID_CONFIG", "NOT_CONTROLLER", "INVALID_REQUEST", "UNSUPPORTED_FOR_MESSAGE_FORMAT",
	"POLICY_VIOLATION", "OUT_OF_ORDER_SEQUENCE_NUMBER", "DUPLICATE_SEQUENCE_NUMBER", "INVALID_PRODUCER_EPOCH", "INVALID_TXN_STATE",
	"INVALID_PRODUCER_ID_MAPPING", "INVALID_TRANSACTION_TIMEOUT", "CONCURRENT_TRANSACTIONS", "TRANSACTION_COORDINATOR_FENCED",
	"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", "SECURITY_DISABLED", "OPERATION_NOT_ATTEMPTED", "KAFKA_STORAGE_ERROR", "LOG_DIR_NOT_FOUND",
	"SASL_AUTHENTICATION_FAILED", "UNKNOWN_PRODUCER_ID", "REASSIGNMENT_IN_PROGRESS", "DELEGATION_TOKEN_AUTH_DISABLED", "DELEGATION_TOKEN_NOT_FOUND",
	"DELEGATION_TOKEN_OWNER_MISMATCH", "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", "DELEGATION_TOKEN_AUTHORIZATION_FAILED", "DELEGATION_TOKEN_EXPIRED",
	"INVALID_PRINCIPAL_TYPE", "NON_EMPTY_GROUP", "GROUP_ID_NOT_FOUND", "FETCH_SESSION_ID_NOT_FOUND", "INVALID_FETCH_SESSION_EPOCH",
	"LISTENER_NOT_FOUND", "TOPIC_DELETION_DISABLED", "FENCED_LEADER_EPOCH", "UNKNOWN_LEADER_EPOCH", "UNSUPPORTED_COMPRESSION_TYPE",
	"STALE_BROKER_EPOCH", "OFFSET_NOT_AVAILABLE", "MEMBER_ID_REQUIRED", "PREFERRED_LEADER_NOT_AVAILABLE", "GROUP_MAX_SIZE_REACHED",
	"FENCED_INSTANCE_ID", "ELIGIBLE_LEADERS_NOT_AVAILABLE", "ELECTION_NOT_NEEDED", "NO_REASSIGNMENT_IN_PROGRESS", "GROUP_SUBSCRIBED_TO_TOPIC",
	"INVALID_RECORD", "UNSTABLE_OFFSET_COMMIT", "THROTTLING_QUOTA_EXCEEDED", "PRODUCER_FENCED", "RESOURCE_NOT_FOUND", "DUPLICATE_RESOURCE",
	"UNACCEPTABLE_CREDENTIAL", "INCONSISTENT_VOTER_SET", "INVALID_UPDATE_VERSION", "FEATURE_UPDATE_FAILED", "PRINCIPAL_DESERIALIZATION_FAILURE",
	"SNAPSHOT_NOT_FOUND", "POSITION_OUT_OF_RANGE", "UNKNOWN_TOPIC_ID", "DUPLICATE_BROKER_REGISTRATION", "BROKER_ID_NOT_REGISTERED",
	"INCONSISTENT_TOPIC_ID", "INCONSISTENT_CLUSTER_ID", "TRANSACTIONAL_ID_NOT_FOUND", "FETCH_SESSION_TOPIC_ID_ERROR", "INELIGIBLE_REPLICA",
	"NEW_LEADER_ELECTED", "OFFSET_MOVED_TO_TIERED_STORAGE", "FENCED_MEMBER_EPOCH", "UNRELEASED_INSTANCE_ID", "UNSUPPORTED_ASSIGNOR",
	"STALE_MEMBER_EPOCH", "MISMATCHED_ENDPOINT_TYPE", "UNSUPPORTED_ENDPOINT_TYPE", "UNKNOWN_CONTROLLER_ID", "UNKNOWN_SUBSCRIPTION_ID",
	"TELEMETRY_TOO_LARGE", "INVALID_REGISTRATION", "TRANSACTION_ABORTABLE", "INVALID_RECORD_STATE", "SHARE_SESSION_NOT_FOUND",
	"INVALID_SHARE_SESSION_EPOCH", "FENCED_STATE_EPOCH", "INVALID_VOTER_KEY", "DUPLICATE_VOTER", "VOTER_NOT_FOUND",
	"INVALID_REGULAR_EXPRESSION", "REBOOTSTRAP_REQUIRED", "STREAMS_INVALID_TOPOLOGY", "STREAMS_INVALID_TOPOLOGY_EPOCH", "STREAMS_TOPOLOGY_FENCED",
	"SHARE_SESSION_LIMIT_REACHED",
}

// CodeString is the name of an error code, "" for an unknown one.
func CodeString(code int16) string {
	if i := int(code) + 1; i >= 0 && i < len(codes) {
		return codes[i]
	}
	return ""
}
