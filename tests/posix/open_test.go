//go:build linux

package posix

import (
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

var openTable = table{
	{name: "open/creat-excl-of-anything-is-eexist", run: func(b *box) {
		b.put("file", "x")
		b.mkdir("dir")
		b.symlink("none", "dangling")
		b.ok("mkfifo", unix.Mkfifo(b.at("fifo"), 0o644))
		for _, name := range []string{"file", "dir", "dangling", "fifo"} {
			b.is(name, b.try(name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644), unix.EEXIST)
		}
		b.absent("none")
	}},
	{name: "open/creat-through-dangling-symlink-makes-the-target", run: func(b *box) {
		b.symlink("target", "link")
		b.put("link", "content")
		b.holds("target", "content")
	}},
	{name: "open/nofollow-of-symlink-is-eloop", run: func(b *box) {
		b.put("file", "x")
		b.symlink("file", "link")
		b.is("open", b.try("link", unix.O_RDONLY|unix.O_NOFOLLOW, 0), unix.ELOOP)
		b.ok("O_PATH", b.try("link", unix.O_PATH|unix.O_NOFOLLOW, 0))
	}},
	{name: "open/handles-lead-to-what-the-kernel-has-forgotten", run: func(b *box) {
		b.mkdir("d")
		b.put("d/file", "content")
		b.put("d/gone", "content")
		b.symlink("d/file", "link")
		mount := b.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
		handles := map[string]unix.FileHandle{}
		for _, name := range []string{"d", "d/file", "d/gone", "link"} {
			h, _, err := unix.NameToHandleAt(unix.AT_FDCWD, b.at(name), 0)
			b.ok("name_to_handle_at "+name, err)
			handles[name] = h
		}
		b.unlink("d/gone")
		b.rename("d", "moved")
		b.ok("drop_caches", os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0))
		open := func(name string, flags int) (int, error) {
			return unix.OpenByHandleAt(mount, handles[name], flags|unix.O_CLOEXEC)
		}
		fd, err := open("d/file", unix.O_RDWR)
		b.ok("open_by_handle_at file", err)
		b.fdHolds(fd, []byte("content"))
		b.pwrite(fd, 0, []byte("changed"))
		b.close(fd)
		b.holds("moved/file", "changed")
		fd, err = open("d", unix.O_RDONLY|unix.O_DIRECTORY)
		b.ok("open_by_handle_at directory", err)
		eq(b, "inode", b.fstat(fd).Ino, b.stat("moved").Ino)
		up, err := unix.Openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		b.ok("open ..", err)
		eq(b, "parent", b.fstat(up).Ino, b.stat(".").Ino)
		b.close(up)
		b.close(fd)
		fd, err = open("link", unix.O_PATH|unix.O_NOFOLLOW)
		b.ok("open_by_handle_at link", err)
		b.close(fd)
		_, err = open("d/gone", unix.O_RDONLY)
		b.is("what is gone", err, unix.ESTALE)
		b.close(mount)
	}},
	{name: "open/directory-flag-on-file-is-enotdir", run: func(b *box) {
		b.put("file", "x")
		b.is("open", b.try("file", unix.O_RDONLY|unix.O_DIRECTORY, 0), unix.ENOTDIR)
		b.is("trailing slash", b.try("file/", unix.O_RDONLY, 0), unix.ENOTDIR)
	}},
	{name: "open/directory-for-writing-is-eisdir", run: func(b *box) {
		b.mkdir("dir")
		b.is("O_WRONLY", b.try("dir", unix.O_WRONLY, 0), unix.EISDIR)
		b.is("O_RDWR", b.try("dir", unix.O_RDWR, 0), unix.EISDIR)
		b.is("O_CREAT", b.try("dir", unix.O_CREAT|unix.O_RDONLY, 0o644), unix.EISDIR)
		b.is("O_TRUNC", b.try("dir", unix.O_RDONLY|unix.O_TRUNC, 0), unix.EISDIR)
		b.is("creat with a slash", b.try("new/", unix.O_CREAT|unix.O_WRONLY, 0o644), unix.EISDIR)
	}},
	{name: "open/trunc-empties-and-moves-times", run: func(b *box) {
		b.put("file", "content")
		b.moves(map[string]string{"file": "mc", ".": ""}, func() { b.close(b.open("file", unix.O_WRONLY|unix.O_TRUNC)) })
		b.holds("file", "")
	}},
	{name: "open/trunc-read-only-empties", run: func(b *box) {
		b.put("file", "content")
		b.ok("open", b.try("file", unix.O_RDONLY|unix.O_TRUNC, 0))
		b.holds("file", "")
	}},
	{name: "open/trunc-is-seen-through-other-descriptors", run: func(b *box) {
		b.put("file", "content")
		fd := b.open("file", unix.O_RDONLY)
		b.fdHolds(fd, []byte("content"))
		b.close(b.open("file", unix.O_WRONLY|unix.O_TRUNC))
		b.fdHolds(fd, nil)
		b.close(fd)
	}},
	{name: "open/creat-of-what-is-there-changes-nothing", run: func(b *box) {
		b.put("file", "content")
		b.chmod("file", 0o640)
		b.moves(map[string]string{"file": "", ".": ""}, func() { b.ok("open", b.try("file", unix.O_CREAT|unix.O_RDWR, 0o777)) })
		b.mode("file", 0o640)
		b.holds("file", "content")
	}},
	{name: "open/mode-is-for-later-opens", run: func(b *box) {
		b.chmod(".", 0o777)
		b.as(1000, 1000, func(b *box) {
			fd, err := unix.Open(b.at("file"), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR, 0)
			b.ok("open", err)
			b.pwrite(fd, 0, []byte("written"))
			b.fdHolds(fd, []byte("written"))
			b.close(fd)
			b.is("open again", b.try("file", unix.O_RDONLY, 0), unix.EACCES)
		})
	}},
	{name: "open/umask-is-applied-once", run: func(b *box) {
		for _, row := range []struct {
			name       string
			mask       int
			mode, want uint32
		}{{"a", 0, 0o666, 0o666}, {"b", 0o077, 0o666, 0o600}, {"c", 0o022, 0o7777, 0o7755}, {"d", 0o777, 0o666, 0}, {"e", 0o111, 0o755, 0o644}} {
			b.masked(row.mask, func() { b.ok("open", b.try(row.name, unix.O_CREAT|unix.O_WRONLY, row.mode)) })
			b.mode(row.name, row.want)
		}
	}},
	{name: "open/fifo-nonblocking-for-writing-is-enxio", run: func(b *box) {
		b.ok("mkfifo", unix.Mkfifo(b.at("fifo"), 0o644))
		b.is("open", b.try("fifo", unix.O_WRONLY|unix.O_NONBLOCK, 0), unix.ENXIO)
	}},
	{name: "open/socket-is-enxio", run: func(b *box) {
		b.ok("mknod", unix.Mknod(b.at("sock"), unix.S_IFSOCK|0o644, 0))
		b.is("open", b.try("sock", unix.O_RDONLY, 0), unix.ENXIO)
	}},
	{name: "open/running-program-is-etxtbsy", run: func(b *box) {
		out, err := exec.Command("cp", "/bin/sleep", b.at("prog")).CombinedOutput()
		if err != nil {
			b.fail("cp: %w: %s", err, out)
		}
		cmd := exec.Command(b.at("prog"), "60")
		b.ok("start", cmd.Start())
		err1 := b.try("prog", unix.O_WRONLY, 0)
		err2 := unix.Truncate(b.at("prog"), 0)
		b.ok("kill", cmd.Process.Kill())
		cmd.Wait()
		b.is("open", err1, unix.ETXTBSY)
		b.is("truncate", err2, unix.ETXTBSY)
		b.ok("open afterwards", b.try("prog", unix.O_WRONLY, 0))
	}},
	{name: "open/open-for-writing-cannot-be-executed", run: func(b *box) {
		if out, err := exec.Command("cp", "/bin/true", b.at("prog")).CombinedOutput(); err != nil {
			b.fail("cp: %w: %s", err, out)
		}
		fd := b.open("prog", unix.O_WRONLY)
		err := exec.Command(b.at("prog")).Run()
		b.close(fd)
		if err == nil {
			b.fail("it ran")
		}
		b.ok("run after close", exec.Command(b.at("prog")).Run())
	}},
	{name: "open/noatime-is-for-owners", run: func(b *box) {
		b.put("file", "x")
		b.chmod("file", 0o666)
		b.ok("root", b.try("file", unix.O_RDONLY|unix.O_NOATIME, 0))
		b.as(1000, 1000, func(b *box) { b.is("another", b.try("file", unix.O_RDONLY|unix.O_NOATIME, 0), unix.EPERM) })
	}},
	{name: "open/file-of-the-effective-user-and-group", run: func(b *box) {
		b.chmod(".", 0o777)
		b.as(1000, 2000, func(b *box) { b.put("file", "x") }, 3000)
		if st := b.stat("file"); st.Uid != 1000 || st.Gid != 2000 {
			b.fail("file belongs to %d:%d", st.Uid, st.Gid)
		}
	}},
	{name: "open/descriptor-outlives-lost-permission", run: func(b *box) {
		b.put("file", "old")
		b.chown("file", 1000, 1000)
		b.as(1000, 1000, func(b *box) {
			fd := b.open("file", unix.O_RDWR)
			b.chmod("file", 0)
			b.pwrite(fd, 0, []byte("new"))
			b.fdHolds(fd, []byte("new"))
			b.close(fd)
		})
		b.holds("file", "new")
	}},
	{name: "open/path-descriptor-reads-nothing", run: func(b *box) {
		b.put("file", "x")
		fd := b.open("file", unix.O_PATH)
		_, err := unix.Pread(fd, make([]byte, 1), 0)
		b.is("pread", err, unix.EBADF)
		b.is("fchmod", unix.Fchmod(fd, 0o600), unix.EBADF)
		eq(b, "inode", b.fstat(fd).Ino, b.stat("file").Ino)
		b.close(fd)
	}},
	{name: "open/tmpfile-has-no-name", run: func(b *box) {
		fd, err := unix.Open(b.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o640)
		b.ok("open", err)
		b.pwrite(fd, 0, []byte("nameless"))
		st := b.fstat(fd)
		eq(b, "links", uint64(st.Nlink), 0)
		eq(b, "mode", st.Mode, unix.S_IFREG|0o640)
		eq(b, "entries", len(b.names(b.list("."))), 0)
		b.close(fd)
	}},
	{name: "open/tmpfile-can-be-linked", run: func(b *box) {
		fd, err := unix.Open(b.dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o640)
		b.ok("open", err)
		b.pwrite(fd, 0, []byte("named later"))
		b.ok("linkat", unix.Linkat(fd, "", unix.AT_FDCWD, b.at("name"), unix.AT_EMPTY_PATH))
		b.nlink("name", 1)
		eq(b, "links of the descriptor", uint64(b.fstat(fd).Nlink), 1)
		b.link("name", "second")
		eq(b, "links of the descriptor", uint64(b.fstat(fd).Nlink), 2)
		b.close(fd)
		b.holds("second", "named later")
	}},
	{name: "open/tmpfile-excl-cannot-be-linked", run: func(b *box) {
		fd, err := unix.Open(b.dir, unix.O_TMPFILE|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o640)
		b.ok("open", err)
		b.is("linkat", unix.Linkat(fd, "", unix.AT_FDCWD, b.at("name"), unix.AT_EMPTY_PATH), unix.ENOENT)
		b.close(fd)
	}},
	{name: "open/tmpfile-read-only-is-einval", run: func(b *box) {
		b.is("open", b.try(".", unix.O_TMPFILE|unix.O_RDONLY, 0o600), unix.EINVAL)
	}},
}
