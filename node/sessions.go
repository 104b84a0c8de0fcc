package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"

	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// Hello implements wire.Handler: what this node says of itself, and whom it accepts.
func (n *node) Hello(remote wire.Hello) (wire.Hello, error) {
	local := n.hello()
	if n.storage() == nil && !local.Volume.IsZero() {
		return local, &wire.Refusal{Kind: volume.Busy, Code: "WD-1315", Text: "node " + n.cfg.Node.ID + " is still opening its volume: try again"}
	}
	if !remote.Heard() {
		return local, nil
	}
	if err := n.accept(&remote); err != nil {
		return local, err
	}
	return n.hello(), nil // a promise may have grown
}

func (n *node) hello() wire.Hello {
	st := n.state.Get()
	h := wire.Hello{
		Software: "wolfdisk " + n.version, Volume: st.Volume, ChunkSize: uint32(st.ChunkSize),
		Boot:    wire.Boot{ID: n.boot, Started: n.started.UnixNano(), Clean: n.prev.Clean},
		Promise: st.Promise, Address: n.cfg.Node.Advertise,
	}
	if h.Address == "" {
		if _, port, err := net.SplitHostPort(n.cfg.Node.Bind); err == nil {
			h.Address = ":" + port
		}
	}
	n.mu.Lock()
	s, l, c := n.store, n.leader, n.sync
	n.mu.Unlock()
	if s != nil {
		h.Position, h.Lineage, h.Durable = s.log.Last(), s.engine.Lineage(), s.log.Durable()
		h.Consistent = !n.between.Load()
	}
	if c != nil && c.Begun() { // what joins is the copy that is being made
		h.Position, h.Lineage = c.Position()
		_, _, h.Durable = c.Progress()
		h.Consistent = false
	}
	if l != nil {
		h.Leading = l.Epoch()
	}
	return h
}

// accept decides about a peer's hello.
func (n *node) accept(h *wire.Hello) error {
	st := n.state.Get()
	if !h.Volume.IsZero() && !st.Volume.IsZero() && h.Volume != st.Volume {
		return &wire.Refusal{Kind: volume.WrongVolume, Code: "WD-1303", Text: fmt.Sprintf(
			"node %s holds volume %s, node %s holds volume %s: two volumes need two cluster keys and state directories of their own",
			h.NodeID, h.Volume, n.cfg.Node.ID, st.Volume)}
	}
	if err := n.peers.duplicate(h); err != nil {
		return err
	}
	if err := n.promise(h.Leading); err != nil {
		return err
	}
	n.mu.Lock()
	l, s := n.leader, n.store
	n.mu.Unlock()
	if l == nil || !h.Leading.IsZero() || h.Role == volume.RoleClient || h.Role == volume.RoleWitness {
		return nil
	}
	return n.acceptFollower(l, s, h)
}

// promise agrees to obey a leader's epoch, or refuses one below what was promised.
func (n *node) promise(e volume.Epoch) error {
	if e.IsZero() {
		return nil
	}
	mine := n.state.Get().Promise
	switch c := e.Compare(mine); {
	case c == 0:
		return nil
	case c < 0:
		return &wire.Refusal{Kind: volume.Fenced, Code: "WD-1305", Promise: mine, Text: fmt.Sprintf(
			"node %s obeys epoch %s, which is above %s", n.cfg.Node.ID, mine, e)}
	}
	if l := n.leading(); l != nil {
		// Somebody leads above us. Accepting further writes could only make a fork.
		l.Stop(volume.Errorf(volume.Fenced, "epoch %s leads, above this node's %s", e, l.Epoch()))
		n.warn("WD-1320", fmt.Sprintf("this leader was fenced by epoch %s and accepts no more writes", e),
			"compare both nodes with 'wolfdiskctl status', stop the one that should not lead and restart the other")
	}
	return n.state.Update(func(s *State) {
		if e.Compare(s.Promise) > 0 {
			s.Promise = e
		}
	})
}

// acceptFollower compares a follower's history with ours.
func (n *node) acceptFollower(l *master.Leader, s *storage, h *wire.Hello) error {
	if h.Promise.Compare(l.Epoch()) > 0 && l.Wrote() {
		return &wire.Refusal{Kind: volume.Fenced, Code: "WD-1305", Promise: h.Promise, Text: fmt.Sprintf(
			"node %s has promised epoch %s to another leader, above %s of this one", h.NodeID, h.Promise, l.Epoch())}
	}
	j, err := s.compare(h)
	if err != nil {
		return err
	}
	wrong := func(code, format string, args ...any) error {
		return &wire.Refusal{Kind: volume.WrongHistory, Code: code, Text: fmt.Sprintf(format, args...)}
	}
	switch j.kind {
	case joinFork:
		return wrong("WD-1310", "the copies on %s and %s went apart behind version %d: both were written; nothing is changed on either. Move the state directory of the one to be dropped away, then let it sync anew",
			n.cfg.Node.ID, h.NodeID, j.common)
	case joinDamaged:
		return wrong("WD-1311", "nodes %s and %s are at version %d of one history but hold different ops: one of the logs is damaged; nothing is changed on either",
			n.cfg.Node.ID, h.NodeID, h.Position.Version)
	case joinAhead:
		if l.Wrote() {
			return wrong("WD-1310", "node %s holds ops up to version %d that this leader has not, and this leader has written since: the copies went apart behind version %d; nothing is changed on either",
				h.NodeID, h.Position.Version, j.common)
		}
	}
	return nil
}

// compare relates a peer's copy to this one.
func (s *storage) compare(h *wire.Hello) (join, error) {
	return compareHistory(history{
		pos: s.log.Last(), lineage: s.engine.Lineage(), first: s.log.First(), at: s.log.PositionAt,
	}, h.Position, h.Lineage)
}

// Session implements wire.Handler for sessions that peers dialled.
func (n *node) Session(s *wire.Session) { n.session(n.ctx, s, false) }

// Refused implements wire.RefusalObserver.
func (n *node) Refused(remote wire.Hello, addr string, err error) {
	n.refused(remote.NodeID, addr, err)
}

// dial keeps a session to one address for as long as the node runs.
func (n *node) dial(ctx context.Context, addr string) {
	id := "" // who answered there last
	addrs := func() []string {
		if id == n.cfg.Node.ID || id != "" && n.peers.connected(id) {
			return nil
		}
		return []string{addr}
	}
	wire.DialLoop(ctx, n.wire, addrs, n, func(ctx context.Context, s *wire.Session) error {
		id = s.Remote().NodeID
		n.heard(addr)
		return n.session(ctx, s, true)
	})
}

// session runs one session to its end.
func (n *node) session(ctx context.Context, s *wire.Session, dialled bool) error {
	for !n.peers.attach(n.cfg.Node.ID, s, dialled) {
		if !n.peers.lost(ctx, s) {
			err := volume.Errorf(volume.Busy, "there is a session between these two nodes already")
			s.Close(err)
			return err
		}
	}
	defer n.peers.detach(s)
	remote := s.Remote()
	log := n.log.With().Str("peer", remote.NodeID).Str("address", s.Addr()).Logger()
	n.unwarnPeer(remote.NodeID)
	log.Info().Str("position", remote.Position.String()).Bool("leads", !remote.Leading.IsZero()).Msg("connected")
	err := n.runSession(ctx, s)
	s.Close(err)
	log.Info().AnErr("why", err).Msg("disconnected")
	n.sessionEnded(&remote, err)
	return err
}

func (n *node) runSession(ctx context.Context, s *wire.Session) error {
	remote := s.Remote()
	if l := n.leading(); l != nil && remote.Leading.IsZero() {
		if s.Local().Leading != l.Epoch() {
			return volume.Errorf(volume.Busy, "this node has begun to lead: join again")
		}
		return n.feed(ctx, l, s)
	}
	if !remote.Leading.IsZero() && n.leading() == nil {
		return n.follow(ctx, s)
	}
	return n.idle(ctx, s)
}

// feed serves a follower.
func (n *node) feed(ctx context.Context, l *master.Leader, s *wire.Session) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	remote := s.Remote()
	j, err := n.storage().compare(&remote)
	if err != nil {
		return err
	}
	host := &host{n: n, l: l, s: s, join: j.kind, start: make(chan volume.Version, 1)}
	defer host.end()
	sink := &leaderSink{log: n.storage().log, chunks: n.answerChunk, answer: host.answer}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, sink) }()
	if j.kind != joinStream && j.kind != joinTooOld {
		if j.kind == joinAhead {
			err = n.pullBehind(ctx, l, s)
		}
		if err == nil {
			err = volume.Errorf(volume.Busy, "positions have changed: join again")
		}
		s.Close(err)
		<-served
		return err
	}
	go n.remember(l, &remote, addressOf(s))
	fed := make(chan error, 1)
	for {
		select {
		case v := <-host.start:
			feed := l.NewFeed(s, v)
			sink.feed.Store(feed)
			n.peers.setFeed(s, feed)
			go func() { fed <- feed.Run(ctx) }()
		case err := <-served:
			cancel(err)
			if sink.feed.Load() != nil {
				<-fed
			}
			return err
		case err := <-fed:
			s.Close(err)
			<-served
			return err
		}
	}
}

// pullBehind takes from a follower what it holds more than this leader, which has not
// written yet, and claims an epoch above what came.
func (n *node) pullBehind(ctx context.Context, l *master.Leader, s *wire.Session) error {
	st := n.storage()
	n.log.Info().Str("peer", s.Remote().NodeID).Str("position", s.Remote().Position.String()).Msg("a follower is ahead: writes wait until its ops are here")
	err := l.Hold(func() (volume.Epoch, error) {
		if err := master.CatchUp(ctx, s, st.tree, st.log, n.observer); err != nil {
			return volume.Epoch{}, err
		}
		return n.claim(s.Remote().Promise)
	})
	if err != nil {
		return err
	}
	n.peers.closeAll(volume.Errorf(volume.Busy, "this node leads in a new epoch: join again"))
	return nil
}

// remember makes a follower a member, if the cluster does not know it as it is.
func (n *node) remember(l *master.Leader, h *wire.Hello, address string) {
	m := volume.Member{ID: h.NodeID, Store: h.Store, Role: h.Role, Address: address}
	for _, known := range n.storage().engine.Members() {
		if known.ID != m.ID {
			continue
		}
		if known == m {
			return
		}
		if known.Store != m.Store {
			n.warn("WD-1321", fmt.Sprintf("node %s came back with another state directory (store %s, remembered %s): it was wiped or replaced", m.ID, m.Store, known.Store),
				"nothing need be done if this was intended")
			m.Store = known.Store
			if known == m {
				return
			}
		}
	}
	if err := l.PutMember(m); err != nil {
		n.log.Warn().Err(err).Str("peer", m.ID).Msg("could not record the member")
	}
}

// idle serves a session on which there is nothing to do until somebody leads; the
// peer may still ask.
func (n *node) idle(ctx context.Context, s *wire.Session) error {
	sink := &leaderSink{chunks: n.answerChunk, answer: n.answer}
	if st := n.storage(); st != nil {
		sink.log = st.log
	}
	return s.Serve(ctx, sink)
}

// leaderSink takes what a session brings to a node that does not follow on it.
type leaderSink struct {
	feed atomic.Pointer[master.Feed] // nil while none runs
	log  *oplog.Log                  // nil before there is a volume
	// chunks answers requests for chunks.
	chunks func(context.Context, []byte, *wire.AnswerWriter) error
	// answer answers everything else.
	answer func(context.Context, uint16, []byte, *wire.AnswerWriter) error
}

func (k *leaderSink) Frame([]byte) error {
	return volume.Errorf(volume.WrongHistory, "this node takes no frames on this session")
}

func (k *leaderSink) Progress(p wire.Progress) {
	if f := k.feed.Load(); f != nil {
		f.Progress(p)
	}
}

func (k *leaderSink) Durable(volume.Version) {}

func (k *leaderSink) Request(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	switch {
	case kind == volume.RequestChunk:
		return k.chunks(ctx, body, w)
	case kind == volume.RequestPull && k.log != nil:
		return k.log.AnswerPull(ctx, body, w)
	case kind == volume.RequestPosition && k.log != nil:
		return w.Last(binary.BigEndian.AppendUint64(nil, uint64(k.log.Last().Version)))
	}
	return k.answer(ctx, kind, body, w)
}
