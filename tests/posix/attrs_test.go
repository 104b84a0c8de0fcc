//go:build linux

package posix

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// utimes is utimensat; with an empty name on the descriptor itself.
func utimes(fd int, name string, atime, mtime unix.Timespec, flags int) error {
	ts := [2]unix.Timespec{atime, mtime}
	if name == "" {
		_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&ts)), 0, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	}
	return unix.UtimesNanoAt(fd, name, ts[:], flags)
}

var (
	now  = unix.Timespec{Nsec: unix.UTIME_NOW}
	omit = unix.Timespec{Nsec: unix.UTIME_OMIT}
)

var truncateTable = table{
	{name: "truncate/grows-with-zeros", run: func(b *box) {
		b.put("f", "abc")
		b.ok("truncate", unix.Truncate(b.at("f"), 6))
		b.holds("f", "abc\x00\x00\x00")
	}},
	{name: "truncate/shrunk-and-grown-holds-zeros", run: func(b *box) {
		content := pattern(1, 20000)
		fd := b.create("f")
		b.pwrite(fd, 0, content)
		b.fdHolds(fd, content)
		for _, n := range []int{5000, 4096, 4095, 1, 0} {
			b.ok("shrink", unix.Ftruncate(fd, int64(n)))
			b.ok("grow", unix.Ftruncate(fd, 20000))
			b.fdHolds(fd, append(content[:n:n], make([]byte, 20000-n)...))
		}
		b.close(fd)
	}},
	{name: "truncate/moves-times", run: func(b *box) {
		b.put("f", "abc")
		b.moves(map[string]string{"f": "mc", ".": ""}, func() { b.ok("truncate", unix.Truncate(b.at("f"), 1)) })
		b.moves(map[string]string{"f": "mc"}, func() { b.ok("truncate", unix.Truncate(b.at("f"), 9)) })
		fd := b.open("f", unix.O_RDWR)
		b.moves(map[string]string{"f": "mc"}, func() { b.ok("ftruncate to the same size", unix.Ftruncate(fd, 9)) })
		b.close(fd)
	}},
	{name: "truncate/negative-is-einval", run: func(b *box) {
		b.put("f", "abc")
		b.is("truncate", unix.Truncate(b.at("f"), -1), unix.EINVAL)
		b.holds("f", "abc")
	}},
	{name: "truncate/too-large-is-efbig", run: func(b *box) {
		b.put("f", "abc")
		for _, size := range []int64{1<<44 - 4095, 1 << 50, 1<<63 - 1} { // what one node takes, all have to keep
			b.is("truncate", unix.Truncate(b.at("f"), size), unix.EFBIG)
		}
		b.holds("f", "abc")
	}},
	{name: "truncate/directory-is-eisdir", run: func(b *box) {
		b.mkdir("d")
		b.is("truncate", unix.Truncate(b.at("d"), 0), unix.EISDIR)
	}},
	{name: "truncate/fifo-is-einval", run: func(b *box) {
		b.ok("mkfifo", unix.Mkfifo(b.at("p"), 0o600))
		b.is("truncate", unix.Truncate(b.at("p"), 0), unix.EINVAL)
	}},
	{name: "truncate/needs-write-permission", run: func(b *box) {
		b.put("f", "abc")
		b.as(1000, 1000, func(b *box) { b.is("truncate", unix.Truncate(b.at("f"), 0), unix.EACCES) })
		fd := b.open("f", unix.O_RDONLY)
		b.isOne("ftruncate", unix.Ftruncate(fd, 0), unix.EINVAL, unix.EBADF)
		b.close(fd)
	}},
	{name: "truncate/is-seen-by-open-readers", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, pattern(2, 9000))
		r := b.open("f", unix.O_RDONLY)
		b.fdHolds(r, pattern(2, 9000))
		b.ok("truncate", unix.Truncate(b.at("f"), 100))
		b.fdHolds(r, pattern(2, 9000)[:100])
		b.close(r)
		b.close(fd)
	}},
}

var chmodTable = table{
	{name: "chmod/every-mode", run: func(b *box) {
		b.put("f", "x")
		b.mkdir("d")
		for _, mode := range []uint32{0, 0o400, 0o777, 0o4755, 0o2711, 0o6755, 0o1777, 0o7777, 0o644} {
			for _, name := range []string{"f", "d"} {
				b.chmod(name, mode)
				b.mode(name, mode)
			}
		}
	}},
	{name: "chmod/moves-ctime-alone", run: func(b *box) {
		b.put("f", "x")
		b.link("f", "g")
		b.moves(map[string]string{"f": "c", "g": "c", ".": ""}, func() { b.chmod("f", 0o600) })
		b.moves(map[string]string{"g": "c"}, func() { b.chmod("f", 0o600) })
		b.mode("g", 0o600)
	}},
	{name: "chmod/by-descriptor-is-seen-by-name", run: func(b *box) {
		b.put("f", "x")
		b.mode("f", 0o644)
		fd := b.open("f", unix.O_RDONLY)
		b.ok("fchmod", unix.Fchmod(fd, 0o640))
		b.mode("f", 0o640)
		b.chmod("f", 0o600)
		eq(b, "mode", b.fstat(fd).Mode&0o7777, 0o600)
		b.close(fd)
	}},
	{name: "chmod/by-another-is-eperm", run: func(b *box) {
		b.put("f", "x")
		b.chmod("f", 0o666)
		b.as(1000, 1000, func(b *box) { b.is("chmod", unix.Chmod(b.at("f"), 0o777), unix.EPERM) })
		b.chown("f", 1000, 1000)
		b.as(1000, 1000, func(b *box) { b.chmod("f", 0o600) })
	}},
	{name: "chmod/setgid-for-a-group-one-is-not-in-is-dropped", run: func(b *box) {
		b.put("f", "x")
		b.chown("f", 1000, 2000)
		b.as(1000, 1000, func(b *box) { b.chmod("f", 0o2755) })
		b.mode("f", 0o755)
		b.as(1000, 1000, func(b *box) { b.chmod("f", 0o2755) }, 2000)
		b.mode("f", 0o2755)
	}},
	{name: "chmod/symlink-is-eopnotsupp", run: func(b *box) {
		b.symlink("none", "s")
		err := unix.Fchmodat(unix.AT_FDCWD, b.at("s"), 0o600, unix.AT_SYMLINK_NOFOLLOW)
		b.is("fchmodat", err, unix.EOPNOTSUPP)
	}},
	{name: "chmod/execute-permission-is-honoured", run: func(b *box) {
		b.put("f", "#!/bin/sh\n")
		b.is("access", unix.Access(b.at("f"), unix.X_OK), unix.EACCES) // root needs one x bit
		b.chmod("f", 0o100)
		b.ok("access", unix.Access(b.at("f"), unix.X_OK))
	}},
}

var chownTable = table{
	{name: "chown/owner-and-group-alone", run: func(b *box) {
		b.put("f", "x")
		b.chown("f", 1000, 2000)
		b.chown("f", -1, 3000)
		b.chown("f", 4000, -1)
		st := b.stat("f")
		eq(b, "owner", fmt.Sprint(st.Uid, ":", st.Gid), "4000:3000")
		b.chown("f", 1<<32-2, 1<<32-2)
		st = b.stat("f")
		eq(b, "owner", fmt.Sprint(st.Uid, ":", st.Gid), "4294967294:4294967294")
	}},
	{name: "chown/moves-ctime-alone", run: func(b *box) {
		b.put("f", "x")
		b.link("f", "g")
		b.moves(map[string]string{"f": "c", "g": "c", ".": ""}, func() { b.chown("f", 1000, -1) })
		eq(b, "owner", b.stat("g").Uid, 1000)
	}},
	{name: "chown/by-a-user-is-eperm-but-to-his-groups", run: func(b *box) {
		b.put("f", "x")
		b.chown("f", 1000, 1000)
		b.as(1000, 1000, func(b *box) {
			b.is("owner", unix.Lchown(b.at("f"), 1001, -1), unix.EPERM)
			b.is("foreign group", unix.Lchown(b.at("f"), -1, 3000), unix.EPERM)
			b.ok("own group", unix.Lchown(b.at("f"), -1, 2000))
			b.ok("the same owner", unix.Lchown(b.at("f"), 1000, 1000))
		}, 2000)
		b.as(1001, 1001, func(b *box) { b.ok("neither", unix.Lchown(b.at("f"), -1, -1)) })
		b.as(1001, 1001, func(b *box) { b.is("another's", unix.Lchown(b.at("f"), -1, 1001), unix.EPERM) })
	}},
	{name: "chown/clears-suid-and-sgid-of-programs", run: func(b *box) {
		for name, f := range map[string]func(b *box){
			"root":  func(b *box) { b.chown("root", 1000, 1000) },
			"group": func(b *box) { b.chown("group", -1, 1000) },
			"owner": func(b *box) { b.as(1000, 1000, func(b *box) { b.chown("owner", -1, 2000) }, 2000) },
			"none":  func(b *box) { b.chown("none", -1, -1) },
		} {
			b.put(name, "x")
			if name == "owner" {
				b.chown(name, 1000, 1000)
			}
			b.chmod(name, 0o6755)
			b.mode(name, 0o6755)
			f(b)
			b.mode(name, 0o755)
		}
	}},
	{name: "chown/keeps-sgid-without-group-execute", run: func(b *box) {
		b.put("f", "x")
		b.chmod("f", 0o2644)
		b.chown("f", 1000, 1000)
		b.mode("f", 0o2644)
	}},
	{name: "chown/clears-sgid-for-an-owner-who-is-not-of-the-group", run: func(b *box) {
		b.put("f", "x")
		for _, gid := range []int{3000, -1} {
			for _, member := range []bool{false, true} {
				b.chown("f", 1000, 2000)
				b.chmod("f", 0o2644)
				b.mode("f", 0o2644)
				groups, want := []uint32{1000, 3000}, uint32(0o644)
				if member {
					groups, want = append(groups, 2000), 0o2644
				}
				b.as(1000, 1000, func(b *box) { b.chown("f", -1, gid) }, groups...)
				b.mode("f", want)
			}
		}
	}},
	{name: "chown/keeps-bits-of-directories", run: func(b *box) {
		b.mkdir("d")
		b.chmod("d", 0o6755)
		b.chown("d", 1000, 1000)
		b.mode("d", 0o6755)
	}},
	{name: "chown/symlink-itself", run: func(b *box) {
		b.put("f", "x")
		b.symlink("f", "s")
		b.chown("s", 1000, 1000)
		eq(b, "owner of the link", b.stat("s").Uid, 1000)
		eq(b, "owner of the target", b.stat("f").Uid, 0)
		b.ok("chown", unix.Chown(b.at("s"), 2000, 2000))
		eq(b, "owner of the target", b.stat("f").Uid, 2000)
	}},
}

var timesTable = table{
	{name: "times/made-now", run: func(b *box) {
		var t0, t1 unix.Timespec
		b.ok("clock", unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &t0))
		b.put("f", "x")
		b.mkdir("d")
		b.symlink("t", "s")
		b.ok("clock", unix.ClockGettime(unix.CLOCK_REALTIME, &t1))
		for _, name := range []string{"f", "d", "s"} {
			st := b.stat(name)
			for _, ts := range []unix.Timespec{st.Atim, st.Mtim, st.Ctim} {
				if nanos(ts) < nanos(t0) || nanos(ts) > nanos(t1) {
					b.fail("%s: %v is not between %v and %v", name, ts, t0, t1)
				}
			}
		}
	}},
	{name: "times/write-moves-mtime-and-ctime", run: func(b *box) {
		fd := b.create("f")
		b.moves(map[string]string{"f": "mc", ".": ""}, func() { b.pwrite(fd, 0, []byte("x")) })
		b.moves(map[string]string{"f": "mc"}, func() { b.pwrite(fd, 0, []byte("x")) })
		b.moves(map[string]string{"f": ""}, func() { _, err := unix.Pwrite(fd, nil, 0); b.ok("write of nothing", err) })
		b.close(fd)
	}},
	{name: "times/read-moves-neither", run: func(b *box) {
		b.put("f", "x")
		b.mkdir("d")
		b.moves(map[string]string{"f": "", "d": ""}, func() { b.holds("f", "x"); b.list("d") })
	}},
	{name: "times/close-and-fsync-move-nothing", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, []byte("x"))
		b.moves(map[string]string{"f": ""}, func() { b.ok("fsync", unix.Fsync(fd)); b.close(fd) })
	}},
	{name: "times/mmap-write-moves-mtime-and-ctime", run: func(b *box) {
		b.put("f", "content")
		fd := b.open("f", unix.O_RDWR)
		b.moves(map[string]string{"f": "mc"}, func() {
			m, err := unix.Mmap(fd, 0, 7, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			b.ok("mmap", err)
			m[0] = 'C'
			b.ok("msync", unix.Msync(m, unix.MS_SYNC))
			b.ok("munmap", unix.Munmap(m))
		})
		b.close(fd)
		b.holds("f", "Content")
	}},
	{name: "times/xattr-moves-ctime-alone", run: func(b *box) {
		b.put("f", "x")
		b.moves(map[string]string{"f": "c"}, func() { b.ok("set", unix.Setxattr(b.at("f"), "user.a", []byte("v"), 0)) })
		b.moves(map[string]string{"f": "c"}, func() { b.ok("remove", unix.Removexattr(b.at("f"), "user.a")) })
	}},
	{name: "times/fallocate-moves-mtime-and-ctime", run: func(b *box) {
		b.put("f", "content")
		fd := b.open("f", unix.O_RDWR)
		b.moves(map[string]string{"f": "mc"}, func() {
			b.ok("punch", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 2))
		})
		b.close(fd)
	}},
	{name: "times/birth-stays", run: func(b *box) {
		birth := func() unix.StatxTimestamp {
			var st unix.Statx_t
			b.ok("statx", unix.Statx(unix.AT_FDCWD, b.at("f"), 0, unix.STATX_BASIC_STATS|unix.STATX_BTIME, &st))
			if st.Mask&unix.STATX_BTIME == 0 {
				b.fail("no time of birth")
			}
			return st.Btime
		}
		b.put("f", "x")
		first := birth()
		tickClock()
		b.put("f", "y")
		b.chmod("f", 0o600)
		eq(b, "birth", birth(), first)
		eq(b, "birth in seconds, nearly", first.Sec/100, b.stat("f").Ctim.Sec/100)
	}},
}

// farTimes: ext4 keeps 1901 to 2446.
var farTimes = []unix.Timespec{
	{Sec: 1 << 34, Nsec: 1}, {Sec: 1 << 40, Nsec: 999999999}, {Sec: -62135596800, Nsec: 7}, {Sec: -1 << 33, Nsec: 500000000},
}

var utimesTable = table{
	{name: "utimensat/to-the-nanosecond", run: func(b *box) {
		utimesHold(b, []unix.Timespec{{Sec: 1, Nsec: 1}, {Sec: 1234567890, Nsec: 123456789}, {}, {Sec: 0, Nsec: 999999999}})
	}},
	{name: "utimensat/before-1970", run: func(b *box) {
		utimesHold(b, []unix.Timespec{{Sec: -1, Nsec: 0}, {Sec: -1, Nsec: 999999999}, {Sec: -1001, Nsec: 500000000}, {Sec: -1 << 31}})
	}},
	{name: "utimensat/after-2038-and-2106", run: func(b *box) {
		utimesHold(b, []unix.Timespec{{Sec: 1<<31 - 1, Nsec: 5}, {Sec: 1 << 31, Nsec: 5}, {Sec: 1<<32 - 1, Nsec: 6}, {Sec: 1 << 32, Nsec: 7}, {Sec: 13569465600, Nsec: 8}})
	}},
	{name: "utimensat/far-past-and-future", mountOnly: "ext4 keeps 1901 to 2446 only", run: func(b *box) { utimesHold(b, farTimes) }},
	{name: "utimensat/omit-both-changes-nothing", run: func(b *box) {
		b.put("f", "x")
		b.moves(map[string]string{"f": ""}, func() { b.ok("utimensat", utimes(unix.AT_FDCWD, b.at("f"), omit, omit, 0)) })
	}},
	{name: "utimensat/one-alone", run: func(b *box) {
		b.put("f", "x")
		before := b.stat("f")
		b.ok("mtime", utimes(unix.AT_FDCWD, b.at("f"), omit, unix.Timespec{Sec: 5, Nsec: 6}, 0))
		st := b.stat("f")
		eq(b, "atime", st.Atim, before.Atim)
		eq(b, "mtime", st.Mtim, unix.Timespec{Sec: 5, Nsec: 6})
		b.ok("atime", utimes(unix.AT_FDCWD, b.at("f"), unix.Timespec{Sec: 7, Nsec: 8}, omit, 0))
		st = b.stat("f")
		eq(b, "atime", st.Atim, unix.Timespec{Sec: 7, Nsec: 8})
		eq(b, "mtime", st.Mtim, unix.Timespec{Sec: 5, Nsec: 6})
	}},
	{name: "utimensat/moves-ctime", run: func(b *box) {
		b.put("f", "x")
		was := nanos(b.stat("f").Ctim)
		tickClock()
		b.ok("utimensat", utimes(unix.AT_FDCWD, b.at("f"), unix.Timespec{Sec: 1}, unix.Timespec{Sec: 1}, 0))
		if is := nanos(b.stat("f").Ctim); is <= was {
			b.fail("ctime stayed")
		}
	}},
	{name: "utimensat/now", run: func(b *box) {
		b.put("f", "x")
		b.ok("old", utimes(unix.AT_FDCWD, b.at("f"), unix.Timespec{Sec: 1}, unix.Timespec{Sec: 1}, 0))
		b.moves(map[string]string{"f": "mc"}, func() { b.ok("now", utimes(unix.AT_FDCWD, b.at("f"), now, now, 0)) })
		if st := b.stat("f"); st.Atim.Sec < 1000 || st.Mtim != st.Ctim {
			b.fail("atime %v, mtime %v, ctime %v", st.Atim, st.Mtim, st.Ctim)
		}
	}},
	{name: "utimensat/nanoseconds-of-a-second-are-einval", run: func(b *box) {
		b.put("f", "x")
		b.is("utimensat", utimes(unix.AT_FDCWD, b.at("f"), unix.Timespec{Nsec: 1e9}, now, 0), unix.EINVAL)
		b.is("utimensat", utimes(unix.AT_FDCWD, b.at("f"), now, unix.Timespec{Nsec: -1}, 0), unix.EINVAL)
	}},
	{name: "utimensat/rights-of-others", run: func(b *box) {
		b.put("f", "x")
		b.put("writable", "x")
		b.chmod("writable", 0o666)
		b.as(1000, 1000, func(b *box) {
			b.is("now, not writable", utimes(unix.AT_FDCWD, b.at("f"), now, now, 0), unix.EACCES)
			b.is("given, not writable", utimes(unix.AT_FDCWD, b.at("f"), unix.Timespec{Sec: 1}, now, 0), unix.EPERM)
			b.is("given, writable", utimes(unix.AT_FDCWD, b.at("writable"), unix.Timespec{Sec: 1}, unix.Timespec{Sec: 1}, 0), unix.EPERM)
			b.ok("now, writable", utimes(unix.AT_FDCWD, b.at("writable"), now, now, 0))
		})
	}},
	{name: "utimensat/symlink-itself", run: func(b *box) {
		b.put("f", "x")
		b.symlink("f", "s")
		b.moves(map[string]string{"f": ""}, func() {
			b.ok("utimensat", utimes(unix.AT_FDCWD, b.at("s"), unix.Timespec{Sec: 3}, unix.Timespec{Sec: -4, Nsec: 4}, unix.AT_SYMLINK_NOFOLLOW))
		})
		eq(b, "mtime", b.stat("s").Mtim, unix.Timespec{Sec: -4, Nsec: 4})
	}},
	{name: "utimensat/stays-after-a-write-was-closed", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, []byte("x"))
		b.ok("futimens", utimes(fd, "", unix.Timespec{Sec: 1}, unix.Timespec{Sec: 2}, 0))
		b.ok("fsync", unix.Fsync(fd))
		b.close(fd)
		eq(b, "mtime", b.stat("f").Mtim, unix.Timespec{Sec: 2})
	}},
}

func utimesHold(b *box, times []unix.Timespec) {
	b.put("f", "x")
	b.mkdir("d")
	b.symlink("f", "s")
	for i, ts := range times {
		other := unix.Timespec{Sec: int64(i), Nsec: 5}
		for _, name := range []string{"f", "d", "s"} {
			b.ok("utimensat", utimes(unix.AT_FDCWD, b.at(name), other, ts, unix.AT_SYMLINK_NOFOLLOW))
			st := b.stat(name)
			eq(b, name+": mtime", st.Mtim, ts)
			eq(b, name+": atime", st.Atim, other)
			b.ok("utimensat", utimes(unix.AT_FDCWD, b.at(name), ts, other, unix.AT_SYMLINK_NOFOLLOW))
			eq(b, name+": atime", b.stat(name).Atim, ts)
		}
		kept := fmt.Sprint("kept", i)
		b.put(kept, "x")
		b.ok("utimensat", utimes(unix.AT_FDCWD, b.at(kept), other, ts, 0))
	}
}
