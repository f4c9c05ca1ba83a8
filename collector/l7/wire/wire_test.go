package wire

import (
	"bytes"
	"testing"
)

func TestNumbers(t *testing.T) {
	r := NewReader([]byte{1, 0, 2, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 5, 6, 0, 7, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0xac, 0x02, 0x03})
	got := []uint64{uint64(r.U8()), uint64(r.U16()), uint64(r.U24()), uint64(r.U32()), r.U64(), uint64(r.U16LE()), uint64(r.U24LE()),
		uint64(r.U32LE()), r.U64LE(), r.Uvarint(), uint64(-r.Varint())}
	for i, want := range []uint64{1, 2, 3, 4, 5, 6, 7, 8, 9, 300, 2} {
		if got[i] != want {
			t.Errorf("number %d: %d, want %d", i, got[i], want)
		}
	}
	if !r.OK() || r.Len() != 0 {
		t.Errorf("ok %v, %d left", r.OK(), r.Len())
	}
}

func TestShort(t *testing.T) {
	reads := map[string]func(*Reader){
		"U8": func(r *Reader) { r.Skip(3); r.U8() }, "U16": func(r *Reader) { r.Skip(2); r.U16() }, "U24": func(r *Reader) { r.U8(); r.U24() },
		"U32": func(r *Reader) { r.U32() }, "U64": func(r *Reader) { r.U64() }, "U16LE": func(r *Reader) { r.Skip(2); r.U16LE() },
		"U24LE": func(r *Reader) { r.U8(); r.U24LE() }, "U32LE": func(r *Reader) { r.U32LE() }, "U64LE": func(r *Reader) { r.U64LE() },
		"Bytes": func(r *Reader) { r.Bytes(4) }, "negative": func(r *Reader) { r.Bytes(-1) }, "Skip": func(r *Reader) { r.Skip(4) },
		"UpTo": func(r *Reader) { r.UpTo(4) }, "UpTo negative": func(r *Reader) { r.UpTo(-1) }, "Uvarint": func(r *Reader) { r.Uvarint() },
		"Varint": func(r *Reader) { r.Varint() }, "CString": func(r *Reader) { r.CString() },
	}
	for name, read := range reads {
		r := NewReader([]byte{0x81, 0x82, 0x83})
		read(&r)
		if r.OK() || r.Len() != 0 || r.Rest() != nil || r.U8() != 0 || r.Peek() != 0 {
			t.Errorf("%s: %+v is not short", name, r)
		}
	}
}

func TestStrings(t *testing.T) {
	r := NewReader([]byte("ab\x00cdef"))
	if got := r.CString(); string(got) != "ab" {
		t.Errorf("CString %q", got)
	}
	if r.Peek() != 'c' {
		t.Errorf("Peek %q", r.Peek())
	}
	if got := r.Bytes(2); string(got) != "cd" {
		t.Errorf("Bytes %q", got)
	}
	if got := r.Rest(); string(got) != "ef" {
		t.Errorf("Rest %q", got)
	}
	if got := r.UpTo(9); string(got) != "ef" || r.OK() {
		t.Errorf("UpTo %q, ok %v", got, r.OK())
	}
}

// FuzzReader: whatever is asked for, nothing panics, and the position only moves forwards within the bytes.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5}, []byte{1, 0x80, 3})
	f.Fuzz(func(t *testing.T, ops, p []byte) {
		r := NewReader(p)
		for _, op := range ops {
			before := r.Off
			switch op % 8 {
			case 0:
				r.U8()
			case 1:
				r.U32()
			case 2:
				r.Uvarint()
			case 3:
				r.CString()
			case 4:
				r.UpTo(int(int8(op)))
			case 5:
				if b := r.Bytes(int(int8(op))); b != nil && !bytes.Equal(b, p[before:r.Off]) {
					t.Fatal("other bytes")
				}
			case 6:
				r.Varint()
			case 7:
				r.U64LE()
			}
			if r.Off < before || r.Off > len(p) {
				t.Fatalf("from %d to %d of %d", before, r.Off, len(p))
			}
		}
	})
}
