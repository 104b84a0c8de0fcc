//go:build linux

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ops are what children do in a folder of a mount.
var ops = map[string]func(box){
	"hard-links":           hardLinks,
	"symlinks":             symlinks,
	"special-files":        specialFiles,
	"device-nodes":         deviceNodes,
	"names":                oddNames,
	"name-limits":          nameLimits,
	"deep":                 deepFolders,
	"editor-saves":         editorSaves,
	"lock-file":            lockFile,
	"rename-over-file":     renameOverFile,
	"rename-directories":   renameDirectories,
	"rename-flags":         renameFlags,
	"rename-loops":         renameLoops,
	"open-while-renamed":   openWhileRenamed,
	"open-while-unlinked":  openWhileUnlinked,
	"open-while-displaced": openWhileDisplaced,
	"tmpfile":              tmpFile,
	"remove-while-listing": removeWhileListing,
	"sparse":               sparse,
	"append":               appendOp,
	"truncate":             truncateOp,
	"fallocate":            fallocateOp,
	"overwrite":            overwriteOp,
	"mmap":                 mmapShared,
	"copy-range":           copyRange,
	"chmod":                chmodOp,
	"chown":                chownOp,
	"suid-cleared":         suidCleared,
	"setgid-directory":     setgidDirectory,
	"sticky":               stickyDirectory,
	"times":                timesOp,
	"xattrs":               xattrsOp,
	"acls":                 aclsOp,
}

// rootOps are those that only root can do.
var rootOps = map[string]bool{
	"device-nodes": true, "chown": true, "suid-cleared": true, "setgid-directory": true, "sticky": true,
}

func hardLinks(b box) {
	b.put("a", "one")
	b.mkdir("d")
	b.ok("link", unix.Link(b.at("a"), b.at("d/b")))
	b.ok("link", unix.Link(b.at("d/b"), b.at("c")))
	if sa, sc := b.stat("a"), b.stat("c"); sa.Ino != sc.Ino || sa.Nlink != 3 {
		b.fail("inodes %d and %d, nlink %d", sa.Ino, sc.Ino, sa.Nlink)
	}
	b.put("c", "two")
	b.holds("d/b", "two")
	b.ok("unlink", unix.Unlink(b.at("a")))
	if st := b.stat("c"); st.Nlink != 2 {
		b.fail("nlink %d, want 2", st.Nlink)
	}
	b.rename("c", "d/b") // two names of one inode: nothing happens
	b.holds("c", "two")
	b.is("link onto a name", unix.Link(b.at("c"), b.at("d/b")), unix.EEXIST)
	b.is("link of a directory", unix.Link(b.at("d"), b.at("e")), unix.EPERM)
}

func symlinks(b box) {
	targets := map[string]string{"rel": "d/f", "abs": "/etc/hostname", "dangling": "nowhere", "dot": ".", "long": strings.Repeat("x/", 2000)}
	b.mkdir("d")
	b.put("d/f", "through the link")
	for name, target := range targets {
		b.ok("symlink", unix.Symlink(target, b.at(name)))
		got, err := os.Readlink(b.at(name))
		b.ok("readlink", err)
		if got != target {
			b.fail("%s points to %q", name, got)
		}
		if st := b.stat(name); st.Size != int64(len(target)) {
			b.fail("%s: size %d, want %d", name, st.Size, len(target))
		}
	}
	b.holds("rel", "through the link")
	b.ok("symlink loop", unix.Symlink("loop", b.at("loop")))
	_, err := unix.Open(b.at("loop"), unix.O_RDONLY, 0)
	b.is("open of a loop", err, unix.ELOOP)
	b.ok("link of a symlink", unix.Link(b.at("dangling"), b.at("second")))
	b.rename("rel", "moved")
}

func specialFiles(b box) {
	b.ok("mkfifo", unix.Mkfifo(b.at("fifo"), 0o640))
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	b.ok("socket", err)
	// The path in an address is short; a folder's descriptor makes it so.
	dir := b.open(".", unix.O_DIRECTORY|unix.O_RDONLY)
	b.ok("bind", unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d/sock", dir)}))
	b.close(dir)
	b.close(fd)
	r, err := unix.Open(b.at("fifo"), unix.O_RDWR|unix.O_NONBLOCK, 0)
	b.ok("open fifo", err)
	_, err = unix.Write(r, []byte("through the pipe"))
	b.ok("write fifo", err)
	buf := make([]byte, 32)
	n, err := unix.Read(r, buf)
	b.ok("read fifo", err)
	if string(buf[:n]) != "through the pipe" {
		b.fail("read %q", buf[:n])
	}
	b.close(r)
	if st := b.stat("sock"); st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		b.fail("the socket has mode %o", st.Mode)
	}
	b.ok("mknod of a regular file", unix.Mknod(b.at("regular"), unix.S_IFREG|0o600, 0))
	b.put("regular", "content")
}

func deviceNodes(b box) {
	b.ok("mknod char", unix.Mknod(b.at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	b.ok("mknod block", unix.Mknod(b.at("block"), unix.S_IFBLK|0o600, int(unix.Mkdev(259, 70000))))
	if st := b.stat("null"); st.Rdev != unix.Mkdev(1, 3) || st.Mode != unix.S_IFCHR|0o644 {
		b.fail("rdev %x, mode %o", st.Rdev, st.Mode)
	}
	if st := b.stat("block"); st.Rdev != unix.Mkdev(259, 70000) {
		b.fail("rdev %x", st.Rdev)
	}
}

func oddNames(b box) {
	for _, name := range []string{"space in it", "new\nline", "tab\t", "\xff\xfe not utf-8", "..hidden", "-rf", "*", "\u00fc composed", "u\u0308 decomposed", "back\\slash", "CASE", "case", "~", "#x#", " "} {
		b.mkdir(name)
		b.put(name+"/"+name, name)
		b.rename(name+"/"+name, name+"/"+name+"'")
		b.holds(name+"/"+name+"'", name)
	}
}

func nameLimits(b box) {
	longest := strings.Repeat("n", 255)
	b.put(longest, "x")
	b.rename(longest, longest[:254]+"m")
	_, err := unix.Open(b.at(longest+"n"), unix.O_CREAT|unix.O_WRONLY, 0o600)
	b.is("create with 256 bytes", err, unix.ENAMETOOLONG)
	b.is("mkdir with 256 bytes", unix.Mkdir(b.at(longest+"n"), 0o700), unix.ENAMETOOLONG)
	b.is("symlink to 4096 bytes", unix.Symlink(strings.Repeat("t", 4096), b.at("s")), unix.ENAMETOOLONG)
	b.is("lookup below a file", unix.Access(b.at(longest[:254]+"m/x"), unix.F_OK), unix.ENOTDIR)
}

// deepFolders goes deeper than PATH_MAX, so that only relative calls reach the end.
func deepFolders(b box) {
	dir := b.open(".", unix.O_DIRECTORY|unix.O_RDONLY)
	name := strings.Repeat("d", 100)
	for depth := range 60 {
		b.ok(fmt.Sprintf("mkdir at depth %d", depth), unix.Mkdirat(dir, name, 0o755))
		next, err := unix.Openat(dir, name, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
		b.ok(fmt.Sprintf("open at depth %d", depth), err)
		b.close(dir)
		dir = next
	}
	fd, err := unix.Openat(dir, "bottom", unix.O_CREAT|unix.O_WRONLY, 0o644)
	b.ok("create at the bottom", err)
	b.pwrite(fd, 0, []byte("deep"))
	b.close(fd)
	b.close(dir)
	b.rename(name, "top")
}

// editorSaves: the ways in which editors replace a file.
func editorSaves(b box) {
	b.put("doc", "version 0")
	for i := 1; i <= 20; i++ {
		text := fmt.Sprintf("version %d %s", i, strings.Repeat("text ", i*50))
		fd := b.create(".doc.swp")
		b.pwrite(fd, 0, []byte(text))
		b.ok("fsync", unix.Fsync(fd))
		b.ok("fchmod", unix.Fchmod(fd, 0o644))
		b.close(fd)
		if i%2 == 0 { // with a backup
			b.rename("doc", "doc~")
		}
		b.rename(".doc.swp", "doc")
		b.holds("doc", text)
	}
}

func lockFile(b box) {
	for i := range 10 {
		mine := fmt.Sprintf("lock.%d", i)
		b.put(mine, mine)
		b.ok("link", unix.Link(b.at(mine), b.at("lock")))
		if st := b.stat(mine); st.Nlink != 2 {
			b.fail("nlink %d, want 2", st.Nlink)
		}
		b.ok("unlink", unix.Unlink(b.at(mine)))
		fd := b.open("lock", unix.O_RDWR)
		b.ok("flock", unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB))
		second := b.open("lock", unix.O_RDWR)
		b.is("second flock", unix.Flock(second, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
		b.close(second)
		b.close(fd)
		_, err := unix.Open(b.at("lock"), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o600)
		b.is("exclusive create of what is there", err, unix.EEXIST)
		b.ok("unlink", unix.Unlink(b.at("lock")))
	}
	b.put("lock", "the last one stays")
}

func renameOverFile(b box) {
	b.put("from", "new")
	b.put("to", "old")
	b.ok("link", unix.Link(b.at("to"), b.at("other-name-of-to")))
	ino := b.stat("from").Ino
	b.rename("from", "to")
	b.holds("to", "new")
	b.absent("from")
	b.holds("other-name-of-to", "old")
	if st := b.stat("to"); st.Ino != ino {
		b.fail("the inode became %d, was %d", st.Ino, ino)
	}
	b.mkdir("d")
	b.is("file over directory", unix.Rename(b.at("to"), b.at("d")), unix.EISDIR)
	b.is("directory over file", unix.Rename(b.at("d"), b.at("to")), unix.ENOTDIR)
	b.is("rename of nothing", unix.Rename(b.at("nothing"), b.at("x")), unix.ENOENT)
	b.ok("symlink", unix.Symlink("to", b.at("s")))
	b.rename("s", "to") // the link itself moves
	if st := b.stat("to"); st.Mode&unix.S_IFMT != unix.S_IFLNK {
		b.fail("mode %o", st.Mode)
	}
}

func renameDirectories(b box) {
	b.mkdir("full")
	b.mkdir("full/sub")
	for i := range 100 {
		b.put(fmt.Sprintf("full/sub/%03d", i), "x")
	}
	b.mkdir("empty")
	b.mkdir("other")
	nlink := b.stat(".").Nlink
	b.rename("full", "empty") // over an empty one
	if st := b.stat("."); st.Nlink != nlink-1 {
		b.fail("nlink %d, want %d", st.Nlink, nlink-1)
	}
	b.rename("empty/sub", "other/moved")
	if st := b.stat("other"); st.Nlink != 3 {
		b.fail("nlink of the new parent %d, want 3", st.Nlink)
	}
	b.holds("other/moved/042", "x")
	b.is("over a full one", unix.Rename(b.at("empty"), b.at("other")), unix.ENOTEMPTY)
	b.is("rmdir of a full one", unix.Rmdir(b.at("other")), unix.ENOTEMPTY)
	b.is("unlink of a directory", unix.Unlink(b.at("other")), unix.EISDIR)
	fd := b.open("other/moved", unix.O_DIRECTORY|unix.O_RDONLY)
	b.rename("other", "again")
	_, err := unix.Openat(fd, "043", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	b.ok("openat below a moved directory", err)
	b.close(fd)
}

// renameFlags allows a driver to know none of the flags, but not to know them
// wrongly.
func renameFlags(b box) {
	b.put("a", "a")
	b.put("b", "b")
	switch err := unix.Renameat2(unix.AT_FDCWD, b.at("a"), unix.AT_FDCWD, b.at("b"), unix.RENAME_NOREPLACE); err {
	case unix.EINVAL:
	case unix.EEXIST:
		b.ok("noreplace", unix.Renameat2(unix.AT_FDCWD, b.at("a"), unix.AT_FDCWD, b.at("c"), unix.RENAME_NOREPLACE))
		b.rename("c", "a")
	default:
		b.fail("noreplace onto a name: %v", err)
	}
	b.holds("a", "a")
	b.holds("b", "b")
	b.mkdir("d")
	b.mkdir("d/e")
	err := unix.Renameat2(unix.AT_FDCWD, b.at("a"), unix.AT_FDCWD, b.at("d/e"), unix.RENAME_EXCHANGE)
	if err == unix.EINVAL {
		return
	}
	b.ok("exchange", err)
	b.holds("d/e", "a")
	if st, parent := b.stat("a"), b.stat("d"); st.Mode&unix.S_IFMT != unix.S_IFDIR || parent.Nlink != 2 {
		b.fail("after the exchange: mode %o, nlink of the parent %d", st.Mode, parent.Nlink)
	}
}

func renameLoops(b box) {
	b.mkdir("a")
	b.mkdir("a/b")
	b.mkdir("a/b/c")
	b.is("into itself", unix.Rename(b.at("a"), b.at("a/b/c/d")), unix.EINVAL)
	b.is("onto its parent", unix.Rename(b.at("a/b/c"), b.at("a")), unix.ENOTEMPTY)
	b.rename("a/b/c", "c")
	b.rename("a/b", "c/b")
	b.rename("a", "c/b/a")
}

func openWhileRenamed(b box) {
	b.mkdir("d")
	fd := b.create("d/f")
	b.pwrite(fd, 0, []byte("before,"))
	b.rename("d/f", "d/g")
	b.pwrite(fd, 7, []byte("between,"))
	b.rename("d", "e")
	b.pwrite(fd, 15, []byte("after"))
	b.ok("fchmod", unix.Fchmod(fd, 0o600))
	b.fdHolds(fd, []byte("before,between,after"))
	b.close(fd)
	b.holds("e/g", "before,between,after")
}

func openWhileUnlinked(b box) {
	fd := b.create("gone")
	b.pwrite(fd, 0, []byte("nobody has a name for this"))
	b.ok("unlink", unix.Unlink(b.at("gone")))
	b.absent("gone")
	b.pwrite(fd, 26, []byte(", but it goes on"))
	b.ok("ftruncate", unix.Ftruncate(fd, 30))
	b.ok("fchmod", unix.Fchmod(fd, 0o400))
	b.fdHolds(fd, []byte("nobody has a name for this, bu"))
	var st unix.Stat_t
	b.ok("fstat", unix.Fstat(fd, &st))
	if st.Nlink != 0 {
		b.fail("nlink %d, want 0", st.Nlink)
	}
	b.put("gone", "another file with the name")
	b.pwrite(fd, 0, []byte("N"))
	b.holds("gone", "another file with the name")
	b.close(fd)
	dir := b.open(".", unix.O_DIRECTORY|unix.O_RDONLY)
	b.mkdir("d")
	sub := b.open("d", unix.O_DIRECTORY|unix.O_RDONLY)
	b.ok("rmdir", unix.Rmdir(b.at("d")))
	_, err := unix.Openat(sub, "x", unix.O_CREAT|unix.O_WRONLY, 0o600)
	b.is("create in a removed directory", err, unix.ENOENT)
	b.close(sub)
	b.close(dir)
}

func openWhileDisplaced(b box) {
	fd := b.create("f")
	b.pwrite(fd, 0, []byte("old"))
	b.put("new", "new")
	b.rename("new", "f")
	b.pwrite(fd, 3, []byte(" and kept"))
	b.fdHolds(fd, []byte("old and kept"))
	b.holds("f", "new")
	b.close(fd)
	b.holds("f", "new")
}

func tmpFile(b box) {
	fd, err := unix.Open(b.dir, unix.O_TMPFILE|unix.O_RDWR, 0o600)
	if err == unix.EOPNOTSUPP || err == unix.EISDIR {
		b.put("no-tmpfile", "a driver may not have it")
		return
	}
	b.ok("open O_TMPFILE", err)
	b.pwrite(fd, 0, []byte("named later"))
	b.ok("linkat", unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, b.at("named"), unix.AT_SYMLINK_FOLLOW))
	b.close(fd)
	b.holds("named", "named later")
}

// removeWhileListing: names that stay are listed just once while others go.
func removeWhileListing(b box) {
	const files = 1500
	for i := range files {
		b.close(b.create(fmt.Sprintf("file-%05d", i)))
	}
	dir, err := os.Open(b.dir)
	b.ok("opendir", err)
	defer dir.Close()
	seen := make(map[string]int)
	for {
		names, err := dir.Readdirnames(100)
		if len(names) == 0 {
			if err != nil && err.Error() != "EOF" {
				b.ok("readdir", err)
			}
			break
		}
		for _, name := range names {
			seen[name]++
			if strings.HasSuffix(name, "7") {
				b.ok("unlink", unix.Unlink(filepath.Join(b.dir, name)))
			}
		}
	}
	for i := range files {
		if n := seen[fmt.Sprintf("file-%05d", i)]; n != 1 {
			b.fail("file-%05d was listed %d times", i, n)
		}
	}
	left, err := os.ReadDir(b.dir)
	b.ok("readdir", err)
	if len(left) != files*9/10 {
		b.fail("%d names are left, want %d", len(left), files*9/10)
	}
}
