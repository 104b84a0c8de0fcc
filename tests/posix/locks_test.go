//go:build linux

package posix

import (
	"time"

	"golang.org/x/sys/unix"
)

// others runs f as another owner of POSIX locks: the kernel knows owners by their table
// of descriptors.
func (b *box) others(f func()) {
	b.own(func() error { return unix.Unshare(unix.CLONE_FILES) }, f)
}

var lockTable = table{
	{name: "flock/shared-and-exclusive", run: func(b *box) {
		b.put("f", "x")
		a, c := b.open("f", unix.O_RDWR), b.open("f", unix.O_RDONLY)
		b.ok("shared", unix.Flock(a, unix.LOCK_SH|unix.LOCK_NB))
		b.ok("shared too", unix.Flock(c, unix.LOCK_SH|unix.LOCK_NB))
		b.is("upgrade", unix.Flock(a, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
		b.ok("unlock", unix.Flock(c, unix.LOCK_UN))
		b.ok("exclusive", unix.Flock(a, unix.LOCK_EX|unix.LOCK_NB))
		b.is("shared", unix.Flock(c, unix.LOCK_SH|unix.LOCK_NB), unix.EWOULDBLOCK)
		b.close(a)
		b.ok("after close", unix.Flock(c, unix.LOCK_EX|unix.LOCK_NB))
		b.close(c)
	}},
	{name: "flock/belongs-to-the-open-file", run: func(b *box) {
		b.put("f", "x")
		a := b.open("f", unix.O_RDWR)
		dup, err := unix.FcntlInt(uintptr(a), unix.F_DUPFD_CLOEXEC, 0)
		b.ok("dup", err)
		c := b.open("f", unix.O_RDWR)
		b.ok("lock", unix.Flock(a, unix.LOCK_EX|unix.LOCK_NB))
		b.ok("by the duplicate", unix.Flock(dup, unix.LOCK_EX|unix.LOCK_NB))
		b.close(a)
		b.is("still", unix.Flock(c, unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
		b.close(dup)
		b.ok("free", unix.Flock(c, unix.LOCK_EX|unix.LOCK_NB))
		b.close(c)
	}},
	{name: "flock/waits", run: func(b *box) {
		b.put("f", "x")
		a, c := b.open("f", unix.O_RDWR), b.open("f", unix.O_RDWR)
		b.ok("lock", unix.Flock(a, unix.LOCK_EX))
		got := make(chan error, 1)
		go func() { got <- unix.Flock(c, unix.LOCK_EX) }()
		select {
		case <-got:
			b.fail("two have it")
		case <-time.After(50 * time.Millisecond):
		}
		b.ok("unlock", unix.Flock(a, unix.LOCK_UN))
		select {
		case err := <-got:
			b.ok("lock", err)
		case <-time.After(10 * time.Second):
			b.fail("nobody has it")
		}
		b.close(a)
		b.close(c)
	}},
	{name: "posix-lock/ranges", run: func(b *box) {
		fd := b.create("f")
		b.ok("write lock", setlk(fd, unix.F_SETLK, unix.F_WRLCK, 10, 10))
		b.ok("read lock", setlk(fd, unix.F_SETLK, unix.F_RDLCK, 30, 10))
		b.ok("to the end", setlk(fd, unix.F_SETLK, unix.F_WRLCK, 1<<40, 0))
		b.ok("unlock the middle", setlk(fd, unix.F_SETLK, unix.F_UNLCK, 14, 2))
		for _, row := range []struct {
			typ        int16
			start, len int64
			free       bool
		}{
			{unix.F_WRLCK, 0, 10, true}, {unix.F_WRLCK, 10, 1, false}, {unix.F_RDLCK, 13, 1, false}, {unix.F_WRLCK, 14, 2, true}, {unix.F_WRLCK, 15, 2, false},
			{unix.F_WRLCK, 20, 10, true}, {unix.F_RDLCK, 30, 10, true}, {unix.F_WRLCK, 39, 1, false}, {unix.F_WRLCK, 40, 100, true}, {unix.F_RDLCK, 1 << 50, 1, false},
			{unix.F_RDLCK, 0, 0, false},
		} {
			b.others(func() {
				err := setlk(fd, unix.F_SETLK, row.typ, row.start, row.len)
				if row.free && err != nil || !row.free && err != unix.EAGAIN && err != unix.EACCES {
					b.fail("type %d of %d at %d: %v", row.typ, row.len, row.start, err)
				}
			})
		}
		b.close(fd)
	}},
	{name: "posix-lock/who-has-it", run: func(b *box) {
		fd := b.create("f")
		b.ok("lock", setlk(fd, unix.F_SETLK, unix.F_WRLCK, 5, 7))
		b.others(func() {
			l, err := getlk(fd, unix.F_GETLK, unix.F_RDLCK, 0, 0)
			b.ok("F_GETLK", err)
			if l.Type != unix.F_WRLCK || l.Start != 5 || l.Len != 7 || l.Pid != int32(unix.Getpid()) {
				b.fail("%+v, want a write lock of %d at 5 by %d", l, 7, unix.Getpid())
			}
			l, err = getlk(fd, unix.F_GETLK, unix.F_RDLCK, 20, 5)
			b.ok("F_GETLK", err)
			eq(b, "type", l.Type, unix.F_UNLCK)
		})
		l, err := getlk(fd, unix.F_GETLK, unix.F_RDLCK, 0, 0)
		b.ok("F_GETLK", err)
		eq(b, "own locks are no obstacle: type", l.Type, unix.F_UNLCK)
		b.close(fd)
	}},
	{name: "posix-lock/any-close-releases-all", run: func(b *box) {
		fd := b.create("f")
		b.ok("lock", setlk(fd, unix.F_SETLK, unix.F_WRLCK, 0, 0))
		b.close(b.open("f", unix.O_RDONLY))
		b.others(func() { b.ok("lock", setlk(fd, unix.F_SETLK, unix.F_WRLCK, 0, 0)) })
		b.close(fd)
	}},
	{name: "posix-lock/end-of-the-owner-releases", run: func(b *box) {
		fd := b.create("f")
		b.others(func() { b.ok("lock", setlk(fd, unix.F_SETLK, unix.F_WRLCK, 0, 0)) })
		// The thread with its table ends a moment after its function.
		deadline := time.Now().Add(10 * time.Second)
		for setlk(fd, unix.F_SETLK, unix.F_WRLCK, 0, 0) != nil {
			if time.Now().After(deadline) {
				b.fail("the lock of an owner that is gone stays")
			}
			time.Sleep(time.Millisecond)
		}
		b.close(fd)
	}},
	{name: "posix-lock/waits-and-sees-deadlock", run: func(b *box) {
		fd := b.create("f")
		b.ok("lock 0", setlk(fd, unix.F_SETLK, unix.F_WRLCK, 0, 1))
		holds, got := make(chan error, 1), make(chan error, 1)
		go b.others(func() {
			holds <- setlk(fd, unix.F_SETLK, unix.F_WRLCK, 1, 1)
			got <- setlk(fd, unix.F_SETLKW, unix.F_WRLCK, 0, 1)
		})
		b.ok("the other's lock 1", <-holds)
		time.Sleep(50 * time.Millisecond)
		select {
		case err := <-got:
			b.fail("it did not wait: %v", err)
		default:
		}
		b.is("deadlock", setlk(fd, unix.F_SETLKW, unix.F_WRLCK, 1, 1), unix.EDEADLK)
		b.ok("unlock 0", setlk(fd, unix.F_SETLK, unix.F_UNLCK, 0, 1))
		select {
		case err := <-got:
			b.ok("the other's lock 0", err)
		case <-time.After(10 * time.Second):
			b.fail("the other waits for ever")
		}
		b.close(fd)
	}},
	{name: "posix-lock/needs-the-right-descriptor", run: func(b *box) {
		b.put("f", "x")
		fd := b.open("f", unix.O_RDONLY)
		b.is("write lock", setlk(fd, unix.F_SETLK, unix.F_WRLCK, 0, 0), unix.EBADF)
		b.is("negative", setlk(fd, unix.F_SETLK, unix.F_RDLCK, -1, 0), unix.EINVAL)
		b.close(fd)
		fd = b.open("f", unix.O_WRONLY)
		b.is("read lock", setlk(fd, unix.F_SETLK, unix.F_RDLCK, 0, 0), unix.EBADF)
		b.close(fd)
	}},
	{name: "ofd-lock/belongs-to-the-open-file", run: func(b *box) {
		a := b.create("f")
		c := b.open("f", unix.O_RDWR)
		b.ok("lock", setlk(a, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 10))
		b.ok("beside it", setlk(c, unix.F_OFD_SETLK, unix.F_WRLCK, 10, 10))
		b.isOne("the same process, another open", setlk(c, unix.F_OFD_SETLK, unix.F_RDLCK, 5, 1), unix.EAGAIN, unix.EACCES)
		b.close(b.open("f", unix.O_RDWR)) // releases nothing
		b.isOne("still", setlk(c, unix.F_OFD_SETLK, unix.F_RDLCK, 5, 1), unix.EAGAIN, unix.EACCES)
		b.isOne("POSIX lock of the same process", setlk(c, unix.F_SETLK, unix.F_WRLCK, 0, 1), unix.EAGAIN, unix.EACCES)
		l, err := getlk(c, unix.F_OFD_GETLK, unix.F_WRLCK, 0, 5)
		b.ok("F_OFD_GETLK", err)
		if l.Type != unix.F_WRLCK || l.Start != 0 || l.Len != 10 || l.Pid != -1 {
			b.fail("%+v", l)
		}
		b.close(a)
		b.ok("free", setlk(c, unix.F_OFD_SETLK, unix.F_WRLCK, 0, 0))
		b.close(c)
	}},
	{name: "locks/flock-and-posix-are-apart", run: func(b *box) {
		fd := b.create("f")
		c := b.open("f", unix.O_RDWR)
		b.ok("flock", unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB))
		b.others(func() { b.ok("POSIX", setlk(c, unix.F_SETLK, unix.F_WRLCK, 0, 0)) })
		b.close(fd)
		b.close(c)
	}},
}
