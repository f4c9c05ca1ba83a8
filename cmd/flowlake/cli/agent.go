package cli

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/db/vfs"
	"github.com/flowlake/flowlake/db/wal"
	"github.com/flowlake/flowlake/ingest"
	"github.com/flowlake/flowlake/ingest/wire"
)

// agentFlags are the settings of the agent.
type agentFlags struct {
	config      string
	server      string
	name        string
	buffer      string
	bufferBytes size
	underWay    size
	tlsCA       string
	tokenFile   string
	insecure    bool
	http        string
	drain       time.Duration
	watchFlags
	logFlags
}

func newAgent(s *Streams) *cobra.Command {
	f := &agentFlags{}
	cmd := &cobra.Command{
		Use:   "agent --server HOST:PORT",
		Short: "Capture, and send what is seen to a server",
		Long: `Capture the traffic of this host as the server does, and send flows and requests to a Flowlake server.

What is captured is written to a buffer on this host's disk first and stays there until the server has stored it: while the server is
away nothing is lost, until --buffer-bytes are full; then the oldest rows go, and are counted. The connection uses TLS unless the server is
on this host or --insecure is said. Every flag can be set by the environment (FLOWLAKE_SERVER for --server) and in the file of --config.`,
		Example: `  flowlake agent --server flowlake.example.com:7702 --token-file /etc/flowlake/token
  flowlake agent --server 10.0.0.5:7702 --tls-ca ca.pem --token-file token --interface 'eth*' --tag env=prod
  flowlake agent --server 127.0.0.1:7702 --http 127.0.0.1:7710`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(); err != nil {
				return err
			}
			ctx, stop := s.interruptible(cmd.Context())
			defer stop()
			var err error
			if f.filter, err = parseFilter(ctx, f.filterText); err != nil {
				return err
			}
			return runAgent(ctx, s, f)
		},
	}
	f.bufferBytes, f.underWay = 1<<30, 8<<20
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "read settings from this YAML file")
	fl.StringVar(&f.server, "server", "", "address of the server's gRPC door, host:port (the server's default port is 7702)")
	fl.StringVar(&f.name, "name", "", "name of this agent in the column agent; default the host's name")
	fl.StringVar(&f.buffer, "buffer", filepath.Join(s.defaultData(), "agent"), "folder where rows wait for the server; it is made if need be")
	fl.Var(&f.bufferBytes, "buffer-bytes", "how much may wait there; past it the oldest rows are dropped")
	fl.Var(&f.underWay, "under-way-bytes", "how much is sent before the server has answered")
	fl.StringVar(&f.tlsCA, "tls-ca", "", "certificates to trust (PEM) instead of those of the system")
	fl.StringVar(&f.tokenFile, "token-file", "", "present the token in this file")
	fl.BoolVar(&f.insecure, "insecure", false, "send without TLS to a server on another host: everybody on the way can read all")
	fl.StringVar(&f.http, "http", "off", "serve /metrics, /healthz and /readyz at this address; off does not")
	fl.DurationVar(&f.drain, "drain", 5*time.Second, "at the end, how long to wait for the server to take what is in the buffer; the rest is sent by the next run")
	f.watchFlags.register(fl)
	f.logFlags.register(fl)
	return cmd
}

func (f *agentFlags) check() error {
	if err := errors.Join(f.watchFlags.check(), f.logFlags.check()); err != nil {
		return err
	}
	switch {
	case f.server == "":
		return usagef("--server is missing: the address of the server's gRPC door, host:port")
	case strings.Contains(f.server, "://"):
		return usagef("--server %q is not host:port; agents use the gRPC door, not the HTTP one", f.server)
	case f.bufferBytes < 1<<20:
		return usagef("--buffer-bytes %v is less than 1MiB", &f.bufferBytes)
	case f.underWay < 64<<10:
		return usagef("--under-way-bytes %v is less than 64KiB", &f.underWay)
	case f.drain < 0:
		return usagef("--drain %v is negative", f.drain)
	case f.buffer == "":
		return usagef("--buffer names no folder")
	}
	if _, _, err := net.SplitHostPort(f.server); err != nil {
		return usagef("--server %q is not host:port", f.server)
	}
	if f.http != "off" {
		host, _, err := net.SplitHostPort(f.http)
		if err != nil {
			return usagef("--http %q is not host:port or off", f.http)
		}
		if !isLoopback(host) && !f.insecure {
			return usagef("--http %s can be reached from other hosts: use a loopback address, or say --insecure", f.http)
		}
	}
	return nil
}

// agent is a running agent.
type agent struct {
	watcher
	f        *agentFlags
	s        *Streams
	buffer   *agentBuffer
	conn     *grpc.ClientConn
	client   *wire.Client
	pipeline *ingest.Pipeline
	http     *http.Server
	stopSend context.CancelFunc
}

// runAgent runs until ctx ends or something fails that it cannot do without.
func runAgent(ctx context.Context, s *Streams, f *agentFlags) error {
	name := f.name
	if name == "" {
		name = hostName()
	}
	a := &agent{watcher: newWatcher(&f.watchFlags, f.newLogger(s.Err), name), f: f, s: s, stopSend: func() {}}
	err := a.start(ctx)
	if err == nil {
		fmt.Fprintf(s.Err, "%s: an agent that sends to %s\n  %-9s packets on %s\n  %-9s %s\n", versionLine(), f.server, "capture", f.where(), "buffer", absolute(f.buffer))
		select {
		case <-ctx.Done():
			a.log.Info("ending: what was captured goes to the server or stays in the buffer; interrupt again to end at once")
		case err = <-a.failed:
		}
	}
	return errors.Join(err, a.end())
}

func (a *agent) start(ctx context.Context) error {
	token := ""
	creds, err := a.f.credentials()
	if err == nil && a.f.tokenFile != "" {
		token, err = readToken(a.f.tokenFile)
	}
	if err != nil {
		return err
	}
	if a.buffer, err = openAgentBuffer(a.f.buffer); err != nil {
		return err
	}
	if a.buffer.damaged != "" {
		a.log.Error("the buffer was damaged and was set aside; rows in it were not sent", "path", a.buffer.damaged, "reason", a.buffer.reason)
	}
	a.conn, err = grpc.Dial(a.f.server, grpc.WithTransportCredentials(creds),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: time.Minute, Timeout: 20 * time.Second}))
	if err != nil {
		return fmt.Errorf("--server %s: %w", a.f.server, err)
	}
	quiet := &limited{every: 30 * time.Second, now: time.Now}
	a.client, err = wire.NewClient(a.conn, a.buffer.log, func(o *wire.ClientOptions) {
		o.Name, o.ID, o.Renew, o.Token = a.host, a.buffer.id, a.buffer.renew, token
		o.BufferBytes, o.UnderWayBytes = int64(a.f.bufferBytes), int64(a.f.underWay)
		o.Error = func(err error) {
			if n, ok := quiet.next(); ok {
				a.log.Warn("rows wait in the buffer", "error", err, "more_like_it", n)
			}
		}
	})
	if err != nil {
		return fmt.Errorf("--buffer %s: %w", a.f.buffer, err)
	}
	sending, stop := context.WithCancel(context.WithoutCancel(ctx))
	a.stopSend = stop
	a.wg.Add(1)
	go func() { defer a.wg.Done(); a.client.Run(sending) }()
	if err := a.serveHTTP(); err != nil {
		return err
	}
	a.pipeline = ingest.New(a.client, func(o *ingest.Options) { o.Enricher = a.catalogue })
	a.knowHost()
	return a.watch(ctx, a.pipeline, nil, a.ownTraffic(ctx), false)
}

// credentials are how the connection is secured.
func (f *agentFlags) credentials() (credentials.TransportCredentials, error) {
	host, _, _ := net.SplitHostPort(f.server)
	if f.tlsCA == "" && (isLoopback(host) || f.insecure) {
		return insecure.NewCredentials(), nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.tlsCA != "" {
		pem, err := os.ReadFile(f.tlsCA)
		if err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("--tls-ca %s: there is no certificate in it", f.tlsCA)
		}
	}
	return credentials.NewTLS(c), nil
}

// ownTraffic leaves the connection to the server out of capture: else each batch that is sent would make rows.
func (a *agent) ownTraffic(ctx context.Context) (rules []capture.Rule) {
	const patience = 5 * time.Second
	host, port, _ := net.SplitHostPort(a.f.server)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	var ips []netip.Addr
	if err == nil {
		ips, err = net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	}
	if err != nil {
		a.log.Warn("the agent's own traffic to the server is captured as well", "error", err)
		return nil
	}
	for _, ip := range ips {
		rules = append(rules, ruleOf(netip.AddrPortFrom(ip, uint16(n))))
	}
	return rules
}

// serveHTTP serves the agent's own metrics.
func (a *agent) serveHTTP() error {
	if a.f.http == "off" {
		return nil
	}
	l, err := net.Listen("tcp", a.f.http)
	if err != nil {
		return fmt.Errorf("--http: %w", err)
	}
	reg := prometheus.NewRegistry()
	reg.MustRegister(promCounters{a.counters}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if m := a.client.Metrics(); !m.Connected {
			http.Error(w, "no connection to the server: "+m.LastError, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	a.http = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	a.wg.Add(1)
	go func() {
		defer a.wg.Done()
		if err := a.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.fail(fmt.Errorf("serve metrics: %w", err))
		}
	}()
	return nil
}

// counters are those of all stages that are up.
func (a *agent) counters() []counter {
	var out []counter
	if c := a.collector.Load(); c != nil {
		out = append(out, collectorCounters(c.Metrics())...)
	}
	return append(out, senderCounters(a.client.Metrics())...)
}

func senderCounters(m wire.ClientMetrics) []counter {
	c := &counts{stage: "sender"}
	connected := 0.0
	if m.Connected {
		connected = 1
	}
	c.now("connected", "1 while there is a connection to the server", connected)
	c.add("connects", "times that one was made", float64(m.Connects))
	c.add("frames", "batches that the server has stored", float64(m.Frames))
	c.add("rows", "rows of them", float64(m.Rows))
	c.add("bytes", "encoded bytes of them", float64(m.Bytes))
	c.now("buffered_frames", "batches in the buffer", float64(m.BufferedFrames))
	c.now("buffered_rows", "rows in the buffer", float64(m.BufferedRows))
	c.now("buffered_bytes", "bytes in the buffer", float64(m.BufferedBytes))
	by(c, "dropped_rows", "rows lost", map[string]uint64{"buffer_full": m.DroppedRows, "buffer_failed": m.FailedRows, "refused": m.RefusedRows})
	return c.list
}

// end stops in order: capture, pipeline, sender. What the server does not take in time stays in the buffer.
func (a *agent) end() error {
	var errs []error
	a.stopWatching()
	if a.pipeline != nil {
		ctx, cancel := context.WithTimeout(context.Background(), storeTime)
		errs = append(errs, a.pipeline.Close(ctx))
		cancel()
	}
	if a.client != nil {
		a.client.Close()
		ctx, cancel := context.WithTimeout(context.Background(), a.f.drain)
		if err := a.client.Drain(ctx); err != nil {
			a.log.Info("the next run sends the rest", "reason", err)
		}
		cancel()
	}
	a.stopSend()
	if a.http != nil {
		errs = append(errs, a.http.Close())
	}
	a.wg.Wait()
	if a.conn != nil {
		errs = append(errs, a.conn.Close())
	}
	if a.buffer != nil {
		errs = append(errs, a.buffer.close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	return nil
}

// agentBuffer is the folder where frames wait: a log, and the name of the buffer in the file ID.
type agentBuffer struct {
	dir     string
	lock    interface{ Close() error }
	log     *wal.Log
	id      [16]byte
	damaged string // where an unreadable log was put; "" where it could be read
	reason  error
}

const (
	bufferLock = "LOCK"
	bufferID   = "ID"
	bufferLog  = "frames"
)

func openAgentBuffer(dir string) (b *agentBuffer, err error) {
	b = &agentBuffer{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("open the buffer %s: %w", dir, err), b.close())
		}
	}()
	if err := vfs.OS.MkdirAll(dir); err != nil {
		return b, err
	}
	if b.lock, err = vfs.OS.Lock(filepath.Join(dir, bufferLock)); err != nil {
		return b, err
	}
	open := func() error {
		var err error
		b.log, err = wal.Open(filepath.Join(dir, bufferLog), func(o *wal.Options) { o.SegmentBytes = 16 << 20 })
		return err
	}
	var corrupt *wal.CorruptionError
	if err = open(); errors.As(err, &corrupt) {
		// What was captured since is worth more than a stopped agent; the damaged files stay for whoever wants to look.
		b.damaged, b.reason = filepath.Join(dir, fmt.Sprintf("%s.damaged-%d", bufferLog, time.Now().Unix())), err
		if err = vfs.OS.Rename(filepath.Join(dir, bufferLog), b.damaged); err == nil {
			if _, err = b.renew(); err == nil {
				err = open()
			}
		}
	}
	if err != nil {
		return b, err
	}
	text, err := os.ReadFile(filepath.Join(dir, bufferID))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if id, err := hex.DecodeString(strings.TrimSpace(string(text))); err == nil && len(id) == len(b.id) {
		b.id = [16]byte(id)
		return b, nil
	}
	_, err = b.renew() // there is none, or what is there is not one
	return b, err
}

// renew gives the buffer another name.
func (b *agentBuffer) renew() ([16]byte, error) {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	tmp := filepath.Join(b.dir, bufferID+".tmp")
	if err := os.WriteFile(tmp, []byte(hex.EncodeToString(id[:])+"\n"), 0o600); err != nil {
		return id, err
	}
	if err := os.Rename(tmp, filepath.Join(b.dir, bufferID)); err != nil {
		return id, err
	}
	b.id = id
	return id, nil
}

func (b *agentBuffer) close() error {
	var errs []error
	if b.log != nil {
		errs = append(errs, b.log.Close())
	}
	if b.lock != nil {
		errs = append(errs, b.lock.Close())
	}
	return errors.Join(errs...)
}
