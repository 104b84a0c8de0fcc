package index

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// filled is an engine with some of everything: names, links, attributes, targets, an
// inode without a name, one that has ended and is still open, members.
func filled(t *testing.T) *Engine {
	t.Helper()
	e := openEngine(t, Options{})
	t.Cleanup(func() { e.Close() })
	f := newFeeder(t, e)
	dir := &volume.Op{Kind: volume.OpCreate, Ino: 10, Parent: root, Name: "dir", Mode: volume.ModeDir | 0o755}
	f.enter(dir, file(11, "a"), &volume.Op{Kind: volume.OpLink, Ino: 11, Parent: 10, Name: "b"})
	f.enter(&volume.Op{Kind: volume.OpCreate, Ino: 12, Parent: 10, Name: "l", Mode: volume.ModeLink | 0o777, Target: "a"})
	f.enter(&volume.Op{Kind: volume.OpSetXattr, Ino: 11, Name: "user.k", Data: bytes.Repeat([]byte("v"), 60000)})
	f.enter(&volume.Op{Kind: volume.OpWrite, Ino: 11, Data: []byte("content"), DataOff: 30})
	f.enter(file(13, "gone"), file(14, "open"))
	if err := e.Pin(14); err != nil {
		t.Fatal(err)
	}
	f.enter(&volume.Op{Kind: volume.OpUnlink, Ino: 13, Parent: root, Name: "gone"})
	f.enter(&volume.Op{Kind: volume.OpUnlink, Ino: 14, Parent: root, Name: "open", Flags: volume.OpEnds})
	f.enter(&volume.Op{Kind: volume.OpMember, Member: volume.Member{ID: "n", Role: volume.RoleFollower, Address: "h:1"}})
	return e
}

func export(t *testing.T, e *Engine) []byte {
	t.Helper()
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var b bytes.Buffer
	if err := s.Export(&b, func() {}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func importOf(b []byte) (*Engine, error) {
	opt := Options{FS: vfs.NewMem(), Dir: "index", Extents: true, Log: zerolog.Nop(), MemTable: 1 << 20}
	return Import(opt, bytes.NewReader(b), func(Head) error { return nil }, func() {})
}

// An import holds what the export was made of, but for what is node-local, and goes on
// from there.
func TestExportImport(t *testing.T) {
	e := filled(t)
	b := export(t, e)
	got, err := importOf(b)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if again := export(t, got); !bytes.Equal(again, b) {
		t.Fatal("what was imported exports differently")
	}
	if got.Position() != e.Position() || len(got.Lineage()) != 1 || len(got.Members()) != 1 {
		t.Fatalf("imported at %v with %d reigns and %d members", got.Position(), len(got.Lineage()), len(got.Members()))
	}
	if _, err := got.Inode(14); !errors.Is(err, volume.NotFound) {
		t.Fatalf("an inode that has ended was exported: %v", err)
	}
	if a, err := got.Inode(13); err != nil || a.Nlink != 0 {
		t.Fatalf("the inode without a name: %+v, %v", a, err)
	}
	err = got.Extents(11, 0, 100, func(x volume.Extent) bool {
		t.Fatalf("extent %+v was exported", x)
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	f := &feeder{t: t, e: got, time: got.LastTime()}
	f.enter(file(20, "after"), &volume.Op{Kind: volume.OpUnlink, Ino: 11, Parent: root, Name: "a"})
}

// A stream that is cut off or changed anywhere never becomes an index.
func TestImportOfDamage(t *testing.T) {
	b := export(t, filled(t))
	for at := 0; at < len(b); at += 1 + len(b)/97 {
		if e, err := importOf(b[:at]); err == nil {
			e.Close()
			t.Fatalf("cut off after %d of %d bytes it was imported", at, len(b))
		}
		bad := bytes.Clone(b)
		bad[at] ^= 0x40
		e, err := importOf(bad)
		if err != nil {
			continue
		}
		e.Close()
		t.Fatalf("with byte %d changed it was imported", at)
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(exportMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := importOf(b)
		if err == nil {
			e.Close()
		} else if errors.Is(err, io.EOF) {
			t.Fatalf("an error that looks like an end: %v", err)
		}
	})
}

// SetContent replaces a range's extents, and remembers how far it has come.
func TestSetContent(t *testing.T) {
	e := filled(t)
	id := volume.ChunkID{1, 2, 3}
	x := volume.Extent{Off: 2, Len: 4, Chunk: volume.ChunkRef{ID: id, Offset: 9, Length: 4}}
	if err := e.SetContent([]Content{{Ino: 11, Off: 0, Len: 7, Extents: []volume.Extent{x}}}, []byte("here")); err != nil {
		t.Fatal(err)
	}
	var got []volume.Extent
	if err := e.Extents(11, 0, 100, func(x volume.Extent) bool { got = append(got, x); return true }); err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 || got[0] != x {
		t.Fatalf("extents %+v, want %+v", got, x)
	}
	if c, err := e.Cursor(); err != nil || string(c) != "here" {
		t.Fatalf("cursor %q, %v", c, err)
	}
	if err := e.SetContent(nil, nil); err != nil {
		t.Fatal(err)
	}
	if c, err := e.Cursor(); err != nil || c != nil {
		t.Fatalf("cursor %q, %v after it was removed", c, err)
	}
	if err := e.SetContent([]Content{{Ino: 11, Off: 0, Len: 3, Extents: []volume.Extent{x}}}, nil); !errors.Is(err, volume.Invalid) {
		t.Fatalf("an extent outside of its range: %v", err)
	}
}
