// Package exec runs queries: bound expressions, vectorised kernels over the typed slices of package batch, and the
// operators (scan, filter, project, aggregate, sort, limit, union, join) that workers pull batches through.
//
// Package plan makes the expressions and the operators; nothing here knows SQL text. Rows flow in batches of at most
// ChunkRows rows. Every worker has its own chain of iterators, so kernels need no locks; operators that must see all
// rows (aggregate, sort, join) keep a private table per worker and merge the tables when their input ends.
package exec
