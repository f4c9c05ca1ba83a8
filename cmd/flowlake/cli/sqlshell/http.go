package sqlshell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/flowlake/flowlake/compat/api"
	"github.com/flowlake/flowlake/query/render"
)

// ErrAddress is returned by Remote for an address that is none.
var ErrAddress = errors.New("not the address of a server")

// Remote is a session with a server, given as http://host:port; host:port is taken too.
func Remote(address string) (Session, error) {
	if !strings.Contains(address, "://") {
		address = "http://" + address
	}
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%w: %q; it is http://host:port", ErrAddress, address)
	}
	return &remote{base: strings.TrimSuffix(u.String(), "/"), client: &http.Client{Transport: &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		MaxIdleConnsPerHost:   1,
		IdleConnTimeout:       time.Minute,
		ExpectContinueTimeout: time.Second,
	}}}, nil
}

type remote struct {
	base   string
	client *http.Client
}

func (r *remote) Where() string { return r.base }
func (r *remote) Keeps() bool   { return false }

func (r *remote) Query(ctx context.Context, sql string, timeout time.Duration) (Result, error) {
	address := r.base + "/api/v1/sql?format=rows"
	if timeout > 0 {
		address += "&timeout=" + url.QueryEscape(timeout.String())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(sql))
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", r.base, err)
	}
	req.Header.Set("Content-Type", "application/sql")
	req.Header.Set("TE", "trailers")
	res, err := r.client.Do(req)
	if err != nil {
		return nil, r.explain(ctx, err)
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		return nil, r.refused(res)
	}
	rows, err := render.NewRowReader(res.Body)
	if err != nil {
		res.Body.Close()
		return nil, fmt.Errorf("read the answer of %s: %w", r.base, err)
	}
	return &remoteResult{ctx: ctx, remote: r, res: res, rows: rows}, nil
}

// explain makes the commonest failures plain.
func (r *remote) explain(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no server answers at %s; start one with 'flowlake server', or open a folder with --data", r.base)
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Errorf("ask %s: %w", r.base, err)
}

// refused is the error in a response that is not 200.
func (r *remote) refused(res *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", r.base, err)
	}
	var e struct {
		Error *api.Problem `json:"error"`
	}
	if kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); kind == "application/json" &&
		json.Unmarshal(body, &e) == nil && e.Error != nil && e.Error.Message != "" {
		return e.Error
	}
	return fmt.Errorf("%s answered %s: %.200q; is it a Flowlake server?", r.base, res.Status, bytes.TrimSpace(body))
}

type remoteResult struct {
	ctx    context.Context // of the statement
	remote *remote
	res    *http.Response
	rows   *render.RowReader
}

func (r *remoteResult) Columns() []render.Column { return r.rows.Columns() }

func (r *remoteResult) Copy(w render.Writer) (int64, error) {
	var n int64
	for {
		cells, err := r.rows.Next()
		switch {
		case errors.Is(err, io.EOF):
			return n, r.trailer()
		case err != nil && r.ctx.Err() != nil:
			return n, r.ctx.Err()
		case err != nil:
			return n, fmt.Errorf("read the answer of %s after %d rows: %w", r.remote.base, n, err)
		}
		if err := w.Row(cells); err != nil {
			return n, fmt.Errorf("write rows: %w", err)
		}
		n++
	}
}

// trailer is the error that came behind the rows.
func (r *remoteResult) trailer() error {
	text := r.res.Trailer.Get("X-Flowlake-Error")
	if text == "" {
		return nil
	}
	p := &api.Problem{}
	if err := json.Unmarshal([]byte(text), p); err != nil || p.Message == "" {
		p = &api.Problem{Message: text}
	}
	return p
}

func (r *remoteResult) Close() error { return r.res.Body.Close() }
