//go:build !windows

package cli

import "github.com/spf13/cobra"

// newService is nil: services are Windows'.
func newService(*Streams) *cobra.Command { return nil }
