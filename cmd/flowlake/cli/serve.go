package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
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

	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packetring"
	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/ingest"
	"github.com/flowlake/flowlake/ingest/enrich"
	"github.com/flowlake/flowlake/query"
	"github.com/flowlake/flowlake/query/parse"
)

const (
	// doorsTime, storeTime bound the steps of an orderly end.
	doorsTime = 10 * time.Second
	storeTime = 20 * time.Second
	// refreshHost is how often the host's addresses are looked up again.
	refreshHost = 30 * time.Second
)

// server is a running server. The pointers are set once, when their part is up: the doors are open before.
type server struct {
	f        *serverFlags
	s        *Streams
	log      *slog.Logger
	settings []setting
	host     string

	notReady  atomic.Pointer[string] // why; nil when ready
	run       atomic.Pointer[api.QueryFunc]
	db        atomic.Pointer[db.DB]
	pipeline  atomic.Pointer[ingest.Pipeline]
	collector atomic.Pointer[collector.Collector]
	ring      atomic.Pointer[packetring.Ring]
	queries   *queryLog
	catalogue *enrich.Catalogue

	http     *http.Server
	listener net.Listener // nil when the door is closed

	failed chan error // ends the server
	wg     sync.WaitGroup
	// stopCollector ends capture; collecting is closed when its rows are handed on.
	stopCollector context.CancelFunc
	collecting    chan struct{}
}

// runServer runs until ctx ends or something fails that it cannot do without.
func runServer(ctx context.Context, s *Streams, f *serverFlags, list []setting) error {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	v := &server{f: f, s: s, log: f.newLogger(s.Err), settings: list, host: host, queries: newQueryLog(), catalogue: enrich.New(),
		failed: make(chan error, 4), stopCollector: func() {}}
	v.setReady("starting: the database is being opened")
	f.boundRuntime(s.Getenv)
	err = v.start(ctx)
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
	v.serveHTTP()
	warm := sync.OnceFunc(parse.Warm)
	v.wg.Add(1)
	go func() { defer v.wg.Done(); warm() }()
	d, err := db.Open(v.f.data, v.dbOptions)
	if err != nil {
		return err
	}
	v.db.Store(d)
	info := &systemInfo{counters: v.counters, settings: func() []setting { return v.settings }, queries: v.queries.list}
	run := api.Engine(newEngine(d, info, func(o *query.Options) {
		o.Timeout, o.MemoryLimit = queryTimeout(v.f.queryTimeout), int64(v.f.queryMemory)
	}))
	v.run.Store(&run)
	v.pipeline.Store(ingest.New(d, func(o *ingest.Options) { o.Enricher, o.QueueBytes = v.catalogue, v.f.plan.queue }))
	v.knowHost()
	return v.collect(ctx)
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

// fail ends the server because of err, unless something else does already.
func (v *server) fail(err error) {
	select {
	case v.failed <- err:
	default:
	}
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
	if p := v.pipeline.Load(); p != nil {
		out = append(out, pipelineCounters(p.Metrics())...)
	}
	if d := v.db.Load(); d != nil {
		out = append(out, dbCounters(d.Metrics())...)
	}
	return append(out, v.queries.counters()...)
}

// knowHost gives the host's addresses its tags.
func (v *server) knowHost() {
	addrs, err := collector.LocalAddrs()
	if err != nil {
		v.log.Warn("the addresses of this host are not known; its rows lack its tags", "error", err)
		return
	}
	set := []tags.Tag{{Key: "host", Value: v.host}, {Key: "os", Value: runtime.GOOS}}
	for k, val := range v.f.tags {
		if k == "host" || k == "os" {
			set = append(set[:0:0], without(set, k)...)
		}
		set = append(set, tags.Tag{Key: k, Value: val})
	}
	v.catalogue.Set(addrs, set...)
}

func without(set []tags.Tag, key string) []tags.Tag {
	var out []tags.Tag
	for _, t := range set {
		if t.Key != key {
			out = append(out, t)
		}
	}
	return out
}

// collect starts live capture as --collect says.
func (v *server) collect(ctx context.Context) error {
	if v.f.collect == "off" {
		return nil
	}
	quiet := &limited{every: 10 * time.Second, now: time.Now}
	warn := func(err error) {
		if n, ok := quiet.next(); ok {
			v.log.Warn("capture goes on after an error", "error", err, "more_like_it", n)
		}
	}
	var ring *packetring.Ring
	if v.f.packetRing > 0 {
		var err error
		if ring, err = packetring.Open(filepath.Join(v.f.data, packetsFolder), func(o *packetring.Options) {
			o.MaxBytes, o.Error = int64(v.f.packetRing), warn
		}); err != nil {
			return err
		}
		v.ring.Store(ring)
	}
	c, err := collector.New(v.pipeline.Load(), func(o *collector.Options) {
		o.Interfaces, o.Workers, o.Promiscuous = v.f.interfaces, v.f.captureWorkers, v.f.promiscuous
		o.Filter, o.Namespaces = v.f.filter, v.f.namespaces
		o.SnapBytes, o.RingBytes, o.Agent, o.Exclude = int(v.f.snap), int(v.f.ring), v.host, v.ownTraffic()
		if v.f.edges {
			o.Tags = v.catalogue
		}
		o.Error = warn
		if ring != nil {
			o.Packets = ring
		}
	})
	switch {
	case errors.Is(err, capture.ErrPermission) && v.f.collect == "auto":
		v.log.Warn("nothing is captured: the right to is missing", "error", err, "hint", grantHint())
		return nil
	case errors.Is(err, capture.ErrUnsupported) && v.f.collect == "auto":
		v.log.Warn("nothing is captured: this platform has no live capture", "error", err)
		return nil
	case errors.Is(err, capture.ErrNoInterface):
		return fmt.Errorf("start capture: %w; there are %s", err, strings.Join(interfaceNames(), ", "))
	case err != nil:
		return fmt.Errorf("start capture: %w", err)
	}
	v.collector.Store(c)
	// its own context: capture ends after the doors are closed
	capturing, stop := context.WithCancel(context.WithoutCancel(ctx))
	v.stopCollector, v.collecting = stop, make(chan struct{})
	v.wg.Add(2)
	go func() {
		defer v.wg.Done()
		defer close(v.collecting)
		if err := c.Run(capturing); err != nil {
			v.fail(err)
		}
	}()
	go func() {
		defer v.wg.Done()
		v.watchHost(capturing)
	}()
	return nil
}

// interfaceNames are what --interface can be.
func interfaceNames() []string {
	out := []string{capture.AnyInterface}
	list, _ := net.Interfaces() // it is only a hint
	for _, i := range list {
		out = append(out, i.Name)
	}
	return out
}

// watchHost looks up the host's addresses now and then: they change.
func (v *server) watchHost(ctx context.Context) {
	t := time.NewTicker(refreshHost)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			v.knowHost()
		}
	}
}

// ownTraffic are the rules that leave the doors' own traffic out of capture.
func (v *server) ownTraffic() []capture.Rule {
	if v.listener == nil {
		return nil
	}
	a := v.listener.Addr().(*net.TCPAddr).AddrPort()
	r := capture.Rule{Port: a.Port(), Proto: 6}
	if ip := a.Addr().Unmap().WithZone(""); !ip.IsUnspecified() {
		r.Prefix = netip.PrefixFrom(ip, ip.BitLen())
	}
	return []capture.Rule{r}
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
	v.stopCollector()
	if v.collecting != nil {
		<-v.collecting
	}
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
