package tags

import "sync/atomic"

// marks remembers how many sets there were at some points in time, so that growth has a rate.
type marks struct {
	list atomic.Pointer[[]mark] // ascending, at most markCount; replaced by the writer
}

type mark struct {
	nanos int64
	sets  uint32
}

const (
	markNanos = int64(60e9) // between two marks
	markCount = 6           // so growth is that of the last five to six minutes
)

// add notes that there were so many sets at the time. One writer.
func (m *marks) add(nanos int64, sets uint32) {
	var list []mark
	if p := m.list.Load(); p != nil {
		list = *p
	}
	if len(list) > 0 && nanos-list[len(list)-1].nanos < markNanos {
		return
	}
	keep := list[max(0, len(list)-markCount+1):]
	fresh := append(append(make([]mark, 0, len(keep)+1), keep...), mark{nanos, sets})
	m.list.Store(&fresh)
}

// since is the number of sets at the first mark of the last minutes and how long ago that was, in minutes, at least one; 0
// where nothing was added in that time.
func (m *marks) since(nanos int64) (sets uint32, minutes float64) {
	p := m.list.Load()
	if p == nil {
		return 0, 0
	}
	for _, k := range *p {
		if ago := nanos - k.nanos; ago >= 0 && ago <= (markCount-1)*markNanos {
			return k.sets, max(1, float64(ago)/float64(markNanos))
		}
	}
	return 0, 0
}
