package sim

import (
	"time"

	"wolfdisk/master"
	"wolfdisk/volume"
)

// remote is a client whose requests are forwarded: it asks whoever leads, and the same again, by
// its number, until it has an answer. It never makes one name twice, so who tells it that a name
// exists has done a request twice.
type remote struct {
	s     *sim
	seq   uint64
	name  string // of the token that it wants made; "" for nothing
	tries int
	node  *node // that was asked last
	gen   int
	until time.Duration // and is waited for
}

// remoteID is the node that forwards.
const remoteID = "node-99"

// turn asks, or asks again.
func (r *remote) turn() {
	s := r.s
	s.after(s.between(20*ms, 200*ms), nil, r.turn)
	if r.name == "" && s.load {
		r.name = s.check.token()
		r.seq, r.tries, r.node = r.seq+1, 0, nil
	}
	if r.name == "" || r.node != nil && r.node.running && r.node.gen == r.gen && s.now < r.until {
		return
	}
	var leaders []*node // there may be one that does not know yet that it no longer leads
	for _, n := range s.nodes {
		if n.running && n.leader != nil && s.now >= n.paused && s.now >= n.hung {
			leaders = append(leaders, n)
		}
	}
	if len(leaders) == 0 {
		return
	}
	n := leaders[s.rnd.IntN(len(leaders))]
	r.node, r.gen, r.until = n, n.gen, s.now+s.between(100*ms, 1500*ms)
	r.tries++
	r.ask(n, r.name, r.seq)
}

func (r *remote) ask(n *node, name string, seq uint64) {
	s := r.s
	n.call(func(l *master.Leader) func() {
		dir, err := l.Lookup(n.ctx, volume.RootIno, tokens)
		var res volume.Result
		if err == nil {
			res, err = l.Do(n.ctx, &volume.Request{
				Kind: volume.OpCreate, Parent: dir.Ino, Name: name, Mode: volume.ModeFile | 0o644,
				Caller: volume.Caller{Client: remoteID, Seq: seq},
			})
		}
		return func() { r.answered(n, l, name, seq, res, err) }
	})
	s.repeats += min(r.tries-1, 1)
}

// answered takes an answer, unless it gets lost on the way.
func (r *remote) answered(n *node, l *master.Leader, name string, seq uint64, res volume.Result, err error) {
	s := r.s
	if volume.KindOf(err) == volume.Exists && err != nil {
		s.check.violated("forwarded: %s says that %s exists, which was asked for %d times by one number", n.id, name, r.tries)
	}
	lost := s.chance(10)
	if r.seq != seq || r.name == "" || lost {
		if err == nil {
			s.check.saw(n)
		}
		return
	}
	if err != nil {
		s.check.sound(n, err)
		r.until = 0
		return
	}
	r.name = ""
	reign, _ := n.st.engine.Lineage().At(res.Version)
	o := &acked{epoch: reign.Epoch, version: res.Version, token: name}
	if reign.Epoch == l.Epoch() {
		s.check.apply(n, reign.Epoch)
	} else {
		s.check.old = true // an earlier leader has done it
	}
	s.check.saw(n)
	s.check.ack(n, o)
	s.check.old = false
}
