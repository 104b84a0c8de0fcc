package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/elect"
	"wolfdisk/master"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// result is what a run comes to.
type result struct {
	seed      uint64
	class     class
	broken    string
	failure   string // what to print if it is broken
	trace     uint64
	steps     uint64
	roles     int
	saves     int
	events    int
	acked     int
	conflicts int
	records   int
	applied   int
	looked    int
	amid      int
	repeats   int
	helped    int           // times that an operator had to
	gone      int           // volumes that no disk holds any more
	healed    time.Duration // until the cluster was one again
	gap       time.Duration // without an accepted write
}

// classOf is what the cluster of a seed goes through.
func classOf(seed uint64) class {
	if k := seed % 8; k < uint64(classes) {
		return class(k)
	}
	return faults
}

// run goes through one cluster's life.
func run(t *testing.T, seed uint64, b bug) (r result) {
	c := classOf(seed)
	synctest.Test(t, func(*testing.T) {
		s := newSim(seed, c, b)
		defer s.stop()
		s.start()
		switch c {
		case faults, leases:
			s.runFaults(&r)
		case oneWay:
			s.runOneWay()
		case killed_:
			s.runKilled(&r)
		case handed:
			s.runHanded(&r)
		}
		r.seed, r.class, r.broken = seed, c, s.check.broken
		r.trace, r.steps, r.roles, r.saves, r.events, r.acked = s.trace, s.steps, s.roles, s.saves, s.events, len(s.check.acked)
		r.amid, r.repeats = s.amid, s.repeats
		r.applied, r.looked = s.check.applied, s.check.looked
		for _, n := range s.nodes {
			r.records += len(n.kept)
		}
		if r.broken != "" {
			r.failure = s.story()
		}
	})
	return r
}

// newSim makes a cluster that has not begun to run.
func newSim(seed uint64, c class, b bug) *sim {
	s := &sim{seed: seed, class: c, bug: b, rnd: rand.New(rand.NewPCG(seed, uint64(c)+1)), load: true, began: time.Now(), wake: make(chan struct{}, 1)}
	s.check, s.gen = newChecker(s), volumetest.Random(seed)
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
	s.net = newNetwork(s, n)
	s.makeNodes(n)
	return s
}

// makeNodes gives roles, and to all or only the founder a first history.
func (s *sim) makeNodes(n int) {
	preset := s.class != faults || s.chance(60)
	for i := range n {
		x := &node{s: s, i: i, id: fmt.Sprintf("node-%d", i+8), role: volume.RoleAuto, machineUp: true, way: s.newLane()}
		x.disk = disk{fs: vfs.NewCrashableMem(), store: s.newID()}
		if s.class == faults {
			switch {
			case i == n-1 && s.safety != elect.Available && s.chance(30):
				x.role = volume.RoleWitness
			case i > 0 && s.chance(10):
				x.role = volume.RoleLeader
			case i > 0 && s.chance(10):
				x.role = volume.RoleFollower
			}
		}
		s.nodes = append(s.nodes, x)
		s.check.members = append(s.check.members, volume.Member{ID: x.id, Store: x.store, Role: x.role})
	}
	if !preset {
		s.nodes[0].founder = true
		return
	}
	e := volume.Epoch{Number: 1, Leader: s.nodes[0].id}
	fs, was := s.firstVolume(e)
	for _, x := range s.nodes {
		x.state.Promise = e
		if x.role != volume.RoleWitness {
			x.fs, x.volume, x.was = fs.CrashClone(vfs.CrashCloneCfg{}), true, was
		}
	}
}

// firstVolume is a volume that knows its members.
func (s *sim) firstVolume(e volume.Epoch) (*vfs.MemFS, history) {
	fs := vfs.NewCrashableMem()
	st, err := openStorage(s, nil, fs)
	if err != nil {
		panic(err)
	}
	l, err := master.New(master.Options{Tree: st.tree, Log: st.log, Epoch: e, Participants: s.check.members.Voters(), Log0: zerolog.Nop()})
	if err != nil {
		panic(err)
	}
	st.must(makeFirst(l, s.check.members...))
	st.must(st.engine.Flush())
	pos, lineage := st.position()
	st.close()
	return fs, history{lineage, pos.Version}
}

func (s *sim) newID() (id volume.ID) {
	for i := range id {
		id[i] = byte(s.rnd.Uint32())
	}
	return id
}

func (s *sim) node(id string) *node {
	for _, n := range s.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

func (s *sim) start() {
	for _, n := range s.nodes {
		n.startAfter(s.between(0, 300*ms))
	}
	s.net.settle()
	s.looking()
	(&remote{s: s}).turn()
}

// looking compares trees now and then.
func (s *sim) looking() {
	s.after(s.between(time.Second, 5*time.Second), nil, func() {
		s.check.compare()
		s.looking()
	})
}

// stop ends everything.
func (s *sim) stop() {
	for _, n := range s.nodes {
		if n.running {
			n.running = false
			n.cancel()
			for _, st := range slices.Clone(n.streams) {
				st.end()
			}
			if n.data != nil {
				n.data.end()
			}
			n.release()
		}
	}
	time.Sleep(time.Minute) // for those who wait for a moment before they look
	synctest.Wait()
}

// leaderNow is the node that leads, if there is exactly one.
func (s *sim) leaderNow() (leader *node) {
	for _, n := range s.nodes {
		if n.running && n.leader != nil {
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
		case n.reign != (reign{l.id, l.leader.Epoch()}):
			return fmt.Sprintf("%s follows %q in %s", n.id, n.reign.leader, n.reign.epoch)
		case n.role == volume.RoleWitness:
		case n.st == nil || n.between || n.st.position1() != l.st.position1():
			return fmt.Sprintf("%s is at %s, %s at %s", n.id, n.copy().Position, l.id, l.copy().Position)
		}
	}
	return ""
}

// story is what happened, for a failure.
func (s *sim) story() string {
	for _, n := range s.nodes {
		if n.m != nil {
			st := n.m.Status()
			s.note("%s: %s leader %q epoch %s promise %s unfit %q gate %q at %s", n.id, st.Phase, st.Leader, st.Epoch, st.Promise, st.Unfit, st.GateWhy, n.copy().Position)
		}
	}
	tail := s.log[max(0, len(s.log)-120):]
	return fmt.Sprintf("seed %d, %s, %d nodes, %s: %s\nreplay: go test ./tests/sim -run 'TestSimulation$' -args -seed %d\n%s",
		s.seed, s.class, len(s.nodes), s.safety, s.check.broken, s.seed, strings.Join(tail, "\n"))
}

func (s *sim) runFaults(r *result) {
	s.after(s.between(0, 3*time.Second), nil, func() { s.fault(14 * time.Second) })
	s.runUntil(15 * time.Second)
	for _, n := range s.nodes {
		s.runUntil(max(s.now, n.paused, n.hung)) // a pause that is cut short would reorder what waits
	}
	if s.check.broken != "" {
		return
	}
	s.note("all faults end")
	s.net.heal()
	s.load = false
	for _, n := range s.nodes {
		// It says that it is to be restarted, or an operator who demoted it wants it to lead again.
		if n.fuse, n.refuses = 0, 0; n.sick() || n.running && strings.Contains(n.m.Status().Unfit, "demoted") {
			n.kill(false)
		}
		n.startAfter(0)
	}
	began := s.now
	why := s.waitFor(10*time.Second, s.converged)
	if why != "" && s.check.broken == "" && s.helped() {
		r.helped++
		began = s.now
		why = s.waitFor(10*time.Second, s.converged)
	}
	r.healed = s.now - began
	if why != "" && s.check.broken == "" && s.gone() {
		r.gone++
		r.conflicts = s.check.account(nil)
		return
	}
	if why != "" {
		s.check.violated("I8: 10 s after the last fault %s", why)
		return
	}
	s.acceptStores()
	s.load = true
	s.runUntil(s.now + 2*time.Second)
	s.load = false
	if why := s.waitFor(5*time.Second, s.converged); why != "" {
		s.check.violated("I8: it did not last: %s", why)
		return
	}
	r.conflicts = s.check.account(s.leaderNow())
}

// helped has an operator help where no node that may lead holds a copy any more: what wins lies
// on nodes with the role follower, or whose store was replaced, alone. One of them is given the role
// auto, and the store ID that the cluster remembers.
func (s *sim) helped() bool {
	var holder *node
	for _, n := range s.nodes {
		if n.history().version == 0 {
			continue
		}
		known, _ := n.members().Get(n.id)
		if n.role != volume.RoleFollower && known.Store == n.store {
			return false
		}
		if holder == nil || n.history().version > holder.history().version {
			holder = n
		}
	}
	if holder == nil {
		return false
	}
	s.note("the operator lets %s lead", holder.id)
	known, ok := holder.members().Get(holder.id)
	holder.kill(false)
	holder.role = volume.RoleAuto
	if ok {
		holder.store = known.Store
	}
	holder.startAfter(0)
	return true
}

// gone reports whether no disk holds a copy any more: the last whole one was lost while all others were
// being made anew. No node may lead then, and what is left is in records.
func (s *sim) gone() bool {
	return !slices.ContainsFunc(s.nodes, func(n *node) bool { return n.history().version > 0 })
}

// acceptStores has an operator accept what was replaced, now that it has caught up.
func (s *sim) acceptStores() {
	l := s.leaderNow()
	for _, n := range s.nodes {
		if known, ok := l.members().Get(n.id); ok && known.Store != n.store {
			l.put(volume.Member{ID: n.id, Store: n.store, Role: n.role})
		}
	}
}

// waitFor lets time pass until done says nothing any more.
func (s *sim) waitFor(d time.Duration, done func() string) (why string) {
	for end := s.now + d; s.now < end && s.check.broken == ""; {
		s.runUntil(s.now + 20*ms)
		if why = done(); why == "" {
			break
		}
	}
	if s.check.broken != "" {
		return s.check.broken
	}
	return why
}

// settled waits for the first leader.
func (s *sim) settled() *node {
	if why := s.waitFor(10*time.Second, s.converged1); why != "" {
		s.check.violated("I8: 10 s after the start %s", why)
		return nil
	}
	s.runUntil(s.now + s.between(0, time.Second))
	return s.leaderNow()
}

// converged1 is converged without equal copies: clients write.
func (s *sim) converged1() string {
	l := s.leaderNow()
	if l == nil || !l.gateOpen() {
		return "nobody leads"
	}
	for _, n := range s.nodes {
		if n != l && n.reign != (reign{l.id, l.leader.Epoch()}) {
			return fmt.Sprintf("%s follows %q", n.id, n.reign.leader)
		}
	}
	return ""
}

// runOneWay cuts the way from the leader to one follower. It must not elect another.
func (s *sim) runOneWay() {
	l := s.settled()
	if l == nil {
		return
	}
	deaf := s.nodes[(l.i+1+s.rnd.IntN(len(s.nodes)-1))%len(s.nodes)]
	s.net.stays = true
	s.note("%s no longer hears %s", deaf.id, l.id)
	s.net.cut[l.i][deaf.i] = true
	epoch := l.leader.Epoch()
	for range 40 {
		s.runUntil(s.now + 200*ms)
		if (l.leader == nil || l.leader.Epoch() != epoch) && s.check.broken == "" {
			s.check.violated("veto: %s led in %s and was heard by others, and leads no more", l.id, epoch)
		}
	}
}

// runKilled kills the leader, its process or its machine, and waits for the next accepted write.
func (s *sim) runKilled(r *result) {
	l := s.settled()
	if l == nil {
		return
	}
	// A loss of power is noticed by silence alone, a loss of the process by refusals too.
	l.kill(s.chance(50))
	at, acked := s.now, len(s.check.acked)
	for s.check.broken == "" && len(s.check.acked) == acked && s.now-at < 10*time.Second {
		s.runUntil(s.now + 5*ms)
	}
	if r.gap = s.now - at; len(s.nodes) == 2 && s.safety != elect.Available {
		return // nobody may
	}
	if r.gap > 2*time.Second+300*ms { // clients try every 20 to 160 ms
		s.check.violated("failover took %.3f s", r.gap.Seconds())
	}
	l.startAfter(0)
	s.load = false
	if why := s.waitFor(10*time.Second, s.converged); why != "" {
		s.check.violated("I8: 10 s after the return %s", why)
		return
	}
	r.conflicts = s.check.account(s.leaderNow())
}

// runHanded has the leader hand over while clients write: nothing becomes a conflict.
func (s *sim) runHanded(r *result) {
	for range 3 {
		l := s.settled()
		if l == nil {
			return
		}
		to := s.nodes[(l.i+1+s.rnd.IntN(len(s.nodes)-1))%len(s.nodes)]
		asked := -time.Second
		for began, end := s.now, s.now+5*time.Second; !to.gateOpen() && s.check.broken == ""; {
			if l := s.leaderNow(); l != nil && l != to && s.now-asked > time.Second {
				s.note("%s is to hand over to %s", l.id, to.id) // it may be handing over to a node that reclaims
				l.step(elect.Handover{Request: 1, To: to.id})
				asked = s.now
			}
			if s.now > end {
				s.check.violated("hand-over: %s did not take over", to.id)
			}
			before := len(s.check.acked)
			s.runUntil(s.now + 5*ms)
			if len(s.check.acked) != before {
				began = s.now
			}
			if r.gap = max(r.gap, s.now-began); r.gap > 800*ms {
				s.check.violated("hand-over: %.3f s without an accepted write", r.gap.Seconds())
			}
		}
	}
	s.load = false
	if why := s.waitFor(10*time.Second, s.converged); why != "" {
		s.check.violated("I8: after the hand-overs %s", why)
		return
	}
	if r.conflicts = s.check.account(s.leaderNow()); r.conflicts > 0 {
		s.check.violated("hand-over: %d ops were lost to conflicts", r.conflicts)
	}
}
