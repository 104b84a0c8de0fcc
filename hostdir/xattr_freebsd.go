package hostdir

import (
	"runtime"
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

// withPointer calls fn with the address of a buffer, which stays where it is meanwhile.
// A signal may interrupt the call.
func withPointer(b []byte, fn func(data uintptr) error) error {
	if len(b) == 0 {
		return again(func() error { return fn(0) })
	}
	var pin runtime.Pinner
	pin.Pin(&b[0])
	defer pin.Unpin()
	return again(func() error { return fn(uintptr(unsafe.Pointer(&b[0]))) })
}

func (s *sys) setXattr(o object, name string, value []byte) error {
	return s.real(o, name, func(fd int, name string) error {
		return withPointer(value, func(data uintptr) error {
			n, err := unix.ExtattrSetFd(fd, unix.EXTATTR_NAMESPACE_USER, name, data, len(value))
			if err == nil && n != len(value) {
				return unix.ENOSPC
			}
			return err
		})
	})
}

func (s *sys) removeXattr(o object, name string) error {
	return s.real(o, name, func(fd int, name string) error {
		return again(func() error { return unix.ExtattrDeleteFd(fd, unix.EXTATTR_NAMESPACE_USER, name) })
	})
}

func (s *sys) getXattr(o object, name string) (value []byte, err error) {
	err = s.real(o, name, func(fd int, name string) error {
		value, err = fill(volume.MaxXattrLen, func(data uintptr, n int) (int, error) {
			return unix.ExtattrGetFd(fd, unix.EXTATTR_NAMESPACE_USER, name, data, n)
		})
		return err
	})
	return value, err
}

// fill calls get with a buffer of one byte more than can be, since the kernel cuts what
// does not fit without a word.
func fill(size int, get func(data uintptr, n int) (int, error)) ([]byte, error) {
	buf := make([]byte, size+1)
	got := 0
	err := withPointer(buf, func(data uintptr) (err error) {
		got, err = get(data, len(buf))
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case got < 0 || got > size:
		return nil, unix.ERANGE
	}
	return buf[:got], nil
}

func (s *sys) listXattr(o object) (names []string, err error) {
	err = s.real(o, "", func(fd int, _ string) error {
		buf, err := fill(volume.MaxXattrsLen, func(data uintptr, n int) (int, error) {
			return unix.ExtattrListFd(fd, unix.EXTATTR_NAMESPACE_USER, data, n)
		})
		if err != nil {
			return err
		}
		for len(buf) > 0 {
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
