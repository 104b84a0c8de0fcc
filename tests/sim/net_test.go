package sim

import (
	"time"

	"wolfdisk/elect"
)

// network carries the messages of the election between runs of nodes: sessions come and go, messages
// are lost, delayed and overtake each other. Data sessions are in stream_test.go.
type network struct {
	s       *sim
	cut     [][]bool // from, to
	loss    int      // percent
	slow    int      // percent of messages that take up to 400 ms
	session [][]int  // number of the session, 0 for none; symmetric
	next    int
	stays   bool // a session outlives a cut
	broken  [][]time.Duration
}

func newNetwork(s *sim, n int) *network {
	t := &network{s: s, stays: s.chance(50)}
	for range n {
		t.cut = append(t.cut, make([]bool, n))
		t.session = append(t.session, make([]int, n))
		t.broken = append(t.broken, make([]time.Duration, n))
	}
	return t
}

func (t *network) delay() time.Duration {
	if t.slow > 0 && t.s.chance(t.slow) {
		return t.s.between(10*ms, 400*ms)
	}
	return t.s.between(100*time.Microsecond, 3*ms)
}

// carry brings something over the present session, or not.
func (t *network) carry(from, to *node, deliver func()) {
	session := t.session[from.i][to.i]
	if session == 0 || t.cut[from.i][to.i] || t.loss > 0 && t.s.chance(t.loss) {
		return
	}
	t.s.after(t.delay(), to, func() {
		if t.session[to.i][from.i] == session {
			deliver()
		}
	})
}

func (t *network) cutBetween(a, b *node) bool { return t.cut[a.i][b.i] || t.cut[b.i][a.i] }

// settle makes and ends sessions, and has those that dial be refused. It runs every 100 ms.
func (t *network) settle() {
	for i, a := range t.s.nodes {
		for _, b := range t.s.nodes[:i] {
			t.settlePair(a, b, t.cutBetween(a, b))
		}
	}
	t.s.after(100*ms, nil, t.settle)
}

func (t *network) settlePair(a, b *node, cut bool) {
	up := t.session[a.i][b.i] != 0
	both := a.running && b.running
	switch {
	case !up && both && !cut:
		t.next++
		t.session[a.i][b.i], t.session[b.i][a.i], t.broken[a.i][b.i] = t.next, t.next, 0
		t.s.after(ms, a, func() { a.step(elect.PeerUp{ID: b.id}) })
		t.s.after(ms, b, func() { b.step(elect.PeerUp{ID: a.id}) })
	case up && cut && !t.stays:
		if t.broken[a.i][b.i] == 0 {
			t.broken[a.i][b.i] = t.s.now
		} else if t.s.now-t.broken[a.i][b.i] > 3*time.Second {
			t.end(a, b)
		}
	case up && !cut:
		t.broken[a.i][b.i] = 0
	case !up && !both && !cut:
		for _, p := range [][2]*node{{a, b}, {b, a}} {
			if p[0].running && !p[1].running && p[1].machineUp {
				t.s.after(ms, p[0], func() { p[0].step(elect.PeerRefused{ID: p[1].id}) })
			}
		}
	}
}

// end ends the session of two nodes.
func (t *network) end(a, b *node) {
	if t.session[a.i][b.i] == 0 {
		return
	}
	t.session[a.i][b.i], t.session[b.i][a.i] = 0, 0
	for _, p := range [][2]*node{{a, b}, {b, a}} {
		t.s.after(ms, p[0], func() { p[0].step(elect.PeerDown{ID: p[1].id}) })
	}
}

// died ends the sessions of a node whose process is gone. If its machine is gone too,
// the others notice nothing for a while.
func (t *network) died(n *node, power bool) {
	for _, o := range t.s.nodes {
		if o == n {
			continue
		}
		if !power {
			t.end(n, o)
			continue
		}
		session := t.session[n.i][o.i]
		t.s.after(3*time.Second, nil, func() {
			if session != 0 && t.session[n.i][o.i] == session {
				t.end(n, o)
			}
		})
	}
}

func (t *network) heal() {
	t.loss, t.slow = 0, 0
	for i := range t.cut {
		clear(t.cut[i])
	}
}
