//go:build linux

package posix

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxFile bounds the file of the exerciser, bytes.
const maxFile = 600 << 10

// fileWork is one file and what it has to hold. Some of its descriptors stay open for
// long, as do mappings, so that everything that the kernel keeps of the file is in use.
type fileWork struct {
	b     *box
	r     *rand.Rand
	model []byte
	fds   []int // for reading and writing
	app   int   // O_APPEND
	m     []byte
	last  []string // the steps before, for the report of a failure
}

// runFile exercises one file: DIR SEED OPS.
func runFile(args []string) error {
	if len(args) != 3 {
		return fmt.Errorf("want DIR SEED OPS, got %q", args)
	}
	seed, err1 := strconv.ParseUint(args[1], 10, 64)
	ops, err2 := strconv.Atoi(args[2])
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	w := &fileWork{b: &box{dir: args[0]}, r: rand.New(rand.NewPCG(seed, 2)), app: -1}
	step := 0
	err := runOne(test{run: func(*box) {
		w.fds = []int{w.b.create("file")}
		for ; step < ops; step++ {
			w.step()
			if step%500 == 0 {
				w.whole()
			}
		}
		w.end()
	}}, nil)
	if err != nil {
		return fmt.Errorf("seed %d, step %d: %w\nsteps before: %q", seed, step, err, w.last)
	}
	return nil
}

func (w *fileWork) note(format string, args ...any) {
	if len(w.last) == 30 {
		w.last = append(w.last[:0], w.last[1:]...)
	}
	w.last = append(w.last, fmt.Sprintf(format, args...))
}

// fd is one of the descriptors.
func (w *fileWork) fd() int { return w.fds[w.r.IntN(len(w.fds))] }

// span is a part of the file, or of what lies behind its end up to limit; most are small,
// many begin or end at a page.
func (w *fileWork) span(limit int) (off, n int) {
	off = w.r.IntN(limit + 1)
	n = 1 + w.r.IntN(1<<(1+w.r.IntN(17)))
	if w.r.IntN(3) == 0 {
		off &^= 4095
	}
	if w.r.IntN(4) == 0 {
		n = (n + 4095) &^ 4095
	}
	return off, min(n, limit-off)
}

// fit makes the model at least n bytes long.
func (w *fileWork) fit(n int) {
	if n > len(w.model) {
		w.model = append(w.model, make([]byte, n-len(w.model))...)
	}
}

func (w *fileWork) step() {
	switch k := w.r.IntN(100); {
	case k < 22:
		w.write()
	case k < 46:
		w.read()
	case k < 51:
		w.appends()
	case k < 57:
		w.truncate()
	case k < 66:
		w.mapped()
	case k < 76:
		w.allocate()
	case k < 82:
		w.copies()
	case k < 86:
		w.direct()
	case k < 91:
		w.holes()
	case k < 96:
		w.descriptors()
	default:
		w.note("fsync")
		w.b.ok("fsync", unix.Fsync(w.fd()))
	}
}

func (w *fileWork) data(n int) []byte { return pattern(int(w.r.Uint32()>>1), n) }

func (w *fileWork) write() {
	off, n := w.span(maxFile)
	p := w.data(n)
	w.note("write %d at %d", n, off)
	w.b.pwrite(w.fd(), int64(off), p)
	if n > 0 {
		w.fit(off + n)
		copy(w.model[off:], p)
	}
}

func (w *fileWork) read() {
	off, n := w.span(len(w.model) + 10000)
	w.note("read %d at %d", n, off)
	w.same("read", off, w.b.pread(w.fd(), int64(off), n), n)
}

// same compares what came of reading n bytes at off.
func (w *fileWork) same(how string, off int, got []byte, n int) {
	from, to := min(off, len(w.model)), min(off+n, len(w.model))
	want := w.model[from:to]
	if bytes.Equal(got, want) {
		return
	}
	at := 0
	for at < len(got) && at < len(want) && got[at] == want[at] {
		at++
	}
	w.b.fail("%s of %d at %d gave %d bytes, want %d; the first difference is at %d; size %d", how, n, off, len(got), len(want), off+at, len(w.model))
}

func (w *fileWork) appends() {
	if len(w.model) > maxFile {
		w.truncate()
	}
	if w.app < 0 {
		w.app = w.b.open("file", unix.O_WRONLY|unix.O_APPEND)
	}
	p := w.data(1 + w.r.IntN(9000))
	w.note("append %d at %d", len(p), len(w.model))
	n, err := unix.Write(w.app, p)
	w.b.ok("append", err)
	eq(w.b, "appended", n, len(p))
	w.model = append(w.model, p...)
}

func (w *fileWork) truncate() {
	size := w.r.IntN(maxFile)
	if w.r.IntN(2) == 0 {
		size = w.r.IntN(len(w.model) + 1)
	}
	w.note("truncate to %d from %d", size, len(w.model))
	w.b.ok("ftruncate", unix.Ftruncate(w.fd(), int64(size)))
	if size < len(w.model) {
		clear(w.model[size:]) // what the slice may grow into again
		w.model = w.model[:size]
	}
	w.fit(size)
}

// mapped stores or loads through a shared mapping, which may have been made long ago.
func (w *fileWork) mapped() {
	if w.m != nil && w.r.IntN(5) == 0 {
		w.note("munmap")
		w.unmap()
	}
	if len(w.model) == 0 {
		return
	}
	if w.m == nil {
		m, err := unix.Mmap(w.fd(), 0, len(w.model), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		w.b.ok("mmap", err)
		w.m = m
	}
	off, n := w.span(min(len(w.m), len(w.model)))
	if w.r.IntN(2) == 0 {
		w.note("load %d at %d", n, off)
		w.same("load", off, bytes.Clone(w.m[off:off+n]), n)
		return
	}
	p := w.data(n)
	w.note("store %d at %d", n, off)
	copy(w.m[off:], p)
	copy(w.model[off:off+n], p)
	if w.r.IntN(3) == 0 {
		w.note("msync")
		w.b.ok("msync", unix.Msync(w.m, unix.MS_SYNC))
	}
}

func (w *fileWork) unmap() {
	if w.m != nil {
		w.b.ok("munmap", unix.Munmap(w.m))
		w.m = nil
	}
}

func (w *fileWork) allocate() {
	off, n := w.span(maxFile)
	if n == 0 {
		return
	}
	mode := []uint32{punch, punch, unix.FALLOC_FL_ZERO_RANGE, unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE, 0, unix.FALLOC_FL_KEEP_SIZE}[w.r.IntN(6)]
	w.note("fallocate %#x %d at %d", mode, n, off)
	w.b.fallocate(w.fd(), mode, int64(off), int64(n))
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		w.fit(off + n)
	}
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 && off < len(w.model) {
		clear(w.model[off:min(off+n, len(w.model))])
	}
}

// copies copies within the file, by copy_file_range, or by sendfile to a place behind it.
func (w *fileWork) copies() {
	from, n := w.span(len(w.model))
	to, _ := w.span(maxFile)
	if n == 0 || from < to+n && to < from+n {
		return
	}
	in, out := w.fd(), w.fd()
	if w.r.IntN(3) == 0 {
		out = w.b.open("file", unix.O_WRONLY) // sendfile moves the offset
		defer w.b.close(out)
		w.note("sendfile %d from %d to %d", n, from, to)
		_, err := unix.Seek(out, int64(to), 0)
		w.b.ok("lseek", err)
		for off := int64(from); off < int64(from+n); {
			_, err := unix.Sendfile(out, in, &off, from+n-int(off))
			w.b.ok("sendfile", err)
		}
	} else {
		w.note("copy %d from %d to %d", n, from, to)
		w.b.copyAll(in, int64(from), out, int64(to), n)
	}
	w.fit(to + n)
	copy(w.model[to:], w.model[from:from+n])
}

// direct reads or writes around the page cache.
func (w *fileWork) direct() {
	fd, err := unix.Open(w.b.at("file"), unix.O_RDWR|unix.O_DIRECT|unix.O_CLOEXEC, 0)
	w.b.ok("open O_DIRECT", err)
	defer w.b.close(fd)
	off, n := w.r.IntN(maxFile)&^4095, (1+w.r.IntN(20))*4096
	buf := aligned(n)
	if w.r.IntN(2) == 0 {
		w.note("direct read %d at %d", n, off)
		got, err := unix.Pread(fd, buf, int64(off))
		w.b.ok("direct read", err)
		w.same("direct read", off, buf[:got], n)
		return
	}
	w.note("direct write %d at %d", n, off)
	copy(buf, w.data(n))
	w.b.pwrite(fd, int64(off), buf)
	w.fit(off + n)
	copy(w.model[off:], buf)
}

// holes checks that what is not data is zeros, and that data and holes alternate up to
// the end. What was stored through a mapping must have been written before: the kernel
// asks the daemon, which cannot know it yet.
func (w *fileWork) holes() {
	w.note("holes")
	fd := w.fd()
	w.b.ok("fsync", unix.Fsync(fd))
	for at := 0; at < len(w.model); {
		data := len(w.model)
		p, err := unix.Seek(fd, int64(at), unix.SEEK_DATA)
		if err != unix.ENXIO {
			w.b.ok("SEEK_DATA", err)
			data = int(p)
		}
		if data < at || data > len(w.model) {
			w.b.fail("data from %d on at %d, size %d", at, data, len(w.model))
		}
		if !bytes.Equal(w.model[at:data], make([]byte, data-at)) {
			w.b.fail("there is data between %d and %d, where a hole was found", at, data)
		}
		if data == len(w.model) {
			return
		}
		hole, err := unix.Seek(fd, int64(data), unix.SEEK_HOLE)
		w.b.ok("SEEK_HOLE", err)
		if int(hole) <= data || int(hole) > len(w.model) {
			w.b.fail("hole from %d on at %d, size %d", data, hole, len(w.model))
		}
		at = int(hole)
	}
}

// descriptors closes one and opens another; now and then all.
func (w *fileWork) descriptors() {
	if w.app >= 0 {
		w.b.close(w.app)
		w.app = -1
	}
	if len(w.fds) < 4 {
		w.note("open")
		w.fds = append(w.fds, w.b.open("file", unix.O_RDWR))
		return
	}
	w.note("close")
	for _, fd := range w.fds[1:] {
		w.b.close(fd)
	}
	w.fds = w.fds[:1]
}

func (w *fileWork) whole() {
	eq(w.b, "size", w.b.stat("file").Size, int64(len(w.model)))
	w.same("read of everything", 0, w.b.pread(w.fd(), 0, len(w.model)+1), len(w.model)+1)
}

func (w *fileWork) end() {
	w.unmap()
	w.whole()
	for _, fd := range w.fds {
		w.b.close(fd)
	}
	w.b.holds("file", string(w.model))
}
