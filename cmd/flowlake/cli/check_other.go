//go:build !linux

package cli

// kernelFindings is what capture needs: live capture is for Linux in this version.
func kernelFindings() []finding {
	return []finding{{"live capture", "not on this platform", "missing", "no live capture; captured files can be imported",
		"run the server on Linux, or: flowlake import pcap FILE"}}
}

// grantHint says how the right to capture is given to this program.
func grantHint() string { return "there is no live capture on this platform" }
