package fusefs

import (
	"syscall"
	"testing"
	"time"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// A path whose inode ended before it was opened leads to something on its second look, whatever
// becomes of that; a thread that met nothing of the kind keeps nothing; and what was kept is closed.
func TestRepeatedPath(t *testing.T) {
	m := volumetest.NewModel(volumetest.Options{})
	m.Reign(volume.Epoch{Number: 1, Leader: "a"}, "a")
	k, _ := fakeCore(t, m, new(fakeKernel))
	as := func(pid uint32) *call {
		c := k.calls.get()
		c.begin(1, 0, 0, pid)
		return c
	}
	writer, reader, other := as(1), as(2), as(3)
	lookup := func(c *call) volume.Ino {
		t.Helper()
		if errno := k.lookup(c, volume.RootIno, "f"); errno != 0 || c.attr.Ino == 0 {
			t.Fatal(errno, c.attr)
		}
		return c.attr.Ino
	}
	replace := func() {
		t.Helper()
		if errno := k.mknod(writer, volume.RootIno, "new", 0o644, 0, 0); errno != 0 {
			t.Fatal(errno)
		}
		if errno := k.rename(writer, volume.RootIno, "new", volume.RootIno, "f", 0); errno != 0 {
			t.Fatal(errno)
		}
	}
	open := func(c *call, ino volume.Ino) syscall.Errno { return k.open(c, ino, syscall.O_RDONLY, false) }

	replace()
	first := lookup(reader)
	replace()
	if errno := open(reader, first); errno != syscall.ESTALE {
		t.Fatalf("what has ended opens with %v", errno)
	}
	begun := time.Now()
	second, others := lookup(reader), lookup(other)
	if second != others {
		t.Fatal(second, others)
	}
	replace()
	if errno := open(reader, second); errno != 0 {
		t.Fatalf("the second look led to what opens with %v", errno)
	}
	if errno := k.release(reader, second); errno != 0 {
		t.Fatal(errno)
	}
	eventually(t, "what was kept ends", func() bool {
		_, err := m.GetAttr(t.Context(), second)
		return volume.KindOf(err) == volume.Stale && err != nil
	})
	if _, opens := k.nodes.count(); opens != 0 {
		t.Errorf("%d are open", opens)
	}
	if d := time.Since(begun); d < repeatFor {
		t.Errorf("it was kept for %v", d)
	}
	// Who met nothing of the kind keeps nothing.
	third := lookup(other)
	replace()
	if errno := open(other, third); errno != syscall.ESTALE {
		t.Errorf("a thread whose path was not repeated opens what has ended: %v", errno)
	}
}

// The threads and what they keep are bounded, and pass.
func TestRepeatsBounded(t *testing.T) {
	var r repeats
	now := time.Now()
	for i := range uint32(maxRepeats + 10) {
		r.note(i, now)
	}
	if len(r.m) != maxRepeats || r.take(maxRepeats+1) {
		t.Errorf("%d threads", len(r.m))
	}
	for range maxRepeats {
		if !r.take(0) {
			t.Fatal("a thread keeps too little")
		}
	}
	if r.take(0) {
		t.Error("a thread keeps too much")
	}
	r.note(0, now.Add(-2*repeatFor)) // looked at a thread again, long ago
	if r.take(0) || len(r.m) != maxRepeats-1 {
		t.Error("what has passed is there")
	}
	for id := range r.m {
		r.m[id] = repeat{now.Add(-time.Hour), 1}
	}
	if r.take(1) || r.any.Load() {
		t.Error("all have passed")
	}
}
