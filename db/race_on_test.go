//go:build race

package db

// raceEnabled says that the race detector is on: it makes a test ten times as slow. A sweep over many runs of the same code then
// takes fewer of them, since what starts goroutines has been seen after some; the whole sweep runs without it.
const raceEnabled = true
