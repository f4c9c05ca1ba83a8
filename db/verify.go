package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/vfs"
)

// Problem is one thing that is wrong in a data folder.
type Problem struct {
	// Kind is what it is in: "options", "manifest", "segment", "tags" or "log".
	Kind string
	// File is its path below the data folder, with forward slashes.
	File string
	// Offset is the byte of the file at which the damaged part begins; -1 where it is no matter of bytes.
	Offset int64
	// Table and Rows are those of a segment, as MANIFEST has them; "" and 0 where that is not known.
	Table  string
	Rows   int64
	Reason string
	// SetAside says that the segment was moved to quarantine/ (VerifyOptions.SetAside).
	SetAside bool

	corrupt bool // bytes are wrong, as against a file that is missing or that the system fails to read
}

// The values of Problem.Kind.
const (
	ProblemOptions  = "options"
	ProblemManifest = "manifest"
	ProblemSegment  = "segment"
	ProblemTags     = "tags"
	ProblemLog      = "log"
)

// String is the problem in one line.
func (p Problem) String() string {
	if p.Offset < 0 {
		return p.File + ": " + p.Reason
	}
	return fmt.Sprintf("%s at offset %d: %s", p.File, p.Offset, p.Reason)
}

// VerifyProgress is how far a verification, a backup or a restore is. Files and bytes are those done and those there are to
// do, without the log.
type VerifyProgress struct {
	File              string // being worked on
	Files, TotalFiles int
	Bytes, TotalBytes int64
}

// VerifyOptions tune Verify and VerifyFolder.
type VerifyOptions struct {
	// Tables are the tables there are, for VerifyFolder; default schema.Builtin(). Segments and log records of others are
	// checked but for their columns.
	Tables *schema.Registry
	// ExternalLog says that somebody else keeps the folder's log: VerifyFolder does not look for it.
	ExternalLog bool
	// SetAside has damaged segments moved to quarantine/, for DB.Verify only.
	SetAside bool
	// BytesPerSecond bounds how fast files are read; 0 does not.
	BytesPerSecond int64
}

// Verify reads every page of every live segment and tag file and the records of the log, and checks their checksums and
// that MANIFEST agrees with them. Nothing waits for it: neither writes nor scans. It takes the memory of one page and a bit
// for each tag set of a file. progress may be nil; it is called now and then on the calling goroutine.
// What is wrong with the data is a Problem; the error says why the work could not be done, such as the end of ctx.
func (d *DB) Verify(ctx context.Context, progress func(VerifyProgress), opts ...func(*VerifyOptions)) ([]Problem, error) {
	o := VerifyOptions{}
	for _, f := range opts {
		f(&o)
	}
	o.Tables = d.tables()
	v := newVerifier(d.fs, d.dir, o, progress)
	c, err := d.verifyManifest(v)
	if err != nil {
		return nil, fmt.Errorf("verify: %w", err)
	}
	defer d.releaseTags()
	v.begin(c)
	for _, t := range v.sortedTags(c.tags) {
		if err := v.tagFile(ctx, t); err != nil {
			return v.problems, fmt.Errorf("verify: %w", err)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(c.segments)) {
		if err := d.verifySegment(ctx, v, c.segments[p]); err != nil {
			return v.problems, fmt.Errorf("verify: %w", err)
		}
	}
	if err := d.verifyLog(ctx, v); err != nil {
		return v.problems, fmt.Errorf("verify: %w", err)
	}
	v.report("")
	return v.problems, nil
}

// verifyManifest reads the file anew and compares it with what the database holds of it.
func (d *DB) verifyManifest(v *verifier) (*contents, error) {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	d.mu.RLock()
	closed := d.closed
	d.mu.RUnlock()
	if closed {
		return nil, ErrClosed
	}
	d.holdTags()
	c := d.manifest.clone()
	if d.manifest.broken {
		return c, nil // known, and written anew before the next edit
	}
	onDisk := newContents()
	name := filepath.Join(d.dir, manifestName)
	end, err := readManifest(d.manifest.f, d.manifest.off, name, func(_ int64, e *edit) error { return onDisk.apply(e) })
	var bad *CorruptionError
	switch {
	case errors.As(err, &bad):
		v.add(Problem{Kind: ProblemManifest, File: manifestName, Offset: bad.Offset, Reason: bad.Reason})
	case err != nil:
		v.add(Problem{Kind: ProblemManifest, File: manifestName, Offset: -1, Reason: "it cannot be read: " + err.Error()})
	case end != d.manifest.off:
		v.add(Problem{Kind: ProblemManifest, File: manifestName, Offset: end, Reason: "the last record is damaged"})
	case !maps.Equal(onDisk.segments, c.segments) || !slices.Equal(onDisk.tags, c.tags) || onDisk.flushed != c.flushed:
		v.add(Problem{Kind: ProblemManifest, File: manifestName, Offset: -1, Reason: "it names other segments than the database has open"})
	}
	return c, nil
}

// verifySegment checks a segment unless it went meanwhile. The reference keeps its file there.
func (d *DB) verifySegment(ctx context.Context, v *verifier, m segmentMeta) error {
	s := d.acquireSegment(m)
	if s == nil {
		v.done(m.Bytes)
		return nil
	}
	found := len(v.problems)
	err := v.segment(ctx, m, true)
	if rerr := s.release(); rerr != nil {
		d.backgroundError("release a segment after checking it", rerr)
	}
	if err != nil || len(v.problems) == found || !v.o.SetAside || !v.problems[found].corrupt {
		return err
	}
	p := &v.problems[found]
	if err := d.setAsideDamaged(m.Path, fmt.Errorf("at offset %d: %s", p.Offset, p.Reason)); err != nil {
		return err
	}
	p.SetAside = true
	return nil
}

// acquireSegment takes a reference to a segment, nil when it is not live any more.
func (d *DB) acquireSegment(m segmentMeta) *segmentRef {
	d.mu.RLock()
	defer d.mu.RUnlock()
	t, _ := d.tables().Table(m.Table)
	for _, s := range d.segments[t] {
		if s.meta.Path == m.Path {
			s.acquire()
			return s
		}
	}
	return nil
}

// setAsideDamaged is quarantine for callers other than the maintainer, beside whom the database may be closed.
func (d *DB) setAsideDamaged(path string, reason error) error {
	d.commitMu.Lock()
	d.mu.RLock()
	closed := d.closed
	d.mu.RUnlock()
	did, err := false, error(ErrClosed)
	if !closed {
		did, err = d.setAside(path, reason)
	}
	d.commitMu.Unlock()
	if f := d.opts.Events.Quarantined; did && f != nil {
		f(path, reason)
	}
	return err
}

// VerifyFolder is DB.Verify for a folder that is not open. It changes nothing, takes no lock, and works on a folder that is
// in use as well. A damaged MANIFEST is a Problem; the files in tables/ and tags/ are then checked one by one, as far as
// that says something. A folder that is none of ours is ErrNotAFolder, one of a later version ErrNewerFormat.
func VerifyFolder(ctx context.Context, fsys vfs.FS, dir string, progress func(VerifyProgress), opts ...func(*VerifyOptions)) ([]Problem, error) {
	o := VerifyOptions{}
	for _, f := range opts {
		f(&o)
	}
	if o.Tables == nil {
		o.Tables = schema.Builtin()
	}
	v := newVerifier(fsys, dir, o, progress)
	if err := v.folder(ctx); err != nil {
		return v.problems, fmt.Errorf("verify %s: %w", dir, err)
	}
	return v.problems, nil
}

func (v *verifier) folder(ctx context.Context) error {
	if err := v.optionsFile(); err != nil {
		return err
	}
	c, whole, err := v.readManifest()
	if err != nil {
		return err
	}
	reg, err := c.registry(v.o.Tables)
	if err != nil {
		v.add(Problem{Kind: ProblemManifest, File: manifestName, Offset: -1, Reason: err.Error()})
	}
	v.o.Tables = reg
	if whole {
		err = v.named(ctx, c)
	} else {
		err = v.found(ctx, c)
	}
	if err != nil {
		return err
	}
	if !v.o.ExternalLog {
		if err := v.logFolder(ctx, whole); err != nil {
			return err
		}
	}
	v.report("")
	return nil
}

func (v *verifier) optionsFile() error {
	text, err := vfs.ReadFile(v.fs, filepath.Join(v.dir, "OPTIONS"), 1<<20)
	var o optionsFile
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if _, merr := v.fs.Stat(filepath.Join(v.dir, manifestName)); merr != nil {
			if _, derr := v.fs.List(v.dir); derr != nil {
				return derr
			}
			return fmt.Errorf("it has neither OPTIONS nor MANIFEST: %w", ErrNotAFolder)
		}
		v.add(Problem{Kind: ProblemOptions, File: "OPTIONS", Offset: -1, Reason: "it is missing: a backup that was not completed, or a lost file"})
	case err != nil:
		v.add(Problem{Kind: ProblemOptions, File: "OPTIONS", Offset: -1, Reason: "it cannot be read: " + err.Error()})
	default:
		if err := json.Unmarshal(text, &o); err != nil || o.Format < 1 {
			p := Problem{Kind: ProblemOptions, File: "OPTIONS", Reason: "it states no format"}
			var syntax *json.SyntaxError
			if errors.As(err, &syntax) {
				p.Offset = max(syntax.Offset-1, 0)
			}
			if err != nil {
				p.Reason = err.Error()
			}
			v.add(p)
		} else if o.Format > formatVersion {
			return fmt.Errorf("it has format %d, this program knows up to %d: %w", o.Format, formatVersion, ErrNewerFormat)
		}
	}
	return nil
}

// readManifest returns what MANIFEST says. When it is damaged, that is a problem, and c has the segments that the edits
// before the damage add, dropped ones too: what follows them is not known.
func (v *verifier) readManifest() (c *contents, whole bool, err error) {
	c, added, err := manifestOf(v.fs, v.dir)
	var bad *CorruptionError
	switch {
	case err == nil:
		return c, true, nil
	case errors.Is(err, ErrNewerFormat):
		return nil, false, err
	case errors.As(err, &bad):
		v.add(Problem{Kind: ProblemManifest, File: manifestName, Offset: bad.Offset, Reason: bad.Reason})
	default:
		v.add(Problem{Kind: ProblemManifest, File: manifestName, Offset: -1, Reason: "it cannot be read: " + err.Error()})
	}
	c.segments = added
	return c, false, nil
}

// manifestOf reads a MANIFEST without changing it: its contents, and all segments it ever added.
func manifestOf(fsys vfs.FS, dir string) (c *contents, added map[string]segmentMeta, err error) {
	c, added = newContents(), map[string]segmentMeta{}
	name := filepath.Join(dir, manifestName)
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return c, added, refuseLostManifest(fsys, dir) // none yet: a first start that was cut short
	} else if err != nil {
		return c, added, fmt.Errorf("open manifest: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return c, added, fmt.Errorf("read manifest: %w", err)
	}
	_, err = readManifest(f, st.Size(), name, func(off int64, e *edit) error {
		for _, s := range e.Add {
			if !below("tables", s.Path) {
				return &CorruptionError{File: name, Offset: off, Reason: fmt.Sprintf("segment %q is not in tables", s.Path)}
			}
			added[s.Path] = s
		}
		for _, t := range e.Tags {
			if !below("tags", t.Path) {
				return &CorruptionError{File: name, Offset: off, Reason: fmt.Sprintf("tag file %q is not in tags", t.Path)}
			}
		}
		if err := c.apply(e); err != nil {
			return &CorruptionError{File: name, Offset: off, Reason: err.Error()}
		}
		return nil
	})
	return c, added, err
}

// below says whether a path with forward slashes is that of a file in a folder or below it: a MANIFEST that somebody made
// must not lead elsewhere.
func below(folder, p string) bool {
	return path.Clean(p) == p && strings.HasPrefix(p, folder+"/") && filepath.IsLocal(filepath.FromSlash(p))
}

// named checks the files that MANIFEST names. A file that it does not name any more at the end was merged away or expired
// in a folder that is in use.
func (v *verifier) named(ctx context.Context, c *contents) error {
	v.begin(c)
	begun := len(v.problems)
	for _, t := range v.sortedTags(c.tags) {
		if err := v.tagFile(ctx, t); err != nil {
			return err
		}
	}
	for _, p := range slices.Sorted(maps.Keys(c.segments)) {
		if err := v.segment(ctx, c.segments[p], true); err != nil {
			return err
		}
	}
	if len(v.problems) == begun {
		return nil
	}
	now, _, err := manifestOf(v.fs, v.dir)
	if err != nil {
		return nil // it has become damaged this instant; what was found stays
	}
	rest := slices.DeleteFunc(v.problems[begun:], func(p Problem) bool {
		_, live := now.segments[p.File]
		return p.Kind == ProblemSegment && !live || p.Kind == ProblemTags && !hasTags(now, p.File)
	})
	v.problems = v.problems[:begun+len(rest)]
	return nil
}

func hasTags(c *contents, path string) bool {
	return slices.ContainsFunc(c.tags, func(f tagFile) bool { return f.Path == path })
}

// found checks the files there are, for want of a MANIFEST that names them.
func (v *verifier) found(ctx context.Context, known *contents) error {
	paths, err := v.walk(ctx, "tables", nil)
	if err != nil {
		return err
	}
	if paths, err = v.walk(ctx, "tags", paths); err != nil {
		return err
	}
	v.p.TotalFiles = len(paths)
	for _, p := range paths {
		st, err := v.fs.Stat(filepath.Join(v.dir, filepath.FromSlash(p)))
		if err != nil {
			continue // the check of the file says so
		}
		v.p.TotalBytes += st.Size()
	}
	for _, p := range paths {
		if strings.HasPrefix(p, "tags/") {
			err = v.tagFile(ctx, tagFileOf(p))
		} else {
			m, ok := known.segments[p]
			if !ok {
				m = segmentMeta{Path: p}
			}
			err = v.segment(ctx, m, ok)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walk appends the paths of the Parquet files below a folder.
func (v *verifier) walk(ctx context.Context, rel string, to []string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return to, err
	}
	full := filepath.Join(v.dir, filepath.FromSlash(rel))
	names, err := v.fs.List(full)
	if errors.Is(err, fs.ErrNotExist) {
		return to, nil
	} else if err != nil {
		return to, fmt.Errorf("list %s: %w", rel, err)
	}
	for _, n := range names {
		child := rel + "/" + n
		st, err := v.fs.Stat(filepath.Join(full, n))
		switch {
		case err != nil:
			return to, fmt.Errorf("look at %s: %w", child, err)
		case st.IsDir():
			if to, err = v.walk(ctx, child, to); err != nil {
				return to, err
			}
		case strings.HasSuffix(n, ".parquet"):
			to = append(to, child)
		}
	}
	return to, nil
}
