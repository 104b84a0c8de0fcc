package oplog

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

func TestAppendNumbersOps(t *testing.T) {
	l := openSmall(t, vfs.NewMem())
	if l.First() != 1 || l.Last() != (volume.Position{}) || l.Durable() != 0 {
		t.Fatalf("a new log has first %d, last %s, durable %d", l.First(), l.Last(), l.Durable())
	}
	mustAppend(t, l, epoch1, reign(epoch1))
	a, b := writeOp(5, 0, []byte("hello")), writeOp(5, 5, []byte("world, longer"))
	f := mustAppend(t, l, epoch1, a, b)
	if f.First != 2 || f.Last != 3 || f.Count != 2 || a.Version != 2 || b.Version != 3 {
		t.Fatalf("frame %d..%d of %d, ops %d and %d", f.First, f.Last, f.Count, a.Version, b.Version)
	}
	if l.Last() != f.Position() || l.Last().Version != 3 || l.Last().Epoch != epoch1 {
		t.Fatalf("last is %s", l.Last())
	}
	for _, op := range []*volume.Op{a, b} {
		got := make([]byte, len(op.Data))
		ref := f.Ref
		ref.Offset = uint32(op.DataOff)
		if err := l.ReadLog(bg, ref, got); err != nil || !bytes.Equal(got, op.Data) {
			t.Fatalf("content at DataOff %d is %q, %v", op.DataOff, got, err)
		}
	}
	if frames, err := l.AppendOps(epoch1, nil); frames != nil || err != nil {
		t.Fatalf("appending nothing: %v, %v", frames, err)
	}
}

// A batch beyond MaxFrameRaw is split, and every op can be found by its DataOff.
func TestAppendSplits(t *testing.T) {
	o := small(vfs.NewMem())
	o.SegmentSize = 512 << 10
	l, _ := mustOpen(t, o)
	defer mustClose(t, l)
	rng := testRand(1)
	m := newHistory()
	var ops []*volume.Op
	for range 9 {
		ops = append(ops, writeOp(5, 0, randomBytes(rng, 100<<10)))
	}
	m.add(t, ops...)
	frames, err := l.AppendOps(epoch1, ops)
	if err != nil {
		t.Fatal(err)
	}
	if len(frames) != 5 {
		t.Fatalf("%d frames for nine ops of 100 KiB", len(frames))
	}
	m.check(t, l)
	for _, op := range ops {
		for _, f := range frames {
			if op.Version < f.First || op.Version > f.Last {
				continue
			}
			got := make([]byte, len(op.Data))
			ref := f.Ref
			ref.Offset = uint32(op.DataOff)
			if err := l.ReadLog(bg, ref, got); err != nil || !bytes.Equal(got, op.Data) {
				t.Fatalf("op %d: content at DataOff %d: %v", op.Version, op.DataOff, err)
			}
		}
	}
	big := writeOp(5, 0, randomBytes(rng, volume.MaxWrite))
	m.add(t, big)
	f := mustAppend(t, l, epoch1, big) // larger than a segment, too
	if f.RawLen <= volume.MaxFrameRaw || len(f.Bytes) > MaxFrameLen {
		t.Fatalf("a 1 MiB write makes a frame of %d", f.RawLen)
	}
	m.check(t, l)
}

func TestAppendManySmallOps(t *testing.T) {
	l := openSmall(t, vfs.NewMem())
	m := newHistory()
	var ops []*volume.Op
	for i := range 20000 {
		ops = append(ops, &volume.Op{Kind: volume.OpEnd, Ino: volume.MakeIno(0, uint32(i+2))})
	}
	m.add(t, ops...)
	frames, err := l.AppendOps(epoch1, ops)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		if f.RawLen > volume.MaxFrameRaw || f.Count > volume.MaxFrameOps {
			t.Fatalf("frame of %d bytes and %d ops", f.RawLen, f.Count)
		}
	}
	m.check(t, l)
}

// What is refused leaves the log as it was.
func TestAppendRefusals(t *testing.T) {
	for _, c := range []struct {
		name  string
		epoch volume.Epoch
		ops   []*volume.Op
		kind  volume.Kind
	}{
		{"no epoch", volume.Epoch{}, []*volume.Op{nameOp(1)}, volume.Invalid},
		{"leader's ID", volume.Epoch{Number: 3, Leader: "a b"}, []*volume.Op{nameOp(1)}, volume.Invalid},
		{"tag", volume.Epoch{Number: 3, Leader: "a", Tag: 1 << 20}, []*volume.Op{nameOp(1)}, volume.Invalid},
		{"lower epoch", epoch1, []*volume.Op{nameOp(1)}, volume.WrongHistory},
		{"epoch without its op", volume.Epoch{Number: 3, Leader: "a"}, []*volume.Op{nameOp(1)}, volume.WrongHistory},
		{"reign in the middle", epoch2, []*volume.Op{nameOp(1), reign(epoch2)}, volume.Invalid},
		{"reign of another epoch", epoch2, []*volume.Op{reign(epoch1)}, volume.Invalid},
		{"second op invalid", epoch2, []*volume.Op{nameOp(1), {Kind: volume.OpTruncate, Ino: 5, Size: -1}}, volume.BadFormat},
		{"too much content", epoch2, []*volume.Op{writeOp(5, 0, make([]byte, volume.MaxWrite+1))}, volume.BadFormat},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := openSmall(t, vfs.NewMem())
			m := newHistory()
			first, second := reign(epoch1), reign(epoch2)
			mustAppend(t, l, epoch1, first)
			mustAppend(t, l, epoch2, second)
			m.add(t, first, second)
			last, size := l.Last(), l.Bytes()
			_, err := l.AppendOps(c.epoch, c.ops)
			wantKind(t, err, c.kind)
			if l.Last() != last || l.Bytes() != size || l.Broken() != nil {
				t.Fatalf("log is at %s with %d bytes, broken: %v", l.Last(), l.Bytes(), l.Broken())
			}
			op := nameOp(9)
			m.add(t, op)
			mustAppend(t, l, epoch2, op)
			m.check(t, l)
		})
	}
}

// pair is a leader's log and a follower's.
func pair(t *testing.T) (leader, follower *Log) {
	t.Helper()
	follower = openSmall(t, vfs.NewMem())
	return openSmall(t, vfs.NewMem()), follower
}

func TestAppendFrameIsTheSameBytes(t *testing.T) {
	leader, follower := pair(t)
	rng := testRand(2)
	m := newHistory()
	fill(t, leader, m, rng, 5)
	for _, f := range m.check(t, leader) {
		wire := bytes.Clone(f.Bytes)
		got, ops, err := follower.AppendFrame(wire)
		if err != nil {
			t.Fatal(err)
		}
		clear(wire) // the caller's buffer is the caller's
		if !bytes.Equal(got.Bytes, f.Bytes) || got.Position() != f.Position() || len(ops) != f.Count {
			t.Fatalf("frame %d..%d differs", f.First, f.Last)
		}
		for i, op := range ops {
			v := f.First + volume.Version(i)
			if op.Version != v || !bytes.Equal(encoding(t, op), m.ops[v-1]) {
				t.Fatalf("op %d differs", v)
			}
			data := make([]byte, len(op.Data))
			ref := got.Ref
			ref.Offset = uint32(op.DataOff)
			if err := follower.ReadLog(bg, ref, data); err != nil || !bytes.Equal(data, op.Data) {
				t.Fatalf("op %d: content at DataOff: %v", v, err)
			}
		}
	}
	if leader.Last() != follower.Last() || leader.Bytes() != follower.Bytes() {
		t.Fatalf("leader %s, follower %s", leader.Last(), follower.Last())
	}
	m.check(t, follower)
	for i, s := range leader.segs {
		a, b := segmentBytes(t, leader, s.path), segmentBytes(t, follower, follower.segs[i].path)
		if !bytes.Equal(a[segmentHeaderLen:], b[segmentHeaderLen:]) {
			t.Fatalf("segment %s differs", s.path)
		}
	}
}

func segmentBytes(t testing.TB, l *Log, path string) []byte {
	t.Helper()
	f, err := l.fs.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if err := readFull(f, b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAppendFrameContinuity(t *testing.T) {
	build := func(ops ...*volume.Op) (*Log, []Frame) {
		l := openSmall(t, vfs.NewMem())
		var frames []Frame
		for _, op := range ops {
			e := epoch1
			if l.Last().Epoch == epoch2 || op.Kind == volume.OpReign && op.Epoch == epoch2 {
				e = epoch2
			}
			frames = append(frames, mustAppend(t, l, e, op))
		}
		return l, frames
	}
	_, mine := build(reign(epoch1), nameOp(1), nameOp(2), nameOp(3))
	_, other := build(reign(epoch1), nameOp(1), nameOp(7), nameOp(8))
	_, next := build(reign(epoch1), nameOp(1), nameOp(2), reign(epoch2), nameOp(4))
	for _, c := range []struct {
		name  string
		base  []Frame
		frame Frame
		kind  volume.Kind
	}{
		{"gap", mine[:1], mine[2], volume.WrongHistory},
		{"again", mine[:3], mine[2], volume.WrongHistory},
		{"long ago", mine[:3], mine[0], volume.WrongHistory},
		{"other history", mine[:3], other[3], volume.WrongHistory},
		{"other history at the same version", other[:3], mine[3], volume.WrongHistory},
		{"lower epoch", next[:5], mine[3], volume.WrongHistory},
		{"behind an empty log", nil, mine[1], volume.WrongHistory},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := openSmall(t, vfs.NewMem())
			for _, f := range c.base {
				if _, _, err := l.AppendFrame(f.Bytes); err != nil {
					t.Fatal(err)
				}
			}
			last := l.Last()
			_, _, err := l.AppendFrame(c.frame.Bytes)
			wantKind(t, err, c.kind)
			if l.Last() != last || l.Broken() != nil {
				t.Fatalf("log is at %s, broken: %v", l.Last(), l.Broken())
			}
		})
	}
	l := openSmall(t, vfs.NewMem())
	for _, f := range next {
		if _, _, err := l.AppendFrame(f.Bytes); err != nil {
			t.Fatalf("frame %d in epoch %s: %v", f.First, f.Epoch, err)
		}
	}
}

// A frame that lies about anything is refused before a byte of it is written.
func TestAppendFrameDamaged(t *testing.T) {
	leader, follower := pair(t)
	f := mustAppend(t, leader, epoch1, reign(epoch1))
	if _, _, err := follower.AppendFrame(f.Bytes); err != nil {
		t.Fatal(err)
	}
	f = mustAppend(t, leader, epoch1, writeOp(5, 0, text(900)))
	before := segmentBytes(t, follower, follower.active.path)
	for i := range f.Bytes {
		b := bytes.Clone(f.Bytes)
		b[i] ^= 0x10
		if _, _, err := follower.AppendFrame(b); err == nil {
			t.Fatalf("a flipped bit in byte %d of %d goes unnoticed", i, len(b))
		}
	}
	for i := range len(f.Bytes) {
		if _, _, err := follower.AppendFrame(f.Bytes[:i]); err == nil {
			t.Fatalf("a frame cut off at %d goes unnoticed", i)
		}
	}
	_, _, err := follower.AppendFrame(append(bytes.Clone(f.Bytes), 0))
	wantKind(t, err, volume.BadFormat)
	if !bytes.Equal(before, segmentBytes(t, follower, follower.active.path)) {
		t.Fatal("a refused frame was written")
	}
	if _, _, err := follower.AppendFrame(f.Bytes); err != nil {
		t.Fatal(err)
	}
}

func TestCompressionPays(t *testing.T) {
	rng := testRand(3)
	for _, c := range []struct {
		name  string
		level int
		data  []byte
		want  bool
	}{
		{"none", 0, text(4096), false},
		{"text", 1, text(4096), true},
		{"text, HC", 9, text(4096), true},
		{"random", 1, randomBytes(rng, 4096), false},
		{"random, HC", 6, randomBytes(rng, 4096), false},
		{"short", 1, text(300), false},
	} {
		o := small(vfs.NewMem())
		o.Compress = c.level
		l, _ := mustOpen(t, o)
		f := mustAppend(t, l, epoch1, writeOp(5, 0, c.data))
		h, err := ParseHeader(f.Bytes)
		if err != nil || h.Compressed() != c.want {
			t.Errorf("%s: compressed %v, %v", c.name, h.Compressed(), err)
		}
		got := make([]byte, len(c.data))
		_, ops, err := l.ReadFrame(f.Ref)
		if err != nil || !bytes.Equal(ops[0].Data, c.data) {
			t.Errorf("%s: read back: %v", c.name, err)
		}
		ref := f.Ref
		ref.Offset = uint32(ops[0].DataOff)
		if err := l.ReadLog(bg, ref, got); err != nil || !bytes.Equal(got, c.data) {
			t.Errorf("%s: read back by reference: %v", c.name, err)
		}
		mustClose(t, l)
	}
	o := small(vfs.NewMem())
	o.Compress = 10
	_, _, err := Open(o)
	wantKind(t, err, volume.Invalid)
}

// A stream that does not shrink is soon left alone, and one that does again is
// soon noticed. HC always tries.
func TestCompressionBacksOff(t *testing.T) {
	rng := testRand(4)
	raw, dst := randomBytes(rng, 4096), make([]byte, 4096)
	c, err := newCompressor(1)
	if err != nil {
		t.Fatal(err)
	}
	tried := 0
	for range 1000 {
		if c.skip == 0 {
			tried++
		}
		if c.compress(dst, raw) != 0 {
			t.Fatal("random bytes shrank")
		}
	}
	if tried > 30 {
		t.Fatalf("%d of 1000 payloads that do not shrink were tried", tried)
	}
	n := 1
	for c.compress(dst, text(4096)) == 0 {
		n++
	}
	if n > compressMaxSkip+1 {
		t.Fatalf("noticed after %d payloads that a stream shrinks again", n)
	}
	if c.compress(dst, text(4096)) == 0 {
		t.Fatal("the next was not tried")
	}
	hc, err := newCompressor(9)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if hc.compress(dst, raw) != 0 || hc.skip != 0 {
			t.Fatal("HC skips")
		}
	}
	var long []byte // words in no order: what takes a search to compress
	for len(long) < 32<<10 {
		long = append(long, []string{"leader ", "follower ", "segment ", "frame ", "oplog ", "the ", "follows ", "of "}[rng.IntN(8)]...)
	}
	a, b := c.compress(make([]byte, len(long)), long), hc.compress(make([]byte, len(long)), long)
	if a == 0 || b == 0 || b >= a {
		t.Fatalf("LZ4 makes %d, HC %d", a, b)
	}
}
