package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

// All names and numbers of the format; docs/format/wal.md explains them.
const (
	segmentMagic   = "flakewal"
	formatVersion  = 1
	segmentSuffix  = ".wal"
	spareSuffix    = ".free"
	tempSuffix     = ".tmp"
	nameDigits     = 20
	headerBytes    = 72
	dataStart      = 4096 // offset of the first record
	recordHeader   = 24
	recordAlign    = 8
	maxRecordBytes = 1 << 30
	maxAppendBytes = 8 << 30 // so that offsets in units of recordAlign fit into 32 bits

	flagUnsynced = 1 << 0 // segment: written with NoSync
	flagEnd      = 1 << 0 // record: the last of an append

	typeData  = 1
	typeFront = 2
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian
)

func segmentName(seq uint64) string { return fmt.Sprintf("%0*d%s", nameDigits, seq, segmentSuffix) }
func spareName(seq uint64) string   { return fmt.Sprintf("%0*d%s", nameDigits, seq, spareSuffix) }
func tempName(seq uint64) string    { return fmt.Sprintf("%0*d%s", nameDigits, seq, tempSuffix) }

// parseName returns the number in a file name with the given suffix.
func parseName(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != nameDigits {
		return 0, false
	}
	seq, err := strconv.ParseUint(digits, 10, 64)
	return seq, err == nil && seq > 0
}

// segmentHeader is the start of a segment file.
type segmentHeader struct {
	flags        uint32
	salt         uint64
	seq          uint64
	first        uint64
	front        uint64
	prevEnd      int64
	createdNanos int64
}

func (h *segmentHeader) appendTo(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, segmentMagic...)
	dst = le.AppendUint32(dst, formatVersion)
	dst = le.AppendUint32(dst, h.flags)
	dst = le.AppendUint64(dst, h.salt)
	dst = le.AppendUint64(dst, h.seq)
	dst = le.AppendUint64(dst, h.first)
	dst = le.AppendUint64(dst, h.front)
	dst = le.AppendUint64(dst, uint64(h.prevEnd))
	dst = le.AppendUint64(dst, uint64(h.createdNanos))
	dst = le.AppendUint32(dst, 0)
	return le.AppendUint32(dst, crc32.Checksum(dst[start:], castagnoli))
}

// parseSegmentHeader reads a header. file names it in errors.
func parseSegmentHeader(file string, b []byte) (h segmentHeader, err error) {
	corrupt := func(off int64, reason string) (segmentHeader, error) {
		return segmentHeader{}, &CorruptionError{File: file, Offset: off, Reason: reason}
	}
	if len(b) < headerBytes {
		return corrupt(int64(len(b)), "file ends within the segment header")
	}
	if string(b[:8]) != segmentMagic {
		return corrupt(0, "no segment header")
	}
	if v := le.Uint32(b[8:]); v > formatVersion {
		return h, fmt.Errorf("%s has format version %d, known is %d: %w", file, v, formatVersion, ErrNewerFormat)
	}
	if crc32.Checksum(b[:headerBytes-4], castagnoli) != le.Uint32(b[headerBytes-4:]) {
		return corrupt(headerBytes-4, "checksum of the segment header is wrong")
	}
	h = segmentHeader{
		flags:        le.Uint32(b[12:]),
		salt:         le.Uint64(b[16:]),
		seq:          le.Uint64(b[24:]),
		first:        le.Uint64(b[32:]),
		front:        le.Uint64(b[40:]),
		prevEnd:      int64(le.Uint64(b[48:])),
		createdNanos: int64(le.Uint64(b[56:])),
	}
	if h.first == 0 || h.front == 0 || h.front > h.first || h.prevEnd < 0 || h.prevEnd%recordAlign != 0 {
		return corrupt(32, "segment header states impossible positions")
	}
	return h, nil
}

// saltCRC is the checksum state that every record checksum of a segment starts from.
func saltCRC(salt uint64) uint32 {
	var b [8]byte
	le.PutUint64(b[:], salt)
	return crc32.Checksum(b[:], castagnoli)
}

// record is the header of a record.
type record struct {
	crc    uint32
	length uint32
	index  uint64
	back   uint32
	typ    uint8
	flags  uint8
	check  uint16
}

// paddedBytes is the room that a record with a payload of that length takes.
func paddedBytes(length int) int64 {
	return (recordHeader + int64(length) + recordAlign - 1) &^ (recordAlign - 1)
}

// appendRecordHeader appends the header of a record, checksums included; the payload and padding are to follow.
func appendRecordHeader(dst []byte, salted uint32, typ, flags uint8, index uint64, back uint32, payload []byte) []byte {
	at := len(dst)
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint32(dst, uint32(len(payload)))
	dst = le.AppendUint64(dst, index)
	dst = le.AppendUint32(dst, back)
	dst = append(dst, typ, flags)
	dst = le.AppendUint16(dst, uint16(crc32.Update(salted, castagnoli, dst[at+4:])))
	le.PutUint32(dst[at:], crc32.Update(crc32.Update(salted, castagnoli, dst[at+4:]), castagnoli, payload))
	return dst
}

// parseRecord reads a record header; ok is whether its own checksum holds. len(b) >= recordHeader.
func parseRecord(b []byte, salted uint32) (r record, ok bool) {
	_ = b[recordHeader-1]
	r = record{
		crc:    le.Uint32(b),
		length: le.Uint32(b[4:]),
		index:  le.Uint64(b[8:]),
		back:   le.Uint32(b[16:]),
		typ:    b[20],
		flags:  b[21],
		check:  le.Uint16(b[22:]),
	}
	return r, r.check == uint16(crc32.Update(salted, castagnoli, b[4:22]))
}
