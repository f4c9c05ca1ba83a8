// Package query answers SQL over anything that offers tables through the interface Source: it parses, plans and runs
// statements, streams results in columns, and keeps to limits of time and memory.
//
//	e := query.New(db)
//	res, err := e.Query(ctx, "SELECT server_port, sum(bytes_tx) FROM flows GROUP BY 1")
package query
