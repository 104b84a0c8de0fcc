package chunkstore

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"

	"wolfdisk/volume"
)

// DefaultMinDead is the dead part of a pack from which rewriting it pays.
const DefaultMinDead = 0.5

// CompactOptions choose packs to rewrite.
type CompactOptions struct {
	MinDead float64 // dead part of the file, 0 to 1; 0 is DefaultMinDead
	// MaxBytes ends after this many bytes were copied; 0 is no bound.
	MaxBytes int64
	// Active makes the newest pack one of those to choose from: it is ended first.
	Active bool
}

// CompactStats says what a compaction did.
type CompactStats struct {
	Packs       int   // removed
	CopiedBytes int64 // of records
	FreedBytes  int64 // of files removed
	Kept        int   // packs that stay because a chunk in them can neither be read nor replaced
}

// Compact wins back dead space: it copies the live records of packs that are mostly
// dead, or damaged, to the newest pack, makes the copies durable, and removes the old
// packs; most dead first, so that it helps on a full disk. A crash at any point
// leaves at least one good copy of every chunk. The error is the first that kept a
// pack, or ended the work; what was done before remains done.
func (s *Store) Compact(ctx context.Context, o CompactOptions) (CompactStats, error) {
	s.compactMu.Lock()
	defer s.compactMu.Unlock()
	if o.MinDead <= 0 {
		o.MinDead = DefaultMinDead
	}
	var st CompactStats
	if o.Active {
		if err := s.retire(o.MinDead); err != nil {
			return st, volume.Wrap(err, "end the newest pack")
		}
	}
	var first error
	for _, num := range s.candidates(o.MinDead) {
		if o.MaxBytes > 0 && st.CopiedBytes >= o.MaxBytes {
			break
		}
		lost, err := s.evacuate(ctx, num, &st)
		if err != nil {
			return st, err
		}
		if lost != nil {
			st.Kept++
			first = cmp.Or(first, lost)
			continue
		}
		if err := s.removePack(num, &st); err != nil {
			return st, err
		}
	}
	return st, first
}

// retire seals the newest pack if rewriting it pays.
func (s *Store) retire(minDead float64) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.closed.Load() {
		return errClosed()
	}
	a := s.active
	if a == nil || s.failed != nil {
		return s.failed
	}
	s.mu.RLock()
	p := s.packs[a.num]
	dead := p.dead()
	pays := dead > 0 && float64(dead) >= minDead*float64(p.size)
	s.mu.RUnlock()
	if !pays {
		return nil
	}
	if err := s.prepareLocked(a); err != nil {
		return err
	}
	return s.sealLocked(a)
}

// candidates are the packs worth rewriting, most dead first.
func (s *Store) candidates(minDead float64) []uint32 {
	type candidate struct {
		num  uint32
		dead float64
	}
	var list []candidate
	s.mu.RLock()
	for num, p := range s.packs {
		if !p.sealed {
			continue
		}
		dead := float64(p.dead()) / float64(max(p.size, 1))
		if dead >= minDead || p.damaged || p.chunks == 0 {
			list = append(list, candidate{num, dead})
		}
	}
	s.mu.RUnlock()
	slices.SortFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(b.dead, a.dead), cmp.Compare(a.num, b.num))
	})
	nums := make([]uint32, len(list))
	for i, c := range list {
		nums[i] = c.num
	}
	return nums
}

// entriesOf are the chunks whose records lie in a pack, in their order there.
func (s *Store) entriesOf(num uint32) []entry {
	var list []entry
	for page, more := 0, true; more; page++ {
		s.mu.RLock()
		more = s.table.page(page, func(e *entry) {
			if e.pack == num {
				list = append(list, *e)
			}
		})
		s.mu.RUnlock()
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.off, b.off) })
	return list
}

// evacuate copies everything live out of a pack. lost is set if a chunk could neither
// be read nor fetched; err ends the compaction.
func (s *Store) evacuate(ctx context.Context, num uint32, st *CompactStats) (lost, err error) {
	for _, e := range s.entriesOf(num) {
		if err := ctx.Err(); err != nil {
			return nil, interrupted(err)
		}
		if s.closed.Load() {
			return nil, errClosed()
		}
		bad, err := s.move(&e, st)
		if err != nil {
			return nil, volume.Wrap(err, "compact pack "+packName(num))
		}
		if bad == nil || !s.noteDamage(&e) { // or it has another place by now
			continue
		}
		_, err = s.heal(ctx, e.id, bad)
		if err == nil && !s.Has(e.id) {
			err = volume.Errorf(volume.IO, "chunk %s was fetched but cannot be stored", e.id)
		}
		lost = cmp.Or(lost, err)
	}
	return lost, nil
}

// move copies one record to the active pack, checked on the way, and points the
// table to the copy. bad says that the record cannot be read, err that the
// copy cannot be written.
func (s *Store) move(e *entry, st *CompactStats) (bad, err error) {
	r, b, err := s.readRecord(e)
	if err != nil {
		return e.where(err), nil
	}
	if _, err := decode(&r, b[recordLen:]); err != nil {
		return e.where(err), nil
	}
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if !s.stillAt(e) {
		return nil, nil
	}
	copied, err := s.appendLocked(&r, b, nil)
	if err != nil {
		return nil, err
	}
	st.CopiedBytes += e.size()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.table.get(&e.id)
	if now == nil || !now.samePlace(e) {
		return nil, nil // swept meanwhile: the copy is dead
	}
	copied.stamp = now.stamp
	copied.stored |= now.stored & flagMarked
	s.insertLocked(copied)
	return nil, nil
}

func (s *Store) stillAt(e *entry) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	now := s.table.get(&e.id)
	return now != nil && now.samePlace(e)
}

// removePack removes a pack that nothing points into, once all that was copied out of
// it is durable.
func (s *Store) removePack(num uint32, st *CompactStats) error {
	s.writeMu.Lock()
	defer s.writeMu.Unlock()
	if s.closed.Load() {
		return errClosed()
	}
	if err := s.syncLocked(); err != nil {
		return err
	}
	if s.mark.pack == num { // or its absence would look like a loss
		if err := s.writeMark(num, 0); err != nil {
			return err
		}
	}
	s.mu.Lock()
	p := s.packs[num]
	if p == nil || p.chunks > 0 { // a chunk that could only be fetched but not stored
		s.mu.Unlock()
		return nil
	}
	delete(s.packs, num)
	s.mu.Unlock()
	s.files.forget(num)
	if err := s.opts.FS.Remove(s.files.path(packName(num))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.mu.Lock()
		s.packs[num] = p // to be tried again
		s.mu.Unlock()
		return ioError(err, "remove pack "+packName(num))
	}
	st.Packs++
	st.FreedBytes += p.size
	return s.files.syncDir()
}
