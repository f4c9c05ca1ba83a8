package api

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/query/render"
)

// Headers that come behind the rows (HTTP trailers).
const (
	trailerRows    = "X-Flowlake-Rows"
	trailerElapsed = "X-Flowlake-Elapsed" // seconds
	trailerError   = "X-Flowlake-Error"   // JSON of a Problem
)

// sql runs a statement. Until the first rows are there an error has a status of its own; after them the response is cut
// off, or, when the client says "TE: trailers", ends with the error in a trailer.
func (h *Handler) sql(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	if err := h.o.Ready(); err != nil {
		writeProblem(w, http.StatusServiceUnavailable, &Problem{Message: err.Error(), SQLState: stateUnavailable})
		return
	}
	req, bad := h.readRequest(w, r)
	if bad != nil {
		writeProblem(w, bad.code, &bad.Problem)
		return
	}
	ctx := r.Context() // ends when the client goes away
	if req.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, req.timeout)
		defer cancel()
	}
	if !h.acquire(ctx) {
		h.stats.refused.Add(1)
		writeProblem(w, http.StatusServiceUnavailable, &Problem{
			Message:  "too many statements are running (" + strconv.Itoa(h.o.MaxConcurrent) + "); try again",
			SQLState: stateBusy})
		return
	}
	defer func() { <-h.slots }()
	rows, err := h.o.Query(ctx, req.SQL, req.Params...)
	if err != nil {
		code, p := problemOf(err)
		writeProblem(w, code, p)
		return
	}
	out := &stream{h: h, w: w, rc: http.NewResponseController(w), start: start, rows: rows}
	out.end(r, out.run(ctx, r, req.Format))
}

// acquire waits for a slot to run in.
func (h *Handler) acquire(ctx context.Context) bool {
	select {
	case h.slots <- struct{}{}:
		return true
	default:
	}
	t := time.NewTimer(h.o.QueueTimeout)
	defer t.Stop()
	select {
	case h.slots <- struct{}{}:
		return true
	case <-t.C:
	case <-ctx.Done():
	}
	return false
}

// stream is a response with rows.
type stream struct {
	h     *Handler
	w     http.ResponseWriter
	rc    *http.ResponseController
	zip   *gzip.Writer // nil when the client does not take it
	start time.Time
	rows  Rows
	sent  int64
	begun bool // the status was sent
}

// run sends everything, or returns why it could not.
func (s *stream) run(ctx context.Context, r *http.Request, format string) (err error) {
	defer func() { // also when it panics: a statement that nobody reads must not go on
		if cerr := s.rows.Close(); err == nil {
			err = cerr
		}
	}()
	first, err := s.rows.Next(ctx)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	s.begin(r, format)
	var dst io.Writer = s.w
	if s.zip != nil {
		dst = s.zip
	}
	w, werr := render.New(format, dst, render.Options{})
	if werr != nil {
		return werr
	}
	rows, werr := render.NewRows(w, s.rows.Columns())
	if werr != nil {
		return werr
	}
	for b := first; err == nil; b, err = s.rows.Next(ctx) {
		if werr := s.send(w, rows, b); werr != nil {
			return werr
		}
	}
	if !errors.Is(err, io.EOF) {
		_ = w.Flush() // what there is; the error below is the one to tell
		return err
	}
	return w.Close()
}

func (s *stream) send(w render.Writer, rows *render.Rows, b *batch.Batch) error {
	// not every ResponseWriter has deadlines; then a client that stalls is net/http's matter
	_ = s.rc.SetWriteDeadline(time.Now().Add(s.h.o.StallTimeout))
	if err := rows.Batch(b); err != nil {
		return err
	}
	s.sent += int64(b.N)
	if err := w.Flush(); err != nil {
		return err
	}
	if s.zip != nil {
		if err := s.zip.Flush(); err != nil {
			return err
		}
	}
	return s.rc.Flush()
}

func (s *stream) begin(r *http.Request, format string) {
	s.begun = true
	hd := s.w.Header()
	hd.Set("Content-Type", render.MIME(format))
	hd.Set("Cache-Control", "no-store")
	hd.Set("Trailer", strings.Join([]string{trailerRows, trailerElapsed, trailerError}, ", "))
	hd.Add("Vary", "Accept, Accept-Encoding")
	if acceptsGzip(r) {
		hd.Set("Content-Encoding", "gzip")
		s.zip, _ = gzip.NewWriterLevel(s.w, gzip.BestSpeed) // the level is valid
	}
	s.w.WriteHeader(http.StatusOK)
	if rec, ok := s.w.(*recorder); ok {
		rec.streaming = true
	}
}

// end closes the response: properly, with the error in a trailer, or by cutting it off.
func (s *stream) end(r *http.Request, err error) {
	s.h.stats.rows.Add(float64(s.sent))
	if !s.begun {
		code, p := problemOf(err)
		writeProblem(s.w, code, p)
		return
	}
	hd := s.w.Header()
	if err != nil {
		if !takesTrailers(r) {
			panic(http.ErrAbortHandler)
		}
		_, p := problemOf(err)
		text, merr := json.Marshal(p)
		if merr != nil {
			panic(http.ErrAbortHandler)
		}
		hd.Set(trailerError, string(text))
	}
	if s.zip != nil {
		if err := s.zip.Close(); err != nil {
			panic(http.ErrAbortHandler)
		}
	}
	hd.Set(trailerRows, strconv.FormatInt(s.sent, 10))
	hd.Set(trailerElapsed, strconv.FormatFloat(time.Since(s.start).Seconds(), 'f', 6, 64))
}

func takesTrailers(r *http.Request) bool { return headerHas(r.Header.Values("TE"), "trailers") }
func acceptsGzip(r *http.Request) bool   { return headerHas(r.Header.Values("Accept-Encoding"), "gzip") }

// headerHas says whether a list of words, some with a weight, has word with a weight above 0.
func headerHas(values []string, word string) bool {
	for item := range strings.SplitSeq(strings.Join(values, ","), ",") {
		name, weight, _ := strings.Cut(strings.TrimSpace(item), ";")
		if !strings.EqualFold(strings.TrimSpace(name), word) {
			continue
		}
		q := strings.TrimPrefix(strings.TrimSpace(weight), "q=")
		f, err := strconv.ParseFloat(q, 64)
		return q == "" || err == nil && f > 0
	}
	return false
}
