package master_test

import (
	"context"
	"errors"
	"testing"

	"wolfdisk/master"
	"wolfdisk/volume"
)

// An fsync that waits for other nodes ends with the reign; what comes before it is among what they are
// asked for, and an error of this node's own disk is not held back by theirs.
func TestSyncEndsWithReign(t *testing.T) {
	r := newRig(t)
	waiting := make(chan volume.Version, 1)
	l := r.lead(1, func(o *master.Options) {
		o.BeforeSync = func(l *master.Leader) error { mkFile(t, l, "before"); return nil }
		o.Replicated = func(ctx context.Context, v volume.Version) error {
			waiting <- v
			<-ctx.Done()
			return volume.Interrupted
		}
	})
	ino := mkFile(t, l, "f")
	ended := make(chan error, 1)
	go func() { ended <- l.Sync(context.Background(), ino, false) }()
	if v := <-waiting; v != l.Position().Version {
		t.Errorf("others are asked for version %d, the log is at %d", v, l.Position().Version)
	}
	select {
	case err := <-ended:
		t.Fatalf("ended with %v while the leader leads", err)
	default:
	}
	l.End()
	if err := <-ended; !errors.Is(err, master.Moved) {
		t.Errorf("ended with %v, want Moved", err)
	}
}
