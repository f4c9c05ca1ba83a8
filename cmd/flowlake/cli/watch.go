package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/tags"
	"github.com/flowlake/flowlake/ingest/enrich"
)

// refreshHost is how often the host's addresses are looked up again.
const refreshHost = 30 * time.Second

// logFlags say what is logged, and how.
type logFlags struct {
	logLevel, logFormat string
	level               slog.Level // parsed
}

func (f *logFlags) register(fl *pflag.FlagSet) {
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json")
}

func (f *logFlags) check() error {
	if err := f.level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return usagef("--log-level %q is not debug, info, warn or error", f.logLevel)
	}
	if f.logFormat != "text" && f.logFormat != "json" {
		return usagef("--log-format %q is not text or json", f.logFormat)
	}
	return nil
}

// newLogger writes log records to w.
func (f *logFlags) newLogger(w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: f.level}
	if f.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// watchFlags are the settings of capture, which server and agent share.
type watchFlags struct {
	interfaces     []string
	namespaces     []string
	filterText     string
	filter         *pcapfilter.Expr // parsed; nil is none
	captureWorkers int
	snap, ring     size
	promiscuous    bool
	edges          bool
	tags           pairs
}

func (f *watchFlags) register(fl *pflag.FlagSet) {
	f.snap, f.ring = 4<<10, 32<<20
	fl.StringSliceVar(&f.interfaces, "interface", []string{capture.AnyInterface}, "capture on this network interface, or on those of a pattern: 'eth*', '/^en/', '!veth*'; can be given several times")
	fl.StringSliceVar(&f.namespaces, "netns", []string{collector.Self}, "capture in this network namespace (a name of ip netns, or a process); self, or all that there are and come")
	fl.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "interfaces" {
			name = "interface"
		}
		return pflag.NormalizedName(name)
	})
	fl.StringVar(&f.filterText, "filter", "", "capture only packets that match this expression, as tcpdump has them, e.g. 'not port 22'")
	fl.IntVar(&f.captureWorkers, "capture-workers", 1, "threads that share the packets of an interface")
	fl.Var(&f.snap, "capture-snap-bytes", "how much of each packet is captured")
	fl.Var(&f.ring, "capture-ring-bytes", "memory in which packets of one worker wait")
	fl.BoolVar(&f.promiscuous, "promiscuous", false, "also capture packets for other hosts; needs --interface")
	fl.BoolVar(&f.edges, "edges", true, "make rows of network and application of what is captured, each second; --edges=false makes none")
	fl.Var(&f.tags, "tag", "tag of this host, e.g. env=prod; can be given several times")
}

func (f *watchFlags) check() error {
	switch {
	case f.captureWorkers < 1 || f.captureWorkers > 256:
		return usagef("--capture-workers %d is not from 1 to 256", f.captureWorkers)
	case f.ring < 2<<20 || f.ring > 1<<36:
		return usagef("--capture-ring-bytes %v is not from 2MiB to 64GiB", &f.ring)
	case f.snap < 64 || f.snap > 256<<10:
		return usagef("--capture-snap-bytes %v is not from 64B to 256KiB", &f.snap)
	case f.promiscuous && slices.Contains(f.interfaces, capture.AnyInterface):
		return usagef("--promiscuous needs --interface")
	case len(f.namespaces) == 0 || slices.Contains(f.namespaces, ""):
		return usagef("--netns names no network namespace")
	}
	if slices.ContainsFunc(f.interfaces, capture.IsPattern) {
		if _, err := capture.ParseSelection(f.interfaces); err != nil {
			return usagef("--interface: %w", err)
		}
	}
	return nil
}

// where says in words what is captured on.
func (f *watchFlags) where() string {
	where := strings.Join(f.interfaces, ", ")
	if slices.Contains(f.interfaces, capture.AnyInterface) {
		where = "all interfaces"
	}
	if !slices.Equal(f.namespaces, []string{collector.Self}) {
		where += " in network namespaces " + strings.Join(f.namespaces, ", ")
	}
	return where
}

// watcher captures live and hands rows to a sink, for as long as a server or an agent runs. The pointer is set once.
type watcher struct {
	wf        *watchFlags
	log       *slog.Logger
	host      string
	catalogue *enrich.Catalogue
	collector atomic.Pointer[collector.Collector]
	quiet     *limited
	failed    chan error // ends what it is part of
	wg        sync.WaitGroup
	// stopCollector ends capture; collecting is closed when its rows are handed on, nil when nothing is captured.
	stopCollector context.CancelFunc
	collecting    chan struct{}
}

func newWatcher(f *watchFlags, log *slog.Logger, host string) watcher {
	return watcher{wf: f, log: log, host: host, catalogue: enrich.New(),
		quiet: &limited{every: 10 * time.Second, now: time.Now}, failed: make(chan error, 4), stopCollector: func() {}}
}

// fail ends what the watcher is part of because of err, unless something else does already.
func (w *watcher) fail(err error) {
	select {
	case w.failed <- err:
	default:
	}
}

// warn says that capture has met an error and goes on, not too often.
func (w *watcher) warn(err error) {
	if n, ok := w.quiet.next(); ok {
		w.log.Warn("capture goes on after an error", "error", err, "more_like_it", n)
	}
}

// knowHost gives the host's addresses its tags.
func (w *watcher) knowHost() {
	addrs, err := collector.LocalAddrs()
	if err != nil {
		w.log.Warn("the addresses of this host are not known; its rows lack its tags", "error", err)
		return
	}
	set := []tags.Tag{{Key: "host", Value: w.host}, {Key: "os", Value: runtime.GOOS}}
	for k, val := range w.wf.tags {
		if k == "host" || k == "os" {
			set = append(set[:0:0], without(set, k)...)
		}
		set = append(set, tags.Tag{Key: k, Value: val})
	}
	w.catalogue.Set(addrs, set...)
}

func without(set []tags.Tag, key string) []tags.Tag {
	var out []tags.Tag
	for _, t := range set {
		if t.Key != key {
			out = append(out, t)
		}
	}
	return out
}

// watchHost looks up the host's addresses now and then: they change.
func (w *watcher) watchHost(ctx context.Context) {
	t := time.NewTicker(refreshHost)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			w.knowHost()
		}
	}
}

// watch starts live capture into sink; packets, if not nil, is given the frames. Where it is only tried, a missing right or an unsupported platform is a warning; else an
// error.
func (w *watcher) watch(ctx context.Context, sink batch.Sink, packets collector.PacketSink, exclude []capture.Rule, only bool) error {
	c, err := collector.New(sink, func(o *collector.Options) {
		o.Interfaces, o.Workers, o.Promiscuous = w.wf.interfaces, w.wf.captureWorkers, w.wf.promiscuous
		o.Filter, o.Namespaces = w.wf.filter, w.wf.namespaces
		o.SnapBytes, o.RingBytes, o.Agent, o.Exclude = int(w.wf.snap), int(w.wf.ring), w.host, exclude
		if w.wf.edges {
			o.Tags = w.catalogue
		}
		o.Error, o.Packets = w.warn, packets
	})
	switch {
	case errors.Is(err, capture.ErrPermission) && only:
		w.log.Warn("nothing is captured: the right to is missing", "error", err, "hint", grantHint())
		return nil
	case errors.Is(err, capture.ErrUnsupported) && only:
		w.log.Warn("nothing is captured: this platform has no live capture", "error", err)
		return nil
	case errors.Is(err, capture.ErrPermission):
		return fmt.Errorf("start capture: %w; %s", err, grantHint())
	case errors.Is(err, capture.ErrNoInterface):
		return fmt.Errorf("start capture: %w; there are %s", err, strings.Join(interfaceNames(), ", "))
	case err != nil:
		return fmt.Errorf("start capture: %w", err)
	}
	w.collector.Store(c)
	// its own context: capture ends after the doors are closed
	capturing, stop := context.WithCancel(context.WithoutCancel(ctx))
	w.stopCollector, w.collecting = stop, make(chan struct{})
	w.wg.Add(2)
	go func() {
		defer w.wg.Done()
		defer close(w.collecting)
		if err := c.Run(capturing); err != nil {
			w.fail(err)
		}
	}()
	go func() {
		defer w.wg.Done()
		w.watchHost(capturing)
	}()
	return nil
}

// stopWatching ends capture and waits until its rows are handed on.
func (w *watcher) stopWatching() {
	w.stopCollector()
	if w.collecting != nil {
		<-w.collecting
	}
}

// interfaceNames are what --interface can be.
func interfaceNames() []string {
	out := []string{capture.AnyInterface}
	list, _ := net.Interfaces() // it is only a hint
	for _, i := range list {
		out = append(out, i.Name)
	}
	return out
}

// ownTraffic leaves the traffic of one's own doors out of capture. A nil listener is a closed door.
func ownTraffic(listeners ...net.Listener) (rules []capture.Rule) {
	for _, l := range listeners {
		if l != nil {
			rules = append(rules, ruleOf(l.Addr().(*net.TCPAddr).AddrPort()))
		}
	}
	return rules
}

// ruleOf leaves the traffic of one TCP address out.
func ruleOf(a netip.AddrPort) capture.Rule {
	r := capture.Rule{Port: a.Port(), Proto: 6}
	if ip := a.Addr().Unmap().WithZone(""); !ip.IsUnspecified() {
		r.Prefix = netip.PrefixFrom(ip, ip.BitLen())
	}
	return r
}
