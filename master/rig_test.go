package master_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/volume"
)

var ctx = context.Background()

const root = volume.RootIno

// backing is a chunk backing that can be told to fail.
type backing struct {
	volume.Backing
	mu    sync.Mutex
	fail  func(op *volume.Op) error
	short func(op *volume.Op) int
	block func(op *volume.Op)
	undid []*volume.Op
	kept  map[volume.Ino]int
}

func (b *backing) Apply(ctx context.Context, op *volume.Op, view volume.View) (volume.Applied, error) {
	b.mu.Lock()
	fail, short, block := b.fail, b.short, b.block
	b.mu.Unlock()
	if block != nil {
		block(op)
	}
	if fail != nil {
		if err := fail(op); err != nil {
			return volume.Applied{}, err
		}
	}
	a, err := b.Backing.Apply(ctx, op, view)
	if short != nil && op.Kind == volume.OpWrite {
		a.N = short(op)
	}
	return a, err
}

func (b *backing) Undo(ctx context.Context, op *volume.Op, view volume.View) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.undid = append(b.undid, op)
	return b.Backing.Undo(ctx, op, view)
}

func (b *backing) Retain(ino volume.Ino, view volume.View) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept[ino]++
	return b.Backing.Retain(ino, view)
}

func (b *backing) Release(ino volume.Ino) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept[ino]--
	b.Backing.Release(ino)
}

func (b *backing) retained(ino volume.Ino) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept[ino]
}

func (b *backing) set(f func(b *backing)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f(b)
}

// rig is a chunk volume in memory whose parts can be made to fail.
type rig struct {
	t      *testing.T
	mem    *vfs.MemFS
	log    *oplog.Log
	engine *index.Engine
	store  *chunkstore.Store
	back   *backing
	tree   *index.Tree
	// logFails is asked about every call of the log's file system.
	logFails atomic.Pointer[func(errorfs.Op) error]
}

func newRig(t *testing.T) *rig { return openRig(t, vfs.NewMem()) }

func openRig(t *testing.T, mem *vfs.MemFS) *rig {
	t.Helper()
	r := &rig{t: t, mem: mem}
	opt := oplog.DefaultOptions("oplog", testVolume)
	opt.FS = errorfs.Wrap(diskFS{mem}, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if f := r.logFails.Load(); f != nil {
			return (*f)(op)
		}
		return nil
	}))
	opt.SyncEvery, opt.SegmentSize = 0, 4<<20
	log, _, err := oplog.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	r.log = log
	r.engine, err = index.Open(index.Options{
		FS: diskFS{mem}, Dir: "index", Extents: true, MemTable: 1 << 20, Log: zerolog.Nop(),
		SyncLog: func(v volume.Version) error { return log.Sync(context.Background(), v) },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.store, _, err = chunkstore.Open(chunkstore.Options{FS: diskFS{mem}, Dir: "chunks", Volume: testVolume, ChunkSize: volume.MinChunkSize, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	r.back = &backing{Backing: chunkstore.NewContent(r.engine, log, r.store), kept: map[volume.Ino]int{}}
	r.tree = index.NewTree(r.engine, r.back)
	if r.engine.Position().Version != log.Last().Version {
		t.Fatalf("index at %d, log at %d", r.engine.Position().Version, log.Last().Version)
	}
	return r
}

// abandon closes what is there without looking at errors: some tests break it.
func (r *rig) abandon() {
	r.logFails.Store(nil)
	r.engine.Abandon()
	r.store.Close()
	r.log.Close()
}

func (r *rig) failLog(f func(errorfs.Op) error) { r.logFails.Store(&f) }

func (r *rig) lead(number uint64, tune ...func(*master.Options)) *master.Leader {
	r.t.Helper()
	opt := master.Options{
		Tree: r.tree, Log: r.log, Log0: zerolog.Nop(), Participants: []string{"a"},
		Epoch: volume.Epoch{Number: number, Leader: "a", Tag: uint32(number - 1)},
	}
	for _, f := range tune {
		f(&opt)
	}
	l, err := master.New(opt)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func create(name string, parent volume.Ino, mode uint32) *volume.Request {
	return &volume.Request{Kind: volume.OpCreate, Parent: parent, Name: name, Mode: mode}
}

func mustDo(t testing.TB, l volume.Volume, req *volume.Request) volume.Result {
	t.Helper()
	res, err := l.Do(ctx, req)
	if err != nil {
		t.Fatalf("%s: %v", req.Kind, err)
	}
	return res
}

func mkFile(t testing.TB, l volume.Volume, name string) volume.Ino {
	t.Helper()
	return mustDo(t, l, create(name, root, volume.ModeFile|0o644)).Attr.Ino
}

func mkDir(t testing.TB, l volume.Volume, parent volume.Ino, name string) volume.Ino {
	t.Helper()
	return mustDo(t, l, create(name, parent, volume.ModeDir|0o755)).Attr.Ino
}

func wantKind(t testing.TB, what string, err error, k volume.Kind) {
	t.Helper()
	if err == nil || volume.KindOf(err) != k {
		t.Errorf("%s: %v, want %v", what, err, k)
	}
}

// logOps are the ops in a log, checked to be without gaps and with times that do not go
// back.
func logOps(t testing.TB, log *oplog.Log) []*volume.Op {
	t.Helper()
	if log.Last().Version == 0 {
		return nil
	}
	rd, err := log.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	defer rd.Close()
	var all []*volume.Op
	for {
		f, ok, err := rd.TryNext()
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		_, ops, err := oplog.DecodeFrame(f.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, ops...)
	}
	for i, op := range all {
		if op.Version != volume.Version(i+1) {
			t.Fatalf("op %d has version %d", i+1, op.Version)
		}
		if i > 0 && op.Time.Compare(all[i-1].Time) < 0 {
			t.Fatalf("time goes back at op %d", i+1)
		}
	}
	return all
}

func kinds(ops []*volume.Op) (s []string) {
	for _, op := range ops {
		s = append(s, fmt.Sprint(op.Kind, " ", uint64(op.Ino)&0xffffffff))
	}
	return s
}
