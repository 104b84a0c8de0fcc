package wire

import (
	"context"
	"sync"

	"wolfdisk/volume"
)

// Flow control. Whoever receives grants bytes and takes note of what arrives
// (window); whoever sends spends them (credit). What is granted is what the
// receiver is ready to hold, so memory is bounded whatever the peer does, and a
// reader never has to stop reading: no two nodes can wait for each other.

// acquire takes a slot of a semaphore: a channel that is full when nothing is left.
// What has ended wins over a slot that is free.
func acquire(ctx context.Context, done <-chan struct{}, sem chan struct{}) error {
	select {
	case <-done:
		return errEnded
	case <-ctx.Done():
		return interrupted(ctx)
	default:
	}
	select {
	case sem <- struct{}{}:
		return nil
	case <-ctx.Done():
		return interrupted(ctx)
	case <-done:
		return errEnded
	}
}

func interrupted(ctx context.Context) error {
	return volume.Errorf(volume.Interrupted, "wait for the session: %w", context.Cause(ctx))
}

func release(sem chan struct{}) { <-sem }

// errEnded stands for the error that ended the session, which its methods put in
// its place.
var errEnded = volume.Errorf(volume.Closed, "the session has ended")

// credit is what may still be sent.
type credit struct {
	turn chan struct{} // held by the one who waits: first come, first served

	mu    sync.Mutex
	avail int64
	full  int64         // the first grant: the size of the receiver's window
	more  chan struct{} // capacity 1, filled by every grant
}

func newCredit(avail int64) *credit {
	return &credit{turn: make(chan struct{}, 1), avail: avail, full: avail, more: make(chan struct{}, 1)}
}

// take waits until at least least bytes may be sent, and takes up to want of them.
// Without least (0) it waits for half a window or all of want, to keep pieces large.
func (c *credit) take(ctx context.Context, done <-chan struct{}, least, want int) (int, error) {
	if err := acquire(ctx, done, c.turn); err != nil {
		return 0, err
	}
	defer release(c.turn)
	for {
		if n := c.try(least, want); n > 0 {
			return n, nil
		}
		select {
		case <-c.more:
		case <-ctx.Done():
			return 0, interrupted(ctx)
		case <-done:
			return 0, errEnded
		}
	}
}

func (c *credit) try(least, want int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if least == 0 {
		least = min(want, int(max(c.full/2, 1)))
	}
	if c.avail < int64(least) {
		return 0
	}
	n := min(want, int(c.avail))
	c.avail -= int64(n)
	return n
}

// grant adds what the receiver is ready to take; false if that is beyond reason.
func (c *credit) grant(n uint32) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n == 0 || c.avail+int64(n) > maxWindow {
		return false
	}
	c.avail += int64(n)
	if c.full == 0 {
		c.full = int64(n)
	}
	select {
	case c.more <- struct{}{}:
	default:
	}
	return true
}

// window is the receiver's account of what it granted.
type window struct {
	size int

	mu   sync.Mutex
	held int // received and not yet granted again
	free int // of it, what was consumed
}

// receive notes n bytes; false if they were never granted.
func (w *window) receive(n int) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held += n
	return w.held <= w.size
}

// consume notes that n bytes are no longer held, and returns what to grant again:
// nothing until it is a quarter of the window. So the sender always ends up with
// more than three quarters, and grants are few.
func (w *window) consume(n int) uint32 {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.free += n
	if w.free < max(w.size/4, 1) {
		return 0
	}
	n, w.free = w.free, 0
	w.held -= n
	return uint32(n)
}
