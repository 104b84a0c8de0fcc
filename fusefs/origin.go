package fusefs

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"wolfdisk/volume"
)

// Which ops came through this very mount? The kernel has kept its caches right for
// those, and invalidating them again would cost more than the ops. An op is known by
// its version and inode, which Do returns; but an observer may be told of it before
// Do has returned. So:
//
//   - Around every Do the call shows in its flight what it is about.
//   - An observed op is looked up in ownOps, where calls write what Do returned before
//     they clear their flight.
//   - If it is not there but fits a flight, it is left there as a suspect, and judged
//     again when that Do has returned.
//   - If it fits none, it is foreign: unless it has come into ownOps meanwhile.
//   - A suspect that waits for longer than suspectPatience is passed on as foreign.
//
// A mistake can only go one way: an own op taken for a foreign one costs an
// invalidation too many.

// ownRing is how many own ops are remembered, for observers that come late.
const ownRing = 4096

type ownOps [ownRing]atomic.Uint64

func ownKey(v volume.Version, ino volume.Ino) uint64 {
	return uint64(v) ^ uint64(ino)*0x9e3779b97f4a7c15
}

func (o *ownOps) add(v volume.Version, ino volume.Ino) {
	o[uint64(v)%ownRing].Store(ownKey(v, ino))
}

func (o *ownOps) has(v volume.Version, ino volume.Ino) bool {
	return o[uint64(v)%ownRing].Load() == ownKey(v, ino)
}

func (o *ownOps) clear() {
	for i := range o {
		o[i].Store(0)
	}
}

var flightSeed = maphash.MakeSeed()

// Flight keys say what a request or op is about: an inode, or a name. 0 is none.
func inodeKey(ino volume.Ino) uint64 { return uint64(ino) | 1<<63 }

func nameKey(dir volume.Ino, name string) uint64 {
	return (maphash.String(flightSeed, name)^uint64(dir)*0x9e3779b97f4a7c15)&^(1<<63) | 1
}

func requestKey(r *volume.Request) uint64 {
	switch r.Kind {
	case volume.OpCreate, volume.OpUnlink, volume.OpRmdir, volume.OpRename:
		return nameKey(r.Parent, r.Name)
	case volume.OpLink:
		return nameKey(r.NewParent, r.NewName)
	}
	return inodeKey(r.Ino)
}

func opKey(op *volume.Op) uint64 {
	switch op.Kind {
	case volume.OpCreate, volume.OpUnlink, volume.OpRmdir, volume.OpRename, volume.OpLink:
		return nameKey(op.Parent, op.Name)
	}
	return inodeKey(op.Ino)
}

// flight is a Do in progress.
type flight struct {
	key atomic.Uint64 // 0 between Do calls

	mu       sync.Mutex // leaf lock; guards all below
	suspects []suspect
	ends     uint64 // counts Do calls that had suspects
}

// suspect is an observed op that may be what the flight is about.
type suspect struct {
	version volume.Version
	ino     volume.Ino
	key     uint64
	change  change
	tick    uint16 // when it was observed
}

func (f *flight) begin(key uint64) { f.key.Store(key) }

// end returns the suspects, which are to be judged again: what Do returned is now
// known.
func (f *flight) end() (suspects []suspect) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key.Store(0)
	if len(f.suspects) > 0 {
		suspects, f.suspects = f.suspects, nil
		f.ends++
	}
	return suspects
}

// waiting reports whether there are suspects, and of which Do.
func (f *flight) waiting() (ends uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ends, len(f.suspects) > 0
}

// accuse leaves a suspect, if the flight is still about the same.
func (f *flight) accuse(s suspect) bool {
	if f.key.Load() != s.key {
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.key.Load() != s.key {
		return false
	}
	f.suspects = append(f.suspects, s)
	return true
}

// overdue returns, and forgets, the suspects that wait since before a tick, and
// whether others go on waiting.
func (f *flight) overdue(now, patience uint16) (old []change, more bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := f.suspects[:0]
	for _, s := range f.suspects {
		if now-s.tick >= patience {
			old = append(old, s.change)
			continue
		}
		kept = append(kept, s)
	}
	clear(f.suspects[len(kept):])
	f.suspects = kept
	return old, len(kept) > 0
}
