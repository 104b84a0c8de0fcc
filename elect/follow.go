package elect

import (
	"slices"
	"time"

	"wolfdisk/volume"
)

// hears draws the conclusion from what a peer says of leading.
func (m *Machine) hears(p *peer) {
	e := p.beat.Leading
	switch {
	case e.IsZero():
		if m.leader == p.id {
			m.vacate()
		}
		if m.bound == p.id {
			m.bound = "" // it shut its gate before it said so
		}
	case e.Leader != p.id || e.Compare(m.state.Promise) < 0 && !m.bugs.noFencing:
		// It leads no more and will hear so from the promise in our heartbeats.
	case m.leader == p.id && m.reign == e:
		m.bound, m.boundUntil = p.id, m.now+m.t.Silence
	case m.bugs.noFencing && (!m.epoch.IsZero() || m.leader != ""):
	default:
		m.obey(p, e)
	}
}

// obey follows a leader. Its epoch is promised before anything of it is applied.
func (m *Machine) obey(p *peer, e volume.Epoch) {
	if m.phase != Waiting && m.phase != Following {
		m.abandon()
	}
	m.phase, m.leader, m.reign, m.told = Following, p.id, e, false
	m.granted, m.syncing = "", 0
	m.bound, m.boundUntil = p.id, m.now+m.t.Silence
	m.bootDone, m.expelled = true, "" // who has it as a follower takes it for a member
	m.promise(e, func() {
		if m.leader != p.id || m.reign != e {
			return
		}
		m.told = true
		m.emit(Follow{p.id, e})
		m.followed(p.id)
	})
}

// vacate leaves a leader that is dead or leads no more.
func (m *Machine) vacate() {
	if m.leader == "" {
		return
	}
	m.leader, m.reign = "", volume.Epoch{}
	m.phase, m.vacant = Waiting, m.now
	if m.told {
		m.told = false
		m.emit(Follow{})
	}
}

func (m *Machine) watchLeader() {
	if m.leader == "" {
		return
	}
	if p := m.find(m.leader); p == nil || m.left(p) == 0 || m.shunned(p) {
		m.vacate()
	}
}

// examine finds a copy that is not simply behind ours, or before it, and asks for its
// lineage: the position alone does not say how the two stand to each other.
func (m *Machine) examine(p *peer) {
	at := p.beat.Position
	if m.epoch.IsZero() && m.leader != p.id || p.beat.Flags&flagConsistent == 0 {
		return
	}
	if m.related(at) {
		return
	}
	if p.knows(at) {
		m.judge(p)
		return
	}
	if m.now-p.askedFor >= 2*m.t.Ask {
		p.askedFor = m.now
		m.send(p, &Ask{})
	}
}

// related reports whether a position of a peer needs no comparison. An epoch's ops have
// one writer, so two positions of one epoch are of one history; but a leader has to
// know of what it lacks.
func (m *Machine) related(at volume.Position) bool {
	mine := m.copy.Position
	switch {
	case at.Version == 0 || mine.Version == 0:
		return true
	case at.Version == mine.Version && at.Epoch == mine.Epoch:
		return at.Digest == mine.Digest
	case m.epoch.IsZero():
		return at.Epoch == mine.Epoch
	}
	return m.copy.contains(at) || at.Epoch == m.epoch
}

// knows reports whether the copy that the peer told is that of a position.
func (p *peer) knows(at volume.Position) bool {
	return p.copy != nil && p.copy.Position.Epoch == at.Epoch && p.copy.Position.Version >= at.Version
}

// judge acts on how the copy of a leader, or of a member while this node leads, stands
// to ours.
func (m *Machine) judge(p *peer) {
	if p.copy == nil || !p.copy.Consistent || m.epoch.IsZero() && m.leader != p.id {
		return
	}
	if !m.epoch.IsZero() && p.copy.Position.Epoch == m.epoch {
		return // what it has behind our last Local came from us
	}
	relation, common := Compare(&m.copy, p.copy)
	leading := m.phase == Leading
	if other := relation == OtherVolume || relation == OtherCluster; !other && p.alarmed != (volume.Position{}) && p.reason == AlarmOtherVolume {
		m.calm(p)
	}
	switch {
	case relation == Damaged, relation == OtherVolume, relation == OtherCluster:
		m.alarm(p, relation)
	case relation == Fork && (!m.copy.Consistent || Winner(&m.copy, p.copy) < 0):
		// A copy in the middle of its first sync never wins, but may be the last to hold some op.
		if !m.epoch.IsZero() {
			m.stepDown("the copy of node " + p.id + " wins the fork behind version " + version(common))
		} else {
			m.resolveWith(p, common)
		}
	case relation == Ahead && leading:
		m.stepDown("node " + p.id + " holds more of this history, and nothing was written here since")
		m.beginClaim(volume.Epoch{})
	}
}

func (m *Machine) alarm(p *peer, r Relation) {
	if p.alarmed == p.copy.Position {
		return
	}
	p.alarmed, p.reason = p.copy.Position, AlarmOtherVolume
	if r == Damaged {
		p.reason = AlarmDamaged
		m.emit(Alarm{AlarmDamaged, p.id, "node " + p.id + " is at the same version " + version(p.alarmed.Version) + " of one history and holds other ops: one of the logs is damaged; nothing is changed on either"})
		return
	}
	m.emit(Alarm{AlarmOtherVolume, p.id, "node " + p.id + " holds another volume, or is of another cluster"})
}

// resolveWith has the host make a conflict record of what lost.
func (m *Machine) resolveWith(p *peer, common volume.Version) {
	if m.resolve != "" || m.now < m.resolveAgain {
		return
	}
	m.resolve = p.id
	m.emit(Resolve{p.id, common, *p.copy})
}

// superior is a reachable peer whose copy wins a fork with ours; nil.
func (m *Machine) superior() *peer {
	if !m.copy.Consistent || m.copy.Position.Version == 0 {
		return nil
	}
	for _, p := range m.peers {
		c := p.copy
		if c == nil || !c.Consistent || !m.reachable(p) || c.Position.Epoch != p.beat.Position.Epoch || c.Position.Epoch == m.copy.Position.Epoch {
			continue
		}
		if r, _ := Compare(&m.copy, c); r == Fork && Winner(&m.copy, c) < 0 {
			return p
		}
	}
	return nil
}

// watchFollowing asks for the lead when this node comes before the leader and has been
// in sync with it for long enough.
func (m *Machine) watchFollowing() {
	p := m.find(m.leader)
	inSync := p.beat.Position.Epoch == m.copy.Position.Epoch && uint64(p.beat.Position.Version) <= uint64(m.copy.Position.Version)+m.t.HandOverLag ||
		p.beat.Position.Version == 0
	if !m.cfg.Reclaim || m.demoted || !inSync || !m.told || !Before(m.cfg.Role, m.cfg.ID, p.beat.Role, p.id) || !m.eligible() {
		m.syncing = 0
		return
	}
	if m.syncing == 0 {
		m.syncing = m.now
	}
	if m.now-m.syncing >= m.t.Preempt && m.now-m.asked >= time.Second {
		m.asked = m.now
		m.send(p, &HandoverAsk{Reign: m.reign})
	}
}

// booted reports whether enough others were seen since the start: all that could have
// led meanwhile, or a majority; or whether time enough has passed.
func (m *Machine) booted() bool {
	if m.bootDone {
		return true
	}
	waited := m.now - m.started
	if m.copy.Position.Version == 0 {
		m.bootDone = waited >= m.t.FoundWait
		return m.bootDone
	}
	seen := 0
	if m.selfCounts() {
		seen++
	}
	for _, p := range m.peers {
		if p.ever && m.counts(p) {
			seen++
		}
	}
	alone := m.cfg.OnBootAlone == BootLead || m.cfg.OnBootAlone == BootByLevel && m.cfg.Safety == Available
	if waited < m.t.FoundWait && len(m.silent()) > 0 {
		return false
	}
	m.bootDone = len(m.unseen()) == 0 || seen > 0 && m.majority(seen) || waited >= m.t.BootWait && alone
	return m.bootDone
}

// silent are the members with a copy that never lead and were not heard since this node started.
// What a power loss has taken from this log they may still hold, so a node that starts gives
// them a moment.
func (m *Machine) silent() []string { return m.unheard(m.members.neverLead(m.cfg.ID)) }

// unseen are the members that could have led while this node was away and were not
// heard since it started.
func (m *Machine) unseen() []string { return m.unheard(m.members.couldLead(m.cfg.ID)) }

// unheard are those of some nodes that were not heard since this one started.
func (m *Machine) unheard(ids []string) []string {
	return slices.DeleteFunc(ids, func(id string) bool {
		p := m.find(id)
		return p != nil && p.ever
	})
}
