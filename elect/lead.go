package elect

import (
	"slices"
	"time"

	"wolfdisk/volume"
)

func (m *Machine) ready(e volume.Epoch) {
	if m.phase != Starting || e != m.epoch {
		return
	}
	m.phase = Leading
	m.demoted = false
	m.leadRequests()
	m.beat()
}

// stepDown ends this node's reign. The gate shuts before anything else.
func (m *Machine) stepDown(why string) {
	if m.epoch.IsZero() {
		return
	}
	m.shut(why)
	m.emit(StepDown{m.epoch, why})
	m.leaving, m.leaveUntil = m.epoch, m.now+m.t.Pause
	m.epoch, m.phase, m.vacant = volume.Epoch{}, Waiting, m.now
	m.checking, m.holding, m.solo, m.keep = false, false, false, false
	m.hand = nil
	m.beat()
}

func (m *Machine) watchLeading() {
	switch {
	case m.failed:
		m.stepDown("its disk fails")
	case m.stalled != 0 && m.now-m.stalled >= m.t.Stall:
		m.stepDown("its disk hangs")
	case m.outcast(m.solo) != "":
		m.stepDown(m.outcast(m.solo))
	}
	if m.phase != Leading {
		return
	}
	if m.checking && (m.allAnswered() || m.now >= m.deadline) {
		m.checking = false
	}
	m.holding = m.copy.Position.Epoch != m.epoch && slices.ContainsFunc(m.peers, m.mayHoldMore)
	m.watchHandover()
}

// mayHoldMore reports whether a peer's copy is longer and not known yet to lose.
func (m *Machine) mayHoldMore(p *peer) bool {
	at := p.beat.Position
	return m.reachable(p) && p.beat.Flags&flagConsistent != 0 && at.Version > m.copy.Position.Version && at.Epoch != m.epoch && !p.knows(at)
}

func (m *Machine) shut(why string) {
	if m.open {
		m.open = false
		m.emit(Gate{Why: why})
	}
}

// settleGate opens the gate, keeps it open, or shuts it, as everything else demands.
func (m *Machine) settleGate() {
	why := m.shutWhy()
	until := m.now + m.t.Pause
	if m.cfg.Safety != Available && why == "" && !m.bugs.noLease {
		leased := m.leased()
		m.solo = m.solo && leased <= m.now
		if until = min(until, leased); m.solo {
			until = m.now + m.t.Pause
		} else if until <= m.now {
			why = "no majority of members answers"
		}
	}
	switch {
	case why != "":
		m.shut(why)
	case !m.open || until-m.until >= m.t.Heartbeat/2:
		m.open, m.until = true, until
		m.emit(Gate{Open: true, Until: until})
	}
}

func (m *Machine) shutWhy() string {
	switch {
	case m.phase != Leading:
		return "this node does not lead"
	case m.checking:
		return "it was paused, and asks whether it still leads"
	case m.holding:
		return "a member may hold more"
	case m.hand != nil && m.hand.stage > handNear:
		return "handing over"
	}
	return ""
}

// leased is until when answered heartbeats keep the gate open: of the times at which we sent
// what each voter last answered, the one that a majority has reached, and Lease.
func (m *Machine) leased() time.Duration {
	var sent []time.Duration
	if m.selfCounts() {
		sent = append(sent, m.now)
	}
	for _, p := range m.peers {
		if p.echo != 0 && m.counts(p) {
			sent = append(sent, p.echo)
		}
	}
	if !m.majority(len(sent)) {
		return 0
	}
	voters := len(m.members.Voters())
	if voters == 0 {
		return m.now + m.t.Lease
	}
	slices.Sort(sent)
	return sent[len(sent)-(voters/2+1)] + m.t.Lease
}
