package discovery

import (
	"errors"

	"golang.org/x/sys/unix"
)

// share lets several daemons of a machine have the port: what goes to a group or to all
// is given to each of them. SO_REUSEADDR does so for a group's address alone.
func share(fd int) error {
	return errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}
