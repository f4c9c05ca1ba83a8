package l7

import (
	"errors"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/ldap"
)

// ldapDriver speaks LDAP.
type ldapDriver struct {
	t   *Tracker
	msg ldap.Message
}

// ldapSealed is the value of Conn.note once a bind by SASL may have put a layer of security between.
const ldapSealed = 1

// ldapStartTLS marks the request for encryption in pending.aux; other requests count there the entries found.
const ldapStartTLS = 1 << 63

func newLDAPDriver(t *Tracker) driver { return &ldapDriver{t: t} }

func (d *ldapDriver) check(c *Conn, in *input, hint bool) shape {
	return shape(ldap.Check(in.p, hint))
}

func (d *ldapDriver) step(c *Conn, in *input) (int, error) {
	if c.note == ldapSealed && in.p[0] == 0 { // the length of an encrypted message
		c.stop()
		return len(in.p), nil
	}
	m := &d.msg
	n, err := ldap.Parse(in.p, m)
	if errors.Is(err, ldap.ErrShort) && !in.cut {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if m.Op.Request() == in.server {
		c.t.m.WrongSide++
		return 0, ldap.ErrMalformed
	}
	want := n
	if m.Op == ldap.SearchEntry { // nothing of it is kept
		want = 0
	}
	if !c.enough(in, min(want, 4096)) {
		return 0, nil
	}
	if m.Op.Request() {
		d.request(c, in)
	} else {
		d.response(c, in)
	}
	return n, nil
}

func (d *ldapDriver) request(c *Conn, in *input) {
	t, m := d.t, &d.msg
	pd := c.newPending(in)
	pd.key = uint64(m.ID)
	ex := &pd.ex
	ex.RequestType = m.Op.String()
	ex.RequestID, ex.RequestBytes = int64(m.ID), int64(m.Size)
	ex.RequestResource = t.text(m.DN, t.o.MaxText)
	ex.Endpoint = ex.RequestType
	t.attribute(ex, "filter_attribute", m.Attribute)
	switch m.Op {
	case ldap.BindRequest:
		ex.Version = ldapVersions[m.Version&3]
		t.attribute(ex, "mechanism", m.Mechanism)
	case ldap.SearchRequest:
		t.scratch = append(append(append(append(t.scratch[:0], "search "...), m.Scope...), ' '), m.Filter...)
		ex.Endpoint = t.text(t.scratch, t.o.MaxText)
		t.attribute(ex, "scope", []byte(m.Scope))
		t.attribute(ex, "filter", []byte(m.Filter))
	case ldap.ExtendedRequest:
		ex.RequestResource = t.text(m.Name, t.o.MaxText)
		if string(m.Name) == ldap.StartTLS {
			pd.aux, ex.Endpoint = ldapStartTLS, "StartTLS"
		}
	case ldap.AbandonRequest:
		if old := c.find(uint64(m.Abandoned)); old != nil {
			c.giveUp(old)
		}
		ex.Status = StatusOK
		c.oneWay(pd)
		return
	case ldap.UnbindRequest:
		ex.Status = StatusOK
		c.oneWay(pd)
		return
	}
	c.push(pd)
}

var ldapVersions = [4]string{1: "1", 2: "2", 3: "3"}

func (d *ldapDriver) response(c *Conn, in *input) {
	t, m := d.t, &d.msg
	if m.ID == 0 { // the server speaks unasked: it goes away
		pd := c.newPending(in)
		pd.ex.RequestType, pd.ex.Endpoint = "notice", "notice"
		pd.ex.ServerInitiated, pd.ex.RequestBytes = true, int64(m.Size)
		d.result(&pd.ex)
		c.oneWay(pd)
		return
	}
	pd := c.find(uint64(m.ID))
	if !m.Final {
		if pd != nil && m.Op != ldap.Intermediate {
			ex := c.begin(pd, in)
			ex.ResponseBytes = max(ex.ResponseBytes, 0) + int64(m.Size)
			if m.Op == ldap.SearchEntry {
				pd.aux++
			}
			c.touch(pd, in.atNanos)
		}
		return
	}
	var ex *Exchange
	if pd != nil {
		c.unlink(pd)
		if ex = &pd.ex; !pd.begun {
			ex = c.answer(pd, in)
		}
	} else {
		ex = c.answer(nil, in)
		ex.RequestID = int64(m.ID)
	}
	ex.ResponseBytes = max(ex.ResponseBytes, 0) + int64(m.Size)
	d.result(ex)
	if pd != nil && m.Op == ldap.SearchDone {
		t.scratch = strconv.AppendUint(t.scratch[:0], pd.aux, 10)
		t.attribute(ex, "entries", t.scratch)
	}
	if pd != nil && m.Op == ldap.BindResponse && m.Code == 0 && len(ex.Attributes) > 0 && ex.Attributes[0].Value != "simple" {
		c.note = ldapSealed
	}
	encrypted := pd != nil && pd.aux == ldapStartTLS && m.Code == 0
	c.finish(pd, ex)
	if encrypted {
		c.become(TLS)
	}
}

// result fills in the result of an operation.
func (d *ldapDriver) result(ex *Exchange) {
	t, m := d.t, &d.msg
	ex.ResponseCode, ex.Status = int64(m.Code), statusLDAP(m.Code)
	if ex.Status != StatusOK {
		if ex.ResponseException = t.text(m.Text, t.o.MaxText); len(m.Text) == 0 {
			ex.ResponseException = ldapResults[m.Code]
		}
	}
}

// ldapResults are the names of the results that are errors (RFC 4511 §4.1.9).
var ldapResults = map[uint32]string{1: "operationsError", 2: "protocolError", 3: "timeLimitExceeded", 4: "sizeLimitExceeded", 7: "authMethodNotSupported",
	8: "strongerAuthRequired", 11: "adminLimitExceeded", 12: "unavailableCriticalExtension", 13: "confidentialityRequired", 16: "noSuchAttribute",
	17: "undefinedAttributeType", 18: "inappropriateMatching", 19: "constraintViolation", 20: "attributeOrValueExists", 21: "invalidAttributeSyntax",
	32: "noSuchObject", 33: "aliasProblem", 34: "invalidDNSyntax", 36: "aliasDereferencingProblem", 48: "inappropriateAuthentication",
	49: "invalidCredentials", 50: "insufficientAccessRights", 51: "busy", 52: "unavailable", 53: "unwillingToPerform", 54: "loopDetect",
	64: "namingViolation", 65: "objectClassViolation", 66: "notAllowedOnNonLeaf", 67: "notAllowedOnRDN", 68: "entryAlreadyExists",
	69: "objectClassModsProhibited", 71: "affectsMultipleDSAs", 80: "other"}

// statusLDAP: the outcome of a compare, a referral and a bind that goes on are no errors; what the server cannot do now is the
// server's, all else the client's.
func statusLDAP(code uint32) Status {
	switch code {
	case 0, 5, 6, 10, 14:
		return StatusOK
	case 1, 3, 11, 51, 52, 53, 54, 71, 80:
		return StatusServerError
	}
	return StatusClientError
}
