package ast

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// ErrInterval is returned when a text is not an interval, wrapped with the reason.
var ErrInterval = errors.New("not an interval")

const (
	nanosSecond = int64(1e9)
	nanosMinute = 60 * nanosSecond
	nanosHour   = 60 * nanosMinute
)

// intervalUnit is one unit: exactly one of the three is set.
type intervalUnit struct{ months, days, nanos int64 }

// lookupUnit knows the unit names of Postgres and of Prometheus durations; m is a minute.
func lookupUnit(s string) (intervalUnit, bool) {
	switch strings.ToLower(s) {
	case "ns", "nanosecond", "nanoseconds":
		return intervalUnit{nanos: 1}, true
	case "us", "µs", "μs", "usec", "usecs", "microsecond", "microseconds":
		return intervalUnit{nanos: 1e3}, true
	case "ms", "msec", "msecs", "millisecond", "milliseconds":
		return intervalUnit{nanos: 1e6}, true
	case "s", "sec", "secs", "second", "seconds":
		return intervalUnit{nanos: nanosSecond}, true
	case "m", "min", "mins", "minute", "minutes":
		return intervalUnit{nanos: nanosMinute}, true
	case "h", "hr", "hrs", "hour", "hours":
		return intervalUnit{nanos: nanosHour}, true
	case "d", "day", "days":
		return intervalUnit{days: 1}, true
	case "w", "week", "weeks":
		return intervalUnit{days: 7}, true
	case "mon", "mons", "month", "months":
		return intervalUnit{months: 1}, true
	case "q", "quarter", "quarters":
		return intervalUnit{months: 3}, true
	case "y", "yr", "yrs", "year", "years":
		return intervalUnit{months: 12}, true
	}
	return intervalUnit{}, false
}

// ParseInterval reads an interval: numbers with units in any order
// ('1 day 2 hours', '1h30m', '-1.5 h', '2 weeks ago'), a clock ('1 day 02:03:04.5'),
// or ISO 8601 ('P1Y2M3DT4H5M6.7S'). A bare number is seconds. A fraction of a
// month is days of 30, a fraction of a day is hours of 24. Months and days fit 32
// bits, and each field can be negated. The error wraps ErrInterval.
func ParseInterval(text string) (months, days, nanos int64, err error) {
	p := intervalParser{rest: strings.TrimSpace(text)}
	if p.rest == "" {
		return 0, 0, 0, fmt.Errorf("%w: it is empty", ErrInterval)
	}
	if rest, neg, ok := isoBody(p.rest); ok {
		p.rest = rest
		err = p.iso()
		p.negate = neg
	} else {
		err = p.words()
	}
	if err != nil {
		return 0, 0, 0, fmt.Errorf("%w: %w", ErrInterval, err)
	}
	if max(p.months, -p.months, p.days, -p.days) > math.MaxInt32 {
		return 0, 0, 0, fmt.Errorf("%w: %w", ErrInterval, errIntervalRange)
	}
	if p.negate {
		p.months, p.days, p.nanos = -p.months, -p.days, -p.nanos
	}
	return p.months, p.days, p.nanos, nil
}

// isoBody cuts the P of an ISO duration and its sign.
func isoBody(s string) (rest string, neg, ok bool) {
	if s[0] == '-' || s[0] == '+' {
		neg, s = s[0] == '-', s[1:]
	}
	if len(s) < 2 || s[0] != 'P' && s[0] != 'p' {
		return "", false, false
	}
	return s[1:], neg, true
}

type intervalParser struct {
	rest                string
	months, days, nanos int64
	negate              bool // "ago"
}

func (p *intervalParser) skip() { p.rest = strings.TrimLeft(p.rest, " \t\r\n,") }

// words reads "number unit" pairs, clocks and a final "ago".
func (p *intervalParser) words() error {
	p.rest = strings.TrimPrefix(p.rest, "@")
	for some := false; ; some = true {
		p.skip()
		if p.rest == "" {
			if !some {
				return errors.New("it has no number")
			}
			return nil
		}
		if some && strings.EqualFold(p.rest, "ago") {
			p.negate = true
			return nil
		}
		num := p.number()
		if num == "" {
			return fmt.Errorf("a number is missing at %q", clip(p.rest))
		}
		if strings.HasPrefix(p.rest, ":") {
			if err := p.clock(num); err != nil {
				return err
			}
			continue
		}
		p.skip()
		word := p.word()
		if word == "" {
			word = "s"
			if p.rest != "" {
				return fmt.Errorf("a unit is missing after %s", num)
			}
		}
		u, ok := lookupUnit(word)
		if !ok {
			return fmt.Errorf("%q is not a unit; units are ns, us, ms, seconds, minutes, hours, days, weeks, months, years", clip(word))
		}
		if err := p.add(num, u); err != nil {
			return err
		}
	}
}

// iso reads what follows the P.
func (p *intervalParser) iso() error {
	inTime := false
	for some := false; ; {
		if p.rest == "" {
			if !some {
				return errors.New("it has no number")
			}
			return nil
		}
		if !inTime && (p.rest[0] == 'T' || p.rest[0] == 't') {
			inTime, p.rest = true, p.rest[1:]
			continue
		}
		num := p.number()
		if num == "" || p.rest == "" {
			return fmt.Errorf("a number with a unit is missing at %q", clip(p.rest))
		}
		unit := p.rest[:1]
		p.rest = p.rest[1:]
		var u intervalUnit
		switch strings.ToUpper(unit) {
		case "Y":
			u.months = 12
		case "M":
			u.months = 1
			if inTime {
				u = intervalUnit{nanos: nanosMinute}
			}
		case "W":
			u.days = 7
		case "D":
			u.days = 1
		case "H":
			u.nanos = nanosHour
		case "S":
			u.nanos = nanosSecond
		}
		if u == (intervalUnit{}) || inTime != (u.nanos != 0) {
			return fmt.Errorf("%q is not a unit here", unit)
		}
		if err := p.add(num, u); err != nil {
			return err
		}
		some = true
	}
}

// number takes [sign] digits [. digits]; "" when there is none.
func (p *intervalParser) number() string {
	i, digits := 0, 0
	if i < len(p.rest) && (p.rest[i] == '-' || p.rest[i] == '+') {
		i++
	}
	for dot := false; i < len(p.rest); i++ {
		if c := p.rest[i]; c >= '0' && c <= '9' {
			digits++
		} else if c == '.' && !dot {
			dot = true
		} else {
			break
		}
	}
	if digits == 0 {
		return ""
	}
	num := p.rest[:i]
	p.rest = p.rest[i:]
	return num
}

func (p *intervalParser) word() string {
	i := strings.IndexFunc(p.rest, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= 0x80)
	})
	if i < 0 {
		i = len(p.rest)
	}
	w := p.rest[:i]
	p.rest = p.rest[i:]
	return w
}

// clock reads the ":minutes[:seconds]" behind hours; the sign holds for all.
func (p *intervalParser) clock(hours string) error {
	sign := ""
	if hours[0] == '-' || hours[0] == '+' {
		sign, hours = hours[:1], hours[1:]
	}
	parts, units := []string{hours}, [...]int64{nanosHour, nanosMinute, nanosSecond}
	for strings.HasPrefix(p.rest, ":") {
		p.rest = p.rest[1:]
		n := p.number()
		if n == "" || n[0] == '-' || n[0] == '+' || len(parts) == 3 {
			return errors.New("a clock is written 01:02:03.5")
		}
		if v, _ := strconv.ParseFloat(n, 64); v >= 60 {
			return fmt.Errorf("%s is too large in a clock", n)
		}
		parts = append(parts, n)
	}
	for i, n := range parts {
		if i < 2 && strings.Contains(n, ".") && i < len(parts)-1 {
			return errors.New("only the last part of a clock may have a fraction")
		}
		if err := p.add(sign+n, intervalUnit{nanos: units[i]}); err != nil {
			return err
		}
	}
	return nil
}

var errIntervalRange = errors.New("it is out of range")

// add adds num (sign, digits, fraction) of unit u, exactly for up to 9 digits
// of fraction; a fraction flows down into the next smaller field.
func (p *intervalParser) add(num string, u intervalUnit) error {
	neg := num[0] == '-'
	num = strings.TrimLeft(num, "+-")
	whole, frac, _ := strings.Cut(num, ".")
	var n uint64
	if whole != "" {
		var err error
		if n, err = strconv.ParseUint(whole, 10, 63); err != nil {
			return errIntervalRange
		}
	}
	var f uint64 // in billionths
	if len(frac) > 9 {
		frac = frac[:9]
	}
	if frac != "" {
		f, _ = strconv.ParseUint(frac+strings.Repeat("0", 9-len(frac)), 10, 64)
	}
	fn := int64(f)
	var err error
	switch {
	case u.nanos != 0:
		hi, lo := bits.Mul64(f, uint64(u.nanos))
		q, _ := bits.Div64(hi, lo, 1e9)
		err = errors.Join(addField(&p.nanos, n, u.nanos, neg), addField(&p.nanos, q, 1, neg))
	case u.days != 0:
		part := fn * u.days // at most 7e9
		err = errors.Join(addField(&p.days, n, u.days, neg), addField(&p.days, uint64(part/1e9), 1, neg),
			addField(&p.nanos, uint64(part%1e9), 24*3600, neg))
	default:
		part := fn * u.months
		daysPart := part % 1e9 * 30
		err = errors.Join(addField(&p.months, n, u.months, neg), addField(&p.months, uint64(part/1e9), 1, neg),
			addField(&p.days, uint64(daysPart/1e9), 1, neg), addField(&p.nanos, uint64(daysPart%1e9), 24*3600, neg))
	}
	if err != nil {
		return errIntervalRange
	}
	return nil
}

func addField(field *int64, n uint64, unit int64, neg bool) error {
	hi, v := bits.Mul64(n, uint64(unit))
	if hi != 0 || v > math.MaxInt64 {
		return errIntervalRange
	}
	d := int64(v)
	if neg {
		d = -d
	}
	sum := *field + d
	// MinInt64 is kept out so that every interval can be negated.
	if (sum > *field) != (d > 0) && d != 0 || sum == math.MinInt64 {
		return errIntervalRange
	}
	*field = sum
	return nil
}

func clip(s string) string {
	if len(s) > 20 {
		return strings.ToValidUTF8(s[:20], "") + "..."
	}
	return s
}

// AppendInterval appends the canonical text of an interval, which
// ParseInterval reads back: '1 month -3 days 90 seconds'.
func AppendInterval(dst []byte, months, days, nanos int64) []byte {
	start := len(dst)
	part := func(n int64, unit string) {
		if n == 0 {
			return
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(strconv.AppendInt(dst, n, 10), ' ')
		dst = append(dst, unit...)
		if n != 1 && n != -1 {
			dst = append(dst, 's')
		}
	}
	if months%12 == 0 {
		part(months/12, "year")
	} else {
		part(months, "month")
	}
	part(days, "day")
	switch {
	case nanos%nanosHour == 0:
		part(nanos/nanosHour, "hour")
	case nanos%nanosMinute == 0:
		part(nanos/nanosMinute, "minute")
	case nanos%nanosSecond == 0:
		part(nanos/nanosSecond, "second")
	case nanos%1e6 == 0:
		part(nanos/1e6, "millisecond")
	case nanos%1e3 == 0:
		part(nanos/1e3, "microsecond")
	default:
		part(nanos, "nanosecond")
	}
	if len(dst) == start {
		dst = append(dst, "0 seconds"...)
	}
	return dst
}
