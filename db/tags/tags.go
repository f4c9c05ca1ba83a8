// Package tags interns tag sets: each distinct set of (key, value) pairs gets a small dense id, and an index over the ids
// answers which sets have a value, for one writer and any number of readers that never wait.
//
// The encodings and their limits are in docs/format/tags.md.
package tags

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Limits of one set.
const (
	MaxKeys       = 256      // pairs
	MaxKeyBytes   = 256      // bytes of a key
	MaxValueBytes = 4 << 10  // bytes of a value
	MaxSetBytes   = 64 << 10 // bytes of the encoding
)

var (
	// ErrMalformed is returned when bytes are not the canonical encoding of a tag set.
	ErrMalformed = errors.New("tags: malformed tag set")
	// ErrNotUTF8 is returned for a key or value that is not UTF-8: other engines read tags as text.
	ErrNotUTF8 = errors.New("tags: not UTF-8")
	// ErrTooManyKeys is returned when a set has more than MaxKeys pairs.
	ErrTooManyKeys = errors.New("tags: too many keys in a tag set")
	// ErrKeyTooLong is returned when a key has more than MaxKeyBytes bytes.
	ErrKeyTooLong = errors.New("tags: key too long")
	// ErrValueTooLong is returned when a value has more than MaxValueBytes bytes.
	ErrValueTooLong = errors.New("tags: value too long")
	// ErrSetTooLong is returned when an encoding has more than MaxSetBytes bytes.
	ErrSetTooLong = errors.New("tags: tag set too long")
	// ErrTooManySets is returned when one more set, its bytes, keys or values would pass the store's Limits: as a LimitError.
	ErrTooManySets = errors.New("tags: too many tag sets")
	// ErrOrder is returned when a loaded set's id is not the next one.
	ErrOrder = errors.New("tags: id out of order")
	// ErrDuplicate is returned when a loaded set is in the store already under another id.
	ErrDuplicate = errors.New("tags: duplicate tag set")
)

// Tag is one pair.
type Tag struct{ Key, Value string }

// AppendSet appends the canonical encoding of the tags, which need no order. Empty values are left out; of two tags with the
// same key the last counts. Limits are not checked here: Valid and Intern do. The tags slice is not changed.
func AppendSet(dst []byte, tags ...Tag) []byte {
	sorted := true
	for i := 1; i < len(tags); i++ {
		if tags[i-1].Key >= tags[i].Key {
			sorted = false
			break
		}
	}
	if sorted {
		for i := range tags {
			dst = appendTag(dst, &tags[i])
		}
		return dst
	}
	var room [64]int
	order := room[:0]
	for i := range tags {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(tags[a].Key, tags[b].Key) })
	for i, at := range order {
		if i+1 < len(order) && tags[order[i+1]].Key == tags[at].Key {
			continue
		}
		dst = appendTag(dst, &tags[at])
	}
	return dst
}

func appendTag(dst []byte, t *Tag) []byte {
	if t.Value == "" || t.Key == "" {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(t.Key)))
	dst = append(dst, t.Key...)
	dst = binary.AppendUvarint(dst, uint64(len(t.Value)))
	return append(dst, t.Value...)
}

// AppendTag appends one pair to an encoding under construction. The caller appends pairs in ascending order of key; a pair
// with an empty key or value is left out.
func AppendTag(dst, key, value []byte) []byte {
	if len(key) == 0 || len(value) == 0 {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(len(key)))
	dst = append(dst, key...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// next splits the first pair off an encoding. ok is false when it is cut short or a length is not in its shortest form.
func next(enc []byte) (key, value, rest []byte, ok bool) {
	if key, rest, ok = nextString(enc); !ok {
		return nil, nil, nil, false
	}
	value, rest, ok = nextString(rest)
	return key, value, rest, ok
}

func nextString(enc []byte) (s, rest []byte, ok bool) {
	if len(enc) > 0 && enc[0] < 0x80 {
		n := int(enc[0]) + 1
		if n > len(enc) {
			return nil, nil, false
		}
		return enc[1:n:n], enc[n:], true
	}
	size, n := binary.Uvarint(enc)
	if n <= 0 || enc[n-1] == 0 || size > uint64(len(enc)-n) {
		return nil, nil, false
	}
	end := n + int(size)
	return enc[n:end:end], enc[end:], true
}

// Valid reports why enc is not the canonical encoding of a tag set within the limits, nil if it is.
func Valid(enc []byte) error {
	if len(enc) > MaxSetBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrSetTooLong, len(enc), MaxSetBytes)
	}
	var prev []byte
	for n := 0; len(enc) > 0; n++ {
		key, value, rest, ok := next(enc)
		switch {
		case !ok:
			return fmt.Errorf("%w: pair %d is cut short", ErrMalformed, n)
		case n == MaxKeys:
			return fmt.Errorf("%w: at most %d", ErrTooManyKeys, MaxKeys)
		case len(key) > MaxKeyBytes:
			return fmt.Errorf("%w: %d bytes, at most %d", ErrKeyTooLong, len(key), MaxKeyBytes)
		case len(value) > MaxValueBytes:
			return fmt.Errorf("%w: %q has %d bytes, at most %d", ErrValueTooLong, key, len(value), MaxValueBytes)
		case len(key) == 0 || len(value) == 0:
			return fmt.Errorf("%w: pair %d has an empty key or value", ErrMalformed, n)
		case !utf8.Valid(key) || !utf8.Valid(value):
			return fmt.Errorf("%w: %q", ErrNotUTF8, key)
		case bytes.Compare(prev, key) >= 0:
			return fmt.Errorf("%w: key %q after %q", ErrMalformed, key, prev)
		}
		prev, enc = key, rest
	}
	return nil
}

// Each calls f for every pair of an encoding, in order of key. The slices are parts of enc. It fails with ErrMalformed where
// the encoding is cut short, after calling f for what comes before.
func Each(enc []byte, f func(key, value []byte)) error {
	for len(enc) > 0 {
		key, value, rest, ok := next(enc)
		if !ok {
			return ErrMalformed
		}
		f(key, value)
		enc = rest
	}
	return nil
}

// Get returns the value of a key, a part of enc.
func Get(enc []byte, key string) (value []byte, ok bool) {
	for len(enc) > 0 {
		k, v, rest, ok := next(enc)
		if !ok {
			return nil, false
		}
		if string(k) == key {
			return v, true
		}
		if string(k) > key {
			return nil, false
		}
		enc = rest
	}
	return nil, false
}
