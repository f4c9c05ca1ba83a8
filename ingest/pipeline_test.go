package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/ingest/enrich"
)

// sink keeps what it is given; gate, when not nil, is received from before each write.
type sink struct {
	mu      sync.Mutex
	batches []*batch.Batch
	gate    chan struct{}
	fail    func(b *batch.Batch) error
}

func (s *sink) Write(ctx context.Context, b *batch.Batch) error {
	if s.gate != nil {
		select {
		case <-s.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(b); err != nil {
			return err
		}
	}
	s.batches = append(s.batches, b)
	return nil
}

func (s *sink) values(t *testing.T) []int64 {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []int64
	for _, b := range s.batches {
		out = append(out, b.Cols[0].I64...)
	}
	slices.Sort(out)
	return out
}

func samples(times ...int64) *batch.Batch {
	b := batch.NewBuilder(schema.Samples())
	for _, at := range times {
		b.Int(0, at)
		b.Float(2, 1)
		b.EndRow()
	}
	return b.Seal()
}

var base = time.Unix(1_700_000_000, 0)

func clock(o *Options) { o.Now = func() time.Time { return base } }

// together has the writes wait in the queue at once: the first is alone with the sink, whose gate is closed, until the
// others are queued for the table; then the gate opens. The errors are returned in order.
func together(t *testing.T, p *Pipeline, s *sink, table *schema.Table, batches []*batch.Batch) []error {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	until := func(what string, done func() bool) {
		t.Helper()
		for !done() {
			if time.Now().After(deadline) {
				t.Fatal(what)
			}
			time.Sleep(time.Millisecond)
		}
	}
	errs := make([]error, len(batches))
	var wg sync.WaitGroup
	write := func(i int) {
		wg.Add(1)
		go func() { defer wg.Done(); errs[i] = p.Write(context.Background(), batches[i]) }()
	}
	write(0)
	until("the first write did not reach the sink", func() bool { return p.Metrics().Groups == 1 })
	for i := 1; i < len(batches); i++ {
		write(i)
	}
	until("the writers did not queue up", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.queue[table]) == len(batches)-1
	})
	close(s.gate)
	wg.Wait()
	return errs
}

func TestConcurrentWritesTravelTogether(t *testing.T) {
	table := schema.Samples()
	s := &sink{gate: make(chan struct{})}
	p := New(s, clock)
	const writers = 20
	var batches []*batch.Batch
	for i := range writers {
		b := samples(int64(i))
		b.Table = table // the same table for all: what is put together
		batches = append(batches, b)
	}
	errs := together(t, p, s, table, batches)
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := s.values(t); len(got) != writers || got[0] != 0 || got[writers-1] != writers-1 {
		t.Fatalf("values %v", got)
	}
	if m := p.Metrics(); m.Groups != 2 || m.Rows != writers || m.Batches != writers {
		t.Fatalf("%d writes made %d groups: %+v", writers, m.Groups, m)
	}
}

func TestOneBadBatchDoesNotHurtOthers(t *testing.T) {
	table := schema.Samples()
	s := &sink{gate: make(chan struct{})}
	s.fail = func(b *batch.Batch) error {
		if slices.Contains(b.Cols[0].I64, 13) {
			return fmt.Errorf("thirteen: %w", batch.ErrRefused)
		}
		return nil
	}
	p := New(s, clock)
	var wg sync.WaitGroup
	errs := make([]error, 15)
	for i := range errs {
		wg.Add(1)
		go func() {
			defer wg.Done()
			b := samples(int64(i))
			b.Table = table
			errs[i] = p.Write(context.Background(), b)
		}()
	}
	close(s.gate)
	wg.Wait()
	for i, err := range errs {
		if errors.Is(err, batch.ErrRefused) != (i == 13) {
			t.Errorf("batch %d: %v", i, err)
		}
	}
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if got := s.values(t); len(got) != 14 {
		t.Fatalf("values %v", got)
	}
	if m := p.Metrics(); m.Refused["store"] != 1 || m.Rows != 14 {
		t.Fatalf("%+v", m)
	}
}

func TestFutureRowsAreDroppedAndCounted(t *testing.T) {
	s := &sink{}
	p := New(s, clock, func(o *Options) { o.MaxFuture = time.Minute })
	now := base.UnixNano()
	in := samples(now-1e18, now, now+59e9, now+61e9, now+1e18)
	if err := p.Write(context.Background(), in); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(context.Background(), samples(now+2e18)); err != nil {
		t.Fatal(err)
	}
	if got, want := s.values(t), []int64{now - 1e18, now, now + 59e9}; !slices.Equal(got, want) {
		t.Fatalf("stored %v, want %v", got, want)
	}
	if m := p.Metrics(); m.Dropped["future"] != 3 {
		t.Fatalf("%+v", m)
	}
	if in.N != 5 {
		t.Fatal("the sealed batch was changed")
	}
	p.Close(context.Background())
}

func TestMalformedBatchesAreRefused(t *testing.T) {
	p := New(&sink{}, clock)
	defer p.Close(context.Background())
	noTime := samples(1)
	noTime.Cols[0] = nil
	short := samples(1)
	short.Cols[2] = &batch.Vector{Type: schema.Double}
	wide := samples(1)
	wide.Cols = append(wide.Cols, &batch.Vector{Type: schema.Double, F64: []float64{1}})
	other := samples(1)
	other.Cols[2] = &batch.Vector{Type: schema.BigInt, I64: []int64{1}}
	bad := map[string]*batch.Batch{"no time": noTime, "short": short, "too wide": wide, "other type": other, "no table": {N: 1},
		"fewer than no rows": {Table: schema.Samples(), N: -1}}
	for what, b := range bad {
		if err := p.Write(context.Background(), b); !errors.Is(err, ErrBadRows) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if m := p.Metrics(); m.Refused["bad_rows"] != int64(len(bad)-1) || m.Rows != 0 {
		t.Errorf("%+v", m)
	}
}

// logs is one row of the table, from someone.
func logs(t *schema.Table, who string) *batch.Batch {
	b := batch.NewBuilder(t)
	b.Int(t.TimeColumn, 1)
	b.String(t.MustColumn("body"), who)
	b.Tags(t.MustColumn("tags"), tags.AppendSet(nil, tags.Tag{Key: "who", Value: who}))
	b.EndRow()
	return b.Seal()
}

// TestBadBatchesDoNotReachTheWorker: batches that are not what they claim are refused before they wait with good ones, and
// rows of several senders that are put together keep what belongs to them.
func TestBadBatchesDoNotReachTheWorker(t *testing.T) {
	table := schema.Logs()
	body, set := table.MustColumn("body"), table.MustColumn("tags")
	change := func(col int, v *batch.Vector) *batch.Batch {
		b := logs(table, "bad")
		b.Cols[col] = v
		return b
	}
	bad := []*batch.Batch{
		change(body, &batch.Vector{Type: schema.Varchar, Codes: []uint32{7}, Dict: batch.DictOf("a")}),
		change(body, &batch.Vector{Type: schema.Varchar, Codes: []uint32{0}}),
		change(set, &batch.Vector{Type: schema.TagSet, Codes: []uint32{0}}),
		change(set, &batch.Vector{Type: schema.TagSet, Codes: []uint32{2}, Dict: batch.DictOf("")}),
		change(table.TimeColumn, &batch.Vector{Type: schema.Timestamp, I64: []int64{1}, Valid: batch.NewBitmap(1)}),
	}
	s := &sink{gate: make(chan struct{})}
	p := New(s, clock, func(o *Options) { o.Enricher = enrich.New() })
	for i, b := range bad {
		if err := p.Write(context.Background(), b); !errors.Is(err, ErrBadRows) || !errors.Is(err, batch.ErrRefused) {
			t.Errorf("bad batch %d: %v", i, err)
		}
	}
	const good = 6
	var batches []*batch.Batch
	for i := range good {
		batches = append(batches, logs(table, fmt.Sprint(i)))
	}
	if err := errors.Join(together(t, p, s, table, batches)...); err != nil {
		t.Errorf("good batches: %v", err)
	}
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, b := range s.batches {
		for i := range b.N {
			rows++
			who := string(b.Cols[body].Bytes(i))
			if want := tags.AppendSet(nil, tags.Tag{Key: "who", Value: who}); string(b.Cols[set].Bytes(i)) != string(want) {
				t.Errorf("row of %q has the tags %q", who, b.Cols[set].Bytes(i))
			}
		}
	}
	if m := p.Metrics(); rows != good || m.Rows != good || m.Groups != 2 || m.Refused["bad_rows"] != int64(len(bad)) {
		t.Fatalf("%d rows, %+v", rows, m)
	}
}

// spoiler is an Enricher that breaks the batches of one sender.
type spoiler struct{}

func (spoiler) Enrich(b *batch.Batch) *batch.Batch {
	body := b.Table.MustColumn("body")
	if string(b.Cols[body].Bytes(0)) != "bad" {
		return b
	}
	cols := slices.Clone(b.Cols)
	cols[body] = &batch.Vector{Type: schema.Varchar, Codes: []uint32{9}, Dict: batch.DictOf("x")}
	return &batch.Batch{Table: b.Table, N: b.N, Cols: cols}
}

// TestBatchesThatDoNotGoTogetherAreWrittenAlone: what an enricher broke is the sink's to refuse.
func TestBatchesThatDoNotGoTogetherAreWrittenAlone(t *testing.T) {
	table := schema.Logs()
	s := &sink{gate: make(chan struct{}), fail: func(b *batch.Batch) error {
		if err := batch.Check(b); err != nil {
			return fmt.Errorf("%w: %w", batch.ErrRefused, err)
		}
		return nil
	}}
	p := New(s, clock, func(o *Options) { o.Enricher = spoiler{} })
	names := []string{"a", "b", "bad", "c"}
	var batches []*batch.Batch
	for _, who := range names {
		batches = append(batches, logs(table, who))
	}
	errs := together(t, p, s, table, batches)
	for i, who := range names {
		if errors.Is(errs[i], batch.ErrRefused) != (who == "bad") {
			t.Errorf("%s: %v", who, errs[i])
		}
	}
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
}

// TestOptionsOfZeroMeanDefaults: also where a caller's function sets them so.
func TestOptionsOfZeroMeanDefaults(t *testing.T) {
	for what, o := range map[string]Options{"zero": {}, "negative": {MaxRows: -1, QueueBytes: -1, MaxFuture: -time.Second}} {
		s := &sink{}
		p := New(s, func(into *Options) { *into = o })
		now := time.Now().UnixNano()
		if err := p.Write(context.Background(), samples(now, now+int64(5*time.Minute), now+int64(time.Hour))); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if m := p.Metrics(); m.Rows != 2 || m.Dropped["future"] != 1 {
			t.Errorf("%s: %+v", what, m)
		}
		if p.o.MaxRows != 16384 || p.o.QueueBytes != 128<<20 {
			t.Errorf("%s: %+v", what, p.o)
		}
		if err := p.Close(context.Background()); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	p := New(&sink{}, func(o *Options) { o.MaxRows = 1 << 40 })
	if p.o.MaxRows != batch.MaxRows {
		t.Errorf("groups of %d rows", p.o.MaxRows)
	}
	p.Close(context.Background())
}

// TestGroupsAreBoundedByBytes: large batches are not copied into one.
func TestGroupsAreBoundedByBytes(t *testing.T) {
	table := schema.Logs()
	p := &Pipeline{queue: map[*schema.Table][]*waiting{}, room: make(chan struct{})}
	p.o.ensureDefaults()
	for range 5 {
		if err := p.enqueue(context.Background(), &waiting{b: logs(table, "x"), size: groupBytes / 2}); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []int{2, 2, 1, 0} {
		if group, _ := p.take(); len(group) != want {
			t.Errorf("group %d has %d batches, want %d", i, len(group), want)
		}
	}
	if p.bytes != 0 {
		t.Errorf("%d bytes are left over", p.bytes)
	}
}

func TestFullQueueMakesWritersWait(t *testing.T) {
	s := &sink{gate: make(chan struct{})}
	p := New(s, clock, func(o *Options) { o.QueueBytes = 1 })
	first := make(chan error, 1)
	go func() { first <- p.Write(context.Background(), samples(1)) }()
	second := make(chan error, 1)
	deadline := time.Now().Add(time.Minute)
	for p.Metrics().Groups == 0 { // until the first has left the queue for the sink
		if time.Now().After(deadline) {
			t.Fatal("the first write did not reach the sink")
		}
		time.Sleep(time.Millisecond)
	}
	go func() { second <- p.Write(context.Background(), samples(2)) }()
	for p.Metrics().QueueBytes == 0 {
		if time.Now().After(deadline) {
			t.Fatal("the second write is not queued")
		}
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := p.Write(ctx, samples(3)); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a write to a full queue: %v", err)
	}
	close(s.gate)
	if err := errors.Join(<-first, <-second); err != nil {
		t.Fatal(err)
	}
	if err := p.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := p.Write(context.Background(), samples(4)); !errors.Is(err, ErrClosed) {
		t.Fatalf("write after close: %v", err)
	}
	if m := p.Metrics(); m.Refused["queue_full"] != 1 || m.Refused["closed"] != 1 {
		t.Fatalf("%+v", m)
	}
	if got := s.values(t); !slices.Equal(got, []int64{1, 2}) {
		t.Fatalf("stored %v", got)
	}
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	s := &sink{gate: make(chan struct{})} // never opens
	p := New(s, clock)
	result := make(chan error, 1)
	go func() { result <- p.Write(context.Background(), samples(1)) }()
	for deadline := time.Now().Add(time.Minute); p.Metrics().Groups == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the write did not reach the sink")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	err := p.Close(ctx)
	if got := <-result; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(got, context.Canceled) {
		t.Fatalf("close: %v, write: %v", err, got)
	}
}
