package hostdir

import (
	"context"
	hexenc "encoding/hex"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// lowerStat is what stat(2) says of a lower file. Rdev is as in volume.Attr.
type lowerStat struct {
	Dev, Ino            uint64
	Mode                uint32
	Nlink               uint64
	UID, GID            uint32
	Rdev                uint32
	Size                int64
	Atime, Mtime, Ctime volume.Time
}

func (st *lowerStat) typ() uint32 { return st.Mode & volume.ModeType }

// object is an open reference to a lower file of any type. With path it was opened
// for nothing but being named (O_PATH): it can be neither read nor written.
type object struct {
	fd   int
	path bool
}

// again repeats a system call that a signal interrupted: Go preempts by signals.
func again(f func() error) error {
	for {
		if err := f(); err != unix.EINTR {
			return err
		}
	}
}

func again2(f func() (int, error)) (int, error) {
	for {
		if n, err := f(); err != unix.EINTR {
			return n, err
		}
	}
}

func fstat(fd int) (lowerStat, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return lowerStat{}, err
	}
	return fillStat(&st), nil
}

// statAt is stat of one name of a directory, of a link itself.
func statAt(dir int, name string) (lowerStat, error) {
	var st unix.Stat_t
	if err := again(func() error { return unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW) }); err != nil {
		return lowerStat{}, err
	}
	return fillStat(&st), nil
}

func (o object) stat() (lowerStat, error) { return fstat(o.fd) }

func renameAt(from int, a string, to int, b string) error {
	return again(func() error { return unix.Renameat(from, a, to, b) })
}

func unlinkAt(dir int, name string, isDir bool) error {
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
	}
	return again(func() error { return unix.Unlinkat(dir, name, flags) })
}

func readlinkAt(dir int, name string) (string, error) {
	buf := make([]byte, volume.MaxTargetLen+1)
	n, err := again2(func() (int, error) { return unix.Readlinkat(dir, name, buf) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// listDir calls fn for each entry of a directory until it fails; typ is 0 if the
// file system does not tell.
func (d *Dir) listDir(dir int, fn func(name string, ino uint64, typ uint32) error) error {
	fd, err := d.sys.open(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	buf := make([]byte, 32<<10)
	for {
		n, err := again2(func() (int, error) { return unix.Getdents(fd, buf) })
		if err != nil || n == 0 {
			return err
		}
		var failed error
		err = parseDirents(buf[:n], func(name string, ino uint64, typ uint32) {
			if failed == nil {
				failed = fn(name, ino, typ)
			}
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
	}
}

// nameBatch is how many names of a directory are looked at together: their records are in the
// index's caches then.
const nameBatch = 1024

// listNames calls fn with the names of a directory for which want is true, up to nameBatch of them
// at a time, until it fails. The slice is fn's until it returns.
func (d *Dir) listNames(ctx context.Context, dir int, want func(name string) bool, fn func(names []string) error) error {
	var names []string
	err := d.listDir(dir, func(name string, _ uint64, _ uint32) error {
		if err := ctx.Err(); err != nil || !want(name) {
			return err
		}
		if names = append(names, name); len(names) < nameBatch {
			return nil
		}
		err := fn(names)
		names = names[:0]
		return err
	})
	if err != nil || len(names) == 0 {
		return err
	}
	return fn(names)
}

// preadFull reads until p is full or the file ends.
func preadFull(fd int, p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := again2(func() (int, error) { return unix.Pread(fd, p[n:], off+int64(n)) })
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, nil
		}
		n += m
	}
	return n, nil
}

// pwriteFull writes until p is written or a call fails.
func pwriteFull(fd int, p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := again2(func() (int, error) { return unix.Pwrite(fd, p[n:], off+int64(n)) })
		if err != nil {
			return n, err
		}
		if m == 0 {
			return n, unix.ENOSPC
		}
		n += m
	}
	return n, nil
}

// setSec stores seconds in a struct timespec, which has 32 bits on old platforms.
func setSec[T int32 | int64](p *T, sec int64) { *p = T(sec) }

func hex(b []byte) string { return hexenc.EncodeToString(b) }

// readWhole reads a small file of the system, outside the volume.
func readWhole(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// RaiseFileLimit lifts the process's limit of open descriptors to its maximum and
// returns what it is then. A daemon calls it once at its start.
func RaiseFileLimit() (int, error) {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return 0, err
	}
	if lim.Cur < lim.Max {
		old := lim.Cur
		if lim.Cur = lim.Max; unix.Setrlimit(unix.RLIMIT_NOFILE, &lim) != nil {
			lim.Cur = old
		}
	}
	return int(min(uint64(lim.Cur), 1<<30)), nil
}
