//go:build !linux && !windows && !darwin

package capture

import (
	"context"
	"fmt"
	"runtime"
)

// Live captures from the network. On this platform it cannot be opened.
type Live struct{}

// OpenLive returns ErrUnsupported on this platform.
func OpenLive(opts ...func(*LiveOptions)) (*Live, error) {
	return nil, fmt.Errorf("capture live on %s: %w", runtime.GOOS, ErrUnsupported)
}

// OpenFanout returns ErrUnsupported on this platform.
func OpenFanout(n int, opts ...func(*LiveOptions)) ([]*Live, error) {
	return nil, fmt.Errorf("capture live on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Run returns ErrUnsupported on this platform.
func (*Live) Run(context.Context, func(*Batch) error) error { return ErrUnsupported }

// Metrics returns zeros on this platform.
func (*Live) Metrics() Metrics { return Metrics{} }

// Close does nothing on this platform.
func (*Live) Close() error { return nil }

// SharedSocket says whether one source can capture on several interfaces.
const SharedSocket = false
