package chunkstore

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wolfdisk/volume"
)

// crasher takes a picture of the disk as a power cut could leave it, at every call
// that changes it, together with what had been promised by then.
type crasher struct {
	mem  *vfs.MemFS
	seed uint64
	mu   sync.Mutex
	// synced is what a Sync that has returned covered.
	synced map[volume.ChunkID][]byte
	shots  []shot
	every  int
	calls  int
}

type shot struct {
	fs     *vfs.MemFS
	synced map[volume.ChunkID][]byte
	what   string
}

func (c *crasher) String() string { return "crasher" }

// MaybeError is called before every operation of the file system.
func (c *crasher) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if c.calls%c.every != 0 {
		return nil
	}
	rng := newRand(c.seed + uint64(c.calls))
	percent := []int{0, 30, 70, 100}[rng.IntN(4)]
	promised := make(map[volume.ChunkID][]byte, len(c.synced))
	for id, content := range c.synced {
		promised[id] = content
	}
	c.shots = append(c.shots, shot{
		fs:     c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}),
		synced: promised,
		what:   fmt.Sprintf("seed %d, call %d (kind %d on %s), %d %%", c.seed, c.calls, op.Kind, op.Path, percent),
	})
	return nil
}

func (c *crasher) promise(m map[volume.ChunkID][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, content := range m {
		c.synced[id] = content
	}
}

func (c *crasher) forget(id volume.ChunkID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.synced, id)
}

// workload puts, syncs, sweeps and compacts, and tells the crasher what is promised.
func workload(t *testing.T, s *Store, c *crasher, clk *clock, seed uint64, steps int) {
	rng := newRand(seed)
	all := map[volume.ChunkID][]byte{}
	written := map[volume.ChunkID][]byte{}
	for range steps {
		switch n := rng.IntN(20); {
		case n < 13:
			content := random(rng, 1+rng.IntN(12_000))
			if rng.IntN(3) == 0 {
				content = text(rng, 1+rng.IntN(12_000))
			}
			id := mustPut(t, s, content)
			written[id], all[id] = content, content
		case n < 17:
			mustSync(t, s)
			c.promise(written)
			clear(written)
		case n < 18:
			// A third of all chunks goes: what is not promised any more first.
			gone := map[volume.ChunkID]bool{}
			for id := range all {
				if rng.IntN(3) == 0 {
					gone[id] = true
					c.forget(id)
					delete(all, id)
					delete(written, id)
				}
			}
			clk.add(5 * time.Second)
			if _, err := s.Sweep(ctx, func(id volume.ChunkID) bool { return !gone[id] }, SweepOptions{}); err != nil {
				t.Fatal(err)
			}
		default:
			if _, err := s.Compact(ctx, CompactOptions{MinDead: 0.2, Active: rng.IntN(2) == 0}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for id, content := range all {
		mustGet(t, s, id, content)
	}
	audit(t, s)
}

// After a crash at any call, everything a Sync covered is there and nothing is
// reported as damaged; the store can be written, and opened once more.
func TestCrashAnywhere(t *testing.T) {
	seeds, steps, every := 15, 60, 2
	if testing.Short() {
		seeds = 2
	}
	for seed := range uint64(seeds) {
		mem := vfs.NewCrashableMem()
		clk := newClock()
		c := &crasher{mem: mem, seed: seed, synced: map[volume.ChunkID][]byte{}, every: every}
		o := testOptions(errorfs.Wrap(mem, c))
		o.PackSize, o.Now = 40<<10, clk.now
		s := wholeOpen(t, o)
		workload(t, s, c, clk, seed, steps)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if len(c.shots) < 50 {
			t.Fatalf("only %d crashes", len(c.shots))
		}
		for _, shot := range c.shots {
			checkShot(t, shot)
		}
	}
}

func checkShot(t *testing.T, shot shot) {
	t.Helper()
	fs := shot.fs
	o := testOptions(fs)
	o.PackSize, o.CacheBytes = 40<<10, 1
	more := random(newRand(99), 30_000)
	var id volume.ChunkID
	for round := range 3 {
		s, rec, err := Open(o)
		if err != nil {
			t.Fatalf("%s, opening %d: %v", shot.what, round, err)
		}
		if len(rec.Damage) > 0 {
			t.Fatalf("%s, opening %d: damage %+v", shot.what, round, rec.Damage)
		}
		for id, content := range shot.synced {
			got, err := s.Get(ctx, id)
			if err != nil || string(got) != string(content) {
				t.Fatalf("%s, opening %d: synced chunk %s: %v", shot.what, round, id, err)
			}
		}
		if round == 2 {
			mustGet(t, s, id, more)
		} else {
			id = mustPut(t, s, more)
			mustSync(t, s)
		}
		err = s.Verify(ctx, func(id volume.ChunkID, pack uint32, off int64, err error) {
			if err != nil {
				t.Errorf("%s, opening %d: %s in %d at %d: %v", shot.what, round, id, pack, off, err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		audit(t, s)
		if t.Failed() {
			t.FailNow()
		}
		if round == 1 { // and a power cut right after a sync
			fs = fs.CrashClone(vfs.CrashCloneCfg{})
			o.FS = fs
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// oneError fails the n-th call that it matches.
type oneError struct {
	mu    sync.Mutex
	n     int
	err   error
	match func(errorfs.Op) bool
	hit   bool
}

func (e *oneError) String() string { return "one error" }

func (e *oneError) MaybeError(op errorfs.Op) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.match != nil && !e.match(op) {
		return nil
	}
	e.n--
	if e.n != 0 {
		return nil
	}
	e.hit = true
	return e.err
}

// An error of any single call comes back to somebody, loses nothing that was
// promised, and leaves a store that can be opened without damage.
func TestErrorAtEveryCall(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 3
	}
	for n := 1; ; n += step {
		mem := vfs.NewCrashableMem()
		inj := &oneError{n: n, err: syscall.EIO}
		o := testOptions(errorfs.Wrap(mem, inj))
		o.PackSize = 40 << 10
		promised, err := errorRun(o)
		if !inj.hit {
			if n < 60 {
				t.Fatalf("only %d calls", n)
			}
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if err == nil {
			t.Fatalf("call %d failed and nobody was told", n)
		}
		if err != nil && volume.KindOf(err) != volume.IO && volume.KindOf(err) != volume.Fault && volume.KindOf(err) != volume.Missing {
			t.Fatalf("call %d: kind %v of %v", n, volume.KindOf(err), err)
		}
		checkShot(t, shot{fs: mem.CrashClone(vfs.CrashCloneCfg{}), synced: promised, what: fmt.Sprintf("error at call %d", n)})
	}
}

// errorRun works until the first error and returns what was promised.
func errorRun(o Options) (map[volume.ChunkID][]byte, error) {
	promised := map[volume.ChunkID][]byte{}
	for round := range 2 {
		s, rec, err := Open(o)
		if err != nil {
			return promised, err
		}
		for _, d := range rec.Damage {
			err = errors.Join(err, d.Err)
		}
		if err == nil {
			err = errorWork(s, promised, round)
		}
		if cerr := s.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return promised, err
		}
	}
	return promised, nil
}

func errorWork(s *Store, promised map[volume.ChunkID][]byte, round int) error {
	rng := newRand(uint64(round))
	drop := map[volume.ChunkID]bool{}
	written := map[volume.ChunkID][]byte{}
	for i := range 16 {
		content := random(rng, 1+rng.IntN(12_000))
		id, _, err := s.Put(ctx, content)
		if err != nil {
			return err
		}
		if i%2 == 0 {
			drop[id] = true
		} else {
			written[id] = content
		}
		if i%5 == 4 {
			if err := s.Sync(ctx); err != nil {
				return err
			}
			for id, content := range written {
				promised[id] = content
			}
			clear(written)
		}
	}
	for id := range promised {
		if _, err := s.Get(ctx, id); err != nil {
			return err
		}
	}
	s.start = s.start.Add(-time.Hour) // everything is old
	if _, err := s.Sweep(ctx, func(id volume.ChunkID) bool { return !drop[id] }, SweepOptions{}); err != nil {
		return err
	}
	_, err := s.Compact(ctx, CompactOptions{MinDead: 0.1})
	return err
}

// After a failed fsync nothing more is accepted, whatever fsync says later, reading
// goes on, and opening again makes everything that can be read durable for good.
func TestFailedFsyncSticks(t *testing.T) {
	for _, target := range []string{packSuffix, markName} {
		mem := vfs.NewCrashableMem()
		inj := &oneError{err: syscall.EIO, match: func(op errorfs.Op) bool {
			return op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, target)
		}}
		s := wholeOpen(t, testOptions(errorfs.Wrap(mem, inj)))
		before := random(newRand(1), 5000)
		durable := mustPut(t, s, before)
		mustSync(t, s)
		after := random(newRand(2), 5000)
		id := mustPut(t, s, after)
		inj.mu.Lock()
		inj.n = 1
		inj.mu.Unlock()
		for range 3 {
			err := s.Sync(ctx)
			wantKind(t, err, volume.Fault)
			if volume.ErrnoOf(err) != syscall.EIO {
				t.Fatal("the application is to see EIO, not", volume.ErrnoOf(err))
			}
			_, _, err = s.Put(ctx, []byte("more"))
			wantKind(t, err, volume.Fault)
			_, err = s.Compact(ctx, CompactOptions{MinDead: 1e-9})
			if err != nil {
				wantKind(t, err, volume.Fault)
			}
		}
		if s.Stats().Failed == nil {
			t.Fatal("failure is not in the statistics")
		}
		mustGet(t, s, durable, before)
		mustGet(t, s, id, after)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}

		o := testOptions(mem)
		s = wholeOpen(t, o)
		mustGet(t, s, durable, before)
		if _, had, err := s.Put(ctx, after); err != nil || !had {
			t.Fatal(had, err)
		}
		mustSync(t, s)
		o.FS = mem.CrashClone(vfs.CrashCloneCfg{})
		s = wholeOpen(t, o)
		mustGet(t, s, durable, before)
		mustGet(t, s, id, after)
	}
}

// What lay behind the mark is written again, since the page cache may lie about it.
func TestRewrittenBehindMark(t *testing.T) {
	mem := vfs.NewMem()
	s := wholeOpen(t, testOptions(mem))
	content := random(newRand(1), 5000)
	mustPut(t, s, random(newRand(2), 7000))
	mustSync(t, s)
	end := s.active.end
	mustPut(t, s, content) // and the daemon dies

	var writes []int64
	inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt && strings.HasSuffix(op.Path, packSuffix) {
			writes = append(writes, op.Offset)
		}
		return nil
	})
	s, rec := mustOpen(t, testOptions(errorfs.Wrap(mem, inj)))
	if rec.Kept != recordLen+5000 || rec.CutBytes != 0 {
		t.Fatalf("%+v", rec)
	}
	if len(writes) != 0 {
		t.Fatal("opening wrote")
	}
	mustSync(t, s)
	if len(writes) != 1 || writes[0] != end {
		t.Fatalf("writes at %v, want one at %d", writes, end)
	}
	mustGet(t, s, chunkID(content), content)
}

// On a full disk puts fail with NoSpace, reading goes on, and with room again writing
// goes on, in the same process and after opening again.
func TestFullDisk(t *testing.T) {
	for room := int64(0); room < 60_000; room += 1777 {
		mem := vfs.NewMem()
		disk := &fullDisk{FS: mem}
		disk.room.Store(1 << 30)
		o := testOptions(disk)
		o.PackSize = 16 << 10
		s := wholeOpen(t, o)
		want := map[volume.ChunkID][]byte{}
		rng := newRand(uint64(room))
		first := random(rng, 3000)
		want[mustPut(t, s, first)] = first
		disk.room.Store(room)
		full := 0
		for range 24 {
			content := random(rng, 1+rng.IntN(6000))
			id, _, err := s.Put(ctx, content)
			if err == nil {
				want[id] = content
				continue
			}
			wantKind(t, err, volume.NoSpace)
			full++
			disk.room.Store(int64(rng.IntN(3000))) // somebody deletes a little
		}
		if full == 0 && room < 40_000 {
			t.Fatal("the disk was never full")
		}
		disk.room.Store(1 << 30)
		content := random(rng, 6000)
		want[mustPut(t, s, content)] = content
		mustSync(t, s)
		audit(t, s)
		check := func(s *Store) {
			t.Helper()
			for id, content := range want {
				mustGet(t, s, id, content)
			}
		}
		check(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		o.CacheBytes = 1
		s = wholeOpen(t, o)
		check(s)
		audit(t, s)
	}
}

// Callers that wait for the same fsync share it.
func TestSyncShared(t *testing.T) {
	var mu sync.Mutex
	syncs := 0
	inj := errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind == errorfs.OpFileSyncData && strings.HasSuffix(op.Path, packSuffix) {
			mu.Lock()
			syncs++
			mu.Unlock()
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
	s := wholeOpen(t, testOptions(errorfs.Wrap(vfs.NewMem(), inj)))
	mustPut(t, s, []byte("x"))
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if err := s.Sync(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if syncs != 1 {
		t.Fatalf("%d fsyncs", syncs)
	}
}
