package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/ingest/wire"
)

const (
	// remoteBytes is how much waits for the server at most; then reading waits.
	remoteBytes = 32 << 20
	// remotePatience is how long the server may be away before an import gives up.
	remotePatience = 30 * time.Second
)

// remoteSink sends batches to a server as an agent does, but waits for it instead of dropping anything.
type remoteSink struct {
	conn   *grpc.ClientConn
	client *wire.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex // guards what follows
	refused error      // the first answer that rows are not wanted
}

var _ batch.Sink = (*remoteSink)(nil)

// openRemote connects when there is something to send.
func openRemote(f *importFlags, agent string) (*remoteSink, error) {
	a := &agentFlags{server: f.server, tlsCA: f.tlsCA, insecure: f.insecure}
	creds, err := a.credentials()
	if err != nil {
		return nil, err
	}
	token := ""
	if f.tokenFile != "" {
		if token, err = readToken(f.tokenFile); err != nil {
			return nil, err
		}
	}
	conn, err := grpc.Dial(f.server, grpc.WithTransportCredentials(creds))
	if err != nil {
		return nil, fmt.Errorf("--server %s: %w", f.server, err)
	}
	r := &remoteSink{conn: conn, done: make(chan struct{})}
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	r.client, err = wire.NewClient(conn, &memoryBuffer{}, func(o *wire.ClientOptions) {
		o.Name, o.ID, o.Token, o.BufferBytes = agent, id, token, 4*remoteBytes
		o.RetryMax = time.Second
		o.Error = func(err error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.refused = errors.Join(r.refused, err)
		}
	})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { defer close(r.done); r.client.Run(ctx) }()
	return r, nil
}

// Write waits for room, then hands the batch on.
func (r *remoteSink) Write(ctx context.Context, b *batch.Batch) error {
	if err := r.wait(ctx, remoteBytes); err != nil {
		return err
	}
	return r.client.Write(ctx, b)
}

// wait returns when no more than so many bytes wait for the server, or when it has been away for too long.
func (r *remoteSink) wait(ctx context.Context, most int64) error {
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	away, left := time.Now(), int64(-1)
	for {
		m := r.client.Metrics()
		if m.BufferedBytes <= most {
			return nil
		}
		if m.BufferedBytes != left {
			away, left = time.Now(), m.BufferedBytes
		}
		if time.Since(away) > remotePatience {
			return fmt.Errorf("the server takes nothing: %s", m.LastError)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
		}
	}
}

// close waits until the server has stored all.
func (r *remoteSink) close(ctx context.Context) error {
	err := r.wait(ctx, 0)
	r.client.Close()
	r.stop()
	<-r.done
	m := r.client.Metrics()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil:
		err = fmt.Errorf("%d rows were not stored: %w", m.BufferedRows, err)
	case m.RefusedRows+m.DroppedRows > 0:
		err = fmt.Errorf("%d rows were not stored: %w", m.RefusedRows+m.DroppedRows, r.refused)
	}
	return errors.Join(err, r.conn.Close())
}

// memoryBuffer is a wire.Buffer in memory: an import that ends is begun again, not gone on with.
type memoryBuffer struct {
	mu    sync.Mutex // guards what follows
	recs  [][]byte
	first uint64 // number of recs[0], less one
}

var _ wire.Buffer = (*memoryBuffer)(nil)

func (m *memoryBuffer) Append(recs [][]byte) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	first := m.first + uint64(len(m.recs)) + 1
	m.recs = append(m.recs, recs...)
	return first, nil
}

func (m *memoryBuffer) Get(index uint64, _ []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if index <= m.first || index > m.first+uint64(len(m.recs)) {
		return nil, fmt.Errorf("there is no batch %d", index)
	}
	return m.recs[index-m.first-1], nil
}

func (m *memoryBuffer) Range(from uint64, fn func(uint64, []byte) error) error {
	m.mu.Lock()
	from = max(from, m.first+1)
	m.mu.Unlock()
	for i := from; i < m.NextIndex(); i++ {
		rec, err := m.Get(i, nil)
		if err == nil {
			err = fn(i, rec)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FirstIndex is 0 when there is nothing.
func (m *memoryBuffer) FirstIndex() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.recs) == 0 {
		return 0
	}
	return m.first + 1
}

func (m *memoryBuffer) NextIndex() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.first + uint64(len(m.recs)) + 1
}

// TruncateFront drops the records up to and with upto.
func (m *memoryBuffer) TruncateFront(upto uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if upto <= m.first {
		return nil
	}
	n := min(upto-m.first, uint64(len(m.recs)))
	clear(m.recs[:n])
	m.recs, m.first = m.recs[n:], m.first+n
	return nil
}
