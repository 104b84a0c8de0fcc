package volumetest

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"wolfdisk/volume"
)

// testChunks are some chunks, and what they hold.
func testChunks() map[volume.ChunkID][]byte {
	chunks := map[volume.ChunkID][]byte{}
	for i := range 4 {
		data := make([]byte, 3000+i*5000)
		for j := range data {
			data[j] = byte(j*7 + i)
		}
		chunks[sha256.Sum256(data)] = data
	}
	return chunks
}

func TestModel(t *testing.T) {
	for _, ops := range []bool{true, false} {
		t.Run(fmt.Sprintf("ops %t", ops), func(t *testing.T) {
			Run(t, func(t *testing.T) System {
				m := NewModel(Options{Chunks: testChunks()})
				sys := System{Vol: m, Chunks: m.opt.Chunks}
				if ops {
					sys.Ops = m.Ops
				}
				return sys
			})
		})
	}
}

func TestModelReplica(t *testing.T) {
	RunReplica(t, func(t *testing.T) volume.Replica { return NewModel(Options{}).Replica() })
}

func do(t *testing.T, m *Model, req volume.Request) volume.Result {
	t.Helper()
	res, err := m.Do(t.Context(), &req)
	if err != nil {
		t.Fatalf("%s: %v", describeReq(&req), err)
	}
	return res
}

// TestModelLimits proves TooManyLinks, with a limit that can be reached.
func TestModelLimits(t *testing.T) {
	m := NewModel(Options{MaxNlink: 4, MaxDirNlink: 4})
	f := do(t, m, createReq(1, "f", volume.ModeFile)).Attr.Ino
	d := do(t, m, createReq(1, "d", volume.ModeDir)).Attr.Ino
	for i := range 3 {
		do(t, m, linkReq(f, d, fmt.Sprintf("f%d", i)))
	}
	e := do(t, m, createReq(1, "e", volume.ModeDir)).Attr.Ino
	do(t, m, createReq(d, "d1", volume.ModeDir))
	do(t, m, createReq(d, "d2", volume.ModeDir))
	do(t, m, createReq(d, "plain", volume.ModeFile))
	for _, req := range []volume.Request{
		linkReq(f, d, "f3"), createReq(d, "d3", volume.ModeDir), renameReq(1, "e", d, "d3"), exchangeReq(1, "e", d, "plain"),
	} {
		if _, err := m.Do(t.Context(), &req); volume.KindOf(err) != volume.TooManyLinks {
			t.Errorf("%s: %v", describeReq(&req), err)
		}
	}
	do(t, m, renameReq(d, "d1", d, "d9"))  // within: no link more
	do(t, m, exchangeReq(1, "e", d, "d2")) // one for one
	do(t, m, renameReq(d, "d2", d, "d9"))  // one less
	do(t, m, createReq(d, "d3", volume.ModeDir))
	_ = e
}

func TestModelReadOnly(t *testing.T) {
	m := NewModel(Options{})
	f := do(t, m, createReq(1, "f", volume.ModeFile)).Attr.Ino
	m.SetReadOnly(true)
	req := createReq(1, "g", volume.ModeFile)
	if _, err := m.Do(t.Context(), &req); volume.KindOf(err) != volume.ReadOnly {
		t.Errorf("create: %v", err)
	}
	if err := m.Open(t.Context(), f, true); volume.KindOf(err) != volume.ReadOnly {
		t.Errorf("open for writing: %v", err)
	}
	if err := m.Open(t.Context(), f, false); err != nil {
		t.Errorf("open for reading: %v", err)
	}
	if err := m.Close(t.Context(), f); err != nil {
		t.Errorf("close: %v", err)
	}
}

// TestModelEpochs: inode IDs of another epoch have its tag, times do not go back.
func TestModelEpochs(t *testing.T) {
	now := volume.Time{Sec: 100}
	m := NewModel(Options{Clock: func() volume.Time { return now }})
	a := do(t, m, createReq(1, "a", volume.ModeFile))
	if a.Version != 2 || a.Attr.Ino != 2 || a.Attr.Ctime != now {
		t.Errorf("first: %+v", a)
	}
	now = volume.Time{Sec: 50}
	m.Reign(volume.Epoch{Number: 3, Leader: "b", Tag: 0xbeef}, "b", "model")
	b := do(t, m, createReq(1, "b", volume.ModeFile))
	if b.Version != 4 || b.Attr.Ino != volume.MakeIno(0xbeef, 1) || b.Attr.Ctime != (volume.Time{Sec: 100}) {
		t.Errorf("in the next epoch: %+v", b)
	}
	c := do(t, m, createReq(1, "c", volume.ModeFile))
	if c.Attr.Ino != volume.MakeIno(0xbeef, 2) {
		t.Errorf("second of the epoch: %s", c.Attr.Ino)
	}
	l := m.Lineage()
	if len(l) != 2 || l[0].First != 1 || l[1].First != 3 || l[1].Epoch.Leader != "b" || len(l[1].Participants) != 2 {
		t.Errorf("lineage %+v", l)
	}
	if ops := m.Ops(2); len(ops) != 3 || ops[0].Kind != volume.OpReign || ops[0].Version != 3 {
		t.Errorf("ops after 2: %d", len(ops))
	}
}

// TestModelClone: a copy goes its own way.
func TestModelClone(t *testing.T) {
	m, f := misfitTree(t)
	before := treeOf(t, m)
	c := m.Clone()
	do(t, c, writeReq(f.f, 0, "other"))
	do(t, c, removeReq(volume.OpUnlink, f.sub, "x"))
	do(t, c, xattrReq(f.f, "user.a", "other"))
	do(t, c, aclReq(f.sub, volume.XattrACLAccess, MakeACL(0o700)))
	if d := diffAll(before, treeOf(t, m), true); len(d) > 0 {
		t.Errorf("the copy's changes are seen: %q", d)
	}
	if len(Diff(before, treeOf(t, c))) == 0 {
		t.Error("the copy did not change")
	}
	if err := c.Close(t.Context(), f.deleted); err != nil {
		t.Errorf("what was open is not open in the copy: %v", err)
	}
}

// TestModelView compares the view with the reader.
func TestModelView(t *testing.T) {
	m, f := misfitTree(t)
	for _, ino := range []volume.Ino{1, f.dir, f.f, f.l, f.deleted} {
		a, err := m.Inode(ino)
		if want, _ := m.GetAttr(t.Context(), ino); err != nil || a != want {
			t.Errorf("inode %s: %+v, %v", ino, a, err)
		}
	}
	if _, err := m.Inode(f.never); volume.KindOf(err) != volume.NotFound {
		t.Errorf("unknown inode: %v", err)
	}
	names, err := m.Names(f.f)
	if err != nil || len(names) != 2 {
		t.Errorf("names %v, %v", names, err)
	}
	for _, n := range names {
		if e, err := m.Entry(n.Parent, n.Name); err != nil || e.Ino != f.f || e.Type != volume.ModeFile {
			t.Errorf("entry %v: %+v, %v", n, e, err)
		}
	}
	if names, err := m.Names(volume.RootIno); err != nil || len(names) != 0 {
		t.Errorf("names of the root: %v, %v", names, err)
	}
	if _, err := m.Entry(f.dir, "none"); volume.KindOf(err) != volume.NotFound {
		t.Errorf("unknown name: %v", err)
	}
	if target, err := m.Target(f.l); err != nil || target != "f" {
		t.Errorf("target %q, %v", target, err)
	}
	if x, err := m.Xattrs(f.f); err != nil || len(x) != 1 || x[0].Name != "user.a" || string(x[0].Value) != "value" {
		t.Errorf("attributes %v, %v", x, err)
	}
	n := 0
	if err := m.Entries(f.dir, 0, func(volume.DirEntry) bool { n++; return n < 2 }); err != nil || n != 2 {
		t.Errorf("%d entries, %v", n, err)
	}
	m.PutLower(volume.LowerRecord{Ino: f.f, Key: []byte("k"), Value: []byte("v")}, volume.LowerRecord{Ino: f.never, Key: []byte("n"), Value: []byte("v")})
	if b, err := m.Lower(f.f); err != nil || string(b) != "v" {
		t.Errorf("lower %q, %v", b, err)
	}
	if ino, err := m.LowerIno([]byte("k")); err != nil || ino != f.f {
		t.Errorf("inode of the key: %s, %v", ino, err)
	}
	m.PutLower(volume.LowerRecord{Ino: f.f})
	if _, err := m.LowerIno([]byte("k")); volume.KindOf(err) != volume.NotFound {
		t.Errorf("inode of a removed key: %v", err)
	}
	if b, err := m.Lower(f.f); err != nil || b != nil {
		t.Errorf("removed lower %q, %v", b, err)
	}
}
