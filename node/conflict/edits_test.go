package conflict

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// edited is a directory with edits of each kind.
type edited struct {
	t     *testing.T
	dir   string
	plain *hostdir.Plain
	diffs []hostdir.Difference
}

func newEdited(t *testing.T) *edited {
	t.Helper()
	e := &edited{t: t, dir: t.TempDir()}
	put := func(path, text string, mode os.FileMode) {
		full := filepath.Join(e.dir, path)
		e.check(os.MkdirAll(filepath.Dir(full), 0o755))
		e.check(os.WriteFile(full, []byte(text), mode))
	}
	put("d/changed", "edited", 0o640)
	put("d/replaced", "other", 0o600)
	put("new/deep/file", "new file", 0o644)
	put("new/odd\xff", "not UTF-8", 0o644)
	e.check(os.Link(filepath.Join(e.dir, "d/changed"), filepath.Join(e.dir, "new/link")))
	e.check(os.Symlink("../d/changed", filepath.Join(e.dir, "new/sym")))
	e.check(unix.Setxattr(filepath.Join(e.dir, "d/changed"), "user.x", []byte("v"), 0))
	sparse, err := os.Create(filepath.Join(e.dir, "new/sparse"))
	e.check(err)
	_, err = sparse.WriteAt([]byte("far"), 5<<30)
	e.check(err)
	e.check(sparse.Close())
	e.plain, err = hostdir.OpenPlain(e.dir, zerolog.Nop())
	e.check(err)
	t.Cleanup(func() { e.check(e.plain.Close()) })
	e.diff(hostdir.DiffChanged, "d/changed", 10, hostdir.FieldXattrs)
	e.diff(hostdir.DiffReplaced, "d/replaced", 11, 0)
	e.diffs = append(e.diffs, hostdir.Difference{Kind: hostdir.DiffMissing, Path: "d/gone", Ino: 12})
	e.diff(hostdir.DiffExtra, "new", 0, 0)
	return e
}

func (e *edited) check(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *edited) diff(kind hostdir.DiffKind, path string, ino volume.Ino, fields hostdir.DiffFields) {
	e.t.Helper()
	root, err := e.plain.Root()
	e.check(err)
	s := lowerSource{chain{root: root, read: true}}
	f, name, err := s.place(path)
	e.check(err)
	a, lower, err := f.Stat(name)
	e.check(err)
	e.check(s.chain.close())
	e.diffs = append(e.diffs, hostdir.Difference{Kind: kind, Path: path, Ino: ino, Fields: fields, Lower: a, LowerIno: lower})
}

func (e *edited) options(s *Store) EditsOptions {
	return EditsOptions{Store: s, Volume: testVolume, Node: "b", Winner: "a", Why: "edited", At: volume.Position{Version: 77}, Tree: e.plain, Log0: zerolog.Nop(),
		Each: func(_ context.Context, fn func(hostdir.Difference) error) error {
			for _, d := range e.diffs {
				if err := fn(d); err != nil {
					return err
				}
			}
			return nil
		}}
}

// TestEdits: what was edited is recorded whole, once, and comes back as it was.
func TestEdits(t *testing.T) {
	e := newEdited(t)
	s := openStore(t, vfs.NewMem())
	rec, err := WriteEdits(ctx, e.options(s))
	e.check(err)
	again, err := WriteEdits(ctx, e.options(s))
	e.check(err)
	if rec.Kind != KindEdits || rec.Removed != 1 || again.ID != rec.ID || s.Count() != 1 || !strings.HasPrefix(rec.ID, "edits-77-") {
		t.Fatalf("%+v, then %+v, %d records", rec, again, s.Count())
	}
	rd := openRecord(t, s, rec.ID)
	all := entries(t, rd)
	for path, want := range map[string]string{
		"d/changed": "content xattrs created edited", "d/replaced": "created edited", "d/gone": "names edited", "new": "created edited",
		"new/deep/file": "created edited", "new/link": "content xattrs created edited", "new/odd\xff": "created edited", "d": "above", ".": "above",
	} {
		got := all[path]
		if got == nil {
			t.Errorf("%q is not in the record", path)
			continue
		}
		if a, b := strings.Fields(want), got.What.List(); len(a) != len(b) {
			t.Errorf("%q: %v, want %v", path, b, a)
		}
	}
	dir, notes := restored(t, rd, nil)
	if len(notes) > 0 {
		t.Errorf("%v", notes)
	}
	for path, want := range map[string]string{"d/changed": "edited", "d/replaced": "other", "new/deep/file": "new file", "new/odd\xff": "not UTF-8", "new/link": "edited", "new/sym": "edited"} {
		if b, err := os.ReadFile(filepath.Join(dir, path)); err != nil || string(b) != want {
			t.Errorf("%q: %q, %v", path, b, err)
		}
	}
	var a, b, sparse unix.Stat_t
	e.check(unix.Stat(filepath.Join(dir, "d/changed"), &a))
	e.check(unix.Stat(filepath.Join(dir, "new/link"), &b))
	e.check(unix.Stat(filepath.Join(dir, "new/sparse"), &sparse))
	if a.Ino != b.Ino || a.Mode&0o777 != 0o640 || sparse.Size != 5<<30+3 || sparse.Blocks > 100 {
		t.Errorf("%+v %+v %+v", a, b, sparse)
	}
	compareXattrs(t, filepath.Join(dir, "d/changed"), "d/changed", []volume.Xattr{{Name: "user.x", Value: []byte("v")}})
	if b := make([]byte, 3); rec.Bytes > 1<<20 {
		t.Errorf("%d bytes are kept of holes (%v)", rec.Bytes, b)
	}
}

// TestNoEdits: nothing is recorded where nothing was changed.
func TestNoEdits(t *testing.T) {
	e := newEdited(t)
	e.diffs = nil
	s := openStore(t, vfs.NewMem())
	if rec, err := WriteEdits(ctx, e.options(s)); err != nil || rec.ID != "" || s.Count() != 0 {
		t.Errorf("%+v, %v", rec, err)
	}
	if names, err := s.list(); err != nil || len(names) > 0 {
		t.Errorf("left: %q, %v", names, err)
	}
}

// TestEditsGoOn: a directory that somebody still writes to is not recorded half.
func TestEditsGoOn(t *testing.T) {
	e := newEdited(t)
	s := openStore(t, vfs.NewMem())
	o := e.options(s)
	o.Progress = func(uint64, uint64, string) {
		os.Rename(filepath.Join(e.dir, "d/changed"), filepath.Join(e.dir, "d/replaced")) // the second time there is nothing to move
	}
	if rec, err := WriteEdits(ctx, o); err == nil || s.Count() != 0 {
		t.Errorf("%+v, %v", rec, err)
	}
}
