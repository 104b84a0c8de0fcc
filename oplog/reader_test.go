package oplog

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// A reader that begins at any version sees exactly the bytes that were written,
// from memory and from disk, across segments, in a log that was just written and in
// one that was opened again.
func TestReaderFromEverywhere(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, small(mem))
	m := newHistory()
	fill(t, l, m, testRand(5), 7)
	frames := m.check(t, l)
	check := func(l *Log) {
		t.Helper()
		for _, want := range frames {
			for v := want.First; v <= want.Last; v++ {
				r, err := l.Reader(v)
				if err != nil {
					t.Fatalf("Reader(%d): %v", v, err)
				}
				f, err := r.Next(bg)
				if err != nil || !bytes.Equal(f.Bytes, want.Bytes) || f.Ref != want.Ref || r.Version() != want.Last+1 {
					t.Fatalf("Reader(%d) begins with %d..%d at %v, %v; want %d..%d at %v", v, f.First, f.Last, f.Ref, err, want.First, want.Last, want.Ref)
				}
				r.Close()
			}
		}
		m.check(t, l)
	}
	check(l)
	mustClose(t, l)
	l, _ = mustOpen(t, small(mem))
	defer mustClose(t, l)
	check(l)

	_, err := l.Reader(m.last() + 2)
	wantKind(t, err, volume.NotFound)
	_, err = l.Reader(0)
	wantKind(t, err, volume.TooOld)
	r, err := l.Reader(m.last() + 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.TryNext(); ok || err != nil {
		t.Fatalf("TryNext at the end: %v, %v", ok, err)
	}
}

func TestReaderWaits(t *testing.T) {
	l := openSmall(t, vfs.NewMem())
	r, err := l.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan Frame)
	errs := make(chan error, 1)
	go func() {
		for {
			f, err := r.Next(bg)
			if err != nil {
				errs <- err
				return
			}
			got <- f
		}
	}()
	for i := range 50 {
		want := mustAppend(t, l, epoch1, nameOp(i))
		if f := <-got; !bytes.Equal(f.Bytes, want.Bytes) {
			t.Fatalf("frame %d differs", i)
		}
	}
	mustClose(t, l)
	wantKind(t, <-errs, volume.Closed)

	l = openSmall(t, vfs.NewMem())
	if r, err = l.Reader(1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(bg, 5*time.Millisecond)
	defer cancel()
	_, err = r.Next(ctx)
	wantKind(t, err, volume.Interrupted)
	r.Close()
	_, err = r.Next(bg)
	wantKind(t, err, volume.Closed)
}

// A reader follows from disk to memory and falls behind to the disk again.
func TestReaderChangesBetweenMemoryAndDisk(t *testing.T) {
	l := openSmall(t, vfs.NewMem())
	rng := testRand(6)
	m := newHistory()
	fill(t, l, m, rng, 3)
	r, err := l.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	at := volume.Version(1)
	for range 300 {
		for range rng.IntN(12) {
			op := randomOp(rng, int(m.last()))
			m.add(t, op)
			mustAppend(t, l, epoch1, op)
		}
		for range rng.IntN(14) {
			f, ok, err := r.TryNext()
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				if at != m.last()+1 {
					t.Fatalf("nothing at %d of %d", at, m.last())
				}
				break
			}
			m.checkFrame(t, f, at)
			at = f.Last + 1
		}
	}
}

// A reader on disk notices damage, and names it.
func TestReaderDamage(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, small(mem))
	m := newHistory()
	fill(t, l, m, testRand(7), 4)
	frames := m.check(t, l)
	f := frames[3]
	patch(t, mem, "oplog/"+segmentName(volume.Version(f.Ref.Segment)), f.Ref.Frame+int64(len(f.Bytes))-1, []byte{f.Bytes[len(f.Bytes)-1] ^ 1})
	r, err := l.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := r.Next(bg); err != nil {
			t.Fatal(err)
		}
	}
	_, err = r.Next(bg)
	wantKind(t, err, volume.Corrupt)
	if !isDamage(err) {
		t.Fatalf("no DamageError in %v", err)
	}
	_, _, err = l.ReadFrame(f.Ref)
	wantKind(t, err, volume.Corrupt)
	wantKind(t, l.ReadLog(bg, f.Ref, make([]byte, 1)), volume.Corrupt)
	bad := 0
	if err := l.Verify(bg, func(c Checked) error {
		if c.Err != nil {
			bad++
			if c.Segment != f.Ref.Segment || c.Offset != f.Ref.Frame || c.First != f.First || c.Last != f.Last {
				t.Errorf("damage is %+v", c)
			}
		}
		return nil
	}); err != nil || bad != 1 {
		t.Fatalf("Verify: %v, %d damaged", err, bad)
	}
	mustClose(t, l)
}

func TestReadLogAndReadFrame(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, small(mem))
	defer func() { mustClose(t, l) }()
	m := newHistory()
	fill(t, l, m, testRand(8), 6)
	frames := m.check(t, l)
	for pass := range 3 {
		if pass == 2 {
			mustClose(t, l)
			l, _ = mustOpen(t, small(mem))
		}
		for _, want := range frames {
			f, ops, err := l.ReadFrame(want.Ref)
			if err != nil || !bytes.Equal(f.Bytes, want.Bytes) || f.Ref != want.Ref {
				t.Fatalf("ReadFrame(%v): %v", want.Ref, err)
			}
			for _, op := range ops {
				got := make([]byte, len(op.Data))
				ref := want.Ref
				ref.Offset = uint32(op.DataOff)
				if err := l.ReadLog(bg, ref, got); err != nil || !bytes.Equal(got, op.Data) {
					t.Fatalf("ReadLog of op %d: %v", op.Version, err)
				}
			}
		}
	}
	f := frames[2]
	for name, ref := range map[string]volume.LogRef{
		"inside a frame":     {Segment: f.Ref.Segment, Frame: f.Ref.Frame + 1},
		"in the header":      {Segment: f.Ref.Segment, Frame: 3},
		"behind the end":     {Segment: f.Ref.Segment, Frame: 1 << 40},
		"negative":           {Segment: f.Ref.Segment, Frame: -1},
		"behind the payload": {Segment: f.Ref.Segment, Frame: f.Ref.Frame, Offset: uint32(f.RawLen)},
		"offset overflows":   {Segment: f.Ref.Segment, Frame: f.Ref.Frame, Offset: 1<<32 - 1},
	} {
		if err := l.ReadLog(bg, ref, make([]byte, 1)); volume.KindOf(err) != volume.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	wantKind(t, l.ReadLog(bg, volume.LogRef{Segment: 1 << 40, Frame: 256}, make([]byte, 1)), volume.Missing)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	wantKind(t, l.ReadLog(ctx, f.Ref, make([]byte, 1)), volume.Interrupted)
}

func TestPositionAt(t *testing.T) {
	mem := vfs.NewMem()
	l, _ := mustOpen(t, small(mem))
	defer func() { mustClose(t, l) }()
	m := newHistory()
	fill(t, l, m, testRand(9), 6)
	second := []*volume.Op{reign(epoch2), nameOp(1), nameOp(2)}
	m.add(t, second...)
	mustAppend(t, l, epoch2, second...)
	check := func() {
		t.Helper()
		for v := l.First() - 1; v <= m.last(); v++ {
			e := epoch1
			switch {
			case v == 0:
				e = volume.Epoch{}
			case v > m.last()-3:
				e = epoch2
			}
			if p, err := l.PositionAt(v); err != nil || p != (volume.Position{Epoch: e, Version: v, Digest: m.digests[v]}) {
				t.Fatalf("PositionAt(%d) is %s, %v", v, p, err)
			}
		}
		_, err := l.PositionAt(m.last() + 1)
		wantKind(t, err, volume.NotFound)
		if l.First() > 1 {
			_, err = l.PositionAt(l.First() - 2)
			wantKind(t, err, volume.TooOld)
		}
	}
	check()
	mustClose(t, l)
	l, _ = mustOpen(t, small(mem))
	check()
	if _, err := l.Trim(m.last() / 2); err != nil {
		t.Fatal(err)
	}
	if l.First() == 1 {
		t.Fatal("nothing was trimmed")
	}
	check()
}
