package capture

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"strings"
)

// Selection is a set of interfaces by their names: those there are and those that come later.
type Selection struct {
	text          string
	with, without []func(name string) bool
}

// errPattern begins every complaint about patterns.
var errPattern = errors.New("interface pattern")

// ParseSelection reads patterns. Each is a name, a pattern with * ? [a-z] as in a shell, or a regular expression between
// slashes; "any" is every interface. One that begins with ! leaves out what it matches, whatever the others say; when there
// are no others, every other interface is in the set.
func ParseSelection(patterns []string) (*Selection, error) {
	s := &Selection{text: strings.Join(patterns, ",")}
	for _, text := range patterns {
		p, out := strings.CutPrefix(text, "!")
		match, err := pattern(p)
		if err != nil {
			return nil, fmt.Errorf("%w %q: %w", errPattern, text, err)
		}
		if out {
			s.without = append(s.without, match)
		} else {
			s.with = append(s.with, match)
		}
	}
	return s, nil
}

func pattern(p string) (func(string) bool, error) {
	switch {
	case p == "":
		return nil, errors.New("is empty")
	case p == AnyInterface:
		return func(string) bool { return true }, nil
	case strings.HasPrefix(p, "/"):
		text, ok := strings.CutSuffix(p[1:], "/")
		if !ok {
			return nil, errors.New("a regular expression ends with a slash")
		}
		re, err := regexp.Compile(text)
		if err != nil {
			return nil, err
		}
		return re.MatchString, nil
	}
	if _, err := path.Match(p, ""); err != nil {
		return nil, err
	}
	return func(name string) bool { ok, _ := path.Match(p, name); return ok }, nil
}

// IsPattern says whether an entry is more than a plain name of an interface.
func IsPattern(s string) bool {
	return strings.HasPrefix(s, "!") || strings.HasPrefix(s, "/") || strings.ContainsAny(s, `*?[\`)
}

// Match says whether the interface is in the set.
func (s *Selection) Match(name string) bool {
	for _, m := range s.without {
		if m(name) {
			return false
		}
	}
	for _, m := range s.with {
		if m(name) {
			return true
		}
	}
	return len(s.with) == 0
}

// String lists the patterns.
func (s *Selection) String() string { return s.text }
