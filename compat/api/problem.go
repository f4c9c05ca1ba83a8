package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
)

// Problem is an error as clients see it, below "error" in the body.
type Problem struct {
	// Message is one line.
	Message string `json:"message"`
	// SQLState is the error's class as PostgreSQL has them; "" when it is not about a statement.
	SQLState string `json:"sqlstate,omitempty"`
	// Line and Column are where in the statement it is, from 1; 0 when it is nowhere.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Detail is Message with the statement's line and a caret under the place, in several lines.
	Detail string `json:"detail,omitempty"`
	// Hint says what may have been meant or what to do.
	Hint string `json:"hint,omitempty"`

	cause error
}

// Error is the message.
func (p *Problem) Error() string { return p.Message }

// Unwrap is the error it was made of, if any.
func (p *Problem) Unwrap() error { return p.cause }

// SQLSTATEs that have a status of their own.
const (
	stateCanceled    = "57014" // timeouts too
	stateMemory      = "53200"
	stateBusy        = "53300"
	stateTooLong     = "54000"
	stateUnavailable = "57P03"
)

// problemOf makes an error one that can be shown, and says with which status.
func problemOf(err error) (int, *Problem) {
	var p *Problem
	if !errors.As(err, &p) {
		p = &Problem{Message: err.Error(), SQLState: "XX000"}
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			p.SQLState = stateCanceled
		}
	}
	switch {
	case p.SQLState == stateCanceled:
		return http.StatusGatewayTimeout, p
	case p.SQLState == stateMemory:
		return http.StatusUnprocessableEntity, p
	case p.SQLState == stateBusy, p.SQLState == stateUnavailable:
		return http.StatusServiceUnavailable, p
	case p.SQLState == stateTooLong:
		return http.StatusRequestEntityTooLarge, p
	case strings.HasPrefix(p.SQLState, "XX"), strings.HasPrefix(p.SQLState, "58"), p.SQLState == "":
		return http.StatusInternalServerError, p
	}
	return http.StatusBadRequest, p
}

func writeProblem(w http.ResponseWriter, code int, p *Problem) {
	if code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, code, map[string]*Problem{"error": p})
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(v) // the client may be gone; there is nobody else to tell
}
