package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// buffers are a reader's own. The kernel wants room for the largest request before
// it gives any.
type buffers struct {
	in, out []byte
	dirents direntBuf
}

func newBuffers() *buffers {
	return &buffers{in: make([]byte, 4096+maxData), out: make([]byte, outHeaderLen+maxData+statxOutLen)}
}

// handle answers one message.
func (d *bazil) handle(c *call, buf *buffers, n int) {
	if n < inHeaderLen {
		d.log.Error().Int("len", n).Msg("short request from the kernel")
		return
	}
	r := request{inHeader: decodeHeader(buf.in), body: buf.in[inHeaderLen:n]}
	op := r.opcode
	if op >= opcodeEnd || opcodeNames[op] == "" {
		op = 0
	}
	c.stats.byOp[op].Add(1)
	if d.unanswered(&r) {
		return
	}
	p := reply{buf: buf.out}
	c.begin(r.unique, r.uid, r.gid, r.pid)
	d.k.dispatch(c, &r, &p, &buf.dirents)
	c.end()
	if p.errno != 0 {
		c.stats.errors.Add(1)
	}
	if err := d.write(p.finish(r.unique)); err != nil {
		d.k.undo(c)
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
			d.log.Error().Err(err).Str("op", opcodeNames[op]).Msg("answer the kernel")
		}
	}
}

// unanswered handles requests that have no reply.
func (d *bazil) unanswered(r *request) bool {
	switch r.opcode {
	case opForget:
		d.k.forget(r.node, native.Uint64(r.take(8)))
	case opBatchForget:
		count := native.Uint32(r.take(8))
		for ; count > 0 && !r.bad; count-- {
			b := r.take(16)
			if !r.bad {
				d.k.forget(native.Uint64(b), native.Uint64(b[8:]))
			}
		}
	case opInterrupt:
		unique := native.Uint64(r.take(8))
		go d.interrupted(unique)
	default:
		return false
	}
	return true
}

// write sends one message. A reply is taken whole or not at all.
func (d *bazil) write(msg []byte) error {
	for {
		_, err := unix.Write(d.fd, msg)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// interrupted cancels a request if its caller is to be killed. Other signals do not
// end an operation on a file, here as on every local file system; but since the kernel
// tells only of the first, this looks again until the request is done.
func (d *bazil) interrupted(unique uint64) {
	missing := 0
	for delay := 5 * time.Millisecond; ; delay = min(2*delay, 500*time.Millisecond) {
		x, pid := d.k.calls.find(unique)
		waiting, isParked := d.parked.caller(unique)
		switch {
		case isParked:
			missing = 0
			if killed(waiting) && d.parked.take(unique) {
				d.refuse(unique)
				return
			}
		case x == nil:
			if missing++; missing > 1 {
				return // answered; once it may just not have begun
			}
		case killed(pid):
			x.cancel(unique)
			return
		}
		select {
		case <-d.gone:
			return
		case <-time.After(delay):
		}
	}
}

// killed reports whether a thread has a fatal signal pending. The kernel turns those
// into SIGKILL.
func killed(pid uint32) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for _, key := range []string{"SigPnd:\t", "ShdPnd:\t"} {
		_, rest, ok := bytes.Cut(status, []byte(key))
		var set uint64
		if ok {
			if _, err := fmt.Sscanf(string(rest[:min(16, len(rest))]), "%x", &set); err == nil && set>>(uint(unix.SIGKILL)-1)&1 != 0 {
				return true
			}
		}
	}
	return false
}

// tell sends a notice. Nobody waits for the notifier's workers at the end, so one may
// come when the device is closed and its number another file's.
func (d *bazil) tell(msg []byte) error {
	d.notices.RLock()
	defer d.notices.RUnlock()
	if d.closed {
		return unix.ENODEV
	}
	return d.write(msg)
}

func (d *bazil) invalInode(ino volume.Ino, off, n int64) error {
	var b [outHeaderLen + 24]byte
	putOutHeader(b[:], len(b), notifyInvalInode, 0)
	native.PutUint64(b[16:], uint64(ino))
	native.PutUint64(b[24:], uint64(off))
	native.PutUint64(b[32:], uint64(n))
	return d.tell(b[:])
}

func (d *bazil) invalEntry(dir volume.Ino, name string) error {
	b := make([]byte, outHeaderLen+16+len(name)+1)
	putOutHeader(b, len(b), notifyInvalEntry, 0)
	native.PutUint64(b[16:], uint64(dir))
	native.PutUint32(b[24:], uint32(len(name)))
	copy(b[32:], name)
	return d.tell(b)
}

func (d *bazil) incEpoch() error {
	var b [outHeaderLen]byte
	putOutHeader(b[:], len(b), notifyIncEpoch, 0)
	return d.tell(b[:])
}
