package api

import (
	"context"
	"errors"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/query"
	"github.com/flowlake/flowlake/query/render"
)

// Engine makes a query engine a QueryFunc: each statement runs with the engine's settings.
func Engine(e *query.Engine) QueryFunc {
	return func(ctx context.Context, sql string, args ...any) (Rows, error) {
		return Result(e.Query(ctx, sql, args...))
	}
}

// Result makes what a query engine or session has answered Rows and Problems.
func Result(res *query.Result, err error) (Rows, error) {
	if err != nil {
		return nil, problem(err)
	}
	return &engineRows{res}, nil
}

type engineRows struct{ *query.Result }

func (r *engineRows) Columns() []render.Column {
	cols := make([]render.Column, len(r.Result.Columns()))
	for i, c := range r.Result.Columns() {
		cols[i] = render.Column{Name: c.Name, Type: c.Type, TypeName: c.Type.String()}
	}
	return cols
}

func (r *engineRows) Next(ctx context.Context) (*batch.Batch, error) {
	b, err := r.Result.Next(ctx)
	return b, problem(err)
}

// problem makes a *query.Error a *Problem that wraps it; other errors, io.EOF among them, stay.
func problem(err error) error {
	var e *query.Error
	if !errors.As(err, &e) {
		return err
	}
	return &Problem{Message: e.Msg, SQLState: e.SQLState, Line: e.Line, Column: e.Column, Detail: e.Detail(), Hint: e.Hint, cause: e}
}
