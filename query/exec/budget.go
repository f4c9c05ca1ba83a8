package exec

import (
	"fmt"
	"sync/atomic"
)

// Budget counts the memory that a query's tables, sorts and results hold. It is safe for concurrent use.
type Budget struct {
	// Limit is in bytes; 0 is no limit.
	Limit int64
	used  atomic.Int64
	peak  atomic.Int64
}

// Charge adds n bytes (or gives back -n); it returns an error that wraps ErrMemory where that is too much.
func (b *Budget) Charge(n int64) error {
	if n == 0 {
		return nil
	}
	u := b.used.Add(n)
	for {
		p := b.peak.Load()
		if u <= p || b.peak.CompareAndSwap(p, u) {
			break
		}
	}
	if b.Limit > 0 && n > 0 && u > b.Limit {
		return fmt.Errorf("%w: it needs more than the %s of the setting query_memory_limit", ErrMemory, FormatBytes(b.Limit))
	}
	return nil
}

// Peak is the most that was held at one time, in bytes.
func (b *Budget) Peak() int64 { return b.peak.Load() }

// FormatBytes is a size for people: "64 KiB".
func FormatBytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1024, 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if f == float64(int64(f)) {
		return fmt.Sprintf("%d %ciB", int64(f), units[i])
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}

// charger charges the growth of one thing to a budget.
type charger struct {
	budget *Budget
	held   int64
}

// set says that the thing takes n bytes now.
func (c *charger) set(n int64) error {
	d := n - c.held
	c.held = n
	return c.budget.Charge(d)
}
