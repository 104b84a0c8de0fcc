package fusefs

import (
	"context"
	"testing"
	"time"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// What was observed is unseen until the kernel has been told, in the order of the ops.
func TestUnseen(t *testing.T) {
	first, second := "inode 5 -1 0", "inode 6 -1 0"
	f := &fakeKernel{block: map[string]chan bool{first: make(chan bool), second: make(chan bool)}}
	k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	known(k, 5, 6)
	unseen := func(want volume.Version, wantAny bool) func() bool {
		return func() bool { v, any := k.Unseen(); return v == want && any == wantAny }
	}
	chmod := func(v volume.Version, ino volume.Ino) *volume.Op {
		return &volume.Op{Kind: volume.OpSetAttr, Version: v, Ino: ino}
	}
	if !unseen(0, false)() {
		t.Fatal("something is unseen at the start")
	}
	k.Applied(nil)
	k.Applied([]*volume.Op{chmod(7, 5), chmod(8, 5)})
	k.Applied([]*volume.Op{chmod(9, 6)})
	if !unseen(7, true)() {
		t.Errorf("unseen %v, want 7", k.unseen.marks)
	}
	close(f.block[first])
	eventually(t, "7 and 8 are seen", unseen(9, true))
	close(f.block[second])
	eventually(t, "all is seen", unseen(0, false))
	k.Applied([]*volume.Op{chmod(10, 99)}) // the kernel does not know it
	if !unseen(0, false)() {
		t.Error("an op is unseen that nobody can see")
	}
}

// Marks are few, however long the kernel takes.
func TestUnseenIsBounded(t *testing.T) {
	block := "inode 5 -1 0"
	f := &fakeKernel{block: map[string]chan bool{block: make(chan bool)}}
	k, _ := fakeCore(t, volumetest.NewModel(volumetest.Options{}), f)
	known(k, 5)
	for v := volume.Version(1); v <= 3*maxMarks; v++ {
		k.Applied([]*volume.Op{{Kind: volume.OpSetAttr, Version: v, Ino: 5}})
	}
	if v, any := k.Unseen(); v != 1 || !any || len(k.unseen.marks) != maxMarks {
		t.Errorf("unseen from %d on (%v), %d marks", v, any, len(k.unseen.marks))
	}
	close(f.block[block])
	eventually(t, "all is seen", func() bool { _, any := k.Unseen(); return !any })
}

// A FIFO, socket or device is open in the volume for as long as the kernel knows it.
func TestSpecialFilesArePinned(t *testing.T) {
	m := volumetest.NewModel(volumetest.Options{})
	k, c := fakeCore(t, m, new(fakeKernel))
	if errno := k.mknod(c, volume.RootIno, "fifo", volume.ModeFIFO|0o600, 0, 0); errno != 0 {
		t.Fatal(errno)
	}
	ino := c.attr.Ino
	if errno := k.unlink(c, volume.RootIno, "fifo"); errno != 0 {
		t.Fatal(errno)
	}
	if a, err := m.GetAttr(c.ctx, ino); err != nil || a.Nlink != 0 {
		t.Errorf("while the kernel knows it: %+v, %v", a, err)
	}
	k.forget(uint64(ino), 1)
	eventually(t, "it ends when it was forgotten", func() bool {
		_, err := m.GetAttr(c.ctx, ino)
		return volume.KindOf(err) == volume.Stale
	})
}

// shutGate is a volume whose changes wait.
type shutGate struct {
	volume.Volume
	open chan bool
}

func (v shutGate) Close(ctx context.Context, ino volume.Ino) error {
	<-v.open
	return v.Volume.Close(ctx, ino)
}

// FORGET waits for nothing, whatever ends with it.
func TestForgetDoesNotWait(t *testing.T) {
	v := shutGate{volumetest.NewModel(volumetest.Options{}), make(chan bool)}
	k, c := fakeCore(t, v, new(fakeKernel))
	var inos []volume.Ino
	for _, name := range []string{"a", "b"} {
		if errno := k.mknod(c, volume.RootIno, name, volume.ModeFIFO|0o600, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
		inos = append(inos, c.attr.Ino)
		if errno := k.unlink(c, volume.RootIno, name); errno != 0 {
			t.Fatal(errno)
		}
	}
	forgot := make(chan bool)
	go func() {
		for _, ino := range inos {
			k.forget(uint64(ino), 1)
		}
		close(forgot)
	}()
	select {
	case <-forgot:
	case <-time.After(10 * time.Second):
		t.Error("FORGET waits")
	}
	close(v.open)
	k.kept.running.Wait()
	for _, ino := range inos {
		if _, err := v.GetAttr(c.ctx, ino); volume.KindOf(err) != volume.Stale {
			t.Errorf("not closed: %v", err)
		}
	}
}
