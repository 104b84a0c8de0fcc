package node

import (
	"errors"
	"maps"
	"math"
	"slices"
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
	snaps    map[int]*held
	syncs    int

	// collecting is held while chunks are collected, so that no copy begins; above mu.
	collecting sync.Mutex
}

// held is a snapshot that is being read.
type held struct {
	s *index.Snapshot

	mu   sync.RWMutex // held for reading by those who look into it beside its owner
	gone bool

	known  bool   // oldest is; guarded by holds.mu
	oldest uint64 // segment it points into
}

// look calls fn unless the snapshot has been released.
func (x *held) look(fn func(*index.Snapshot) error) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.gone {
		return nil
	}
	return fn(x.s)
}

// sync says that a copy is being made, whose chunks nothing points to yet.
func (h *holds) sync() (release func()) {
	h.collecting.Lock()
	defer h.collecting.Unlock()
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

// take takes a snapshot, and keeps the content that it points to, in segments and in
// chunks, until release is called; release also closes the snapshot.
func (h *holds) take(e *index.Engine) (s *index.Snapshot, release func() error, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if s, err = e.Snapshot(); err != nil {
		return nil, nil, err
	}
	if h.snaps == nil {
		h.snaps = map[int]*held{}
	}
	h.next++
	id, x := h.next, &held{s: s}
	h.snaps[id] = x
	return s, func() error {
		h.mu.Lock()
		delete(h.snaps, id)
		h.mu.Unlock()
		x.mu.Lock()
		defer x.mu.Unlock()
		x.gone = true
		return s.Close()
	}, nil
}

// mark is a moment: what is taken later is not asked about in a trim for what was true
// at it.
func (h *holds) mark() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.next
}

// trim calls fn with the version through which the log is not held. No hold begins
// until fn returns. Snapshots taken after mark need not be looked at: at that moment no
// extent of the index pointed into what is to go.
func (h *holds) trim(mark int, fn func(through volume.Version) error) error {
	for {
		h.mu.Lock()
		x := h.unknownLocked(mark)
		if x == nil {
			break
		}
		h.mu.Unlock()
		oldest := uint64(math.MaxUint64)
		err := x.look(func(s *index.Snapshot) (err error) {
			oldest, err = s.OldestSegment()
			return err
		})
		if err != nil {
			return err
		}
		h.mu.Lock()
		x.known, x.oldest = true, oldest
		h.mu.Unlock()
	}
	defer h.mu.Unlock()
	through := h.oldestLocked()
	for id, x := range h.snaps {
		if id <= mark {
			// The number of a segment is the version of its first op.
			through = min(through, volume.Version(max(x.oldest, 1)-1))
		}
	}
	return fn(through)
}

func (h *holds) unknownLocked(mark int) *held {
	for id, x := range h.snaps {
		if id <= mark && !x.known {
			return x
		}
	}
	return nil
}

// collect calls fn with the index as it is, and with all snapshots that are held: what
// none of them points to is in use by nobody. No copy begins until fn returns; it is
// errSyncing if one is being made.
func (h *holds) collect(e *index.Engine, fn func(now *index.Snapshot, snaps []*held) error) error {
	h.collecting.Lock()
	defer h.collecting.Unlock()
	h.mu.Lock()
	if h.syncs > 0 {
		h.mu.Unlock()
		return errSyncing
	}
	now, err := e.Snapshot()
	snaps := slices.Collect(maps.Values(h.snaps))
	h.mu.Unlock()
	if err != nil {
		return err
	}
	return errors.Join(fn(now, snaps), now.Close())
}

// reading reports whether a snapshot is held.
func (h *holds) reading() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.snaps) > 0
}

// errSyncing is why no chunk is collected.
var errSyncing = volume.Errorf(volume.Busy, "a copy of the volume is being made, whose chunks nothing points to yet")

// oldestLocked is the version behind which the log must stay.
func (h *holds) oldestLocked() volume.Version {
	v := volume.Version(math.MaxUint64)
	for _, w := range h.versions {
		v = min(v, w)
	}
	return v
}
