package master

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/oplog"
	"wolfdisk/volume"
)

// Options of a Leader.
type Options struct {
	Tree *index.Tree
	// Log records the ops. Nil records nothing: a bare overlay, for measuring.
	Log          *oplog.Log
	Epoch        volume.Epoch
	Participants []string
	// SyncLogOnly makes fsync answer after the log alone ([volume] fsync = "log").
	SyncLogOnly bool
	// BeforeSync is called by fsync before it asks through which op all is to be durable; may be nil.
	BeforeSync func(*Leader) error
	// Replicated returns when ops through a version are as durable elsewhere as fsync promises;
	// nil promises nothing of others.
	Replicated func(ctx context.Context, v volume.Version) error
	// Dir is the backing if that is a real directory: its intent file is told what is
	// being applied, so that a start after a crash of the daemon knows where to look.
	Dir *hostdir.Dir
	// Gate says when ops may enter; nil is always.
	Gate     *Gate
	Observer volume.Observer
	Now      func() volume.Time // nil: the system's clock
	Log0     zerolog.Logger
}

// Leader is a volume that takes changes.
type Leader struct {
	*index.Tree
	opt Options

	locks    lockTable
	asked    askedTable // forwarded requests at work
	renameMu sync.Mutex // held over a rename that gives a directory another parent
	opens    opens
	reserved atomic.Int64 // bytes of the log that the handlers at work may need

	epoch atomic.Pointer[volume.Epoch]

	// gate is held shared by every handler that changes something, and exclusively
	// to stop: once Stop has it, nothing more is recorded.
	gate    sync.RWMutex
	stopped error // guarded by gate
	// over is closed when the reign has ended: who waits for opt.Gate then gives up.
	over     chan struct{}
	overOnce sync.Once
	busy     busy // since when handlers are at work
	spoilt   spoilt

	clockMu sync.Mutex
	clock   volume.Time

	queueMu sync.Mutex
	queue   []*ticket

	commitMu sync.Mutex // held while a frame is written and entered
	opened   bool       // the epoch's first op is in the log; guarded by commitMu
	// orphans are the nameless inodes of earlier reigns; the first ops of the epoch
	// end those that nobody has open here. Guarded by commitMu.
	orphans []volume.Ino
	failed  atomic.Pointer[error]
}

var _ volume.Volume = (*Leader)(nil)

// ticket is a handler's ops on the way into the log.
type ticket struct {
	ops      []*volume.Op
	lower    []volume.LowerRecord
	slots    []hostdir.Slot // intents, with a real directory
	reserved int64          // bytes of the log, by this handler
	done     bool           // guarded by commitMu
	recorded bool           // the ops are in the log, whatever err says; as done
	err      error
}

// New makes a leader over a tree that is at the end of its log. It accepts requests
// at once.
func New(opt Options) (*Leader, error) {
	l := &Leader{Tree: opt.Tree, opt: opt, over: make(chan struct{})}
	if l.opt.Now == nil {
		l.opt.Now = func() volume.Time { return volume.TimeOf(time.Now()) }
	}
	l.locks.init()
	l.asked.init()
	l.opens.init()
	return l, l.begin(opt.Epoch)
}

// now is the time of an op: the clock, but never before an earlier op's.
func (l *Leader) now() volume.Time {
	t := l.opt.Now()
	l.clockMu.Lock()
	defer l.clockMu.Unlock()
	if t.Compare(l.clock) > 0 {
		l.clock = t
	}
	return l.clock
}

// enterGate lets a handler in, as soon as ops may enter, unless the leader has stopped.
func (l *Leader) enterGate(ctx context.Context) error {
	for {
		l.gate.RLock()
		err := l.stopped
		if p := l.failed.Load(); p != nil && err == nil {
			err = *p
		}
		if err == nil && (l.opt.Gate == nil || l.opt.Gate.open()) {
			return nil
		}
		l.gate.RUnlock()
		if err != nil {
			return err
		}
		if err := l.opt.Gate.wait(ctx, l.over); err != nil {
			return err
		}
	}
}

// Guard has ops enter through a gate from now on. Nobody uses the leader yet.
func (l *Leader) Guard(g *Gate) { l.opt.Gate = g }

// End ends the reign: what waits for the gate, or has not got its place in the log, is answered
// with Moved. It waits for nothing; Stop does.
func (l *Leader) End() { l.overOnce.Do(func() { close(l.over) }) }

// Stop waits for the handlers that are at work and lets no further change in:
// requests are answered with err. Those that wait for the gate are let go by End.
func (l *Leader) Stop(err error) {
	l.gate.Lock()
	defer l.gate.Unlock()
	if l.stopped == nil {
		l.stopped = err
	}
}

// Epoch is the epoch in which the leader writes.
func (l *Leader) Epoch() volume.Epoch { return *l.epoch.Load() }

// begin starts an epoch over a tree that is at the end of its log.
func (l *Leader) begin(e volume.Epoch) error {
	l.epoch.Store(&e)
	l.clockMu.Lock()
	l.clock = l.Tree.LastTime()
	l.clockMu.Unlock()
	l.BeginEpoch(e.Tag)
	orphans, err := l.Orphans()
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	// An adoption has begun the volume in this epoch.
	l.opened, l.orphans = l.Tree.Position().Epoch == e && !e.IsZero(), orphans
	return err
}

// PutMember records a member as an op.
func (l *Leader) PutMember(m volume.Member) error {
	if err := l.enterGate(context.Background()); err != nil {
		return err
	}
	defer l.gate.RUnlock()
	_, err := l.record(context.Background(), &volume.Op{Kind: volume.OpMember, Member: m, Time: l.now()})
	return err
}

// Failed is why the leader stopped by itself; nil while it works. Its log may have failed when
// nothing was asked of it, in the background.
func (l *Leader) Failed() error {
	if p := l.failed.Load(); p != nil {
		return *p
	}
	if l.opt.Log == nil {
		return nil
	}
	if err := l.opt.Log.Broken(); err != nil {
		return l.fail(err)
	}
	return nil
}

// fail stops the writer for good: what happened may not be told apart from a
// diverging history.
func (l *Leader) fail(err error) error {
	err = volume.Errorf(volume.Fault, "the leader has stopped accepting changes: %w", err)
	if l.failed.CompareAndSwap(nil, &err) {
		l.opt.Log0.Error().Err(err).Str("code", "WD-1001").Msg("stopped accepting changes; free space or repair the disk, then restart the daemon")
	}
	return *l.failed.Load()
}

// Barrier returns a version that every handler which runs now comes at or before: what
// it has done to content, and what was read of that, is in the ops through it.
func (l *Leader) Barrier() (volume.Version, error) {
	l.gate.Lock()
	defer l.gate.Unlock()
	return l.Position().Version, l.Failed()
}

// Wrote reports whether the epoch has an op in the log.
func (l *Leader) Wrote() bool {
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	return l.opened
}

// Do implements volume.Volume.
func (l *Leader) Do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	forwarded := req.Caller.Client != "" && req.Caller.Seq != 0
	if forwarded {
		// Before the gate: who waits for another's answer holds up nobody who stops.
		done, err := l.asked.enter(ctx, &req.Caller)
		if err != nil {
			return volume.Result{}, err
		}
		defer done()
	}
	if err := l.enterGate(ctx); err != nil {
		return volume.Result{}, err
	}
	defer l.gate.RUnlock()
	if forwarded {
		if res, ok, err := l.Answered(req); ok || err != nil {
			return res, err
		}
	}
	for {
		res, err := l.try(ctx, req)
		if err != index.Retry {
			return res, err
		}
		if err := ctx.Err(); err != nil {
			return res, volume.Interrupted
		}
	}
}

// try locks what the request concerns, decides, applies and records it.
func (l *Leader) try(ctx context.Context, req *volume.Request) (volume.Result, error) {
	moves := l.MovesDir(req)
	if moves {
		l.renameMu.Lock()
		defer l.renameMu.Unlock()
	}
	objects, err := l.Objects(req)
	if err != nil {
		return volume.Result{}, err
	}
	l.locks.lock(objects)
	defer l.locks.unlock(objects)
	if !moves && l.MovesDir(req) {
		return volume.Result{}, index.Retry
	}
	d, err := l.Decide(req, index.Env{
		Now:    l.now(),
		InUse:  l.opens.has,
		Locked: func(ino volume.Ino) bool { return contains(objects, ino) },
	})
	if err != nil {
		return volume.Result{}, err
	}
	return l.carryOut(ctx, req, &d)
}

func contains(sorted []volume.Ino, ino volume.Ino) bool {
	for _, i := range sorted {
		if i == ino {
			return true
		}
	}
	return false
}

// carryOut applies and records a decision, with the locks held, and makes the
// answer.
func (l *Leader) carryOut(ctx context.Context, req *volume.Request, d *index.Decision) (volume.Result, error) {
	res := volume.Result{Offset: d.Offset}
	before, err := l.attrOf(d.Subject)
	if err != nil {
		return res, err
	}
	old, err := l.attrOf(d.Replaced)
	if err != nil {
		return res, err
	}
	if len(d.Ops) > 0 {
		if res.N, err = l.record(ctx, d.Ops...); err != nil {
			return res, err
		}
		res.Version = d.Ops[len(d.Ops)-1].Version
	}
	if req.Kind == volume.OpCopyChunks && len(d.Ops) == 1 {
		_, n, _ := d.Ops[0].ContentRange()
		res.N = int(n)
	}
	res.Attr = l.attrAfter(d.Subject, before, d)
	if d.Replaced != 0 {
		res.Replaced = l.attrAfter(d.Replaced, old, d)
	}
	return res, nil
}

// attrOf is an inode's attributes before the op; zero if it is about to be made.
func (l *Leader) attrOf(ino volume.Ino) (volume.Attr, error) {
	if ino == 0 {
		return volume.Attr{}, nil
	}
	a, err := l.Inode(ino)
	if err == volume.NotFound {
		err = nil
	}
	return a, err
}

// attrAfter is an inode's attributes after the op; of one that ended with it, what
// they were at the end.
func (l *Leader) attrAfter(ino volume.Ino, before volume.Attr, d *index.Decision) volume.Attr {
	// That an inode has gone is the dearest thing to ask the store.
	if !slices.ContainsFunc(d.Ops, func(op *volume.Op) bool { return ended(op) == ino }) {
		if a, err := l.Inode(ino); err == nil {
			return a
		}
	}
	if len(d.Ops) > 0 {
		before.Ctime, before.Version = d.Ops[0].Time, d.Ops[0].Version
	}
	before.Nlink = 0
	return before
}

// ended is the inode whose life ends with an op that takes its last name; 0 if none does.
func ended(op *volume.Op) volume.Ino {
	switch {
	case op.Flags&volume.OpEnds == 0:
		return 0
	case op.Replaced != 0:
		return op.Replaced
	}
	return op.Ino
}

// record applies the ops of one request, then commits them together. It returns the
// content taken by a write. If a later op cannot be applied, those before it are
// recorded all the same, since they have happened.
func (l *Leader) record(ctx context.Context, ops ...*volume.Op) (n int, err error) {
	t := &ticket{}
	defer func() { l.reserved.Add(-t.reserved) }()
	for _, op := range ops {
		if n, err = l.apply(ctx, op, t); err != nil {
			break
		}
	}
	if len(t.ops) == 0 {
		return 0, err
	}
	cerr := l.commit(t)
	if cerr != nil && !t.recorded {
		return n, l.takeBack(ctx, t, errors.Join(err, cerr))
	}
	// What is recorded is found in the log by the next start, and the content with it.
	t.forgetIntents()
	return n, errors.Join(err, cerr)
}

// takeBack undoes what was applied and did not reach the log. With Moved the request is as
// if it had never come, as far as anybody can tell who asks the next leader; what cannot be
// undone below is noted for it.
func (l *Leader) takeBack(ctx context.Context, t *ticket, err error) error {
	for i := len(t.ops) - 1; i >= 0; i-- {
		uerr := l.Backing.Undo(context.WithoutCancel(ctx), t.ops[i], l.Engine)
		switch {
		case l.opt.Dir == nil:
			err = errors.Join(err, uerr)
		case uerr != nil:
			l.spoilt.add(t.ops[i].Ino)
			l.opt.Log0.Warn().Err(uerr).Msg("an op that was not recorded could not be taken back in the directory: the next reconcile looks at it")
		default:
			t.slots[i].Done()
		}
	}
	if errors.Is(err, Moved) {
		return Moved
	}
	return err
}

// apply brings one op's content to the backing and adds it to the ticket.
func (l *Leader) apply(ctx context.Context, op *volume.Op, t *ticket) (int, error) {
	if l.opt.Log != nil {
		// What is reserved is a level: it must hold what all handlers may append.
		size, kept := logSpace(op), min(keptForRemoving, l.opt.Log.SegmentSize()/4)
		if l.givesBack(op) {
			size, kept = removingOverhead+oplog.FrameOverhead, 0
		}
		t.reserved += size
		if err := l.opt.Log.Reserve(l.reserved.Add(size) + kept); err != nil {
			return 0, err
		}
	}
	var slot hostdir.Slot
	if l.opt.Dir != nil {
		slot = l.opt.Dir.Begin(op, l.Engine)
	}
	since := l.busy.begin()
	done, err := l.Backing.Apply(ctx, op, l.Engine)
	since.end()
	if err != nil {
		if l.opt.Dir != nil {
			slot.Done()
		}
		return 0, err
	}
	n := 0
	if op.Kind == volume.OpWrite {
		n = done.N
		op.Data = op.Data[:n]
	}
	t.ops = append(t.ops, op)
	t.lower = append(t.lower, done.Lower...)
	t.slots = append(t.slots, slot)
	return n, nil
}

// logSpace is more than what an op takes in the log, bytes.
func logSpace(op *volume.Op) int64 {
	size := int64(len(op.Data)) + int64(len(op.Chunks))*chunkOverhead + oplog.FrameOverhead + opOverhead
	for i := range op.Xattrs {
		size += int64(len(op.Xattrs[i].Value))
	}
	return size
}

// givesBack reports whether an op may use what is kept for it when the disk is full: it makes room,
// or is needed to find what can go.
func (l *Leader) givesBack(op *volume.Op) bool {
	switch op.Kind {
	case volume.OpUnlink, volume.OpRmdir, volume.OpRename, volume.OpEnd, volume.OpRemoveXattr:
		return true
	case volume.OpFallocate:
		return op.Alloc&volume.FallocPunchHole != 0
	case volume.OpTruncate:
		a, err := l.Inode(op.Ino)
		return op.Size == 0 || err == nil && op.Size < a.Size
	}
	return false
}

const (
	// keptForRemoving is how much of the log's room is left, bytes, by what takes more of the
	// disk: enough to remove some thousand files, with which room comes back. Of small segments it
	// is less, since the room is one segment's.
	keptForRemoving int64 = 1 << 20
	// removingOverhead is more than what an op that gives back takes in the log, bytes: two
	// names, attributes, who asked.
	removingOverhead = 4 << 10
)

// opOverhead is more than what an op's encoding adds to its content, its attributes'
// values and its chunks, bytes.
const opOverhead = 64 << 10

// chunkOverhead is more than what a piece of a chunk takes in an op's encoding, bytes.
const chunkOverhead = 64

func (t *ticket) forgetIntents() {
	for _, s := range t.slots {
		if s != (hostdir.Slot{}) {
			s.Done()
		}
	}
}

// Absorb records an op that describes what the real directory already is: it is not
// applied. The objects must not be in use. Of the content of an inode that the first ops of this epoch
// end, nothing is to be said.
func (l *Leader) Absorb(op *volume.Op, lower []volume.LowerRecord) error {
	if err := l.enterGate(context.Background()); err != nil {
		return err
	}
	defer l.gate.RUnlock()
	if ending, err := l.endsFirst(op); ending || err != nil {
		return err
	}
	// So that the epoch does not begin by ending what it is about.
	objects := []volume.Ino{op.Ino}
	l.locks.lock(objects)
	defer l.locks.unlock(objects)
	op.Time = l.now()
	return l.commit(&ticket{ops: []*volume.Op{op}, lower: lower})
}

// endsFirst reports whether an op only changes the content of an inode that this epoch's first ops end.
func (l *Leader) endsFirst(op *volume.Op) (bool, error) {
	switch op.Kind {
	case volume.OpWrite, volume.OpTruncate, volume.OpFallocate, volume.OpCopyChunks:
	default:
		return false, nil
	}
	l.commitMu.Lock()
	orphan := !l.opened && slices.Contains(l.orphans, op.Ino)
	l.commitMu.Unlock()
	if !orphan || l.opens.has(op.Ino) {
		return false, nil
	}
	if a, err := l.Inode(op.Ino); err != nil || a.Nlink != 0 {
		return false, err
	}
	kept, err := l.Kept(op.Ino)
	return !kept, err
}

// Open implements volume.Volume.
func (l *Leader) Open(ctx context.Context, ino volume.Ino, write bool) error {
	if write {
		if err := l.enterGate(ctx); err != nil {
			return err
		}
		defer l.gate.RUnlock()
	}
	// The lock keeps an unlink from deciding between the check and the count.
	objects := []volume.Ino{ino}
	l.locks.lock(objects)
	defer l.locks.unlock(objects)
	a, err := l.Engine.GetAttr(ino)
	if err != nil {
		return err
	}
	if a.Nlink == 0 {
		// One that has ended is there for who has it open since this node followed, and goes
		// with the last of them.
		if ended, err := l.Ended(ino); err != nil {
			return err
		} else if ended {
			return l.Pin(ino)
		}
	}
	l.opens.add(ino)
	return nil
}

// Close implements volume.Volume.
func (l *Leader) Close(ctx context.Context, ino volume.Ino) error {
	objects := []volume.Ino{ino}
	if a, err := l.Engine.GetAttr(ino); err == nil && a.Nlink == 0 {
		if ended, err := l.Ended(ino); err != nil {
			return err
		} else if ended {
			return l.Unpin(ino)
		}
	}
	a, left, err := l.closeOne(ino, objects)
	if err != nil {
		return err
	}
	if left > 0 || a.Nlink > 0 {
		return nil
	}
	return l.end(ctx, ino, objects)
}

// closeOne counts down, and returns the inode and how often it is still open.
func (l *Leader) closeOne(ino volume.Ino, objects []volume.Ino) (a volume.Attr, left int, err error) {
	l.locks.lock(objects)
	defer l.locks.unlock(objects)
	if a, err = l.Engine.GetAttr(ino); err != nil {
		return a, 0, err
	}
	if left = l.opens.done(ino); left < 0 {
		err = volume.Errorf(volume.Invalid, "close of inode %s, which is not open", ino)
	}
	return a, left, err
}

// end ends an inode if it has no name, is open nowhere and not kept. The gate comes before the
// lock, or Stop could wait for one who waits for us; so both are looked at again. If
// the leader has stopped, the next one does it.
func (l *Leader) end(ctx context.Context, ino volume.Ino, objects []volume.Ino) error {
	if l.enterGate(ctx) != nil {
		return nil
	}
	defer l.gate.RUnlock()
	l.locks.lock(objects)
	defer l.locks.unlock(objects)
	a, err := l.Engine.GetAttr(ino)
	if err != nil || a.Nlink != 0 || l.opens.has(ino) {
		if volume.KindOf(err) == volume.Stale {
			err = nil // another Close did it
		}
		return err
	}
	if kept, err := l.Kept(ino); err != nil || kept {
		return err
	}
	_, err = l.record(ctx, &volume.Op{Kind: volume.OpEnd, Ino: ino, Time: l.now()})
	return err
}

// ReadAt implements volume.Reader. It takes no lock: what looks like damage may be an
// op on its way (content is applied before the index shows it), so that is looked at
// again with the inode's lock held.
func (l *Leader) ReadAt(ctx context.Context, ino volume.Ino, p []byte, off int64) (int, error) {
	n, err := l.Tree.ReadAt(ctx, ino, p, off)
	if err == nil || !index.MayPass(err) {
		return n, err
	}
	objects := []volume.Ino{ino}
	l.locks.lock(objects)
	defer l.locks.unlock(objects)
	return l.Tree.ReadAt(ctx, ino, p, off)
}

// Seek implements volume.Reader, as ReadAt.
func (l *Leader) Seek(ctx context.Context, ino volume.Ino, off int64, hole bool) (int64, error) {
	at, err := l.Tree.Seek(ctx, ino, off, hole)
	if err == nil || !index.MayPass(err) {
		return at, err
	}
	objects := []volume.Ino{ino}
	l.locks.lock(objects)
	defer l.locks.unlock(objects)
	return l.Tree.Seek(ctx, ino, off, hole)
}

// Sync implements volume.Volume: the log through every op answered so far, and the
// file. They are made durable side by side, which costs one flush of the disk rather
// than two; the answer waits for both.
func (l *Leader) Sync(ctx context.Context, ino volume.Ino, data bool) error {
	if err := l.Failed(); err != nil {
		return err
	}
	if l.opt.Log == nil {
		return l.syncContent(ctx, ino, data)
	}
	if l.opt.BeforeSync != nil {
		if err := l.opt.BeforeSync(l); err != nil {
			return err
		}
	}
	v := l.Position().Version
	if l.opt.Replicated == nil {
		return l.syncHere(ctx, ino, data, v)
	}
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	others := make(chan error, 1)
	go func() { others <- l.replicated(waiting, v) }() // others write while this node does
	if err := l.syncHere(ctx, ino, data, v); err != nil {
		cancel(err)
		<-others
		return err
	}
	return <-others
}

// replicated waits for other nodes until the reign ends: who leads next is asked anew then, since this
// node has no followers any more, and its ops may not be part of the volume.
func (l *Leader) replicated(ctx context.Context, v volume.Version) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-l.over:
			cancel(Moved)
		case <-ctx.Done():
		}
	}()
	err := l.opt.Replicated(ctx, v)
	if err != nil && errors.Is(context.Cause(ctx), Moved) {
		return Moved
	}
	return err
}

// syncHere is Sync on this node.
func (l *Leader) syncHere(ctx context.Context, ino volume.Ino, data bool, v volume.Version) error {
	if l.opt.SyncLogOnly {
		return l.syncLog(ctx, v)
	}
	logged := make(chan error, 1)
	go func() { logged <- l.syncLog(ctx, v) }()
	err := l.syncContent(ctx, ino, data)
	return errors.Join(<-logged, err)
}

func (l *Leader) syncContent(ctx context.Context, ino volume.Ino, data bool) error {
	if ino == 0 {
		return l.Backing.SyncAll(ctx)
	}
	return l.Backing.Sync(ctx, ino, data, l.Engine)
}

// syncLog makes the log durable through v. A log that cannot be synced stops the
// leader; a caller who gave up does not.
func (l *Leader) syncLog(ctx context.Context, v volume.Version) error {
	err := l.opt.Log.Sync(ctx, v)
	if err == nil || l.opt.Log.Broken() == nil {
		return err
	}
	return l.fail(err)
}
