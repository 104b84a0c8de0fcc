package chunkstore

import (
	"context"
	"math"
	"slices"
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

// PinFor is a Pin that ends by itself: for what is going to be in use very soon, by
// somebody who is not told when.
func (s *Store) PinFor(d time.Duration, ids ...volume.ChunkID) {
	release, now := s.Pin(ids...), s.opts.Now()
	s.mu.Lock()
	s.timed = append(s.timed, timedPin{now.Add(d), release})
	s.mu.Unlock()
	s.expirePins(now)
}

type timedPin struct {
	until   time.Time
	release func()
}

// expirePins ends the pins whose time is over.
func (s *Store) expirePins(now time.Time) {
	s.mu.Lock()
	var over []timedPin
	s.timed = slices.DeleteFunc(s.timed, func(p timedPin) bool {
		if now.Before(p.until) {
			return false
		}
		over = append(over, p)
		return true
	})
	s.mu.Unlock()
	for _, p := range over {
		p.release()
	}
}

// SweepOptions say what a sweep spares.
type SweepOptions struct {
	// Grace is how long a chunk must have been unused, see Sweep.
	Grace time.Duration
	// Since, unless it is zero, is when it was begun to find out what is live: what was
	// put or hit later stays, since that may not be known. It makes a Grace of 0 safe.
	Since  time.Time
	DryRun bool // change nothing; the statistics say what would be
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
// least Grace apart, the first at least Grace after its last Put. With a Grace of 0 it goes
// at once, which is safe only for callers that pin what they put, or that say Since.
func (s *Store) Sweep(ctx context.Context, live func(volume.ChunkID) bool, o SweepOptions) (SweepStats, error) {
	s.expirePins(s.opts.Now())
	spare := uint32(math.MaxUint32)
	if !o.Since.IsZero() {
		spare = s.stampOf(o.Since)
	}
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
			s.sweepOne(&batch[i], live(batch[i].id), spare, &o, &st)
		}
	}
}

// sweepOne decides about one chunk, given as it was before live was asked. What has a
// stamp of spare or later, and no mark, stays.
func (s *Store) sweepOne(seen *entry, live bool, spare uint32, o *SweepOptions, st *SweepStats) {
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
		if !o.DryRun && e.stored&flagMarked != 0 {
			e.stored &^= flagMarked
			e.stamp = now
		}
		return
	case s.pins[e.id] > 0:
		st.Pinned++
		return
	case !e.samePlace(seen) || e.stamp != seen.stamp || s.age(e.stamp) < o.Grace,
		e.stored&flagMarked == 0 && e.stamp >= spare:
		st.Young++
		return
	}
	if e.stored&flagMarked == 0 {
		st.Marked++
		if !o.DryRun {
			e.stored |= flagMarked
			e.stamp = now
		}
		if o.Grace > 0 {
			return
		}
	}
	st.Removed++
	st.RemovedBytes += e.size()
	if !o.DryRun {
		gone := *e
		s.table.remove(&gone.id)
		s.dropLocked(&gone)
		s.cache.remove(gone.id)
	}
}
