package node

import (
	"context"
	"errors"
	"fmt"

	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// startFollowing opens the volume this node holds, if it holds one already, and serves
// it read-only; otherwise the first leader it meets brings one.
func (n *node) startFollowing(ctx context.Context) error {
	if n.state.Get().Volume.IsZero() {
		n.setPhase(phaseWaiting)
		n.log.Info().Msg("holds no volume yet: waiting for a leader")
		return nil
	}
	return n.openFollower(ctx)
}

func (n *node) openFollower(ctx context.Context) error {
	if err := n.finishTakeOver(); err != nil {
		return err
	}
	if err := n.findBetween(); err != nil {
		return err
	}
	o := n.storageOptions()
	o.between = n.between.Load()
	st, err := openStorage(ctx, o)
	if err != nil {
		return err
	}
	if err := n.compareDirectory(ctx, st); err != nil {
		return errors.Join(err, st.abandon())
	}
	if st.lacks { // what is gone is to be had from the leader; until then nothing is served
		if err := n.writeBetween(unknownCopy); err != nil {
			return errors.Join(err, st.abandon())
		}
		n.between.Store(true)
	}
	// All is known before the first session: what it brings depends on it.
	err = n.recovered(st)
	if err == nil {
		err = n.takeUpSync(st)
	}
	if err != nil {
		return errors.Join(err, st.abandon())
	}
	f := n.newFollower(st)
	n.mu.Lock()
	n.store, n.follower = st, f
	if n.sync == nil {
		n.phase = phaseWaiting
	}
	n.mu.Unlock()
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

// newFollower makes a follower over a volume on this node's disk.
func (n *node) newFollower(st *storage) *slave.Follower {
	opt := slave.Options{Tree: st.tree, Log: st.log, Observer: n.observer, Answer: n.answer, Log0: n.log}
	if st.chunks != nil {
		opt.Chunks = st.chunks.Local
	}
	n.healFromPeers(st)
	return slave.New(opt)
}

// followLeader prepares to follow on a session with a leader: a node without a volume
// adopts the leader's.
func (n *node) followLeader(ctx context.Context, s *wire.Session) (*slave.Follower, error) {
	n.followMu.Lock()
	defer n.followMu.Unlock()
	n.mu.Lock()
	f := n.follower
	n.mu.Unlock()
	if f != nil {
		if err := f.Failed(); err != nil && !n.wantSnapshot.Load() && !n.syncing() && !n.between.Load() {
			return nil, err
		}
		return f, nil
	}
	remote := s.Remote()
	if n.role == volume.RoleLeader {
		return nil, volume.Errorf(volume.Fenced, "node %s leads already, in epoch %s", remote.NodeID, remote.Leading)
	}
	if remote.Volume.IsZero() {
		return nil, volume.Errorf(volume.BadFormat, "node %s leads without a volume", remote.NodeID)
	}
	size := int64(remote.ChunkSize)
	if size < volume.MinChunkSize || size > volume.MaxChunkSize || size&(size-1) != 0 {
		return nil, volume.Errorf(volume.BadFormat, "node %s says a chunk size of %d", remote.NodeID, size)
	}
	err := n.state.Update(func(st *State) { st.Volume, st.ChunkSize = remote.Volume, size })
	if err != nil {
		return nil, err
	}
	n.log.Info().Str("volume", remote.Volume.String()).Str("leader", remote.NodeID).Msg("adopted the volume")
	if err := n.openFollower(ctx); err != nil {
		n.stopWith(err)
		return nil, err
	}
	return n.follower, nil
}

// sessionEnded looks at why: some reasons are final for a follower, and it stops rather
// than try for ever what needs an operator.
func (n *node) sessionEnded(remote *wire.Hello, err error) {
	n.mu.Lock()
	f := n.follower
	n.mu.Unlock()
	if f != nil && f.Failed() != nil && !n.lacks(f.Failed()) {
		n.stopWith(fmt.Errorf("following %s: %w", remote.NodeID, f.Failed()))
		return
	}
	n.refused(remote.NodeID, "", err)
}

// lacks reports whether a follower failed because its real directory has not what an op
// needs: after a power loss of both sides, or changed by somebody. What the leader has is
// taken anew then, by comparison.
func (n *node) lacks(why error) bool {
	st := n.storage()
	if st == nil || st.dir == nil || volume.KindOf(why) != volume.Missing {
		return false
	}
	if !n.syncing() && !n.between.Load() && !n.wantSnapshot.Swap(true) {
		n.log.Warn().Str("code", "WD-1408").Err(why).Msg("this follower's directory lacks what the leader's ops need: it is compared with a snapshot")
	}
	return true
}

// refused takes note of a session that did not come about, or ended by a refusal.
func (n *node) refused(id, addr string, err error) {
	var r *wire.Refusal
	if !errors.As(err, &r) {
		return
	}
	if r.Kind == volume.WrongHistory && n.abandonSync(err) {
		return
	}
	if n.role != volume.RoleLeader && (r.Kind == volume.WrongHistory || r.Kind == volume.TooOld) {
		n.stopWith(fmt.Errorf("%s: %w", r.Code, r))
		return
	}
	if r.Kind == volume.Busy && r.Code != codeDuplicateID {
		return // passing: it is dialled again
	}
	who := id
	if who == "" {
		who = addr
	}
	n.warnPeer(who, r.Code, r.Text)
}
