package hostdir

import (
	"os"
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
