package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/windows"
	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/mgr"
)

const (
	// serviceName is what Windows knows the service by.
	serviceName = "flowlake"
	// stopTime bounds how long uninstall waits for the service to end.
	stopTime = time.Minute
	// maxLogBytes is the size at which the log of the service is put aside at its next start.
	maxLogBytes = 16 << 20
)

// service runs a command until Windows stops it.
type service struct {
	args []string
	code int
}

var _ svc.Handler = (*service)(nil)

// Execute implements svc.Handler.
func (h *service) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	status <- svc.Status{State: svc.StartPending}
	streams := OS()
	streams.Signals = false
	if log, err := openServiceLog(); err == nil {
		defer log.Close()
		streams.Out, streams.Err = log, log
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan int, 1)
	go func() { done <- Run(ctx, h.args, streams) }()
	const accepted = svc.AcceptStop | svc.AcceptShutdown
	status <- svc.Status{State: svc.Running, Accepts: accepted}
	for {
		select {
		case h.code = <-done:
			status <- svc.Status{State: svc.StopPending}
			return false, uint32(h.code)
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending, WaitHint: uint32((doorsTime + storeTime + 10*time.Second).Milliseconds())}
				stop() // in order: what was captured is stored; the loop goes on until it is
			}
		}
	}
}

// serviceFolder is where the service has its data and log unless told otherwise.
func serviceFolder() (string, error) {
	dir, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, 0)
	if err != nil {
		return "", fmt.Errorf("find the folder ProgramData: %w", err)
	}
	return filepath.Join(dir, "Flowlake"), nil
}

// openServiceLog opens the log, whose older part is put aside when it has become large.
func openServiceLog() (*os.File, error) {
	dir, err := serviceFolder()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, "flowlake.log")
	if st, err := os.Stat(name); err == nil && st.Size() > maxLogBytes {
		_ = os.Rename(name, name+".1") // a log that is too long is better than none
	}
	return os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func newService(s *Streams) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "service",
		Short: "Run the server as a Windows service",
		Example: `  flowlake service install
  flowlake service install -- --data D:\flowlake --interface Ethernet
  flowlake service uninstall`,
	})
	install := &cobra.Command{
		Use:   "install [-- FLAG...]",
		Short: "Install and start the service; it starts with Windows from then on",
		Long: `Install the server as the Windows service ` + serviceName + ` and start it. Flags of the server come after --. Unless --data says otherwise its
data lies in %ProgramData%\Flowlake\data; it logs to %ProgramData%\Flowlake\flowlake.log. Run this as administrator. The service runs
this very file: leave it where it is.`,
		Example: `  flowlake service install
  flowlake service install -- --data D:\flowlake --interface Ethernet --filter "not port 3389"`,
		RunE: func(_ *cobra.Command, flags []string) error { return installService(s, flags) },
	}
	uninstall := &cobra.Command{
		Use:     "uninstall",
		Short:   "Stop and remove the service; its data stays",
		Example: "  flowlake service uninstall",
		Args:    args(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return uninstallService(s) },
	}
	// what Windows starts: not for people
	run := &cobra.Command{Use: "run", Hidden: true, DisableFlagParsing: true, RunE: func(_ *cobra.Command, list []string) error {
		h := &service{args: list}
		if err := svc.Run(serviceName, h); err != nil {
			return fmt.Errorf("run as a service, which only Windows can start: %w", err)
		}
		if h.code != exitOK {
			return reportedError{fmt.Errorf("exit code %d", h.code)}
		}
		return nil
	}}
	cmd.AddCommand(install, uninstall, run)
	return cmd
}

// serviceArgs are the arguments that the service is to be started with; what is wrong with them is said now.
func serviceArgs(s *Streams, flags []string) ([]string, error) {
	f := &serverFlags{}
	server := f.command(s)
	if err := server.ParseFlags(flags); err != nil {
		return nil, usageError{err}
	}
	if extra := server.Flags().Args(); len(extra) > 0 {
		return nil, usagef("%q is no flag of the server", extra[0])
	}
	if err := f.check(server.Flags()); err != nil {
		return nil, err
	}
	if _, err := parseFilter(context.Background(), f.filterText); err != nil {
		return nil, err
	}
	if !server.Flags().Lookup("data").Changed {
		dir, err := serviceFolder()
		if err != nil {
			return nil, err
		}
		return append([]string{"service", "run", "server", "--data", filepath.Join(dir, "data")}, flags...), nil
	}
	if !filepath.IsAbs(f.data) {
		return nil, usagef("--data %s: a service needs a whole path", f.data)
	}
	if f.config != "" && !filepath.IsAbs(f.config) {
		return nil, usagef("--config %s: a service needs a whole path", f.config)
	}
	return append([]string{"service", "run", "server"}, flags...), nil
}

// manager connects to the manager of services.
func manager() (*mgr.Mgr, error) {
	m, err := mgr.Connect()
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		return nil, fmt.Errorf("connect to the manager of services: %w: run as administrator", err)
	} else if err != nil {
		return nil, fmt.Errorf("connect to the manager of services: %w", err)
	}
	return m, nil
}

func installService(s *Streams, flags []string) error {
	list, err := serviceArgs(s, flags)
	if err != nil {
		return err
	}
	exe, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	m, err := manager()
	if err != nil {
		return err
	}
	defer func() { _ = m.Disconnect() }()
	sv, err := m.CreateService(serviceName, exe, mgr.Config{StartType: mgr.StartAutomatic, DisplayName: "Flowlake",
		Description: "Captures requests and network flows, stores them and answers questions about them."}, list...)
	switch {
	case errors.Is(err, windows.ERROR_SERVICE_EXISTS):
		return fmt.Errorf("the service %s is installed already: flowlake service uninstall removes it", serviceName)
	case err != nil:
		return fmt.Errorf("install service: %w", err)
	}
	defer sv.Close()
	const again, resetAfter = 10 * time.Second, 24 * 60 * 60 // seconds
	recovery := slices.Repeat([]mgr.RecoveryAction{{Type: mgr.ServiceRestart, Delay: again}}, 3)
	if err := sv.SetRecoveryActions(recovery, resetAfter); err != nil {
		fmt.Fprintf(s.Err, "warning: it will not be started again when it fails: %v\n", err)
	}
	if err := startService(sv); err != nil {
		return fmt.Errorf("the service is installed, but does not start: %w", err)
	}
	fmt.Fprintf(s.Err, "The service %s runs: %s %s\n", serviceName, exe, strings.Join(list, " "))
	return nil
}

// startService starts it, when Windows is done with starting others.
func startService(sv *mgr.Service) error {
	for end := time.Now().Add(stopTime); ; time.Sleep(200 * time.Millisecond) {
		err := sv.Start()
		if !errors.Is(err, windows.ERROR_SERVICE_DATABASE_LOCKED) || time.Now().After(end) {
			return err
		}
	}
}

func uninstallService(s *Streams) error {
	m, err := manager()
	if err != nil {
		return err
	}
	defer func() { _ = m.Disconnect() }()
	sv, err := m.OpenService(serviceName)
	if errors.Is(err, windows.ERROR_SERVICE_DOES_NOT_EXIST) {
		return fmt.Errorf("there is no service %s", serviceName)
	} else if err != nil {
		return fmt.Errorf("open service: %w", err)
	}
	defer sv.Close()
	if err := stopService(sv); err != nil {
		return err
	}
	if err := sv.Delete(); err != nil {
		return fmt.Errorf("remove service: %w", err)
	}
	fmt.Fprintf(s.Err, "The service %s is removed; its data stays.\n", serviceName)
	return nil
}

// stopService stops the service and waits until it has ended.
func stopService(sv *mgr.Service) error {
	status, err := sv.Control(svc.Stop)
	if errors.Is(err, windows.ERROR_SERVICE_NOT_ACTIVE) {
		return nil
	}
	for end := time.Now().Add(stopTime); err == nil && status.State != svc.Stopped; status, err = sv.Query() {
		if time.Now().After(end) {
			return fmt.Errorf("stop service: it still runs after %v", stopTime)
		}
		time.Sleep(200 * time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("stop service: %w", err)
	}
	return nil
}
