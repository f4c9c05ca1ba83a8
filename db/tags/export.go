package tags

import (
	"slices"
	"strings"
)

// Column is values that some sets have for one key.
type Column struct {
	Key string
	// IDs are the sets, ascending, and Codes the value of each: that of code c is Data[Offs[c]:Offs[c+1]]. There may be values
	// that none of the sets has.
	IDs   []int64
	Codes []uint32
	Data  []byte
	Offs  []uint32
	// Last says that no other set has the key.
	Last bool
}

// Columns calls f with the values of all sets in [from, to): key after key in ascending order, at most so many sets at a
// time. The column is f's until it returns, but for Data and Offs, which stay as they are.
func (v *View) Columns(from, to uint32, most int, f func(*Column) error) error {
	to = min(to, v.n)
	var keys []*key
	for _, k := range *v.s.list.Load() {
		if k.first < to {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b *key) int { return strings.Compare(a.name, b.name) })
	var c Column
	for _, k := range keys {
		c.Key, c.IDs, c.Codes = k.name, c.IDs[:0], c.Codes[:0]
		var err error
		emit := func() {
			if err == nil && len(c.IDs) > 0 {
				c.values(k)
				err = f(&c)
			}
			c.IDs, c.Codes = c.IDs[:0], c.Codes[:0]
		}
		c.Last = false
		k.eachCode(from, to, func(id, code uint32) {
			if len(c.IDs) == most {
				emit()
			}
			c.IDs, c.Codes = append(c.IDs, int64(id)), append(c.Codes, code)
		})
		c.Last = true
		if emit(); err != nil {
			return err
		}
	}
	return nil
}

// values sets the dictionary, and makes codes of it from those of the key: a part of the key's dictionary if that is about
// as long as the list of sets, otherwise one of its own.
func (c *Column) values(k *key) {
	st := k.values.state.Load()
	lo, hi := slices.Min(c.Codes), slices.Max(c.Codes)
	if int(hi-lo) < 2*len(c.Codes)+64 {
		c.Data, c.Offs = st.data[:st.offs[hi+1]], st.offs[lo:hi+2:hi+2]
		for i := range c.Codes {
			c.Codes[i] -= lo
		}
		return
	}
	own := make(map[uint32]uint32, len(c.Codes))
	c.Data, c.Offs = nil, []uint32{0}
	for i, code := range c.Codes {
		is, ok := own[code]
		if !ok {
			is = uint32(len(own))
			own[code] = is
			c.Data = append(c.Data, st.get(code)...)
			c.Offs = append(c.Offs, uint32(len(c.Data)))
		}
		c.Codes[i] = is
	}
}
