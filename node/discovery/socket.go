package discovery

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// socket is the one UDP socket: it hears what comes to the port on any interface, and
// sends through the one it is told.
type socket struct {
	where Where
	conn  *net.UDPConn
	raw   syscall.RawConn
}

func open(ctx context.Context, w Where) (*socket, error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return onFD(c, func(fd int) error {
			return errors.Join(share(fd), unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1))
		})
	}}
	conn, err := lc.ListenPacket(ctx, "udp4", netip.AddrPortFrom(netip.IPv4Unspecified(), w.Port).String())
	if err != nil {
		return nil, w.busy(err)
	}
	udp := conn.(*net.UDPConn)
	raw, err := udp.SyscallConn()
	if err == nil {
		// Other daemons of this machine are to hear it as well.
		err = onFD(raw, func(fd int) error { return unix.SetsockoptByte(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 1) })
	}
	if err != nil {
		return nil, errors.Join(volume.Wrap(err, "discovery: prepare the socket"), udp.Close())
	}
	return &socket{where: w, conn: udp, raw: raw}, nil
}

// onFD calls fn with the descriptor of a socket.
func onFD(c syscall.RawConn, fn func(fd int) error) error {
	var err error
	if cerr := c.Control(func(fd uintptr) { err = fn(int(fd)) }); cerr != nil {
		return cerr
	}
	return err
}

// join begins to hear the group on a link. It is called again and again: an interface
// may have come back with the same address.
func (s *socket) join(l link) error {
	err := onFD(s.raw, func(fd int) error {
		return unix.SetsockoptIPMreq(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreq{Multiaddr: s.where.Group.As4(), Interface: l.addr.As4()})
	})
	if errors.Is(err, unix.EADDRINUSE) {
		err = nil // joined before
	}
	return err
}

// multicast sends to the group through a link.
func (s *socket) multicast(l link, p []byte) error {
	err := onFD(s.raw, func(fd int) error {
		return unix.SetsockoptInet4Addr(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_IF, l.addr.As4())
	})
	if err != nil {
		return err
	}
	return s.send(p, s.where.Group)
}

// broadcast sends to all at a link.
func (s *socket) broadcast(l link, p []byte) error {
	if !l.broadcast.IsValid() {
		return errors.New("there is no broadcast address")
	}
	return s.send(p, l.broadcast)
}

func (s *socket) send(p []byte, to netip.Addr) error {
	_, err := s.conn.WriteToUDPAddrPort(p, netip.AddrPortFrom(to, s.where.Port))
	return err
}
