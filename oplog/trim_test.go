package oplog

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

func TestTrim(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, small(mem))
	m := newHistory()
	fill(t, l, m, testRand(10), 6)
	frames := m.check(t, l)
	old, err := l.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	third := l.segs[2].head.first
	for _, c := range []struct {
		through, first volume.Version
	}{
		{0, 1}, {l.segs[1].head.first - 2, 1}, {third - 1, third}, {third - 1, third}, {third, third},
	} {
		before, size := l.First(), l.Bytes()
		freed, err := l.Trim(c.through)
		if err != nil || l.First() != c.first || size-l.Bytes() != freed || (freed > 0) != (l.First() != before) {
			t.Fatalf("Trim(%d) freed %d, the log begins with %d: %v", c.through, freed, l.First(), err)
		}
	}
	_, err = l.Reader(third - 1)
	wantKind(t, err, volume.TooOld)
	_, err = old.Next(bg)
	wantKind(t, err, volume.TooOld)
	wantKind(t, l.ReadLog(bg, frames[0].Ref, make([]byte, 1)), volume.Missing)
	_, _, err = l.ReadFrame(frames[0].Ref)
	wantKind(t, err, volume.Missing)
	m.check(t, l)

	// Everything may go but the active segment, which holds the position.
	if _, err := l.Trim(1 << 60); err != nil {
		t.Fatal(err)
	}
	if l.First() != l.active.head.first || l.Last().Version != m.last() {
		t.Fatalf("the log has %d to %s", l.First(), l.Last())
	}
	last := l.Last()
	mustClose(t, l)
	l, rec := mustOpen(t, small(mem))
	if rec.Last != last || rec.Cut != nil {
		t.Fatalf("recovery is %+v", rec)
	}
	m.check(t, l)
	mustClose(t, l)
}

// A reader in the midst of a trimmed segment ends with TooOld or goes on with what
// it has read ahead, never with something else.
func TestTrimUnderReader(t *testing.T) {
	l := openSmall(t, vfs.NewMem())
	m := newHistory()
	fill(t, l, m, testRand(11), 6)
	r, err := l.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Next(bg); err != nil {
		t.Fatal(err)
	}
	f, err := l.acquire(l.segs[0]) // as a read that is on its way
	if err != nil {
		t.Fatal(err)
	}
	s := l.segs[0]
	if _, err := l.Trim(m.last()); err != nil {
		t.Fatal(err)
	}
	if err := readFull(f, make([]byte, 100), 0); err != nil {
		t.Fatalf("a segment in use was closed: %v", err)
	}
	l.release(s)
	if s.isOpen() {
		t.Fatal("a trimmed segment stays open")
	}
	_, err = r.Next(bg)
	wantKind(t, err, volume.TooOld)
}

func TestReset(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, small(mem))
	m := newHistory()
	fill(t, l, m, testRand(12), 4)
	frames := m.check(t, l)
	r, err := l.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	waiter, err := l.Reader(m.last() + 1)
	if err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := waiter.Next(bg)
		waited <- err
	}()
	if err := l.Reset(volume.Position{Epoch: epoch2, Version: 1 << 40}); err != nil {
		t.Fatal(err)
	}
	wantKind(t, <-waited, volume.WrongHistory)
	_, err = r.Next(bg)
	wantKind(t, err, volume.WrongHistory)
	for _, pos := range []volume.Position{
		{Epoch: epoch2, Version: 1000, Digest: volume.Digest{1, 2}},
		{Epoch: epoch1, Version: 3, Digest: m.digests[3]}, // backwards, beyond what is durable
		{Epoch: epoch1, Version: 3, Digest: m.digests[3]},
		{},
	} {
		if err := l.Reset(pos); err != nil {
			t.Fatal(err)
		}
		check := func() {
			t.Helper()
			if l.Last() != pos || l.First() != pos.Version+1 || l.Durable() != pos.Version || l.Bytes() != segmentHeaderLen {
				t.Fatalf("reset to %s: first %d, last %s, durable %d", pos, l.First(), l.Last(), l.Durable())
			}
			if p, err := l.PositionAt(pos.Version); err != nil || p != pos {
				t.Fatalf("PositionAt is %s, %v", p, err)
			}
		}
		check()
		mustClose(t, l)
		var rec *Recovery
		l, rec = mustOpen(t, small(mem))
		if rec.Cut != nil || rec.Created {
			t.Fatalf("recovery is %+v", rec)
		}
		check()
	}
	for _, f := range frames { // the same history again
		if _, _, err := l.AppendFrame(f.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	m.check(t, l)
	for _, pos := range []volume.Position{
		{Version: 5}, {Epoch: epoch1}, {Epoch: volume.Epoch{Number: 1, Leader: "-"}, Version: 4}, {Epoch: epoch1, Version: 1<<64 - 1},
	} {
		wantKind(t, l.Reset(pos), volume.Invalid)
	}
	m.check(t, l)
	mustClose(t, l)
}

// After a reset a place may hold other content: nothing old comes back.
func TestResetForgetsCache(t *testing.T) {
	l := openSmall(t, vfs.NewMem())
	read := func(want byte) {
		t.Helper()
		data := make([]byte, 4000)
		for i := range data {
			data[i] = want
		}
		f := mustAppend(t, l, epoch1, writeOp(5, 0, data))
		for range 2 {
			got := make([]byte, 1)
			ref := f.Ref
			ref.Offset = 100
			if err := l.ReadLog(bg, ref, got); err != nil || got[0] != want {
				t.Fatalf("read %q, %v, want %q", got, err, want)
			}
		}
	}
	read('a')
	if err := l.Reset(volume.Position{}); err != nil {
		t.Fatal(err)
	}
	read('b')
}

// However many segments are read, only so many stay open.
func TestOpenFilesAreBounded(t *testing.T) {
	o := small(vfs.NewMem())
	o.SegmentSize = minSegmentSize
	l, _ := mustOpen(t, o)
	defer mustClose(t, l)
	m := newHistory()
	rng := testRand(13)
	var frames []Frame
	for len(l.segs) < maxOpenFiles+40 {
		op := writeOp(5, 0, randomBytes(rng, 3500))
		m.add(t, op)
		frames = append(frames, mustAppend(t, l, epoch1, op))
	}
	if err := l.Sync(bg, m.last()); err != nil {
		t.Fatal(err)
	}
	m.check(t, l)
	for range 500 {
		if _, _, err := l.ReadFrame(frames[rng.IntN(len(frames))].Ref); err != nil {
			t.Fatal(err)
		}
	}
	open := 0
	for _, s := range l.segs {
		if s.isOpen() {
			open++
		}
	}
	if open > maxOpenFiles || open != l.openFiles {
		t.Fatalf("%d files are open, %d are counted, of at most %d", open, l.openFiles, maxOpenFiles)
	}
}
