package sim

import (
	"slices"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// class is what a simulated cluster has to go through.
type class int

const (
	faults  class = iota // everything, then heal and converge
	oneWay               // one follower does not hear the leader: nothing may change
	killed_              // the leader is killed: writes go on within two seconds
	handed               // hand-overs without a fault
	leases               // short cuts, pauses, slow disks and hand-overs on the levels above available
	classes int   = iota
)

func (c class) String() string {
	return [...]string{"faults", "one-way", "killed", "handed", "leases"}[c]
}

// bug is what the tests plant: a mistake in every machine, and one in every host.
type bug struct {
	machine elect.Bug
	host    hostBug
}

// hostBug is a mistake in what stands for package node.
type hostBug int

const (
	noBug     hostBug = iota
	noFencing         // a follower stays with a leader below its promise
	dropFork          // adopts the winner's history without a record
	earlySync         // says that ops are durable when they have arrived
)

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
	kind := s.rnd.IntN(19)
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
		s.harm(n)
	case 13:
		// A copy from when the cluster was one node would lead alone: no rule can help there.
		if s.safety != elect.Durable && n.running && n.st != nil && n.st.log.Durable() == n.st.log.Last().Version && len(n.members().Voters()) == len(s.nodes) {
			n.backup()
		}
	case 14, 15:
		s.request(n, o)
	case 16, 17:
		if n.running && n.crashed == nil {
			n.fuse, n.fused, n.fusePower = 1+s.rnd.IntN(30), true, s.chance(50)
			s.note("%s is to be killed by call %d to its file system", n.id, n.fuse)
		}
	case 18:
		n.refuses = s.now + s.between(100*ms, 3*time.Second)
		s.note("the disk of %s refuses to sync until %.3f", n.id, n.refuses.Seconds())
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

// harm has a disk hang, be wiped or be set back.
func (s *sim) harm(n *node) {
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

// someoneElseHolds: a disk is wiped only while another holds the volume and knows all members: of
// two that are known both are needed for a majority.
func (s *sim) someoneElseHolds(n *node) bool {
	return slices.ContainsFunc(s.nodes, func(o *node) bool {
		return o != n && o.running && o.history().version > 0 && !o.replaced && (o.role == volume.RoleAuto || o.role == volume.RoleLeader) &&
			len(o.members().Voters()) == len(s.nodes)
	})
}

// request has an operator ask for something.
func (s *sim) request(n, o *node) {
	if !n.running || s.now < n.paused {
		return
	}
	id := uint64(s.now)
	switch s.rnd.IntN(3) {
	case 0:
		force := s.safety == elect.Available && s.chance(30)
		s.note("%s is to be promoted, force %t", n.id, force)
		if force {
			n.insists = id
		}
		n.step(elect.Promote{Request: id, AllowDataLoss: force})
	case 1:
		s.note("%s is to be demoted", n.id)
		n.step(elect.Demote{Request: id, AllowDataLoss: s.chance(20)})
	case 2:
		s.note("%s is to hand over to %s", n.id, o.id)
		n.step(elect.Handover{Request: id, To: o.id})
	}
}
