package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/elect"
	"wolfdisk/index"
	"wolfdisk/node/conflict"
	"wolfdisk/oplog"
	"wolfdisk/slave"
	"wolfdisk/volume"
)

var theVolume = volume.ID{2}

// disk is what outlives a run of a node.
type disk struct {
	fs       *vfs.MemFS  // knows what was synced
	state    elect.State // synced with every change
	store    volume.ID
	volume   bool // a volume was made here or adopted
	between  bool // the copy was given up, and the new one is not whole
	founder  bool
	roster   elect.Members // as node/roster.go keeps it: synced with every change
	replaced bool          // the disk was wiped or set back
	kept     []kept
	stale    *disk
	// was is the copy as the last run left it, for the checker.
	was history
}

// kept is a conflict record.
type kept struct {
	lineage      volume.Lineage
	common, last volume.Version
}

func (k *kept) has(o *acked) bool {
	r, ok := k.lineage.At(o.version)
	return ok && o.version > k.common && o.version <= k.last && r.Epoch == o.epoch
}

// storage is an open volume.
type storage struct {
	s         *sim
	n         *node // nil for the first volume
	log       *oplog.Log
	engine    *index.Engine
	chunks    *chunkstore.Store
	tree      *index.Tree
	conflicts *conflict.Store
}

// roomy is a file system with space.
type roomy struct{ vfs.FS }

func (roomy) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: 1 << 30, TotalBytes: 4 << 30, UsedBytes: 3 << 30}, nil
}

// must is for what cannot fail on a sound disk; it reports whether it did not.
func (st *storage) must(err error) bool {
	if err != nil && (st.n == nil || !st.n.sick()) {
		st.s.check.violated("disk: %v", err)
	}
	return err == nil
}

// sync makes the log durable through a version.
func (st *storage) sync(v volume.Version) bool { return st.must(st.log.Sync(context.Background(), v)) }

// syncAll makes all of it durable.
func (st *storage) syncAll() bool { return st.sync(st.log.Last().Version) }

const (
	logDir    = "oplog"
	indexDir  = "index"
	chunksDir = "chunks"
	keptDir   = "conflicts"
)

func openStorage(s *sim, n *node, mem *vfs.MemFS) (st *storage, err error) {
	st = &storage{s: s, n: n}
	fs := vfs.FS(roomy{mem})
	if n != nil {
		fs = errorfs.Wrap(fs, errorfs.InjectorFunc(n.inject))
	}
	opt := oplog.DefaultOptions(logDir, theVolume)
	opt.FS, opt.SyncEvery, opt.SegmentSize = fs, 0, 16<<10
	if st.log, _, err = oplog.Open(opt); err != nil {
		return st, err
	}
	st.engine, err = index.Open(index.Options{
		FS: fs, Dir: indexDir, Extents: true, MemTable: 256 << 10, BlockCache: 256 << 10, Log: zerolog.Nop(),
		SyncLog: func(v volume.Version) error { return st.log.Sync(context.Background(), v) },
	})
	if err != nil {
		return st, err
	}
	st.chunks, _, err = chunkstore.Open(chunkstore.Options{FS: fs, Dir: chunksDir, Volume: theVolume, ChunkSize: volume.MinChunkSize, Log: zerolog.Nop()})
	if err != nil {
		return st, err
	}
	st.tree = index.NewTree(st.engine, chunkstore.NewContent(st.engine, st.log, st.chunks))
	if st.conflicts, err = conflict.OpenStore(fs, keptDir); err != nil {
		return st, err
	}
	at, end := st.engine.Position(), st.log.Last()
	if at.Version > end.Version {
		return st, fmt.Errorf("the index is at version %d, the log ends at %d", at.Version, end.Version)
	}
	return st, slave.EachFrame(context.Background(), st.log, at.Version+1, func(f oplog.Frame, ops []*volume.Op) error {
		return st.engine.Enter(index.Batch{Ops: ops, Frame: f.Ref, After: f.Position()})
	})
}

// errCrashed is what a call to the file system returns behind the moment of a crash.
var errCrashed = errors.New("crashed")

// inject is asked before every call of the log and of conflict records to the file system: between
// two of them the node may be killed, and the disk may refuse to sync.
func (n *node) inject(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsRead || op.Kind == errorfs.OpFileClose || !strings.HasPrefix(op.Path, logDir) && !strings.HasPrefix(op.Path, keptDir) {
		return nil
	}
	if n.fuse > 0 && n.crashed == nil {
		if n.fuse--; n.fuse == 0 {
			n.s.check.goes(n, n.fusePower)
			n.crashed = n.crash(n.fusePower, n.way.rnd)
		}
	}
	switch {
	case n.crashed != nil:
		return errCrashed
	case n.s.clock() < n.refuses && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData):
		n.refused = true
		return syscall.EIO
	}
	return nil
}

// sick reports whether the disk has refused something in this run.
func (n *node) sick() bool { return n.refused || n.crashed != nil }

// close drops everything that is not in the files.
func (st *storage) close() {
	var errs []error
	if st.engine != nil {
		errs = append(errs, st.engine.Abandon())
	}
	if st.chunks != nil {
		errs = append(errs, st.chunks.Close())
	}
	if st.log != nil {
		errs = append(errs, st.log.Close())
	}
	if st.n != nil && st.n.sick() {
		return
	}
	st.must(errors.Join(errs...))
}

// position is how far the volume is, with the lineage that belongs to it.
func (st *storage) position() (volume.Position, volume.Lineage) {
	pos, lineage := st.engine.Position(), st.engine.Lineage()
	if last := st.log.Last(); pos.Digest == (volume.Digest{}) && last.Version == pos.Version {
		pos = last
	}
	return pos, lineage
}

func (st *storage) position1() volume.Position {
	pos, _ := st.position()
	return pos
}

// open opens the volume on the node's disk, unless that fails. What is between two versions is
// begun anew.
func (n *node) open() {
	if n.between {
		n.giveUp()
	}
	st, err := openStorage(n.s, n, n.fs)
	if err != nil {
		st.close()
		if !n.sick() {
			n.s.check.violated("%s cannot open its volume: %v", n.id, err)
			panic(n.s.check.broken)
		}
		return
	}
	n.st = st
	n.s.check.comes(n)
}

// giveUp removes the copy.
func (n *node) giveUp() {
	for _, dir := range []string{logDir, indexDir, chunksDir} {
		if err := n.fs.RemoveAll(dir); err != nil {
			n.s.check.violated("disk: %v", err)
		}
	}
	d, err := n.fs.OpenDir("")
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if err != nil {
		n.s.check.violated("disk: %v", err)
	}
}

// resolve keeps what only this node holds as a conflict record, and gives the copy up.
func (n *node) resolve(e elect.Resolve) {
	s := n.s
	if n.st == nil {
		n.step(elect.ResolveFailed{Err: volume.Errorf(volume.Unavailable, "no volume")})
		return
	}
	n.retireFollower()
	mine, lineage := n.st.position()
	s.note("%s loses the fork with %s behind %d, at %s", n.id, e.With, e.Common, mine)
	if mine.Version > e.Common && s.bug.host != dropFork {
		rec, err := conflict.Write(n.ctx, conflict.Options{
			Store: n.st.conflicts, Volume: theVolume, Node: n.id, Winner: e.With, Why: "a simulation", Common: e.Common,
			Mine: mine, MineLineage: lineage, Theirs: e.Winner.Position, TheirsLineage: e.Winner.Lineage,
			Copy: slave.New(slave.Options{Tree: n.st.tree, Log: n.st.log, Log0: zerolog.Nop()}), Log: n.st.log, Log0: zerolog.Nop(),
		})
		if err != nil {
			if !n.sick() {
				s.check.violated("%s cannot keep a conflict: %v", n.id, err)
			}
			n.becomeFollower()
			n.step(elect.ResolveFailed{Err: err})
			return
		}
		n.kept = append(n.kept, kept{lineage, rec.Common, rec.Mine.Version})
	}
	n.was = n.history()
	s.check.dropped(n, n.was, history{lineage: lineage, version: min(e.Common, mine.Version)}, false)
	n.between, n.through, n.fsynced = true, 0, 0
	n.st.close()
	n.st = nil
	n.was = history{}
	n.open()
	n.becomeFollower()
	n.step(elect.Resolved{Copy: n.copy()})
}

// crash is the disk as the next run finds it: after a loss of power without what was not synced, but
// for some blocks of the log that reached the disk by themselves.
func (n *node) crash(power bool, rnd *rand.Rand) *vfs.MemFS {
	if !power {
		return n.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
	}
	after := n.fs.CrashClone(vfs.CrashCloneCfg{})
	if n.st == nil || rnd.IntN(2) == 0 {
		return after
	}
	if err := n.tear(after, rnd); err != nil {
		n.s.check.violated("disk: %v", err)
	}
	return after
}

const block = 512

// tear brings some of the unsynced blocks of the log's last segment to the disk after a crash.
func (n *node) tear(after *vfs.MemFS, rnd *rand.Rand) error {
	names, err := n.fs.List(logDir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		path := after.PathJoin(logDir, name)
		to, err := after.OpenReadWrite(path, "")
		if err != nil {
			continue // its name was not synced
		}
		from, err := n.fs.Open(path)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(from)
		if err != nil {
			return err
		}
		for at := 0; at < len(b); at += block {
			if rnd.IntN(2) == 0 {
				if _, err := to.WriteAt(b[at:min(at+block, len(b))], int64(at)); err != nil {
					return err
				}
			}
		}
		if err := errors.Join(to.Sync(), to.Close(), from.Close()); err != nil {
			return err
		}
	}
	return nil
}

// wipe loses the whole disk.
func (n *node) wipe() {
	n.s.note("%s loses its disk", n.id)
	was := n.was
	n.disk = disk{fs: vfs.NewCrashableMem(), store: n.s.newID(), replaced: true, kept: nil, was: history{}, founder: false, state: elect.State{}}
	n.s.check.dropped(n, was, history{}, true)
	delete(n.s.check.agreed, n.id)
	delete(n.s.check.killed, n.id)
}

// backup remembers the disk as it is; restore brings it back.
func (n *node) backup() {
	c := n.disk
	c.fs = n.fs.CrashClone(vfs.CrashCloneCfg{})
	c.kept = slices.Clone(n.kept)
	c.stale = nil
	if n.running {
		c.was = n.durableHistory()
	}
	n.stale = &c
}

func (n *node) restore() {
	b := n.stale
	if b == nil || b.store != n.store || !b.volume || b.between {
		return
	}
	was := n.was
	n.disk = *b
	n.replaced = true
	n.s.note("%s is set back to version %d", n.id, n.was.version)
	n.s.check.dropped(n, was, n.was, true)
	n.s.check.agreed[n.id] = n.state.Promise
	delete(n.s.check.killed, n.id)
}

// sync is the sync that a log makes by itself, and now and then a flush of the index.
func (n *node) sync() {
	n.onDisk(func() {
		if n.st != nil && n.st.syncAll() && n.s.chance(5) {
			n.st.must(n.st.engine.Flush())
		}
		n.s.after(n.s.between(100*ms, 700*ms), n, n.sync)
	})
}
