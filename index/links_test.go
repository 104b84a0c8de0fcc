package index

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// A file has no more names than ext4 can keep, whatever type it is of, and directories more
// subdirectories. What was recorded before there was a limit is entered all the same.
func TestManyNames(t *testing.T) {
	const ext4 = 65_000
	e := openEngine(t, Options{})
	defer e.Close()
	f := newFeeder(t, e)
	ask := func(req *volume.Request) error {
		t.Helper()
		d, err := e.Decide(req, Env{Now: volume.Time{Sec: f.time.Sec + 1}, InUse: func(volume.Ino) bool { return false }, Locked: func(volume.Ino) bool { return true }})
		if err == nil {
			f.enter(d.Ops...)
		}
		return err
	}
	must := func(what string, req *volume.Request) {
		t.Helper()
		if err := ask(req); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// nlink makes an inode look as if it had so many links.
	nlink := func(ino volume.Ino, to uint32) {
		t.Helper()
		n, err := e.inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		n.Nlink = to
		if err := e.db.Set(keyIno(kInode, ino), n.encode(), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		e.cache.put(ino, n)
	}
	f.enter(dir(2, root, "d"))
	for i, typ := range []uint32{volume.ModeFile, volume.ModeLink, volume.ModeFIFO} {
		ino, name := volume.Ino(10+i), fmt.Sprint("name", i)
		op := &volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: root, Name: name, Mode: typ | 0o644}
		if typ == volume.ModeLink {
			op.Target = "to"
		}
		f.enter(op)
		nlink(ino, ext4-1)
		link := &volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: 2, NewName: name}
		must("the last name", link)
		more := &volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: 2, NewName: name + " more"}
		wantKind(t, "one more", ask(more), volume.TooManyLinks)
		must("another name instead", &volume.Request{Kind: volume.OpRename, Parent: 2, Name: name, NewParent: root, NewName: name + " moved"})
		must("one less", &volume.Request{Kind: volume.OpUnlink, Parent: root, Name: name + " moved"})
		must("and one more", more)
		f.enter(&volume.Op{Kind: volume.OpLink, Ino: ino, Parent: 2, Name: "before the limit" + name})
	}
	f.enter(file(20, ""))
	must("the first name of a nameless file", &volume.Request{Kind: volume.OpLink, Ino: 20, NewParent: 2, NewName: "first"})
	nlink(20, ext4)
	wantKind(t, "of one that was nameless", ask(&volume.Request{Kind: volume.OpLink, Ino: 20, NewParent: 2, NewName: "more"}), volume.TooManyLinks)
	nlink(2, ext4)
	e.BeginEpoch(1)
	f.enter(dir(3, root, "e"))
	must("a subdirectory", &volume.Request{Kind: volume.OpCreate, Parent: 2, Name: "sub", Mode: volume.ModeDir | 0o755})
	must("one from elsewhere", &volume.Request{Kind: volume.OpRename, Parent: root, Name: "e", NewParent: 2, NewName: "e"})
}
