package chunkstore

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

func TestUse(t *testing.T) {
	s := wholeOpen(t, testOptions(vfs.NewMem()))
	rng := newRand(1)
	well, little, unused := mustPut(t, s, random(rng, 1000)), mustPut(t, s, random(rng, 1000)), mustPut(t, s, random(rng, 500))
	u := s.NewUse()
	u.Add(well, 300)
	u.Add(well, 300)
	u.Add(little, 0) // at least one
	absent := volume.ChunkID{9}
	u.Add(absent, 5)
	later := mustPut(t, s, random(rng, 700))
	for _, c := range []struct {
		name         string
		id           volume.ChunkID
		live, sparse bool
	}{
		{"well used", well, true, false}, {"little used", little, true, true}, {"unused", unused, false, false},
		{"absent", absent, true, false}, {"put later", later, false, false},
	} {
		if u.Live(c.id) != c.live || u.Sparse(c.id, 0.6) != c.sparse {
			t.Errorf("%s: live %v, sparse %v", c.name, u.Live(c.id), u.Sparse(c.id, 0.6))
		}
	}
	rec := int64(recordLen)
	part := func(n int64) int64 { return int64(float64(rec+1000) * float64(n) / 1000) }
	want := UseStats{Used: part(600) + part(1), Unused: 2*rec + 500 + 700, Sparse: rec + 1000 - part(1)}
	if got := u.Stats(0.6); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	// More than a page of entries, in any order.
	ids := make([]volume.ChunkID, 2*pageSize)
	for i := range ids {
		ids[i] = mustPut(t, s, []byte{byte(i), byte(i >> 8), 1})
	}
	u = s.NewUse()
	for i := len(ids) - 1; i >= 0; i -= 2 {
		u.Add(ids[i], 3)
	}
	for i, id := range ids {
		if u.Live(id) != (i%2 == 1) {
			t.Fatalf("chunk %d: live %v", i, u.Live(id))
		}
	}
}

// Without a grace time, what was put, hit or pinned since it was begun to find out what is
// live stays.
func TestSweepSince(t *testing.T) {
	clk := newClock()
	o := testOptions(vfs.NewMem())
	o.Now = clk.now
	s := wholeOpen(t, o)
	rng := newRand(1)
	hit, pinned := random(rng, 100), random(rng, 101)
	hitID, pinnedID, gone := mustPut(t, s, hit), mustPut(t, s, pinned), mustPut(t, s, random(rng, 102))
	clk.add(10 * time.Second)
	s.PinFor(time.Minute, pinnedID)
	u := s.NewUse()
	clk.add(100 * time.Millisecond)
	put := mustPut(t, s, random(rng, 103))
	mustPut(t, s, hit)
	opt := SweepOptions{Since: u.Since()}
	dry := opt
	dry.DryRun = true
	for _, o := range []SweepOptions{dry, opt} {
		st, err := s.Sweep(ctx, u.Live, o)
		if err != nil || st.Removed != 1 || st.Young != 2 || st.Pinned != 1 {
			t.Fatalf("%+v: %+v %v", o, st, err)
		}
	}
	audit(t, s)
	if s.Has(gone) || !s.Has(put) || !s.Has(hitID) || !s.Has(pinnedID) {
		t.Fatal("the wrong ones are gone")
	}
	clk.add(2 * time.Minute)
	st, err := s.Sweep(ctx, none, SweepOptions{Since: s.NewUse().Since()})
	if err != nil || st.Removed != 3 || len(s.pins) != 0 || len(s.timed) != 0 {
		t.Fatalf("later: %+v %v, pins %v", st, err, s.pins)
	}
}

// Space comes back from the newest pack, too, if that is asked for.
func TestCompactActive(t *testing.T) {
	mem := vfs.NewMem()
	clk := newClock()
	o := testOptions(mem)
	o.PackSize, o.Now = 1<<20, clk.now
	s := wholeOpen(t, o)
	rng := newRand(1)
	keep := random(rng, 1000)
	kept := mustPut(t, s, keep)
	for range 20 {
		mustPut(t, s, random(rng, 5000))
	}
	clk.add(2 * time.Second)
	mustSweep(t, s, func(id volume.ChunkID) bool { return id == kept }, 0)
	if st, err := s.Compact(ctx, CompactOptions{}); err != nil || st.Packs != 0 {
		t.Fatal("the newest pack is appended to", st, err)
	}
	st, err := s.Compact(ctx, CompactOptions{Active: true})
	if err != nil || st.Packs != 1 || s.FileBytes() > 5000 || s.FileBytes() != s.Stats().FileBytes {
		t.Fatalf("%+v %v: %d bytes", st, err, s.FileBytes())
	}
	audit(t, s)
	if st, err := s.Compact(ctx, CompactOptions{Active: true}); err != nil || st.Packs != 0 {
		t.Fatal("nothing was to be won", st, err)
	}
	mustSweep(t, s, none, 0)
	if _, err := s.Compact(ctx, CompactOptions{Active: true}); err != nil || len(packNames(t, mem)) != 0 {
		t.Fatal("packs are left", packNames(t, mem), err)
	}
	id := mustPut(t, s, keep)
	mustSync(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustGet(t, wholeOpen(t, o), id, keep)
}

// repack moves what is in use out of chunks used by less than part.
func (b *bench) repack(part float64, bound int64) SealStats {
	b.t.Helper()
	u := b.store.NewUse()
	each := func(fn func(volume.Ino, volume.Extent) bool) error {
		for ino := range b.files {
			for _, e := range b.index.snapshot(ino) {
				if !fn(ino, e) {
					return nil
				}
			}
		}
		return nil
	}
	_ = each(func(_ volume.Ino, e volume.Extent) bool {
		if isChunk(&e) {
			u.Add(e.Chunk.ID, e.Len)
		}
		return true
	})
	st, err := b.c.Repack(ctx, each, func(id volume.ChunkID) bool { return u.Sparse(id, part) }, bound, b.enter)
	if err != nil {
		b.t.Fatal(err)
	}
	return st
}

// Random small writes would keep a shared chunk for the last piece of it that is in use:
// with repacking, disk use stays near what is in use.
func TestRepackBoundsUse(t *testing.T) {
	b := newBenchOf(t, 256<<10)
	b.opts.PackSize = 256 << 10
	b.open()
	rng := newRand(1)
	const size, piece = 1 << 20, 1024
	b.write(1, 0, random(rng, size))
	worst := 0.0
	for round := range 20 {
		for range size / piece / 4 {
			b.write(1, rng.IntN(size/piece)*piece, random(rng, piece))
		}
		b.seal()
		b.clk.add(5 * time.Second)
		b.repack(0.6, 0)
		b.clk.add(5 * time.Second)
		live := b.index.live()
		u := b.store.NewUse()
		if _, err := b.store.Sweep(ctx, func(id volume.ChunkID) bool { return live[id] }, SweepOptions{Since: u.Since()}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.store.Compact(ctx, CompactOptions{MinDead: 0.25, Active: true}); err != nil {
			t.Fatal(err)
		}
		if round > 5 {
			worst = max(worst, float64(b.store.FileBytes())/size)
		}
	}
	b.readAll()
	audit(t, b.store)
	if worst > 1.6 {
		t.Errorf("packs take up to %.2f of what is in use", worst)
	}
	t.Logf("packs take up to %.2f of what is in use", worst)
}

// What repacking has taken out of whole pieces is not made whole again by the next small write to
// each of them: sealing writes at most twice what it takes out of the log, and nothing at once.
func TestSealRepacked(t *testing.T) {
	const pieces, size, part = 8, 1 << 20, 4 << 10 // shared chunks are smaller than pieces
	b := newBenchOf(t, size)
	rng := newRand(1)
	b.write(1, 0, random(rng, pieces*size))
	b.seal()
	wrote, sealed := int64(0), int64(0)
	for round := range 30 {
		before := b.store.Stats().RawBytes
		for range pieces * size / part / 8 {
			b.write(1, rng.IntN(pieces*size/part)*part, random(rng, part))
		}
		logged := b.logged()
		b.seal()
		now := b.store.Stats().RawBytes - before
		if now > logged+2*size {
			t.Errorf("round %d: %d bytes in the log became %d bytes of chunks", round, logged, now)
		}
		wrote, sealed = wrote+logged, sealed+now
		if round%8 == 7 { // a third of each piece is as it was
			b.clk.add(5 * time.Second)
			b.repack(0.6, 0)
			b.clk.add(5 * time.Second)
			b.sweep()
		}
	}
	if sealed > 2*wrote {
		t.Errorf("%d bytes in the log became %d bytes of chunks", wrote, sealed)
	}
	b.readAll()
}

// Repacking is bounded, ends with its context, and leaves what is well used where it is.
func TestRepackEdges(t *testing.T) {
	b := newBench(t)
	rng := newRand(1)
	for ino := volume.Ino(1); ino <= 20; ino++ {
		b.write(ino, 0, random(rng, 3000))
	}
	b.write(30, 0, random(rng, volume.MinChunkSize))
	b.seal()
	if st := b.repack(0.6, 0); st.Replaced != 0 {
		t.Fatal("everything is in use", st)
	}
	for ino := volume.Ino(1); ino <= 20; ino++ {
		b.truncate(ino, 1000)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	all := func(fn func(volume.Ino, volume.Extent) bool) error { fn(1, b.index.snapshot(1)[0]); return nil }
	_, err := b.c.Repack(gone, all, func(volume.ChunkID) bool { return true }, 0, b.enter)
	if err == nil {
		t.Fatal("went on after the end of its context")
	}
	before := b.index.snapshot(30)
	if st := b.repack(0.6, 0); st.Replaced != 20 || st.Bytes != 20_000 {
		t.Fatalf("%+v", st)
	}
	if !equalExtents(before, b.index.snapshot(30)) {
		t.Fatal("a well used chunk was moved")
	}
	if st := b.repack(0.6, 0); st.Replaced != 0 {
		t.Fatal("moved twice", st)
	}
	b.sweep()
	b.readAll()
}
