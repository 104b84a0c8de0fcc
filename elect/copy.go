package elect

import (
	"cmp"
	"slices"

	"wolfdisk/volume"
)

// Copy is what a node holds of a volume, as far as the election needs to know it.
type Copy struct {
	Cluster  volume.ID
	Volume   volume.ID // zero: holds none yet
	Position volume.Position
	Lineage  volume.Lineage // through Position; nobody changes it once it is given away
	Durable  volume.Version // on this node's disk
	Voters   []string       // the members that this copy knows and that count, in natural order
	// Consistent: the tree is an exact prefix of its lineage, not the middle of a sync.
	Consistent bool
	// Reconciling: edits of the directory are being made ops, or a conflict record is
	// being written.
	Reconciling bool
	// Founder: there is no volume here, and the configuration lets this node make one.
	Founder bool
}

// Relation is how another copy stands to mine.
type Relation uint8

const (
	Equal        Relation = iota
	Behind                // theirs is a prefix of mine
	Ahead                 // mine is a prefix of theirs, and nobody wrote here since
	Fork                  // both wrote behind the last version in common
	Damaged               // the same position and another digest: stop, alarm
	OtherVolume           // refuse
	OtherCluster          // refuse

	relationEnd
)

var relationNames = [relationEnd]string{"equal", "behind", "ahead", "fork", "damaged", "other volume", "other cluster"}

func (r Relation) String() string {
	if r >= relationEnd {
		return "unknown"
	}
	return relationNames[r]
}

// Compare decides the cases of "Join" by lineage and position; common is the last
// version both can have, if they are one history up to there. Where the log still holds
// the op at the shorter one's end the host compares its digest also, and finds damage
// that lineage cannot show.
func Compare(mine, theirs *Copy) (r Relation, common volume.Version) {
	if mine.Cluster != theirs.Cluster {
		return OtherCluster, 0
	}
	if mine.Volume != theirs.Volume && !mine.Volume.IsZero() && !theirs.Volume.IsZero() {
		return OtherVolume, 0
	}
	a, b := mine.Position, theirs.Position
	common = volume.CommonPrefix(mine.Lineage, a.Version, theirs.Lineage, b.Version)
	switch {
	case common == a.Version && common == b.Version:
		if a.Digest != b.Digest {
			return Damaged, common
		}
		return Equal, common
	case common == b.Version:
		return Behind, common
	case common == a.Version:
		return Ahead, common
	}
	return Fork, common
}

// contains reports whether the copy holds the op that a position names. An epoch's ops
// have one writer, so epoch and version name a history.
func (c *Copy) contains(p volume.Position) bool {
	if p.Version == 0 {
		return true
	}
	r, ok := c.Lineage.At(p.Version)
	return ok && p.Version <= c.Position.Version && r.Epoch == p.Epoch
}

// Winner orders two copies of one volume: positive if a's history is the one to keep, negative
// if b's, 0 if they are equal. Both sides compute the same. A branch without ops is none,
// so the longer of two copies without a fork wins.
//
// Of two branches the one wins in which, behind the fork, the higher epoch began that a
// majority took part in claiming; then the one with more ops; then that of the higher
// epoch, which includes the lower ID. The majority is of the members that both copies
// know: these were members before the fork.
//
// The first rule compares epochs, not just whether there was a majority: what a majority
// has made durable in one epoch is in the history of every later epoch that a majority
// claimed, and in no other (docs/decisions/0020-winner-of-a-fork.md).
func Winner(a, b *Copy) int {
	voters := make([]string, 0, len(a.Voters))
	for _, id := range a.Voters {
		if slices.Contains(b.Voters, id) {
			voters = append(voters, id)
		}
	}
	// Epochs before the fork are in both, so each of these orders all histories at once, not
	// only two: no three copies can win from one another in a circle.
	return cmp.Or(
		byMajority(a, voters).Compare(byMajority(b, voters)),
		cmp.Compare(a.Position.Version, b.Position.Version),
		a.Position.Epoch.Compare(b.Position.Epoch),
	)
}

// byMajority is the last epoch of a copy that a majority of voters took part in claiming.
func byMajority(c *Copy, voters []string) volume.Epoch {
	for _, r := range slices.Backward(c.Lineage) {
		n := 0
		for _, id := range voters {
			if slices.Contains(r.Participants, id) {
				n++
			}
		}
		if 2*n > len(voters) {
			return r.Epoch
		}
	}
	return volume.Epoch{}
}
