package chunkstore

import (
	"math"
	"time"

	"wolfdisk/volume"
)

// Use is how much of each chunk of a store is in use: what somebody who goes through
// all extents finds out. It takes 4 bytes per chunk, however many extents there are.
// It is not safe for concurrent use, the store may be used meanwhile.
type Use struct {
	s     *Store
	since time.Time
	bytes []uint32 // by entry number
}

// NewUse begins to find out what is in use.
func (s *Store) NewUse() *Use { return &Use{s: s, since: s.opts.Now()} }

// Since is when it was begun. A sweep that relies on it must spare what was put or hit
// later.
func (u *Use) Since() time.Time { return u.since }

// Add says that n bytes of a chunk are in use, at least one. What two extents share
// counts twice, so a chunk may look better used than it is.
func (u *Use) Add(id volume.ChunkID, n int64) {
	i, e := u.entry(&id)
	if e.raw == 0 {
		return
	}
	if more := int(i) + 1 - len(u.bytes); more > 0 {
		u.bytes = append(u.bytes, make([]uint32, max(more, pageSize))...)
	}
	u.bytes[i] = uint32(min(int64(u.bytes[i])+max(n, 1), math.MaxUint32))
}

// entry is a copy of a chunk's entry, with its number; all zeros if it is not here.
func (u *Use) entry(id *volume.ChunkID) (uint32, entry) {
	u.s.mu.RLock()
	defer u.s.mu.RUnlock()
	slot, e := u.s.table.find(id)
	if e == nil {
		return 0, entry{}
	}
	return u.s.table.slots[slot] - 1, *e
}

func (u *Use) of(i uint32) int64 {
	if int(i) >= len(u.bytes) {
		return 0
	}
	return int64(u.bytes[i])
}

// Live reports whether a chunk is in use. One that is not in the store is: there is
// nothing to be said against it.
func (u *Use) Live(id volume.ChunkID) bool {
	i, e := u.entry(&id)
	return e.raw == 0 || u.of(i) > 0
}

// Sparse reports whether a chunk is in use, but by less than the given part of it.
func (u *Use) Sparse(id volume.ChunkID, part float64) bool {
	i, e := u.entry(&id)
	return e.sparse(u.of(i), part)
}

func (e *entry) sparse(used int64, part float64) bool {
	return used > 0 && float64(used) < part*float64(e.raw)
}

// UseStats are sums over all chunks, in bytes as stored.
type UseStats struct {
	Used   int64 // records of chunks, as far as they are in use
	Unused int64 // records of chunks that are not in use at all
	Sparse int64 // what is not in use of chunks in use by less than a part
}

// Stats sums up. part is as for Sparse.
func (u *Use) Stats(part float64) UseStats {
	var st UseStats
	for page := 0; ; page++ {
		u.s.mu.RLock()
		more := page < len(u.s.table.pages)
		if more {
			for i := range u.s.table.pages[page] {
				u.addTo(&st, uint32(page<<pageBits|i), &u.s.table.pages[page][i], part)
			}
		}
		u.s.mu.RUnlock()
		if !more {
			return st
		}
	}
}

func (u *Use) addTo(st *UseStats, i uint32, e *entry, part float64) {
	if e.raw == 0 {
		return
	}
	used := u.of(i)
	if used == 0 {
		st.Unused += e.size()
		return
	}
	stored := e.size()
	if used < int64(e.raw) {
		stored = int64(float64(stored) * float64(used) / float64(e.raw))
	}
	st.Used += stored
	if e.sparse(used, part) {
		st.Sparse += e.size() - stored
	}
}

// FileBytes is the size of all packs, in bytes.
func (s *Store) FileBytes() int64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var n int64
	for _, p := range s.packs {
		n += p.size
	}
	return n
}
