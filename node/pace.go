package node

import (
	"context"
	"sync"
	"time"

	"wolfdisk/volume"
)

const (
	// paceWindow is how often a leader looks whether it is being written.
	paceWindow = 50 * time.Millisecond
	// paceOps is from how many ops a second on it is.
	paceOps = 200
	// paceRest is how long content for a copy rests after it was served, while the leader is
	// being written, in times of what serving took: writers keep at least 0.7 of their
	// speed, also with the copying node on the same machine.
	paceRest = 8
	// paceMost bounds a rest, so that a slow line is not taken for work.
	paceMost = 250 * time.Millisecond
)

// pace lets those who write a leader go before those who copy it.
type pace struct {
	turn chan struct{} // held by the request that is served while the leader is written

	mu   sync.Mutex
	at   time.Time // when the version was last looked at
	v    volume.Version
	busy bool
}

func newPace() *pace { return &pace{turn: make(chan struct{}, 1)} }

// written reports whether the leader, which is at version v now, is being written.
func (p *pace) written(now time.Time, v volume.Version) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if since := now.Sub(p.at); p.at.IsZero() || v < p.v || since > 20*paceWindow {
		p.at, p.v, p.busy = now, v, false // too long ago to say
	} else if since >= paceWindow {
		p.busy = float64(v-p.v) >= paceOps*since.Seconds()
		p.at, p.v = now, v
	}
	return p.busy
}

// serve serves content: at once while nobody writes, else one request at a time and with
// rests. v is how far the leader is.
func (p *pace) serve(ctx context.Context, v volume.Version, fn func() error) error {
	if !p.written(time.Now(), v) {
		return fn()
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return volume.Errorf(volume.Interrupted, "serve content: %w", context.Cause(ctx))
	}
	began := time.Now()
	err := fn()
	rest := time.NewTimer(min(paceRest*time.Since(began), paceMost))
	defer rest.Stop()
	select {
	case <-rest.C:
	case <-ctx.Done():
	}
	return err
}
