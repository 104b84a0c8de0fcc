//go:build linux

package posix

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

var writeTable = table{
	{name: "write/moves-the-offset", run: func(b *box) {
		fd := b.create("f")
		for _, p := range []string{"one", "two", ""} {
			_, err := unix.Write(fd, []byte(p))
			b.ok("write", err)
		}
		at, err := unix.Seek(fd, 0, 1)
		b.ok("lseek", err)
		eq(b, "offset", at, 6)
		b.fdHolds(fd, []byte("onetwo"))
		b.close(fd)
	}},
	{name: "write/read-only-descriptor-is-ebadf", run: func(b *box) {
		b.put("f", "x")
		fd := b.open("f", unix.O_RDONLY)
		_, err := unix.Write(fd, []byte("y"))
		b.is("write", err, unix.EBADF)
		b.close(fd)
		fd = b.open("f", unix.O_WRONLY)
		_, err = unix.Pread(fd, make([]byte, 1), 0)
		b.is("read", err, unix.EBADF)
		b.close(fd)
	}},
	{name: "write/directory-is-eisdir-to-read", run: func(b *box) {
		fd := b.open(".", unix.O_RDONLY)
		_, err := unix.Read(fd, make([]byte, 1))
		b.is("read", err, unix.EISDIR)
		b.close(fd)
	}},
	{name: "write/negative-offset-is-einval", run: func(b *box) {
		fd := b.create("f")
		_, err := unix.Pwrite(fd, []byte("x"), -1)
		b.is("pwrite", err, unix.EINVAL)
		_, err = unix.Pread(fd, make([]byte, 1), -1)
		b.is("pread", err, unix.EINVAL)
		_, err = unix.Seek(fd, -1, 0)
		b.is("lseek", err, unix.EINVAL)
		b.close(fd)
	}},
	{name: "write/behind-the-end-leaves-zeros", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, []byte("a"))
		b.pwrite(fd, 10000, []byte("z"))
		want := make([]byte, 10001)
		want[0], want[10000] = 'a', 'z'
		b.fdHolds(fd, want)
		b.close(fd)
	}},
	{name: "write/is-seen-at-once-through-every-descriptor", run: func(b *box) {
		b.put("f", "........")
		w, r := b.open("f", unix.O_WRONLY), b.open("f", unix.O_RDONLY)
		b.fdHolds(r, []byte("........"))
		for i := range 8 {
			b.pwrite(w, int64(i), []byte{byte('0' + i)})
			eq(b, "read", string(b.pread(r, int64(i), 1)), string(rune('0'+i)))
			eq(b, "size", b.stat("f").Size, 8)
		}
		b.pwrite(w, 8, []byte("8"))
		eq(b, "size", b.stat("f").Size, 9)
		b.fdHolds(r, []byte("012345678"))
		b.close(w)
		b.close(r)
	}},
	{name: "write/vectors", run: func(b *box) {
		fd := b.create("f")
		_, err := unix.Writev(fd, [][]byte{[]byte("ab"), nil, []byte("cde")})
		b.ok("writev", err)
		_, err = unix.Pwritev(fd, [][]byte{[]byte("X"), []byte("Y")}, 1)
		b.ok("pwritev", err)
		p, q := make([]byte, 2), make([]byte, 9)
		n, err := unix.Preadv(fd, [][]byte{p, q}, 0)
		b.ok("preadv", err)
		eq(b, "read", string(p)+string(q[:n-2]), "aXYde")
		b.close(fd)
	}},
	{name: "write/pieces-of-every-size", run: func(b *box) {
		fd := b.create("f")
		var want []byte
		for i, n := range []int{1, 511, 512, 513, 4095, 4096, 4097, 65536, 131071, 131072, 131073, 1 << 20, 3<<20 + 5} {
			p := pattern(i, n)
			b.pwrite(fd, int64(len(want)), p)
			want = append(want, p...)
		}
		b.fdHolds(fd, want)
		b.close(fd)
	}},
	{name: "write/direct", run: func(b *box) {
		fd, err := unix.Open(b.at("f"), unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0o644)
		b.ok("open", err)
		cached := b.open("f", unix.O_RDONLY)
		buf := aligned(64 << 10)
		copy(buf, pattern(3, len(buf)))
		b.pwrite(fd, 0, buf)
		b.fdHolds(cached, buf)
		copy(buf, pattern(4, 4096))
		b.pwrite(fd, 8192, buf[:4096])
		eq(b, "cached read", string(b.pread(cached, 8192, 4096)), string(pattern(4, 4096)))
		w := b.open("f", unix.O_WRONLY)
		b.pwrite(w, 4096, pattern(5, 4096))
		got := aligned(4096)
		_, err = unix.Pread(fd, got, 4096)
		b.ok("direct read", err)
		if !bytes.Equal(got, pattern(5, 4096)) {
			b.fail("a direct read does not see a cached write")
		}
		for _, d := range []int{w, cached, fd} {
			b.close(d)
		}
	}},
	{name: "write/direct-answered-later", run: func(b *box) {
		// What goes by the cache and is not waited for in the call: a reader in between leaves nothing old.
		const size, rounds = 256 << 10, 300
		fd, err := unix.Open(b.at("f"), unix.O_CREAT|unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0o644)
		b.ok("open", err)
		cached := b.open("f", unix.O_RDONLY)
		buf := aligned(size)
		b.pwrite(fd, 0, buf)
		end, ended := make(chan struct{}), make(chan error)
		go func() {
			p := make([]byte, size)
			for {
				select {
				case <-end:
					ended <- nil
					return
				default:
				}
				if _, err := unix.Pread(cached, p, 0); err != nil {
					ended <- err
					return
				}
			}
		}()
		aio := b.newAIO()
		for i := range rounds {
			copy(buf, bytes.Repeat([]byte{byte(i)}, size))
			eq(b, "written", aio.pwrite(fd, buf, 0), size)
			if got := b.pread(cached, 0, size); !bytes.Equal(got, buf) {
				b.fail("round %d: a read behind the write finds something older", i)
			}
		}
		close(end)
		b.ok("read", <-ended)
		aio.close()
		b.close(cached)
		b.close(fd)
	}},
	{name: "write/direct-switched-on-and-off-meanwhile", run: func(b *box) {
		fd := b.create("f")
		buf := aligned(4096)[:512] // part of a page: it stays locked until the write is answered
		b.pwrite(fd, 0, bytes.Repeat(buf, 8))
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		b.ok("F_GETFL", err)
		end, ended := make(chan struct{}), make(chan error)
		go func() {
			for i := 0; ; i++ {
				select {
				case <-end:
					ended <- nil
					return
				default:
				}
				if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags|unix.O_DIRECT*(i&1)); err != nil {
					ended <- err
					return
				}
			}
		}()
		aio := b.newAIO()
		for range 4000 {
			eq(b, "written", aio.pwrite(fd, buf, 512), 512)
		}
		close(end)
		b.ok("F_SETFL", <-ended)
		aio.close()
		b.close(fd)
	}},
	{name: "write/sync-and-dsync", run: func(b *box) {
		for _, flag := range []int{unix.O_SYNC, unix.O_DSYNC} {
			fd := b.open("f", unix.O_CREAT|unix.O_RDWR|flag)
			b.pwrite(fd, 0, []byte("durable"))
			b.fdHolds(fd, []byte("durable"))
			b.close(fd)
		}
	}},
	{name: "write/too-far-is-efbig", run: func(b *box) {
		fd := b.create("f")
		for _, off := range []int64{1<<44 - 4096, 1 << 50, 1<<63 - 2} {
			_, err := unix.Pwrite(fd, []byte("x"), off)
			b.isOne("pwrite", err, unix.EFBIG, unix.EINVAL)
		}
		eq(b, "size", b.fstat(fd).Size, 0)
		b.close(fd)
	}},
}

// aio is a queue of io_submit(2).
type aio struct {
	b   *box
	ctx uintptr
}

func (b *box) newAIO() *aio {
	a := &aio{b: b}
	_, _, errno := unix.Syscall(unix.SYS_IO_SETUP, 16, uintptr(unsafe.Pointer(&a.ctx)), 0)
	a.ok("io_setup", errno)
	return a
}

func (a *aio) ok(what string, errno unix.Errno) {
	if errno != 0 {
		a.b.fail("%s: %w", what, errno)
	}
}

// pwrite writes, and waits for the end elsewhere than in the call that begins it.
func (a *aio) pwrite(fd int, p []byte, off int64) int64 {
	const cmdPwrite = 1
	// struct iocb and struct io_event of <linux/aio_abi.h>.
	cb := struct {
		data        uint64
		key, flags  uint32
		op          uint16
		prio        int16
		fd          uint32
		buf, n, off uint64
		_           uint64
		_, _        uint32
	}{op: cmdPwrite, fd: uint32(fd), buf: uint64(uintptr(unsafe.Pointer(&p[0]))), n: uint64(len(p)), off: uint64(off)}
	var event struct {
		data, obj uint64
		res, res2 int64
	}
	list := [1]unsafe.Pointer{unsafe.Pointer(&cb)}
	_, _, errno := unix.Syscall(unix.SYS_IO_SUBMIT, a.ctx, 1, uintptr(unsafe.Pointer(&list[0])))
	a.ok("io_submit", errno)
	for {
		n, _, errno := unix.Syscall6(unix.SYS_IO_GETEVENTS, a.ctx, 1, 1, uintptr(unsafe.Pointer(&event)), 0, 0)
		if errno == unix.EINTR {
			continue
		}
		a.ok("io_getevents", errno)
		eq(a.b, "events", n, 1)
		runtime.KeepAlive(p)
		return event.res
	}
}

func (a *aio) close() {
	_, _, errno := unix.Syscall(unix.SYS_IO_DESTROY, a.ctx, 0, 0)
	a.ok("io_destroy", errno)
}

// aligned is memory as O_DIRECT needs it.
func aligned(n int) []byte {
	buf := make([]byte, n+4096)
	skip := -uintptr(unsafe.Pointer(&buf[0])) & 4095
	return buf[skip : int(skip)+n : int(skip)+n]
}

var appendTable = table{
	{name: "append/offset-is-ignored", run: func(b *box) {
		b.put("f", "start")
		fd := b.open("f", unix.O_WRONLY|unix.O_APPEND)
		_, err := unix.Seek(fd, 0, 0)
		b.ok("lseek", err)
		_, err = unix.Write(fd, []byte(",one"))
		b.ok("write", err)
		_, err = unix.Pwrite(fd, []byte(",two"), 0) // Linux appends here too
		b.ok("pwrite", err)
		b.close(fd)
		b.holds("f", "start,one,two")
	}},
	{name: "append/through-several-descriptors-in-turn", run: func(b *box) {
		var fds []int
		for range 4 {
			fds = append(fds, b.open("f", unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND))
		}
		plain := b.open("f", unix.O_WRONLY)
		var want []byte
		for i := range 100 {
			p := fmt.Appendf(nil, "%d,", i)
			if i%10 == 0 {
				b.pwrite(plain, int64(len(want)), p)
			} else {
				_, err := unix.Write(fds[i%4], p)
				b.ok("write", err)
			}
			want = append(want, p...)
		}
		for _, fd := range append(fds, plain) {
			b.close(fd)
		}
		b.holds("f", string(want))
	}},
	{name: "append/direct-in-pieces-keeps-the-order", run: func(b *box) {
		// One write is several requests, which are there at once; others keep several threads answering.
		const size, block, rounds, readers = 1 << 20, 4096, 60, 8
		b.put("other", string(pattern(1, size)))
		end := make(chan struct{})
		var wg sync.WaitGroup
		errs := make([]error, readers)
		for r := range readers {
			wg.Go(func() {
				fd, err := unix.Open(b.at("other"), unix.O_RDONLY|unix.O_DIRECT|unix.O_CLOEXEC, 0)
				if err != nil {
					errs[r] = err
					return
				}
				defer unix.Close(fd)
				for p := aligned(64 << 10); ; {
					select {
					case <-end:
						return
					default:
					}
					if _, err := unix.Pread(fd, p, int64(r)<<16); err != nil {
						errs[r] = err
						return
					}
				}
			})
		}
		flags := unix.O_CREAT | unix.O_WRONLY | unix.O_APPEND | unix.O_DIRECT
		fd, err := unix.Open(b.at("f"), flags|unix.O_CLOEXEC, 0o644)
		b.ok("open", err)
		buf := aligned(size)
		for i := range size / block {
			copy(buf[i*block:], bytes.Repeat([]byte{byte(i)}, block))
		}
		for range rounds {
			n, err := unix.Write(fd, buf)
			b.ok("write", err)
			eq(b, "written", n, size)
		}
		close(end)
		wg.Wait()
		for _, err := range errs {
			b.ok("read", err)
		}
		b.close(fd)
		fd = b.open("f", unix.O_RDONLY)
		eq(b, "size", b.fstat(fd).Size, int64(rounds*size))
		for i := range rounds {
			if got := b.pread(fd, int64(i)*size, size); !bytes.Equal(got, buf) {
				b.fail("write %d is not in its order", i)
			}
		}
		b.close(fd)
	}},
	{name: "append/several-writers-at-once-lose-nothing", run: func(b *box) {
		const writers, records, size = 6, 200, 100
		var wg sync.WaitGroup
		errs := make([]error, writers)
		for w := range writers {
			wg.Go(func() {
				fd, err := unix.Open(b.at("f"), unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND|unix.O_CLOEXEC, 0o644)
				if err != nil {
					errs[w] = err
					return
				}
				defer unix.Close(fd)
				for i := range records {
					p := bytes.Repeat([]byte{byte('A' + w)}, size)
					binary.LittleEndian.PutUint32(p, uint32(w<<16|i))
					if n, err := unix.Write(fd, p); n != size || err != nil {
						errs[w] = fmt.Errorf("record %d: %d, %w", i, n, err)
						return
					}
				}
			})
		}
		wg.Wait()
		for _, err := range errs {
			b.ok("writer", err)
		}
		fd := b.open("f", unix.O_RDONLY)
		all := b.pread(fd, 0, writers*records*size+1)
		b.close(fd)
		eq(b, "size", len(all), writers*records*size)
		var next [writers]int
		for ; len(all) > 0; all = all[size:] {
			x := binary.LittleEndian.Uint32(all)
			w, i := int(x>>16), int(x&0xffff)
			if w >= writers || i != next[w] || !bytes.Equal(all[4:size], bytes.Repeat([]byte{byte('A' + w)}, size-4)) {
				b.fail("record %d of writer %d is torn or out of turn", i, w)
			}
			next[w]++
		}
	}},
	{name: "append/flag-set-later", run: func(b *box) {
		b.put("f", "start")
		fd := b.open("f", unix.O_WRONLY)
		_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFL, unix.O_APPEND)
		b.ok("F_SETFL", err)
		_, err = unix.Write(fd, []byte("end"))
		b.ok("write", err)
		b.close(fd)
		b.holds("f", "startend")
	}},
	{name: "append/by-the-flag-of-one-write", run: func(b *box) {
		b.put("f", "start")
		fd := b.open("f", unix.O_WRONLY)
		_, err := pwritev2(fd, []byte("end"), 0, unix.RWF_APPEND)
		b.ok("pwritev2", err)
		b.close(fd)
		b.holds("f", "startend")
	}},
	{name: "append/after-truncate-by-another", run: func(b *box) {
		fd := b.open("f", unix.O_CREAT|unix.O_WRONLY|unix.O_APPEND)
		for range 3 {
			_, err := unix.Write(fd, []byte("0123456789"))
			b.ok("write", err)
			b.ok("truncate", unix.Truncate(b.at("f"), 2))
		}
		_, err := unix.Write(fd, []byte("!"))
		b.ok("write", err)
		b.close(fd)
		b.holds("f", "01!")
	}},
}

// killpriv is a program of user 1000 with mode 06755, to be changed by f.
func killpriv(b *box, mode, want uint32, uid int, f func(b *box, fd int), groups ...uint32) {
	b.put("f", "content")
	b.chown("f", 1000, 1000)
	b.chmod("f", mode)
	b.mode("f", mode)
	run := func(b *box) {
		fd := b.open("f", unix.O_RDWR)
		f(b, fd)
		eq(b, "mode by descriptor", b.fstat(fd).Mode&0o7777, want)
		b.close(fd)
	}
	if uid == 0 {
		run(b)
	} else {
		b.as(uid, uid, run, groups...)
	}
	b.mode("f", want)
}

func killer(name string, f func(b *box, fd int)) (all table) {
	return table{
		{name: name + "/clears-suid", run: func(b *box) { killpriv(b, 0o4777, 0o777, 2000, f) }},
		{name: name + "/clears-sgid-of-programs", run: func(b *box) { killpriv(b, 0o6777, 0o777, 1000, f) }},
		{name: name + "/keeps-sgid-without-group-execute", run: func(b *box) { killpriv(b, 0o2666, 0o2666, 1000, f) }},
		{name: name + "/clears-sgid-for-who-is-not-of-the-group", run: func(b *box) { killpriv(b, 0o2666, 0o666, 2000, f) }},
		{name: name + "/keeps-sgid-for-who-has-the-group-as-a-further-one", run: func(b *box) {
			killpriv(b, 0o2666, 0o2666, 2000, f, 3000, 1000)
		}},
		{name: name + "/by-root-keeps-suid", run: func(b *box) { killpriv(b, 0o6777, 0o6777, 0, f) }},
		{name: name + "/clears-file-capabilities", run: func(b *box) {
			b.put("f", "content")
			b.chmod("f", 0o777)
			// revision 2 of struct vfs_cap_data: CAP_NET_BIND_SERVICE, permitted and effective
			caps := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
			b.ok("setxattr", unix.Setxattr(b.at("f"), "security.capability", caps, 0))
			fd := b.open("f", unix.O_RDWR)
			f(b, fd)
			b.close(fd)
			_, err := unix.Getxattr(b.at("f"), "security.capability", make([]byte, 100))
			b.is("getxattr", err, unix.ENODATA)
		}},
	}
}

var killprivTable = func() (all table) {
	all = append(all, killer("write", func(b *box, fd int) { b.pwrite(fd, 0, []byte("C")) })...)
	all = append(all, killer("truncate", func(b *box, fd int) { b.ok("truncate", unix.Truncate(b.at("f"), 3)) })...)
	all = append(all, killer("ftruncate", func(b *box, fd int) { b.ok("ftruncate", unix.Ftruncate(fd, 3)) })...)
	all = append(all, killer("open-trunc", func(b *box, fd int) { b.ok("open", b.try("f", unix.O_WRONLY|unix.O_TRUNC, 0)) })...)
	all = append(all, killer("fallocate", func(b *box, fd int) {
		b.ok("fallocate", unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 2))
	})...)
	all = append(all, killer("copy-file-range", func(b *box, fd int) {
		var in, out int64 = 0, 4
		_, err := unix.CopyFileRange(fd, &in, fd, &out, 2, 0)
		b.ok("copy_file_range", err)
	})...)
	return all
}()

var offsetTable = table{
	{name: "offset/beyond-4-gib", run: func(b *box) {
		fd := b.create("f")
		for _, off := range []int64{1<<31 - 2, 1<<32 - 3, 1 << 33, 1<<40 + 1} {
			p := []byte(fmt.Sprint("at ", off))
			b.pwrite(fd, off, p)
			eq(b, "size", b.fstat(fd).Size, off+int64(len(p)))
			eq(b, "content", string(b.pread(fd, off, len(p))), string(p))
			at, err := unix.Seek(fd, -1, 2)
			b.ok("lseek", err)
			eq(b, "end", at, off+int64(len(p))-1)
		}
		if got := b.pread(fd, 1<<35, 10); !bytes.Equal(got, make([]byte, 10)) {
			b.fail("the hole holds %q", got)
		}
		eq(b, "content", string(b.pread(fd, 1<<33, 5)), "at 85")
		b.ok("ftruncate", unix.Ftruncate(fd, 1<<32))
		eq(b, "content", string(b.pread(fd, 1<<32-3, 9)), "at ")
		b.ok("ftruncate", unix.Ftruncate(fd, 1<<42))
		eq(b, "content", string(b.pread(fd, 1<<33, 5)), "\x00\x00\x00\x00\x00")
		m, err := unix.Mmap(fd, 1<<32-4096, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		b.ok("mmap", err)
		eq(b, "mapped", string(m[4093:]), "at ")
		m[4095] = '!'
		b.ok("msync", unix.Msync(m, unix.MS_SYNC))
		b.ok("munmap", unix.Munmap(m))
		eq(b, "content", string(b.pread(fd, 1<<32-3, 3)), "at!")
		b.ok("ftruncate", unix.Ftruncate(fd, 0)) // nobody is to compare a terabyte
		b.close(fd)
	}},
	{name: "offset/reads-behind-the-end-are-empty", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, []byte("x"))
		for _, off := range []int64{1, 2, 1 << 20, 1 << 40} {
			eq(b, "read", len(b.pread(fd, off, 10)), 0)
		}
		b.close(fd)
	}},
}

var mmapTable = table{
	{name: "mmap/stores-are-read-and-writes-are-mapped", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, pattern(1, 3*4096))
		m, err := unix.Mmap(fd, 0, 3*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		b.ok("mmap", err)
		copy(m[4090:], "across pages")
		eq(b, "read", string(b.pread(fd, 4090, 12)), "across pages")
		b.pwrite(fd, 8190, []byte("mapped"))
		eq(b, "mapped", string(m[8190:8196]), "mapped")
		b.ok("msync", unix.Msync(m, unix.MS_SYNC))
		want := append([]byte(nil), m...)
		b.ok("munmap", unix.Munmap(m))
		b.fdHolds(fd, want)
		b.close(fd)
	}},
	{name: "mmap/outlives-close-and-is-written-at-munmap", run: func(b *box) {
		b.put("f", "content")
		fd := b.open("f", unix.O_RDWR)
		m, err := unix.Mmap(fd, 0, 7, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		b.ok("mmap", err)
		b.close(fd)
		m[0] = 'C'
		b.ok("munmap", unix.Munmap(m))
		b.holds("f", "Content")
	}},
	{name: "mmap/private-changes-nothing", run: func(b *box) {
		b.put("f", "content")
		fd := b.open("f", unix.O_RDONLY)
		m, err := unix.Mmap(fd, 0, 7, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE)
		b.ok("mmap", err)
		m[0] = 'C'
		b.ok("munmap", unix.Munmap(m))
		b.close(fd)
		b.holds("f", "content")
	}},
	{name: "mmap/writable-needs-a-descriptor-for-both", run: func(b *box) {
		b.put("f", "content")
		for _, flags := range []int{unix.O_RDONLY, unix.O_WRONLY} {
			fd := b.open("f", flags)
			_, err := unix.Mmap(fd, 0, 7, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
			b.is("mmap", err, unix.EACCES)
			b.close(fd)
		}
	}},
	{name: "mmap/bytes-behind-the-end-stay-out", run: func(b *box) {
		b.put("f", "content")
		fd := b.open("f", unix.O_RDWR)
		m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		b.ok("mmap", err)
		copy(m[7:], "behind the end")
		b.ok("msync", unix.Msync(m, unix.MS_SYNC))
		b.ok("munmap", unix.Munmap(m))
		b.fdHolds(fd, []byte("content"))
		b.ok("ftruncate", unix.Ftruncate(fd, 10))
		b.fdHolds(fd, []byte("content\x00\x00\x00"))
		b.close(fd)
	}},
	{name: "mmap/truncate-is-seen", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, pattern(1, 4096))
		m, err := unix.Mmap(fd, 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		b.ok("mmap", err)
		eq(b, "mapped", m[4095], pattern(1, 4096)[4095])
		b.ok("shrink", unix.Ftruncate(fd, 100))
		b.ok("grow", unix.Ftruncate(fd, 4096))
		if !bytes.Equal(m[100:], make([]byte, 3996)) || !bytes.Equal(m[:100], pattern(1, 100)) {
			b.fail("the mapping shows what was cut off")
		}
		b.ok("munmap", unix.Munmap(m))
		b.close(fd)
	}},
	{name: "mmap/mapping-of-a-hole-is-filled", run: func(b *box) {
		fd := b.create("f")
		b.ok("ftruncate", unix.Ftruncate(fd, 1<<20))
		m, err := unix.Mmap(fd, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		b.ok("mmap", err)
		want := make([]byte, 1<<20)
		for i := 0; i < len(m); i += 70000 {
			m[i], want[i] = byte(i/70000+1), byte(i/70000+1)
		}
		b.ok("munmap", unix.Munmap(m))
		b.fdHolds(fd, want)
		b.close(fd)
	}},
}

var syncTable = table{
	{name: "fsync/files-and-directories", run: func(b *box) {
		b.put("f", "x")
		b.mkdir("d")
		for _, name := range []string{"f", "d", "."} {
			fd := b.open(name, unix.O_RDONLY)
			b.ok("fsync "+name, unix.Fsync(fd))
			b.ok("fdatasync "+name, unix.Fdatasync(fd))
			b.ok("syncfs "+name, unix.Syncfs(fd))
			b.close(fd)
		}
	}},
	{name: "fsync/of-a-range", run: func(b *box) {
		fd := b.create("f")
		b.pwrite(fd, 0, pattern(1, 10000))
		b.ok("sync_file_range", unix.SyncFileRange(fd, 0, 5000, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER))
		b.close(fd)
	}},
	{name: "fsync/fifo-is-einval", run: func(b *box) {
		b.ok("mkfifo", unix.Mkfifo(b.at("p"), 0o600))
		fd := b.open("p", unix.O_RDWR)
		b.is("fsync", unix.Fsync(fd), unix.EINVAL)
		b.close(fd)
	}},
}
