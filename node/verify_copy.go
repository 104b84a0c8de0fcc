package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"wolfdisk/hostdir"
	"wolfdisk/index"
	"wolfdisk/slave"
	"wolfdisk/volume"
)

const (
	// maxCopies bounds the copies held for comparisons by others at once.
	maxCopies = 4
	// holdLease is how long a follower stays held if nothing more is heard of the
	// comparison, and copyLease how long its snapshot.
	holdLease = 15 * time.Second
	copyLease = 2 * time.Minute
)

// verifyCopy is one node's copy of the volume as a comparison sees it: its index at one
// version, and content as it is now.
type verifyCopy interface {
	// name is the node's ID.
	name() string
	// find and list are those of index.Digests.
	find(ctx context.Context, path string) (index.Entry, error)
	list(ctx context.Context, dir volume.Ino, fn func(*index.Entry) error) error
	// hash calls fn for each of the files, in their order, with what the disk holds.
	hash(ctx context.Context, files []verifyFile, fn func(*verifyHash) error) error
	// check compares a real directory with the index, if there is one, and calls fn
	// with each difference that is there while no op is under way.
	check(ctx context.Context, fn func(path, what string) error) error
	// end lets go of it.
	end()
}

// heldCopy is the copy of this node.
type heldCopy struct {
	n    *node
	st   *storage
	id   uint64
	hold *slave.Hold // of a follower until the snapshot is taken

	snap    *index.Snapshot
	digests *index.Digests

	// Guarded by copies.mu.
	taking  bool
	users   int
	lease   *time.Timer // nil of a local comparison's own
	dropped bool
}

// copies are what is held for comparisons, of this node's and of others'.
type copies struct {
	mu     sync.Mutex
	gone   sync.Cond
	closed bool
	m      map[uint64]*heldCopy
}

// add registers a copy. leased ones go when nothing is heard for a while.
func (c *copies) add(h *heldCopy, leased bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return volume.Errorf(volume.Closed, "the node is stopping")
	}
	if c.m == nil {
		c.m = map[uint64]*heldCopy{}
	}
	if len(c.m) >= maxCopies+1 {
		return volume.Errorf(volume.Busy, "too many comparisons are under way: ask again when they have ended, or in %s", copyLease)
	}
	for h.id == 0 || c.m[h.id] != nil {
		var b [8]byte
		rand.Read(b[:])
		h.id = binary.BigEndian.Uint64(b[:])
	}
	c.m[h.id] = h
	h.users = 1
	if leased {
		h.lease = time.AfterFunc(holdLease, func() { c.expire(h) })
	}
	return nil
}

// enter finds a copy and keeps it until leave. taken says whether its index must have
// been taken.
func (c *copies) enter(id uint64, taken bool) (*heldCopy, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.m[id]
	if h == nil || h.dropped || h.lease == nil || taken && h.snap == nil {
		return nil, volume.Errorf(volume.Stale, "what was held for the comparison is gone: start it again")
	}
	h.users++
	return h, nil
}

// leave ends what enter or add began.
func (c *copies) leave(h *heldCopy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.users--
	if h.lease != nil && !h.dropped {
		wait := copyLease
		if h.snap == nil {
			wait = holdLease
		}
		h.lease.Reset(wait)
	}
	c.closeLocked(h)
}

func (c *copies) expire(h *heldCopy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.dropped = h.dropped || h.users == 0 // else leave sets the clock again
	c.closeLocked(h)
}

// drop ends a copy as soon as nobody uses it.
func (c *copies) drop(h *heldCopy) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.dropped = true
	c.closeLocked(h)
}

// closeLocked closes a copy that nobody needs any more.
func (c *copies) closeLocked(h *heldCopy) {
	if !h.dropped || h.users > 0 || c.m[h.id] != h {
		return
	}
	delete(c.m, h.id)
	if h.lease != nil {
		h.lease.Stop()
	}
	if h.hold != nil {
		h.hold.Release()
	}
	if h.snap != nil {
		if err := h.snap.Close(); err != nil {
			h.n.log.Error().Err(err).Msg("could not let go of a snapshot of the index")
		}
	}
	c.gone.Broadcast()
}

// dropAll ends all copies and waits until they are closed, so that the index can be.
// With last no further ones are made.
func (c *copies) dropAll(last bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = c.closed || last
	c.gone.L = &c.mu
	for _, h := range c.m {
		h.dropped = true
		c.closeLocked(h)
	}
	for len(c.m) > 0 {
		c.gone.Wait()
	}
}

// holdCopy holds this follower where it is, for somebody else's comparison. The copy is
// entered.
func (n *node) holdCopy() (*heldCopy, volume.Version, error) {
	n.mu.Lock()
	st, f, ph := n.store, n.follower, n.phase
	n.mu.Unlock()
	if st == nil || f == nil || ph != phaseFollowing {
		return nil, 0, volume.Errorf(volume.Unavailable, "node %s is %s and has no copy to compare", n.cfg.Node.ID, ph)
	}
	h := &heldCopy{n: n, st: st}
	hold, v, err := f.Hold()
	if err != nil {
		return nil, 0, err
	}
	h.hold = hold
	if err := n.verify.copies.add(h, true); err != nil {
		hold.Release()
		return nil, 0, err
	}
	return h, v, nil
}

// take takes the index at version v, which the follower has not passed, and lets it go on.
func (h *heldCopy) take(ctx context.Context, v volume.Version) (volume.Position, error) {
	c := &h.n.verify.copies
	c.mu.Lock()
	again := h.taking
	h.taking = true
	c.mu.Unlock()
	if again || h.hold == nil {
		return volume.Position{}, volume.Errorf(volume.Invalid, "the copy is taken already")
	}
	s, err := h.hold.Snapshot(ctx, v)
	h.hold.Release()
	if err != nil {
		return volume.Position{}, err
	}
	c.mu.Lock()
	h.snap, h.digests = s, s.Digests(nil)
	c.mu.Unlock()
	return s.Position(), nil
}

// ownCopy takes this node's index as it is now, once it has come to version v. The
// copy is entered and has no lease.
func (n *node) ownCopy(ctx context.Context, v volume.Version, seen func(uint64)) (*heldCopy, error) {
	st := n.storage()
	for st.engine.Position().Version < v { // the log is ahead of the index for a moment
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(time.Millisecond):
		}
	}
	s, err := st.engine.Snapshot()
	if err != nil {
		return nil, err
	}
	h := &heldCopy{n: n, st: st, snap: s, digests: s.Digests(seen)}
	if err := n.verify.copies.add(h, false); err != nil {
		if cerr := s.Close(); cerr != nil {
			err = cerr
		}
		return nil, err
	}
	return h, nil
}

func (h *heldCopy) name() string { return h.n.cfg.Node.ID }

func (h *heldCopy) find(ctx context.Context, path string) (index.Entry, error) {
	return h.digests.Find(ctx, path)
}

func (h *heldCopy) list(ctx context.Context, dir volume.Ino, fn func(*index.Entry) error) error {
	return h.digests.List(ctx, dir, fn)
}

func (h *heldCopy) end() {
	h.n.verify.copies.drop(h)
	h.n.verify.copies.leave(h)
}

// quiet calls fn while no op is under way on the inodes.
func (n *node) quiet(inos []volume.Ino, fn func() error) error {
	if l := n.leading(); l != nil {
		return l.Quiet(inos, fn)
	}
	if f := n.following(); f != nil {
		return f.Quiet(inos, fn)
	}
	return volume.Errorf(volume.Unavailable, "node %s neither leads nor follows yet", n.cfg.Node.ID)
}

// recheckTries is how often a place is looked at again that another inode has every time.
const recheckTries = 100

// recheck looks at the place of a difference again while no op is under way on it.
func (h *heldCopy) recheck(ctx context.Context, d hostdir.Difference) (found []hostdir.Difference, err error) {
	for range recheckTries {
		found = nil
		err := h.n.quiet([]volume.Ino{d.Parent, d.Ino}, func() error {
			return h.st.dir.Recheck(ctx, h.st.engine, d, func(now hostdir.Difference) error {
				found = append(found, now)
				return nil
			})
		})
		if err != nil || len(found) == 0 {
			return nil, err
		}
		i := slices.IndexFunc(found, func(now hostdir.Difference) bool { return now.Ino != 0 && now.Ino != d.Ino })
		if i < 0 {
			break
		}
		d = found[i] // the name is another inode's by now, which an op may have been under way on
	}
	return found, nil
}

// check implements verifyCopy. What the comparison of the whole directory finds may be
// an op on its way, so each place is looked at again.
func (h *heldCopy) check(ctx context.Context, fn func(path, what string) error) error {
	if h.st.dir == nil {
		return nil
	}
	view := h.st.engine
	return h.st.dir.CheckAll(ctx, view, hostdir.CheckOptions{Live: true}, func(d hostdir.Difference) error {
		found, err := h.recheck(ctx, d)
		for _, now := range found {
			if err != nil {
				break
			}
			what := now.Kind.String()
			if now.Fields != 0 {
				what += " (" + now.Fields.String() + ")"
			}
			if now.Why != "" {
				what += ", " + now.Why
			}
			err = fn(now.Path, what)
		}
		return err
	})
}
