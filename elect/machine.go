package elect

import (
	"fmt"
	"math"
	"slices"
	"time"

	"wolfdisk/volume"
)

// Phase is what a machine is doing.
type Phase uint8

const (
	Waiting    Phase = iota // for a leader, or for its turn
	Following               // a leader
	Asking                  // a candidate: when did you last hear the leader
	Claiming                // an epoch
	CatchingUp              // with the longest history of its lineage
	Starting                // the host makes the leader
	Leading

	phaseEnd
)

var phaseNames = [phaseEnd]string{"waiting", "following", "asking", "claiming", "catching up", "starting", "leading"}

func (p Phase) String() string {
	if p >= phaseEnd {
		return "unknown"
	}
	return phaseNames[p]
}

// Machine is the election of one node. It is driven by Step alone, from one goroutine.
type Machine struct {
	cfg Config
	t   Timing

	now     time.Duration // of the last step
	started time.Duration
	out     []Effect

	state  State // its promise may run ahead of the disk
	saved  volume.Epoch
	saving volume.Epoch // the promise of the last Save
	seq    uint64       // of the last Save
	onDisk uint64       // of the last Saved
	waits  []saveWait
	broken bool // the state cannot be saved: nothing is promised any more

	copy    Copy
	failed  bool          // the disk
	stalled time.Duration // since when; 0: it is not
	members Members
	peers   []*peer // in natural order
	highest uint64  // number of any epoch heard of
	random  uint64

	phase        Phase
	bootDone     bool
	demoted      bool
	retired      bool          // demoted without a successor: it does not lead before a promotion
	unfit        time.Duration // may not lead before
	expelled     string        // who said that this node was removed; "" nobody, or it counts no more
	strangeTo    string        // who said that this node was wiped or set back
	strangeUntil time.Duration // and how long that counts
	vacant       time.Duration // since when there is no leader
	retry        time.Duration // no candidate before

	// Following.
	leader  string
	reign   volume.Epoch
	told    bool          // Follow was told to the host
	syncing time.Duration // since when in sync with a leader that could be relieved; 0: not
	asked   time.Duration // for a hand-over
	goes    HandoverGo    // the leader's consent to a claim
	// Whose heartbeats were answered, and until when its gate may be open by these answers,
	// whatever else was promised since. Counts above Available.
	bound        string
	boundUntil   time.Duration
	resolve      string        // with whom a fork is being resolved
	resolveAgain time.Duration // not before

	// After a grant: whom the next reign is left to for a moment.
	granted   string
	grantedIn volume.Epoch
	grantedAt time.Duration

	// Candidate and claimant.
	round    uint64
	deadline time.Duration // of the phase
	claim    volume.Epoch
	consent  volume.Epoch
	sent     bool // claims were sent
	pulled   volume.Version
	takers   []string // who took part

	// Leader.
	epoch      volume.Epoch
	leaving    volume.Epoch // stepped down, handlers may still run
	leaveUntil time.Duration
	beaten     time.Duration // when heartbeats were last sent
	beats      uint64
	open       bool
	until      time.Duration
	checking   bool // after a pause
	holding    bool // a member may hold more
	solo       bool // an operator insisted: no majority needed until there is one
	hand       *handover
	keep       bool // an operator chose this leader: nobody reclaims from it
	requests   []request

	bugs bugs
}

// bugs are planted by tests, to show that the checkers of the simulation see them.
type bugs struct{ noFencing, noVeto, unsynced, equalEpochs, unsaved, noLease bool }

type saveWait struct {
	seq  uint64
	then func()
}

// New makes the machine of a node that starts at now. st is what its disk says.
func New(cfg Config, st State, c Copy, members Members, now time.Duration) *Machine {
	cfg.Timing.fill()
	m := &Machine{cfg: cfg, t: cfg.Timing, now: now, started: now, state: st, saved: st.Promise, saving: st.Promise, copy: c, members: members, random: cfg.Random, vacant: now}
	m.beaten = now - m.t.Heartbeat
	// What is in the log was obeyed, whatever the state says.
	if e := c.Position.Epoch; e.Compare(m.state.Promise) > 0 {
		m.state.Promise = e
	}
	m.number(m.state.Promise)
	return m
}

// Step tells the machine one event and returns what is to be done. now is the node's
// boot-time clock: it goes on while the machine sleeps, and never back.
func (m *Machine) Step(now time.Duration, ev Event) []Effect {
	gap := now - m.now
	m.now = max(m.now, now)
	m.out = nil
	if gap > m.t.Pause {
		m.resumed()
	}
	m.handle(ev)
	m.timers()
	m.settleGate()
	return m.out
}

func (m *Machine) handle(ev Event) {
	switch ev := ev.(type) {
	case Local:
		m.copy, m.failed, m.stalled = ev.Copy, ev.Failed, ev.Since
	case Remembered:
		m.remembered(ev.Members)
	case PeerUp:
		m.peerUp(ev)
	case Expelled:
		if m.leader == "" || m.leader == ev.By { // a leader who has it as a follower knows better than others
			m.expelled = ev.By
		}
	case PeerDown:
		m.peerDown(ev.ID)
	case PeerRefused:
		if p := m.find(ev.ID); p != nil && p.refused == 0 {
			p.refused = m.now
		}
	case Received:
		m.receive(ev.From, ev.Message)
	case Saved:
		m.savedTo(ev.Seq, &ev.Copy)
	case SaveFailed:
		m.saveFailed(ev.Err)
	case CaughtUp:
		m.caughtUp(ev.Epoch, &ev.Copy)
	case CatchUpFailed:
		if m.phase == CatchingUp && ev.Epoch == m.claim {
			m.abandon()
		}
	case Ready:
		m.ready(ev.Epoch)
	case LeadFailed:
		if ev.Epoch == m.epoch && !m.epoch.IsZero() {
			m.unfit = m.now + m.t.Stuck
			m.stepDown(fmt.Sprintf("the leader cannot go on: %v", ev.Err))
		}
	case SteppedDown:
		if ev.Epoch == m.leaving {
			m.leaving = volume.Epoch{}
		}
	case Drained:
		m.drained(ev.Epoch, &ev.Copy)
	case Resolved:
		m.resolve, m.copy = "", ev.Copy
	case ResolveFailed:
		m.resolve = ""
		m.resolveAgain = m.now + m.t.Claim
	case Promote:
		m.promote(ev)
	case Demote:
		m.demote(ev)
	case Handover:
		m.handoverTo(ev)
	case Cancel:
		m.cancel(ev.Request)
	}
}

// timers does what is due.
func (m *Machine) timers() {
	m.watchLeader()
	switch m.phase {
	case Waiting:
		m.consider()
	case Following:
		m.watchFollowing()
		m.watchGo()
	case Asking:
		m.finishAsking()
	case Claiming:
		m.finishClaiming()
	case CatchingUp:
		m.watchCatchUp()
	case Starting, Leading:
		m.watchLeading()
	}
	if m.now-m.beaten >= m.t.Heartbeat {
		m.beat()
	}
	m.expireRequests()
}

func (m *Machine) emit(e Effect) { m.out = append(m.out, e) }

func (m *Machine) send(p *peer, msg Message) {
	if p.up {
		m.emit(Send{p.id, msg})
	}
}

// number notes the number of an epoch, so that a claim goes above it.
func (m *Machine) number(list ...volume.Epoch) {
	for _, e := range list {
		m.highest = max(m.highest, e.Number)
	}
}

// promise agrees to obey an epoch and goes on when that is on disk.
func (m *Machine) promise(e volume.Epoch, then func()) {
	m.number(e)
	if e.Compare(m.state.Promise) > 0 && !m.bugs.noFencing {
		m.state.Promise = e
	}
	if m.state.Promise != m.saving {
		m.seq++
		m.saving = m.state.Promise
		m.emit(Save{m.seq, m.state})
	}
	if m.onDisk == m.seq || m.bugs.unsaved {
		then()
		return
	}
	m.waits = append(m.waits, saveWait{m.seq, then})
}

func (m *Machine) savedTo(seq uint64, c *Copy) {
	if m.broken || seq <= m.onDisk || seq > m.seq {
		return
	}
	m.onDisk, m.copy = seq, *c
	if seq == m.seq {
		m.saved = m.state.Promise
	}
	for len(m.waits) > 0 && m.waits[0].seq <= seq {
		then := m.waits[0].then
		m.waits = m.waits[1:]
		then()
	}
}

func (m *Machine) saveFailed(err error) {
	m.broken = true
	m.waits = nil
	m.emit(Alarm{AlarmState, "", fmt.Sprintf("the state could not be saved: %v", err)})
	m.stepDown("its disk refuses the state")
	if m.phase != Waiting && m.phase != Following {
		m.abandon()
	}
}

// nextEpoch is above everything heard of, with a tag no reign of the lineage has; zero
// if there is none.
func (m *Machine) nextEpoch() volume.Epoch {
	m.number(m.state.Promise)
	for _, r := range m.copy.Lineage {
		m.number(r.Epoch)
	}
	if m.highest == math.MaxUint64 {
		m.emit(Alarm{AlarmEpochs, "", "the last epoch there can be is promised: remove the state directory of the node that promised it"})
		return volume.Epoch{}
	}
	e := volume.Epoch{Number: m.highest + 1, Leader: m.cfg.ID}
	if m.bugs.equalEpochs && m.state.Promise.Leader == m.cfg.ID {
		return m.state.Promise
	}
	if len(m.copy.Lineage) == 0 {
		return e // the first epoch of a volume has tag 0
	}
	used := func(r volume.Reign) bool { return r.Epoch.Tag == e.Tag }
	for e.Tag == 0 || slices.ContainsFunc(m.copy.Lineage, used) {
		e.Tag = uint32(m.next()) & (1<<volume.InoTagBits - 1)
	}
	return e
}

// next is the next number of a stream that Config.Random begins (splitmix64).
func (m *Machine) next() uint64 {
	m.random += 0x9e3779b97f4a7c15
	z := m.random
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// unfitWhy says why this node may not lead, whatever the others say; "" if it may.
func (m *Machine) unfitWhy() string { return m.unfitFor(m.alone()) }

// unfitFor is unfitWhy for an operator who insists: then a replaced store is no reason, since there may be
// nobody left who could accept it.
func (m *Machine) unfitFor(insist bool) string {
	if why := m.barred(insist); why != "" {
		return why
	}
	switch {
	case m.copy.Founder && m.copy.Position.Version == 0:
		if m.members.others(m.cfg.ID) || m.anyCopy() {
			return "others hold the volume"
		}
	case m.copy.Position.Version == 0:
		return "its copy is empty"
	case !m.copy.Consistent:
		return "its copy is not complete"
	}
	return ""
}

// barred says why this node may not lead whatever copy it has; "" if nothing is in the way.
func (m *Machine) barred(insist bool) string {
	switch {
	case m.cfg.Role != volume.RoleAuto && m.cfg.Role != volume.RoleLeader:
		return "its role is " + m.cfg.Role.String()
	case m.broken || m.failed:
		return "its disk fails"
	case m.stalled != 0 && m.now-m.stalled >= m.t.Stall:
		return "its disk hangs"
	case m.now < m.unfit:
		return "it has just failed to lead"
	case m.retired:
		return "it was demoted: wolfdiskctl promote has it lead again"
	case m.now < m.strangeUntil && !m.alone():
		return "node " + m.strangeTo + " knows that it was set back: it has to follow first"
	case m.copy.Reconciling || m.resolve != "":
		return "its copy is being reconciled"
	case m.outcast(insist) != "":
		return m.outcast(insist)
	case m.storeChanged(m.cfg.ID, m.state.Store) && !insist:
		return "the cluster remembers another store of it: see wolfdiskctl member accept-store"
	}
	return ""
}

// outcast says that this node was removed from the cluster; "" if it was not, as far as is known here. An
// operator who insists knows better than another node, and not better than the list of members.
func (m *Machine) outcast(insist bool) string {
	const back = ": wolfdiskctl member add takes it up again"
	switch {
	case m.members.removed(m.cfg.ID):
		return "it was removed from the cluster" + back
	case m.expelled != "" && !insist:
		return "node " + m.expelled + " says that it was removed from the cluster" + back
	}
	return ""
}

func (m *Machine) eligible() bool { return m.unfitWhy() == "" }

// storeChanged reports whether a node is not what the cluster remembers.
func (m *Machine) storeChanged(id string, store volume.ID) bool {
	known, ok := m.members.Get(id)
	return ok && known.Store != store
}

// resumed is called when the machine was not stepped for longer than Pause: what it knows
// of the others is as old as that, so each gets a full time of silence again.
func (m *Machine) resumed() {
	m.boundUntil = m.now + m.t.Silence
	for _, p := range m.peers {
		p.heard = m.now
		if p.refused != 0 {
			p.refused = m.now
		}
	}
	switch m.phase {
	case Asking, Claiming, CatchingUp:
		m.abandon()
	case Starting, Leading:
		m.checking = true
		m.round++
		m.deadline = m.now + 3*m.t.Ask
		m.askAll()
	}
}
