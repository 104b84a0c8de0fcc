package index

import (
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// endsLater makes inodes 2 (file with content, an attribute, a lower record) and 3 (link),
// pins both and ends them.
func endsLater(t *testing.T, e *Engine) *feeder {
	t.Helper()
	f := newFeeder(t, e)
	f.enter(file(2, "a"), &volume.Op{Kind: volume.OpCreate, Ino: 3, Parent: root, Name: "l", Mode: volume.ModeLink | 0o777, Target: "to"})
	f.enter(write(2, 0, []byte("hello")), &volume.Op{Kind: volume.OpSetXattr, Ino: 2, Name: "user.x", Data: []byte("v")})
	if err := e.PutLower([]volume.LowerRecord{{Ino: 2, Key: []byte("handle"), Value: []byte("rec")}}); err != nil {
		t.Fatal(err)
	}
	for _, ino := range []volume.Ino{2, 2, 3} {
		if err := e.Pin(ino); err != nil {
			t.Fatal(err)
		}
	}
	f.enter(&volume.Op{Kind: volume.OpUnlink, Ino: 2, Parent: root, Name: "a", Flags: volume.OpEnds})
	f.enter(&volume.Op{Kind: volume.OpUnlink, Ino: 3, Parent: root, Name: "l"})
	f.enter(&volume.Op{Kind: volume.OpEnd, Ino: 3})
	return f
}

func wantReadable(t *testing.T, e *Engine) {
	t.Helper()
	a, err := e.GetAttr(2)
	if err != nil || a.Size != 5 || a.Nlink != 0 {
		t.Errorf("attributes %+v, %v", a, err)
	}
	n := 0
	if err := e.Extents(2, 0, 10, func(volume.Extent) bool { n++; return true }); err != nil || n != 1 {
		t.Errorf("%d extents, %v", n, err)
	}
	if v, err := e.GetXattr(2, "user.x"); err != nil || string(v) != "v" {
		t.Errorf("attribute %q, %v", v, err)
	}
	if v, err := e.Lower(2); err != nil || string(v) != "rec" {
		t.Errorf("lower record %q, %v", v, err)
	}
}

// wantGone checks that nothing but the root is left.
func wantGone(t *testing.T, e *Engine) {
	t.Helper()
	for _, ino := range []volume.Ino{2, 3} {
		_, err := e.GetAttr(ino)
		wantKind(t, "ended inode", err, volume.Stale)
	}
	for k := range dump(t, e) {
		if k != string(metaKey) && k[0] != kReign && k != string(keyIno(kInode, root)) {
			t.Errorf("key %q is left", k)
		}
	}
}

func TestPinnedStaysReadable(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Close()
	f := endsLater(t, e)
	wantReadable(t, e)
	if s, err := e.ReadLink(3); err != nil || s != "to" {
		t.Errorf("target %q, %v", s, err)
	}
	if files, bytes := e.Counts(); files != 1 || bytes != 0 {
		t.Errorf("%d files, %d bytes", files, bytes)
	}
	if orphans, err := e.Orphans(); err != nil || len(orphans) != 0 {
		t.Errorf("orphans %v, %v", orphans, err)
	}
	// Who has ended takes no ops, on no node.
	for _, op := range []*volume.Op{write(2, 0, []byte("x")), {Kind: volume.OpEnd, Ino: 2}, {Kind: volume.OpLink, Ino: 3, Parent: root, Name: "n"}, file(2, "again")} {
		wantKind(t, "op on an ended inode", f.try(op), volume.WrongHistory)
	}
	if err := e.Unpin(2); err != nil {
		t.Error(err)
	}
	wantReadable(t, e)
	for _, ino := range []volume.Ino{2, 3} {
		if err := e.Unpin(ino); err != nil {
			t.Error(err)
		}
	}
	wantGone(t, e)
	wantKind(t, "pin of an ended inode", e.Pin(2), volume.Stale)
	if len(e.pins.counts) != 0 {
		t.Error("pins are left:", e.pins.counts)
	}
}

// A nameless inode that was made so, ended and is pinned, takes no name any more.
func TestPinnedTemporary(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Close()
	f := newFeeder(t, e)
	f.enter(file(2, ""))
	if err := e.Pin(2); err != nil {
		t.Fatal(err)
	}
	f.enter(&volume.Op{Kind: volume.OpEnd, Ino: 2})
	wantKind(t, "link", f.try(&volume.Op{Kind: volume.OpLink, Ino: 2, Parent: root, Name: "n"}), volume.WrongHistory)
	wantKind(t, "publish", f.try(&volume.Op{Kind: volume.OpPublish, Ino: 2, Parent: root, Name: "n"}), volume.WrongHistory)
	if err := e.Unpin(2); err != nil {
		t.Error(err)
	}
	wantGone(t, e)
}

func TestPinnedIsGoneAfterReopen(t *testing.T) {
	for _, clean := range []bool{true, false} {
		fs := vfs.NewMem()
		e := openEngine(t, Options{FS: fs})
		endsLater(t, e)
		err := e.Flush()
		if clean {
			err = e.Close()
		} else if err == nil {
			err = e.Abandon()
		}
		if err != nil {
			t.Fatal(err)
		}
		e = openEngine(t, Options{FS: fs})
		wantGone(t, e)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Pins race with the op that ends the inode: either the pin holds, or it says Stale.
func TestPinRaces(t *testing.T) {
	e := openEngine(t, Options{})
	defer e.Close()
	f := newFeeder(t, e)
	pinned := 0
	for i := range volume.Ino(200) {
		ino := 2 + i
		f.enter(file(ino, "a"))
		got := make(chan error)
		go func() { got <- e.Pin(ino) }()
		f.enter(&volume.Op{Kind: volume.OpUnlink, Ino: ino, Parent: root, Name: "a", Flags: volume.OpEnds})
		switch err := <-got; {
		case err == nil:
			pinned++
			if _, err := e.GetAttr(ino); err != nil {
				t.Fatal("pinned, but", err)
			}
			if err := e.Unpin(ino); err != nil {
				t.Fatal(err)
			}
		default:
			wantKind(t, "pin", err, volume.Stale)
		}
		if _, err := e.GetAttr(ino); err != volume.Stale {
			t.Fatal("still there:", err)
		}
	}
	t.Log(pinned, "of 200 pinned")
}

// What ends is told with what its ops left of it, before readers miss it; also what somebody has open.
func TestEndingIsTold(t *testing.T) {
	var e *Engine
	var told []volume.Attr
	e = openEngine(t, Options{Ending: func(a *volume.Attr) {
		if _, err := e.GetAttr(a.Ino); err != nil {
			t.Errorf("inode %s is gone already: %v", a.Ino, err)
		}
		told = append(told, *a)
	}})
	defer e.Close()
	f := newFeeder(t, e)
	f.enter(file(2, "a"), file(3, "b"), file(4, "c"), &volume.Op{Kind: volume.OpCreate, Ino: 5, Parent: root, Name: "d", Mode: volume.ModeDir | 0o755})
	if err := e.Pin(3); err != nil {
		t.Fatal(err)
	}
	want := func(inos ...volume.Ino) {
		t.Helper()
		var got []volume.Ino
		for _, a := range told {
			got = append(got, a.Ino)
			if a.Nlink != 0 || a.Mode&0o777 != 0o600 || a.Ctime == (volume.Time{}) {
				t.Errorf("told %+v", a)
			}
		}
		if !slices.Equal(got, inos) {
			t.Errorf("told of %v, want %v", got, inos)
		}
		told = nil
	}
	chmod := func(ino volume.Ino) *volume.Op {
		return &volume.Op{Kind: volume.OpSetAttr, Ino: ino, Mask: volume.SetMode, Mode: 0o600}
	}
	want()
	f.enter(chmod(2), chmod(5), &volume.Op{Kind: volume.OpUnlink, Ino: 2, Parent: root, Name: "a", Flags: volume.OpEnds},
		&volume.Op{Kind: volume.OpRmdir, Ino: 5, Parent: root, Name: "d", Flags: volume.OpEnds})
	want(2, 5)
	f.enter(chmod(3), chmod(4), &volume.Op{Kind: volume.OpRename, Ino: 4, Parent: root, Name: "c", NewParent: root, NewName: "b", Replaced: 3, Flags: volume.OpEnds})
	want(3)
	f.enter(&volume.Op{Kind: volume.OpUnlink, Ino: 4, Parent: root, Name: "b"})
	want()
	f.enter(&volume.Op{Kind: volume.OpEnd, Ino: 4})
	want(4)
}
