package discovery

import "golang.org/x/sys/unix"

// share lets several daemons of a machine have the port: what goes to a group or to all
// is given to each of them.
func share(fd int) error {
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
}
