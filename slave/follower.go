package slave

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/index"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// Options of a Follower.
type Options struct {
	Tree     *index.Tree
	Log      *oplog.Log
	Observer volume.Observer // may be nil
	// Chunks answers requests for chunks; nil if this node keeps none.
	Chunks func(ctx context.Context, id volume.ChunkID) ([]byte, error)
	// Answer answers other requests of the leader; nil refuses them.
	Answer Answers
	Log0   zerolog.Logger
}

// Follower is a volume that replays a leader's log and takes no changes.
type Follower struct {
	*index.Tree
	opt Options

	recvMu  sync.Mutex
	stopped error // guarded by recvMu
	held    frameHolds
	failed  atomic.Pointer[error]

	received atomic.Uint64 // last version in the log
	applied  atomic.Uint64 // last version in the tree
	changed  chan struct{} // holds a token after progress
	hurry    atomic.Bool
}

var _ volume.Volume = (*Follower)(nil)

// New makes a follower over a tree that is at the end of its log.
func New(opt Options) *Follower {
	f := &Follower{Tree: opt.Tree, opt: opt, changed: make(chan struct{}, 1)}
	v := uint64(opt.Tree.Position().Version)
	f.received.Store(v)
	f.applied.Store(v)
	return f
}

// ReadAt implements volume.Reader.
func (f *Follower) ReadAt(ctx context.Context, ino volume.Ino, p []byte, off int64) (n int, err error) {
	err = f.settled(ctx, func() error {
		n, err = f.Tree.ReadAt(ctx, ino, p, off)
		return err
	})
	return n, err
}

// Seek implements volume.Reader.
func (f *Follower) Seek(ctx context.Context, ino volume.Ino, off int64, hole bool) (at int64, err error) {
	err = f.settled(ctx, func() error {
		at, err = f.Tree.Seek(ctx, ino, off, hole)
		return err
	})
	return at, err
}

// passTime is for how long ops may take from a real directory into the index.
const passTime = time.Second

// settled reads content, again if what it meets may pass. It does not wait for the lock that keeps ops
// out: who holds it tells the kernel's caches, and these wait for reads. Chunks do not change.
func (f *Follower) settled(ctx context.Context, read func() error) error {
	err := read()
	if f.opt.Chunks != nil {
		return err
	}
	for wait := time.Millisecond; index.MayPass(err) && wait < passTime; wait *= 2 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
		err = read()
	}
	return err
}

// Follow serves a session whose frames come already, until it ends.
func (f *Follower) Follow(ctx context.Context, s *wire.Session) error {
	return NewSession(s, f, f.Answer).Serve(ctx, func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	})
}

// Answer answers what a leader asks a follower.
func (f *Follower) Answer(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	switch {
	case kind == volume.RequestPull:
		return f.opt.Log.AnswerPull(ctx, body, w)
	case kind == volume.RequestChunk:
		return wire.AnswerChunk(ctx, body, w, f.opt.Chunks)
	case f.opt.Answer != nil:
		return f.opt.Answer(ctx, kind, body, w)
	}
	return volume.Errorf(volume.Unsupported, "request kind %d is not known here", kind)
}

// Receive records and replays one frame. The frame is not kept. One that is here
// already is skipped: a session that took another's place began where this follower
// was when it said hello. A frame that does not fit ends the session, and joining again
// tells what is the matter; an error of our own disk or tree is final (Failed).
func (f *Follower) Receive(ctx context.Context, frame []byte) error {
	if err := f.lockFor(ctx, frame); err != nil {
		return err
	}
	defer f.recvMu.Unlock()
	if here, err := have(f.opt.Log, frame); err != nil || here {
		return err
	}
	rec, ops, err := f.opt.Log.AppendFrame(frame)
	if err != nil {
		err = volume.Wrap(err, "record frame")
		if f.opt.Log.Broken() != nil || volume.KindOf(err) == volume.NoSpace {
			return f.fail(err)
		}
		return err
	}
	f.received.Store(uint64(rec.Last))
	if o, ok := f.opt.Observer.(volume.EarlyObserver); ok && !f.hurry.Load() {
		o.Applying(ops)
	}
	err = f.ApplyBatch(ctx, index.Batch{
		Ops: ops, Frame: rec.Ref,
		After: volume.Position{Epoch: rec.Epoch, Version: rec.Last, Digest: rec.Digest},
	})
	if err != nil {
		return f.fail(err)
	}
	if f.opt.Observer != nil {
		f.opt.Observer.Applied(ops)
	}
	f.applied.Store(uint64(rec.Last))
	f.wake()
	return nil
}

// have reports whether a frame is in a log already, as the same ops.
func have(log *oplog.Log, frame []byte) (bool, error) {
	h, err := oplog.ParseHeader(frame)
	if err != nil || h.Last > log.Last().Version {
		return false, err
	}
	at, err := log.PositionAt(h.Last)
	if err == nil && at.Digest != h.Digest {
		err = volume.Errorf(volume.WrongHistory, "frame %d to %d holds other ops than this node's log", h.First, h.Last)
	}
	return err == nil, err
}

// Hurry says that what has arrived is to be applied as fast as can be, because a take-over waits
// for it: early observers are not waited for.
func (f *Follower) Hurry(on bool) { f.hurry.Store(on) }

func (f *Follower) wake() {
	f.held.wake()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// fail stops the follower; what it has stays as it is.
func (f *Follower) fail(err error) error {
	f.stopped = err
	f.failed.CompareAndSwap(nil, &err)
	f.held.wake()
	return err
}

// Failed is why the follower stopped by itself; nil while it works. Its log may have failed when
// nothing came, in the background.
func (f *Follower) Failed() error {
	if p := f.failed.Load(); p != nil {
		return *p
	}
	return f.opt.Log.Broken()
}

// Stop waits for the frame at work and takes no further one.
func (f *Follower) Stop(err error) {
	f.recvMu.Lock()
	defer f.recvMu.Unlock()
	if f.stopped == nil {
		f.stopped = err
	}
	f.held.wake()
}

// Progress is how far this follower is. Applied is what every reader sees, also one
// with everything in his cache.
func (f *Follower) Progress() (received, applied, durable volume.Version) {
	received, applied = volume.Version(f.received.Load()), volume.Version(f.applied.Load())
	if o, ok := f.opt.Observer.(volume.LateObserver); ok {
		if first, any := o.Unseen(); any {
			applied = min(applied, first-1)
		}
	}
	return received, applied, f.opt.Log.Durable()
}

// Do implements volume.Volume: a follower takes no changes.
func (f *Follower) Do(context.Context, *volume.Request) (volume.Result, error) {
	return volume.Result{}, volume.ReadOnly
}

// Open implements volume.Volume.
func (f *Follower) Open(ctx context.Context, ino volume.Ino, write bool) error {
	if write {
		return volume.ReadOnly
	}
	return f.settled(ctx, func() error { return f.Pin(ino) })
}

// Close implements volume.Volume.
func (f *Follower) Close(_ context.Context, ino volume.Ino) error {
	return f.Unpin(ino)
}

// Sync implements volume.Volume: everything received is made durable here.
func (f *Follower) Sync(ctx context.Context, _ volume.Ino, _ bool) error {
	return f.opt.Log.Sync(ctx, f.opt.Log.Last().Version)
}
