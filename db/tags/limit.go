package tags

import (
	"fmt"
	"unsafe"
)

// Cause is the limit that refused a set.
type Cause string

// Causes, by the field of Limits.
const (
	CauseSets   Cause = "sets"   // MaxSets
	CauseBytes  Cause = "bytes"  // MaxBytes
	CauseKeys   Cause = "keys"   // MaxKeys
	CauseValues Cause = "values" // MaxValues
)

// Causes are all causes there are.
func Causes() []Cause { return []Cause{CauseSets, CauseBytes, CauseKeys, CauseValues} }

// LimitError says which limit refused a set. It wraps ErrTooManySets.
type LimitError struct {
	Cause Cause
	// Have is the figure as it is, Want what it would become, Limit the most it may be.
	Have, Want, Limit int64
	// Key is the key with the most values, of CauseValues the one whose values are too many; Values is how many it has.
	Key    string
	Values int64
}

// Error implements error.
func (e *LimitError) Error() string {
	what := map[Cause]string{CauseSets: "tag sets", CauseBytes: "bytes of tag sets", CauseKeys: "distinct tag keys"}[e.Cause]
	if e.Cause == CauseValues {
		return fmt.Sprintf("%v: key %q has %d distinct values, would have %d, the limit is %d", ErrTooManySets, e.Key, e.Have, e.Want, e.Limit)
	}
	out := fmt.Sprintf("%v: there are %d %s, would be %d, the limit is %d", ErrTooManySets, e.Have, what, e.Want, e.Limit)
	if e.Key != "" {
		out += fmt.Sprintf("; of all keys %q has the most values: %d", e.Key, e.Values)
	}
	return out
}

// Unwrap implements errors.Unwrap.
func (e *LimitError) Unwrap() error { return ErrTooManySets }

// refuse makes the error of a limit.
func (s *Store) refuse(c Cause, have, want, limit int64) *LimitError {
	e := &LimitError{Cause: c, Have: have, Want: want, Limit: limit}
	for _, k := range *s.list.Load() {
		if n := int64(k.values.n.Load()) - 1; n > e.Values {
			e.Key, e.Values = k.name, n
		}
	}
	return e
}

func (s *Store) refuseValues(k *key, want, limit int64) *LimitError {
	have := int64(k.values.n.Load()) - 1
	return &LimitError{Cause: CauseValues, Have: have, Want: want, Limit: limit, Key: k.name, Values: have}
}

// admit checks the limits for the set of s.pairs; mu is held.
func (s *Store) admit() error {
	l := &s.limits
	if n := int64(s.n.Load()); n >= int64(l.MaxSets) {
		s.refusedSets.Add(1)
		return s.refuse(CauseSets, n, n+1, int64(l.MaxSets))
	}
	if have, more := s.bytes.Load(), s.growth(); have+more > l.MaxBytes {
		s.refusedBytes.Add(1)
		return s.refuse(CauseBytes, have, have+more, l.MaxBytes)
	}
	fresh := 0
	for i := range s.pairs {
		p := &s.pairs[i]
		if p.key == nil {
			fresh++
		} else if n := int(p.key.values.n.Load()); p.code == 0 && n > l.MaxValues { // code 0 is none
			s.refusedValues.Add(1)
			return s.refuseValues(p.key, int64(n), int64(l.MaxValues))
		}
	}
	if n := len(*s.list.Load()); fresh > 0 && n+fresh > l.MaxKeys {
		s.refusedKeys.Add(1)
		return s.refuse(CauseKeys, int64(n), int64(n+fresh), int64(l.MaxKeys))
	}
	return nil
}

// growth is about how many bytes the set of s.pairs will take.
func (s *Store) growth() int64 {
	size := int64(setBytes)
	for i := range s.pairs {
		p := &s.pairs[i]
		size += 6
		if p.key == nil {
			size += keyBytes
		}
		if p.code == 0 {
			size += valueSize(len(p.value))
		}
	}
	return size
}

// Admits says whether the sets that are not in the store yet fit into three quarters of its limits: a check to make before
// they are promised to somebody. The last quarter is for those who were told so at the same time. It fails with what Valid
// says of a set, or with a LimitError; nothing is added or counted.
func (s *Store) Admits(sets [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.limits
	haveSets, haveBytes, haveKeys := int64(s.n.Load()), s.bytes.Load(), int64(len(*s.list.Load()))
	n, size := haveSets, haveBytes
	freshKeys := map[string]bool{}
	s.fresh = append(s.fresh[:0], make([]int32, haveKeys)...)
	for _, enc := range sets {
		known, err := s.resolve(enc)
		if err != nil {
			return err
		}
		if known {
			if _, ok := s.findPairs(); ok || len(enc) == 0 {
				continue
			}
		}
		n++
		size += s.growth()
		for i := range s.pairs {
			switch p := &s.pairs[i]; {
			case p.key == nil:
				freshKeys[string(p.name)] = true
			case p.code == 0:
				s.fresh[p.key.no]++
			}
		}
	}
	maxSets, maxBytes, maxKeys := int64(l.MaxSets)/4*3+3, l.MaxBytes/4*3, int64(l.MaxKeys)/4*3
	if wantKeys := haveKeys + int64(len(freshKeys)); len(freshKeys) > 0 && wantKeys > maxKeys {
		return s.refuse(CauseKeys, haveKeys, wantKeys, maxKeys)
	}
	if err := s.admitsValues(sets); err != nil {
		return err
	}
	switch {
	case n > haveSets && n > maxSets:
		return s.refuse(CauseSets, haveSets, n, maxSets)
	case n > haveSets && size > maxBytes:
		return s.refuse(CauseBytes, haveBytes, size, maxBytes)
	}
	return nil
}

// admitsValues checks MaxValues for Admits. s.fresh is how many values are new by key, those that come twice counted twice:
// they are told apart only for keys of which they might be too many.
func (s *Store) admitsValues(sets [][]byte) error {
	limit := max(int64(s.limits.MaxValues)/4*3, 3)
	for _, k := range *s.list.Load() {
		have := int64(k.values.n.Load()) - 1
		if s.fresh[k.no] == 0 || have+int64(s.fresh[k.no]) <= limit {
			continue
		}
		fresh := map[string]bool{}
		for _, enc := range sets {
			if value, ok := Get(enc, k.name); ok {
				if _, ok := k.values.find(value); !ok {
					fresh[string(value)] = true
				}
			}
		}
		if want := have + int64(len(fresh)); want > limit {
			return s.refuseValues(k, want, limit)
		}
	}
	return nil
}

// bytesOf is s as bytes without a copy, to be read only.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
