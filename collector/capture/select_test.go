package capture

import (
	"strings"
	"testing"
)

func TestSelection(t *testing.T) {
	for _, c := range []struct{ patterns, yes, no string }{
		{"", "eth0 lo", ""},
		{"eth0", "eth0", "eth00 eth1 lo"},
		{"eth*,!eth9", "eth0 eth10", "eth9 lo"},
		{"!veth*,!lo", "eth0 docker0", "veth1 lo"},
		{"any,!lo", "eth0", "lo"},
		{"/^(eth|en)[0-9p]+/", "eth0 enp3s0", "lo xeth0"},
		{"!/^cali/,eth?,cali1", "eth0", "cali1 eth10"},
		{"eth[0-3]", "eth0 eth3", "eth4"},
	} {
		var patterns []string
		if c.patterns != "" {
			patterns = strings.Split(c.patterns, ",")
		}
		s, err := ParseSelection(patterns)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range strings.Fields(c.yes) {
			if !s.Match(name) {
				t.Errorf("%q does not match %s", c.patterns, name)
			}
		}
		for _, name := range strings.Fields(c.no) {
			if s.Match(name) {
				t.Errorf("%q matches %s", c.patterns, name)
			}
		}
		if s.String() != c.patterns {
			t.Errorf("%q is shown as %q", c.patterns, s)
		}
	}
	for _, p := range []string{"", "!", "/eth", "/(/", "[", "eth[", "!/x"} {
		if _, err := ParseSelection([]string{"lo", p}); err == nil || !strings.Contains(err.Error(), "interface pattern") {
			t.Errorf("%q: %v", p, err)
		}
	}
	for p, want := range map[string]bool{"eth0": false, "any": false, "eth*": true, "!lo": true, "/x/": true, "e?": true, "[e]": true} {
		if IsPattern(p) != want {
			t.Errorf("IsPattern(%q) is %v", p, !want)
		}
	}
}
