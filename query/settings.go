package query

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
	"github.com/flowlake/flowlake/query/exec"
	"github.com/flowlake/flowlake/query/parse"
	"github.com/flowlake/flowlake/query/plan"
)

// setting is one thing that SET changes.
type setting struct {
	name, doc string
	get       func(o *Options) string
	set       func(o *Options, v exec.Value) error
}

var settings = []setting{
	{"max_result_rows", "rows a result may have, 0 for no limit",
		func(o *Options) string { return strconv.FormatInt(o.MaxResultRows, 10) },
		func(o *Options, v exec.Value) error {
			n, err := exec.CastValue(v, schema.BigInt)
			if err == nil && n.I < 0 {
				err = fmt.Errorf("it must not be negative")
			}
			o.MaxResultRows = n.I
			return err
		}},
	{"query_memory_limit", "memory that the tables, sorts and results of a query may hold, such as '512 MiB'",
		func(o *Options) string { return exec.FormatBytes(max(o.MemoryLimit, 0)) },
		func(o *Options, v exec.Value) error {
			n, err := parseBytes(v)
			if err == nil && n == 0 {
				n = -1
			}
			o.MemoryLimit = n
			return err
		}},
	{"query_timeout", "time a query may take, such as '1 minute'; a number is milliseconds, 0 for no limit",
		func(o *Options) string { return max(o.Timeout, 0).String() },
		func(o *Options, v exec.Value) error {
			d, err := parseDuration(v)
			if err == nil && d == 0 {
				d = -1
			}
			o.Timeout = d
			return err
		}},
	{"query_workers", "goroutines that a query may use",
		func(o *Options) string { return strconv.Itoa(o.Workers) },
		func(o *Options, v exec.Value) error {
			n, err := exec.CastValue(v, schema.BigInt)
			if err == nil && (n.I < 1 || n.I > 1024) {
				err = fmt.Errorf("it must be 1 to 1024")
			}
			o.Workers = int(n.I)
			return err
		}},
	{"rollup", "whether queries are answered from rollups where those give the same result: on or off",
		func(o *Options) string {
			if o.RollupOff {
				return "off"
			}
			return "on"
		},
		func(o *Options, v exec.Value) error {
			b, err := exec.CastValue(v, schema.Boolean)
			if err != nil || b.Null {
				return fmt.Errorf("it is on or off")
			}
			o.RollupOff = b.I == 0
			return nil
		}},
	{"timezone", "zone of times in statements that name none",
		func(o *Options) string { return o.Location.String() },
		func(o *Options, v exec.Value) error {
			loc, err := time.LoadLocation(v.S)
			if err != nil || v.S == "Local" {
				return fmt.Errorf("time zone %q is not known", v.S)
			}
			o.Location = loc
			return nil
		}},
}

// settingAliases are other names of settings; PostgreSQL's clients use them.
var settingAliases = map[string]string{"time zone": "timezone", "statement_timeout": "query_timeout"}

// ignoredSettings are set by clients of PostgreSQL; they are remembered and change nothing.
var ignoredSettings = map[string]string{
	"application_name": "", "bytea_output": "hex", "client_encoding": "UTF8", "client_min_messages": "notice", "datestyle": "ISO, MDY",
	"default_transaction_isolation": "read committed", "default_transaction_read_only": "on", "extra_float_digits": "1",
	"integer_datetimes": "on", "intervalstyle": "postgres", "lock_timeout": "0", "search_path": "public", "server_encoding": "UTF8",
	"server_version": "14.0 (Flowlake)", "session_characteristics": "", "standard_conforming_strings": "on",
	"transaction_isolation": "read committed", "idle_in_transaction_session_timeout": "0", "row_security": "off",
}

// finite bounds what a setting may be: a query that may run for a day, memory up to a pebibyte.
const (
	maxTimeout = 24 * time.Hour
	maxMemory  = 1 << 50
)

func parseDuration(v exec.Value) (time.Duration, error) {
	var d time.Duration
	if ms, err := exec.CastValue(v, schema.BigInt); err == nil {
		if ms.I > int64(maxTimeout/time.Millisecond) {
			return 0, fmt.Errorf("it must be at most %s", maxTimeout)
		}
		d = time.Duration(ms.I) * time.Millisecond
	} else {
		iv, err := exec.CastValue(v, schema.Interval)
		if err != nil || iv.Months != 0 {
			return 0, fmt.Errorf("%q is not a time span", v.Text())
		}
		d = time.Duration(iv.I)
	}
	if d < 0 || d > maxTimeout {
		return 0, fmt.Errorf("it must be 0 to %s", maxTimeout)
	}
	return d, nil
}

var byteUnits = map[string]float64{"": 1, "b": 1, "k": 1 << 10, "kb": 1 << 10, "kib": 1 << 10, "m": 1 << 20, "mb": 1 << 20, "mib": 1 << 20,
	"g": 1 << 30, "gb": 1 << 30, "gib": 1 << 30, "t": 1 << 40, "tb": 1 << 40, "tib": 1 << 40}

func parseBytes(v exec.Value) (int64, error) {
	s := strings.ToLower(strings.TrimSpace(v.Text()))
	num := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyz ")
	unit, ok := byteUnits[strings.TrimSpace(s[len(num):])]
	f, err := strconv.ParseFloat(num, 64)
	if err != nil || !ok || !(f >= 0 && f*unit <= maxMemory) {
		return 0, fmt.Errorf("%q is not a size such as '512 MiB'", v.Text())
	}
	return int64(f * unit), nil
}

func findSetting(name string) *setting {
	if a, ok := settingAliases[name]; ok {
		name = a
	}
	for i := range settings {
		if settings[i].name == name {
			return &settings[i]
		}
	}
	return nil
}

func unknownSetting(name string) *Error {
	var names []string
	for _, d := range settings {
		names = append(names, d.name)
	}
	hint := "SHOW SETTINGS lists all settings"
	if s := parse.Suggest(name, names); s != "" {
		hint = "did you mean " + s + "?"
	}
	return errorf("42704", hint, "setting %q does not exist", name)
}

// set runs SET and RESET.
func (s *Session) set(p *plan.Planner, stmt *ast.Set) error {
	if stmt.Name == "all" && len(stmt.Values) == 0 {
		s.opts, s.extra = s.engine.opts, map[string]string{}
		return nil
	}
	d := findSetting(stmt.Name)
	if d == nil {
		if _, ok := ignoredSettings[stmt.Name]; !ok {
			return unknownSetting(stmt.Name)
		}
		delete(s.extra, stmt.Name)
		var list []string
		for _, e := range stmt.Values {
			v, err := p.Const(e)
			if err != nil {
				return err
			}
			list = append(list, v.Text())
		}
		if len(list) > 0 {
			s.extra[stmt.Name] = strings.Join(list, ", ")
		}
		return nil
	}
	changed := s.opts
	v := exec.TextValue(d.get(&s.engine.opts))
	switch len(stmt.Values) {
	case 0: // the default
	case 1:
		var err error
		if v, err = p.Const(stmt.Values[0]); err != nil {
			return err
		}
	default:
		return errorf("22023", "", "setting %s takes one value", d.name)
	}
	if err := d.set(&changed, v); err != nil {
		return errorf("22023", d.doc, "invalid value for setting %s: %v", d.name, err)
	}
	s.opts = changed
	return nil
}

func (s *Session) setting(stmt *ast.Show) (string, error) {
	if d := findSetting(stmt.Name); d != nil {
		return d.get(&s.opts), nil
	}
	if v, ok := s.extra[stmt.Name]; ok {
		return v, nil
	}
	if v, ok := ignoredSettings[stmt.Name]; ok {
		return v, nil
	}
	return "", unknownSetting(stmt.Name)
}
