package elect_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

var abc = []string{"a", "b", "c"}

// history makes a copy of reigns given as "number/leader:length:participants".
func history(voters []string, reigns ...volume.Reign) *elect.Copy {
	c := &elect.Copy{Voters: voters, Consistent: true}
	for _, r := range reigns {
		length := r.First // here: how many ops it wrote
		r.First = c.Position.Version + 1
		c.Lineage = append(c.Lineage, r)
		c.Position = volume.Position{Epoch: r.Epoch, Version: c.Position.Version + length}
	}
	c.Position.Digest[0] = byte(c.Position.Version)
	return c
}

func reign(number uint64, leader string, ops volume.Version, participants ...string) volume.Reign {
	return volume.Reign{Epoch: volume.Epoch{Number: number, Leader: leader}, First: ops, Participants: participants}
}

func TestCompare(t *testing.T) {
	first := reign(1, "a", 10, "a", "b", "c")
	base := history(abc, first)
	shorter := history(abc, reign(1, "a", 4, "a", "b", "c"))
	longer := history(abc, first, reign(2, "b", 3, "b", "c"))
	other := history(abc, first, reign(2, "c", 2, "c"))
	damaged := history(abc, first)
	damaged.Position.Digest[1] = 1
	empty := history(nil)
	volume2, cluster2 := *base, *base
	base2 := *base
	base2.Volume[0], volume2.Volume[0], cluster2.Cluster[0] = 1, 2, 1
	for _, row := range []struct {
		name         string
		mine, theirs *elect.Copy
		want, back   elect.Relation
		common       volume.Version
	}{
		{"equal", base, history(abc, first), elect.Equal, elect.Equal, 10},
		{"prefix within a reign", base, shorter, elect.Behind, elect.Ahead, 4},
		{"prefix by a reign", longer, base, elect.Behind, elect.Ahead, 10},
		{"fork", longer, other, elect.Fork, elect.Fork, 10},
		{"fork within a reign", longer, history(abc, reign(1, "a", 4, "a", "b", "c"), reign(3, "c", 9, "c")), elect.Fork, elect.Fork, 4},
		{"damaged", base, damaged, elect.Damaged, elect.Damaged, 10},
		{"empty", base, empty, elect.Behind, elect.Ahead, 0},
		{"both empty", empty, empty, elect.Equal, elect.Equal, 0},
		{"other volume", &base2, &volume2, elect.OtherVolume, elect.OtherVolume, 0},
		{"volume not known yet", base, &volume2, elect.Equal, elect.Equal, 10},
		{"other cluster", base, &cluster2, elect.OtherCluster, elect.OtherCluster, 0},
	} {
		got, common := elect.Compare(row.mine, row.theirs)
		if got != row.want || common != row.common {
			t.Errorf("%s: %s at %d, want %s at %d", row.name, got, common, row.want, row.common)
		}
		if got, common := elect.Compare(row.theirs, row.mine); got != row.back || common != row.common {
			t.Errorf("%s, the other way: %s at %d, want %s at %d", row.name, got, common, row.back, row.common)
		}
	}
}

func TestWinner(t *testing.T) {
	first := reign(1, "a", 10, "a", "b", "c")
	for _, row := range []struct {
		name string
		a, b *elect.Copy // a wins
	}{
		{"a majority against many ops", history(abc, first, reign(2, "b", 1, "b", "c")), history(abc, first, reign(3, "a", 90, "a"))},
		{"a dead leader's tail against those who went on", history(abc, first, reign(2, "b", 90, "b")), history(abc, reign(1, "a", 12, "a", "b", "c"))},
		{"the later of two majorities", history(abc, first, reign(2, "b", 1, "b", "c")), history(abc, reign(1, "a", 90, "a", "b", "c"))},
		{"more ops", history(abc, first, reign(2, "a", 3, "a")), history(abc, first, reign(3, "b", 2, "b"))},
		{"higher epoch", history(abc, first, reign(3, "b", 2, "b")), history(abc, first, reign(2, "a", 2, "a"))},
		{"lower ID", history(abc, first, reign(2, "a", 2, "a")), history(abc, first, reign(2, "b", 2, "b"))},
		{"a branch without ops is none", history(abc, first, reign(2, "c", 1, "c")), history(abc, first)},
		{"a majority of those that both know", history([]string{"a", "b", "c", "d", "e", "f"}, first, reign(2, "b", 1, "b", "c")), history(abc, first, reign(3, "a", 9, "a"))},
	} {
		if got := elect.Winner(row.a, row.b); got <= 0 {
			t.Errorf("%s: %d", row.name, got)
		}
		if got := elect.Winner(row.b, row.a); got >= 0 {
			t.Errorf("%s, the other way: %d", row.name, got)
		}
	}
}

// forest makes copies of one volume by letting histories grow and part at random, with
// epochs as claims make them: each above all others.
func forest(rnd *rand.Rand, voters []string) (copies []*elect.Copy) {
	tips := [][]volume.Reign{nil}
	for n := uint64(1); n < 9; n++ {
		tip := slices.Clone(tips[rnd.IntN(len(tips))])
		if k := len(tip); k > 0 && rnd.IntN(2) == 0 {
			tip[k-1].First = 1 + volume.Version(rnd.Uint64N(uint64(tip[k-1].First))) // it parts within the last reign
		}
		var took []string
		for _, id := range voters {
			if rnd.IntN(2) == 0 {
				took = append(took, id)
			}
		}
		tips = append(tips, append(tip, reign(n, voters[rnd.IntN(len(voters))], volume.Version(1+rnd.IntN(5)), took...)))
	}
	for _, tip := range tips {
		copies = append(copies, history(voters, tip...))
	}
	return copies
}

// TestWinnerProperties: antisymmetric, transitive, never for the prefix, and equal only
// for equal histories.
func TestWinnerProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 800 {
		copies := forest(rnd, []string{"a", "b", "c", "d", "e"}[:1+rnd.IntN(5)])
		for _, a := range copies {
			for _, b := range copies {
				ab, ba := elect.Winner(a, b), elect.Winner(b, a)
				relation, _ := elect.Compare(a, b)
				back, _ := elect.Compare(b, a)
				if ab != -ba {
					t.Fatalf("%v and %v: %d and %d", a, b, ab, ba)
				}
				mirror := map[elect.Relation]elect.Relation{elect.Equal: elect.Equal, elect.Behind: elect.Ahead, elect.Ahead: elect.Behind, elect.Fork: elect.Fork}
				if back != mirror[relation] {
					t.Fatalf("%v and %v: %s and %s", a, b, relation, back)
				}
				if relation == elect.Ahead && ab >= 0 || relation == elect.Behind && ab <= 0 || relation == elect.Fork && ab == 0 {
					t.Fatalf("%v and %v: %s, and winner %d", a, b, relation, ab)
				}
				for _, c := range copies {
					if ab > 0 && elect.Winner(b, c) > 0 && elect.Winner(a, c) <= 0 {
						t.Fatalf("a circle: %v, %v, %v", a, b, c)
					}
				}
			}
		}
	}
}

// TestDurableQuorum: any stores so many meet any majority of members that has a store.
func TestDurableQuorum(t *testing.T) {
	for stores := 1; stores <= 5; stores++ {
		for witnesses := 0; witnesses <= 4; witnesses++ {
			var l elect.Members
			for i := range stores + witnesses {
				m := volume.Member{ID: fmt.Sprintf("n%d", i)}
				if i >= stores {
					m.Role = volume.RoleWitness
				}
				l = append(l, m)
			}
			l = append(l, volume.Member{ID: "gone", Removed: true}, volume.Member{ID: "client", Role: volume.RoleClient})
			q := l.DurableQuorum()
			if q < stores/2+1 || q > stores {
				t.Errorf("%d stores, %d witnesses: quorum %d", stores, witnesses, q)
			}
			if n := len(l.Voters()); n != stores+witnesses {
				t.Errorf("%d voters", n)
			}
			for claim := range 1 << (stores + witnesses) {
				if !isClaim(claim, stores, witnesses) {
					continue
				}
				for disk := range 1 << stores {
					if ones(disk) >= q && disk&claim == 0 {
						t.Fatalf("%d stores, %d witnesses: fsync on %b, claim by %b", stores, witnesses, disk, claim)
					}
				}
			}
		}
	}
}

func ones(x int) (n int) {
	for ; x != 0; x &= x - 1 {
		n++
	}
	return n
}

// isClaim: more than half of the members, with a store, that of the claimant.
func isClaim(set, stores, witnesses int) bool {
	return 2*ones(set) > stores+witnesses && set&(1<<stores-1) != 0
}

func TestBefore(t *testing.T) {
	if !elect.Before(volume.RoleAuto, "node-9", volume.RoleAuto, "node-10") || elect.Before(volume.RoleAuto, "node-10", volume.RoleAuto, "node-9") {
		t.Error("natural order")
	}
	if !elect.Before(volume.RoleLeader, "node-10", volume.RoleAuto, "node-9") || elect.Before(volume.RoleAuto, "node-9", volume.RoleLeader, "node-10") {
		t.Error("role leader goes first")
	}
}
