package conflict

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// TestRandomIntoVolume: all that was lost is in the winner's volume afterwards, and nothing of
// what was there is changed; doing it again changes nothing.
func TestRandomIntoVolume(t *testing.T) {
	seeds := uint64(10)
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		r := newRig(t, 100+seed)
		r.work(500)
		r.fork()
		play(r.winner, r.gen.Fork(seed), 300)
		r.work(400)
		o := r.options(openStore(t, vfs.NewMem()))
		rec := r.mustWrite(o)
		before, err := volumetest.Tree(ctx, r.winner)
		if err != nil {
			t.Fatal(err)
		}
		lost, err := volumetest.Tree(ctx, r.leader)
		if err != nil {
			t.Fatal(err)
		}
		rd := openRecord(t, o.Store, rec.ID)
		beside := map[string]string{}
		res, err := rd.RestoreInto(ctx, VolumeOptions{Volume: r.winner, RestoreOptions: RestoreOptions{Tell: func(n Note) error {
			if n.Kind == Beside {
				beside[n.Path] = n.Text[strings.LastIndexByte(n.Text, ' ')+1:]
			} else if n.Kind == Partial {
				t.Errorf("seed %d: %+v", seed, n)
			}
			return nil
		}}})
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		after, err := volumetest.Tree(ctx, r.winner)
		if err != nil {
			t.Fatal(err)
		}
		r.nothingLost(t, before, after, seed)
		r.allThere(t, rd, lost, after, beside, seed)
		again, err := rd.RestoreInto(ctx, VolumeOptions{Volume: r.winner})
		if err != nil || again.Written > 0 || again.Folders > 0 {
			t.Fatalf("seed %d: %+v after %+v, %v", seed, again, res, err)
		}
		if res.Written == 0 || res.Beside == 0 {
			t.Errorf("seed %d: %+v", seed, res)
		}
	}
}

func (r *rig) nothingLost(t *testing.T, before, after volumetest.Snapshot, seed uint64) {
	t.Helper()
	for path, was := range before {
		now := after[path]
		if now == nil {
			t.Errorf("seed %d: %q is gone from the volume", seed, path)
			continue
		}
		if d := state(was); state(now) != d && !was.Attr.IsDir() || now.Attr.Ino != was.Attr.Ino {
			t.Errorf("seed %d: %q was %s and is %s", seed, path, d, state(now))
		}
	}
}

// state is what a restore gives back.
func state(n *volumetest.Node) string {
	s := fmt.Sprintf("%o %d:%d %d %v %q", n.Attr.Mode, n.Attr.UID, n.Attr.GID, n.Attr.Rdev, n.Attr.Mtime, n.Target)
	for _, x := range n.Xattrs {
		s += fmt.Sprintf(" %s=%q", x.Name, x.Value)
	}
	return s + fmt.Sprintf(" %x", n.Content[:8])
}

// allThere looks for each recorded object at its path, or beside it.
func (r *rig) allThere(t *testing.T, rd *Reader, lost, after volumetest.Snapshot, beside map[string]string, seed uint64) {
	t.Helper()
	for path, e := range entries(t, rd) {
		if !e.counts() || !e.Known || e.Attr.IsDir() || len(e.Paths) == 0 {
			continue
		}
		want := state(lost[path])
		found := slices.ContainsFunc(places(path, beside), func(p string) bool { return after[p] != nil && state(after[p]) == want })
		if !found {
			t.Errorf("seed %d: %q is not in the volume, nor beside it: %s, tried %q", seed, path, want, places(path, beside))
		}
	}
}

// places are where a path may be now.
func places(path string, beside map[string]string) []string {
	dir, name := split(path)
	dirs := []string{"."}
	if dir != "." {
		dirs = places(dir, beside)
	}
	names := []string{name}
	if as := beside[path]; as != "" {
		names = append(names, as)
	}
	var list []string
	for _, d := range dirs {
		for _, n := range names {
			list = append(list, inner(d, n))
		}
	}
	return list
}

// TestDiff has one case of each kind.
func TestDiff(t *testing.T) {
	r := newRig(t, 1)
	root := volume.RootIno
	dir := r.mkdir(r.leader, root, "d")
	for _, name := range []string{"same", "differs", "missing", "moved", "replaced", "removed", "removed too"} {
		r.file(r.leader, dir, name, "old "+name)
	}
	r.fork()
	ino := func(vol volume.Reader, name string) volume.Ino {
		a, err := vol.Lookup(ctx, dir, name)
		if err != nil {
			t.Fatal(err)
		}
		return a.Ino
	}
	for _, name := range []string{"same", "differs", "missing", "moved", "replaced"} {
		r.write(r.leader, ino(r.leader, name), 0, "new "+name)
	}
	for _, name := range []string{"removed", "removed too"} {
		r.do(r.leader, volume.Request{Kind: volume.OpUnlink, Parent: dir, Name: name})
	}
	a, err := r.leader.GetAttr(ctx, ino(r.leader, "same"))
	if err != nil {
		t.Fatal(err)
	}
	r.write(r.winner, a.Ino, 0, "new same")
	r.do(r.winner, volume.Request{Kind: volume.OpSetAttr, Ino: a.Ino, Set: volume.SetMtime, Mtime: a.Mtime})
	for _, name := range []string{"missing", "replaced", "removed too"} {
		r.do(r.winner, volume.Request{Kind: volume.OpUnlink, Parent: dir, Name: name})
	}
	r.do(r.winner, volume.Request{Kind: volume.OpRename, Parent: dir, Name: "moved", NewParent: root, NewName: "elsewhere"})
	r.file(r.winner, dir, "replaced", "another")
	o := r.options(openStore(t, vfs.NewMem()))
	rd := openRecord(t, o.Store, r.mustWrite(o).ID)
	got := map[string]string{}
	err = rd.Diff(ctx, r.winner, func(_ *Entry, c Compared) error {
		got[c.Path] = fmt.Sprintf("%v %s %q %s", c.Removed, c.State, c.Fields, c.Now)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"d/same": `false same [] `, "d/differs": `false differs ["mtime" "content"] `, "d/missing": `false missing [] `,
		"d/moved": `false displaced [] elsewhere`, "d/replaced": `false displaced ["mtime" "size"] `,
		"d/removed": `true differs [] `, "d/removed too": `true same [] `, "d": `false differs ["mtime"] `,
	} {
		if got[path] != want {
			t.Errorf("%q: %s, want %s", path, got[path], want)
		}
	}
	if len(got) != 8 {
		t.Errorf("%v", got)
	}
}
