package master_test

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wolfdisk/volume"
)

// What is full can be emptied: where the log has no room for anything that takes more, it has some
// for what gives back.
func TestFullCanBeEmptied(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	const files = 300
	for i := range files {
		mkFile(t, l, fmt.Sprint("f", i))
	}
	mustDo(t, l, create("d", root, volume.ModeDir))
	big := mkFile(t, l, "big")
	mustDo(t, l, &volume.Request{Kind: volume.OpSetAttr, Ino: big, Set: volume.SetSize, Size: 1 << 20})
	r.failLog(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFilePreallocate {
			return syscall.ENOSPC
		}
		return nil
	})
	data := make([]byte, 16<<10)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	var err error
	for i := 0; err == nil; i++ {
		if i > 10000 {
			t.Fatal("the log does not fill")
		}
		_, err = l.Do(ctx, &volume.Request{Kind: volume.OpWrite, Ino: big, Offset: int64(i * len(data)), Data: data})
	}
	wantKind(t, "write", err, volume.NoSpace)
	for _, req := range []*volume.Request{
		{Kind: volume.OpSetAttr, Ino: big, Set: volume.SetMode, Mode: 0o600}, // fills what is left
		create("new", root, volume.ModeFile),
		{Kind: volume.OpSetAttr, Ino: big, Set: volume.SetSize, Size: 1 << 40},
		{Kind: volume.OpFallocate, Ino: big, Offset: 1 << 40, Length: 1},
		{Kind: volume.OpLink, Ino: big, NewParent: root, NewName: "another"},
	} {
		for err = nil; err == nil; {
			_, err = l.Do(ctx, req)
		}
		wantKind(t, req.Kind.String(), err, volume.NoSpace)
	}
	for i := range files {
		mustDo(t, l, &volume.Request{Kind: volume.OpUnlink, Parent: root, Name: fmt.Sprint("f", i)})
	}
	mustDo(t, l, &volume.Request{Kind: volume.OpRename, Parent: root, Name: "d", NewParent: root, NewName: "e"})
	mustDo(t, l, &volume.Request{Kind: volume.OpRmdir, Parent: root, Name: "e"})
	mustDo(t, l, &volume.Request{Kind: volume.OpFallocate, Ino: big, Alloc: volume.FallocPunchHole | volume.FallocKeepSize, Length: 1 << 16})
	mustDo(t, l, &volume.Request{Kind: volume.OpSetAttr, Ino: big, Set: volume.SetSize})
	if err := l.Open(ctx, big, false); err != nil {
		t.Fatal(err)
	}
	mustDo(t, l, &volume.Request{Kind: volume.OpUnlink, Parent: root, Name: "big"})
	if err := l.Close(ctx, big); err != nil {
		t.Error("the last close of a file without a name:", err)
	}
	if err := l.Failed(); err != nil {
		t.Error(err)
	}
}

// What cannot be had is not promised, and not recorded.
func TestFallocateWithoutRoom(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	f := mkFile(t, l, "f")
	before := l.Position()
	for _, mode := range []uint32{0, volume.FallocKeepSize, volume.FallocZeroRange} {
		_, err := l.Do(ctx, &volume.Request{Kind: volume.OpFallocate, Ino: f, Alloc: mode, Length: 10 << 40})
		wantKind(t, "fallocate", err, volume.NoSpace)
	}
	if at := l.Position(); at != before || l.Failed() != nil {
		t.Fatal(at, before, l.Failed())
	}
	mustDo(t, l, &volume.Request{Kind: volume.OpFallocate, Ino: f, Length: 1 << 20})
	// A leader whose disk is larger may have promised it.
	op := &volume.Op{Kind: volume.OpFallocate, Ino: f, Length: 10 << 40, Version: l.Position().Version + 1, Time: l.LastTime()}
	if err := r.tree.Apply(ctx, op); err != nil {
		t.Fatal(err)
	}
	if a, err := l.GetAttr(ctx, f); err != nil || a.Size != 10<<40 {
		t.Fatal(a.Size, err)
	}
}
