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

func TestConcurrentWritesTravelTogether(t *testing.T) {
	table := schema.Samples()
	s := &sink{gate: make(chan struct{})}
	p := New(s, clock)
	const writers = 20
	var wg sync.WaitGroup
	errs := make([]error, writers)
	for i := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			b := samples(int64(i))
			b.Table = table // the same table for all: what is put together
			errs[i] = p.Write(context.Background(), b)
		}()
	}
	deadline := time.Now().Add(10 * time.Second)
	for queued := 0; queued < writers-1; { // one is in the sink's hands
		p.mu.Lock()
		queued = len(p.queue[table])
		p.mu.Unlock()
		if time.Now().After(deadline) {
			t.Fatal("the writers did not queue up")
		}
		time.Sleep(time.Millisecond)
	}
	close(s.gate)
	wg.Wait()
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
	for what, b := range map[string]*batch.Batch{"no time": noTime, "short": short, "too wide": wide, "other type": other, "no table": {N: 1}} {
		if err := p.Write(context.Background(), b); !errors.Is(err, ErrBadRows) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestFullQueueMakesWritersWait(t *testing.T) {
	s := &sink{gate: make(chan struct{})}
	p := New(s, clock, func(o *Options) { o.QueueBytes = 1 })
	first := make(chan error, 1)
	go func() { first <- p.Write(context.Background(), samples(1)) }()
	second := make(chan error, 1)
	deadline := time.Now().Add(10 * time.Second)
	for { // until the first is with the sink
		p.mu.Lock()
		free := p.bytes == 0 && len(p.order) == 0
		p.mu.Unlock()
		if free || time.Now().After(deadline) {
			break
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
	if got := s.values(t); !slices.Equal(got, []int64{1, 2}) {
		t.Fatalf("stored %v", got)
	}
}

func TestCloseGivesUpWithItsContext(t *testing.T) {
	s := &sink{gate: make(chan struct{})} // never opens
	p := New(s, clock)
	result := make(chan error, 1)
	go func() { result <- p.Write(context.Background(), samples(1)) }()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	time.Sleep(time.Millisecond)
	err := p.Close(ctx)
	got := <-result
	if err != nil && !errors.Is(got, context.Canceled) || err == nil && got != nil && !errors.Is(got, ErrClosed) {
		t.Fatalf("close: %v, write: %v", err, got)
	}
}
