package node

import (
	"context"
	"fmt"
	"slices"

	"wolfdisk/elect"
	"wolfdisk/master"
	"wolfdisk/node/config"
	"wolfdisk/node/conflict"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// reign is the leader this node follows, and the epoch it leads in; zero while there is none.
type reign struct {
	leader string
	epoch  volume.Epoch
}

// founds reports whether this node may make a volume: a program that is given a directory to
// share does, one that is to show another's does not.
func (n *node) founds() bool { return n.cfg.Program == config.Master }

// session is the one on which this node follows.
type followSession struct {
	s    *wire.Session
	done chan struct{} // closed when nothing it brings is applied any more
}

// follows reports whether a node is the leader that is obeyed.
func (n *node) follows(id string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reign.leader == id
}

// leaderSession is the session with the leader that this node follows; nil.
func (n *node) leaderSession() *wire.Session {
	n.mu.Lock()
	r := n.reign
	n.mu.Unlock()
	if r.leader == "" {
		return nil
	}
	return n.peers.session(r.leader)
}

// leaveBelow stops following a leader whose epoch is below e. When it returns nothing of that
// leader is applied any more.
func (n *node) leaveBelow(e volume.Epoch) {
	n.mu.Lock()
	r := n.reign
	n.mu.Unlock()
	if !r.epoch.IsZero() && r.epoch.Compare(e) < 0 {
		n.leave()
	}
}

// leave stops following; see leaveBelow.
func (n *node) leave() {
	n.mu.Lock()
	n.reign = reign{}
	f, follower := n.followed, n.follower
	n.mu.Unlock()
	if f == nil {
		return
	}
	if follower != nil {
		follower.Hurry(true)
		defer follower.Hurry(false)
	}
	f.s.Close(volume.Errorf(volume.Busy, "node %s obeys another leader, or none", n.cfg.Node.ID))
	<-f.done
}

// retireFollower ends the follower of the present copy, if there is one: what it shows goes on
// being shown until something else is attached.
func (n *node) retireFollower(why error) {
	n.mu.Lock()
	f := n.follower
	n.follower, n.shown = nil, nil
	n.mu.Unlock()
	if f != nil {
		f.Stop(why)
	}
}

// obey follows a leader, or nobody if there is none.
func (n *node) obey(ctx context.Context, leader string, epoch volume.Epoch) {
	n.leave()
	if leader == "" {
		if n.isWitness() {
			n.setPhase(phaseWaiting)
		}
		n.vacancy.begin(false)
		return
	}
	n.log.Info().Str("leader", leader).Stringer("epoch", epoch).Msg("following")
	if err := n.becomeFollower(ctx, leader); err != nil {
		n.stopWith(err)
		return
	}
	n.mu.Lock()
	n.reign = reign{leader, epoch}
	if n.isWitness() {
		n.phase = phaseFollowing // there is no copy to wait for
	}
	n.mu.Unlock()
	n.vacancy.end()
	n.unwarn(codeTooFewCopies) // somebody leads: if it cannot do what is asked of it, that warns
	// A session that was made before is not one to follow on.
	if s := n.peers.session(leader); s != nil {
		go s.Close(volume.Errorf(volume.Busy, "node %s joins anew", n.cfg.Node.ID))
	}
	n.runHook("follower", leader, epoch)
}

// becomeFollower makes the volume that this node holds one that follows a leader, which may not be
// known yet.
func (n *node) becomeFollower(ctx context.Context, leader string) error {
	st := n.storage()
	if st == nil || n.following() != nil {
		return nil
	}
	if err := n.settleToFollow(ctx, st, leader); err != nil {
		return err
	}
	f := n.newFollower(st)
	n.mu.Lock()
	n.follower = f
	if n.phase != phaseSyncing {
		n.phase = phaseWaiting
	}
	n.mu.Unlock()
	return n.showFollower(ctx, st, f)
}

// showFollower serves a follower's tree, if it is one that can be served.
func (n *node) showFollower(ctx context.Context, st *storage, f *slave.Follower) error {
	if st.log.Last().Version == 0 || n.between.Load() {
		return nil // shown once a leader has said how to follow, or the copy is made
	}
	if st.dir != nil {
		if err := st.dir.DropOld(ctx); err != nil {
			n.log.Warn().Err(err).Msg("removing what the old copy had; the next start tries again")
		}
	}
	return n.serveFollower(ctx, f)
}

// stepDown ends this node's reign. What waits for the gate has been let go.
func (n *node) stepDown() {
	l := n.leading()
	if l == nil {
		return
	}
	l.End()
	l.Stop(master.Moved)
	if err := l.Failed(); err != nil {
		n.unfit.Store(true)
		n.warn("WD-1001", err.Error(), "free space or repair the disk, then restart the daemon")
	}
	n.mu.Lock()
	n.leader = nil
	n.phase = phaseWaiting
	n.spoilt = append(n.spoilt, l.Spoilt()...)
	n.mu.Unlock()
	n.vacancy.begin(true)
	n.degraded.Store(false)
	n.unwarn(codeTooFewCopies) // its followers are the next leader's
	n.peers.closeAll(volume.Errorf(volume.Busy, "node %s leads no more", n.cfg.Node.ID))
	n.runHook("follower", "", l.Epoch())
}

// endStarting has a reign that is being started come to its end.
func (n *node) endStarting() {
	n.mu.Lock()
	l := n.starting
	n.mu.Unlock()
	if l != nil {
		l.End()
	}
}

// resolve keeps what only this node holds as a conflict, and gives the copy up: the
// leader's takes its place.
func (n *node) resolve(ctx context.Context, t elect.Resolve) error {
	st := n.storage()
	if st == nil {
		return volume.Errorf(volume.Unavailable, "this node holds no volume")
	}
	n.retireFollower(master.Moved) // nothing is applied from here on
	found, err := n.settleEdits(ctx, st, t.With)
	if err != nil {
		return err
	}
	if err := n.keepConflict(ctx, st, t); err != nil {
		return err
	}
	return n.giveUpCopy(ctx, st, t.Common, found)
}

// keepConflict keeps what this node alone holds as a conflict, complete and verified, before it is
// given up.
func (n *node) keepConflict(ctx context.Context, st *storage, t elect.Resolve) error {
	mine, lineage := st.position()
	if mine.Version <= t.Common {
		return nil // a branch without ops is none
	}
	opt := conflict.Options{
		Store: n.conflicts, Volume: n.state.Get().Volume, Node: n.cfg.Node.ID, Winner: t.With,
		Why:    fmt.Sprintf("the copies on %s and %s went apart behind version %d, and that of %s wins", n.cfg.Node.ID, t.With, t.Common, t.With),
		Common: t.Common, Mine: mine, MineLineage: lineage, Theirs: t.Winner.Position, TheirsLineage: t.Winner.Lineage,
		Copy: n.newFollower(st), Log: st.log, Log0: n.log,
	}
	if st.log.First() > t.Common+1 {
		snap, err := st.engine.Snapshot()
		if err != nil {
			return err
		}
		defer snap.Close()
		opt.Inodes = snap
	}
	p := n.beginProgress("keeping a conflict", 0, 0)
	defer n.endProgress(p)
	opt.Progress = p.add
	rec, err := conflict.Write(ctx, opt)
	if err != nil {
		return err
	}
	n.log.Warn().Str("code", codeConflict).Str("record", rec.ID).Uint64("ops", uint64(mine.Version-t.Common)).Uint64("common", uint64(t.Common)).
		Msg("what only this node had was kept as a conflict: wolfdiskctl conflicts show " + rec.ID)
	return nil
}

// giveUpCopy takes the copy out of service for good, because its ops behind a version are of another
// history: the next leader is asked for a snapshot.
func (n *node) giveUpCopy(ctx context.Context, st *storage, common volume.Version, found foundEdits) error {
	changed, known := found.doubted, !st.lacks
	var dirs []volume.Ino // whose names were changed
	for op, err := range st.ops(ctx, common+1) {
		if err != nil {
			if volume.KindOf(err) != volume.TooOld {
				return err
			}
			known = false // an inode may have the same version in both histories
			break
		}
		changed = append(changed, op.Ino, op.Replaced)
		dirs = append(dirs, op.Parent, op.NewParent)
	}
	slices.Sort(changed)
	changed = slices.Compact(changed)
	if err := n.doubt(changed, known); err != nil {
		return err
	}
	if err := n.editsSettled(st, found); err != nil {
		return err
	}
	n.mu.Lock()
	handle, mount := n.handle, n.mount
	n.shown = nil
	n.mu.Unlock()
	if mount != nil {
		mount.Disown(append(changed, dirs...), !known)
	}
	if handle != nil {
		handle.losses.Add(1)
		handle.Switch(nothing{})
	}
	if mount != nil {
		mount.InvalidateAll()
	}
	n.verify.copies.dropAll(false)
	n.mu.Lock()
	r := n.reign
	n.mu.Unlock()
	if err := n.becomeFollower(ctx, r.leader); err != nil {
		return err
	}
	if s := n.peers.session(r.leader); s != nil {
		go s.Close(volume.Errorf(volume.Busy, "node %s joins anew", n.cfg.Node.ID))
	}
	return nil
}
