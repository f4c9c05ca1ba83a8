package main

import (
	"context"
	"database/sql"
	"errors"

	_ "github.com/go-sql-driver/mysql" // the driver
	"github.com/jackc/pgx/v5"
)

// mysqlScenario prepares statements.
func mysqlScenario(ctx context.Context) error {
	db, err := sql.Open("mysql", "app:secret@tcp(127.0.0.1:3306)/shop")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	st, err := db.PrepareContext(ctx, "SELECT name FROM orders WHERE id = ? AND name <> ?")
	if err != nil {
		return err
	}
	for i := range 3 {
		var name string
		if err := st.QueryRowContext(ctx, i, "z").Scan(&name); err != nil && !errors.Is(err, sql.ErrNoRows) {
			return err
		}
	}
	if err := st.Close(); err != nil {
		return err
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO orders VALUES (?, ?)", 1, "again"); err == nil {
		return errors.New("a key was there twice")
	}
	_, err = db.ExecContext(ctx, "UPDATE orders SET name = ? WHERE id < ?", "y", 100)
	return err
}

// postgresqlScenario speaks the extended protocol, pipelines and copies.
func postgresqlScenario(ctx context.Context) error {
	c, err := pgx.Connect(ctx, "postgres://app:secret@127.0.0.1:5432/postgres?sslmode=disable")
	if err != nil {
		return err
	}
	defer c.Close(ctx)
	for i := range 3 {
		var name string
		if err := c.QueryRow(ctx, "SELECT name FROM orders WHERE id = $1", i).Scan(&name); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			return err
		}
	}
	b := &pgx.Batch{}
	b.Queue("INSERT INTO orders VALUES ($1, $2)", 1000, "a")
	b.Queue("UPDATE orders SET name = $1 WHERE id > $2", "b", 100)
	b.Queue("SELECT count(*) FROM orders")
	if err := c.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, "INSERT INTO orders VALUES ($1, $2)", 1000, "again"); err == nil {
		return errors.New("a key was there twice")
	}
	_, err = c.CopyFrom(ctx, pgx.Identifier{"orders"}, []string{"id", "name"}, pgx.CopyFromRows([][]any{{2000, "c"}, {2001, "d"}}))
	return err
}
