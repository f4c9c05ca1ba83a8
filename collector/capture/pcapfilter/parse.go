package pcapfilter

import (
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// parser is a recursive-descent parser over tokens.
type parser struct {
	text   string
	o      *Options
	tokens []token
	next   int
	depth  int
}

// undefined are the qualifiers of a term from which nothing can be taken over.
var undefined = qualifiers{proto: protoUndefined}

func (p *parser) peek() *token { return &p.tokens[p.next] }

func (p *parser) peekAt(n int) *token { return &p.tokens[min(p.next+n, len(p.tokens)-1)] }

func (p *parser) take() *token {
	t := &p.tokens[p.next]
	if t.kind != tokenEnd {
		p.next++
	}
	return t
}

// is says whether the next token is this operator.
func (p *parser) is(op string) bool {
	t := p.peek()
	return t.kind == tokenOp && t.text == op
}

// accept takes the operator if it is next.
func (p *parser) accept(op string) bool {
	if p.is(op) {
		p.next++
		return true
	}
	return false
}

// keyword takes a word if it is next.
func (p *parser) keyword(w string) bool {
	if t := p.peek(); t.kind == tokenWord && t.text == w {
		p.next++
		return true
	}
	return false
}

func (p *parser) expect(op, what string) error {
	if !p.accept(op) {
		t := p.peek()
		return p.errorf(t.at, "%s expected, not %v", what, t)
	}
	return nil
}

// enter counts how deep the text is nested; leave is to follow.
func (p *parser) enter() error {
	if p.depth++; p.depth > maxNesting {
		return p.errorf(p.peek().at, "nested deeper than %d levels", maxNesting)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) parse() (node, error) {
	if err := p.lex(); err != nil {
		return nil, err
	}
	if p.peek().kind == tokenEnd {
		return nil, nil
	}
	n, _, err := p.expression()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.kind != tokenEnd {
		if t.kind != tokenOp {
			return nil, p.errorf(t.at, `"and" or "or" expected, not %v`, t)
		}
		return nil, p.errorf(t.at, "unexpected %v", t)
	}
	return n, nil
}

// expression reads terms with and, or between them, which bind equally and to the left. It returns the qualifiers of the
// last term.
func (p *parser) expression() (node, qualifiers, error) {
	left, q, err := p.term(nil)
	if err != nil {
		return nil, q, err
	}
	return p.chain(left, q, p.term)
}

// chain reads what follows a first term.
func (p *parser) chain(left node, q qualifiers, term func(*qualifiers) (node, qualifiers, error)) (node, qualifiers, error) {
	for {
		and := p.is("&&")
		if !and && !p.is("||") {
			return left, q, nil
		}
		p.next++
		right, next, err := term(&q)
		if err != nil {
			return nil, q, err
		}
		if and {
			left = andNode{left, right}
		} else {
			left = orNode{left, right}
		}
		q = next
	}
}

// term reads one term. q are the qualifiers of the term before, which an address or number alone takes over; nil when it is
// the first.
func (p *parser) term(q *qualifiers) (node, qualifiers, error) {
	if err := p.enter(); err != nil {
		return nil, undefined, err
	}
	defer p.leave()
	t := p.peek()
	if p.accept("!") {
		n, q, err := p.term(q)
		return notNode{n}, q, err
	}
	if n, ok, err := p.relation(); ok || err != nil {
		return n, undefined, err
	}
	if p.accept("(") {
		n, inner, err := p.group(q)
		if err != nil {
			return nil, inner, err
		}
		return n, inner, p.expect(")", `")"`)
	}
	switch t.kind {
	case tokenEnd:
		return nil, undefined, p.errorf(t.at, "a condition expected, not the end")
	case tokenOp:
		return nil, undefined, p.errorf(t.at, "a condition expected, not %v", t)
	case tokenWord:
		if n, ok, err := p.other(t); ok || err != nil {
			return n, undefined, err
		}
		if isQualifier(t.text) {
			return p.qualified()
		}
		if why, ok := unsupported[t.text]; ok {
			return nil, undefined, p.errorf(t.at, "%q is not supported%s", t.text, why)
		}
	}
	return p.bareIDs(q)
}

// group reads what is within parentheses: its first term may take over qualifiers from before them.
func (p *parser) group(q *qualifiers) (node, qualifiers, error) {
	left, inner, err := p.term(q)
	if err != nil {
		return nil, inner, err
	}
	return p.chain(left, inner, p.term)
}

// bareIDs reads an address or number without keywords of its own.
func (p *parser) bareIDs(q *qualifiers) (node, qualifiers, error) {
	t := p.peek()
	if q == nil {
		if t.kind == tokenWord && !strings.Contains(t.text, ".") {
			return nil, undefined, p.errorf(t.at, "unknown word %q%s", t.text, suggestion(t.text))
		}
		q = &qualifiers{}
	}
	if q.proto == protoUndefined {
		return nil, undefined, p.errorf(t.at, `%v needs a keyword such as "host" or "port" before it`, t)
	}
	n, err := p.id(*q)
	return n, *q, err
}

func isQualifier(w string) bool {
	_, isProto := protoWords[w]
	_, isKind := kindWords[w]
	return isProto || isKind || w == "src" || w == "dst"
}

// unsupported are keywords of libpcap's language that this one lacks.
var unsupported = map[string]string{
	"gateway": "", "protochain": ": the kernel takes no program with a loop", "mpls": "", "pppoed": "", "pppoes": "", "geneve": "",
	"vxlan": "", "fddi": "", "tr": "", "wlan": "", "ppp": "", "slip": "", "atalk": "", "aarp": "", "decnet": "", "lat": "",
	"moprc": "", "mopdl": "", "iso": "", "esis": "", "isis": "", "clnp": "", "stp": "", "ipx": "", "netbeui": "", "byte": "",
	"ra": "", "ta": "", "addr1": "", "addr2": "", "addr3": "", "addr4": "", "type": "", "subtype": "", "dir": "", "direction": "",
	"llc": "", "oam": "", "metac": "", "ifname": "", "on": "", "rnr": "", "rulenum": "", "reason": "", "rset": "", "action": "",
}

// suggestion is ", did you mean ...?" for a word that is nearly a keyword.
func suggestion(word string) string {
	best, at := 3, ""
	try := func(w string) {
		if d := distance(word, w); d < best || d == best && at != "" && w < at {
			best, at = d, w
		}
	}
	for w := range protoWords {
		try(w)
	}
	for w := range kindWords {
		try(w)
	}
	for _, w := range []string{"src", "dst", "less", "greater", "vlan", "broadcast", "multicast", "inbound", "outbound", "ifindex"} {
		try(w)
	}
	if at == "" || best >= len(word) {
		return ""
	}
	return ", did you mean " + strconv.Quote(at) + "?"
}

// distance is the number of letters to insert, delete or replace that make b of a.
func distance(a, b string) int {
	if len(a) > 16 {
		return len(a)
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			d := before
			if a[i] != b[j] {
				d = min(before, row[j], row[j+1]) + 1
			}
			before, row[j+1] = row[j+1], d
		}
	}
	return row[len(b)]
}

// other reads the terms that are neither a comparison nor an address: less 100, vlan 5, inbound and the like, and
// protocols alone.
func (p *parser) other(t *token) (node, bool, error) {
	switch t.text {
	case "less", "greater":
		p.next++
		n, err := p.number()
		return lenNode{greater: t.text == "greater", n: n}, true, err
	case "inbound", "outbound":
		p.next++
		return directionNode{at: t.at, outbound: t.text == "outbound"}, true, nil
	case "ifindex":
		p.next++
		n, err := p.number()
		return ifindexNode{t.at, n}, true, err
	case "vlan":
		return p.vlan()
	case "broadcast", "multicast":
		p.next++
		n, err := p.cast(t, protoDefault)
		return n, true, err
	}
	pr, ok := protoWords[t.text]
	if !ok {
		return nil, false, nil
	}
	after := p.peekAt(1)
	if after.kind == tokenWord {
		switch after.text {
		case "broadcast", "multicast":
			p.next += 2
			n, err := p.cast(after, pr)
			return n, true, err
		case "src", "dst", "host", "net", "port", "portrange", "proto":
			return nil, false, nil
		case "gateway", "protochain":
			p.next++
			return nil, true, p.errorf(after.at, "%q is not supported%s", after.text, unsupported[after.text])
		}
	}
	switch after.kind {
	case tokenWord, tokenEscaped, tokenNumber, tokenDotted, tokenIPv6, tokenMAC:
		return nil, true, p.errorf(after.at, `"and", "or" or a keyword such as "host" or "port" expected, not %v`, after)
	}
	p.next++
	if pr == protoLink {
		return nil, true, p.errorf(t.at, "%q alone says nothing", t.text)
	}
	return protoNode{pr}, true, nil
}

func (p *parser) cast(t *token, pr proto) (node, error) {
	switch {
	case pr == protoIP && t.text == "broadcast":
		return nil, p.errorf(t.at, `"ip broadcast" is not supported: the netmask is not known`)
	case pr != protoDefault && pr != protoLink && pr != protoIP && pr != protoIP6, pr == protoIP6 && t.text == "broadcast":
		return nil, p.errorf(t.at, "%q is not possible for %v", t.text, pr)
	}
	return castNode{pr, t.at, t.text == "multicast"}, nil
}

func (p *parser) vlan() (node, bool, error) {
	t := p.take()
	if p.peek().kind != tokenNumber && !(p.is("(") && p.peekAt(1).kind == tokenNumber) {
		return vlanNode{at: t.at, any: true}, true, nil
	}
	at := p.peek().at
	n, err := p.number()
	if err == nil && n > 4095 {
		err = p.errorf(at, "VLAN id %d is greater than 4095", n)
	}
	return vlanNode{at: t.at, id: n}, true, err
}

// number reads a number, which may be in parentheses.
func (p *parser) number() (uint32, error) {
	if p.accept("(") {
		if err := p.enter(); err != nil {
			return 0, err
		}
		defer p.leave()
		n, err := p.number()
		if err != nil {
			return 0, err
		}
		return n, p.expect(")", `")"`)
	}
	t := p.take()
	if t.kind != tokenNumber {
		return 0, p.errorf(t.at, "a number expected, not %v", t)
	}
	return t.num, nil
}

// qualified reads keywords and the address or number that they are about.
func (p *parser) qualified() (node, qualifiers, error) {
	var q qualifiers
	if pr, ok := protoWords[p.peek().text]; ok && p.peek().kind == tokenWord {
		q.proto = pr
		p.next++
	}
	var err error
	if q.dir, err = p.direction(); err != nil {
		return nil, q, err
	}
	if t := p.peek(); t.kind == tokenWord {
		if k, ok := kindWords[t.text]; ok {
			q.kind = k
			p.next++
		} else if _, ok := unsupported[t.text]; ok {
			return nil, q, p.errorf(t.at, "%q is not supported%s", t.text, unsupported[t.text])
		}
	}
	n, err := p.id(q)
	return n, q, err
}

// direction reads src, dst, "src or dst" and "src and dst".
func (p *parser) direction() (direction, error) {
	first := p.peek()
	switch {
	case p.keyword("src"):
	case p.keyword("dst"):
	default:
		return dirDefault, nil
	}
	and := p.is("&&")
	if and || p.is("||") {
		second := p.peekAt(1)
		if second.kind == tokenWord && (second.text == "src" || second.text == "dst") && second.text != first.text {
			p.next += 2
			if and {
				return dirBoth, nil
			}
			return dirEither, nil
		}
	}
	if first.text == "src" {
		return dirSrc, nil
	}
	return dirDst, nil
}

// id reads an address, number or name, or several in parentheses.
func (p *parser) id(q qualifiers) (node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if p.accept("!") {
		n, err := p.id(q)
		return notNode{n}, err
	}
	if p.accept("(") {
		n, _, err := p.group(&q)
		if err != nil {
			return nil, err
		}
		return n, p.expect(")", `")"`)
	}
	t := p.take()
	switch t.kind {
	case tokenNumber, tokenDotted:
		return p.numberID(t, q)
	case tokenIPv6:
		return p.ipv6ID(t, q)
	case tokenMAC:
		if q.proto != protoLink || q.kind != kindHost && q.kind != kindDefault {
			return nil, p.errorf(t.at, `a MAC address is only possible behind "ether host", "ether src" and "ether dst"`)
		}
		return etherNode{q.dir, t.at, t.mac}, nil
	case tokenWord, tokenEscaped:
		return p.nameID(t, q)
	}
	return nil, p.errorf(t.at, "%s expected, not %v", wanted(q.kind), t)
}

func wanted(k kind) string {
	switch k {
	case kindNet:
		return "a network such as 10.0.0.0/8"
	case kindPort:
		return "a port"
	case kindPortRange:
		return "ports such as 6000-6008"
	case kindProto:
		return "a protocol's number or name"
	}
	return "an address"
}

// numberID makes a node of a number or an IPv4 address.
func (p *parser) numberID(t *token, q qualifiers) (node, error) {
	switch q.kind {
	case kindPort, kindPortRange:
		if t.kind == tokenDotted {
			return nil, p.errorf(t.at, "%s is no port", t.text)
		}
		return p.ports(t, q, t.num, t.num)
	case kindProto:
		if t.kind == tokenDotted {
			return nil, p.errorf(t.at, "%s is no protocol", t.text)
		}
		return p.protoNumber(t, q, t.num)
	}
	addr, mask := t.num, ^uint32(0)
	switch {
	case t.kind == tokenDotted:
		mask <<= 32 - t.bits
	case q.kind == kindNet && addr != 0: // 10 is 10.0.0.0/8
		for addr&0xff000000 == 0 {
			addr, mask = addr<<8, mask<<8
		}
	case q.kind == kindDefault:
		return nil, p.errorf(t.at, `%s needs a keyword such as "host" or "port" before it`, t.text)
	}
	return p.withMask(t, q, addr, mask)
}

// withMask reads what may follow an IPv4 network: /BITS or "mask" and an address.
func (p *parser) withMask(t *token, q qualifiers, addr, mask uint32) (node, error) {
	given := false
	switch {
	case p.accept("/"):
		at := p.peek().at
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		if n > 32 {
			return nil, p.errorf(at, "a mask of IPv4 has 32 bits at most, not %d", n)
		}
		given, mask = true, uint32(uint64(0xffffffff)<<(32-n))
	case p.keyword("mask"):
		m := p.take()
		if m.kind != tokenDotted {
			return nil, p.errorf(m.at, "a mask such as 255.255.0.0 expected, not %v", m)
		}
		given, mask = true, m.num
	}
	if given && q.kind != kindNet {
		return nil, p.errorf(t.at, `a network with a mask needs the keyword "net"`)
	}
	if given && addr&^mask != 0 {
		return nil, p.errorf(t.at, "%s has bits outside of the mask of %d bits", t.text, bits.OnesCount32(mask))
	}
	h := hostNode{q: q, at: t.at}
	for i := range 4 {
		h.addr[i], h.mask[i] = byte(addr>>(24-8*i)), byte(mask>>(24-8*i))
	}
	return h, p.addressable(t, q, false)
}

// addressable says what is wrong with qualifiers of an address.
func (p *parser) addressable(t *token, q qualifiers, v6 bool) error {
	switch q.proto {
	case protoDefault:
		return nil
	case protoIP, protoARP, protoRARP:
		if !v6 {
			return nil
		}
	case protoIP6:
		if v6 {
			return nil
		}
	case protoLink:
		return p.errorf(t.at, `"ether" needs a MAC address, not %v`, t)
	}
	return p.errorf(t.at, "%q does not go with the address %v", q.proto, t)
}

func (p *parser) ipv6ID(t *token, q qualifiers) (node, error) {
	n := uint32(128)
	if p.accept("/") {
		at := p.peek().at
		var err error
		if n, err = p.number(); err != nil {
			return nil, err
		}
		if n > 128 {
			return nil, p.errorf(at, "a mask of IPv6 has 128 bits at most, not %d", n)
		}
		if q.kind != kindNet && n != 128 {
			return nil, p.errorf(t.at, `a network with a mask needs the keyword "net"`)
		}
	}
	switch q.kind {
	case kindDefault, kindHost, kindNet:
	default:
		return nil, p.errorf(t.at, "%s expected, not %v", wanted(q.kind), t)
	}
	if err := p.addressable(t, q, true); err != nil {
		return nil, err
	}
	prefix := netip.PrefixFrom(t.addr, int(n))
	if prefix.Masked().Addr() != t.addr {
		return nil, p.errorf(t.at, "%s has bits outside of the mask of %d bits", t.text, n)
	}
	h := hostNode{q: q, at: t.at}
	h.v6 = true
	b := t.addr.As16()
	copy(h.addr[:], b[:])
	for i := range 16 {
		left := min(max(int(n)-8*i, 0), 8)
		h.mask[i] = ^byte(0xff >> left)
	}
	return h, nil
}

func (p *parser) ports(t *token, q qualifiers, low, high uint32) (node, error) {
	switch q.proto {
	case protoDefault, protoTCP, protoUDP, protoSCTP:
	default:
		return nil, p.errorf(t.at, "%q does not go with ports", q.proto)
	}
	if low > high {
		low, high = high, low
	}
	if high > 65535 {
		return nil, p.errorf(t.at, "port %d is greater than 65535", high)
	}
	return portNode{q, low, high}, nil
}

func (p *parser) protoNumber(t *token, q qualifiers, n uint32) (node, error) {
	if q.dir != dirDefault {
		return nil, p.errorf(t.at, `"src" and "dst" do not go with "proto"`)
	}
	limit := uint32(255)
	switch q.proto {
	case protoLink:
		limit = 65535
	case protoDefault, protoIP, protoIP6:
	default:
		return nil, p.errorf(t.at, `"%v proto" is not possible: it carries no other protocol by number`, q.proto)
	}
	if n > limit {
		return nil, p.errorf(t.at, "protocol %d is greater than %d", n, limit)
	}
	return protoNumberNode{q.proto, n}, nil
}
