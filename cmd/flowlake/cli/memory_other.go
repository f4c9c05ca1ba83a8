//go:build !linux

package cli

// availableMemory is not known on this platform: say --memory.
func availableMemory() int64 { return 0 }
