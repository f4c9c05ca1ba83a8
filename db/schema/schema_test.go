package schema

import (
	"strings"
	"testing"
)

func TestBuiltinColumnsAreDescribed(t *testing.T) {
	for _, tab := range Builtin().Tables() {
		if tab.Doc == "" {
			t.Errorf("table %s has no description", tab.Name)
		}
		for i, c := range tab.Columns {
			if c.Doc == "" {
				t.Errorf("%s.%s has no description", tab.Name, c.Name)
			}
			if strings.HasSuffix(c.Name, "_us") != (c.Unit == "us") {
				t.Errorf("%s.%s: unit %q does not fit the suffix", tab.Name, c.Name, c.Unit)
			}
			if tab.Column(c.Name) != i {
				t.Errorf("%s.%s: Column = %d, want %d", tab.Name, c.Name, tab.Column(c.Name), i)
			}
		}
		if tab.Columns[tab.TimeColumn].Name != "time" || len(tab.Sort) == 0 {
			t.Errorf("table %s: time column %d, sort %v", tab.Name, tab.TimeColumn, tab.Sort)
		}
	}
}

func TestNewRefusesBrokenDefinitions(t *testing.T) {
	tm := Column{Name: "time", Type: Timestamp, Role: Time}
	f := func(want string, sort []string, cols ...Column) {
		t.Helper()
		_, err := New(Table{Name: "t", Columns: cols}, sort...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want an error with %q", err, want)
		}
	}
	f("no time column", nil, Column{Name: "a", Type: BigInt})
	f("duplicate", nil, tm, Column{Name: "a", Type: BigInt}, Column{Name: "a", Type: BigInt})
	f("no stored type", nil, tm, Column{Name: "a"})
	f("only numbers", nil, tm, Column{Name: "a", Type: Varchar, Nullable: true})
	f("one time column", nil, tm, Column{Name: "b", Type: Timestamp, Role: Time})
	f("one time column", nil, Column{Name: "b", Type: BigInt, Role: Time})
	f("sort column", []string{"zz"}, tm)
}

func TestSortBucket(t *testing.T) {
	f := Flows()
	if f.Sort[0].Bucket != 600e9 || f.Sort[0].Column != f.TimeColumn {
		t.Fatalf("first sort term %+v", f.Sort[0])
	}
}

func TestRegistry(t *testing.T) {
	r := Builtin()
	if _, ok := r.Table("flows"); !ok {
		t.Fatal("no table flows")
	}
	if _, ok := r.Table("nope"); ok {
		t.Fatal("a table that is not there")
	}
	if _, err := NewRegistry(Flows(), Flows()); err == nil {
		t.Fatal("the same table twice was accepted")
	}
	ts := r.Tables()
	for i := 1; i < len(ts); i++ {
		if ts[i-1].Name >= ts[i].Name {
			t.Fatal("tables are not sorted by name")
		}
	}
}
