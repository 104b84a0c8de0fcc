//go:build linux

package posix

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ptr is an address for a system call that package unix does not wrap as needed. The
// caller keeps the object alive.
func ptr[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }

type dirent struct {
	name string
	ino  uint64
	off  int64 // the place behind this entry
	typ  uint8
}

// getdents reads the next entries with a buffer of a given size; none at the end.
func getdents(fd, size int) (list []dirent, err error) {
	buf := make([]byte, size)
	n, err := unix.Getdents(fd, buf)
	for err == unix.EINTR {
		n, err = unix.Getdents(fd, buf)
	}
	if err != nil {
		return nil, err
	}
	for rest := buf[:n]; len(rest) > 0; {
		reclen := binary.NativeEndian.Uint16(rest[16:])
		list = append(list, dirent{
			name: unix.ByteSliceToString(rest[19:reclen]), ino: binary.NativeEndian.Uint64(rest),
			off: int64(binary.NativeEndian.Uint64(rest[8:])), typ: rest[18],
		})
		rest = rest[reclen:]
	}
	return list, nil
}

// listAll reads from the current place to the end.
func listAll(fd, size int) (list []dirent, err error) {
	for {
		some, err := getdents(fd, size)
		if err != nil || len(some) == 0 {
			return list, err
		}
		list = append(list, some...)
	}
}

func (b *box) list(name string) []dirent {
	fd := b.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	defer b.close(fd)
	list, err := listAll(fd, 32<<10)
	b.ok("getdents "+name, err)
	return list
}

// names are those of a listing, without "." and "..", each of which must be there once.
func (b *box) names(list []dirent) map[string]dirent {
	m := map[string]dirent{}
	for _, d := range list {
		if _, twice := m[d.name]; twice {
			b.fail("%q is listed twice", d.name)
		}
		m[d.name] = d
	}
	for _, dots := range []string{".", ".."} {
		if _, ok := m[dots]; !ok {
			b.fail("%q is not listed", dots)
		}
		delete(m, dots)
	}
	return m
}

// pwritev2 with flags.
func pwritev2(fd int, p []byte, off int64, flags int) (int, error) {
	return unix.Pwritev2(fd, [][]byte{p}, off, flags)
}

// file locks of struct flock, by command.
func setlk(fd, cmd int, typ int16, start, length int64) error {
	l := unix.Flock_t{Type: typ, Whence: 0, Start: start, Len: length}
	return unix.FcntlFlock(uintptr(fd), cmd, &l)
}

func getlk(fd, cmd int, typ int16, start, length int64) (unix.Flock_t, error) {
	l := unix.Flock_t{Type: typ, Whence: 0, Start: start, Len: length}
	err := unix.FcntlFlock(uintptr(fd), cmd, &l)
	return l, err
}
