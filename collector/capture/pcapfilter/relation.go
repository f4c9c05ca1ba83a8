package pcapfilter

// levels are the arithmetic operators from those that bind least to those that bind most.
var levels = [][]string{{"|"}, {"^"}, {"&"}, {"<<", ">>"}, {"+", "-"}, {"*", "/", "%"}}

var relOps = map[string]relOp{"=": relEqual, "!=": relNotEqual, ">": relGreater, ">=": relGreaterEqual, "<": relLess, "<=": relLessEqual}

// relation reads a comparison of two arithmetic expressions; false, and nothing is read, when there is none.
func (p *parser) relation() (node, bool, error) {
	if !p.arithAhead() {
		return nil, false, nil
	}
	start := p.next
	left, err := p.arith(0)
	if err != nil {
		if p.tokens[start].text == "(" { // it may be a group of conditions; if not, what reads it says why
			p.next = start
			return nil, false, nil
		}
		return nil, false, err
	}
	t := p.peek()
	op, ok := relOps[t.text]
	if !ok || t.kind != tokenOp {
		if p.tokens[start].kind == tokenOp || p.tokens[start].kind == tokenNumber {
			p.next = start // (80), or a bare number
			return nil, false, nil
		}
		return nil, false, p.errorf(t.at, `a comparison such as "=" or ">" expected, not %v`, t)
	}
	p.next++
	right, err := p.arith(0)
	if err != nil {
		return nil, false, err
	}
	return relNode{t.at, op, left, right}, true, nil
}

// arithAhead says whether what comes next may be an arithmetic expression.
func (p *parser) arithAhead() bool {
	n := 0
	for p.peekAt(n).kind == tokenOp && p.peekAt(n).text == "(" {
		n++
	}
	t := p.peekAt(n)
	switch t.kind {
	case tokenNumber:
		return true
	case tokenOp:
		return t.text == "-"
	case tokenWord:
		if t.text == "len" || t.text == "length" {
			return true
		}
		if _, ok := numberNames[t.text]; ok {
			return true
		}
		_, ok := protoWords[t.text]
		after := p.peekAt(n + 1)
		return ok && after.kind == tokenOp && after.text == "["
	}
	return false
}

// arith reads operators of a level and those that bind more.
func (p *parser) arith(level int) (arith, error) {
	if level == len(levels) {
		return p.operand()
	}
	left, err := p.arith(level + 1)
	if err != nil {
		return nil, err
	}
	for {
		t := p.peek()
		found := false
		for _, op := range levels[level] {
			found = found || t.kind == tokenOp && t.text == op
		}
		if !found {
			return left, nil
		}
		p.next++
		right, err := p.arith(level + 1)
		if err != nil {
			return nil, err
		}
		if left, err = p.binary(t, left, right); err != nil {
			return nil, err
		}
	}
}

// binary folds constants.
func (p *parser) binary(t *token, left, right arith) (arith, error) {
	l, lok := left.(constant)
	r, rok := right.(constant)
	if rok && r.n == 0 && (t.text == "/" || t.text == "%") {
		return nil, p.errorf(t.at, "division by zero")
	}
	if rok && r.n > 31 && (t.text == "<<" || t.text == ">>") {
		return nil, p.errorf(t.at, "shift by %d bits", r.n)
	}
	if lok && rok {
		return constant{calculate(t.text[0], l.n, r.n)}, nil
	}
	return binaryExpr{t.at, t.text[0], left, right}, nil
}

// calculate is the result of an operator; a division by zero and a shift by more than 31 must have been ruled out.
func calculate(op byte, a, b uint32) uint32 {
	switch op {
	case '+':
		return a + b
	case '-':
		return a - b
	case '*':
		return a * b
	case '/':
		return a / b
	case '%':
		return a % b
	case '&':
		return a & b
	case '|':
		return a | b
	case '^':
		return a ^ b
	case '<':
		return a << b
	}
	return a >> b
}

// operand reads a number, len, a load, a negated operand or an expression in parentheses.
func (p *parser) operand() (arith, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	t := p.take()
	switch t.kind {
	case tokenNumber:
		return constant{t.num}, nil
	case tokenOp:
		switch t.text {
		case "(":
			a, err := p.arith(0)
			if err != nil {
				return nil, err
			}
			return a, p.expect(")", `")"`)
		case "-":
			a, err := p.operand()
			if c, ok := a.(constant); ok {
				return constant{-c.n}, err
			}
			return negated{a}, err
		}
	case tokenWord:
		if t.text == "len" || t.text == "length" {
			return length{}, nil
		}
		if n, ok := numberNames[t.text]; ok {
			return constant{n}, nil
		}
		if pr, ok := protoWords[t.text]; ok {
			return p.load(t, pr)
		}
	}
	return nil, p.errorf(t.at, "a number expected, not %v", t)
}

// load reads [OFFSET] or [OFFSET:SIZE] behind a protocol.
func (p *parser) load(t *token, pr proto) (arith, error) {
	if err := p.expect("[", `"["`); err != nil {
		return nil, err
	}
	switch pr {
	case protoAH, protoESP:
		return nil, p.errorf(t.at, "bytes of %v cannot be read", pr)
	}
	index, err := p.arith(0)
	if err != nil {
		return nil, err
	}
	l := loadExpr{at: t.at, proto: pr, index: index, size: 1}
	if p.accept(":") {
		at := p.peek().at
		n, err := p.number()
		if err != nil {
			return nil, err
		}
		if n != 1 && n != 2 && n != 4 {
			return nil, p.errorf(at, "1, 2 or 4 bytes can be read, not %d", n)
		}
		l.size = uint8(n)
	}
	return l, p.expect("]", `"]"`)
}
