package hostdir

import (
	"bytes"
	"sort"
	"strconv"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// procName is the one path by which attributes of what cannot be opened are reached:
// the link leads to the descriptor's own object, also if that is a symbolic link.
func procName(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (s *sys) setXattr(o object, name string, value []byte) error {
	return again(func() error {
		if o.path {
			return unix.Setxattr(procName(o.fd), name, value, 0)
		}
		return unix.Fsetxattr(o.fd, name, value, 0)
	})
}

func (s *sys) removeXattr(o object, name string) error {
	return again(func() error {
		if o.path {
			return unix.Removexattr(procName(o.fd), name)
		}
		return unix.Fremovexattr(o.fd, name)
	})
}

func (s *sys) getXattr(o object, name string) ([]byte, error) {
	for size := 256; ; size = volume.MaxXattrLen {
		buf := make([]byte, size)
		n, err := again2(func() (int, error) {
			if o.path {
				return unix.Getxattr(procName(o.fd), name, buf)
			}
			return unix.Fgetxattr(o.fd, name, buf)
		})
		if err == unix.ERANGE && size < volume.MaxXattrLen {
			continue
		}
		if err == unix.EINVAL && name == volume.XattrCapability {
			err = errNoXattr // an empty one can be set, but is none
		}
		if err != nil {
			return nil, err
		}
		return buf[:n], nil
	}
}

// listXattr returns the names of an object's attributes, sorted; none where the file
// system or the type has none.
func (s *sys) listXattr(o object) ([]string, error) {
	for size := 1 << 10; ; size = volume.MaxXattrsLen {
		buf := make([]byte, size)
		n, err := again2(func() (int, error) {
			if o.path {
				return unix.Listxattr(procName(o.fd), buf)
			}
			return unix.Flistxattr(o.fd, buf)
		})
		if err == unix.ERANGE && size < volume.MaxXattrsLen {
			continue
		}
		if err == unix.EOPNOTSUPP {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		var names []string
		for _, b := range bytes.Split(buf[:n], []byte{0}) {
			if len(b) > 0 {
				names = append(names, string(b))
			}
		}
		sort.Strings(names)
		return names, nil
	}
}
