package hostdir

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// lossy applies the effects of ops below without any of hostdir's code, leaving out
// some, as a power loss does: an effect happens only if what it needs is there.
type lossy struct {
	g    *random
	r    *rig
	keep int                // of 100 effects
	fds  map[volume.Ino]int // lower files, wherever they are now
}

func newLossy(g *random, r *rig, keep int) *lossy {
	l := &lossy{g: g, r: r, keep: keep, fds: map[volume.Ino]int{}}
	r.t.Cleanup(func() {
		for _, fd := range l.fds {
			unix.Close(fd)
		}
	})
	var walk func(path string, ino volume.Ino)
	hold := func(path string, ino volume.Ino) {
		if fd, err := unix.Open(path, oPath|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err == nil {
			l.fds[ino] = fd
		}
	}
	walk = func(path string, ino volume.Ino) {
		hold(path, ino)
		for name, e := range r.index.inodes[ino].entries {
			if e.Type == volume.ModeDir {
				walk(filepath.Join(path, name), e.Ino)
			} else {
				hold(filepath.Join(path, name), e.Ino)
			}
		}
	}
	walk(r.path, volume.RootIno)
	for ino, n := range r.index.inodes {
		if n.attr.Nlink == 0 && !n.attr.IsDir() {
			hold(filepath.Join(r.path, Reserved, stagingName, ino.String()), ino)
		}
	}
	return l
}

func (l *lossy) at(parent volume.Ino, name string, ino volume.Ino) (int, string, bool) {
	if parent == 0 {
		return l.r.dir.staging, ino.String(), true
	}
	fd, ok := l.fds[parent]
	return fd, name, ok
}

// is reports whether a name below is this inode's lower file.
func (l *lossy) is(dir int, name string, ino volume.Ino) bool {
	fd, ok := l.fds[ino]
	if !ok {
		return false
	}
	a, err1 := statAt(dir, name)
	b, err2 := fstat(fd)
	return err1 == nil && err2 == nil && a.Ino == b.Ino
}

func (l *lossy) effect(op *volume.Op) {
	if l.g.IntN(100) >= l.keep {
		return
	}
	d := l.r.dir
	switch op.Kind {
	case volume.OpCreate:
		if dir, name, ok := l.at(op.Parent, op.Name, op.Ino); ok {
			if o, _, err := d.born(place{dir, name}, op); err == nil {
				if l.g.IntN(2) == 0 {
					d.sys.chmod(o, op.Mode&volume.ModePerm)
				}
				l.fds[op.Ino] = o.fd
			}
		}
	case volume.OpLink:
		fd, ok := l.fds[op.Ino]
		if dir, name, ok2 := l.at(op.Parent, op.Name, op.Ino); ok && ok2 {
			if d.sys.renameNoReplace(d.staging, op.Ino.String(), dir, name) != nil {
				d.sys.link(fd, dir, name)
			}
		}
	case volume.OpUnlink, volume.OpRmdir:
		if dir, name, ok := l.at(op.Parent, op.Name, op.Ino); ok && l.is(dir, name, op.Ino) {
			n := l.r.index.inodes[op.Ino]
			if op.Flags&volume.OpEnds == 0 && n.attr.Nlink == 1 && !n.attr.IsDir() {
				renameAt(dir, name, d.staging, op.Ino.String())
			} else {
				unlinkAt(dir, name, op.Kind == volume.OpRmdir)
			}
		}
	case volume.OpRename, volume.OpPublish:
		from, name, ok := l.at(op.Parent, op.Name, op.Ino)
		newParent, newName := op.NewParent, op.NewName
		if op.Kind == volume.OpPublish {
			from, name, ok = d.staging, op.Ino.String(), true
			newParent, newName = op.Parent, op.Name
		}
		to, newName, ok2 := l.at(newParent, newName, op.Ino)
		if !ok || !ok2 || !l.is(from, name, op.Ino) {
			return
		}
		switch {
		case op.Flags&volume.OpExchange != 0:
			if l.is(to, newName, op.Replaced) {
				d.sys.exchange(from, name, to, newName)
			}
		case op.Replaced == 0:
			d.sys.renameNoReplace(from, name, to, newName)
		case l.is(to, newName, op.Replaced):
			if n := l.r.index.inodes[op.Replaced]; op.Flags&volume.OpEnds == 0 && n.attr.Nlink == 1 && !n.attr.IsDir() {
				unix.Linkat(to, newName, d.staging, op.Replaced.String(), 0)
			}
			renameAt(from, name, to, newName)
		}
	case volume.OpEnd:
		unlinkAt(d.staging, op.Ino.String(), false)
	case volume.OpWrite, volume.OpTruncate, volume.OpFallocate:
		path, ok := l.fds[op.Ino]
		if !ok {
			return
		}
		fd, err := d.sys.reopen(path, unix.O_RDWR)
		if err != nil {
			return
		}
		defer unix.Close(fd)
		switch op.Kind {
		case volume.OpWrite:
			pwriteFull(fd, op.Data[:l.g.IntN(len(op.Data)+1)], op.Offset)
		case volume.OpTruncate:
			unix.Ftruncate(fd, op.Size)
		default:
			st, _ := fstat(fd)
			d.fallocate(fd, op.Alloc, op.Offset, op.Length, st.Size)
		}
	case volume.OpSetAttr:
		if fd, ok := l.fds[op.Ino]; ok && op.Mask&volume.SetMode != 0 {
			d.sys.chmod(object{fd, true}, op.Mode)
		}
	}
}

func seq(ops []*volume.Op) iter.Seq2[*volume.Op, error] {
	return func(yield func(*volume.Op, error) bool) {
		for _, op := range ops {
			if !yield(op, nil) {
				return
			}
		}
	}
}

// farBoot is a boot that is still to come: nothing below is an edit.
func farBoot(id string) func(*Options) {
	return func(o *Options) { o.Boot = &Boot{ID: id, Start: volume.Time{Sec: 1 << 40}} }
}

// powerLoss builds a directory whose later ops reached the log and the index, and the
// directory only in part. It returns the ops after the checkpoint.
func powerLoss(t *testing.T, seed uint64, tweak func(*Dir), keep int) *rig {
	r := newRig(t, farBoot("one"))
	r.tweak = tweak
	tweak(r.dir)
	g := newRandom(r, seed)
	run := func(n int, apply func(*volume.Op)) {
		for range n {
			if op := g.op(); op != nil {
				apply(op)
			}
		}
	}
	run(200, func(op *volume.Op) { r.do(op) })
	r.close() // a checkpoint: all settled and stored
	r.open(false)
	r.log = nil
	l := newLossy(g, r, keep)
	run(150, func(op *volume.Op) {
		r.now.Sec++
		op.Time = r.now
		l.effect(op)
		r.index.apply(op, nil)
		r.log = append(r.log, op)
	})
	r.dir.Close()
	r.open(false)
	return r
}

func (r *rig) redo(c context.Context) ([]Difference, error) {
	touched := NewTouched()
	for _, op := range r.log {
		touched.Add(op)
	}
	var diffs []Difference
	if err := r.dir.Redo(c, r.index, touched, nil, seq(r.log), func(d Difference) { diffs = append(diffs, d) }); err != nil {
		return diffs, err
	}
	r.index.store(r.dir.PendingLower())
	return diffs, r.dir.Tidy(c, r.index)
}

func TestRedo(t *testing.T) {
	for name, tweak := range ways {
		for _, keep := range []int{0, 40, 80, 100} {
			for seed := range seeds(1, 12) {
				t.Run(fmt.Sprintf("%s/%d of 100/seed %d", name, keep, seed), func(t *testing.T) {
					r := powerLoss(t, seed, tweak, keep)
					diffs, err := r.redo(ctx)
					if err != nil {
						t.Fatal(err)
					}
					r.compare()
					if len(diffs) > 0 || r.dir.Stats().Kept > 0 {
						t.Fatalf("kept %d, reported %v", r.dir.Stats().Kept, diffs)
					}
					if err := r.dir.Check(ctx, r.index, func(d Difference) error { return fmt.Errorf("check: %s", d) }); err != nil {
						t.Fatal(err)
					}
				})
			}
		}
	}
}

// countdown is a context that is cancelled at the nth look.
type countdown struct {
	context.Context
	n int
}

func (c *countdown) Err() error {
	if c.n--; c.n < 0 {
		return errors.New("interrupted")
	}
	return nil
}

func TestRedoInterrupted(t *testing.T) {
	for name, tweak := range ways {
		for seed := range seeds(1, 12) {
			t.Run(fmt.Sprintf("%s/seed %d", name, seed), func(t *testing.T) {
				r := powerLoss(t, seed, tweak, 60)
				for n := 5; ; n += 83 {
					_, err := r.redo(&countdown{ctx, n})
					if err == nil {
						break
					}
					if !strings.Contains(err.Error(), "interrupted") {
						t.Fatal(err)
					}
					r.dir.Close()
					r.open(false)
				}
				r.compare()
			})
		}
	}
}

// TestRedoKeepsEdits makes edits after the reboot and before the redo.
func TestRedoKeepsEdits(t *testing.T) {
	r := newRig(t)
	a, b := r.file(1, "a", "aaaa"), r.file(1, "b", "bbbb")
	r.close()
	r.open(false)
	r.log = nil
	r.write(a, 0, "AAAA")
	r.write(b, 0, "BBBB")
	gone := r.file(1, "gone", "x")
	r.unlink(1, "gone", gone, volume.OpEnds)
	r.dir.Close()
	st, err := os.Lstat(filepath.Join(r.path, "b"))
	if err != nil {
		t.Fatal(err)
	}
	boot := volume.TimeOf(st.ModTime())
	boot.Nsec++
	for { // the file system's clock ticks every few milliseconds
		if err := os.WriteFile(filepath.Join(r.path, "a"), []byte("edited"), 0o644); err != nil {
			t.Fatal(err)
		}
		if st, _ := os.Lstat(filepath.Join(r.path, "a")); volume.TimeOf(st.ModTime()).Compare(boot) > 0 {
			break
		}
	}
	if err := os.WriteFile(filepath.Join(r.path, "gone"), []byte("new work"), 0o644); err != nil {
		t.Fatal(err)
	}
	r.opt = func(o *Options) { o.Boot = &Boot{ID: "two", Start: boot} }
	for range 2 { // an interrupted redo must not take its own traces for edits
		r.open(false)
		if _, err := r.redo(&countdown{ctx, 9}); err == nil {
			t.Fatal("not interrupted")
		}
		r.dir.Close()
	}
	r.open(false)
	diffs, err := r.redo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(filepath.Join(r.path, "a")); string(got) != "edited" {
		t.Fatalf("the edit is gone: %q", got)
	}
	if got, _ := os.ReadFile(filepath.Join(r.path, "b")); string(got) != "BBBB" {
		t.Fatalf("redone content: %q", got)
	}
	kept, _ := filepath.Glob(filepath.Join(r.path, Reserved, keptName, "*gone"))
	if len(kept) != 1 {
		t.Fatalf("the new file was not kept: %v", kept)
	}
	if got, _ := os.ReadFile(kept[0]); string(got) != "new work" {
		t.Fatalf("kept: %q", got)
	}
	found := false
	for _, d := range diffs {
		found = found || d.Kind == DiffChanged && d.Path == "a" && d.Ino == a
	}
	if !found {
		t.Fatalf("the edit was not reported: %v", diffs)
	}
}

// TestRedoLost: a file that was durable and is gone is reported, and no zeros are made up.
func TestRedoLost(t *testing.T) {
	r := newRig(t, farBoot("one"))
	a, b := r.file(1, "a", "aaaa"), r.file(1, "b", "bbbbbbbb")
	r.close()
	r.open(false)
	r.log = nil
	r.write(a, 4, "more")
	r.write(b, 0, "B")
	r.dir.Close()
	if err := os.Remove(filepath.Join(r.path, "a")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(r.path, "b"), 3); err != nil {
		t.Fatal(err)
	}
	r.open(false)
	diffs, err := r.redo(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[volume.Ino]DiffKind{}
	for _, d := range diffs {
		kinds[d.Ino] = d.Kind
	}
	if kinds[a] != DiffMissing || kinds[b] != DiffChanged {
		t.Fatalf("reported %v", diffs)
	}
	if _, err := r.read(a); volume.KindOf(err) != volume.Missing {
		t.Fatalf("reading what is gone: %v", err)
	}
	if _, err := r.read(b); volume.KindOf(err) != volume.Corrupt {
		t.Fatalf("reading what is cut: %v", err)
	}
}

func TestJournalCodec(t *testing.T) {
	r := newRig(t)
	if err := r.dir.writeJournal(map[volume.Ino]bool{7: true}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(r.state, journalName))
	if err != nil {
		t.Fatal(err)
	}
	if inos, _, err := decodeJournal(b); err != nil || len(inos) != 1 || inos[0] != 7 {
		t.Fatalf("%v %v", inos, err)
	}
	for i := range b {
		c := append([]byte(nil), b...)
		c[i] ^= 0x40
		if _, _, err := decodeJournal(c); err == nil {
			t.Fatalf("byte %d changed and not noticed", i)
		}
		if _, _, err := decodeJournal(b[:i]); err == nil {
			t.Fatalf("cut at %d and not noticed", i)
		}
	}
}

// TestRedoWithoutRoom: what another node's larger disk had room for is redone without it.
func TestRedoWithoutRoom(t *testing.T) {
	r := newSmallRig(t, farBoot("one"))
	f := r.file(1, "f", "0123456789")
	os.Remove(r.path + "/lost+found")
	r.close()
	r.open(false)
	r.log = nil
	for i, op := range roomFor(f) {
		op.Version, op.Time = volume.Version(100+i), r.now
		r.index.apply(op, nil)
		r.log = append(r.log, op)
	}
	if diffs, err := r.redo(ctx); err != nil || len(diffs) > 0 {
		t.Fatal(diffs, err)
	}
	r.hasRoom()
	r.compare()
}
