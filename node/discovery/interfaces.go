package discovery

import (
	"net"
	"net/netip"
)

// link is an address of an interface that beacons go through.
type link struct {
	name      string
	addr      netip.Addr // IPv4
	broadcast netip.Addr // invalid if there is none
	multicast bool       // by the interface's flags; the loopback of Linux says no and can
}

// links are the addresses to send from: one of each interface that is up.
func links() ([]link, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []link
	for _, ifc := range all {
		if ifc.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := ifc.Addrs()
		if err != nil {
			continue // gone since it was listed
		}
		for _, a := range addrs {
			if l, ok := linkOf(ifc.Name, ifc.Flags, a); ok {
				list = append(list, l)
				break
			}
		}
	}
	return list, nil
}

// linkOf makes a link of an interface's address, if that is one of IPv4.
func linkOf(name string, flags net.Flags, a net.Addr) (link, bool) {
	ipnet, ok := a.(*net.IPNet)
	if !ok {
		return link{}, false
	}
	addr, ok := netip.AddrFromSlice(ipnet.IP)
	if addr = addr.Unmap(); !ok || !addr.Is4() {
		return link{}, false
	}
	l := link{name: name, addr: addr, multicast: flags&(net.FlagMulticast|net.FlagLoopback) != 0}
	mask := ipnet.Mask
	if len(mask) == net.IPv6len {
		mask = mask[12:]
	}
	ones, bits := mask.Size()
	// A network of one or two addresses has none that means all.
	if flags&(net.FlagBroadcast|net.FlagLoopback) != 0 && bits == 32 && ones < 31 {
		b := addr.As4()
		for i := range b {
			b[i] |= ^mask[i]
		}
		l.broadcast = netip.AddrFrom4(b)
	}
	return l, true
}
