package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v15/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// patience is how long a test waits for something that has to come.
const patience = time.Minute

// memBuffer is a Buffer in memory. It outlives its Client, as a folder does.
type memBuffer struct {
	mu    sync.Mutex
	first uint64
	recs  [][]byte
	fail  error
}

func newBuffer() *memBuffer { return &memBuffer{first: 1} }

func (b *memBuffer) Append(recs [][]byte) (uint64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fail != nil {
		return 0, b.fail
	}
	n := b.first + uint64(len(b.recs))
	b.recs = append(b.recs, recs...)
	return n, nil
}

func (b *memBuffer) Get(i uint64, _ []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i < b.first || i >= b.first+uint64(len(b.recs)) {
		return nil, fmt.Errorf("no record %d", i)
	}
	return b.recs[i-b.first], nil
}

func (b *memBuffer) Range(from uint64, fn func(uint64, []byte) error) error {
	for i := from; i < b.NextIndex(); i++ {
		if err := fn(i, b.recs[i-b.first]); err != nil {
			return err
		}
	}
	return nil
}

func (b *memBuffer) FirstIndex() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.recs) == 0 {
		return 0
	}
	return b.first
}

func (b *memBuffer) NextIndex() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.first + uint64(len(b.recs))
}

func (b *memBuffer) TruncateFront(upto uint64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(upto-b.first+1, uint64(len(b.recs)))
	b.first, b.recs = b.first+n, b.recs[n:]
	return nil
}

// memSink keeps the first value of column 0 of each batch.
type memSink struct {
	mu   sync.Mutex
	got  []int64
	fail func(v int64) error
}

func (s *memSink) Write(_ context.Context, b *batch.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := b.Cols[b.Table.TimeColumn].I64[0]
	if s.fail != nil {
		if err := s.fail(v); err != nil {
			return err
		}
	}
	s.got = append(s.got, v)
	return nil
}

func (s *memSink) values() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int64(nil), s.got...)
}

// rows is a batch of flows of n rows whose time is v.
func rows(v int64, n int) *batch.Batch {
	b := batch.NewBuilder(schema.Flows())
	for range n {
		b.Int(schema.Flows().TimeColumn, v)
		b.EndRow()
	}
	return b.Seal()
}

// house is a server in memory that can go away and come back.
type house struct {
	*testing.T
	mu     sync.Mutex
	l      *bufconn.Listener
	g      *grpc.Server
	server *Server
	sink   *memSink
}

func newHouse(t *testing.T, opts ...func(*ServerOptions)) *house {
	h := &house{T: t, sink: &memSink{}}
	h.server = NewServer(func() batch.Sink { return h.sink }, opts...)
	h.open()
	t.Cleanup(h.close)
	return h
}

func (h *house) open(opts ...grpc.ServerOption) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.l = bufconn.Listen(1 << 20)
	h.g = grpc.NewServer(append(opts, grpc.MaxRecvMsgSize(MaxMessageBytes))...)
	flight.RegisterFlightServiceServer(h.g, h.server)
	go func(g *grpc.Server, l net.Listener) { _ = g.Serve(l) }(h.g, h.l)
}

func (h *house) close() {
	h.mu.Lock()
	g := h.g
	h.mu.Unlock()
	g.Stop()
}

func (h *house) dial(ctx context.Context, _ string) (net.Conn, error) {
	h.mu.Lock()
	l := h.l
	h.mu.Unlock()
	return l.DialContext(ctx)
}

// agent starts a client of h that ends with the test, or when stop is called.
func (h *house) agent(buf Buffer, opts ...func(*ClientOptions)) (c *Client, stop func()) {
	h.Helper()
	conn, err := grpc.Dial("passthrough:///house", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(h.dial))
	if err != nil {
		h.Fatal(err)
	}
	c, err = NewClient(conn, buf, append([]func(*ClientOptions){func(o *ClientOptions) {
		o.Name, o.ID = "a1", [16]byte{1}
		o.RetryMin, o.RetryMax = time.Millisecond, 20*time.Millisecond
	}}, opts...)...)
	if err != nil {
		h.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); c.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done; _ = conn.Close() })
	h.Cleanup(stop)
	return c, stop
}

func (h *house) drain(c *Client) {
	h.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := c.Drain(ctx); err != nil {
		h.Fatalf("%v; %+v", err, c.Metrics())
	}
}

func (h *house) want(values ...int64) {
	h.Helper()
	if got := h.sink.values(); fmt.Sprint(got) != fmt.Sprint(values) {
		h.Errorf("stored %v, want %v", got, values)
	}
}

func write(t *testing.T, c *Client, values ...int64) {
	t.Helper()
	for _, v := range values {
		if err := c.Write(context.Background(), rows(v, 3)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRowsArrive(t *testing.T) {
	h := newHouse(t)
	c, _ := h.agent(newBuffer())
	write(t, c, 1, 2, 3)
	h.drain(c)
	h.want(1, 2, 3)
	m := c.Metrics()
	if m.Frames != 3 || m.Rows != 9 || m.BufferedFrames != 0 || m.BufferedBytes != 0 || m.BufferedRows != 0 || !m.Connected || m.LastSent.IsZero() {
		t.Errorf("client %+v", m)
	}
	s, agents := h.server.Metrics(), h.server.Agents()
	if s.Frames != 3 || s.Rows != 9 || s.Bytes != m.Bytes || s.Connected != 1 {
		t.Errorf("server %+v", s)
	}
	if len(agents) != 1 || agents[0].Name != "a1" || !agents[0].Connected || agents[0].Rows != 9 {
		t.Errorf("agents %+v", agents)
	}
}

// TestServerAway: rows wait in the buffer, also beyond the agent's own end, and arrive in order, once.
func TestServerAway(t *testing.T) {
	h := newHouse(t)
	buf := newBuffer()
	c, stop := h.agent(buf)
	write(t, c, 1)
	h.drain(c)
	h.close()
	write(t, c, 2, 3)
	stop()
	h.open()
	c, _ = h.agent(buf)
	write(t, c, 4)
	h.drain(c)
	h.want(1, 2, 3, 4)
}

// TestAnswerLost: what was stored while its answer was lost is not stored again.
func TestAnswerLost(t *testing.T) {
	h := newHouse(t)
	broken := errors.New("broken")
	h.close()
	var mu sync.Mutex
	n := 0
	h.open(grpc.StreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		return next(srv, &cutStream{ServerStream: ss, send: func() error { // every third answer is lost, and the call with it
			mu.Lock()
			defer mu.Unlock()
			if n++; n%3 == 0 {
				return broken
			}
			return nil
		}})
	}))
	c, _ := h.agent(newBuffer())
	var want []int64
	for v := range int64(20) {
		write(t, c, v)
		want = append(want, v)
	}
	h.drain(c)
	h.want(want...)
	if m := c.Metrics(); m.Connects < 3 {
		t.Errorf("%d calls: no answer was lost", m.Connects)
	}
}

type cutStream struct {
	grpc.ServerStream
	send func() error
}

func (s *cutStream) SendMsg(m any) error {
	if err := s.send(); err != nil {
		return err
	}
	return s.ServerStream.SendMsg(m)
}

func TestRefusedRowsAreLeftOut(t *testing.T) {
	h := newHouse(t)
	h.sink.fail = func(v int64) error {
		if v == 2 {
			return fmt.Errorf("%w: two", batch.ErrRefused)
		}
		return nil
	}
	var mu sync.Mutex
	var said []string
	c, _ := h.agent(newBuffer(), func(o *ClientOptions) {
		o.Error = func(err error) { mu.Lock(); defer mu.Unlock(); said = append(said, err.Error()) }
	})
	write(t, c, 1, 2, 3)
	h.drain(c)
	h.want(1, 3)
	if m := c.Metrics(); m.RefusedRows != 3 || m.Rows != 6 {
		t.Errorf("client %+v", m)
	}
	if m := h.server.Metrics(); m.RefusedFrames != 1 || m.RefusedRow != 3 {
		t.Errorf("server %+v", m)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(said) != 1 || !strings.Contains(said[0], "two") {
		t.Errorf("said %q", said)
	}
}

// TestStoreIsFull: the agent comes back until the store takes the rows.
func TestStoreIsFull(t *testing.T) {
	h := newHouse(t)
	var full int
	h.sink.fail = func(v int64) error {
		if full++; full < 4 {
			return errors.New("full")
		}
		return nil
	}
	c, _ := h.agent(newBuffer())
	write(t, c, 1, 2)
	h.drain(c)
	h.want(1, 2)
}

// TestBufferIsFull: the oldest rows go, counted.
func TestBufferIsFull(t *testing.T) {
	h := newHouse(t)
	h.close()
	frame, _ := batch.AppendFrame(nil, rows(1, 3))
	c, _ := h.agent(newBuffer(), func(o *ClientOptions) { o.BufferBytes = 2 * int64(len(frame)) })
	write(t, c, 1, 2, 3, 4, 5)
	if m := c.Metrics(); m.DroppedFrames != 3 || m.DroppedRows != 9 || m.BufferedFrames != 2 {
		t.Errorf("client %+v", m)
	}
	h.open()
	h.drain(c)
	h.want(4, 5)
}

// TestLostEnd: a buffer that has lost frames that the server has goes on under another name.
func TestLostEnd(t *testing.T) {
	h := newHouse(t)
	c, stop := h.agent(newBuffer())
	write(t, c, 1, 2, 3)
	h.drain(c)
	stop()
	renewed := 0
	c, _ = h.agent(newBuffer(), func(o *ClientOptions) {
		o.Renew = func() ([16]byte, error) { renewed++; return [16]byte{2}, nil }
	})
	write(t, c, 4)
	h.drain(c)
	h.want(1, 2, 3, 4)
	if renewed != 1 {
		t.Errorf("named anew %d times", renewed)
	}
}

func TestToken(t *testing.T) {
	h := newHouse(t, func(o *ServerOptions) { o.Token = "secret" })
	said := make(chan error, 1000)
	c, stop := h.agent(newBuffer(), func(o *ClientOptions) {
		o.Token = "wrong"
		o.Error = func(err error) { said <- err }
	})
	write(t, c, 1)
	select {
	case err := <-said:
		if !strings.Contains(err.Error(), "does not let this agent in") {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("nothing was said")
	}
	stop()
	if m := h.server.Metrics(); m.Unauthenticated == 0 || m.Calls != 0 {
		t.Errorf("server %+v", m)
	}
	c, _ = h.agent(newBuffer(), func(o *ClientOptions) { o.Token = "secret" })
	write(t, c, 2)
	h.drain(c)
	h.want(2)
}

// TestStrangeCalls: what is not the protocol ends the call with a reason.
func TestStrangeCalls(t *testing.T) {
	h := newHouse(t)
	conn, err := grpc.Dial("passthrough:///house", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithContextDialer(h.dial))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	good := (&hello{name: "x"}).message()
	for name, c := range map[string]struct {
		messages []*flight.FlightData
		code     codes.Code
	}{
		"no descriptor":   {[]*flight.FlightData{{AppMetadata: good.AppMetadata}}, codes.FailedPrecondition},
		"another path":    {[]*flight.FlightData{{FlightDescriptor: &flight.FlightDescriptor{Type: flight.DescriptorPATH, Path: []string{"x"}}, AppMetadata: good.AppMetadata}}, codes.FailedPrecondition},
		"another version": {[]*flight.FlightData{{FlightDescriptor: good.FlightDescriptor, AppMetadata: append([]byte{9}, good.AppMetadata[1:]...)}}, codes.FailedPrecondition},
		"short":           {[]*flight.FlightData{{FlightDescriptor: good.FlightDescriptor, AppMetadata: []byte{1, 2}}}, codes.FailedPrecondition},
		"no number":       {[]*flight.FlightData{good, {DataBody: []byte("x")}}, codes.FailedPrecondition},
	} {
		put, err := flight.NewFlightServiceClient(conn).DoPut(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range c.messages {
			_ = put.Send(m) // it may be over already
		}
		for err == nil {
			_, err = put.Recv()
		}
		if status.Code(err) != c.code {
			t.Errorf("%s: %v, want %v", name, err, c.code)
		}
	}
}

// TestDamagedFrame is refused; those behind it are not affected.
func TestDamagedFrame(t *testing.T) {
	h := newHouse(t)
	buf := newBuffer()
	if _, err := buf.Append([][]byte{[]byte("no frame")}); err != nil {
		t.Fatal(err)
	}
	c, _ := h.agent(buf)
	write(t, c, 1)
	h.drain(c)
	h.want(1)
	if m := h.server.Metrics(); m.RefusedFrames != 1 {
		t.Errorf("server %+v", m)
	}
}

func TestWriteAfterClose(t *testing.T) {
	h := newHouse(t)
	c, _ := h.agent(newBuffer())
	c.Close()
	if err := c.Write(context.Background(), rows(1, 1)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestBufferFails(t *testing.T) {
	h := newHouse(t)
	buf := newBuffer()
	buf.fail = errors.New("disk full")
	c, _ := h.agent(buf)
	if err := c.Write(context.Background(), rows(1, 2)); err == nil || !strings.Contains(err.Error(), "disk full") {
		t.Error(err)
	}
	if m := c.Metrics(); m.FailedRows != 2 {
		t.Errorf("client %+v", m)
	}
}

func TestAgentsAreForgotten(t *testing.T) {
	now := time.Unix(0, 0)
	s := NewServer(nil, func(o *ServerOptions) {
		o.MaxAgents, o.Now = 2, func() time.Time { now = now.Add(time.Second); return now }
	})
	for i := range 4 {
		a, _ := s.join(hello{id: [16]byte{byte(i)}, name: fmt.Sprint(i)}, context.Background())
		s.leave(a)
	}
	if got := s.Agents(); len(got) != 2 || got[0].Name != "2" || got[1].Name != "3" {
		t.Errorf("%+v", got)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add((&answer{1, 7, "no"}).message().AppMetadata, (&hello{name: "a"}).message().AppMetadata)
	f.Fuzz(func(t *testing.T, a, h []byte) {
		if got, err := parseAnswer(a); err == nil {
			if again, err := parseAnswer(got.message().AppMetadata); err != nil || again.number != got.number {
				t.Errorf("%+v, %+v, %v", got, again, err)
			}
		}
		d := (&hello{}).message()
		d.AppMetadata = h
		if got, err := parseHello(d); err == nil && len(got.name) > 4*maxName {
			t.Error("a long name")
		}
		_, _ = parseNumber(a)
	})
}
