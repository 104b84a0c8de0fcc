package hostdir

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

var (
	testVolume = volume.ID{1, 2, 3}
	testStore  = volume.ID{4, 5, 6}
	ctx        = context.Background()
)

func TestMain(m *testing.M) {
	unix.Umask(0)
	if os.Getenv("HOSTDIR_CHILD") != "" {
		os.Exit(child())
	}
	os.Exit(m.Run())
}

// seeds is how many seeds to run: few, or with HOSTDIR_LONG many.
func seeds(short, long uint64) uint64 {
	if os.Getenv("HOSTDIR_LONG") != "" {
		return long
	}
	return short
}

func needRoot(t testing.TB) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount")
	}
}

// rig is a directory, its state directory and an index.
type rig struct {
	t         testing.TB
	path      string
	state     string
	dir       *Dir
	index     *fakeIndex
	next      uint32
	now       volume.Time
	foreignMu sync.Mutex
	foreign   []volume.Ino
	opt       func(*Options)
	tweak     func(*Dir)
	log       []*volume.Op // every op applied
}

func newRig(t testing.TB, opts ...func(*Options)) *rig { return newRigAt(t, t.TempDir(), opts...) }

func newRigAt(t testing.TB, base string, opts ...func(*Options)) *rig {
	r := &rig{t: t, path: filepath.Join(base, "data"), state: filepath.Join(base, "state"), index: newFakeIndex(), next: 1,
		now: volume.Time{Sec: 1_600_000_000}}
	r.opt = func(o *Options) {
		for _, f := range opts {
			f(o)
		}
	}
	for _, p := range []string{r.path, r.state} {
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	r.open(true)
	attr, err := r.dir.RootAttr()
	if err != nil {
		t.Fatal(err)
	}
	r.index.inodes[volume.RootIno].attr = attr
	t.Cleanup(func() {
		if r.dir != nil {
			r.dir.Close()
		}
	})
	return r
}

func (r *rig) options(fresh bool) Options {
	o := Options{Path: r.path, StateDir: r.state, Volume: testVolume, Store: testStore, New: fresh, Log: zerolog.Nop(), MaxFDs: 64,
		OnForeign: func(ino volume.Ino) {
			r.foreignMu.Lock()
			defer r.foreignMu.Unlock()
			r.foreign = append(r.foreign, ino)
		}}
	r.opt(&o)
	return o
}

func (r *rig) open(fresh bool) {
	r.t.Helper()
	d, err := Open(r.options(fresh))
	if err != nil {
		r.t.Fatalf("open: %v", err)
	}
	if r.tweak != nil {
		r.tweak(d)
	}
	r.dir = d
}

func (r *rig) close() {
	r.t.Helper()
	records, err := r.dir.SettleAll(r.index)
	if err != nil {
		r.t.Fatalf("settle: %v", err)
	}
	r.index.store(records)
	if err := r.dir.Close(); err != nil {
		r.t.Fatalf("close: %v", err)
	}
	r.dir = nil
}

// crash ends without settling and opens again, as after a kill -9 that lost the
// records of every op.
func (r *rig) crash() {
	r.t.Helper()
	r.dir.Close()
	r.index.lower, r.index.keys = map[volume.Ino]volume.LowerRecord{}, map[string]volume.Ino{}
	r.open(false)
	touched := NewTouched()
	for _, op := range r.log {
		touched.Add(op)
	}
	if err := r.dir.Relearn(ctx, r.index, touched); err != nil {
		r.t.Fatalf("relearn: %v", err)
	}
	if err := r.dir.Tidy(ctx, r.index); err != nil {
		r.t.Fatalf("tidy: %v", err)
	}
}

func (r *rig) ino() volume.Ino { r.next++; return volume.MakeIno(0, r.next) }

// describe enters what Describe says of a difference.
func (r *rig) describe(diff Difference) {
	r.t.Helper()
	err := r.dir.Describe(ctx, diff, r.index, func() (volume.Ino, error) { return r.ino(), nil }, func(op *volume.Op, lower []volume.LowerRecord) error {
		r.now.Sec++
		op.Time = r.now
		r.index.apply(op, lower)
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// try applies an op and enters it.
func (r *rig) try(op *volume.Op) error {
	r.now.Nsec += 1_000_003
	if r.now.Nsec >= 1e9 {
		r.now.Nsec -= 1e9
		r.now.Sec++
	}
	op.Time = r.now
	if err := op.Validate(); err != nil {
		r.t.Fatalf("invalid op: %v", err)
	}
	slot := r.dir.Begin(op, r.index)
	defer slot.Done()
	a, err := r.dir.Apply(ctx, op, r.index)
	if err != nil {
		return err
	}
	if op.Kind == volume.OpWrite {
		op.Data = op.Data[:a.N]
	}
	r.index.apply(op, a.Lower)
	r.log = append(r.log, op)
	return nil
}

func (r *rig) do(op *volume.Op) *volume.Op {
	r.t.Helper()
	if err := r.try(op); err != nil {
		r.t.Fatalf("%s: %v", op.Kind, err)
	}
	return op
}

// Shorthands for ops on the root or a directory.
func (r *rig) create(dir volume.Ino, name string, mode uint32) volume.Ino {
	r.t.Helper()
	op := &volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: dir, Name: name, Mode: mode, UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	if mode&volume.ModeType == volume.ModeLink {
		op.Target = "some/where"
	}
	r.do(op)
	return op.Ino
}

func (r *rig) file(dir volume.Ino, name, content string) volume.Ino {
	r.t.Helper()
	ino := r.create(dir, name, volume.ModeFile|0o644)
	r.write(ino, 0, content)
	return ino
}

func (r *rig) mkdir(dir volume.Ino, name string) volume.Ino {
	r.t.Helper()
	return r.create(dir, name, volume.ModeDir|0o755)
}

func (r *rig) write(ino volume.Ino, off int64, content string) {
	r.t.Helper()
	if content != "" {
		r.do(&volume.Op{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: []byte(content)})
	}
}

func (r *rig) unlink(dir volume.Ino, name string, ino volume.Ino, flags uint32) {
	r.t.Helper()
	r.do(&volume.Op{Kind: volume.OpUnlink, Ino: ino, Parent: dir, Name: name, Flags: flags})
}

func (r *rig) rename(dir volume.Ino, name string, to volume.Ino, newName string, ino, replaced volume.Ino, flags uint32) {
	r.t.Helper()
	r.do(&volume.Op{Kind: volume.OpRename, Ino: ino, Parent: dir, Name: name, NewParent: to, NewName: newName, Replaced: replaced, Flags: flags})
}

func (r *rig) read(ino volume.Ino) (string, error) {
	attr, err := r.index.Inode(ino)
	if err != nil {
		return "", err
	}
	buf := make([]byte, attr.Size+10)
	n, err := r.dir.ReadAt(ctx, &attr, buf, 0, r.index)
	return string(buf[:n]), err
}

// compare demands that the directory shows what the index says: names, types,
// attributes, times, links, content.
func (r *rig) compare() {
	r.t.Helper()
	records, err := r.dir.SettleAll(r.index)
	if err != nil {
		r.t.Fatalf("settle: %v", err)
	}
	r.index.store(records)
	if diff := compareTree(r.path, r.index); len(diff) > 0 {
		r.t.Fatalf("directory and index differ:\n%s", bytes.Join(diff, []byte("\n")))
	}
}

// compareTree walks a directory by path, with the calls that any program would use.
func compareTree(path string, index *fakeIndex) (diff [][]byte) {
	say := func(format string, args ...any) { diff = append(diff, fmt.Appendf(nil, format, args...)) }
	lowerOf := map[volume.Ino]uint64{}
	var walk func(dir string, ino volume.Ino)
	one := func(p string, n *fakeInode) {
		st, err := statAt(unix.AT_FDCWD, p)
		if err != nil {
			say("%s: %v", p, err)
			return
		}
		a := n.attr
		if st.Mode != a.Mode {
			say("%s: mode %o, index %o", p, st.Mode, a.Mode)
		}
		if st.UID != a.UID || st.GID != a.GID {
			say("%s: owner %d:%d, index %d:%d", p, st.UID, st.GID, a.UID, a.GID)
		}
		if st.Mtime != a.Mtime {
			say("%s: mtime %v, index %v", p, st.Mtime, a.Mtime)
		}
		if !a.IsDir() && st.Nlink != uint64(a.Nlink) {
			say("%s: nlink %d, index %d", p, st.Nlink, a.Nlink)
		}
		if old, ok := lowerOf[a.Ino]; ok && old != st.Ino {
			say("%s: not the same file as its other name", p)
		}
		lowerOf[a.Ino] = st.Ino
		switch a.Type() {
		case volume.ModeFile:
			if b, err := os.ReadFile(p); err != nil || !bytes.Equal(b, n.content) {
				say("%s: content of %d bytes differs from the index's %d (%v)", p, len(b), len(n.content), err)
			}
		case volume.ModeLink:
			if t, err := os.Readlink(p); err != nil || t != n.target {
				say("%s: target %q, index %q (%v)", p, t, n.target, err)
			}
		case volume.ModeBlock, volume.ModeChar:
			if st.Rdev != a.Rdev {
				say("%s: device %x, index %x", p, st.Rdev, a.Rdev)
			}
		}
		mirrored := 0
		for name, v := range n.xattrs {
			if volume.IsReservedXattr(name) {
				continue
			}
			mirrored++
			buf := make([]byte, 70000)
			if m, err := unix.Lgetxattr(p, name, buf); err != nil || string(buf[:m]) != v {
				say("%s: attribute %s: %q, index %q (%v)", p, name, buf[:max(m, 0)], v, err)
			}
		}
		if buf := make([]byte, 70000); a.Type() != volume.ModeLink {
			m, err := unix.Llistxattr(p, buf)
			if names := bytes.Count(buf[:max(m, 0)], []byte{0}); err != nil || names != mirrored {
				say("%s: %d attributes, index %d (%v): %q", p, names, mirrored, err, buf[:max(m, 0)])
			}
		}
	}
	walk = func(dir string, ino volume.Ino) {
		n := index.inodes[ino]
		one(dir, n)
		entries, err := os.ReadDir(dir)
		if err != nil {
			say("%v", err)
			return
		}
		seen := map[string]bool{}
		for _, e := range entries {
			if IsReserved(ino, e.Name()) {
				continue
			}
			seen[e.Name()] = true
			ie, ok := n.entries[e.Name()]
			if !ok {
				say("%s/%q: not in the index", dir, e.Name())
				continue
			}
			if index.inodes[ie.Ino].attr.IsDir() {
				walk(filepath.Join(dir, e.Name()), ie.Ino)
			} else {
				one(filepath.Join(dir, e.Name()), index.inodes[ie.Ino])
			}
		}
		for name := range n.entries {
			if !seen[name] {
				say("%s/%q: not in the directory", dir, name)
			}
		}
	}
	walk(path, volume.RootIno)
	staged := 0
	for ino, n := range index.inodes {
		if n.attr.Nlink == 0 && !n.attr.IsDir() {
			staged++
			if n.attr.IsFile() {
				one(filepath.Join(path, Reserved, stagingName, ino.String()), func() *fakeInode { m := *n; m.attr.Nlink = 1; return &m }())
			}
		}
	}
	if entries, err := os.ReadDir(filepath.Join(path, Reserved, stagingName)); err != nil || len(entries) != staged {
		say("staging holds %d entries instead of %d (%v)", len(entries), staged, err)
	}
	return diff
}

// random makes ops that fit the index, from a seed.
type random struct {
	*rand.Rand
	r *rig
}

func newRandom(r *rig, seed uint64) *random {
	return &random{rand.New(rand.NewPCG(seed, seed)), r}
}

func (g *random) pick(want func(*fakeInode) bool) volume.Ino {
	var all []volume.Ino
	for ino := volume.Ino(1); ino <= volume.MakeIno(0, g.r.next); ino++ {
		if n := g.r.index.inodes[ino]; n != nil && want(n) {
			all = append(all, ino)
		}
	}
	if len(all) == 0 {
		return 0
	}
	return all[g.IntN(len(all))]
}

func (g *random) dir() volume.Ino {
	return g.pick(func(n *fakeInode) bool { return n.attr.IsDir() && n.attr.Nlink > 0 })
}

func (g *random) name() string { return fmt.Sprintf("n%d", g.IntN(12)) }

func (g *random) data(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g *random) within(dir, ino volume.Ino) bool {
	for ino != volume.RootIno {
		if ino == dir {
			return true
		}
		for ref := range g.r.index.inodes[ino].names {
			ino = ref.Parent
		}
	}
	return dir == volume.RootIno
}

// op returns the next op, or nil if the dice fell on one that does not fit.
func (g *random) op() *volume.Op {
	ix := g.r.index
	owner := func(op *volume.Op) {
		op.UID, op.GID = uint32(os.Getuid()), uint32(os.Getgid())
		if os.Getuid() == 0 {
			op.UID, op.GID = uint32(g.IntN(3))*1000, uint32(g.IntN(3))*1000
		}
	}
	ends := func(ino volume.Ino) uint32 {
		if n := ix.inodes[ino]; n.attr.IsDir() || n.attr.Nlink == 1 && g.IntN(3) > 0 {
			return volume.OpEnds
		}
		return 0
	}
	file := func() volume.Ino { return g.pick(func(n *fakeInode) bool { return n.attr.IsFile() }) }
	dir := g.dir()
	name := g.name()
	e, taken := ix.inodes[dir].entries[name]
	switch k := g.IntN(20); {
	case k < 5:
		op := &volume.Op{Kind: volume.OpCreate, Parent: dir, Name: name, Mode: volume.ModeFile | uint32(g.IntN(0o1000)) | 0o600}
		owner(op)
		switch g.IntN(8) {
		case 0:
			op.Mode, op.Target = volume.ModeLink|0o777, g.name()
		case 1, 2:
			op.Mode = volume.ModeDir | 0o700 | uint32(g.IntN(0o2000))
		case 3:
			op.Mode = volume.ModeFIFO | 0o644
		case 4:
			op.Mode = volume.ModeSocket | 0o600
		case 5:
			op.Parent, op.Name = 0, ""
		}
		if op.Parent != 0 && taken {
			return nil
		}
		op.Ino = g.r.ino()
		return op
	case k < 6:
		ino := g.pick(func(n *fakeInode) bool { return !n.attr.IsDir() })
		if ino == 0 || taken {
			return nil
		}
		return &volume.Op{Kind: volume.OpLink, Ino: ino, Parent: dir, Name: name}
	case k < 9:
		if !taken {
			return nil
		}
		op := &volume.Op{Kind: volume.OpUnlink, Ino: e.Ino, Parent: dir, Name: name, Flags: ends(e.Ino)}
		if ix.inodes[e.Ino].attr.IsDir() {
			if len(ix.inodes[e.Ino].entries) > 0 {
				return nil
			}
			op.Kind = volume.OpRmdir
		}
		return op
	case k < 12:
		to, newName := g.dir(), g.name()
		if !taken || to == dir && newName == name {
			return nil
		}
		n := ix.inodes[e.Ino]
		if n.attr.IsDir() && g.within(e.Ino, to) {
			return nil
		}
		op := &volume.Op{Kind: volume.OpRename, Ino: e.Ino, Parent: dir, Name: name, NewParent: to, NewName: newName}
		if t, ok := ix.inodes[to].entries[newName]; ok {
			m := ix.inodes[t.Ino]
			op.Replaced = t.Ino
			if t.Ino == e.Ino {
				return nil
			}
			if g.IntN(2) == 0 {
				if m.attr.IsDir() && g.within(t.Ino, dir) {
					return nil
				}
				op.Flags = volume.OpExchange
				return op
			}
			if m.attr.IsDir() != n.attr.IsDir() || len(m.entries) > 0 {
				return nil
			}
			op.Flags = ends(t.Ino)
		}
		return op
	case k < 13:
		ino := g.pick(func(n *fakeInode) bool { return n.attr.Nlink > 0 })
		op := &volume.Op{Kind: volume.OpSetAttr, Ino: ino, Mask: volume.SetMode, Mode: 0o600 | uint32(g.IntN(0o1000))}
		n := ix.inodes[ino]
		if n.attr.IsDir() && os.Getuid() != 0 {
			op.Mode |= 0o100 // the comparison walks by path
		}
		if n.attr.Type() == volume.ModeLink || g.IntN(2) == 0 {
			op.Mask = volume.SetUID | volume.SetGID
			owner(op)
		}
		if g.IntN(3) == 0 {
			op.Mask |= volume.SetMtime
			op.Mtime = volume.Time{Sec: int64(g.IntN(1 << 31)), Nsec: uint32(g.IntN(1e9))}
		}
		return op
	case k < 14:
		ino := g.pick(func(n *fakeInode) bool { return n.attr.IsFile() || n.attr.IsDir() && n.attr.Nlink > 0 })
		if n := ix.inodes[ino]; n.attr.Mode&0o200 == 0 && os.Getuid() != 0 {
			return nil
		}
		op := &volume.Op{Kind: volume.OpSetXattr, Ino: ino, Name: fmt.Sprintf("user.x%d", g.IntN(3)), Data: g.data(g.IntN(60))}
		if _, ok := ix.inodes[ino].xattrs[op.Name]; ok && g.IntN(2) == 0 {
			op.Kind, op.Data = volume.OpRemoveXattr, nil
		}
		return op
	case k < 15:
		ino := g.pick(func(n *fakeInode) bool { return n.attr.Nlink == 0 })
		if ino == 0 {
			return nil
		}
		if n := ix.inodes[ino]; n.attr.IsFile() && g.IntN(2) == 0 {
			op := &volume.Op{Kind: volume.OpPublish, Ino: ino, Parent: dir, Name: name, Mask: volume.SetMode, Mode: 0o640,
				Xattrs: []volume.Xattr{{Name: "user.etag", Value: g.data(8)}}}
			if taken {
				if ix.inodes[e.Ino].attr.IsDir() {
					return nil
				}
				op.Replaced, op.Flags = e.Ino, ends(e.Ino)
			}
			return op
		}
		return &volume.Op{Kind: volume.OpEnd, Ino: ino}
	}
	ino := file()
	if ino == 0 {
		return nil
	}
	size := int(ix.inodes[ino].attr.Size)
	switch g.IntN(5) {
	case 0:
		return &volume.Op{Kind: volume.OpTruncate, Ino: ino, Size: int64(g.IntN(size + 5000))}
	case 1:
		op := &volume.Op{Kind: volume.OpFallocate, Ino: ino, Offset: int64(g.IntN(size + 100)), Length: 1 + int64(g.IntN(9000))}
		op.Alloc = []uint32{0, volume.FallocKeepSize, volume.FallocPunchHole | volume.FallocKeepSize, volume.FallocZeroRange,
			volume.FallocZeroRange | volume.FallocKeepSize}[g.IntN(5)]
		return op
	}
	return &volume.Op{Kind: volume.OpWrite, Ino: ino, Offset: int64(g.IntN(size + 3000)), Data: g.data(1 + g.IntN(5000))}
}
