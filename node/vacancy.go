package node

import (
	"context"
	"sync"
	"time"

	"wolfdisk/volume"
)

// holdFor is how long after a leader was lost changes wait for the next one before they are
// refused, as on a follower: several times what a take-over takes.
const holdFor = 10 * time.Second

// graceFor is how long after this node has led changes are forwarded as if they had come before:
// the kernel holds some back (one directory takes one change at a time) that applications
// asked for when it still led.
const graceFor = 2 * time.Second

// vacancy knows whether this node knows a leader. While it knows none, changes wait, for a
// while.
type vacancy struct {
	mu      sync.Mutex
	since   time.Time // of the vacancy; zero while somebody leads
	suspect bool      // that it is one is not certain yet
	led     bool      // this node led before it
	grace   time.Time // until when changes are forwarded
	next    *turn
	closed  bool // the node stops: nothing waits any more
}

// turn is the end of a vacancy.
type turn struct {
	done chan struct{} // closed by it
	err  error         // what those who waited are answered; nil: they ask again
}

func newVacancy() *vacancy {
	return &vacancy{since: time.Now(), next: &turn{done: make(chan struct{})}}
}

// begin notes that nobody leads, and whether this node has led until now.
func (v *vacancy) begin(led bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.led, v.suspect = v.led || led, false
	if v.since.IsZero() {
		v.since = time.Now()
	}
}

// lost notes that the connection to the leader is lost: it may be dead, and changes wait until
// that is known.
func (v *vacancy) lost() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.since.IsZero() {
		v.since, v.suspect = time.Now(), true
	}
}

// back notes that the connection to the leader is there again. If nothing else has happened, the leader
// was never gone, and what waits is refused as it would have been.
func (v *vacancy) back() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.suspect {
		v.since, v.suspect = time.Time{}, false
		v.wakeLocked(volume.ReadOnly)
	}
}

func (v *vacancy) wakeLocked(err error) {
	v.next.err = err
	close(v.next.done)
	v.next = &turn{done: make(chan struct{})}
}

// end notes that somebody leads: what waits is asked again.
func (v *vacancy) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.since, v.suspect = time.Time{}, false
	if v.led {
		v.led, v.grace = false, time.Now().Add(graceFor)
	}
	v.wakeLocked(nil)
}

// close lets go of whatever waits, for good.
func (v *vacancy) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.closed {
		v.closed = true
		v.wakeLocked(errAskedToStop)
	}
}

// await waits for a turn for as long as ctx lives, or the node.
func (v *vacancy) await(ctx context.Context, turn *turn) error {
	v.mu.Lock()
	closed := v.closed
	v.mu.Unlock()
	if closed {
		return errAskedToStop
	}
	select {
	case <-turn.done:
		if turn.err == errAskedToStop {
			return turn.err
		}
		return nil
	case <-ctx.Done():
		return volume.Interrupted
	}
}

// held reports whether a change that comes now is to wait.
func (v *vacancy) held() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.since.IsZero() && time.Since(v.since) < holdFor
}

// graceful reports whether a change that comes now counts as one from before.
func (v *vacancy) graceful() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return !v.grace.IsZero() && time.Now().Before(v.grace)
}

// turn is the end of the present vacancy, or of the next one.
func (v *vacancy) turn() *turn {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.next
}

// wait waits for a turn; ReadOnly when that takes too long, Interrupted if ctx ends.
func (v *vacancy) wait(ctx context.Context, turn *turn) error {
	v.mu.Lock()
	left := holdFor
	if !v.since.IsZero() {
		left -= time.Since(v.since)
	}
	v.mu.Unlock()
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-turn.done:
		return turn.err
	case <-t.C:
		return volume.ReadOnly
	case <-ctx.Done():
		return volume.Interrupted
	}
}
