package conflict

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// TestRandomForks: whatever two branches do, the record restores the losing one's every
// changed path, byte for byte.
func TestRandomForks(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		r := newRig(t, seed)
		r.work(600)
		before, err := volumetest.Tree(ctx, r.leader)
		if err != nil {
			t.Fatal(err)
		}
		r.fork()
		play(r.winner, r.gen.Fork(seed), 500)
		r.work(500)
		o := r.options(openStore(t, vfs.NewMem()))
		if seed%3 == 1 {
			o.WholeBytes = 1 // ranges and hashes wherever they can be
		}
		if seed%3 == 2 {
			o.sortMemory = 4 << 10 // everything goes through files
		}
		rec := r.mustWrite(o)
		if !rec.OpsComplete() || rec.Unreadable > 0 {
			t.Fatalf("seed %d: %+v", seed, rec)
		}
		r.compare(t, o.Store, rec, before, seed)
	}
}

// compare restores a record into a directory and compares it with the losing tree.
func (r *rig) compare(t *testing.T, s *Store, rec Record, before volumetest.Snapshot, seed uint64) {
	t.Helper()
	rd := openRecord(t, s, rec.ID)
	tree, err := volumetest.Tree(ctx, r.leader)
	if err != nil {
		t.Fatal(err)
	}
	all := entries(t, rd)
	dir, notes := restored(t, rd, r.base)
	changed := 0
	for path, n := range tree {
		if n.Attr.Version <= r.common {
			continue
		}
		changed++
		e := all[path]
		if e == nil {
			t.Errorf("seed %d: %q was changed and is not in the record", seed, path)
			continue
		}
		if was := before[path]; was != nil && was.Attr.Ino == e.Ino && !contains(e.Before, path) {
			t.Errorf("seed %d: %q was there before: %q", seed, path, e.Before)
		}
		if note, ok := notes[e.Path()]; ok && note.Kind == Refused {
			continue
		}
		r.compareOne(t, dir, path, n, notes)
	}
	for path, was := range before {
		if now := tree[path]; now != nil && now.Attr.Ino == was.Attr.Ino || strings.HasPrefix(path, "/") {
			continue
		}
		if !r.recordsRemoval(rd, path, was.Attr.Ino) {
			t.Errorf("seed %d: %q (%s) has gone, and the record does not say so", seed, path, was.Attr.Ino)
		}
	}
	if changed < 20 {
		t.Errorf("seed %d: only %d paths were changed", seed, changed)
	}
}

// restored restores a record into a new directory.
func restored(t *testing.T, rd *Reader, present volume.Reader) (dir string, notes map[string]Note) {
	t.Helper()
	dir, notes = t.TempDir(), map[string]Note{}
	_, err := rd.RestoreTo(ctx, DirOptions{Dir: dir, NoSync: true, RestoreOptions: RestoreOptions{Present: present, Tell: func(n Note) error {
		notes[n.Path] = n
		return nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return dir, notes
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// recordsRemoval: a path that is gone because a directory above it moved is told by that one.
func (r *rig) recordsRemoval(rd *Reader, path string, ino volume.Ino) (found bool) {
	err := rd.Each(ctx, func(e *Entry) error {
		for _, p := range e.Removed() {
			found = found || p == path && e.Ino == ino || strings.HasPrefix(path, p+"/")
		}
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

func (r *rig) compareOne(t *testing.T, dir, path string, n *volumetest.Node, notes map[string]Note) {
	t.Helper()
	full := filepath.Join(dir, path)
	var st unix.Stat_t
	if err := unix.Lstat(full, &st); err != nil {
		t.Errorf("%q: %v", path, err)
		return
	}
	a := n.Attr
	if uint32(st.Mode)&volume.ModeType != a.Type() || a.Type() != volume.ModeLink && uint32(st.Mode) != a.Mode {
		t.Errorf("%q has mode %o, want %o", path, st.Mode, a.Mode)
	}
	if os.Geteuid() == 0 && (st.Uid != a.UID || st.Gid != a.GID) {
		t.Errorf("%q belongs to %d:%d, want %d:%d", path, st.Uid, st.Gid, a.UID, a.GID)
	}
	if got := (volume.Time{Sec: int64(st.Mtim.Sec), Nsec: uint32(st.Mtim.Nsec)}); got != a.Mtime {
		t.Errorf("%q has mtime %v, want %v", path, got, a.Mtime)
	}
	compareXattrs(t, full, path, n.Xattrs)
	switch a.Type() {
	case volume.ModeLink:
		if target, err := os.Readlink(full); err != nil || target != n.Target {
			t.Errorf("%q leads to %q, %v, want %q", path, target, err, n.Target)
		}
	case volume.ModeFile:
		if _, partial := notes[path]; partial {
			t.Errorf("%q: %s", path, notes[path].Text)
		}
		r.compareContent(t, full, path, &a)
	}
}

func (r *rig) compareContent(t *testing.T, full, path string, a *volume.Attr) {
	t.Helper()
	f, err := os.Open(full)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || st.Size() != a.Size {
		t.Errorf("%q has %d bytes, %v, want %d", path, st.Size(), err, a.Size)
		return
	}
	lower := func(off int64, hole bool) (int64, error) {
		whence := unix.SEEK_DATA
		if hole {
			whence = unix.SEEK_HOLE
		}
		n, err := unix.Seek(int(f.Fd()), off, whence)
		if err == unix.ENXIO {
			err = volume.NotSeekable
		}
		return n, err
	}
	upper := func(off int64, hole bool) (int64, error) { return r.leader.Seek(ctx, a.Ino, off, hole) }
	for _, seek := range []func(int64, bool) (int64, error){lower, upper} {
		for off := int64(0); off < a.Size; {
			from, err := seek(off, false)
			if err != nil && volume.KindOf(err) == volume.NotSeekable {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if off, err = seek(from, true); err != nil {
				t.Fatal(err)
			}
			got, want := make([]byte, off-from), make([]byte, off-from)
			if _, err := f.ReadAt(got, from); err != nil {
				t.Fatal(err)
			}
			if n, err := (readerContent{r.leader, a.Ino}).ReadAt(ctx, want, from); err != nil || n != len(want) {
				t.Fatal(n, err)
			}
			if string(got) != string(want) {
				t.Errorf("%q has other content from %d to %d", path, from, off)
			}
		}
	}
}

func compareXattrs(t *testing.T, full, path string, want []volume.Xattr) {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Llistxattr(full, buf)
	if err != nil && err != unix.EOPNOTSUPP {
		t.Fatal(err)
	}
	if got := strings.Count(string(buf[:max(n, 0)]), "\x00"); got != len(want) {
		t.Errorf("%q has %d extended attributes %q, want %d", path, got, buf[:max(n, 0)], len(want))
	}
	for _, w := range want {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(full, w.Name, value)
		if err != nil || string(value[:max(n, 0)]) != string(w.Value) {
			t.Errorf("%q has %s = %q, %v, want %q", path, w.Name, value[:max(n, 0)], err, w.Value)
		}
	}
}

// eachChanged calls fn with the paths of the losing tree that the fork changed.
func (r *rig) eachChanged(fn func(path string)) {
	r.t.Helper()
	tree, err := volumetest.Tree(ctx, r.leader)
	if err != nil {
		r.t.Fatal(err)
	}
	for path, n := range tree {
		if n.Attr.Version > r.common {
			fn(path)
		}
	}
}
