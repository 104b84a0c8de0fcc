package node

import (
	"context"
	"errors"

	"wolfdisk/volume"
)

// inPeace reports whether a node that stops for a reason can hand over first.
func inPeace(cause error) bool {
	return cause == nil || cause == errUnmounted || cause == errAskedToStop
}

var (
	errUnmounted   = errors.New("the mount was unmounted")
	errAskedToStop = errors.New("asked to stop")
)

// stopWith ends the run with an error.
func (n *node) stopWith(err error) {
	n.halt(err)
	if !inPeace(err) {
		n.cancel(err)
	}
}

// release ends everything in order: no more requests over S3, no more changes, followers have what there is, no
// mount, no sessions, and the volume on disk.
func (n *node) release() error {
	n.setPhase(phaseStopping)
	n.manager.Stopping()
	deadline, cancel := context.WithTimeout(context.Background(), n.cfg.Node.StopTimeout)
	defer cancel()
	errs := []error{n.stopGateway(deadline)}
	n.handOver(deadline)
	n.mu.Lock()
	mount, st := n.mount, n.store
	n.mu.Unlock()
	if mount != nil {
		errs = append(errs, mount.Unmount(deadline))
	}
	if l := n.leading(); l != nil {
		l.Stop(volume.Errorf(volume.ReadOnly, "the daemon is stopping"))
		if !n.peers.caughtUp(deadline, st.log.Last().Version) {
			n.log.Warn().Str("code", "WD-1346").Msg("stopped before every follower had everything; they catch up when this node is back")
		}
	}
	n.cancel(errAskedToStop)
	n.vacancy.close()
	if n.listener != nil { // it ends the sessions that it has accepted: not before all is handed over
		errs = append(errs, n.listener.Close())
	}
	if l := n.leading(); l != nil {
		l.End() // the election may wait for it
	}
	n.endStarting()
	n.control.closeAll()
	n.peers.closeAll(volume.Errorf(volume.Closed, "node %s is stopping", n.cfg.Node.ID))
	n.group.Wait()
	if f := n.following(); f != nil {
		f.Stop(volume.Errorf(volume.Closed, "the daemon is stopping"))
	}
	n.verify.copies.dropAll(true)
	errs = append(errs, n.closeSync())
	clean := n.agrees(st)
	if st != nil {
		v := st.engine.Position().Version
		err := st.close(context.WithoutCancel(deadline), clean)
		errs = append(errs, err)
		if clean = clean && err == nil; clean {
			errs = append(errs, n.state.Update(func(s *State) { s.Checkpoint = v }))
		}
	}
	if n.state != nil {
		if clean {
			errs = append(errs, n.state.Update(func(s *State) { s.Clean = true }))
		}
		errs = append(errs, n.state.Close())
	}
	if n.admin != nil {
		errs = append(errs, n.admin.Close(deadline))
	}
	if n.lock != nil {
		errs = append(errs, n.lock.Close())
	}
	return errors.Join(errs...)
}

// agrees reports whether the next start has nothing to recover, if what is open is
// closed well: a start that failed half-way leaves the recovery to the next one.
func (n *node) agrees(st *storage) bool {
	n.mu.Lock()
	l, f, agreed, spoilt := n.leader, n.follower, n.agreed, len(n.spoilt) > 0
	n.mu.Unlock()
	switch {
	case n.state == nil || n.recovery == nil || n.recovery.pending() || n.between.Load():
		return false
	case st == nil:
		return n.prev.Clean || n.state.Get().Volume.IsZero()
	case st.engine.Position().Version != st.log.Last().Version:
		return false
	case !agreed:
		return n.prev.Clean
	case spoilt, n.unfit.Load():
		return false
	}
	return (l == nil || l.Failed() == nil) && (f == nil || f.Failed() == nil)
}
