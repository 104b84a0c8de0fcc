package fusefs

import (
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/volume"
)

const (
	// repeatFor is how long what a repeated path leads to is kept.
	repeatFor = time.Second
	// maxRepeats bounds the threads whose paths are being repeated, and what is kept for
	// one of them. A thread more gets ESTALE more easily.
	maxRepeats = 256
)

// repeats are the threads that were just told that an inode has ended. When a path leads to such an
// inode, the kernel looks the whole path up again, once, and gives ESTALE to the application if that
// ends, too, before it is opened. No local file system says that. So what such a thread looks
// up is kept for a moment: it is open, as if it had been opened at once.
type repeats struct {
	any atomic.Bool // there may be some
	mu  sync.Mutex  // leaf lock
	m   map[uint32]repeat
}

type repeat struct {
	until time.Time
	left  int // of maxRepeats
}

func (r *repeats) note(thread uint32, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pruneLocked(now)
	if r.m == nil {
		r.m = map[uint32]repeat{}
	}
	if _, again := r.m[thread]; again || len(r.m) < maxRepeats {
		r.m[thread] = repeat{now.Add(repeatFor), maxRepeats}
		r.any.Store(true)
	}
}

// take reports whether a thread's path may be being repeated.
func (r *repeats) take(thread uint32) bool {
	if !r.any.Load() {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pruneLocked(time.Now())
	e, ok := r.m[thread]
	if !ok || e.left == 0 {
		return false
	}
	e.left--
	r.m[thread] = e
	return true
}

func (r *repeats) pruneLocked(now time.Time) {
	for thread, e := range r.m {
		if now.After(e.until) {
			delete(r.m, thread)
		}
	}
	if len(r.m) == 0 {
		r.any.Store(false)
	}
}

// keepRepeated keeps the inode in c.attr, which was just looked up, if the path may be one that the
// kernel repeats. Stale if it has ended already.
func (k *core) keepRepeated(c *call) error {
	if !k.repeats.take(c.caller.PID) {
		return nil
	}
	ino := c.attr.Ino
	if err := k.vol.Open(c.ctx, ino, false); err != nil {
		if volume.KindOf(err) == volume.Stale {
			k.undo(c)
			return err
		}
		return nil // who opens it hears why
	}
	k.nodes.open(ino, false)
	time.AfterFunc(repeatFor, func() {
		if k.nodes.release(ino) { // the mount is there
			k.closeKept(ino)
		}
	})
	return nil
}
