package stages

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/flowlake/flowlake/db"
)

func TestZZYield(t *testing.T) {
	if os.Getenv("ZZ") == "" {
		t.Skip()
	}
	in := manyBatches()
	day := time.Unix(0, 0)
	first, _, _ := in[0].TimeRange()
	day = time.Unix(0, first)
	start := time.Now()
	d := openDB(t, func(o *db.Options) {
		o.Retention = map[string]time.Duration{"flows": 0}
		o.Now = func() time.Time { return day.Add(time.Since(start)) }
		o.NoSync = true
	})
	done := make(chan bool)
	var v []time.Duration
	go func() {
		for {
			select {
			case <-done:
				close(done)
				return
			default:
			}
			time.Sleep(100 * time.Microsecond)
			c := cpuTime()
			time.Sleep(time.Microsecond)
			v = append(v, cpuTime()-c)
		}
	}()
	for r := 0; r < 6; r++ {
		writeAll(t, d, in)
	}
	flush(t, d)
	done <- true
	<-done
	slices.Sort(v)
	n := len(v)
	fmt.Println(n, v[n/2], v[n*9/10], v[n*99/100], v[n*999/1000], v[n-1], v[max(0, n-30):])
	closeDB(t, d)
}
