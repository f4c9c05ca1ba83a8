package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// stats are the door's own metrics.
type stats struct {
	requests *prometheus.CounterVec
	bytes    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	running  prometheus.Gauge
	rows     prometheus.Counter
	refused  prometheus.Counter
}

func newStats() stats {
	labels := []string{"path", "code"}
	return stats{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flowlake_http_requests_total",
			Help: "HTTP requests by path and status code; code 0 are those cut off."}, labels),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flowlake_http_response_bytes_total",
			Help: "Bytes of HTTP response bodies by path and status code."}, labels),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "flowlake_http_request_seconds",
			Help: "Time to answer HTTP requests by path.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 9)}, []string{"path"}),
		running: prometheus.NewGauge(prometheus.GaugeOpts{Name: "flowlake_http_requests_running",
			Help: "HTTP requests being answered now."}),
		rows: prometheus.NewCounter(prometheus.CounterOpts{Name: "flowlake_http_rows_total",
			Help: "Rows sent to HTTP clients."}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{Name: "flowlake_http_refused_total",
			Help: "Statements refused because too many were running."}),
	}
}

func (s *stats) all() []prometheus.Collector {
	return []prometheus.Collector{s.requests, s.bytes, s.seconds, s.running, s.rows, s.refused}
}

// begin counts a request; the function it returns ends it.
func (s *stats) begin(path string) func(rec *recorder, cut bool) {
	start := time.Now()
	s.running.Inc()
	return func(rec *recorder, cut bool) {
		code := strconv.Itoa(rec.code)
		if cut && rec.streaming {
			code = "0"
		}
		s.running.Dec()
		s.requests.WithLabelValues(path, code).Inc()
		s.bytes.WithLabelValues(path, code).Add(float64(rec.bytes))
		s.seconds.WithLabelValues(path).Observe(time.Since(start).Seconds())
	}
}

// Describe implements prometheus.Collector.
func (h *Handler) Describe(ch chan<- *prometheus.Desc) {
	for _, c := range h.stats.all() {
		c.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (h *Handler) Collect(ch chan<- prometheus.Metric) {
	for _, c := range h.stats.all() {
		c.Collect(ch)
	}
}

// recorder notes what was answered.
type recorder struct {
	http.ResponseWriter
	code      int
	bytes     int64
	streaming bool // rows are on their way: what goes wrong now must cut the response off
}

func (r *recorder) WriteHeader(code int) {
	if r.code == 0 {
		r.code = code
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *recorder) Write(p []byte) (int, error) {
	if r.code == 0 {
		r.code = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(p)
	r.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController find what is below.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
