package master_test

import (
	"context"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

var testVolume = volume.ID{1, 2, 3}

// chunkVolume is a volume in memory: log, index and chunks.
type chunkVolume struct {
	log    *oplog.Log
	engine *index.Engine
	tree   *index.Tree
	store  *chunkstore.Store
}

func newChunkVolume(t *testing.T) *chunkVolume {
	t.Helper()
	fs := vfs.NewMem()
	v := &chunkVolume{}
	opt := oplog.DefaultOptions("oplog", testVolume)
	opt.FS, opt.SyncEvery, opt.SegmentSize = fs, 0, 1<<20
	log, _, err := oplog.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	v.log = log
	v.engine, err = index.Open(index.Options{
		FS: fs, Dir: "index", Extents: true, MemTable: 1 << 20, Log: zerolog.Nop(),
		SyncLog: func(ver volume.Version) error { return log.Sync(context.Background(), ver) },
	})
	if err != nil {
		t.Fatal(err)
	}
	v.store, _, err = chunkstore.Open(chunkstore.Options{FS: fs, Dir: "chunks", Volume: testVolume, ChunkSize: volume.MinChunkSize, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	v.tree = index.NewTree(v.engine, chunkstore.NewContent(v.engine, log, v.store))
	t.Cleanup(func() {
		if err := v.engine.Close(); err != nil {
			t.Error(err)
		}
		if err := v.store.Close(); err != nil {
			t.Error(err)
		}
		if err := v.log.Close(); err != nil {
			t.Error(err)
		}
	})
	return v
}

// record keeps what a leader recorded.
type record struct {
	mu  sync.Mutex
	ops []*volume.Op
}

func (r *record) Applied(ops []*volume.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, op := range ops {
		c := *op
		c.Data = append([]byte(nil), op.Data...)
		r.ops = append(r.ops, &c)
	}
}

func (r *record) after(v volume.Version) []*volume.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.ops[min(int(v), len(r.ops)):]
}

func TestChunkVolumeConforms(t *testing.T) {
	volumetest.Run(t, func(t *testing.T) volumetest.System {
		v := newChunkVolume(t)
		rec := &record{}
		l, err := master.New(master.Options{
			Tree: v.tree, Log: v.log, Observer: rec, Log0: zerolog.Nop(),
			Epoch: volume.Epoch{Number: 1, Leader: "test"}, Participants: []string{"test"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return volumetest.System{
			Vol: l, Ops: rec.after,
			NewReplica: func(t *testing.T) volume.Replica { return volumetest.NewModel(volumetest.Options{}).Replica() },
		}
	})
}
