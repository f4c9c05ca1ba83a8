// Package enc turns columns into bytes and back: integers, dictionary codes, floats, booleans, byte strings and latency
// sketches, without files, allocation per value or any other package of this module.
//
// The bytes are described in docs/format/columns.md. Every Append function appends one self-contained column to dst and
// returns the longer slice; the encoding is chosen from the data. Every Decode function appends exactly n values to dst,
// or fails, and returns what follows the column. n comes from the caller, who must have bounded it: a column of one
// repeated value is three bytes whatever n is, and decoding takes memory for n values and no more.
//
// All functions are safe for concurrent use. Decoders never keep src; encoders never keep their input.
package enc

//go:generate go run gen.go
