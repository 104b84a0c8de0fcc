package sim

import (
	"context"
	"slices"
	"testing/synctest"
	"time"

	"wolfdisk/master"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// stream is a data session between a leader and a follower: what is sent arrives in order, or the
// session ends. The leader's side is a master.Feed, the follower's slave.Report and
// Follower.Receive.
type stream struct {
	s                *sim
	epoch            volume.Epoch
	leader, follower *node
	lgen, fgen       int
	hello            hello
	down, up         *pipe // to the follower, and to the leader
	feed             *master.Feed
	ctx              context.Context
	cancel           context.CancelFunc
	taken            bool               // the follower follows on it
	hush             context.CancelFunc // of its reports
	over             bool
}

// hello is what a follower says of itself.
type hello struct {
	epoch      volume.Epoch // that it obeys
	pos        volume.Position
	lineage    volume.Lineage
	durable    volume.Version
	store      volume.ID
	consistent bool
}

// pipe is one direction of a stream.
type pipe struct {
	*lane
	st      *stream
	from    *node
	to      *node
	gen     int // the receiver's run
	last    time.Duration
	waiting []func() // in the order sent; guarded by sim.mu
	held    time.Duration
}

// breakAfter is how long a session outlives a network that carries nothing.
const breakAfter = 3 * time.Second

func (s *sim) newStream(l, f *node, fgen int, h hello) *stream {
	st := &stream{s: s, epoch: h.epoch, leader: l, follower: f, lgen: l.gen, fgen: fgen, hello: h}
	st.down = &pipe{lane: s.newLane(), st: st, from: l, to: f, gen: fgen}
	st.up = &pipe{lane: s.newLane(), st: st, from: f, to: l, gen: l.gen}
	st.ctx, st.cancel = context.WithCancel(l.ctx)
	st.hush = func() {}
	return st
}

// send sends something. It may be called by the goroutine that the direction belongs to, or by
// the simulation while that one is at rest.
func (p *pipe) send(arrive func()) {
	s := p.st.s
	s.mu.Lock()
	defer s.mu.Unlock()
	p.waiting = append(p.waiting, arrive)
	d := between(p.rnd, 100*time.Microsecond, 3*ms)
	if slow := s.net.slow; slow > 0 && p.rnd.IntN(100) < slow {
		d = between(p.rnd, 10*ms, 400*ms)
	}
	p.last = max(p.last, s.clock()+d)
	p.pushLocked(p.last, p.to, p.gen, p.arrive)
}

// arrive brings the first of what waits, if the network carries anything.
func (p *pipe) arrive() {
	s, st := p.st.s, p.st
	if st.over {
		return
	}
	stuck := s.net.cutBetween(p.from, p.to)
	switch {
	case stuck && p.held == 0:
		p.held = s.now
	case stuck && s.now-p.held > breakAfter, s.net.loss > 0 && s.chance(s.net.loss/4):
		st.end()
		return
	case !stuck:
		p.held = 0
	}
	if stuck || s.now < p.to.hung {
		s.mu.Lock()
		p.pushLocked(s.now+s.between(20*ms, 60*ms), p.to, p.gen, p.arrive)
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	first := p.waiting[0]
	p.waiting = p.waiting[1:]
	s.mu.Unlock()
	first()
}

// Remote implements master.Receiver.
func (st *stream) Remote() wire.Hello {
	return wire.Hello{Identity: wire.Identity{NodeID: st.follower.id, Store: st.hello.store}, Position: st.hello.pos, Lineage: st.hello.lineage, Durable: st.hello.durable, Consistent: st.hello.consistent}
}

// SendFrames implements master.Receiver.
func (st *stream) SendFrames(ctx context.Context, frames [][]byte) error {
	if ctx.Err() != nil {
		return volume.Errorf(volume.Interrupted, "the session has ended")
	}
	for _, b := range frames {
		b = slices.Clone(b)
		st.down.send(func() { st.follower.frame(st, b) })
	}
	return nil
}

// SendDurable implements master.Receiver. A follower does nothing about it.
func (st *stream) SendDurable(volume.Version) error {
	if st.ctx.Err() != nil {
		return volume.Errorf(volume.Interrupted, "the session has ended")
	}
	return nil
}

// end ends the session; both sides notice.
func (st *stream) end() {
	if st.over {
		return
	}
	st.over = true
	st.cancel()
	st.hush()
	if st.leader.gen == st.lgen {
		st.leader.streams = slices.DeleteFunc(st.leader.streams, func(o *stream) bool { return o == st })
	}
	if st.follower.data == st {
		st.follower.data = nil
	}
}

// joining asks the leader to be fed, again and again while this node follows.
func (n *node) joining() {
	s := n.s
	n.s.after(s.between(40*ms, 120*ms), n, n.joining)
	l := s.node(n.reign.leader)
	if l == nil || n.data != nil || n.follower == nil && n.volume {
		return
	}
	if n.role == volume.RoleWitness {
		s.net.carry(n, l, func() {
			if l.leader != nil {
				l.remember(n.id, n.store, n.role)
			}
		})
		return
	}
	h := hello{epoch: n.reign.epoch, store: n.store, consistent: true}
	if n.st != nil {
		h.pos, h.lineage = n.st.position()
		h.durable, h.consistent = n.st.log.Durable(), !n.between
	}
	gen := n.gen
	s.net.carry(n, l, func() { l.joined(n, gen, h) })
}

// joined begins to feed a follower whose copy is a prefix of this one.
func (n *node) joined(f *node, fgen int, h hello) {
	s := n.s
	if n.leader == nil || n.leader.Epoch() != h.epoch || s.now < n.hung {
		return
	}
	if !n.isPrefix(h) {
		if h.between() {
			s.net.carry(n, f, func() { f.abandon(fgen, h) })
		}
		return
	}
	for _, old := range slices.Clone(n.streams) { // one session per pair
		if old.follower == f {
			old.end()
		}
	}
	st := s.newStream(n, f, fgen, h)
	n.streams = append(n.streams, st)
	n.remember(f.id, h.store, f.role)
	through := n.st.log.Last().Version
	st.down.send(func() { f.accepted(st, through) })
	st.feed = n.leader.NewFeed(st, h.pos.Version)
	go func() {
		err := st.feed.Run(st.ctx)
		if st.ctx.Err() == nil {
			st.down.push(s.clock(), n, st.lgen, func() {
				s.note("%s can no longer feed %s: %v", n.id, f.id, err)
				st.end()
			})
		}
	}()
}

// abandon drops a copy that is being made, if the leader does not share its history.
func (n *node) abandon(gen int, h hello) {
	if n.gen != gen || !n.between || n.data != nil || n.reign.epoch != h.epoch || n.st.position1() != h.pos {
		return
	}
	n.s.note("%s begins its copy anew: that which was being made, at %s, does not fit the leader", n.id, h.pos)
	n.retireFollower()
	n.through = 0
	n.st.close()
	n.st = nil
	n.open()
	n.becomeFollower()
}

// isPrefix is what the host compares when a follower joins.
func (n *node) isPrefix(h hello) bool {
	mine, lineage := n.st.log.Last(), n.st.engine.Lineage()
	v := h.pos.Version
	if v > mine.Version || volume.CommonPrefix(lineage, mine.Version, h.lineage, v) < v {
		return false
	}
	if v == 0 {
		return true
	}
	at, err := n.st.log.PositionAt(v)
	if err != nil {
		n.s.check.violated("%s does not find version %d in its log, which ends at %s: %v", n.id, v, mine, err)
		return false
	}
	if at.Digest != h.pos.Digest {
		n.s.check.violated("I3: %s holds %s, and %s of the same lineage", n.id, at, h.pos)
		return false
	}
	return true
}

// accepted begins to follow on a stream, unless a higher epoch is obeyed by now: fencing is by
// session.
func (n *node) accepted(st *stream, through volume.Version) {
	s := n.s
	fenced := st.epoch.Compare(n.obeyed) < 0 && s.bug.host != noFencing
	if n.data != nil || n.reign != (reign{st.leader.id, st.epoch}) || fenced {
		st.end()
		return
	}
	if !n.volume {
		n.volume = true
		n.open()
		n.becomeFollower()
	}
	if n.follower == nil {
		st.end()
		return
	}
	if n.st.position1() != st.hello.pos {
		st.end() // it is not where it was any more
		return
	}
	n.data, st.taken = st, true
	if n.between && n.through == 0 {
		n.through = through
	}
	n.copied()
	f := n.follower
	ctx, cancel := context.WithCancel(n.ctx)
	st.hush = cancel
	go slave.Report(ctx, func() slave.Receiver { return f }, func(p wire.Progress) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		st.up.send(func() { st.feed.Progress(p) })
		return nil
	})
}

// frame gives the follower a frame that has come.
func (n *node) frame(st *stream, b []byte) {
	if n.data != st || n.follower == nil {
		return
	}
	n.s.check.apply(n, st.epoch)
	if err := n.follower.Receive(n.ctx, b); err != nil {
		n.s.note("%s does not take a frame of %s: %v", n.id, st.leader.id, err)
		n.s.check.wellFed(n, err)
		st.end()
		return
	}
	synctest.Wait() // the report says what is durable now
	n.s.check.saw(n)
	n.copied()
}

// copied ends the making of a new copy, if all is there.
func (n *node) copied() {
	if n.through == 0 || n.st.log.Last().Version < n.through {
		return
	}
	if !n.st.syncAll() || !n.st.must(n.st.engine.Flush()) {
		return
	}
	n.between, n.through = false, 0
	n.s.note("%s holds a new copy at %s", n.id, n.st.position1())
}

// askSync asks the followers to make the log durable through a version.
func (n *node) askSync(w *fsync) {
	for _, st := range slices.Clone(n.streams) {
		if w.asked[st] || !st.taken {
			continue
		}
		w.asked[st] = true
		st.down.send(func() { st.follower.syncThrough(st, w) })
	}
}

// syncThrough answers askSync as soon as the ops are here and durable.
func (n *node) syncThrough(st *stream, w *fsync) {
	s := n.s
	if n.data != st {
		return
	}
	if n.st.log.Last().Version < w.version {
		s.after(s.between(ms, 5*ms), n, func() { n.syncThrough(st, w) })
		return
	}
	n.onDisk(func() {
		if n.data != st {
			return
		}
		if s.bug.host != earlySync && !n.st.sync(w.version) {
			return
		}
		st.up.send(func() { st.leader.syncedBy(st, w) })
	})
}

func (n *node) syncedBy(st *stream, w *fsync) {
	known, ok := n.members().Get(st.follower.id)
	if ok && known.Store == st.hello.store && !st.hello.between() {
		w.stores[st.follower] = true
	}
	n.finishSyncs()
}

// between reports whether the follower was making a new copy when it joined.
func (h *hello) between() bool { return !h.consistent }

// pullMore asks the node to catch up from, until all of it is here.
func (n *node) pullMore(p *pull) {
	s := n.s
	from := s.node(p.From)
	if n.pull != p {
		return
	}
	if s.now-p.began > 2*time.Second {
		n.pull = nil
		n.caughtUp(p, volume.Errorf(volume.Unavailable, "no answer"))
		return
	}
	after := n.st.log.Last().Version
	s.net.carry(n, from, func() {
		if from.st == nil || s.now < from.hung {
			return
		}
		var b buffer
		err := from.st.log.CopyTo(from.ctx, &b, after)
		if err != nil {
			s.note("%s cannot give what follows %d: %v", from.id, after, err)
			return
		}
		s.net.carry(from, n, func() { n.pulled(p, from, after, &b) })
	})
	s.after(200*ms, n, func() { n.pullMore(p) })
}

func (n *node) pulled(p *pull, from *node, after volume.Version, b *buffer) {
	if n.pull != p || n.st.log.Last().Version != after || n.s.now < n.hung {
		return
	}
	n.pull = nil
	n.s.check.apply(n, p.Epoch)
	err := master.Replay(n.ctx, b, from.id, n.st.tree, n.st.log, nil)
	if err == nil && n.st.position1().Version < p.Through.Version {
		err = volume.Errorf(volume.Unavailable, "it gave too little")
	}
	if n.crashed != nil {
		return
	}
	n.s.check.saw(n)
	if err != nil {
		n.caughtUp(p, err)
		return
	}
	n.onDisk(func() {
		if n.st == nil || !n.st.syncAll() {
			n.caughtUp(p, errCrashed)
			return
		}
		n.caughtUp(p, nil)
	})
}
