package node

import (
	"wolfdisk/volume"
)

// joinKind is how a peer's copy relates to ours.
type joinKind int

const (
	joinStream  joinKind = iota // theirs is a prefix of ours, and our log holds what follows
	joinAhead                   // ours is a prefix of theirs
	joinTooOld                  // theirs is a prefix of ours, but our log no longer reaches back
	joinFork                    // both wrote behind the last version in common
	joinDamaged                 // same history by lineage, other ops by digest
)

// join is the comparison of a peer with us.
type join struct {
	kind   joinKind
	common volume.Version // the last version in common, as far as it is known
}

// history is what joining needs to know of our own copy.
type history struct {
	pos     volume.Position
	lineage volume.Lineage
	first   volume.Version // oldest op the log holds
	at      func(volume.Version) (volume.Position, error)
}

// compareHistory decides the cases of DESIGN.md 7 and 8 ("Join") that do not need an
// election. Digests are compared where the log still has them; where it has not,
// the lineage decides.
func compareHistory(mine history, theirs volume.Position, lineage volume.Lineage) (join, error) {
	common := volume.CommonPrefix(mine.lineage, mine.pos.Version, lineage, theirs.Version)
	if theirs.Version > mine.pos.Version {
		if common == mine.pos.Version {
			return join{joinAhead, common}, nil
		}
		return join{joinFork, common}, nil
	}
	if common < theirs.Version {
		return join{joinFork, common}, nil
	}
	if theirs.Version == 0 {
		if mine.first > 1 {
			return join{joinTooOld, 0}, nil
		}
		return join{joinStream, 0}, nil
	}
	p, err := mine.at(theirs.Version)
	switch {
	case volume.KindOf(err) == volume.TooOld:
		return join{joinTooOld, common}, nil
	case err != nil:
		return join{}, volume.Wrapf(err, "look up version %d in the log", theirs.Version)
	case p.Digest != theirs.Digest:
		return join{joinDamaged, common}, nil
	case theirs.Version+1 < mine.first:
		return join{joinTooOld, common}, nil
	}
	return join{joinStream, common}, nil
}
