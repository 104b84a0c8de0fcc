package hostdir

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// TestListNames: every wanted name comes once, however many there are.
func TestListNames(t *testing.T) {
	r := newRig(t)
	stop := errors.New("stop")
	for _, n := range []int{0, 1, nameBatch - 1, nameBatch, nameBatch + 1, 2*nameBatch + 3} {
		path := t.TempDir()
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("n%05d", i))
		}
		for _, name := range append([]string{"unwanted"}, want...) {
			if err := os.WriteFile(filepath.Join(path, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		wanted := func(name string) bool { return name != "unwanted" }
		var got []string
		calls := 0
		err = r.dir.listNames(ctx, fd, wanted, func(names []string) error {
			if calls++; len(names) == 0 || len(names) > nameBatch {
				t.Errorf("of %d: %d names at a time", n, len(names))
			}
			got = append(got, names...)
			return nil
		})
		slices.Sort(got)
		if err != nil || !slices.Equal(got, want) || calls != (n+nameBatch-1)/nameBatch {
			t.Errorf("of %d: %d names in %d calls, %v", n, len(got), calls, err)
		}
		calls = 0
		err = r.dir.listNames(ctx, fd, wanted, func([]string) error { calls++; return stop })
		if n > 0 && (err != stop || calls != 1) {
			t.Errorf("of %d: %v after %d calls", n, err, calls)
		}
	}
}

// TestCheckManyNames: differences are found wherever they are among many names of a directory.
func TestCheckManyNames(t *testing.T) {
	r := newRig(t)
	d := r.mkdir(1, "d")
	for i := range 2*nameBatch + 3 {
		r.file(d, fmt.Sprintf("n%05d", i), "content")
	}
	r.close()
	r.open(false)
	at := func(i int) string { return filepath.Join(r.path, "d", fmt.Sprintf("n%05d", i)) }
	want := map[string]DiffKind{}
	plant := func(i int, kind DiffKind, err error) {
		if err != nil {
			t.Fatal(err)
		}
		want[fmt.Sprintf("d/n%05d", i)] = kind
	}
	for _, i := range []int{0, nameBatch - 2, nameBatch, 2 * nameBatch} {
		plant(i, DiffChanged, os.WriteFile(at(i), []byte("longer than it was"), 0o644))
		plant(i+1, DiffMissing, os.Remove(at(i+1)))
		plant(i+10_000, DiffExtra, os.WriteFile(at(i+10_000), nil, 0o644))
	}
	got := map[string]DiffKind{}
	err := r.dir.Check(ctx, r.index, func(diff Difference) error {
		if diff.Ino == d || diff.Ino == volume.RootIno {
			return nil // its times
		}
		if _, twice := got[diff.Path]; twice {
			t.Errorf("%s is reported twice", diff)
		}
		got[diff.Path] = diff.Kind
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, kind := range want {
		if got[path] != kind {
			t.Errorf("%s: %v, want %v", path, got[path], kind)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d differences, want %d: %v", len(got), len(want), got)
	}
}
