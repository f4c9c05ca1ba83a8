package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/flowlake/flowlake/bench/revision"
	"github.com/flowlake/flowlake/bench/workload"
)

// tshark is the name of Wireshark's command line, as a system.
const tshark = "tshark"

// packetPeers are the peers of the workload packets.
var packetPeers = []string{workload.GoPacket, tshark}

// packetForms are what is measured of ours, by the suffix of the entry. The file comes last: its packets are fewer.
var packetForms = []struct{ suffix, form string }{
	{"", workload.PacketsAll}, {".flows", workload.PacketsFlows}, {".million", workload.PacketsOpen}, {".http", workload.PacketsHTTP},
	{".file", workload.PacketsFile},
}

// packets measures the workload packets. All is per core: packets, or requests, per second of CPU time.
func (r *runner) packets(ctx context.Context) (*report, error) {
	s := r.o.kind.Spec(workload.PhasePackets, r.o.rows, r.o.seed)
	s.Phase, s.System, s.Dir = workload.PhasePackets, ourName, filepath.Join(r.dir, "packets")
	for _, f := range packetForms {
		s.Form = f.form
		if err := r.packetsOf(ctx, s, ourName+f.suffix); err != nil {
			return nil, err
		}
	}
	var took []string
	for _, name := range packetPeers {
		var err error
		if !slices.Contains(r.o.peers, name) {
			continue
		}
		if name == tshark {
			err = r.tshark(ctx, s)
		} else {
			s.System = name
			err = r.packetsOf(ctx, s, name)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.note("%s is skipped: %v", name, err)
			continue
		}
		took = append(took, name)
	}
	return &report{Workload: r.o.kind.Name, Commit: revision.Commit(), Machine: machine(), Systems: r.systems,
		Ratio: ratio(r.o.kind.Name, r.systems, took), notes: r.notes}, nil
}

// packetsOf runs one process and enters what it finds.
func (r *runner) packetsOf(ctx context.Context, s workload.Spec, name string) error {
	var out workload.Outcome
	rss, err := start(ctx, s, "", &out)
	if err != nil {
		return err
	}
	m := system{Rows: out.Rows, CPU: round(out.CPU, 3), PeakRSS: rss, BytesPerFlow: round(out.BytesPerFlow, 1), GCShare: round(out.GCShare, 4)}
	m.RowsPerS = round(float64(out.Rows)/max(out.CPU, 1e-3), 0)
	r.systems[name] = m
	for _, line := range out.Notes {
		r.note("%s: %.3g million a second of CPU time; %s; %.1f %% of it collecting garbage", name, m.RowsPerS/1e6, line, 100*out.GCShare)
	}
	return nil
}

// tshark reads the file and lists conversations: what comes closest to rows of flows.
func (r *runner) tshark(ctx context.Context, s workload.Spec) error {
	name, err := workload.PacketFile(s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, phaseTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, tshark, "-n", "-q", "-z", "conv,tcp", "-z", "conv,udp", "-r", name)
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.200s", err, out)
	}
	rows := r.systems[ourName+".file"].Rows
	cpu := (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	r.systems[tshark] = system{Rows: rows, RowsPerS: round(float64(rows)/max(cpu, 1e-3), 0), CPU: round(cpu, 3), PeakRSS: peakRSS(cmd.ProcessState)}
	r.note("%s: %.3g million a second of CPU time; its start, and the list of conversations, included; %.1f s", tshark,
		float64(rows)/max(cpu, 1e-3)/1e6, time.Since(began).Seconds())
	return nil
}
