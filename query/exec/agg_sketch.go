package exec

import (
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/enc"
	"github.com/flowlake/flowlake/db/schema"
)

// Sketches are those of db/enc, so a percentile or a distinct count is the same whether it is made of rows or merged from
// the sketches of a rollup.

// sketchState is approx_percentile, over numbers or over stored sketches.
type sketchState struct {
	q      float64
	groups []*enc.Sketch
	made   int64
}

func (s *sketchState) group(g uint32) *enc.Sketch {
	if s.groups[g] == nil {
		s.groups[g] = &enc.Sketch{}
		s.made++
	}
	return s.groups[g]
}

func (s *sketchState) add(gids []uint32, groups int, args []*batch.Vector) error {
	s.groups = extend(s.groups, groups)
	v := args[0]
	for i, g := range gids {
		if v.IsNull(i) {
			continue
		}
		if v.Type == schema.Bytes {
			if err := s.group(g).MergeOnce(v.Bytes(i)); err != nil {
				return runErrorf(stateBadText, "a value is not a sketch: %v", err)
			}
			continue
		}
		s.group(g).Add(floatAt(v, i))
	}
	return nil
}

func (s *sketchState) merge(from aggState, remap []uint32, groups int) error {
	s.groups = extend(s.groups, groups)
	for g, k := range from.(*sketchState).groups {
		switch {
		case k == nil:
		case s.groups[remap[g]] == nil:
			s.groups[remap[g]] = k
			s.made++
		default:
			s.groups[remap[g]].MergeWith(k)
		}
	}
	return nil
}

func (s *sketchState) result(groups int) (*batch.Vector, error) {
	s.groups = extend(s.groups, groups)
	out := newResult(schema.Double, groups)
	for g := range groups {
		out.F64[g] = 0
		if k := s.groups[g]; k != nil {
			if f := k.Quantile(s.q); f == f {
				out.F64[g] = f
				continue
			}
		}
		setNull(out, g, groups)
	}
	return out, nil
}

// bytes counts 1 KiB for a sketch of latencies.
func (s *sketchState) bytes() int64 { return int64(cap(s.groups))*8 + s.made*1024 }

// uniqState estimates the number of distinct values, or merges the estimators that rollups store.
type uniqState struct {
	groups []*enc.HLL
	made   int64
	dict   *batch.Dict
	hashes []uint64 // per entry of dict, 0 not known yet
}

func (s *uniqState) group(g uint32) *enc.HLL {
	if s.groups[g] == nil {
		s.groups[g] = &enc.HLL{}
		s.made++
	}
	return s.groups[g]
}

func (s *uniqState) add(gids []uint32, groups int, args []*batch.Vector) error {
	s.groups = extend(s.groups, groups)
	v := args[0]
	if v.Type == schema.Bytes {
		return s.addStored(gids, v)
	}
	if v.Dict != nil && v.Dict != s.dict {
		s.dict = v.Dict
		s.hashes = resize(s.hashes, v.Dict.Len())
		clear(s.hashes)
	}
	for i, g := range gids {
		if !v.IsNull(i) {
			s.group(g).Add(enc.HLLValue(s.hash(v, i)))
		}
	}
	return nil
}

func (s *uniqState) addStored(gids []uint32, v *batch.Vector) error {
	for i, g := range gids {
		if v.IsNull(i) {
			continue
		}
		if err := s.group(g).Merge(v.Bytes(i)); err != nil {
			return runErrorf(stateBadText, "a value is not a count of distinct values: %v", err)
		}
	}
	return nil
}

// hash is what enc.HLLValue is made of: xxhash of the bytes, of a number's eight.
func (s *uniqState) hash(v *batch.Vector, i int) uint64 {
	var x uint64
	switch v.Type.Physical() {
	case schema.Int64:
		x = uint64(v.I64[i])
	case schema.Float64:
		x = floatBits(v.F64[i])
	case schema.ID:
		x = uint64(v.Codes[i])
	default:
		c := v.Codes[i]
		if s.hashes[c] == 0 {
			s.hashes[c] = xxhash.Sum64(v.Dict.At(int(c)))
		}
		return s.hashes[c]
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], x)
	return xxhash.Sum64(b[:])
}

func (s *uniqState) merge(from aggState, remap []uint32, groups int) error {
	s.groups = extend(s.groups, groups)
	for g, k := range from.(*uniqState).groups {
		switch {
		case k == nil:
		case s.groups[remap[g]] == nil:
			s.groups[remap[g]] = k
			s.made++
		default:
			s.groups[remap[g]].MergeWith(k)
		}
	}
	return nil
}

func (s *uniqState) result(groups int) (*batch.Vector, error) {
	s.groups = extend(s.groups, groups)
	out := newResult(schema.BigInt, groups)
	for g := range groups {
		out.I64[g] = 0
		if k := s.groups[g]; k != nil {
			out.I64[g] = int64(k.Estimate())
		}
	}
	return out, nil
}

// bytes counts 4 KiB for an estimator: those of few values take less.
func (s *uniqState) bytes() int64 {
	return int64(cap(s.groups))*8 + int64(cap(s.hashes))*8 + s.made*4096
}

func init() {
	registerHidden("sketch_text", sig(tText, sketchText, schema.Bytes))
	registerHidden("uniq_text", sig(tText, uniqText, schema.Bytes))
}

// sketchText is what a client is shown of a stored sketch.
func sketchText(a []Value) (Value, error) {
	var s enc.Sketch
	if err := s.Merge([]byte(a[0].S)); err != nil {
		return Value{}, runErrorf(stateBadText, "a value is not a sketch: %v", err)
	}
	b := strconv.AppendUint([]byte(`{"count":`), s.Count(), 10)
	if s.Count() > 0 {
		for _, p := range []struct {
			name  string
			share float64
		}{{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"max", 1}} {
			b = append(b, `,"`+p.name+`":`...)
			b = strconv.AppendFloat(b, s.Quantile(p.share), 'g', 4, 64)
		}
	}
	return TextValue(string(append(b, '}'))), nil
}

// uniqText is what a client is shown of a stored count of distinct values.
func uniqText(a []Value) (Value, error) {
	var h enc.HLL
	if err := h.Merge([]byte(a[0].S)); err != nil {
		return Value{}, runErrorf(stateBadText, "a value is not a count of distinct values: %v", err)
	}
	return TextValue(`{"distinct":` + strconv.FormatUint(h.Estimate(), 10) + "}"), nil
}
