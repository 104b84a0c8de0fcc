package conflict

import (
	"encoding/binary"
	"math"

	"wolfdisk/volume"
)

// Payloads are fields one behind the other: integers as uvarints (signed ones zigzag),
// strings and byte strings with their length before them, lists with their number of elements. A
// decoder compares every length with what is left before it allocates.

type encoder struct{ b []byte }

func (e *encoder) uint(v uint64)      { e.b = binary.AppendUvarint(e.b, v) }
func (e *encoder) int(v int64)        { e.b = binary.AppendVarint(e.b, v) }
func (e *encoder) bytes(p []byte)     { e.uint(uint64(len(p))); e.b = append(e.b, p...) }
func (e *encoder) string(s string)    { e.uint(uint64(len(s))); e.b = append(e.b, s...) }
func (e *encoder) fixed(p []byte)     { e.b = append(e.b, p...) }
func (e *encoder) time(t volume.Time) { e.int(t.Sec); e.uint(uint64(t.Nsec)) }

func (e *encoder) bool(v bool) {
	if v {
		e.uint(1)
	} else {
		e.uint(0)
	}
}

func (e *encoder) epoch(x volume.Epoch) {
	e.uint(x.Number)
	e.string(x.Leader)
	e.uint(uint64(x.Tag))
}

func (e *encoder) position(p volume.Position) {
	e.epoch(p.Epoch)
	e.uint(uint64(p.Version))
	e.fixed(p.Digest[:])
}

func (e *encoder) lineage(l volume.Lineage) {
	e.uint(uint64(len(l)))
	for _, r := range l {
		e.epoch(r.Epoch)
		e.uint(uint64(r.First))
		e.uint(uint64(len(r.Participants)))
		for _, p := range r.Participants {
			e.string(p)
		}
	}
}

func (e *encoder) attr(a *volume.Attr) {
	for _, v := range [...]uint32{a.Mode, a.Nlink, a.UID, a.GID, a.Rdev} {
		e.uint(uint64(v))
	}
	e.uint(uint64(a.Size))
	for _, t := range [...]volume.Time{a.Atime, a.Mtime, a.Ctime, a.Btime} {
		e.time(t)
	}
	e.uint(uint64(a.Version))
	e.bool(a.Holes)
}

// decoder reads fields; after the first that is wrong it gives zeros.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uint() uint64 {
	v, n := binary.Uvarint(d.b)
	// Only the shortest form is one: else two different records could mean the same.
	if n <= 0 || n > 1 && d.b[n-1] == 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int() int64 {
	u := d.uint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	return v
}

func (d *decoder) most(limit uint64) uint64 {
	v := d.uint()
	if v > limit {
		d.bad, d.b = true, nil
		return 0
	}
	return v
}

func (d *decoder) uint32() uint32 { return uint32(d.most(math.MaxUint32)) }
func (d *decoder) size() int64    { return int64(d.most(math.MaxInt64)) }
func (d *decoder) bool() bool     { return d.most(1) == 1 }

func (d *decoder) fixed(n int) []byte {
	if n > len(d.b) {
		d.bad, d.b = true, nil
		return make([]byte, n)
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) bytes() []byte  { return d.fixed(int(d.most(uint64(len(d.b))))) }
func (d *decoder) string() string { return string(d.bytes()) }

// count is the number of elements of a list, each of which takes at least one byte.
func (d *decoder) count() int { return int(d.most(uint64(len(d.b)))) }

func (d *decoder) time() volume.Time {
	return volume.Time{Sec: d.int(), Nsec: uint32(d.most(1e9 - 1))}
}

func (d *decoder) epoch() volume.Epoch {
	return volume.Epoch{Number: d.uint(), Leader: d.string(), Tag: d.uint32()}
}

func (d *decoder) position() volume.Position {
	return volume.Position{Epoch: d.epoch(), Version: volume.Version(d.uint()), Digest: volume.Digest(d.fixed(volume.DigestLen))}
}

func (d *decoder) lineage() (l volume.Lineage) {
	for range d.count() {
		r := volume.Reign{Epoch: d.epoch(), First: volume.Version(d.uint())}
		for range d.count() {
			r.Participants = append(r.Participants, d.string())
		}
		if d.bad {
			return nil
		}
		l = append(l, r)
	}
	return l
}

func (d *decoder) attr(a *volume.Attr) {
	for _, p := range [...]*uint32{&a.Mode, &a.Nlink, &a.UID, &a.GID, &a.Rdev} {
		*p = d.uint32()
	}
	a.Size = d.size()
	for _, p := range [...]*volume.Time{&a.Atime, &a.Mtime, &a.Ctime, &a.Btime} {
		*p = d.time()
	}
	a.Version = volume.Version(d.uint())
	a.Holes = d.bool()
}

// end says whether all was read, and was well.
func (d *decoder) end() bool { return !d.bad && len(d.b) == 0 }
