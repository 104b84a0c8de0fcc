package oplog

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

var (
	testVolume = volume.ID{0x57, 0x44, 1, 2, 3}
	epoch1     = volume.Epoch{Number: 1, Leader: "node-1"}
	epoch2     = volume.Epoch{Number: 2, Leader: "node-2", Tag: 0x12345}
	bg         = context.Background()
)

// small are options for a log in memory with tiny segments, whose unwritten
// tails are zeros as on a real disk, and nothing in the background.
func small(fs vfs.FS) Options {
	return Options{
		FS: fs, Dir: "oplog", Volume: testVolume, Compress: 1, SegmentSize: 8 << 10,
		CacheBytes: 64 << 10, TailBytes: 4 << 10, Log: zerolog.Nop(),
	}
}

func mustOpen(t testing.TB, o Options) (*Log, *Recovery) {
	t.Helper()
	l, rec, err := Open(o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return l, rec
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func openSmall(t testing.TB, fs vfs.FS) *Log {
	t.Helper()
	l, _ := mustOpen(t, small(fs))
	t.Cleanup(func() { l.Close() })
	return l
}

func mustAppend(t testing.TB, l *Log, epoch volume.Epoch, ops ...*volume.Op) Frame {
	t.Helper()
	frames, err := l.AppendOps(epoch, ops)
	if err != nil {
		t.Fatalf("AppendOps: %v", err)
	}
	if len(frames) != 1 {
		t.Fatalf("AppendOps made %d frames", len(frames))
	}
	return frames[0]
}

func wantKind(t testing.TB, err error, kind volume.Kind) {
	t.Helper()
	if err == nil || volume.KindOf(err) != kind {
		t.Fatalf("error is %v (%v), want kind %v", err, volume.KindOf(err), kind)
	}
}

func reign(e volume.Epoch) *volume.Op {
	return &volume.Op{Kind: volume.OpReign, Time: volume.Time{Sec: 1}, Epoch: e, Participants: []string{e.Leader}}
}

func writeOp(ino volume.Ino, off int64, data []byte) *volume.Op {
	return &volume.Op{Kind: volume.OpWrite, Time: volume.Time{Sec: 7, Nsec: 9}, Ino: ino, Offset: off, Data: data}
}

func nameOp(i int) *volume.Op {
	return &volume.Op{
		Kind: volume.OpCreate, Time: volume.Time{Sec: int64(i)}, Ino: volume.MakeIno(0, uint32(i+2)),
		Parent: volume.RootIno, Name: fmt.Sprintf("file-%d", i), Mode: volume.ModeFile | 0o644,
	}
}

// randomBytes do not compress; text does.
func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func text(n int) []byte {
	return bytes.Repeat([]byte("the quick brown fox jumps over "), n/31+1)[:n]
}

// randomOp is one op of a stream: names, small and large content of both kinds.
func randomOp(rng *rand.Rand, i int) *volume.Op {
	switch rng.IntN(6) {
	case 0:
		return nameOp(i)
	case 1:
		return &volume.Op{Kind: volume.OpSetXattr, Ino: 5, Name: "user.x", Data: randomBytes(rng, rng.IntN(300))}
	case 2:
		return writeOp(5, int64(i), text(rng.IntN(6000)))
	case 3:
		return &volume.Op{Kind: volume.OpTruncate, Ino: 5, Size: int64(rng.IntN(1 << 20))}
	default:
		return writeOp(7, int64(i), randomBytes(rng, rng.IntN(3000)))
	}
}

func randomOps(rng *rand.Rand, i, n int) []*volume.Op {
	ops := make([]*volume.Op, n)
	for k := range ops {
		ops[k] = randomOp(rng, i+k)
	}
	return ops
}

// encoding is an op's encoding alone.
func encoding(t testing.TB, op *volume.Op) []byte {
	t.Helper()
	c := *op
	b, err := volume.NewEncoder().Add(&c)
	if err != nil {
		t.Fatalf("encode %s: %v", op.Kind, err)
	}
	return b
}

// history is what a log must hold: the digest and the encoding of each op.
type history struct {
	digests []volume.Digest // [v] after op v
	ops     [][]byte        // [v-1]
}

func newHistory() *history { return &history{digests: make([]volume.Digest, 1)} }

func (m *history) add(t testing.TB, ops ...*volume.Op) {
	for _, op := range ops {
		b := encoding(t, op)
		m.ops = append(m.ops, b)
		m.digests = append(m.digests, m.digests[len(m.digests)-1].Next(b))
	}
}

func (m *history) last() volume.Version { return volume.Version(len(m.ops)) }

// check reads a whole log and compares it with the history, of which it must be a
// prefix. It returns the frames.
func (m *history) check(t testing.TB, l *Log) []Frame {
	t.Helper()
	last := l.Last()
	if last.Version > m.last() || last.Digest != m.digests[last.Version] {
		t.Fatalf("log ends with %s, which is no prefix of the %d ops written", last, m.last())
	}
	r, err := l.Reader(l.First())
	if err != nil {
		t.Fatalf("Reader: %v", err)
	}
	defer r.Close()
	var frames []Frame
	at := l.First()
	for {
		f, ok, err := r.TryNext()
		if err != nil {
			t.Fatalf("read at %d: %v", at, err)
		}
		if !ok {
			break
		}
		m.checkFrame(t, f, at)
		frames = append(frames, f)
		at = f.Last + 1
	}
	if at != last.Version+1 {
		t.Fatalf("frames end with %d, the log with %d", at-1, last.Version)
	}
	err = l.Verify(bg, func(c Checked) error { return c.Err })
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	return frames
}

func (m *history) checkFrame(t testing.TB, f Frame, at volume.Version) {
	t.Helper()
	if f.First != at || f.Prev != m.digests[f.First-1] || f.Digest != m.digests[f.Last] {
		t.Fatalf("frame %d..%d at %d is not what was written", f.First, f.Last, at)
	}
	_, ops, err := DecodeFrame(f.Bytes)
	if err != nil {
		t.Fatalf("decode %d..%d: %v", f.First, f.Last, err)
	}
	for i, op := range ops {
		if v := f.First + volume.Version(i); op.Version != v || !bytes.Equal(encoding(t, op), m.ops[v-1]) {
			t.Fatalf("op %d is not what was written", v)
		}
	}
}

// fill appends random frames until the log has at least n segments.
func fill(t testing.TB, l *Log, m *history, rng *rand.Rand, segments int) {
	t.Helper()
	for len(l.segs) < segments {
		ops := randomOps(rng, int(m.last()), 1+rng.IntN(3))
		if m.last() == 0 {
			ops = []*volume.Op{reign(epoch1)}
		}
		mustAppend(t, l, epoch1, ops...)
		m.add(t, ops...)
	}
}

func testRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }
