package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/apache/arrow/go/v15/arrow/flight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// ErrClosed is returned by Write after Close.
var ErrClosed = errors.New("the sender is closed")

// Buffer keeps frames until the server has them: records with ascending numbers from 1. A *wal.Log is one. It belongs to
// the Client alone.
type Buffer interface {
	Append(recs [][]byte) (first uint64, err error)
	// Get returns the record in buf's memory or its own.
	Get(index uint64, buf []byte) ([]byte, error)
	Range(from uint64, fn func(index uint64, rec []byte) error) error
	FirstIndex() uint64
	NextIndex() uint64
	TruncateFront(upto uint64) error
}

// ClientOptions configure a Client. The zero value of a field means its default.
type ClientOptions struct {
	// Name of this agent; it is shown by the server.
	Name string
	// Tables are those that batches may be of; default schema.Builtin().
	Tables *schema.Registry
	// ID names the buffer; it is made once, with the buffer, and stays with it.
	ID [16]byte
	// Renew makes another ID and stores it, when the server has frames of this buffer that the buffer itself lacks: it has
	// lost its end, as after a power cut, and will give their numbers to others. Without it such a buffer is an error.
	Renew func() ([16]byte, error)
	// Token is presented to the server when it is not empty.
	Token string
	// BufferBytes bounds the frames that wait; past it the oldest are dropped and counted. Default 1 GiB.
	BufferBytes int64
	// UnderWayBytes bounds the frames that are sent and not answered. Default 8 MiB; at least one is.
	UnderWayBytes int64
	// RetryMin and RetryMax bound the pause before the next try, which doubles. Default 500 ms and 15 s.
	RetryMin, RetryMax time.Duration
	// Error is told why there is no connection, once per try, and of refused rows; default nobody. It is called from one
	// goroutine.
	Error func(error)
}

// Client is a batch.Sink that sends batches to a server. Write returns when the frame is in the buffer; Run sends.
type Client struct {
	o      ClientOptions
	conn   grpc.ClientConnInterface
	buffer Buffer

	mu      sync.Mutex // guards what follows
	queue   []queued   // frames without answer, by number from first on
	first   uint64
	bytes   int64
	closed  bool
	m       ClientMetrics
	arrived chan struct{} // has an element when there may be something to send
	emptied *sync.Cond    // something left the queue
}

// queued is a frame in the buffer.
type queued struct {
	bytes int64
	rows  int
}

// ClientMetrics is what a Client has sent and kept. Everything that was lost is in it.
type ClientMetrics struct {
	Connected             bool
	Connects              uint64
	Frames, Rows, Bytes   uint64 // answered: stored
	BufferedFrames        int
	BufferedRows          int64
	BufferedBytes         int64
	RefusedRows           uint64 // the server does not want them as they are
	DroppedFrames         uint64 // DroppedRows were in them: the buffer was full
	DroppedRows           uint64
	FailedRows            uint64 // could not be put into the buffer
	LastError             string // why there is no connection; "" while there is
	LastErrorAt, LastSent time.Time
}

var _ batch.Sink = (*Client)(nil)

// NewClient returns a Client that sends over conn what buffer has and what Write adds to it.
func NewClient(conn grpc.ClientConnInterface, buffer Buffer, opts ...func(*ClientOptions)) (*Client, error) {
	c := &Client{conn: conn, buffer: buffer, arrived: make(chan struct{}, 1)}
	for _, f := range opts {
		f(&c.o)
	}
	o := &c.o
	if o.Tables == nil {
		o.Tables = schema.Builtin()
	}
	if o.BufferBytes <= 0 {
		o.BufferBytes = 1 << 30
	}
	if o.UnderWayBytes <= 0 {
		o.UnderWayBytes = 8 << 20
	}
	if o.RetryMin <= 0 {
		o.RetryMin = 500 * time.Millisecond
	}
	if o.RetryMax < o.RetryMin {
		o.RetryMax = max(15*time.Second, o.RetryMin)
	}
	if o.Error == nil {
		o.Error = func(error) {}
	}
	c.emptied = sync.NewCond(&c.mu)
	c.first = buffer.NextIndex()
	if f := buffer.FirstIndex(); f > 0 {
		c.first = f
		err := buffer.Range(f, func(_ uint64, rec []byte) error {
			rows := 0
			if v, err := batch.Open(rec, o.Tables); err == nil { // what cannot be read the server refuses
				rows = v.N
			}
			c.add(int64(len(rec)), rows)
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the buffer: %w", err)
		}
	}
	return c, nil
}

// add notes a frame in the buffer. The caller holds mu, or is alone.
func (c *Client) add(bytes int64, rows int) {
	c.queue = append(c.queue, queued{bytes, rows})
	c.bytes += bytes
	c.m.BufferedRows += int64(rows)
	select {
	case c.arrived <- struct{}{}:
	default:
	}
}

// Write puts b into the buffer. It borrows b until it returns.
func (c *Client) Write(_ context.Context, b *batch.Batch) error {
	if b == nil || b.N == 0 {
		return nil
	}
	frame, err := batch.AppendFrame(nil, b)
	if err != nil {
		return fmt.Errorf("encode %d rows of %s: %w", b.N, b.Table.Name, err)
	}
	if len(frame) > maxFrame {
		return fmt.Errorf("%w: %d rows of %s take %d bytes, more than %d", batch.ErrRefused, b.N, b.Table.Name, len(frame), maxFrame)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return ErrClosed
	}
	n := 0
	for freed := int64(0); n < len(c.queue) && c.bytes-freed+int64(len(frame)) > c.o.BufferBytes; n++ {
		freed += c.queue[n].bytes
		c.m.DroppedFrames++
		c.m.DroppedRows += uint64(c.queue[n].rows)
	}
	if err := c.forget(n); err != nil {
		c.m.FailedRows += uint64(b.N)
		return err
	}
	if _, err := c.buffer.Append([][]byte{frame}); err != nil {
		c.m.FailedRows += uint64(b.N)
		return fmt.Errorf("buffer %d rows of %s: %w", b.N, b.Table.Name, err)
	}
	c.add(int64(len(frame)), b.N)
	return nil
}

// forget drops the n oldest frames. The caller holds mu.
func (c *Client) forget(n int) error {
	if n == 0 {
		return nil
	}
	for _, q := range c.queue[:n] {
		c.bytes -= q.bytes
		c.m.BufferedRows -= int64(q.rows)
	}
	c.queue = append(c.queue[:0], c.queue[n:]...)
	c.first += uint64(n)
	c.emptied.Broadcast()
	if err := c.buffer.TruncateFront(c.first - 1); err != nil {
		return fmt.Errorf("make room in the buffer: %w", err)
	}
	return nil
}

// Metrics is a snapshot.
func (c *Client) Metrics() ClientMetrics {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.m
	m.BufferedFrames, m.BufferedBytes = len(c.queue), c.bytes
	return m
}

// Close refuses further batches. What is in the buffer stays there for the next Client.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
}

// Drain waits until the server has all frames, or ctx ends.
func (c *Client) Drain(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.emptied.Broadcast()
	})
	defer stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.queue) > 0 && ctx.Err() == nil {
		c.emptied.Wait()
	}
	if n := len(c.queue); n > 0 {
		return fmt.Errorf("%d batches (%d bytes) are still in the buffer: %w", n, c.bytes, ctx.Err())
	}
	return nil
}

// Run sends until ctx ends, and comes back after every failure. It runs once.
func (c *Client) Run(ctx context.Context) {
	pause := c.o.RetryMin
	for ctx.Err() == nil {
		began := time.Now()
		answered, err := c.call(ctx)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		c.m.Connected = false
		if err != nil {
			c.m.LastError, c.m.LastErrorAt = err.Error(), time.Now()
		}
		c.mu.Unlock()
		if err != nil {
			c.o.Error(err)
		}
		if answered {
			pause = c.o.RetryMin
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(pause-time.Since(began), c.o.RetryMin)):
		}
		pause = min(2*pause, c.o.RetryMax)
	}
}

// call is one call of DoPut, until it fails. It says whether the server has taken anything.
func (c *Client) call(ctx context.Context) (answered bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.o.Token != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+c.o.Token)
	}
	put, err := flight.NewFlightServiceClient(c.conn).DoPut(ctx)
	if err != nil {
		return false, explain(err)
	}
	c.mu.Lock()
	greeting := (&hello{c.o.ID, c.o.Name}).message()
	c.mu.Unlock()
	if err := put.Send(greeting); err != nil && !errors.Is(err, io.EOF) {
		return false, explain(err)
	}
	welcome, err := receive(put)
	if err != nil {
		return false, explain(err)
	}
	next, err := c.welcome(welcome)
	if err != nil {
		return false, err
	}
	answers := make(chan error, 1)
	go func() { // ends with the call
		defer cancel()
		for {
			a, err := receive(put)
			if err == nil {
				err = c.answered(a)
			}
			if err != nil {
				answers <- err
				return
			}
			answered = true
		}
	}()
	sendErr := c.send(ctx, put, next)
	cancel()
	err = <-answers // why the call ended; sending only notices that it did
	if sendErr != nil && !errors.Is(sendErr, io.EOF) && status.Code(err) == codes.Canceled {
		err = sendErr
	}
	return answered, explain(err)
}

// receive waits for an answer.
func receive(put flight.FlightService_DoPutClient) (answer, error) {
	r, err := put.Recv()
	if err != nil {
		return answer{}, err
	}
	return parseAnswer(r.GetAppMetadata())
}

// welcome drops what the server has already and returns the number of the first frame to send.
func (c *Client) welcome(a answer) (next uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m.Connected, c.m.LastError = true, ""
	c.m.Connects++
	if a.number >= c.first {
		if a.number-c.first >= uint64(len(c.queue)) {
			return 0, c.renew(a.number)
		}
		if err := c.forget(int(a.number - c.first + 1)); err != nil {
			return 0, err
		}
	}
	return c.first, nil
}

// renew names the buffer anew; the call has to be made again with that name. The caller holds mu.
func (c *Client) renew(number uint64) error {
	err := fmt.Errorf("%w: the server has frame %d of this buffer, which ends before it", ErrProtocol, number)
	if c.o.Renew == nil {
		return err
	}
	id, rerr := c.o.Renew()
	if rerr != nil {
		return fmt.Errorf("%w; name it anew: %w", err, rerr)
	}
	c.o.ID = id
	return fmt.Errorf("%w; it goes on under a new name, and what of it is sent may be there twice", err)
}

// answered drops the frame that has its answer.
func (c *Client) answered(a answer) error {
	c.mu.Lock()
	if a.number < c.first { // dropped meanwhile to make room
		c.mu.Unlock()
		return nil
	}
	if a.number != c.first || len(c.queue) == 0 {
		c.mu.Unlock()
		return fmt.Errorf("%w: an answer for frame %d instead of %d", ErrProtocol, a.number, c.first)
	}
	q := c.queue[0]
	err := c.forget(1)
	if a.code == codeRefused {
		c.m.RefusedRows += uint64(q.rows)
	} else {
		c.m.Frames++
		c.m.Rows += uint64(q.rows)
		c.m.Bytes += uint64(q.bytes)
		c.m.LastSent = time.Now()
	}
	c.mu.Unlock()
	if a.code == codeRefused {
		c.o.Error(fmt.Errorf("the server refuses %d rows: %s", q.rows, a.reason))
	}
	return err
}

// send sends frames from number next on until ctx ends or a message cannot be sent.
func (c *Client) send(ctx context.Context, put flight.FlightService_DoPutClient, next uint64) error {
	stop := context.AfterFunc(ctx, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.emptied.Broadcast()
	})
	defer stop()
	var buf []byte
	for {
		n, ok := c.await(ctx, next)
		if !ok {
			return ctx.Err()
		}
		rec, err := c.buffer.Get(n, buf)
		if err != nil {
			if c.gone(n) { // dropped while it was looked up
				next = n + 1
				continue
			}
			return fmt.Errorf("read frame %d of the buffer: %w", n, err)
		}
		buf = rec[:0]
		msg := &flight.FlightData{AppMetadata: binary.LittleEndian.AppendUint64(nil, n), DataBody: rec}
		if err := put.Send(msg); err != nil {
			return err
		}
		next = n + 1
	}
}

func (c *Client) gone(n uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return n < c.first
}

// await waits until frame next, or the first that is left, may be sent, and returns its number.
func (c *Client) await(ctx context.Context, next uint64) (uint64, bool) {
	for {
		c.mu.Lock()
		for ctx.Err() == nil {
			next = max(next, c.first)
			under := int64(0)
			for _, q := range c.queue[:next-c.first] {
				under += q.bytes
			}
			if under == 0 || under < c.o.UnderWayBytes {
				break
			}
			c.emptied.Wait()
		}
		there := next-c.first < uint64(len(c.queue))
		c.mu.Unlock()
		if ctx.Err() != nil {
			return 0, false
		}
		if there {
			return next, true
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-c.arrived:
		}
	}
}

// explain says what to do about an error of the call.
func explain(err error) error {
	switch status.Code(err) {
	case codes.Unauthenticated:
		return fmt.Errorf("the server does not let this agent in: %w", err)
	case codes.Unimplemented:
		return fmt.Errorf("what answers there is not a Flowlake server that takes agents: %w", err)
	case codes.ResourceExhausted:
		return fmt.Errorf("the server cannot take more at the moment: %w", err)
	}
	return fmt.Errorf("send to the server: %w", err)
}
