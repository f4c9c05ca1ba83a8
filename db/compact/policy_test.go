package compact

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

const mib = 1 << 20

func seg(id string, day int64, minute int, bytes int64) Segment {
	at := day*dayNanos + int64(minute)*60e9
	return Segment{ID: id, Table: "flows", Resolution: "raw", Bytes: bytes, Rows: bytes / 30, MinTime: at, MaxTime: at + 50e9,
		MinIndex: uint64(minute + 1), MaxIndex: uint64(minute + 1)}
}

func segs(day int64, bytes ...int64) (out []Segment) {
	for i, b := range bytes {
		out = append(out, seg(fmt.Sprintf("%d-%02d", day, i), day, i, b))
	}
	return out
}

func repeat(n int, bytes int64) (out []int64) {
	for range n {
		out = append(out, bytes)
	}
	return out
}

func TestPick(t *testing.T) {
	today := 10*dayNanos + dayNanos/2
	f := func(name string, segments []Segment, now int64, o Options, want ...string) {
		t.Helper()
		var got []string
		if j := Pick(segments, now, o); j != nil {
			for _, s := range j.Inputs {
				got = append(got, s.ID)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: merges %v, want %v", name, got, want)
		}
	}
	f("nothing", nil, today, Options{})
	f("too few", segs(10, repeat(7, mib)...), today, Options{})
	f("enough", segs(10, repeat(4, mib)...), today, Options{MinFiles: 4}, "10-00", "10-01", "10-02", "10-03")
	f("sizes differ", segs(10, mib, 20*mib, mib, 100, mib, mib), today, Options{MinFiles: 4}, "10-00", "10-02", "10-04", "10-05")
	f("at most MaxFiles, the oldest", segs(10, repeat(9, mib)...), today, Options{MinFiles: 2, MaxFiles: 3}, "10-00", "10-01", "10-02")
	f("at most MaxBytes", segs(10, repeat(9, 40*mib)...), today, Options{MinFiles: 4, MaxBytes: 350 * mib}, "10-00", "10-01", "10-02", "10-03", "10-04", "10-05", "10-06", "10-07")
	f("final ones stay", segs(10, repeat(9, 64*mib)...), today, Options{MinFiles: 4, MaxBytes: 512 * mib})
	f("small files first", append(segs(9, repeat(4, 20*mib)...), segs(10, repeat(4, mib)...)...), today, Options{MinFiles: 4}, "10-00", "10-01", "10-02", "10-03")
	f("never across days", append(segs(9, mib, mib), segs(10, mib, mib)...), 10*dayNanos+1, Options{MinFiles: 4})
	f("left over after the day", segs(9, mib, 20*mib, 10*mib, 30*mib), today, Options{}, "9-00", "9-01", "9-02", "9-03")
	f("not while it may go on", segs(9, mib, 20*mib), 10*dayNanos+60e9, Options{})
	f("a trickle leaves a large file alone", segs(9, 60*mib, mib), today, Options{})
	busy := segs(10, repeat(4, mib)...)
	busy[1].Busy = true
	f("busy", busy, today, Options{MinFiles: 4})
	other := segs(10, repeat(4, mib)...)
	other[1].Resolution = "1m"
	f("never across resolutions", other, today, Options{MinFiles: 4})
}

func TestBacklog(t *testing.T) {
	list := append(segs(9, repeat(7, mib)...), segs(10, append(repeat(9, 5*mib), 100, 100, mib, 80*mib)...)...)
	list = append(list, segs(11, repeat(8, 100)...)...)
	list[7].Busy = true
	if n := Backlog(list, Options{}); n != 8+8 {
		t.Errorf("%d segments are due, want 16", n)
	}
	if n := Backlog(nil, Options{}); n != 0 {
		t.Errorf("%d of none", n)
	}
}

func TestPickSaysWhatItMerges(t *testing.T) {
	in := segs(10, repeat(4, mib)...)
	in[0].Level, in[3].MinIndex = 1, 0
	j := Pick(in, 10*dayNanos, Options{MinFiles: 4})
	if j == nil || j.Level != 2 || j.Bytes != 4*mib || j.Day != 10 || j.MinIndex != 0 || j.MaxIndex != 4 || j.Table != "flows" || j.Resolution != "raw" {
		t.Errorf("job %+v", j)
	}
	if j.Inputs[0].ID != "10-03" {
		t.Errorf("inputs begin with %s, not with the lowest log index", j.Inputs[0].ID)
	}
}

func TestExpired(t *testing.T) {
	in := append(segs(1, 1, 1), segs(5, 1)...)
	in[1].WrittenNanos = 5 * dayNanos // an import of old rows
	in = append(in, Segment{ID: "forever", Table: "other"})
	keep := func(table, _ string) time.Duration {
		if table == "other" {
			return 0
		}
		return 72 * time.Hour
	}
	var got []string
	for _, s := range Expired(in, keep, 6*dayNanos) {
		got = append(got, s.ID)
	}
	if want := []string{"1-00"}; !slices.Equal(got, want) {
		t.Errorf("expired %v, want %v", got, want)
	}
}

// simulate runs flushes and merges of some days and gives the bytes written in all, by flushes, and the largest number of
// files in one partition.
func simulate(t *testing.T, rng *rand.Rand, flush func() int64, every, lasts time.Duration, o Options) (written, flushed int64, files int) {
	t.Helper()
	var all []Segment
	rows := int64(0)
	id := 0
	compact := func(now int64) {
		for {
			j := Pick(all, now, o)
			if rng.IntN(50) == 0 {
				shuffled := slices.Clone(all)
				rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
				if again := Pick(shuffled, now, o); !reflect.DeepEqual(j, again) {
					t.Fatalf("the order of segments changes the choice: %v, %v", j, again)
				}
			}
			if j == nil {
				return
			}
			out := Segment{ID: fmt.Sprintf("m%06d", id), Table: "flows", Bytes: j.Bytes, Rows: j.Rows, Level: j.Level,
				MinTime: j.Inputs[0].MinTime, MaxTime: j.Inputs[0].MaxTime, MinIndex: j.MinIndex, MaxIndex: j.MaxIndex}
			id++
			gone := map[string]bool{}
			for _, s := range j.Inputs {
				if Day(s.MinTime) != j.Day {
					t.Fatal("merged across days")
				}
				gone[s.ID] = true
				out.MinTime, out.MaxTime = min(out.MinTime, s.MinTime), max(out.MaxTime, s.MaxTime)
			}
			all = append(slices.DeleteFunc(all, func(s Segment) bool { return gone[s.ID] }), out)
			written += j.Bytes
		}
	}
	for now := int64(0); now < int64(lasts); now += int64(every) {
		s := Segment{ID: fmt.Sprintf("f%06d", id), Table: "flows", Bytes: flush(), MinTime: now, MaxTime: min(now+int64(every), (Day(now)+1)*dayNanos) - 1,
			MinIndex: uint64(id), MaxIndex: uint64(id)}
		s.Rows = s.Bytes / 30
		rows += s.Rows
		id++
		all = append(all, s)
		written += s.Bytes
		flushed += s.Bytes
		compact(now)
		perDay := map[int64]int{}
		for _, s := range all {
			if s.Bytes < 64*mib {
				perDay[Day(s.MinTime)]++
				files = max(files, perDay[Day(s.MinTime)])
			}
		}
	}
	compact(int64(lasts) + 2*dayNanos)
	sum := int64(0)
	for _, s := range all {
		sum += s.Rows
	}
	if sum != rows {
		t.Fatalf("%d rows of %d are left", sum, rows)
	}
	return written, flushed, files
}

// Under steady loads of any size the number of files stays bounded, and rows are not rewritten too often.
func TestSimulation(t *testing.T) {
	f := func(name string, size int64, every, lasts time.Duration, maxAmplification float64, maxFiles int) {
		t.Helper()
		rng := rand.New(rand.NewPCG(1, 1))
		flush := func() int64 { return size/2 + rng.Int64N(size) }
		written, flushed, files := simulate(t, rng, flush, every, lasts, Options{})
		amplification := float64(written) / float64(flushed)
		t.Logf("%s: written %.2f times, at most %d files that may still be merged in a partition", name, amplification, files)
		if amplification > maxAmplification || files > maxFiles {
			t.Errorf("%s: written %.2f times with %d files, want %.1f and %d", name, amplification, files, maxAmplification, maxFiles)
		}
	}
	f("1 M rows/s", 16*mib, 500*time.Millisecond, 30*time.Minute, 2, 16)
	f("100 k rows/s", 16*mib, 5*time.Second, 6*time.Hour, 2, 16)
	f("20 k rows/s", 16*mib, 25*time.Second, 30*time.Hour, 2, 16)
	f("2 k rows/s", 4*mib, time.Minute, 30*time.Hour, 3, 24)
	f("1 k rows/s", 2*mib, time.Minute, 30*time.Hour, 3, 24)
	f("idle", 20<<10, time.Minute, 72*time.Hour, 5.5, 48)
}

// Segments of late rows are merged with their like only, and not because their day is over.
func TestPickLate(t *testing.T) {
	var list []Segment
	add := func(n int, minTime, maxTime int64) {
		for range n {
			i := uint64(len(list) + 1)
			list = append(list, Segment{ID: fmt.Sprint(i), Table: "flows", Bytes: 1000, MinTime: minTime, MaxTime: maxTime, MinIndex: i, MaxIndex: i})
		}
	}
	now := 100 * dayNanos
	add(7, 10*dayNanos, 12*dayNanos)
	add(1, 10*dayNanos, 10*dayNanos+1)
	if j := Pick(list, now, Options{}); j != nil {
		t.Fatalf("%+v", j)
	}
	add(1, 11*dayNanos, 90*dayNanos)
	j := Pick(list, now, Options{})
	if j == nil || len(j.Inputs) != 8 {
		t.Fatalf("%+v", j)
	}
	for _, s := range j.Inputs {
		if !Late(s.MinTime, s.MaxTime) {
			t.Fatalf("%+v is merged with late rows", s)
		}
	}
}
