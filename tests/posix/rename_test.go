//go:build linux

package posix

import (
	"golang.org/x/sys/unix"
)

var renameTable = table{
	{name: "rename/oldpath-newpath-same-inode", run: func(b *box) {
		b.put("a", "x")
		b.link("a", "b")
		b.moves(map[string]string{"a": "", ".": ""}, func() { b.rename("a", "b") })
		b.nlink("a", 2)
		b.nlink("b", 2)
		b.moves(map[string]string{"a": "", ".": ""}, func() { b.rename("a", "a") })
	}},
	{name: "rename/over-file-takes-its-name", run: func(b *box) {
		b.put("a", "new")
		b.put("b", "old")
		b.link("b", "b2")
		ino := b.stat("a").Ino
		b.moves(map[string]string{"b2": "c", ".": "mc"}, func() { b.rename("a", "b") })
		eq(b, "inode", b.stat("b").Ino, ino)
		b.absent("a")
		b.holds("b", "new")
		b.holds("b2", "old")
		b.nlink("b2", 1)
		b.nlink("b", 1)
		if _, ok := b.names(b.list("."))["a"]; ok {
			b.fail("a is still listed")
		}
	}},
	{name: "rename/moves-times-of-both-directories", run: func(b *box) {
		b.mkdir("d")
		b.mkdir("e")
		b.put("d/f", "x")
		b.moves(map[string]string{"d": "mc", "e": "mc", ".": ""}, func() { b.rename("d/f", "e/g") })
		before := b.stat("e/g")
		tickClock()
		b.rename("e/g", "d/f")
		if after := b.stat("d/f"); after.Mtim != before.Mtim || nanos(after.Ctim) <= nanos(before.Ctim) {
			b.fail("the file: mtime %v then %v, ctime %v then %v", before.Mtim, after.Mtim, before.Ctim, after.Ctim)
		}
	}},
	{name: "rename/directory-counts-in-both-parents", run: func(b *box) {
		for _, d := range []string{"d", "e", "d/s", "d/s/t"} {
			b.mkdir(d)
		}
		b.rename("d/s", "e/s")
		b.nlink("d", 2)
		b.nlink("e", 3)
		b.nlink("e/s", 3)
		eq(b, "inode of ..", b.stat("e/s/..").Ino, b.stat("e").Ino)
		for _, d := range b.list("e/s") {
			if d.name == ".." {
				eq(b, "listed inode of ..", d.ino, b.stat("e").Ino)
			}
		}
	}},
	{name: "rename/dotdot-of-an-open-moved-directory", run: func(b *box) {
		b.mkdir("d")
		b.mkdir("e")
		b.mkdir("d/s")
		fd := b.open("d/s", unix.O_RDONLY|unix.O_DIRECTORY)
		_, err := listAll(fd, 4096)
		b.ok("getdents", err)
		b.rename("d/s", "e/s")
		_, err = unix.Seek(fd, 0, 0)
		b.ok("rewind", err)
		list, err := listAll(fd, 4096)
		b.ok("getdents", err)
		for _, d := range list {
			if d.name == ".." {
				eq(b, "listed inode of ..", d.ino, b.stat("e").Ino)
			}
		}
		var st unix.Stat_t
		b.ok("fstatat", unix.Fstatat(fd, "..", &st, 0))
		eq(b, "inode of ..", st.Ino, b.stat("e").Ino)
		b.close(fd)
	}},
	{name: "rename/directory-over-an-empty-one", run: func(b *box) {
		b.mkdir("d")
		b.put("d/f", "x")
		b.mkdir("e")
		before := uint64(b.stat(".").Nlink)
		fd := b.open("e", unix.O_RDONLY|unix.O_DIRECTORY)
		b.rename("d", "e")
		b.nlink(".", before-1)
		b.holds("e/f", "x")
		eq(b, "links of the one replaced", uint64(b.fstat(fd).Nlink), 0)
		b.close(fd)
	}},
	{name: "rename/directory-over-a-full-one-is-enotempty", run: func(b *box) {
		b.mkdir("d")
		b.mkdir("e")
		b.put("e/f", "x")
		b.isOne("rename", unix.Rename(b.at("d"), b.at("e")), unix.ENOTEMPTY, unix.EEXIST)
		b.is("over the parent", unix.Rename(b.at("e/f"), b.at("e")), unix.ENOTEMPTY)
	}},
	{name: "rename/file-over-directory-is-eisdir", run: func(b *box) {
		b.put("f", "x")
		b.mkdir("d")
		b.symlink("d", "s")
		b.is("file", unix.Rename(b.at("f"), b.at("d")), unix.EISDIR)
		b.is("symlink", unix.Rename(b.at("s"), b.at("d")), unix.EISDIR)
	}},
	{name: "rename/directory-over-file-is-enotdir", run: func(b *box) {
		b.put("f", "x")
		b.mkdir("d")
		b.symlink("d", "s")
		b.is("file", unix.Rename(b.at("d"), b.at("f")), unix.ENOTDIR)
		b.is("symlink", unix.Rename(b.at("d"), b.at("s")), unix.ENOTDIR)
		b.is("file with a slash", unix.Rename(b.at("f"), b.at("g/")), unix.ENOTDIR)
		b.ok("directory with a slash", unix.Rename(b.at("d/"), b.at("e/")))
	}},
	{name: "rename/into-itself-is-einval", run: func(b *box) {
		b.mkdir("d")
		b.mkdir("d/e")
		b.is("child", unix.Rename(b.at("d"), b.at("d/x")), unix.EINVAL)
		b.is("grandchild", unix.Rename(b.at("d"), b.at("d/e/x")), unix.EINVAL)
	}},
	{name: "rename/dot-is-ebusy-or-einval", run: func(b *box) {
		b.mkdir("d")
		b.isOne("old dot", unix.Rename(b.at("d/."), b.at("e")), unix.EBUSY, unix.EINVAL)
		b.isOne("new dotdot", unix.Rename(b.at("d"), b.at("d/..")), unix.EBUSY, unix.EINVAL, unix.ENOTEMPTY)
	}},
	{name: "rename/missing-is-enoent", run: func(b *box) {
		b.put("f", "x")
		b.is("old", unix.Rename(b.at("none"), b.at("x")), unix.ENOENT)
		b.is("over something", unix.Rename(b.at("none"), b.at("f")), unix.ENOENT)
	}},
	{name: "rename/symlink-itself", run: func(b *box) {
		b.put("f", "x")
		b.symlink("f", "s")
		b.rename("s", "t")
		eq(b, "type", b.stat("t").Mode&unix.S_IFMT, unix.S_IFLNK)
		b.rename("t", "f")
		eq(b, "type", b.stat("f").Mode&unix.S_IFMT, unix.S_IFLNK)
	}},
	{name: "rename/cached-names-follow", run: func(b *box) {
		b.mkdir("d")
		b.put("d/f", "x")
		fd := b.open("d/f", unix.O_RDWR)
		for range 4 {
			b.absent("e")
			b.rename("d", "e")
			b.absent("d")
			b.holds("e/f", "x")
			b.rename("e", "d")
			b.holds("d/f", "x")
		}
		b.pwrite(fd, 0, []byte("y"))
		b.holds("d/f", "y")
		b.close(fd)
	}},
	{name: "rename/directory-to-another-parent-needs-write-permission-on-it", run: func(b *box) {
		b.mkdir("from")
		b.mkdir("to")
		b.mkdir("from/d")
		b.chmod("from", 0o777)
		b.chmod("to", 0o777)
		b.as(1000, 1000, func(b *box) { b.is("rename", unix.Rename(b.at("from/d"), b.at("to/d")), unix.EACCES) })
		b.as(1000, 1000, func(b *box) { b.rename("from/d", "from/e") }) // ".." stays
	}},
}

func renameat2(b *box, from, to string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, b.at(from), unix.AT_FDCWD, b.at(to), flags)
}

var renameFlagsTable = table{
	{name: "rename-noreplace/existing-is-eexist", run: func(b *box) {
		b.put("a", "a")
		b.put("b", "b")
		b.mkdir("d")
		b.symlink("none", "s")
		for _, to := range []string{"b", "d", "s", "a"} {
			b.is(to, renameat2(b, "a", to, unix.RENAME_NOREPLACE), unix.EEXIST)
		}
		b.holds("b", "b")
		b.ok("free name", renameat2(b, "a", "c", unix.RENAME_NOREPLACE))
		b.absent("a")
		b.holds("c", "a")
	}},
	{name: "rename-exchange/files", run: func(b *box) {
		b.put("a", "a")
		b.put("b", "b")
		ia, ib := b.stat("a").Ino, b.stat("b").Ino
		b.moves(map[string]string{".": "mc"}, func() { b.ok("exchange", renameat2(b, "a", "b", unix.RENAME_EXCHANGE)) })
		b.holds("a", "b")
		b.holds("b", "a")
		eq(b, "inode", b.stat("a").Ino, ib)
		eq(b, "inode", b.stat("b").Ino, ia)
	}},
	{name: "rename-exchange/file-and-directory-across-parents", run: func(b *box) {
		for _, d := range []string{"d", "e", "d/sub"} {
			b.mkdir(d)
		}
		b.put("d/sub/x", "x")
		b.put("e/f", "f")
		b.moves(map[string]string{"d": "mc", "e": "mc"}, func() { b.ok("exchange", renameat2(b, "d/sub", "e/f", unix.RENAME_EXCHANGE)) })
		b.holds("d/sub", "f")
		b.holds("e/f/x", "x")
		b.nlink("d", 2)
		b.nlink("e", 3)
		eq(b, "inode of ..", b.stat("e/f/..").Ino, b.stat("e").Ino)
	}},
	{name: "rename-exchange/directories-with-content", run: func(b *box) {
		for _, d := range []string{"d", "e"} {
			b.mkdir(d)
			b.put(d+"/f", d)
		}
		b.holds("d/f", "d")
		b.ok("exchange", renameat2(b, "d", "e", unix.RENAME_EXCHANGE))
		b.holds("d/f", "e")
		b.holds("e/f", "d")
	}},
	{name: "rename-exchange/missing-is-enoent", run: func(b *box) {
		b.put("a", "a")
		b.is("new", renameat2(b, "a", "none", unix.RENAME_EXCHANGE), unix.ENOENT)
		b.is("old", renameat2(b, "none", "a", unix.RENAME_EXCHANGE), unix.ENOENT)
	}},
	{name: "rename-exchange/with-an-ancestor-is-einval", run: func(b *box) {
		b.mkdir("d")
		b.mkdir("d/e")
		b.is("old", renameat2(b, "d", "d/e", unix.RENAME_EXCHANGE), unix.EINVAL)
		b.is("new", renameat2(b, "d/e", "d", unix.RENAME_EXCHANGE), unix.EINVAL)
	}},
	{name: "rename-exchange/same-inode-changes-nothing", run: func(b *box) {
		b.put("a", "a")
		b.link("a", "b")
		b.ok("exchange", renameat2(b, "a", "b", unix.RENAME_EXCHANGE))
		b.nlink("a", 2)
		b.nlink("b", 2)
	}},
	{name: "rename-flags/unknown-and-contradicting-are-einval", run: func(b *box) {
		b.put("a", "a")
		b.put("b", "b")
		b.is("both", renameat2(b, "a", "b", unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE), unix.EINVAL)
		b.is("unknown", renameat2(b, "a", "b", 1<<10), unix.EINVAL)
	}},
}
