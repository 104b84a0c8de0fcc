package master

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/volume"
)

// holdFor is how long an op waits at a shut gate of a leader that goes on leading: then it is
// refused as on a node that follows.
const holdFor = 10 * time.Second

// Moved is the error of a change that was not made because the leader's reign has ended,
// or has not begun: nothing of it is left, and it can be asked of the next leader.
var Moved = volume.Errorf(volume.Fenced, "this node does not lead any more")

// Gate says when ops may enter a volume. It is the election's hand on the leaders of a
// node, one after the other, and outlives them. An op enters while the gate is open and
// the clock is below its bound, looked at when the op gets its place in the log; what
// comes while it is shut waits.
//
// A gate that is draining lets in what had come before it was shut, and nothing new.
type Gate struct {
	// clock is the clock of the bounds: one that goes on while the machine sleeps.
	clock func() time.Duration
	until atomic.Int64 // ns of the clock; 0 while shut. Read without mu

	mu       sync.Mutex
	last     time.Duration // the bound it was last open until
	draining bool
	shutAt   time.Time
	changed  chan struct{} // closed with the next change
}

// NewGate returns a gate that is shut.
func NewGate(clock func() time.Duration) *Gate {
	return &Gate{clock: clock, changed: make(chan struct{})}
}

// Open opens the gate until a time of its clock, or moves the bound.
func (g *Gate) Open(until time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.until.Swap(int64(until))
	g.last, g.draining = until, false
	if time.Duration(was) <= g.clock() { // nobody waits while it is open
		g.wakeLocked()
	}
}

// Shut shuts the gate.
func (g *Gate) Shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until.Swap(0) != 0 || g.shutAt.IsZero() {
		g.shutAt = time.Now()
	}
	g.draining = false
	g.wakeLocked()
}

// Await has what comes from now on wait its full time: a reign begins whose ops may enter soon,
// however long the gate has been shut.
func (g *Gate) Await() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until.Load() == 0 {
		g.shutAt = time.Now()
	}
}

// Drain lets those in who came before the gate was shut, as long as the last bound holds.
func (g *Gate) Drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.until.Load() == 0 {
		g.draining = true
		g.wakeLocked()
	}
}

func (g *Gate) wakeLocked() {
	close(g.changed)
	g.changed = make(chan struct{})
}

// open reports whether the gate was not shut. Its bound counts when an op enters.
func (g *Gate) open() bool { return g.until.Load() != 0 }

// wait waits until the gate is open, ctx ends (Interrupted), over is closed (Moved), or it was shut
// for too long (ReadOnly).
func (g *Gate) wait(ctx context.Context, over <-chan struct{}) error {
	timer := time.NewTimer(g.patience())
	defer timer.Stop()
	for {
		g.mu.Lock()
		changed := g.changed
		open := g.open()
		g.mu.Unlock()
		if open {
			return nil
		}
		select {
		case <-changed:
		case <-over:
			return Moved
		case <-timer.C:
			return volume.ReadOnly
		case <-ctx.Done():
			return volume.Interrupted
		}
	}
}

// patience is what is left of the time that ops wait at the gate.
func (g *Gate) patience() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shutAt.IsZero() {
		return holdFor
	}
	return max(0, holdFor-time.Since(g.shutAt))
}

// enter waits until an op may enter now; Moved if over is closed before, ReadOnly if that takes too
// long.
func (g *Gate) enter(over <-chan struct{}) error {
	var timeout <-chan time.Time
	for {
		select {
		case <-over:
			return Moved
		default:
		}
		if until := g.until.Load(); until != 0 && g.clock() < time.Duration(until) {
			return nil
		}
		g.mu.Lock()
		changed := g.changed
		may := g.draining && g.clock() < g.last || g.clock() < time.Duration(g.until.Load())
		g.mu.Unlock()
		if may {
			return nil
		}
		if timeout == nil {
			timeout = time.After(holdFor)
		}
		select {
		case <-changed:
		case <-over:
			return Moved
		case <-timeout:
			return volume.ReadOnly
		}
	}
}
