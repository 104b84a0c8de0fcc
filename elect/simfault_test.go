package elect_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// class is what a simulated cluster has to go through.
type class int

const (
	faults  class = iota // everything, then heal and converge
	oneWay               // one follower does not hear the leader: nothing may change
	killed               // the leader is killed: writes go on within two seconds
	handed               // hand-overs without a fault
	leases               // short cuts, pauses, slow disks and hand-overs on the levels above available
	removal              // a member is removed: it leads nowhere until it is taken up again
	classes int   = iota
)

func (c class) String() string {
	return [...]string{"faults", "one-way", "killed", "handed", "leases", "removal"}[c]
}

// kill ends a run. Power takes what is not synced with it.
func (n *simNode) kill(power bool) {
	if !n.running {
		return
	}
	s := n.s
	s.note("%s is killed, power %t, at %s", n.id, power, n.position())
	n.running, n.leading, n.ready = false, volume.Epoch{}, false
	n.machineUp = !power
	if power {
		old := n.head
		n.head = n.durable
		s.check.dropped(n, old, n.head, true)
	}
	s.net.died(n, power)
}

// wipe loses the whole disk.
func (n *simNode) wipe() {
	n.s.note("%s loses its disk", n.id)
	old, records := n.head, n.records_
	n.head, n.durable, n.records_ = nil, nil, nil
	n.replaced = true
	n.s.check.dropped(n, old, nil, true)
	for _, r := range records {
		n.s.check.dropped(n, r, nil, true)
	}
	n.disk, n.consistent, n.founder = elect.State{}, false, false
	n.store = n.s.newID()
	delete(n.s.check.agreed, n.id)
}

// backup remembers the disk as it is; restore brings it back.
func (n *simNode) backup() {
	c := *n
	c.records_ = append([]*simOp(nil), n.records_...)
	n.stale = &c
}

func (n *simNode) restore() {
	b := n.stale
	if b == nil || b.store != n.store || b.durable == nil {
		return
	}
	n.s.note("%s is set back to %s", n.id, b.durable.position())
	old, records := n.head, n.records_
	n.head, n.durable, n.records_, n.disk, n.consistent = b.durable, b.durable, b.records_, b.disk, b.consistent
	n.replaced = true
	common := old
	for !n.head.has(common) {
		common = common.prev
	}
	n.s.check.dropped(n, old, common, true)
	for _, r := range records {
		n.s.check.dropped(n, r, nil, true)
	}
	n.s.check.agreed[n.id] = b.disk.Promise
}

// fault has something go wrong, and arranges for the next.
func (s *sim) fault(until time.Duration) {
	if s.now >= until {
		return
	}
	n := s.nodes[s.rnd.IntN(len(s.nodes))]
	if l := s.leaderNow(); l != nil && s.chance(40) {
		n = l
	}
	o := s.nodes[s.rnd.IntN(len(s.nodes))]
	next := s.between(100*ms, 2500*ms)
	kind := s.rnd.IntN(16)
	if s.class == leases {
		kind = [...]int{0, 4, 7, 7, 9, 11, 11, 14, 14}[s.rnd.IntN(9)]
		next = s.between(20*ms, 900*ms)
	}
	switch kind {
	case 0, 1:
		n.kill(false)
		n.startAfter(s.between(50*ms, 4*time.Second))
	case 2, 3:
		n.kill(true)
		n.startAfter(s.between(500*ms, 5*time.Second))
	case 4, 5:
		if n.running {
			d := s.between(100*ms, 6*time.Second)
			if s.class == leases {
				d /= 4
			}
			s.note("%s is paused for %.3f s", n.id, d.Seconds())
			n.paused = max(n.paused, s.now+d)
		}
	case 6:
		s.net.loss, s.net.slow = s.rnd.IntN(40), s.rnd.IntN(30)
		s.note("network: loss %d, slow %d", s.net.loss, s.net.slow)
	case 7, 8:
		s.note("%s no longer reaches %s", n.id, o.id)
		s.net.cut[n.i][o.i] = n != o
	case 9, 10:
		s.split()
	case 11:
		s.note("network heals")
		s.net.heal()
	case 12:
		s.disk(n)
	case 13:
		if s.safety != elect.Durable {
			n.backup()
		}
	case 14, 15:
		s.request(n, o)
	}
	s.after(next, nil, func() { s.fault(until) })
}

// split cuts the cluster in two.
func (s *sim) split() {
	side := make([]bool, len(s.nodes))
	for i := range side {
		side[i] = s.chance(50)
	}
	s.note("network is split: %v", side)
	for i := range side {
		for j := range side {
			s.net.cut[i][j] = side[i] != side[j]
		}
	}
}

// disk has a disk hang, be wiped or be set back.
func (s *sim) disk(n *simNode) {
	replaced := 0
	for _, o := range s.nodes {
		if o.replaced {
			replaced++
		}
	}
	switch {
	case s.chance(50) && n.running:
		n.hung, n.hangs = s.now+s.between(100*ms, 13*time.Second), n.clock()
		s.note("the disk of %s hangs until %.3f", n.id, n.hung.Seconds())
	case n.role == volume.RoleWitness || n.replaced || 2*(replaced+1) >= len(s.nodes) || n.founder:
	case n.stale != nil:
		n.kill(true)
		n.restore()
		n.startAfter(s.between(500*ms, 3*time.Second))
	case s.someoneElseHolds(n):
		n.kill(true)
		n.wipe()
		n.startAfter(s.between(500*ms, 3*time.Second))
	}
}

// someoneElseHolds: a disk is wiped only while another holds the volume, and the lost store
// is not needed for a majority of stores.
func (s *sim) someoneElseHolds(n *simNode) bool {
	for _, o := range s.nodes {
		if o != n && o.consistent && o.head != nil && !o.replaced && (o.role == volume.RoleAuto || o.role == volume.RoleLeader) {
			return true
		}
	}
	return false
}

// request has an operator ask for something.
func (s *sim) request(n, o *simNode) {
	if !n.running || s.now < n.paused {
		return
	}
	id := uint64(s.now)
	switch s.rnd.IntN(3) {
	case 0:
		force := s.safety == elect.Available && s.chance(30)
		s.note("%s is to be promoted, force %t", n.id, force)
		n.step(elect.Promote{Request: id, AllowDataLoss: force})
	case 1:
		s.note("%s is to be demoted", n.id)
		n.step(elect.Demote{Request: id, AllowDataLoss: s.chance(20)})
	case 2:
		s.note("%s is to hand over to %s", n.id, o.id)
		n.step(elect.Handover{Request: id, To: o.id})
	}
}

// result is what a run comes to.
type result struct {
	trace     uint64
	roles     int
	saves     int
	events    int
	acked     int
	conflicts int
	healed    time.Duration // until the cluster was one again
	gap       time.Duration // without an accepted write
}

// run goes through one cluster's life.
func run(seed uint64, bug elect.Bug) (*sim, result) {
	c := class(0)
	if k := seed % 8; k < uint64(classes) {
		c = class(k)
	}
	s := newSim(seed, c, bug)
	s.start()
	var r result
	switch c {
	case faults, leases:
		s.runFaults(&r)
	case oneWay:
		s.runOneWay()
	case killed:
		s.runKilled(&r)
	case handed:
		s.runHanded(&r)
	case removal:
		s.runRemoval(&r)
	}
	r.trace, r.roles, r.saves, r.events, r.acked = s.trace, s.roles, s.saves, s.events, len(s.check.acked)
	return s, r
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
		if n.running && strings.Contains(n.m.Status().Unfit, "demoted") {
			n.kill(false) // an operator who demoted it wants it to lead again
		}
		n.startAfter(0)
	}
	began := s.now
	why := s.waitFor(10*time.Second, s.converged)
	r.healed = s.now - began
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
	l := s.leaderNow()
	r.conflicts = s.check.account(l.head)
}

// acceptStores has an operator accept what was replaced, now that it has caught up: an op
// of the members, which comes to all.
func (s *sim) acceptStores() {
	members := slices.Clone(s.check.members)
	for i, n := range s.nodes {
		members[i].Store = n.store
	}
	s.check.members = members
	for _, n := range s.nodes {
		n.step(elect.Remembered{Members: n.members()})
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

// settled waits for the first leader and an acknowledged op.
func (s *sim) settled() *simNode {
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
		if n != l && (n.following != l.id || n.followEpoch != l.leading) {
			return fmt.Sprintf("%s follows %q", n.id, n.following)
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
	epoch := l.leading
	for range 40 {
		s.runUntil(s.now + 200*ms)
		if l.leading != epoch && s.check.broken == "" {
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
	if r.gap > 2*time.Second {
		s.check.violated("failover took %.3f s", r.gap.Seconds())
	}
	l.startAfter(0)
	s.load = false
	if why := s.waitFor(10*time.Second, s.converged); why != "" {
		s.check.violated("I8: 10 s after the return %s", why)
		return
	}
	r.conflicts = s.check.account(s.leaderNow().head)
}

// runHanded has the leader hand over while clients write: at most half a second passes
// without an accepted write, and nothing becomes a conflict.
func (s *sim) runHanded(r *result) {
	for range 3 {
		l := s.settled()
		if l == nil {
			return
		}
		to := s.nodes[(l.i+1+s.rnd.IntN(len(s.nodes)-1))%len(s.nodes)]
		asked := -time.Second
		for began, end := s.now, s.now+5*time.Second; !(to.ready && to.gateOpen()) && s.check.broken == ""; {
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
			if r.gap = max(r.gap, s.now-began); r.gap > 500*ms {
				s.check.violated("hand-over: %.3f s without an accepted write", r.gap.Seconds())
			}
		}
	}
	s.load = false
	if why := s.waitFor(10*time.Second, s.converged); why != "" {
		s.check.violated("I8: after the hand-overs %s", why)
		return
	}
	if r.conflicts = s.check.account(s.leaderNow().head); r.conflicts > 0 {
		s.check.violated("hand-over: %d ops were lost to conflicts", r.conflicts)
	}
}
