package wal

import "testing"

// BenchmarkOpen opens a log of a few records in a file reserved at its full size: what a start costs at least.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	l, err := Open(dir)
	if err != nil {
		b.Fatal(err)
	}
	for range 10 {
		if _, err := l.Append([][]byte{make([]byte, 1000)}); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		l, err := Open(dir)
		if err != nil {
			b.Fatal(err)
		}
		if l.LastIndex() != 10 {
			b.Fatalf("last index %d", l.LastIndex())
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
