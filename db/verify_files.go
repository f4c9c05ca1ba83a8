package db

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/segment"
	"github.com/flowlake/flowlake/db/vfs"
	"github.com/flowlake/flowlake/db/wal"
)

// verifier checks files one after another, on one goroutine.
type verifier struct {
	fs       vfs.FS
	dir      string
	o        VerifyOptions
	progress func(VerifyProgress)
	p        VerifyProgress
	in       watch
	tagsEnd  uint32 // ids below this are in tag files; 0 when that is not known
	problems []Problem
}

func newVerifier(fsys vfs.FS, dir string, o VerifyOptions, progress func(VerifyProgress)) *verifier {
	v := &verifier{fs: fsys, dir: dir, o: o, progress: progress}
	v.in = watch{FS: fsys, rate: o.BytesPerSecond}
	return v
}

func (v *verifier) add(p Problem) { v.problems = append(v.problems, p) }

// begin sets what there is to do.
func (v *verifier) begin(c *contents) {
	v.p = VerifyProgress{TotalFiles: len(c.segments) + len(c.tags)}
	for _, m := range c.segments {
		v.p.TotalBytes += m.Bytes
	}
	v.tagsEnd = 1 // the empty set is in no file
	for _, t := range c.tags {
		v.tagsEnd = max(v.tagsEnd, t.To)
		if st, err := v.fs.Stat(filepath.Join(v.dir, filepath.FromSlash(t.Path))); err == nil {
			v.p.TotalBytes += st.Size() // MANIFEST does not have it
		}
	}
}

func (v *verifier) report(file string) {
	if v.progress != nil {
		v.p.File = file
		v.progress(v.p)
	}
}

func (v *verifier) done(bytes int64) {
	v.p.Files++
	v.p.Bytes += bytes
}

// sortedTags are tag files by the ids in them; a gap between two is a problem.
func (v *verifier) sortedTags(files []tagFile) []tagFile {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b tagFile) int { return int(a.From) - int(b.From) })
	next := uint32(1)
	for _, f := range files {
		if f.From != next {
			v.add(Problem{Kind: ProblemTags, File: f.Path, Offset: -1,
				Reason: fmt.Sprintf("MANIFEST has it begin with tag set %d, where %d is the next one", f.From, next)})
		}
		next = f.To
	}
	return files
}

// tagFileOf is what the name of a tag file says about it.
func tagFileOf(rel string) tagFile {
	f := tagFile{Path: rel}
	var seq uint64
	if n, err := fmt.Sscanf(path.Base(rel), "%d-%d-%d.parquet", &f.From, &f.To, &seq); n != 3 || err != nil {
		return tagFile{Path: rel}
	}
	return f
}

// segment checks one segment; compare says whether m is from MANIFEST.
func (v *verifier) segment(ctx context.Context, m segmentMeta, compare bool) error {
	t, ok := v.o.Tables.Table(m.Table)
	if !ok {
		t = &schema.Table{Name: m.Table} // no columns: all that is checked is in the file
	}
	p := Problem{Kind: ProblemSegment, File: m.Path, Offset: -1, Table: m.Table, Rows: m.Rows}
	return v.file(ctx, p, t, func(r *segment.Reader) error {
		defer v.done(r.Info().Bytes)
		if !compare {
			return nil
		}
		return v.agrees(r.Info(), m)
	})
}

// agrees compares a segment with its entry in MANIFEST.
func (v *verifier) agrees(i segment.Info, m segmentMeta) error {
	for _, c := range []struct {
		what      string
		have, say any
	}{
		{"table", i.Table, m.Table}, {"number of rows", i.Rows, m.Rows}, {"number of bytes", i.Bytes, m.Bytes},
		{"smallest time", i.MinTime, m.MinTime}, {"largest time", i.MaxTime, m.MaxTime},
	} {
		if c.have != c.say {
			return fmt.Errorf("its %s is %v, MANIFEST says %v", c.what, c.have, c.say)
		}
	}
	if v.tagsEnd > 0 && i.MaxTag >= v.tagsEnd {
		return fmt.Errorf("it refers to tag set %d, the tag files end before %d", i.MaxTag, v.tagsEnd)
	}
	return nil
}

func (v *verifier) tagFile(ctx context.Context, f tagFile) error {
	return v.file(ctx, Problem{Kind: ProblemTags, File: f.Path, Offset: -1}, TagSetsTable, func(r *segment.Reader) error {
		defer v.done(r.Info().Bytes)
		if f.From == 0 {
			return nil
		}
		return tagIDs(ctx, r, f)
	})
}

// tagIDs checks that a tag file has the sets it is said to have, and no others.
func tagIDs(ctx context.Context, r *segment.Reader, f tagFile) error {
	if f.To < f.From || int64(f.To-f.From) > r.Info().Rows {
		return fmt.Errorf("MANIFEST says that it has tag sets %d to %d, it has %d tags", f.From, f.To, r.Info().Rows)
	}
	req := &pred.Request{Table: TagSetsTable, Columns: []int{tagID}, From: pred.MinTime, To: pred.MaxTime}
	var sc segment.Scratch
	var rows batch.Batch
	seen, left := make([]uint64, (f.To-f.From+63)/64), int(f.To-f.From)
	for _, u := range r.Units(req) {
		if err := r.Read(ctx, u, req, &sc, &rows); err != nil {
			return err
		}
		for _, id := range rows.Cols[0].I64 {
			if id < int64(f.From) || id >= int64(f.To) {
				return fmt.Errorf("it has tag set %d, MANIFEST says %d to %d", id, f.From, f.To-1)
			}
			at := uint32(id) - f.From
			if bit := uint64(1) << (at & 63); seen[at>>6]&bit == 0 {
				seen[at>>6] |= bit
				left--
			}
		}
	}
	if left > 0 {
		return fmt.Errorf("%d of its tag sets %d to %d are missing", left, f.From, f.To-1)
	}
	return nil
}

// file reads all of a Parquet file of ours and calls more for what else there is to check. What is wrong is added as p with
// the reason; the error is that of ctx.
func (v *verifier) file(ctx context.Context, p Problem, t *schema.Table, more func(*segment.Reader) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v.report(p.File)
	before := v.p
	v.in.begin(ctx, func(read int64) { // within a file the bytes read say how far it is
		v.p.Bytes = before.Bytes + read
		v.report(p.File)
		v.p.Bytes = before.Bytes
	})
	err := func() error {
		r, err := segment.Open(&v.in, filepath.Join(v.dir, filepath.FromSlash(p.File)), t)
		if err != nil {
			return err
		}
		defer r.Close()
		if err := r.Verify(ctx); err != nil {
			return err
		}
		return more(r)
	}()
	if v.p.Files == before.Files {
		v.done(0)
	}
	var bad *segment.CorruptionError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		p.Reason = "the file is missing"
	case v.in.err != nil: // whatever followed from it
		p.Offset, p.Reason = v.in.errAt, "it cannot be read: "+v.in.err.Error()
	case errors.As(err, &bad):
		p.Offset, p.Reason, p.corrupt = bad.Offset, bad.Reason, true
	default:
		p.Reason = err.Error()
	}
	v.add(p)
	return nil
}

// watch is a file system that counts what is read, not faster than a rate, and remembers the first failure: a disk that does
// not answer must not be taken for damage. One file at a time, on one goroutine.
type watch struct {
	vfs.FS
	rate   int64 // bytes a second, 0 any
	ctx    context.Context
	onRead func(total int64)
	began  time.Time
	read   int64
	err    error
	errAt  int64
}

func (w *watch) begin(ctx context.Context, onRead func(total int64)) {
	w.ctx, w.onRead, w.began, w.read, w.err, w.errAt = ctx, onRead, time.Now(), 0, nil, -1
}

// Open implements vfs.FS.
func (w *watch) Open(name string) (vfs.File, error) {
	f, err := w.FS.Open(name)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) && w.err == nil {
			w.err = err
		}
		return nil, err
	}
	return &watchedFile{File: f, w: w}, nil
}

type watchedFile struct {
	vfs.File
	w *watch
}

// ReadAt implements io.ReaderAt.
func (f *watchedFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	w := f.w
	w.read += int64(n)
	if err != nil && !errors.Is(err, io.EOF) && w.err == nil {
		w.err, w.errAt = err, off
	}
	if w.onRead != nil {
		w.onRead(w.read)
	}
	if w.rate > 0 {
		w.wait(time.Duration(float64(w.read) / float64(w.rate) * float64(time.Second)))
	}
	return n, err
}

// wait sleeps until so long after the beginning of the file, or to the end of the context: whoever reads asks that itself.
func (w *watch) wait(since time.Duration) {
	d := since - time.Since(w.began)
	if d < time.Millisecond {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.ctx.Done():
	}
}

// verifyLog reads the records that the log of an open database holds.
func (d *DB) verifyLog(ctx context.Context, v *verifier) error {
	if d.log == nil {
		return nil
	}
	v.report("wal")
	var flushed uint64
	d.commitMu.Lock()
	flushed = d.manifest.flushed
	d.commitMu.Unlock()
	err := d.log.Range(0, func(index uint64, rec []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if index <= flushed {
			return nil // its checksum was right, and nobody needs it any more
		}
		if _, err := batch.Open(rec, d.tables()); err != nil {
			v.add(Problem{Kind: ProblemLog, File: "wal", Offset: -1, Reason: fmt.Sprintf("record %d: %v", index, err)})
		}
		return nil
	})
	var bad *wal.CorruptionError
	switch {
	case err == nil, errors.Is(err, wal.ErrNotFound): // dropped between looking for the first record and reading it
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, wal.ErrClosed):
		return ErrClosed
	case errors.As(err, &bad):
		v.add(Problem{Kind: ProblemLog, File: "wal/" + filepath.Base(bad.File), Offset: bad.Offset, Reason: bad.Reason})
	default:
		v.add(Problem{Kind: ProblemLog, File: "wal", Offset: -1, Reason: "it cannot be read: " + err.Error()})
	}
	return nil
}

const (
	logLooks     = 3                     // what is wrong each time is wrong, and not being written
	logPause     = 50 * time.Millisecond // between two looks
	logRecordTop = 24                    // bytes of a record before its payload (docs/format/wal.md)
)

// logFolder checks the log of a folder. whole says that MANIFEST could be read.
func (v *verifier) logFolder(ctx context.Context, whole bool) error {
	v.report("wal")
	var found []Problem
	for look := range logLooks {
		now, err := v.lookAtLog(ctx, whole)
		if err != nil {
			return err
		}
		if look > 0 {
			now = slices.DeleteFunc(now, func(p Problem) bool { return !slices.Contains(found, p) })
		}
		if found = now; len(found) == 0 {
			return nil
		}
		select {
		case <-time.After(logPause):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	v.problems = append(v.problems, found...)
	return nil
}

// logLook is one look at the files of a log.
type logLook struct {
	v           *verifier
	flushed     uint64
	found       []Problem
	files       int
	first, next uint64 // index of the first record there, and after the last
	front       uint64 // records before it are not needed
	gaps        [][2]uint64
	open        vfs.File // the segment whose records are being read, nil at first
	buf         []byte
}

func (l *logLook) close() {
	if l.open != nil {
		_ = l.open.Close() // it was only read
	}
}

func (v *verifier) lookAtLog(ctx context.Context, whole bool) ([]Problem, error) {
	l := logLook{v: v}
	defer l.close()
	if whole {
		if c, _, err := manifestOf(v.fs, v.dir); err == nil {
			l.flushed = c.flushed
		}
	}
	dir := filepath.Join(v.dir, "wal")
	err := wal.Inspect(v.fs, dir, func(i wal.Info) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return l.see(dir, i)
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, fs.ErrNotExist) && l.files == 0:
	case err != nil:
		l.add("wal", -1, "it cannot be read: "+err.Error())
	}
	if whole && len(l.found) == 0 {
		l.complete()
	}
	return l.found, nil
}

func (l *logLook) add(file string, off int64, reason string) {
	l.found = append(l.found, Problem{Kind: ProblemLog, File: file, Offset: off, Reason: reason})
}

func (l *logLook) see(dir string, i wal.Info) error {
	file := "wal/" + i.File
	switch i.Kind {
	case wal.InfoSegment:
		if l.files == 0 {
			l.first = i.First
		} else if l.next > 0 && i.First > l.next {
			l.gaps = append(l.gaps, [2]uint64{l.next, i.First})
		}
		l.files++
		l.front = max(l.front, i.Front)
	case wal.InfoFront:
		l.front = max(l.front, i.Front)
	case wal.InfoEnd:
		l.next = i.Index
	case wal.InfoDamage:
		l.files++
		l.add(file, i.Offset, i.Reason)
	case wal.InfoRecord:
		if i.Index > l.flushed && i.Index >= l.front {
			return l.frame(filepath.Join(dir, i.File), file, i)
		}
	}
	return nil
}

// frame checks that a record is a batch.
func (l *logLook) frame(full, file string, i wal.Info) error {
	if l.open == nil || l.open.Name() != full {
		l.close()
		f, err := l.v.fs.Open(full)
		if err != nil {
			return err
		}
		l.open = f
	}
	l.buf = slices.Grow(l.buf[:0], int(i.Bytes))[:i.Bytes]
	if _, err := l.open.ReadAt(l.buf, i.Offset+logRecordTop); err != nil {
		return err
	}
	if _, err := batch.Open(l.buf, l.v.o.Tables); err != nil && !errors.Is(err, schema.ErrUnknownTable) {
		l.add(file, i.Offset, fmt.Sprintf("record %d: %v", i.Index, err))
	}
	return nil
}

// complete checks that the log goes on where MANIFEST says segments end.
func (l *logLook) complete() {
	c, _, err := manifestOf(l.v.fs, l.v.dir)
	if err != nil {
		return
	}
	needed := max(c.flushed+1, l.front) // the log may have been cut since the first look, never beyond this
	switch first := max(l.first, l.front); {
	case l.files == 0 && c.flushed > 0:
		l.add("wal", -1, fmt.Sprintf("records from %d on are expected, there is no log", c.flushed+1))
	case l.files > 0 && l.next <= l.flushed:
		l.add("wal", -1, fmt.Sprintf("records from %d on are expected, the log ends before %d", l.flushed+1, l.next))
	case l.files > 0 && first > c.flushed+1:
		l.add("wal", -1, fmt.Sprintf("records from %d on are expected, the log begins with %d", c.flushed+1, first))
	}
	for _, g := range l.gaps {
		if g[1] > needed {
			l.add("wal", -1, fmt.Sprintf("records %d to %d are missing", g[0], g[1]-1))
		}
	}
}
