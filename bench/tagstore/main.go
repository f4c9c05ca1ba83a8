// Command tagstore measures what distinct tag sets cost: the memory and CPU time of adding them, finding them, filtering by
// them and asking which key multiplies them, and their files, which a start reads. docs/adr/0009 has figures.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/flowlake/flowlake/bench/workload"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// result is what is printed. Times are CPU time, of all threads, which other processes on the machine change little.
type result struct {
	Sets          int     `json:"sets"`
	EncodedBytes  float64 `json:"encoded_bytes_per_set"`
	HeapBytes     float64 `json:"heap_bytes_per_set"`
	CountedBytes  float64 `json:"counted_bytes_per_set"` // tags.Stats.Bytes
	AddNanos      float64 `json:"add_ns_per_set"`
	HotNanos      float64 `json:"lookup_hot_ns"`
	ColdNanos     float64 `json:"lookup_cold_ns"`
	ValueNanos    float64 `json:"value_ns"`
	FewMillis     float64 `json:"equal_4_values_ms"`
	ManyMillis    float64 `json:"equal_5000_values_ms"`
	UniqueMillis  float64 `json:"equal_unique_ms"`
	FileBytes     float64 `json:"file_bytes_per_set"`
	WriteNanos    float64 `json:"write_cpu_ns_per_set"` // Write and Flush of a row for each set
	StartSeconds  float64 `json:"start_cpu_s"`
	StartWall     float64 `json:"start_s"`
	StartHeapByte float64 `json:"start_heap_bytes_per_set"`
	TagFiles      int     `json:"tag_files"`

	making float64 // CPU time of making all sets, which is taken from what needs them made
}

func main() {
	sets := flag.Int("sets", 1_000_000, "`number` of distinct tag sets")
	kind := flag.String("values", "pods", "`pods`: 18 tags, of which pod and container id differ in each set; shared: none differs in all, up to 5,000 values of 16 characters")
	store := flag.Bool("store", true, "also write them to a database and open it again")
	flag.Parse()
	r, err := measure(*sets, *kind, *store, os.Stderr)
	if err == nil {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		err = enc.Encode(r)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "tagstore: %v\n", err)
		os.Exit(1)
	}
}

// maker makes the i-th set of a kind.
func maker(kind string) (func(dst []byte, i int) []byte, error) {
	switch kind {
	case "pods":
		return workload.PodSet, nil
	case "shared":
		return workload.SharedSet, nil
	}
	return nil, fmt.Errorf("there are no values %q", kind)
}

func heap() float64 {
	runtime.GC() // twice, since pools are emptied by the second
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// cpu is the CPU time that f takes, in nanoseconds.
func cpu(f func()) float64 {
	before := workload.CPUTime()
	f()
	return float64(workload.CPUTime() - before)
}

func measure(n int, kind string, store bool, log io.Writer) (*result, error) {
	set, err := maker(kind)
	if err != nil {
		return nil, err
	}
	r := &result{Sets: n}
	limits := tags.Limits{MaxSets: 2*n + 8, MaxBytes: 3 << 30, MaxValues: 2*n + 8}
	if err := r.memory(n, limits, set); err != nil || !store {
		return r, err
	}
	fmt.Fprintf(log, "in memory: %.0f B and %.0f ns a set\n", r.HeapBytes, r.AddNanos)
	dir, err := os.MkdirTemp("", "flowlake-tagstore-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	return r, r.disk(dir, n, set)
}

// memory measures a store.
func (r *result) memory(n int, limits tags.Limits, set func([]byte, int) []byte) error {
	var enc []byte
	var err error
	all := 0
	r.making = cpu(func() {
		for i := range n {
			enc = set(enc[:0], i)
			all += len(enc)
		}
	})
	r.EncodedBytes = float64(all) / float64(n)
	before := heap()
	s := tags.New(limits)
	r.AddNanos = (cpu(func() {
		for i := range n {
			enc = set(enc[:0], i)
			if _, _, e := s.Intern(enc); e != nil {
				err = e
				return
			}
		}
	}) - r.making) / float64(n)
	if err != nil {
		return err
	}
	st := s.Stats()
	r.HeapBytes = (heap() - before - float64(st.Recent)) / float64(n)
	r.CountedBytes = float64(st.Bytes) / float64(n)

	const asked = 200_000
	hot := make([][]byte, min(n, 4000))
	for i := range hot {
		hot[i] = set(nil, n-1-i)
	}
	for range 3 {
		for _, enc := range hot {
			s.Lookup(enc)
		}
	}
	r.HotNanos = cpu(func() {
		for i := range asked {
			s.Lookup(hot[i%len(hot)])
		}
	}) / asked
	cold := make([][]byte, min(n, asked))
	for i := range cold {
		cold[i] = set(nil, int(uint64(i)*2654435761%uint64(n)))
	}
	r.ColdNanos = cpu(func() {
		for _, enc := range cold {
			s.Lookup(enc)
		}
	}) / float64(len(cold))
	v := s.View()
	r.ValueNanos = cpu(func() {
		for i := range asked {
			v.Value(uint32(1+uint64(i)*2654435761%uint64(n)), "service")
		}
	}) / asked
	millis := func(key string) float64 {
		const times = 5
		value, _ := v.Value(uint32(n/2+1), key)
		return cpu(func() {
			for range times {
				v.Equal(key, value)
			}
		}) / times / 1e6
	}
	r.FewMillis, r.ManyMillis, r.UniqueMillis = millis("az"), millis("service"), millis("pod")
	runtime.KeepAlive(s)
	return nil
}

// disk writes a row for each set to a database, and opens it again.
func (r *result) disk(dir string, n int, set func([]byte, int) []byte) error {
	ctx := context.Background()
	opts := func(o *db.Options) {
		o.MaxTagSets, o.MaxTagBytes, o.MaxTagValues = 2*n+8, 3<<30/4*3, 2*n+8
		o.NoSync, o.Retention = true, map[string]time.Duration{"samples": 0}
	}
	d, err := db.Open(dir, opts)
	if err != nil {
		return err
	}
	r.WriteNanos = (cpu(func() {
		for at := 0; at < n && err == nil; at += workload.BatchRows {
			err = d.Write(ctx, rows(at, min(workload.BatchRows, n-at), set))
		}
		if err == nil {
			err = d.Flush(ctx)
		}
	}) - r.making) / float64(n)
	if err != nil {
		return err
	}
	if err := errors.Join(d.Compact(ctx), d.Close()); err != nil {
		return err
	}
	size := int64(0)
	err = filepath.WalkDir(filepath.Join(dir, "tags"), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			size += info.Size()
			r.TagFiles++
		}
		return err
	})
	if err != nil {
		return err
	}
	r.FileBytes = float64(size) / float64(n)
	d = nil // its memory is not to be taken from what the next one needs
	before := heap()
	began := time.Now()
	r.StartSeconds = cpu(func() { d, err = db.Open(dir, opts) }) / 1e9
	if err != nil {
		return err
	}
	r.StartWall = time.Since(began).Seconds()
	r.StartHeapByte = (heap() - before) / float64(n)
	if got := d.Tags().Len(); got != n+1 {
		return fmt.Errorf("%d tag sets after a start, not %d", got-1, n)
	}
	return d.Close()
}

// rows is a batch of samples, each with a tag set of its own.
func rows(at, n int, set func([]byte, int) []byte) *batch.Batch {
	t := schema.Samples()
	var dict batch.DictBuilder
	times, codes, values := make([]int64, n), make([]uint32, n), make([]float64, n)
	var enc []byte
	for i := range n {
		enc = set(enc[:0], at+i)
		times[i], codes[i], values[i] = 1767225600e9+int64(at+i), dict.Code(enc), 1
	}
	b := &batch.Batch{Table: t, N: n, Cols: make([]*batch.Vector, len(t.Columns))}
	b.Cols[t.TimeColumn] = &batch.Vector{Type: schema.Timestamp, I64: times}
	b.Cols[t.MustColumn("tags")] = &batch.Vector{Type: schema.TagSet, Codes: codes, Dict: dict.Seal()}
	b.Cols[t.MustColumn("value")] = &batch.Vector{Type: schema.Double, F64: values}
	return b
}
