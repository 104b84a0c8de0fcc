package node

import (
	"testing"

	"wolfdisk/volume"
)

func TestCompareHistory(t *testing.T) {
	ep := func(n uint64, id string) volume.Epoch { return volume.Epoch{Number: n, Leader: id, Tag: uint32(n)} }
	a := volume.Reign{Epoch: ep(1, "a"), First: 1}
	a2 := volume.Reign{Epoch: ep(2, "a"), First: 11}
	b2 := volume.Reign{Epoch: ep(2, "b"), First: 11}
	digest := func(v volume.Version) (d volume.Digest) { d[0], d[1] = byte(v), byte(v>>8); return d }
	at := func(v volume.Version) (volume.Position, error) {
		if v < 5 {
			return volume.Position{}, volume.TooOld
		}
		return volume.Position{Version: v, Digest: digest(v)}, nil
	}
	mine := history{
		pos:     volume.Position{Epoch: a2.Epoch, Version: 20, Digest: digest(20)},
		lineage: volume.Lineage{a, a2}, first: 6, at: at,
	}
	pos := func(v volume.Version) volume.Position { return volume.Position{Version: v, Digest: digest(v)} }
	for _, c := range []struct {
		name    string
		theirs  volume.Position
		lineage volume.Lineage
		kind    joinKind
		common  volume.Version
	}{
		{"equal", pos(20), volume.Lineage{a, a2}, joinStream, 20},
		{"behind in the same reign", pos(15), volume.Lineage{a, a2}, joinStream, 15},
		{"behind in an earlier reign", pos(8), volume.Lineage{a}, joinStream, 8},
		{"behind what the log holds", pos(3), volume.Lineage{a}, joinTooOld, 3},
		{"empty, log trimmed", pos(0), nil, joinTooOld, 0},
		{"ahead on our lineage", pos(25), volume.Lineage{a, a2}, joinAhead, 20},
		{"ahead, with a reign we have not seen", pos(25), volume.Lineage{a, a2, {Epoch: ep(3, "b"), First: 21}}, joinAhead, 20},
		{"ahead, but the reign began below our end", pos(25), volume.Lineage{a, a2, {Epoch: ep(3, "b"), First: 18}}, joinFork, 17},
		{"another reign at the same version, longer", pos(30), volume.Lineage{a, b2}, joinFork, 10},
		{"another reign at the same version, shorter", pos(12), volume.Lineage{a, b2}, joinFork, 10},
		{"stopped before the other reign began", pos(10), volume.Lineage{a}, joinStream, 10},
		{"same lineage, other ops", volume.Position{Version: 15, Digest: digest(14)}, volume.Lineage{a, a2}, joinDamaged, 15},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := compareHistory(mine, c.theirs, c.lineage)
			if err != nil || got.kind != c.kind || got.kind != joinTooOld && got.common != c.common {
				t.Errorf("got %+v, %v; want kind %d, common %d", got, err, c.kind, c.common)
			}
		})
	}
}
