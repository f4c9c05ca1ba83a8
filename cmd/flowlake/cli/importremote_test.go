package cli

import (
	"fmt"
	"testing"
)

func TestMemoryBuffer(t *testing.T) {
	var b memoryBuffer
	state := func() string {
		all := ""
		if err := b.Range(1, func(i uint64, rec []byte) error { all += fmt.Sprintf(" %d=%s", i, rec); return nil }); err != nil {
			t.Error(err)
		}
		return fmt.Sprintf("%d to %d:%s", b.FirstIndex(), b.NextIndex(), all)
	}
	rec := func(s string) [][]byte { return [][]byte{[]byte(s)} }
	for _, step := range []struct {
		do   func() (uint64, error)
		n    uint64
		want string
	}{
		{func() (uint64, error) { return 0, b.TruncateFront(0) }, 0, "0 to 1:"},
		{func() (uint64, error) { return b.Append(rec("a")) }, 1, "1 to 2: 1=a"},
		{func() (uint64, error) { return b.Append([][]byte{[]byte("b"), []byte("c")}) }, 2, "1 to 4: 1=a 2=b 3=c"},
		{func() (uint64, error) { return 0, b.TruncateFront(2) }, 0, "3 to 4: 3=c"},
		{func() (uint64, error) { return 0, b.TruncateFront(1) }, 0, "3 to 4: 3=c"},
		{func() (uint64, error) { return 0, b.TruncateFront(9) }, 0, "0 to 4:"},
		{func() (uint64, error) { return b.Append(rec("d")) }, 4, "4 to 5: 4=d"},
	} {
		if n, err := step.do(); n != step.n || err != nil || state() != step.want {
			t.Errorf("%d, %v, %s; want %d, %s", n, err, state(), step.n, step.want)
		}
	}
	for _, i := range []uint64{0, 3, 5} {
		if _, err := b.Get(i, nil); err == nil {
			t.Errorf("there is a batch %d", i)
		}
	}
	if r, err := b.Get(4, nil); err != nil || string(r) != "d" {
		t.Errorf("%q, %v", r, err)
	}
}
