// Package gen holds the ANTLR grammar of Flowlake's SQL and the lexer and
// parser generated from it; only package parse imports it.
package gen

//go:generate ./generate.sh
