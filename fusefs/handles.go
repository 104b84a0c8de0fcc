package fusefs

import (
	"sync"
	"sync/atomic"
	"syscall"

	"wolfdisk/volume"
)

// handles tell an open file from one that was opened before what it showed was given up: the copy
// on this node lost a fork, and the file is another one now, with the same inode ID. The handle that
// the kernel is given of a file is the number of times this has happened.
type handles struct {
	term atomic.Uint64
	some atomic.Bool // lost is not empty

	mu   sync.Mutex
	lost map[volume.Ino]uint64 // handles of the inode below this are stale; until it is closed by all
}

// disown makes the handles stale that there are of inodes, of every inode if all.
func (k *core) disown(inos []volume.Ino, all bool) {
	h := &k.handles
	h.mu.Lock()
	defer h.mu.Unlock()
	term := h.term.Add(1)
	if h.lost == nil {
		h.lost = map[volume.Ino]uint64{}
	}
	if all {
		inos = k.nodes.opened()
	}
	for _, ino := range inos {
		if k.nodes.isOpen(ino) {
			h.lost[ino] = term
		}
	}
	h.some.Store(len(h.lost) > 0)
}

// owned is ESTALE for a handle that was disowned.
func (k *core) owned(ino volume.Ino, handle uint64) syscall.Errno {
	h := &k.handles
	if !h.some.Load() {
		return 0
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if handle < h.lost[ino] {
		return syscall.ESTALE
	}
	return 0
}

// closed forgets an inode that nobody has open any more.
func (k *core) closed(ino volume.Ino) {
	h := &k.handles
	if !h.some.Load() {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if !k.nodes.isOpen(ino) {
		delete(h.lost, ino)
		h.some.Store(len(h.lost) > 0)
	}
}

// disowned is ESTALE for a request on a handle that was disowned. A directory can be listed all the same; only
// that its names are durable is not said of others.
func (k *core) disowned(r *request) syscall.Errno {
	if !k.handles.some.Load() {
		return 0
	}
	b := r.body
	at := 0 // of the handle in the request
	switch r.opcode {
	case opFsyncdir:
		if len(b) < 8 {
			return 0 // who decodes it says so
		}
		return k.owned(r.ino(), native.Uint64(b)>>termShift)
	case opRead, opWrite, opFlush, opFsync, opFallocate, opLseek, opCopyRange, opCopyRange64:
	case opSetattr:
		if len(b) < 4 || native.Uint32(b)&fattrFH == 0 {
			return 0
		}
		at = 8
	default:
		return 0
	}
	if len(b) < at+8 {
		return 0 // who decodes it says so
	}
	errno := k.owned(r.ino(), native.Uint64(b[at:]))
	if (r.opcode == opCopyRange || r.opcode == opCopyRange64) && errno == 0 && len(b) >= 32 {
		errno = k.owned(volume.Ino(native.Uint64(b[16:])), native.Uint64(b[24:]))
	}
	return errno
}
