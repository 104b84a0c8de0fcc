package hostdir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// TestOpenRefuses: each thing that would endanger data is refused, with a way out.
func TestOpenRefuses(t *testing.T) {
	write := func(t *testing.T, path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name    string
		prepare func(t *testing.T, o *Options)
		kind    volume.Kind
		says    string
	}{
		{"missing", func(t *testing.T, o *Options) { o.Path += "/none" }, volume.NotFound, "create it"},
		{"a file", func(t *testing.T, o *Options) { o.Path += "/f"; write(t, o.Path, "") }, volume.NotDir, "not a directory"},
		{"full", func(t *testing.T, o *Options) { write(t, o.Path+"/f", "") }, volume.NotEmpty, "holds files that belong to no WolfDisk volume"},
		{"unmarked reserved name", func(t *testing.T, o *Options) { write(t, o.Path+"/.wolfdisk", "") }, volume.NotDir, "made by WolfDisk"},
		{"empty but not new", func(t *testing.T, o *Options) { o.New = false }, volume.Missing, "is its disk mounted"},
		{"state inside", func(t *testing.T, o *Options) {
			o.StateDir = o.Path + "/a/b"
			os.MkdirAll(o.StateDir, 0o755)
		}, volume.Invalid, "lies inside the volume's directory"},
		{"state is the directory", func(t *testing.T, o *Options) { o.StateDir = o.Path }, volume.Invalid, "lies inside"},
		{"inside state", func(t *testing.T, o *Options) {
			o.Path = o.StateDir + "/x/y"
			os.MkdirAll(o.Path, 0o755)
		}, volume.Invalid, "lies inside the state directory"},
		{"state missing", func(t *testing.T, o *Options) { o.StateDir += "/none" }, volume.NotFound, "state directory"},
		{"other volume", func(t *testing.T, o *Options) { mark(t, *o); o.Volume[0] = 9 }, volume.WrongVolume, "holds volume"},
		{"other state", func(t *testing.T, o *Options) { mark(t, *o); o.Store[0] = 9 }, volume.WrongVolume, "--state-dir"},
		{"damaged marker", func(t *testing.T, o *Options) {
			mark(t, *o)
			write(t, o.Path+"/.wolfdisk/marker", "wolfdisk-directory 1\nvolume x\n")
		}, volume.Corrupt, "damaged"},
		{"later marker", func(t *testing.T, o *Options) {
			mark(t, *o)
			write(t, o.Path+"/.wolfdisk/marker", "wolfdisk-directory 2\n")
		}, volume.WrongVersion, "format"},
		{"marker is a link", func(t *testing.T, o *Options) {
			mark(t, *o)
			os.Rename(o.Path+"/.wolfdisk/marker", o.StateDir+"/m")
			os.Symlink(o.StateDir+"/m", o.Path+"/.wolfdisk/marker")
		}, volume.Unknown, "marker"},
		{"mount point inside", func(t *testing.T, o *Options) {
			needRoot(t)
			p := o.Path + "/with space"
			os.Mkdir(p, 0o755)
			if err := unix.Mount("none", p, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Unmount(p, 0) })
		}, volume.CrossDevice, "with space is a mount point"},
		{"read-only", func(t *testing.T, o *Options) {
			needRoot(t)
			if err := unix.Mount("none", o.Path, "tmpfs", unix.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
			p := o.Path
			t.Cleanup(func() { unix.Unmount(p, 0) })
		}, volume.ReadOnly, "read-only"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			base := t.TempDir()
			o := Options{Path: filepath.Join(base, "data"), StateDir: filepath.Join(base, "state"), Volume: testVolume, Store: testStore, New: true}
			os.Mkdir(o.Path, 0o755)
			os.Mkdir(o.StateDir, 0o755)
			c.prepare(t, &o)
			d, err := Open(o)
			if err == nil {
				d.Close()
				t.Fatal("opened")
			}
			if k := volume.KindOf(err); c.kind != volume.Unknown && k != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("kind %v: %v", k, err)
			}
		})
	}
}

// mark makes a directory somebody's.
func mark(t *testing.T, o Options) {
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

// TestOpenFindsNoFDLeak opens and closes, and demands the descriptors back.
func TestOpenLeaksNothing(t *testing.T) {
	r := newRig(t)
	count := func() int {
		e, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Skip("no /proc/self/fd to count in")
		}
		return len(e)
	}
	before := count()
	for range 3 {
		r.close()
		r.open(false)
		r.file(1, "f", "x")
		r.unlink(1, "f", volume.MakeIno(0, r.next), volume.OpEnds)
	}
	if after := count(); after != before {
		t.Fatalf("%d descriptors, then %d", before, after)
	}
}

// TestEmptyDiskWithLostFound: a fresh ext4 has that folder.
func TestEmptyDiskWithLostFound(t *testing.T) {
	base := t.TempDir()
	o := Options{Path: base + "/d", StateDir: base + "/s", Volume: testVolume, Store: testStore, New: true}
	os.MkdirAll(o.Path+"/lost+found", 0o700)
	os.Mkdir(o.StateDir, 0o700)
	d, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ix := newFakeIndex()
	if err := d.Check(ctx, ix, func(diff Difference) error {
		if diff.Kind == DiffExtra {
			t.Errorf("%s", diff)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestMarkerCodec(t *testing.T) {
	m := marker{testVolume, testStore, "uuid-0123"}
	b := m.encode()
	if got, err := decodeMarker(b); err != nil || got != m {
		t.Fatalf("%+v %v", got, err)
	}
	for i := range b {
		c := append([]byte(nil), b...)
		c[i] ^= 1
		if got, err := decodeMarker(c); err == nil && got == m {
			t.Fatalf("byte %d changed and not noticed", i)
		}
		if _, err := decodeMarker(b[:i]); err == nil {
			t.Fatalf("cut at %d and not noticed", i)
		}
	}
}

func TestRecordCodec(t *testing.T) {
	r := record{flagClean | flagOwner, 77, 1 << 60, volume.Time{Sec: -5, Nsec: 999}, 1 << 40, "tagshhandle"}
	l := r.encode(5)
	if got, err := decodeRecord(l.Value); err != nil || *got != r || string(l.Key) != r.key || l.Ino != 5 {
		t.Fatalf("%+v %v", got, err)
	}
	for i := range recordHead + keyHead {
		if _, err := decodeRecord(l.Value[:i]); err == nil {
			t.Fatalf("cut at %d and not noticed", i)
		}
	}
	l.Value[0] = 2
	if _, err := decodeRecord(l.Value); volume.KindOf(err) != volume.WrongVersion {
		t.Fatal(err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	r := record{key: "tagshhandle"}
	f.Add(r.encode(5).Value)
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeRecord(b); err == nil && string(r.encode(1).Value) != string(b) {
			t.Fatal("not the same when encoded again")
		}
	})
}

func FuzzDecodeMarker(f *testing.F) {
	f.Add(marker{testVolume, testStore, "uuid-0123"}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeMarker(b); err == nil && string(m.encode()) != string(b) {
			t.Fatal("not the same when encoded again")
		}
	})
}

func FuzzReadSlot(f *testing.F) {
	b := make([]byte, slotLen)
	writeSlot(b, &volume.Op{Kind: volume.OpRename, Ino: 2, Name: "a", NewName: "b"})
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == slotLen {
			readSlot(b)
		}
	})
}

func FuzzReadProgress(f *testing.F) {
	r := newRig(f)
	ino := r.create(volume.RootIno, "a", volume.ModeFile|0o600)
	b := r.dir.intents.progress(7)
	if err := r.dir.Applying(&volume.Op{Kind: volume.OpUnlink, Version: 7, Ino: ino}, volume.Position{Version: 9}, r.index); err != nil {
		f.Fatal(err)
	}
	if p := readProgress(b); p.version != 7 || len(p.records) != 1 || p.records[0].Ino != ino {
		f.Fatalf("%+v", p)
	}
	f.Add(append([]byte(nil), b...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == progressLen {
			for _, l := range readProgress(append([]byte(nil), b...)).records {
				if _, err := decodeRecord(l.Value); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestUnapplied asks how far a frame has come, at each step of its ops.
func TestUnapplied(t *testing.T) {
	r := newRig(t)
	frame := func(last volume.Version) volume.Position {
		return volume.Position{Version: last, Digest: volume.Digest{byte(last)}}
	}
	want := func(v volume.Version) {
		t.Helper()
		for range 2 { // also in the next process, and the one behind it
			if got := r.dir.Unapplied(4, frame(6)); got != v {
				t.Fatalf("unapplied from %d, want %d", got, v)
			}
			r.close()
			r.open(false)
		}
	}
	apply := func(v, last volume.Version) func() {
		op := &volume.Op{Kind: volume.OpWrite, Version: v}
		if err := r.dir.Applying(op, frame(last), r.index); err != nil {
			t.Fatal(err)
		}
		return func() { r.dir.Applied(op) }
	}
	want(4)
	for v := range volume.Version(3) {
		apply(v+1, 3)()
		want(4) // another frame
	}
	for v := volume.Version(4); v <= 6; v++ {
		apply(v, 6)
		want(v)
		apply(v, 6)()
		want(v + 1)
		// Killed when the next op was about to be noted.
		stateOf(r.dir.intents.progress(v + 1)).Store(0)
		want(v + 1)
	}
	r.close()
	r.opt = func(o *Options) { o.Boot = &Boot{ID: "another"} }
	r.open(false)
	want(4)
}
