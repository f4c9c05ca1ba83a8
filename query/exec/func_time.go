package exec

import (
	"math"
	"strings"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
)

// bucketOrigin is where time_bucket starts counting: Monday 2000-01-03, so that weeks start on Mondays.
var bucketOrigin = time.Date(2000, 1, 3, 0, 0, 0, 0, time.UTC).UnixNano()

const second = int64(time.Second)

func init() {
	t := func(name, signature, doc string, ov []*Overload, aliases ...string) {
		register(&Func{Name: name, Signature: signature, Group: "time", Doc: doc, Overloads: ov}, aliases...)
	}
	bucket2 := &Overload{Args: []schema.Type{tIvl, tTime}, Ret: tTime, Row: bucketRow, Vec: bucketVec}
	bucket3 := &Overload{Args: []schema.Type{tIvl, tTime, tTime}, Ret: tTime, Row: bucketRow, Vec: bucketVec}
	t("time_bucket", "time_bucket(interval, timestamp [, origin])", "start of the bucket that the time lies in; buckets start at the origin, Monday 2000-01-03 by default, those of months at 2000-01-01",
		[]*Overload{bucket2, bucket3}, "date_bin")
	t("date_trunc", "date_trunc(unit, timestamp)", "the time cut to a unit: nanosecond, microsecond, millisecond, second, minute, hour, day, week, month, quarter, year, decade or century",
		[]*Overload{{Args: []schema.Type{tText, tTime}, Ret: tTime, Row: truncRow, Vec: truncVec}})
	t("date_part", "date_part(field, timestamp)", "a part of a time as DOUBLE, or extract(field FROM time): epoch, year, month, day, hour, minute, second, millisecond, microsecond, dow, isodow, doy, week, quarter",
		[]*Overload{sig(tFloat, datePart, tText, tTime), sig(tFloat, intervalPart, tText, tIvl)}, "extract")
	t("epoch", "epoch(timestamp)", "seconds since 1970 as DOUBLE; of an interval its seconds", []*Overload{
		sig(tFloat, func(a []Value) (Value, error) { return FloatValue(float64(a[0].I) / 1e9), nil }, tTime),
		sig(tFloat, func(a []Value) (Value, error) { return FloatValue(float64(a[0].I) / 1e9), nil }, tIvl)})
	t("epoch_ms", "epoch_ms(timestamp)", "milliseconds since 1970, rounded down", epochIn(1e6))
	t("epoch_us", "epoch_us(timestamp)", "microseconds since 1970, rounded down", epochIn(1e3))
	t("epoch_ns", "epoch_ns(timestamp)", "nanoseconds since 1970", epochIn(1))
	t("to_timestamp", "to_timestamp(seconds)", "the time that many seconds after 1970", []*Overload{sig(tTime, func(a []Value) (Value, error) {
		f := a[0].F * 1e9
		if !(f >= math.MinInt64 && f < math.MaxInt64) {
			return Value{}, errOverflow(tTime)
		}
		s := math.Floor(a[0].F)
		return Value{Type: tTime, I: int64(s)*1e9 + int64(math.Round((a[0].F-s)*1e9))}, nil
	}, tFloat), sig(tTime, func(a []Value) (Value, error) {
		if a[0].I > math.MaxInt64/second || a[0].I < math.MinInt64/second {
			return Value{}, errOverflow(tTime)
		}
		return Value{Type: tTime, I: a[0].I * second}, nil
	}, tInt)})
	t("make_interval_us", "make_interval_us(microseconds)", "an interval of that many microseconds", []*Overload{sig(tIvl, func(a []Value) (Value, error) {
		if a[0].I > math.MaxInt64/1000 || a[0].I < math.MinInt64/1000 {
			return Value{}, errOverflow(tIvl)
		}
		return Value{Type: tIvl, I: a[0].I * 1000}, nil
	}, tInt)})
	t("strftime", "strftime(timestamp, format)", "the time as text: %Y %m %d %H %M %S %f (microseconds) %j %a %b %%",
		[]*Overload{sig(tText, strftimeRow, tTime, tText)})
	registerHidden("add_months", sig(tTime, func(a []Value) (Value, error) {
		return Value{Type: tTime, I: addMonths(a[0].I, a[1].I)}, nil
	}, tTime, tInt))
	registerHidden("month_bucket", sig(tTime, func(a []Value) (Value, error) {
		return Value{Type: tTime, I: monthBucket(a[0].I, a[1].I, 2000)}, nil
	}, tTime, tInt))
	registerHidden("at_time_zone", sig(tTime, atTimeZone, tTime, tText))
}

// Step says of a function of time how coarse it is: the result is the same for all times between two instants
// origin + n*step, in nanoseconds. arg is the argument that is the time; all others are constant. ok is false for any
// other function.
func (e *Call) Step() (arg int, step, origin int64, ok bool) {
	text := func(i int) string {
		c, isConst := e.Args[i].(*Const)
		if !isConst || c.Value.Null {
			return ""
		}
		return strings.ToLower(c.Value.S)
	}
	const day = 86400 * second
	switch e.Fn.Name {
	case "time_bucket":
		width, isConst := e.Args[0].(*Const)
		if !isConst || width.Value.Null || width.Value.I <= 0 {
			return 0, 0, 0, false
		}
		if origin = bucketOrigin; len(e.Args) > 2 {
			from, isConst := e.Args[2].(*Const)
			if !isConst || from.Value.Null {
				return 0, 0, 0, false
			}
			origin = from.Value.I
		}
		return 1, width.Value.I, origin, true
	case "date_trunc":
		if w := unitWidth(text(0)); w > 0 {
			return 1, w, bucketOrigin, true
		}
		return 1, day, 0, unitMonths(text(0)) > 0 // a month begins with a day
	case "month_bucket":
		return 0, day, 0, true
	case "date_part":
		switch text(0) {
		case "minute", "minutes":
			return 1, 60 * second, 0, true
		case "hour", "hours":
			return 1, 3600 * second, 0, true
		case "year", "years", "quarter", "month", "months", "week", "isoyear", "day", "days", "dow", "isodow", "doy":
			return 1, day, 0, e.Args[1].Type() == schema.Timestamp
		}
	}
	return 0, 0, 0, false
}

func epochIn(unit int64) []*Overload {
	return []*Overload{sig(tInt, func(a []Value) (Value, error) { return IntValue(floorDiv(a[0].I, unit)), nil }, tTime)}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// bucketOf is the start of the bucket of width w that x lies in, counted from origin.
func bucketOf(x, w, origin int64) int64 {
	origin %= w
	d := x - origin
	if (x^origin)&(x^d) < 0 { // at the ends of time
		return x
	}
	return floorDiv(d, w)*w + origin
}

func bucketRow(a []Value) (Value, error) {
	if a[0].I <= 0 {
		return Value{}, runErrorf(stateBadArgument, "the width of a bucket must be positive")
	}
	origin := bucketOrigin
	if len(a) > 2 {
		origin = a[2].I
	}
	return Value{Type: tTime, I: bucketOf(a[1].I, a[0].I, origin)}, nil
}

// bucketVec remembers the last bucket: rows of a segment come nearly in time order.
func bucketVec(s *vecState, out *batch.Vector, a []*batch.Vector, n int) error {
	widths, times := a[0].I64[:n], a[1].I64[:n]
	var lo, w, origin int64
	var size uint64 // 0: no bucket known yet
	for i, x := range times {
		width := widths[i]
		if width <= 0 {
			if out.IsNull(i) {
				out.I64[i] = 0
				continue
			}
			return runErrorf(stateBadArgument, "the width of a bucket must be positive")
		}
		if width != w || len(a) > 2 && a[2].I64[i] != origin {
			w, origin, size = width, bucketOrigin, 0
			if len(a) > 2 {
				origin = a[2].I64[i]
			}
		}
		if uint64(x)-uint64(lo) >= size {
			lo, size = bucketOf(x, w, origin), uint64(w)
		}
		out.I64[i] = lo
	}
	return nil
}

func unitWidth(unit string) int64 {
	switch unit {
	case "nanosecond", "nanoseconds":
		return 1
	case "microsecond", "microseconds":
		return 1e3
	case "millisecond", "milliseconds":
		return 1e6
	case "second":
		return 1e9
	case "minute":
		return 60e9
	case "hour":
		return 3600e9
	case "day":
		return 86400e9
	case "week":
		return 7 * 86400e9
	}
	return 0
}

func unitMonths(unit string) int64 {
	switch unit {
	case "month":
		return 1
	case "quarter":
		return 3
	case "year":
		return 12
	case "decade":
		return 120
	case "century":
		return 1200
	}
	return 0
}

func truncTo(unit string, x int64) (int64, error) {
	u := strings.ToLower(unit)
	if w := unitWidth(u); w > 0 {
		return bucketOf(x, w, bucketOrigin), nil
	}
	if m := unitMonths(u); m > 0 {
		origin := 2000 // a decade begins with a year that ends in 0
		if u == "century" {
			origin = 2001
		}
		return monthBucket(x, m, origin), nil
	}
	return 0, runErrorf(stateBadArgument, "unit %q is not known to date_trunc", clip(unit))
}

func truncRow(a []Value) (Value, error) {
	n, err := truncTo(a[0].S, a[1].I)
	return Value{Type: tTime, I: n}, err
}

func truncVec(s *vecState, out *batch.Vector, a []*batch.Vector, n int) error {
	if c := s.consts[0]; c.Type == tText && !c.Null {
		if w := unitWidth(strings.ToLower(c.S)); w > 0 {
			var lo int64
			var size uint64
			for i, x := range a[1].I64[:n] {
				if uint64(x)-uint64(lo) >= size {
					lo, size = bucketOf(x, w, bucketOrigin), uint64(w)
				}
				out.I64[i] = lo
			}
			return nil
		}
	}
	for i, x := range a[1].I64[:n] {
		out.I64[i] = 0
		if out.IsNull(i) {
			continue
		}
		r, err := truncTo(string(a[0].Bytes(i)), x)
		if err != nil {
			return err
		}
		out.I64[i] = r
	}
	return nil
}

// monthBucket cuts a time to a multiple of months since January of the year origin.
func monthBucket(x, months int64, origin int) int64 {
	t := time.Unix(0, x).UTC()
	m := floorDiv(int64(t.Year()-origin)*12+int64(t.Month())-1, months) * months
	y := floorDiv(m, 12)
	b := time.Date(origin+int(y), time.Month(1+m-12*y), 1, 0, 0, 0, 0, time.UTC)
	if b.Year() < 1678 {
		return math.MinInt64
	}
	return b.UnixNano()
}

// addMonths moves a time by calendar months; a day that the month does not have becomes its last.
func addMonths(x, months int64) int64 {
	t := time.Unix(0, x).UTC()
	m := int64(t.Year())*12 + int64(t.Month()) - 1 + min(max(months, -12000), 12000)
	y, mon := int(floorDiv(m, 12)), time.Month(m-floorDiv(m, 12)*12+1)
	last := time.Date(y, mon+1, 0, 0, 0, 0, 0, time.UTC).Day()
	r := time.Date(y, mon, min(t.Day(), last), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
	switch {
	case r.Year() < 1678:
		return math.MinInt64
	case r.Year() > 2261:
		return math.MaxInt64
	}
	return r.UnixNano()
}

func datePart(a []Value) (Value, error) {
	t := time.Unix(0, a[1].I).UTC()
	sec := float64(t.Second()) + float64(t.Nanosecond())/1e9
	var r float64
	switch strings.ToLower(a[0].S) {
	case "epoch":
		r = float64(a[1].I) / 1e9
	case "year", "years":
		r = float64(t.Year())
	case "quarter":
		r = float64((int(t.Month()) + 2) / 3)
	case "month", "months":
		r = float64(t.Month())
	case "week":
		_, w := t.ISOWeek()
		r = float64(w)
	case "isoyear":
		y, _ := t.ISOWeek()
		r = float64(y)
	case "day", "days":
		r = float64(t.Day())
	case "dow":
		r = float64(t.Weekday())
	case "isodow":
		r = float64((t.Weekday()+6)%7 + 1)
	case "doy":
		r = float64(t.YearDay())
	case "hour", "hours":
		r = float64(t.Hour())
	case "minute", "minutes":
		r = float64(t.Minute())
	case "second", "seconds":
		r = sec
	case "millisecond", "milliseconds":
		r = sec * 1e3
	case "microsecond", "microseconds":
		r = math.Round(sec * 1e6)
	case "timezone":
		r = 0
	default:
		return Value{}, runErrorf(stateBadArgument, "field %q of a timestamp is not known", clip(a[0].S))
	}
	return FloatValue(r), nil
}

func intervalPart(a []Value) (Value, error) {
	d := time.Duration(a[1].I)
	switch strings.ToLower(a[0].S) {
	case "epoch":
		return FloatValue(d.Seconds()), nil
	case "day", "days":
		return FloatValue(float64(d / (24 * time.Hour))), nil
	case "hour", "hours":
		return FloatValue(float64(d % (24 * time.Hour) / time.Hour)), nil
	case "minute", "minutes":
		return FloatValue(float64(d % time.Hour / time.Minute)), nil
	case "second", "seconds":
		return FloatValue((d % time.Minute).Seconds()), nil
	case "millisecond", "milliseconds":
		return FloatValue((d % time.Minute).Seconds() * 1e3), nil
	case "microsecond", "microseconds":
		return FloatValue(math.Round((d % time.Minute).Seconds() * 1e6)), nil
	}
	return Value{}, runErrorf(stateBadArgument, "field %q of an interval is not known", clip(a[0].S))
}

// strftime's formats and what time.Format calls them.
var strftimeCodes = map[byte]string{'Y': "2006", 'm': "01", 'd': "02", 'H': "15", 'M': "04", 'S': "05", 'j': "002", 'a': "Mon", 'b': "Jan"}

func strftimeRow(a []Value) (Value, error) {
	t := time.Unix(0, a[0].I).UTC()
	f := a[1].S
	var b []byte
	for i := 0; i < len(f); i++ {
		if f[i] != '%' || i+1 == len(f) {
			b = append(b, f[i])
			continue
		}
		i++
		switch code, ok := strftimeCodes[f[i]]; {
		case ok:
			b = t.AppendFormat(b, code)
		case f[i] == 'f':
			b = append(b, t.Format(".000000")[1:]...)
		case f[i] == '%':
			b = append(b, '%')
		default:
			return Value{}, runErrorf(stateBadArgument, "%%%c is not known to strftime", f[i])
		}
	}
	return TextValue(string(b)), nil
}

// atTimeZone gives the wall clock of a zone as a time in UTC.
func atTimeZone(a []Value) (Value, error) {
	loc, err := time.LoadLocation(a[1].S)
	if err != nil || a[1].S == "Local" {
		return Value{}, runErrorf(stateBadArgument, "time zone %q is not known", clip(a[1].S))
	}
	_, off := time.Unix(0, a[0].I).In(loc).Zone()
	return Value{Type: tTime, I: a[0].I + int64(off)*1e9}, nil
}
