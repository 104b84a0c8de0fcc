package hostdir

import (
	"sort"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// On FreeBSD only the user namespace is kept below, on files and directories: the
// others have no counterpart there, and links and special files cannot be opened.

const userPrefix = "user."

// real gives fn a descriptor that attributes can be set through.
func (s *sys) real(o object, name string, fn func(fd int, name string) error) error {
	if name != "" && !strings.HasPrefix(name, userPrefix) {
		return unix.EOPNOTSUPP
	}
	fd := o.fd
	if o.path {
		st, err := fstat(o.fd)
		if err != nil {
			return err
		}
		if st.typ() != volume.ModeFile && st.typ() != volume.ModeDir {
			return unix.EOPNOTSUPP
		}
		if fd, err = s.reopen(o.fd, unix.O_RDONLY|unix.O_NONBLOCK); err != nil {
			return err
		}
		defer unix.Close(fd)
	}
	return fn(fd, strings.TrimPrefix(name, userPrefix))
}

func pointer(b []byte) uintptr {
	if len(b) == 0 {
		return 0
	}
	return uintptr(unsafe.Pointer(&b[0]))
}

func (s *sys) setXattr(o object, name string, value []byte) error {
	return s.real(o, name, func(fd int, name string) error {
		_, err := unix.ExtattrSetFd(fd, unix.EXTATTR_NAMESPACE_USER, name, pointer(value), len(value))
		return err
	})
}

func (s *sys) removeXattr(o object, name string) error {
	return s.real(o, name, func(fd int, name string) error {
		return unix.ExtattrDeleteFd(fd, unix.EXTATTR_NAMESPACE_USER, name)
	})
}

func (s *sys) getXattr(o object, name string) (value []byte, err error) {
	err = s.real(o, name, func(fd int, name string) error {
		buf := make([]byte, volume.MaxXattrLen)
		n, err := unix.ExtattrGetFd(fd, unix.EXTATTR_NAMESPACE_USER, name, pointer(buf), len(buf))
		if err == nil {
			value = buf[:n]
		}
		return err
	})
	return value, err
}

func (s *sys) listXattr(o object) (names []string, err error) {
	err = s.real(o, "", func(fd int, _ string) error {
		buf := make([]byte, volume.MaxXattrsLen)
		n, err := unix.ExtattrListFd(fd, unix.EXTATTR_NAMESPACE_USER, pointer(buf), len(buf))
		if err != nil {
			return err
		}
		for buf = buf[:n]; len(buf) > 0; {
			l := int(buf[0])
			if 1+l > len(buf) {
				return unix.EIO
			}
			names = append(names, userPrefix+string(buf[1:1+l]))
			buf = buf[1+l:]
		}
		return nil
	})
	if err == unix.EOPNOTSUPP {
		return nil, nil
	}
	sort.Strings(names)
	return names, err
}
