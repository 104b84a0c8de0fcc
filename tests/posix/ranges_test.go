//go:build linux

package posix

import (
	"bytes"
	"fmt"
	"os/signal"

	"golang.org/x/sys/unix"
)

const punch = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE

func (b *box) fallocate(fd int, mode uint32, off, n int64) {
	b.ok(fmt.Sprintf("fallocate %#x", mode), unix.Fallocate(fd, mode, off, n))
}

var rangeTable = table{
	{name: "fallocate/extends", run: func(b *box) {
		b.put("f", "abc")
		fd := b.open("f", unix.O_RDWR)
		b.fallocate(fd, 0, 1, 9)
		b.fdHolds(fd, []byte("abc\x00\x00\x00\x00\x00\x00\x00"))
		b.fallocate(fd, 0, 0, 4)
		eq(b, "size", b.fstat(fd).Size, 10)
		b.close(fd)
	}},
	{name: "fallocate/keep-size-keeps-it", run: func(b *box) {
		b.put("f", "abc")
		fd := b.open("f", unix.O_RDWR)
		b.fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, 0, 100000)
		b.fdHolds(fd, []byte("abc"))
		b.close(fd)
	}},
	{name: "fallocate/punched-holes-are-zeros", run: func(b *box) {
		want := pattern(1, 40000)
		fd := b.create("f")
		b.pwrite(fd, 0, want)
		b.fdHolds(fd, want)
		for _, r := range [][2]int64{{0, 1}, {4096, 4096}, {10000, 9000}, {39999, 500}, {50000, 10}} {
			b.fallocate(fd, punch, r[0], r[1])
			for i := r[0]; i < min(r[0]+r[1], 40000); i++ {
				want[i] = 0
			}
			b.fdHolds(fd, want)
		}
		b.close(fd)
	}},
	{name: "fallocate/zero-range", run: func(b *box) {
		want := pattern(1, 20000)
		fd := b.create("f")
		b.pwrite(fd, 0, want)
		b.fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 5000, 6000)
		clear(want[5000:11000])
		b.fdHolds(fd, want)
		b.fallocate(fd, unix.FALLOC_FL_ZERO_RANGE|unix.FALLOC_FL_KEEP_SIZE, 19000, 6000)
		clear(want[19000:])
		b.fdHolds(fd, want)
		b.fallocate(fd, unix.FALLOC_FL_ZERO_RANGE, 19990, 1000)
		b.fdHolds(fd, append(want, make([]byte, 990)...))
		b.close(fd)
	}},
	{name: "fallocate/errors", run: func(b *box) {
		b.put("f", "abc")
		fd := b.open("f", unix.O_RDWR)
		b.is("punch without keep size", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE, 0, 1), unix.EOPNOTSUPP)
		b.is("length 0", unix.Fallocate(fd, 0, 0, 0), unix.EINVAL)
		b.is("negative offset", unix.Fallocate(fd, 0, -1, 1), unix.EINVAL)
		b.is("negative length", unix.Fallocate(fd, 0, 0, -1), unix.EINVAL)
		b.is("too far", unix.Fallocate(fd, 0, 1<<63-2, 1<<62), unix.EFBIG)
		b.close(fd)
		fd = b.open("f", unix.O_RDONLY)
		b.is("read-only", unix.Fallocate(fd, 0, 0, 1), unix.EBADF)
		b.close(fd)
		b.ok("mkfifo", unix.Mkfifo(b.at("p"), 0o600))
		fd = b.open("p", unix.O_RDWR)
		b.is("fifo", unix.Fallocate(fd, 0, 0, 1), unix.ESPIPE)
		b.close(fd)
	}},
	{name: "fallocate/unknown-modes-are-eopnotsupp", mountOnly: "ext4 collapses and inserts ranges", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, pattern(1, 16384))
		b.is("collapse", unix.Fallocate(fd, unix.FALLOC_FL_COLLAPSE_RANGE, 0, 4096), unix.EOPNOTSUPP)
		b.is("insert", unix.Fallocate(fd, unix.FALLOC_FL_INSERT_RANGE, 0, 4096), unix.EOPNOTSUPP)
		b.fdHolds(fd, pattern(1, 16384))
		b.close(fd)
	}},
	{name: "seek/data-and-holes", run: func(b *box) {
		const unit = 1 << 20
		fd := b.create("f")
		b.ok("ftruncate", unix.Ftruncate(fd, 8*unit))
		b.pwrite(fd, 2*unit, pattern(1, unit))
		b.pwrite(fd, 5*unit, pattern(2, unit))
		b.ok("fsync", unix.Fsync(fd))
		for _, row := range [][3]int64{
			{unix.SEEK_DATA, 0, 2 * unit}, {unix.SEEK_HOLE, 0, 0}, {unix.SEEK_HOLE, 2 * unit, 3 * unit},
			{unix.SEEK_DATA, 3 * unit, 5 * unit}, {unix.SEEK_HOLE, 5*unit + 7, 6 * unit}, {unix.SEEK_DATA, 2*unit + 5, 2*unit + 5},
			{unix.SEEK_HOLE, 7 * unit, 7 * unit},
		} {
			at, err := unix.Seek(fd, row[1], int(row[0]))
			b.ok("lseek", err)
			eq(b, fmt.Sprint("lseek ", row[0], " from ", row[1]), at, row[2])
		}
		_, err := unix.Seek(fd, 6*unit, unix.SEEK_DATA)
		b.is("data behind the last", err, unix.ENXIO)
		_, err = unix.Seek(fd, 8*unit, unix.SEEK_HOLE)
		b.is("hole at the end", err, unix.ENXIO)
		_, err = unix.Seek(fd, 9*unit, unix.SEEK_DATA)
		b.is("data behind the end", err, unix.ENXIO)
		b.close(fd)
	}},
	{name: "seek/sees-data-stored-through-a-mapping", run: func(b *box) {
		const unit = 1 << 20
		fd := b.create("f")
		b.ok("ftruncate", unix.Ftruncate(fd, 4*unit))
		m, err := unix.Mmap(fd, 0, 4*unit, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		b.ok("mmap", err)
		copy(m[2*unit:], "stored through a mapping")
		other := b.open("f", unix.O_RDONLY) // whoever copies the file
		at, err := unix.Seek(other, 0, unix.SEEK_DATA)
		b.ok("lseek", err)
		eq(b, "data", at, 2*unit)
		b.fdHolds(other, append(append(make([]byte, 2*unit), "stored through a mapping"...), make([]byte, 2*unit-24)...))
		copy(m[3*unit:], "and more")
		at, err = unix.Seek(other, 3*unit-1, unix.SEEK_DATA)
		b.ok("lseek", err)
		eq(b, "data", at, 3*unit)
		b.ok("munmap", unix.Munmap(m))
		b.close(other)
		b.close(fd)
	}},
	{name: "seek/there-is-a-hole-at-the-end-of-a-full-file", run: func(b *box) {
		b.put("f", "content")
		fd := b.open("f", unix.O_RDONLY)
		at, err := unix.Seek(fd, 3, unix.SEEK_HOLE)
		b.ok("lseek", err)
		eq(b, "hole", at, 7)
		at, err = unix.Seek(fd, 3, unix.SEEK_DATA)
		b.ok("lseek", err)
		eq(b, "data", at, 3)
		b.close(fd)
	}},
	{name: "seek/punched-hole-is-found", run: func(b *box) {
		const unit = 1 << 20
		fd := b.create("f")
		b.pwrite(fd, 0, pattern(1, 4*unit))
		b.fallocate(fd, punch, unit, unit)
		b.ok("fsync", unix.Fsync(fd))
		at, err := unix.Seek(fd, 0, unix.SEEK_HOLE)
		b.ok("lseek", err)
		eq(b, "hole", at, unit)
		at, err = unix.Seek(fd, unit, unix.SEEK_DATA)
		b.ok("lseek", err)
		eq(b, "data", at, 2*unit)
		b.close(fd)
	}},
	{name: "seek/fifo-is-espipe", run: func(b *box) {
		b.ok("mkfifo", unix.Mkfifo(b.at("p"), 0o600))
		fd := b.open("p", unix.O_RDWR)
		_, err := unix.Seek(fd, 0, 0)
		b.is("lseek", err, unix.ESPIPE)
		b.close(fd)
	}},
}

func copyRange(in int, inOff int64, out int, outOff int64, n int) (int, error) {
	return unix.CopyFileRange(in, &inOff, out, &outOff, n, 0)
}

// copyAll goes on after short copies.
func (b *box) copyAll(in int, inOff int64, out int, outOff int64, n int) {
	for n > 0 {
		m, err := copyRange(in, inOff, out, outOff, n)
		b.ok("copy_file_range", err)
		if m == 0 {
			b.fail("copy_file_range ends %d bytes early", n)
		}
		inOff, outOff, n = inOff+int64(m), outOff+int64(m), n-m
	}
}

var copyTable = table{
	{name: "copy-range/between-files", run: func(b *box) {
		src, dst := b.create("src"), b.create("dst")
		data := pattern(1, 3<<20+77)
		b.pwrite(src, 0, data)
		b.copyAll(src, 0, dst, 0, len(data))
		b.fdHolds(dst, data)
		b.copyAll(src, 100, dst, 5000, 10000)
		copy(data[5000:15000], pattern(1, 20000)[100:10100])
		b.fdHolds(dst, data)
		b.close(src)
		b.close(dst)
	}},
	{name: "copy-range/within-a-file", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, pattern(1, 10000))
		b.copyAll(fd, 0, fd, 20000, 10000)
		want := append(append(pattern(1, 10000), make([]byte, 10000)...), pattern(1, 10000)...)
		b.fdHolds(fd, want)
		_, err := copyRange(fd, 0, fd, 5000, 6000)
		b.is("overlapping", err, unix.EINVAL)
		b.close(fd)
	}},
	{name: "copy-range/behind-the-end-is-0", run: func(b *box) {
		src, dst := b.create("src"), b.create("dst")
		b.pwrite(src, 0, []byte("abc"))
		n, err := copyRange(src, 3, dst, 0, 10)
		b.ok("at the end", err)
		eq(b, "copied", n, 0)
		n, err = copyRange(src, 1, dst, 0, 10)
		b.ok("over the end", err)
		eq(b, "copied", n, 2)
		b.fdHolds(dst, []byte("bc"))
		b.close(src)
		b.close(dst)
	}},
	{name: "copy-range/sees-cached-and-mapped-data", run: func(b *box) {
		src, dst := b.create("src"), b.create("dst")
		b.pwrite(src, 0, make([]byte, 8192))
		b.pwrite(dst, 0, make([]byte, 8192))
		b.fdHolds(dst, make([]byte, 8192))
		m, err := unix.Mmap(src, 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		b.ok("mmap", err)
		d, err := unix.Mmap(dst, 0, 8192, unix.PROT_READ, unix.MAP_SHARED)
		b.ok("mmap", err)
		eq(b, "mapped", d[4000], 0)
		copy(m[4000:], "stored through a mapping")
		b.copyAll(src, 0, dst, 0, 8192)
		eq(b, "mapped at the target", string(d[4000:4024]), "stored through a mapping")
		eq(b, "read at the target", string(b.pread(dst, 4000, 24)), "stored through a mapping")
		b.ok("munmap", unix.Munmap(m))
		b.ok("munmap", unix.Munmap(d))
		b.close(src)
		b.close(dst)
	}},
	{name: "copy-range/moves-times-of-the-target", run: func(b *box) {
		b.put("src", "abc")
		b.put("dst", "")
		src, dst := b.open("src", unix.O_RDONLY), b.open("dst", unix.O_WRONLY)
		b.moves(map[string]string{"dst": "mc", "src": ""}, func() { b.copyAll(src, 0, dst, 0, 3) })
		b.close(src)
		b.close(dst)
	}},
	{name: "copy-range/errors", run: func(b *box) {
		b.put("src", "abc")
		b.put("dst", "")
		dir := b.open(".", unix.O_RDONLY)
		r, w := b.open("src", unix.O_RDONLY), b.open("dst", unix.O_WRONLY)
		ap := b.open("dst", unix.O_WRONLY|unix.O_APPEND)
		_, err := copyRange(w, 0, w, 10, 1)
		b.is("from write-only", err, unix.EBADF)
		_, err = copyRange(r, 0, r, 10, 1)
		b.is("to read-only", err, unix.EBADF)
		_, err = copyRange(r, 0, ap, 0, 1)
		b.is("to append", err, unix.EBADF)
		_, err = copyRange(dir, 0, w, 0, 1)
		b.is("from a directory", err, unix.EISDIR)
		n, err := unix.CopyFileRange(r, nil, w, nil, 3, 1)
		b.is("flags", err, unix.EINVAL)
		eq(b, "copied", n, -1)
		for _, fd := range []int{dir, r, w, ap} {
			b.close(fd)
		}
	}},
	{name: "sendfile/to-a-file-and-to-a-pipe", run: func(b *box) {
		src, dst := b.create("src"), b.create("dst")
		data := pattern(1, 200000)
		b.pwrite(src, 0, data)
		for off := int64(0); off < int64(len(data)); {
			n, err := unix.Sendfile(dst, src, &off, len(data))
			b.ok("sendfile", err)
			if n == 0 {
				b.fail("sendfile ends at %d", off)
			}
		}
		b.fdHolds(dst, data)
		var p [2]int
		b.ok("pipe", unix.Pipe2(p[:], unix.O_CLOEXEC))
		off := int64(1000)
		n, err := unix.Sendfile(p[1], src, &off, 4000)
		b.ok("sendfile", err)
		buf := make([]byte, 4000)
		m, err := unix.Read(p[0], buf)
		b.ok("read", err)
		if n != 4000 || m != 4000 || !bytes.Equal(buf, data[1000:5000]) {
			b.fail("%d sent, %d read", n, m)
		}
		for _, fd := range []int{src, dst, p[0], p[1]} {
			b.close(fd)
		}
	}},
	{name: "splice/both-ways", run: func(b *box) {
		src, dst := b.create("src"), b.create("dst")
		data := pattern(1, 300000)
		b.pwrite(src, 0, data)
		var p [2]int
		b.ok("pipe", unix.Pipe2(p[:], unix.O_CLOEXEC))
		var in, out int64
		for out < int64(len(data)) {
			n, err := unix.Splice(src, &in, p[1], nil, 1<<16, 0)
			b.ok("splice from the file", err)
			if n == 0 {
				b.fail("nothing at %d", in)
			}
			for n > 0 {
				m, err := unix.Splice(p[0], nil, dst, &out, int(n), unix.SPLICE_F_MOVE)
				b.ok("splice to the file", err)
				n -= m
			}
		}
		b.fdHolds(dst, data)
		for _, fd := range []int{src, dst, p[0], p[1]} {
			b.close(fd)
		}
	}},
}

var limitTable = table{
	{name: "rlimit-fsize/write-stops-at-the-limit", run: func(b *box) {
		b.limited(10000, func() {
			fd := b.create("f")
			n, err := unix.Pwrite(fd, pattern(1, 12000), 0)
			b.ok("pwrite over the limit", err)
			eq(b, "written", n, 10000)
			_, err = unix.Pwrite(fd, []byte("x"), 10000)
			b.is("pwrite at the limit", err, unix.EFBIG)
			b.pwrite(fd, 9000, pattern(2, 1000))
			eq(b, "size", b.fstat(fd).Size, 10000)
			b.close(fd)
		})
	}},
	{name: "rlimit-fsize/append-stops-at-the-limit", run: func(b *box) {
		b.limited(1000, func() {
			fd := b.open("f", unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND)
			for range 9 {
				_, err := unix.Write(fd, pattern(1, 100))
				b.ok("write", err)
			}
			n, err := unix.Write(fd, pattern(1, 200))
			b.ok("write", err)
			eq(b, "written", n, 100)
			_, err = unix.Write(fd, []byte("x"))
			b.is("write", err, unix.EFBIG)
			b.close(fd)
		})
	}},
	{name: "rlimit-fsize/truncate-and-fallocate-beyond-are-efbig", run: func(b *box) {
		b.limited(1000, func() {
			fd := b.create("f")
			b.is("ftruncate", unix.Ftruncate(fd, 1001), unix.EFBIG)
			b.is("fallocate", unix.Fallocate(fd, 0, 0, 1001), unix.EFBIG)
			b.ok("ftruncate", unix.Ftruncate(fd, 1000))
			eq(b, "size", b.fstat(fd).Size, 1000)
			b.close(fd)
		})
	}},
	{name: "rlimit-fsize/copy-stops-at-the-limit", run: func(b *box) {
		b.put("src", string(pattern(1, 3000)))
		b.limited(1000, func() {
			src, dst := b.open("src", unix.O_RDONLY), b.create("dst")
			n, err := copyRange(src, 0, dst, 0, 3000)
			b.ok("copy", err)
			eq(b, "copied", n, 1000)
			_, err = copyRange(src, 0, dst, 1000, 1)
			b.is("copy at the limit", err, unix.EFBIG)
			b.close(src)
			b.close(dst)
		})
	}},
}

// limited runs f with a bound on the size of files. It is the process's, and cases run
// one after the other.
func (b *box) limited(bytes uint64, f func()) {
	signal.Ignore(unix.SIGXFSZ)
	var old unix.Rlimit
	b.ok("getrlimit", unix.Getrlimit(unix.RLIMIT_FSIZE, &old))
	b.ok("setrlimit", unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: bytes, Max: old.Max}))
	defer unix.Setrlimit(unix.RLIMIT_FSIZE, &old)
	f()
}
