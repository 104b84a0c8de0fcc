package elect

import (
	"time"

	"wolfdisk/volume"
)

// handStage is how far the hand-over of a leader is.
type handStage uint8

const (
	handNear  handStage = iota // until the target has nearly everything
	handDrain                  // calls are held, handlers come to their end
	handGo                     // the rest is shipped, and then the target is to claim
)

// handover is one that this leader makes. Until the target's claim comes it can be rolled
// back: the target leads only with this leader's grant.
type handover struct {
	to    string
	stage handStage
	until time.Duration
	began time.Duration
	keep  bool // an operator chose the target
	// wanted: an operator has it made; demotes: it is how this node is demoted.
	wanted, demotes bool
	final           volume.Position
	sent            time.Duration // of the last HandoverGo
}

// beginHandover begins to hand over, and gives the target so long to come near; it says why it cannot.
func (m *Machine) beginHandover(p *peer, keep bool, long time.Duration) string {
	switch {
	case m.phase != Leading:
		return "node " + m.cfg.ID + " does not lead"
	case m.hand != nil:
		return "a hand-over to node " + m.hand.to + " is under way"
	case !m.reachable(p):
		return "node " + p.id + " is not reachable"
	case p.beat.Flags&flagMayLead == 0:
		return "node " + p.id + " cannot lead now: its status says why"
	}
	m.hand = &handover{to: p.id, keep: keep, began: m.now, until: m.now + long}
	return ""
}

// watchHandover brings a hand-over on, or rolls it back.
func (m *Machine) watchHandover() {
	h := m.hand
	if h == nil {
		return
	}
	p := m.find(h.to)
	if !m.reachable(p) || m.now >= h.until || p.beat.Flags&flagMayLead == 0 {
		// From here the gate opens again; the target counts as one that flaps.
		m.endHandover()
		p.flaps, p.upSince = min(p.flaps+1, 6), m.now
		m.failRequests(volume.Errorf(volume.Unavailable, "node %s did not take over in time: nothing has changed", h.to))
		return
	}
	switch h.stage {
	case handNear:
		// It streams, and lacks little: then calls wait for a moment only.
		at, mine := p.beat.Position, m.copy.Position
		if at.Epoch == mine.Epoch && uint64(at.Version)+m.nearLag(h) >= uint64(mine.Version) {
			h.stage, h.until = handDrain, m.now+m.t.HandOver
			m.shut("handing over to node " + h.to)
			m.emit(Drain{m.epoch})
		}
	case handGo:
		if m.now-h.sent >= 2*m.t.Heartbeat {
			m.sendGo(p)
		}
	}
}

// nearLag is how many ops the target may be behind when calls begin to wait: few, so that
// they do not wait long; after half of the time, as many as it can be helped with.
func (m *Machine) nearLag(h *handover) uint64 {
	if m.now-h.began < m.t.Request/2 {
		return min(m.t.HandOverLag, m.t.HandOverNear)
	}
	return m.t.HandOverLag
}

// endHandover rolls a hand-over back: nothing has changed.
func (m *Machine) endHandover() {
	m.demoted = m.demoted && !m.hand.demotes
	m.hand = nil
}

func (m *Machine) sendGo(p *peer) {
	m.hand.sent = m.now
	m.send(p, &HandoverGo{Reign: m.epoch, Position: m.hand.final, Keep: m.hand.keep})
}

func (m *Machine) drained(e volume.Epoch, c *Copy) {
	if m.hand == nil || m.hand.stage != handDrain || e != m.epoch {
		return
	}
	m.copy = *c
	m.hand.stage, m.hand.final = handGo, c.Position
	m.sendGo(m.find(m.hand.to))
}

// handoverAsked hands over to a node that comes before this one and is stable, or for
// whom an operator insists.
func (m *Machine) handoverAsked(p *peer, a *HandoverAsk) {
	if a.Reign != m.epoch || m.phase != Leading {
		return
	}
	stable := m.now-p.upSince >= m.t.Preempt<<p.flaps
	if !a.Insist && (m.keep || !stable || !Before(p.beat.Role, p.id, m.cfg.Role, m.cfg.ID)) {
		return
	}
	if m.hand != nil && m.hand.to == p.id {
		return
	}
	if why := m.beginHandover(p, a.Insist, m.t.Request); why != "" && a.Insist {
		m.send(p, &HandoverRefused{Reign: a.Reign, Why: printable(why)})
	}
}

func printable(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] < ' ' || b[i] > '~' {
			b[i] = '?'
		}
	}
	return string(b[:min(len(b), MaxWhyLen)])
}

// handoverGo notes the leader's consent, until its history has arrived here.
func (m *Machine) handoverGo(p *peer, g *HandoverGo) {
	if m.phase == Following && m.leader == p.id && m.reign == g.Reign {
		m.goes = *g
	}
}

// watchGo claims with the leader's consent.
func (m *Machine) watchGo() {
	if m.goes.Reign.IsZero() || m.goes.Reign != m.reign || m.copy.Position != m.goes.Position || !m.told {
		return
	}
	consent, keep := m.reign, m.goes.Keep
	m.goes = HandoverGo{}
	if m.eligible() {
		m.vacate()
		m.beginClaim(consent)
		m.keep = keep
	}
}
