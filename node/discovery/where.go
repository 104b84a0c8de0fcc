package discovery

import (
	"errors"
	"net/netip"
	"strings"

	"wolfdisk/volume"
)

// Ways to find others.
const (
	ModeMulticast = "multicast"
	ModeBroadcast = "broadcast"
	ModeNone      = "none"

	groupScheme = "udp://"
	// Port is that of discovery unless another is given.
	Port = 9501
)

var group = netip.AddrFrom4([4]byte{239, 255, 0, 1})

// Where is [cluster] discovery: how others are to be found.
type Where struct {
	Mode  string
	Group netip.Addr // of ModeMulticast
	Port  uint16
}

// Parse reads multicast (also if empty), broadcast, none, or udp://GROUP[:PORT]. The
// error's text fits behind the value.
func Parse(text string) (Where, error) {
	w := Where{Mode: text, Port: Port}
	switch text {
	case "", ModeMulticast:
		w.Mode, w.Group = ModeMulticast, group
		return w, nil
	case ModeBroadcast, ModeNone:
		return w, nil
	}
	rest, ok := strings.CutPrefix(text, groupScheme)
	if !ok {
		return Where{}, errors.New("is not known")
	}
	w.Mode = ModeMulticast
	ap, err := netip.ParseAddrPort(rest)
	if err == nil {
		w.Group, w.Port = ap.Addr(), ap.Port()
	} else if w.Group, err = netip.ParseAddr(rest); err != nil {
		return Where{}, errors.New("names no group like 239.255.0.1:9501")
	}
	switch {
	case !w.Group.Is4() || !w.Group.IsMulticast():
		return Where{}, errors.New("names no IPv4 multicast group, one from 224.0.0.0 to 239.255.255.255")
	case w.Port == 0:
		return Where{}, errors.New("names port 0")
	}
	return w, nil
}

// String is what Parse reads, in its shortest form.
func (w Where) String() string {
	if w.Mode != ModeMulticast || w.Group == group && w.Port == Port {
		return w.Mode
	}
	return groupScheme + netip.AddrPortFrom(w.Group, w.Port).String()
}

// busy is the error of a port that cannot be had.
func (w Where) busy(err error) error {
	return volume.Errorf(volume.Unavailable, "discovery: listen on UDP port %d: %w; end the program that holds it, or set [cluster] discovery = \"none\" and name the others with -c", w.Port, err)
}
