package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/master"
	"wolfdisk/node/admin"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// house is a chunk volume whose log is trimmed and whose chunks are collected all the time.
type house struct {
	*memVolume
	n      *node
	stop   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	trims  int // that removed something
	freed  int // packs
	failed error
}

func keepHouse(t *testing.T, v *memVolume) *house {
	ctx, cancel := context.WithCancel(context.Background())
	h := &house{memVolume: v, n: bareNode(t, "a"), stop: cancel}
	st := &storage{log: v.log, engine: v.engine, tree: v.tree, chunks: v.store, zlog: zerolog.Nop()}
	h.n.store = st
	h.n.cfg.Node.DataDir = t.TempDir()
	h.n.cfg.Oplog.SegmentSize, h.n.cfg.Oplog.RetainBytes = 32<<10, 64<<10
	h.done.Go(func() {
		for ctx.Err() == nil {
			h.round(ctx, st)
		}
	})
	return h
}

func (h *house) round(ctx context.Context, st *storage) {
	first := st.log.First()
	err := h.n.retainOnce(ctx, st)
	var res admin.GCResult
	if err == nil {
		res, err = h.n.gc(ctx, gcOptions{now: true}, func(admin.GCLine) error { return nil })
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if st.log.First() > first {
		h.trims++
	}
	h.freed += res.Packs
	if err != nil && ctx.Err() == nil && h.failed == nil {
		h.failed = err
		h.stop()
	}
}

// end stops the work.
func (h *house) end(t *testing.T) {
	t.Helper()
	h.stop()
	h.done.Wait()
	if h.failed != nil {
		t.Fatal(h.failed)
	}
}

// TestRetainCrash is TestCrash with a log that is trimmed, content that is sealed, moved and
// collected, and packs that are rewritten meanwhile: at whatever moment the power goes, what
// was durable is there.
func TestRetainCrash(t *testing.T) {
	seeds := 16
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { retainCrashOnce(t, uint64(seed)) })
	}
}

func retainCrashOnce(t *testing.T, seed uint64) {
	ctx := context.Background()
	fs := vfs.NewCrashableMem()
	v, err := openMem(fs)
	if err != nil {
		t.Fatal(err)
	}
	rec := &opRecord{}
	l, err := master.New(master.Options{
		Tree: v.tree, Log: v.log, Observer: rec, Epoch: volume.Epoch{Number: 1, Leader: "a"}, Log0: zerolog.Nop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	h := keepHouse(t, v)
	rng := rand.New(rand.NewPCG(seed, 1))
	gen := volumetest.Random(seed)
	type clone struct {
		fs      *vfs.MemFS
		durable volume.Version
	}
	var clones []clone
	for i := range 4000 {
		step(ctx, t, l, gen)
		if i%97 == 0 {
			if err := l.Sync(ctx, 0, false); err != nil {
				t.Fatal(err)
			}
		}
		if rng.IntN(250) == 0 {
			d := v.log.Durable()
			clones = append(clones, clone{fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}), d})
		}
	}
	h.end(t)
	last := v.log.Last().Version
	v.abandon()
	if len(clones) == 0 || h.trims == 0 || h.freed == 0 {
		t.Fatalf("%d crashes, %d trims, %d packs freed: nothing was tried", len(clones), h.trims, h.freed)
	}
	trimmed := 0
	for i, c := range clones {
		w, err := openMem(c.fs)
		if err != nil {
			t.Fatalf("crash %d: %v", i, err)
		}
		at := w.log.Last().Version
		if at < c.durable || at > last || w.engine.Position().Version != at {
			t.Errorf("crash %d: log at %d, index at %d; durable was %d, last %d", i, at, w.engine.Position().Version, c.durable, last)
		}
		if w.log.First() > 1 {
			trimmed++
		}
		equalsOps(t, fmt.Sprintf("crash %d at version %d", i, at), w.tree, rec.ops[:at])
		w.abandon()
	}
	if trimmed == 0 {
		t.Error("no crash came after a trim")
	}
}

// equalsOps compares a tree, content and all, with what ops make.
func equalsOps(t *testing.T, what string, got volume.Reader, ops []*volume.Op) {
	t.Helper()
	ctx := context.Background()
	model := volumetest.NewModel(volumetest.Options{})
	for _, op := range ops {
		if err := model.Apply(ctx, op); err != nil {
			t.Fatal(err)
		}
	}
	want, err := volumetest.Tree(ctx, model)
	if err != nil {
		t.Fatal(err)
	}
	have, err := volumetest.Tree(ctx, got)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	for _, d := range volumetest.Diff(want, have) {
		t.Errorf("%s: %s", what, d)
	}
}
