package segment

import (
	"bytes"
	"hash/crc32"
	"math"
	"slices"

	"github.com/flowlake/flowlake/db/pred"
	"github.com/flowlake/flowlake/db/schema"
)

// units is Reader.Units.
func (r *opened) units(req *pred.Request) (units []Unit) {
	p := pruner{r: r, req: req, total: int64(r.index.info.Units)}
	p.prepare()
	if !p.nothing {
		for g := range r.index.groups {
			units = p.group(g, units)
		}
	}
	if st := req.Stats; st != nil {
		st.Segments.Add(1)
		if len(units) == 0 {
			st.SegmentsPruned.Add(1)
		}
		st.Pages.Add(p.total)
		st.PagesPruned.Add(p.total - int64(len(units)))
		st.BytesRead.Add(p.s.read)
	}
	return units
}

type pruner struct {
	r       *opened
	req     *pred.Request
	terms   []pruneTerm
	total   int64
	nothing bool // a term rules out the whole file
	s       scratch
}

type pruneTerm struct {
	*pred.Term
	column int // of the file
	typ    schema.Type
	equal  [][]byte // Term.Equal in the form of the file; nil when not known
	hashes []uint64 // of the only values that can match, for Bloom filters
}

func (p *pruner) prepare() {
	i := &p.r.index.info
	if i.Rows == 0 || p.req.From > i.MaxTime || p.req.To <= i.MinTime && p.req.To != pred.MaxTime {
		p.nothing = true
		return
	}
	time := pred.Term{Column: p.r.table.TimeColumn, Kind: pred.IntRange, Lo: p.req.From, Hi: p.req.To}
	if p.req.To != pred.MaxTime {
		time.Hi--
	}
	p.add(&time)
	for k := range p.req.Terms {
		p.add(&p.req.Terms[k])
	}
}

func (p *pruner) add(t *pred.Term) {
	k := p.r.columns[t.Column]
	if k < 0 { // every row has the default
		p.nothing = p.nothing || !matchesDefault(t, &p.r.table.Columns[t.Column])
		return
	}
	pt := pruneTerm{Term: t, column: k, typ: p.r.index.columns[k].typ}
	bloom := p.r.table.Columns[t.Column].Bloom && !t.Not
	switch {
	case t.Kind == pred.Text && t.Equal != nil && !t.Not:
		pt.equal = [][]byte{}
		conv := converter{typ: pt.typ}
		for _, v := range t.Equal {
			// a value that cannot be stored is in no file
			if s, err := conv.stored(v); err == nil {
				pt.equal = append(pt.equal, bytes.Clone(s))
			}
			if bloom && len(pt.equal) > 0 {
				pt.hashes = append(pt.hashes, bloomHash(pt.equal[len(pt.equal)-1]))
			}
		}
		p.nothing = p.nothing || len(pt.equal) == 0
	case t.Kind == pred.IntSet && bloom && len(t.Ints) <= 64:
		for _, v := range t.Ints {
			pt.hashes = append(pt.hashes, bloomHashInt(v, pt.typ))
		}
	case t.Kind == pred.IntRange && bloom && t.Lo == t.Hi:
		pt.hashes = []uint64{bloomHashInt(t.Lo, pt.typ)}
	}
	p.terms = append(p.terms, pt)
}

// matchesDefault says whether a column's default value satisfies t.
func matchesDefault(t *pred.Term, c *schema.Column) bool {
	if t.Kind == pred.IsNull {
		return c.Nullable != t.Not
	}
	if c.Nullable {
		return false
	}
	switch c.Type.Physical() {
	case schema.Int64:
		return t.Int(0)
	case schema.Float64:
		return t.Float(0)
	case schema.ID:
		return t.IDs.Contains(0) != t.Not
	}
	return t.Match(nil) != t.Not
}

func (p *pruner) group(g int, units []Unit) []Unit {
	group := &p.r.index.groups[g]
	begin := len(units)
pages:
	for i, page := range group.unitPages() {
		for k := range p.terms {
			t := &p.terms[k]
			if p.r.verdict(t.Term, &group.chunks[t.column].pages[i], t.typ, t.equal) == matchesNone {
				continue pages
			}
		}
		units = append(units, Unit{RowGroup: int32(g), Page: int32(i), Rows: int32(page.rows)})
	}
	if len(units) == begin {
		return units
	}
	for k := range p.terms {
		if t := &p.terms[k]; !p.mayBloom(&group.chunks[t.column], t) || !p.mayDictionary(g, t) {
			return units[:begin]
		}
	}
	for k := range p.terms {
		units = units[:begin+len(p.located(g, &p.terms[k], units[begin:]))]
	}
	return units
}

// mayBloom says whether the chunk's Bloom filter lets any of the term's values pass.
func (p *pruner) mayBloom(m *chunkMeta, t *pruneTerm) bool {
	if len(t.hashes) == 0 || m.bloomLen == 0 {
		return true
	}
	for _, h := range t.hashes {
		at := bloomBlock * bloomIndex(h, int(m.bloomLen)/bloomBlock)
		section := at / bloomSection
		from := section * bloomSection
		n := min(bloomSection, int(m.bloomLen)-from)
		p.s.page = extend(p.s.page, 0, n)
		if _, err := p.r.file.ReadAt(p.s.page, m.bloomOff+int64(from)); err != nil {
			return true
		}
		p.s.read += int64(n)
		if crc32.Checksum(p.s.page, castagnoli) != m.bloomCRC[section] {
			return true // a damaged filter rules nothing out; Verify tells
		}
		if bloomHas(p.s.page[at-from:], h) {
			return true
		}
	}
	return false
}

// mayDictionary says whether a chunk whose values are all in its dictionary has one that satisfies the term.
func (p *pruner) mayDictionary(g int, t *pruneTerm) (may bool) {
	m := &p.r.index.groups[g].chunks[t.column]
	if !m.allDict || t.Kind != pred.Tags && t.equal == nil {
		return true
	}
	defer func() {
		if recover() != nil {
			may = true // as any damage: Read meets it again and reports it
		}
	}()
	one := t.Kind == pred.Text && len(t.equal) == 1 && !t.Not && t.typ.Physical() == schema.Code
	if one && p.r.cache.get(cacheKey{p.r.id, int32(g), int32(t.column)}) == nil {
		// Where the filter was wrong nobody needs the dictionary in memory.
		if p.r.loadPage(&m.dict, -1, &p.s) != nil {
			return true
		}
		if !plainHas(p.s.page8.values, t.equal[0]) {
			return false
		}
		_, _ = p.r.keepDictionary(g, t.column, &p.s) // an error is the reader's to meet
		return true
	}
	d, err := p.r.dictionary(g, t.column, &p.s)
	if err != nil {
		return true
	}
	if t.Kind == pred.Tags {
		var s idTable
		s.begin(t.Term)
		s.ask(len(d.ids))
		return slices.ContainsFunc(d.ids, s.has)
	}
	if len(t.Equal) == 1 && !t.Not {
		return slices.Contains(equalTruth(nil, t.Term, d), true)
	}
	for i := range d.text.Len() {
		if t.Match(d.text.At(i)) != t.Not {
			return true
		}
	}
	return false
}

type verdict uint8

const (
	mayMatch verdict = iota
	matchesNone
	matchesAll
)

// verdict says what the page's metadata tell about a term. equal is the term's Equal in stored form, nil when not known.
func (r *opened) verdict(t *pred.Term, p *pageMeta, typ schema.Type, equal [][]byte) verdict {
	if t.Kind == pred.IsNull {
		switch nulls := p.nulls; {
		case nulls == 0 && t.Not, nulls == p.rows && !t.Not:
			return matchesAll
		case nulls == 0, nulls == p.rows:
			return matchesNone
		}
		return mayMatch
	}
	if p.nulls == p.rows {
		return matchesNone
	}
	if p.flags&pageRange == 0 {
		return mayMatch
	}
	switch t.Kind {
	case pred.IntRange, pred.IntSet:
		return intVerdict(t, p)
	case pred.FloatRange:
		return floatVerdict(t, p)
	case pred.Tags:
		if t.Not || typ != schema.TagSet {
			return mayMatch
		}
		it := t.IDs.Iterator()
		it.AdvanceIfNeeded(uint32(p.min))
		if !it.HasNext() || it.PeekNext() > uint32(p.max) {
			return matchesNone
		}
	case pred.Text:
		if t.Not || equal == nil || typ.Physical() != schema.Code {
			return mayMatch
		}
		lo, hi := textAt(r.index.text, p.min), textAt(r.index.text, p.max)
		for _, v := range equal {
			if bytes.Compare(v, lo) >= 0 && bytes.Compare(v, hi) <= 0 {
				return mayMatch
			}
		}
		return matchesNone
	}
	return mayMatch
}

func intVerdict(t *pred.Term, p *pageMeta) verdict {
	switch {
	case !t.MayContain(p.min, p.max):
		return matchesNone
	case t.Kind != pred.IntRange || p.nulls > 0 || t.Lo > t.Hi:
		return mayMatch
	case !t.Not && t.Lo <= p.min && p.max <= t.Hi, t.Not && (p.max < t.Lo || p.min > t.Hi):
		return matchesAll
	}
	return mayMatch
}

func floatVerdict(t *pred.Term, p *pageMeta) verdict {
	if t.Not || p.flags&pageNaN != 0 {
		return mayMatch
	}
	lo, hi := math.Float64frombits(uint64(p.min)), math.Float64frombits(uint64(p.max))
	switch open := t.FHi != t.FHi; {
	case hi < t.FLo || !open && lo > t.FHi:
		return matchesNone
	case p.nulls == 0 && lo >= t.FLo && (open || hi <= t.FHi):
		return matchesAll
	}
	return mayMatch
}
