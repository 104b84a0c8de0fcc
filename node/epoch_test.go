package node

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"wolfdisk/volume"
)

// A claimed epoch is above all that was written and promised, and its tag is new.
func TestNextEpoch(t *testing.T) {
	if e := nextEpoch("a", nil); e != (volume.Epoch{Number: 1, Leader: "a"}) {
		t.Error("the first epoch is", e)
	}
	if e := nextEpoch("a", nil, volume.Epoch{Number: 41, Leader: "z", Tag: 5}); e != (volume.Epoch{Number: 42, Leader: "a"}) {
		t.Error("the first epoch behind a promise is", e)
	}
	r := rand.New(rand.NewPCG(1, 1))
	var lineage volume.Lineage
	used := map[uint32]bool{}
	for i := range 300 {
		var promises []volume.Epoch
		for range r.IntN(4) {
			promises = append(promises, volume.Epoch{Number: r.Uint64N(uint64(3*i + 5)), Leader: fmt.Sprint("n", r.IntN(9)), Tag: r.Uint32N(1 << volume.InoTagBits)})
		}
		e := nextEpoch("a", lineage, promises...)
		for _, p := range promises {
			if e.Compare(p) <= 0 {
				t.Fatalf("%v is not above the promise %v", e, p)
			}
		}
		for _, l := range lineage {
			if e.Compare(l.Epoch) <= 0 {
				t.Fatalf("%v is not above %v", e, l.Epoch)
			}
		}
		if used[e.Tag] || e.Tag >= 1<<volume.InoTagBits || (e.Tag == 0) != (i == 0) {
			t.Fatalf("reign %d has tag %x", i, e.Tag)
		}
		used[e.Tag] = true
		lineage = append(lineage, volume.Reign{Epoch: e, First: volume.Version(i + 1)})
	}
}
