package node

import (
	"context"
	"math"
	"slices"
	"testing"

	"wolfdisk/volume"
)

// A node forwards in its own name only: another's numbers would be used up otherwise.
func TestForwardedName(t *testing.T) {
	_, l := leadingNode(t)
	ask := func(name, client string) error {
		req := volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: name, Mode: volume.ModeFile | 0o644,
			Caller: volume.Caller{Client: client, Seq: 1}}
		_, err := forwarded{l, "c"}.Do(context.Background(), &req)
		return err
	}
	if err := ask("own", "c"); err != nil {
		t.Error(err)
	}
	wantKind(t, "in another's name", ask("other", "d"), volume.AccessDenied)
	if _, err := l.Lookup(context.Background(), volume.RootIno, "other"); volume.KindOf(err) != volume.NotFound {
		t.Errorf("it was done all the same: %v", err)
	}
}

// A run numbers its requests anew whatever the clock says: none is that of an answer that is kept of
// another run, and none can wrap round to 0, which is no number.
func TestForwardNumbers(t *testing.T) {
	var runs []uint64
	for range 64 {
		runs = append(runs, firstForward())
	}
	slices.Sort(runs)
	for i := range runs[1:] {
		if runs[i+1]-runs[i] < 1<<32 { // what one run can come to
			t.Errorf("two runs begin at %d and %d", runs[i], runs[i+1])
		}
	}
	if most := runs[len(runs)-1]; most > math.MaxInt64 {
		t.Errorf("a run begins at %d and soon comes to 0", most)
	}
	if most := runs[len(runs)-1]; most < 1<<56 {
		t.Errorf("runs begin at %d at most: they are not spread", most)
	}
}
