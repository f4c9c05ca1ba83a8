// Package compact decides which segments are merged or dropped, and merges them (docs/format/compaction.md). The decisions
// are pure functions of the list of segments and the time; carrying them out is the caller's.
package compact

import (
	"cmp"
	"slices"
	"time"

	"github.com/flowlake/flowlake/db/schema"
)

// Segment is what the policy knows about a segment.
type Segment struct {
	ID         string // the caller's name for it; breaks ties
	Table      string
	Resolution string
	Rows       int64
	Bytes      int64
	Level      int
	// MinTime and MaxTime bound the rows' time, Unix nanoseconds. Both lie in one UTC day, or the segment is one of late
	// rows (Late).
	MinTime, MaxTime   int64
	MinIndex, MaxIndex uint64 // log
	// WrittenNanos is when its youngest rows went to disk, Unix nanoseconds; 0 when not known.
	WrittenNanos int64
	// Busy segments are being merged already and are left alone.
	Busy bool
}

// Options tune Pick. Zero values take the defaults.
type Options struct {
	// MinFiles is the number of segments of similar size that are worth a merge; default 8.
	MinFiles int
	// MaxFiles is the largest number of segments in one merge; default 16. Memory grows with it.
	MaxFiles int
	// MaxBytes is the size an output may reach; segments of an eighth of it are never merged again. Default 512 MiB.
	MaxBytes int64
	// Settle is how long after the end of its day a partition counts as complete: then what is left over is merged,
	// too. Default 1 h.
	Settle time.Duration
}

func (o *Options) fill() {
	if o.MinFiles < 2 {
		o.MinFiles = 8
	}
	if o.MaxFiles == 0 {
		o.MaxFiles = 16
	}
	o.MaxFiles = max(o.MaxFiles, o.MinFiles)
	if o.MaxBytes == 0 {
		o.MaxBytes = 512 << 20
	}
	if o.Settle == 0 {
		o.Settle = time.Hour
	}
}

// Job is a merge that is worth doing.
type Job struct {
	Table, Resolution string
	Day               int64     // UTC day of all rows, days since 1970; of late segments, that of the first
	Inputs            []Segment // in the order in which equal rows must come: by log index
	Level             int       // of the output
	Bytes, Rows       int64     // of all inputs
	MinIndex          uint64
	MaxIndex          uint64
}

const dayNanos = int64(24 * time.Hour)

// Late says whether a segment that holds these times is one of late rows: of several days, which would make too many files
// if each had its own. Its rows are in order of the day, then in the table's; it is merged with its like only.
func Late(minTime, maxTime int64) bool { return Day(minTime) != Day(maxTime) }

// DayMajor is a table whose order is the day first, then t's: the order of the rows of late segments.
func DayMajor(t *schema.Table) *schema.Table {
	out := *t
	out.Sort = append([]schema.SortTerm{{Column: t.TimeColumn, Bucket: dayNanos}}, t.Sort...)
	return &out
}

// Day is the UTC day of a time, in days since 1970.
func Day(nanos int64) int64 {
	d := nanos / dayNanos
	if nanos%dayNanos < 0 {
		d--
	}
	return d
}

type partition struct {
	table, resolution string
	late              bool
	day               int64 // 0 for late segments
}

// Pick chooses the next merge, nil when nothing is worth one. Among the candidates it takes the smallest files first,
// since they cost queries most and the merge least. Equal arguments give equal answers, whatever the order of segments.
func Pick(segments []Segment, now int64, o Options) *Job {
	o.fill()
	var best []Segment
	bestTier := 0
	for _, list := range partitions(segments, o.MaxBytes/8) {
		run, tier := pickTier(list, o)
		if run == nil && !Late(list[0].MinTime, list[0].MaxTime) && now >= (Day(list[0].MinTime)+1)*dayNanos+int64(o.Settle) {
			run, tier = pickRest(list, o), lastTier
		}
		if run != nil && (best == nil || tier < bestTier) {
			best, bestTier = run, tier
		}
	}
	if best == nil {
		return nil
	}
	return newJob(best)
}

// partitions are the mergeable segments by table, resolution and day, in a fixed order; each list is in order of time.
func partitions(segments []Segment, final int64) [][]Segment {
	byKey := map[partition][]Segment{}
	for _, s := range segments {
		if s.Busy || s.Bytes >= final {
			continue
		}
		k := partition{table: s.Table, resolution: s.Resolution, late: Late(s.MinTime, s.MaxTime)}
		if !k.late {
			k.day = Day(s.MinTime)
		}
		byKey[k] = append(byKey[k], s)
	}
	keys := make([]partition, 0, len(byKey))
	for k := range byKey {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b partition) int {
		late := 0
		if a.late != b.late {
			late = 1
			if b.late {
				late = -1
			}
		}
		return cmp.Or(late, cmp.Compare(b.day, a.day), cmp.Compare(a.table, b.table), cmp.Compare(a.resolution, b.resolution))
	})
	lists := make([][]Segment, len(keys))
	for i, k := range keys {
		lists[i] = byKey[k]
		slices.SortFunc(lists[i], func(a, b Segment) int {
			return cmp.Or(cmp.Compare(a.MinTime, b.MinTime), cmp.Compare(a.MinIndex, b.MinIndex), cmp.Compare(a.ID, b.ID))
		})
	}
	return lists
}

// Tiers are sizes that differ by a factor of 16: below 256 KiB, below 4 MiB, below 64 MiB, the rest. Eight files of a tier
// make one of the next or of the upper half of their own, so a row is rewritten once or twice in a tier; what a flush of the
// default size makes (8 MiB and more) is rewritten once in all.
const (
	lastTier   = 3
	firstBytes = 256 << 10
	tierFactor = 16
)

func tierOf(bytes int64) int {
	t, limit := 0, int64(firstBytes)
	for t < lastTier && bytes >= limit {
		t, limit = t+1, limit*tierFactor
	}
	return t
}

// pickTier is the oldest segments of the lowest tier that has enough of them.
func pickTier(list []Segment, o Options) (run []Segment, tier int) {
	for tier = range lastTier + 1 {
		var same []Segment
		for _, s := range list {
			if tierOf(s.Bytes) == tier {
				same = append(same, s)
			}
		}
		if len(same) < o.MinFiles {
			continue
		}
		var sum int64
		for _, s := range same {
			if len(run) == o.MaxFiles || sum+s.Bytes > o.MaxBytes {
				break
			}
			run = append(run, s)
			sum += s.Bytes
		}
		// Fewer may fit than MinFiles, when files are large: then the output is as large as it may be.
		if len(run) >= 2 {
			return run, tier
		}
		run = nil
	}
	return nil, 0
}

// pickRest merges what a finished day has left over, the smallest first. The largest is taken along only while the others
// make up half of it, so that a late trickle does not rewrite a large file again and again.
func pickRest(list []Segment, o Options) []Segment {
	bySize := slices.Clone(list)
	slices.SortStableFunc(bySize, func(a, b Segment) int { return cmp.Compare(a.Bytes, b.Bytes) })
	n, sum := 0, int64(0)
	for i, s := range bySize {
		if i == o.MaxFiles || sum+s.Bytes > o.MaxBytes {
			break
		}
		if i > 0 && s.Bytes <= 2*sum {
			n = i + 1
		}
		sum += s.Bytes
	}
	if n < 2 {
		return nil
	}
	return bySize[:n]
}

// Backlog is how many segments are due to be merged: those of tiers that have enough of them. What Pick leaves alone until there
// are more of a size, or until its day is over, is none of them.
func Backlog(segments []Segment, o Options) (n int) {
	o.fill()
	for _, list := range partitions(segments, o.MaxBytes/8) {
		var tiers [lastTier + 1]int
		for _, s := range list {
			tiers[tierOf(s.Bytes)]++
		}
		for _, k := range tiers {
			if k >= o.MinFiles {
				n += k
			}
		}
	}
	return n
}

func newJob(run []Segment) *Job {
	run = slices.Clone(run)
	slices.SortFunc(run, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(a.MinIndex, b.MinIndex), cmp.Compare(a.MaxIndex, b.MaxIndex), cmp.Compare(a.ID, b.ID))
	})
	j := &Job{Table: run[0].Table, Resolution: run[0].Resolution, Day: Day(run[0].MinTime), Inputs: run, MinIndex: run[0].MinIndex}
	for _, s := range run {
		j.Level = max(j.Level, s.Level+1)
		j.Bytes += s.Bytes
		j.Rows += s.Rows
		j.MaxIndex = max(j.MaxIndex, s.MaxIndex)
	}
	return j
}

// Expired are the segments whose rows are all past their table's retention: older than it by their own time and on disk
// for as long. Late rows and imported files thus live as long as any other. A retention of 0 keeps for ever.
func Expired(segments []Segment, retention func(table, resolution string) time.Duration, now int64) []Segment {
	var out []Segment
	for _, s := range segments {
		keep := retention(s.Table, s.Resolution)
		if keep <= 0 || s.Busy {
			continue
		}
		if max(s.MaxTime, s.WrittenNanos) < now-int64(keep) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Segment) int {
		return cmp.Or(cmp.Compare(a.Table, b.Table), cmp.Compare(a.Resolution, b.Resolution), cmp.Compare(a.MinTime, b.MinTime), cmp.Compare(a.ID, b.ID))
	})
	return out
}
