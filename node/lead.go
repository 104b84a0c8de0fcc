package node

import (
	"context"
	"crypto/rand"
	"errors"
	"net"
	"time"

	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// lead makes this node the leader in an epoch that it has claimed. ready is called when the
// election may open the gate: what the directory holds and no op says becomes ops of this
// epoch, before anybody else is let in.
//
// A directory that cannot be used ends the daemon: no other node is to wait for it.
func (n *node) lead(ctx context.Context, epoch volume.Epoch, participants []string, ready func()) error {
	n.leave()
	n.retireFollower(master.Moved)
	st, err := n.openToLead(ctx)
	if err != nil {
		n.stopWith(err)
		return err
	}
	if n.recovery.lost() {
		if err := st.recoverDir(ctx, n.storageOptions(), nil); err != nil {
			n.stopWith(err)
			return err
		}
	}
	if err := n.adopt(ctx, epoch, participants); err != nil {
		n.stopWith(err)
		return err
	}
	founding := st.log.Last().Version == 0
	opt := master.Options{
		Dir: st.dir, Tree: st.tree, Log: st.log, Epoch: epoch, Participants: participants,
		SyncLogOnly: n.cfg.Volume.Fsync == "log", Observer: n.observer, Log0: n.log,
	}
	if n.cfg.Replication.Mode == "replicated" || n.cfg.Elect.Safety == "durable" {
		opt.BeforeSync, opt.Replicated = n.openEpoch, n.replicated
	}
	if !founding {
		opt.Gate = n.gate
	}
	l, err := master.New(opt)
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.starting = l
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.starting = nil
		n.mu.Unlock()
	}()
	if founding {
		err = n.found(ctx, l)
	} else if ready(); st.dir != nil && !n.settledNow() {
		err = n.settleDirectory(ctx, l)
	}
	if errors.Is(err, master.Moved) {
		l.Stop(master.Moved)
		return err
	}
	if err != nil {
		n.stopWith(err)
		return err
	}
	n.publish(l)
	if founding {
		ready()
	}
	if err := n.mountNow(ctx); err != nil {
		n.stopWith(err)
		return err
	}
	n.runHook("leader", n.cfg.Node.ID, epoch)
	return nil
}

// openToLead opens the volume, or makes one.
func (n *node) openToLead(ctx context.Context) (*storage, error) {
	if st := n.storage(); st != nil {
		n.healFromPeers(st)
		return st, nil
	}
	st := n.state.Get()
	if st.Volume.IsZero() {
		rand.Read(st.Volume[:])
		st.ChunkSize = int64(n.cfg.Volume.ChunkSize)
		if err := n.state.Update(func(s *State) { s.Volume, s.ChunkSize = st.Volume, st.ChunkSize }); err != nil {
			return nil, err
		}
	}
	opt := n.storageOptions()
	opt.postpone = true
	store, err := openStorage(ctx, opt)
	if err != nil {
		return nil, err
	}
	n.healFromPeers(store)
	n.mu.Lock()
	n.store = store
	n.mu.Unlock()
	return store, nil
}

// found makes the first ops of a new volume durable: nobody else has it yet.
func (n *node) found(ctx context.Context, l *master.Leader) error {
	st := n.storage()
	if err := n.adoptRoot(ctx, l); err != nil {
		return err
	}
	self := n.asMember()
	if err := n.putMember(l, self); err != nil {
		return err
	}
	if err := n.recovered(st); err != nil {
		return err
	}
	n.setSettled()
	l.Guard(n.gate)
	return st.log.Sync(ctx, st.log.Last().Version)
}

// settleDirectory turns into ops what the directory has and the index has not.
func (n *node) settleDirectory(ctx context.Context, l *master.Leader) error {
	if err := n.finishIntents(ctx, l); err != nil {
		return err
	}
	settled, err := n.reconcileStart(ctx, l)
	if err != nil {
		return err
	}
	end := n.recovered
	if !settled {
		end = n.postpone
	}
	if err := end(n.storage()); err != nil {
		return err
	}
	n.setSettled()
	return nil
}

// publish puts a leader in charge.
func (n *node) publish(l *master.Leader) {
	// First what the front ends have open is opened on it, then others can make it
	// write: the first ops of an epoch end inodes that nobody has open.
	n.gate.Await()
	n.attach(l)
	n.mu.Lock()
	n.leader = l
	n.phase = phaseLeading
	n.handle.led.Store(true)
	n.mu.Unlock()
	n.vacancy.end()
	n.peers.closeAll(volume.Errorf(volume.Busy, "this node has begun to lead: join again"))
	n.log.Info().Stringer("epoch", l.Epoch()).Stringer("position", n.storage().log.Last()).Msg("leading")
}

// asMember is what the cluster is to remember of this node.
func (n *node) asMember() volume.Member {
	m := volume.Member{ID: n.cfg.Node.ID, Store: n.state.Get().Store, Role: n.role, Address: n.cfg.Node.Advertise}
	if host, _, err := net.SplitHostPort(n.cfg.Node.Bind); m.Address == "" && err == nil {
		if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
			m.Address = n.cfg.Node.Bind
		}
	}
	return m
}

// rememberSelf makes this leader a member, if the cluster does not know it as it is. It does not
// begin an epoch: a leader that never wrote leaves no trace. One that was removed is taken up again by an
// operator alone.
func (n *node) rememberSelf() {
	l := n.leading()
	if l == nil || !l.Wrote() {
		return
	}
	self := n.asMember()
	for _, known := range n.members() {
		if known.ID == self.ID && (known.Removed || known == self || self.Address == "" && known.Role == self.Role && known.Store == self.Store) {
			return
		}
	}
	if err := n.putMember(l, self); err != nil && !errors.Is(err, master.Moved) {
		n.log.Warn().Err(err).Msg("could not record this node as a member")
	}
}

func (n *node) pull(ctx context.Context, s *wire.Session) error {
	st := n.storage()
	tree := st.tree
	if st.dir != nil && n.recovery.lost() {
		// The directory may hold effects of these very ops: they are redone with all others.
		tree = index.NewTree(st.engine, redoneLater{})
	}
	return master.CatchUp(ctx, s, tree, st.log, n.observer)
}

// redoneLater is a backing that leaves ops to a later redo.
type redoneLater struct{ volume.Backing }

// Apply implements volume.Backing.
func (redoneLater) Apply(_ context.Context, op *volume.Op, _ volume.View) (volume.Applied, error) {
	return volume.Applied{N: len(op.Data)}, nil
}

// checkpoint makes the directory durable now and then, so that a power loss leaves
// little to redo.
func (n *node) checkpoint(ctx context.Context) {
	t := time.NewTicker(checkpointEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := n.checkpointNow(); err != nil {
			n.warn("WD-1152", "the directory could not be made durable: "+err.Error(), "look at the disk; what the log holds is not lost")
		}
	}
}

const checkpointEvery = time.Minute

func (n *node) checkpointNow() error {
	st := n.storage()
	if st == nil || st.dir == nil || n.syncing() || n.between.Load() {
		return nil
	}
	return n.checkpointOf(st)
}

func (n *node) checkpointOf(st *storage) error {
	// One at a time, so that the version in the state file only grows: the log is trimmed
	// by it.
	n.checkpointMu.Lock()
	defer n.checkpointMu.Unlock()
	v := st.engine.Position().Version
	if n.state.Get().Checkpoint == v {
		return nil
	}
	began := time.Now()
	// After it, nobody looks at the ops before it for times that were put off.
	records, err := st.dir.SettleAll(st.engine)
	if err != nil {
		n.log.Warn().Err(err).Str("code", "WD-1153").Msg("could not set times in the real directory; trying again")
	}
	err = errors.Join(st.engine.PutLower(records), st.dir.Checkpoint(n.ctx), st.engine.Flush())
	if err != nil {
		return err
	}
	n.checkpointAt, n.checkpointTook = time.Now(), time.Since(began)
	return n.state.Update(func(s *State) { s.Checkpoint = v })
}
