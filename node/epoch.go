package node

import (
	"crypto/rand"
	"encoding/binary"
	"math"

	"wolfdisk/volume"
)

// nextEpoch is the epoch a node claims: above everything it or its peers have
// promised or written, with a tag no reign of the lineage has.
//
// A number that cannot be exceeded is no epoch anybody made by counting: the zero
// epoch is returned, which nobody can lead in.
func nextEpoch(self string, lineage volume.Lineage, promises ...volume.Epoch) volume.Epoch {
	e := volume.Epoch{Leader: self}
	used := make(map[uint32]bool, len(lineage))
	for _, r := range lineage {
		e.Number = max(e.Number, r.Epoch.Number)
		used[r.Epoch.Tag] = true
	}
	for _, p := range promises {
		e.Number = max(e.Number, p.Number)
	}
	if e.Number == math.MaxUint64 {
		return volume.Epoch{}
	}
	e.Number++
	if len(lineage) == 0 {
		return e // the first epoch of a volume has tag 0
	}
	for e.Tag == 0 || used[e.Tag] {
		var b [4]byte
		rand.Read(b[:])
		e.Tag = binary.LittleEndian.Uint32(b[:]) & (1<<volume.InoTagBits - 1)
	}
	return e
}
