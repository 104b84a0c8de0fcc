package node

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/elect"
	"wolfdisk/node/config"
	"wolfdisk/volume"
)

// elector drives the machine of the election (package elect), and is its host: run is the one
// goroutine that steps it, work the one that does what takes time, in order.
type elector struct {
	n      *node
	m      *elect.Machine
	timing elect.Timing
	events chan elect.Event
	status atomic.Pointer[elect.Status]
	// obeyed is the promise as it will be: from the moment it is seen, sessions of leaders
	// below it are refused.
	obeyed atomic.Pointer[volume.Epoch]

	mu       sync.Mutex
	tasks    []elect.Effect // slow ones, in order
	breakOff context.CancelCauseFunc
	asked    map[uint64]chan error // requests of operators
	lastAsk  uint64
	wake     chan struct{}
}

// maxEvents is how many events may wait; more hold up the sessions that bring them.
const maxEvents = 1024

// newElector makes the elector of a node whose volume is open, or which has none yet.
func newElector(n *node) *elector {
	var seed [8]byte
	rand.Read(seed[:])
	e := &elector{n: n, timing: electTiming(n.cfg), events: make(chan elect.Event, maxEvents), wake: make(chan struct{}, 1), asked: map[uint64]chan error{}}
	st := n.state.Get()
	e.m = elect.New(elect.Config{
		ID: n.cfg.Node.ID, Role: n.role, Safety: safety(n.cfg), OnBootAlone: onBootAlone(n.cfg), Reclaim: n.cfg.Elect.Reclaim,
		Started: n.started.UnixNano(), Random: binary.LittleEndian.Uint64(seed[:]), Timing: e.timing,
	}, elect.State{Cluster: st.Cluster, NodeID: st.NodeID, Store: st.Store, Promise: st.Promise, Boot: st.Boot, Clean: n.prev.Clean},
		n.copyNow(), n.members(), bootClock())
	promise := st.Promise
	e.obeyed.Store(&promise)
	e.note()
	return e
}

// foundAlone is how long a node that has no way to find others waits for them before it makes a volume:
// who knows its own may be dialling it right now.
const foundAlone = 100 * time.Millisecond

// electTiming is what the configuration says of the machine's intervals.
func electTiming(cfg *config.Config) elect.Timing {
	t := elect.DefaultTiming()
	t.BootWait, t.Preempt = cfg.Elect.BootWait, cfg.Elect.PreemptDelay
	if len(cfg.Cluster.Peers) == 0 && cfg.Cluster.Discovery == "none" {
		t.FoundWait = foundAlone
	}
	return t
}

// safety and onBootAlone are the words of the configuration.
func safety(cfg *config.Config) elect.Safety {
	return map[string]elect.Safety{"fenced": elect.Fenced, "durable": elect.Durable}[cfg.Elect.Safety]
}

func onBootAlone(cfg *config.Config) elect.OnBootAlone {
	return map[string]elect.OnBootAlone{"lead": elect.BootLead, "wait": elect.BootWait}[cfg.Elect.OnBootAlone]
}

// run steps the machine until ctx ends.
func (e *elector) run(ctx context.Context) {
	tick := time.NewTicker(e.timing.Heartbeat / 4)
	defer tick.Stop()
	var members []volume.Member
	for {
		select {
		case <-ctx.Done():
			return
		case ev := <-e.events:
			e.step(ev)
		case <-tick.C:
			if now := e.n.members(); !slices.Equal(now, members) {
				e.n.endRemoved(members, now)
				members = now
				e.n.dials.members(now)
				e.n.background(func(context.Context) {
					if err := e.n.keepMembers(); err != nil {
						e.n.log.Warn().Err(err).Msg("the members of the cluster are kept in the log only")
					}
				})
				e.step(elect.Remembered{Members: now})
			}
			e.step(e.local())
			e.step(elect.Tick{})
		}
	}
}

// local is how copy and disk are.
func (e *elector) local() elect.Local {
	l := elect.Local{Copy: e.n.copyNow(), Failed: e.n.unfit.Load()}
	if s := e.n.storage(); s != nil && s.log.Broken() != nil {
		l.Failed = true
	}
	if m := e.n.leading(); m != nil {
		if m.Failed() != nil {
			l.Failed = true
		}
		if h := m.Hanging(); h > 0 {
			l.Since = bootClock() - h
		}
	}
	if f := e.n.following(); f != nil && f.Failed() != nil {
		l.Failed = true
	}
	return l
}

func (e *elector) step(ev elect.Event) {
	for _, effect := range e.m.Step(bootClock(), ev) {
		e.do(effect)
	}
	e.note()
}

// note publishes the machine's status.
func (e *elector) note() {
	s := e.m.Status()
	e.status.Store(&s)
}

// do does at once what can be done at once, and has the worker do the rest.
func (e *elector) do(effect elect.Effect) {
	n := e.n
	switch f := effect.(type) {
	case elect.Send:
		n.control.send(f.To, f.Message)
		return
	case elect.Gate:
		if f.Open {
			n.gate.Open(f.Until)
		} else {
			n.log.Debug().Str("why", f.Why).Msg("no op enters")
			n.gate.Shut()
		}
		return
	case elect.Alarm:
		n.alarm(f)
		return
	case elect.AlarmOver:
		code, _ := alarmCode(f.Reason, f.Peer)
		n.warnings.drop(alarmKey(code, f.Peer))
		return
	case elect.Done:
		e.answer(f)
		return
	case elect.Save:
		promise := f.State.Promise
		e.obeyed.Store(&promise)
	case elect.StepDown:
		// Who waits for the gate gives up, or the worker could wait for them for ever.
		if l := n.leading(); l != nil {
			l.End()
		}
		n.endStarting()
	case elect.Drain:
		n.gate.Drain()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.tasks = append(e.tasks, effect)
	switch effect.(type) {
	case elect.Lead, elect.Follow, elect.Save, elect.StepDown:
		if e.breakOff != nil { // they end a catch-up
			e.breakOff(volume.Errorf(volume.Interrupted, "the election went on"))
		}
	}
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// tell gives the machine an event; what comes after the end of the run is dropped.
func (e *elector) tell(ev elect.Event) {
	select {
	case e.events <- ev:
	case <-e.n.ctx.Done():
	}
}

// askedFor is how long the election pursues what is asked: until who waits for the answer gives up.
const askedFor = 24 * time.Hour

// ask asks for what an operator wants, and waits for the answer.
func (e *elector) ask(ctx context.Context, event func(id uint64) elect.Event) error {
	done := make(chan error, 1)
	e.mu.Lock()
	e.lastAsk++
	id := e.lastAsk
	e.asked[id] = done
	e.mu.Unlock()
	e.tell(event(id))
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		e.mu.Lock()
		delete(e.asked, id)
		e.mu.Unlock()
		e.tell(elect.Cancel{Request: id})
		return volume.Errorf(volume.Interrupted, "wait for the election: %w", context.Cause(ctx))
	case <-e.n.ctx.Done():
		return volume.Errorf(volume.Closed, "the daemon is stopping")
	}
}

// busyFor is how long a request is repeated that cannot be fulfilled just now: a node that has just joined says
// with its next heartbeats that it can lead, and a hand-over to another node comes to its end.
const busyFor = 3 * time.Second

// askAgain is ask for what may be possible in a moment.
func (e *elector) askAgain(ctx context.Context, event func(id uint64) elect.Event) error {
	err := e.ask(ctx, event)
	for end := time.Now().Add(busyFor); err != nil && volume.KindOf(err) == volume.Busy && time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
		err = e.ask(ctx, event)
	}
	return err
}

func (e *elector) answer(d elect.Done) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if c := e.asked[d.Request]; c != nil {
		c <- d.Err
		delete(e.asked, d.Request)
	}
}

// copyNow describes this node's copy to the election. It waits for no disk.
func (n *node) copyNow() elect.Copy {
	st := n.state.Get()
	c := elect.Copy{Cluster: st.Cluster, Founder: n.founds()}
	n.mu.Lock()
	s, sync := n.store, n.sync
	n.mu.Unlock()
	if s == nil {
		return c
	}
	c.Voters = elect.Members(s.engine.Members()).Voters()
	if n.between.Load() { // what it held is given up, and what comes is not whole
		c.Volume, c.Founder = st.Volume, false
		return c
	}
	c.Position, c.Lineage = s.position()
	if c.Position.Version == 0 {
		return c
	}
	c.Founder = false
	c.Volume, c.Durable = st.Volume, s.log.Durable()
	c.Consistent = sync == nil && !n.between.Load()
	return c
}

// position is how far the volume is, with the lineage that belongs to it.
func (s *storage) position() (volume.Position, volume.Lineage) {
	for {
		pos, lineage := s.engine.Position(), s.engine.Lineage()
		if pos.Digest == (volume.Digest{}) && pos.Version > 0 { // inside a frame; the log is not at work then
			if last := s.log.Last(); last.Version == pos.Version {
				pos = last
			}
		}
		at, ok := lineage.At(pos.Version)
		if pos.Version == 0 || ok && at.Epoch == pos.Epoch && len(lineage) > 0 && lineage[len(lineage)-1].Epoch == pos.Epoch {
			return pos, lineage
		}
		time.Sleep(time.Microsecond) // a frame with a reign is just being entered
	}
}

// positionAt is the position at version v, which the log holds; without a digest if it does not
// any more.
func (s *storage) positionAt(v volume.Version) volume.Position {
	pos, err := s.log.PositionAt(v)
	if err != nil {
		return volume.Position{Version: v}
	}
	return pos
}

// members are those the cluster remembers, as far as this node knows.
func (n *node) members() []volume.Member {
	if s := n.storage(); s != nil {
		return n.roster.with(s.engine.Members())
	}
	return n.roster.with(nil)
}

// alarm tells the operator what the election found. It stands until the election takes it back.
func (n *node) alarm(a elect.Alarm) {
	code, hint := alarmCode(a.Reason, a.Peer)
	if a.Peer != "" {
		hint += " (node " + a.Peer + ")"
	}
	n.warnAs(alarmKey(code, a.Peer), code, a.Text, hint)
}

// alarmKey tells alarms about one node from those about another.
func alarmKey(code, peer string) string { return code + " " + peer }

func alarmCode(r elect.AlarmReason, peer string) (code, hint string) {
	switch r {
	case elect.AlarmDamaged:
		return "WD-1311", "scrub both nodes; move the state directory of the damaged one away and let it sync anew"
	case elect.AlarmOtherVolume:
		return "WD-1303", "two volumes need two cluster keys and state directories of their own"
	case elect.AlarmStore:
		return "WD-1321", "if this was intended: wolfdiskctl member accept-store " + peer
	case elect.AlarmSetBack:
		return "WD-1322", "nothing need be done once it has caught up; look at its disk"
	case elect.AlarmEpochs:
		return "WD-1323", "see docs/operations.md"
	case elect.AlarmState:
		return "WD-1324", "look at the disk of the state directory, and restart the daemon"
	}
	return "WD-1326", "see docs/operations.md"
}
