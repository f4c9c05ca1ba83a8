package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"github.com/flowlake/flowlake/db/vfs"
)

const (
	stableMagic = "flakestb"
	stableLimit = 1 << 20 // bytes of the file
	stableFixed = 16
)

// Stable is a small durable map in one file, replaced as a whole by each change: for a Raft node's term and vote.
// All methods are safe for concurrent use.
type Stable struct {
	fs   vfs.FS
	path string

	mu    sync.Mutex // guards pairs and fatal
	pairs map[string][]byte
	fatal error
}

// OpenStable opens the file of that path; one that does not exist is empty. fsys nil means vfs.OS. The directory must exist.
func OpenStable(fsys vfs.FS, path string) (*Stable, error) {
	if fsys == nil {
		fsys = vfs.OS
	}
	s := &Stable{fs: fsys, path: path, pairs: map[string][]byte{}}
	b, err := vfs.ReadFile(fsys, path, stableLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if s.pairs, err = parseStable(filepath.Base(path), b); err != nil {
		return nil, err
	}
	// The rename that made it may still be in the page cache only.
	if err := vfs.SyncDir(fsys, filepath.Dir(path)); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	return s, nil
}

// Get returns a copy of the value of a key, or ErrNotFound.
func (s *Stable) Get(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.pairs[key]
	if !ok {
		return nil, fmt.Errorf("key %q: %w", key, ErrNotFound)
	}
	return slices.Clone(v), nil
}

// GetUint64 returns what SetUint64 has set, 0 if nothing.
func (s *Stable) GetUint64(key string) (uint64, error) {
	v, err := s.Get(key)
	if errors.Is(err, ErrNotFound) {
		return 0, nil
	}
	if err == nil && len(v) != 8 {
		err = fmt.Errorf("key %q has %d bytes, want 8", key, len(v))
	}
	if err != nil {
		return 0, err
	}
	return le.Uint64(v), nil
}

// Set sets a key, durably on return.
func (s *Stable) Set(key string, value []byte) error { return s.SetAll(map[string][]byte{key: value}) }

// SetUint64 sets a key to a number.
func (s *Stable) SetUint64(key string, v uint64) error {
	return s.Set(key, le.AppendUint64(nil, v))
}

// SetAll sets several keys, all or none; a nil value removes its key. After an error that is not ErrTooLarge the file holds
// the old or the new state and takes no more changes (ErrReadOnly) until it is opened again.
func (s *Stable) SetAll(pairs map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fatal != nil {
		return s.fatal
	}
	next := maps.Clone(s.pairs)
	for k, v := range pairs {
		if v == nil {
			delete(next, k)
		} else {
			next[k] = slices.Clone(v)
		}
	}
	b := appendStable(nil, next)
	if len(b) > stableLimit {
		return fmt.Errorf("set keys of %s: %d bytes, the limit is %d: %w", s.path, len(b), stableLimit, ErrTooLarge)
	}
	if err := vfs.WriteFileAtomic(s.fs, s.path, b); err != nil {
		s.fatal = fmt.Errorf("write %s: %w: %w", s.path, ErrReadOnly, err)
		return s.fatal
	}
	s.pairs = next
	return nil
}

func appendStable(dst []byte, pairs map[string][]byte) []byte {
	dst = append(dst, stableMagic...)
	dst = le.AppendUint32(dst, formatVersion)
	dst = le.AppendUint32(dst, uint32(len(pairs)))
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		dst = le.AppendUint32(dst, uint32(len(k)))
		dst = le.AppendUint32(dst, uint32(len(pairs[k])))
		dst = append(append(dst, k...), pairs[k]...)
	}
	return le.AppendUint32(dst, crc32.Checksum(dst, castagnoli))
}

func parseStable(file string, b []byte) (map[string][]byte, error) {
	corrupt := func(off int, reason string) (map[string][]byte, error) {
		return nil, &CorruptionError{File: file, Offset: int64(off), Reason: reason}
	}
	if len(b) < stableFixed+4 || string(b[:8]) != stableMagic {
		return corrupt(0, "no header")
	}
	if v := le.Uint32(b[8:]); v > formatVersion {
		return nil, fmt.Errorf("%s has format version %d, known is %d: %w", file, v, formatVersion, ErrNewerFormat)
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != le.Uint32(b[len(body):]) {
		return corrupt(len(body), "checksum is wrong")
	}
	pairs, n := map[string][]byte{}, le.Uint32(b[12:])
	off := stableFixed
	for ; n > 0; n-- {
		if len(body)-off < 8 {
			return corrupt(off, "pair is cut off")
		}
		k, v := uint64(le.Uint32(body[off:])), uint64(le.Uint32(body[off+4:]))
		off += 8
		if k+v > uint64(len(body)-off) {
			return corrupt(off, "pair is longer than the file")
		}
		pairs[string(body[off:off+int(k)])] = slices.Clone(body[off+int(k) : off+int(k+v)])
		off += int(k + v)
	}
	if off != len(body) {
		return corrupt(off, "bytes behind the last pair")
	}
	return pairs, nil
}
