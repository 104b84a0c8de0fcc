package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// Hello implements wire.Handler: what this node says of itself, and whom it accepts.
func (n *node) Hello(remote wire.Hello) (wire.Hello, error) {
	if remote.Caps&wire.CapControl != 0 {
		if !n.elects() {
			return n.controlHello(), &wire.Refusal{Kind: volume.Busy, Code: "WD-1315", Text: "node " + n.cfg.Node.ID + " is still opening its volume: try again"}
		}
		return n.controlHello(), n.acceptIdentity(&remote)
	}
	if remote.Caps&wire.CapStream != 0 {
		return n.streamHello(), n.acceptStream(&remote)
	}
	local := n.hello()
	if !n.elects() || n.storage() == nil && !local.Volume.IsZero() {
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

// address is where others reach this node: what it advertises, or its port at the host they see.
func (n *node) address() string {
	if n.cfg.Node.Advertise != "" {
		return n.cfg.Node.Advertise
	}
	_, port, err := net.SplitHostPort(n.cfg.Node.Bind)
	if err != nil {
		return ""
	}
	return ":" + port
}

func (n *node) hello() wire.Hello {
	st := n.state.Get()
	h := wire.Hello{
		Software: "wolfdisk " + n.version, Volume: st.Volume, ChunkSize: uint32(st.ChunkSize),
		Boot:    wire.Boot{ID: n.boot, Started: n.started.UnixNano(), Clean: n.prev.Clean},
		Promise: st.Promise, Address: n.address(),
	}
	n.mu.Lock()
	s, l, c := n.store, n.leader, n.sync
	n.mu.Unlock()
	if s != nil && !n.between.Load() {
		h.Position, h.Lineage = s.position()
		h.Durable, h.Consistent = s.log.Durable(), true
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
		return otherVolume(n.cfg.Node.ID, h, st.Volume)
	}
	if err := n.peers.duplicate(h); err != nil {
		return err
	}
	if !n.isWitness() { // a leader is to tell it who was taken up again
		if err := n.removed(h); err != nil {
			return err
		}
	}
	if mine := *n.elector.obeyed.Load(); !h.Leading.IsZero() && h.Leading.Compare(mine) < 0 {
		return &wire.Refusal{Kind: volume.Fenced, Code: "WD-1305", Promise: mine, Text: fmt.Sprintf(
			"node %s obeys epoch %s, which is above %s", n.cfg.Node.ID, mine, h.Leading)}
	}
	n.mu.Lock()
	l, s := n.leader, n.store
	n.mu.Unlock()
	if l == nil || !h.Leading.IsZero() || h.Role == volume.RoleClient {
		return nil
	}
	if h.Role == volume.RoleWitness {
		return nil
	}
	return n.acceptFollower(s, h)
}

// acceptIdentity decides about the hello of a control session.
func (n *node) acceptIdentity(h *wire.Hello) error {
	st := n.state.Get()
	if !h.Volume.IsZero() && !st.Volume.IsZero() && h.Volume != st.Volume {
		return otherVolume(n.cfg.Node.ID, h, st.Volume)
	}
	if err := n.removed(h); err != nil {
		return err
	}
	return n.peers.duplicate(h)
}

func otherVolume(self string, h *wire.Hello, mine volume.ID) error {
	return &wire.Refusal{Kind: volume.WrongVolume, Code: "WD-1303", Text: fmt.Sprintf(
		"node %s holds volume %s, node %s holds volume %s: two volumes need two cluster keys and state directories of their own",
		h.NodeID, h.Volume, self, mine)}
}

// elects reports whether this node takes part in the election yet.
func (n *node) elects() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.elector != nil
}

// codeApart says that a leader's and another node's histories went apart.
const codeApart = "WD-1310"

// acceptFollower compares a follower's history with ours. How two histories that went apart come
// together again is the election's business; here such a copy is only kept out.
func (n *node) acceptFollower(s *storage, h *wire.Hello) error {
	j, err := s.compare(h)
	if err != nil {
		return err
	}
	switch j.kind {
	case joinDamaged:
		return &wire.Refusal{Kind: volume.WrongHistory, Code: "WD-1311", Text: fmt.Sprintf(
			"nodes %s and %s are at version %d of one history but hold different ops: one of the logs is damaged; nothing is changed on either",
			n.cfg.Node.ID, h.NodeID, h.Position.Version)}
	case joinFork, joinAhead:
		return &wire.Refusal{Kind: volume.Busy, Code: codeApart, Text: fmt.Sprintf(
			"the copies on %s and %s went apart behind version %d: what only the loser has becomes a conflict before it follows", n.cfg.Node.ID, h.NodeID, j.common)}
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
func (n *node) Session(s *wire.Session) {
	if s.Remote().Caps&wire.CapControl != 0 {
		n.control.session(n.ctx, s, false)
		return
	}
	n.session(n.ctx, s, false)
}

// Refused implements wire.RefusalObserver for those who dial this node: each of their tries comes
// from another port.
func (n *node) Refused(remote wire.Hello, addr string, err error) {
	n.expelled(&remote, err)
	n.refused(remote.NodeID, hostOf(addr), err)
}

// dialer greets peers that this node dials.
type dialer struct {
	*node
	answered func(id string)
}

// freshFor is how long a session is taken for alive, so that one that was dialled at the same time
// does not take its place.
const freshFor = 5 * time.Second

// Refused implements wire.RefusalObserver.
func (d *dialer) Refused(remote wire.Hello, addr string, err error) {
	d.expelled(&remote, err)
	d.refused(remote.NodeID, addr, err)
}

// Hello implements wire.Handler.
func (d *dialer) Hello(remote wire.Hello) (wire.Hello, error) {
	local, err := d.node.Hello(remote)
	if err == nil && remote.Heard() {
		d.answered(remote.NodeID)
		if d.peers.fresh(remote.NodeID, remote.Boot.Started) {
			err = volume.Errorf(volume.Busy, "there is a session between these two nodes already")
		}
	}
	return local, err
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
	n.unwarnPeer(remote.NodeID, s.Addr())
	log.Info().Str("position", remote.Position.String()).Bool("leads", !remote.Leading.IsZero()).Msg("connected")
	err := n.runSession(ctx, s)
	s.Close(err)
	log.Info().AnErr("why", err).Msg("disconnected")
	n.sessionEnded(&remote, err)
	return err
}

func (n *node) runSession(ctx context.Context, s *wire.Session) error {
	remote := s.Remote()
	switch {
	case n.isWitness():
		return n.attend(ctx, s)
	case remote.Role == volume.RoleWitness:
		return n.attended(ctx, s)
	}
	if l := n.leading(); l != nil && remote.Leading.IsZero() {
		if s.Local().Leading != l.Epoch() {
			return volume.Errorf(volume.Busy, "this node has begun to lead: join again")
		}
		return n.feed(ctx, l, s)
	}
	me := n.beginFollowing(ctx, s)
	if me == nil {
		return n.idle(ctx, s)
	}
	defer func() {
		n.mu.Lock()
		n.followed = nil
		n.mu.Unlock()
		close(me.done)
	}()
	return n.follow(ctx, s)
}

// beginFollowing makes a session the one on which this node follows, if it is with the leader that
// is obeyed; nil if it is not. One that is coming to its end is waited for.
func (n *node) beginFollowing(ctx context.Context, s *wire.Session) *followSession {
	remote := s.Remote()
	for {
		n.mu.Lock()
		if n.reign.epoch.IsZero() || n.reign.leader != remote.NodeID || n.reign.epoch != remote.Leading {
			n.mu.Unlock()
			return nil
		}
		old := n.followed
		if old == nil {
			me := &followSession{s: s, done: make(chan struct{})}
			n.followed = me
			n.mu.Unlock()
			return me
		}
		n.mu.Unlock()
		select {
		case <-old.done:
		case <-s.Done():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
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
		err := volume.Errorf(volume.Busy, "positions have changed: join again")
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

// remember makes a follower a member, if the cluster does not know it as it is.
func (n *node) remember(l *master.Leader, h *wire.Hello, address string) {
	m := volume.Member{ID: h.NodeID, Store: h.Store, Role: h.Role, Address: address}
	for _, known := range n.storage().engine.Members() {
		if known.ID != m.ID {
			continue
		}
		if known == m || known.Removed {
			return
		}
		if known.Store != m.Store && !known.Store.IsZero() {
			m.Store = known.Store
			if known == m {
				return
			}
		}
	}
	if err := n.putMember(l, m); err != nil {
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
