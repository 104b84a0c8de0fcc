package oplog

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wolfdisk/volume"
)

// crasher runs a log on a file system that can be cut off at any call, and knows
// what it was told: every op that was appended, and what was acknowledged.
type crasher struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	mem  *vfs.MemFS
	m    *history // every op ever handed to the log
	// lead makes the frames, if the log is a follower's; it syncs each.
	lead *Log

	l        *Log
	acked    volume.Version // Sync has returned for it
	appended volume.Version // AppendOps has returned for it
	trimmed  volume.Version // Trim has been asked for it
	resetTo  *volume.Position
	clones   int
	every    int // a clone is checked at each n-th call
	calls    int
}

// options are those of small, or of a log whose only segment ends with its last
// frame, without zeros behind.
func (c *crasher) options(fs vfs.FS) Options {
	o := small(fs)
	if c.seed%4 == 2 {
		o.SegmentSize = 2 * growZeroed
	}
	return o
}

// hook is called before each call of the file system.
func (c *crasher) hook(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite {
		return nil
	}
	c.calls++
	if c.calls%c.every == 0 {
		c.crash(0)
		c.crash(30 + c.rng.IntN(60))
	}
	return nil
}

// crash checks what a crash would leave now.
func (c *crasher) crash(percent int) {
	c.t.Helper()
	c.clones++
	clone := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: c.rng})
	where := fmt.Sprintf("seed %d, call %d, %d%% unsynced", c.seed, c.calls, percent)
	// The recovery may be cut off too.
	if percent > 0 && c.rng.IntN(3) == 0 {
		clone = c.crashRecovery(clone)
		where += ", recovery cut off"
	}
	l, rec, err := Open(c.options(clone))
	if err != nil {
		c.t.Fatalf("%s: acknowledged %d: %v", where, c.acked, err)
	}
	last := l.Last()
	if c.resetTo != nil {
		// A reset is on its way: either side of it is right.
		if last == *c.resetTo && l.First() == last.Version+1 {
			c.closeClone(l, where)
			return
		}
	}
	if last.Version < c.acked {
		c.t.Fatalf("%s: %d was acknowledged, the log ends with %s; cut %+v", where, c.acked, last, rec.Cut)
	}
	if l.First() > c.trimmed+1 {
		c.t.Fatalf("%s: trimmed through %d, the log begins with %d", where, c.trimmed, l.First())
	}
	if l.Durable() != last.Version {
		c.t.Fatalf("%s: opened at %s, durable is %d", where, last, l.Durable())
	}
	c.m.check(c.t, l)
	// The log goes on behind what is left, and is found again.
	ops := randomOps(c.rng, int(last.Version)+1, 1+c.rng.IntN(20))
	if last.Version == 0 {
		ops = []*volume.Op{reign(epoch1)}
	}
	m := &history{digests: append([]volume.Digest(nil), c.m.digests[:last.Version+1]...), ops: append([][]byte(nil), c.m.ops[:last.Version]...)}
	m.add(c.t, ops...)
	for _, op := range ops {
		mustAppend(c.t, l, epoch1, op)
	}
	if err := l.Sync(bg, m.last()); err != nil {
		c.t.Fatalf("%s: sync: %v", where, err)
	}
	again := clone.CrashClone(vfs.CrashCloneCfg{})
	c.closeClone(l, where)
	l, rec, err = Open(c.options(again))
	if err != nil || rec.Cut != nil || l.Last().Version != m.last() {
		c.t.Fatalf("%s: opened again at %v, want %d: %v", where, rec, m.last(), err)
	}
	m.check(c.t, l)
	c.closeClone(l, where)
}

func (c *crasher) closeClone(l *Log, where string) {
	c.t.Helper()
	if err := l.Close(); err != nil {
		c.t.Fatalf("%s: close: %v", where, err)
	}
}

// crashRecovery opens a log and cuts the opening off at some call.
func (c *crasher) crashRecovery(mem *vfs.MemFS) *vfs.MemFS {
	stop := 1 + c.rng.IntN(12)
	var left *vfs.MemFS
	l, _, err := Open(c.options(errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			if stop--; stop == 0 {
				left = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: c.rng})
			}
		}
		return nil
	}))))
	if err != nil {
		c.t.Fatalf("seed %d, call %d: recovery: %v", c.seed, c.calls, err)
	}
	c.closeClone(l, "recovery")
	if left == nil {
		return mem
	}
	return left
}

// step does one random thing.
func (c *crasher) step() {
	t, l := c.t, c.l
	t.Helper()
	switch n := c.rng.IntN(20); {
	case n < 14:
		ops := randomOps(c.rng, int(c.m.last()), 1+c.rng.IntN(4))
		if c.m.last() == 0 {
			ops = []*volume.Op{reign(epoch1)}
		}
		c.m.add(t, ops...) // a crash before AppendOps returns may leave them
		if c.lead == nil {
			mustAppend(t, l, epoch1, ops...)
		} else {
			f := mustAppend(t, c.lead, epoch1, ops...)
			if err := c.lead.Sync(bg, f.Last); err != nil {
				t.Fatal(err)
			}
			if _, _, err := l.AppendFrame(f.Bytes); err != nil {
				t.Fatalf("seed %d: append frame: %v", c.seed, err)
			}
		}
		c.appended = c.m.last()
	case n < 16:
		v := c.appended
		if v > 0 && c.rng.IntN(2) == 0 {
			v = 1 + volume.Version(c.rng.IntN(int(v)))
		}
		if err := l.Sync(bg, v); err != nil {
			t.Fatalf("seed %d: sync through %d: %v", c.seed, v, err)
		}
		c.acked = max(c.acked, v)
	case n < 17:
		// Also of what is not durable: then Trim makes it so.
		c.trimmed = max(c.trimmed, volume.Version(c.rng.IntN(int(c.appended)+1)))
		if _, err := l.Trim(c.trimmed); err != nil {
			t.Fatalf("seed %d: trim through %d: %v", c.seed, c.trimmed, err)
		}
	case n < 18:
		if err := l.Reserve(int64(c.rng.IntN(20 << 10))); err != nil {
			t.Fatalf("seed %d: reserve: %v", c.seed, err)
		}
	case n < 19:
		if err := l.Close(); err != nil {
			t.Fatalf("seed %d: close: %v", c.seed, err)
		}
		c.acked = c.appended
		c.open()
		if c.l.Last().Version != c.appended {
			t.Fatalf("seed %d: closed at %d, opened at %s", c.seed, c.appended, c.l.Last())
		}
	default:
		c.reset()
	}
}

// reset starts over behind a position of the same history, so that the history
// can be checked as before.
func (c *crasher) reset() {
	v := c.appended
	if v == 0 {
		return
	}
	v = 1 + volume.Version(c.rng.IntN(int(v)))
	pos := volume.Position{Epoch: epoch1, Version: v, Digest: c.m.digests[v]}
	c.resetTo = &pos
	if err := c.l.Reset(pos); err != nil {
		c.t.Fatalf("seed %d: reset to %s: %v", c.seed, pos, err)
	}
	c.resetTo = nil
	if c.lead != nil {
		if err := c.lead.Reset(pos); err != nil {
			c.t.Fatal(err)
		}
	}
	c.m.digests, c.m.ops = c.m.digests[:v+1], c.m.ops[:v]
	c.acked, c.appended, c.trimmed = v, v, v
}

func (c *crasher) open() {
	c.t.Helper()
	l, rec, err := Open(c.options(errorfs.Wrap(c.mem, errorfs.InjectorFunc(c.hook))))
	if err != nil {
		c.t.Fatalf("seed %d: open: %v", c.seed, err)
	}
	if rec.Cut != nil {
		c.t.Fatalf("seed %d: cut after a clean close: %+v", c.seed, rec.Cut)
	}
	c.l = l
}

// TestCrash cuts the power at every writing call of random workloads: what was
// acknowledged is there, what else is there is the rest's beginning, and the log
// goes on from it.
func TestCrash(t *testing.T) {
	seeds, steps := 12, 60
	if testing.Short() {
		seeds, steps = 4, 40
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			steps := steps
			c := &crasher{t: t, seed: seed, rng: testRand(seed), mem: vfs.NewCrashableMem(), m: newHistory(), every: 1}
			if seed%4 != 0 { // longer
				c.every, steps = 7, 3*steps
			}
			if seed%2 == 1 {
				c.lead = openSmall(t, vfs.NewMem())
			}
			c.open()
			for range steps {
				c.step()
			}
			if err := c.l.Close(); err != nil {
				t.Fatal(err)
			}
			if c.clones < 20 {
				t.Fatalf("only %d crashes", c.clones)
			}
			t.Logf("%d crashes, %d ops", c.clones, c.m.last())
		})
	}
}
