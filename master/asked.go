package master

import (
	"context"
	"sync"

	"wolfdisk/volume"
)

// askedTable holds the forwarded requests at work: a repeat that comes meanwhile waits for
// its end, and then finds the answer in the index, or none if there was an error.
type askedTable struct {
	mu sync.Mutex
	m  map[askedKey]chan struct{} // closed at the end
}

type askedKey struct {
	client string
	seq    uint64
}

func (t *askedTable) init() { t.m = make(map[askedKey]chan struct{}) }

// enter waits until no other request of the same name is at work; done ends this one. If
// the caller gives up it is Interrupted, also where there was nothing to wait for: what
// a lost session has left in a queue must not be done when its repeat was refused and
// the application has been told.
func (t *askedTable) enter(ctx context.Context, c *volume.Caller) (done func(), err error) {
	key := askedKey{c.Client, c.Seq}
	for {
		if ctx.Err() != nil {
			return nil, volume.Errorf(volume.Interrupted, "request %d of node %s: %w", c.Seq, c.Client, context.Cause(ctx))
		}
		t.mu.Lock()
		other := t.m[key]
		if other == nil {
			mine := make(chan struct{})
			t.m[key] = mine
			t.mu.Unlock()
			return func() {
				t.mu.Lock()
				defer t.mu.Unlock()
				delete(t.m, key)
				close(mine)
			}, nil
		}
		t.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
		}
	}
}
