package schema

import (
	"cmp"
	"fmt"
	"slices"
)

// Registry is an immutable set of tables, and of the rollups among them, by name.
type Registry struct {
	tables  []*Table
	byName  map[string]*Table
	rollups []*Rollup
}

// NewRegistry makes a registry; names must be unique.
func NewRegistry(tables ...*Table) (*Registry, error) {
	r := &Registry{byName: make(map[string]*Table, len(tables))}
	for _, t := range tables {
		if _, dup := r.byName[t.Name]; dup {
			return nil, fmt.Errorf("table %s is defined twice", t.Name)
		}
		r.byName[t.Name] = t
		r.tables = append(r.tables, t)
	}
	slices.SortFunc(r.tables, func(a, b *Table) int { return cmp.Compare(a.Name, b.Name) })
	return r, nil
}

// Table is the named table; ok is false where there is none.
func (r *Registry) Table(name string) (t *Table, ok bool) { t, ok = r.byName[name]; return }

// Tables lists all tables by name, those that rollups fill among them.
func (r *Registry) Tables() []*Table { return slices.Clone(r.tables) }

// Rollup is the rollup that fills the named table; ok is false where there is none.
func (r *Registry) Rollup(name string) (u *Rollup, ok bool) {
	for _, u := range r.rollups {
		if u.Def.Name == name {
			return u, true
		}
	}
	return nil, false
}

// Rollups lists the rollups by name.
func (r *Registry) Rollups() []*Rollup { return slices.Clone(r.rollups) }

// With is r with a rollup and the table that it fills. The definition is checked as NewRollup says, its name as CheckName.
func (r *Registry) With(def RollupDef) (*Registry, error) {
	if _, ok := r.Rollup(def.Name); ok {
		return nil, fmt.Errorf("%w: %s", ErrRollupExists, def.Name)
	}
	u, err := NewRollup(def, r)
	if err != nil {
		return nil, err
	}
	out, err := NewRegistry(append(r.Tables(), u.Target)...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRollupDef, err)
	}
	out.rollups = append(r.Rollups(), u)
	slices.SortFunc(out.rollups, func(a, b *Rollup) int { return cmp.Compare(a.Def.Name, b.Def.Name) })
	return out, nil
}

// Without is r without a rollup and the table that it fills; ErrUnknownRollup when there is none of that name.
func (r *Registry) Without(name string) (*Registry, error) {
	u, ok := r.Rollup(name)
	if !ok {
		return nil, fmt.Errorf("%w: %s", ErrUnknownRollup, name)
	}
	out, err := NewRegistry(slices.DeleteFunc(r.Tables(), func(t *Table) bool { return t == u.Target })...)
	if err != nil {
		return nil, err
	}
	out.rollups = slices.DeleteFunc(r.Rollups(), func(o *Rollup) bool { return o == u })
	return out, nil
}
