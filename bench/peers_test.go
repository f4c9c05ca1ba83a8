package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/flowlake/flowlake/bench/peer"
	"github.com/flowlake/flowlake/bench/workload"
)

// TestPeersTakeTheRows puts each peer that is there to a small ingest whose rows come again, and to the size of its rows.
func TestPeersTakeTheRows(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for _, name := range peer.Names() {
		t.Run(name, func(t *testing.T) {
			if name == peer.QuestDB && os.Getenv("FLOWLAKE_SOAK") == "" {
				t.Skip("its Java virtual machine takes long on a busy machine; FLOWLAKE_SOAK=1 asks for it")
			}
			ctx := context.Background()
			tools, err := peer.Find(ctx, name, nil)
			if err != nil {
				t.Skipf("%s: %v", name, err)
			}
			table := "flows"
			if tools.Program != "" { // a server: it has so many columns quickly on an idle machine only
				table = "samples"
			}
			var log bytes.Buffer
			r := newRunner(options{}, t.TempDir(), &log)
			s := workload.Spec{System: name, Table: table, Rows: 4000, Pool: 2000, ChunkRows: 2000, Seed: 1, ShiftNanos: 120e9}
			p := participant{name, tools}
			if err := r.forPeer(ctx, p, &s); err != nil {
				t.Fatal(err)
			}
			for _, phase := range []string{workload.PhaseIngest, workload.PhaseSize} {
				s.Dir = filepath.Join(r.dir, phase)
				if phase == workload.PhaseSize {
					s.Rows = 2000
				}
				if _, err := r.measure(ctx, p, s, phase, name+phase); err != nil {
					t.Fatalf("%v\n%s", err, &log)
				}
				m := r.systems[name+phase]
				if m.Rows != int64(s.Rows) || m.Disk < 1000 || m.Disk > 4e6 {
					t.Errorf("%s: %+v", phase, m)
				}
			}
			if m := r.systems[name+workload.PhaseIngest]; m.CPU <= 0 || m.PeakRSS < 10<<20 || m.P50 <= 0 {
				t.Errorf("%+v", m)
			}
		})
	}
}
