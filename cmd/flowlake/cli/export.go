package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowlake/flowlake/cmd/flowlake/cli/sqlshell"
	"github.com/flowlake/flowlake/collector"
	"github.com/flowlake/flowlake/collector/capture"
	"github.com/flowlake/flowlake/collector/packet"
	"github.com/flowlake/flowlake/collector/packetring"
	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/query/render"
)

// packetsFolder is where the packet ring lies in a data folder.
const packetsFolder = "packets"

// maxExportFlows bounds the flows whose packets are looked for.
const maxExportFlows = 1_000_000

func newExport(s *Streams) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:     "export",
		Short:   "Write what is stored to files",
		Example: `  flowlake export pcap --where "server_port = 443" -o out.pcapng`,
	})
	cmd.AddCommand(newExportPcap(s))
	return cmd
}

type exportFlags struct {
	data, server, table, where, out string
	quiet                           bool
}

func newExportPcap(s *Streams) *cobra.Command {
	f := &exportFlags{}
	cmd := &cobra.Command{
		Use:   "pcap",
		Short: "Write the packets of flows to a pcapng file",
		Long: `Write packets of the packet ring (flowlake server --packet-ring 1GiB) to a pcapng file: those of the flows that a condition selects, or of
the flows of the spans that it selects. The condition is what follows WHERE in SQL. While a server has the folder open, it is asked
which flows these are: name it with --server. The ring itself is read from the folder.`,
		Example: `  flowlake export pcap --where "server_ip = '10.0.0.7' AND retrans_tx > 0" -o out.pcapng
  flowlake export pcap --table spans --where "response_status = 'server_error' AND time > now() - INTERVAL '5 minutes'" -o errors.pcapng --server ` + defaultServer + `
  flowlake export pcap --where "client_port = 40000" -o - | tcpdump -r -`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd, s) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", s.defaultData(), "data folder with the packet ring")
	fl.StringVar(&f.server, "server", "", "ask the server at this address for the flows instead of opening the folder")
	fl.StringVar(&f.table, "table", "flows", "flows or spans: what the condition is about")
	fl.StringVar(&f.where, "where", "", "condition, in SQL")
	fl.StringVarP(&f.out, "output", "o", "", "file to write, - for standard output")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no summary")
	return cmd
}

func (f *exportFlags) check() error {
	switch {
	case f.data == "":
		return usagef("--data names no folder")
	case f.where == "":
		return usagef("say which packets with --where, or all there are with --where true")
	case f.out == "":
		return usagef("name the file to write with -o, - is standard output")
	case f.table != "flows" && f.table != "spans":
		return usagef("--table %q is not flows or spans", f.table)
	}
	return nil
}

func (f *exportFlags) run(cmd *cobra.Command, s *Streams) error {
	if err := f.check(); err != nil {
		return err
	}
	ctx, stop := s.interruptible(cmd.Context())
	defer stop()
	ring := filepath.Join(f.data, packetsFolder)
	if _, err := os.Stat(ring); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("there is no packet ring in %s: 'flowlake server --packet-ring 1GiB' keeps one", f.data)
	}
	m, err := f.flows(ctx, s)
	if err != nil {
		return err
	}
	if _, all := m.Found(); all == 0 {
		return errors.New("no flow matches the condition")
	}
	e := exporter{m: m, ids: map[exported]uint32{}, damaged: func(err error) { fmt.Fprintln(s.Err, "warning:", err) }}
	if f.out == "-" {
		err = e.export(ctx, ring, s.Out)
	} else {
		err = e.toFile(ctx, ring, f.out)
	}
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	if !f.quiet {
		e.summary(s.Err, f.out)
	}
	return nil
}

// flows asks which flows are meant.
func (f *exportFlags) flows(ctx context.Context, s *Streams) (_ *collector.Matcher, err error) {
	var session sqlshell.Session
	if f.server != "" {
		if session, err = sqlshell.Remote(f.server); err != nil {
			return nil, usageError{err}
		}
	} else {
		d, err := openExisting(f.data, s.Err)
		if errors.Is(err, db.ErrLocked) {
			return nil, fmt.Errorf("%w; ask the server that has it open: --server %s", err, defaultServer)
		} else if err != nil {
			return nil, err
		}
		defer d.Close()
		session = sqlshell.Local(f.data, runIn(newEngine(d, &systemInfo{}).NewSession()))
	}
	condition := "(" + f.where + "\n)"
	if f.table == "spans" {
		condition = "flow_id IN (SELECT flow_id FROM spans WHERE " + condition + ")"
	}
	res, err := session.Query(ctx, "SELECT protocol, client_ip, server_ip, client_port, server_port, start_time, end_time FROM flows WHERE "+
		condition+" LIMIT "+strconv.Itoa(maxExportFlows+1), 0)
	if err != nil {
		return nil, told(s, ctx, err)
	}
	defer res.Close()
	rows := &flowRows{m: collector.NewMatcher()}
	if _, err := res.Copy(rows); err != nil {
		return nil, told(s, ctx, err)
	}
	return rows.m, nil
}

// flowRows is a render.Writer that takes flows in.
type flowRows struct {
	m *collector.Matcher
	n int
}

func (*flowRows) Columns([]render.Column) error { return nil }
func (*flowRows) Flush() error                  { return nil }
func (*flowRows) Close() error                  { return nil }

func (r *flowRows) Row(cells []render.Cell) error {
	if r.n++; r.n > maxExportFlows {
		return fmt.Errorf("the condition selects more than %d rows of flows: narrow it", maxExportFlows)
	}
	var k collector.FlowKey
	var errs []error
	addr := func(i int) netip.Addr {
		a, err := netip.ParseAddr(string(cells[i].Text))
		errs = append(errs, err)
		return a
	}
	port := func(i int) uint16 {
		if cells[i].Null {
			return 0
		}
		n, err := strconv.ParseUint(string(cells[i].Text), 10, 16)
		errs = append(errs, err)
		return uint16(n)
	}
	nanos := func(i int) int64 {
		t, err := time.Parse(time.RFC3339Nano, string(cells[i].Text))
		errs = append(errs, err)
		return t.UnixNano()
	}
	k.Protocol, k.ClientIP, k.ServerIP, k.ClientPort, k.ServerPort = string(cells[0].Text), addr(1), addr(2), port(3), port(4)
	k.StartNanos, k.EndNanos = nanos(5), nanos(6)
	if errors.Join(errs...) == nil { // what has no address or time has no packets
		r.m.Add(k)
	}
	return nil
}

// exporter writes the packets of flows as pcapng.
type exporter struct {
	m       *collector.Matcher
	w       *bufio.Writer
	buf     []byte
	ids     map[exported]uint32
	damaged func(error)
	packets int
	bytes   int64
}

// exported is what an interface of the file stands for.
type exported struct {
	name string
	link packet.LinkType
}

// toFile writes a file, which is removed again when it cannot be finished.
func (e *exporter) toFile(ctx context.Context, ring, name string) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err = errors.Join(e.export(ctx, ring, file), file.Close()); err != nil {
		return errors.Join(err, os.Remove(name))
	}
	return nil
}

func (e *exporter) export(ctx context.Context, ring string, w io.Writer) error {
	e.w = bufio.NewWriterSize(w, 256<<10)
	e.buf = capture.AppendSection(e.buf[:0], versionLine())
	from, to := e.m.Span()
	err := packetring.Read(ctx, ring, packetring.Span{From: from, To: to}, e.frames, e.damaged)
	return errors.Join(err, e.flush(), e.w.Flush())
}

func (e *exporter) frames(b *capture.Batch, name func(uint32) string) error {
	for i := range b.Frames {
		f := &b.Frames[i]
		if !e.m.Match(f) {
			continue
		}
		key := exported{name(f.Interface), f.Link}
		id, ok := e.ids[key]
		if !ok {
			id = uint32(len(e.ids))
			e.ids[key] = id
			e.buf = capture.AppendInterface(e.buf, key.name, key.link)
		}
		e.buf = capture.AppendPacket(e.buf, id, f)
		e.packets++
	}
	return e.flush()
}

func (e *exporter) flush() error {
	n, err := e.w.Write(e.buf)
	e.bytes += int64(n)
	e.buf = e.buf[:0]
	return err
}

func (e *exporter) summary(w io.Writer, name string) {
	found, all := e.m.Found()
	if name == "-" {
		name = "standard output"
	}
	fmt.Fprintf(w, "%d packets of %d flows (%s) in %s\n", e.packets, found, humanBytes(float64(e.bytes)), name)
	if found < all {
		fmt.Fprintf(w, "of %d flows the ring has no packets, or no longer\n", all-found)
	}
}
