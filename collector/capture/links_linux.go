package capture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// links knows the interfaces of a network namespace, that of the thread which opened it, by the kernel's messages about
// them. Not safe for concurrent use.
type links struct {
	fd    int
	names map[uint32]string
	buf   []byte
}

// openLinks lists the interfaces; from then on changes can be read from fd.
func openLinks() (*links, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	k := &links{fd: fd, names: map[uint32]string{}, buf: make([]byte, 64<<10)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: unix.RTMGRP_LINK}); err != nil {
		k.close()
		return nil, fmt.Errorf("listen to changes of interfaces: %w", err)
	}
	if err := k.list(); err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *links) close() { unix.Close(k.fd) }

// list asks for all interfaces and waits for the answer.
func (k *links) list() error {
	req := make([]byte, unix.SizeofNlMsghdr+unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(req, uint32(len(req)))
	binary.NativeEndian.PutUint16(req[4:], unix.RTM_GETLINK)
	binary.NativeEndian.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	clear(k.names)
	if err := unix.Sendto(k.fd, req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto netlink", err)
	}
	const patience = 5000 // milliseconds; the kernel answers at once
	for {
		fds := []unix.PollFd{{Fd: int32(k.fd), Events: unix.POLLIN}}
		switch n, err := unix.Poll(fds, patience); {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return os.NewSyscallError("poll", err)
		case n == 0:
			return errors.New("list interfaces: the kernel does not answer")
		}
		if _, done, err := k.read(); err != nil || done {
			return err
		}
	}
}

// read takes in what messages have come. It reports whether the set of interfaces or a name has changed, and whether a list
// has come to its end.
func (k *links) read() (changed, done bool, err error) {
	for {
		n, _, err := unix.Recvfrom(k.fd, k.buf, 0)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return changed, done, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOBUFS): // messages were lost
			return true, true, k.list()
		case err != nil:
			return changed, done, os.NewSyscallError("recvfrom netlink", err)
		}
		messages, err := syscall.ParseNetlinkMessage(k.buf[:n])
		if err != nil {
			return changed, done, fmt.Errorf("read netlink message: %w", err)
		}
		for i := range messages {
			switch m := &messages[i]; m.Header.Type {
			case unix.NLMSG_DONE:
				done = true
			case unix.NLMSG_ERROR:
				return changed, true, errors.New("list interfaces: the kernel refuses")
			default:
				changed = k.message(m) || changed
			}
		}
	}
}

// message takes in a message about an interface.
func (k *links) message(m *syscall.NetlinkMessage) (changed bool) {
	if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return false
	}
	if m.Data[0] != unix.AF_UNSPEC { // of a bridge, about one of its ports
		return false
	}
	index := binary.NativeEndian.Uint32(m.Data[4:])
	if m.Header.Type == unix.RTM_DELLINK {
		_, was := k.names[index]
		delete(k.names, index)
		return was
	}
	attributes, err := syscall.ParseNetlinkRouteAttr(m)
	if err != nil {
		return false
	}
	for _, a := range attributes {
		if a.Attr.Type == unix.IFLA_IFNAME {
			name := unix.ByteSliceToString(a.Value)
			if k.names[index] == name {
				return false
			}
			k.names[index] = name
			return true
		}
	}
	return false
}

// selected are the indexes of the selected interfaces, in as few spans as there can be: a span may go over indexes that no
// interface has.
func (k *links) selected(s *Selection) (spans []span, indexes []uint32) {
	open := false
	for _, i := range slices.Sorted(maps.Keys(k.names)) {
		if !s.Match(k.names[i]) {
			open = false
			continue
		}
		indexes = append(indexes, i)
		if open {
			spans[len(spans)-1].high = i
			continue
		}
		spans, open = append(spans, span{i, i}), true
	}
	return spans, indexes
}
