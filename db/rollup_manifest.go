package db

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowlake/flowlake/db/schema"
)

// rollupMeta is a rollup as the MANIFEST has it.
type rollupMeta struct {
	schema.RollupDef
	// Created is when it was declared, Unix nanoseconds.
	Created int64 `json:"created"`
	// Total is the number of segments that its source had then; Pending are those of them that are not in it yet.
	Total   int64    `json:"total,omitempty"`
	Pending []string `json:"pending,omitempty"`
}

// rolledMeta says that the rows of some pending segments are in a rollup.
type rolledMeta struct {
	Rollup   string   `json:"rollup"`
	Segments []string `json:"segments"`
}

// waits is the name of a rollup for which a segment is pending, "" when there is none.
func (c *contents) waits(path string) string {
	for _, name := range slices.Sorted(maps.Keys(c.rollups)) {
		if slices.Contains(c.rollups[name].Pending, path) {
			return name
		}
	}
	return ""
}

// waiting are the segments that some rollup waits for.
func (c *contents) waiting() map[string]bool {
	out := map[string]bool{}
	for _, r := range c.rollups {
		for _, p := range r.Pending {
			out[p] = true
		}
	}
	return out
}

// forget takes a segment off all lists of pending ones. Lists are replaced, never changed: clones share them.
func (c *contents) forget(path string) {
	for name, r := range c.rollups {
		if slices.Contains(r.Pending, path) {
			r.Pending = slices.DeleteFunc(slices.Clone(r.Pending), func(p string) bool { return p == path })
			c.rollups[name] = r
		}
	}
}

// applyRollups is the part of apply that is about rollups and retentions.
func (c *contents) applyRollups(e *edit) error {
	for _, r := range e.Rollups {
		if _, dup := c.rollups[r.Name]; dup {
			return fmt.Errorf("rollup %s is added twice", r.Name)
		}
		for _, p := range r.Pending {
			if _, ok := c.segments[p]; !ok {
				return fmt.Errorf("rollup %s waits for segment %s, which is not there", r.Name, p)
			}
		}
		c.rollups[r.Name] = r
	}
	for _, d := range e.Rolled {
		r, ok := c.rollups[d.Rollup]
		if !ok {
			return fmt.Errorf("segments of %s are rolled up, but there is no such rollup", d.Rollup)
		}
		for _, p := range d.Segments {
			i := slices.Index(r.Pending, p)
			if i < 0 {
				return fmt.Errorf("segment %s is rolled up into %s a second time", p, d.Rollup)
			}
			r.Pending = slices.Delete(slices.Clone(r.Pending), i, i+1)
		}
		c.rollups[d.Rollup] = r
	}
	for _, name := range e.DropRollups {
		if _, ok := c.rollups[name]; !ok {
			return fmt.Errorf("rollup %s is dropped but was not there", name)
		}
		delete(c.rollups, name)
		delete(c.retention, name)
		for i := range c.quarantine {
			if c.quarantine[i].Rollup == name {
				c.quarantine[i].Rollup = ""
			}
		}
	}
	for table, keep := range e.Retention {
		c.retention[table] = keep
	}
	return nil
}

// registry is base with the rollups that the MANIFEST declares. Those that base has already must be the same; those whose
// source is not in base are left out and named in the error, beside a registry that has the others.
func (c *contents) registry(base *schema.Registry) (*schema.Registry, error) {
	var first error
	for _, name := range slices.Sorted(maps.Keys(c.rollups)) {
		def := c.rollups[name].RollupDef
		if have, ok := base.Rollup(name); ok {
			if !slices.Equal(have.Def.Keys, def.Keys) || have.Def.Source != def.Source || have.Def.Every != def.Every {
				first = fmt.Errorf("rollup %s: it was stored by another definition", name)
			}
			continue
		}
		next, err := base.With(def)
		if err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		base = next
	}
	return base, first
}
