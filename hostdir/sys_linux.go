package hostdir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

const (
	oPath      = unix.O_PATH
	oNoAtime   = unix.O_NOATIME
	seekData   = unix.SEEK_DATA
	seekHole   = unix.SEEK_HOLE
	errNoXattr = unix.ENODATA
)

// sys is what differs between platforms. The descriptors it opens are close-on-exec.
type sys struct {
	proc      int // /proc/self/fd, to reach an O_PATH descriptor's object
	noOpenat2 atomic.Bool
}

func newSys() (*sys, error) {
	fd, err := unix.Open("/proc/self/fd", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, volume.Errorf(volume.Unavailable, "open /proc/self/fd: %w; mount proc", err)
	}
	return &sys{proc: fd}, nil
}

func (s *sys) close() { unix.Close(s.proc) }

// open opens one name of a directory without following a link or crossing a mount.
func (s *sys) open(dir int, name string, flags int, mode uint32) (int, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC
	if !s.noOpenat2.Load() {
		how := unix.OpenHow{Flags: uint64(flags), Mode: uint64(mode),
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
		if flags&unix.O_PATH != 0 {
			// With O_PATH and O_NOFOLLOW a link itself is opened; NO_SYMLINKS would
			// refuse it, and there is but one component.
			how.Resolve &^= unix.RESOLVE_NO_SYMLINKS
		} else {
			how.Flags |= unix.O_LARGEFILE
		}
		fd, err := again2(func() (int, error) { return unix.Openat2(dir, name, &how) })
		if err != unix.ENOSYS && err != unix.EPERM {
			return fd, err
		}
		if err == unix.ENOSYS {
			s.noOpenat2.Store(true)
		}
	}
	return again2(func() (int, error) { return unix.Openat(dir, name, flags, mode) })
}

// reopen opens the object of an O_PATH descriptor for real.
func (s *sys) reopen(fd, flags int) (int, error) {
	return again2(func() (int, error) {
		return unix.Openat(s.proc, strconv.Itoa(fd), flags|unix.O_CLOEXEC, 0)
	})
}

func (s *sys) chown(o object, uid, gid uint32) error {
	return again(func() error { return unix.Fchownat(o.fd, "", int(uid), int(gid), unix.AT_EMPTY_PATH) })
}

func (s *sys) chmod(o object, mode uint32) error {
	return again(func() error {
		if o.path {
			return unix.Fchmodat(s.proc, strconv.Itoa(o.fd), mode, 0)
		}
		return unix.Fchmod(o.fd, mode)
	})
}

func (s *sys) utimes(o object, atime, mtime volume.Time) error {
	ts := [2]unix.Timespec{timespec(atime), timespec(mtime)}
	return again(func() error {
		if o.path {
			return unix.UtimesNanoAt(s.proc, strconv.Itoa(o.fd), ts[:], 0)
		}
		_, _, e := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(o.fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if e != 0 {
			return e
		}
		return nil
	})
}

func timespec(t volume.Time) unix.Timespec {
	ts := unix.NsecToTimespec(int64(t.Nsec))
	setSec(&ts.Sec, t.Sec)
	return ts
}

// link gives the object of a descriptor a further name.
func (s *sys) link(fd, dir int, name string) error {
	return again(func() error {
		return unix.Linkat(s.proc, strconv.Itoa(fd), dir, name, unix.AT_SYMLINK_FOLLOW)
	})
}

// renameNoReplace fails with EEXIST if the new name is taken.
func (s *sys) renameNoReplace(from int, a string, to int, b string) error {
	err := again(func() error { return unix.Renameat2(from, a, to, b, unix.RENAME_NOREPLACE) })
	if err != unix.EINVAL && err != unix.ENOSYS {
		return err
	}
	var st unix.Stat_t
	if unix.Fstatat(to, b, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return unix.EEXIST
	}
	return again(func() error { return unix.Renameat(from, a, to, b) })
}

// exchange swaps two names; EOPNOTSUPP if the file system cannot.
func (s *sys) exchange(from int, a string, to int, b string) error {
	err := again(func() error { return unix.Renameat2(from, a, to, b, unix.RENAME_EXCHANGE) })
	if err == unix.EINVAL || err == unix.ENOSYS {
		return unix.EOPNOTSUPP
	}
	return err
}

func (s *sys) mknod(dir int, name string, mode, rdev uint32) error {
	dev := unix.Mkdev(rdev>>8&0xfff, rdev&0xff|rdev>>12&0xfff00)
	return again(func() error { return unix.Mknodat(dir, name, mode, int(dev)) })
}

func encodeDev(dev uint64) uint32 {
	major, minor := unix.Major(dev), unix.Minor(dev)
	return minor&0xff | major&0xfff<<8 | minor&0xfff00<<12
}

func (s *sys) fallocate(fd int, mode uint32, off, length int64) error {
	return again(func() error { return unix.Fallocate(fd, mode, off, length) })
}

func (s *sys) fdatasync(fd int) error { return again(func() error { return unix.Fdatasync(fd) }) }
func (s *sys) syncfs(fd int) error    { return again(func() error { return unix.Syncfs(fd) }) }

func fillStat(st *unix.Stat_t) lowerStat {
	return lowerStat{
		Dev: uint64(st.Dev), Ino: st.Ino, Mode: st.Mode, Nlink: uint64(st.Nlink), UID: st.Uid, GID: st.Gid,
		Rdev: encodeDev(uint64(st.Rdev)), Size: st.Size,
		Atime: volume.Time{Sec: int64(st.Atim.Sec), Nsec: uint32(st.Atim.Nsec)},
		Mtime: volume.Time{Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec)},
		Ctime: volume.Time{Sec: int64(st.Ctim.Sec), Nsec: uint32(st.Ctim.Nsec)},
	}
}

// handle is the file handle of an open object: type and bytes.
func (s *sys) handle(fd int) ([]byte, error) {
	h, _, err := unix.NameToHandleAt(fd, "", unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, err
	}
	if h.Size() > maxHandleLen {
		return nil, unix.EOPNOTSUPP
	}
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+h.Size()), uint32(h.Type())), h.Bytes()...), nil
}

// openHandle opens the object of a handle; it needs CAP_DAC_READ_SEARCH.
func (s *sys) openHandle(root int, handle []byte, flags int) (int, error) {
	if len(handle) < 4 {
		return -1, unix.ESTALE
	}
	h := unix.NewFileHandle(int32(binary.BigEndian.Uint32(handle)), handle[4:])
	fd, err := again2(func() (int, error) { return unix.OpenByHandleAt(root, h, flags|unix.O_CLOEXEC) })
	if err == unix.ENOMEM {
		// What the kernel says of an inode number that is just being given to a new
		// file (iget_locked): the file of this handle is gone.
		err = unix.ESTALE
	}
	return fd, err
}

// birth is the time a file was made; zero if the file system does not keep it.
func (s *sys) birth(fd int) volume.Time {
	var st unix.Statx_t
	if unix.Statx(fd, "", unix.AT_EMPTY_PATH, unix.STATX_BTIME, &st) != nil || st.Mask&unix.STATX_BTIME == 0 {
		return volume.Time{}
	}
	return volume.Time{Sec: st.Btime.Sec, Nsec: st.Btime.Nsec}
}

// fsID is what tells this file system from others over reboots; strong is false if it may
// change without the file system being another one.
func fsID(fd int) (id string, strong bool, err error) {
	var u struct {
		len  uint8
		uuid [16]byte
	}
	const fsIocGetFSUUID = 2<<30 | 17<<16 | 0x15<<8 // _IOR(0x15, 0, struct fsuuid2), Linux 6.9
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), fsIocGetFSUUID, uintptr(unsafe.Pointer(&u))); e == 0 &&
		u.len == 16 && u.uuid != [16]byte{} {
		return "uuid-" + volume.ID(u.uuid).String(), true, nil
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return "", false, err
	}
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], uint32(st.Fsid.Val[0]))
	binary.BigEndian.PutUint32(b[4:], uint32(st.Fsid.Val[1]))
	return "fsid-" + hex(b[:]), false, nil
}

const fuseMagic = 0x65735546

// inspectFS says whether the file system is a FUSE mount, and whether it is read-only.
func inspectFS(fd int) (fuse, readOnly bool, err error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return false, false, err
	}
	return uint32(st.Type) == fuseMagic, st.Flags&unix.ST_RDONLY != 0, nil
}

func statFS(fd int) (volume.StatFS, error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return volume.StatFS{}, err
	}
	return volume.StatFS{BlockSize: uint32(st.Bsize), Blocks: st.Blocks, BlocksFree: st.Bfree, Avail: st.Bavail,
		Inodes: st.Files, InodesFree: st.Ffree}, nil
}

// mountsBelow lists the mount points inside the directory that fd refers to.
func mountsBelow(s *sys, fd int) ([]string, error) {
	root := make([]byte, unix.PathMax+1)
	n, err := unix.Readlinkat(s.proc, strconv.Itoa(fd), root)
	if err != nil {
		return nil, err
	}
	prefix := strings.TrimSuffix(string(root[:n]), "/") + "/"
	info, err := readWhole("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range bytes.Lines(info) {
		if f := bytes.Fields(line); len(f) > 4 {
			if point := unescapeMount(string(f[4])); strings.HasPrefix(point, prefix) && point != prefix {
				found = append(found, point)
			}
		}
	}
	return found, nil
}

// unescapeMount undoes the octal escapes of mountinfo.
func unescapeMount(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if v, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(v))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func bootID() (string, error) {
	b, err := readWhole("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

// bootTime is when the machine was started, by its own clock of now.
func bootTime() (volume.Time, error) {
	var now, up unix.Timespec
	if err := errors.Join(unix.ClockGettime(unix.CLOCK_REALTIME, &now), unix.ClockGettime(unix.CLOCK_BOOTTIME, &up)); err != nil {
		return volume.Time{}, err
	}
	ns := now.Nano() - up.Nano()
	return volume.Time{Sec: ns / 1e9, Nsec: uint32(ns % 1e9)}, nil
}

// parseDirents calls fn with the names, inode numbers and types in a buffer of getdents64.
func parseDirents(buf []byte, fn func(name string, ino uint64, typ uint32)) error {
	for len(buf) > 0 {
		if len(buf) < 19 {
			return unix.EIO
		}
		reclen := int(binary.NativeEndian.Uint16(buf[16:]))
		if reclen < 20 || reclen > len(buf) {
			return unix.EIO
		}
		name, _, _ := bytes.Cut(buf[19:reclen], []byte{0})
		if n := string(name); n != "." && n != ".." && n != "" {
			fn(n, binary.NativeEndian.Uint64(buf), uint32(buf[18])<<12)
		}
		buf = buf[reclen:]
	}
	return nil
}
