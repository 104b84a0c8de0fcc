package fusefs

import (
	"bytes"
	"syscall"

	"wolfdisk/volume"
)

// request is one message of the kernel while it is decoded. Reading beyond the end
// gives zeros and makes it bad.
type request struct {
	inHeader
	body []byte
	bad  bool
}

func (r *request) take(n int) []byte {
	if n > len(r.body) {
		r.bad, r.body = true, nil
		return zeros[:n]
	}
	b := r.body[:n]
	r.body = r.body[n:]
	return b
}

var zeros [128]byte

// name takes a string with its NUL. It is copied: the volume may keep it.
func (r *request) name() string {
	i := bytes.IndexByte(r.body, 0)
	if i < 0 {
		r.bad = true
		return ""
	}
	s := string(r.body[:i])
	r.body = r.body[i+1:]
	return s
}

// data takes n bytes where they are.
func (r *request) data(n uint32) []byte {
	if uint64(n) > uint64(len(r.body)) {
		r.bad = true
		return nil
	}
	return r.body[:n]
}

func (r *request) ino() volume.Ino { return volume.Ino(r.node) }

// reply is the answer to a request, built in the reader's buffer: the header, then
// n bytes of body; or an errno without a body.
type reply struct {
	buf   []byte
	n     int
	errno syscall.Errno
	none  bool // FORGET and INTERRUPT have no reply
}

// body is where the answer goes, of at most max bytes.
func (p *reply) body() []byte { return p.buf[outHeaderLen:] }

func (p *reply) fail(errno syscall.Errno) { p.errno = errno }

// entry answers with the inode in c.attr.
func (p *reply) entry(c *call, errno syscall.Errno) {
	if errno != 0 {
		p.errno = errno
		return
	}
	if c.attr.Ino == 0 {
		putNoEntry(p.body())
	} else {
		putEntry(p.body(), &c.attr, c.fresh)
	}
	p.n = entryLen
}

// attr answers with the attributes in c.attr.
func (p *reply) attr(c *call, errno syscall.Errno) {
	if errno != 0 {
		p.errno = errno
		return
	}
	putAttrOut(p.body(), &c.attr, c.fresh)
	p.n = attrOutLen
}

// opened answers an open, behind what is there already.
func (p *reply) opened(handle uint64, flags uint32, errno syscall.Errno) {
	if errno != 0 {
		p.errno, p.n = errno, 0
		return
	}
	b := p.body()[p.n:]
	native.PutUint64(b, handle)
	native.PutUint32(b[8:], flags)
	native.PutUint32(b[12:], 0)
	p.n += openOutLen
}

// count answers with a number of bytes, in 8 bytes.
func (p *reply) count(n uint32, errno syscall.Errno) {
	if errno != 0 {
		p.errno = errno
		return
	}
	native.PutUint32(p.body(), n)
	native.PutUint32(p.body()[4:], 0)
	p.n = 8
}

func (p *reply) count64(n uint64, errno syscall.Errno) {
	if errno != 0 {
		p.errno = errno
		return
	}
	native.PutUint64(p.body(), n)
	p.n = 8
}

// finish makes the message.
func (p *reply) finish(unique uint64) []byte {
	if p.errno != 0 {
		p.n = 0 // never an error and a body
	}
	n := outHeaderLen + p.n
	putOutHeader(p.buf, n, -int32(p.errno), unique)
	return p.buf[:n]
}

// direntBuf is a dirSink in the kernel's form, struct fuse_dirent or
// fuse_direntplus; an entry is in whole or not at all.
type direntBuf struct {
	buf  []byte
	used int // by entries that have room, bytes
	n    int // written
	plus bool
}

func (d *direntBuf) reset(buf []byte, plus bool) { *d = direntBuf{buf: buf, plus: plus} }

func (d *direntBuf) size(name int) int {
	n := (direntLen + name + 7) &^ 7
	if d.plus {
		n += entryLen
	}
	return n
}

func (d *direntBuf) room(name int) bool {
	n := d.size(name)
	if d.used+n > len(d.buf) {
		return false
	}
	d.used += n
	return true
}

func (d *direntBuf) entry(e *volume.DirEntry, attr *volume.Attr) {
	size := d.size(len(e.Name))
	b := d.buf[d.n : d.n+size]
	d.n += size
	if d.plus {
		if attr != nil {
			putEntry(b, attr, true)
		} else {
			clear(b[:entryLen]) // inode 0: nothing but the entry
		}
		b = b[entryLen:]
	}
	native.PutUint64(b, uint64(e.Ino))
	native.PutUint64(b[8:], e.Cookie)
	native.PutUint32(b[16:], uint32(len(e.Name)))
	native.PutUint32(b[20:], e.Type>>12)
	clear(b[direntLen+copy(b[direntLen:], e.Name):])
}
