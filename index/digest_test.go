package index

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// digestsOf is for an engine as it is now.
func digestsOf(t *testing.T, e *Engine) *Digests {
	t.Helper()
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.Digests(nil)
}

// entries is all of a directory, by name.
func entries(t *testing.T, d *Digests, dir volume.Ino) map[string]Entry {
	t.Helper()
	m := map[string]Entry{}
	if err := d.List(context.Background(), dir, func(e *Entry) error { m[e.Name] = *e; return nil }); err != nil {
		t.Fatal(err)
	}
	return m
}

// own is what an entry says but for what is below it.
func own(e Entry) string {
	e.Tree = Sum{}
	return string(e.Append(nil))
}

// walkDiff goes down where sums differ and lists the paths at which something does, and
// how many directories it looked into.
func walkDiff(t *testing.T, a, b *Digests) (paths []string, looked int) {
	t.Helper()
	top := func(d *Digests) Entry {
		e, err := d.Find(context.Background(), "")
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	var dir func(path string, i, j volume.Ino)
	one := func(path string, x, y Entry) {
		if own(x) != own(y) {
			paths = append(paths, path)
		}
		if x.Tree != y.Tree && x.Attr.IsDir() && y.Attr.IsDir() {
			dir(path+"/", x.Ino, y.Ino)
		}
	}
	dir = func(path string, i, j volume.Ino) {
		looked++
		mine, theirs := entries(t, a, i), entries(t, b, j)
		for name, x := range mine {
			if y, ok := theirs[name]; ok {
				one(path+name, x, y)
			} else {
				paths = append(paths, path+name)
			}
		}
		for name := range theirs {
			if _, ok := mine[name]; !ok {
				paths = append(paths, path+name)
			}
		}
	}
	one("", top(a), top(b))
	dir("?", NoDir, NoDir)
	slices.Sort(paths)
	return paths, looked
}

// pathsOf are all paths of an inode, as walkDiff writes them.
func pathsOf(t *testing.T, e *Engine, ino volume.Ino) []string {
	t.Helper()
	if ino == root {
		return []string{""}
	}
	refs, err := e.Names(ino)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, r := range refs {
		above := pathsOf(t, e, r.Parent)[0]
		if r.Parent == root {
			above = ""
		}
		paths = append(paths, above+"/"+r.Name)
	}
	if len(refs) == 0 {
		paths = []string{"?" + ino.String()}
	}
	slices.Sort(paths)
	return paths
}

// tamper changes one record of a store and returns how to undo it. A nil value removes.
func tamper(t *testing.T, e *Engine, key, val []byte) func() {
	t.Helper()
	before, ok, err := e.get(key)
	if err != nil {
		t.Fatal(err)
	}
	put := func(val []byte, there bool) {
		var err error
		if there {
			err = e.db.Set(key, val, pebble.NoSync)
		} else {
			err = e.db.Delete(key, pebble.NoSync)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	put(val, val != nil)
	return func() { put(before, ok) }
}

// TestDigests plants every kind of difference into one of two equal indexes: it is
// found at its path, and nowhere else.
func TestDigests(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ops := history(t, seed, 1200)
			last := ops[len(ops)-1]
			ops = append(ops, &volume.Op{Kind: volume.OpCreate, Version: last.Version + 1, Time: last.Time, Ino: 1 << 41, Parent: root, Name: "link to nowhere", Mode: volume.ModeLink | 0o777, Target: "nowhere"})
			r := rand.New(rand.NewPCG(seed, 5))
			a, b := openEngine(t, Options{}), openEngine(t, Options{})
			t.Cleanup(func() { a.Close(); b.Close() })
			enterAll(t, a, ops, len(ops), 1, r)
			enterAll(t, b, ops, len(ops), 20, r)
			mine := digestsOf(t, a)
			if got, _ := walkDiff(t, mine, digestsOf(t, b)); len(got) > 0 {
				t.Fatalf("equal indexes differ at %q", got)
			}
			all := inodes(t, a)
			for range 12 {
				plantInode(t, b, mine, all[r.IntN(len(all))])
				plantEntry(t, b, mine, all[r.IntN(len(all))])
			}
			plantSpecial(t, b, mine, all)
		})
	}
}

func inodes(t *testing.T, e *Engine) (all []volume.Attr) {
	t.Helper()
	s, err := e.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Inodes(1, func(a volume.Attr) bool { all = append(all, a); return true }); err != nil {
		t.Fatal(err)
	}
	return all
}

func wantFound(t *testing.T, what string, mine *Digests, b *Engine, want []string, undo func()) {
	t.Helper()
	got, _ := walkDiff(t, mine, digestsOf(t, b))
	if !slices.Equal(got, want) {
		t.Errorf("%s: found at %q, want %q", what, got, want)
	}
	undo()
	if got, looked := walkDiff(t, mine, digestsOf(t, b)); len(got) > 0 || looked > 1 {
		t.Fatalf("%s: after taking it back still %q, %d directories looked into", what, got, looked)
	}
}

// plantInode changes each field of an inode by the least there is.
func plantInode(t *testing.T, b *Engine, mine *Digests, a volume.Attr) {
	t.Helper()
	want := pathsOf(t, b, a.Ino)
	for name, change := range map[string]func(n *inode){
		"mode":    func(n *inode) { n.Mode ^= 1 },
		"setuid":  func(n *inode) { n.Mode ^= volume.ModeSetUID },
		"uid":     func(n *inode) { n.UID++ },
		"gid":     func(n *inode) { n.GID++ },
		"rdev":    func(n *inode) { n.Rdev ^= 1 << 31 },
		"nlink":   func(n *inode) { n.Nlink++ },
		"size":    func(n *inode) { n.Size++ },
		"atime":   func(n *inode) { n.Atime.Nsec ^= 1 },
		"mtime":   func(n *inode) { n.Mtime.Nsec ^= 1 },
		"ctime":   func(n *inode) { n.Ctime.Nsec ^= 1 },
		"btime":   func(n *inode) { n.Btime.Sec++ },
		"version": func(n *inode) { n.Version++ },
	} {
		n, err := readInode(b.db, a.Ino)
		if err != nil {
			t.Fatal(err)
		}
		change(&n)
		wantFound(t, name+" of "+a.Ino.String(), mine, b, want, tamper(t, b, keyIno(kInode, a.Ino), n.encode()))
	}
	wantFound(t, "an attribute more", mine, b, want, tamper(t, b, keyInoName(kXattr, a.Ino, "user.planted"), []byte{}))
	wantFound(t, "no inode", mine, b, want, tamper(t, b, keyIno(kInode, a.Ino), nil))
}

// plantEntry changes one name of an inode.
func plantEntry(t *testing.T, b *Engine, mine *Digests, a volume.Attr) {
	t.Helper()
	refs, err := b.Names(a.Ino)
	if err != nil {
		t.Fatal(err)
	}
	if len(refs) == 0 || a.IsDir() {
		return
	}
	dir, name := refs[0].Parent, refs[0].Name
	above := pathsOf(t, b, dir)
	path := strings.TrimSuffix(above[0], "/") + "/" + name
	key := keyInoName(kDirent, dir, name)
	d, _, err := b.dirent(dir, name)
	if err != nil {
		t.Fatal(err)
	}
	other := d
	other.cookie++
	wantFound(t, "cookie", mine, b, []string{path}, tamper(t, b, key, other.encode("")))
	other = d
	other.typ ^= volume.ModeSocket
	wantFound(t, "type", mine, b, []string{path}, tamper(t, b, key, other.encode("")))
	other = d
	other.ino = root + 1<<40
	wantFound(t, "inode", mine, b, []string{path}, tamper(t, b, key, other.encode("")))
	wantFound(t, "name missing", mine, b, []string{path}, tamper(t, b, key, nil))
	wantFound(t, "name extra", mine, b, []string{path + ".x"}, tamper(t, b, keyInoName(kDirent, dir, name+".x"), d.encode("")))
	wantFound(t, "not in the listing", mine, b, above[:1], tamper(t, b, keyInoNum(kCookie, dir, d.cookie), nil))
}

// plantSpecial changes targets and values of attributes.
func plantSpecial(t *testing.T, b *Engine, mine *Digests, all []volume.Attr) {
	t.Helper()
	links, xattrs := 0, 0
	for _, a := range all {
		want := pathsOf(t, b, a.Ino)
		if a.Type() == volume.ModeLink && links < 5 {
			links++
			wantFound(t, "target", mine, b, want, tamper(t, b, keyIno(kTarget, a.Ino), []byte("elsewhere")))
			wantFound(t, "no target", mine, b, want, tamper(t, b, keyIno(kTarget, a.Ino), nil))
		}
		list, err := readXattrs(b.db, a.Ino)
		if err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 && xattrs < 5 {
			xattrs++
			key := keyInoName(kXattr, a.Ino, list[0].Name)
			changed := append(bytes.Clone(list[0].Value), 0)
			wantFound(t, "value", mine, b, want, tamper(t, b, key, changed))
			wantFound(t, "attribute missing", mine, b, want, tamper(t, b, key, nil))
		}
	}
	if links == 0 || xattrs == 0 {
		t.Fatalf("the history made %d links and %d attributes", links, xattrs)
	}
}

// A directory that lies in itself is an error, not a walk without end.
func TestDigestsLoop(t *testing.T) {
	e := openEngine(t, Options{})
	t.Cleanup(func() { e.Close() })
	newFeeder(t, e).enter(dir(10, root, "a"), dir(11, 10, "b"))
	undo := tamper(t, e, keyInoName(kDirent, 11, "loop"), dirent{ino: 10, typ: volume.ModeDir, cookie: 99}.encode(""))
	_, err := digestsOf(t, e).Find(context.Background(), "")
	wantKind(t, "a loop", err, volume.Corrupt)
	undo()
}

func TestDigestsFind(t *testing.T) {
	e := filled(t)
	d := digestsOf(t, e)
	for path, want := range map[string]volume.Ino{"": root, "dir": 10, "dir/b": 11, "a": 11, "dir/l": 12, "//dir//b/": 11} {
		got, err := d.Find(context.Background(), path)
		if err != nil || got.Ino != want {
			t.Errorf("%q is inode %s, %v; want %s", path, got.Ino, err, want)
		}
	}
	for path, want := range map[string]volume.Kind{"none": volume.NotFound, "a/b": volume.NotDir, "dir/..": volume.Invalid} {
		_, err := d.Find(context.Background(), path)
		wantKind(t, path, err, want)
	}
	// One that has ended and is only open here is nobody's to compare.
	if got := entries(t, d, NoDir); len(got) != 1 || got[volume.Ino(13).String()].Ino != 13 {
		t.Errorf("without a name: %v", got)
	}
}

// Sums are kept for large directories only, so memory does not follow the names.
func TestDigestsMemory(t *testing.T) {
	e := openEngine(t, Options{})
	t.Cleanup(func() { e.Close() })
	f := newFeeder(t, e)
	for i := range volume.Ino(300) {
		f.enter(dir(1000+i, root, fmt.Sprint(i)), &volume.Op{Kind: volume.OpCreate, Ino: 2000 + i, Parent: 1000 + i, Name: "f", Mode: volume.ModeFile | 0o600})
	}
	d := digestsOf(t, e)
	if _, err := d.Find(context.Background(), ""); err != nil {
		t.Fatal(err)
	}
	if len(d.cache) != 1 {
		t.Errorf("%d sums are kept, want that of the root", len(d.cache))
	}
}

func TestEntryCodec(t *testing.T) {
	d := digestsOf(t, filled(t))
	for _, dir := range []volume.Ino{root, 10, NoDir} {
		for _, e := range entries(t, d, dir) {
			b := e.Append(nil)
			got, err := DecodeEntry(b)
			if err != nil || !bytes.Equal(got.Append(nil), b) || got.Attr != e.Attr || got.Name != e.Name || got.Target != e.Target || !slices.Equal(got.Xattrs, e.Xattrs) {
				t.Errorf("%+v comes back as %+v, %v", e, got, err)
			}
			for n := range b {
				if _, err := DecodeEntry(b[:n]); err == nil {
					t.Errorf("%q cut after %d bytes is accepted", e.Name, n)
				}
			}
			if _, err := DecodeEntry(append(b, 0)); err == nil {
				t.Errorf("%q with a byte more is accepted", e.Name)
			}
		}
	}
}

func FuzzDecodeEntry(f *testing.F) {
	e := Entry{Name: "n", Ino: 7, Type: volume.ModeFile, Cookie: 9, Found: true, Target: "t", Xattrs: []XattrSum{{Name: "user.a"}}}
	f.Add(e.Append(nil))
	f.Add((&Entry{Name: "gone"}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := DecodeEntry(b)
		if err != nil {
			return
		}
		if again, err := DecodeEntry(e.Append(nil)); err != nil || !bytes.Equal(again.Append(nil), e.Append(nil)) {
			t.Errorf("%+v is %+v the second time, %v", e, again, err)
		}
		if strings.ContainsAny(e.Name, "/\x00") || len(e.Append(nil)) > MaxEntryLen {
			t.Errorf("accepted %+v", e)
		}
	})
}
