package main

import (
	"bytes"
	"testing"
)

func TestMeasure(t *testing.T) {
	for _, kind := range []string{"pods", "shared"} {
		r, err := measure(12_000, kind, true, &bytes.Buffer{})
		if err != nil {
			t.Fatal(err)
		}
		if r.HeapBytes <= 0 || r.FileBytes <= 0 || r.EncodedBytes < 18*16 {
			t.Errorf("%s: %+v", kind, r)
		}
	}
	if _, err := measure(1, "none", false, nil); err == nil {
		t.Error("values that there are not")
	}
}
