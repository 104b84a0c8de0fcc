package elect

import (
	"slices"
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
	m.demoted, m.retired = false, false
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
	m.requests = append(m.requests, request{kind: askPromote, id: ev.Request, insist: ev.AllowDataLoss, until: m.now + m.within(ev.For), sent: m.now - m.t.Request})
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
	if m.epoch.IsZero() {
		m.demoted = true
		m.done(ev.Request, nil)
		return
	}
	p := m.successor()
	switch {
	case p != nil || m.hand != nil:
		if m.startHandover(ev.Request, p, "", ev.For) {
			m.demoted, m.hand.demotes = true, true
		}
	case ev.AllowDataLoss:
		m.demoted, m.retired = true, true
		m.stepDown("demoted")
		m.done(ev.Request, nil)
	default:
		m.done(ev.Request, volume.Errorf(volume.Precondition, "no other node can lead now: start one, or insist with --allow-data-loss"))
	}
}

func (m *Machine) handoverTo(ev Handover) {
	p := m.find(ev.To)
	if ev.To == "" {
		p = m.successor()
	}
	switch {
	case ev.To != "" && m.leader == ev.To:
		m.done(ev.Request, nil) // as is wanted
	case m.leader == "" && m.leftToGranted() && (ev.To == "" || m.granted == ev.To):
		m.awaitHandover(ev.Request, ev.To, ev.For) // it is taking over right now
	case m.phase != Leading:
		m.done(ev.Request, volume.Errorf(volume.Precondition, "node %s does not lead", m.cfg.ID))
	case ev.To == m.cfg.ID:
		m.done(ev.Request, nil)
	case m.hand != nil && ev.To == "":
		m.startHandover(ev.Request, p, ev.To, ev.For)
	case p == nil && ev.To != "":
		m.done(ev.Request, volume.Errorf(volume.Unavailable, "node %s is not known here", ev.To))
	case p == nil:
		m.done(ev.Request, volume.Errorf(volume.Precondition, "no other node can lead now"))
	default:
		m.startHandover(ev.Request, p, ev.To, ev.For)
	}
}

// startHandover begins a hand-over for an operator, or joins the one that is under way, if it has that
// target. A target that the operator chose keeps the lead.
func (m *Machine) startHandover(id uint64, p *peer, to string, long time.Duration) bool {
	switch h := m.hand; {
	case h == nil || to != "" && h.to != to:
		if why := m.beginHandover(p, to != "", m.within(long)); why != "" {
			m.done(id, volume.Errorf(volume.Busy, "%s", why))
			return false
		}
		m.hand.wanted = true
	case h.stage == handNear:
		h.keep, h.until = h.keep || to != "", max(h.until, m.now+m.within(long))
	default:
		h.keep = h.keep || to != ""
	}
	m.awaitHandover(id, to, long)
	return true
}

func (m *Machine) awaitHandover(id uint64, to string, long time.Duration) {
	m.requests = append(m.requests, request{kind: askHandover, id: id, to: to, until: m.now + m.within(long) + m.t.HandOver})
}

// within is how long a request may take.
func (m *Machine) within(long time.Duration) time.Duration {
	if long == 0 {
		return m.t.Request
	}
	return long
}

// cancel forgets a request. A hand-over that was begun for nobody else, and holds no call yet, ends with it.
func (m *Machine) cancel(id uint64) {
	m.requests = slices.DeleteFunc(m.requests, func(r request) bool { return r.id == id })
	handing := slices.ContainsFunc(m.requests, func(r request) bool { return r.kind == askHandover })
	switch h := m.hand; {
	case h == nil || h.stage > handNear || handing:
	case h.wanted:
		m.endHandover()
	default:
		h.until = min(h.until, m.now+m.t.Request)
	}
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
