package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowlake/flowlake/query/render"
)

// request is one statement as it was asked for.
type request struct {
	SQL     string `json:"sql"`
	Params  []any  `json:"params"`
	Format  string `json:"format"`
	Timeout string `json:"timeout"`

	timeout time.Duration // 0: the engine's own
}

// refusal is a request that is not run.
type refusal struct {
	code int
	Problem
}

func refuse(code int, format string, args ...any) *refusal {
	return &refusal{code, Problem{Message: fmt.Sprintf(format, args...)}}
}

// readRequest reads a statement from the body: text, JSON or a form. Parameters of the address win over the body.
func (h *Handler) readRequest(w http.ResponseWriter, r *http.Request) (*request, *refusal) {
	if enc := r.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		return nil, refuse(http.StatusUnsupportedMediaType, "Content-Encoding %.100q is not taken", enc)
	}
	// not every ResponseWriter has deadlines; then a client that stalls is net/http's matter
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(h.o.StallTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.o.MaxBodyBytes))
	_ = rc.SetReadDeadline(time.Time{})
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, refuse(http.StatusRequestEntityTooLarge, "the body is longer than %d bytes", h.o.MaxBodyBytes)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refuse(http.StatusRequestTimeout, "the body did not come within %v", h.o.StallTimeout)
	case err != nil:
		return nil, refuse(http.StatusBadRequest, "read the body: %v", err)
	}
	req, bad := parseBody(r.Header.Get("Content-Type"), body)
	if bad != nil {
		return nil, bad
	}
	q := r.URL.Query()
	if v := q.Get("timeout"); v != "" {
		req.Timeout = v
	}
	if v := q.Get("format"); v != "" {
		req.Format = v
	}
	return req, req.check(r.Header.Values("Accept"))
}

func parseBody(contentType string, body []byte) (*request, *refusal) {
	kind := ""
	if contentType != "" {
		var err error
		if kind, _, err = mime.ParseMediaType(contentType); err != nil {
			return nil, refuse(http.StatusUnsupportedMediaType, "Content-Type %.100q: %v", contentType, err)
		}
	}
	switch {
	case kind == "application/json":
		return parseJSON(body)
	case kind == "application/x-www-form-urlencoded" && isForm(body):
		return parseForm(body)
	case kind == "", kind == "application/x-www-form-urlencoded", kind == "application/sql", kind == "text/plain", kind == "application/octet-stream":
		return &request{SQL: string(body)}, nil
	}
	return nil, refuse(http.StatusUnsupportedMediaType,
		"Content-Type %.100q is not taken; send text/plain, application/json or application/x-www-form-urlencoded", kind)
}

var formKeys = []string{"sql", "format", "timeout"}

// isForm tells a form from plain SQL that a client like curl calls a form: by its first key.
func isForm(body []byte) bool {
	key, _, ok := bytes.Cut(body[:min(len(body), 16)], []byte("="))
	return ok && slices.Contains(formKeys, string(key))
}

func parseForm(body []byte) (*request, *refusal) {
	v, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "read the form: %v", err)
	}
	for k := range v {
		if !slices.Contains(formKeys, k) {
			return nil, refuse(http.StatusBadRequest, "unknown form key %.100q; there are %s; a & in the statement is written %%26", k, strings.Join(formKeys, ", "))
		}
	}
	return &request{SQL: v.Get("sql"), Format: v.Get("format"), Timeout: v.Get("timeout")}, nil
}

func parseJSON(body []byte) (*request, *refusal) {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	d.DisallowUnknownFields()
	req := &request{}
	if err := d.Decode(req); err != nil {
		return nil, refuse(http.StatusBadRequest, "read the JSON body: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse(http.StatusBadRequest, "read the JSON body: there is more behind the object")
	}
	for i, p := range req.Params {
		switch v := p.(type) {
		case nil, bool, string:
		case json.Number:
			n, ok := number(v)
			if !ok {
				return nil, refuse(http.StatusBadRequest, "parameter $%d: %s is out of range", i+1, v)
			}
			req.Params[i] = n
		default:
			return nil, refuse(http.StatusBadRequest, "parameter $%d: arrays and objects are not taken", i+1)
		}
	}
	return req, nil
}

// number is a number without a fraction as int64 when it is one, else a float64.
func number(n json.Number) (any, bool) {
	if i, err := n.Int64(); err == nil {
		return i, true
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	return f, err == nil
}

// check fills in the format and the timeout.
func (r *request) check(accept []string) *refusal {
	if strings.TrimSpace(r.SQL) == "" {
		return &refusal{http.StatusBadRequest, Problem{Message: "there is no statement", SQLState: "42601",
			Hint: "send SQL as the body, or as \"sql\" of a JSON object or a form"}}
	}
	if r.Timeout != "" {
		d, err := time.ParseDuration(r.Timeout)
		if err != nil || d <= 0 {
			return refuse(http.StatusBadRequest, "timeout %.100q is not a duration such as 30s or 500ms", r.Timeout)
		}
		r.timeout = d
	}
	known := strings.Join(render.Names(), ", ")
	if r.Format != "" {
		if render.MIME(r.Format) == "" {
			return refuse(http.StatusNotAcceptable, "unknown format %.100q; there are %s", r.Format, known)
		}
		return nil
	}
	if r.Format = accepted(accept); r.Format == "" {
		return refuse(http.StatusNotAcceptable, "none of the media types of Accept can be made; ask for one of the formats with ?format=: %s", known)
	}
	return nil
}

// accepted is the format that an Accept header asks for most; "" when there is none of those.
func accepted(headers []string) string {
	if len(headers) == 0 {
		return "json"
	}
	best, bestQ := "", 0.0
	for item := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		kind, params, err := mime.ParseMediaType(item)
		if err != nil {
			continue
		}
		q := 1.0
		if v, ok := params["q"]; ok {
			if q, err = strconv.ParseFloat(v, 64); err != nil {
				continue
			}
		}
		name := render.ByMIME(kind)
		switch kind {
		case "*/*", "application/*":
			name = "json"
		case "text/*":
			name = "csv"
		}
		if name != "" && q > bestQ {
			best, bestQ = name, q
		}
	}
	return best
}
