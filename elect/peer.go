package elect

import (
	"slices"
	"time"

	"wolfdisk/volume"
)

// peer is another node, as this one has met it since it started.
type peer struct {
	id string

	up      bool          // there is a session
	fresh   bool          // nothing was received over the present session yet
	newer   bool          // it may be remembered as removed: it knows better; see PeerUp
	upSince time.Duration // of the present run of the peer
	lost    time.Duration // when it was last lost
	flaps   int           // how often it was lost again soon
	refused time.Duration // since when connecting is refused; 0: it is not

	ever  bool          // heard since this node started
	heard time.Duration // when last
	beat  Heartbeat     // the last one
	echo  time.Duration // when we sent what it last answered, obeying our epoch

	promised volume.Epoch   // the highest promise it stated
	furthest volume.Version // the highest version it stated
	setBack  bool           // it forgot what it had promised

	copy     *Copy // as last told
	askedFor time.Duration
	alarmed  volume.Position // the position that an alarm was given about; zero: none stands
	reason   AlarmReason     // of that alarm
	stranger volume.ID       // the store that an alarm was given about

	answer *Answer      // in the present round
	grant  *ClaimAnswer // of the present claim
	asked  bool         // in the present round or claim
}

// MaxPeers bounds the other nodes of a machine; it forgets none.
const MaxPeers = 2 * volume.MaxParticipants

func (m *Machine) find(id string) *peer {
	i, ok := slices.BinarySearchFunc(m.peers, id, func(p *peer, id string) int { return volume.CompareNodeIDs(p.id, id) })
	if !ok {
		return nil
	}
	return m.peers[i]
}

func (m *Machine) peerUp(ev PeerUp) {
	id := ev.ID
	if m.expelled == id {
		m.expelled = "" // it takes this node again
	}
	if id == m.cfg.ID || volume.CheckNodeID(id) != nil {
		return
	}
	p := m.find(id)
	if p == nil && len(m.peers) == MaxPeers {
		return
	}
	if p == nil {
		p = &peer{id: id}
		i, _ := slices.BinarySearchFunc(m.peers, id, func(p *peer, id string) int { return volume.CompareNodeIDs(p.id, id) })
		m.peers = slices.Insert(m.peers, i, p)
	}
	p.up, p.fresh, p.newer, p.refused, p.upSince = true, true, ev.Newer, 0, m.now
	m.beatTo(p, m.flags())
}

func (m *Machine) peerDown(id string) {
	p := m.find(id)
	if p == nil || !p.up {
		return
	}
	p.up, p.answer, p.grant = false, nil, nil
	if p.lost != 0 && m.now-p.lost < 12*m.t.Preempt<<p.flaps {
		p.flaps = min(p.flaps+1, 6)
	} else {
		p.flaps = 0
	}
	p.lost = m.now
}

// left is how long until a peer that says nothing is taken for dead.
func (m *Machine) left(p *peer) time.Duration {
	if !p.ever {
		return 0
	}
	left := p.heard + m.t.Silence - m.now
	if p.refused != 0 && m.cfg.Safety == Available {
		left = min(left, p.refused+m.t.Refused-m.now)
	}
	return max(left, 0)
}

func (m *Machine) reachable(p *peer) bool {
	return p.up && !p.fresh && m.left(p) > 0 && !m.shunned(p)
}

// shunned reports whether a peer was removed from the cluster, as far as this node knows: it is
// neither heard nor obeyed, and granted nothing. The host ends its sessions too, but not at once.
func (m *Machine) shunned(p *peer) bool { return !p.newer && m.members.removed(p.id) }

// remembered takes a new list of members.
func (m *Machine) remembered(list Members) {
	for _, p := range m.peers {
		if list.removed(p.id) && !m.members.removed(p.id) {
			p.newer = false
		}
	}
	m.members = list
	for _, p := range m.peers {
		m.settledStore(p)
		if !m.shunned(p) {
			continue
		}
		m.caughtUpAgain(p) // it counts no more, whatever it forgot
		if p.alarmed != (volume.Position{}) {
			m.calm(p)
		}
	}
}

// counts reports whether a peer is one of the voters, with the store that is remembered
// and with its memory intact.
func (m *Machine) counts(p *peer) bool {
	known, ok := m.members.Get(p.id)
	return ok && known.Role != volume.RoleClient && known.Store == p.beat.Store && !p.setBack
}

// selfCounts is the same of this node.
func (m *Machine) selfCounts() bool {
	known, ok := m.members.Get(m.cfg.ID)
	return ok && known.Store == m.state.Store
}

// majority reports whether n voters are one.
func (m *Machine) majority(n int) bool {
	voters := len(m.members.Voters())
	return voters == 0 || 2*n > voters
}

// anyCopy reports whether a peer holds a volume.
func (m *Machine) anyCopy() bool {
	return slices.ContainsFunc(m.peers, func(p *peer) bool { return p.ever && p.beat.Position.Version > 0 })
}

func (m *Machine) receive(from string, msg Message) {
	p := m.find(from)
	if p == nil || !p.up || m.shunned(p) {
		return
	}
	switch msg := msg.(type) {
	case *Heartbeat:
		m.heartbeat(p, msg)
	case *Ask:
		m.answerAsk(p, msg)
	case *Answer:
		m.answered(p, msg)
	case *Claim:
		m.claimed(p, msg)
	case *ClaimAnswer:
		m.claimAnswered(p, msg)
	case *HandoverAsk:
		m.handoverAsked(p, msg)
	case *HandoverRefused:
		m.handoverRefused(p, msg)
	case *HandoverGo:
		m.handoverGo(p, msg)
	}
}

// heartbeat takes note of a peer and draws the conclusions.
func (m *Machine) heartbeat(p *peer, b *Heartbeat) {
	if !p.fresh && (b.Started < p.beat.Started || b.Started == p.beat.Started && b.Seq <= p.beat.Seq) {
		return // overtaken by a later one
	}
	if p.ever && b.Started != p.beat.Started {
		p.upSince, p.copy, p.echo = m.now, nil, 0
	}
	p.beat, p.fresh, p.ever, p.heard, p.refused = *b, false, true, m.now, 0
	m.remember(p)
	m.number(b.Promise, b.Leading, b.Claiming)
	if !m.epoch.IsZero() && b.Promise == m.epoch && b.Echo <= m.now {
		p.echo = max(p.echo, b.Echo)
	}
	m.above(p, b.Promise)
	m.above(p, b.Leading)
	m.hears(p)
	if p.alarmed != (volume.Position{}) && b.Position == m.copy.Position {
		m.calm(p) // the digest is of all before it
	}
	m.examine(p)
}

// remember notices that a peer is not what it was.
func (m *Machine) remember(p *peer) {
	b := &p.beat
	switch {
	case b.Promise.Compare(p.promised) < 0:
		if !p.setBack && !m.storeChanged(p.id, b.Store) {
			m.emit(Alarm{AlarmSetBack, p.id, "node " + p.id + " has forgotten that it promised " + p.promised.String() + ": its disk was set back; it does not count until it has caught up"})
		}
		p.setBack = true
	case b.Position.Version >= p.furthest || !p.setBack:
		p.promised, p.furthest = b.Promise, max(p.furthest, b.Position.Version)
		m.caughtUpAgain(p)
	}
	m.settledStore(p)
	if m.storeChanged(p.id, b.Store) && p.stranger != b.Store {
		p.stranger = b.Store
		m.emit(Alarm{AlarmStore, p.id, "node " + p.id + " came with another store: it was wiped or replaced, and does not count until wolfdiskctl member accept-store " + p.id})
	}
}

// caughtUpAgain takes a peer for one that has what it forgot.
func (m *Machine) caughtUpAgain(p *peer) {
	if p.setBack {
		p.setBack = false
		m.emit(AlarmOver{AlarmSetBack, p.id})
	}
}

// settledStore takes back what was said of a peer's store, once it is the one that is remembered.
func (m *Machine) settledStore(p *peer) {
	if !p.stranger.IsZero() && !m.storeChanged(p.id, p.beat.Store) {
		p.stranger = volume.ID{}
		m.emit(AlarmOver{AlarmStore, p.id})
	}
}

// calm takes back what was said of a peer's copy.
func (m *Machine) calm(p *peer) {
	p.alarmed = volume.Position{}
	m.emit(AlarmOver{p.reason, p.id})
}

// above steps down, or gives up a claim, when a peer has promised or leads a higher epoch:
// before anything else.
func (m *Machine) above(p *peer, e volume.Epoch) {
	if m.bugs.noFencing {
		return
	}
	switch {
	case !m.epoch.IsZero() && e.Compare(m.epoch) > 0:
		m.stepDown("node " + p.id + " obeys epoch " + e.String())
	case !m.claim.IsZero() && e.Compare(m.claim) > 0:
		m.abandon()
	}
}

// beat sends a heartbeat to everybody.
func (m *Machine) beat() {
	m.beaten = m.now
	flags := m.flags()
	for _, p := range m.peers {
		m.beatTo(p, flags)
	}
}

func (m *Machine) beatTo(p *peer, flags uint8) {
	if !p.up {
		return
	}
	m.beats++
	b := &Heartbeat{
		Started: m.cfg.Started, Seq: m.beats, Sent: m.now, Promise: m.saved, Leading: m.epoch, Claiming: m.claim,
		Position: m.copy.Position, Store: m.state.Store, Role: m.cfg.Role, Flags: flags,
	}
	if !p.fresh && m.leader == p.id && m.reign == p.beat.Leading {
		b.Echo = p.beat.Sent
	}
	if !m.leaving.IsZero() && m.now < m.leaveUntil {
		b.Leading = m.leaving
	}
	m.send(p, b)
}

func (m *Machine) flags() (f uint8) {
	if m.eligible() {
		f |= flagMayLead
		if m.booted() && m.superior() == nil {
			f |= flagReady
		}
	}
	if m.copy.Consistent {
		f |= flagConsistent
	}
	if m.demoted {
		f |= flagDemoted
	}
	return f
}
