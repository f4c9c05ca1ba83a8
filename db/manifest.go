package db

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"

	"github.com/flowlake/flowlake/db/vfs"
)

// The MANIFEST as docs/format/manifest.md describes it.
const (
	manifestName      = "MANIFEST"
	manifestMagic     = "FLMANIF1"
	manifestMagic2    = "FLMANIF2" // with rollups or retentions, which version 1 does not know
	manifestMagic3    = "FLMANIF3" // with tag files by key, or some that were merged, which versions 1 and 2 do not know
	maxManifestRecord = 64 << 20
	// rewriteBytes is the size past which the MANIFEST is written anew, when that makes it at least four times smaller.
	rewriteBytes = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentMeta is a segment as the MANIFEST names it.
type segmentMeta struct {
	Table    string `json:"table"`
	Path     string `json:"path"` // below the data folder, with forward slashes
	Level    int    `json:"level"`
	Rows     int64  `json:"rows"`
	Bytes    int64  `json:"bytes"`
	MinTime  int64  `json:"min_time"`
	MaxTime  int64  `json:"max_time"`
	MinIndex uint64 `json:"min_index"`
	MaxIndex uint64 `json:"max_index"`
	// Written is when its youngest rows went to disk, Unix nanoseconds: rows are kept for their retention after that, also
	// when they are of old times (an imported capture).
	Written int64 `json:"written"`
}

// tagFile is a file of tag sets with ids in [From, To).
type tagFile struct {
	Path string `json:"path"`
	From uint32 `json:"from"`
	To   uint32 `json:"to"`
	// By is the order of its rows: tagsByKey, or "" for set by set.
	By string `json:"by,omitempty"`
}

const tagsByKey = "key"

// quarantined is a segment set aside because it is damaged.
type quarantined struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
	// Rollup is the rollup whose partial rows it held; "" where it held none or that rollup is gone.
	Rollup string `json:"rollup,omitempty"`
}

// edit is one MANIFEST record.
type edit struct {
	Flushed    uint64        `json:"flushed,omitempty"`
	NextSeq    uint64        `json:"next_seq,omitempty"`
	Add        []segmentMeta `json:"add,omitempty"`
	Drop       []string      `json:"drop,omitempty"`
	Quarantine []quarantined `json:"quarantine,omitempty"`
	Tags       []tagFile     `json:"tags,omitempty"`
	DropTags   []string      `json:"drop_tags,omitempty"`

	Rollups     []rollupMeta     `json:"rollups,omitempty"`
	DropRollups []string         `json:"drop_rollups,omitempty"`
	Rolled      []rolledMeta     `json:"rolled,omitempty"`
	Retention   map[string]int64 `json:"retention,omitempty"`
}

// magic is the header of a MANIFEST with the edit.
func (e *edit) magic() string {
	if len(e.DropTags) > 0 || slices.ContainsFunc(e.Tags, func(f tagFile) bool { return f.By != "" }) {
		return manifestMagic3
	}
	if len(e.Rollups)+len(e.DropRollups)+len(e.Rolled)+len(e.Retention) > 0 {
		return manifestMagic2
	}
	return manifestMagic
}

// contents is what all edits together say.
type contents struct {
	flushed    uint64
	nextSeq    uint64
	segments   map[string]segmentMeta // by path
	quarantine []quarantined
	tags       []tagFile
	rollups    map[string]rollupMeta // by name
	retention  map[string]int64      // by table, nanoseconds
}

func newContents() *contents {
	return &contents{nextSeq: 1, segments: map[string]segmentMeta{}, rollups: map[string]rollupMeta{}, retention: map[string]int64{}}
}

func (c *contents) apply(e *edit) error {
	c.flushed = max(c.flushed, e.Flushed)
	c.nextSeq = max(c.nextSeq, e.NextSeq)
	for _, s := range e.Add {
		if _, dup := c.segments[s.Path]; dup {
			return fmt.Errorf("segment %s is added twice", s.Path)
		}
		c.segments[s.Path] = s
	}
	for _, p := range e.Drop {
		if _, ok := c.segments[p]; !ok {
			return fmt.Errorf("segment %s is dropped but was not there", p)
		}
		if name := c.waits(p); name != "" {
			return fmt.Errorf("segment %s is dropped but rollup %s waits for it", p, name)
		}
		delete(c.segments, p)
	}
	for _, q := range e.Quarantine {
		delete(c.segments, q.Path)
		c.forget(q.Path)
	}
	if err := c.applyRollups(e); err != nil {
		return err
	}
	c.quarantine = append(c.quarantine, e.Quarantine...)
	return c.applyTags(e)
}

func (c *contents) applyTags(e *edit) error {
	for _, p := range e.DropTags {
		i := slices.IndexFunc(c.tags, func(f tagFile) bool { return f.Path == p })
		if i < 0 {
			return fmt.Errorf("tag file %s is dropped but was not there", p)
		}
		c.tags = slices.Delete(c.tags, i, i+1)
	}
	c.tags = append(c.tags, e.Tags...)
	return nil
}

// asEdit is one edit that gives c.
func (c *contents) asEdit() *edit {
	e := &edit{Flushed: c.flushed, NextSeq: c.nextSeq, Quarantine: c.quarantine, Tags: c.tags}
	for _, p := range slices.Sorted(maps.Keys(c.segments)) {
		e.Add = append(e.Add, c.segments[p])
	}
	for _, name := range slices.Sorted(maps.Keys(c.rollups)) {
		e.Rollups = append(e.Rollups, c.rollups[name])
	}
	if len(c.retention) > 0 {
		e.Retention = maps.Clone(c.retention)
	}
	return e
}

// manifest is the open MANIFEST. Not safe for concurrent use: the database's commit lock guards it.
type manifest struct {
	fs  vfs.FS
	dir string
	f   vfs.File
	off int64
	// magic is the header of the file
	magic string
	contents
	// broken is the first write error: the tail of the file is unknown from then on, so the file is rewritten before the
	// next edit.
	broken bool
}

// openManifest reads dir/MANIFEST, or begins one where there is none.
func openManifest(fsys vfs.FS, dir string) (*manifest, error) {
	m := &manifest{fs: fsys, dir: dir, contents: *newContents()}
	name := filepath.Join(dir, manifestName)
	f, err := fsys.OpenReadWrite(name)
	if errors.Is(err, fs.ErrNotExist) {
		if err := refuseLostManifest(fsys, dir); err != nil {
			return nil, err
		}
		return m, m.rewrite()
	} else if err != nil {
		return nil, fmt.Errorf("open manifest: %w", err)
	}
	m.f = f
	if err := m.read(name); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return m, nil
}

// refuseLostManifest tells a first start from a MANIFEST that is gone: then there are files it named.
func refuseLostManifest(fsys vfs.FS, dir string) error {
	for _, sub := range []string{"tables", "tags"} {
		names, err := fsys.List(filepath.Join(dir, sub))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for files of a lost manifest: %w", err)
		}
		if len(names) > 0 {
			return &CorruptionError{File: filepath.Join(dir, manifestName), Reason: "it is missing, but " + sub + " has files"}
		}
	}
	return nil
}

func (m *manifest) read(name string) error {
	st, err := m.f.Stat()
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	off, err := readManifest(m.f, st.Size(), name, func(_ int64, e *edit) error { return m.apply(e) })
	if err != nil {
		return err
	}
	m.off = off
	head := make([]byte, len(manifestMagic))
	if _, err := m.f.ReadAt(head, 0); err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	m.magic = string(head)
	if off < st.Size() { // a torn tail: never acted upon
		if err := m.f.Truncate(off); err != nil {
			return fmt.Errorf("cut the torn tail of %s: %w", name, err)
		}
		if err := m.f.Sync(); err != nil {
			return fmt.Errorf("cut the torn tail of %s: %w", name, err)
		}
	}
	return nil
}

// readManifest calls fn for each whole edit and returns the offset of the end of the last one.
func readManifest(f io.ReaderAt, size int64, name string, fn func(off int64, e *edit) error) (int64, error) {
	bad := func(off int64, reason string) error {
		return &CorruptionError{File: name, Offset: off, Reason: reason}
	}
	head := make([]byte, len(manifestMagic))
	if _, err := f.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %s: %w", name, err)
	}
	if h := string(head); h != manifestMagic && h != manifestMagic2 && h != manifestMagic3 {
		if h[:7] == manifestMagic3[:7] && head[7] > manifestMagic3[7] {
			return 0, fmt.Errorf("%s has version %c, this program knows %c: %w", name, head[7], manifestMagic3[7], ErrNewerFormat)
		}
		return 0, bad(0, "no manifest header")
	}
	off := int64(len(manifestMagic))
	for off < size {
		n, payload, err := readRecord(f, off, size)
		switch {
		case errors.Is(err, errTorn) && off == int64(len(manifestMagic)):
			return off, bad(off, "first record: it was whole before the file got its name")
		case errors.Is(err, errTorn):
			return off, nil
		case errors.Is(err, errDamaged):
			return off, bad(off, "checksum of a record in the middle")
		case err != nil:
			return off, fmt.Errorf("read %s at %d: %w", name, off, err)
		}
		var e edit
		if err := json.Unmarshal(payload, &e); err != nil {
			return off, bad(off, "edit: "+err.Error())
		}
		if err := fn(off, &e); err != nil {
			return off, bad(off, err.Error())
		}
		off += n
	}
	return off, nil
}

var (
	errTorn    = errors.New("torn record")
	errDamaged = errors.New("damaged record")
)

func readRecord(f io.ReaderAt, off, size int64) (n int64, payload []byte, err error) {
	if size-off < 8 {
		return 0, nil, errTorn // too short for a record
	}
	var h [8]byte
	if _, err := f.ReadAt(h[:], off); err != nil {
		return 0, nil, err
	}
	n = int64(binary.LittleEndian.Uint32(h[:]))
	if n > maxManifestRecord || off+8+n > size {
		return 0, nil, tornOrDamaged(f, off, size)
	}
	payload = make([]byte, n)
	if _, err := f.ReadAt(payload, off+8); err != nil {
		return 0, nil, err
	}
	if recordCRC(h[:4], payload) != binary.LittleEndian.Uint32(h[4:]) {
		return 0, nil, tornOrDamaged(f, off, size)
	}
	return 8 + n, payload, nil
}

// tornOrDamaged tells a write that a power cut tore (any part of the last record may be missing, its length too) from
// damage: only after damage can a whole record follow.
func tornOrDamaged(f io.ReaderAt, off, size int64) error {
	if size-off > 2*maxManifestRecord {
		return errDamaged
	}
	rest := make([]byte, size-off)
	if _, err := f.ReadAt(rest, off); err != nil {
		return err
	}
	for i := 1; i+10 <= len(rest); i++ {
		n := int64(binary.LittleEndian.Uint32(rest[i:]))
		end := int64(i) + 8 + n
		if n < 2 || end > int64(len(rest)) || rest[i+8] != '{' || rest[end-1] != '}' {
			continue // quickly, most are
		}
		if recordCRC(rest[i:i+4], rest[i+8:end]) == binary.LittleEndian.Uint32(rest[i+4:]) {
			return errDamaged
		}
	}
	return errTorn
}

func recordCRC(length, payload []byte) uint32 {
	return crc32.Update(crc32.Checksum(length, castagnoli), castagnoli, payload)
}

func appendRecord(dst []byte, e *edit) ([]byte, error) {
	payload, err := json.Marshal(e)
	if err != nil {
		return dst, fmt.Errorf("encode manifest edit: %w", err)
	}
	if len(payload) > maxManifestRecord {
		return dst, fmt.Errorf("encode manifest edit: %d bytes, at most %d", len(payload), maxManifestRecord)
	}
	var h [8]byte
	binary.LittleEndian.PutUint32(h[:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(h[4:], recordCRC(h[:4], payload))
	return append(append(dst, h[:]...), payload...), nil
}

// commit makes an edit durable and applies it. After an error the edit does not count; inDoubt says that it may be on disk
// all the same, until the next commit has rewritten the file without it.
func (m *manifest) commit(e *edit) (inDoubt bool, err error) {
	next := m.clone()
	if err := next.apply(e); err != nil {
		return false, fmt.Errorf("manifest edit: %w", err)
	}
	if magic := e.magic(); m.magic < magic { // a program that does not know such edits must not pass over them
		m.magic, m.broken = magic, true
	}
	if m.broken {
		if err := m.rewrite(); err != nil {
			return false, err
		}
	}
	rec, err := appendRecord(nil, e)
	if err != nil {
		return false, err
	}
	if _, err := m.f.WriteAt(rec, m.off); err != nil {
		m.broken = true
		return true, fmt.Errorf("write manifest: %w", err)
	}
	if err := m.f.Sync(); err != nil {
		m.broken = true
		return true, fmt.Errorf("sync manifest: %w", err)
	}
	m.off += int64(len(rec))
	m.contents = *next
	if m.off > rewriteBytes && m.off > 4*int64(256*(len(m.segments)+len(m.tags)+1)) {
		_ = m.rewrite() // the edit counts already; a file that is too long is written anew another time
	}
	return false, nil
}

func (c *contents) clone() *contents {
	n := *c
	n.segments = maps.Clone(c.segments)
	n.quarantine = slices.Clone(c.quarantine)
	n.tags = slices.Clone(c.tags)
	n.rollups = maps.Clone(c.rollups)
	n.retention = maps.Clone(c.retention)
	return &n
}

// rewrite replaces the file by one whose single edit is the present contents.
func (m *manifest) rewrite() error {
	tmp := filepath.Join(m.dir, "tmp", manifestName)
	e := m.asEdit()
	m.magic = max(m.magic, e.magic())
	f, off, err := createManifest(m.fs, tmp, m.magic, e)
	if err != nil {
		return err
	}
	if err := m.fs.Rename(tmp, filepath.Join(m.dir, manifestName)); err != nil {
		return errors.Join(fmt.Errorf("replace manifest: %w", err), f.Close())
	}
	// from here on the name leads to the new file
	old := m.f
	m.f, m.off, m.broken = f, off, true
	if old != nil {
		if err := old.Close(); err != nil {
			return fmt.Errorf("close old manifest: %w", err)
		}
	}
	if err := vfs.SyncDir(m.fs, m.dir); err != nil {
		return fmt.Errorf("sync %s: %w", m.dir, err)
	}
	m.broken = false
	return nil
}

// createManifest writes and syncs a MANIFEST of one edit.
func createManifest(fsys vfs.FS, name, magic string, e *edit) (vfs.File, int64, error) {
	buf, err := appendRecord([]byte(magic), e)
	if err != nil {
		return nil, 0, err
	}
	f, err := fsys.Create(name)
	if err != nil {
		return nil, 0, fmt.Errorf("create manifest: %w", err)
	}
	if _, err := f.Write(buf); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("write manifest: %w", err), f.Close())
	}
	if err := f.Sync(); err != nil {
		return nil, 0, errors.Join(fmt.Errorf("sync manifest: %w", err), f.Close())
	}
	return f, int64(len(buf)), nil
}

func (m *manifest) close() error {
	if m.f == nil {
		return nil
	}
	return m.f.Close()
}
