package packetring

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"

	"github.com/flowlake/flowlake/collector/capture"
)

// slackNanos is how far the time of a packet may lie outside of what the names of files say.
const slackNanos = 10_000_000_000

// Span is a range of times in Unix nanoseconds, both ends included.
type Span struct{ From, To int64 }

// Everything is the span of all times.
var Everything = Span{math.MinInt64, math.MaxInt64}

// Read calls fn with the frames of the files in dir that may have packets of this span, also while a Ring writes to them: from
// the oldest to the newest. name tells the name of an interface by Frame.Interface. Frames before and after the span are among
// them. Files that are damaged are read up to there; damaged is told about them, and the other files are read.
func Read(ctx context.Context, dir string, span Span, fn func(b *capture.Batch, name func(uint32) string) error, damaged func(error)) error {
	files, err := list(dir)
	if err != nil {
		return fmt.Errorf("read packet ring: %w", err)
	}
	for i, f := range files {
		if later(f.first, -slackNanos) > span.To || i+1 < len(files) && later(files[i+1].first, slackNanos) < span.From {
			continue
		}
		if f.size == 0 { // about to be written
			continue
		}
		err := read(ctx, filepath.Join(dir, f.name), fn)
		var bad *capture.FileError
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, capture.ErrTruncated):
		case errors.As(err, &bad), errors.Is(err, capture.ErrNotCapture):
			damaged(err)
		default:
			return err
		}
	}
	return nil
}

// later adds without an overflow.
func later(t, d int64) int64 {
	switch sum := t + d; {
	case d > 0 && sum < t:
		return math.MaxInt64
	case d < 0 && sum > t:
		return math.MinInt64
	default:
		return sum
	}
}

func read(ctx context.Context, path string, fn func(*capture.Batch, func(uint32) string) error) error {
	s, err := capture.OpenFile(path)
	if err != nil {
		return err
	}
	err = s.Run(ctx, func(b *capture.Batch) error { return fn(b, s.InterfaceName) })
	return errors.Join(err, s.Close())
}
