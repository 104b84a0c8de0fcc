package hostdir

import (
	"bytes"
	"encoding/binary"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// FreeBSD 14 and later: O_PATH and AT_EMPTY_PATH as on Linux, but no file handles
// without privileges of their own kind, no exchange of names, no RENAME_NOREPLACE. The
// values are those of its sys/fcntl.h, which x/sys does not have yet.
const (
	oPath       = 0x00400000
	oEmptyPath  = 0x02000000
	atEmptyPath = 0x4000
	oNoAtime    = 0
	seekData    = unix.SEEK_DATA
	seekHole    = unix.SEEK_HOLE
	errNoXattr  = unix.ENOATTR
)

type sys struct{}

func newSys() (*sys, error) { return &sys{}, nil }
func (s *sys) close()       {}

// open opens one name of a directory without following a link. A mount point
// is noticed by openDir, which compares device numbers.
func (s *sys) open(dir int, name string, flags int, mode uint32) (int, error) {
	flags |= unix.O_NOFOLLOW | unix.O_CLOEXEC | unix.O_RESOLVE_BENEATH
	fd, err := again2(func() (int, error) { return unix.Openat(dir, name, flags, mode) })
	if err == unix.EMLINK {
		err = unix.ELOOP // what other systems, and our callers, call a link that is not followed
	}
	return fd, err
}

func (s *sys) reopen(fd, flags int) (int, error) {
	return again2(func() (int, error) { return unix.Openat(fd, "", flags|oEmptyPath|unix.O_CLOEXEC, 0) })
}

func (s *sys) chown(o object, uid, gid uint32) error {
	return again(func() error { return unix.Fchownat(o.fd, "", int(uid), int(gid), atEmptyPath) })
}

func (s *sys) chmod(o object, mode uint32) error {
	err := again(func() error { return unix.Fchmodat(o.fd, "", mode, atEmptyPath) })
	if err == unix.EFTYPE {
		err = unix.EPERM // the sticky bit of a file is for the superuser
	}
	return err
}

func (s *sys) utimes(o object, atime, mtime volume.Time) error {
	ts := []unix.Timespec{timespec(atime), timespec(mtime)}
	return again(func() error { return unix.UtimesNanoAt(o.fd, "", ts, atEmptyPath) })
}

func timespec(t volume.Time) unix.Timespec {
	ts := unix.NsecToTimespec(int64(t.Nsec))
	setSec(&ts.Sec, t.Sec)
	return ts
}

func (s *sys) link(fd, dir int, name string) error {
	return again(func() error { return unix.Linkat(fd, "", dir, name, atEmptyPath) })
}

// renameNoReplace looks first: the caller holds the locks of both names, so only
// somebody writing below us could come between.
func (s *sys) renameNoReplace(from int, a string, to int, b string) error {
	var st unix.Stat_t
	if unix.Fstatat(to, b, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return unix.EEXIST
	}
	return again(func() error { return unix.Renameat(from, a, to, b) })
}

func (s *sys) exchange(int, string, int, string) error { return unix.EOPNOTSUPP }

func (s *sys) mknod(dir int, name string, mode, rdev uint32) error {
	dev := freebsdDev(rdev)
	switch mode & volume.ModeType {
	case volume.ModeFIFO:
		return mkfifoAt(dir, name, mode)
	case volume.ModeSocket:
		return unix.EOPNOTSUPP // only bind(2) makes one
	}
	return again(func() error { return unix.Mknodat(dir, name, mode, dev) })
}

func mkfifoAt(dir int, name string, mode uint32) error {
	p, err := unix.BytePtrFromString(name)
	if err != nil {
		return err
	}
	return again(func() error {
		if _, _, e := unix.Syscall(unix.SYS_MKFIFOAT, uintptr(dir), uintptr(unsafe.Pointer(p)), uintptr(mode&volume.ModePerm)); e != 0 {
			return e
		}
		return nil
	})
}

// fallocate leaves it to the caller, who writes zeros: there is no reservation without
// growth here, and what punches holes (fspacectl) came late and not to all file systems.
func (s *sys) fallocate(int, uint32, int64, int64) error { return unix.EOPNOTSUPP }

func (s *sys) fdatasync(fd int) error {
	return again(func() error {
		if _, _, e := unix.Syscall(unix.SYS_FDATASYNC, uintptr(fd), 0, 0); e != 0 {
			return e
		}
		return nil
	})
}

// syncfs has no counterpart: sync(2) starts writing everything, and fsync of the root
// waits for the file system's log.
func (s *sys) syncfs(fd int) error {
	if err := unix.Sync(); err != nil {
		return err
	}
	return again(func() error { return unix.Fsync(fd) })
}

func fillStat(st *unix.Stat_t) lowerStat {
	return lowerStat{
		Dev: st.Dev, Ino: st.Ino, Mode: uint32(st.Mode), Nlink: st.Nlink, UID: st.Uid, GID: st.Gid,
		Rdev: fromFreeBSDDev(st.Rdev), Size: st.Size,
		Atime: volume.Time{Sec: int64(st.Atim.Sec), Nsec: uint32(st.Atim.Nsec)},
		Mtime: volume.Time{Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec)},
		Ctime: volume.Time{Sec: int64(st.Ctim.Sec), Nsec: uint32(st.Ctim.Nsec)},
	}
}

func (s *sys) handle(int) ([]byte, error)               { return nil, unix.EOPNOTSUPP }
func (s *sys) openHandle(int, []byte, int) (int, error) { return -1, unix.EOPNOTSUPP }

func (s *sys) birth(fd int) volume.Time {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return volume.Time{}
	}
	return volume.Time{Sec: int64(st.Btim.Sec), Nsec: uint32(st.Btim.Nsec)}
}

func fsID(fd int) (string, bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		return "", false, err
	}
	var b [8]byte
	binary.BigEndian.PutUint32(b[:], uint32(st.Fsid.Val[0]))
	binary.BigEndian.PutUint32(b[4:], uint32(st.Fsid.Val[1]))
	return "fsid-" + hex(b[:]), false, nil
}

func inspectFS(fd int) (fuse, readOnly bool, err error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return false, false, err
	}
	return strings.HasPrefix(cString(st.Fstypename[:]), "fusefs"), st.Flags&unix.MNT_RDONLY != 0, nil
}

func statFS(fd int) (volume.StatFS, error) {
	var st unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &st) }); err != nil {
		return volume.StatFS{}, err
	}
	return volume.StatFS{BlockSize: uint32(st.Bsize), Blocks: st.Blocks, BlocksFree: st.Bfree, Avail: uint64(max(st.Bavail, 0)),
		Inodes: st.Files, InodesFree: uint64(max(st.Ffree, 0))}, nil
}

// mountsBelow compares mount points by walking up from each with "..": FreeBSD has no
// way from a descriptor to its path.
func mountsBelow(s *sys, fd int) ([]string, error) {
	root, err := fstat(fd)
	if err != nil {
		return nil, err
	}
	n, err := unix.Getfsstat(nil, 2 /* MNT_NOWAIT */)
	if err != nil {
		return nil, err
	}
	all := make([]unix.Statfs_t, n+8)
	if n, err = unix.Getfsstat(all, 2); err != nil {
		return nil, err
	}
	var found []string
	for i := range all[:n] {
		point := cString(all[i].Mntonname[:])
		up, err := unix.Open(point+"/..", oPath|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // a mount that cannot be entered is not a parent or child we could meet
		}
		inside, err := hasAncestor(up, root)
		if err == nil && inside {
			found = append(found, point)
		}
	}
	return found, nil
}

func cString[T int8 | uint8](b []T) string {
	var out bytes.Buffer
	for _, c := range b {
		if c == 0 {
			break
		}
		out.WriteByte(byte(c))
	}
	return out.String()
}

func bootID() (string, error) {
	t, err := bootTime()
	return "boot-" + hex(binary.BigEndian.AppendUint64(nil, uint64(t.Sec))), err
}

func bootTime() (volume.Time, error) {
	raw, err := unix.SysctlRaw("kern.boottime")
	if err != nil {
		return volume.Time{}, err
	}
	if len(raw) < int(unsafe.Sizeof(unix.Timeval{})) {
		return volume.Time{}, unix.EIO
	}
	tv := *(*unix.Timeval)(unsafe.Pointer(&raw[0]))
	return volume.Time{Sec: int64(tv.Sec), Nsec: uint32(tv.Usec) * 1000}, nil
}

// parseDirents reads struct dirent: 8 bytes inode, 8 offset, 2 length, 1 type, 1 pad, 2 name length.
func parseDirents(buf []byte, fn func(name string, ino uint64, typ uint32)) error {
	for len(buf) > 0 {
		if len(buf) < 24 {
			return unix.EIO
		}
		reclen, namelen := int(binary.NativeEndian.Uint16(buf[16:])), int(binary.NativeEndian.Uint16(buf[20:]))
		if reclen < 24 || reclen > len(buf) || 24+namelen > reclen {
			return unix.EIO
		}
		ino := binary.NativeEndian.Uint64(buf)
		if n := string(buf[24 : 24+namelen]); n != "." && n != ".." && n != "" && ino != 0 {
			fn(n, ino, uint32(buf[18])<<12)
		}
		buf = buf[reclen:]
	}
	return nil
}
