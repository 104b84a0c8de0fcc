//go:build linux

package posix

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// inBox runs f in a folder as a child's work.
func inBox(args []string, f func(b *box)) error {
	if len(args) != 1 {
		return fmt.Errorf("want DIR, got %q", args)
	}
	unix.Umask(0o022)
	return runOne(test{run: f}, &box{dir: args[0]})
}

// runLayout makes what runRefuse and runReading expect: DIR.
func runLayout(args []string) error { return inBox(args, layout) }

var layoutContent = string(pattern(77, 300000))

func layout(b *box) {
	b.put("file", layoutContent)
	b.setx("file", "user.a", "value")
	b.setx("file", "trusted.a", "secret")
	b.link("file", "second")
	b.mkdir("dir")
	b.fill("dir", 1000)
	b.mkdir("dir/sub")
	b.mkdir("empty")
	b.symlink("file", "link")
	b.symlink(strings.Repeat("long/", 200), "dangling")
	b.ok("mkfifo", unix.Mkfifo(b.at("fifo"), 0o666))
	b.ok("mknod", unix.Mknod(b.at("device"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 200))))
	b.put("theirs", "of user 1000")
	b.chown("theirs", 1000, 1000)
	b.chmod("theirs", 0o600)
	b.mkdir("open")
	b.chmod("open", 0o777)
	b.put("open/file", "x")
	b.chmod("open/file", 0o666)
	b.mkdir("sticky")
	b.chmod("sticky", 0o1777)
	b.put("sticky/roots", "x")
	b.put("acl", "for user 1001")
	b.setACL("acl", aclAccess, aclEntry{aclUserObj, 6, 0}, aclEntry{aclUser, 4, 1001}, aclEntry{aclGroupObj, 0, 0}, aclEntry{aclMask, 4, 0}, aclEntry{aclOther, 0, 0})
	b.ok("utimensat", utimes(unix.AT_FDCWD, b.at("acl"), unix.Timespec{Sec: -5, Nsec: 6}, unix.Timespec{Sec: 1 << 33, Nsec: 7}, 0))
	const unit = 1 << 20
	fd := b.create("sparse")
	b.ok("ftruncate", unix.Ftruncate(fd, 9*unit))
	b.pwrite(fd, unit, pattern(1, 2*unit))
	b.pwrite(fd, 5*unit, pattern(2, unit))
	b.fallocate(fd, punch, 2*unit, unit/2)
	b.ok("fsync", unix.Fsync(fd))
	b.close(fd)
}

// refusal is a changing call and what a follower answers, as root and as user 2000: the
// kernel's own checks come first.
type refusal struct {
	name       string
	root, user unix.Errno
	call       func(b *box) error
}

var refusals = []refusal{
	{"open for writing", unix.EROFS, unix.EACCES, func(b *box) error { return b.try("file", unix.O_WRONLY, 0) }},
	{"open for both", unix.EROFS, unix.EROFS, func(b *box) error { return b.try("open/file", unix.O_RDWR, 0) }},
	{"open for appending", unix.EROFS, unix.EROFS, func(b *box) error { return b.try("open/file", unix.O_WRONLY|unix.O_APPEND, 0) }},
	{"open O_TRUNC", unix.EROFS, unix.EROFS, func(b *box) error { return b.try("open/file", unix.O_RDONLY|unix.O_TRUNC, 0) }},
	{"open O_CREAT", unix.EROFS, unix.EROFS, func(b *box) error { return b.try("open/new", unix.O_CREAT|unix.O_WRONLY, 0o644) }},
	{"open O_CREAT reading", unix.EROFS, unix.EROFS, func(b *box) error { return b.try("open/new", unix.O_CREAT|unix.O_RDONLY, 0o644) }},
	{"open O_CREAT without permission", unix.EROFS, unix.EACCES, func(b *box) error { return b.try("dir/new", unix.O_CREAT|unix.O_WRONLY, 0o644) }},
	{"open O_EXCL of what is there", unix.EEXIST, unix.EEXIST, func(b *box) error { return b.try("open/file", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644) }},
	{"open O_TMPFILE", unix.EROFS, unix.EROFS, func(b *box) error { return b.try("open", unix.O_TMPFILE|unix.O_RDWR, 0o600) }},
	{"mkdir", unix.EROFS, unix.EROFS, func(b *box) error { return unix.Mkdir(b.at("open/new"), 0o755) }},
	{"mkdir without permission", unix.EROFS, unix.EACCES, func(b *box) error { return unix.Mkdir(b.at("new"), 0o755) }},
	{"mkdir of what is there", unix.EEXIST, unix.EEXIST, func(b *box) error { return unix.Mkdir(b.at("dir"), 0o755) }},
	{"mkdir below nothing", unix.ENOENT, unix.ENOENT, func(b *box) error { return unix.Mkdir(b.at("none/x"), 0o755) }},
	{"mkfifo", unix.EROFS, unix.EROFS, func(b *box) error { return unix.Mkfifo(b.at("open/new"), 0o644) }},
	{"mknod of a device", unix.EROFS, unix.EPERM, func(b *box) error { return unix.Mknod(b.at("open/new"), unix.S_IFCHR|0o600, 259) }},
	{"symlink", unix.EROFS, unix.EROFS, func(b *box) error { return unix.Symlink("t", b.at("open/new")) }},
	{"symlink over something", unix.EEXIST, unix.EEXIST, func(b *box) error { return unix.Symlink("t", b.at("file")) }},
	{"link", unix.EROFS, unix.EROFS, func(b *box) error { return unix.Link(b.at("open/file"), b.at("open/new")) }},
	{"link of a directory", unix.EPERM, unix.EPERM, func(b *box) error { return unix.Link(b.at("empty"), b.at("open/new")) }},
	{"link over something", unix.EEXIST, unix.EEXIST, func(b *box) error { return unix.Link(b.at("open/file"), b.at("file")) }},
	{"unlink", unix.EROFS, unix.EROFS, func(b *box) error { return unix.Unlink(b.at("open/file")) }},
	{"unlink without permission", unix.EROFS, unix.EACCES, func(b *box) error { return unix.Unlink(b.at("file")) }},
	{"unlink of nothing", unix.ENOENT, unix.ENOENT, func(b *box) error { return unix.Unlink(b.at("none")) }},
	{"unlink in a sticky directory", unix.EROFS, unix.EPERM, func(b *box) error { return unix.Unlink(b.at("sticky/roots")) }},
	{"rmdir", unix.EROFS, unix.EACCES, func(b *box) error { return unix.Rmdir(b.at("empty")) }},
	{"rmdir of a full one", unix.EROFS, unix.EACCES, func(b *box) error { return unix.Rmdir(b.at("dir")) }},
	{"rename", unix.EROFS, unix.EROFS, func(b *box) error { return unix.Rename(b.at("open/file"), b.at("open/new")) }},
	{"rename over something", unix.EROFS, unix.EACCES, func(b *box) error { return unix.Rename(b.at("file"), b.at("theirs")) }},
	{"rename of nothing", unix.ENOENT, unix.ENOENT, func(b *box) error { return unix.Rename(b.at("none"), b.at("open/new")) }},
	{"rename NOREPLACE", unix.EROFS, unix.EROFS, func(b *box) error { return renameat2(b, "open/file", "open/new", unix.RENAME_NOREPLACE) }},
	{"rename EXCHANGE", unix.EROFS, unix.EACCES, func(b *box) error { return renameat2(b, "file", "theirs", unix.RENAME_EXCHANGE) }},
	{"truncate", unix.EROFS, unix.EROFS, func(b *box) error { return unix.Truncate(b.at("open/file"), 0) }},
	{"truncate without permission", unix.EROFS, unix.EACCES, func(b *box) error { return unix.Truncate(b.at("file"), 0) }},
	{"chmod", unix.EROFS, unix.EPERM, func(b *box) error { return unix.Chmod(b.at("file"), 0o600) }},
	{"chmod of a directory", unix.EROFS, unix.EPERM, func(b *box) error { return unix.Chmod(b.at("dir"), 0o700) }},
	{"chown", unix.EROFS, unix.EPERM, func(b *box) error { return unix.Chown(b.at("file"), 5, 5) }},
	{"lchown", unix.EROFS, unix.EPERM, func(b *box) error { return unix.Lchown(b.at("link"), 5, 5) }},
	{"utimensat", unix.EROFS, unix.EPERM, func(b *box) error {
		return utimes(unix.AT_FDCWD, b.at("file"), unix.Timespec{Sec: 1}, unix.Timespec{Sec: 1}, 0)
	}},
	{"utimensat now", unix.EROFS, unix.EROFS, func(b *box) error { return utimes(unix.AT_FDCWD, b.at("open/file"), now, now, 0) }},
	{"setxattr", unix.EROFS, unix.EROFS, func(b *box) error { return unix.Setxattr(b.at("open/file"), "user.x", nil, 0) }},
	{"setxattr without permission", unix.EROFS, unix.EACCES, func(b *box) error { return unix.Setxattr(b.at("file"), "user.x", nil, 0) }},
	{"setxattr trusted", unix.EROFS, unix.EPERM, func(b *box) error { return unix.Setxattr(b.at("open/file"), "trusted.x", nil, 0) }},
	{"removexattr", unix.EROFS, unix.EACCES, func(b *box) error { return unix.Removexattr(b.at("file"), "user.a") }},
	{"set an ACL", unix.EROFS, unix.EPERM, func(b *box) error {
		return unix.Setxattr(b.at("file"), aclAccess, acl(aclEntry{aclUserObj, 6, 0}, aclEntry{aclGroupObj, 4, 0}, aclEntry{aclOther, 4, 0}), 0)
	}},
	{"write to a reader's descriptor", unix.EBADF, unix.EBADF, func(b *box) error {
		fd := b.open("file", unix.O_RDONLY)
		defer unix.Close(fd)
		_, err := unix.Write(fd, []byte("x"))
		return err
	}},
	{"fchmod", unix.EROFS, unix.EPERM, func(b *box) error {
		fd := b.open("file", unix.O_RDONLY)
		defer unix.Close(fd)
		return unix.Fchmod(fd, 0o600)
	}},
	{"shared writable mapping", unix.EACCES, unix.EACCES, func(b *box) error {
		fd := b.open("file", unix.O_RDONLY)
		defer unix.Close(fd)
		_, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		return err
	}},
}

// runRefuse tries to change a follower's mount: DIR, made by runLayout.
func runRefuse(args []string) error {
	return inBox(args, func(b *box) {
		var errs []error
		try := func(b *box, who string, r refusal, want unix.Errno) {
			if err := r.call(b); err != want {
				errs = append(errs, fmt.Errorf("%s as %s: %v, want %v", r.name, who, err, want))
			}
		}
		for _, r := range refusals {
			try(b, "root", r, r.root)
			b.as(2000, 2000, func(b *box) { try(b, "user", r, r.user) })
		}
		b.ok("refusals", errors.Join(errs...))
	})
}

// runReading looks at what runLayout made by every way of reading: DIR.
func runReading(args []string) error {
	return inBox(args, func(b *box) {
		for range 2 { // the second time from the kernel's caches
			readContent(b)
			readNames(b)
			readAttributes(b)
		}
	})
}

func readContent(b *box) {
	fd := b.open("file", unix.O_RDONLY)
	b.fdHolds(fd, []byte(layoutContent))
	eq(b, "across pages", string(b.pread(fd, 4000, 5000)), layoutContent[4000:9000])
	eq(b, "at the end", string(b.pread(fd, 299990, 100)), layoutContent[299990:])
	m, err := unix.Mmap(fd, 0, len(layoutContent), unix.PROT_READ, unix.MAP_SHARED)
	b.ok("mmap", err)
	eq(b, "mapping is the content", string(m) == layoutContent, true)
	b.ok("munmap", unix.Munmap(m))
	var p [2]int
	b.ok("pipe", unix.Pipe2(p[:], unix.O_CLOEXEC))
	buf := make([]byte, 8000)
	off := int64(100)
	n, err := unix.Splice(fd, &off, p[1], nil, len(buf), 0)
	b.ok("splice", err)
	k, err := unix.Read(p[0], buf)
	b.ok("read", err)
	if int64(k) != n || string(buf[:k]) != layoutContent[100:100+k] {
		b.fail("%d spliced, %d read", n, k)
	}
	b.close(p[0])
	b.close(p[1])
	b.ok("flock", unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)) // locks belong to the mount
	b.ok("read lock", setlk(fd, unix.F_SETLK, unix.F_RDLCK, 0, 10))
	b.ok("fsync", unix.Fsync(fd))
	b.ok("fadvise", unix.Fadvise(fd, 0, 0, unix.FADV_WILLNEED))
	b.close(fd)
	b.holds("second", layoutContent)
	b.holds("link", layoutContent)
	b.ok("O_CREAT of what is there", b.try("file", unix.O_CREAT|unix.O_RDONLY, 0o644))
	fd, err = unix.Open(b.at("file"), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	b.ok("open O_DIRECT", err)
	direct := aligned(8192)
	n2, err := unix.Pread(fd, direct, 4096)
	b.ok("direct read", err)
	eq(b, "direct read", string(direct[:n2]), layoutContent[4096:4096+n2])
	b.close(fd)
	fd = b.open("sparse", unix.O_RDONLY)
	got := b.pread(fd, 0, 10<<20)
	want := make([]byte, 9<<20)
	copy(want[1<<20:], pattern(1, 2<<20))
	copy(want[5<<20:], pattern(2, 1<<20))
	clear(want[2<<20 : 2<<20+1<<19])
	eq(b, "sparse file is as written", bytes.Equal(got, want), true)
	b.close(fd)
}

func readNames(b *box) {
	list := b.list("dir")
	names := b.names(list)
	eq(b, "entries", len(names), 1001)
	for i, d := range list {
		if i%100 == 0 {
			eq(b, "listed inode", d.ino, b.stat("dir/"+d.name).Ino)
		}
	}
	fd := b.open("dir", unix.O_RDONLY|unix.O_DIRECTORY)
	_, err := unix.Seek(fd, list[500].off, 0)
	b.ok("seekdir", err)
	rest, err := listAll(fd, 3000)
	b.ok("getdents", err)
	eq(b, "entries behind the 500th", len(rest), len(list)-501)
	b.close(fd)
	b.absent("none")
	b.absent("dir/none")
	buf := make([]byte, 5000)
	n, err := unix.Readlink(b.at("dangling"), buf)
	b.ok("readlink", err)
	eq(b, "target", string(buf[:n]), strings.Repeat("long/", 200))
	b.ok("stat through the link", b.try("link", unix.O_PATH, 0))
	b.is("open dangling", b.try("dangling", unix.O_RDONLY, 0), unix.ENOENT)
}

func readAttributes(b *box) {
	st := b.stat("second")
	eq(b, "links", uint64(st.Nlink), 2)
	eq(b, "size", st.Size, int64(len(layoutContent)))
	eq(b, "mtime", b.stat("acl").Mtim, unix.Timespec{Sec: 1 << 33, Nsec: 7})
	eq(b, "atime", b.stat("acl").Atim, unix.Timespec{Sec: -5, Nsec: 6})
	eq(b, "device", b.stat("device").Rdev, unix.Mkdev(7, 200))
	b.mode("sticky", 0o1777)
	eq(b, "xattr", b.getx("file", "user.a"), "value")
	eq(b, "xattrs", strings.Join(b.listx("second"), " "), "trusted.a user.a")
	_, err := unix.Getxattr(b.at("file"), "user.a", make([]byte, 2))
	b.is("getxattr", err, unix.ERANGE)
	var s unix.Statfs_t
	b.ok("statfs", unix.Statfs(b.dir, &s))
	eq(b, "longest name", s.Namelen, 255)
	b.as(1000, 1000, func(b *box) {
		b.holds("theirs", "of user 1000")
		eq(b, "xattrs", strings.Join(b.listx("file"), " "), "user.a")
	})
	b.as(1001, 1001, func(b *box) {
		b.is("open", b.try("theirs", unix.O_RDONLY, 0), unix.EACCES)
		b.holds("acl", "for user 1001")
		b.is("access", unix.Access(b.at("acl"), unix.W_OK), unix.EACCES)
	})
	b.as(1002, 1002, func(b *box) { b.is("open", b.try("acl", unix.O_RDONLY, 0), unix.EACCES) })
}

// runRemoved looks at what the leader removes while a follower holds it: LEADER FOLLOWER, the same
// folder of two mounts.
func runRemoved(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want LEADER FOLLOWER, got %q", args)
	}
	unix.Umask(0o022)
	here := &box{dir: args[0]}
	return runOne(test{run: func(there *box) { there.alone(func() { removed(here, there) }) }}, &box{dir: args[1]})
}

func removed(here, there *box) {
	until := func(is bool) {
		for range 1000 {
			if there.exists("last") == is {
				return
			}
			tickClock()
		}
		there.fail("the follower does not get there")
	}
	here.mkdir("cwd")
	here.chmod("cwd", 0o711)
	here.put("f", "content")
	here.mkdir("open")
	here.put("last", "")
	until(true)
	there.ok("chdir", unix.Chdir(there.at("cwd")))
	path, open := there.open("f", unix.O_PATH), there.open("open", unix.O_RDONLY|unix.O_DIRECTORY)
	there.holds("f", "content")
	for range 2 { // the second time from what the kernel keeps
		list, err := getdents(open, 4096)
		there.ok("getdents", err)
		eq(there, "entries", len(list), 2)
		_, err = unix.Seek(open, 0, 0)
		there.ok("rewind", err)
	}
	cwd := &box{dir: ""}
	before := cwd.stat(".")
	tickClock()
	here.ok("rmdir", unix.Rmdir(here.at("cwd")))
	here.ok("rmdir", unix.Rmdir(here.at("open")))
	here.unlink("f")
	here.unlink("last")
	until(false)
	st := cwd.stat(".")
	eq(there, "links of the working directory", uint64(st.Nlink), 0)
	eq(there, "its inode", st.Ino, before.Ino)
	eq(there, "its mode", st.Mode, unix.S_IFDIR|0o711)
	if nanos(st.Ctim) <= nanos(before.Ctim) {
		there.fail("its ctime did not move: %v, %v", before.Ctim, st.Ctim)
	}
	n, err := unix.Listxattr(".", make([]byte, 100))
	there.ok("listxattr", err)
	eq(there, "length of its attributes", n, 0)
	dot := cwd.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	for _, fd := range []int{open, dot} {
		_, err := getdents(fd, 4096)
		there.is("getdents", err, unix.ENOENT)
	}
	there.close(dot)
	cwd.absent("x")
	st = there.fstat(path)
	eq(there, "links of the file", uint64(st.Nlink), 0)
	eq(there, "its size", st.Size, int64(len("content")))
	eq(there, "links of the open directory", uint64(there.fstat(open).Nlink), 0)
	there.close(path)
	there.close(open)
}

// runHoles prints where the files below a folder have data: DIR.
func runHoles(args []string) error {
	var lines []string
	err := filepath.WalkDir(args[0], func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := dataOf(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		rel, err := filepath.Rel(args[0], path)
		lines = append(lines, fmt.Sprintf("%q %s\n", rel, text))
		return err
	})
	sort.Strings(lines)
	os.Stdout.WriteString(strings.Join(lines, ""))
	return err
}

func dataOf(path string) (string, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var text strings.Builder
	for at := int64(0); ; {
		data, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if err == unix.ENXIO {
			return text.String(), nil
		}
		if err != nil {
			return "", err
		}
		if at, err = unix.Seek(fd, data, unix.SEEK_HOLE); err != nil {
			return "", err
		}
		fmt.Fprintf(&text, " %d-%d", data, at)
	}
}
