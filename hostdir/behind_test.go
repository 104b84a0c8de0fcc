package hostdir

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// TestReserved: the reserved name cannot be made in any way.
func TestReserved(t *testing.T) {
	r := newRig(t)
	f := r.file(1, "f", "x")
	tmp := r.ino()
	r.do(&volume.Op{Kind: volume.OpCreate, Ino: tmp, Mode: volume.ModeFile | 0o600})
	for _, op := range []*volume.Op{
		{Kind: volume.OpCreate, Ino: 99, Parent: 1, Name: Reserved, Mode: volume.ModeFile},
		{Kind: volume.OpLink, Ino: f, Parent: 1, Name: Reserved},
		{Kind: volume.OpRename, Ino: f, Parent: 1, Name: "f", NewParent: 1, NewName: Reserved},
		{Kind: volume.OpPublish, Ino: tmp, Parent: 1, Name: Reserved},
		{Kind: volume.OpRmdir, Ino: f, Parent: 1, Name: Reserved},
	} {
		if err := r.try(op); volume.KindOf(err) != volume.NotPermitted {
			t.Errorf("%s: %v", op.Kind, err)
		}
	}
	sub := r.mkdir(1, "sub")
	r.file(sub, Reserved, "only the root's is reserved")
	r.compare()
}

// TestSwappedDirectory: a directory on the way is replaced by a symbolic link to
// outside, with every cache cold; nothing outside may change.
func TestSwappedDirectory(t *testing.T) {
	for name, tweak := range ways {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.tweak = tweak
			a := r.mkdir(1, "a")
			b := r.mkdir(a, "b")
			f := r.file(b, "f", "inside")
			r.close()
			r.open(false)
			outside := t.TempDir()
			os.MkdirAll(outside+"/b", 0o777)
			os.WriteFile(outside+"/b/f", []byte("outside"), 0o666)
			os.Rename(r.path+"/a", outside+"/was-a")
			os.Symlink(outside, r.path+"/a")
			ops := []*volume.Op{
				{Kind: volume.OpWrite, Ino: f, Data: []byte("HACKED")},
				{Kind: volume.OpTruncate, Ino: f, Size: 0},
				{Kind: volume.OpSetAttr, Ino: f, Mask: volume.SetMode, Mode: 0o4777},
				{Kind: volume.OpCreate, Ino: r.ino(), Parent: b, Name: "new", Mode: volume.ModeFile | 0o600},
				{Kind: volume.OpUnlink, Ino: f, Parent: b, Name: "f", Flags: volume.OpEnds},
			}
			for _, op := range ops {
				if err := r.try(op); err != nil && volume.KindOf(err) != volume.Missing {
					t.Errorf("%s: %v", op.Kind, err)
				}
			}
			if got, err := os.ReadFile(outside + "/b/f"); err != nil || string(got) != "outside" {
				t.Fatalf("a file outside was changed: %q %v", got, err)
			}
			if st, _ := os.Stat(outside + "/b/f"); st.Mode()&os.ModeSetuid != 0 {
				t.Fatal("a mode outside was changed")
			}
			if e, _ := os.ReadDir(outside + "/b"); len(e) != 1 {
				t.Fatalf("made outside: %v", e)
			}
		})
	}
}

// TestSwappedFile: a file replaced by a link is not written through.
func TestSwappedFile(t *testing.T) {
	for name, tweak := range ways {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.tweak = tweak
			f := r.file(1, "f", "inside")
			r.close()
			r.open(false)
			outside := filepath.Join(t.TempDir(), "target")
			os.WriteFile(outside, []byte("outside"), 0o666)
			os.Remove(r.path + "/f")
			os.Symlink(outside, r.path+"/f")
			for _, op := range []*volume.Op{
				{Kind: volume.OpWrite, Ino: f, Data: []byte("HACKED")},
				{Kind: volume.OpSetAttr, Ino: f, Mask: volume.SetMode, Mode: 0o777},
				{Kind: volume.OpSetXattr, Ino: f, Name: "user.x", Data: []byte("1")},
			} {
				if err := r.try(op); volume.KindOf(err) != volume.Missing {
					t.Errorf("%s: %v", op.Kind, err)
				}
			}
			if got, _ := os.ReadFile(outside); string(got) != "outside" {
				t.Fatalf("changed outside: %q", got)
			}
		})
	}
}

// TestForeignNotDeleted: what somebody put where the index has something else is kept.
func TestForeignNotDeleted(t *testing.T) {
	r := newRig(t)
	put := func(name, text string) {
		os.Remove(filepath.Join(r.path, name))
		if err := os.WriteFile(filepath.Join(r.path, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a, b := r.file(1, "a", "aa"), r.file(1, "b", "bb")
	hold, err := os.Open(r.path + "/a") // or its number would be used again
	if err != nil {
		t.Fatal(err)
	}
	defer hold.Close()
	hold2, err := os.Open(r.path + "/b")
	if err != nil {
		t.Fatal(err)
	}
	defer hold2.Close()
	put("a", "foreign a")
	r.unlink(1, "a", a, volume.OpEnds)
	put("b", "foreign b")
	c := r.file(1, "c", "cc")
	r.rename(1, "c", 1, "b", c, b, volume.OpEnds)
	put("new", "foreign new")
	r.file(1, "new", "mine")
	os.WriteFile(r.path+"/to", []byte("foreign to"), 0o644)
	r.rename(1, "new", 1, "to", r.index.inodes[1].entries["new"].Ino, 0, 0)
	d := r.mkdir(1, "d")
	put("d/x", "foreign x")
	r.do(&volume.Op{Kind: volume.OpRmdir, Ino: d, Parent: 1, Name: "d", Flags: volume.OpEnds})
	r.compare()
	var kept []string
	filepath.Walk(filepath.Join(r.path, Reserved, keptName), func(p string, st os.FileInfo, err error) error {
		if err == nil && st.Mode().IsRegular() {
			b, _ := os.ReadFile(p)
			kept = append(kept, string(b))
		}
		return err
	})
	slices.Sort(kept)
	if want := []string{"foreign a", "foreign b", "foreign new", "foreign to", "foreign x"}; !slices.Equal(kept, want) {
		t.Fatalf("kept %q", kept)
	}
}

// TestForeignChange: a change behind the daemon is noticed when the file is next
// opened, and our own are not.
func TestForeignChange(t *testing.T) {
	r := newRig(t)
	f, g := r.file(1, "f", "content"), r.file(1, "g", "content")
	r.close()
	r.open(false)
	if _, err := r.read(g); err != nil || len(r.foreign) > 0 {
		t.Fatalf("%v %v", err, r.foreign)
	}
	os.WriteFile(r.path+"/f", []byte("CONTENT"), 0o644)
	if got, err := r.read(f); err != nil || got != "CONTENT" || !slices.Contains(r.foreign, f) {
		t.Fatalf("%q %v %v", got, err, r.foreign)
	}
	r.foreign = nil
	os.Truncate(r.path+"/g", 3)
	if _, err := r.read(g); volume.KindOf(err) != volume.Corrupt || !slices.Contains(r.foreign, g) {
		t.Fatalf("a cut file: %v %v", err, r.foreign)
	}
}

// TestCheck plants every kind of difference in a stopped directory.
func TestCheck(t *testing.T) {
	plant := map[string]struct {
		do     func(p string) error
		kind   DiffKind
		fields DiffFields
	}{
		"removed":   {os.Remove, DiffMissing, 0},
		"written":   {func(p string) error { return os.WriteFile(p, []byte("longer than it was"), 0o644) }, DiffChanged, FieldSize | FieldMtime},
		"same size": {func(p string) error { return os.WriteFile(p, []byte("CONTENT"), 0o644) }, DiffChanged, FieldMtime},
		"mode":      {func(p string) error { return os.Chmod(p, 0o600) }, DiffChanged, FieldMode},
		"xattr":     {func(p string) error { return unix.Lsetxattr(p, "user.new", []byte("1"), 0) }, DiffChanged, FieldXattrs},
		"linked":    {func(p string) error { return os.Link(p, filepath.Join(filepath.Dir(filepath.Dir(p)), "link")) }, 0, 0}, // the name is
		"type":      {func(p string) error { return errors.Join(os.Remove(p), os.Mkdir(p, 0o755)) }, DiffType, 0},
		"replaced": {func(p string) error {
			return errors.Join(os.WriteFile(p+"~", []byte("content"), 0o644), os.Rename(p+"~", p))
		}, DiffReplaced, 0},
		"dir mode": {func(p string) error { return os.Chmod(filepath.Dir(p), 0o711) }, DiffChanged, FieldMode},
		"extra":    {func(p string) error { return os.WriteFile(p+"-extra", nil, 0o644) }, DiffExtra, 0},
	}
	r := newRig(t)
	for name := range plant {
		d := r.mkdir(1, name)
		r.file(d, "f", "content")
		r.create(d, "link", volume.ModeLink|0o777)
		for i := range 20 {
			r.file(d, fmt.Sprintf("other%d", i), "")
		}
	}
	r.mkdir(1, "empty")
	r.close()
	r.open(false)
	if err := r.dir.Check(ctx, r.index, func(d Difference) error { return fmt.Errorf("%s", d) }); err != nil {
		t.Fatalf("nothing was planted: %v", err)
	}
	for name, p := range plant {
		if err := p.do(filepath.Join(r.path, name, "f")); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]Difference{}
	err := r.dir.Check(ctx, r.index, func(d Difference) error {
		top, _, sub := strings.Cut(d.Path, "/")
		if !sub && top != "dir mode" && d.Kind == DiffChanged && d.Fields == FieldMtime || d.Kind == DiffExtra && d.Path == "link" {
			return nil // directories whose entries were changed; the planted link
		}
		if old, ok := found[top]; ok {
			t.Errorf("%s, after %s", d, old)
		}
		found[top] = d
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, p := range plant {
		if d := found[name]; d.Kind != p.kind || d.Fields != p.fields {
			t.Errorf("%s: found %s", name, d)
		}
	}
	if len(found) != len(plant)-1 {
		t.Errorf("found %v", found)
	}
}

// TestUnlinkedOpen reads and writes files that lost their names, over a restart.
func TestUnlinkedOpen(t *testing.T) {
	r := newRig(t)
	f := r.file(1, "f", "before")
	r.unlink(1, "f", f, 0)
	r.write(f, 6, " after")
	g := r.file(1, "g", "g")
	h := r.file(1, "h", "h")
	r.rename(1, "g", 1, "h", g, h, 0)
	for range 2 {
		if got, err := r.read(f); err != nil || got != "before after" {
			t.Fatalf("%q %v", got, err)
		}
		if got, err := r.read(h); err != nil || got != "h" {
			t.Fatalf("%q %v", got, err)
		}
		r.compare()
		r.dir.Close()
		r.open(false)
	}
	r.do(&volume.Op{Kind: volume.OpLink, Ino: f, Parent: 1, Name: "again"})
	r.do(&volume.Op{Kind: volume.OpEnd, Ino: h})
	r.compare()
}

// TestHandleReuse: a lower file that took the number of a removed one is not it.
func TestHandleReuse(t *testing.T) {
	r := newRig(t)
	f := r.file(1, "f", "old")
	r.close()
	r.open(false)
	if err := os.Remove(r.path + "/f"); err != nil {
		t.Fatal(err)
	}
	for i := range 200 { // ext4 gives the number away again at once
		os.WriteFile(fmt.Sprintf("%s/x%d", r.path, i), []byte("new"), 0o644)
	}
	if got, err := r.read(f); volume.KindOf(err) != volume.Missing {
		t.Fatalf("%q %v", got, err)
	}
}

// TestUndo applies ops, undoes them, and demands the directory of before. Content and
// ended inodes cannot come back.
func TestUndo(t *testing.T) {
	for name, tweak := range ways {
		r := newRig(t)
		r.tweak = tweak
		tweak(r.dir)
		g := newRandom(r, 7)
		undone := 0
		for i := range 700 {
			op := g.op()
			if op == nil {
				continue
			}
			off, length, content := op.ContentRange()
			_ = off
			if i%2 == 0 || content && length > 0 && op.Kind != volume.OpWrite || op.Kind == volume.OpEnd ||
				op.Flags&volume.OpEnds != 0 && op.Kind != volume.OpRmdir {
				r.do(op)
				continue
			}
			if op.Kind == volume.OpWrite {
				op.Offset = r.index.inodes[op.Ino].attr.Size + 10 // only growth can be cut off
			}
			op.Time = r.now
			if _, err := r.dir.Apply(ctx, op, r.index); err != nil {
				t.Fatal(err)
			}
			if err := r.dir.Undo(ctx, op, r.index); err != nil {
				t.Fatalf("%s: %s: %v", name, op.Kind, err)
			}
			undone++
			for ino, n := range r.index.inodes {
				r.dir.dirty.mark(ino, n.attr.Ctime)
			}
			r.compare()
		}
		if undone < 50 {
			t.Fatalf("only %d undone", undone)
		}
	}
}

// newSmallRig is a rig on an ext4 of 8 MiB.
func newSmallRig(t *testing.T, opts ...func(*Options)) *rig {
	needRoot(t)
	image, mnt := filepath.Join(t.TempDir(), "image"), t.TempDir()
	for _, c := range [][]string{{"truncate", "-s", "8M", image}, {"mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal,^ea_inode", image}, {"mount", "-o", "loop", image, mnt}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%v: %v %s", c, err, out)
		}
	}
	t.Cleanup(func() { exec.Command("umount", mnt).Run() })
	r := &rig{t: t, path: mnt, state: t.TempDir(), index: newFakeIndex(), next: 1, now: volume.Time{Sec: 1_600_000_000}}
	r.opt = func(o *Options) {
		for _, f := range opts {
			f(o)
		}
	}
	r.open(true)
	t.Cleanup(func() { r.dir.Close() })
	r.index.inodes[1].attr, _ = r.dir.RootAttr()
	return r
}

// TestSmallDisk: a full disk shortens or refuses writes and leaves nothing half done; an
// attribute too big for it is refused without an error.
func TestSmallDisk(t *testing.T) {
	r := newSmallRig(t)
	f := r.file(1, "f", "x")
	r.do(&volume.Op{Kind: volume.OpSetXattr, Ino: f, Name: "user.big", Data: make([]byte, 30000)})
	if s := r.dir.Stats(); s.RefusedXattr != 1 || !s.Refusals() {
		t.Fatalf("%+v", s)
	}
	full := false
	for i := range 100 {
		op := &volume.Op{Kind: volume.OpWrite, Ino: f, Offset: int64(i) * 200_000, Data: make([]byte, 200_000)}
		err := r.try(op)
		if err != nil {
			if volume.KindOf(err) != volume.NoSpace {
				t.Fatal(err)
			}
			full = true
			break
		}
	}
	if !full {
		t.Fatal("the disk did not fill up")
	}
	err := r.try(&volume.Op{Kind: volume.OpFallocate, Ino: f, Offset: 0, Length: 100 << 20})
	if volume.KindOf(err) != volume.NoSpace {
		t.Fatalf("fallocate: %v", err)
	}
	if len(r.foreign) > 0 {
		t.Fatalf("what only adds behind the end is taken back: %v", r.foreign)
	}
	// Zeroing may have begun, so the file is to be read again.
	err = r.try(&volume.Op{Kind: volume.OpFallocate, Ino: f, Alloc: volume.FallocZeroRange, Offset: 0, Length: 100 << 20})
	if volume.KindOf(err) != volume.NoSpace || !slices.Equal(r.foreign, []volume.Ino{f}) {
		t.Fatalf("zero a range: %v, to be read again: %v", err, r.foreign)
	}
	failed := false
	for i := 0; !failed && i < 20000; i++ {
		op := &volume.Op{Kind: volume.OpCreate, Ino: r.ino(), Parent: 1, Name: fmt.Sprintf("%0200d", i), Mode: volume.ModeDir | 0o755}
		if err := r.try(op); err != nil {
			if volume.KindOf(err) != volume.NoSpace {
				t.Fatal(err)
			}
			failed = true
		}
	}
	if !failed {
		t.Fatal("inodes and blocks did not run out")
	}
	delete(r.index.inodes[f].xattrs, "user.big")
	os.Remove(r.path + "/lost+found")
	r.compare()
}

// roomFor are fallocates of more than a small disk has.
func roomFor(f volume.Ino) []*volume.Op {
	const much = 20 << 20
	return []*volume.Op{
		{Kind: volume.OpFallocate, Ino: f, Alloc: volume.FallocKeepSize, Length: much},
		{Kind: volume.OpFallocate, Ino: f, Alloc: volume.FallocKeepSize | volume.FallocZeroRange, Offset: 2, Length: much},
		{Kind: volume.OpFallocate, Ino: f, Offset: 1, Length: much},
		{Kind: volume.OpFallocate, Ino: f, Alloc: volume.FallocZeroRange, Offset: 5000, Length: much},
	}
}

// hasRoom demands that some MiB of the disk have not been set aside for anything.
func (r *rig) hasRoom() {
	r.t.Helper()
	if st, err := r.dir.StatFS(ctx); err != nil || st.Avail*uint64(st.BlockSize) < 5<<20 {
		r.t.Errorf("%d blocks of %d bytes are left, %v", st.Avail, st.BlockSize, err)
	}
}

// TestReplayWithoutRoom: an op of a node whose disk is larger is replayed without the room that it
// asks for, and takes none from others. Content that does not fit is an error all the same.
func TestReplayWithoutRoom(t *testing.T) {
	r := newSmallRig(t)
	f := r.file(1, "f", "0123456789")
	r.write(f, 6000, "end")
	for i, op := range roomFor(f) {
		op.Version = volume.Version(100 + i)
		r.do(op)
		r.hasRoom()
	}
	for i := range int64(12) {
		op := &volume.Op{Kind: volume.OpWrite, Version: volume.Version(200 + i), Ino: f, Offset: i * volume.MaxWrite, Data: make([]byte, volume.MaxWrite)}
		err := r.try(op)
		if err != nil && volume.KindOf(err) != volume.NoSpace {
			t.Fatal(err)
		}
		if err != nil || len(op.Data) < volume.MaxWrite {
			os.Remove(r.path + "/lost+found")
			r.compare()
			return
		}
	}
	t.Fatal("what does not fit was taken")
}

// TestRoomGivenBack: where the file system says only half-way that there is too little, as with a
// quota, it is the same.
func TestRoomGivenBack(t *testing.T) {
	r := newSmallRig(t)
	for i := range roomFor(0) {
		f := r.file(1, fmt.Sprint(i), "0123456789")
		op := roomFor(f)[i]
		e, err := r.dir.file(f, true, r.index)
		if err != nil {
			t.Fatal(err)
		}
		err = r.dir.fallocateIfRoom(e.fd, op.Alloc, op.Offset, op.Length, 10)
		r.dir.files.put(e)
		if err != nil {
			t.Fatalf("mode %#x: %v", op.Alloc, err)
		}
		r.hasRoom()
		r.now.Sec++
		op.Time = r.now
		r.dir.dirty.mark(f, op.Time)
		r.index.apply(op, nil)
	}
	os.Remove(r.path + "/lost+found")
	r.compare()
}
