package chunkstore

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wolfdisk/volume"
)

func none(volume.ChunkID) bool { return false }

func mustSweep(t *testing.T, s *Store, live func(volume.ChunkID) bool, grace time.Duration) SweepStats {
	t.Helper()
	st, err := s.Sweep(ctx, live, SweepOptions{Grace: grace})
	if err != nil {
		t.Fatal(err)
	}
	audit(t, s)
	return st
}

// The life of an unused chunk: young, marked, young again, gone.
func TestSweepGrace(t *testing.T) {
	clk := newClock()
	o := testOptions(vfs.NewMem())
	o.Now = clk.now
	s := wholeOpen(t, o)
	content := random(newRand(1), 1000)
	id := mustPut(t, s, content)
	const grace = time.Minute
	if st := mustSweep(t, s, none, grace); st.Young != 1 || st.Marked != 0 {
		t.Fatalf("just put: %+v", st)
	}
	clk.add(grace + 2*time.Second)
	if dry, err := s.Sweep(ctx, none, SweepOptions{Grace: grace, DryRun: true}); err != nil || dry.Marked != 1 || !s.Has(id) {
		t.Fatalf("dry run: %+v %v", dry, err)
	}
	if st := mustSweep(t, s, none, grace); st.Marked != 1 || st.Removed != 0 {
		t.Fatalf("first sweep: %+v", st)
	}
	if s.Has(id) || s.Stats().Marked != 1 {
		t.Fatal("a marked chunk is not to be relied on")
	}
	mustGet(t, s, id, content)
	clk.add(grace / 2)
	if st := mustSweep(t, s, none, grace); st.Young != 1 || st.Removed != 0 {
		t.Fatalf("too early: %+v", st)
	}
	clk.add(grace)
	if dry, err := s.Sweep(ctx, none, SweepOptions{Grace: grace, DryRun: true}); err != nil || dry.Removed != 1 || s.Stats().Chunks != 1 {
		t.Fatalf("dry run: %+v %v", dry, err)
	}
	if st := mustSweep(t, s, none, grace); st.Removed != 1 || st.RemovedBytes != recordLen+1000 {
		t.Fatalf("second sweep: %+v", st)
	}
	_, err := s.Get(ctx, id)
	wantKind(t, err, volume.Missing)
	if st := s.Stats(); st.Chunks != 0 || st.DeadBytes != recordLen+1000 || st.RawBytes != 0 || st.StoredBytes != 0 {
		t.Fatalf("%+v", st)
	}
}

// What saves an unused chunk: being used again, being put again, a pin.
func TestSweepSpares(t *testing.T) {
	clk := newClock()
	o := testOptions(vfs.NewMem())
	o.Now = clk.now
	s := wholeOpen(t, o)
	rng := newRand(1)
	used, again, pinned, ensured := random(rng, 100), random(rng, 100), random(rng, 100), random(rng, 100)
	for _, c := range [][]byte{used, again, pinned, ensured} {
		mustPut(t, s, c)
	}
	release := s.Pin(chunkID(pinned), chunkID([]byte("not here yet")))
	const grace = time.Minute
	clk.add(2 * grace)
	if st := mustSweep(t, s, none, grace); st.Marked != 3 || st.Pinned != 1 {
		t.Fatalf("%+v", st)
	}
	if _, had, err := s.Put(ctx, again); err != nil || had {
		t.Fatal("a hit on a marked chunk is to be a miss", err)
	}
	if n, err := s.Ensure(ctx, chunkID(ensured)); err != nil || n != 100 {
		t.Fatal(n, err)
	}
	clk.add(2 * grace)
	if st := mustSweep(t, s, func(id volume.ChunkID) bool { return id != chunkID(pinned) }, grace); st.Live != 3 || st.Pinned != 1 {
		t.Fatalf("%+v", st)
	}
	for _, c := range [][]byte{used, again, pinned, ensured} {
		if !s.Has(chunkID(c)) {
			t.Fatal("gone")
		}
		mustGet(t, s, chunkID(c), c)
	}
	release()
	release()
	clk.add(2 * grace)
	mustSweep(t, s, none, grace)
	clk.add(2 * grace)
	if st := mustSweep(t, s, none, grace); st.Removed != 4 {
		t.Fatalf("%+v", st)
	}
	if len(s.pins) != 0 {
		t.Fatal("pins left")
	}
}

// A chunk that is put, or pinned, between the question and the decision stays.
func TestSweepRace(t *testing.T) {
	clk := newClock()
	o := testOptions(vfs.NewMem())
	o.Now = clk.now
	s := wholeOpen(t, o)
	a, b := []byte("put again"), []byte("pinned")
	mustPut(t, s, a)
	mustPut(t, s, b)
	clk.add(5 * time.Second)
	st := mustSweep(t, s, func(id volume.ChunkID) bool {
		if id == chunkID(a) {
			mustPut(t, s, a)
		} else {
			s.Pin(id)
		}
		return false
	}, 0)
	if st.Removed != 0 || st.Young != 1 || st.Pinned != 1 {
		t.Fatalf("%+v", st)
	}
}

// Compact wins back space and loses nothing; packs that are all dead just go.
func TestCompact(t *testing.T) {
	clk := newClock()
	fs := vfs.NewMem()
	o := testOptions(fs)
	o.Now, o.PackSize, o.CacheBytes = clk.now, 32<<10, 1
	s := wholeOpen(t, o)
	rng := newRand(1)
	keep := map[volume.ChunkID][]byte{}
	for i := range 60 {
		content := random(rng, 4000)
		id := mustPut(t, s, content)
		if i >= 16 && i%4 == 0 {
			keep[id] = content
		}
	}
	clk.add(5 * time.Second)
	mustSweep(t, s, func(id volume.ChunkID) bool { return keep[id] != nil }, 0)
	before := s.Stats()
	st, err := s.Compact(ctx, CompactOptions{})
	if err != nil {
		t.Fatal(err)
	}
	after := s.Stats()
	if st.Packs < 5 || before.FileBytes-after.FileBytes < 120_000 || st.CopiedBytes == 0 || st.FreedBytes < 150_000 {
		t.Fatalf("%+v, before %+v, after %+v", st, before, after)
	}
	if n := len(packNames(t, fs)); n != after.Packs {
		t.Fatalf("%d files, %d packs", n, after.Packs)
	}
	check := func() {
		t.Helper()
		for id, content := range keep {
			mustGet(t, s, id, content)
		}
		if bad := scrub(t, s); len(bad) > 0 {
			t.Fatal(errors.Join(bad...))
		}
		audit(t, s)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = wholeOpen(t, o)
	check()
	// Nothing left to do.
	if st, err := s.Compact(ctx, CompactOptions{}); err != nil || st.Packs != 0 {
		t.Fatalf("%+v %v", st, err)
	}
}

// All packs gone: their numbers do not come back, and the absence is no loss.
func TestCompactToNothing(t *testing.T) {
	clk := newClock()
	fs := vfs.NewMem()
	o := testOptions(fs)
	o.Now, o.PackSize = clk.now, MinPackSize
	s := wholeOpen(t, o)
	mustPut(t, s, random(newRand(1), 5000))
	s.writeMu.Lock()
	if err := s.sealLocked(s.active); err != nil {
		t.Fatal(err)
	}
	s.writeMu.Unlock()
	clk.add(5 * time.Second)
	mustSweep(t, s, none, 0)
	if st, err := s.Compact(ctx, CompactOptions{}); err != nil || st.Packs != 1 {
		t.Fatalf("%+v %v", st, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = wholeOpen(t, o)
	mustPut(t, s, []byte("x"))
	if names := packNames(t, fs); len(names) != 1 || names[0] != packName(2) {
		t.Fatal(names)
	}
}

// MaxBytes ends a compaction early; the rest is done later.
func TestCompactBounded(t *testing.T) {
	clk := newClock()
	o := testOptions(vfs.NewMem())
	o.Now, o.PackSize = clk.now, 32<<10
	s := wholeOpen(t, o)
	rng := newRand(1)
	keep := map[volume.ChunkID]bool{}
	for i := range 60 {
		id := mustPut(t, s, random(rng, 4000))
		keep[id] = i%3 == 0
	}
	clk.add(5 * time.Second)
	mustSweep(t, s, func(id volume.ChunkID) bool { return keep[id] }, 0)
	st, err := s.Compact(ctx, CompactOptions{MaxBytes: 1})
	if err != nil || st.Packs != 1 {
		t.Fatalf("%+v %v", st, err)
	}
	if st, err = s.Compact(ctx, CompactOptions{}); err != nil || st.Packs < 3 {
		t.Fatalf("%+v %v", st, err)
	}
}

// Before a pack is removed, what was copied out of it is durable.
func TestCompactOrder(t *testing.T) {
	clk := newClock()
	mem := vfs.NewCrashableMem()
	keep := map[volume.ChunkID][]byte{}
	removed := 0
	var o Options
	inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind != errorfs.OpRemove || !strings.HasSuffix(op.Path, packSuffix) {
			return nil
		}
		removed++
		crashed := o
		clone := mem.CrashClone(vfs.CrashCloneCfg{})
		crashed.FS = clone
		if err := clone.Remove(op.Path); err != nil { // and the removal is what got through
			t.Error(err)
		}
		s, rec, err := Open(crashed)
		if err != nil || len(rec.Damage) > 0 {
			t.Errorf("%v %+v", err, rec)
			return nil
		}
		for id, content := range keep {
			mustGet(t, s, id, content)
		}
		return s.Close()
	})
	o = testOptions(errorfs.Wrap(mem, inj))
	o.Now, o.PackSize = clk.now, 16<<10
	s := wholeOpen(t, o)
	rng := newRand(1)
	for i := range 40 {
		content := random(rng, 3000)
		id := mustPut(t, s, content)
		if i%4 == 0 {
			keep[id] = content
		}
	}
	mustSync(t, s)
	clk.add(5 * time.Second)
	mustSweep(t, s, func(id volume.ChunkID) bool { return keep[id] != nil }, 0)
	if _, err := s.Compact(ctx, CompactOptions{}); err != nil {
		t.Fatal(err)
	}
	if removed < 5 {
		t.Fatalf("only %d packs removed", removed)
	}
}

// Readers, writers, sweeps, compactions and scrubs at once: a chunk in use is always
// there and right.
func TestEverythingAtOnce(t *testing.T) {
	clk := newClock()
	o := testOptions(vfs.NewMem())
	o.Now, o.PackSize, o.CacheBytes = clk.now, 24<<10, 8<<10
	s := wholeOpen(t, o)
	var mu sync.RWMutex
	live := map[volume.ChunkID][]byte{}
	isLive := func(id volume.ChunkID) bool {
		mu.RLock()
		defer mu.RUnlock()
		return live[id] != nil
	}
	var stop atomic.Bool
	var background, writers sync.WaitGroup
	loop := func(fn func()) {
		background.Go(func() {
			for !stop.Load() {
				fn()
			}
		})
	}
	loop(func() {
		clk.add(2 * time.Second)
		if _, err := s.Sweep(ctx, isLive, SweepOptions{}); err != nil {
			t.Error(err)
		}
	})
	loop(func() {
		if _, err := s.Compact(ctx, CompactOptions{MinDead: 0.2, Active: true}); err != nil {
			t.Error(err)
		}
		s.Stats()
	})
	loop(func() {
		err := s.Verify(ctx, func(id volume.ChunkID, pack uint32, off int64, err error) {
			if err != nil {
				t.Errorf("scrub: %s in %d: %v", id, pack, err)
			}
		})
		if err != nil {
			t.Error(err)
		}
	})
	for n := range 2 {
		rng := newRand(uint64(n))
		loop(func() {
			mu.RLock()
			defer mu.RUnlock() // so that it stays in use
			seen := 0
			for id, content := range live {
				got, err := s.Get(ctx, id)
				if err != nil || string(got) != string(content) {
					t.Errorf("chunk in use: %v", err)
				}
				if seen++; seen > 5+rng.IntN(5) {
					return
				}
			}
		})
	}
	steps := 400
	if testing.Short() {
		steps = 100
	}
	for n := range 3 {
		writers.Go(func() {
			rng := newRand(uint64(100 + n%2)) // two writers put the same
			var mine []volume.ChunkID
			for range steps {
				content := random(rng, 1+rng.IntN(3000))
				release := s.Pin(chunkID(content))
				id, _, err := s.Put(ctx, content)
				if err != nil {
					t.Error(err)
				}
				if rng.IntN(4) == 0 {
					if err := s.Sync(ctx); err != nil {
						t.Error(err)
					}
				}
				mu.Lock()
				live[id] = content
				mine = append(mine, id)
				if len(mine) > 20 {
					delete(live, mine[rng.IntN(len(mine))])
				}
				mu.Unlock()
				release()
			}
		})
	}
	writers.Wait()
	stop.Store(true)
	background.Wait()
	for id, content := range live {
		mustGet(t, s, id, content)
	}
	audit(t, s)
	if n := len(s.flights); n != 0 {
		t.Fatalf("%d flights left", n)
	}
}
