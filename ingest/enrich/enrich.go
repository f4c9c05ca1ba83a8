// Package enrich adds tags to rows: it knows which tag set an address belongs to and sets the tag columns of batches that
// lack them.
package enrich

import (
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/flowlake/flowlake/db/batch"
	"github.com/flowlake/flowlake/db/schema"
	"github.com/flowlake/flowlake/db/tags"
)

// Catalogue says which tag set an address has. Lookups take an immutable snapshot; Set replaces it.
type Catalogue struct {
	byAddr atomic.Pointer[map[[16]byte][]byte]
	// version counts what Set has done
	version atomic.Uint64
	// internet is the tag set of a public address that is not known
	internet []byte
}

// New makes a catalogue that knows no address.
func New() *Catalogue {
	c := &Catalogue{internet: tags.AppendSet(nil, tags.Tag{Key: "internet", Value: "true"})}
	c.byAddr.Store(&map[[16]byte][]byte{})
	return c
}

// Set gives addresses a tag set, in place of what they had. Loopback addresses belong to every host: set them only where
// all rows come from one.
func (c *Catalogue) Set(addrs []netip.Addr, set ...tags.Tag) {
	enc := tags.AppendSet(nil, set...)
	for {
		old := c.byAddr.Load()
		next := maps.Clone(*old)
		for _, a := range addrs {
			next[a.As16()] = enc
		}
		if c.byAddr.CompareAndSwap(old, &next) {
			c.version.Add(1)
			return
		}
	}
}

// Version changes after each Set: who keeps what Lookup said looks up anew.
func (c *Catalogue) Version() uint64 { return c.version.Load() }

// Lookup appends the tag set of an address (16 bytes; IPv4 mapped) to dst: the one it was given, {ip} for an unknown
// private address, {internet} for an unknown public one, the empty set for no address.
func (c *Catalogue) Lookup(dst, addr []byte) []byte {
	if len(addr) != 16 {
		return tags.AppendSet(dst)
	}
	key := [16]byte(addr)
	if enc, ok := (*c.byAddr.Load())[key]; ok {
		return append(dst, enc...)
	}
	a := netip.AddrFrom16(key).Unmap()
	switch {
	case a.IsUnspecified():
		return tags.AppendSet(dst)
	case a.IsPrivate(), a.IsLoopback(), a.IsLinkLocalUnicast(), a.IsMulticast(), isShared(a), a == broadcast:
		return tags.AppendSet(dst, tags.Tag{Key: "ip", Value: a.String()})
	}
	return append(dst, c.internet...)
}

var (
	broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	shared    = netip.MustParsePrefix("100.64.0.0/10") // carrier-grade NAT, RFC 6598; used inside clouds
)

func isShared(a netip.Addr) bool { return shared.Contains(a) }

// Enrich returns b with its tag columns set from its addresses, where the table has both and b lacks the tags. It works per
// distinct address, not per row. Addresses that are no column of b.N codes and their dictionary are left alone: whoever
// stores the batch refuses it.
func (c *Catalogue) Enrich(b *batch.Batch) *batch.Batch {
	out := c.side(b, "client_ip", "client_tags")
	return c.side(out, "server_ip", "server_tags")
}

func (c *Catalogue) side(b *batch.Batch, ipName, tagsName string) *batch.Batch {
	ip, tag := b.Table.Column(ipName), b.Table.Column(tagsName)
	if ip < 0 || tag < 0 || len(b.Cols) <= ip || b.Cols[ip] == nil || len(b.Cols) > tag && b.Cols[tag] != nil {
		return b
	}
	src := b.Cols[ip]
	if len(src.Codes) != b.N || src.Dict == nil {
		return b
	}
	var dict batch.DictBuilder
	lut := make([]uint32, src.Dict.Len())
	var enc []byte
	for i := range lut {
		enc = c.Lookup(enc[:0], src.Dict.At(i))
		lut[i] = dict.Code(enc)
	}
	v := &batch.Vector{Type: schema.TagSet, Codes: make([]uint32, b.N)}
	for i, code := range src.Codes {
		if int(code) >= len(lut) {
			return b
		}
		v.Codes[i] = lut[code]
	}
	v.Dict = dict.Seal()
	cols := slices.Clone(b.Cols)
	for len(cols) <= tag {
		cols = append(cols, nil)
	}
	cols[tag] = v
	return &batch.Batch{Table: b.Table, N: b.N, Cols: cols}
}
