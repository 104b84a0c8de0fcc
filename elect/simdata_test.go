package elect_test

import (
	"wolfdisk/elect"
	"wolfdisk/volume"
)

// The data sessions of the simulation: followers join, leaders stream, candidates pull.

func (s *sim) node(id string) *simNode {
	for _, n := range s.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// join asks the leader for what follows, again and again while it follows.
func (n *simNode) join() {
	l := n.s.node(n.following)
	if l == nil || n.role == volume.RoleWitness {
		return
	}
	e, head, store := n.followEpoch, n.head, n.store
	durable := n.durable
	n.s.net.carry(n, l, func() { l.joined(n, e, head, durable, store) })
}

// joined begins to feed a follower whose copy is a prefix of this one.
func (n *simNode) joined(f *simNode, e volume.Epoch, head, durable *simOp, _ volume.ID) {
	if n.leading != e || !n.ready || head != nil && !n.head.has(head) {
		return
	}
	feed := n.feeds[f]
	if feed == nil {
		feed = &simFeed{}
		n.feeds[f] = feed
	}
	feed.applied, feed.sent = head, head
	if head != nil && head.has(durable) {
		feed.durable = durable
	}
	through := n.head.version()
	n.s.net.carry(n, f, func() {
		if f.followEpoch == e && !f.consistent && f.through == 0 {
			f.through = through
			f.consistent = f.head.version() >= through
		}
	})
}

// feed streams to every follower from where it is.
func (n *simNode) feed() {
	s := n.s
	if n.leading.IsZero() {
		if n.following != "" && s.chance(50) {
			n.join()
		}
		return
	}
	for _, f := range s.nodes {
		feed := n.feeds[f]
		if feed == nil {
			continue
		}
		if feed.sent != feed.applied && s.now-feed.sentAt > 200*ms {
			feed.sent = feed.applied
		}
		if feed.sent == n.head {
			continue
		}
		e, prev, to := n.leading, feed.sent, n.head
		feed.sent, feed.sentAt = to, s.now
		s.net.carry(n, f, func() { f.frames(n, e, prev, to) })
	}
}

// frames appends what a leader sent. Fencing is by session: one below the promise is dead.
func (n *simNode) frames(l *simNode, e volume.Epoch, prev, to *simOp) {
	if n.following != l.id || n.followEpoch != e || e.Compare(n.promised) < 0 && n.s.bug != elect.NoFencing || n.resolving || n.s.now < n.hung {
		return
	}
	if n.head != prev {
		n.progress()
		return
	}
	n.s.check.apply(n, e)
	n.head = to
	if n.through != 0 && to.version() >= n.through {
		n.consistent = true
	}
	n.progress()
}

// progress reports to the leader what is applied and what is durable.
func (n *simNode) progress() {
	l := n.s.node(n.following)
	if l == nil || n.role == volume.RoleWitness {
		return
	}
	e, head, durable, store := n.followEpoch, n.head, n.durable, n.store
	consistent := n.consistent
	n.s.net.carry(n, l, func() {
		feed := l.feeds[n]
		if l.leading != e || feed == nil || head != nil && !l.head.has(head) {
			return
		}
		if head.version() >= feed.applied.version() {
			feed.applied = head
		}
		known, _ := n.s.check.members.Get(n.id)
		if consistent && known.Store == store && durable.version() > feed.durable.version() {
			feed.durable = durable
			l.finishSyncs()
		}
	})
}

// pullMore asks the node to catch up from, until all of it is here.
func (n *simNode) pullMore(p *elect.CatchUp) {
	if n.pull != p {
		return
	}
	from := n.s.node(p.From)
	head := n.head
	n.s.net.carry(n, from, func() {
		if !from.head.has(head) {
			return
		}
		to := from.head
		n.s.net.carry(from, n, func() {
			if n.pull != p || n.head != head || n.promised != p.Epoch && n.s.bug == elect.NoBug {
				return
			}
			n.s.check.apply(n, p.Epoch)
			n.head = to
			if to.version() >= p.Through.Version {
				n.pull = nil
				n.step(elect.CaughtUp{Epoch: p.Epoch, Copy: n.copy()})
			}
		})
	})
	n.s.after(200*ms, n, func() { n.pullMore(p) })
}
