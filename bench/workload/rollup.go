package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowlake/flowlake/db"
	"github.com/flowlake/flowlake/query"
)

// The rows of the workload rollup, and the rollup that is declared besides the one by minute that every database has.
const (
	EdgesTable = "network_1s"
	// edgesPerSecond makes the pool about 87 virtual minutes long, and RollupRows 24.9 hours.
	edgesPerSecond = 100
	RollupRows     = 17 * PoolRows
	// RollupName is the declared rollup: by service, every five minutes. Peers that have rollups call theirs so too.
	RollupName = "network_by_service_5m"

	createRollup = "CREATE ROLLUP " + RollupName + " ON " + EdgesTable + " EVERY 5 minutes GROUP BY server.service"
	dayBegins    = 1767225600 // seconds; the rows begin then
	dayEnds      = dayBegins + 24*3600
	busiest      = 20 // services that the dashboard shows
)

// A Form is a way to ask for the dashboard: over which rows.
type Form struct {
	// Suffix tells its measurement apart; "" is the one that is compared.
	Suffix, SQL string
}

// Dashboard is the question of the workload rollup: requests, bytes and the 99th percentile of the handshakes' round-trip
// time of the busiest services in 24 hours. Every form has the same answer, but for the sketches' error.
func Dashboard(system string) []Form {
	form := func(suffix, service, requests, bytes, p99, from, at string, bound func(int) string) Form {
		return Form{suffix, fmt.Sprintf("SELECT %s AS service, sum(%s) AS requests, sum(%s) AS bytes, %s AS p99 FROM %s WHERE %s >= %s AND %s < %s "+
			"GROUP BY service ORDER BY requests DESC, service LIMIT %d", service, requests, bytes, p99, from, at, bound(dayBegins), at, bound(dayEnds), busiest)}
	}
	switch system {
	case "chdb":
		bound := func(at int) string { return fmt.Sprintf("toDateTime64(%d, 9)", at) }
		return []Form{
			form("", "service", "l7_request", "bytes_rx", "quantileDDMerge(0.01, 0.99)(rtt)", RollupName, "bucket", bound),
			form(".raw", "server_tags_service", "l7_request", "bytes_rx", "quantileDDIf(0.01, 0.99)(rtt_sum_us, rtt_count > 0)", EdgesTable, "time", bound),
		}
	case "duckdb":
		bound := func(at int) string { return fmt.Sprintf("make_timestamp_ns(%d000000000)", at) }
		return []Form{form("", "server_tags_service", "l7_request", "bytes_rx", "quantile_disc(rtt_sum_us, 0.99) FILTER (WHERE rtt_count > 0)", EdgesTable, "time", bound)}
	}
	bound := func(at int) string {
		return "TIMESTAMP '" + time.Unix(int64(at), 0).UTC().Format("2006-01-02 15:04:05") + "'"
	}
	ours := func(suffix, from string) Form {
		return form(suffix, "server.service", "l7_request", "bytes_rx", "approx_percentile(rtt_sketch, 0.99)", from, "time", bound)
	}
	return []Form{ours("", "network"), ours(".1m", "network_1m"), ours(".raw", EdgesTable)}
}

// rollup declares the rollup, stores all rows until they are in segments, rolled up, and merges.
func rollup(ctx context.Context, s Spec) (*Outcome, error) {
	rows, err := newStream(s, true)
	if err != nil {
		return nil, err
	}
	d, err := db.Open(s.Dir, keep)
	if err != nil {
		return nil, err
	}
	out := &Outcome{}
	if _, err := ask(ctx, query.New(d), createRollup); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	m := startMeter()
	err = writeAll(ctx, d, rows, func(began time.Time) bool {
		out.Millis = append(out.Millis, millis(began))
		return true
	})
	if err == nil {
		err = d.Flush(ctx)
	}
	m.stop(out)
	out.Rows = d.Metrics().Rows
	if err = errors.Join(err, d.Compact(ctx), d.Close()); err != nil {
		return nil, err
	}
	out.Disk, err = diskBytes(s.Dir)
	return out, err
}
