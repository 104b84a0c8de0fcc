package oplog

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wolfdisk/volume"
)

// injector fails the calls that match.
type injector struct {
	mu    sync.Mutex
	calls int
	match func(call int, op errorfs.Op) error // nil: nothing fails
}

func (i *injector) String() string { return "injector" }

func (i *injector) MaybeError(op errorfs.Op) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls++
	if i.match == nil {
		return nil
	}
	return i.match(i.calls, op)
}

func (i *injector) set(match func(call int, op errorfs.Op) error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.calls, i.match = 0, match
}

// TestErrorAtEveryCall fails each call of the file system in turn. Whoever is told
// of success finds it true after a crash, nobody hangs or panics, and the log opens
// again once the disk works.
func TestErrorAtEveryCall(t *testing.T) {
	boom := errors.New("boom")
	for _, forever := range []bool{false, true} {
		step := 1
		if testing.Short() {
			step = 3
		}
		for n := 1; ; n += step {
			mem := vfs.NewCrashableMem()
			inj := &injector{}
			failed := 0
			inj.set(func(call int, op errorfs.Op) error {
				if call == n || forever && call > n {
					failed++
					return boom
				}
				return nil
			})
			acked, m := faultyRun(t, small(errorfs.Wrap(mem, inj)))
			if failed == 0 {
				if n < 60 {
					t.Fatalf("only %d calls", n)
				}
				break
			}
			for _, percent := range []int{0, 50, 100} {
				clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: testRand(uint64(n))})
				l, _, err := Open(small(clone))
				if err != nil {
					t.Fatalf("call %d failed, forever %v: acknowledged %d: %v", n, forever, acked, err)
				}
				if l.Last().Version < acked {
					t.Fatalf("call %d failed, forever %v: acknowledged %d, the log ends with %s", n, forever, acked, l.Last())
				}
				m.check(t, l)
				mustClose(t, l)
			}
		}
	}
}

// faultyRun uses a log in every way and goes on after errors, as long as it may.
// It returns what was acknowledged as durable.
func faultyRun(t *testing.T, o Options) (acked volume.Version, m *history) {
	t.Helper()
	m = newHistory()
	for round := range 3 {
		l, _, err := Open(o)
		if err != nil {
			continue
		}
		rng := testRand(uint64(round))
		for i := range 14 {
			before := l.Last()
			ops := randomOps(rng, int(before.Version), 2)
			if before.Version == 0 {
				ops = []*volume.Op{reign(epoch1)}
			}
			// What an error left behind, if anything, is the beginning of these.
			m.ops, m.digests = m.ops[:before.Version], m.digests[:before.Version+1]
			m.add(t, ops...)
			_, err := l.AppendOps(epoch1, ops)
			if broken := l.Broken(); broken != nil {
				if err == nil {
					t.Fatalf("appended to a broken log: %v", broken)
				}
				if e := l.Sync(bg, l.Last().Version); e == nil && l.Durable() < l.Last().Version {
					t.Fatal("a broken log acknowledges")
				}
				break
			}
			if i%4 == 3 && l.Sync(bg, l.Last().Version) == nil {
				acked = max(acked, l.Last().Version)
			}
			if i == 9 {
				// A failure costs the space only.
				if _, err := l.Trim(acked / 2); err == nil && l.First() > acked/2+1 {
					t.Fatal("trimmed too much")
				}
				_ = l.Reserve(20 << 10) // and here too
			}
		}
		last := l.Last().Version
		durable := l.Durable()
		if l.Close() == nil {
			durable = last
		}
		acked = max(acked, durable)
		if last < m.last() {
			continue // the rest may or may not be found by the next round
		}
	}
	return acked, m
}

// A reset that fails leaves the old log, or one that is broken and becomes the new
// one, or the old one again, when it is next opened.
func TestResetErrorAtEveryCall(t *testing.T) {
	for n := 1; ; n++ {
		mem := vfs.NewCrashableMem()
		inj := &injector{}
		l, _ := mustOpen(t, small(errorfs.Wrap(mem, inj)))
		m := newHistory()
		fill(t, l, m, testRand(26), 4)
		if err := l.Sync(bg, m.last()); err != nil {
			t.Fatal(err)
		}
		last := l.Last()
		pos := volume.Position{Epoch: epoch2, Version: 5000, Digest: volume.Digest{7}}
		inj.set(func(call int, _ errorfs.Op) error {
			if call == n {
				return syscall.EIO
			}
			return nil
		})
		err := l.Reset(pos)
		calls := inj.calls
		inj.set(nil)
		if err != nil && l.Broken() == nil {
			if l.Last() != last {
				t.Fatalf("call %d: log is at %s", n, l.Last())
			}
			m.check(t, l)
			op := nameOp(1)
			m.add(t, op)
			mustAppend(t, l, epoch1, op)
			if err := l.Sync(bg, m.last()); err != nil {
				t.Fatal(err)
			}
			last = l.Last()
		}
		for _, percent := range []int{0, 50, 100} {
			clone := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: testRand(uint64(n))})
			again, _ := mustOpen(t, small(clone))
			got := again.Last()
			if got != pos && got != last || err == nil && got != pos || err != nil && l.Broken() == nil && got != last {
				t.Fatalf("call %d, Reset says %v: opened at %s", n, err, got)
			}
			mustClose(t, again)
		}
		if l.Broken() == nil {
			mustClose(t, l)
		}
		if calls < n {
			if n < 15 {
				t.Fatalf("only %d calls", n)
			}
			break
		}
	}
}

// On a real file system, with preallocated segments, what was written is found.
func TestRealFileSystem(t *testing.T) {
	o := DefaultOptions(t.TempDir()+"/oplog", testVolume)
	o.SegmentSize, o.TailBytes = 64<<10, 1
	l, rec := mustOpen(t, o)
	if !rec.Created {
		t.Fatalf("recovery is %+v", rec)
	}
	m := newHistory()
	fill(t, l, m, testRand(27), 6)
	if err := l.Reserve(100 << 10); err != nil {
		t.Fatal(err)
	}
	if err := l.Sync(bg, m.last()); err != nil {
		t.Fatal(err)
	}
	m.check(t, l)
	if _, err := l.Trim(m.last() / 2); err != nil {
		t.Fatal(err)
	}
	path := l.active.path
	end := l.active.end
	mustClose(t, l)
	patch(t, o.FS, path, end+10, []byte("a torn write"))
	l, rec = mustOpen(t, o)
	if rec.Cut == nil || rec.Cut.Offset != end || rec.Last.Version != m.last() {
		t.Fatalf("recovery is %+v", rec)
	}
	m.check(t, l)
	if err := l.Reset(volume.Position{}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	l, rec = mustOpen(t, o)
	if rec.Last.Version != 0 || rec.Cut != nil || rec.Created {
		t.Fatalf("recovery is %+v", rec)
	}
	mustClose(t, l)
	o.Volume = volume.ID{4}
	_, _, err := Open(o)
	wantKind(t, err, volume.WrongVolume)
}

// After a failed sync nothing is acknowledged any more, though the disk works again.
func TestFailedSyncIsForever(t *testing.T) {
	for _, what := range []string{"file", "directory"} {
		t.Run(what, func(t *testing.T) {
			inj := &injector{}
			l, _ := mustOpen(t, small(errorfs.Wrap(vfs.NewMem(), inj)))
			m := newHistory()
			fill(t, l, m, testRand(20), 2) // so that there is a new name
			durable := l.Durable()
			inj.set(func(_ int, op errorfs.Op) error {
				if op.Kind == errorfs.OpFileSyncData && what == "file" || op.Kind == errorfs.OpFileSync && what == "directory" && path.Base(op.Path) == "oplog" {
					return syscall.EIO
				}
				return nil
			})
			last := l.Last().Version
			var wg sync.WaitGroup
			for range 5 {
				wg.Go(func() {
					if err := l.Sync(bg, last); !errors.Is(err, syscall.EIO) {
						t.Errorf("sync: %v", err)
					}
				})
			}
			wg.Wait()
			inj.set(nil)
			for name, err := range map[string]error{
				"Sync":    l.Sync(bg, last),
				"Reserve": l.Reserve(1),
				"Reset":   l.Reset(volume.Position{}),
				"Broken":  l.Broken(),
			} {
				if volume.KindOf(err) != volume.Fault || volume.ErrnoOf(err) != syscall.EIO {
					t.Errorf("%s: %v", name, err)
				}
			}
			_, err := l.AppendOps(epoch1, []*volume.Op{nameOp(1)})
			wantKind(t, err, volume.Fault)
			_, err = l.Trim(last)
			wantKind(t, err, volume.Fault)
			if l.Durable() != durable || l.Last().Version != last {
				t.Fatalf("durable %d, last %s", l.Durable(), l.Last())
			}
			m.check(t, l) // reading goes on
			r, err := l.Reader(last + 1)
			if err != nil {
				t.Fatal(err)
			}
			_, err = r.Next(bg) // nothing will come
			wantKind(t, err, volume.Fault)
			wantKind(t, l.Close(), volume.Fault)
		})
	}
}

func TestFailedWriteStops(t *testing.T) {
	inj := &injector{}
	mem := vfs.NewMem()
	l, _ := mustOpen(t, small(errorfs.Wrap(mem, inj)))
	mustAppend(t, l, epoch1, reign(epoch1))
	inj.set(func(_ int, op errorfs.Op) error {
		if op.Kind == errorfs.OpFileWriteAt {
			return syscall.EIO
		}
		return nil
	})
	_, err := l.AppendOps(epoch1, []*volume.Op{nameOp(1)})
	wantKind(t, err, volume.Fault)
	inj.set(nil)
	_, err = l.AppendOps(epoch1, []*volume.Op{nameOp(1)})
	wantKind(t, err, volume.Fault)
	if l.Last().Version != 1 {
		t.Fatalf("last is %s", l.Last())
	}
	wantKind(t, l.Close(), volume.Fault)
	l, rec := mustOpen(t, small(mem))
	if rec.Last.Version != 1 || rec.Cut != nil {
		t.Fatalf("recovery is %+v", rec)
	}
	mustClose(t, l)
}

// shortFS writes only a part of what is written while it is full.
type shortFS struct {
	vfs.FS
	full *bool
	left int // bytes that still fit
}

type shortFile struct {
	vfs.File
	fs *shortFS
}

func (f *shortFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	file, err := f.FS.Create(name, c)
	return shortFile{file, f}, err
}

func (f shortFile) WriteAt(p []byte, off int64) (int, error) {
	if !*f.fs.full || len(p) <= f.fs.left {
		return f.File.WriteAt(p, off)
	}
	n, err := f.File.WriteAt(p[:f.fs.left], off)
	return n, errors.Join(err, syscall.ENOSPC)
}

// A full disk refuses, leaves the log as it was, and when there is room again the
// log goes on.
func TestFullDisk(t *testing.T) {
	noSpace := func(what ...errorfs.OpKind) func(int, errorfs.Op) error {
		return func(_ int, op errorfs.Op) error {
			for _, k := range what {
				if op.Kind == k && !strings.HasSuffix(op.Path, markName) {
					return syscall.ENOSPC
				}
			}
			return nil
		}
	}
	for name, match := range map[string]func(int, errorfs.Op) error{
		"create":      noSpace(errorfs.OpCreate),
		"preallocate": noSpace(errorfs.OpFilePreallocate),
		"write":       noSpace(errorfs.OpFileWriteAt),
	} {
		t.Run(name, func(t *testing.T) {
			inj := &injector{}
			mem := vfs.NewMem()
			l, _ := mustOpen(t, small(errorfs.Wrap(mem, inj)))
			m := newHistory()
			fill(t, l, m, testRand(21), 2)
			inj.set(match)
			wantKind(t, l.Reserve(16<<10), volume.NoSpace)
			var err error
			for err == nil {
				op := writeOp(5, 0, text(400))
				if _, err = l.AppendOps(epoch1, []*volume.Op{op}); err == nil {
					m.add(t, op)
				}
			}
			wantKind(t, err, volume.NoSpace)
			if l.Broken() != nil {
				t.Fatalf("broken: %v", l.Broken())
			}
			m.check(t, l)
			inj.set(nil)
			if err := l.Reserve(16 << 10); err != nil {
				t.Fatal(err)
			}
			fill(t, l, m, testRand(22), 4)
			m.check(t, l)
			mustClose(t, l)
			l, rec := mustOpen(t, small(mem))
			if rec.Cut != nil {
				t.Fatalf("cut %+v", rec.Cut)
			}
			m.check(t, l)
			mustClose(t, l)
		})
	}
	t.Run("half a frame", func(t *testing.T) {
		full := false
		mem := vfs.NewMem()
		l, _ := mustOpen(t, small(&shortFS{FS: mem, full: &full, left: 200}))
		m := newHistory()
		fill(t, l, m, testRand(23), 2)
		rng := testRand(1)
		full = true
		_, err := l.AppendOps(epoch1, []*volume.Op{writeOp(5, 0, randomBytes(rng, 150)), writeOp(5, 0, randomBytes(rng, 300))})
		// The zeros that clean up do not fit either if they are as long.
		wantKind(t, err, volume.NoSpace)
		full = false
		op := nameOp(3)
		m.add(t, op)
		mustAppend(t, l, epoch1, op)
		m.check(t, l)
		mustClose(t, l)
		l, rec := mustOpen(t, small(mem))
		if rec.Cut != nil {
			t.Fatalf("cut %+v", rec.Cut)
		}
		m.check(t, l)
		mustClose(t, l)
	})
}

// What was reserved can be appended though the disk is full by then.
func TestReserveHolds(t *testing.T) {
	for _, want := range []int{100, 3000, 9000, 40000} {
		inj := &injector{}
		l, _ := mustOpen(t, small(errorfs.Wrap(vfs.NewMem(), inj)))
		m := newHistory()
		fill(t, l, m, testRand(24), 2)
		rng := testRand(2)
		if err := l.Reserve(int64(want) + 100 + FrameOverhead); err != nil {
			t.Fatal(err)
		}
		inj.set(func(_ int, op errorfs.Op) error {
			switch op.Kind {
			case errorfs.OpCreate, errorfs.OpFilePreallocate:
				return syscall.ENOSPC
			}
			return nil
		})
		op := writeOp(5, 0, randomBytes(rng, want))
		m.add(t, op)
		mustAppend(t, l, epoch1, op)
		inj.set(nil)
		m.check(t, l)
		mustClose(t, l)
	}
	l := openSmall(t, vfs.NewMem())
	wantKind(t, l.Reserve(-1), volume.Invalid)
}

// A disk that is full at start is read from, and refuses.
func TestOpenOnFullDisk(t *testing.T) {
	c := crashedLog(t, 3, 0)
	inj := &injector{}
	inj.set(func(_ int, op errorfs.Op) error {
		if op.Kind == errorfs.OpFilePreallocate || op.Kind == errorfs.OpCreate {
			return syscall.ENOSPC
		}
		return nil
	})
	l, _ := mustOpen(t, small(errorfs.Wrap(c.mem, inj)))
	c.m.check(t, l)
	_, err := l.AppendOps(epoch1, []*volume.Op{nameOp(1)})
	wantKind(t, err, volume.NoSpace)
	inj.set(nil)
	op := nameOp(1)
	c.m.add(t, op)
	mustAppend(t, l, epoch1, op)
	c.m.check(t, l)
	mustClose(t, l)
}

// A read error is no damage: Open fails and changes nothing.
func TestOpenReadError(t *testing.T) {
	c := crashedLog(t, 3, 0)
	before := fmt.Sprint(c.allBytes(t))
	for n := 1; ; n++ {
		reads := 0
		inj := &injector{}
		inj.set(func(_ int, op errorfs.Op) error {
			if op.Kind == errorfs.OpFileReadAt {
				if reads++; reads == n {
					return syscall.EIO
				}
			}
			return nil
		})
		_, _, err := Open(small(errorfs.Wrap(c.mem, inj)))
		if reads < n {
			if n < 5 {
				t.Fatalf("only %d reads", n)
			}
			break
		}
		if volume.KindOf(err) != volume.IO || !errors.Is(err, syscall.EIO) {
			t.Fatalf("read %d failed: %v", n, err)
		}
		if fmt.Sprint(c.allBytes(t)) != before {
			t.Fatalf("read %d failed, and something was changed", n)
		}
	}
}

// The background syncs what nobody asked to sync, and prepares segments.
func TestBackground(t *testing.T) {
	o := small(vfs.NewMem())
	o.SyncEvery = 2 * time.Millisecond
	l, _ := mustOpen(t, o)
	defer mustClose(t, l)
	m := newHistory()
	fill(t, l, m, testRand(25), 4)
	for range 3 {
		op := nameOp(int(m.last()))
		m.add(t, op)
		mustAppend(t, l, epoch1, op)
		for i := 0; l.Durable() < m.last(); i++ {
			if i > 5000 {
				t.Fatalf("last is %d, durable %d", m.last(), l.Durable())
			}
			time.Sleep(time.Millisecond)
		}
	}
	m.check(t, l)
}
