//go:build linux

package posix

import (
	"fmt"

	"golang.org/x/sys/unix"
)

var permTable = table{
	{name: "permission/one-class-decides", run: func(b *box) {
		b.put("f", "x")
		b.chown("f", 1000, 2000)
		for mode := range uint32(0o1000) {
			if mode%7 != 0 && mode != 0o077 && mode != 0o707 { // a sample that has every digit
				continue
			}
			b.chmod("f", mode)
			for _, who := range []struct {
				uid, gid int
				groups   []uint32
				bits     uint32
			}{{1000, 3000, nil, mode >> 6}, {1001, 2000, nil, mode >> 3}, {1001, 3000, []uint32{2000}, mode >> 3}, {1001, 3000, nil, mode}} {
				b.as(who.uid, who.gid, func(b *box) {
					for _, x := range []struct {
						flags int
						need  uint32
					}{{unix.O_RDONLY, 4}, {unix.O_WRONLY, 2}, {unix.O_RDWR, 6}} {
						err := b.try("f", x.flags, 0)
						if allowed := who.bits&x.need == x.need; allowed && err != nil || !allowed && err != unix.EACCES {
							b.fail("mode %04o, flags %d: %v", mode, x.flags, err)
						}
					}
					if err := unix.Access(b.at("f"), unix.X_OK); (err == nil) != (who.bits&1 != 0) {
						b.fail("mode %04o: access X_OK: %v", mode, err)
					}
				}, who.groups...)
			}
		}
	}},
	{name: "permission/directory-needs-x-to-enter-and-r-to-list", run: func(b *box) {
		b.mkdir("d")
		b.put("d/f", "x")
		for mode, want := range map[uint32][2]error{0o5: {nil, nil}, 0o4: {nil, unix.EACCES}, 0o1: {unix.EACCES, nil}, 0: {unix.EACCES, unix.EACCES}} {
			b.chmod("d", mode)
			b.as(1000, 1000, func(b *box) {
				if err := b.try("d", unix.O_RDONLY|unix.O_DIRECTORY, 0); err != want[0] {
					b.fail("mode %o: list: %v", mode, err)
				}
				if err := b.try("d/f", unix.O_RDONLY, 0); err != want[1] {
					b.fail("mode %o: enter: %v", mode, err)
				}
			})
		}
		b.chmod("d", 0o755)
	}},
	{name: "permission/removing-needs-w-of-the-directory-not-of-the-file", run: func(b *box) {
		b.mkdir("d")
		b.put("d/f", "x")
		b.put("d/g", "x")
		b.mkdir("d/e")
		b.chmod("d/f", 0)
		b.as(1000, 1000, func(b *box) {
			b.is("unlink", unix.Unlink(b.at("d/g")), unix.EACCES)
			b.is("rmdir", unix.Rmdir(b.at("d/e")), unix.EACCES)
			b.is("rename", unix.Rename(b.at("d/g"), b.at("d/h")), unix.EACCES)
		})
		b.chmod("d", 0o777)
		b.as(1000, 1000, func(b *box) {
			b.unlink("d/f")
			b.rename("d/g", "d/h")
			b.ok("rmdir", unix.Rmdir(b.at("d/e")))
		})
	}},
	{name: "permission/change-is-honoured-at-once", run: func(b *box) {
		b.put("f", "x")
		b.mkdir("d")
		b.put("d/f", "x")
		for range 3 {
			for _, open := range []bool{false, true} {
				var mode uint32 = 0o700
				var want error = unix.EACCES
				if open {
					mode, want = 0o755, nil
				}
				b.chmod("f", mode)
				b.chmod("d", mode)
				b.as(1000, 1000, func(b *box) {
					if err := b.try("f", unix.O_RDONLY, 0); err != want {
						b.fail("file with mode %o: %v", mode, err)
					}
					if err := b.try("d/f", unix.O_RDONLY, 0); err != want {
						b.fail("below a directory with mode %o: %v", mode, err)
					}
				})
			}
		}
	}},
	{name: "setgid-directory/group-is-inherited", run: func(b *box) {
		b.mkdir("d")
		b.chown("d", 0, 4242)
		b.chmod("d", 0o2777)
		b.as(1000, 1000, func(b *box) {
			b.put("d/f", "x")
			b.mkdir("d/s")
			b.symlink("t", "d/l")
			b.ok("mkfifo", unix.Mkfifo(b.at("d/p"), 0o644))
			fd, err := unix.Open(b.at("d"), unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
			b.ok("O_TMPFILE", err)
			eq(b, "group of a nameless file", b.fstat(fd).Gid, 4242)
			b.close(fd)
			b.mkdir("d/s/t")
		})
		for _, name := range []string{"d/f", "d/s", "d/l", "d/p", "d/s/t"} {
			eq(b, "group of "+name, b.stat(name).Gid, 4242)
		}
		b.mode("d/s", 0o2755)
		b.mode("d/s/t", 0o2755)
		b.mode("d/f", 0o644)
	}},
	{name: "setgid-directory/sgid-of-a-file-by-one-not-in-the-group-is-dropped", run: func(b *box) {
		b.mkdir("d")
		b.chown("d", 0, 4242)
		b.chmod("d", 0o2777)
		b.masked(0, func() {
			b.own(func() error {
				if err := unix.Unshare(unix.CLONE_FS); err != nil {
					return err
				}
				unix.Umask(0)
				return becomeUser(1000, 1000, nil)
			}, func() { b.ok("open", b.try("d/f", unix.O_CREAT|unix.O_WRONLY, 0o2775)) })
			b.ok("open", b.try("d/root", unix.O_CREAT|unix.O_WRONLY, 0o2775))
		})
		b.mode("d/f", 0o775)
		b.mode("d/root", 0o2775)
	}},
	{name: "setgid-directory/no-bit-no-inheritance", run: func(b *box) {
		b.mkdir("d")
		b.chown("d", 0, 4242)
		b.chmod("d", 0o777)
		b.as(1000, 1000, func(b *box) { b.put("d/f", "x") })
		eq(b, "group", b.stat("d/f").Gid, 1000)
	}},
}

// stickyBox is a sticky directory of user 3000 with things of 1000 and of root.
func stickyBox(b *box) {
	b.mkdir("tmp")
	b.chmod("tmp", 0o1777)
	b.chown("tmp", 3000, 3000)
	b.mkdir("own")
	b.chmod("own", 0o777)
	for _, who := range []int{0, 1000} {
		f, d := fmt.Sprint("tmp/file-", who), fmt.Sprint("tmp/dir-", who)
		b.put(f, "x")
		b.chmod(f, 0o666)
		b.mkdir(d)
		b.chown(f, who, who)
		b.chown(d, who, who)
	}
}

var stickyTable = table{
	{name: "sticky/only-owners-remove", run: func(b *box) {
		stickyBox(b)
		b.mode("tmp", 0o1777)
		b.as(2000, 2000, func(b *box) {
			b.isOne("unlink", unix.Unlink(b.at("tmp/file-1000")), unix.EPERM, unix.EACCES)
			b.isOne("rmdir", unix.Rmdir(b.at("tmp/dir-1000")), unix.EPERM, unix.EACCES)
		})
		b.as(1000, 1000, func(b *box) {
			b.isOne("root's", unix.Unlink(b.at("tmp/file-0")), unix.EPERM, unix.EACCES)
			b.unlink("tmp/file-1000")
			b.ok("rmdir", unix.Rmdir(b.at("tmp/dir-1000")))
		})
		b.as(3000, 3000, func(b *box) { b.unlink("tmp/file-0") })
	}},
	{name: "sticky/only-owners-rename", run: func(b *box) {
		stickyBox(b)
		b.as(2000, 2000, func(b *box) {
			b.isOne("rename", unix.Rename(b.at("tmp/file-1000"), b.at("tmp/x")), unix.EPERM, unix.EACCES)
			b.isOne("out", unix.Rename(b.at("tmp/file-1000"), b.at("own/x")), unix.EPERM, unix.EACCES)
			b.put("tmp/mine", "x")
			b.isOne("over another's", unix.Rename(b.at("tmp/mine"), b.at("tmp/file-1000")), unix.EPERM, unix.EACCES)
			b.isOne("exchange with another's", renameat2(b, "tmp/mine", "tmp/file-1000", unix.RENAME_EXCHANGE), unix.EPERM, unix.EACCES)
			b.rename("tmp/mine", "tmp/still-mine")
		})
		b.as(1000, 1000, func(b *box) { b.rename("tmp/file-1000", "own/x") })
		b.as(3000, 3000, func(b *box) { b.rename("tmp/file-0", "tmp/y") })
	}},
	{name: "sticky/writing-is-not-removing", run: func(b *box) {
		stickyBox(b)
		b.as(2000, 2000, func(b *box) {
			b.put("tmp/file-1000", "written")
			b.put("tmp/new", "x")
		})
		b.holds("tmp/file-1000", "written")
	}},
	{name: "sticky/bit-taken-away-frees", run: func(b *box) {
		stickyBox(b)
		b.as(2000, 2000, func(b *box) { b.isOne("unlink", unix.Unlink(b.at("tmp/file-1000")), unix.EPERM, unix.EACCES) })
		b.chmod("tmp", 0o777)
		b.as(2000, 2000, func(b *box) { b.unlink("tmp/file-1000") })
	}},
}
