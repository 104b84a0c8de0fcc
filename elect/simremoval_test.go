package elect_test

import (
	"fmt"
	"slices"
	"time"

	"wolfdisk/elect"
)

// runRemoval removes a member: mostly the one that has led, which is down then. The others hear of
// it one after the other, the member itself mostly not at all; then the leader is killed. Whatever
// comes, the removed one leads nowhere, and the others go on without it. At last it is taken up again.
func (s *sim) runRemoval(r *result) {
	l := s.settled()
	if l == nil {
		return
	}
	gone := s.nodes[(l.i+1+s.rnd.IntN(len(s.nodes)-1))%len(s.nodes)]
	if s.chance(60) {
		gone = l
	}
	if gone == l || s.chance(30) {
		gone.kill(s.chance(50))
	}
	if len(s.nodes) == 2 && s.safety != elect.Available {
		return // nobody is left who may lead
	}
	if l = s.waitLeader(5 * time.Second); l == nil {
		return
	}
	s.runUntil(s.now + s.between(0, 500*ms))
	s.note("%s is removed", gone.id)
	s.check.removed = gone.id
	s.changeMember(l, gone, true, s.chance(30))
	gone.startAfter(s.between(0, time.Second))
	s.runUntil(s.now + s.between(0, 3*time.Second))
	voters := len(s.nodes) - 1
	if l = s.leaderNow(); l != nil && s.chance(70) {
		l.kill(s.chance(50))
		voters--
		l.startAfter(s.between(4*time.Second, 8*time.Second))
	}
	s.runUntil(s.now + 3500*ms)
	may := voters > 0 && (s.safety == elect.Available || 2*voters > len(s.nodes)-1)
	if may && s.leaderNow() == nil && s.check.broken == "" {
		s.check.violated("removed: the others have no leader")
		return
	}
	s.runUntil(s.now + 5*time.Second)
	if l = s.waitLeader(5 * time.Second); l == nil {
		return
	}
	s.note("%s is taken up again", gone.id)
	s.check.removed = ""
	s.changeMember(l, gone, false, true)
	s.load = false
	if why := s.waitFor(15*time.Second, s.converged); why != "" {
		s.check.violated("I8: 15 s after the return %s", why)
		return
	}
	r.conflicts = s.check.account(s.leaderNow().head)
}

func (s *sim) waitLeader(d time.Duration) *simNode {
	why := s.waitFor(d, func() string {
		if l := s.leaderNow(); l == nil || !l.gateOpen() {
			return "nobody leads"
		}
		return ""
	})
	if why != "" {
		s.check.violated("I8: after %v %s", d, why)
		return nil
	}
	return s.leaderNow()
}

// changeMember removes a member or takes it up again: its leader knows at once, the others when the op
// has come to them, and the member itself if it hears of it at all.
func (s *sim) changeMember(leader, gone *simNode, removed, hears bool) {
	old := s.check.members
	s.check.members = slices.Clone(old)
	for i := range s.check.members {
		if s.check.members[i].ID == gone.id {
			s.check.members[i].Removed = removed
		}
	}
	for _, n := range s.nodes {
		if n.told == nil {
			n.told = old
		}
		delay := s.between(0, 400*ms)
		switch {
		case n == leader:
			delay = 0
		case n == gone && !hears:
			continue
		}
		s.after(delay, nil, func() {
			n.told = nil
			if n.running {
				n.step(elect.Remembered{Members: n.members()})
			}
		})
	}
	s.note("members: %s", fmt.Sprint(s.check.members.Voters()))
}
