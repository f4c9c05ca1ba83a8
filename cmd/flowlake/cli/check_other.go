//go:build !linux

package cli

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/flowlake/flowlake/collector/capture"
)

// kernelFindings says whether live capture works: it lists the interfaces and opens the first that is up for a moment.
func kernelFindings() []finding {
	f := finding{"live capture", "works", "ok", "", ""}
	if err := tryCapture(); err != nil {
		f.found, f.state, f.without = err.Error(), "missing", "no live capture; captured files can be imported"
		switch {
		case errors.Is(err, capture.ErrPermission):
			f.found, f.todo = "not permitted", grantHint()
		case runtime.GOOS == "windows" && errors.Is(err, capture.ErrUnsupported):
			f.todo = "install Npcap (npcap.com)"
		}
	}
	return []finding{f}
}

func tryCapture() error {
	devices, err := capture.Devices()
	if err != nil {
		return err
	}
	err = fmt.Errorf("%w that is up", capture.ErrNoInterface)
	for _, d := range devices {
		if !d.Up {
			continue
		}
		var l *capture.Live
		if l, err = capture.OpenLive(func(o *capture.LiveOptions) { o.Interface = d.Name }); err == nil {
			return l.Close()
		}
		if errors.Is(err, capture.ErrPermission) {
			return err
		}
	}
	return err
}

// grantHint says how the right to capture is given to this program.
func grantHint() string {
	switch runtime.GOOS {
	case "windows":
		return "run as administrator, or let others use Npcap when it is installed"
	case "darwin":
		return "run as root, or let your user read /dev/bpf*"
	}
	return "there is no live capture on this platform"
}
