package oplog

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// Frames that are too large for memory, among others that are not, are read back by a
// reader that recycles and by one that does not, while the log grows.
func TestLargeFrames(t *testing.T) {
	opts := small(vfs.NewMem())
	opts.SegmentSize = 512 << 10
	opts.TailBytes = 8 << 20 // all small frames stay in memory
	l, _ := mustOpen(t, opts)
	defer mustClose(t, l)
	keeping, err := l.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	recycling, err := l.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	recycling.Recycle()
	rng := testRand(11)
	mustAppend(t, l, epoch1, reign(epoch1))
	contents := map[volume.Version][]byte{}
	var kept []Frame
	check := func(f Frame) {
		t.Helper()
		_, ops, err := DecodeFrame(f.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		for _, op := range ops {
			if want := contents[op.Version]; !bytes.Equal(op.Data, want) {
				t.Fatalf("version %d holds %d bytes, want the %d that were written", op.Version, len(op.Data), len(want))
			}
		}
	}
	for i := range 400 {
		n := 1 + rng.IntN(300)
		if rng.IntN(3) > 0 {
			n = rng.IntN(200 << 10)
		}
		if i == 200 {
			n = 1 << 20 // more than a segment and than a window
		}
		data := make([]byte, n)
		for k := 0; k < n && i%5 > 0; k += 1 + rng.IntN(9) { // some compress well
			data[k] = byte(rng.Uint32())
		}
		f := mustAppend(t, l, epoch1, writeOp(7, int64(i), data))
		contents[f.Last] = data
		if rng.IntN(4) > 0 {
			continue
		}
		for {
			f, ok, err := keeping.TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			kept = append(kept, f)
		}
		batch := []Frame{}
		for {
			f, ok, err := recycling.TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				batch = append(batch, f)
			}
			if !ok || len(batch) == 7 {
				for _, f := range batch {
					check(f)
				}
				recycling.Recycle()
				batch = batch[:0]
			}
			if !ok {
				break
			}
		}
	}
	for _, f := range kept { // what is kept stays what it was
		check(f)
	}
	if len(kept) < 100 || kept[len(kept)-1].Last != recycling.Version()-1 {
		t.Fatalf("%d frames were read, the last to %d; the other reader is at %d", len(kept), kept[len(kept)-1].Last, recycling.Version())
	}
	if len(recycling.windows.used) != 0 || len(recycling.windows.free) > 12 {
		t.Fatalf("%d windows are in use and %d free", len(recycling.windows.used), len(recycling.windows.free))
	}
}

// A large frame that came from elsewhere is recorded from the caller's buffer, which
// may be used for something else afterwards.
func TestAppendLargeFrame(t *testing.T) {
	from, to := openSmall(t, vfs.NewMem()), openSmall(t, vfs.NewMem())
	mustAppend(t, from, epoch1, reign(epoch1))
	data := bytes.Repeat([]byte("sixteen letters."), 20<<10)
	testRand(3).Shuffle(len(data), func(i, k int) { data[i], data[k] = data[k], data[i] })
	mustAppend(t, from, epoch1, writeOp(5, 0, data))
	r, err := from.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	var last Frame
	for range 2 {
		f, err := r.Next(bg)
		if err != nil {
			t.Fatal(err)
		}
		buf := bytes.Clone(f.Bytes)
		if last, _, err = to.AppendFrame(buf); err != nil {
			t.Fatal(err)
		}
		clear(buf)
	}
	if last.Bytes != nil {
		t.Fatalf("the frame keeps %d bytes of a buffer that is not its own", len(last.Bytes))
	}
	rep := make([]byte, 10)
	ref := last.Ref
	_, ops := mustDecode(t, to, 2)
	ref.Offset = uint32(ops[0].DataOff) + 100
	if err := to.ReadLog(bg, ref, rep); err != nil || !bytes.Equal(rep, data[100:110]) {
		t.Fatalf("reading it back: %q, %v", rep, err)
	}
}

func mustDecode(t *testing.T, l *Log, v volume.Version) (Frame, []*volume.Op) {
	t.Helper()
	r, err := l.Reader(v)
	if err != nil {
		t.Fatal(err)
	}
	f, err := r.Next(bg)
	if err != nil {
		t.Fatal(err)
	}
	f, ops, err := DecodeFrame(f.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return f, ops
}
