package db

import (
	"sync"
	"sync/atomic"
)

// parallelReads is how many files are opened or looked into at a time where that means to wait for a disk: more than
// there are cores, few enough that their buffers do not matter.
const parallelReads = 8

// each calls f for 0 to n-1 from at most workers goroutines and waits for them. After an error or a panic no further calls
// begin; it returns the error of the lowest i, and panics again on the caller's goroutine, who may be prepared for it.
func each(n, workers int, f func(i int) error) error {
	if workers = min(workers, n); workers <= 1 {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	var (
		next   atomic.Int64
		failed atomic.Bool
		panics = make([]any, workers)
		errs   = make([]error, n)
		wg     sync.WaitGroup
	)
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if panics[w] = recover(); panics[w] != nil {
					failed.Store(true)
				}
			}()
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[i] = f(i); errs[i] != nil {
					failed.Store(true)
				}
			}
		}()
	}
	wg.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
