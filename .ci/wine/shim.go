//go:build ignore

// Shim writes bcryptprimitives.dll to the file it is given: a library of one function, ProcessPrng, without which no program
// of Go 1.26 starts. Wine 8, which Debian 12 has, lacks it. The bytes are made here so that CI needs no compiler for Windows.
package main

import (
	"bytes"
	"encoding/binary"
	"log"
	"os"
)

// code fills rdx bytes at rcx with random numbers of the processor and returns 1.
var code = []byte{
	0x48, 0x85, 0xd2, //       next: test rdx, rdx
	0x74, 0x27, //             jz done
	0x48, 0x0f, 0xc7, 0xf0, // again: rdrand rax
	0x73, 0xfa, //             jnc again
	0x48, 0x83, 0xfa, 0x08, // cmp rdx, 8
	0x72, 0x0d, //             jb tail
	0x48, 0x89, 0x01, //       mov [rcx], rax
	0x48, 0x83, 0xc1, 0x08, // add rcx, 8
	0x48, 0x83, 0xea, 0x08, // sub rdx, 8
	0xeb, 0xe2, //             jmp next
	0x88, 0x01, //             tail: mov [rcx], al
	0x48, 0xc1, 0xe8, 0x08, // shr rax, 8
	0x48, 0xff, 0xc1, //       inc rcx
	0x48, 0xff, 0xca, //       dec rdx
	0x75, 0xf2, //             jnz tail
	0xb8, 1, 0, 0, 0, //       done: mov eax, 1
	0xc3, //                   ret
}

const (
	align   = 0x200  // of sections in the file
	page    = 0x1000 // and in memory
	exports = 0x100  // offset in the section, of which code is the beginning
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: shim FILE")
	}
	if err := os.WriteFile(os.Args[1], library(), 0o644); err != nil {
		log.Fatal(err)
	}
}

// library is a PE32+ file (Microsoft's PE format specification) of headers and one section.
func library() []byte {
	var b bytes.Buffer
	put := func(values ...any) {
		for _, v := range values {
			if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
				log.Fatal(err)
			}
		}
	}
	put([]byte("MZ"), make([]byte, 58), uint32(64), []byte("PE\x00\x00"))
	const executable, largeAddress, dll = 0x2, 0x20, 0x2000
	put(uint16(0x8664), uint16(1), uint32(0), uint32(0), uint32(0), uint16(240), uint16(executable|largeAddress|dll))
	put(uint16(0x20b), uint16(0), uint32(align), uint32(0), uint32(0), uint32(0), uint32(page))                              // no entry point
	put(uint64(0x180000000), uint32(page), uint32(align), uint16(6), uint16(0), uint32(0), uint16(6), uint16(0))             // base, alignments, versions
	put(uint32(0), uint32(2*page), uint32(align), uint32(0), uint16(3), uint16(0x140))                                       // sizes; console, may be anywhere
	put(uint64(1<<20), uint64(page), uint64(1<<20), uint64(page), uint32(0), uint32(16), uint32(page+exports), uint32(0x80)) // 16 directories: exports,
	put(make([]byte, 15*8))                                                                                                  // and no others
	put([]byte(".text\x00\x00\x00"), uint32(align), uint32(page), uint32(align), uint32(align), make([]byte, 12), uint32(0x60000020))
	put(make([]byte, align-b.Len()))

	section := make([]byte, align)
	copy(section, code)
	const functions, names, ordinals, name, export = exports + 40, exports + 44, exports + 48, exports + 50, exports + 72
	dir := section[exports:]
	for i, v := range map[int]uint32{12: page + name, 16: 1, 20: 1, 24: 1, 28: page + functions, 32: page + names, 36: page + ordinals} {
		binary.LittleEndian.PutUint32(dir[i:], v)
	}
	binary.LittleEndian.PutUint32(section[functions:], page) // where code begins
	binary.LittleEndian.PutUint32(section[names:], page+export)
	copy(section[name:], "bcryptprimitives.dll\x00")
	copy(section[export:], "ProcessPrng\x00")
	put(section)
	return b.Bytes()
}
