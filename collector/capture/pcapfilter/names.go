package pcapfilter

import (
	"net/netip"
	"strconv"
	"strings"
)

// ipProtocols are names that may follow "ip proto", those that are keywords included.
var ipProtocols = map[string]uint32{
	"icmp": 1, "igmp": 2, "ipip": 4, "tcp": 6, "egp": 8, "igp": 9, "igrp": 9, "udp": 17, "dccp": 33, "ipv6": 41, "rsvp": 46, "gre": 47,
	"esp": 50, "ah": 51, "icmp6": 58, "ipv6-icmp": 58, "eigrp": 88, "ospf": 89, "pim": 103, "vrrp": 112, "carp": 112, "l2tp": 115,
	"sctp": 132, "udplite": 136,
}

// etherProtocols are names that may follow "ether proto".
var etherProtocols = map[string]uint32{
	"ip": 0x0800, "ip6": 0x86dd, "arp": 0x0806, "rarp": 0x8035, "vlan": 0x8100, "mpls": 0x8847, "pppoed": 0x8863, "pppoes": 0x8864,
	"loopback": 0x9000, "lldp": 0x88cc,
}

// numberNames are names of numbers in comparisons: offsets, types and flags.
var numberNames = map[string]uint32{
	"icmptype": 0, "icmpcode": 1, "icmp-echoreply": 0, "icmp-unreach": 3, "icmp-sourcequench": 4, "icmp-redirect": 5, "icmp-echo": 8,
	"icmp-routeradvert": 9, "icmp-routersolicit": 10, "icmp-timxceed": 11, "icmp-paramprob": 12, "icmp-tstamp": 13,
	"icmp-tstampreply": 14, "icmp-ireq": 15, "icmp-ireqreply": 16, "icmp-maskreq": 17, "icmp-maskreply": 18,
	"icmp6type": 0, "icmp6code": 1, "icmp6-destinationrunreach": 1, "icmp6-packettoobig": 2, "icmp6-timeexceeded": 3,
	"icmp6-parameterproblem": 4, "icmp6-echo": 128, "icmp6-echoreply": 129, "icmp6-multicastlistenerquery": 130,
	"icmp6-multicastlistenerreportv1": 131, "icmp6-multicastlistenerdone": 132, "icmp6-routersolicit": 133,
	"icmp6-routeradvert": 134, "icmp6-neighborsolicit": 135, "icmp6-neighboradvert": 136, "icmp6-redirect": 137,
	"icmp6-routerrenum": 138, "icmp6-nodeinformationquery": 139, "icmp6-nodeinformationresponse": 140,
	"icmp6-ineighbordiscoverysolicit": 141, "icmp6-ineighbordiscoveryadvert": 142, "icmp6-multicastlistenerreportv2": 143,
	"icmp6-homeagentdiscoveryrequest": 144, "icmp6-homeagentdiscoveryreply": 145, "icmp6-mobileprefixsolicit": 146,
	"icmp6-mobileprefixadvert": 147, "icmp6-certpathsolicit": 148, "icmp6-certpathadvert": 149,
	"icmp6-multicastrouteradvert": 151, "icmp6-multicastroutersolicit": 152, "icmp6-multicastroutertermination": 153,
	"tcpflags": 13, "tcp-fin": 0x01, "tcp-syn": 0x02, "tcp-rst": 0x04, "tcp-push": 0x08, "tcp-ack": 0x10, "tcp-urg": 0x20,
	"tcp-ece": 0x40, "tcp-cwr": 0x80,
}

// nameID makes a node of a name.
func (p *parser) nameID(t *token, q qualifiers) (node, error) {
	if t.kind == tokenWord && (isQualifier(t.text) && q.kind != kindProto || t.text == "mask") {
		return nil, p.errorf(t.at, "%s expected, not the keyword %q", wanted(q.kind), t.text)
	}
	switch q.kind {
	case kindPort:
		n, pr, err := p.port(t, t.text)
		if err != nil {
			return nil, err
		}
		return p.namedPorts(t, q, n, n, pr)
	case kindPortRange:
		low, high, ok := strings.Cut(t.text, "-")
		if !ok {
			high = low
		}
		a, pa, err := p.port(t, low)
		if err != nil {
			return nil, err
		}
		b, pb, err := p.port(t, high)
		if err != nil {
			return nil, err
		}
		if pa != pb {
			pa = protoDefault
		}
		return p.namedPorts(t, q, a, b, pa)
	case kindProto:
		names := ipProtocols
		if q.proto == protoLink {
			names = etherProtocols
		}
		n, ok := names[t.text]
		if !ok {
			return nil, p.errorf(t.at, "unknown protocol %q", t.text)
		}
		return p.protoNumber(t, q, n)
	case kindNet:
		return nil, p.errorf(t.at, "%s expected, not the name %q", wanted(q.kind), t.text)
	}
	return p.hostName(t, q)
}

// port is the number of a port, and the one protocol that has a service of this name.
func (p *parser) port(t *token, name string) (uint32, proto, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), protoDefault, nil
	}
	tcp, errTCP := p.o.LookupPort("tcp", name)
	udp, errUDP := p.o.LookupPort("udp", name)
	switch {
	case errTCP == nil && errUDP == nil && tcp == udp:
		return uint32(tcp), protoDefault, nil
	case errTCP == nil && errUDP == nil:
		return 0, 0, p.errorf(t.at, `service %q has different ports in TCP and UDP: write the number`, name)
	case errTCP == nil:
		return uint32(tcp), protoTCP, nil
	case errUDP == nil:
		return uint32(udp), protoUDP, nil
	}
	return 0, 0, p.errorf(t.at, "unknown service %q", name)
}

// namedPorts is ports for services, which exist in one protocol perhaps.
func (p *parser) namedPorts(t *token, q qualifiers, low, high uint32, pr proto) (node, error) {
	if pr != protoDefault {
		if q.proto != protoDefault && q.proto != pr {
			return nil, p.errorf(t.at, "service %q is one of %v", t.text, pr)
		}
		q.proto = pr
	}
	return p.ports(t, q, low, high)
}

// hostName looks a host's addresses up.
func (p *parser) hostName(t *token, q qualifiers) (node, error) {
	if q.proto == protoLink {
		return nil, p.errorf(t.at, `"ether" needs a MAC address, not the name %q`, t.text)
	}
	if p.o.LookupHost == nil {
		return nil, p.errorf(t.at, "names of hosts are not looked up here: write the address of %q", t.text)
	}
	list, err := p.o.LookupHost(t.text)
	if err != nil {
		return nil, p.errorf(t.at, "look up host %q: %v", t.text, err)
	}
	var all node
	var last error
	for _, a := range list {
		a = a.Unmap().WithZone("")
		if last = p.addressable(t, q, a.Is6()); last != nil {
			continue // an address of the other family is of no use with "ip" or "ip6"
		}
		h := hostNode{q: q, at: t.at}
		h.fromPrefix(netip.PrefixFrom(a, a.BitLen()))
		if all == nil {
			all = h
		} else {
			all = orNode{all, h}
		}
	}
	if all == nil && last == nil {
		last = p.errorf(t.at, "host %q has no address", t.text)
	}
	if all == nil {
		return nil, last
	}
	return all, nil
}
