package master_test

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/hostdir"
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

// diskFS is a file system in memory that can say how full it is.
type diskFS struct{ vfs.FS }

func (diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 4 << 30, UsedBytes: 3 << 30}, nil
}

func newChunkVolume(t *testing.T) *chunkVolume { return openChunkVolume(t, true) }

// openChunkVolume makes a chunk volume; without logged the index does not care for
// the log.
func openChunkVolume(t *testing.T, logged bool) *chunkVolume {
	t.Helper()
	fs := diskFS{vfs.NewMem()}
	v := &chunkVolume{}
	opt := oplog.DefaultOptions("oplog", testVolume)
	opt.FS, opt.SyncEvery, opt.SegmentSize = fs, 0, 1<<20
	log, _, err := oplog.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	v.log = log
	opts := index.Options{FS: fs, Dir: "index", Extents: true, MemTable: 1 << 20, Log: zerolog.Nop()}
	if logged {
		opts.SyncLog = func(ver volume.Version) error { return log.Sync(context.Background(), ver) }
	}
	v.engine, err = index.Open(opts)
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

// memLog holds the content of ops by version, as a log would.
type memLog map[uint64][]byte

func (m memLog) ReadLog(_ context.Context, ref volume.LogRef, p []byte) error {
	copy(p, m[ref.Segment][ref.Offset:])
	return nil
}

// chunkReplica is a tree over chunks whose log is a map.
type chunkReplica struct {
	*index.Tree
	log memLog
	enc *volume.Encoder
}

func newChunkReplica(t *testing.T) volume.Replica {
	v := openChunkVolume(t, false)
	log := memLog{}
	return chunkReplica{index.NewTree(v.engine, chunkstore.NewContent(v.engine, log, v.store)), log, volume.NewEncoder()}
}

func (r chunkReplica) Apply(ctx context.Context, op *volume.Op) error {
	c := *op
	r.enc.Reset()
	raw, err := r.enc.Add(&c)
	if err != nil {
		return err
	}
	c.DataOff = 0
	after := volume.Position{Epoch: r.Position().Epoch, Version: op.Version, Digest: r.Position().Digest.Next(raw)}
	if op.Kind == volume.OpReign {
		after.Epoch = op.Epoch
	}
	err = r.ApplyBatch(ctx, index.Batch{Ops: []*volume.Op{&c}, Frame: volume.LogRef{Segment: uint64(op.Version)}, After: after})
	if err == nil {
		r.log[uint64(op.Version)] = append([]byte(nil), op.Data...)
	}
	return err
}

// newDirVolume is an index in memory over a real directory.
func newDirTree(t *testing.T) (*index.Tree, *hostdir.Dir) {
	t.Helper()
	state := t.TempDir()
	d, err := hostdir.Open(hostdir.Options{Path: t.TempDir(), StateDir: state, Volume: testVolume, Store: volume.ID{9}, New: true, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	e, err := index.Open(index.Options{FS: vfs.NewMem(), Dir: "index", MemTable: 1 << 20, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return index.NewTree(e, d), d
}

func leadOn(t *testing.T, opt master.Options) volumetest.System {
	t.Helper()
	rec := &record{}
	opt.Observer, opt.Log0 = rec, zerolog.Nop()
	opt.Epoch, opt.Participants = volume.Epoch{Number: 1, Leader: "test"}, []string{"test"}
	l, err := master.New(opt)
	if err != nil {
		t.Fatal(err)
	}
	return volumetest.System{Vol: l, Ops: rec.after}
}

func TestChunkVolumeConforms(t *testing.T) {
	volumetest.Run(t, func(t *testing.T) volumetest.System {
		v := newChunkVolume(t)
		s := leadOn(t, master.Options{Tree: v.tree, Log: v.log})
		s.NewReplica = func(t *testing.T) volume.Replica { return volumetest.NewModel(volumetest.Options{}).Replica() }
		return s
	})
}

func TestDirVolumeConforms(t *testing.T) {
	needRoot(t)
	volumetest.Run(t, func(t *testing.T) volumetest.System {
		tree, dir := newDirTree(t)
		s := leadOn(t, master.Options{Tree: tree, Dir: dir, Log: newChunkVolume(t).log})
		s.NewReplica = newChunkReplica
		return s
	})
}

func TestChunkReplicaConforms(t *testing.T) {
	volumetest.RunReplica(t, newChunkReplica)
}

func TestDirReplicaConforms(t *testing.T) {
	needRoot(t)
	volumetest.RunReplica(t, func(t *testing.T) volume.Replica {
		tree, _ := newDirTree(t)
		return tree
	})
}

// needRoot: owners and device nodes can be made only by root.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}
