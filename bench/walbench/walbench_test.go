package walbench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/wal"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
)

func quiet() hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Off})
}

func openOurs(t testing.TB, dir string, opts ...func(*wal.Options)) *logStore {
	t.Helper()
	l, err := wal.Open(dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return &logStore{log: l}
}

func openTheirs(t testing.TB, dir string) *raftwal.WAL {
	t.Helper()
	l, err := raftwal.Open(dir, raftwal.WithLogger(quiet()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func entries(first uint64, n int) []*raft.Log {
	logs := make([]*raft.Log, n)
	for i := range logs {
		index := first + uint64(i)
		logs[i] = &raft.Log{Index: index, Term: index / 10, Type: raft.LogType(index % 3), AppendedAt: time.Unix(0, int64(index)),
			Data: bytes.Repeat([]byte{byte(index)}, int(index%50)), Extensions: bytes.Repeat([]byte("e"), int(index%3))}
	}
	return logs
}

// TestLogStore does the same to both stores and compares what they answer, step by step.
func TestLogStore(t *testing.T) {
	ours, theirs := openOurs(t, t.TempDir()), openTheirs(t, t.TempDir())
	check := func(what string, same func(raft.LogStore) error) {
		t.Helper()
		a, b := same(ours), same(theirs)
		if (a == nil) != (b == nil) {
			t.Fatalf("%s: ours %v, raft-wal %v", what, a, b)
		}
		var ends [2][2]uint64
		for i, s := range []raft.LogStore{ours, theirs} {
			first, err1 := s.FirstIndex()
			last, err2 := s.LastIndex()
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			ends[i] = [2]uint64{first, last}
		}
		if ends[0] != ends[1] {
			t.Fatalf("%s: ours %v, raft-wal %v", what, ends[0], ends[1])
		}
		for i := uint64(0); i <= ends[0][1]+2; i++ {
			var x, y raft.Log
			errX := ours.GetLog(i, &x)
			if i < ends[0][0] || i > ends[0][1] {
				// raft-wal still gives entries that it has truncated within a segment.
				if !errors.Is(errX, raft.ErrLogNotFound) {
					t.Fatalf("%s: get %d outside of %v: %v", what, i, ends[0], errX)
				}
				continue
			}
			errY := theirs.GetLog(i, &y)
			if (errX == nil) != (errY == nil) || errors.Is(errX, raft.ErrLogNotFound) != errors.Is(errY, raft.ErrLogNotFound) {
				t.Fatalf("%s: get %d: ours %v, raft-wal %v", what, i, errX, errY)
			}
			if x.Term != y.Term || x.Type != y.Type || x.Index != y.Index || !bytes.Equal(x.Data, y.Data) ||
				!bytes.Equal(x.Extensions, y.Extensions) || errX == nil && !x.AppendedAt.Equal(y.AppendedAt) {
				t.Fatalf("%s: get %d: ours %+v, raft-wal %+v", what, i, x, y)
			}
		}
	}
	store := func(first uint64, n int) {
		t.Helper()
		check(fmt.Sprintf("store %d entries at %d", n, first), func(s raft.LogStore) error { return s.StoreLogs(entries(first, n)) })
	}
	remove := func(first, last uint64) {
		t.Helper()
		check(fmt.Sprintf("delete %d to %d", first, last), func(s raft.LogStore) error { return s.DeleteRange(first, last) })
	}
	check("empty", func(raft.LogStore) error { return nil })
	store(1, 100)
	store(200, 1) // gap
	store(50, 1)  // overlap
	check("one", func(s raft.LogStore) error { return s.StoreLog(entries(101, 1)[0]) })
	remove(1, 30)
	remove(90, 101)
	store(90, 20)
	remove(50, 60) // hole
	remove(31, 109)
	store(500, 20) // after a snapshot
	remove(500, 519)
	store(520, 5)
	remove(522, 524)
	store(522, 1)
}

// TestRaft runs a node of hashicorp/raft on both stores, restarts it, and checks that it has kept term, vote and entries.
func TestRaft(t *testing.T) {
	dir := t.TempDir()
	var applied [][]byte
	for round := range 3 {
		l, err := wal.Open(filepath.Join(dir, "wal"))
		if err != nil {
			t.Fatal(err)
		}
		st, err := wal.OpenStable(nil, filepath.Join(dir, "stable"))
		if err != nil {
			t.Fatal(err)
		}
		conf := raft.DefaultConfig()
		conf.LocalID, conf.Logger = "a", quiet()
		conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
		addr, trans := raft.NewInmemTransport("a")
		logs, snaps, fsm := &logStore{log: l}, raft.NewInmemSnapshotStore(), &raft.MockFSM{}
		if round == 0 {
			servers := raft.Configuration{Servers: []raft.Server{{ID: "a", Address: addr}}}
			if err := raft.BootstrapCluster(conf, logs, stableStore{st}, snaps, trans, servers); err != nil {
				t.Fatal(err)
			}
		}
		node, err := raft.NewRaft(conf, fsm, logs, stableStore{st}, snaps, trans)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-node.LeaderCh():
		case <-time.After(time.Minute):
			t.Fatal("no leader within a minute")
		}
		for i := range 50 {
			cmd := fmt.Appendf(nil, "round %d, %d", round, i)
			if err := node.Apply(cmd, time.Minute).Error(); err != nil {
				t.Fatal(err)
			}
			applied = append(applied, cmd)
		}
		if err := node.Shutdown().Error(); err != nil {
			t.Fatal(err)
		}
		if got := fsm.Logs(); len(got) != len(applied) || !bytes.Equal(bytes.Join(got, nil), bytes.Join(applied, nil)) {
			t.Fatalf("round %d: %d entries applied, want %d", round, len(got), len(applied))
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
