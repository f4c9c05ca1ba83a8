//go:build !linux

package capture

import (
	"fmt"
	"runtime"
)

// Namespace is a network namespace; there are none on this platform.
type Namespace struct{}

// OpenNamespace returns ErrUnsupported on this platform.
func OpenNamespace(name string) (*Namespace, error) {
	return nil, fmt.Errorf("network namespaces on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Namespaces returns ErrUnsupported on this platform.
func Namespaces() ([]*Namespace, error) {
	return nil, fmt.Errorf("network namespaces on %s: %w", runtime.GOOS, ErrUnsupported)
}

// Name is "" on this platform.
func (*Namespace) Name() string { return "" }

// ID is 0 on this platform.
func (*Namespace) ID() uint64 { return 0 }

// Close does nothing on this platform.
func (*Namespace) Close() error { return nil }

// Do returns ErrUnsupported on this platform.
func (*Namespace) Do(func() error) error { return ErrUnsupported }
