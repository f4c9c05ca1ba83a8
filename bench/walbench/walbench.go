// Package walbench holds db/wal beside hashicorp/raft-wal, both behind raft's LogStore, in one run: correctness of the
// adapter and figures for the append path.
package walbench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/flowlake/flowlake/db/wal"
	"github.com/hashicorp/raft"
)

// logStore is a wal.Log as raft's log store. It is what the cluster will do, in its shortest form.
type logStore struct {
	log *wal.Log
	buf []byte // scratch of StoreLogs, which raft calls from one goroutine
	rec [][]byte
}

var (
	_ raft.LogStore          = (*logStore)(nil)
	_ raft.MonotonicLogStore = (*logStore)(nil)
)

// entryFixed is what precedes the data of an entry: term, append time, type, length of the extensions.
const entryFixed = 8 + 8 + 1 + 4

func (s *logStore) IsMonotonic() bool { return true }

func (s *logStore) FirstIndex() (uint64, error) { return s.log.FirstIndex(), nil }

func (s *logStore) LastIndex() (uint64, error) { return s.log.LastIndex(), nil }

func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	b, err := s.log.Get(index, nil)
	if errors.Is(err, wal.ErrNotFound) {
		return raft.ErrLogNotFound
	}
	if err != nil {
		return err
	}
	if len(b) < entryFixed {
		return fmt.Errorf("entry %d has %d bytes", index, len(b))
	}
	ext := int(binary.LittleEndian.Uint32(b[17:]))
	if ext > len(b)-entryFixed {
		return fmt.Errorf("extensions of entry %d are longer than it", index)
	}
	*l = raft.Log{
		Index:      index,
		Term:       binary.LittleEndian.Uint64(b),
		Type:       raft.LogType(b[16]),
		AppendedAt: time.Unix(0, int64(binary.LittleEndian.Uint64(b[8:]))),
		Extensions: b[entryFixed : entryFixed+ext],
		Data:       b[entryFixed+ext:],
	}
	return nil
}

func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	need := 0
	for _, l := range logs {
		need += entryFixed + len(l.Extensions) + len(l.Data)
	}
	if cap(s.buf) < need {
		s.buf = make([]byte, 0, need)
	}
	buf := s.buf[:0]
	s.rec = s.rec[:0]
	for i, l := range logs {
		if l.Index != logs[0].Index+uint64(i) {
			return fmt.Errorf("entry %d follows entry %d: %w", l.Index, logs[0].Index+uint64(i)-1, wal.ErrOutOfOrder)
		}
		start := len(buf)
		buf = binary.LittleEndian.AppendUint64(buf, l.Term)
		buf = binary.LittleEndian.AppendUint64(buf, uint64(l.AppendedAt.UnixNano()))
		buf = append(buf, byte(l.Type))
		buf = binary.LittleEndian.AppendUint32(buf, uint32(len(l.Extensions)))
		buf = append(append(buf, l.Extensions...), l.Data...)
		s.rec = append(s.rec, buf[start:])
	}
	return s.log.AppendAt(logs[0].Index, s.rec)
}

// DeleteRange removes from the front or from the back, as raft does; a hole in the middle is an error.
func (s *logStore) DeleteRange(first, last uint64) error {
	switch {
	case first <= s.log.FirstIndex():
		return s.log.TruncateFront(last)
	case last >= s.log.LastIndex():
		return s.log.TruncateBack(first)
	}
	return fmt.Errorf("delete entries %d to %d of %d to %d: only the front or the back can go",
		first, last, s.log.FirstIndex(), s.log.LastIndex())
}

// stableStore is a wal.Stable as raft's stable store.
type stableStore struct{ s *wal.Stable }

var _ raft.StableStore = stableStore{}

func (s stableStore) Set(key, val []byte) error { return s.s.Set(string(key), val) }

func (s stableStore) SetUint64(key []byte, v uint64) error { return s.s.SetUint64(string(key), v) }

func (s stableStore) GetUint64(key []byte) (uint64, error) { return s.s.GetUint64(string(key)) }

// Get returns nothing for a missing key: raft takes only an error with the text "not found" for that, else an empty value.
func (s stableStore) Get(key []byte) ([]byte, error) {
	v, err := s.s.Get(string(key))
	if errors.Is(err, wal.ErrNotFound) {
		return nil, nil
	}
	return v, err
}
