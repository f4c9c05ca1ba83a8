package l7

import (
	"encoding/hex"
	"hash/maphash"
	"net/netip"
	"strconv"

	"github.com/flowlake/flowlake/collector/l7/dhcp"
)

// Ports of DHCP, for IPv4 and IPv6.
const (
	portDHCPServer, portDHCPClient   = 67, 68
	portDHCP6Client, portDHCP6Server = 546, 547
)

// dhcpDriver speaks DHCP. A client that has no address yet asks all; the answer then comes from another address, on a
// connection of its own, and is paired with the request that waits on the first one.
type dhcpDriver struct {
	t   *Tracker
	msg dhcp.Message
}

func newDHCPDriver(t *Tracker) driver { return &dhcpDriver{t: t} }

// isDHCP6 says whether the connection's ports are those of IPv6.
func isDHCP6(c *Conn) bool { return c.hasPort(portDHCP6Client) || c.hasPort(portDHCP6Server) }

func (d *dhcpDriver) check(c *Conn, in *input, _ bool) shape {
	v6 := isDHCP6(c)
	if !v6 && !c.hasPort(portDHCPClient) && !c.hasPort(portDHCPServer) {
		return shapeNo
	}
	return shape(dhcp.Check(in.p, v6))
}

func (d *dhcpDriver) step(c *Conn, in *input) (int, error) {
	m := &d.msg
	if err := dhcp.Parse(in.p, isDHCP6(c), m); err != nil {
		return 0, err
	}
	const forceRenew = 9
	switch {
	case !m.V6 && m.Type == forceRenew || m.V6 && m.Type == dhcp.Reconfigure:
		c.direct(in, true)
		d.request(c, in, true)
	case m.FromSrv:
		d.response(c, in)
	default:
		c.asks(in)
		c.group = !m.Relayed && (m.V6 || m.Client == nil)
		d.request(c, in, !m.V6 && (m.Type == dhcp.Decline || m.Type == dhcp.Release))
	}
	return len(in.p), nil
}

// key is by what a response is known: for IPv4 an offer and the acknowledgement that follows it belong to one transaction.
func (d *dhcpDriver) key() uint64 {
	key := uint64(d.msg.ID) << 1
	if !d.msg.V6 && (d.msg.Type == dhcp.Discover || d.msg.Type == dhcp.Offer) {
		key |= 1
	}
	return key
}

func (d *dhcpDriver) request(c *Conn, in *input, oneWay bool) {
	t, m := d.t, &d.msg
	key := d.key()
	if !oneWay && c.find(key) != nil { // asked again: the first time counts
		t.m.Duplicates++
		return
	}
	pd := c.newPending(in)
	ex := &pd.ex
	ex.RequestType, ex.Endpoint = m.Name(), m.Name()
	ex.RequestDomain = t.text(m.Hostname, t.o.MaxText)
	if m.Asked != nil {
		ex.RequestResource = d.address(m.Asked)
	} else {
		ex.RequestResource = d.address(m.Client)
	}
	d.setClient(ex)
	ex.RequestBytes = int64(in.size)
	t.attribute(ex, "dhcp_vendor", m.Vendor)
	pd.aux = maphash.Bytes(t.seed, m.Hardware)
	c.call(in, pd, key, oneWay)
}

// setClient fills in who the client is, which responses say too.
func (d *dhcpDriver) setClient(ex *Exchange) {
	t, m := d.t, &d.msg
	ex.RequestID = int64(m.ID)
	ex.Version = "4"
	if m.V6 {
		ex.Version = "6"
	}
	t.attribute(ex, "dhcp_client", appendHardware(t.scratch[:0], m.Hardware))
}

// address is an IP address as text.
func (d *dhcpDriver) address(a []byte) string {
	addr, ok := netip.AddrFromSlice(a)
	if !ok {
		return ""
	}
	d.t.scratch = addr.AppendTo(d.t.scratch[:0])
	return d.t.text(d.t.scratch, d.t.o.MaxText)
}

func (d *dhcpDriver) response(c *Conn, in *input) {
	t, m := d.t, &d.msg
	c.direct(in, true)
	asked := c // where the request was seen
	pd := c.called(in, d.key())
	if pd == nil {
		if pd = d.elsewhere(d.key()); pd != nil {
			asked = pd.c
			asked.unlink(pd)
		} else if !in.server {
			t.m.WrongSide++
			return
		}
	}
	ex := asked.answer(pd, in)
	if pd == nil {
		d.setClient(ex)
	}
	ex.ResponseBytes, ex.Status = int64(in.size), StatusOK
	switch {
	case m.V6 && m.Status != 0:
		ex.ResponseCode, ex.Status = int64(m.Status), dhcpStatus(m.Status)
		t.setException(ex, []byte(dhcp.StatusName(m.Status)), m.Text)
	case !m.V6 && m.Type == dhcp.Nak:
		ex.Status = StatusClientError
		t.setException(ex, []byte(m.Name()), m.Text)
	}
	ex.ResponseResult = d.result()
	asked.finish(pd, ex)
}

// elsewhere returns the request of the same client with the key that was sent to all on another connection, nil when it was
// not seen by this Tracker.
func (d *dhcpDriver) elsewhere(key uint64) *pending {
	const most = 1024 // looked at: those that have waited longest
	client := maphash.Bytes(d.t.seed, d.msg.Hardware)
	pd := d.t.waiting[DHCP].first
	for range most {
		if pd == nil || pd.key == key && pd.aux == client && pd.c.group && !pd.ex.ServerInitiated {
			return pd
		}
		pd = pd.after
	}
	return nil
}

// result is what the server says: type, address, for how long, and who it is.
func (d *dhcpDriver) result() string {
	t, m := d.t, &d.msg
	b := append(t.scratch[:0], m.Name()...)
	if a, ok := netip.AddrFromSlice(m.Given); ok {
		b = a.AppendTo(append(b, ' '))
	}
	if m.Lease > 0 {
		b = append(appendUint(append(b, " lease="...), uint64(m.Lease)), 's')
	}
	if a, ok := netip.AddrFromSlice(m.Server); ok && !m.V6 {
		b = a.AppendTo(append(b, " server="...))
	}
	t.scratch = b
	return t.text(b, t.o.MaxText)
}

// dhcpStatus: what the client asked for and cannot have here is its error.
func dhcpStatus(status uint16) Status {
	const noBinding, notOnLink, useMulticast = 3, 4, 5
	switch status {
	case noBinding, notOnLink, useMulticast:
		return StatusClientError
	}
	return StatusServerError
}

// appendHardware appends a hardware address, or another id, as hexadecimal bytes with colons.
func appendHardware(dst, hw []byte) []byte {
	const most = 32 // bytes of an id
	for i, b := range hw[:min(len(hw), most)] {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = hex.AppendEncode(dst, []byte{b})
	}
	return dst
}

func appendUint(dst []byte, v uint64) []byte { return strconv.AppendUint(dst, v, 10) }
