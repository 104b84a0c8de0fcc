package volumetest

import (
	"errors"
	"fmt"
	"testing"

	"wolfdisk/volume"
)

// RunReplica proves that a kind of replica becomes what ops say, and refuses those
// that do not fit. make returns a new, empty replica each time it is called. It need
// not know any chunks.
func RunReplica(t *testing.T, make func(t *testing.T) volume.Replica) {
	t.Run("empty", func(t *testing.T) { replicaEmpty(t, make(t)) })
	for _, seed := range seeds(t, 3, 10) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { replicaStream(t, make(t), seed) })
	}
	t.Run("reigns and members", func(t *testing.T) { replicaReigns(t, make(t)) })
	t.Run("data of ops are not kept", func(t *testing.T) { replicaAlias(t, make(t)) })
	t.Run("misfits", func(t *testing.T) {
		m, f := misfitTree(t)
		r := make(t)
		applyAll(t, r, m.Ops(0))
		for _, row := range misfits(f) {
			t.Run(row.clause, func(t *testing.T) { replicaMisfit(t, r, m, row.op) })
		}
		// what was refused has left no trace: the history goes on
		s := m.Clone()
		if _, err := s.Do(t.Context(), &volume.Request{Kind: volume.OpWrite, Ino: f.f, Data: []byte("on")}); err != nil {
			t.Fatal(err)
		}
		applyAll(t, r, s.Ops(m.Position().Version))
		sameTree(t, r, s)
	})
}

func applyAll(t *testing.T, r volume.Replica, ops []*volume.Op) {
	t.Helper()
	for _, op := range ops {
		if err := r.Apply(t.Context(), copyOp(op)); err != nil {
			t.Fatalf("apply op %d, %s: %v", op.Version, describeOp(op), err)
		}
	}
}

// sameTree compares a replica with a Model in everything.
func sameTree(t *testing.T, r volume.Replica, m *Model) {
	t.Helper()
	if got, want := r.Position(), m.Position(); got != want {
		t.Fatalf("the replica is at %s, the model at %s", got, want)
	}
	inos := m.Inos()
	got, err := Tree(t.Context(), r, inos...)
	if err != nil {
		t.Fatal(err)
	}
	want, err := Tree(t.Context(), m, inos...)
	if err != nil {
		t.Fatal(err)
	}
	if err := disagreement(append(Check(got), diffAll(got, want, true)...)); err != nil {
		t.Fatalf("replica and model:\n%v", err)
	}
}

func replicaEmpty(t *testing.T, r volume.Replica) {
	sameTree(t, r, NewModel(Options{}))
	if err := r.Sync(t.Context()); err != nil {
		t.Errorf("sync: %v", err)
	}
	for name, op := range map[string]*volume.Op{
		"a first op that opens no epoch": {Kind: volume.OpCreate, Version: 1, Ino: 2, Parent: 1, Name: "n", Mode: volume.ModeFile},
		"a first version of 2":           {Kind: volume.OpReign, Version: 2, Epoch: volume.Epoch{Number: 1, Leader: "a"}},
		"a version of 0":                 {Kind: volume.OpReign, Version: 0, Epoch: volume.Epoch{Number: 1, Leader: "a"}},
	} {
		if err := r.Apply(t.Context(), op); volume.KindOf(err) != volume.WrongHistory {
			t.Errorf("%s: %v", name, err)
		}
	}
	sameTree(t, r, NewModel(Options{}))
}

// replicaStream applies a random history, comparing on the way.
func replicaStream(t *testing.T, r volume.Replica, seed uint64) {
	m := NewModel(Options{})
	g := Random(seed)
	steps := 1000
	if testing.Short() {
		steps = 400
	}
	for i := range steps {
		s := g.Next()
		var res volume.Result
		var err error
		switch {
		case s.Open != 0:
			err = m.Open(t.Context(), s.Open, false)
		case s.Close != 0:
			err = m.Close(t.Context(), s.Close)
		default:
			res, err = m.Do(t.Context(), s.Req)
		}
		g.Done(s, res, err)
		if i%150 == 149 || i == steps-1 {
			applyAll(t, r, m.Ops(r.Position().Version))
			sameTree(t, r, m)
		}
		if i == steps/2 { // another leader goes on
			m.Reign(volume.Epoch{Number: 7, Leader: "other", Tag: 0x12345}, "model", "other")
		}
	}
	if err := r.Sync(t.Context()); err != nil {
		t.Errorf("sync: %v", err)
	}
}

func replicaReigns(t *testing.T, r volume.Replica) {
	m := NewModel(Options{})
	do := func(op *volume.Op) error {
		op.Version = m.Position().Version + 1
		if err := m.Apply(t.Context(), op); err != nil {
			t.Fatal(err)
		}
		return r.Apply(t.Context(), copyOp(op))
	}
	for i, op := range []*volume.Op{
		{Kind: volume.OpReign, Epoch: volume.Epoch{Number: 1, Leader: "a"}, Participants: []string{"a"}},
		{Kind: volume.OpMember, Member: volume.Member{ID: "a", Role: volume.RoleLeader, Address: "host:1"}},
		{Kind: volume.OpMember, Member: volume.Member{ID: "b", Store: volume.ID{1}}},
		{Kind: volume.OpCreate, Ino: 2, Parent: 1, Name: "n", Mode: volume.ModeFile | 0o644},
		{Kind: volume.OpReign, Epoch: volume.Epoch{Number: 2, Leader: "b", Tag: 5}},
		{Kind: volume.OpCreate, Ino: volume.MakeIno(5, 1), Parent: 1, Name: "m", Mode: volume.ModeFile | 0o644},
		{Kind: volume.OpMember, Member: volume.Member{ID: "b", Removed: true}},
		{Kind: volume.OpReign, Epoch: volume.Epoch{Number: 9, Leader: "a", Tag: 6}, Participants: []string{"a", "b"}},
	} {
		if err := do(op); err != nil {
			t.Fatalf("op %d: %v", i, err)
		}
		sameTree(t, r, m)
	}
	for _, e := range []volume.Epoch{{Number: 9, Leader: "a", Tag: 6}, {Number: 9, Leader: "A", Tag: 7}, {Number: 8, Leader: "a", Tag: 8}} {
		op := &volume.Op{Kind: volume.OpReign, Version: m.Position().Version + 1, Epoch: e}
		if err := r.Apply(t.Context(), op); volume.KindOf(err) != volume.WrongHistory {
			t.Errorf("epoch %s after 9: %v", e, err)
		}
	}
	sameTree(t, r, m)
}

// replicaAlias changes the memory of ops after they were applied, as the next frame
// in the same buffer does.
func replicaAlias(t *testing.T, r volume.Replica) {
	m, _ := misfitTree(t)
	for _, op := range m.Ops(0) {
		own := copyOp(op)
		if err := r.Apply(t.Context(), own); err != nil {
			t.Fatal(err)
		}
		scribble := func(b []byte) {
			for i := range b {
				b[i] = 0xee
			}
		}
		scribble(own.Data)
		for _, x := range own.Xattrs {
			scribble(x.Value)
		}
	}
	sameTree(t, r, m)
}

// misfitTree is a Model with one of everything.
func misfitTree(t *testing.T) (*Model, *fixture) {
	t.Helper()
	m := NewModel(Options{})
	sys := System{Vol: m, Ops: m.Ops}
	e := newEnv(t, sys, start(t, sys))
	f := e.fixture()
	e.link(f.f, f.sub, "second")
	e.setXattr(f.f, "user.a", []byte("value"))
	e.setXattr(f.sub, volume.XattrACLDefault, MakeACL(0o700, ACLEntry{ACLUser, 7, 5}, ACLEntry{ACLMask, 7, noID}).Bytes())
	e.file(f.sub, "inherits")
	e.ok(volume.Request{Kind: volume.OpPublish, Ino: e.staged(), Parent: e.dir, Name: "published", Xattrs: []volume.Xattr{{Name: "user.p", Value: []byte("p")}}})
	return m, f
}

// replicaMisfit applies an op that does not fit, which must change nothing.
func replicaMisfit(t *testing.T, r volume.Replica, m *Model, op volume.Op) {
	t.Helper()
	if op.Version == 0 {
		op.Version = m.Position().Version + 1
	}
	if op.Time == (volume.Time{}) {
		op.Time = volume.Time{Sec: 1 << 40}
	}
	if err := op.Validate(); err != nil {
		t.Fatalf("the test's op is not even valid: %v", err)
	}
	err := r.Apply(t.Context(), &op)
	if err == nil {
		t.Fatalf("%s was accepted", describeOp(&op))
	}
	if !errors.Is(err, volume.WrongHistory) || volume.KindOf(err) != volume.WrongHistory {
		t.Errorf("%s: refused with %v (%v), not as %v", describeOp(&op), volume.KindOf(err), err, volume.WrongHistory)
	}
	sameTree(t, r, m)
}

type misfitRow struct {
	clause string
	op     volume.Op
}

// misfits are ops that do not fit the tree of misfitTree.
func misfits(f *fixture) []misfitRow {
	fresh := volume.MakeIno(0, 100000)
	v := f.sys.Vol.Position().Version
	chmod := func(ino volume.Ino) volume.Op {
		return volume.Op{Kind: volume.OpSetAttr, Ino: ino, Mask: volume.SetMode, Mode: 0o600}
	}
	older := chmod(f.f)
	older.Time = volume.Time{Sec: 1}
	gap, again := chmod(f.f), chmod(f.f)
	gap.Version, again.Version = v+2, v
	rename := func(parent volume.Ino, name string, ino, to volume.Ino, newName string, replaced volume.Ino, flags uint32) volume.Op {
		return volume.Op{Kind: volume.OpRename, Ino: ino, Parent: parent, Name: name, NewParent: to, NewName: newName, Replaced: replaced, Flags: flags}
	}
	named := func(kind volume.OpKind, ino, parent volume.Ino, name string) volume.Op {
		return volume.Op{Kind: kind, Ino: ino, Parent: parent, Name: name}
	}
	create := func(ino, parent volume.Ino, name string) volume.Op {
		return volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: parent, Name: name, Mode: volume.ModeFile}
	}
	ending := func(op volume.Op) volume.Op { op.Flags |= volume.OpEnds; return op }
	rows := []misfitRow{
		{"a version too high", gap},
		{"a version again", again},
		{"a time before the op before", older},
		{"create: inode is there", create(f.f, f.dir, "n")},
		{"create: nameless inode is there", create(f.staged, 0, "")},
		{"create: name is taken", create(fresh, f.dir, "f")},
		{"create: no such directory", create(fresh, f.never, "n")},
		{"create: in a file", create(fresh, f.f, "n")},
		{"create: in a removed directory", create(fresh, f.removed, "n")},
		{"link: no such inode", named(volume.OpLink, f.never, f.dir, "n")},
		{"link: a directory", named(volume.OpLink, f.empty, f.dir, "n")},
		{"link: a deleted file", named(volume.OpLink, f.deleted, f.dir, "n")},
		{"link: name is taken", named(volume.OpLink, f.f, f.dir, "l")},
		{"link: no such directory", named(volume.OpLink, f.f, f.never, "n")},
		{"unlink: no such name", named(volume.OpUnlink, f.f, f.dir, "none")},
		{"unlink: another inode", named(volume.OpUnlink, f.x, f.dir, "f")},
		{"unlink: no such directory", named(volume.OpUnlink, f.f, f.never, "f")},
		{"unlink: a directory", named(volume.OpUnlink, f.empty, f.dir, "empty")},
		{"unlink: ends what keeps a name", ending(named(volume.OpUnlink, f.f, f.dir, "f"))},
		{"rmdir: a file", named(volume.OpRmdir, f.f, f.dir, "f")},
		{"rmdir: not empty", named(volume.OpRmdir, f.sub, f.dir, "sub")},
		{"rmdir: another inode", named(volume.OpRmdir, f.sub, f.dir, "empty")},
		{"rename: no such name", rename(f.dir, "none", f.f, f.dir, "n", 0, 0)},
		{"rename: another inode", rename(f.dir, "f", f.x, f.dir, "n", 0, 0)},
		{"rename: no such directory", rename(f.dir, "f", f.f, f.never, "n", 0, 0)},
		{"rename: into a removed directory", rename(f.dir, "f", f.f, f.removed, "n", 0, 0)},
		{"rename: displaces what it does not say", rename(f.dir, "f", f.f, f.dir, "l", 0, 0)},
		{"rename: says what it does not displace", rename(f.dir, "f", f.f, f.dir, "n", f.l, 0)},
		{"rename: displaces another", rename(f.dir, "f", f.f, f.dir, "l", f.fifo, 0)},
		{"rename: two names of one inode", rename(f.dir, "f", f.f, f.sub, "second", f.f, 0)},
		{"rename: a file over a directory", rename(f.dir, "f", f.f, f.dir, "empty", f.empty, 0)},
		{"rename: a directory over a file", rename(f.dir, "empty", f.empty, f.dir, "l", f.l, 0)},
		{"rename: over a full directory", rename(f.dir, "empty", f.empty, f.dir, "sub", f.sub, 0)},
		{"rename: a loop", rename(f.dir, "sub", f.sub, f.y, "n", 0, 0)},
		{"rename: into itself", rename(f.dir, "sub", f.sub, f.sub, "n", 0, 0)},
		{"rename: ends nothing", rename(f.dir, "l", f.l, f.dir, "n", 0, volume.OpEnds)},
		{"rename: ends what keeps a name", rename(f.dir, "l", f.l, f.dir, "f", f.f, volume.OpEnds)},
		{"exchange: a loop", rename(f.dir, "sub", f.sub, f.sub, "y", f.y, volume.OpExchange)},
		{"exchange: a loop the other way", rename(f.sub, "y", f.y, f.dir, "sub", f.sub, volume.OpExchange)},
		{"exchange: that ends", rename(f.dir, "l", f.l, f.sub, "x", f.x, volume.OpExchange|volume.OpEnds)},
		{"setattr: no such inode", chmod(f.never)},
		{"setattr: an ended inode", chmod(f.ended)},
		{"end: has names", volume.Op{Kind: volume.OpEnd, Ino: f.f}},
		{"end: the root", volume.Op{Kind: volume.OpEnd, Ino: volume.RootIno}},
		{"end: an ended inode", volume.Op{Kind: volume.OpEnd, Ino: f.ended}},
		{"publish: no such inode", named(volume.OpPublish, f.never, f.dir, "n")},
		{"publish: has a name", named(volume.OpPublish, f.x, f.dir, "n")},
		{"publish: a deleted file", named(volume.OpPublish, f.deleted, f.dir, "n")},
		{"publish: no such directory", named(volume.OpPublish, f.staged, f.never, "n")},
		{"publish: displaces what it does not say", named(volume.OpPublish, f.staged, f.dir, "f")},
		{"publish: says what it does not displace", volume.Op{Kind: volume.OpPublish, Ino: f.staged, Parent: f.dir, Name: "n", Replaced: f.l}},
		{"publish: over a directory", volume.Op{Kind: volume.OpPublish, Ino: f.staged, Parent: f.dir, Name: "empty", Replaced: f.empty}},
		{"removexattr: not there", volume.Op{Kind: volume.OpRemoveXattr, Ino: f.f, Name: "user.none"}},
	}
	for _, op := range []volume.Op{
		{Kind: volume.OpWrite, Data: []byte("x")}, {Kind: volume.OpTruncate, Size: 3}, {Kind: volume.OpFallocate, Length: 5},
		{Kind: volume.OpCopyChunks, Chunks: []volume.ChunkRef{{Length: 5}}},
		{Kind: volume.OpSetXattr, Name: "user.a"}, {Kind: volume.OpRemoveXattr, Name: "user.a"},
	} {
		for what, ino := range map[string]volume.Ino{"no such inode": f.never, "an ended inode": f.ended, "a directory": f.sub, "a symlink": f.l, "a fifo": f.fifo} {
			isXattr := op.Kind == volume.OpSetXattr || op.Kind == volume.OpRemoveXattr
			if isXattr && ino != f.never && ino != f.ended {
				continue
			}
			op.Ino = ino
			rows = append(rows, misfitRow{op.Kind.String() + ": " + what, op})
		}
	}
	return rows
}
