//go:build linux

package posix

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

var mkdirTable = table{
	{name: "mkdir/anything-there-is-eexist", run: func(b *box) {
		b.put("file", "x")
		b.mkdir("dir")
		b.symlink("none", "dangling")
		for _, name := range []string{"file", "dir", "dangling", "dir/", ".", "dir/.."} {
			b.is(name, unix.Mkdir(b.at(name), 0o755), unix.EEXIST)
		}
	}},
	{name: "mkdir/slash-behind-the-name", run: func(b *box) { b.ok("mkdir", unix.Mkdir(b.at("d/"), 0o755)) }},
	{name: "mkdir/umask-is-applied-once", run: func(b *box) {
		for i, row := range []struct {
			mask       int
			mode, want uint32
		}{{0, 0o777, 0o777}, {0o077, 0o777, 0o700}, {0o022, 0o1777, 0o1755}, {0o777, 0o777, 0}} {
			name := fmt.Sprint("d", i)
			b.masked(row.mask, func() { b.ok("mkdir", unix.Mkdir(b.at(name), row.mode)) })
			b.mode(name, row.want)
		}
	}},
	{name: "mkdir/counts-in-the-links-of-the-parent", run: func(b *box) {
		before := uint64(b.stat(".").Nlink)
		b.mkdir("d")
		b.nlink("d", 2)
		b.nlink(".", before+1)
		b.mkdir("d/e")
		b.nlink("d", 3)
		b.nlink(".", before+1)
		b.put("d/f", "x")
		b.nlink("d", 3)
		b.ok("rmdir", unix.Rmdir(b.at("d/e")))
		b.nlink("d", 2)
	}},
	{name: "mkdir/in-a-removed-directory-is-enoent", run: func(b *box) {
		b.mkdir("d")
		fd := b.open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		b.ok("rmdir", unix.Rmdir(b.at("d")))
		b.is("mkdirat", unix.Mkdirat(fd, "x", 0o755), unix.ENOENT)
		_, err := unix.Openat(fd, "x", unix.O_CREAT|unix.O_WRONLY, 0o644)
		b.is("create", err, unix.ENOENT)
		b.is("symlinkat", unix.Symlinkat("t", fd, "x"), unix.ENOENT)
		eq(b, "links", uint64(b.fstat(fd).Nlink), 0)
		b.close(fd)
	}},
	{name: "rmdir/of-a-working-directory", run: func(b *box) {
		b.mkdir("d")
		b.alone(func() {
			b.ok("chdir", unix.Chdir(b.at("d")))
			b.ok("rmdir", unix.Rmdir(b.at("d")))
			fd, err := unix.Open(".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
			b.ok("open", err)
			entries, err := unix.ReadDirent(fd, make([]byte, 4096))
			b.is("list", err, unix.ENOENT) // which readdir(3) takes for the end
			eq(b, "entries", max(entries, 0), 0)
			b.close(fd)
			_, err = unix.Getxattr(".", "user.a", nil)
			b.is("getxattr", err, unix.ENODATA)
			n, err := unix.Listxattr(".", nil)
			b.ok("listxattr", err)
			eq(b, "attributes", n, 0)
			_, err = unix.Open("x", unix.O_CREAT|unix.O_WRONLY, 0o644)
			b.is("create", err, unix.ENOENT)
		})
	}},
	{name: "rmdir/full-is-enotempty", run: func(b *box) {
		b.mkdir("d")
		b.put("d/f", "x")
		b.isOne("rmdir", unix.Rmdir(b.at("d")), unix.ENOTEMPTY, unix.EEXIST)
		b.unlink("d/f")
		b.ok("rmdir", unix.Rmdir(b.at("d")))
	}},
	{name: "rmdir/file-is-enotdir", run: func(b *box) {
		b.put("file", "x")
		b.mkdir("dir")
		b.symlink("dir", "link")
		b.is("file", unix.Rmdir(b.at("file")), unix.ENOTDIR)
		b.is("symlink", unix.Rmdir(b.at("link")), unix.ENOTDIR)
	}},
	{name: "rmdir/dot-is-einval", run: func(b *box) {
		b.mkdir("d")
		b.mkdir("d/e")
		b.is("dot", unix.Rmdir(b.at("d/.")), unix.EINVAL)
		b.isOne("dot dot", unix.Rmdir(b.at("d/e/..")), unix.ENOTEMPTY, unix.EEXIST)
	}},
	{name: "rmdir/moves-times-of-the-parent", run: func(b *box) {
		b.mkdir("d")
		b.mkdir("d/e")
		b.moves(map[string]string{"d": "mc", ".": ""}, func() { b.ok("rmdir", unix.Rmdir(b.at("d/e"))) })
	}},
	{name: "rmdir/name-is-free-again", run: func(b *box) {
		for range 3 {
			b.mkdir("d")
			b.ok("rmdir", unix.Rmdir(b.at("d")))
			b.absent("d")
			b.put("d", "a file now")
			b.unlink("d")
		}
	}},
}

var mknodTable = table{
	{name: "mknod/types-modes-and-numbers", run: func(b *box) {
		big := unix.Mkdev(4095, 1<<20-1)
		for _, row := range []struct {
			name string
			mode uint32
			dev  uint64
		}{
			{"fifo", unix.S_IFIFO | 0o640, 0}, {"sock", unix.S_IFSOCK | 0o755, 0}, {"null", unix.S_IFCHR | 0o666, unix.Mkdev(1, 3)},
			{"big", unix.S_IFBLK | 0o600, big}, {"file", unix.S_IFREG | 0o604, 0}, {"plain", 0o644, 0},
		} {
			b.masked(0, func() { b.ok("mknod", unix.Mknod(b.at(row.name), row.mode, int(row.dev))) })
			st := b.stat(row.name)
			want := row.mode
			if want&unix.S_IFMT == 0 {
				want |= unix.S_IFREG
			}
			eq(b, row.name+": mode", st.Mode, want)
			eq(b, row.name+": rdev", st.Rdev, row.dev)
			eq(b, row.name+": links", uint64(st.Nlink), 1)
			eq(b, row.name+": size", st.Size, 0)
		}
		for name, d := range b.names(b.list(".")) {
			eq(b, name+": listed type", uint32(d.typ), b.stat(name).Mode>>12)
		}
	}},
	{name: "mknod/device-by-a-user-is-eperm", run: func(b *box) {
		b.chmod(".", 0o777)
		b.as(1000, 1000, func(b *box) {
			b.is("char", unix.Mknod(b.at("c"), unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))), unix.EPERM)
			b.is("block", unix.Mknod(b.at("b"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))), unix.EPERM)
			b.ok("fifo", unix.Mknod(b.at("f"), unix.S_IFIFO|0o600, 0))
		})
	}},
	{name: "mknod/directory-is-eperm", run: func(b *box) {
		b.isOne("mknod", unix.Mknod(b.at("d"), unix.S_IFDIR|0o755, 0), unix.EPERM, unix.EINVAL)
	}},
	{name: "mknod/device-cannot-be-opened-on-nodev", mountOnly: "the directory is not mounted nodev", run: func(b *box) {
		b.ok("mknod", unix.Mknod(b.at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		b.is("open", b.try("null", unix.O_RDONLY, 0), unix.EACCES)
	}},
	{name: "mkfifo/passes-data", run: func(b *box) {
		b.ok("mkfifo", unix.Mkfifo(b.at("fifo"), 0o600))
		r := b.open("fifo", unix.O_RDONLY|unix.O_NONBLOCK)
		w := b.open("fifo", unix.O_WRONLY)
		_, err := unix.Write(w, []byte("through"))
		b.ok("write", err)
		buf := make([]byte, 20)
		n, err := unix.Read(r, buf)
		b.ok("read", err)
		eq(b, "data", string(buf[:n]), "through")
		b.close(w)
		b.close(r)
		eq(b, "size", b.stat("fifo").Size, 0)
	}},
	{name: "bind/socket-can-be-connected", run: func(b *box) {
		b.alone(func() {
			b.ok("chdir", unix.Chdir(b.dir))
			s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			b.ok("socket", err)
			b.ok("bind", unix.Bind(s, &unix.SockaddrUnix{Name: "sock"}))
			b.ok("listen", unix.Listen(s, 1))
			c, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			b.ok("socket", err)
			b.ok("connect", unix.Connect(c, &unix.SockaddrUnix{Name: "sock"}))
			d, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			b.ok("socket", err)
			b.is("bind to the name", unix.Bind(d, &unix.SockaddrUnix{Name: "sock"}), unix.EADDRINUSE)
			b.ok("rename", unix.Rename("sock", "moved"))
			b.ok("connect", unix.Connect(d, &unix.SockaddrUnix{Name: "moved"}))
			b.close(d)
			b.close(c)
			b.close(s)
		})
	}},
}

var linkTable = table{
	{name: "link/links-and-ctime-of-the-other-names", run: func(b *box) {
		b.put("a", "x")
		b.mkdir("d")
		for i := range 5 {
			b.nlink("a", uint64(i+1))
			b.moves(map[string]string{"a": "c", "d": "mc"}, func() { b.link("a", fmt.Sprint("d/", i)) })
			eq(b, "inode", b.stat(fmt.Sprint("d/", i)).Ino, b.stat("a").Ino)
		}
		b.nlink("d/0", 6)
		b.moves(map[string]string{"a": "c", "d/1": "c", "d": "mc"}, func() { b.unlink("d/0") })
		b.nlink("a", 5)
		b.nlink("d/1", 5)
	}},
	{name: "link/anything-there-is-eexist", run: func(b *box) {
		b.put("a", "x")
		b.put("file", "y")
		b.mkdir("dir")
		b.symlink("none", "dangling")
		for _, name := range []string{"file", "dir", "dangling", "a"} {
			b.is(name, unix.Link(b.at("a"), b.at(name)), unix.EEXIST)
		}
		b.nlink("a", 1)
	}},
	{name: "link/directory-is-eperm", run: func(b *box) {
		b.mkdir("d")
		b.is("link", unix.Link(b.at("d"), b.at("e")), unix.EPERM)
	}},
	{name: "link/symlink-itself", run: func(b *box) {
		b.put("file", "x")
		b.symlink("file", "s")
		b.link("s", "t")
		eq(b, "inode", b.stat("t").Ino, b.stat("s").Ino)
		b.nlink("s", 2)
		b.ok("follow", unix.Linkat(unix.AT_FDCWD, b.at("s"), unix.AT_FDCWD, b.at("u"), unix.AT_SYMLINK_FOLLOW))
		eq(b, "inode", b.stat("u").Ino, b.stat("file").Ino)
	}},
	{name: "link/fifo-and-device", run: func(b *box) {
		b.ok("mkfifo", unix.Mkfifo(b.at("p"), 0o600))
		b.link("p", "q")
		b.nlink("p", 2)
		b.unlink("p")
		b.nlink("q", 1)
	}},
	{name: "link/other-file-system-is-exdev", run: func(b *box) {
		b.put("a", "x")
		b.is("link", unix.Link(b.at("a"), "/dev/wolfdisk-test"), unix.EXDEV)
		b.is("rename", unix.Rename(b.at("a"), "/dev/wolfdisk-test"), unix.EXDEV)
	}},
	{name: "link/write-through-one-name-is-read-through-all", run: func(b *box) {
		b.put("a", "one")
		b.link("a", "b")
		fd := b.open("b", unix.O_RDONLY)
		b.fdHolds(fd, []byte("one"))
		b.put("a", "second")
		b.fdHolds(fd, []byte("second"))
		b.holds("b", "second")
		b.chmod("b", 0o600)
		b.mode("a", 0o600)
		b.close(fd)
	}},
	{name: "link/a-thousand-names", run: func(b *box) {
		b.put("a", "x")
		for i := range 1000 {
			b.link("a", fmt.Sprintf("n%04d", i))
		}
		b.nlink("n0500", 1001)
		for i := range 1000 {
			b.unlink(fmt.Sprintf("n%04d", i))
		}
		b.nlink("a", 1)
	}},
}

var symlinkTable = table{
	{name: "symlink/size-and-mode", run: func(b *box) {
		for i, target := range []string{"x", "../somewhere/else", "/abs", strings.Repeat("t", 4095), "\xff\n "} {
			name := fmt.Sprint("s", i)
			b.masked(0o777, func() { b.symlink(target, name) })
			buf := make([]byte, 5000)
			n, err := unix.Readlink(b.at(name), buf)
			b.ok("readlink", err)
			eq(b, "target", string(buf[:n]), target)
			st := b.stat(name)
			eq(b, "size", st.Size, int64(len(target)))
			eq(b, "mode", st.Mode, unix.S_IFLNK|0o777)
			if n, err = unix.Readlink(b.at(name), buf[:1]); n != 1 || err != nil {
				b.fail("readlink into one byte: %d, %w", n, err)
			}
		}
	}},
	{name: "symlink/empty-target-is-enoent", run: func(b *box) { b.is("symlink", unix.Symlink("", b.at("s")), unix.ENOENT) }},
	{name: "symlink/target-of-4096-bytes-is-enametoolong", run: func(b *box) {
		b.is("symlink", unix.Symlink(strings.Repeat("t", 4096), b.at("s")), unix.ENAMETOOLONG)
	}},
	{name: "symlink/anything-there-is-eexist", run: func(b *box) {
		b.put("file", "x")
		b.symlink("none", "dangling")
		b.is("file", unix.Symlink("t", b.at("file")), unix.EEXIST)
		b.is("dangling", unix.Symlink("t", b.at("dangling")), unix.EEXIST)
	}},
	{name: "symlink/chain-of-40-and-no-more", run: func(b *box) {
		b.put("0", "end")
		for i := range 41 {
			b.symlink(fmt.Sprint(i), fmt.Sprint(i+1))
		}
		b.holds("40", "end")
		b.is("41", b.try("41", unix.O_RDONLY, 0), unix.ELOOP)
	}},
	{name: "symlink/replaced-link-is-read-anew", run: func(b *box) {
		b.put("a", "a")
		b.put("b", "b")
		for i := range 6 {
			target := string(rune('a' + i%2))
			b.symlink(target, "new")
			b.rename("new", "s")
			b.holds("s", target)
		}
	}},
	{name: "readlink/of-a-file-is-einval", run: func(b *box) {
		b.put("file", "x")
		_, err := unix.Readlink(b.at("file"), make([]byte, 10))
		b.is("readlink", err, unix.EINVAL)
	}},
}

var unlinkTable = table{
	{name: "unlink/directory-is-eisdir", run: func(b *box) {
		b.mkdir("d")
		b.isOne("unlink", unix.Unlink(b.at("d")), unix.EISDIR, unix.EPERM)
	}},
	{name: "unlink/slash-behind-a-file-is-enotdir", run: func(b *box) {
		b.put("f", "x")
		b.is("unlink", unix.Unlink(b.at("f/")), unix.ENOTDIR)
	}},
	{name: "unlink/missing-is-enoent-also-the-second-time", run: func(b *box) {
		b.put("f", "x")
		b.unlink("f")
		b.is("unlink", unix.Unlink(b.at("f")), unix.ENOENT)
		b.absent("f")
	}},
	{name: "unlink/moves-times", run: func(b *box) {
		b.mkdir("d")
		b.put("d/f", "x")
		b.link("d/f", "other")
		b.moves(map[string]string{"d": "mc", "other": "c", ".": ""}, func() { b.unlink("d/f") })
		b.nlink("other", 1)
	}},
	{name: "unlink/symlink-not-its-target", run: func(b *box) {
		b.put("file", "x")
		b.symlink("file", "s")
		b.unlink("s")
		b.holds("file", "x")
	}},
	{name: "unlink/name-stands-for-a-new-inode", run: func(b *box) {
		seen := map[uint64]bool{}
		for i := range 20 {
			b.put("f", fmt.Sprint(i))
			if ino := b.stat("f").Ino; !b.plain {
				if seen[ino] {
					b.fail("inode %d came again", ino)
				}
				seen[ino] = true
			}
			b.holds("f", fmt.Sprint(i))
			b.unlink("f")
			b.absent("f")
		}
	}},
}
