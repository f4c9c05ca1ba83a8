// Package parse turns SQL text into package ast, or into an error that says
// where and, where it can, what was meant.
//
// Text is first measured (bytes, tokens, nesting) by a small scanner, so that
// hostile input costs nothing; then lexed and parsed by the ANTLR code of
// parse/gen, fast SLL prediction first and full LL when that fails; then built
// into an ast and the ANTLR tree dropped. Parse is safe for concurrent use.
package parse
