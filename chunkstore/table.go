package chunkstore

import (
	"encoding/binary"
	"math/rand/v2"

	"wolfdisk/volume"
)

// entry says where a chunk lies. 52 bytes; a node with 4 TiB of content has a
// million of them.
type entry struct {
	id     volume.ChunkID
	pack   uint32
	off    uint32 // of the record header, bytes
	stored uint32 // payload length; flags above
	raw    uint32 // content length
	// stamp is in seconds since the store was opened: when a marked entry was marked,
	// else when it was last put or hit.
	stamp uint32
}

// Lengths have 27 bits (volume.MaxChunkSize); the upper bits of stored are flags.
const (
	flagLZ4     = 1 << 31
	flagMarked  = 1 << 30 // for sweep
	flagDamaged = 1 << 29 // found damaged: a Put writes it again
	lengthMask  = 1<<29 - 1
)

func makeEntry(pack uint32, off int64, r *record, stamp uint32) entry {
	e := entry{id: r.id, pack: pack, off: uint32(off), stored: r.stored, raw: r.raw, stamp: stamp}
	if r.kind == kindLZ4 {
		e.stored |= flagLZ4
	}
	return e
}

// record is the header that the entry's record must have, but for the payload's
// checksum, which only the header itself knows.
func (e *entry) record() record {
	r := record{kind: kindRaw, raw: e.raw, stored: e.stored & lengthMask, id: e.id}
	if e.stored&flagLZ4 != 0 {
		r.kind = kindLZ4
	}
	return r
}

// size is the length of the record, in bytes.
func (e *entry) size() int64 { return recordLen + int64(e.stored&lengthMask) }

// usable reports whether a Put may rely on the entry.
func (e *entry) usable() bool { return e.stored&(flagMarked|flagDamaged) == 0 }

func (e *entry) samePlace(o *entry) bool { return e.pack == o.pack && e.off == o.off }

const (
	pageBits = 12 // 208 KiB, a whole number of the runtime's pages
	pageSize = 1 << pageBits
)

// table maps chunk IDs to entries: open addressing over 32-bit entry numbers, the
// entries in pages that never move. About 60 bytes per chunk, where a Go map takes
// more than twice that while it grows. Guarded by Store.mu.
type table struct {
	slots []uint32 // entry number + 1; 0 is free; a power of two of them
	pages [][]entry
	free  []uint32 // entry numbers
	next  uint32   // entries ever used
	count int
	seed  uint64 // so that nobody can choose content that lands in one place
}

func newTable() *table {
	return &table{slots: make([]uint32, 64), seed: rand.Uint64()}
}

func (t *table) hash(id *volume.ChunkID) uint64 {
	h := (binary.LittleEndian.Uint64(id[:]) ^ t.seed) * 0x9e3779b97f4a7c15
	return (h ^ h>>32) & uint64(len(t.slots)-1)
}

func (t *table) at(n uint32) *entry { return &t.pages[n>>pageBits][n&(pageSize-1)] }

// find returns the slot of id, or the free one where it belongs.
func (t *table) find(id *volume.ChunkID) (slot uint64, e *entry) {
	mask := uint64(len(t.slots) - 1)
	for i := t.hash(id); ; i = (i + 1) & mask {
		n := t.slots[i]
		if n == 0 {
			return i, nil
		}
		if e := t.at(n - 1); e.id == *id {
			return i, e
		}
	}
}

// get returns the entry of id or nil. The pointer is valid until put or remove.
func (t *table) get(id *volume.ChunkID) *entry {
	_, e := t.find(id)
	return e
}

// put adds or replaces an entry and returns the one it replaced.
func (t *table) put(e entry) (old entry, replaced bool) {
	slot, have := t.find(&e.id)
	if have != nil {
		old, *have = *have, e
		return old, true
	}
	if (t.count+1)*4 > len(t.slots)*3 {
		t.grow()
		slot, _ = t.find(&e.id)
	}
	n := t.next
	if len(t.free) > 0 {
		n = t.free[len(t.free)-1]
		t.free = t.free[:len(t.free)-1]
	} else {
		if n&(pageSize-1) == 0 {
			t.pages = append(t.pages, make([]entry, pageSize))
		}
		t.next++
	}
	*t.at(n) = e
	t.slots[slot] = n + 1
	t.count++
	return entry{}, false
}

func (t *table) grow() {
	old := t.slots
	t.slots = make([]uint32, 2*len(old))
	for _, n := range old {
		if n != 0 {
			slot, _ := t.find(&t.at(n - 1).id)
			t.slots[slot] = n
		}
	}
}

// remove takes an entry out and closes the gap that its slot leaves, so that every
// entry stays reachable from its own place without tombstones.
func (t *table) remove(id *volume.ChunkID) bool {
	gap, e := t.find(id)
	if e == nil {
		return false
	}
	n := t.slots[gap] - 1
	*t.at(n) = entry{}
	t.free = append(t.free, n)
	t.count--
	mask := uint64(len(t.slots) - 1)
	for i := (gap + 1) & mask; t.slots[i] != 0; i = (i + 1) & mask {
		home := t.hash(&t.at(t.slots[i] - 1).id)
		if (i-home)&mask >= (i-gap)&mask {
			t.slots[gap] = t.slots[i]
			gap = i
		}
	}
	t.slots[gap] = 0
	return true
}

// page calls fn for the entries of one page; false behind the last page. Entries
// keep their page, so a walk page by page sees all that stay.
func (t *table) page(p int, fn func(*entry)) bool {
	if p >= len(t.pages) {
		return false
	}
	for i := range t.pages[p] {
		if e := &t.pages[p][i]; e.raw != 0 {
			fn(e)
		}
	}
	return true
}
