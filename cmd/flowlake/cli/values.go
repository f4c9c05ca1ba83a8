package cli

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// size is a flag of bytes: 33554432, 32MiB, 1GB.
type size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}}

// Set implements pflag.Value.
func (v *size) Set(s string) error {
	text, unit := strings.TrimSpace(s), int64(1)
	for _, u := range sizeUnits {
		if n := len(text) - len(u.name); n > 0 && strings.EqualFold(text[n:], u.name) {
			text, unit = strings.TrimSpace(text[:n]), u.bytes
			break
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil || !(f >= 0 && f*float64(unit) < 1<<62) {
		return fmt.Errorf("%q is not a size such as 64MiB or 1GB", s)
	}
	*v = size(f * float64(unit))
	return nil
}

// String implements pflag.Value.
func (v *size) String() string { return formatBytes(int64(*v)) }

// Type implements pflag.Value.
func (v *size) Type() string { return "size" }

// formatBytes is exact: in the largest binary unit that has no fraction.
func formatBytes(n int64) string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// humanBytes is rounded to three digits.
func humanBytes(n float64) string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; n >= float64(u.bytes) {
			return strconv.FormatFloat(n/float64(u.bytes), 'g', 3, 64) + " " + u.name
		}
	}
	return strconv.FormatFloat(n, 'f', 0, 64) + " B"
}

// pairsType is the type of flags of key=value pairs.
const pairsType = "key=value"

// pairs is a flag of key=value pairs: given several times, or with commas.
type pairs map[string]string

// Set implements pflag.Value.
func (p *pairs) Set(s string) error {
	if *p == nil {
		*p = pairs{}
	}
	for item := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(item, "=")
		if k = strings.TrimSpace(k); !ok || k == "" {
			return fmt.Errorf("%q is not key=value", item)
		}
		(*p)[k] = strings.TrimSpace(v)
	}
	return nil
}

// String implements pflag.Value.
func (p *pairs) String() string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(*p)) {
		out = append(out, k+"="+(*p)[k])
	}
	return strings.Join(out, ",")
}

// Type implements pflag.Value.
func (p *pairs) Type() string { return pairsType }

// parseDays is time.ParseDuration that knows days too: 3d, 36h, 90m; "0" keeps for ever.
func parseDays(s string) (time.Duration, error) {
	if n, ok := strings.CutSuffix(s, "d"); ok {
		days, err := strconv.ParseFloat(n, 64)
		if err != nil || days < 0 || days > 100_000 {
			return 0, fmt.Errorf("%q is not a time such as 72h or 3d", s)
		}
		return time.Duration(days * 24 * float64(time.Hour)), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is not a time such as 72h or 3d", s)
	}
	return d, nil
}
