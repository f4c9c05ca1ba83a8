package exec

import (
	"bytes"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Matcher compiles the pattern of e into a condition on one text; it is safe for concurrent use. e.Not is not applied.
func Matcher(e *Match) (func(v []byte) bool, error) {
	switch e.Kind {
	case Like:
		return likeMatcher(e.Pattern, e.Escape)
	case ILike:
		f, err := likeRegexp(e.Pattern, e.Escape, "(?is)")
		if err != nil {
			return nil, err
		}
		return f.Match, nil
	}
	p := e.Pattern
	if e.Kind == IRegex {
		p = "(?i)" + p
	}
	re, err := regexp.Compile(p)
	if err != nil {
		return nil, runErrorf(stateBadRegex, "invalid regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	return re.Match, nil
}

// likeMatcher turns the usual shapes of LIKE into comparisons of bytes and the rest into a regular expression.
func likeMatcher(pattern, escape string) (func([]byte) bool, error) {
	if lit, shape, ok := likeShape(pattern, escape); ok {
		want := []byte(lit)
		switch shape {
		case likeExact:
			return func(v []byte) bool { return bytes.Equal(v, want) }, nil
		case likePrefix:
			return func(v []byte) bool { return bytes.HasPrefix(v, want) }, nil
		case likeSuffix:
			return func(v []byte) bool { return bytes.HasSuffix(v, want) }, nil
		default:
			return func(v []byte) bool { return bytes.Contains(v, want) }, nil
		}
	}
	re, err := likeRegexp(pattern, escape, "(?s)")
	if err != nil {
		return nil, err
	}
	return re.Match, nil
}

type likeKind uint8

const (
	likeExact likeKind = iota
	likePrefix
	likeSuffix
	likeInfix
)

// likeShape recognises x, x%, %x and %x% where x has no wildcard or escape.
func likeShape(pattern, escape string) (lit string, shape likeKind, ok bool) {
	lit = pattern
	if strings.HasPrefix(lit, "%") {
		lit, shape = lit[1:], likeSuffix
	}
	if strings.HasSuffix(lit, "%") {
		lit = lit[:len(lit)-1]
		if shape == likeSuffix {
			shape = likeInfix
		} else {
			shape = likePrefix
		}
	}
	if strings.ContainsAny(lit, "%_") || escape != "" && strings.Contains(pattern, escape) {
		return "", 0, false
	}
	return lit, shape, true
}

func likeRegexp(pattern, escape, flags string) (*regexp.Regexp, error) {
	esc, _ := utf8.DecodeRuneInString(escape)
	var b strings.Builder
	b.WriteString(flags + "^")
	quoted := false
	for _, r := range pattern {
		switch {
		case quoted:
			b.WriteString(regexp.QuoteMeta(string(r)))
			quoted = false
		case escape != "" && r == esc:
			quoted = true
		case r == '%':
			b.WriteString(".*")
		case r == '_':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	if quoted {
		return nil, runErrorf("22025", "LIKE pattern must not end with the escape character")
	}
	b.WriteString("$")
	re, err := regexp.Compile(b.String())
	if err != nil {
		return nil, runErrorf(stateBadRegex, "LIKE pattern is too long or malformed")
	}
	return re, nil
}

// LikePrefix is the literal start of a LIKE pattern of the shape x%, for index look-ups.
func LikePrefix(pattern, escape string) (prefix string, exact, ok bool) {
	lit, shape, ok := likeShape(pattern, escape)
	if !ok || shape == likeSuffix || shape == likeInfix {
		return "", false, false
	}
	return lit, shape == likeExact, true
}
