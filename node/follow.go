package node

import (
	"context"
	"errors"
	"fmt"

	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// openVolume opens the volume that this node holds, if it holds one. Whether its directory is brought
// in agreement as a leader's or as a follower's is decided by the election, except on a node that
// makes no volumes, whose directory is never the first to be written.
func (n *node) openVolume(ctx context.Context) error {
	if n.isWitness() {
		return n.openWitness()
	}
	if n.state.Get().Volume.IsZero() {
		n.setPhase(phaseWaiting)
		if n.founds() {
			n.log.Info().Msg("holds no volume yet: looking for others before it makes one")
		} else {
			n.log.Info().Msg("holds no volume yet: waiting for a leader")
		}
		return nil
	}
	if err := n.finishTakeOver(); err != nil {
		return err
	}
	if err := n.findBetween(); err != nil {
		return err
	}
	o := n.storageOptions()
	o.between = n.between.Load()
	o.postpone = o.leads
	return n.openCopy(ctx, o)
}

// openCopy opens the volume as the options say, and takes up a copy that is being made beside it.
func (n *node) openCopy(ctx context.Context, o storageOptions) error {
	st, err := openStorage(ctx, o)
	if err != nil {
		return err
	}
	err = n.cover(ctx, st)
	if err == nil && !o.leads {
		err = n.settleFollower(ctx, st)
	}
	if err == nil {
		err = n.takeUpSync(st)
	}
	if err != nil {
		return errors.Join(err, st.abandon())
	}
	n.mu.Lock()
	n.store = st
	if n.sync == nil {
		n.phase = phaseWaiting
	}
	n.mu.Unlock()
	if o.leads && st.dir != nil {
		return nil // its directory may hold what no op says; it is shown when that is settled
	}
	return n.becomeFollower(ctx, "")
}

// settleFollower brings the directory of a node that never was the first to be written in agreement
// with its copy. All is known before the first session: what it brings depends on it.
//
// What is gone, and files that after a power loss may hold what ops did that the log has lost, is to be had
// from the leader, and until then nothing is served: that leader may have lost these ops, too, or never
// had them.
func (n *node) settleFollower(ctx context.Context, st *storage) error {
	if err := n.compareDirectory(ctx, st); err != nil {
		return err
	}
	if st.lacks || n.recovery.lost() && len(n.recovery.Suspects) > 0 {
		if err := n.doubt(n.recovery.Suspects, !st.lacks); err != nil {
			return err
		}
	}
	if err := n.recovered(st); err != nil {
		return err
	}
	n.setSettled()
	return nil
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
	if f := n.following(); f != nil {
		if err := f.Failed(); err != nil && !n.wantSnapshot.Load() && !n.syncing() && !n.between.Load() {
			return nil, err
		}
		return f, nil
	}
	remote := s.Remote()
	if n.storage() != nil {
		return nil, volume.Errorf(volume.Busy, "this node follows no more")
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
	o := n.storageOptions()
	o.leads = false // what is in its directory is not to become the volume
	if err := n.openCopy(ctx, o); err != nil {
		n.stopWith(err)
		return nil, err
	}
	return n.following(), nil
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
	n.expelled(remote, err)
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
		n.log.Warn().Str("code", "WD-1409").Err(why).Msg("this follower's directory lacks what the leader's ops need: it is compared with a snapshot")
	}
	return true
}

// refused takes note of a session that did not come about, or ended by a refusal.
func (n *node) refused(id, addr string, err error) {
	var r *wire.Refusal
	if !errors.As(err, &r) {
		return
	}
	// A copy that is not whole wins nothing: if the leader's history is another it is begun anew.
	if (r.Kind == volume.WrongHistory || r.Code == codeApart && n.follows(id)) && n.abandonSync(err) {
		return
	}
	if r.Kind == volume.Busy && r.Code != codeDuplicateID {
		return // passing: it is dialled again
	}
	if id == "" {
		n.warnStranger(addr, r.Code, r.Text)
		return
	}
	n.warnPeer(id, r.Code, r.Text)
}
