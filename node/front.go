package node

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"wolfdisk/master"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// front is a follower as front ends see it. It takes no changes; those that come while nobody
// leads wait for a moment.
type front struct {
	*slave.Follower
	n *node
}

var _ volume.Volume = front{}

// Do implements volume.Volume.
func (f front) Do(context.Context, *volume.Request) (volume.Result, error) {
	return volume.Result{}, f.refusal()
}

// Open implements volume.Volume.
func (f front) Open(ctx context.Context, ino volume.Ino, write bool) error {
	if write {
		return f.refusal()
	}
	return f.Follower.Open(ctx, ino, false)
}

func (f front) refusal() error {
	if f.n.vacancy.held() && f.n.role != volume.RoleFollower {
		return master.Moved
	}
	return volume.ReadOnly
}

const (
	// forwardFor is how long a change is offered to one leader after the other.
	forwardFor = 15 * time.Second
	// forwardAgain is the pause before the next try.
	forwardAgain = 10 * time.Millisecond
)

// forward implements forwarder. The request is named, so that a leader that has done it
// answers a repeat instead of doing it twice.
func (f front) forward(ctx context.Context, req *volume.Request) (volume.Result, error) {
	named := *req
	named.Caller.Client, named.Caller.Seq = f.n.cfg.Node.ID, f.n.forwards.Add(1)
	ctx, cancel := context.WithTimeoutCause(ctx, forwardFor, volume.Errorf(volume.ReadOnly, "no leader takes the change"))
	defer cancel()
	var asked *volume.Unanswered // whoever was asked may have done it
	for {
		res, err := f.n.forwardOnce(ctx, &named)
		if err == nil {
			return res, f.await(ctx, res.Version)
		}
		errors.As(err, &asked)
		if !volume.Repeatable(err) && !errors.Is(err, master.Moved) {
			f.n.log.Debug().Err(err).Stringer("kind", named.Kind).Msg("a held change failed at the new leader")
			return res, err
		}
		select {
		case <-ctx.Done():
			if cause := context.Cause(ctx); volume.KindOf(cause) == volume.ReadOnly {
				if asked != nil {
					return volume.Result{}, volume.Errorf(volume.IO, "a leader was asked for a change and is gone, and no other says whether it was made: %w", asked)
				}
				return volume.Result{}, cause
			}
			return volume.Result{}, volume.Interrupted
		case <-time.After(forwardAgain):
		}
	}
}

// fsync implements fsyncer: this node's log first, then whoever leads.
func (f front) fsync(ctx, late context.Context, ino volume.Ino, data bool) error {
	if err := f.Follower.Sync(ctx, ino, data); err != nil || f.n.copiesNeeded() <= 1 {
		return err
	}
	for {
		if f.n.leading() != nil {
			return errReplaced
		}
		if s := f.n.leaderSession(); s != nil {
			err := askFsync(ctx, s, ino, data)
			if err == nil {
				f.n.unwarn(codeTooFewCopies)
			}
			if !askAgain(s, err) {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return volume.Interrupted
		case <-f.n.ctx.Done():
			return errAskedToStop
		case <-late.Done():
			if context.Cause(late) != errSyncLate {
				return volume.Interrupted
			}
			return errSyncLate
		case <-time.After(forwardAgain):
		}
	}
}

// askAgain reports whether an error says no more than that this node, or this session, is not the one
// that can say how durable something is.
func askAgain(s *wire.Session, err error) bool {
	select {
	case <-s.Done():
		return err != nil
	default:
	}
	switch volume.KindOf(err) {
	case volume.Busy, volume.Unavailable:
		return true
	}
	return volume.Repeatable(err) || errors.Is(err, master.Moved)
}

// askFsync has a leader do what fsync does, for another node: what that has written when it led is
// among what is made durable.
func askFsync(ctx context.Context, s *wire.Session, ino volume.Ino, data bool) error {
	body := binary.BigEndian.AppendUint64(nil, uint64(ino))
	if data {
		body = append(body, 1)
	} else {
		body = append(body, 0)
	}
	_, err := s.CallAll(ctx, volume.RequestFsync, body, 1)
	if err != nil && volume.KindOf(err) == volume.Unsupported {
		err = volume.Errorf(volume.IO, "node %s, which leads, is of an older version and cannot say how durable it is: upgrade it (%w)", s.Remote().NodeID, err)
	}
	return err
}

// answerFsync does what fsync does for another node.
func answerFsync(ctx context.Context, l *master.Leader, body []byte, w *wire.AnswerWriter) error {
	if len(body) != 9 || body[8] > 1 {
		return volume.Errorf(volume.BadFormat, "a request to sync of %d bytes", len(body))
	}
	ino, data := volume.Ino(binary.BigEndian.Uint64(body)), body[8] == 1
	err := l.Sync(ctx, ino, data)
	switch volume.KindOf(err) {
	case volume.NotFound, volume.Stale, volume.Missing: // it is open there, but nowhere else, and gone
		err = l.Sync(ctx, volume.RootIno, data)
	}
	if err != nil {
		return err
	}
	return w.Last([]byte{0})
}

// forwardOnce has whoever leads now do a request.
func (n *node) forwardOnce(ctx context.Context, req *volume.Request) (volume.Result, error) {
	if l := n.leading(); l != nil {
		return forwarded{l, n.cfg.Node.ID}.Do(ctx, req)
	}
	s := n.leaderSession()
	if s == nil {
		return volume.Result{}, master.Moved
	}
	return volume.Forward(ctx, s.CallAll, req)
}

// await waits until a version is visible here: who has made a change sees it.
func (f front) await(ctx context.Context, v volume.Version) error {
	for f.n.visible() < v {
		select {
		case <-ctx.Done():
			return nil // it is made, whoever sees it
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// visible is the version that readers of this node see.
func (n *node) visible() volume.Version {
	if st := n.storage(); st != nil {
		return st.engine.Position().Version
	}
	return 0
}

// forwarded is a leader as another node's front ends ask it.
type forwarded struct {
	*master.Leader
	client string // who asks
}

// Do implements volume.Volume. Nobody asks in another's name: the numbers are his.
func (l forwarded) Do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	if req.Caller.Client != l.client {
		return volume.Result{}, volume.Errorf(volume.AccessDenied, "node %s forwards a request in the name of %s", l.client, req.Caller.Client)
	}
	req.Caller.Front = volume.FrontForward // for the kernel's caches of the node that asks
	return l.Leader.Do(ctx, req)
}

// answerForward does a change that another node forwards; from is that node, empty on a session on
// which this one does not lead.
func (n *node) answerForward(ctx context.Context, from string, body []byte, w *wire.AnswerWriter) error {
	v := volume.Volume(elsewhere{})
	if l := n.leading(); l != nil && from != "" {
		v = forwarded{l, from}
	}
	b, err := volume.ServeForward(ctx, body, v)
	if err != nil {
		return err
	}
	n.peers.hurry() // who asks wants to see what was done
	return w.Last(b)
}

// elsewhere is what a node that does not lead is for others: they ask the next leader again.
type elsewhere struct{ nothing }

// Do implements volume.Volume.
func (elsewhere) Do(context.Context, *volume.Request) (volume.Result, error) {
	return volume.Result{}, volume.ReadOnly
}
