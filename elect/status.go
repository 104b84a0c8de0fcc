package elect

import (
	"slices"
	"time"

	"wolfdisk/volume"
)

// Status is what a machine shows to operators and hosts.
type Status struct {
	Phase    Phase
	Leader   string       // that is followed, or this node
	Epoch    volume.Epoch // of that leader
	Promise  volume.Epoch // on disk
	GateOpen bool
	GateWhy  string // it is shut
	Unfit    string // why this node may not lead; "" if it may
	Barred   string // why it may not whatever copy it has, and whoever insists; "" if nothing bars it
	Unseen   []string
	Handover string // to whom a hand-over is under way
	Demoted  bool
	Peers    []PeerStatus
}

// PeerStatus is what a machine knows of another node.
type PeerStatus struct {
	ID         string
	Connected  bool
	Reachable  bool
	Counts     bool          // for a majority
	MayLead    bool          // by its own account
	Heard      time.Duration // by the machine's clock; 0: never
	Position   volume.Position
	Consistent bool // and whether its copy is whole, as last heard
}

// Status describes the machine as of its last step. It changes nothing.
func (m *Machine) Status() Status {
	s := Status{
		Phase: m.phase, Leader: m.leader, Epoch: m.reign, Promise: m.saved, GateOpen: m.open, Unfit: m.unfitWhy(), Barred: m.barred(true), Demoted: m.demoted,
	}
	if !m.bootDone {
		s.Unseen = m.unseen()
	}
	if !m.epoch.IsZero() {
		s.Leader, s.Epoch = m.cfg.ID, m.epoch
	}
	if !m.open {
		if s.GateWhy = m.shutWhy(); s.GateWhy == "" {
			s.GateWhy = "no majority of members answers"
		}
	}
	if m.hand != nil {
		s.Handover = m.hand.to
	}
	for _, p := range m.peers {
		ps := PeerStatus{ID: p.id, Connected: p.up, Reachable: m.reachable(p), Counts: m.counts(p), Heard: p.heard, Position: p.beat.Position, Consistent: p.beat.Flags&flagConsistent != 0}
		ps.MayLead = p.ever && p.beat.Flags&flagMayLead != 0
		s.Peers = append(s.Peers, ps)
	}
	return s
}

// State is the durable part as it is to be.
func (m *Machine) State() State { return m.state }

// Quorum is the members that count and how many of them there are.
func (m *Machine) Quorum() (voters []string, have int) {
	voters = m.members.Voters()
	for _, p := range m.peers {
		if m.reachable(p) && m.counts(p) {
			have++
		}
	}
	if m.selfCounts() {
		have++
	}
	return slices.Clip(voters), have
}
