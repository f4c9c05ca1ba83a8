//go:build unix

package walbench

import (
	"fmt"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/wal"
	"github.com/hashicorp/raft"
)

var payload = func() []byte {
	b := make([]byte, 1<<20)
	x := uint64(1)
	for i := range b {
		x = x*6364136223846793005 + 1442695040888963407
		b[i] = byte(x >> 56)
	}
	return b
}()

// cpu is the CPU time of the process so far, user and system.
func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measure reports MB/s, p50, p99 and CPU seconds per GB of b.N calls of op, which moves that many bytes.
func measure(b *testing.B, bytes int, op func(i int)) {
	b.Helper()
	b.SetBytes(int64(bytes))
	took := make([]time.Duration, 0, b.N)
	b.ReportAllocs()
	b.ResetTimer()
	before := cpu()
	for i := range b.N {
		start := time.Now()
		op(i)
		took = append(took, time.Since(start))
	}
	used := cpu() - before
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-us")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-us")
	b.ReportMetric(used.Seconds()*1e9/float64(bytes)/float64(b.N), "cpu-s/GB")
}

// BenchmarkStoreLogs appends through raft's LogStore, each call durable. Every 128 MiB the front is truncated to the last
// 32 entries, as raft does after a snapshot; 300 MiB come before the timer starts, so that both stores are seen in their
// steady state.
func BenchmarkStoreLogs(b *testing.B) {
	for _, entry := range []struct {
		name string
		size int
	}{{"1k", 1 << 10}, {"64k", 64 << 10}, {"1M", 1 << 20}} {
		for _, batch := range []int{1, 8} {
			for _, store := range []string{"flowlake", "raft-wal"} {
				b.Run(fmt.Sprintf("entry=%s/batch=%d/store=%s", entry.name, batch, store), func(b *testing.B) {
					var s raft.LogStore
					if store == "flowlake" {
						s = openOurs(b, b.TempDir())
					} else {
						s = openTheirs(b, b.TempDir())
					}
					storeLoop(b, s, entry.size, batch)
				})
			}
		}
	}
}

func storeLoop(b *testing.B, s raft.LogStore, size, batch int) {
	logs := make([]*raft.Log, batch)
	for i := range logs {
		logs[i] = &raft.Log{Data: payload[:size], AppendedAt: time.Now()}
	}
	next, first, since := uint64(1), uint64(1), 0
	store := func(logs []*raft.Log) {
		for _, l := range logs {
			l.Index = next
			next++
			since += len(l.Data)
		}
		if err := s.StoreLogs(logs); err != nil {
			b.Fatal(err)
		}
		if since >= 128<<20 && next > first+32 {
			since = 0
			if err := s.DeleteRange(first, next-33); err != nil {
				b.Fatal(err)
			}
			first = next - 32
		}
	}
	warm := []*raft.Log{{Data: payload}, {Data: payload}, {Data: payload}, {Data: payload}}
	for range 300 / len(warm) {
		store(warm)
	}
	measure(b, size*batch, func(int) { store(logs) })
}

// BenchmarkGetLog reads entries one by one.
func BenchmarkGetLog(b *testing.B) {
	const n = 2000
	for _, store := range []string{"flowlake", "raft-wal"} {
		b.Run("entry=1k/store="+store, func(b *testing.B) {
			var s raft.LogStore
			if store == "flowlake" {
				s = openOurs(b, b.TempDir())
			} else {
				s = openTheirs(b, b.TempDir())
			}
			logs := make([]*raft.Log, n)
			for i := range logs {
				logs[i] = &raft.Log{Index: uint64(i + 1), Data: payload[:1<<10]}
			}
			if err := s.StoreLogs(logs); err != nil {
				b.Fatal(err)
			}
			var l raft.Log
			measure(b, 1<<10, func(i int) {
				if err := s.GetLog(uint64(i%n+1), &l); err != nil {
					b.Fatal(err)
				}
			})
		})
	}
}

// BenchmarkGroupCommit appends from many goroutines at once: what sharing a sync is worth.
func BenchmarkGroupCommit(b *testing.B) {
	for _, callers := range []int{1, 8, 64} {
		b.Run(fmt.Sprintf("entry=1k/callers=%d", callers), func(b *testing.B) {
			s := openOurs(b, b.TempDir())
			b.SetBytes(1 << 10)
			b.ResetTimer()
			var wg sync.WaitGroup
			for c := range callers {
				wg.Go(func() {
					rec := [][]byte{payload[:1<<10]}
					for i := c; i < b.N; i += callers {
						if _, err := s.log.Append(rec); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			m := s.log.Metrics()
			b.ReportMetric(m.GroupSize.Mean(), "appends/sync")
		})
	}
}

// BenchmarkRecover opens a log of 256 MiB and reads all of it, from the page cache.
func BenchmarkRecover(b *testing.B) {
	dir := b.TempDir()
	s := openOurs(b, dir, func(o *wal.Options) { o.NoSync = true })
	rec := [][]byte{payload[:64<<10]}
	for range 256 << 20 / len(rec[0]) {
		if _, err := s.log.Append(rec); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.log.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(256 << 20)
	b.ResetTimer()
	for range b.N {
		l, err := wal.Open(dir, func(o *wal.Options) { o.NoSync = true })
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Range(0, func(uint64, []byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
