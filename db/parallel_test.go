package db

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
)

func TestEach(t *testing.T) {
	for _, workers := range []int{0, 1, 3, 8} {
		for _, n := range []int{0, 1, 2, 100} {
			var calls [100]atomic.Int32
			if err := each(n, workers, func(i int) error { calls[i].Add(1); return nil }); err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if c := calls[i].Load(); c != 1 {
					t.Errorf("%d workers, %d of %d: %d calls", workers, i, n, c)
				}
			}
		}
		wrong := errors.New("7")
		if err := each(100, workers, func(i int) error {
			if i == 7 {
				return wrong
			}
			return nil
		}); !errors.Is(err, wrong) {
			t.Errorf("%d workers: error %v", workers, err)
		}
		got := func() (p any) {
			defer func() { p = recover() }()
			_ = each(20, workers, func(i int) error {
				if i == 5 {
					panic("broken")
				}
				return nil
			})
			return nil
		}()
		if fmt.Sprint(got) != "broken" {
			t.Errorf("%d workers: panic %v", workers, got)
		}
	}
}
