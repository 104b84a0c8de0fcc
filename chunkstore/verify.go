package chunkstore

import (
	"cmp"
	"context"
	"slices"

	"wolfdisk/volume"
)

// Verify is the scrub: it reads every stored chunk from its pack, past the cache, and
// calls fn with what came of it, nil if it is good. Damage to a pack's header or index
// is told with the zero ID. Packs come in order, so that the disk reads in order. Heal
// repairs a chunk, Compact a pack. The error says why the scrub did not end.
func (s *Store) Verify(ctx context.Context, fn func(id volume.ChunkID, pack uint32, off int64, err error)) error {
	s.mu.RLock()
	nums := make([]uint32, 0, len(s.packs))
	for num := range s.packs {
		nums = append(nums, num)
	}
	s.mu.RUnlock()
	slices.SortFunc(nums, cmp.Compare[uint32])
	for _, num := range nums {
		if err := s.verifyFrame(num); err != nil {
			fn(volume.ChunkID{}, num, 0, err)
		}
		for _, e := range s.entriesOf(num) {
			if err := ctx.Err(); err != nil {
				return interrupted(err)
			}
			if s.closed.Load() {
				return errClosed()
			}
			_, err := s.readEntry(&e)
			if err != nil && (!s.stillAt(&e) || !s.noteDamage(&e)) {
				continue // moved or swept meanwhile
			}
			fn(e.id, num, int64(e.off), err)
		}
	}
	return nil
}

// verifyFrame checks what of a pack is not a record: header, and index once sealed.
func (s *Store) verifyFrame(num uint32) error {
	s.mu.RLock()
	p := s.packs[num]
	var now pack
	if p != nil {
		now = *p
	}
	s.mu.RUnlock()
	if p == nil {
		return nil // compacted meanwhile
	}
	err := s.readFrame(num, now.sealed && !now.damaged)
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.packs[num]; p == nil {
		return nil
	} else if err != nil && p.sealed {
		p.damaged = true
	}
	if err == nil && now.damaged {
		err = volume.Errorf(volume.Corrupt, "pack was found damaged when it was opened")
	}
	if err != nil {
		return volume.Wrap(err, "check pack "+packName(num))
	}
	return nil
}

func (s *Store) readFrame(num uint32, sealed bool) error {
	f, err := s.files.acquire(num)
	if err != nil {
		return err
	}
	defer s.files.release(f)
	info, err := f.Stat()
	if err != nil {
		return ioError(err, "stat")
	}
	sc := scanner{window: newWindow(f, min(info.Size(), maxPackFile)), salt: s.salt(num), chunkSize: s.opts.ChunkSize}
	b, err := sc.at(0, headerLen)
	if err != nil {
		return ioError(err, "read header")
	}
	if len(b) < headerLen {
		return volume.Errorf(volume.Corrupt, "header is cut off")
	}
	if err := sc.salt.checkHeader(b, s.opts.ChunkSize); err != nil {
		return err
	}
	if !sealed {
		return nil
	}
	return sc.index(func(int64, *record) {})
}

// Held is the length of a chunk's content in bytes, if there is a record of it that was
// not found damaged; whether it may be swept does not matter.
func (s *Store) Held(id volume.ChunkID) (int64, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	e := s.table.get(&id)
	if e == nil || e.stored&flagDamaged != 0 {
		return 0, false
	}
	return int64(e.raw), true
}

// Forget drops a damaged chunk that nobody uses, so that it is not found damaged for ever,
// and has the next Compact rewrite its pack, or the record would be found again at the next
// Open. Who asks knows that no extent names the chunk; whoever puts it again has it
// written anew, as with any damaged chunk. It reports whether the chunk is gone.
func (s *Store) Forget(id volume.ChunkID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.table.get(&id)
	if e == nil {
		return true
	}
	if e.stored&flagDamaged == 0 || s.pins[id] > 0 {
		return false
	}
	gone := *e
	s.table.remove(&gone.id)
	s.dropLocked(&gone)
	s.cache.remove(gone.id)
	if p := s.packs[gone.pack]; p != nil && p.sealed {
		p.damaged = true
	}
	return true
}
