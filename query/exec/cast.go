package exec

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/query/ast"
)

// CanCast says whether a cast between the types exists.
func CanCast(from, to schema.Type) bool {
	if from == to || from == schema.Invalid || to == schema.Varchar {
		return true
	}
	if to == schema.Map {
		return from == schema.TagSet
	}
	switch to {
	case schema.Boolean:
		return from == schema.Varchar || isInteger(from)
	case schema.Integer, schema.BigInt:
		return from == schema.Varchar || from == schema.Boolean || isNumber(from) || from == schema.TagSet
	case schema.Double:
		return from == schema.Varchar || isNumber(from)
	case schema.Timestamp, schema.Interval, schema.Inet, schema.Bytes:
		return from == schema.Varchar
	}
	return false
}

func isInteger(t schema.Type) bool { return t == schema.Integer || t == schema.BigInt }
func isNumber(t schema.Type) bool  { return isInteger(t) || t == schema.Double }

// CastValue converts one value. Errors carry SQLSTATE 22P02 (text that does not read as the type) or 22003.
func CastValue(v Value, to schema.Type) (Value, error) {
	if v.Null || v.Type == to {
		v.Type = to
		return v, nil
	}
	switch {
	case to == schema.Varchar:
		return TextValue(string(AppendText(nil, v))), nil
	case v.Type == schema.Varchar:
		return parseText(v.S, to)
	case v.Type == schema.Double && isInteger(to):
		f := math.RoundToEven(v.F)
		if !(f >= math.MinInt64 && f < math.MaxInt64) {
			return Value{}, errOverflow(to)
		}
		return castInt(int64(f), to)
	case to == schema.Double && isInteger(v.Type):
		return FloatValue(float64(v.I)), nil
	case to == schema.Boolean:
		return BoolValue(v.I != 0), nil
	case isInteger(to):
		return castInt(v.I, to)
	}
	return Value{}, runErrorf(stateCannotCast, "cannot cast type %s to %s", v.Type, to)
}

func castInt(i int64, to schema.Type) (Value, error) {
	if to == schema.Integer && int64(int32(i)) != i {
		return Value{}, errOverflow(to)
	}
	return Value{Type: to, I: i}, nil
}

// parseText reads text as a value of a type.
func parseText(s string, to schema.Type) (Value, error) {
	bad := func() error { return runErrorf(stateBadText, "invalid input for type %s: %q", to, clip(s)) }
	t := strings.TrimSpace(s)
	switch to {
	case schema.Boolean:
		switch strings.ToLower(t) {
		case "t", "true", "yes", "y", "on", "1":
			return BoolValue(true), nil
		case "f", "false", "no", "n", "off", "0":
			return BoolValue(false), nil
		}
	case schema.Integer, schema.BigInt:
		i, err := strconv.ParseInt(t, 10, 64)
		if err == nil {
			return castInt(i, to)
		}
		if e, ok := err.(*strconv.NumError); ok && e.Err == strconv.ErrRange {
			return Value{}, errOverflow(to)
		}
	case schema.Double:
		if f, err := strconv.ParseFloat(t, 64); err == nil {
			return FloatValue(f), nil
		}
	case schema.Timestamp:
		if n, ok := ParseTime(t, time.UTC); ok {
			return Value{Type: to, I: n}, nil
		}
	case schema.Interval:
		m, d, n, err := ast.ParseInterval(t)
		if err == nil {
			return MakeInterval(m, d, n)
		}
	case schema.Inet:
		if a, err := netip.ParseAddr(t); err == nil && a.Zone() == "" {
			b := a.As16()
			return Value{Type: to, S: string(b[:])}, nil
		}
		if t == "" {
			return Value{Type: to}, nil
		}
	case schema.Bytes:
		return Value{Type: to, S: s}, nil
	}
	return Value{}, bad()
}

func clip(s string) string {
	if len(s) > 60 {
		return s[:60] + "..."
	}
	return s
}

// MakeInterval is an interval of calendar months, days of 24 hours and nanoseconds.
func MakeInterval(months, days, nanos int64) (Value, error) {
	const day = int64(24 * time.Hour)
	if days > math.MaxInt64/day || days < math.MinInt64/day {
		return Value{}, errOverflow(schema.Interval)
	}
	n := days*day + nanos
	if (days*day^n)&(nanos^n) < 0 {
		return Value{}, errOverflow(schema.Interval)
	}
	return Value{Type: schema.Interval, I: n, Months: months}, nil
}

var timeLayouts = []string{
	"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07", "2006-01-02T15:04:05",
	"2006-01-02T15:04Z07:00", "2006-01-02T15:04", "2006-01-02",
}

// ParseTime reads a time as RFC 3339 or as PostgreSQL prints it, in Unix nanoseconds; loc is the zone of a text that
// names none. Times outside the years 1678 to 2261 are not ok.
func ParseTime(s string, loc *time.Location) (nanos int64, ok bool) {
	if len(s) > 10 && s[10] == ' ' {
		s = s[:10] + "T" + s[11:]
	}
	s = strings.Replace(s, " +", "+", 1)
	if u, found := strings.CutSuffix(s, " UTC"); found {
		s = u + "Z"
	}
	for _, layout := range timeLayouts {
		t, err := time.ParseInLocation(layout, s, loc)
		if err != nil {
			continue
		}
		if y := t.Year(); y < 1678 || y > 2261 {
			return 0, false
		}
		return t.UnixNano(), true
	}
	return 0, false
}

// castEval casts numbers as vectors.
type castEval struct {
	x   evaluator
	to  schema.Type
	out batch.Vector
}

func compileCast(e *Cast, env *Env) evaluator {
	from := e.X.Type()
	if from == e.Typ || from == schema.Integer && e.Typ == schema.BigInt ||
		from == schema.Boolean && isInteger(e.Typ) || from == schema.Varchar && e.Typ == schema.Bytes {
		return &retypeEval{x: compile(e.X, env), to: e.Typ}
	}
	if isInteger(from) && e.Typ == schema.Double {
		return &castEval{x: compile(e.X, env), to: e.Typ}
	}
	to, try := e.Typ, e.Try
	if from == schema.TagSet && to.Physical() == schema.Code {
		return &tagSetEval{x: compile(e.X, env), env: env, to: to}
	}
	return newRowEval(func(a []Value) (Value, error) {
		v, err := CastValue(a[0], to)
		if err != nil && try {
			return NullValue(to), nil
		}
		return v, err
	}, []Expr{e.X}, to, false, env)
}

func (e *castEval) eval(b *batch.Batch) (*batch.Vector, error) {
	v, err := e.x.eval(b)
	if err != nil {
		return nil, err
	}
	e.out.Reset(e.to, b.N)
	e.out.Valid = v.Valid
	for i, x := range v.I64[:b.N] {
		e.out.F64[i] = float64(x)
	}
	return &e.out, nil
}

// retypeEval changes the type of a vector whose physical form stays.
type retypeEval struct {
	x   evaluator
	to  schema.Type
	out batch.Vector
}

func (e *retypeEval) eval(b *batch.Batch) (*batch.Vector, error) {
	v, err := e.x.eval(b)
	if err != nil {
		return nil, err
	}
	e.out = *v
	e.out.Type = e.to
	return &e.out, nil
}

// tagSetEval writes tag sets out, as maps or as text; each set once per batch.
type tagSetEval struct {
	x    evaluator
	env  *Env
	to   schema.Type
	seen map[uint32]uint32 // id -> entry of dict
	dict growDict
	out  batch.Vector
}

func (e *tagSetEval) eval(b *batch.Batch) (*batch.Vector, error) {
	v, err := e.x.eval(b)
	if err != nil {
		return nil, err
	}
	if e.seen == nil || len(e.dict.data) > maxText {
		e.seen = map[uint32]uint32{}
		e.dict.reset()
	}
	e.out.Reset(e.to, b.N)
	e.out.Valid = v.Valid
	for i, id := range v.Codes[:b.N] {
		k, ok := e.seen[id]
		if !ok {
			set := e.env.TagSet(id)
			if e.to == schema.Varchar {
				set = appendMap(nil, string(set))
			}
			k = e.dict.addBytes(set)
			e.seen[id] = k
		}
		e.out.Codes[i] = k
	}
	e.out.Dict = e.dict.dict()
	return &e.out, nil
}
