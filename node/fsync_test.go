package node

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// moved is a leader whose reign ends while an fsync waits.
type moved struct {
	*counted
	waits chan struct{} // closed when one waits
	over  chan struct{}
}

func (m *moved) Sync(context.Context, volume.Ino, bool) error {
	close(m.waits)
	<-m.over
	return master.Moved
}

// asks is a follower that asks its leader.
type asks struct {
	*counted
	asked, here atomic.Int32
	replaced    bool // another is in charge
	answer      func() error
}

func (a *asks) Sync(context.Context, volume.Ino, bool) error { a.here.Add(1); return nil }

func (a *asks) fsync(context.Context, context.Context, volume.Ino, bool) error {
	if a.replaced {
		a.replaced = false
		return errReplaced
	}
	if a.answer != nil {
		return a.answer()
	}
	a.asked.Add(1)
	return nil
}

// An fsync is not answered by a leader that leads no more: whoever takes its place is asked, and a
// Switch does not wait for it. Files that were opened for writing are never synced here alone.
func TestFsyncAcrossSwitch(t *testing.T) {
	ctx := context.Background()
	m := volumetest.NewModel(volumetest.Options{})
	written, read := modelFile(t, m, "written"), modelFile(t, m, "read")
	old := &moved{newCounted(m), make(chan struct{}), make(chan struct{})}
	v := newVacancy()
	h := newHandle(old, v)
	for ino, write := range map[volume.Ino]bool{written: true, read: false} {
		if err := h.Open(ctx, ino, write); err != nil {
			t.Fatal(err)
		}
	}
	ended := make(chan error, 1)
	go func() { ended <- h.Sync(ctx, read, false) }()
	<-old.waits
	v.begin(true)
	close(old.over)
	next := &asks{counted: newCounted(m)}
	h.Switch(next) // would hang if the call were still at work on the old one
	select {
	case err := <-ended:
		t.Fatalf("ended with %v while nobody leads", err)
	case <-time.After(20 * time.Millisecond):
	}
	v.end()
	if err := <-ended; err != nil || next.asked.Load() != 1 {
		t.Errorf("ended with %v, the leader was asked %d times", err, next.asked.Load())
	}
	next.replaced = true
	for _, ino := range []volume.Ino{written, 0} {
		if err := h.Sync(ctx, ino, true); err != nil {
			t.Error(err)
		}
	}
	if err := h.Sync(ctx, read, true); err != nil || next.asked.Load() != 3 || next.here.Load() != 1 {
		t.Errorf("%v; the leader was asked %d times, want 3, this node %d times, want 1", err, next.asked.Load(), next.here.Load())
	}
	h.led.Store(true) // then it may have changed the directory that is synced now
	if err := h.Sync(ctx, read, true); err != nil || next.asked.Load() != 4 {
		t.Errorf("%v; the leader was asked %d times, want 4", err, next.asked.Load())
	}
	// The copy that it was written to is given up meanwhile: whoever leads does not have it.
	next.answer = func() error { h.losses.Add(1); return nil }
	if err := h.Sync(ctx, written, true); volume.KindOf(err) != volume.IO {
		t.Errorf("of what has lost a fork: %v", err)
	}
}

// Who does not want to wait for ever gets what he has configured.
func TestFsyncIsLate(t *testing.T) {
	m := volumetest.NewModel(volumetest.Options{})
	for _, then := range []error{nil, volume.IO} {
		old := &moved{newCounted(m), make(chan struct{}), make(chan struct{})}
		close(old.over)
		v := newVacancy()
		h := newHandle(old, v)
		h.late = syncLimit{10 * time.Millisecond, func() error { return then }}
		if err := h.Sync(context.Background(), volume.RootIno, false); !errors.Is(err, then) {
			t.Errorf("ended with %v, want %v", err, then)
		}
	}
	h := newHandle(&moved{newCounted(m), make(chan struct{}), func() chan struct{} { c := make(chan struct{}); close(c); return c }()}, newVacancy())
	time.AfterFunc(10*time.Millisecond, h.vacancy.close)
	if err := h.Sync(context.Background(), volume.RootIno, false); err != errAskedToStop {
		t.Errorf("a node that stops: %v", err)
	}
}

// slowDisk is a leader whose disk fails after others have been waited for long enough.
type slowDisk struct{ *counted }

func (slowDisk) Sync(ctx context.Context, _ volume.Ino, _ bool) error {
	select {
	case <-ctx.Done():
		return volume.Interrupted
	case <-time.After(50 * time.Millisecond):
		return volume.Errorf(volume.IO, "the disk")
	}
}

// Who can do without other nodes does not do without this one's disk.
func TestFsyncDegradesNotTheDisk(t *testing.T) {
	h := newHandle(slowDisk{newCounted(volumetest.NewModel(volumetest.Options{}))}, newVacancy())
	h.late = syncLimit{time.Millisecond, func() error { return nil }}
	if err := h.Sync(context.Background(), volume.RootIno, false); volume.KindOf(err) != volume.IO {
		t.Errorf("ended with %v", err)
	}
}
