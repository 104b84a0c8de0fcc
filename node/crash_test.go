package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// memVolume is a chunk volume in a file system that can crash.
type memVolume struct {
	log    *oplog.Log
	engine *index.Engine
	tree   *index.Tree
	store  *chunkstore.Store
}

func openMem(fs vfs.FS) (*memVolume, error) {
	id := volume.ID{7}
	opt := oplog.DefaultOptions("oplog", id)
	opt.FS, opt.SyncEvery, opt.SegmentSize = fs, 0, 32<<10
	log, _, err := oplog.Open(opt)
	if err != nil {
		return nil, err
	}
	v := &memVolume{log: log}
	v.engine, err = index.Open(index.Options{
		FS: fs, Dir: "index", Extents: true, MemTable: 256 << 10, Log: zerolog.Nop(),
		SyncLog: func(ver volume.Version) error { return log.Sync(context.Background(), ver) },
	})
	if err != nil {
		return nil, err
	}
	var ticks atomic.Int64 // a clock that runs fast, so that chunks get old
	v.store, _, err = chunkstore.Open(chunkstore.Options{
		FS: fs, Dir: "chunks", Volume: id, ChunkSize: volume.MinChunkSize, PackSize: 128 << 10, Log: zerolog.Nop(),
		Now: func() time.Time { return time.Unix(ticks.Add(1), 0) },
	})
	if err != nil {
		return nil, err
	}
	v.tree = index.NewTree(v.engine, chunkstore.NewContent(v.engine, log, v.store))
	return v, replay(context.Background(), v.log, v.engine, v.log.Last().Version)
}

func (v *memVolume) abandon() {
	v.engine.Abandon()
	v.store.Close()
	v.log.Close()
}

// TestCrash lets a leader work on a file system that loses what was not synced, at
// random moments, and opens what is left: everything synced must be there, the rest
// be a prefix, and the tree the one those ops make.
func TestCrash(t *testing.T) {
	seeds := 12
	if testing.Short() {
		seeds = 4
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { crashOnce(t, uint64(seed)) })
	}
}

type opRecord struct{ ops []*volume.Op }

func (r *opRecord) Applied(ops []*volume.Op) {
	for _, op := range ops {
		c := *op
		c.Data = append([]byte(nil), op.Data...)
		r.ops = append(r.ops, &c)
	}
}

// step does the generator's next step; what the volume refuses is part of the game.
func step(ctx context.Context, t *testing.T, v volume.Volume, gen *volumetest.Gen) {
	t.Helper()
	s := gen.Next()
	var res volume.Result
	var err error
	switch {
	case s.Req != nil:
		res, err = v.Do(ctx, s.Req)
	case s.Open != 0:
		err = v.Open(ctx, s.Open, false)
	default:
		err = v.Close(ctx, s.Close)
	}
	if k := volume.KindOf(err); err != nil && (k == volume.Fault || k == volume.Corrupt || k == volume.IO || k == volume.WrongHistory) {
		t.Fatal(err)
	}
	gen.Done(s, res, err)
}

func crashOnce(t *testing.T, seed uint64) {
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
	rng := rand.New(rand.NewPCG(seed, 1))
	gen := volumetest.Random(seed)
	type clone struct {
		fs      *vfs.MemFS
		durable volume.Version
		last    volume.Version
	}
	var clones []clone
	for i := range 3000 {
		step(ctx, t, l, gen)
		if i%97 == 0 {
			if err := l.Sync(ctx, 0, false); err != nil {
				t.Fatal(err)
			}
		}
		if rng.IntN(400) == 0 {
			d := v.log.Durable()
			clones = append(clones, clone{fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng}), d, v.log.Last().Version})
		}
	}
	v.abandon()
	if len(clones) == 0 {
		t.Fatal("no crash was made")
	}
	for i, c := range clones {
		w, err := openMem(c.fs)
		if err != nil {
			t.Fatalf("crash %d: %v", i, err)
		}
		at := w.log.Last().Version
		if at < c.durable || at > c.last || w.engine.Position().Version != at {
			t.Errorf("crash %d: log at %d, index at %d; durable was %d, last %d", i, at, w.engine.Position().Version, c.durable, c.last)
		}
		model := volumetest.NewModel(volumetest.Options{})
		for _, op := range rec.ops[:at] {
			if err := model.Apply(ctx, op); err != nil {
				t.Fatal(err)
			}
		}
		want, err := volumetest.Tree(ctx, model)
		if err != nil {
			t.Fatal(err)
		}
		got, err := volumetest.Tree(ctx, w.tree)
		if err != nil {
			t.Fatalf("crash %d: %v", i, err)
		}
		for _, d := range volumetest.Diff(want, got) {
			t.Errorf("crash %d at version %d: %s", i, at, d)
		}
		w.abandon()
	}
}
