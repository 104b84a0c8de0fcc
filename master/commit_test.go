package master_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// replayed checks that the log makes the leader's tree.
func replayed(t *testing.T, r *rig) {
	t.Helper()
	m := volumetest.NewModel(volumetest.Options{})
	for _, op := range logOps(t, r.log) {
		if err := m.Apply(ctx, op); err != nil {
			t.Fatalf("op %d: %v", op.Version, err)
		}
	}
	want, err := volumetest.Tree(ctx, m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := volumetest.Tree(ctx, r.tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range volumetest.Diff(got, want) {
		t.Error(d)
	}
	for _, s := range volumetest.Check(got) {
		t.Error(s)
	}
	if p := r.engine.Position(); p != r.log.Last() {
		t.Errorf("index at %v, log at %v", p, r.log.Last())
	}
}

// TestGroupCommit has many goroutines write at once, to inodes of their own and to one
// they share, under a clock that jumps.
func TestGroupCommit(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	var tick atomic.Int64
	l := r.lead(1, func(o *master.Options) {
		o.Now = func() volume.Time {
			n := tick.Add(1)
			return volume.Time{Sec: 1000 - n%7*100 + n/10}
		}
	})
	const workers = 8
	rounds := 150
	if testing.Short() {
		rounds = 40
	}
	shared := mkFile(t, l, "shared")
	var mu sync.Mutex
	answered := map[volume.Version]int{}
	var group sync.WaitGroup
	for w := range workers {
		group.Go(func() {
			own, err := l.Do(ctx, create(fmt.Sprint("own", w), root, volume.ModeFile|0o600))
			if err != nil {
				t.Error(err)
				return
			}
			last := own.Version
			for i := range rounds {
				req := &volume.Request{Kind: volume.OpWrite, Ino: own.Attr.Ino, Append: true, Data: fmt.Appendf(nil, "%d.%d ", w, i)}
				switch i % 4 {
				case 1:
					req.Ino = shared
				case 2:
					req = &volume.Request{Kind: volume.OpSetAttr, Ino: own.Attr.Ino, Set: volume.SetMtimeNow | volume.SetSize, Size: int64(i)}
				}
				res, err := l.Do(ctx, req)
				if err != nil {
					t.Error(err)
					return
				}
				if res.Version <= last || l.Position().Version < res.Version {
					t.Errorf("version %d after %d, position %d", res.Version, last, l.Position().Version)
				}
				last = res.Version
				mu.Lock()
				answered[res.Version]++
				mu.Unlock()
			}
		})
	}
	group.Wait()
	ops := logOps(t, r.log)
	for v, n := range answered {
		if n != 1 || v > ops[len(ops)-1].Version {
			t.Errorf("version %d was given %d times", v, n)
		}
	}
	for _, op := range ops {
		if op.Mask&volume.SetMtime != 0 && op.Mtime != op.Time {
			t.Errorf("op %d sets mtime %v at %v", op.Version, op.Mtime, op.Time)
		}
	}
	a, err := l.GetAttr(ctx, shared)
	if err != nil || a.Size == 0 {
		t.Error(a, err)
	}
	replayed(t, r)
}

// TestRandomWorkers has several random users on one tree.
func TestRandomWorkers(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	gen := volumetest.Random(5)
	steps := 600
	if testing.Short() {
		steps = 150
	}
	var group sync.WaitGroup
	for w := range uint64(6) {
		g := gen.Fork(w)
		group.Go(func() {
			for range steps {
				s := g.Next()
				var res volume.Result
				var err error
				switch {
				case s.Req != nil:
					res, err = l.Do(ctx, s.Req)
				case s.Open != 0:
					err = l.Open(ctx, s.Open, true)
				default:
					err = l.Close(ctx, s.Close)
				}
				if k := volume.KindOf(err); err != nil && (k == volume.Fault || k == volume.Corrupt || k == volume.WrongHistory || k == volume.Unknown) {
					t.Errorf("%v: %v", s, err)
					return
				}
				g.Done(s, res, err)
			}
		})
	}
	group.Wait()
	if err := l.Failed(); err != nil {
		t.Fatal(err)
	}
	replayed(t, r)
}

// TestRenameLock moves directories into one another from all sides at once: the tree
// stays a tree.
func TestRenameLock(t *testing.T) {
	seeds := uint64(20)
	if testing.Short() {
		seeds = 6
	}
	for seed := range seeds {
		r := newRig(t)
		l := r.lead(1)
		const n = 6
		dirs := []volume.Ino{root}
		for i := range n {
			dirs = append(dirs, mkDir(t, l, root, fmt.Sprint("d", i)))
		}
		var moved atomic.Int64
		var group sync.WaitGroup
		for w := range uint64(4) {
			group.Go(func() {
				rng := rand.New(rand.NewPCG(seed, w))
				for range 60 {
					i := rng.IntN(n)
					from, err := l.ParentOf(ctx, dirs[1+i])
					if err != nil {
						t.Error(err)
						return
					}
					req := &volume.Request{Kind: volume.OpRename, Parent: from, Name: fmt.Sprint("d", i), NewParent: dirs[rng.IntN(n+1)], NewName: fmt.Sprint("d", i)}
					if rng.IntN(4) == 0 {
						j := rng.IntN(n)
						to, err := l.ParentOf(ctx, dirs[1+j])
						if err != nil {
							t.Error(err)
							return
						}
						// exchange keeps the names, so that everybody still finds them
						req.NewParent, req.NewName, req.Exchange = to, fmt.Sprint("d", j), true
						if i != j {
							continue
						}
					}
					switch _, err := l.Do(ctx, req); volume.KindOf(err) {
					case volume.Unknown:
						if err != nil {
							t.Error(err)
							return
						}
						moved.Add(1)
					case volume.NotFound, volume.Invalid, volume.NotEmpty, volume.Exists:
					default:
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
		if err := l.Failed(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for _, d := range dirs {
			at := d
			for step := 0; at != root; step++ {
				var err error
				if at, err = l.ParentOf(ctx, at); err != nil || step > n {
					t.Fatalf("seed %d: directory %s hangs in a loop: %v", seed, d, err)
				}
			}
		}
		if moved.Load() == 0 {
			t.Errorf("seed %d: nothing moved", seed)
		}
		replayed(t, r)
		r.abandon()
	}
}

// A caller that gave up gets its op done whole, or not at all.
func TestCancelledDo(t *testing.T) {
	r := newRig(t)
	defer r.abandon()
	l := r.lead(1)
	c, cancel := context.WithCancel(ctx)
	cancel()
	for i := range 10 {
		before := l.Position().Version
		name := fmt.Sprint("f", i)
		_, err := l.Do(c, create(name, root, volume.ModeFile))
		_, there := l.Lookup(ctx, root, name)
		if (err == nil) != (there == nil) || (err == nil) != (l.Position().Version > before) {
			t.Errorf("Do says %v, Lookup %v, version %d, was %d", err, there, l.Position().Version, before)
		}
	}
	if err := l.Failed(); err != nil {
		t.Error(err)
	}
	replayed(t, r)
}
