// Package api is Flowlake's own HTTP door: SQL in, rows out, and what supervisors ask (health, readiness, metrics).
package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/query/render"
)

// Rows is a running statement. Next returns io.EOF at the end; the batch is borrowed until the call after. Close ends the
// statement early or late and must be called.
type Rows interface {
	Columns() []render.Column
	Next(ctx context.Context) (*batch.Batch, error)
	Close() error
}

// QueryFunc starts one statement; args are the values of $1, $2, ...: nil, bool, int64, float64 or string.
// Errors that the user is to see are, or wrap, a *Problem.
type QueryFunc func(ctx context.Context, sql string, args ...any) (Rows, error)

// Options configure a Handler. The zero value of a field means its default.
type Options struct {
	// Query runs statements. Required.
	Query QueryFunc
	// Ready says why the server does not take requests yet, nil when it does; default always ready.
	Ready func() error
	// Metrics is what /metrics shows; default nothing. Register the Handler itself with it.
	Metrics prometheus.Gatherer
	// MaxConcurrent is how many statements run at the same time. Default four per processor.
	MaxConcurrent int
	// QueueTimeout is how long a statement waits for its turn before it is refused with 503. Default 2 seconds.
	QueueTimeout time.Duration
	// MaxBodyBytes bounds a request's body. Default 1 MiB and 64 KiB: the longest statement, and room for what is around it.
	MaxBodyBytes int64
	// StallTimeout is how long a client may take to send its request, or to read one batch of rows, before it is given up.
	// Default 1 minute.
	StallTimeout time.Duration
	// AnyHost takes requests whose Host header is any name. Without it only addresses and localhost are taken, so that a web
	// page cannot reach a server on loopback through a name of its own (DNS rebinding).
	AnyHost bool
	// Logger is told of panics; default none.
	Logger *slog.Logger
}

func (o *Options) ensureDefaults() {
	if o.Ready == nil {
		o.Ready = func() error { return nil }
	}
	if o.Metrics == nil {
		o.Metrics = prometheus.NewRegistry()
	}
	if o.MaxConcurrent <= 0 {
		o.MaxConcurrent = 4 * runtime.GOMAXPROCS(0)
	}
	if o.QueueTimeout <= 0 {
		o.QueueTimeout = 2 * time.Second
	}
	if o.MaxBodyBytes <= 0 {
		o.MaxBodyBytes = 1<<20 + 64<<10
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = time.Minute
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

var (
	_ http.Handler         = (*Handler)(nil)
	_ prometheus.Collector = (*Handler)(nil)
)

// Handler serves the door. It is safe for concurrent use.
type Handler struct {
	o     Options
	slots chan struct{} // one for each statement that runs
	paths map[string]route
	stats stats
}

type route struct {
	methods string // as the Allow header has them
	doc     string
	serve   http.HandlerFunc
}

// New makes a handler. It panics without Options.Query.
func New(o Options) *Handler {
	if o.Query == nil {
		panic("api: Options.Query is not set")
	}
	o.ensureDefaults()
	h := &Handler{o: o, slots: make(chan struct{}, o.MaxConcurrent), stats: newStats()}
	metrics := promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	h.paths = map[string]route{
		"/api/v1/sql": {"POST", "run one SQL statement", h.sql},
		"/healthz":    {"GET, HEAD", "200 while the process lives", h.healthz},
		"/readyz":     {"GET, HEAD", "200 when requests are taken, else 503 and the reason", h.readyz},
		"/metrics":    {"GET, HEAD", "Prometheus metrics of this server", metrics.ServeHTTP},
	}
	return h
}

// ServeHTTP implements http.Handler. A panic ends its request only.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := &recorder{ResponseWriter: w}
	path := r.URL.Path
	route, known := h.paths[path]
	if !known {
		path = "other" // else anybody could make label values
	}
	done := h.stats.begin(path)
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			h.o.Logger.Error("panic in a request", "path", path, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			if rec.code == 0 {
				writeProblem(rec, http.StatusInternalServerError, &Problem{Message: "internal error; the server's log has the details", SQLState: "XX000"})
			}
		}
		done(rec, p != nil)
		if p != nil && rec.streaming {
			panic(http.ErrAbortHandler) // net/http then cuts the connection: no client takes the part for the whole
		}
	}()
	rec.Header().Set("X-Content-Type-Options", "nosniff")
	switch {
	case !known:
		h.notFound(rec, r)
	case !slices.Contains(strings.Split(route.methods, ", "), r.Method):
		rec.Header().Set("Allow", route.methods)
		writeProblem(rec, http.StatusMethodNotAllowed, &Problem{Message: fmt.Sprintf("%s takes %s, not %s", path, route.methods, r.Method)})
	default:
		if why := h.foreign(r); why != "" {
			writeProblem(rec, http.StatusForbidden, &Problem{Message: why})
			return
		}
		route.serve(rec, r)
	}
}

// foreign says why a request may be a web page's that has no business here, "" when it is not.
func (h *Handler) foreign(r *http.Request) string {
	if origin := r.Header.Get("Origin"); origin != "" {
		u, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(u.Host, r.Host) {
			return fmt.Sprintf("requests from pages of %s are not taken", origin)
		}
	}
	if h.o.AnyHost {
		return ""
	}
	name := r.Host
	if n, _, err := net.SplitHostPort(name); err == nil {
		name = n
	}
	name = strings.ToLower(strings.TrimSuffix(strings.Trim(name, "[]"), "."))
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" || name == "" || strings.HasSuffix(name, ".localhost") {
		return ""
	}
	return fmt.Sprintf("this server is asked by address or as localhost, not as %q", name)
}

func (h *Handler) notFound(w http.ResponseWriter, r *http.Request) {
	paths := map[string]string{}
	for p, r := range h.paths {
		method, _, _ := strings.Cut(r.methods, ",")
		paths[method+" "+p] = r.doc
	}
	writeJSON(w, http.StatusNotFound, struct {
		Error Problem           `json:"error"`
		Paths map[string]string `json:"paths"`
	}{Problem{Message: fmt.Sprintf("there is nothing at %.200s", r.URL.Path)}, paths})
}

func (h *Handler) healthz(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

func (h *Handler) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := h.o.Ready(); err != nil {
		w.Header().Set("Retry-After", "1")
		writeJSON(w, http.StatusServiceUnavailable, map[string]string{"status": "not ready", "reason": err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}
