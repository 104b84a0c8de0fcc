package chunkstore

import (
	"context"
	"sync"
	"time"

	"wolfdisk/volume"
)

// Pin keeps chunks from being swept until release is called (once counts). Chunks
// that are not here yet can be pinned, too.
func (s *Store) Pin(ids ...volume.ChunkID) (release func()) {
	ids = append([]volume.ChunkID(nil), ids...)
	s.mu.Lock()
	for _, id := range ids {
		s.pins[id]++
	}
	s.mu.Unlock()
	var once sync.Once
	return func() { once.Do(func() { s.unpin(ids) }) }
}

func (s *Store) unpin(ids []volume.ChunkID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		if s.pins[id]--; s.pins[id] <= 0 {
			delete(s.pins, id)
		}
	}
}

// SweepStats says what a sweep found and did.
type SweepStats struct {
	Checked      int
	Live         int   // in use
	Pinned       int   // not in use, but pinned
	Young        int   // not in use, but put or marked less than the grace time ago
	Marked       int   // marked by this sweep
	Removed      int   // forgotten
	RemovedBytes int64 // what Compact can win back by that, bytes
}

// Sweep forgets chunks that nobody uses. live is asked without locks; it must
// say true for everything that was in use when Sweep was called and still is. A chunk
// goes when it was not live, not pinned and not put again in two sweeps at
// least grace apart, the first at least grace after its last Put; with grace 0 at
// once, which is safe only for callers that pin what they put. With dryRun nothing
// changes, and the statistics say what would.
func (s *Store) Sweep(ctx context.Context, live func(volume.ChunkID) bool, grace time.Duration, dryRun bool) (SweepStats, error) {
	var st SweepStats
	var batch []entry
	for page := 0; ; page++ {
		if err := ctx.Err(); err != nil {
			return st, interrupted(err)
		}
		if s.closed.Load() {
			return st, errClosed()
		}
		batch = batch[:0]
		s.mu.RLock()
		more := s.table.page(page, func(e *entry) { batch = append(batch, *e) })
		s.mu.RUnlock()
		if !more {
			return st, nil
		}
		for i := range batch {
			s.sweepOne(&batch[i], live(batch[i].id), grace, dryRun, &st)
		}
	}
}

// sweepOne decides about one chunk, given as it was before live was asked.
func (s *Store) sweepOne(seen *entry, live bool, grace time.Duration, dryRun bool, st *SweepStats) {
	st.Checked++
	now := s.stampNow()
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.table.get(&seen.id)
	switch {
	case e == nil:
		return
	case live:
		st.Live++
		if !dryRun && e.stored&flagMarked != 0 {
			e.stored &^= flagMarked
			e.stamp = now
		}
		return
	case s.pins[e.id] > 0:
		st.Pinned++
		return
	case !e.samePlace(seen) || e.stamp != seen.stamp || s.age(e.stamp) < grace:
		st.Young++
		return
	}
	if e.stored&flagMarked == 0 {
		st.Marked++
		if !dryRun {
			e.stored |= flagMarked
			e.stamp = now
		}
		if grace > 0 {
			return
		}
	}
	st.Removed++
	st.RemovedBytes += e.size()
	if !dryRun {
		gone := *e
		s.table.remove(&gone.id)
		s.dropLocked(&gone)
		s.cache.remove(gone.id)
	}
}
