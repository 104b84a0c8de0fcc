package node

import (
	"context"
	"errors"
	"time"

	"wolfdisk/elect"
	"wolfdisk/master"
	"wolfdisk/volume"
)

// work does what the machine wants done and what takes time, one after the other.
func (e *elector) work(ctx context.Context) {
	for {
		e.mu.Lock()
		var task elect.Effect
		if len(e.tasks) > 0 {
			task = e.tasks[0]
			e.tasks = e.tasks[1:]
		}
		e.mu.Unlock()
		if task == nil {
			select {
			case <-ctx.Done():
				return
			case <-e.wake:
			}
			continue
		}
		if ctx.Err() != nil {
			return
		}
		e.carryOut(ctx, task)
	}
}

// carryOut does one task and tells the machine how it went.
func (e *elector) carryOut(ctx context.Context, task elect.Effect) {
	n := e.n
	switch t := task.(type) {
	case elect.Save:
		// Nothing of a leader below the promise is applied once that is on disk.
		n.leaveBelow(t.State.Promise)
		err := n.state.Update(func(s *State) { s.Promise = t.State.Promise })
		if err != nil {
			e.tell(elect.SaveFailed{Err: err})
			return
		}
		e.tell(elect.Saved{Seq: t.Seq, Copy: n.copyNow()})
	case elect.Lead:
		n.log.Info().Stringer("epoch", t.Epoch).Strs("participants", t.Participants).Msg("taking the lead")
		err := n.lead(ctx, t.Epoch, t.Participants, func() { e.tell(elect.Ready{Epoch: t.Epoch}) })
		if err != nil && ctx.Err() == nil {
			n.log.Error().Err(err).Msg("could not take the lead")
			e.tell(elect.LeadFailed{Epoch: t.Epoch, Err: err})
		}
	case elect.StepDown:
		n.log.Warn().Stringer("epoch", t.Epoch).Str("why", t.Why).Str("code", "WD-1320").Msg("leading no more")
		n.stepDown()
		e.tell(elect.SteppedDown{Epoch: t.Epoch})
	case elect.Follow:
		n.obey(ctx, t.Leader, t.Epoch)
	case elect.CatchUp:
		e.catchUp(ctx, t)
	case elect.Drain:
		l := n.leading()
		if l == nil {
			return
		}
		if _, err := l.Barrier(); err != nil {
			e.tell(elect.LeadFailed{Epoch: t.Epoch, Err: err})
			return
		}
		c := n.copyNow()
		n.log.Debug().Stringer("position", c.Position).Msg("no change is under way any more")
		e.tell(elect.Drained{Epoch: t.Epoch, Copy: c})
	case elect.Resolve:
		if err := n.resolve(ctx, t); err != nil {
			n.warn("WD-1340", "what this node holds alone could not be kept as a conflict: "+err.Error(),
				"nothing was changed; make room or repair the disk, it is tried again")
			e.tell(elect.ResolveFailed{Err: err})
			return
		}
		n.unwarn("WD-1340")
		e.tell(elect.Resolved{Copy: n.copyNow()})
	}
}

// pullWait is how long a catch-up waits for a session with the node that has more.
const pullWait = 2 * time.Second

// catchUp pulls what another node has more of this history.
func (e *elector) catchUp(ctx context.Context, t elect.CatchUp) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	e.mu.Lock()
	e.breakOff = cancel
	over := len(e.tasks) > 0 // what ended it came before it began
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		e.breakOff = nil
		e.mu.Unlock()
	}()
	err := errors.New("the election went on")
	if !over {
		err = e.n.catchUp(ctx, t)
	}
	if err != nil {
		e.n.log.Warn().Err(err).Str("from", t.From).Msg("could not pull what another node has more")
		e.tell(elect.CatchUpFailed{Epoch: t.Epoch, Err: err})
		return
	}
	e.tell(elect.CaughtUp{Epoch: t.Epoch, Copy: e.n.copyNow()})
}

func (n *node) catchUp(ctx context.Context, t elect.CatchUp) error {
	st := n.storage()
	if st == nil {
		return volume.Errorf(volume.Unavailable, "this node holds no volume")
	}
	deadline := time.Now().Add(pullWait)
	s := n.peers.session(t.From)
	for ; s == nil; s = n.peers.session(t.From) {
		if time.Now().After(deadline) {
			return volume.Errorf(volume.Unavailable, "no session with node %s", t.From)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(5 * time.Millisecond):
		}
	}
	n.log.Info().Str("peer", t.From).Stringer("position", t.Through).Msg("another node is ahead: pulling its ops before leading")
	// Whoever follows later begins from what is here then.
	n.retireFollower(master.Moved)
	if err := n.pull(ctx, s); err != nil {
		return err
	}
	if at := st.engine.Position(); at.Version < t.Through.Version {
		return volume.Errorf(volume.Unavailable, "node %s gave ops through version %d only, not %d", t.From, at.Version, t.Through.Version)
	}
	return st.log.Sync(ctx, st.log.Last().Version)
}
