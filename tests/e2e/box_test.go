//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// box is a folder in which a child works with plain system calls. A call that
// fails, or a fact that does not hold, ends the child through a panic that runOp
// turns into its error.
type box struct{ dir string }

type boxError struct{ error }

func runOp(args []string) (err error) {
	if len(args) != 2 || ops[args[0]] == nil {
		return fmt.Errorf("want OP DIR, got %q", args)
	}
	defer func() {
		if r := recover(); r != nil {
			be, ok := r.(boxError)
			if !ok {
				panic(r)
			}
			err = be.error
		}
	}()
	unix.Umask(0o022)
	ops[args[0]](box{args[1]})
	return nil
}

// at is a path in the box.
func (b box) at(name string) string { return filepath.Join(b.dir, name) }

func (b box) fail(format string, args ...any) { panic(boxError{fmt.Errorf(format, args...)}) }

// ok ends the child if a call failed.
func (b box) ok(what string, err error) {
	if err != nil {
		b.fail("%s: %w", what, err)
	}
}

// is ends the child unless a call failed with just this errno.
func (b box) is(what string, err error, want unix.Errno) {
	if err != want {
		b.fail("%s: %v, want %v", what, err, want)
	}
}

func (b box) open(name string, flags int) int {
	fd, err := unix.Open(b.at(name), flags|unix.O_CLOEXEC, 0o644)
	b.ok("open "+name, err)
	return fd
}

func (b box) create(name string) int {
	return b.open(name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR)
}

func (b box) close(fd int) { b.ok("close", unix.Close(fd)) }

func (b box) pwrite(fd int, off int64, p []byte) {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, off)
		b.ok(fmt.Sprintf("pwrite at %d", off), err)
		if n == 0 {
			b.fail("pwrite at %d wrote nothing", off)
		}
		p, off = p[n:], off+int64(n)
	}
}

func (b box) pread(fd int, off int64, n int) []byte {
	p := make([]byte, n)
	got, err := unix.Pread(fd, p, off)
	b.ok(fmt.Sprintf("pread at %d", off), err)
	return p[:got]
}

// put makes a file with content.
func (b box) put(name, content string) {
	fd := b.open(name, unix.O_CREAT|unix.O_TRUNC|unix.O_WRONLY)
	b.pwrite(fd, 0, []byte(content))
	b.close(fd)
}

// holds ends the child unless a file holds the content.
func (b box) holds(name, content string) {
	fd := b.open(name, unix.O_RDONLY)
	b.fdHolds(fd, []byte(content))
	b.close(fd)
}

func (b box) fdHolds(fd int, want []byte) {
	var st unix.Stat_t
	b.ok("fstat", unix.Fstat(fd, &st))
	if st.Size != int64(len(want)) {
		b.fail("size %d, want %d", st.Size, len(want))
	}
	for off := 0; off < len(want); {
		got := b.pread(fd, int64(off), min(1<<20, len(want)-off))
		if len(got) == 0 || !bytes.Equal(got, want[off:off+len(got)]) {
			b.fail("content differs in the %d bytes at %d", len(got), off)
		}
		off += len(got)
	}
}

func (b box) stat(name string) (st unix.Stat_t) {
	b.ok("stat "+name, unix.Lstat(b.at(name), &st))
	return st
}

func (b box) absent(name string) {
	var st unix.Stat_t
	b.is("stat "+name, unix.Lstat(b.at(name), &st), unix.ENOENT)
}

func (b box) mkdir(name string) { b.ok("mkdir "+name, unix.Mkdir(b.at(name), 0o755)) }

func (b box) rename(from, to string) {
	b.ok("rename "+from+" to "+to, unix.Rename(b.at(from), b.at(to)))
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
