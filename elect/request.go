package elect

import (
	"strings"
	"time"

	"wolfdisk/volume"
)

type requestKind uint8

const (
	askPromote requestKind = iota
	askHandover
)

// request is what an operator asked for and has no answer to yet.
type request struct {
	kind   requestKind
	id     uint64
	to     string // of a hand-over; "" anybody
	insist bool   // of a promotion, without others
	until  time.Duration
	sent   time.Duration
}

func (m *Machine) done(id uint64, err error) { m.emit(Done{id, err}) }

func (m *Machine) promote(ev Promote) {
	m.demoted = false
	m.unfit = 0 // whoever asks knows better
	if ev.AllowDataLoss {
		m.expelled = ""
	}
	if m.phase == Leading {
		m.done(ev.Request, nil)
		return
	}
	if why := m.unfitFor(ev.AllowDataLoss); why != "" {
		m.done(ev.Request, volume.Errorf(volume.Precondition, "node %s cannot lead: %s", m.cfg.ID, why))
		return
	}
	if !m.booted() && m.leader == "" && !ev.AllowDataLoss {
		m.done(ev.Request, volume.Errorf(volume.Precondition,
			"members %s may hold more and have not been seen since this node started: start them, or insist with --allow-data-loss", strings.Join(append(m.unseen(), m.silent()...), ", ")))
		return
	}
	m.requests = append(m.requests, request{kind: askPromote, id: ev.Request, insist: ev.AllowDataLoss, until: m.now + m.t.Request, sent: m.now - m.t.Request})
	m.pursue()
}

// insisting is a promotion that waits for its turn.
func (m *Machine) insisting() *request {
	for i := range m.requests {
		if r := &m.requests[i]; r.kind == askPromote {
			return r
		}
	}
	return nil
}

// alone reports whether an operator insists on a leader without a majority.
func (m *Machine) alone() bool {
	r := m.insisting()
	return r != nil && r.insist
}

// pursue asks the leader again for what an operator wants.
func (m *Machine) pursue() {
	p := m.find(m.leader)
	for i := range m.requests {
		r := &m.requests[i]
		if r.kind == askPromote && p != nil && m.now-r.sent >= m.t.Refused {
			r.sent = m.now
			m.send(p, &HandoverAsk{Reign: m.reign, Insist: true})
		}
	}
}

func (m *Machine) demote(ev Demote) {
	m.demoted = true
	if m.epoch.IsZero() {
		m.done(ev.Request, nil)
		return
	}
	p := m.successor()
	switch {
	case p != nil:
		m.startHandover(ev.Request, p, "", false)
	case ev.AllowDataLoss:
		m.stepDown("demoted")
		m.unfit = m.now + m.t.Stall
		m.done(ev.Request, nil)
	default:
		m.demoted = false
		m.done(ev.Request, volume.Errorf(volume.Precondition, "no other node can lead now: start one, or insist with --allow-data-loss"))
	}
}

func (m *Machine) handoverTo(ev Handover) {
	p := m.find(ev.To)
	if ev.To == "" {
		p = m.successor()
	}
	switch {
	case m.phase != Leading:
		m.done(ev.Request, volume.Errorf(volume.Precondition, "node %s does not lead", m.cfg.ID))
	case ev.To == m.cfg.ID:
		m.done(ev.Request, nil)
	case p == nil && ev.To != "":
		m.done(ev.Request, volume.Errorf(volume.Unavailable, "node %s is not known here", ev.To))
	case p == nil:
		m.done(ev.Request, volume.Errorf(volume.Precondition, "no other node can lead now"))
	default:
		m.startHandover(ev.Request, p, ev.To, ev.To != "")
	}
}

func (m *Machine) startHandover(id uint64, p *peer, to string, keep bool) {
	if why := m.beginHandover(p, keep); why != "" {
		m.done(id, volume.Errorf(volume.Busy, "%s", why))
		return
	}
	m.requests = append(m.requests, request{kind: askHandover, id: id, to: to, until: m.now + m.t.Request + m.t.HandOver})
}

// successor is the first in the order that could lead instead of this node; nil.
func (m *Machine) successor() (best *peer) {
	for _, p := range m.peers {
		if !m.reachable(p) || p.beat.Flags&flagMayLead == 0 {
			continue
		}
		if best == nil || Before(p.beat.Role, p.id, best.beat.Role, best.id) {
			best = p
		}
	}
	return best
}

// finish ends all requests of a kind that match.
func (m *Machine) finish(match func(*request) bool, err error) {
	left := m.requests[:0]
	for i := range m.requests {
		if r := m.requests[i]; match(&r) {
			m.done(r.id, err)
		} else {
			left = append(left, r)
		}
	}
	m.requests = left
}

// leadRequests ends what is fulfilled by leading.
func (m *Machine) leadRequests() {
	m.finish(func(r *request) bool { return r.kind == askPromote }, nil)
}

// followed ends what is fulfilled by following a leader.
func (m *Machine) followed(leader string) {
	m.finish(func(r *request) bool { return r.kind == askHandover && (r.to == "" || r.to == leader) }, nil)
}

func (m *Machine) failRequests(err error) {
	m.finish(func(r *request) bool { return r.kind == askHandover }, err)
}

func (m *Machine) handoverRefused(p *peer, r *HandoverRefused) {
	if m.leader != p.id || m.reign != r.Reign {
		return
	}
	m.finish(func(q *request) bool { return q.kind == askPromote }, volume.Errorf(volume.Busy, "node %s does not hand over: %s", p.id, r.Why))
}

func (m *Machine) expireRequests() {
	if len(m.requests) == 0 {
		return
	}
	m.finish(func(r *request) bool { return m.now >= r.until },
		volume.Errorf(volume.Unavailable, "it could not be done in time; what was begun goes on: see wolfdiskctl status"))
	m.pursue()
}
