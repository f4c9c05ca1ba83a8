//go:build race

package http2

// raceEnabled says that the race detector is on: it lets pools forget at random, and the Huffman decoder has its buffer from one.
const raceEnabled = true
