package elect_test

import (
	"container/heap"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

const ms = time.Millisecond

// sim is a cluster in virtual time. Everything in it follows from the seed: run it again
// with the same seed, and the same happens.
type sim struct {
	seed  uint64
	rnd   *rand.Rand
	now   time.Duration
	queue eventQueue
	order uint64

	bug    elect.Bug
	class  class
	safety elect.Safety
	nodes  []*simNode
	net    *simNet
	check  *checker
	load   bool // clients write

	slowDisks bool

	trace  uint64 // hash of all effects
	roles  int    // role changes
	saves  int
	events int
	log    []string // the last role changes, for a failure
}

type simEvent struct {
	at   time.Duration
	seq  uint64
	node *simNode // whose pause delays it; nil for the world
	gen  int      // the run of the node it is for
	do   func()
}

type eventQueue []simEvent

func (q eventQueue) Len() int { return len(q) }
func (q eventQueue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].seq < q[j].seq
}
func (q eventQueue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *eventQueue) Push(x any)   { *q = append(*q, x.(simEvent)) }
func (q *eventQueue) Pop() any {
	old := *q
	x := old[len(old)-1]
	old[len(old)-1] = simEvent{}
	*q = old[:len(old)-1]
	return x
}

// after has something happen later. What is meant for a run of a node does not happen
// once that has ended.
func (s *sim) after(d time.Duration, n *simNode, do func()) {
	s.order++
	ev := simEvent{at: s.now + max(d, 0), seq: s.order, node: n, do: do}
	if n != nil {
		ev.gen = n.gen
	}
	heap.Push(&s.queue, ev)
}

// runUntil lets time pass. It stops early at a violation.
func (s *sim) runUntil(end time.Duration) {
	for len(s.queue) > 0 && s.queue[0].at <= end && s.check.broken == "" {
		ev := heap.Pop(&s.queue).(simEvent)
		s.now = ev.at
		if n := ev.node; n != nil {
			if ev.gen != n.gen || !n.running {
				continue
			}
			if s.now < n.paused {
				ev.at = n.paused
				heap.Push(&s.queue, ev)
				continue
			}
		}
		s.events++
		ev.do()
	}
	s.now = max(s.now, end)
}

func (s *sim) chance(percent int) bool { return s.rnd.IntN(100) < percent }

func (s *sim) between(a, b time.Duration) time.Duration {
	return a + time.Duration(s.rnd.Int64N(int64(b-a)+1))
}

func (s *sim) note(format string, args ...any) {
	line := fmt.Sprintf("%9.3f ", s.now.Seconds()) + fmt.Sprintf(format, args...)
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", s.trace, line)
	s.trace = h.Sum64()
	if s.log = append(s.log, line); len(s.log) > 4000 {
		s.log = s.log[2000:]
	}
}

// simNet carries messages between runs of nodes: sessions come and go, messages are lost,
// delayed and overtake each other.
type simNet struct {
	s       *sim
	cut     [][]bool // from, to
	loss    int      // percent
	slow    int      // percent of messages that take up to 400 ms
	session [][]int  // number of the session, 0 for none; symmetric
	next    int
	stays   bool // a session outlives a cut
	broken  [][]time.Duration
}

func newSimNet(s *sim, n int) *simNet {
	net := &simNet{s: s, stays: s.chance(50)}
	for range n {
		net.cut = append(net.cut, make([]bool, n))
		net.session = append(net.session, make([]int, n))
		net.broken = append(net.broken, make([]time.Duration, n))
	}
	return net
}

func (t *simNet) delay() time.Duration {
	if t.slow > 0 && t.s.chance(t.slow) {
		return t.s.between(10*ms, 400*ms)
	}
	return t.s.between(100*time.Microsecond, 3*ms)
}

// carry brings something over the present session, or not.
func (t *simNet) carry(from, to *simNode, deliver func()) {
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

// settle makes and ends sessions, and has those that dial be refused. It runs every 100 ms.
func (t *simNet) settle() {
	for i, a := range t.s.nodes {
		for j, b := range t.s.nodes[:i] {
			t.settlePair(a, b, t.cut[i][j] || t.cut[j][i])
		}
	}
	t.s.after(100*ms, nil, t.settle)
}

func (t *simNet) settlePair(a, b *simNode, cut bool) {
	up := t.session[a.i][b.i] != 0
	both := a.running && b.running
	if both && !cut && (t.refuses(a, b) || t.refuses(b, a)) {
		t.end(a, b)
		return
	}
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
		for _, p := range [][2]*simNode{{a, b}, {b, a}} {
			if p[0].running && !p[1].running && p[1].machineUp {
				t.s.after(ms, p[0], func() { p[0].step(elect.PeerRefused{ID: p[1].id}) })
			}
		}
	}
}

// refuses has one node refuse another that was removed, as far as it knows, and tells that one so.
func (t *simNet) refuses(a, b *simNode) bool {
	for _, m := range a.members() {
		if m.ID == b.id && m.Removed {
			t.s.after(ms, b, func() { b.step(elect.Expelled{By: a.id}) })
			return true
		}
	}
	return false
}

// end ends the session of two nodes.
func (t *simNet) end(a, b *simNode) {
	if t.session[a.i][b.i] == 0 {
		return
	}
	t.session[a.i][b.i], t.session[b.i][a.i] = 0, 0
	for _, p := range [][2]*simNode{{a, b}, {b, a}} {
		t.s.after(ms, p[0], func() { p[0].step(elect.PeerDown{ID: p[1].id}) })
	}
}

// died ends the sessions of a node whose process is gone. If its machine is gone too,
// the others notice nothing for a while.
func (t *simNet) died(n *simNode, power bool) {
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

func (t *simNet) heal() {
	t.loss, t.slow = 0, 0
	for i := range t.cut {
		clear(t.cut[i])
	}
}

// newSim makes a cluster that has not begun to run.
func newSim(seed uint64, c class, bug elect.Bug) *sim {
	s := &sim{seed: seed, class: c, bug: bug, rnd: rand.New(rand.NewPCG(seed, uint64(c)+1)), load: true}
	s.check = newChecker(s)
	s.safety = elect.Safety(s.rnd.IntN(3))
	n := 2 + s.rnd.IntN(4)
	if s.safety != elect.Available {
		n = 3 + 2*s.rnd.IntN(2)
	}
	if c == oneWay {
		s.safety, n = elect.Safety(s.rnd.IntN(2)), 3+s.rnd.IntN(2)
	}
	s.slowDisks = c == faults && s.chance(20) || c == leases && s.chance(70)
	if c == leases {
		s.safety, n = elect.Safety(1+s.rnd.IntN(2)), 3
	}
	s.net = newSimNet(s, n)
	s.makeNodes(n)
	return s
}

// makeNodes gives roles, and to all or only the founder a first history.
func (s *sim) makeNodes(n int) {
	preset := s.class != faults || s.chance(60)
	var members elect.Members
	for i := range n {
		node := &simNode{s: s, i: i, id: fmt.Sprintf("node-%d", i+8), role: volume.RoleAuto, consistent: preset, machineUp: true}
		node.store = s.newID()
		if s.class == faults {
			switch {
			case i == n-1 && s.safety != elect.Available && s.chance(30):
				node.role, node.consistent = volume.RoleWitness, false
			case i > 0 && s.chance(10):
				node.role = volume.RoleLeader
			case i > 0 && s.chance(10):
				node.role = volume.RoleFollower
			}
		}
		s.nodes = append(s.nodes, node)
		members = append(members, volume.Member{ID: node.id, Store: node.store, Role: node.role})
	}
	s.check.members = members
	first := s.nodes[0]
	if !preset {
		first.founder = true
		return
	}
	e := volume.Epoch{Number: 1, Leader: first.id}
	head := s.check.makeOp(nil, e, members.Voters())
	for range 4 {
		head = s.check.makeOp(head, e, nil)
	}
	for _, node := range s.nodes {
		if node.role != volume.RoleWitness {
			node.head, node.durable = head, head
		}
		node.disk.Promise = e
	}
}

func (s *sim) newID() (id volume.ID) {
	for i := range id {
		id[i] = byte(s.rnd.Uint32())
	}
	return id
}

func (s *sim) start() {
	for _, n := range s.nodes {
		n.startAfter(s.between(0, 300*ms))
	}
	s.net.settle()
}

// leaderNow is the node that leads with its gate open, if there is exactly one.
func (s *sim) leaderNow() (leader *simNode) {
	for _, n := range s.nodes {
		if n.running && !n.leading.IsZero() && n.ready {
			if leader != nil {
				return nil
			}
			leader = n
		}
	}
	return leader
}

// converged says why the cluster is not one: one leader, all follow it, equal copies.
func (s *sim) converged() string {
	l := s.leaderNow()
	if l == nil {
		return "there is not one leader"
	}
	if !l.gateOpen() {
		return l.id + " leads with its gate shut"
	}
	for _, n := range s.nodes {
		switch {
		case n == l:
		case !n.running:
			return n.id + " does not run"
		case n.following != l.id || n.followEpoch != l.leading:
			return fmt.Sprintf("%s follows %q in %s", n.id, n.following, n.followEpoch)
		case n.role != volume.RoleWitness && (n.head != l.head || !n.consistent):
			return fmt.Sprintf("%s is at %s, %s at %s", n.id, n.position(), l.id, l.position())
		}
	}
	return ""
}

func (s *sim) fail(t testing.TB) {
	t.Helper()
	for _, n := range s.nodes {
		if n.m != nil {
			st := n.m.Status()
			s.note("%s: %s leader %q epoch %s promise %s unfit %q gate %q at %s", n.id, st.Phase, st.Leader, st.Epoch, st.Promise, st.Unfit, st.GateWhy, n.position())
		}
	}
	tail := s.log[max(0, len(s.log)-120):]
	t.Errorf("seed %d, %s, %d nodes, %s: %s\nreplay: go test ./elect -run 'TestSimulation$' -args -seed %d\n%s",
		s.seed, s.class, len(s.nodes), s.safety, s.check.broken, s.seed, strings.Join(tail, "\n"))
}
