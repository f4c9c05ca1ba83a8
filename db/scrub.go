package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/flowlake/flowlake/db/vfs"
)

// The scrubber reads each segment and tag file once in Options.ScrubEvery, one after another in the order of their paths,
// and has damaged segments set aside before somebody asks for their rows. Where it is lies in the file SCRUB
// (docs/format/scrub.md), so that restarts do not begin anew.
const (
	scrubName = "SCRUB"
	// scrubRate bounds how fast a file is read, in bytes a second: little beside what a disk gives.
	scrubRate = 16 << 20
	// scrubNap is the longest pause between two looks at what is due.
	scrubNap = time.Minute
)

// scrubState is the content of SCRUB.
type scrubState struct {
	// After is the path of the file that was checked last; "" at the start of a round.
	After string `json:"after"`
	// Nanos is when, Unix nanoseconds; in a new folder, when it was first looked at.
	Nanos int64 `json:"nanos"`
}

// scrubber runs until ctx ends; the maintainer waits for it.
func (d *DB) scrubber(ctx context.Context, every time.Duration) {
	if every < 0 {
		return
	}
	state := d.loadScrub()
	nap := time.NewTimer(min(every, scrubNap))
	defer nap.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-nap.C:
		}
		wait, err := d.scrubDue(ctx, every, &state)
		if err != nil && ctx.Err() == nil {
			d.backgroundError("scrub", err)
		}
		nap.Reset(min(max(wait, time.Millisecond), scrubNap))
	}
}

// scrubDue checks the next file if its turn has come, and returns how long it is to the one after it.
func (d *DB) scrubDue(ctx context.Context, every time.Duration, state *scrubState) (wait time.Duration, err error) {
	now := d.opts.Now().UnixNano()
	if state.Nanos == 0 || state.Nanos > now { // a new folder, or the clock was put back
		state.Nanos = now
		return min(every, scrubNap), d.saveScrub(*state)
	}
	c := d.scrubContents()
	defer d.releaseTags()
	n := len(c.segments) + len(c.tags)
	if n == 0 {
		return min(every, scrubNap), nil
	}
	pause := every / time.Duration(n)
	if due := state.Nanos + int64(pause); now < due {
		return time.Duration(due - now), nil
	}
	path := nextPath(c, state.After)
	if path == "" {
		state.After = ""
		d.counts.scrubRounds.Add(1)
		path = nextPath(c, "")
	}
	if err := d.scrubFile(ctx, c, path); err != nil {
		if ctx.Err() != nil {
			return pause, err // not done: it is the first one after a restart
		}
		state.After, state.Nanos = path, now // one file that gives trouble does not keep the others from being checked
		return pause, errors.Join(err, d.saveScrub(*state))
	}
	state.After, state.Nanos = path, now
	return pause, d.saveScrub(*state)
}

// scrubContents is what there is to check. The caller ends it with releaseTags.
func (d *DB) scrubContents() *contents {
	d.commitMu.Lock()
	defer d.commitMu.Unlock()
	d.holdTags()
	return d.manifest.clone()
}

// nextPath is the first path after one, "" when that was the last.
func nextPath(c *contents, after string) string {
	next := ""
	consider := func(p string) {
		if p > after && (next == "" || p < next) {
			next = p
		}
	}
	for p := range c.segments {
		consider(p)
	}
	for _, t := range c.tags {
		consider(t.Path)
	}
	return next
}

// scrubFile checks one file. Damage of a segment has it set aside; a tag file has to stay, so that is only told.
func (d *DB) scrubFile(ctx context.Context, c *contents, path string) error {
	v := newVerifier(d.fs, d.dir, VerifyOptions{Tables: d.tables(), SetAside: true, BytesPerSecond: scrubRate}, nil)
	v.begin(c)
	var err error
	if m, ok := c.segments[path]; ok {
		err = d.verifySegment(ctx, v, m)
	} else {
		for _, t := range c.tags {
			if t.Path == path {
				err = v.tagFile(ctx, t)
			}
		}
	}
	if ctx.Err() == nil {
		d.counts.scrubbedFiles.Add(1)
		d.counts.scrubbedBytes.Add(v.in.read)
	}
	for _, p := range v.problems {
		d.counts.scrubProblems.Add(1)
		if !p.SetAside { // that has an event of its own
			err = errors.Join(err, errors.New(p.String()))
		}
	}
	return err
}

// loadScrub reads where the scrubber was. A file that is missing or damaged only costs a round.
func (d *DB) loadScrub() scrubState {
	var s scrubState
	text, err := vfs.ReadFile(d.fs, filepath.Join(d.dir, scrubName), 64<<10)
	if err != nil || json.Unmarshal(text, &s) != nil || s.Nanos < 0 {
		return scrubState{}
	}
	return s
}

func (d *DB) saveScrub(s scrubState) error {
	text, err := json.Marshal(s)
	if err == nil {
		err = vfs.WriteFileAtomic(d.fs, filepath.Join(d.dir, scrubName), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("note where it is: %w", err)
	}
	return nil
}
