package slave

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// Names in the directory of a copy that is being made.
const (
	syncLogName   = "oplog"
	syncIndexName = "index"
	// ReadyName says, by being there, that the copy is whole and closed.
	ReadyName = "ready"
)

// Amount is how much there is to do, or was done.
type Amount struct{ Files, Bytes uint64 }

// SyncOptions of a Sync.
type SyncOptions struct {
	FS    vfs.FS
	Dir   string // of the copy being made
	Log   oplog.Options
	Index index.Options
	// Chunks is the store that the old copy has, too; nil if content goes to Into.
	Chunks *chunkstore.Store
	// Into is the real directory that the copy is made in, and Old the index of what it
	// held when it was last consistent; see syncdir.go.
	Into *hostdir.Dir
	Old  *index.Engine
	// Leave is called before Into is changed: from then on it is between two versions.
	Leave     func(context.Context) (Left, error)
	ChunkSize int64
	// Ready is told, just before the copy is marked as ready, through which version it is
	// on disk. It may be nil.
	Ready func(volume.Version) error
	// Full takes all content from the others, also what this store holds.
	Full bool
	// Phase begins a phase of known size, of which an earlier run has done some; the function it
	// returns counts what is done, and path says where.
	Phase func(name string, all, had Amount) func(files, bytes uint64, path string)
	// From counts content that came from a node, bytes; it may be nil.
	From func(id string, bytes uint64)
	// Named is told of the members that the copy knows, when its names are complete; it may
	// be nil.
	Named func([]volume.Member)
	// Patience is how long a source beside the leader may take for a request: then
	// the leader is asked. 0 means 10 s.
	Patience time.Duration
	Log0     zerolog.Logger
}

// Sync makes a new copy of a leader's volume beside the one that there is: index,
// content, and the log from the snapshot on. It is a Receiver: frames go to the new log,
// to be entered when all content is there.
//
// A Sync that was closed before it was done is taken up by OpenSync, unless its names
// were not complete yet.
type Sync struct {
	opt     SyncOptions
	began   chan struct{} // closed when log is set
	log     *oplog.Log
	engine  *index.Engine // nil until the names are complete
	from    volume.Position
	recvMu  sync.Mutex
	lineage volume.Lineage // of the log's end; guarded by recvMu
	next    *Follower      // takes the frames once the copy is done; guarded by recvMu
	into    intoDir        // of a copy in a real directory

	received, applied atomic.Uint64
	arrived           chan struct{} // holds a token after a frame
}

// OpenSync takes up a copy that was begun, or returns nil if there is none that can be:
// what is left of one is removed.
func OpenSync(opt SyncOptions) (*Sync, error) {
	_, err := opt.FS.Stat(opt.FS.PathJoin(opt.Dir, syncIndexName))
	if err != nil {
		return nil, nil // none was begun
	}
	s := NewSync(opt)
	opened, err := s.reopen()
	if opened && err == nil {
		return s, nil
	}
	if cerr := s.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		opt.Log0.Warn().Err(err).Msg("a copy that was being made cannot be taken up: beginning anew")
	}
	return nil, RemoveSync(opt)
}

// RemoveSync removes a copy that is being made. Its chunks are collected.
func RemoveSync(opt SyncOptions) error {
	return volume.Wrap(opt.FS.RemoveAll(opt.Dir), "remove an unfinished copy")
}

// NewSync makes a copy from the beginning. What is left of another must be removed.
func NewSync(opt SyncOptions) *Sync {
	opt.Log.Dir, opt.Log.FS = opt.FS.PathJoin(opt.Dir, syncLogName), opt.FS
	opt.Index.Dir, opt.Index.FS = opt.FS.PathJoin(opt.Dir, syncIndexName), opt.FS
	opt.Index.Extents = opt.Into == nil
	if opt.From == nil {
		opt.From = func(string, uint64) {}
	}
	if opt.Named == nil {
		opt.Named = func([]volume.Member) {}
	}
	if opt.Patience == 0 {
		opt.Patience = patience
	}
	s := &Sync{opt: opt, began: make(chan struct{}), arrived: make(chan struct{}, 1)}
	s.opt.Index.SyncLog = func(v volume.Version) error {
		if v == 0 {
			return nil // an index without a volume: there is no log yet
		}
		return s.log.Sync(context.Background(), v)
	}
	return s
}

// reopen opens what an earlier try has left; false if its names are not complete.
func (s *Sync) reopen() (bool, error) {
	log, _, err := oplog.Open(s.opt.Log)
	if err != nil {
		return false, err
	}
	s.log = log
	e, err := index.Open(s.opt.Index)
	if err != nil {
		return false, err
	}
	s.engine = e
	at := e.Position()
	if at.Version == 0 {
		return false, nil
	}
	if at.Version > log.Last().Version {
		return false, volume.Errorf(volume.Corrupt, "its index is at version %d, its log ends at %d", at.Version, log.Last().Version)
	}
	if s.opt.Into != nil {
		if at, err = s.takeUpDir(); err != nil {
			return false, err
		}
	}
	s.from = at
	s.lineage = e.Lineage()
	err = EachFrame(context.Background(), log, at.Version+1, func(_ oplog.Frame, ops []*volume.Op) error {
		s.reigns(ops)
		return nil
	})
	s.received.Store(uint64(log.Last().Version))
	s.applied.Store(uint64(at.Version))
	close(s.began)
	return err == nil, err
}

func (s *Sync) reigns(ops []*volume.Op) {
	for _, op := range ops {
		if op.Kind == volume.OpReign {
			s.lineage = append(s.lineage[:len(s.lineage):len(s.lineage)], volume.Reign{First: op.Version, Epoch: op.Epoch, Participants: op.Participants})
		}
	}
}

// Begun reports whether the names are complete, so that the copy goes on where it is.
func (s *Sync) Begun() bool {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	return s.engine != nil
}

// Position is how far the log of the copy is, and of which history. Begun must be true.
func (s *Sync) Position() (volume.Position, volume.Lineage) {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	return s.log.Last(), s.lineage
}

// Progress implements Receiver.
func (s *Sync) Progress() (received, applied, durable volume.Version) {
	select {
	case <-s.began:
		durable = s.log.Durable()
	default:
	}
	return volume.Version(s.received.Load()), volume.Version(s.applied.Load()), durable
}

// Receive implements Receiver: the frame is recorded.
func (s *Sync) Receive(ctx context.Context, frame []byte) error {
	select {
	case <-s.began:
	case <-ctx.Done():
		return volume.Errorf(volume.Interrupted, "record frame: %w", context.Cause(ctx))
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	if s.next != nil {
		return s.next.Receive(ctx, frame)
	}
	if here, err := have(s.log, frame); err != nil || here {
		return err
	}
	f, ops, err := s.log.AppendFrame(frame)
	if err != nil {
		return volume.Wrap(err, "record frame")
	}
	s.reigns(ops)
	s.received.Store(uint64(f.Last))
	select {
	case s.arrived <- struct{}{}:
	default:
	}
	return nil
}

// Source is a node that has content.
type Source struct {
	ID string
	Caller
}

// Caller is a session that others can be asked on.
type Caller interface {
	Call(ctx context.Context, kind uint16, body []byte) (*wire.AnswerReader, error)
	CallAll(ctx context.Context, kind uint16, body []byte, max int) ([]byte, error)
}

// Run makes the copy, or goes on making it, until it is consistent: applied through a
// version that the leader named after the last content was read. sources are asked
// anew now and then; those that cannot serve are left out.
func (s *Sync) Run(ctx context.Context, leader Source, sources func() []Source) error {
	if s.engine == nil {
		if err := s.names(ctx, leader); err != nil {
			return err
		}
	}
	s.opt.Named(s.engine.Members())
	if err := s.content(ctx, leader, sources); err != nil {
		return err
	}
	b, err := leader.CallAll(ctx, volume.RequestBarrier, nil, 8)
	if err != nil {
		return volume.Wrap(err, "ask for the version at which the copy is consistent")
	}
	if len(b) != 8 {
		return volume.Errorf(volume.BadFormat, "a barrier of %d bytes", len(b))
	}
	if err := s.await(ctx, volume.Version(beUint64(b))); err != nil {
		return err
	}
	return s.apply(ctx)
}

// names brings the index as it is at the leader now, and begins the log behind it.
func (s *Sync) names(ctx context.Context, leader Caller) error {
	a, err := leader.Call(ctx, volume.RequestSnapshot, nil)
	if err != nil {
		return volume.Wrap(err, "ask for a snapshot")
	}
	defer a.Close()
	count := func(uint64, uint64, string) {}
	e, err := index.Import(s.opt.Index, a, func(h index.Head) error {
		count = s.opt.Phase("copying names", Amount{Files: h.Files}, Amount{})
		log, _, err := oplog.Open(s.opt.Log)
		if err != nil {
			return err
		}
		s.log = log
		if err := log.Reset(h.Position); err != nil {
			return err
		}
		s.from = h.Position
		s.received.Store(uint64(h.Position.Version))
		s.applied.Store(uint64(h.Position.Version))
		// Frames wait until here: the lineage of what they follow is known only when
		// all is read, but they bring only reigns behind it.
		close(s.began)
		return nil
	}, func() { count(1, 0, "") })
	if err != nil {
		return err
	}
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	s.lineage = append(e.Lineage(), s.lineage...)
	s.engine = e
	return nil
}

// await waits until the ops through version w have arrived.
func (s *Sync) await(ctx context.Context, w volume.Version) error {
	for s.received.Load() < uint64(w) {
		select {
		case <-s.arrived:
		case <-ctx.Done():
			return volume.Errorf(volume.Interrupted, "wait for version %d: %w", w, context.Cause(ctx))
		}
	}
	return nil
}

// apply enters what has come since the snapshot, through what is here when it begins.
func (s *Sync) apply(ctx context.Context) error {
	at := s.engine.Position().Version
	count := s.opt.Phase("entering what came meanwhile", Amount{Files: uint64(s.log.Last().Version - at)}, Amount{})
	tree := index.NewTree(s.engine, s.backing())
	return EachFrame(ctx, s.log, at+1, func(f oplog.Frame, ops []*volume.Op) error {
		err := tree.ApplyBatch(ctx, index.Batch{Ops: ops, Frame: f.Ref, After: f.Position()})
		s.applied.Store(uint64(f.Last))
		count(uint64(len(ops)), 0, "")
		return err
	})
}

func (s *Sync) backing() volume.Backing {
	if s.opt.Into != nil {
		return s.opt.Into
	}
	return chunkstore.NewContent(s.engine, s.log, s.opt.Chunks)
}

// Finish ends a copy that is consistent: the last frames are entered, it is put on disk
// and marked as ready to take the old one's place at the next start, and a follower
// over it, which take makes, gets the frames from now on. The log and the index are
// that one's.
func (s *Sync) Finish(ctx context.Context, take func(*oplog.Log, *index.Engine) *Follower) (*Follower, error) {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	err := s.apply(ctx)
	if err == nil {
		err = s.engine.SetContent(nil, nil)
	}
	if err == nil {
		err = s.log.Sync(ctx, s.log.Last().Version)
	}
	if err == nil && s.opt.Into != nil {
		err = s.settleDir(ctx)
	}
	if err == nil {
		err = s.engine.Flush()
	}
	if err == nil && s.opt.Ready != nil {
		err = s.opt.Ready(s.engine.Position().Version)
	}
	if err != nil {
		return nil, volume.Wrap(err, "finish the copy")
	}
	fs := s.opt.FS
	f, err := fs.Create(fs.PathJoin(s.opt.Dir, ReadyName), "wolfdisk-sync")
	if err == nil {
		err = errors.Join(f.Sync(), f.Close(), syncDir(fs, s.opt.Dir))
	}
	if err != nil {
		return nil, volume.Wrap(err, "finish the copy")
	}
	s.next = take(s.log, s.engine)
	return s.next, nil
}

// Close closes what is open; what is durable of it can be taken up. After Finish there is
// nothing to close.
func (s *Sync) Close() error {
	s.recvMu.Lock()
	defer s.recvMu.Unlock()
	if s.next != nil {
		return nil
	}
	s.next = closedFollower
	var errs []error
	if s.engine != nil {
		errs = append(errs, s.engine.Close())
	}
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	return errors.Join(errs...)
}

// closedFollower takes no frames.
var closedFollower = &Follower{stopped: volume.Errorf(volume.Closed, "the copy that was being made is closed")}

// Finished reports whether a copy was made to its end, so that it takes the old one's place.
func Finished(fs vfs.FS, syncDirName string) bool {
	_, err := fs.Stat(fs.PathJoin(syncDirName, ReadyName))
	return err == nil
}

// TakePlace puts a finished copy in the place of the old one, whose parts lie in dir and
// are closed. It is begun again after a crash; false if no copy is ready.
func TakePlace(fs vfs.FS, syncDirName, dir string) (bool, error) {
	if !Finished(fs, syncDirName) {
		return false, nil
	}
	for _, name := range []string{syncLogName, syncIndexName} {
		from, to := fs.PathJoin(syncDirName, name), fs.PathJoin(dir, name)
		if _, err := fs.Stat(from); err != nil {
			continue // before a crash
		}
		if err := errors.Join(fs.RemoveAll(to), fs.Rename(from, to)); err != nil {
			return false, volume.Wrap(err, "put the copy in place")
		}
		if err := errors.Join(syncDir(fs, dir), syncDir(fs, syncDirName)); err != nil {
			return false, volume.Wrap(err, "put the copy in place")
		}
	}
	return true, volume.Wrap(fs.RemoveAll(syncDirName), "put the copy in place")
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func beUint64(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// EachFrame calls fn with the frames of a log from a version on, through what is last
// when it begins; the first is cut to the ops from there.
func EachFrame(ctx context.Context, log *oplog.Log, from volume.Version, fn func(oplog.Frame, []*volume.Op) error) error {
	last := log.Last().Version
	if from > last {
		return nil
	}
	r, err := log.Reader(from)
	if err != nil {
		return err
	}
	defer r.Close()
	for from <= last {
		f, err := r.Next(ctx)
		if err != nil {
			return err
		}
		_, ops, err := oplog.DecodeFrame(f.Bytes)
		if err != nil {
			return err
		}
		if err := fn(f, ops[from-f.First:]); err != nil {
			return err
		}
		from = f.Last + 1
	}
	return nil
}

const (
	// waitSource is how long a source that failed is left out.
	waitSource = 5 * time.Second
	// patience is SyncOptions.Patience.
	patience = 10 * time.Second
)

// maxCursor is where the content is complete.
var maxCursor = cursor{ino: math.MaxUint64}

// cursor says that the content of all files below an inode is there, and of that inode
// below an offset.
type cursor struct {
	ino volume.Ino
	off int64
}

func (c cursor) encode() []byte {
	return fmt.Appendf(nil, "%016x%016x", uint64(c.ino), uint64(c.off))
}

func decodeCursor(b []byte) (c cursor, err error) {
	if len(b) == 0 {
		return c, nil
	}
	var ino, off uint64
	if n, err := fmt.Sscanf(string(b), "%16x%16x", &ino, &off); n != 2 || err != nil || off > math.MaxInt64 {
		return c, volume.Errorf(volume.Corrupt, "the mark of how far a copy has its content is damaged (%q)", b)
	}
	return cursor{volume.Ino(ino), int64(off)}, nil
}
