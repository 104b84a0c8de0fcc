package volumetest

import (
	"strings"
	"testing"

	"wolfdisk/volume"
)

// treeOf builds the fixture in a new Model and reads it.
func treeOf(t *testing.T, m *Model) Snapshot {
	t.Helper()
	s, err := Tree(t.Context(), m, m.Inos()...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestDiff changes one thing at a time and checks that it, and only it, is reported.
func TestDiff(t *testing.T) {
	m, f := misfitTree(t)
	fPath, dirPath, lPath := "", "", ""
	for path, n := range treeOf(t, m) {
		switch {
		case n.Attr.Ino == f.f && strings.HasSuffix(path, "/f"):
			fPath = path
		case n.Attr.Ino == f.dir:
			dirPath = path
		case n.Attr.Ino == f.l:
			lPath = path
		}
	}
	for _, row := range []struct {
		what, path, want string
		change           func(n *Node)
	}{
		{"inode", fPath, "inode", func(n *Node) { n.Attr.Ino++ }},
		{"type", fPath, "mode", func(n *Node) { n.Attr.Mode ^= volume.ModeFIFO }},
		{"mode", fPath, "mode", func(n *Node) { n.Attr.Mode ^= 1 }},
		{"uid", fPath, "uid", func(n *Node) { n.Attr.UID++ }},
		{"gid", fPath, "gid", func(n *Node) { n.Attr.GID++ }},
		{"rdev", fPath, "rdev", func(n *Node) { n.Attr.Rdev++ }},
		{"nlink", fPath, "nlink", func(n *Node) { n.Attr.Nlink++ }},
		{"nlink of a directory", dirPath, "nlink", func(n *Node) { n.Attr.Nlink++ }},
		{"size", fPath, "size", func(n *Node) { n.Attr.Size++ }},
		{"mtime", fPath, "mtime", func(n *Node) { n.Attr.Mtime.Sec++ }},
		{"mtime, nanoseconds", fPath, "mtime", func(n *Node) { n.Attr.Mtime.Nsec ^= 1 }},
		{"ctime", dirPath, "ctime", func(n *Node) { n.Attr.Ctime.Nsec ^= 1 }},
		{"target", lPath, "target", func(n *Node) { n.Target += "x" }},
		{"content", fPath, "content", func(n *Node) { n.Content[5] ^= 1 }},
		{"value", fPath, "attribute user.a", func(n *Node) { n.Xattrs = []volume.Xattr{{Name: "user.a", Value: []byte("other")}} }},
		{"attribute less", fPath, "attribute user.a", func(n *Node) { n.Xattrs = nil }},
		{"attribute more", fPath, "attribute user.z", func(n *Node) { n.Xattrs = append(n.Xattrs, volume.Xattr{Name: "user.z"}) }},
		{"nothing: size of a directory", dirPath, "", func(n *Node) { n.Attr.Size++ }},
		{"nothing: atime", fPath, "", func(n *Node) { n.Attr.Atime.Sec++ }},
		{"nothing: version", fPath, "", func(n *Node) { n.Attr.Version++ }},
	} {
		a, b := treeOf(t, m), treeOf(t, m)
		changed := *b[row.path]
		row.change(&changed)
		b[row.path] = &changed
		for _, diffs := range [][]string{Diff(a, b), Diff(b, a)} {
			switch {
			case row.want == "" && len(diffs) > 0:
				t.Errorf("%s: %q", row.what, diffs)
			case row.want != "" && (len(diffs) != 1 || !strings.HasPrefix(diffs[0], row.path+": "+row.want+" ")):
				t.Errorf("%s: %q", row.what, diffs)
			}
		}
	}
	a, b := treeOf(t, m), treeOf(t, m)
	delete(b, fPath)
	if x, y := Diff(a, b), Diff(b, a); len(x) != 1 || x[0] != fPath+": only in the first" || len(y) != 1 || y[0] != fPath+": only in the second" {
		t.Errorf("a missing name: %q, %q", x, y)
	}
	if d := Diff(a, treeOf(t, m.Clone())); len(d) > 0 {
		t.Errorf("equal trees differ: %q", d)
	}
}

func TestCheckFinds(t *testing.T) {
	m, f := misfitTree(t)
	if wrong := Check(treeOf(t, m)); len(wrong) > 0 {
		t.Fatalf("a good tree: %q", wrong)
	}
	for _, row := range []struct {
		what   string
		ino    volume.Ino
		spoil  func(n *inode)
		expect string
	}{
		{"nlink of a file", f.f, func(n *inode) { n.attr.Nlink++ }, "nlink 3 != 2"},
		{"nlink of a directory", f.sub, func(n *inode) { n.attr.Nlink-- }, "nlink 2 != 3"},
		{"nlink of a deleted file", f.deleted, func(n *inode) { n.attr.Nlink++ }, "nlink 1 != 0"},
		{"size of a symlink", f.l, func(n *inode) { n.attr.Size++ }, "size 2 != 1"},
		{"size of a fifo", f.fifo, func(n *inode) { n.attr.Size++ }, "size 1 != 0"},
		{"mode bits", f.f, func(n *inode) { n.attr.Mode |= 1 << 20 }, "unknown mode bits"},
		{"mode of an ACL", f.f, func(n *inode) {
			n.xattrs[volume.XattrACLAccess] = MakeACL(0o777, ACLEntry{ACLMask, 0, noID}).Bytes()
		}, "mode of the ACL"},
	} {
		c := m.Clone()
		row.spoil(c.inodes[row.ino])
		s, err := Tree(t.Context(), c, c.Inos()...)
		if err != nil {
			t.Errorf("%s: %v", row.what, err)
			continue
		}
		if wrong := Check(s); len(wrong) == 0 || !strings.Contains(strings.Join(wrong, "\n"), row.expect) {
			t.Errorf("%s: found %q", row.what, wrong)
		}
	}
}

// TestTreeFinds spoils what a snapshot cannot even hold.
func TestTreeFinds(t *testing.T) {
	m, f := misfitTree(t)
	for what, spoil := range map[string]func(c *Model){
		"a directory with two names": func(c *Model) { c.inodes[f.dir].entries["twice"] = entry{f.sub, 1 << 40} },
		"a wrong parent":             func(c *Model) { c.inodes[f.sub].parent = f.empty },
	} {
		c := m.Clone()
		spoil(c)
		if _, err := Tree(t.Context(), c); volume.KindOf(err) != volume.Corrupt {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestContentHash: the hash sees every byte, and does not see what is a hole.
func TestContentHash(t *testing.T) {
	m := NewModel(Options{})
	sys := System{Vol: m, Ops: m.Ops}
	e := newEnv(t, sys, start(t, sys))
	hash := func(ino volume.Ino) [32]byte {
		t.Helper()
		n, err := readNode(t.Context(), m, ino)
		if err != nil {
			t.Fatal(err)
		}
		return n.Content
	}
	a, b := e.file(e.dir, "a"), e.file(e.dir, "b")
	for _, ino := range []volume.Ino{a, b} {
		e.write(ino, 100000, "data")
		e.truncate(ino, 300000)
	}
	e.write(b, 0, strings.Repeat("\x00", 50000))
	e.write(b, 200000, strings.Repeat("\x00", 50000))
	if hash(a) != hash(b) {
		t.Error("zeros and holes differ")
	}
	seen := map[[32]byte]int64{hash(a): -1}
	for _, off := range []int64{0, 1, 4095, 4096, 65535, 65536, 99999, 100004, 131072, 299999} {
		e.write(b, off, "x")
		if was, ok := seen[hash(b)]; ok {
			t.Errorf("a byte at %d makes the same hash as at %d", off, was)
		}
		seen[hash(b)] = off
		e.write(b, off, "\x00")
		if hash(a) != hash(b) {
			t.Errorf("the hash remembers the byte at %d", off)
		}
	}
	e.truncate(b, 300001)
	if hash(a) == hash(b) {
		t.Error("the hash does not see the size")
	}
}
