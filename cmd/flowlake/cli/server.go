package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flowlake/flowlake/collector/packetring"
	"github.com/flowlake/flowlake/db/schema"
)

// defaultHTTP is the address of the HTTP door.
const defaultHTTP = "127.0.0.1:7700"

// serverFlags are the settings of the server.
type serverFlags struct {
	config, data string
	collect      string
	packetRing   size // 0 is none
	http         string
	agents       agentDoorFlags
	insecure     bool
	total        size       // of the process; 0 is not known
	plan         memoryPlan // how it is shared
	head, memory size
	headAge      time.Duration
	queryMemory  size
	queryTimeout time.Duration
	queryLimit   int
	retention    pairs
	retentions   map[string]time.Duration // parsed
	httpAsked    bool
	watchFlags
	logFlags
}

func newServer(s *Streams) *cobra.Command { return (&serverFlags{}).command(s) }

func (f *serverFlags) command(s *Streams) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Capture, store and answer: all in one process",
		Long: `Run the server: it captures the traffic of this host, stores flows and requests, and answers SQL over HTTP.

Every flag can be set by the environment (FLOWLAKE_QUERY_TIMEOUT for --query-timeout) and in the file of --config, whose keys are
the flags without dashes in front. Flags win over the environment, the environment over the file, the file over the defaults.
SIGINT or SIGTERM end it in order: what was captured is stored. A second one ends it at once; what was acknowledged is safe.`,
		Example: `  flowlake server
  flowlake server --data /var/lib/flowlake --retention flows=7d,spans=30d --tag env=prod
  flowlake server --collect packet --interface eth0 --interface lo
  flowlake server --interface 'eth*,!eth9' --netns all
  flowlake server --filter 'not port 22 and net 10.0.0.0/8'
  flowlake server --collect off --http 127.0.0.1:8080`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.check(cmd.Flags()); err != nil {
				return err
			}
			ctx, stop := s.interruptible(cmd.Context())
			defer stop()
			var err error
			if f.filter, err = parseFilter(ctx, f.filterText); err != nil {
				return err
			}
			return runServer(ctx, s, f, settings(cmd.Flags()))
		},
	}
	f.head, f.memory, f.queryMemory = 32<<20, 128<<20, 1<<30
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "read settings from this YAML file")
	fl.StringVar(&f.data, "data", s.defaultData(), "data folder; it is made if need be")
	fl.StringVar(&f.collect, "collect", "auto", "auto captures packets if that is permitted, packet insists on it, off does not")
	f.watchFlags.register(fl)
	fl.Var(&f.packetRing, "packet-ring", "keep the packets themselves, too, in the folder packets of the data folder, up to this size; 0 keeps none")
	fl.StringVar(&f.http, "http", defaultHTTP, "address of the HTTP door; off closes it, port 0 takes any that is free")
	f.agents.register(fl)
	fl.BoolVar(&f.insecure, "insecure", false, "permit doors on other addresses than loopback: everybody who reaches them can read all")
	f.total = size(defaultMemory())
	fl.Var(&f.total, "memory", "memory of the whole process: what it is for in detail follows from it; by default half of what there is")
	fl.Var(&f.head, "head-bytes", "rows are written to segments when this much has come")
	fl.DurationVar(&f.headAge, "head-age", time.Minute, "... or after this time")
	fl.Var(&f.memory, "memory-bytes", "rows that are not in segments yet; past it writers wait")
	fl.Var(&f.queryMemory, "query-memory", "memory that one query may use")
	fl.DurationVar(&f.queryTimeout, "query-timeout", 30*time.Second, "time that one query may take, 0 for any")
	fl.IntVar(&f.queryLimit, "query-limit", 4*runtime.GOMAXPROCS(0), "queries that run at the same time; more wait, then are refused")
	fl.Var(&f.retention, "retention", "how long rows of a table are kept, e.g. flows=72h,spans=30d; 0 keeps them for ever (default "+defaultRetention()+")")
	f.logFlags.register(fl)
	return cmd
}

// check looks at what flags, environment and file say together.
func (f *serverFlags) check(flags *pflag.FlagSet) error {
	f.httpAsked = flags.Lookup("http").Changed
	if err := f.checkCollect(); err != nil {
		return err
	}
	if err := f.fitMemory(flags); err != nil {
		return err
	}
	if err := errors.Join(f.logFlags.check(), f.agents.check(flags, f.insecure)); err != nil {
		return err
	}
	switch {
	case f.data == "":
		return usagef("--data names no folder")
	case f.head < 1<<10:
		return usagef("--head-bytes %v is less than 1KiB", &f.head)
	case f.memory < f.head:
		return usagef("--memory-bytes %v is less than --head-bytes %v", &f.memory, &f.head)
	case f.headAge <= 0:
		return usagef("--head-age %v is not positive", f.headAge)
	case f.queryTimeout < 0:
		return usagef("--query-timeout %v is negative", f.queryTimeout)
	case f.queryLimit < 1:
		return usagef("--query-limit %d is less than 1", f.queryLimit)
	}
	f.retentions = map[string]time.Duration{}
	for table, text := range f.retention {
		if _, ok := schema.Builtin().Table(table); !ok {
			return usagef("--retention: there is no table %q; there are %s", table, strings.Join(tableNames(), ", "))
		}
		d, err := parseDays(text)
		if err != nil {
			return usagef("--retention %s: %w", table, err)
		}
		f.retentions[table] = d
	}
	return f.checkHTTP()
}

// defaultRetention is what --retention is for the tables that it does not name.
func defaultRetention() string {
	var out []string
	for _, t := range schema.Builtin().Tables() {
		if t.Retention > 0 {
			out = append(out, fmt.Sprintf("%s=%dd", t.Name, t.Retention/(24*time.Hour)))
		}
	}
	return strings.Join(out, ",")
}

func tableNames() []string {
	var out []string
	for _, t := range schema.Builtin().Tables() {
		out = append(out, t.Name)
	}
	return out
}

func (f *serverFlags) checkCollect() error {
	switch {
	case slices.Contains(strings.Split(f.collect, ","), "ebpf"):
		return usagef("--collect ebpf is not in this version yet; use packet, auto or off")
	case f.collect != "auto" && f.collect != "off" && f.collect != "packet":
		return usagef("--collect %q is not auto, off or packet", f.collect)
	case f.packetRing != 0 && f.packetRing < packetring.MinBytes:
		return usagef("--packet-ring %v is less than 4MiB", &f.packetRing)
	}
	return f.watchFlags.check()
}

func (f *serverFlags) checkHTTP() error {
	if f.http == "off" {
		return nil
	}
	host, _, err := net.SplitHostPort(f.http)
	if err != nil {
		return usagef("--http %q is not host:port or off", f.http)
	}
	if !isLoopback(host) && !f.insecure {
		return usagef("--http %s can be reached from other hosts, and this version has neither users nor TLS: "+
			"use a loopback address, or say --insecure to let everybody in who reaches it", f.http)
	}
	return nil
}

func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// listen opens the HTTP door. nil without an error is a door that stays closed.
func (f *serverFlags) listen(log *slog.Logger) (net.Listener, error) {
	if f.http == "off" {
		return nil, nil
	}
	l, err := net.Listen("tcp", f.http)
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && !f.httpAsked:
		log.Warn("the HTTP door stays closed: its default address is taken", "address", f.http, "hint", "--http ADDR opens it elsewhere")
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("open the HTTP door: %w", err)
	}
	return l, nil
}
