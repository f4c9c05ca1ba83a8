package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"google.golang.org/grpc"

	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packetring"
	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/ingest"
	"github.com/flowlake/flowlake/ingest/wire"
	"github.com/flowlake/flowlake/query"
	"github.com/flowlake/flowlake/query/parse"
)

const (
	// doorsTime, storeTime bound the steps of an orderly end.
	doorsTime = 10 * time.Second
	storeTime = 20 * time.Second
)

// server is a running server. The pointers are set once, when their part is up: the doors are open before.
type server struct {
	watcher
	f        *serverFlags
	s        *Streams
	settings []setting

	notReady atomic.Pointer[string] // why; nil when ready
	run      atomic.Pointer[api.QueryFunc]
	db       atomic.Pointer[db.DB]
	pipeline atomic.Pointer[ingest.Pipeline]
	ring     atomic.Pointer[packetring.Ring]
	queries  *queryLog
	agents   *wire.Server

	http                   *http.Server
	grpc                   *grpc.Server
	listener, grpcListener net.Listener // of HTTP and gRPC; nil when the door is closed
}

// runServer runs until ctx ends or something fails that it cannot do without.
func runServer(ctx context.Context, s *Streams, f *serverFlags, list []setting) error {
	v := &server{watcher: newWatcher(&f.watchFlags, f.newLogger(s.Err), hostName()), f: f, s: s, settings: list, queries: newQueryLog()}
	v.agents = wire.NewServer(v.sink, func(o *wire.ServerOptions) { o.Token = f.agents.token })
	v.setReady("starting: the database is being opened")
	f.boundRuntime(s.Getenv)
	err := v.start(ctx)
	if err == nil {
		v.setReady("")
		fmt.Fprint(s.Err, v.banner())
		select {
		case <-ctx.Done():
			v.log.Info("ending: what was captured is being stored; interrupt again to end at once")
		case err = <-v.failed:
		}
	}
	v.setReady("the server is ending")
	return errors.Join(err, v.end())
}

// setReady says why the server is not ready; "" when it is.
func (v *server) setReady(why string) {
	if why == "" {
		v.notReady.Store(nil)
		return
	}
	v.notReady.Store(&why)
}

func (v *server) ready() error {
	if why := v.notReady.Load(); why != nil {
		return errors.New(*why)
	}
	return nil
}

func (v *server) start(ctx context.Context) error {
	var err error
	if v.listener, err = v.f.listen(v.log); err != nil {
		return err
	}
	if v.grpcListener, err = v.f.agents.listen(v.log); err != nil {
		return err
	}
	v.serveHTTP()
	warm := sync.OnceFunc(parse.Warm)
	v.wg.Add(1)
	go func() { defer v.wg.Done(); warm() }()
	d, err := db.Open(v.f.data, v.dbOptions)
	if err != nil {
		return err
	}
	v.db.Store(d)
	info := &systemInfo{counters: v.counters, settings: func() []setting { return v.settings }, queries: v.queries.list, agents: v.agents.Agents}
	run := api.Engine(newEngine(d, info, func(o *query.Options) {
		o.Timeout, o.MemoryLimit = queryTimeout(v.f.queryTimeout), int64(v.f.queryMemory)
	}))
	v.run.Store(&run)
	v.pipeline.Store(ingest.New(d, func(o *ingest.Options) { o.Enricher, o.QueueBytes = v.catalogue, v.f.plan.queue }))
	v.knowHost()
	v.serveGRPC()
	if v.f.collect == "off" {
		return nil
	}
	var packets collector.PacketSink
	if v.f.packetRing > 0 {
		ring, err := packetring.Open(filepath.Join(v.f.data, packetsFolder), func(o *packetring.Options) {
			o.MaxBytes, o.Error = int64(v.f.packetRing), v.warn
		})
		if err != nil {
			return err
		}
		v.ring.Store(ring)
		packets = ring
	}
	return v.watch(ctx, v.pipeline.Load(), packets, ownTraffic(v.listener, v.grpcListener), v.f.collect == "auto")
}

// sink is where agents' rows go: nil until the store is open.
func (v *server) sink() batch.Sink {
	if p := v.pipeline.Load(); p != nil {
		return p
	}
	return nil
}

// serveGRPC opens the door for agents.
func (v *server) serveGRPC() {
	if v.grpcListener == nil {
		return
	}
	v.grpc = v.f.agents.newGRPC(v.agents)
	v.wg.Add(1)
	go func() {
		defer v.wg.Done()
		if err := v.grpc.Serve(v.grpcListener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			v.fail(fmt.Errorf("gRPC door: %w", err))
		}
	}()
}

func (v *server) dbOptions(o *db.Options) {
	o.BudgetBytes = v.f.plan.budget
	o.HeadBytes, o.HeadAge, o.MemoryBytes, o.Retention = int64(v.f.head), v.f.headAge, int64(v.f.memory), v.f.retentions
	o.Events = db.Events{
		Flushed: func(segments int, rows, bytes int64, took time.Duration) {
			v.log.Debug("flushed", "segments", segments, "rows", rows, "bytes", bytes, "took", took)
		},
		Compacted: func(table string, in int, rows, bytes int64, took time.Duration) {
			v.log.Debug("merged segments", "table", table, "segments", in, "rows", rows, "bytes", bytes, "took", took)
		},
		Expired: func(table, path string, rows int64) {
			v.log.Info("dropped a segment because of its age", "table", table, "path", path, "rows", rows)
		},
		Backfilled: func(rollup, path string, rows, done, total int64, took time.Duration) {
			v.log.Debug("rolled up a segment", "rollup", rollup, "path", path, "rows", rows, "done", done, "total", total, "took", took)
		},
		Quarantined: func(path string, reason error) {
			v.log.Error("set a damaged segment aside; its rows are missing", "path", path, "reason", reason)
		},
		BackgroundError: func(action string, err error) { v.log.Error("will be tried again", "action", action, "error", err) },
	}
}

// serveHTTP opens the door, which says that the server is not ready until it is.
func (v *server) serveHTTP() {
	if v.listener == nil {
		return
	}
	reg := prometheus.NewRegistry()
	h := api.New(api.Options{
		Query: v.queries.track(func(ctx context.Context, sql string, args ...any) (api.Rows, error) {
			run := v.run.Load()
			if run == nil {
				return nil, &api.Problem{Message: "the server is starting", SQLState: "57P03"}
			}
			return (*run)(ctx, sql, args...)
		}),
		Ready: v.ready, Metrics: reg, MaxConcurrent: v.f.queryLimit, Logger: v.log,
		AnyHost: !isLoopback(v.listener.Addr().(*net.TCPAddr).IP.String()),
	})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "flowlake_build_info", Help: "What runs; always 1.",
		ConstLabels: prometheus.Labels{"version": Version, "revision": commit(), "go": runtime.Version()}})
	build.Set(1)
	ready := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "flowlake_ready", Help: "1 when requests are taken."}, func() float64 {
		if v.ready() != nil {
			return 0
		}
		return 1
	})
	reg.MustRegister(h, build, ready, promCounters{v.counters}, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	v.http = &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(v.log.Handler(), slog.LevelDebug)}
	v.wg.Add(1)
	go func() {
		defer v.wg.Done()
		if err := v.http.Serve(v.listener); !errors.Is(err, http.ErrServerClosed) {
			v.fail(fmt.Errorf("HTTP door: %w", err))
		}
	}()
}

// counters are those of all stages that are up.
func (v *server) counters() []counter {
	var out []counter
	if c := v.collector.Load(); c != nil {
		out = append(out, collectorCounters(c.Metrics())...)
	}
	if r := v.ring.Load(); r != nil {
		out = append(out, ringCounters(r.Metrics())...)
	}
	out = append(out, agentDoorCounters(v.agents.Metrics())...)
	if p := v.pipeline.Load(); p != nil {
		out = append(out, pipelineCounters(p.Metrics())...)
	}
	if d := v.db.Load(); d != nil {
		out = append(out, dbCounters(d.Metrics())...)
	}
	return append(out, v.queries.counters()...)
}

// end stops in order: doors, collector, pipeline, database. What it was given is stored.
func (v *server) end() error {
	var errs []error
	if v.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), doorsTime)
		if err := v.http.Shutdown(ctx); err != nil { // statements that still run are cut off
			v.log.Warn("requests were cut off", "error", err)
			errs = append(errs, v.http.Close())
		}
		cancel()
	}
	if v.grpc != nil {
		v.grpc.Stop() // agents keep what has no answer
	} else if v.grpcListener != nil {
		errs = append(errs, v.grpcListener.Close())
	}
	v.stopWatching()
	if r := v.ring.Load(); r != nil {
		errs = append(errs, r.Close())
	}
	if p := v.pipeline.Load(); p != nil {
		ctx, cancel := context.WithTimeout(context.Background(), storeTime)
		errs = append(errs, p.Close(ctx))
		cancel()
	}
	if d := v.db.Load(); d != nil {
		errs = append(errs, d.Close())
	}
	v.wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	return nil
}

// banner says what is open and what to try next.
func (v *server) banner() string {
	var b strings.Builder
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	m := v.db.Load().Metrics()
	fmt.Fprintf(&b, "%s is ready\n", versionLine())
	line("data", "%s (%d rows)", absolute(v.f.data), m.HeadRows+m.SegmentRows)
	switch {
	case v.collector.Load() != nil:
		where := strings.Join(v.f.interfaces, ", ")
		if slices.Contains(v.f.interfaces, capture.AnyInterface) {
			where = "all interfaces"
		}
		if !slices.Equal(v.f.namespaces, []string{collector.Self}) {
			where += " in network namespaces " + strings.Join(v.f.namespaces, ", ")
		}
		line("capture", "packets on %s", where)
	case v.f.collect == "off":
		line("capture", "off")
	default:
		line("capture", "not permitted; %s", grantHint())
	}
	if v.grpcListener != nil {
		line("agents", "%s (flowlake agent --server %s)", v.grpcListener.Addr(), v.grpcListener.Addr())
	}
	if v.listener == nil {
		line("http", "closed")
		fmt.Fprintf(&b, "Nobody can ask it. When it has ended: %s sql --data %s\n", program(), absolute(v.f.data))
		return b.String()
	}
	url := "http://" + v.listener.Addr().String()
	line("http", "%s (POST /api/v1/sql, /healthz, /readyz, /metrics)", url)
	at := ""
	if url != defaultServer {
		at = " --server " + url
	}
	fmt.Fprintf(&b, "Try in another terminal:\n"+
		"  curl -s http://example.com/ > /dev/null; sleep 2\n"+
		"  %s sql%s -c \"SELECT time, l7_protocol, request_type, request_resource, response_code, duration_us FROM spans ORDER BY time DESC LIMIT 10\"\n"+
		"  %s sql%s\n", program(), at, program(), at)
	return b.String()
}

// absolute is the path of a folder as it is found from anywhere.
func absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		return abs
	}
	return dir
}

// hostName is the name of this host.
func hostName() string {
	if host, err := os.Hostname(); err == nil {
		return host
	}
	return "localhost"
}

// program is what this program was called as, so that a line can be copied: flowlake, or the path to it.
func program() string {
	if name := os.Args[0]; filepath.Base(name) == "flowlake" {
		return name
	}
	return "flowlake"
}

// limited lets one message through in a while and counts the others.
type limited struct {
	every time.Duration
	now   func() time.Time

	mu   sync.Mutex // guards what follows
	last time.Time
	held int
}

// next says whether to tell, and how many were held back since the last.
func (l *limited) next() (held int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if !l.last.IsZero() && now.Sub(l.last) < l.every {
		l.held++
		return 0, false
	}
	held, l.last, l.held = l.held, now, 0
	return held, true
}
