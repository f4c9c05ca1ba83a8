package wire

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/apache/arrow/go/v15/arrow/flight"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// ServerOptions configure a Server. The zero value of a field means its default.
type ServerOptions struct {
	// Tables are those that frames may be of; default schema.Builtin().
	Tables *schema.Registry
	// Token, if not empty, is what agents have to present.
	Token string
	// MaxAgents bounds the buffers whose last frame is remembered, and the lines of Agents; those not heard of for longest
	// are forgotten. Default 10,000.
	MaxAgents int
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// Server takes the frames of agents and writes them to a sink, call by call, one frame after the other. It is the DoPut of
// a Flight server: pass it to flight.RegisterFlightServiceServer, or embed it in a service that does more.
type Server struct {
	flight.BaseFlightServer
	o    ServerOptions
	sink func() batch.Sink

	mu     sync.Mutex // guards what follows
	agents map[[idBytes]byte]*Agent
	m      ServerMetrics
}

// Agent is an agent as the server knows it.
type Agent struct {
	Name, Address string
	// Connected says that its call goes on; Seen is when it last said something.
	Connected bool
	Since     time.Time // of the call
	Seen      time.Time
	// Frames, Rows and Bytes were stored since the server started, RefusedRows were not.
	Frames, Rows, Bytes, RefusedRows uint64

	last  uint64 // number of the last frame that has been answered
	calls int    // going on; more than one while a broken one is not noticed yet
}

// ServerMetrics counts what a Server has taken.
type ServerMetrics struct {
	Connected                 int // agents now
	Calls                     uint64
	Frames, Rows, Bytes       uint64 // stored
	RefusedFrames, RefusedRow uint64 // by the sink or because a frame could not be read; rows where they are known
	DoubledFrames             uint64 // sent again although they were stored
	Unauthenticated           uint64 // calls without the token
}

// NewServer returns a Server that writes to what sink returns, which may be nil while the store is being opened.
func NewServer(sink func() batch.Sink, opts ...func(*ServerOptions)) *Server {
	s := &Server{sink: sink, agents: map[[idBytes]byte]*Agent{}}
	for _, f := range opts {
		f(&s.o)
	}
	if s.o.Tables == nil {
		s.o.Tables = schema.Builtin()
	}
	if s.o.MaxAgents <= 0 {
		s.o.MaxAgents = 10000
	}
	if s.o.Now == nil {
		s.o.Now = time.Now
	}
	return s
}

// Metrics is a snapshot.
func (s *Server) Metrics() ServerMetrics {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.m
}

// Agents are those that were heard of since the server started, by name.
func (s *Server) Agents() []Agent {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Agent
	for _, a := range s.agents {
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b Agent) int { return cmp.Or(cmp.Compare(a.Name, b.Name), a.Since.Compare(b.Since)) })
	return all
}

// DoPut implements flight.FlightServer.
func (s *Server) DoPut(call flight.FlightService_DoPutServer) error {
	if !s.permitted(call.Context()) {
		s.mu.Lock()
		s.m.Unauthenticated++
		s.mu.Unlock()
		return status.Error(codes.Unauthenticated, "the token is missing or wrong: start the agent with the --token-file of this server")
	}
	d, err := call.Recv()
	if err != nil {
		return err
	}
	h, err := parseHello(d)
	if err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	a, last := s.join(h, call.Context())
	defer s.leave(a)
	if err := call.Send((&answer{number: last}).message()); err != nil {
		return err
	}
	for {
		d, err := call.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		reply, err := s.frame(call.Context(), a, d)
		if err != nil {
			return err
		}
		if err := call.Send(reply.message()); err != nil {
			return err
		}
	}
}

// permitted checks the token.
func (s *Server) permitted(ctx context.Context) bool {
	if s.o.Token == "" {
		return true
	}
	md, _ := metadata.FromIncomingContext(ctx)
	for _, v := range md.Get("authorization") {
		if subtle.ConstantTimeCompare([]byte(v), []byte("Bearer "+s.o.Token)) == 1 {
			return true
		}
	}
	return false
}

// join notes that an agent has come, and returns the number of the last frame it has an answer for.
func (s *Server) join(h hello, ctx context.Context) (*Agent, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.agents[h.id]
	if a == nil {
		if len(s.agents) >= s.o.MaxAgents {
			s.forget()
		}
		a = &Agent{}
		s.agents[h.id] = a
	}
	a.Name, a.Since = h.name, s.o.Now()
	a.Seen = a.Since
	if p, ok := peer.FromContext(ctx); ok {
		a.Address = p.Addr.String()
	}
	if a.calls++; a.calls == 1 {
		s.m.Connected++
	}
	a.Connected = true
	s.m.Calls++
	return a, a.last
}

// forget drops the agent that is gone for longest. The caller holds mu.
func (s *Server) forget() {
	var oldest [idBytes]byte
	var found *Agent
	for id, a := range s.agents {
		if !a.Connected && (found == nil || a.Seen.Before(found.Seen)) {
			oldest, found = id, a
		}
	}
	delete(s.agents, oldest)
}

func (s *Server) leave(a *Agent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.calls--; a.calls == 0 {
		a.Connected = false
		s.m.Connected--
	}
	a.Seen = s.o.Now()
}

// frame stores a frame and says what to answer; an error ends the call.
func (s *Server) frame(ctx context.Context, a *Agent, d *flight.FlightData) (*answer, error) {
	n, err := parseNumber(d.GetAppMetadata())
	if err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	s.mu.Lock()
	known := n <= a.last
	if known {
		s.m.DoubledFrames++
	}
	s.mu.Unlock()
	if known {
		return &answer{number: n}, nil
	}
	sink := s.sink()
	if sink == nil {
		return nil, status.Error(codes.Unavailable, "the store is being opened")
	}
	b, err := open(d.GetDataBody(), s.o.Tables)
	rows := 0
	if err == nil {
		rows = b.N
		err = sink.Write(ctx, b)
	}
	refused := err != nil && (b == nil || errors.Is(err, batch.ErrRefused))
	if err != nil && !refused {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, status.Errorf(codes.ResourceExhausted, "store the rows: %v", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a.last, a.Seen = max(a.last, n), s.o.Now()
	if refused {
		s.m.RefusedFrames++
		s.m.RefusedRow += uint64(rows)
		a.RefusedRows += uint64(rows)
		return &answer{code: codeRefused, number: n, reason: err.Error()}, nil
	}
	s.m.Frames++
	s.m.Rows += uint64(rows)
	s.m.Bytes += uint64(len(d.GetDataBody()))
	a.Frames++
	a.Rows += uint64(rows)
	a.Bytes += uint64(len(d.GetDataBody()))
	return &answer{number: n}, nil
}

// open makes a batch of a frame.
func open(frame []byte, tables *schema.Registry) (*batch.Batch, error) {
	v, err := batch.Open(frame, tables)
	if err != nil {
		return nil, err
	}
	b := &batch.Batch{Table: v.Table, N: v.N, Cols: make([]*batch.Vector, len(v.Table.Columns))}
	for i := range b.Cols {
		if !v.Has(i) {
			continue
		}
		if v.HasIDs(i) {
			return nil, batch.ErrBadFrame // ids mean something only where they were given
		}
		b.Cols[i] = &batch.Vector{}
		if err := v.Column(i, b.Cols[i]); err != nil {
			return nil, err
		}
	}
	return b, nil
}
