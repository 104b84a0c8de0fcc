package node

import (
	"math"
	"sync"

	"wolfdisk/index"
	"wolfdisk/volume"
)

// holds is what must not be removed because somebody still reads it: ops of the log
// from a version on, and all that a snapshot of the index points to. Retention and
// collection ask it, see retain.go.
type holds struct {
	mu       sync.Mutex
	next     int
	versions map[int]volume.Version
	snaps    map[int]*index.Snapshot
	syncs    int
}

// sync says that a copy is being made, whose chunks nothing points to yet.
func (h *holds) sync() (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.syncs++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.syncs--
	}
}

// syncing reports whether a copy is being made, so that no chunk may be collected.
func (h *holds) syncing() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.syncs > 0
}

// log keeps the ops behind version v in the log until release is called.
func (h *holds) log(v volume.Version) (release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.versions == nil {
		h.versions = map[int]volume.Version{}
	}
	h.next++
	id := h.next
	h.versions[id] = v
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		delete(h.versions, id)
	}
}

// snapshot keeps the content that a snapshot points to, in segments and in chunks,
// until release is called; release also closes the snapshot.
func (h *holds) snapshot(s *index.Snapshot) (release func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.snaps == nil {
		h.snaps = map[int]*index.Snapshot{}
	}
	h.next++
	id := h.next
	h.snaps[id] = s
	return func() error {
		h.mu.Lock()
		delete(h.snaps, id)
		h.mu.Unlock()
		return s.Close()
	}
}

// oldest is the version behind which the log must stay.
func (h *holds) oldest() volume.Version {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := volume.Version(math.MaxUint64)
	for _, w := range h.versions {
		v = min(v, w)
	}
	return v
}
