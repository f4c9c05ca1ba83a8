// Package flowlake is the root of the module; it holds no code. The embeddable database is package db, its SQL engine
// package query, the program cmd/flowlake. docs/ARCHITECTURE.md is the map.
package flowlake
