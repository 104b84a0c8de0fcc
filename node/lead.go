package node

import (
	"context"
	"errors"
	"time"

	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

const (
	// askPeers is how long a starting leader gives the nodes it knows to answer, when
	// its own log is known to be complete.
	askPeers = 1 * time.Second
	// askPeersAfterLoss is the same after a power loss, when its log may lack what
	// followers hold.
	askPeersAfterLoss = 30 * time.Second
)

// startLeading makes this node the leader: it hears what the others hold, pulls what it
// lacks, claims an epoch and takes changes.
func (n *node) startLeading(ctx context.Context) error {
	if err := n.hearOthers(ctx); err != nil {
		return err
	}
	st := n.storage()
	if n.recovery.lost() {
		if err := st.recoverDir(ctx, n.storageOptions()); err != nil {
			return err
		}
	}
	if err := n.adopt(ctx); err != nil {
		return err
	}
	epoch, err := n.claim()
	if err != nil {
		return err
	}
	fresh := st.log.Last().Version == 0
	opt := master.Options{
		Dir: st.dir, Tree: st.tree, Log: st.log, Epoch: epoch, Participants: n.participants(),
		SyncLogOnly: n.cfg.Volume.Fsync == "log", Observer: n.observer, Log0: n.log,
	}
	l, err := master.New(opt)
	if err != nil {
		return err
	}
	if fresh {
		err = n.adoptRoot(ctx, l)
	} else {
		err = n.finishIntents(ctx, l)
	}
	for _, step := range []func() error{
		func() error { return n.reconcileStart(ctx, l) },
		func() error { return n.recovered(n.storage()) },
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return err
	}
	// First what the front ends have open is opened on it, then others can make it
	// write: the first ops of an epoch end inodes that nobody has open.
	n.attach(l)
	n.mu.Lock()
	n.leader = l
	n.phase = phaseLeading
	n.mu.Unlock()
	n.peers.closeAll(volume.Errorf(volume.Busy, "this node has begun to lead: join again"))
	n.log.Info().Str("epoch", epoch.String()).Str("position", st.log.Last().String()).Msg("leading")
	return nil
}

// claim makes the next epoch and promises it before anybody hears of it.
func (n *node) claim(promises ...volume.Epoch) (volume.Epoch, error) {
	promises = append(promises, n.state.Get().Promise)
	for _, p := range n.peers.list() {
		promises = append(promises, p.hello.Promise)
	}
	e := nextEpoch(n.cfg.Node.ID, n.storage().engine.Lineage(), promises...)
	if e.IsZero() {
		return e, volume.Errorf(volume.Fenced, "a peer has promised the last epoch there can be: remove its state directory, or that of this node")
	}
	return e, n.state.Update(func(s *State) { s.Promise = e })
}

// participants are the nodes that are there when an epoch is claimed.
func (n *node) participants() []string {
	ids := []string{n.cfg.Node.ID}
	for _, p := range n.peers.list() {
		if p.session != nil {
			ids = append(ids, p.hello.NodeID)
		}
	}
	return ids
}

// hearOthers waits for the nodes this one knows, as long as they may hold something it
// lacks, and pulls it.
func (n *node) hearOthers(ctx context.Context) error {
	wait := askPeers
	if n.lostPower() {
		wait = askPeersAfterLoss
	}
	deadline := time.Now().Add(wait)
	for {
		if err := n.pullFromAhead(ctx); err != nil {
			return err
		}
		missing := n.unheard()
		if len(missing) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			n.log.Warn().Strs("addresses", missing).Str("code", "WD-1201").Msg("these nodes were not heard before leading; what only they hold will be refused as another history")
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// lostPower reports whether the last run may have lost what it had not synced.
func (n *node) lostPower() bool {
	return n.recovery.lost() || !n.prev.Clean && n.prev.Boot != "" && n.prev.Boot != n.boot
}

// unheard are the addresses of known nodes that have neither answered nor refused a
// connection since the start.
func (n *node) unheard() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var missing []string
	for addr, heard := range n.dialled {
		if !heard {
			missing = append(missing, addr)
		}
	}
	return missing
}

// pullFromAhead pulls from every connected peer that is ahead on our own history.
func (n *node) pullFromAhead(ctx context.Context) error {
	st := n.storage()
	for _, p := range n.peers.list() {
		if p.session == nil || !p.hello.Leading.IsZero() {
			continue
		}
		j, err := st.compare(&p.hello)
		if err != nil {
			return err
		}
		if j.kind != joinAhead {
			continue
		}
		n.log.Info().Str("peer", p.hello.NodeID).Str("position", p.hello.Position.String()).Msg("a follower is ahead: pulling its ops before leading")
		if err := n.pull(ctx, p.session); err != nil {
			n.log.Warn().Err(err).Str("peer", p.hello.NodeID).Msg("could not pull from it; trying again")
			if errors.Is(err, volume.WrongHistory) || errors.Is(err, volume.Corrupt) {
				return err
			}
		}
	}
	return nil
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
