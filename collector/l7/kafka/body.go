package kafka

// request reads the body of a request as far as it is of interest.
func (r *reader) request(m *Request) {
	v := m.Version
	switch m.API {
	case Produce:
		if v >= 3 {
			r.str() // transactional id
		}
		m.NoResponse = int16(r.U16()) == 0 && r.OK()
		r.Skip(4) // timeout
		r.topic(m, v >= 13)
		if m.Topics > 0 && r.count() > 0 {
			r.partition(m)
			m.Records = r.data()
		}
	case Fetch:
		r.fetch(m, v)
	case ListOffsets:
		r.Skip(4) // replica
		if v >= 2 {
			r.Skip(1) // isolation
		}
		r.topicPartition(m)
	case Metadata:
		r.metadata(m, v)
	case OffsetCommit:
		m.Group = r.str()
		if v >= 1 {
			r.Skip(4)
			r.str()
		}
		if v >= 7 {
			r.str()
		}
		if v >= 2 && v <= 4 {
			r.Skip(8)
		}
		r.topic(m, v >= 10)
		if m.Topics > 0 && r.count() > 0 {
			r.partition(m)
			if off := int64(r.U64()); r.OK() {
				m.Offset = off
			}
		}
	case OffsetFetch:
		if v >= 8 && r.count() == 0 {
			return
		}
		m.Group = r.str()
		if v >= 9 {
			r.str()
			r.Skip(4)
		}
		r.topic(m, v >= 10)
		if m.Topics > 0 && r.count() > 0 {
			r.partition(m)
		}
	case FindCoordinator:
		if v >= 4 {
			r.Skip(1)
			if r.count() == 0 {
				return
			}
		}
		m.Group = r.str()
	case DescribeGroups, DeleteGroups:
		if r.count() > 0 {
			m.Group = r.str()
		}
	case JoinGroup, Heartbeat, LeaveGroup, SyncGroup, InitProducerID, AddOffsetsToTxn, EndTxn, TxnOffsetCommit, ConsumerGroupHeartbeat:
		m.Group = r.str()
	case AddPartitionsToTxn:
		if v <= 3 {
			m.Group = r.str()
			r.Skip(8 + 2)
			r.topicPartition(m)
		}
	case CreateTopics:
		r.topic(m, false)
	case DeleteTopics:
		r.topic(m, false) // from version 6 on a nullable name, before the id
		if v >= 6 {
			m.TopicID = r.Bytes(uuidBytes)
		}
	case SaslHandshake:
		m.Mechanism = r.str()
	case ApiVersions:
		if v >= 3 {
			m.Software, m.SoftwareVersion = r.str(), r.str()
		}
	}
}

// topic begins an array of topics: it reads their number and how the first is told.
func (r *reader) topic(m *Request, byID bool) {
	n := r.count()
	if n == 0 || !r.OK() {
		return
	}
	m.Topics = n
	if byID {
		m.TopicID = r.Bytes(uuidBytes)
		return
	}
	m.Topic = name(r.str())
}

// named reads how a topic of a response is told.
func (r *reader) named(byID bool) (topic, id []byte) {
	if byID {
		return nil, r.Bytes(uuidBytes)
	}
	return name(r.str()), nil
}

// name is a topic's name, nil when it cannot be one.
func name(b []byte) []byte {
	if len(b) == 0 || len(b) > maxName || !printable(b) {
		return nil
	}
	return b
}

// partition reads the index of a partition.
func (r *reader) partition(m *Request) {
	if n := int32(r.U32()); r.OK() {
		m.Partition = n
	}
}

func (r *reader) topicPartition(m *Request) {
	r.topic(m, false)
	if m.Topics > 0 && r.count() > 0 {
		r.partition(m)
	}
}

func (r *reader) fetch(m *Request, v int16) {
	if v <= 14 {
		r.Skip(4) // replica; later a tagged field
	}
	r.Skip(4 + 4) // longest wait, fewest bytes
	if v >= 3 {
		r.Skip(4)
	}
	if v >= 4 {
		r.Skip(1)
	}
	if v >= 7 {
		r.Skip(4 + 4) // session and its epoch
	}
	r.topic(m, v >= 13)
	if m.Topics == 0 || r.count() == 0 {
		return
	}
	r.partition(m)
	if v >= 9 {
		r.Skip(4)
	}
	if off := int64(r.U64()); r.OK() {
		m.Offset = off
	}
}

func (r *reader) metadata(m *Request, v int16) {
	n := r.count()
	if n == 0 || !r.OK() {
		return
	}
	m.Topics = n
	if v >= 10 {
		m.TopicID = r.Bytes(uuidBytes)
	}
	m.Topic = name(r.str())
	if m.Topic != nil {
		m.TopicID = nil
	}
}

// response reads the body of a response as far as it is of interest.
func (r *reader) response(api API, v int16, m *Response) {
	switch api {
	case Produce:
		r.produced(m, v)
	case Fetch:
		r.fetched(m, v)
	case ListOffsets:
		r.throttle(v >= 2)
		r.eachPartition(m, false, func() { r.code(m); r.skipIf(v >= 1, 8+8); r.skipIf(v >= 4, 4) }, v >= 1)
	case Metadata:
		r.metadataResponse(m, v)
	case OffsetCommit:
		r.throttle(v >= 3)
		r.eachPartition(m, v >= 10, func() { r.code(m) }, true)
	case OffsetFetch:
		r.offsets(m, v)
	case FindCoordinator:
		r.throttle(v >= 1)
		if v < 4 {
			r.code(m)
			return
		}
		for n := r.count(); n > 0 && r.OK(); n-- {
			r.str()
			r.Skip(4)
			r.str()
			r.Skip(4)
			r.code(m)
			r.str()
			r.tags()
		}
	case JoinGroup:
		r.throttle(v >= 2)
		r.code(m)
	case Heartbeat, SyncGroup, ListGroups:
		r.throttle(v >= 1)
		r.code(m)
	case LeaveGroup:
		r.throttle(v >= 1)
		r.code(m)
		if v < 3 {
			return
		}
		for n := r.count(); n > 0 && r.OK(); n-- { // members
			r.str()
			r.str()
			r.code(m)
			r.tags()
		}
	case AddPartitionsToTxn:
		r.throttle(true)
		if v >= 4 {
			r.code(m)
			return
		}
		r.eachPartition(m, false, func() { r.code(m) }, true)
	case TxnOffsetCommit:
		r.throttle(true)
		r.eachPartition(m, false, func() { r.code(m) }, true)
	case DescribeGroups:
		r.throttle(v >= 1)
		if r.count() > 0 {
			r.code(m)
		}
	case SaslHandshake, ApiVersions, SaslAuthenticate, ControlledShutdown:
		r.code(m)
	case InitProducerID, AddOffsetsToTxn, EndTxn, ConsumerGroupHeartbeat:
		r.throttle(true)
		r.code(m)
	case CreateTopics, DeleteTopics, DeleteGroups:
		r.throttle(v >= 2 || api == DeleteGroups || api == DeleteTopics && v >= 1)
		if r.count() == 0 {
			return
		}
		m.Topic = name(r.str())
		if api == CreateTopics && v >= 7 || api == DeleteTopics && v >= 6 {
			m.TopicID = r.Bytes(uuidBytes)
		}
		r.code(m)
	}
}

// throttle passes over the time for which the broker holds the client up.
func (r *reader) throttle(there bool) { r.skipIf(there, 4) }

func (r *reader) skipIf(there bool, n int) {
	if there {
		r.Skip(n)
	}
}

// code reads an error code; the first that is one stays.
func (r *reader) code(m *Response) {
	code := int16(r.U16())
	if !r.OK() {
		return
	}
	if m.HasCode = true; m.Code == 0 {
		m.Code = code
	}
}

// at notes the first topic and partition.
func (m *Response) at(topic, id []byte, partition int32, first bool) {
	if first {
		m.Topic, m.TopicID, m.Partition = topic, id, partition
	}
}

// eachPartition walks topics, by name or id, and their partitions by number; rest reads what follows the number. Only where the partition has no
// more fields than rest reads (plain) does it go on behind the first.
func (r *reader) eachPartition(m *Response, byID bool, rest func(), plain bool) {
	first := true
	for n := r.count(); n > 0 && r.OK(); n-- {
		topic, id := r.named(byID)
		for k := r.count(); k > 0 && r.OK(); k-- {
			partition := int32(r.U32())
			if !r.OK() {
				return
			}
			m.at(topic, id, partition, first)
			first = false
			rest()
			if !plain {
				return
			}
			r.tags()
		}
		r.tags()
	}
}

func (r *reader) produced(m *Response, v int16) {
	first := true
	for n := r.count(); n > 0 && r.OK(); n-- {
		topic, id := r.named(v >= 13)
		for k := r.count(); k > 0 && r.OK(); k-- {
			partition := int32(r.U32())
			if !r.OK() {
				return
			}
			m.at(topic, id, partition, first)
			r.code(m)
			if off := int64(r.U64()); first && r.OK() {
				m.Offset = off
			}
			first = false
			r.skipIf(v >= 2, 8) // time of the log
			r.skipIf(v >= 5, 8) // start of the log
			if v >= 8 {
				for e := r.count(); e > 0 && r.OK(); e-- {
					r.Skip(4)
					r.str()
					r.tags()
				}
				r.str()
			}
			r.tags()
		}
		r.tags()
	}
}

func (r *reader) fetched(m *Response, v int16) {
	r.throttle(v >= 1)
	if v >= 7 {
		r.code(m)
		r.Skip(4)
	}
	first := true
	for n := r.count(); n > 0 && r.OK(); n-- {
		topic, id := r.named(v >= 13)
		for k := r.count(); k > 0 && r.OK(); k-- {
			partition := int32(r.U32())
			if !r.OK() {
				return
			}
			m.at(topic, id, partition, first)
			first = false
			r.code(m)
			r.Skip(8) // high watermark
			r.skipIf(v >= 4, 8)
			r.skipIf(v >= 5, 8)
			if v >= 4 {
				for a := r.count(); a > 0 && r.OK(); a-- { // aborted transactions
					r.Skip(8 + 8)
					r.tags()
				}
			}
			r.skipIf(v >= 11, 4)
			if records := r.data(); m.Records == nil {
				m.Records = records
			}
			r.tags()
		}
		r.tags()
	}
}

func (r *reader) metadataResponse(m *Response, v int16) {
	r.throttle(v >= 3)
	for n := r.count(); n > 0 && r.OK(); n-- { // brokers
		r.Skip(4)
		r.str()
		r.Skip(4)
		if v >= 1 {
			r.str()
		}
		r.tags()
	}
	if v >= 2 {
		r.str() // cluster
	}
	r.skipIf(v >= 1, 4) // controller
	n := r.count()
	if m.HasCode = r.OK(); n == 0 {
		return
	}
	for first := true; n > 0 && r.OK(); n, first = n-1, false {
		r.code(m)
		topic := name(r.str())
		var id []byte
		if v >= 10 {
			id = r.Bytes(uuidBytes)
		}
		if !r.OK() {
			return
		}
		m.at(topic, nil, -1, first)
		if id != nil && topic != nil && len(m.Names) < maxNames {
			m.Names = append(m.Names, TopicName{id, topic})
		}
		r.skipIf(v >= 1, 1) // internal
		r.partitions(v)
		r.skipIf(v >= 8, 4)
		r.tags()
	}
}

// partitions passes over what a Metadata response says of the partitions of a topic.
func (r *reader) partitions(v int16) {
	for n := r.count(); n > 0 && r.OK(); n-- {
		r.Skip(2 + 4 + 4)
		r.skipIf(v >= 7, 4)
		for lists := 2 + btoi(v >= 5); lists > 0; lists-- { // replicas, in-sync, offline
			r.Skip(4 * r.count())
		}
		r.tags()
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (r *reader) offsets(m *Response, v int16) {
	r.throttle(v >= 3)
	if v >= 8 {
		if r.count() == 0 {
			return
		}
		r.str() // group
	}
	first := true
	for n := r.count(); n > 0 && r.OK(); n-- {
		topic, id := r.named(v >= 10)
		for k := r.count(); k > 0 && r.OK(); k-- {
			partition := int32(r.U32())
			if !r.OK() {
				return
			}
			m.at(topic, id, partition, first)
			if off := int64(r.U64()); first && r.OK() {
				m.Offset = off
			}
			first = false
			r.skipIf(v >= 5, 4)
			r.str()
			r.code(m)
			r.tags()
		}
		r.tags()
	}
	if v >= 2 {
		r.code(m)
	}
}
