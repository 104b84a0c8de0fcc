package hostdir

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"wolfdisk/volume"
)

// twoVersions is a directory as one index had it, under an index that is some ops further.
func twoVersions(t *testing.T, seed uint64, tweak func(*Dir)) (r *rig, old *fakeIndex) {
	r = newRig(t)
	r.tweak = tweak
	tweak(r.dir)
	g := newRandom(r, seed)
	for range 250 {
		if op := g.op(); op != nil {
			r.do(op)
		}
	}
	r.close()
	old = r.index.clone()
	r.open(false)
	for range 150 {
		op := g.op()
		if op == nil {
			continue
		}
		r.now.Sec++
		op.Time = r.now
		r.index.apply(op, nil)
	}
	return r, old
}

// reshape brings the directory to the index as a copy does it, content last.
func (r *rig) reshape(c context.Context, old *fakeIndex, again bool) error {
	err := r.dir.Reshape(c, r.index, Reshaping{Again: again, Ours: func(key []byte) (volume.Ino, error) {
		ino, err := old.LowerIno(key)
		if err != nil && volume.KindOf(err) == volume.NotFound {
			err = nil
		}
		return ino, err
	}})
	r.index.store(r.dir.PendingLower())
	if err != nil {
		return err
	}
	for _, dirs := range []bool{true, false} {
		if err := r.placeBelow(c, volume.RootIno, dirs); err != nil {
			return err
		}
	}
	for ino, n := range r.index.inodes {
		if n.attr.Nlink == 0 && !n.attr.IsDir() {
			if err := r.placeOne(c, 0, "", ino); err != nil {
				return err
			}
		}
	}
	if _, err := r.dir.Dress(volume.RootIno, true, r.index); err != nil {
		return err
	}
	if err := r.dir.Tidy(c, r.index); err != nil {
		return err
	}
	r.index.store(r.dir.PendingLower())
	return r.fill(c)
}

func (r *rig) placeBelow(c context.Context, dir volume.Ino, dirs bool) error {
	var list []volume.DirEntry
	if err := r.index.Entries(dir, 0, func(e volume.DirEntry) bool { list = append(list, e); return true }); err != nil {
		return err
	}
	for _, e := range list {
		if isDir := e.Type == volume.ModeDir; isDir == dirs {
			if err := r.placeOne(c, dir, e.Name, e.Ino); err != nil {
				return fmt.Errorf("%s in %s: %w", e.Name, dir, err)
			}
		}
		if e.Type == volume.ModeDir {
			if err := r.placeBelow(c, e.Ino, dirs); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rig) placeOne(c context.Context, parent volume.Ino, name string, ino volume.Ino) error {
	if err := c.Err(); err != nil {
		return err
	}
	there, err := r.dir.Place(parent, name, ino, r.index)
	if err != nil {
		return err
	}
	if there {
		_, err := r.dir.Dress(ino, true, r.index)
		r.index.store(r.dir.PendingLower())
		return err
	}
	n := r.index.inodes[ino]
	op := &volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: parent, Name: name, Mode: n.attr.Mode, UID: n.attr.UID, GID: n.attr.GID, Rdev: n.attr.Rdev, Target: n.target}
	if op.Xattrs, err = r.index.Xattrs(ino); err != nil {
		return err
	}
	done, err := r.dir.Apply(c, op, r.index)
	r.index.store(append(done.Lower, r.dir.PendingLower()...))
	return err
}

// fill writes the content of all files that are not known to have it.
func (r *rig) fill(c context.Context) error {
	for ino, n := range r.index.inodes {
		settled, err := r.dir.Settled(&n.attr, r.index)
		if err != nil || !n.attr.IsFile() || settled {
			if err != nil {
				return err
			}
			continue
		}
		if err := c.Err(); err != nil {
			return err
		}
		ops := []*volume.Op{{Kind: volume.OpTruncate, Ino: ino, Size: 0}, {Kind: volume.OpWrite, Ino: ino, Data: n.content}, {Kind: volume.OpTruncate, Ino: ino, Size: n.attr.Size}}
		for _, op := range ops {
			if _, err := r.dir.Apply(c, op, r.index); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *rig) own(name string) (names []string) {
	entries, err := os.ReadDir(filepath.Join(r.path, Reserved, name))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestReshape brings a directory from any state to any later one.
func TestReshape(t *testing.T) {
	for name, tweak := range ways {
		for seed := range seeds(2, 40) {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				r, old := twoVersions(t, seed, tweak)
				if err := r.reshape(ctx, old, false); err != nil {
					t.Fatal(err)
				}
				r.compare()
				if kept := r.own(keptName); len(kept) > 0 {
					t.Errorf("kept: %q", kept)
				}
				if err := r.dir.Check(ctx, r.index, func(d Difference) error { return fmt.Errorf("check: %s", d) }); err != nil {
					t.Error(err)
				}
				if err := r.dir.DropOld(ctx); err != nil || r.own(oldName) != nil {
					t.Errorf("old: %q, %v", r.own(oldName), err)
				}
			})
		}
	}
}

// TestReshapeInterrupted interrupts it anywhere, with the records lost that were made
// meanwhile.
func TestReshapeInterrupted(t *testing.T) {
	for name, tweak := range ways {
		for seed := range seeds(2, 40) {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				r, old := twoVersions(t, seed, tweak)
				rng := rand.New(rand.NewPCG(seed, 5))
				before := r.index.clone()
				for again := false; ; again = true {
					err := r.reshape(&countdown{ctx, 20 + rng.IntN(900)}, old, again)
					if err == nil {
						break
					}
					if rng.IntN(2) == 0 {
						r.index.lower, r.index.keys = before.clone().lower, before.clone().keys
					}
					r.dir.Close()
					r.open(false)
				}
				r.compare()
			})
		}
	}
}

// TestReshapeKeeps: what nobody knows stays, or is kept if it is in the way.
func TestReshapeKeeps(t *testing.T) {
	r := newRig(t)
	d := r.mkdir(1, "d")
	gone := r.mkdir(1, "gone")
	r.file(gone, "f", "ours")
	moved := r.file(d, "moved", "content")
	r.close()
	old := r.index.clone()
	r.open(false)
	write := func(path, text string) {
		path = filepath.Join(r.path, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("stays", "1")
	write("d/new", "2")         // the index is going to have it
	write("gone/stranger", "3") // in a directory that goes
	write("tree/deep/file", "4")
	if err := os.Rename(filepath.Join(r.path, "d/moved"), filepath.Join(r.path, "tree/deep/moved")); err != nil {
		t.Fatal(err)
	}
	r.index.apply(&volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: d, Name: "new", Mode: volume.ModeFile | 0o600, Time: r.now}, nil)
	r.index.apply(&volume.Op{Kind: volume.OpUnlink, Ino: r.index.inodes[gone].entries["f"].Ino, Parent: gone, Name: "f", Time: r.now, Flags: volume.OpEnds}, nil)
	r.index.apply(&volume.Op{Kind: volume.OpRmdir, Ino: gone, Parent: 1, Name: "gone", Time: r.now, Flags: volume.OpEnds}, nil)
	if err := r.reshape(ctx, old, false); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"stays": "1", "tree/deep/file": "4", "d/new": "", "d/moved": "content"} {
		if got, err := os.ReadFile(filepath.Join(r.path, path)); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	var kept []string
	for _, name := range r.own(keptName) {
		text, err := os.ReadFile(filepath.Join(r.path, Reserved, keptName, name))
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, string(text))
	}
	slices.Sort(kept)
	if !slices.Equal(kept, []string{"2", "3"}) {
		t.Errorf("kept: %q", kept)
	}
	if got, err := r.read(moved); err != nil || got != "content" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestRedoAhead: the directory is ahead of a log that lost its last ops. What is known is
// brought home, and the ops fit when they come again.
func TestRedoAhead(t *testing.T) {
	missing, whole := 0, 0
	for name, tweak := range ways {
		for seed := range seeds(3, 60) {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				r := newRig(t, farBoot("one"))
				r.tweak = tweak
				tweak(r.dir)
				g := newRandom(r, seed)
				g.run(200)
				for range 4 {
					if r.ahead(g) {
						whole++
					} else {
						missing++
					}
				}
			})
		}
	}
	t.Logf("%d whole, %d with something missing", whole, missing)
	if whole == 0 {
		t.Error("nothing was ever whole again")
	}
}

// TestLostOps: what ops did that the log has lost is undone, each in its smallest form, and
// they fit when they come again.
func TestLostOps(t *testing.T) {
	for _, c := range []struct {
		name string
		kept int // aside afterwards
		lost func(r *rig, d, f volume.Ino)
	}{
		{"another file has the name of one that moved", 1, func(r *rig, d, f volume.Ino) {
			r.rename(1, "f", d, "moved", f, 0, 0)
			r.file(1, "f", "another")
		}},
		{"a directory has the name of a file that moved", 1, func(r *rig, d, f volume.Ino) {
			r.rename(1, "f", d, "moved", f, 0, 0)
			r.file(r.mkdir(1, "f"), "in", "it")
		}},
		{"a further name of a file that has no record", 0, func(r *rig, d, f volume.Ino) {
			r.do(&volume.Op{Kind: volume.OpLink, Ino: f, Parent: d, Name: "further"})
		}},
		{"renamed over a further name of itself", 0, func(r *rig, d, f volume.Ino) {
			r.do(&volume.Op{Kind: volume.OpLink, Ino: f, Parent: d, Name: "further"})
			r.do(&volume.Op{Kind: volume.OpRename, Ino: f, Parent: d, Name: "further", NewParent: 1, NewName: "f", Replaced: f})
		}},
		{"new files", 2, func(r *rig, d, f volume.Ino) {
			r.file(1, "new", "new")
			r.file(r.mkdir(d, "folder"), "new", "new")
		}},
		{"a known file in a new directory", 1, func(r *rig, d, f volume.Ino) {
			r.rename(1, "f", r.mkdir(1, "new"), "f", f, 0, 0)
		}},
		{"attributes", 0, func(r *rig, d, f volume.Ino) {
			r.do(&volume.Op{Kind: volume.OpSetAttr, Ino: f, Mask: volume.SetMode, Mode: 0o400})
			r.do(&volume.Op{Kind: volume.OpSetXattr, Ino: d, Name: "user.x", Data: []byte("y")})
		}},
		{"longer", 0, func(r *rig, d, f volume.Ino) { r.write(f, 1000, "more") }},
	} {
		for way, tweak := range ways {
			for _, again := range []bool{false, true} {
				for _, recorded := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%s/again %v/recorded %v", c.name, way, again, recorded), func(t *testing.T) {
						r := newRig(t, farBoot("one"))
						r.tweak = tweak
						tweak(r.dir)
						d := r.mkdir(1, "d")
						r.file(d, "in", "in")
						r.log = nil
						f := r.file(1, "f", "content")
						logged, at := r.log, r.index.clone()
						if recorded {
							r.close()
							at.lower, at.keys = r.index.lower, r.index.keys
							r.index = r.index.clone()
							r.open(false)
							logged = nil
						} else if at.lower = maps.Clone(at.lower); true {
							delete(at.keys, string(at.lower[f].Key))
							delete(at.lower, f)
						}
						r.log = nil
						c.lost(r, d, f)
						lost := r.log
						r.dir.Close()
						r.index = at
						r.open(false)
						touched := NewTouched()
						for _, op := range logged {
							touched.Add(op)
						}
						err := r.dir.Redo(ctx, r.index, touched, &volume.Time{}, seq(logged), func(d Difference) { t.Errorf("reported: %s", d) })
						if err != nil {
							t.Fatal(err)
						}
						r.index.store(r.dir.PendingLower())
						if err := r.dir.Tidy(ctx, r.index); err != nil {
							t.Fatal(err)
						}
						if again {
							for _, op := range lost {
								done, err := r.dir.Apply(ctx, op, r.index)
								if err != nil {
									t.Fatalf("%s again: %v", op.Kind, err)
								}
								r.index.apply(op, done.Lower)
							}
						}
						r.compare()
						if kept := r.own(keptName); len(kept) != c.kept {
							t.Errorf("kept: %q, want %d", kept, c.kept)
						}
					})
				}
			}
		}
	}
}

// TestTidyFurtherName: a further name in staging goes, also if somebody has one of the file's own.
func TestTidyFurtherName(t *testing.T) {
	r := newRig(t)
	f := r.file(1, "a", "content")
	r.do(&volume.Op{Kind: volume.OpLink, Ino: f, Parent: 1, Name: "b"})
	for _, name := range []string{"a", "b"} {
		if err := os.Link(filepath.Join(r.path, name), filepath.Join(r.path, Reserved, stagingName, f.String())); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(filepath.Join(r.path, name)); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(r.path, name), []byte("somebody's"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := r.dir.Tidy(ctx, r.index); err != nil {
			t.Fatal(err)
		}
		if staged, kept := r.own(stagingName), r.own(keptName); len(staged) > 0 || len(kept) > 0 {
			t.Errorf("%s: staged %q, kept %q", name, staged, kept)
		}
		if err := os.Remove(filepath.Join(r.path, name)); err != nil {
			t.Fatal(err)
		}
		other := map[string]string{"a": "b", "b": "a"}[name]
		if err := os.Link(filepath.Join(r.path, other), filepath.Join(r.path, name)); err != nil {
			t.Fatal(err)
		}
	}
}

// run makes ops and applies them.
func (g *random) run(n int) {
	for range n {
		if op := g.op(); op != nil {
			g.r.do(op)
		}
	}
}

// ahead takes the power away when the log is some ops behind the directory, and gives the ops
// again. It reports whether that did; otherwise the directory is compared with a snapshot.
func (r *rig) ahead(g *random) bool {
	r.t.Helper()
	r.close() // a checkpoint
	r.open(false)
	r.log = nil
	g.run(60)
	touched := NewTouched()
	for _, op := range r.log {
		touched.Add(op)
	}
	kept, at := len(r.log), r.index.clone()
	g.run(15) // which the log loses
	r.dir.Close()
	lost, all := r.log[kept:], r.index
	r.index = at
	r.open(false)
	gone := false
	err := r.dir.Redo(ctx, r.index, touched, &volume.Time{}, seq(r.log[:kept]), func(d Difference) { gone = gone || d.Kind == DiffMissing || d.Fields&FieldSize != 0 })
	if err != nil {
		r.t.Fatal(err)
	}
	r.index.store(r.dir.PendingLower())
	if err := r.dir.Tidy(ctx, r.index); err != nil {
		r.t.Fatal(err)
	}
	if gone {
		r.snapshot(all, true)
		return false
	}
	for _, op := range lost {
		done, err := r.dir.Apply(ctx, op, r.index)
		if volume.KindOf(err) == volume.Missing {
			r.snapshot(all, true)
			return false // it had ended in what was lost
		}
		if err != nil {
			r.t.Fatalf("%s again: %v", op.Kind, err)
		}
		r.index.apply(op, done.Lower)
	}
	r.compare()
	return true
}

// snapshot brings the directory from the rig's index to another. With trust, what the rig's
// says of lower files is believed.
func (r *rig) snapshot(to *fakeIndex, trust bool) {
	r.t.Helper()
	records, err := r.dir.SettleAll(r.index)
	if err != nil {
		r.t.Fatal(err)
	}
	r.index.store(records)
	old := r.index
	to.lower, to.keys = map[volume.Ino]volume.LowerRecord{}, map[string]volume.Ino{}
	for ino, rec := range old.lower {
		inherited, err := Inherit(ino, rec.Value, trust)
		if err != nil {
			r.t.Fatal(err)
		}
		to.store([]volume.LowerRecord{inherited})
	}
	r.index = to
	if err := r.reshape(ctx, old, false); err != nil {
		r.t.Fatal(err)
	}
	if err := r.dir.DropOld(ctx); err != nil {
		r.t.Fatal(err)
	}
	r.compare()
}
