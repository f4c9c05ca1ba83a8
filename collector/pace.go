package collector

import (
	"context"
	"time"

	"github.com/flowlake/flowlake/collector/capture"
)

// sealPaced is how often rows are handed on while packets are taken in slowly.
const sealPaced = time.Second

// pacer hands frames to a worker as fast as they once came, or so many times faster.
type pacer struct {
	w      *worker
	speed  float64
	began  time.Time
	sealed time.Time // when rows were handed on last
	first  int64     // time of the first packet
	known  bool      // first is set
}

func (p *pacer) frames(ctx context.Context, b *capture.Batch) error {
	for i := range b.Frames {
		if err := p.wait(ctx, b.Frames[i].TimeNanos); err != nil {
			return err
		}
		if err := p.w.frames(&capture.Batch{Frames: b.Frames[i : i+1]}); err != nil {
			return err
		}
	}
	return nil
}

// wait returns when a packet of this time is due. One that is older than the first is due at once, as is the first.
func (p *pacer) wait(ctx context.Context, nanos int64) error {
	if !p.known {
		p.first, p.known = nanos, true
	}
	for {
		now := time.Now()
		if now.Sub(p.sealed) >= sealPaced {
			p.sealed = now
			if err := p.w.seal(); err != nil {
				return err
			}
		}
		left := float64(nanos-p.first)/p.speed - float64(now.Sub(p.began))
		if left < float64(time.Millisecond) { // timers are no finer
			return ctx.Err()
		}
		t := time.NewTimer(time.Duration(min(left, float64(sealPaced))))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
	}
}
