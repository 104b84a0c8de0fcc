package elect

import (
	"slices"
	"strconv"
	"time"

	"wolfdisk/volume"
)

func version(v volume.Version) string { return strconv.FormatUint(uint64(v), 10) }

// consider becomes a candidate when it is this node's turn.
func (m *Machine) consider() {
	insist := m.insisting()
	if !m.eligible() || !m.booted() && insist == nil || m.now < m.retry || m.boundBut("") > 0 {
		return
	}
	if p := m.superior(); p != nil {
		// It leads, and we follow. If it may not, its history is to be taken from it all the same.
		if p.beat.Flags&flagMayLead == 0 {
			_, common := Compare(&m.copy, p.copy)
			m.resolveWith(p, common)
		}
		return
	}
	if m.leftToGranted() {
		return
	}
	if insist == nil && m.now < m.vacant+time.Duration(m.rank())*m.t.Skew {
		return
	}
	m.phase = Asking
	m.round++
	m.deadline = m.now + m.t.Ask
	m.askAll()
	m.finishAsking()
}

// leftToGranted reports whether somebody who was granted a claim is still at it.
func (m *Machine) leftToGranted() bool {
	p := m.find(m.granted)
	if p == nil {
		return false
	}
	return m.reachable(p) && (p.beat.Claiming == m.grantedIn || m.now-m.grantedAt < 3*m.t.Ask)
}

// rank is how many reachable candidates come before this node.
func (m *Machine) rank() (k int) {
	for _, p := range m.peers {
		if !m.reachable(p) || p.beat.Flags&flagReady == 0 {
			continue
		}
		theirs, mine := p.beat.Flags&flagDemoted != 0, m.demoted
		if theirs != mine && mine || theirs == mine && Before(p.beat.Role, p.id, m.cfg.Role, m.cfg.ID) {
			k++
		}
	}
	return k
}

// askAll asks all that are reachable when they last heard the leader.
func (m *Machine) askAll() {
	for _, p := range m.peers {
		p.answer, p.asked = nil, m.reachable(p)
		if p.asked {
			m.send(p, &Ask{Round: m.round})
		}
	}
}

func (m *Machine) answerAsk(p *peer, a *Ask) {
	ans := &Answer{Round: a.Round, Promise: m.saved, Strange: m.strange(p), Copy: m.copy}
	ans.Leader, ans.Heard, ans.Left = m.hearsLeader(p.id)
	m.send(p, ans)
}

// hearsLeader says which leader other than one node is heard here.
func (m *Machine) hearsLeader(but string) (e volume.Epoch, heard, left time.Duration) {
	if !m.epoch.IsZero() {
		return m.epoch, 0, m.t.Silence
	}
	if m.leader != "" && m.leader != but {
		p := m.find(m.leader)
		return m.reign, m.now - p.heard, m.left(p)
	}
	return volume.Epoch{}, 0, 0
}

// strange reports whether a peer does not know what it had promised or had on disk, because
// it was wiped or set back. Above level Available it may not lead.
func (m *Machine) strange(p *peer) bool {
	return m.cfg.Safety != Available && p.ever && (p.setBack || m.storeChanged(p.id, p.beat.Store))
}

// boundBut is for how long, above level Available, some other leader's gate may still be
// open because this node answered it: in this run, or in the one before.
func (m *Machine) boundBut(id string) time.Duration {
	if m.cfg.Safety == Available || m.state.Promise.IsZero() || m.bugs.noVeto {
		return 0
	}
	left := m.started + m.t.Silence - m.now
	if m.bound != "" && m.bound != id {
		left = max(left, m.boundUntil-m.now)
	}
	return max(left, 0)
}

func (m *Machine) answered(p *peer, a *Answer) {
	m.number(a.Promise, a.Leader)
	m.above(p, a.Promise)
	p.copy = &a.Copy
	if a.Round == m.round && p.asked {
		p.answer = a
	}
	m.judge(p)
}

// allAnswered reports whether nobody is left who was asked and can still answer.
func (m *Machine) allAnswered() bool {
	return !slices.ContainsFunc(m.peers, func(p *peer) bool { return p.asked && p.up && p.answer == nil })
}

// finishAsking ends the veto round: an answer that a leader is heard means to wait.
func (m *Machine) finishAsking() {
	if !m.allAnswered() && m.now < m.deadline {
		return
	}
	for _, p := range m.peers {
		if p.answer == nil || p.answer.Left == 0 || m.bugs.noVeto {
			continue
		}
		m.phase = Waiting
		m.retry = max(m.retry, m.now+min(p.answer.Left+m.t.Heartbeat/10, m.t.Refused))
		return
	}
	for _, p := range m.peers {
		if p.answer != nil && p.answer.Strange && !m.alone() {
			m.strangeTo, m.strangeUntil = p.id, m.now+m.t.Silence // the others need not wait for its turn
			m.phase = Waiting
			return
		}
	}
	if p := m.superior(); p != nil || !m.enoughAnswer() {
		m.phase = Waiting
		m.retry = m.now + m.t.Ask
		return
	}
	m.beginClaim(volume.Epoch{})
}

// enoughAnswer reports whether a claim could have a majority, where it needs one: a claim
// that cannot succeed only makes others step down.
func (m *Machine) enoughAnswer() bool {
	if m.cfg.Safety == Available || m.alone() {
		return true
	}
	n := 0
	if m.selfCounts() {
		n++
	}
	for _, p := range m.peers {
		if p.answer != nil && m.counts(p) {
			n++
		}
	}
	return m.majority(n)
}

// beginClaim claims a higher epoch at every reachable node. With the consent of a
// leader's epoch that leader's grant is needed, and heard leaders are no reason to wait.
func (m *Machine) beginClaim(consent volume.Epoch) {
	if !m.eligible() {
		m.abandon()
		return
	}
	e := m.nextEpoch()
	if e.IsZero() {
		m.abandon()
		m.retry = m.now + m.t.Stall
		return
	}
	m.phase, m.claim, m.consent, m.sent, m.keep = Claiming, e, consent, false, m.insisting() != nil
	m.deadline = m.now + m.t.Claim
	for _, p := range m.peers {
		p.grant, p.asked = nil, false
	}
	m.promise(e, func() {
		if m.claim != e {
			return
		}
		m.sent = true
		m.beat()
		for _, p := range m.peers {
			p.asked = m.reachable(p)
			m.send(p, &Claim{Epoch: e, Consent: consent})
		}
	})
}

// abandon gives up being a candidate.
func (m *Machine) abandon() {
	m.phase = Waiting
	m.claim, m.consent = volume.Epoch{}, volume.Epoch{}
	m.retry = max(m.retry, m.now+m.t.Ask+time.Duration(m.rank())*m.t.Skew)
}

// claimed answers a claim. A leader that is heard is a veto, unless it consents.
func (m *Machine) claimed(p *peer, c *Claim) {
	if c.Epoch.Leader != p.id || m.broken {
		return
	}
	m.number(c.Epoch)
	refuse := &ClaimAnswer{Epoch: c.Epoch, Promise: m.saved, Copy: m.copy}
	_, _, refuse.Left = m.hearsLeader(p.id)
	refuse.Left = max(refuse.Left, m.boundBut(p.id))
	if m.consents(p, c) {
		refuse.Left = 0
	}
	// A node whose disk was set back may claim the number of a reign of its own once more.
	again := c.Epoch.Number == m.state.Promise.Number && c.Epoch.Leader == m.state.Promise.Leader && c.Epoch.Tag != m.state.Promise.Tag
	low := (c.Epoch.Compare(m.state.Promise) < 0 || again) && !m.bugs.noFencing
	if low || m.strange(p) || refuse.Left > 0 && !m.bugs.noVeto {
		m.send(p, refuse)
		return
	}
	m.grant(p, c.Epoch)
}

// consents reports whether a claim has the consent of the leader that is heard here.
func (m *Machine) consents(p *peer, c *Claim) bool {
	if c.Consent.IsZero() {
		return false
	}
	if !m.epoch.IsZero() {
		return m.hand != nil && m.hand.stage == handGo && m.hand.to == p.id && c.Consent == m.epoch
	}
	return m.leader == "" || m.reign == c.Consent
}

// grant promises a claimed epoch. Whatever this node leads, follows or claims ends first.
func (m *Machine) grant(p *peer, e volume.Epoch) {
	if !m.bugs.noFencing {
		m.stepDown("node " + p.id + " claims epoch " + e.String())
		m.vacate()
		if m.phase != Waiting {
			m.abandon()
		}
	}
	m.granted, m.grantedIn, m.grantedAt = p.id, e, m.now
	m.promise(e, func() {
		if m.state.Promise == e || m.bugs.noFencing {
			m.send(p, &ClaimAnswer{Epoch: e, Granted: true, Promise: m.saved, Copy: m.copy})
		}
	})
}

func (m *Machine) claimAnswered(p *peer, a *ClaimAnswer) {
	m.number(a.Promise)
	p.copy = &a.Copy
	if m.phase != Claiming || a.Epoch != m.claim {
		return
	}
	if !a.Granted {
		m.abandon()
		m.retry = max(m.retry, m.now+min(a.Left, m.t.Refused))
		return
	}
	p.grant = a
}

// finishClaiming goes on when everybody reachable has answered, or time is up.
func (m *Machine) finishClaiming() {
	missing := func(p *peer) bool { return p.asked && m.reachable(p) && p.grant == nil }
	if m.now < m.deadline && (!m.sent || slices.ContainsFunc(m.peers, missing)) {
		return
	}
	if !m.sent || !m.enough() {
		m.abandon()
		m.retry = max(m.retry, m.now+m.t.Refused)
		return
	}
	best, from := &m.copy, ""
	for _, p := range m.peers {
		if p.grant == nil || !p.grant.Copy.Consistent || m.bugs.unsynced {
			continue
		}
		if c := &p.grant.Copy; Winner(best, c) < 0 {
			best, from = c, p.id
		}
	}
	if from == "" {
		m.lead()
		return
	}
	if r, _ := Compare(&m.copy, best); r != Ahead || m.copy.Position.Version == 0 {
		m.abandon() // a fork that this node loses, or a volume that it does not hold
		return
	}
	m.phase, m.pulled = CatchingUp, m.copy.Position.Version
	m.deadline = m.now + m.t.Stuck
	m.emit(CatchUp{m.claim, from, best.Position})
}

// enough notes who took part in the claim, and reports whether they are enough.
func (m *Machine) enough() bool {
	m.takers = []string{m.cfg.ID}
	voters := 0
	if m.selfCounts() {
		voters++
	}
	consented := m.consent.IsZero()
	for _, p := range m.peers {
		if p.grant == nil {
			continue
		}
		consented = consented || p.id == m.consent.Leader
		if m.counts(p) {
			voters++
			m.takers = append(m.takers, p.id)
		}
	}
	slices.SortFunc(m.takers, volume.CompareNodeIDs)
	return consented && (m.cfg.Safety == Available || m.alone() || m.majority(voters))
}

// watchCatchUp gives up a catch-up that does not get on.
func (m *Machine) watchCatchUp() {
	if v := m.copy.Position.Version; v > m.pulled {
		m.pulled, m.deadline = v, m.now+m.t.Stuck
	}
	if m.now >= m.deadline {
		m.abandon()
	}
}

func (m *Machine) caughtUp(e volume.Epoch, c *Copy) {
	m.copy = *c
	if m.phase != CatchingUp || e != m.claim {
		return
	}
	if c.Position.Epoch.Number >= e.Number {
		// It was claimed before anybody said that there is such an epoch.
		m.number(c.Position.Epoch)
		m.abandon()
		return
	}
	m.lead()
}

// lead publishes the claimed epoch.
func (m *Machine) lead() {
	if !m.eligible() {
		m.abandon()
		return
	}
	m.epoch, m.claim, m.phase = m.claim, volume.Epoch{}, Starting
	m.bootDone, m.solo = true, m.alone()
	m.leaving = volume.Epoch{}
	for _, p := range m.peers {
		p.echo = 0
	}
	m.emit(Lead{m.epoch, m.takers})
	m.beat()
}
