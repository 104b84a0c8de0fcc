package node

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"wolfdisk/elect"
	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// copiesNeeded is on how many nodes, this one among them, an op must be durable before fsync
// returns.
func (n *node) copiesNeeded() int {
	need := 1
	if n.cfg.Replication.Mode == "replicated" {
		need = n.cfg.Replication.Factor
	}
	if safety(n.cfg) == elect.Durable {
		need = max(need, elect.Members(n.members()).DurableQuorum())
	}
	return need
}

// codeTooFewCopies says that fsync waits for nodes, or did not get them.
const codeTooFewCopies = "WD-1350"

// replicateAgain is how soon a node that was not there is looked for again.
const replicateAgain = 20 * time.Millisecond

// replicated returns when ops through a version are durable on as many nodes as is demanded, or when
// that has taken too long and the configuration says not to wait for ever.
func (n *node) replicated(ctx context.Context, v volume.Version) error {
	need := n.copiesNeeded()
	if need <= 1 {
		return nil
	}
	timeout := n.cfg.Replication.Timeout
	degrade := n.onTimeout() == "degrade"
	if degrade && n.degraded.Load() && len(n.copies()) < need-1 {
		return nil // it is known, and said
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var (
		done  = make(chan string, 256)
		asked = map[string]bool{}
		have  = 1
		timer = time.NewTimer(timeout)
		again = time.NewTicker(replicateAgain)
	)
	defer timer.Stop()
	defer again.Stop()
	n.peers.hurry()
	for {
		for id, s := range n.copies() {
			if !asked[id] {
				asked[id] = true
				go n.askSync(ctx, id, s, v, done)
			}
		}
		select {
		case id := <-done:
			if id[0] == '!' { // that session has ended: its next one is asked
				delete(asked, id[1:])
				continue
			}
			if have++; have >= need {
				n.degraded.Store(false)
				n.unwarn(codeTooFewCopies)
				return nil
			}
		case <-again.C:
		case <-ctx.Done():
			return volume.Interrupted
		case <-n.ctx.Done():
			return errAskedToStop
		case <-timer.C:
			text := fmt.Sprintf("fsync needs %d nodes that have it on disk, and %d do", need, have)
			hint := "bring the missing nodes back; wolfdiskctl status shows who is there"
			switch {
			case degrade:
				n.degraded.Store(true)
				n.warn(codeTooFewCopies, text+": it succeeds with what there is", hint)
				return nil
			case n.onTimeout() == "eio":
				n.warn(codeTooFewCopies, text+": it fails", hint)
				return volume.Errorf(volume.IO, "%s after %s", text, timeout)
			}
			n.warn(codeTooFewCopies, text+": it waits", hint)
			timer.Reset(timeout)
		}
	}
}

// syncLimit is what is to become of an fsync that nobody answers, since nobody leads.
func (n *node) syncLimit() syncLimit {
	then, text := n.onTimeout(), "fsync needs a node that leads, and there is none"
	const hint = "wolfdiskctl status shows who is there"
	switch {
	case n.cfg.Replication.Mode != "replicated" && safety(n.cfg) != elect.Durable, then == "block":
		return syncLimit{}
	case then == "degrade":
		return syncLimit{n.cfg.Replication.Timeout, func() error {
			n.warn(codeTooFewCopies, text+": it succeeds with what there is", hint)
			st := n.storage()
			if st == nil {
				return volume.Errorf(volume.IO, "%s, and this node holds no volume", text)
			}
			return st.log.Sync(n.ctx, st.log.Last().Version) // a leader may have been deposed before its own disk was asked
		}}
	}
	return syncLimit{n.cfg.Replication.Timeout, func() error {
		n.warn(codeTooFewCopies, text+": it fails", hint)
		return volume.Errorf(volume.IO, "%s after %s", text, n.cfg.Replication.Timeout)
	}}
}

// onTimeout is what fsync does when it has waited long enough: "block", "eio" or "degrade". What level
// durable promises is not given up.
func (n *node) onTimeout() string {
	if n.cfg.Replication.OnTimeout == "degrade" && safety(n.cfg) == elect.Durable {
		return "block"
	}
	return n.cfg.Replication.OnTimeout
}

// openEpoch sees to it, on level durable, that the leader's reign is in the log: otherwise an op of an
// older epoch could be durable and still lose to a branch of an epoch in between. It comes before fsync
// asks how far the log goes, so that the reign is durable with what it protects.
func (n *node) openEpoch(l *master.Leader) error {
	if safety(n.cfg) != elect.Durable || l.Wrote() || n.copiesNeeded() <= 1 {
		return nil
	}
	return n.putMember(l, n.asMember())
}

// copies are the sessions with nodes that follow this one and count: on level durable those whose
// store is the one that is remembered.
func (n *node) copies() map[string]*wire.Session {
	members := elect.Members(n.members())
	m := map[string]*wire.Session{}
	for _, p := range n.peers.list() {
		if p.feed == nil || p.session == nil {
			continue
		}
		if known, ok := members.Get(p.hello.NodeID); safety(n.cfg) == elect.Durable && (!ok || known.Store != p.hello.Store) {
			continue
		}
		m[p.hello.NodeID] = p.session
	}
	return m
}

// askSync has a follower make ops durable, and tells its ID when they are; with a '!' before it if
// it did not.
func (n *node) askSync(ctx context.Context, id string, s *wire.Session, v volume.Version, done chan<- string) {
	b, err := s.CallAll(ctx, volume.RequestSync, binary.BigEndian.AppendUint64(nil, uint64(v)), 8)
	if err != nil || len(b) != 8 || binary.BigEndian.Uint64(b) < uint64(v) {
		id = "!" + id
		if ctx.Err() == nil && err != nil && !errors.Is(err, volume.Unavailable) {
			n.log.Debug().Err(err).Str("peer", id[1:]).Msg("a follower could not make it durable")
		}
		time.Sleep(replicateAgain)
	}
	select {
	case done <- id:
	case <-ctx.Done():
	}
}

// syncPoll is how often a follower looks whether frames have come that it is asked to make durable.
const syncPoll = 500 * time.Microsecond

// answerSync makes the log durable through a version, as soon as it is there.
func (n *node) answerSync(ctx context.Context, body []byte, w *wire.AnswerWriter) error {
	if len(body) != 8 {
		return volume.Errorf(volume.BadFormat, "a request to make durable of %d bytes", len(body))
	}
	v := volume.Version(binary.BigEndian.Uint64(body))
	for {
		st := n.storage()
		if st == nil || n.syncing() || n.between.Load() {
			return volume.Errorf(volume.Unavailable, "this node holds no whole copy yet")
		}
		if st.log.Last().Version >= v {
			if err := st.log.Sync(ctx, v); err != nil {
				return err
			}
			return w.Last(binary.BigEndian.AppendUint64(nil, uint64(st.log.Durable())))
		}
		select {
		case <-ctx.Done():
			return volume.Errorf(volume.Interrupted, "make version %d durable: %w", v, context.Cause(ctx))
		case <-time.After(syncPoll):
		}
	}
}
