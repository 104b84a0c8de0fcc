package hostdir

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"wolfdisk/volume"
)

// TestSuspect: a change that was noticed is reported until it is recorded, also after
// changes of our own and a restart.
func TestSuspect(t *testing.T) {
	r := newRig(t)
	f := r.file(1, "f", "content")
	r.close()
	r.open(false)
	if err := os.WriteFile(r.path+"/f", []byte("CONTENT"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := r.read(f); err != nil || len(r.foreign) != 1 {
		t.Fatalf("%v, told of %v", err, r.foreign)
	}
	r.write(f, 0, "c")
	r.close()
	r.open(false)
	var found []Difference
	check := func() {
		t.Helper()
		found = nil
		if err := r.dir.Check(ctx, r.index, func(d Difference) error { found = append(found, d); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	check()
	if len(found) != 1 || found[0].Ino != f || found[0].Kind != DiffChanged {
		t.Fatalf("found %v", found)
	}
	r.describe(found[0])
	if got := string(r.index.inodes[f].content); got != "cONTENT" {
		t.Errorf("recorded %q", got)
	}
	r.close()
	r.open(false)
	if check(); len(found) > 0 {
		t.Errorf("still found %v", found)
	}
}

// TestMovedAndMadeAnew: a directory that was renamed, with another made in its place, is
// recorded in a few passes, in whatever order the differences are described.
func TestMovedAndMadeAnew(t *testing.T) {
	for _, extraFirst := range []bool{false, true} {
		t.Run(fmt.Sprint("extra first ", extraFirst), func(t *testing.T) {
			r := newRig(t)
			e, d := r.mkdir(1, "e"), r.mkdir(1, "d")
			f := r.file(e, "f", "content")
			r.close()
			if err := errors.Join(os.Rename(r.path+"/e", r.path+"/d/g"), os.Mkdir(r.path+"/e", 0o700), os.WriteFile(r.path+"/e/new", nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			r.open(false)
			for pass := 0; ; pass++ {
				var found []Difference
				if err := r.dir.Check(ctx, r.index, func(d Difference) error { found = append(found, d); return nil }); err != nil {
					t.Fatal(err)
				}
				if len(found) == 0 {
					break
				}
				if pass == 4 {
					t.Fatalf("still different after %d passes: %v", pass, found)
				}
				slices.SortStableFunc(found, func(a, b Difference) int {
					if (a.Kind == DiffExtra) == (b.Kind == DiffExtra) {
						return 0
					}
					if (a.Kind == DiffExtra) == extraFirst {
						return -1
					}
					return 1
				})
				for i, diff := range found { // a name that has gone waits until nothing else is found
					if diff.Kind != DiffMissing || i == 0 && len(found) == 1 {
						r.describe(diff)
					}
				}
				records, err := r.dir.SettleAll(r.index)
				if err != nil {
					t.Fatal(err)
				}
				r.index.store(records)
			}
			g := r.index.inodes[d].entries["g"].Ino
			if at := r.index.inodes[g]; at == nil || at.entries["f"].Ino != f {
				t.Error("the file is not where it was taken")
			}
			if at := r.index.inodes[r.index.inodes[1].entries["e"].Ino]; at == nil || at.attr.Mode != volume.ModeDir|0o700 || len(at.entries) != 1 {
				t.Error("the new directory is not recorded")
			}
		})
	}
}

// TestMovedAndEdited: a file or directory that was renamed and edited while nobody looked
// is not taken for merely renamed.
func TestMovedAndEdited(t *testing.T) {
	r := newRig(t)
	f := r.file(1, "f", "content")
	d := r.mkdir(1, "d")
	r.close()
	for _, err := range []error{
		os.Rename(r.path+"/f", r.path+"/g"), os.WriteFile(r.path+"/g", []byte("CONTENT"), 0o644),
		os.Rename(r.path+"/d", r.path+"/e"), os.Chmod(r.path+"/e", 0o700),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r.open(false)
	var found []Difference
	if err := r.dir.Check(ctx, r.index, func(d Difference) error { found = append(found, d); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, diff := range found {
		if diff.Kind != DiffExtra {
			continue
		}
		r.describe(diff)
	}
	if n := r.index.inodes[f]; string(n.content) != "CONTENT" || r.index.inodes[1].entries["g"].Ino != f {
		t.Errorf("%q at %v", n.content, r.index.inodes[1].entries)
	}
	if n := r.index.inodes[d]; n.attr.Mode != volume.ModeDir|0o700 || r.index.inodes[1].entries["e"].Ino != d {
		t.Errorf("mode %o at %v", n.attr.Mode, r.index.inodes[1].entries)
	}
}
