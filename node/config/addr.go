package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"wolfdisk/node/discovery"
	"wolfdisk/volume"
)

// splitAddr takes HOST[:PORT] apart; IPv6 addresses stand in brackets. The port is
// empty if there is none.
func splitAddr(text string) (host, port string, err error) {
	rest := text
	if inner, ok := strings.CutPrefix(text, "["); ok {
		end := strings.IndexByte(inner, ']')
		if end < 0 {
			return "", "", errors.New("has a [ without ]")
		}
		host, rest = inner[:end], inner[end+1:]
		if a, err := netip.ParseAddr(host); err != nil || !a.Is6() {
			return "", "", errors.New("has something else than an IPv6 address in brackets")
		}
		if rest != "" && rest[0] != ':' {
			return "", "", errors.New("has something else than :PORT behind the bracket")
		}
	} else {
		if strings.Count(text, ":") > 1 {
			return "", "", fmt.Errorf("has colons: write an IPv6 address in brackets, as in [%s]:%s", text, defaultPort)
		}
		host, rest = text, ""
		if i := strings.IndexByte(text, ':'); i >= 0 {
			host, rest = text[:i], text[i:]
		}
	}
	if rest == "" {
		return host, "", nil
	}
	port = rest[1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || port != strconv.FormatUint(n, 10) {
		return "", "", errors.New("has no port from 1 to 65535 behind the colon")
	}
	return host, port, nil
}

func checkHost(host string) error {
	if strings.ContainsRune(host, ':') {
		return nil // an IPv6 address that splitAddr has seen
	}
	if len(host) > 253 {
		return errors.New("has a host name of more than 253 bytes")
	}
	digitsOnly := true
	for i := range len(host) {
		c := host[i]
		digit := '0' <= c && c <= '9'
		digitsOnly = digitsOnly && digit
		if !digit && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c != '-' && c != '.' && c != '_' || i == 0) {
			return fmt.Errorf("has a host name with %q in it", c)
		}
	}
	if digitsOnly {
		return fmt.Errorf("has no host: for a port write HOST:%s", host)
	}
	return nil
}

func joinAddr(host, port string) string {
	if strings.ContainsRune(host, ':') {
		host = "[" + host + "]"
	}
	return host + ":" + port
}

// checkListen accepts an address to listen on: the host may be empty for "all",
// the port 0 for any free one.
func checkListen(text, defPort string) (string, error) {
	if text == "" {
		return "", errors.New("is empty")
	}
	host, port, err := splitAddr(text)
	if err != nil {
		return "", err
	}
	if host != "" {
		if err := checkHost(host); err != nil {
			return "", err
		}
	}
	if port == "" {
		port = defPort
	}
	return joinAddr(host, port), nil
}

func checkBind(text string) (string, error) { return checkListen(text, defaultPort) }

func checkAdminBind(text string) (string, error) { return checkListen(text, defaultAdminPort) }

// checkDial accepts an address that others can dial; without a port it stays so.
func checkDial(text string) (host, port string, err error) {
	if text == "" {
		return "", "", errors.New("is empty")
	}
	host, port, err = splitAddr(text)
	if err != nil {
		return "", "", err
	}
	if host == "" {
		return "", "", errors.New("has no host")
	}
	if err := checkHost(host); err != nil {
		return "", "", err
	}
	if port == "0" {
		return "", "", errors.New("has port 0, which nobody can reach")
	}
	return host, port, nil
}

func checkPeer(text string) (string, error) {
	host, port, err := checkDial(text)
	if err != nil {
		return "", err
	}
	if port == "" {
		port = defaultPort
	}
	return joinAddr(host, port), nil
}

// checkAdvertise leaves a missing port missing: it is that of bind, which is only
// known when all keys are.
func checkAdvertise(text string) (string, error) {
	if text == "" {
		return "", nil
	}
	host, port, err := checkDial(text)
	if err != nil {
		return "", err
	}
	if a, err := netip.ParseAddr(host); err == nil && a.IsUnspecified() {
		return "", errors.New("is no address that others can reach")
	}
	if port == "" {
		if strings.ContainsRune(host, ':') {
			host = "[" + host + "]"
		}
		return host, nil
	}
	return joinAddr(host, port), nil
}

// completeAdvertise gives an advertised address without a port that of bind.
func completeAdvertise(advertise, bind string) string {
	if advertise == "" {
		return ""
	}
	host, port, err := splitAddr(advertise)
	if err != nil || port != "" {
		return advertise
	}
	_, port, err = splitAddr(bind)
	if err != nil || port == "" || port == "0" {
		port = defaultPort
	}
	return joinAddr(host, port)
}

// checkDiscovery brings it to the shortest form.
func checkDiscovery(text string) (string, error) {
	w, err := discovery.Parse(text)
	if err != nil {
		return "", err
	}
	return w.String(), nil
}

func checkNodeID(text string) (string, error) {
	if err := volume.CheckNodeID(text); err != nil {
		return "", errors.New("is not a node ID")
	}
	return text, nil
}

// checkVolumeName keeps to what needs no quoting in mount options and tables.
func checkVolumeName(text string) (string, error) {
	if err := volume.CheckNodeID(text); err != nil {
		return "", errors.New("is not a name that can stand in a table of mounts")
	}
	return text, nil
}
