package fusefs

import (
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"wolfdisk/volume"
)

// appendPatience is how long a piece of an append waits for one before it that the kernel has
// handed out, but whose reader has not got here yet. It is waited out only where it is not clear where
// the end is: after others have changed the file, or if a piece failed.
const appendPatience = 50 * time.Millisecond

// appends keep the pieces of a direct write to the end of a file in order. The kernel makes such a
// write of more than one request into several that are there at once (ASYNC_DIO), each with the offset
// that it would have if the kernel knew the end; several readers take them, in the kernel's order, but
// then may overtake one another. As the kernel holds the inode's lock for the whole of the write, the
// pieces on their way are of one write. So one is written at a time, and what is not the
// continuation of the one before waits for that, for appendPatience.
//
// Where the first piece is cannot be told for sure, since the kernel's end may be another than the
// volume's: somebody else appended, and the kernel does not know yet. What is in doubt waits.
type appends struct {
	some atomic.Bool // m is not empty

	mu sync.Mutex // leaf lock; guards all below
	m  map[volume.Ino]*appending
}

// appending is where the appends of a file are. It is kept while the file is open.
type appending struct {
	busy    bool   // a piece is being written
	began   bool   // the rest is known
	next    uint64 // where the kernel holds the end to be
	end     uint64 // where it is
	seen    uint64 // core.observed at that time
	turns   uint64 // how many pieces have been written
	waiting []*piece
}

type piece struct {
	off  uint64
	turn chan struct{} // closed when it is its turn
}

// first reports whether a piece is the first of a write, or the next, when none is being written. size
// is the file's; foreign, whether others have changed something since the last piece.
func (a *appending) first(off, size uint64, foreign bool) bool {
	switch {
	case !a.began:
		return off == size
	case size == a.end && size >= a.next:
		return off == a.next
	case size == a.end:
		return off == size
	}
	return off == size && (size < a.next || !foreign)
}

// lowest reports whether no piece that waits is before off.
func (a *appending) lowest(off uint64) bool {
	for _, q := range a.waiting {
		if q.off < off {
			return false
		}
	}
	return true
}

// leave takes p out of those that wait; false if it has been given its turn.
func (a *appending) leave(p *piece) bool {
	for i, q := range a.waiting {
		if q == p {
			a.waiting = append(a.waiting[:i], a.waiting[i+1:]...)
			return true
		}
	}
	return false
}

func (s *appends) of(ino volume.Ino) *appending {
	a := s.m[ino]
	if a == nil {
		if s.m == nil {
			s.m = map[volume.Ino]*appending{}
		}
		a = new(appending)
		s.m[ino] = a
		s.some.Store(true)
	}
	return a
}

// appendPiece writes a piece of a direct append in its turn.
func (k *core) appendPiece(c *call, ino volume.Ino, data []byte, off uint64, kill bool) (int, syscall.Errno) {
	if errno := k.awaitTurn(c, ino, off); errno != 0 {
		return 0, errno
	}
	n, errno := k.write(c, ino, data, off, true, kill)
	k.appends.wrote(ino, off+uint64(len(data)), uint64(c.attr.Size), k.observed.Load(), errno == 0 && n == len(data))
	return n, errno
}

// awaitTurn returns when the piece at off may be written; wrote has to follow, unless there is an error.
func (k *core) awaitTurn(c *call, ino volume.Ino, off uint64) syscall.Errno {
	attr, err := k.vol.GetAttr(c.ctx, ino)
	if err != nil {
		return k.fail(c, "write", ino, err)
	}
	s := &k.appends
	s.mu.Lock()
	a := s.of(ino)
	if !a.busy && a.lowest(off) && a.first(off, uint64(attr.Size), k.observed.Load() != a.seen) {
		a.busy = true
		s.mu.Unlock()
		return 0
	}
	p := &piece{off: off, turn: make(chan struct{})}
	a.waiting = append(a.waiting, p)
	turns := a.turns
	s.mu.Unlock()
	for {
		select {
		case <-p.turn:
			return 0
		case <-c.ctx.Done():
			s.mu.Lock()
			waited := a.leave(p)
			s.mu.Unlock()
			if !waited {
				return 0 // it is its turn just now, and the volume will see the context
			}
			return syscall.EINTR
		case <-time.After(appendPatience):
		}
		s.mu.Lock()
		if !a.busy && a.turns == turns && a.lowest(off) && a.leave(p) {
			a.busy = true
			s.mu.Unlock()
			return 0
		}
		turns = a.turns
		s.mu.Unlock()
	}
}

// wrote ends the turn of a piece, next being where the kernel believes the one behind it to be.
func (s *appends) wrote(ino volume.Ino, next, end, seen uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.of(ino)
	a.turns++
	a.busy, a.began, a.next, a.end, a.seen = false, ok, next, end, seen
	for _, p := range a.waiting {
		if p.off == next {
			a.leave(p)
			a.busy = true
			close(p.turn)
			return
		}
	}
}

// closed forgets an inode that nobody has open any more.
func (s *appends) closed(ino volume.Ino, open func(volume.Ino) bool) {
	if !s.some.Load() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.m[ino]; a != nil && !a.busy && len(a.waiting) == 0 && !open(ino) {
		delete(s.m, ino)
		s.some.Store(len(s.m) > 0)
	}
}
