package node

import (
	"context"
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
