//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

func sparse(b box) {
	const size = 64 << 20
	fd := b.create("holes")
	want := make([]byte, 3<<20)
	for _, off := range []int{0, 5000, 1 << 20, 2<<20 + 4095, 3<<20 - 10} {
		copy(want[off:], "data at an offset"[:min(17, len(want)-off)])
		b.pwrite(fd, int64(off), want[off:min(off+17, len(want))])
	}
	b.fdHolds(fd, want)
	b.pwrite(fd, size-1, []byte{1})
	if got := b.pread(fd, 40<<20, 4096); !bytes.Equal(got, make([]byte, 4096)) {
		b.fail("the hole is not zeros")
	}
	data, err := unix.Seek(fd, 0, unix.SEEK_DATA)
	b.ok("SEEK_DATA", err)
	hole, err := unix.Seek(fd, 0, unix.SEEK_HOLE)
	b.ok("SEEK_HOLE", err)
	if data != 0 || hole <= 0 || hole > size {
		b.fail("data at %d, hole at %d", data, hole)
	}
	b.close(fd)
	fd = b.create("all-hole")
	b.ok("ftruncate", unix.Ftruncate(fd, 1<<40))
	if got := b.pread(fd, 1<<40-100, 200); !bytes.Equal(got, make([]byte, 100)) {
		b.fail("%d bytes at the end", len(got))
	}
	b.ok("ftruncate", unix.Ftruncate(fd, 1<<20)) // a tebibyte is not to be compared
	b.close(fd)
}

// appendOp: appends through many descriptors at once never overwrite each other.
func appendOp(b box) {
	const writers, lines = 4, 200
	var wg sync.WaitGroup
	errs := make(chan error, writers)
	for w := range writers {
		wg.Go(func() {
			fd, err := unix.Open(b.at("log"), unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0o644)
			for i := 0; i < lines && err == nil; i++ {
				_, err = unix.Write(fd, fmt.Appendf(nil, "writer %d line %05d\n", w, i))
			}
			if err == nil {
				err = unix.Close(fd)
			}
			errs <- err
		})
	}
	wg.Wait()
	for range writers {
		b.ok("append", <-errs)
	}
	fd := b.open("log", unix.O_RDONLY)
	text := b.pread(fd, 0, 1<<20)
	b.close(fd)
	if got := len(bytes.Split(text, []byte("\n"))) - 1; got != writers*lines {
		b.fail("%d lines, want %d", got, writers*lines)
	}
	for w := range writers {
		at := -1
		for i := range lines {
			next := bytes.Index(text, fmt.Appendf(nil, "writer %d line %05d\n", w, i))
			if next <= at {
				b.fail("writer %d, line %d is missing or out of order", w, i)
			}
			at = next
		}
	}
}

func truncateOp(b box) {
	want := pattern(1, 300000)
	fd := b.create("f")
	b.pwrite(fd, 0, want)
	b.ok("truncate down", unix.Ftruncate(fd, 123457))
	b.fdHolds(fd, want[:123457])
	b.ok("truncate up", unix.Ftruncate(fd, 250001))
	b.fdHolds(fd, append(append([]byte{}, want[:123457]...), make([]byte, 250001-123457)...))
	b.ok("truncate to nothing", unix.Truncate(b.at("f"), 0))
	b.ok("truncate up again", unix.Truncate(b.at("f"), 5000))
	b.fdHolds(fd, make([]byte, 5000))
	b.close(fd)
	b.put("g", "to be cut")
	b.close(b.open("g", unix.O_WRONLY|unix.O_TRUNC))
	b.holds("g", "")
	b.is("truncate below zero", unix.Truncate(b.at("g"), -1), unix.EINVAL)
	b.is("truncate of a directory", unix.Truncate(b.dir, 0), unix.EISDIR)
	// Cut and extend within one block, again and again: old bytes must not shine
	// through.
	fd = b.create("h")
	for i := range 50 {
		b.pwrite(fd, 0, pattern(i, 4096))
		b.ok("down", unix.Ftruncate(fd, int64(i)))
		b.ok("up", unix.Ftruncate(fd, 4096))
		b.fdHolds(fd, append(pattern(i, i), make([]byte, 4096-i)...))
	}
	b.close(fd)
}

func fallocateOp(b box) {
	want := pattern(2, 1<<20)
	fd := b.create("f")
	b.pwrite(fd, 0, want)
	b.ok("allocate beyond the end", unix.Fallocate(fd, 0, 1<<20, 4096))
	want = append(want, make([]byte, 4096)...)
	b.fdHolds(fd, want)
	b.ok("allocate, keep the size", unix.Fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 2<<20, 1<<20))
	b.fdHolds(fd, want)
	b.ok("punch a hole", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 5000, 100001))
	clear(want[5000:105001])
	b.fdHolds(fd, want)
	switch err := unix.Fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 300000, 8192); err {
	case unix.EOPNOTSUPP:
	default:
		b.ok("zero a range", err)
		clear(want[300000:308192])
	}
	b.fdHolds(fd, want)
	b.ok("punch over the end", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<20, 1<<20))
	b.fdHolds(fd, want)
	b.pwrite(fd, 6000, []byte("written into the hole"))
	copy(want[6000:], "written into the hole")
	b.fdHolds(fd, want)
	b.close(fd)
	ro := b.open("f", unix.O_RDONLY)
	b.is("allocate through a reader", unix.Fallocate(ro, 0, 0, 10), unix.EBADF)
	b.close(ro)
}

// overwriteOp: many small writes at odd places of a larger file.
func overwriteOp(b box) {
	want := pattern(3, 8<<20)
	fd := b.create("f")
	b.pwrite(fd, 0, want)
	x := uint32(7)
	for i := range 500 {
		x = x*1664525 + 1013904223
		off, n := int(x)%len(want), 1+int(x>>8)%9000
		if off < 0 {
			off += len(want)
		}
		n = min(n, len(want)-off)
		copy(want[off:], pattern(i, n))
		b.pwrite(fd, int64(off), want[off:off+n])
	}
	b.fdHolds(fd, want)
	b.ok("fdatasync", unix.Fdatasync(fd))
	b.close(fd)
	fd = b.open("f", unix.O_RDONLY)
	b.fdHolds(fd, want)
	b.close(fd)
	fd = b.open("sync", unix.O_CREAT|unix.O_WRONLY|unix.O_DSYNC)
	b.pwrite(fd, 0, want[:100000])
	b.close(fd)
}

func mmapShared(b box) {
	const size = 1<<20 + 100
	want := pattern(4, size)
	fd := b.create("f")
	b.ok("ftruncate", unix.Ftruncate(fd, size))
	m, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	b.ok("mmap", err)
	copy(m, want)
	b.ok("msync", unix.Msync(m, unix.MS_SYNC))
	b.fdHolds(fd, want)
	// Stores and writes on one file see each other.
	b.pwrite(fd, 4096, []byte("by write"))
	if string(m[4096:4104]) != "by write" {
		b.fail("the mapping shows %q", m[4096:4104])
	}
	copy(m[8192:], "by store")
	if got := b.pread(fd, 8192, 8); string(got) != "by store" {
		b.fail("read shows %q", got)
	}
	b.close(fd) // the mapping outlives the descriptor
	copy(m[size-8:], "the end!")
	b.ok("munmap", unix.Munmap(m))
	copy(want[4096:], "by write")
	copy(want[8192:], "by store")
	copy(want[size-8:], "the end!")
	fd = b.open("f", unix.O_RDWR)
	b.ok("fsync", unix.Fsync(fd))
	b.fdHolds(fd, want)
	b.close(fd)
}

func copyRange(b box) {
	want := pattern(5, 3<<20)
	src, dst := b.create("src"), b.create("dst")
	b.pwrite(src, 0, want)
	var in, out int64 = 1000, 77
	for left := 2 << 20; left > 0; {
		n, err := unix.CopyFileRange(src, &in, dst, &out, left, 0)
		b.ok("copy_file_range", err)
		if n == 0 {
			b.fail("copy_file_range stopped with %d to go", left)
		}
		left -= n
	}
	b.fdHolds(dst, append(make([]byte, 77), want[1000:1000+2<<20]...))
	b.fdHolds(src, want)
	b.close(src)
	b.close(dst)
}
