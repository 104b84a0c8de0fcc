package oplog

import (
	"bytes"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// patch changes bytes of a file in place.
func patch(t testing.TB, mem vfs.FS, path string, off int64, b []byte) {
	t.Helper()
	f, err := mem.OpenReadWrite(path, writeCategory)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// crashed is what is left of a log whose process was killed: all that was written,
// without what Close does.
type crashed struct {
	mem    *vfs.MemFS
	m      *history
	frames []Frame
	paths  []string // of the segments
}

// crashedLog makes a log of some segments, of which nothing was synced behind
// version synced.
func crashedLog(t testing.TB, segments int, synced volume.Version) *crashed {
	t.Helper()
	c := &crashed{mem: vfs.NewCrashableMem(), m: newHistory()}
	l, _ := mustOpen(t, small(c.mem))
	rng := testRand(uint64(segments))
	mustSync := func() {
		if err := l.Sync(bg, min(synced, l.Last().Version)); err != nil {
			t.Fatal(err)
		}
	}
	for i := 0; len(l.segs) < segments || l.active.lastOff < 3000; i++ {
		op := randomOp(rng, i)
		if i == 0 {
			op = reign(epoch1)
		}
		c.m.add(t, op)
		mustAppend(t, l, epoch1, op)
		mustSync()
	}
	c.frames = c.m.check(t, l)
	for _, s := range l.segs {
		c.paths = append(c.paths, s.path)
	}
	c.mem = c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
	mustClose(t, l)
	return c
}

func (c *crashed) last() *Frame { return &c.frames[len(c.frames)-1] }

func (c *crashed) path(f *Frame) string {
	return "oplog/" + segmentName(volume.Version(f.Ref.Segment))
}

// allBytes is every file of the log's directory.
func (c *crashed) allBytes(t testing.TB) map[string]string {
	t.Helper()
	names, err := c.mem.List("oplog")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, name := range names {
		b, err := c.mem.UnsafeGetFileDataBuffer("oplog/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(b)
	}
	return all
}

// markOf is the durable mark on disk.
func markOf(t testing.TB, mem *vfs.MemFS) durableMark {
	t.Helper()
	b, err := mem.UnsafeGetFileDataBuffer("oplog/" + markName)
	if err != nil {
		t.Fatal(err)
	}
	id, m, ok := parseMark(b)
	if !ok || id != testVolume {
		t.Fatalf("mark is %x", b)
	}
	return m
}

// The mark follows what is durable, and names the epoch that this log wrote in.
func TestMark(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, small(mem))
	f := mustAppend(t, l, epoch1, reign(epoch1))
	if m := markOf(t, mem); m.own != epoch1 || m.version != 0 {
		t.Fatalf("mark is %+v", m)
	}
	mustAppend(t, l, epoch2, reign(epoch2))
	if err := l.Sync(bg, 1); err != nil {
		t.Fatal(err)
	}
	if m := markOf(t, mem); m != (durableMark{version: 2, digest: l.Last().Digest, own: epoch2}) {
		t.Fatalf("mark is %+v", m)
	}
	if err := l.Reset(volume.Position{}); err != nil {
		t.Fatal(err)
	}
	if m := markOf(t, mem); m != (durableMark{}) {
		t.Fatalf("mark is %+v", m)
	}
	if _, _, err := l.AppendFrame(f.Bytes); err != nil { // somebody else's by now
		t.Fatal(err)
	}
	mustClose(t, l)
	if m := markOf(t, mem); m != (durableMark{version: 1, digest: f.Digest}) {
		t.Fatalf("mark is %+v", m)
	}
}

func TestRecoverAfterKill(t *testing.T) {
	c := crashedLog(t, 4, 0)
	l, rec := mustOpen(t, small(c.mem))
	defer mustClose(t, l)
	if rec.Created || rec.Cut != nil || rec.Last != c.last().Position() || rec.First != 1 || l.Durable() != rec.Last.Version {
		t.Fatalf("recovery is %+v, durable %d", rec, l.Durable())
	}
	c.m.check(t, l)
}

// A torn tail is cut where it begins, kept, and reported.
func TestRecoverTornTail(t *testing.T) {
	for _, d := range []struct {
		name   string
		damage func(t *testing.T, c *crashed) // of the last frame
	}{
		{"payload", func(t *testing.T, c *crashed) {
			patch(t, c.mem, c.path(c.last()), c.last().Ref.Frame+int64(len(c.last().Bytes))-1, []byte{c.last().Bytes[len(c.last().Bytes)-1] ^ 1})
		}},
		{"header", func(t *testing.T, c *crashed) {
			patch(t, c.mem, c.path(c.last()), c.last().Ref.Frame+30, []byte{0xff})
		}},
		{"magic", func(t *testing.T, c *crashed) {
			patch(t, c.mem, c.path(c.last()), c.last().Ref.Frame, []byte{0})
		}},
		{"only the header was written", func(t *testing.T, c *crashed) {
			patch(t, c.mem, c.path(c.last()), c.last().Ref.Frame+40, make([]byte, len(c.last().Bytes)-40))
		}},
	} {
		t.Run(d.name, func(t *testing.T) {
			c := crashedLog(t, 3, 0)
			before := c.frames[len(c.frames)-2]
			d.damage(t, c)
			tail, err := c.mem.UnsafeGetFileDataBuffer(c.path(c.last()))
			if err != nil {
				t.Fatal(err)
			}
			tail = bytes.TrimRight(bytes.Clone(tail[c.last().Ref.Frame:]), "\x00")
			l, rec := mustOpen(t, small(c.mem))
			if rec.Cut == nil || rec.Last != before.Position() || rec.Cut.Kept != rec.Last {
				t.Fatalf("recovery is %+v", rec)
			}
			cut := rec.Cut
			if cut.Segment != c.last().Ref.Segment || cut.Offset != c.last().Ref.Frame || cut.Bytes != int64(len(tail)) || len(cut.Paths) != 1 {
				t.Fatalf("cut is %+v", cut)
			}
			var de *DamageError
			if !errors.As(cut.Err, &de) || de.Segment != cut.Segment || de.Offset != cut.Offset || volume.KindOf(cut.Err) != volume.Corrupt {
				t.Fatalf("cut for %v", cut.Err)
			}
			kept, err := c.mem.UnsafeGetFileDataBuffer(cut.Paths[0])
			if err != nil || !bytes.Equal(kept, tail) {
				t.Fatalf("kept %d bytes of %d: %v", len(kept), len(tail), err)
			}
			// It goes on, and what was cut is forgotten.
			c.m.ops, c.m.digests = c.m.ops[:rec.Last.Version], c.m.digests[:rec.Last.Version+1]
			op := nameOp(77)
			c.m.add(t, op)
			mustAppend(t, l, epoch1, op)
			c.m.check(t, l)
			mustClose(t, l)
			l, rec = mustOpen(t, small(c.mem))
			if rec.Cut != nil {
				t.Fatalf("cut again: %+v", rec.Cut)
			}
			c.m.check(t, l)
			mustClose(t, l)
		})
	}
}

// Damage to what was durable is never cut unless told, whatever shows that it was.
func TestRecoverRefuses(t *testing.T) {
	flip := func(t *testing.T, c *crashed, f *Frame) {
		patch(t, c.mem, c.path(f), f.Ref.Frame+int64(len(f.Bytes))-1, []byte{f.Bytes[len(f.Bytes)-1] ^ 1})
	}
	// The mark as of the first frame, as if it had not reached the disk since.
	noMark := func(t *testing.T, c *crashed) {
		patch(t, c.mem, "oplog/"+markName, 0, (&durableMark{own: epoch1}).encode(testVolume))
	}
	const all = 1 << 60
	for _, d := range []struct {
		name     string
		segments int
		synced   volume.Version
		damage   func(t *testing.T, c *crashed)
	}{
		{"last frame, the mark says so", 1, all, func(t *testing.T, c *crashed) { flip(t, c, c.last()) }},
		{"zeroed tail, the mark says so", 1, all, func(t *testing.T, c *crashed) {
			f := c.frames[len(c.frames)-3]
			patch(t, c.mem, c.path(&f), f.Ref.Frame, make([]byte, (8<<10)-f.Ref.Frame))
		}},
		{"a later frame says so", 1, all, func(t *testing.T, c *crashed) {
			noMark(t, c)
			flip(t, c, &c.frames[len(c.frames)-3])
		}},
		{"a later frame behind lost headers says so", 1, all, func(t *testing.T, c *crashed) {
			noMark(t, c)
			a, b := c.frames[len(c.frames)-4], c.frames[len(c.frames)-1]
			patch(t, c.mem, c.path(&a), a.Ref.Frame, make([]byte, b.Ref.Frame-a.Ref.Frame))
		}},
		{"the next segment says so", 2, all, func(t *testing.T, c *crashed) {
			noMark(t, c)
			flip(t, c, &c.frames[2])
		}},
		{"an old segment's last frame", 5, 0, func(t *testing.T, c *crashed) {
			noMark(t, c)
			for i := range c.frames {
				if c.frames[i+1].Ref.Segment != c.frames[i].Ref.Segment {
					patch(t, c.mem, c.path(&c.frames[i]), c.frames[i].Ref.Frame+30, []byte{0xff})
					return
				}
			}
		}},
		{"an old segment's header", 5, 0, func(t *testing.T, c *crashed) {
			noMark(t, c)
			patch(t, c.mem, c.paths[1], 20, []byte{0xff})
		}},
		{"an old segment is missing", 5, 0, func(t *testing.T, c *crashed) {
			noMark(t, c)
			if err := c.mem.Remove(c.paths[2]); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(d.name, func(t *testing.T) {
			c := crashedLog(t, d.segments, d.synced)
			d.damage(t, c)
			before := c.allBytes(t)
			_, _, err := Open(small(c.mem))
			wantKind(t, err, volume.Corrupt)
			var de *DamageError
			if !errors.As(err, &de) || !strings.Contains(err.Error(), "allow the cut") {
				t.Fatalf("refused with %v", err)
			}
			after := c.allBytes(t)
			for name, b := range before {
				if after[name] != b {
					t.Fatalf("%s was changed by an Open that refused", name)
				}
			}
			o := small(c.mem)
			o.AllowCut = true
			l, rec := mustOpen(t, o)
			if rec.Last.Version >= c.m.last() {
				t.Fatalf("recovery is %+v", rec)
			}
			c.m.check(t, l)
			mustClose(t, l)
			l, rec = mustOpen(t, small(c.mem)) // and that is the end of it
			if rec.Cut != nil {
				t.Fatalf("cut again: %+v", rec.Cut)
			}
			mustClose(t, l)
		})
	}
}

// Damage behind which nothing says that it was durable is a torn tail, even if
// intact frames and segments follow: pages go to the disk in any order.
func TestRecoverTornWithIntactBehind(t *testing.T) {
	c := crashedLog(t, 2, 0)
	f := c.frames[1]
	patch(t, c.mem, c.path(&f), f.Ref.Frame, make([]byte, len(f.Bytes)))
	l, rec := mustOpen(t, small(c.mem))
	defer mustClose(t, l)
	if rec.Cut == nil || rec.Last.Version != 1 || len(rec.Cut.Paths) != 2 {
		t.Fatalf("recovery is %+v, cut %+v", rec, rec.Cut)
	}
	c.m.check(t, l)
}

// On a follower, frames say what was durable at their leader. That it lost some of
// them to a power loss is no damage.
func TestRecoverFollower(t *testing.T) {
	leader := openSmall(t, vfs.NewMem())
	mem := vfs.NewCrashableMem()
	follower, _ := mustOpen(t, small(mem))
	m := newHistory()
	rng := testRand(30)
	var frames []Frame
	for i := range 12 {
		op := randomOp(rng, i)
		if i == 0 {
			op = reign(epoch1)
		}
		m.add(t, op)
		f := mustAppend(t, leader, epoch1, op)
		if err := leader.Sync(bg, f.Last); err != nil {
			t.Fatal(err)
		}
		f, _, err := follower.AppendFrame(f.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rng})
	mustClose(t, follower)
	f := frames[4]
	patch(t, clone, "oplog/"+segmentName(volume.Version(f.Ref.Segment)), f.Ref.Frame, make([]byte, len(f.Bytes)))
	l, rec := mustOpen(t, small(clone))
	defer mustClose(t, l)
	if rec.Cut == nil || rec.Last != frames[3].Position() {
		t.Fatalf("recovery is %+v", rec)
	}
	m.check(t, l)
}

// A file in the volume may hold a log. Its frames are no evidence.
func TestRecoverIgnoresFramesInPayloads(t *testing.T) {
	inner := vfs.NewMem()
	il, _ := mustOpen(t, small(inner))
	for i := range 40 {
		op := nameOp(i)
		if i == 0 {
			op = reign(epoch1)
		}
		f := mustAppend(t, il, epoch1, op)
		if err := il.Sync(bg, f.Last); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, il)
	content, err := inner.UnsafeGetFileDataBuffer("oplog/" + segmentName(1))
	if err != nil {
		t.Fatal(err)
	}
	mem := vfs.NewCrashableMem()
	o := small(mem)
	o.Compress, o.SegmentSize = 0, 64<<10
	l, _ := mustOpen(t, o)
	mustAppend(t, l, epoch1, reign(epoch1))
	f := mustAppend(t, l, epoch1, writeOp(5, 0, content[:6000]))
	clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: testRand(1)})
	mustClose(t, l)
	patch(t, clone, "oplog/"+segmentName(1), f.Ref.Frame+int64(len(f.Bytes))-1, []byte{f.Bytes[len(f.Bytes)-1] ^ 1})
	o.FS = clone
	l, rec := mustOpen(t, o)
	defer mustClose(t, l)
	if rec.Cut == nil || rec.Last.Version != 1 {
		t.Fatalf("recovery is %+v", rec)
	}
}

func TestOpenRefusals(t *testing.T) {
	c := crashedLog(t, 2, 0)
	other := small(c.mem)
	other.Volume = volume.ID{9}
	_, _, err := Open(other)
	wantKind(t, err, volume.WrongVolume)

	newer := crashedLog(t, 1, 0)
	patch(t, newer.mem, newer.paths[0], 8, []byte{FormatVersion + 1})
	o := small(newer.mem)
	o.AllowCut = true
	_, _, err = Open(o)
	wantKind(t, err, volume.WrongVersion)

	headless := crashedLog(t, 1, 0)
	patch(t, headless.mem, headless.paths[0], 40, []byte{1})
	o = small(headless.mem)
	o.AllowCut = true
	_, _, err = Open(o)
	wantKind(t, err, volume.Corrupt)

	emptied := crashedLog(t, 1, 1<<60)
	if err := emptied.mem.Remove(emptied.paths[0]); err != nil {
		t.Fatal(err)
	}
	_, _, err = Open(small(emptied.mem))
	wantKind(t, err, volume.Corrupt)
	o = small(emptied.mem)
	o.AllowCut = true
	l, rec := mustOpen(t, o)
	if !rec.Created {
		t.Fatalf("recovery is %+v", rec)
	}
	mustClose(t, l)
	l, _ = mustOpen(t, small(emptied.mem))
	mustClose(t, l)

	for name, change := range map[string]func(*Options){
		"no directory":   func(o *Options) { o.Dir = "" },
		"no volume":      func(o *Options) { o.Volume = volume.ID{} },
		"tiny segments":  func(o *Options) { o.SegmentSize = 100 },
		"huge segments":  func(o *Options) { o.SegmentSize = 1 << 50 },
		"negative sync":  func(o *Options) { o.SyncEvery = -1 },
		"negative level": func(o *Options) { o.Compress = -1 },
	} {
		o := small(vfs.NewMem())
		change(&o)
		_, _, err := Open(o)
		if volume.KindOf(err) != volume.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Leftovers of a crash go, what belongs to nobody here stays.
func TestOpenCleans(t *testing.T) {
	c := crashedLog(t, 1, 0)
	for _, name := range []string{spareName, "cut-1-2.tmp", "reset.tmp", "notes.txt", "cut-7-300", "zz.seg"} {
		patch(t, c.mem, "oplog/"+name, 0, []byte("x"))
	}
	l, _ := mustOpen(t, small(c.mem))
	mustClose(t, l)
	for name, stays := range map[string]bool{
		spareName: false, "cut-1-2.tmp": false, "reset.tmp": false, "notes.txt": true, "cut-7-300": true, "zz.seg": true,
	} {
		_, err := c.mem.Stat("oplog/" + name)
		if stays && err != nil || !stays && !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
