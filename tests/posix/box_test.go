//go:build linux

package posix

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// box is the folder of one case. A call that fails, or a fact that does not hold, ends
// the case through a panic that runOne turns into its failure.
type box struct {
	dir   string
	plain bool // on a plain directory
	as_   string
}

type boxError struct{ error }

// at is a path in the box, or an absolute one as it is. It is not cleaned: "x/" and
// "./x" are what is to be tested.
func (b *box) at(name string) string {
	if strings.HasPrefix(name, "/") || b.dir == "" {
		return name
	}
	return b.dir + "/" + name
}

func (b *box) fail(format string, args ...any) {
	panic(boxError{fmt.Errorf(b.as_+format, args...)})
}

// ok ends the case if a call failed.
func (b *box) ok(what string, err error) {
	if err != nil {
		b.fail("%s: %w", what, err)
	}
}

// is ends the case unless a call failed with just this errno.
func (b *box) is(what string, err error, want unix.Errno) {
	if err != want {
		b.fail("%s: %v, want %v", what, err, want)
	}
}

// isOne allows several errnos, where POSIX does.
func (b *box) isOne(what string, err error, want ...unix.Errno) {
	for _, w := range want {
		if err == w {
			return
		}
	}
	b.fail("%s: %v, want one of %v", what, err, want)
}

func eq[T comparable](b *box, what string, got, want T) {
	if got != want {
		b.fail("%s is %v, want %v", what, got, want)
	}
}

func (b *box) try(name string, flags int, mode uint32) error {
	fd, err := unix.Open(b.at(name), flags|unix.O_CLOEXEC, mode)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

func (b *box) open(name string, flags int) int {
	fd, err := unix.Open(b.at(name), flags|unix.O_CLOEXEC, 0o644)
	b.ok("open "+name, err)
	return fd
}

func (b *box) create(name string) int { return b.open(name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR) }

func (b *box) close(fd int) { b.ok("close", unix.Close(fd)) }

func (b *box) put(name, content string) {
	fd := b.open(name, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY)
	b.pwrite(fd, 0, []byte(content))
	b.close(fd)
}

func (b *box) pwrite(fd int, off int64, p []byte) {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		b.ok(fmt.Sprintf("pwrite of %d at %d", len(p), off), err)
		if n == 0 {
			b.fail("pwrite at %d wrote nothing", off)
		}
		p, off = p[n:], off+int64(n)
	}
}

// pread reads until n bytes or the end.
func (b *box) pread(fd int, off int64, n int) []byte {
	p := make([]byte, n)
	done := 0
	for done < n {
		got, err := unix.Pread(fd, p[done:], off+int64(done))
		b.ok(fmt.Sprintf("pread at %d", off), err)
		if got == 0 {
			break
		}
		done += got
	}
	return p[:done]
}

func (b *box) holds(name, content string) {
	fd := b.open(name, unix.O_RDONLY)
	b.fdHolds(fd, []byte(content))
	b.close(fd)
}

func (b *box) fdHolds(fd int, want []byte) {
	eq(b, "size", b.fstat(fd).Size, int64(len(want)))
	if got := b.pread(fd, 0, len(want)+1); !bytes.Equal(got, want) {
		b.fail("content is %.60q (%d bytes), want %.60q (%d bytes)", got, len(got), want, len(want))
	}
}

func (b *box) stat(name string) (st unix.Stat_t) {
	b.ok("lstat "+name, unix.Lstat(b.at(name), &st))
	return st
}

func (b *box) fstat(fd int) (st unix.Stat_t) {
	b.ok("fstat", unix.Fstat(fd, &st))
	return st
}

func (b *box) exists(name string) bool {
	var st unix.Stat_t
	err := unix.Lstat(b.at(name), &st)
	if err != nil && err != unix.ENOENT {
		b.fail("lstat %s: %w", name, err)
	}
	return err == nil
}

func (b *box) absent(name string) {
	if b.exists(name) {
		b.fail("%s exists", name)
	}
}

func (b *box) mode(name string, want uint32) {
	if st := b.stat(name); st.Mode&0o7777 != want {
		b.fail("%s has mode %04o, want %04o", name, st.Mode&0o7777, want)
	}
}

func (b *box) nlink(name string, want uint64) {
	if st := b.stat(name); uint64(st.Nlink) != want {
		b.fail("%s has %d links, want %d", name, st.Nlink, want)
	}
}

func (b *box) mkdir(name string) { b.ok("mkdir "+name, unix.Mkdir(b.at(name), 0o755)) }

func (b *box) chmod(name string, mode uint32) {
	b.ok("chmod "+name, unix.Chmod(b.at(name), mode))
}

func (b *box) chown(name string, uid, gid int) {
	b.ok("lchown "+name, unix.Lchown(b.at(name), uid, gid))
}

func (b *box) rename(from, to string) {
	b.ok("rename "+from+" to "+to, unix.Rename(b.at(from), b.at(to)))
}

func (b *box) link(from, to string) {
	b.ok("link "+from+" to "+to, unix.Link(b.at(from), b.at(to)))
}

func (b *box) symlink(target, name string) {
	b.ok("symlink "+name, unix.Symlink(target, b.at(name)))
}

func (b *box) unlink(name string) { b.ok("unlink "+name, unix.Unlink(b.at(name))) }

// moves runs f and tells from the attributes before and after whether mtime ("m") and
// ctime ("c") of the named objects went on, and nothing that is not named in fields.
// What is not to change must stay to the nanosecond.
func (b *box) moves(objects map[string]string, f func()) {
	before := map[string]unix.Stat_t{}
	for name := range objects {
		before[name] = b.stat(name)
	}
	tickClock()
	f()
	for name, fields := range objects {
		was, is := before[name], b.stat(name)
		for _, x := range []struct {
			field    string
			was, now unix.Timespec
		}{{"m", was.Mtim, is.Mtim}, {"c", was.Ctim, is.Ctim}} {
			later := nanos(x.now) > nanos(x.was)
			switch {
			case strings.Contains(fields, x.field) && !later:
				b.fail("%stime of %s was %v and is %v, want a later one", x.field, name, x.was, x.now)
			case !strings.Contains(fields, x.field) && x.was != x.now:
				b.fail("%stime of %s was %v and is %v, want no change", x.field, name, x.was, x.now)
			}
		}
	}
}

func nanos(t unix.Timespec) int64 { return t.Nano() }

// tickClock waits for the coarse clock from which a plain file system takes its times.
func tickClock() {
	ts := unix.Timespec{Nsec: 11e6}
	for unix.Nanosleep(&ts, &ts) == unix.EINTR {
	}
}

// own runs f on a thread of its own, after before has made the thread different from
// the others. The thread ends with it.
func (b *box) own(before func() error, f func()) {
	done := make(chan any, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is not to be used again
		defer func() { done <- recover() }()
		b.ok("prepare a thread", before())
		f()
	}()
	if r := <-done; r != nil {
		panic(r)
	}
}

// as runs f as another user, in no group but gid and those given.
func (b *box) as(uid, gid int, f func(b *box), groups ...uint32) {
	them := &box{b.dir, b.plain, fmt.Sprintf("as %d:%d: ", uid, gid)}
	b.own(func() error { return becomeUser(uid, gid, groups) }, func() { f(them) })
}

// becomeUser changes the credentials of this thread only; the calls of package unix would
// change those of the process.
func becomeUser(uid, gid int, groups []uint32) error {
	var first uintptr
	if len(groups) > 0 {
		first = ptr(&groups[0])
	}
	for _, c := range []struct {
		what string
		nr   uintptr
		a    [3]uintptr
	}{
		{"setgroups", unix.SYS_SETGROUPS, [3]uintptr{uintptr(len(groups)), first}},
		{"setresgid", unix.SYS_SETRESGID, [3]uintptr{uintptr(gid), uintptr(gid), uintptr(gid)}},
		{"setresuid", unix.SYS_SETRESUID, [3]uintptr{uintptr(uid), uintptr(uid), uintptr(uid)}},
	} {
		if _, _, errno := unix.RawSyscall(c.nr, c.a[0], c.a[1], c.a[2]); errno != 0 {
			return fmt.Errorf("%s: %w", c.what, errno)
		}
	}
	runtime.KeepAlive(groups)
	return nil
}

// alone runs f with a working directory and a umask of its own.
func (b *box) alone(f func()) {
	b.own(func() error { return unix.Unshare(unix.CLONE_FS) }, f)
}

// masked runs f with a umask.
func (b *box) masked(mask int, f func()) {
	b.alone(func() {
		unix.Umask(mask)
		f()
	})
}

// pattern is content that tells its offset.
func pattern(seed, n int) []byte {
	p := make([]byte, n)
	x := uint32(seed)*2654435761 + 1
	for i := range p {
		x = x*1664525 + 1013904223
		p[i] = byte(x >> 24)
	}
	return p
}
