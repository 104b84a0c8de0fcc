package slave_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// TestHold holds a follower while frames come, looks at it at one version between
// them, and lets it go on.
func TestHold(t *testing.T) {
	n, w := open(t, vfs.NewMem()), newWriter(t, "a")
	f := n.follower(nil)
	receive(t, f, w.reign(), w.frame(file(2, "a")))
	first, at, err := f.Hold()
	if err != nil || at != 2 {
		t.Fatalf("held at %d, %v", at, err)
	}
	second, _, err := f.Hold()
	if err != nil {
		t.Fatal(err)
	}
	frames := [][]byte{w.frame(file(3, "b")), w.frame(file(4, "c"), file(5, "d")), w.frame(file(6, "e"))}
	came := make(chan error, 1)
	go func() {
		for _, b := range frames {
			if err := f.Receive(ctx, b); err != nil {
				came <- err
				return
			}
		}
		came <- nil
	}()
	s, err := first.Snapshot(ctx, at)
	if err != nil {
		t.Fatal(err)
	}
	if v := s.Position().Version; v != 2 {
		t.Errorf("snapshot at version %d, want 2", v)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	first.Release()
	first.Release()
	// The other hold still keeps it; it lets in what comes before its version, and no more.
	s, err = second.Snapshot(ctx, 5)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Position().Version; got != 5 {
		t.Errorf("snapshot at version %d, want 5", got)
	}
	time.Sleep(20 * time.Millisecond)
	if v := f.Position().Version; v != 5 {
		t.Errorf("a held follower is at version %d", v)
	}
	select {
	case err := <-came:
		t.Fatalf("all frames came in, %v", err)
	default:
	}
	second.Release()
	if err := <-came; err != nil {
		t.Fatal(err)
	}
	if v := f.Position().Version; v != 6 {
		t.Errorf("released, the follower is at version %d, want 6", v)
	}
	if _, err := s.Entry(root, "e"); volume.KindOf(err) != volume.NotFound {
		t.Errorf("the snapshot shows what came later: %v", err)
	}
}

// A version that is no end of a frame, or has passed, cannot be had.
func TestHoldMisses(t *testing.T) {
	n, w := open(t, vfs.NewMem()), newWriter(t, "a")
	f := n.follower(nil)
	receive(t, f, w.reign())
	h, _, err := f.Hold()
	if err != nil {
		t.Fatal(err)
	}
	frame := w.frame(file(2, "a"), file(3, "b"))
	got := make(chan error, 1)
	go func() { got <- f.Receive(ctx, frame) }()
	soon, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if _, err := h.Snapshot(soon, 2); volume.KindOf(err) != volume.Unavailable {
		t.Errorf("within a frame: %v", err)
	}
	h.Release()
	if err := <-got; err != nil {
		t.Fatal(err)
	}
	if h, _, err = f.Hold(); err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	if _, err := h.Snapshot(ctx, 2); volume.KindOf(err) != volume.Unavailable {
		t.Errorf("a version that has passed: %v", err)
	}
}

// A follower that stops, or a session that ends, does not wait for a hold.
func TestHoldEnds(t *testing.T) {
	n, w := open(t, vfs.NewMem()), newWriter(t, "a")
	f := n.follower(nil)
	receive(t, f, w.reign())
	h, _, err := f.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Release()
	frame := w.frame(file(2, "a"))
	short, cancel := context.WithCancel(ctx)
	got := make(chan error, 1)
	go func() { got <- f.Receive(short, frame) }()
	cancel()
	if err := <-got; volume.KindOf(err) != volume.Interrupted {
		t.Errorf("the session has ended: %v", err)
	}
	go func() { got <- f.Receive(ctx, frame) }()
	why := errors.New("stopping")
	f.Stop(why)
	if err := <-got; !errors.Is(err, why) {
		t.Errorf("the follower has stopped: %v", err)
	}
	if _, _, err := f.Hold(); !errors.Is(err, why) {
		t.Errorf("hold of a stopped follower: %v", err)
	}
}
