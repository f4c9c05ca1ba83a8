package exec

import (
	"encoding/binary"
	"math"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/flowlake/flowlake/db/schema"
)

const (
	tBool  = schema.Boolean
	tInt   = schema.BigInt
	tFloat = schema.Double
	tTime  = schema.Timestamp
	tIvl   = schema.Interval
	tText  = schema.Varchar
	tInet  = schema.Inet
)

func sig(ret schema.Type, row rowFunc, args ...schema.Type) *Overload {
	return &Overload{Args: args, Ret: ret, Row: row}
}

func text1(f func(string) string) rowFunc {
	return func(a []Value) (Value, error) { return TextValue(f(a[0].S)), nil }
}

// maxText bounds the text that one call may make, in bytes.
const maxText = 16 << 20

func init() {
	text := func(name, signature, doc string, ov []*Overload, aliases ...string) {
		register(&Func{Name: name, Signature: signature, Group: "text", Doc: doc, Overloads: ov}, aliases...)
	}
	text("lower", "lower(text)", "the text in lower case", []*Overload{sig(tText, text1(strings.ToLower), tText)})
	text("upper", "upper(text)", "the text in upper case", []*Overload{sig(tText, text1(strings.ToUpper), tText)})
	text("length", "length(text)", "number of characters", []*Overload{sig(tInt, func(a []Value) (Value, error) {
		return IntValue(int64(utf8.RuneCountInString(a[0].S))), nil
	}, tText)}, "char_length", "character_length")
	text("octet_length", "octet_length(text)", "number of bytes", []*Overload{sig(tInt, func(a []Value) (Value, error) {
		return IntValue(int64(len(a[0].S))), nil
	}, tText)})
	text("reverse", "reverse(text)", "the characters in reverse order", []*Overload{sig(tText, text1(reverse), tText)})
	text("substr", "substr(text, from [, count])", "part of a text; the first character is 1",
		[]*Overload{sig(tText, substr, tText, tInt), sig(tText, substr, tText, tInt, tInt)}, "substring")
	text("left", "left(text, n)", "the first n characters; all but the last -n when n is negative", []*Overload{sig(tText, leftN, tText, tInt)})
	text("right", "right(text, n)", "the last n characters; all but the first -n when n is negative", []*Overload{sig(tText, rightN, tText, tInt)})
	text("replace", "replace(text, from, to)", "the text with every from replaced by to", []*Overload{sig(tText, replaceText, tText, tText, tText)})
	text("trim", "trim(text [, characters])", "the text without blanks (or the characters) at both ends", trims(strings.Trim), "btrim")
	text("ltrim", "ltrim(text [, characters])", "the text without blanks (or the characters) at its start", trims(strings.TrimLeft))
	text("rtrim", "rtrim(text [, characters])", "the text without blanks (or the characters) at its end", trims(strings.TrimRight))
	text("split_part", "split_part(text, separator, n)", "field n of the text, from 1, or from the end when n is negative",
		[]*Overload{sig(tText, splitPart, tText, tText, tInt)})
	text("strpos", "strpos(text, part)", "where part starts, from 1; 0 when it is not there", []*Overload{sig(tInt, strpos, tText, tText)}, "position")
	text("starts_with", "starts_with(text, prefix)", "whether the text starts with prefix", []*Overload{sig(tBool, func(a []Value) (Value, error) {
		return BoolValue(strings.HasPrefix(a[0].S, a[1].S)), nil
	}, tText, tText)})
	text("ends_with", "ends_with(text, suffix)", "whether the text ends with suffix", []*Overload{sig(tBool, func(a []Value) (Value, error) {
		return BoolValue(strings.HasSuffix(a[0].S, a[1].S)), nil
	}, tText, tText)})
	text("contains", "contains(text, part)", "whether part occurs in the text", []*Overload{sig(tBool, func(a []Value) (Value, error) {
		return BoolValue(strings.Contains(a[0].S, a[1].S)), nil
	}, tText, tText)})
	text("concat", "concat(value, ...)", "the values as one text; NULLs count as ''",
		[]*Overload{{Args: []schema.Type{Any}, Variadic: true, Ret: tText, Row: concat, CalledOnNull: true}})
	text("lpad", "lpad(text, length [, fill])", "the text filled at its start to a length, or cut", pads(true))
	text("rpad", "rpad(text, length [, fill])", "the text filled at its end to a length, or cut", pads(false))
	text("repeat", "repeat(text, n)", "the text n times", []*Overload{sig(tText, repeatText, tText, tInt)})
	text("regexp_replace", "regexp_replace(text, pattern, replacement)", "every match of the pattern replaced; \\1 is the first group",
		[]*Overload{sig(tText, regexpReplace, tText, tText, tText)})
	text("regexp_extract", "regexp_extract(text, pattern)", "the first group of the first match, or the match; NULL without one",
		[]*Overload{sig(tText, regexpExtract, tText, tText)}, "regexp_substr")
	// the parser's operators with patterns that are not constant
	registerHidden("not_empty", sig(tText, func(a []Value) (Value, error) {
		if a[0].S == "" {
			return NullValue(tText), nil
		}
		return a[0], nil
	}, tText))
	registerHidden("like", sig(tBool, dynamicMatch(Like), tText, tText, tText))
	registerHidden("ilike", sig(tBool, dynamicMatch(ILike), tText, tText, tText))
	registerHidden("regex", sig(tBool, dynamicMatch(Regex), tText, tText, tText))
	registerHidden("iregex", sig(tBool, dynamicMatch(IRegex), tText, tText, tText))
}

// hidden are functions that operators bind to and nobody calls by name.
var hidden = map[string]*Func{}

func registerHidden(name string, ov ...*Overload) {
	hidden[name] = &Func{Name: name, Overloads: ov}
}

// OperatorFunc is the function behind an operator.
func OperatorFunc(name string) *Func { return hidden[name] }

func reverse(s string) string {
	r := []rune(s)
	for i, j := 0, len(r)-1; i < j; i, j = i+1, j-1 {
		r[i], r[j] = r[j], r[i]
	}
	return string(r)
}

// runeSlice is characters [from, to) of s, cut to what there is.
func runeSlice(s string, from, to int64) string {
	if from >= to {
		return ""
	}
	start, n := -1, int64(0)
	for i := range s {
		if n == from {
			start = i
		}
		if n == to {
			return s[start:i]
		}
		n++
	}
	if start < 0 {
		return ""
	}
	return s[start:]
}

func substr(a []Value) (Value, error) {
	from, to := a[1].I-1, int64(len(a[0].S))+1
	if len(a) > 2 {
		if a[2].I < 0 {
			return Value{}, runErrorf(stateBadArgument, "negative substring length not allowed")
		}
		if to = from + a[2].I; to < from {
			to = int64(len(a[0].S)) + 1
		}
	}
	return TextValue(runeSlice(a[0].S, max(from, 0), max(to, 0))), nil
}

func leftN(a []Value) (Value, error) {
	n := a[1].I
	if n < 0 {
		n = max(int64(utf8.RuneCountInString(a[0].S))+max(n, -math.MaxInt64), 0)
	}
	return TextValue(runeSlice(a[0].S, 0, n)), nil
}

func rightN(a []Value) (Value, error) {
	have := int64(utf8.RuneCountInString(a[0].S))
	from := have - a[1].I
	if a[1].I < 0 {
		from = min(-max(a[1].I, -math.MaxInt64), have)
	}
	return TextValue(runeSlice(a[0].S, max(from, 0), have)), nil
}

func replaceText(a []Value) (Value, error) {
	if a[1].S == "" {
		return a[0], nil
	}
	if len(a[2].S) > len(a[1].S) && len(a[0].S)+strings.Count(a[0].S, a[1].S)*(len(a[2].S)-len(a[1].S)) > maxText {
		return Value{}, errTooLong()
	}
	return TextValue(strings.ReplaceAll(a[0].S, a[1].S, a[2].S)), nil
}

func errTooLong() error {
	return runErrorf(stateLimit, "the text would be longer than %s", FormatBytes(maxText))
}

func trims(f func(s, cut string) string) []*Overload {
	row := func(a []Value) (Value, error) {
		cut := " "
		if len(a) > 1 {
			cut = a[1].S
		}
		return TextValue(f(a[0].S, cut)), nil
	}
	return []*Overload{sig(tText, row, tText), sig(tText, row, tText, tText)}
}

func splitPart(a []Value) (Value, error) {
	n := a[2].I
	if n == 0 {
		return Value{}, runErrorf(stateBadArgument, "field position must not be zero")
	}
	s, sep := a[0].S, a[1].S
	if sep == "" {
		if n == 1 || n == -1 {
			return a[0], nil
		}
		return TextValue(""), nil
	}
	have := int64(strings.Count(s, sep)) + 1
	if n < 0 {
		n += have + 1
	}
	if n < 1 || n > have {
		return TextValue(""), nil
	}
	for ; n > 1; n-- {
		_, s, _ = strings.Cut(s, sep)
	}
	s, _, _ = strings.Cut(s, sep)
	return TextValue(s), nil
}

func strpos(a []Value) (Value, error) {
	i := strings.Index(a[0].S, a[1].S)
	if i < 0 {
		return IntValue(0), nil
	}
	return IntValue(int64(utf8.RuneCountInString(a[0].S[:i])) + 1), nil
}

func concat(a []Value) (Value, error) {
	var b []byte
	for _, v := range a {
		if !v.Null {
			b = AppendText(b, v)
		}
	}
	if len(b) > maxText {
		return Value{}, errTooLong()
	}
	return TextValue(string(b)), nil
}

func pads(start bool) []*Overload {
	row := func(a []Value) (Value, error) {
		s, fill := a[0].S, " "
		if len(a) > 2 {
			fill = a[2].S
		}
		have := int64(utf8.RuneCountInString(s))
		missing := a[1].I - have
		if missing <= 0 || fill == "" {
			return TextValue(runeSlice(s, 0, min(a[1].I, have))), nil
		}
		if missing > maxText/4 {
			return Value{}, errTooLong()
		}
		n := int64(utf8.RuneCountInString(fill))
		pad := runeSlice(strings.Repeat(fill, int(missing/n)+1), 0, missing)
		if start {
			return TextValue(pad + s), nil
		}
		return TextValue(s + pad), nil
	}
	return []*Overload{sig(tText, row, tText, tInt), sig(tText, row, tText, tInt, tText)}
}

func repeatText(a []Value) (Value, error) {
	n := max(a[1].I, 0)
	if len(a[0].S) > 0 && n > maxText/int64(len(a[0].S)) {
		return Value{}, errTooLong()
	}
	if a[0].S == "" {
		return a[0], nil
	}
	return TextValue(strings.Repeat(a[0].S, int(n))), nil
}

func compileRegex(p string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(p)
	if err != nil {
		return nil, runErrorf(stateBadRegex, "invalid regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re, nil
}

var groupRef = regexp.MustCompile(`\\([0-9&])`)

func regexpReplace(a []Value) (Value, error) {
	re, err := compileRegex(a[1].S)
	if err != nil {
		return Value{}, err
	}
	to := strings.ReplaceAll(a[2].S, "$", "$$")
	to = groupRef.ReplaceAllStringFunc(to, func(m string) string {
		if m == `\&` {
			m = `\0`
		}
		return "${" + m[1:] + "}"
	})
	out := re.ReplaceAllString(a[0].S, to)
	if len(out) > maxText {
		return Value{}, errTooLong()
	}
	return TextValue(out), nil
}

func regexpExtract(a []Value) (Value, error) {
	re, err := compileRegex(a[1].S)
	if err != nil {
		return Value{}, err
	}
	m := re.FindStringSubmatch(a[0].S)
	if m == nil {
		return NullValue(tText), nil
	}
	if len(m) > 1 {
		return TextValue(m[1]), nil
	}
	return TextValue(m[0]), nil
}

func dynamicMatch(kind MatchKind) rowFunc {
	return func(a []Value) (Value, error) {
		f, err := Matcher(&Match{Kind: kind, Pattern: a[1].S, Escape: a[2].S})
		if err != nil {
			return Value{}, err
		}
		return BoolValue(f([]byte(a[0].S))), nil
	}
}

// appendMap prints a map or tag set ("uvarint length, bytes" of keys and values in turn) as {key: value, ...}.
func appendMap(dst []byte, enc string) []byte {
	dst = append(dst, '{')
	b := []byte(enc)
	next := func() ([]byte, bool) {
		n, w := binary.Uvarint(b)
		if w <= 0 || n > uint64(len(b)-w) {
			return nil, false
		}
		v := b[w : w+int(n)]
		b = b[w+int(n):]
		return v, true
	}
	for first := true; len(b) > 0; first = false {
		k, ok := next()
		v, ok2 := next()
		if !ok || !ok2 {
			break
		}
		if !first {
			dst = append(dst, ", "...)
		}
		dst = append(append(append(dst, k...), ": "...), v...)
	}
	return append(dst, '}')
}
