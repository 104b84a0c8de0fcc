package fusefs

import (
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxWaiters bounds the readers that handle what may wait for something outside, for as long as that
// takes: the others are for reading, for attributes, and for what the kernel says without
// waiting for an answer.
const maxWaiters = maxReaders - 8

// parked are the requests that would be one too many of those. They wait here, without a reader, and
// are handled by readers that have done with another one.
type parked struct {
	waiters atomic.Int32 // readers that handle what may wait
	some    atomic.Bool  // queue is not empty

	mu    sync.Mutex // leaf lock; guards all below
	queue [][]byte   // copies of messages
	ended bool       // the connection is broken: nothing is handled any more
}

// mayWait reports whether a message asks for something that may have to wait for other nodes: a
// change, or that changes are durable.
func mayWait(msg []byte) bool {
	if len(msg) < inHeaderLen {
		return false
	}
	switch native.Uint32(msg[4:]) {
	case opSetattr, opSymlink, opMknod, opMkdir, opUnlink, opRmdir, opRename, opRename2, opLink, opWrite, opCreate, opTmpfile,
		opSetxattr, opRemovexattr, opFallocate, opCopyRange, opCopyRange64, opFsync, opFsyncdir, opFlush, opSyncfs, opRelease:
		return true
	case opOpen:
		return len(msg) >= inHeaderLen+4 && native.Uint32(msg[inHeaderLen:])&uint32(unix.O_ACCMODE|unix.O_TRUNC) != 0
	}
	return false
}

// begin reports whether a message that may wait can be handled by who has it; otherwise it is parked.
func (p *parked) begin(msg []byte) bool {
	if p.waiters.Add(1) <= maxWaiters {
		return true
	}
	p.mu.Lock()
	if !p.ended {
		p.queue = append(p.queue, slices.Clone(msg))
		p.some.Store(true)
	}
	p.mu.Unlock()
	return false
}

// next ends what begin began, whatever that said, and copies the next message into buf, if there is one
// that can be handled now; as with begin, next has to follow.
func (p *parked) next(buf []byte) (n int) {
	p.waiters.Add(-1)
	if !p.some.Load() {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 || p.waiters.Load() >= maxWaiters {
		return 0
	}
	p.waiters.Add(1)
	n = copy(buf, p.queue[0])
	p.remove(0)
	return n
}

func (p *parked) remove(i int) {
	p.queue = slices.Delete(p.queue, i, i+1)
	p.some.Store(len(p.queue) > 0)
}

// caller returns who made the parked request with a number.
func (p *parked) caller(unique uint64) (pid uint32, ok bool) {
	if !p.some.Load() {
		return 0, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(unique)
	if i < 0 {
		return 0, false
	}
	return decodeHeader(p.queue[i]).pid, true
}

// take takes a request out of the queue; false if it is not there any more.
func (p *parked) take(unique uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := p.find(unique)
	if i < 0 {
		return false
	}
	p.remove(i)
	return true
}

func (p *parked) find(unique uint64) int {
	return slices.IndexFunc(p.queue, func(msg []byte) bool { return decodeHeader(msg).unique == unique })
}

// end drops what is parked: the kernel has given it up.
func (p *parked) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue, p.ended = nil, true
	p.some.Store(false)
}

// abort breaks the connection. What was parked would wait again where others have just been let go.
func (d *bazil) abort() error {
	err := d.mountPointOps.abort()
	d.parked.end()
	return err
}

// refuse answers a request that was parked, and whose caller is to be killed.
func (d *bazil) refuse(unique uint64) {
	var b [outHeaderLen]byte
	putOutHeader(b[:], len(b), -int32(syscall.EINTR), unique)
	if err := d.write(b[:]); err != nil {
		d.log.Debug().Err(err).Msg("answer the kernel")
	}
}
