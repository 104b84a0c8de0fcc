package node

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/node/config"
	"wolfdisk/node/exit"
	"wolfdisk/oplog"
	"wolfdisk/slave"
	"wolfdisk/volume"
)

// storage is a volume on this node's disk: log, index, and the content in a real
// directory or in chunks. It knows no roles.
type storage struct {
	log    *oplog.Log
	engine *index.Engine
	tree   *index.Tree
	dir    *hostdir.Dir      // nil with chunks
	chunks *chunkstore.Store // nil with a directory
	zlog   zerolog.Logger
	home   string // holds the folders of log and index
	// lacks is set if the redo after a power loss found that content is gone, or another's.
	lacks bool
	// adopting is set while the index is made from a full directory, ahead of the log.
	adopting atomic.Bool
}

// storageOptions say what is opened, and what is known of the last run.
type storageOptions struct {
	cfg   *config.Config
	state State
	prev  State // what the last run left
	leads bool  // it is opened to lead
	// recovery of an earlier power loss. A leader postpones it until it has heard what
	// others hold of the log.
	recovery *recovery
	postpone bool
	between  bool // the directory is between two versions, of which the index knows neither
	zlog     zerolog.Logger
	// foreign is told of files that somebody changed behind us.
	foreign func(volume.Ino)
	// ending is told of inodes that end.
	ending func(*volume.Attr)
	// machine replaces what the system says of this boot, for tests.
	machine *hostdir.Boot
}

// openStorage opens the volume and brings it to the end of its log: what a crash
// took from the index is entered again, what a power loss took from the directory is
// redone, unless that is postponed.
func openStorage(ctx context.Context, o storageOptions) (_ *storage, err error) {
	s := &storage{zlog: o.zlog, home: o.cfg.Node.DataDir}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.abandon())
		}
	}()
	if err := s.openLog(o); err != nil {
		return nil, err
	}
	if o.cfg.Volume.Storage == config.StorageDir {
		if err := s.openDir(o); err != nil {
			return nil, err
		}
	}
	if err := s.dropHalfAdopted(o); err != nil {
		return nil, err
	}
	if err := s.openIndex(o); err != nil {
		return nil, err
	}
	if err := s.openContent(o); err != nil {
		return nil, err
	}
	half, err := s.catchUp(ctx, o)
	if err != nil || o.between || o.postpone && o.recovery.lost() {
		return s, err
	}
	return s, s.recoverDir(ctx, o, half)
}

func (s *storage) openDir(o storageOptions) (err error) {
	s.dir, err = hostdir.Open(hostdir.Options{
		Path: o.cfg.Volume.Dir, StateDir: o.cfg.Node.DataDir, Volume: o.state.Volume, Store: o.state.Store,
		New: s.log.Last().Version == 0, TakeFull: o.leads, Log: o.zlog, OnForeign: o.foreign, Boot: o.machine,
		AcceptForeign: o.cfg.Insist.Adopt, AcceptNewFS: o.cfg.Insist.Force || o.cfg.Insist.Adopt, AcceptEmpty: o.cfg.Insist.Force,
		Chunks: func(ctx context.Context, id volume.ChunkID) ([]byte, error) {
			return nil, volume.Errorf(volume.Missing, "chunk %s: a node with a directory keeps no chunks", id)
		},
	})
	return exit.With(dirCode(err), err)
}

// dirCode is the exit code for a directory that cannot be used: something needed is
// not there, or using it could destroy what is.
func dirCode(err error) exit.Code {
	switch volume.KindOf(err) {
	case volume.NotFound, volume.NotDir, volume.AccessDenied, volume.ReadOnly:
		return exit.Unavailable
	case volume.NotEmpty, volume.Missing, volume.WrongVolume, volume.CrossDevice:
		return exit.Unsafe
	}
	return exit.Of(err)
}

func (s *storage) openLog(o storageOptions) error {
	opt := logOptions(o.cfg, o.state.Volume, o.zlog)
	log, rec, err := oplog.Open(opt)
	if err != nil {
		return err
	}
	s.log = log
	if rec.Cut != nil {
		o.zlog.Warn().Str("code", "WD-1151").Err(rec.Cut.Err).Strs("kept", rec.Cut.Paths).Msg("the log ended in an unfinished frame, which was cut; nothing acknowledged as durable is lost")
	}
	return nil
}

// logOptions are those of a node's log, in its usual place.
func logOptions(cfg *config.Config, id volume.ID, zlog zerolog.Logger) oplog.Options {
	opt := oplog.DefaultOptions(filepath.Join(cfg.Node.DataDir, "oplog"), id)
	opt.Compress = cfg.Volume.Compress
	opt.SegmentSize = int64(cfg.Oplog.SegmentSize)
	opt.SyncEvery = syncEvery
	opt.Log = zlog
	return opt
}

func (s *storage) openIndex(o storageOptions) (err error) {
	s.engine, err = index.Open(index.Options{
		FS: vfs.Default, Dir: filepath.Join(o.cfg.Node.DataDir, "index"),
		Extents: s.dir == nil, Log: o.zlog, Ending: o.ending,
		SyncLog: func(v volume.Version) error {
			if s.adopting.Load() {
				return nil // the log is to begin behind what enters now
			}
			return s.log.Sync(context.Background(), v)
		},
	})
	return err
}

func (s *storage) openContent(o storageOptions) error {
	if s.dir != nil {
		s.tree = index.NewTree(s.engine, s.dir)
		return nil
	}
	store, _, err := chunkstore.Open(chunkstore.Options{
		FS: vfs.Default, Dir: filepath.Join(o.cfg.Node.DataDir, "chunks"), Volume: o.state.Volume,
		ChunkSize: o.state.ChunkSize, Compress: o.cfg.Volume.Compress, PackSize: int64(o.cfg.Chunks.PackSize), Log: o.zlog,
	})
	if err != nil {
		return err
	}
	s.chunks = store
	s.tree = index.NewTree(s.engine, chunkstore.NewContent(s.engine, s.log, store))
	return nil
}

// halfApplied is what a directory was in the middle of when the daemon died: a frame that another
// node wrote is recorded before it is applied.
type halfApplied struct {
	first   volume.Op // the first that may not be applied, or not wholly
	touched *hostdir.Touched
	before  *hostdir.Before
}

// catchUp brings the index to the end of the log. If the directory may not have the last frame,
// the index stops on the way where the directory is, since what it knew of the files then
// is gone behind that.
func (s *storage) catchUp(ctx context.Context, o storageOptions) (*halfApplied, error) {
	end := s.log.Last()
	half, err := s.halfApplied(ctx, o, end)
	if err != nil {
		return nil, err
	}
	if half != nil {
		if err := replay(ctx, s.log, s.engine, half.first.Version-1); err != nil {
			return nil, err
		}
		earlier := hostdir.NewTouched()
		if s.engine.Position().Version < half.first.Version {
			if earlier, err = s.touched(ctx, o.prev.Checkpoint+1, half.first.Version-1); err != nil {
				return nil, err
			}
		}
		if half.before, err = s.dir.Remember(ctx, s.engine, &half.first, end, earlier, half.touched); err != nil {
			return nil, err
		}
		if err := s.engine.PutLower(s.dir.PendingLower()); err != nil {
			return nil, err
		}
	}
	return half, replay(ctx, s.log, s.engine, end.Version)
}

// halfApplied is nil if all of the log is applied; before is missing in it. With ops of our own
// under way all was, since they come later.
func (s *storage) halfApplied(ctx context.Context, o storageOptions, end volume.Position) (*halfApplied, error) {
	if s.dir == nil || o.between || o.prev.Clean || o.recovery.lost() ||
		end.Version == 0 || end.Epoch.Leader == o.cfg.Node.ID || len(s.dir.Intents()) > 0 {
		return nil, nil
	}
	first, err := s.lastFrame(ctx, o.prev.Checkpoint+1)
	if err != nil || first > end.Version {
		return nil, err
	}
	from := s.dir.Unapplied(first, end)
	if from > end.Version {
		return nil, nil
	}
	half := &halfApplied{touched: hostdir.NewTouched()}
	for op, err := range s.ops(ctx, from) {
		if err != nil {
			return nil, volume.Wrap(err, "read the last frame of the log")
		}
		if op.Version == from {
			half.first = *op
		}
		half.touched.Add(op)
	}
	return half, nil
}

// replay enters into the index what the log holds through a version and the index does not.
func replay(ctx context.Context, log *oplog.Log, engine *index.Engine, through volume.Version) error {
	at, end := engine.Position(), log.Last()
	if at.Version > end.Version {
		return volume.Errorf(volume.Corrupt, "the index is at version %d, the log ends at %d: the log has lost ops; move the state directory away and let this node sync anew", at.Version, end.Version)
	}
	// A digest of zeros is that of a version inside a frame, which is not kept.
	if at.Version > 0 && at.Digest != (volume.Digest{}) {
		p, err := log.PositionAt(at.Version)
		if err != nil && volume.KindOf(err) != volume.TooOld {
			return volume.Wrap(err, "compare index and log")
		}
		if err == nil && p.Digest != at.Digest {
			return volume.Errorf(volume.Corrupt, "index and log do not belong together: they differ at version %d", at.Version)
		}
	}
	err := slave.EachFrame(ctx, log, at.Version+1, func(f oplog.Frame, ops []*volume.Op) error {
		b := index.Batch{Ops: ops, Frame: f.Ref, After: f.Position()}
		if f.Last <= through {
			return engine.Enter(b)
		}
		if first := ops[0].Version; first <= through {
			b.Ops, b.After = ops[:through-first+1], volume.Position{Epoch: f.Epoch, Version: through}
			if err := engine.Enter(b); err != nil {
				return err
			}
		}
		return errStopped
	})
	if err == errStopped {
		err = nil
	}
	return err
}

// settle writes down what is put off while running, so that the directory holds
// exactly what the index says.
func (s *storage) settle() error {
	if s.dir == nil {
		return nil
	}
	records, err := s.dir.SettleAll(s.engine)
	return errors.Join(err, s.engine.PutLower(records))
}

// close makes everything durable and closes it. Nothing may use the volume any more. A
// directory that may not agree with the index is not settled, which would say that it does.
func (s *storage) close(ctx context.Context, agrees bool) error {
	var err error
	if agrees {
		err = s.settle()
	}
	err = errors.Join(err, s.tree.Sync(ctx))
	return errors.Join(err, s.closeParts(s.engine.Close))
}

// abandon closes what is open without making it durable, after a failed start.
func (s *storage) abandon() error {
	return s.closeParts(func() error { return s.engine.Abandon() })
}

func (s *storage) closeParts(closeEngine func() error) error {
	var errs []error
	if s.engine != nil {
		errs = append(errs, closeEngine())
	}
	if s.chunks != nil {
		errs = append(errs, s.chunks.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	if s.dir != nil {
		errs = append(errs, s.dir.Close())
	}
	return errors.Join(errs...)
}

// makeStateDir makes the state directory if it is absent, closed to others.
func makeStateDir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return volume.Errorf(volume.Unavailable, "make state directory: %w; choose another with --state-dir", err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return volume.Wrap(err, "state directory")
	}
	if st.Mode().Perm()&0o077 != 0 {
		if err := os.Chmod(path, 0o700); err != nil {
			return volume.Errorf(volume.AccessDenied, "state directory %s is open to others and cannot be closed: %w", path, err)
		}
	}
	return nil
}

// recoverDir brings the directory and the index together after a run that did not end
// cleanly. After a crash of the daemon the directory has what the log has, but the
// records of lower files may be lost; after a power loss it may have anything of
// what came after the checkpoint, which is redone.
func (s *storage) recoverDir(ctx context.Context, o storageOptions, half *halfApplied) error {
	lost := o.recovery.lost()
	if s.dir == nil || o.prev.Clean && !lost {
		return nil
	}
	from := o.prev.Checkpoint + 1
	touched, err := s.touched(ctx, from, s.log.Last().Version)
	if err != nil {
		return err
	}
	switch {
	case lost && o.recovery.Stage < recoveryDone:
		return s.redo(ctx, o, from, touched)
	case half != nil:
		// First: the rest believes that the directory is at the end of the log.
		if err := s.reapply(ctx, half); err != nil {
			return err
		}
	}
	if err := s.dir.Relearn(ctx, s.engine, touched); err != nil {
		return err
	}
	if err := s.engine.PutLower(s.dir.PendingLower()); err != nil {
		return err
	}
	if lost {
		return s.dir.Tidy(ctx, s.engine)
	}
	return s.findEdits(ctx, o, touched)
}

// findEdits looks, after a kill -9, for files that were changed when the daemon was dead.
// The records by which edits are told may have died with it, so what was changed later than
// it was seen alive is to be recorded whole.
func (s *storage) findEdits(ctx context.Context, o storageOptions, touched *hostdir.Touched) error {
	if !o.leads || s.log.Last().Version == 0 {
		return nil
	}
	since := s.engine.LastTime()
	fi, err := os.Stat(filepath.Join(o.cfg.Node.DataDir, lockName))
	if err == nil {
		if alive := volume.TimeOf(fi.ModTime()); alive.Compare(since) > 0 {
			since = alive
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return volume.Wrap(err, "ask when the daemon was last alive")
	}
	since.Sec += lateBy
	suspects, err := s.dir.ChangedSince(ctx, s.engine, touched, since)
	if err != nil || len(suspects) == 0 {
		return err
	}
	o.recovery.Suspects = append(o.recovery.Suspects, suspects...)
	return o.recovery.reach(recoveryEdits)
}

// touched is what the ops from one version through another touched.
func (s *storage) touched(ctx context.Context, from, through volume.Version) (*hostdir.Touched, error) {
	touched := hostdir.NewTouched()
	for op, err := range s.ops(ctx, from) {
		if err != nil {
			return nil, volume.Wrap(err, "read the log behind the last checkpoint")
		}
		if op.Version > through {
			break
		}
		touched.Add(op)
	}
	return touched, nil
}

// reportKept logs what was found below and kept.
func (s *storage) reportKept(d hostdir.Difference) {
	if d.Kind != hostdir.DiffExtra {
		s.lacks = true
	}
	s.zlog.Warn().Str("code", "WD-1402").Str("path", d.Path).Str("kind", d.Kind.String()).Str("why", d.Why).Msg("found in the directory and kept as somebody's edit")
}

// lateBy is how much earlier than its op's time a change may look below, since the kernel's
// clock of files goes in steps; and how much later, since it is made after it was decided.
const lateBy = 1 // second

// redo redoes into the directory what came after the checkpoint.
func (s *storage) redo(ctx context.Context, o storageOptions, from volume.Version, touched *hostdir.Touched) error {
	s.zlog.Info().Uint64("from", uint64(from)).Msg("the machine went down: redoing into the directory what came after the last checkpoint")
	since := s.engine.LastTime()
	since.Sec -= lateBy
	if o.recovery.Stage < recoveryFound {
		suspects, err := s.dir.ChangedSince(ctx, s.engine, touched, since)
		if err != nil {
			return err
		}
		o.recovery.Suspects = append(o.recovery.Suspects, suspects...)
		if err := o.recovery.reach(recoveryFound); err != nil {
			return err
		}
	}
	home := &since
	if o.leads {
		home = nil
	}
	if err := s.dir.Redo(ctx, s.engine, touched, home, s.ops(ctx, from), s.reportKept); err != nil {
		return err
	}
	if !o.leads {
		if err := s.dir.Doubt(o.recovery.Suspects, s.engine); err != nil {
			return err
		}
	}
	if err := s.engine.PutLower(s.dir.PendingLower()); err != nil {
		return err
	}
	if err := s.dir.Tidy(ctx, s.engine); err != nil {
		return err
	}
	if err := s.engine.Flush(); err != nil {
		return err
	}
	return o.recovery.reach(recoveryDone)
}

// reapply applies what the directory may not have of the last frame.
func (s *storage) reapply(ctx context.Context, half *halfApplied) error {
	if err := s.dir.Reapply(ctx, s.engine, half.touched, half.before, s.ops(ctx, half.first.Version), s.reportKept); err != nil {
		return err
	}
	if err := s.dir.Tidy(ctx, s.engine); err != nil {
		return err
	}
	return s.engine.PutLower(s.dir.PendingLower())
}

// lastFrame is the first version of the last frame, or the one after the end if no frame ends
// at from or later.
func (s *storage) lastFrame(ctx context.Context, from volume.Version) (volume.Version, error) {
	first := s.log.Last().Version + 1
	err := slave.EachFrame(ctx, s.log, from, func(f oplog.Frame, _ []*volume.Op) error {
		first = f.First
		return nil
	})
	return first, volume.Wrap(err, "find the last frame of the log")
}

// ops are the ops of the log from a version on, each valid until the next.
func (s *storage) ops(ctx context.Context, from volume.Version) iter.Seq2[*volume.Op, error] {
	return func(yield func(*volume.Op, error) bool) {
		err := slave.EachFrame(ctx, s.log, from, func(_ oplog.Frame, ops []*volume.Op) error {
			for _, op := range ops {
				if !yield(op, nil) {
					return errStopped
				}
			}
			return nil
		})
		if err != nil && err != errStopped {
			yield(nil, err)
		}
	}
}

var errStopped = errors.New("stopped")

// syncEvery is how often the log is synced when nobody asks: well under the second
// that is promised, so that the sync which a flush of the index waits for, with writers
// waiting behind it, finds little left to do.
const syncEvery = 250 * time.Millisecond
