package node

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// counted is a Model that counts what is open, and can hold an Open up.
type counted struct {
	*volumetest.Model
	mu    sync.Mutex
	opens map[volume.Ino]int
	calls int
	// before is called in Open, before it is done.
	before func(ino volume.Ino, write bool) error
}

func newCounted(m *volumetest.Model) *counted {
	return &counted{Model: m, opens: map[volume.Ino]int{}}
}

func (c *counted) Open(ctx context.Context, ino volume.Ino, write bool) error {
	if c.before != nil {
		if err := c.before(ino, write); err != nil {
			return err
		}
	}
	err := c.Model.Open(ctx, ino, write)
	if err == nil {
		c.mu.Lock()
		c.opens[ino]++
		c.mu.Unlock()
	}
	return err
}

func (c *counted) Close(ctx context.Context, ino volume.Ino) error {
	err := c.Model.Close(ctx, ino)
	if err == nil {
		c.mu.Lock()
		c.opens[ino]--
		c.mu.Unlock()
	}
	return err
}

func (c *counted) open(ino volume.Ino) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opens[ino]
}

func modelFile(t *testing.T, m *volumetest.Model, name string) volume.Ino {
	t.Helper()
	res, err := m.Do(context.Background(), &volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: name, Mode: volume.ModeFile | 0o644})
	if err != nil {
		t.Fatal(err)
	}
	return res.Attr.Ino
}

func TestSwitchOpensAgain(t *testing.T) {
	ctx := context.Background()
	m := volumetest.NewModel(volumetest.Options{})
	r, w, gone := modelFile(t, m, "r"), modelFile(t, m, "w"), volume.Ino(0)
	next := newCounted(m.Clone())
	gone = modelFile(t, m, "only in the old one")
	old := newCounted(m)
	h := NewHandle(old)
	for _, o := range []struct {
		ino   volume.Ino
		write bool
		n     int
	}{{r, false, 3}, {w, true, 2}, {w, false, 1}, {gone, false, 1}} {
		for range o.n {
			if err := h.Open(ctx, o.ino, o.write); err != nil {
				t.Fatal(err)
			}
		}
	}
	if stale := h.Switch(next); len(stale) != 1 || stale[0] != gone {
		t.Errorf("stale: %v, want %v", stale, gone)
	}
	if next.open(r) != 3 || next.open(w) != 3 {
		t.Errorf("open on the next: %v", next.opens)
	}
	for _, c := range []struct {
		ino volume.Ino
		n   int
	}{{r, 3}, {w, 3}} {
		for range c.n {
			if err := h.Close(ctx, c.ino); err != nil {
				t.Error(err)
			}
		}
		if next.open(c.ino) != 0 {
			t.Errorf("inode %s is open %d times", c.ino, next.open(c.ino))
		}
	}
	_ = h.Close(ctx, gone) // ESTALE or not: it must be forgotten
	if len(h.opens) != 0 {
		t.Error("counted as open:", h.opens)
	}
	// To a volume that takes no changes, writers are opened for reading.
	if err := h.Open(ctx, w, true); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []volume.Kind{volume.ReadOnly, volume.Fault, volume.Fenced} {
		follower := newCounted(m.Clone())
		follower.before = func(_ volume.Ino, write bool) error {
			if write {
				return volume.Errorf(kind, "no changes here")
			}
			return nil
		}
		if stale := h.Switch(follower); len(stale) != 0 || follower.open(w) != 1 {
			t.Errorf("%v: stale %v, open %d times", kind, stale, follower.open(w))
		}
	}
}

// An Open that fails on the old volume while a Switch opens it on the next leaves
// nothing behind, and its answer is the next volume's.
func TestSwitchDuringOpen(t *testing.T) {
	for _, write := range []bool{false, true} {
		ctx := context.Background()
		m := volumetest.NewModel(volumetest.Options{})
		ino := modelFile(t, m, "f")
		old, next := newCounted(m), newCounted(m.Clone())
		inside, hold := make(chan struct{}), make(chan struct{})
		old.before = func(volume.Ino, bool) error {
			close(inside)
			<-hold
			return volume.ReadOnly
		}
		h := NewHandle(old)
		opened := make(chan error, 1)
		go func() { opened <- h.Open(ctx, ino, write) }()
		<-inside
		switched := make(chan struct{})
		go func() { h.Switch(next); close(switched) }()
		for h.cur.Load().vol != volume.Volume(next) {
			time.Sleep(time.Millisecond)
		}
		select {
		case <-switched:
			t.Error("Switch does not wait for the call on the old volume")
		case <-time.After(10 * time.Millisecond):
		}
		close(hold)
		if err := <-opened; err != nil {
			t.Error("open:", err)
		}
		<-switched
		if next.open(ino) != 1 {
			t.Errorf("open %d times on the next volume", next.open(ino))
		}
		if err := h.Close(ctx, ino); err != nil || next.open(ino) != 0 {
			t.Errorf("after close: %v, open %d times", err, next.open(ino))
		}
	}
}

// TestSwitchUnderLoad switches between volumes while many open, use and close.
func TestSwitchUnderLoad(t *testing.T) {
	ctx := context.Background()
	m := volumetest.NewModel(volumetest.Options{})
	var inos []volume.Ino
	for i := range 5 {
		inos = append(inos, modelFile(t, m, fmt.Sprint(i)))
	}
	vols := []*counted{newCounted(m)}
	for range 3 {
		vols = append(vols, newCounted(m.Clone()))
	}
	h := NewHandle(vols[0])
	stop := make(chan struct{})
	var group sync.WaitGroup
	for w := range 6 {
		group.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				ino := inos[(w+i)%len(inos)]
				if err := h.Open(ctx, ino, i%2 == 0); err != nil {
					t.Error("open:", err)
					return
				}
				if _, err := h.ReadAt(ctx, ino, make([]byte, 4), 0); err != nil {
					t.Error("read:", err)
				}
				if _, err := h.Lookup(ctx, volume.RootIno, "0"); err != nil {
					t.Error("lookup:", err)
				}
				if err := h.Close(ctx, ino); err != nil {
					t.Error("close:", err)
					return
				}
			}
		})
	}
	at := 0
	for i := range 60 {
		before := vols[at]
		at = (at + 1) % len(vols)
		if stale := h.Switch(vols[at]); len(stale) > 0 {
			t.Error("stale:", stale)
		}
		// Nobody uses the old volume any more: it can be taken away.
		for ino := range before.opens {
			for before.open(ino) > 0 {
				if err := before.Close(ctx, ino); err != nil {
					t.Fatalf("switch %d: %v", i, err)
				}
			}
			if before.open(ino) < 0 {
				t.Fatalf("switch %d: inode %s is open %d times on the old volume", i, ino, before.open(ino))
			}
		}
		time.Sleep(time.Millisecond)
	}
	close(stop)
	group.Wait()
	for _, ino := range inos {
		if n := vols[at].open(ino); n != 0 {
			t.Errorf("inode %s is open %d times at the end", ino, n)
		}
	}
	if len(h.opens) != 0 {
		t.Error("counted as open:", h.opens)
	}
}
