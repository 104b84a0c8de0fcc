//go:build linux

package posix

import (
	"bytes"
	"fmt"

	"golang.org/x/sys/unix"
)

// unlinkedFile is an open file without a name.
func unlinkedFile(b *box, content string) int {
	fd := b.create("gone")
	b.pwrite(fd, 0, []byte(content))
	b.unlink("gone")
	b.absent("gone")
	return fd
}

var openUnlinkedTable = table{
	{name: "unlinked/reads-and-writes-go-on", run: func(b *box) {
		fd := unlinkedFile(b, "content")
		b.pwrite(fd, 7, []byte(" goes on"))
		b.fdHolds(fd, []byte("content goes on"))
		b.put("gone", "another")
		b.pwrite(fd, 0, []byte("C"))
		b.fdHolds(fd, []byte("Content goes on"))
		b.holds("gone", "another")
		b.close(fd)
		b.holds("gone", "another")
	}},
	{name: "unlinked/fstat", run: func(b *box) {
		fd := b.create("gone")
		b.pwrite(fd, 0, []byte("12345"))
		before := b.fstat(fd)
		tickClock()
		b.unlink("gone")
		st := b.fstat(fd)
		eq(b, "links", uint64(st.Nlink), 0)
		eq(b, "inode", st.Ino, before.Ino)
		eq(b, "size", st.Size, 5)
		eq(b, "mtime", st.Mtim, before.Mtim)
		if nanos(st.Ctim) <= nanos(before.Ctim) {
			b.fail("ctime did not move: %v, %v", before.Ctim, st.Ctim)
		}
		b.close(fd)
	}},
	{name: "unlinked/fchmod", run: func(b *box) {
		fd := unlinkedFile(b, "x")
		b.ok("fchmod", unix.Fchmod(fd, 0o4711))
		eq(b, "mode", b.fstat(fd).Mode, unix.S_IFREG|0o4711)
		b.close(fd)
	}},
	{name: "unlinked/fchown", run: func(b *box) {
		fd := unlinkedFile(b, "x")
		b.ok("fchown", unix.Fchown(fd, 1234, 4321))
		st := b.fstat(fd)
		eq(b, "owner", fmt.Sprint(st.Uid, ":", st.Gid), "1234:4321")
		b.close(fd)
	}},
	{name: "unlinked/futimens", run: func(b *box) {
		fd := unlinkedFile(b, "x")
		b.ok("futimens", utimes(fd, "", unix.Timespec{Sec: 11, Nsec: 12}, unix.Timespec{Sec: -13, Nsec: 14}, 0))
		st := b.fstat(fd)
		eq(b, "atime", st.Atim, unix.Timespec{Sec: 11, Nsec: 12})
		eq(b, "mtime", st.Mtim, unix.Timespec{Sec: -13, Nsec: 14})
		b.close(fd)
	}},
	{name: "unlinked/ftruncate", run: func(b *box) {
		fd := unlinkedFile(b, "content")
		b.ok("shrink", unix.Ftruncate(fd, 3))
		b.ok("grow", unix.Ftruncate(fd, 6))
		b.fdHolds(fd, []byte("con\x00\x00\x00"))
		b.close(fd)
	}},
	{name: "unlinked/fallocate-and-punch", run: func(b *box) {
		fd := unlinkedFile(b, "content")
		b.ok("extend", unix.Fallocate(fd, 0, 0, 10))
		b.ok("punch", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1, 3))
		b.fdHolds(fd, []byte("c\x00\x00\x00ent\x00\x00\x00"))
		b.close(fd)
	}},
	{name: "unlinked/fsetxattr-fgetxattr-flistxattr-fremovexattr", run: func(b *box) {
		fd := unlinkedFile(b, "x")
		b.ok("fsetxattr", unix.Fsetxattr(fd, "user.a", []byte("value"), 0))
		buf := make([]byte, 100)
		n, err := unix.Fgetxattr(fd, "user.a", buf)
		b.ok("fgetxattr", err)
		eq(b, "value", string(buf[:n]), "value")
		n, err = unix.Flistxattr(fd, buf)
		b.ok("flistxattr", err)
		if !bytes.Contains(buf[:n], []byte("user.a\x00")) {
			b.fail("listed: %q", buf[:n])
		}
		b.ok("fremovexattr", unix.Fremovexattr(fd, "user.a"))
		_, err = unix.Fgetxattr(fd, "user.a", buf)
		b.is("fgetxattr", err, unix.ENODATA)
		b.close(fd)
	}},
	{name: "unlinked/fsync-and-mmap", run: func(b *box) {
		fd := unlinkedFile(b, "content")
		m, err := unix.Mmap(fd, 0, 7, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		b.ok("mmap", err)
		m[0] = 'C'
		b.ok("msync", unix.Msync(m, unix.MS_SYNC))
		b.ok("fsync", unix.Fsync(fd))
		b.fdHolds(fd, []byte("Content"))
		b.close(fd)
		m[1] = 'O' // the mapping outlives the descriptor
		eq(b, "mapped", string(m), "COntent")
		b.ok("munmap", unix.Munmap(m))
	}},
	{name: "unlinked/link-is-enoent", run: func(b *box) {
		fd := unlinkedFile(b, "x")
		b.is("linkat", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, b.at("back"), unix.AT_SYMLINK_FOLLOW), unix.ENOENT)
		b.is("linkat by descriptor", unix.Linkat(fd, "", unix.AT_FDCWD, b.at("back"), unix.AT_EMPTY_PATH), unix.ENOENT)
		b.absent("back")
		b.close(fd)
	}},
	{name: "unlinked/can-be-opened-through-proc", run: func(b *box) {
		fd := unlinkedFile(b, "content")
		again, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_CLOEXEC, 0)
		b.ok("open", err)
		b.close(fd)
		b.fdHolds(again, []byte("content"))
		b.pwrite(again, 0, []byte("C"))
		b.fdHolds(again, []byte("Content"))
		b.close(again)
	}},
	{name: "unlinked/displaced-by-rename-lives-on", run: func(b *box) {
		b.put("f", "old")
		b.put("new", "new")
		fd := b.open("f", unix.O_RDWR)
		b.rename("new", "f")
		eq(b, "links", uint64(b.fstat(fd).Nlink), 0)
		b.pwrite(fd, 3, []byte(" lives"))
		b.ok("fchmod", unix.Fchmod(fd, 0o600))
		b.ok("ftruncate", unix.Ftruncate(fd, 7))
		b.fdHolds(fd, []byte("old liv"))
		b.close(fd)
		b.holds("f", "new")
		b.mode("f", 0o644)
	}},
	{name: "unlinked/directory-lists-nothing", run: func(b *box) {
		b.mkdir("d")
		fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		b.ok("rmdir", unix.Rmdir(b.at("d")))
		list, err := getdents(fd, 4096)
		if err != unix.ENOENT && (err != nil || len(list) > 2) {
			b.fail("getdents: %d entries, %v", len(list), err)
		}
		st := b.fstat(fd)
		eq(b, "links", uint64(st.Nlink), 0)
		b.ok("fchmod", unix.Fchmod(fd, 0o700))
		eq(b, "mode", b.fstat(fd).Mode&0o7777, 0o700)
		b.close(fd)
	}},
	{name: "unlinked/last-close-of-several", run: func(b *box) {
		fd := unlinkedFile(b, "content")
		var dups []int
		for range 5 {
			d, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			b.ok("open", err)
			dups = append(dups, d)
		}
		b.close(fd)
		for _, d := range dups {
			b.fdHolds(d, []byte("content"))
			b.close(d)
		}
	}},
}
