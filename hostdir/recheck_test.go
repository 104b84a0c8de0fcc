package hostdir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// TestRecheck: a place is found to differ as the comparison of all found it, until it
// does not differ any more, by an edit or by an op.
func TestRecheck(t *testing.T) {
	plant := map[string]struct{ do, undo func(p string) error }{
		"mode":    {func(p string) error { return os.Chmod(p, 0o600) }, nil},
		"xattr":   {func(p string) error { return unix.Lsetxattr(p, "user.new", []byte("1"), 0) }, nil},
		"written": {func(p string) error { return os.WriteFile(p, []byte("longer than it was"), 0o644) }, nil},
		"type": {func(p string) error { return errors.Join(os.Rename(p, p+"~"), os.Mkdir(p, 0o755)) },
			func(p string) error { return errors.Join(os.Remove(p), os.Rename(p+"~", p)) }},
		"removed": {func(p string) error { return os.Rename(p, p+"~") }, func(p string) error { return os.Rename(p+"~", p) }},
		"extra":   {func(p string) error { return os.WriteFile(p+"-extra", nil, 0o644) }, func(p string) error { return os.Remove(p + "-extra") }},
	}
	for name, p := range plant {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			d := r.mkdir(1, "d")
			f := r.file(d, "f", "content")
			r.close()
			r.open(false)
			path := filepath.Join(r.path, "d", "f")
			if err := p.do(path); err != nil {
				t.Fatal(err)
			}
			var found []Difference
			collect := func(diff Difference) error { found = append(found, diff); return nil }
			if err := r.dir.Check(ctx, r.index, collect); err != nil || len(found) == 0 {
				t.Fatal(found, err)
			}
			all := found
			for _, want := range all {
				found = nil
				if err := r.dir.Recheck(ctx, r.index, want, collect); err != nil || len(found) != 1 || found[0].String() != want.String() || found[0].Ino != want.Ino {
					t.Errorf("%s is %v when looked at again, %v", want, found, err)
				}
			}
			found = nil
			if p.undo != nil {
				if err := p.undo(path); err != nil {
					t.Fatal(err)
				}
			} else { // what the index has goes
				r.unlink(d, "f", f, volume.OpEnds)
				if err := os.RemoveAll(path); err != nil {
					t.Fatal(err)
				}
			}
			for _, want := range all {
				if want.Name != "f" && want.Kind != DiffExtra {
					continue
				}
				if err := r.dir.Recheck(ctx, r.index, want, collect); err != nil {
					t.Errorf("%s: %v", want, err)
				}
			}
			for _, diff := range found {
				if diff.Kind != DiffChanged { // its ctime has changed all the same
					t.Errorf("still %s", diff)
				}
			}
		})
	}
	// The root, and a directory that is gone.
	r := newRig(t)
	d := r.mkdir(1, "d")
	r.file(d, "f", "")
	r.close()
	r.open(false)
	if err := errors.Join(os.Chmod(r.path, 0o700), os.RemoveAll(filepath.Join(r.path, "d"))); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, diff := range []Difference{{Ino: volume.RootIno}, {Kind: DiffMissing, Path: "d/f", Parent: d, Name: "f"}, {Kind: DiffExtra, Path: "x/y", Parent: 1 << 40, Name: "y"}} {
		if err := r.dir.Recheck(ctx, r.index, diff, func(Difference) error { count++; return nil }); err != nil {
			t.Errorf("%s: %v", diff, err)
		}
	}
	if count != 2 {
		t.Errorf("%d of three differ, want the root and what lies in the directory that is gone", count)
	}
}

// TestCheckWhileRemoved: a directory that is removed while it is looked at is passed over if ops
// go on meanwhile, and what is beside it is compared.
func TestCheckWhileRemoved(t *testing.T) {
	r := newRig(t)
	d := r.mkdir(1, "d")
	_, release, err := r.dir.dirFD(d, r.index) // it stays open
	if err != nil {
		t.Fatal(err)
	}
	release()
	path := filepath.Join(r.path, "d")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	none := func(diff Difference) error { t.Errorf("found %s", diff); return nil }
	if err := r.dir.CheckBelow(ctx, r.index, d, "d/", CheckOptions{Live: true}, none); err != nil {
		t.Error(err)
	}
	if err := r.dir.CheckBelow(ctx, r.index, d, "d/", CheckOptions{}, none); volume.KindOf(err) != volume.NotFound {
		t.Errorf("a directory that is gone while nothing goes on: %v", err)
	}
}

// TestReadWhileChanged: what a read finds of an op that the index does not show yet is no
// change by somebody else.
func TestReadWhileChanged(t *testing.T) {
	r := newRig(t)
	a, b := r.file(1, "a", "a long content"), r.file(1, "b", "other")
	cut := r.file(1, "cut", "a long content")
	r.close()
	r.open(false) // nothing is open
	was := map[volume.Ino]volume.Attr{}
	for _, ino := range []volume.Ino{a, cut} {
		attr, err := r.index.Inode(ino)
		if err != nil {
			t.Fatal(err)
		}
		was[ino] = attr
	}
	for _, op := range []*volume.Op{
		{Kind: volume.OpTruncate, Ino: cut, Size: 3},
		{Kind: volume.OpRename, Ino: b, Parent: 1, Name: "b", NewParent: 1, NewName: "a", Replaced: a, Flags: volume.OpEnds},
	} {
		op.Time = r.now
		if _, err := r.dir.Apply(ctx, op, r.index); err != nil {
			t.Fatal(err)
		}
	}
	for ino, want := range map[volume.Ino]volume.Kind{cut: volume.Corrupt, a: volume.Missing} {
		attr := was[ino]
		if n, err := r.dir.ReadAt(ctx, &attr, make([]byte, 20), 0, r.index); volume.KindOf(err) != want {
			t.Errorf("read %d bytes of %s, %v, want an error that may pass: %v", n, ino, err, want)
		}
	}
	if len(r.foreign) > 0 {
		t.Errorf("taken for somebody's doing: %v", r.foreign)
	}
}

// TestHold: what is held stays readable after an op of another node has ended it, and not longer.
func TestHold(t *testing.T) {
	r := newRig(t)
	a := r.file(1, "a", "content")
	r.close()
	r.open(false)
	for range 2 {
		if err := r.dir.Retain(a, r.index); err != nil {
			t.Fatal(err)
		}
	}
	attr, err := r.index.Inode(a)
	if err != nil {
		t.Fatal(err)
	}
	read := func() (string, error) {
		buf := make([]byte, 20)
		n, err := r.dir.ReadAt(ctx, &attr, buf, 0, r.index)
		return string(buf[:n]), err
	}
	r.unlink(1, "a", a, volume.OpEnds)
	for range 2 {
		if text, err := read(); text != "content" || err != nil {
			t.Errorf("read %q, %v of what is held", text, err)
		}
		r.dir.Release(a)
	}
	if text, err := read(); err == nil {
		t.Errorf("read %q of what is held no more", text)
	}
	r.dir.Release(a) // as of one that was open before this run
	if n := r.dir.files.len(); n != 0 {
		t.Errorf("%d descriptors are left", n)
	}
	if err := r.dir.Retain(a, r.index); err == nil {
		t.Error("held what is gone")
	}
}
