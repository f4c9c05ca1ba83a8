package collector

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/flowlake/flowlake/db/batch"
)

// recording is a pcap file of datagrams, one flow each, as far apart as given.
func recording(gaps ...time.Duration) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 0xa1b23c4d) // nanoseconds
	b = append(b, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 1, 0, 0, 0)
	at := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, gap := range gaps {
		at = at.Add(gap)
		d := datagram(i)
		for _, v := range []uint32{uint32(at.Unix()), uint32(at.Nanosecond()), uint32(len(d)), uint32(len(d))} {
			b = binary.LittleEndian.AppendUint32(b, v)
		}
		b = append(b, d...)
	}
	return b
}

// arrivals notes when rows of flows come.
type arrivals struct {
	table
	began time.Time
	after []time.Duration
}

func (a *arrivals) Write(ctx context.Context, b *batch.Batch) error {
	if b.Table.Name == "flows" {
		a.after = append(a.after, time.Since(a.began))
	}
	return a.table.Write(ctx, b)
}

func TestImportSpeed(t *testing.T) {
	file := recording(0, time.Second, 10*time.Minute, 5*time.Second, 20*time.Minute)
	want := map[float64]time.Duration{0: 0, 1: 1806 * time.Second, 10: 180600 * time.Millisecond, 0.5: 3612 * time.Second}
	var fast []map[string]string
	for _, speed := range []float64{0, 1, 10, 0.5} {
		synctest.Test(t, func(t *testing.T) {
			a := &arrivals{began: time.Now()}
			st, err := ImportFrom(context.Background(), bytes.NewReader(file), a, func(o *ImportOptions) { o.Speed = speed })
			if err != nil || st.Packets != 5 {
				t.Fatalf("%+v, %v", st, err)
			}
			if took := time.Since(a.began); took < want[speed]-time.Millisecond || took > want[speed] {
				t.Errorf("at speed %v it took %v, want %v", speed, took, want[speed])
			}
			rows := a.rows["flows"]
			if len(rows) == 0 || speed > 0 && a.after[0] >= want[speed]/2 {
				t.Errorf("at speed %v rows came after %v", speed, a.after)
			}
			if speed == 0 {
				fast = rows
			} else if !slices.EqualFunc(rows, fast, func(x, y map[string]string) bool {
				return x["time"] == y["time"] && x["client_port"] == y["client_port"]
			}) {
				t.Errorf("at speed %v the rows are others", speed)
			}
		})
	}
}

func TestImportSpeedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		var s table
		st, err := ImportFrom(ctx, bytes.NewReader(recording(0, time.Second, time.Hour)), &s, func(o *ImportOptions) { o.Speed = 1 })
		if !errors.Is(err, context.DeadlineExceeded) || st.Flows != 2 {
			t.Errorf("%+v, %v", st, err)
		}
	})
}
