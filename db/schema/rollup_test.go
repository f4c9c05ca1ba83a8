package schema

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func columns(t *Table) string {
	var names []string
	for _, c := range t.Columns {
		n := c.Name
		if c.Merge != MergeNone {
			n += ":" + c.Merge.String()
		}
		names = append(names, n)
	}
	return strings.Join(names, " ")
}

func mustRollup(t *testing.T, r *Registry, def RollupDef) *Rollup {
	t.Helper()
	next, err := r.With(def)
	if err != nil {
		t.Fatal(err)
	}
	u, ok := next.Rollup(def.Name)
	if !ok {
		t.Fatalf("rollup %s is not in the registry", def.Name)
	}
	if got, ok := next.Table(def.Name); !ok || got != u.Target {
		t.Fatalf("table %s is not in the registry", def.Name)
	}
	return u
}

func TestRollupOfSamples(t *testing.T) {
	u := mustRollup(t, Builtin(), RollupDef{Name: "by_job", Source: "samples", Every: 90 * time.Second, Keys: []RollupKey{{"tags", "job"}}, Keep: day})
	want := "time tag.job rows:count value_sum:sum value_count:count value_min:min value_max:max value_sketch:sketch"
	if got := columns(u.Target); got != want {
		t.Errorf("columns\n %s, want\n %s", got, want)
	}
	tab := u.Target
	if tab.Base != "by_job" || tab.Resolution != "90s" || tab.Retention != day || !tab.Partial {
		t.Errorf("table %+v", *tab)
	}
	if c := tab.Columns[tab.Column("value_sum")]; c.Type != Double || c.Nullable {
		t.Errorf("value_sum is %+v", c)
	}
	if fmt.Sprint(tab.Sort) != "[{0 3600000000000} {1 0} {0 0}]" {
		t.Errorf("sort %v", tab.Sort)
	}
}

func TestRollupOfFlowsAndSpans(t *testing.T) {
	u := mustRollup(t, Builtin(), RollupDef{Name: "f", Source: "flows", Every: time.Hour, Keys: []RollupKey{{"server_tags", "service"}, {"client_pid", ""}, {"client_ip", ""}}})
	got := " " + columns(u.Target) + " "
	for _, w := range []string{
		" time server.service client_pid client_ip rows:count server_ip_uniq:uniq packets_tx:sum",
		" rtt_sum_us:sum rtt_count:count rtt_min_us:min rtt_max_us:max rtt_sketch:sketch ", " srt_max_us:max ",
	} {
		if !strings.Contains(got, w) {
			t.Errorf("columns%sare without%s", got, w)
		}
	}
	if strings.Contains(got, "client_ip_uniq") || strings.Contains(got, "flow_id") {
		t.Errorf("columns%s", got)
	}
	if c := u.Target.Columns[u.Target.Column("client_pid")]; !c.Nullable || c.Role != Key {
		t.Errorf("client_pid is %+v", c)
	}
	for _, name := range []string{"rtt_sum_us", "rtt_min_us", "rtt_max_us"} {
		if c := u.Target.Columns[u.Target.Column(name)]; !c.Nullable || c.Unit != "us" {
			t.Errorf("%s is %+v", name, c)
		}
	}
	for _, p := range u.Parts {
		if p.Source >= 0 && u.Target.Columns[p.Target].Merge != p.Merge {
			t.Errorf("part %+v of column %+v", p, u.Target.Columns[p.Target])
		}
	}
}

// TestBuiltinRollupsKeepMetrics: a logical table's resolutions have the same columns.
func TestBuiltinRollupsKeepMetrics(t *testing.T) {
	for _, base := range []string{"network", "application"} {
		fine, _ := Builtin().Table(base + "_1s")
		u, ok := Builtin().Rollup(base + "_1m")
		if !ok || !u.Builtin || u.Target.Base != base || u.Target.Resolution != "1m" || u.Source != fine {
			t.Fatalf("%s_1m: %+v", base, u)
		}
		if len(fine.Columns) != len(u.Target.Columns) {
			t.Errorf("%s has %d columns at 1 s and %d at 1 min", base, len(fine.Columns), len(u.Target.Columns))
		}
		for _, c := range fine.Columns {
			i := u.Target.Column(c.Name)
			if i < 0 {
				t.Errorf("%s_1m has no column %s", base, c.Name)
			} else if got := u.Target.Columns[i]; got.Type != c.Type || got.Merge != c.Merge || got.Role != c.Role {
				t.Errorf("%s_1m.%s is %+v, at 1 s %+v", base, c.Name, got, c)
			}
			if c.Role != Key && c.Role != Time && (c.From == "" || c.Expr == "") {
				t.Errorf("%s.%s does not say what it counts", fine.Name, c.Name)
			}
		}
	}
}

func TestRollupDefsRefused(t *testing.T) {
	r, err := Builtin().With(RollupDef{Name: "there", Source: "flows", Every: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	ok := RollupDef{Name: "r", Source: "flows", Every: time.Minute}
	f := func(want error, text string, change func(*RollupDef)) {
		t.Helper()
		def := ok
		change(&def)
		_, err := r.With(def)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), text) {
			t.Errorf("With(%+v) = %v, want %v with %q", def, err, want, text)
		}
	}
	f(ErrUnknownTable, "nope", func(d *RollupDef) { d.Source = "nope" })
	f(ErrRollupExists, "there", func(d *RollupDef) { d.Name = "there" })
	f(ErrRollupExists, "flows", func(d *RollupDef) { d.Name = "flows" })
	f(ErrRollupDef, "means something else", func(d *RollupDef) { d.Name = "network" })
	f(ErrRollupDef, "1 to 63", func(d *RollupDef) { d.Name = "" })
	f(ErrRollupDef, "other characters", func(d *RollupDef) { d.Name = "../x" })
	f(ErrRollupDef, "take its source network_1s", func(d *RollupDef) { d.Source = "network_1m" })
	f(ErrRollupDef, "take its source flows", func(d *RollupDef) { d.Source = "there" })
	f(ErrRollupDef, "whole seconds", func(d *RollupDef) { d.Every = time.Millisecond })
	f(ErrRollupDef, "whole seconds", func(d *RollupDef) { d.Every = 1500 * time.Millisecond })
	f(ErrRollupDef, "negative", func(d *RollupDef) { d.Keep = -1 })
	f(ErrRollupDef, "no column", func(d *RollupDef) { d.Keys = []RollupKey{{"zz", ""}} })
	f(ErrRollupDef, "not a tag set", func(d *RollupDef) { d.Keys = []RollupKey{{"client_ip", "x"}} })
	f(ErrRollupDef, "is the time", func(d *RollupDef) { d.Keys = []RollupKey{{"time", ""}} })
	f(ErrRollupDef, "metric", func(d *RollupDef) { d.Keys = []RollupKey{{"bytes_tx", ""}} })
	f(ErrRollupDef, "duplicate", func(d *RollupDef) { d.Keys = []RollupKey{{"agent", ""}, {"agent", ""}} })
	f(ErrRollupDef, "keys, at most", func(d *RollupDef) { d.Keys = make([]RollupKey, 33) })

	if next, err := r.Without("there"); err != nil {
		t.Error(err)
	} else if _, ok := next.Table("there"); ok {
		t.Error("the table of a dropped rollup is still there")
	}
	if _, err := r.Without("flows"); !errors.Is(err, ErrUnknownRollup) {
		t.Errorf("Without(flows) = %v", err)
	}
}

func TestBucket(t *testing.T) {
	u := &Rollup{Def: RollupDef{Every: time.Minute}}
	for _, c := range [][2]int64{{0, 0}, {59e9, 0}, {60e9, 60e9}, {-1, -60e9}, {-60e9, -60e9}, {61e9 + 1, 60e9}} {
		if got := u.Bucket(c[0]); got != c[1] {
			t.Errorf("Bucket(%d) = %d, want %d", c[0], got, c[1])
		}
	}
	if got := u.Bucket(-1 << 63); got > 0 {
		t.Errorf("Bucket(first time) = %d", got)
	}
}

func TestMergesAreChecked(t *testing.T) {
	tm := Column{Name: "time", Type: Timestamp, Role: Time}
	for text, c := range map[string]Column{
		"keys are not merged":         {Name: "a", Type: BigInt, Merge: MergeSum},
		"of a column of type BYTEA":   {Name: "a", Type: Bytes, Role: Counter},
		"of a column of type BIGINT":  {Name: "a", Type: BigInt, Role: Sketch},
		"of a column of type VARCHAR": {Name: "a", Type: Varchar, Role: Max},
		"key or can be merged":        {Name: "a", Type: BigInt, Role: Gauge},
	} {
		if _, err := New(Table{Name: "t", Partial: true, Columns: []Column{tm, c}}); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("New = %v, want an error with %q", err, text)
		}
	}
}
