package slave

import (
	"context"
	"sync"

	"wolfdisk/index"
	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// frameHolds keep frames behind a version waiting, so that this follower can be looked at
// exactly there. The leader is held back by the session's flow control meanwhile.
type frameHolds struct {
	mu      sync.Mutex
	list    map[*Hold]volume.Version // how far each lets frames in
	changed chan struct{}            // closed when a hold lets more in, or a frame was applied
}

// Hold keeps a follower from going beyond a version until it is released.
type Hold struct{ f *Follower }

// Hold stops the follower where it is and says where that is. It waits for the frame
// at work.
func (f *Follower) Hold() (*Hold, volume.Version, error) {
	f.recvMu.Lock()
	defer f.recvMu.Unlock()
	if f.stopped != nil {
		return nil, 0, f.stopped
	}
	h, v := &Hold{f}, volume.Version(f.applied.Load())
	f.held.mu.Lock()
	defer f.held.mu.Unlock()
	if f.held.list == nil {
		f.held.list = map[*Hold]volume.Version{}
	}
	f.held.list[h] = v
	return h, v, nil
}

// Snapshot lets the follower go on until it is exactly at version v, which must be the
// end of a frame, and takes the index there. The follower stays held.
func (h *Hold) Snapshot(ctx context.Context, v volume.Version) (*index.Snapshot, error) {
	f := h.f
	f.held.mu.Lock()
	if _, ok := f.held.list[h]; ok {
		f.held.list[h] = v
	}
	f.held.wakeLocked()
	f.held.mu.Unlock()
	for {
		changed := f.held.wait()
		at := volume.Version(f.applied.Load())
		if at >= v {
			return h.take(v)
		}
		if err := f.Failed(); err != nil {
			return nil, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, volume.Errorf(volume.Unavailable, "this node is at version %d and has not come to %d: %w", at, v, context.Cause(ctx))
		}
	}
}

func (h *Hold) take(v volume.Version) (*index.Snapshot, error) {
	h.f.recvMu.Lock()
	defer h.f.recvMu.Unlock()
	s, err := h.f.Snapshot()
	if err != nil {
		return nil, err
	}
	if at := s.Position().Version; at != v {
		err := volume.Errorf(volume.Unavailable, "this node is at version %d and cannot be looked at as it was at %d", at, v)
		if cerr := s.Close(); cerr != nil {
			err = cerr
		}
		return nil, err
	}
	return s, nil
}

// Release lets the follower go on. It may be called again.
func (h *Hold) Release() {
	w := &h.f.held
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.list, h)
	w.wakeLocked()
}

// wait returns what is closed with the next change.
func (w *frameHolds) wait() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changed == nil {
		w.changed = make(chan struct{})
	}
	return w.changed
}

func (w *frameHolds) wakeLocked() {
	if w.changed != nil {
		close(w.changed)
		w.changed = nil
	}
}

// wake tells those who wait that a frame was applied.
func (w *frameHolds) wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wakeLocked()
}

// blocks reports whether a hold keeps a version out.
func (w *frameHolds) blocks(v volume.Version) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, until := range w.list {
		if v > until {
			return true
		}
	}
	return false
}

// lockFor gets recvMu for a frame, as soon as no hold keeps it out. On an error
// it is not locked.
func (f *Follower) lockFor(ctx context.Context, frame []byte) error {
	f.recvMu.Lock()
	for f.stopped == nil {
		if !f.held.keepsOut(frame) {
			return nil
		}
		changed := f.held.wait()
		if !f.held.keepsOut(frame) { // looked at again, so that no change is missed
			return nil
		}
		f.recvMu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return volume.Errorf(volume.Interrupted, "take a frame: %w", context.Cause(ctx))
		}
		f.recvMu.Lock()
	}
	defer f.recvMu.Unlock()
	return f.stopped
}

// keepsOut is blocks for a frame. One whose header says nothing is let in, to be refused.
func (w *frameHolds) keepsOut(frame []byte) bool {
	w.mu.Lock()
	held := len(w.list) > 0
	w.mu.Unlock()
	if !held {
		return false
	}
	h, err := oplog.ParseHeader(frame)
	return err == nil && w.blocks(h.Last)
}

// Quiet calls fn while no op is being applied here. What content and index say then
// belongs together.
func (f *Follower) Quiet(_ []volume.Ino, fn func() error) error {
	f.recvMu.Lock()
	defer f.recvMu.Unlock()
	return fn()
}
