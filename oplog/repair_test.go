package oplog

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wolfdisk/volume"
)

// peerLog answers from another log, through what harm makes of it.
type peerLog struct {
	l     *Log
	harm  func(v volume.Version, b []byte) []byte
	asked int
}

func (p *peerLog) FetchFrame(_ context.Context, v volume.Version, take func([]byte) error) error {
	p.asked++
	b, err := p.l.LocalFrame(v)
	if err != nil {
		return err
	}
	b = append([]byte(nil), b...)
	if p.harm != nil {
		b = p.harm(v, b)
	}
	return take(b)
}

// twins are two logs of one history: the second one has other segments. The first was
// opened anew, so it keeps nothing in memory.
type twins struct {
	mem    *vfs.MemFS
	a      *Log
	b      *peerLog
	m      *history
	frames []Frame
	files  map[string][]byte // of a, as they were written
}

func newTwins(t *testing.T, seed uint64) *twins {
	t.Helper()
	w := &twins{mem: vfs.NewMem(), m: newHistory()}
	a, _ := mustOpen(t, small(w.mem))
	fill(t, a, w.m, testRand(seed), 4)
	opt := small(vfs.NewMem())
	opt.SegmentSize = 5 << 10
	b, _ := mustOpen(t, opt)
	t.Cleanup(func() { b.Close() })
	for _, f := range w.m.check(t, a) {
		if _, _, err := b.AppendFrame(f.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, a)
	w.a, _ = mustOpen(t, small(w.mem))
	t.Cleanup(func() { w.a.Close() })
	w.b = &peerLog{l: b}
	w.frames = w.m.check(t, w.a)
	w.a.cache.clear()
	w.files = w.read(t)
	return w
}

func (w *twins) path(segment uint64) string {
	return "oplog/" + segmentName(volume.Version(segment))
}

func (w *twins) read(t *testing.T) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	for _, s := range w.a.segs {
		f, err := w.mem.Open(s.path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		files[s.path] = b
	}
	return files
}

func (w *twins) flip(t *testing.T, segment uint64, off int64) {
	t.Helper()
	path := w.path(segment)
	patch(t, w.mem, path, off, []byte{w.files[path][off] ^ 0x5a})
}

// same fails the test unless every byte is what was written.
func (w *twins) same(t *testing.T) {
	t.Helper()
	for path, b := range w.read(t) {
		if !bytes.Equal(b, w.files[path]) {
			t.Errorf("%s is not what was written", path)
		}
	}
}

// payloadOf reads the whole payload of a frame as a reader of content does.
func payloadOf(l *Log, f *Frame) ([]byte, error) {
	p := make([]byte, f.RawLen)
	return p, l.ReadLog(bg, f.Ref, p)
}

// rawOf is a frame's payload as it was written.
func rawOf(t *testing.T, f *Frame) []byte {
	t.Helper()
	var h Header
	if err := parseHeader(f.Bytes, &h, ""); err != nil {
		t.Fatal(err)
	}
	raw, err := openPayload(&h, f.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// scrubLog verifies, and repairs what it is told if asked to. It returns the damage
// that is left.
func scrubLog(t *testing.T, l *Log, repair bool) (left []error) {
	t.Helper()
	err := l.Verify(bg, func(c Checked) error {
		if c.Err == nil {
			return nil
		}
		if repair {
			if _, err := l.Repair(bg, volume.LogRef{Segment: c.Segment, Frame: c.Offset}); err == nil {
				return nil
			}
		}
		left = append(left, c.Err)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// Every kind of place of a frame, in every frame of the log: damage is an error while
// nobody can help, never other bytes; with a peer a read gets what was written, and the
// segment holds it again, byte for byte.
func TestRepairOnRead(t *testing.T) {
	w := newTwins(t, 21)
	for i := range w.frames {
		f := &w.frames[i]
		want, head := rawOf(t, f), headerLen(f.Epoch.Leader)
		for _, at := range []int{0, 5, 12, 24, 56, head - 1, head, len(f.Bytes) - 1} {
			w.a.cache.clear()
			w.flip(t, f.Ref.Segment, f.Ref.Frame+int64(at))
			w.a.SetFetcher(nil)
			_, err := payloadOf(w.a, f)
			wantKind(t, err, volume.Corrupt)
			w.a.SetFetcher(w.b)
			got, err := payloadOf(w.a, f)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("frame %d..%d with a flipped byte at %d: %v", f.First, f.Last, at, err)
			}
			w.same(t)
			w.a.cache.clear()
			w.a.SetFetcher(nil)
			if got, err := payloadOf(w.a, f); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("frame %d..%d from disk once mended: %v", f.First, f.Last, err)
			}
		}
	}
	w.m.check(t, w.a)
}

// A scrub finds damage of every kind, goes on behind it, and mends it: payloads,
// headers, several frames in a row, the segment's header, a file that was cut short.
func TestRepairByScrub(t *testing.T) {
	w := newTwins(t, 22)
	harm := map[string]func(){
		"nothing": func() {},
		"payload": func() { w.flip(t, w.frames[2].Ref.Segment, w.frames[2].Ref.Frame+int64(len(w.frames[2].Bytes))-1) },
		"header":  func() { w.flip(t, w.frames[2].Ref.Segment, w.frames[2].Ref.Frame+30) },
		"segment": func() { w.flip(t, w.frames[len(w.frames)-1].Ref.Segment, 40) },
		"last":    func() { f := w.frames[len(w.frames)-1]; w.flip(t, f.Ref.Segment, f.Ref.Frame) },
		"in a row": func() {
			w.zero(t, w.frames[1].Ref, int64(len(w.frames[1].Bytes)+len(w.frames[2].Bytes)+len(w.frames[3].Bytes)))
		},
		"the rest": func() { w.zero(t, w.frames[1].Ref, w.a.segs[0].end-w.frames[1].Ref.Frame) },
		"many": func() {
			for i := range w.frames {
				w.flip(t, w.frames[i].Ref.Segment, w.frames[i].Ref.Frame+int64(7*i%len(w.frames[i].Bytes)))
			}
		},
	}
	for name, fn := range harm {
		t.Run(name, func(t *testing.T) {
			w.a.SetFetcher(nil)
			fn()
			w.a.cache.clear()
			if left := scrubLog(t, w.a, false); (len(left) == 0) != (name == "nothing") {
				t.Fatalf("found %v", left)
			}
			if name != "segment" && name != "nothing" { // which needs nobody
				if left := scrubLog(t, w.a, true); len(left) == 0 {
					t.Fatal("mended by nobody")
				}
			}
			w.a.SetFetcher(w.b)
			if left := scrubLog(t, w.a, true); len(left) > 0 {
				t.Fatalf("not mended: %v", left)
			}
			w.same(t)
			w.m.check(t, w.a)
		})
	}
}

func (w *twins) zero(t *testing.T, ref volume.LogRef, n int64) {
	t.Helper()
	patch(t, w.mem, w.path(ref.Segment), ref.Frame, make([]byte, n))
}

// Whoever follows the log gets past damage too: a feed, a replay at the start.
func TestRepairOnNext(t *testing.T) {
	w := newTwins(t, 23)
	for _, f := range []Frame{w.frames[1], w.frames[len(w.frames)/2]} {
		w.flip(t, f.Ref.Segment, f.Ref.Frame+20)
	}
	read := func() error {
		r, err := w.a.Reader(1)
		if err != nil {
			return err
		}
		defer r.Close()
		for i := range w.frames {
			f, err := r.Next(bg)
			if err != nil {
				return err
			}
			if !bytes.Equal(f.Bytes, w.frames[i].Bytes) {
				t.Fatalf("frame %d..%d is not what was written", f.First, f.Last)
			}
		}
		return nil
	}
	wantKind(t, read(), volume.Corrupt)
	w.a.SetFetcher(w.b)
	if err := read(); err != nil {
		t.Fatal(err)
	}
	w.same(t)
}

// What a peer says is believed only if it fits.
func TestRepairRefusesOtherFrames(t *testing.T) {
	w := newTwins(t, 24)
	other, _ := mustOpen(t, small(vfs.NewMem()))
	defer other.Close()
	m := newHistory()
	fill(t, other, m, testRand(99), 4)
	lies := map[string]func(volume.Version, []byte) []byte{
		"another frame": func(v volume.Version, _ []byte) []byte {
			b, err := w.b.l.LocalFrame(v + 5)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		"another history": func(v volume.Version, _ []byte) []byte {
			b, err := other.LocalFrame(v)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
		"a flipped byte": func(_ volume.Version, b []byte) []byte { b[len(b)-1] ^= 1; return b },
		"cut off":        func(_ volume.Version, b []byte) []byte { return b[:len(b)-1] },
		"nothing":        func(volume.Version, []byte) []byte { return nil },
		"noise":          func(volume.Version, []byte) []byte { return []byte(strings.Repeat("x", 500)) },
	}
	f := w.frames[2]
	for name, lie := range lies {
		for _, at := range []int64{10, int64(len(f.Bytes)) - 1} {
			w.flip(t, f.Ref.Segment, f.Ref.Frame+at)
			before := w.read(t)
			w.a.cache.clear()
			w.b.harm = lie
			w.a.SetFetcher(w.b)
			_, err := payloadOf(w.a, &f)
			wantKind(t, err, volume.Corrupt)
			if w.b.asked == 0 {
				t.Fatal("nobody was asked")
			}
			for path, b := range w.read(t) {
				if !bytes.Equal(b, before[path]) {
					t.Errorf("%s: %s was changed", name, path)
				}
			}
			w.b.harm = nil
			if _, err := payloadOf(w.a, &f); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.same(t)
}

// A disk that takes nothing any more: what a peer has is served all the same.
func TestRepairWithoutWriting(t *testing.T) {
	w := newTwins(t, 25)
	mustClose(t, w.a)
	refuse := false
	fs := errorfs.Wrap(w.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if refuse && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return volume.IO
		}
		return nil
	}))
	w.a, _ = mustOpen(t, small(fs))
	f := w.frames[2]
	w.flip(t, f.Ref.Segment, f.Ref.Frame+int64(len(f.Bytes))-1)
	refuse = true
	w.a.SetFetcher(w.b)
	if _, err := w.a.Repair(bg, f.Ref); volume.KindOf(err) != volume.IO {
		t.Errorf("repair on a disk that takes nothing: %v", err)
	}
	w.a.cache.clear()
	p, err := payloadOf(w.a, &f)
	if err != nil || !bytes.Equal(p, rawOf(t, &f)) {
		t.Errorf("read: %v", err)
	}
	refuse = false
}

// A place that the disk does not give is damage, and is written again.
func TestRepairUnreadable(t *testing.T) {
	w := newTwins(t, 26)
	mustClose(t, w.a)
	f := w.frames[2]
	bad := true
	fs := errorfs.Wrap(w.mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch {
		case op.Path != w.path(f.Ref.Segment):
		case op.Kind == errorfs.OpFileWriteAt:
			bad = false // the disk puts another sector in its place
		case op.Kind == errorfs.OpFileReadAt && bad && op.Offset <= f.Ref.Frame+200 && op.Offset >= f.Ref.Frame-512<<10:
			return volume.IO
		}
		return nil
	}))
	bad = false
	w.a, _ = mustOpen(t, small(fs))
	bad = true
	_, err := payloadOf(w.a, &f)
	wantKind(t, err, volume.IO)
	if left := scrubLog(t, w.a, false); len(left) == 0 || volume.KindOf(left[0]) != volume.IO {
		t.Errorf("a scrub found %v", left)
	}
	w.a.SetFetcher(w.b)
	if left := scrubLog(t, w.a, true); len(left) > 0 {
		t.Errorf("left after a repair: %v", left)
	}
	w.same(t)
}

func TestRepairEnds(t *testing.T) {
	w := newTwins(t, 27)
	f := w.frames[2]
	_, err := w.a.Repair(bg, volume.LogRef{Segment: 999999, Frame: 256})
	wantKind(t, err, volume.Missing)
	for _, off := range []int64{1, segmentHeaderLen - 1, f.Ref.Frame + 1, w.a.segs[0].end} {
		_, err = w.a.Repair(bg, volume.LogRef{Segment: f.Ref.Segment, Frame: off})
		wantKind(t, err, volume.Corrupt)
	}
	if n, err := w.a.Repair(bg, f.Ref); n != 0 || err != nil {
		t.Errorf("repair of what is intact: %d, %v", n, err)
	}
	w.a.mending.slot <- struct{}{} // somebody repairs
	ctx, cancel := context.WithCancel(bg)
	cancel()
	_, err = w.a.Repair(ctx, f.Ref)
	wantKind(t, err, volume.Interrupted)
	<-w.a.mending.slot
	for _, v := range []volume.Version{0, w.m.last() + 1} {
		_, err := w.a.LocalFrame(v)
		wantKind(t, err, volume.NotFound)
	}
	w.same(t)
}
