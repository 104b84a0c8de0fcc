package sim

import (
	"fmt"
	"slices"
	"time"

	"wolfdisk/elect"
	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// tokens is the directory in which clients make a file for each token.
const tokens = "tokens"

// call is something that a client wants of the leader. do runs beside the simulation and may
// wait at the gate; what it returns is done by the simulation afterwards.
type call func(l *master.Leader) (done func())

// pump has the next call done, as soon as what goes on now has come to rest.
func (n *node) pump() {
	if n.calling || len(n.calls) == 0 || n.leader == nil {
		return
	}
	c := n.calls[0]
	n.calls, n.calling = n.calls[1:], true
	n.s.after(0, n, func() { n.begin(c) })
}

func (n *node) begin(c call) {
	l, gen, way := n.leader, n.gen, n.way
	if l == nil {
		n.calling = false
		return
	}
	go func() {
		done := c(l)
		// A paused process has done it all the same, so this is not for the node.
		way.push(n.s.clock(), nil, 0, func() {
			if n.gen != gen || !n.running {
				return
			}
			n.calling = false
			done()
			n.pump()
		})
	}()
}

func (n *node) call(c call) {
	n.calls = append(n.calls, c)
	n.pump()
}

// client writes on this node whenever it leads, and now and then asks for fsync.
func (n *node) client() {
	s := n.s
	if s.load && n.leader != nil && !n.calling && len(n.calls) == 0 && s.now >= n.hung {
		switch k := s.rnd.IntN(100); {
		case k < 20:
			n.fsync()
		case k < 70:
			n.writeToken(s.chance(30))
		default:
			n.anything()
		}
	}
	s.after(s.between(20*ms, 160*ms), n, n.client)
}

// writeToken makes a file with a unique name, and perhaps its name as content.
func (n *node) writeToken(content bool) {
	s := n.s
	name := s.check.token()
	n.call(func(l *master.Leader) func() {
		var res volume.Result
		dir, err := l.Lookup(n.ctx, volume.RootIno, tokens)
		if err == nil {
			res, err = l.Do(n.ctx, &volume.Request{Kind: volume.OpCreate, Parent: dir.Ino, Name: name, Mode: volume.ModeFile | 0o644})
		}
		return func() {
			n.answered(l, res, err, name, false)
			if err == nil && content {
				n.writeContent(l, res.Attr.Ino, name)
			}
		}
	})
}

// writeContent is a call of its own: the feeds come to rest before it.
func (n *node) writeContent(first *master.Leader, ino volume.Ino, name string) {
	n.call(func(l *master.Leader) func() {
		if l != first {
			return func() {}
		}
		res, err := l.Do(n.ctx, &volume.Request{Kind: volume.OpWrite, Ino: ino, Data: []byte(name)})
		return func() { n.answered(l, res, err, name, true) }
	})
}

// anything is one random request.
func (n *node) anything() {
	s := n.s
	step := s.gen.Next()
	if step.Req == nil {
		return
	}
	n.call(func(l *master.Leader) func() {
		res, err := l.Do(n.ctx, step.Req)
		return func() {
			s.gen.Done(step, res, err)
			n.answered(l, res, err, "", false)
		}
	})
}

// answered notes what a client was told.
func (n *node) answered(l *master.Leader, res volume.Result, err error, token string, content bool) {
	c := n.s.check
	if err != nil {
		c.sound(n, err)
		return
	}
	if res.Version == 0 {
		return // nothing was to be done
	}
	c.apply(n, l.Epoch())
	c.saw(n)
	c.ack(n, &acked{epoch: l.Epoch(), version: res.Version, token: token, content: content})
}

// fsync is one that waits for stores.
type fsync struct {
	leader  *master.Leader
	version volume.Version
	here    bool
	stores  map[*node]bool
	asked   map[*stream]bool
}

// fsync makes what there is durable here and, on level Durable, on enough stores. It
// begins the epoch in the log, so that no older history can win from it.
func (n *node) fsync() {
	s := n.s
	n.call(func(l *master.Leader) func() {
		var err error
		if s.safety == elect.Durable && !l.Wrote() {
			err = l.PutMember(volume.Member{ID: n.id, Store: n.store, Role: n.role})
		}
		v := l.Position().Version
		return func() {
			if err != nil {
				s.check.sound(n, err)
				return
			}
			w := &fsync{leader: l, version: v, stores: map[*node]bool{}, asked: map[*stream]bool{}}
			n.syncs = append(n.syncs, w)
			n.askAgain(w)
			n.onDisk(func() { n.call(func(l *master.Leader) func() { return n.syncHere(l, w) }) })
		}
	})
}

// syncHere makes the log of this node durable.
func (n *node) syncHere(l *master.Leader, w *fsync) (done func()) {
	if l != w.leader {
		return func() {}
	}
	var err error
	if n.s.bug.host != earlySync {
		err = l.Sync(n.ctx, volume.RootIno, false)
	}
	return func() {
		if err != nil {
			n.s.check.sound(n, err)
			return
		}
		w.here = true
		n.finishSyncs()
	}
}

func (n *node) askAgain(w *fsync) {
	if n.s.safety != elect.Durable || !slices.Contains(n.syncs, w) {
		return
	}
	n.askSync(w)
	n.s.after(100*time.Millisecond, n, func() { n.askAgain(w) })
}

func (n *node) finishSyncs() {
	left := n.syncs[:0]
	for _, w := range n.syncs {
		need, stores := 1, len(w.stores)
		if w.here {
			stores++
		}
		if n.s.safety == elect.Durable {
			need = n.members().DurableQuorum()
		}
		if !w.here && need == 1 || stores < need {
			left = append(left, w)
			continue
		}
		if w.here {
			n.fsynced = max(n.fsynced, w.version)
		}
		n.s.check.fsynced(n, w.version)
	}
	n.syncs = left
}

// remember makes a follower a member, if the cluster does not know it as it is.
func (n *node) remember(id string, store volume.ID, role volume.Role) {
	m := volume.Member{ID: id, Store: store, Role: role}
	if known, ok := n.members().Get(id); ok {
		if known.Store != m.Store {
			m.Store = known.Store
		}
		if known == m {
			return
		}
	}
	n.put(m)
}

// put records a member.
func (n *node) put(m volume.Member) {
	n.keep(m)
	n.call(func(l *master.Leader) func() {
		err := l.PutMember(m)
		return func() {
			if err != nil {
				n.s.check.sound(n, err)
				return
			}
			n.s.check.saw(n)
		}
	})
}

// tree is all that can be read of the node's copy.
func (n *node) tree() (volumetest.Snapshot, error) {
	return volumetest.Tree(n.ctx, n.st.tree)
}

func tokenName(i uint64) string { return fmt.Sprintf("t%06d", i) }
