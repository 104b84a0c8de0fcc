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
	since   time.Time     // of the vacancy; zero while somebody leads
	led     bool          // this node led before it
	grace   time.Time     // until when changes are forwarded
	changed chan struct{} // closed at the next change
}

func newVacancy() *vacancy { return &vacancy{since: time.Now(), changed: make(chan struct{})} }

// begin notes that nobody leads, and whether this node has led until now.
func (v *vacancy) begin(led bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.led = v.led || led
	if v.since.IsZero() {
		v.since = time.Now()
	}
}

// end notes that somebody leads: what waits is asked again.
func (v *vacancy) end() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.since = time.Time{}
	if v.led {
		v.led, v.grace = false, time.Now().Add(graceFor)
	}
	close(v.changed)
	v.changed = make(chan struct{})
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

// turn is closed when somebody leads that did not before.
func (v *vacancy) turn() <-chan struct{} {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.changed
}

// wait waits for a turn; ReadOnly when that takes too long, Interrupted if ctx ends.
func (v *vacancy) wait(ctx context.Context, turn <-chan struct{}) error {
	v.mu.Lock()
	left := holdFor
	if !v.since.IsZero() {
		left -= time.Since(v.since)
	}
	v.mu.Unlock()
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-turn:
		return nil
	case <-t.C:
		return volume.ReadOnly
	case <-ctx.Done():
		return volume.Interrupted
	}
}
