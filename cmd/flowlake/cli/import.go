package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/collector/capture/pcapfilter"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/ingest"
	"github.com/flowlake/flowlake/ingest/enrich"
)

func newImport(s *Streams) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "import",
		Short:   "Put files into a data folder",
		Example: "  flowlake import pcap trace.pcap --data DIR",
	})
	cmd.AddCommand(newImportPcap(s))
	return cmd
}

// stdin is the name of standard input on the command line.
const stdin = "-"

// parseSpeed reads max, 1x, 10x, 0.5x; 0 is as fast as can be.
func parseSpeed(text string) (float64, error) {
	if text == "max" {
		return 0, nil
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(text, "x"), 64)
	if err != nil || !(v >= 1e-3 && v <= 1e6) {
		return 0, usagef("--speed %q is not max or a factor such as 1x or 10x", text)
	}
	return v, nil
}

// interruptibleReader reads r until ctx ends, also while r waits for somebody to write. What waits for r then ends with the
// process.
func interruptibleReader(ctx context.Context, r io.Reader) io.Reader {
	pr, pw := io.Pipe()
	go func() {
		_, err := io.Copy(pw, r)
		pw.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { pw.CloseWithError(ctx.Err()) })
	return pr
}

type importFlags struct {
	data, server, agent string
	tlsCA, tokenFile    string
	insecure            bool
	filter, speed       string
	quiet, edges        bool
}

func newImportPcap(s *Streams) *cobra.Command {
	f := &importFlags{}
	cmd := &cobra.Command{
		Use:   "pcap FILE...",
		Short: "Make flows, spans and edges of pcap and pcapng files",
		Long: `Read capture files (pcap and pcapng, also compressed with gzip; - is standard input) and store the flows and requests in them, and what they add up to each second. All runs on the packets'
own time, so the rows depend on the files alone. A file that ends early or is damaged gives the rows up to there; the others are
imported all the same, and the exit code is 1. The folder must not be open elsewhere: stop the server, use another one, or send the rows to
the server with --server.`,
		Example: `  flowlake import pcap trace.pcap --data DIR
  flowlake import pcap day/*.pcapng.gz --data DIR && flowlake sql --data DIR
  tcpdump -w - -c 1000 | flowlake import pcap - --data DIR
  flowlake import pcap trace.pcap --filter 'tcp port 80 or udp port 53' --data DIR`,
		Args: atLeastOne("capture files"),
		RunE: func(cmd *cobra.Command, files []string) error { return f.run(cmd, s, files) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", s.defaultData(), "data folder; it is made if need be")
	fl.StringVar(&f.server, "server", "", "send the rows to the gRPC door of this server, host:port, instead of storing them in a folder")
	fl.StringVar(&f.tlsCA, "tls-ca", "", "with --server: certificates to trust (PEM) instead of those of the system")
	fl.StringVar(&f.tokenFile, "token-file", "", "with --server: present the token in this file")
	fl.BoolVar(&f.insecure, "insecure", false, "with --server: send without TLS to a server on another host")
	fl.StringVar(&f.agent, "agent", "", "what goes into the column agent of the rows")
	fl.StringVar(&f.filter, "filter", "", "only packets that match this expression, as tcpdump has them")
	fl.BoolVar(&f.edges, "edges", true, "make rows of network and application too; --edges=false makes none")
	fl.StringVar(&f.speed, "speed", "max", "how fast packets are taken in: max, 1x as they once came, 10x ten times as fast; the rows are the same")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no summary")
	return cmd
}

func (f *importFlags) run(cmd *cobra.Command, s *Streams, files []string) (err error) {
	remote := onCommandLine(cmd.Flags(), "server") // not by the environment, which may be meant for agents
	if err := f.check(remote, onCommandLine(cmd.Flags(), "data")); err != nil {
		return err
	}
	speed, err := parseSpeed(f.speed)
	if err != nil {
		return err
	}
	if i := slices.Index(files, stdin); i >= 0 && slices.Contains(files[i+1:], stdin) {
		return usagef("standard input can be read once only")
	}
	ctx, stop := s.interruptible(cmd.Context())
	defer stop()
	filter, err := parseFilter(ctx, f.filter)
	if err != nil {
		return err
	}
	if err := someExist(files); err != nil {
		return err
	}
	sink, done, err := f.open(remote)
	if err != nil {
		return err
	}
	tags := enrich.New()
	p := ingest.New(sink, func(o *ingest.Options) { o.Enricher = tags })
	im := &importer{sink: p, tags: tags, s: s, o: f, filter: filter, speed: speed, start: time.Now()}
	failed := im.all(ctx, files)
	err = errors.Join(p.Close(context.WithoutCancel(ctx)), done(context.WithoutCancel(ctx)))
	if !f.quiet {
		im.summary(s.Err, len(files), p.Metrics())
	}
	if len(failed) == 0 {
		return err
	}
	for _, e := range failed {
		fmt.Fprintln(s.Err, "error:", e)
	}
	if err != nil {
		fmt.Fprintln(s.Err, "error:", err)
	}
	return reportedError{errors.Join(append(failed, err)...)}
}

func (f *importFlags) check(remote, data bool) error {
	switch {
	case remote && data:
		return usagef("--server and --data exclude each other")
	case remote:
		if _, _, err := net.SplitHostPort(f.server); err != nil {
			return usagef("--server %q is not host:port, the address of a server's gRPC door", f.server)
		}
	case f.data == "":
		return usagef("--data names no folder")
	}
	return nil
}

// open opens the folder or connects to the server. The function that it returns ends that; all is stored then.
func (f *importFlags) open(remote bool) (batch.Sink, func(context.Context) error, error) {
	if remote {
		r, err := openRemote(f, hostName())
		if err != nil {
			return nil, nil, err
		}
		f.data = f.server // what the summary names
		return r, r.close, nil
	}
	d, err := db.Open(f.data)
	if err != nil {
		return nil, nil, err
	}
	return d, func(context.Context) error {
		if err := d.Close(); err != nil {
			return fmt.Errorf("close data folder: %w", err)
		}
		return nil
	}, nil
}

// someExist is an error when none of the files is there: then no data folder is made.
func someExist(files []string) error {
	var errs []error
	for _, name := range files {
		if name == stdin {
			return nil
		}
		_, err := os.Stat(name)
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("import: %w", err))
	}
	return errors.Join(errs...)
}

// importer imports files one after another.
type importer struct {
	sink   *ingest.Pipeline
	tags   *enrich.Catalogue
	s      *Streams
	o      *importFlags
	filter *pcapfilter.Expr
	speed  float64 // 0: as fast as can be
	start  time.Time
	total  collector.ImportStats
}

func (im *importer) all(ctx context.Context, files []string) (failed []error) {
	for i, name := range files {
		if ctx.Err() != nil {
			return append(failed, fmt.Errorf("interrupted: %d of %d files were not imported", len(files)-i, len(files)))
		}
		if err := im.file(ctx, name, i+1, len(files)); err != nil {
			failed = append(failed, err)
		}
	}
	return failed
}

func (im *importer) file(ctx context.Context, name string, n, of int) error {
	read := func(opts ...func(*collector.ImportOptions)) (collector.ImportStats, error) {
		return collector.Import(ctx, name, im.sink, opts...)
	}
	if name == stdin {
		name = "standard input"
		read = func(opts ...func(*collector.ImportOptions)) (collector.ImportStats, error) {
			return collector.ImportFrom(ctx, interruptibleReader(ctx, im.s.In), im.sink, opts...)
		}
	}
	p := &progress{w: im.s.Err, width: terminalWidth(im.s.Err), name: fmt.Sprintf("%s (%d of %d)", name, n, of), now: time.Now, began: time.Now()}
	st, err := read(func(o *collector.ImportOptions) {
		o.Agent, o.Filter, o.Speed = im.o.agent, im.filter, im.speed
		if im.o.edges {
			o.Tags = im.tags
		}
		if !im.o.quiet {
			o.Progress = p.update
		}
	})
	p.end()
	t := &im.total
	t.Packets += st.Packets
	t.Bytes += st.Bytes
	t.Filtered += st.Filtered
	t.Truncated += st.Truncated
	t.NotIP += st.NotIP
	t.BadHeader += st.BadHeader
	t.Other += st.Other
	t.Flows += st.Flows
	t.Spans += st.Spans
	t.Edges += st.Edges
	if err != nil && st.Packets > 0 {
		return fmt.Errorf("%s: %w (the rows of the %d packets before it are stored)", name, err, st.Packets)
	} else if err != nil && !strings.Contains(err.Error(), name) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return err
}

// summary says what came of it.
func (im *importer) summary(w io.Writer, files int, m ingest.Metrics) {
	t, took := &im.total, time.Since(im.start)
	noun := "files"
	if files == 1 {
		noun = "file"
	}
	rate := ""
	if t.Packets > 0 {
		rate = fmt.Sprintf(", %.0f packets/s", float64(t.Packets)/max(took.Seconds(), 1e-9))
	}
	fmt.Fprintf(w, "%d %s: %d packets (%s) in %v%s\n", files, noun, t.Packets, humanBytes(float64(t.Bytes)), took.Round(time.Millisecond), rate)
	fmt.Fprintf(w, "stored: %d flows, %d spans, %d rows of edges in %s\n", t.Flows, t.Spans, t.Edges, im.o.data)
	if im.filter != nil {
		fmt.Fprintf(w, "left out by the filter: %d packets\n", t.Filtered)
	}
	for _, c := range []struct {
		n    uint64
		what string
	}{{t.NotIP, "neither IPv4 nor IPv6"}, {t.Truncated, "cut off within a header"}, {t.BadHeader, "a header that cannot be"}, {t.Other, "other causes"}} {
		if c.n > 0 {
			fmt.Fprintf(w, "not decoded: %d packets, %s\n", c.n, c.what)
		}
	}
	if n := m.Dropped["future"]; n > 0 {
		fmt.Fprintf(w, "dropped: %d rows, their time is in the future\n", n)
	}
}

// progress shows how far a file is: a bar where w is a terminal, else a line now and then.
type progress struct {
	w     io.Writer
	width int // of the terminal, 0 when it is none
	name  string
	now   func() time.Time
	began time.Time
	last  time.Time
	drawn bool
}

const (
	progressBar   = 100 * time.Millisecond
	progressLines = 10 * time.Second
)

func (p *progress) update(read, total int64) {
	now := p.now()
	every := progressLines
	if p.width > 0 {
		every = progressBar
	}
	if p.last.IsZero() {
		p.last = p.began
	}
	if now.Sub(p.last) < every {
		return
	}
	p.last = now
	rate := humanBytes(float64(read)/max(now.Sub(p.began).Seconds(), 1e-9)) + "/s"
	if p.width == 0 {
		fmt.Fprintf(p.w, "%s: %s, %s\n", p.name, share(read, total), rate)
		return
	}
	p.drawn = true
	fmt.Fprintf(p.w, "\r\x1b[K%s", bar(p.name, p.width-1, read, total, rate))
}

// share is how much was read.
func share(read, total int64) string {
	if total <= 0 {
		return humanBytes(float64(read))
	}
	return fmt.Sprintf("%d %%", 100*min(read, total)/total)
}

// bar is a line of at most width characters.
func bar(name string, width int, read, total int64, rate string) string {
	tail := fmt.Sprintf(" %s %s", share(read, total), rate)
	room := width - len(tail) - 12
	if r := []rune(name); len(r) > room && room > 1 {
		name = "…" + string(r[len(r)-room+1:])
	}
	n := width - len([]rune(name)) - len(tail) - 3
	if n < 4 || total <= 0 {
		r := []rune(name + tail)
		return string(r[:min(len(r), max(width, 0))])
	}
	done := int(int64(n) * min(read, total) / total)
	cells := make([]rune, n)
	for i := range cells {
		cells[i] = '─'
		if i < done {
			cells[i] = '█'
		}
	}
	return name + " ▕" + string(cells) + "▏" + tail
}

// end clears the bar.
func (p *progress) end() {
	if p.drawn {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
