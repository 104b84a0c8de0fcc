package sim

import (
	"bytes"
	"context"
	"slices"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/elect"
	"wolfdisk/master"
	"wolfdisk/slave"
	"wolfdisk/volume"
)

type buffer = bytes.Buffer

// reign is the leader that a node follows, and the epoch it leads in.
type reign struct {
	leader string
	epoch  volume.Epoch
}

// node is a node: its disk, and while it runs its machine and a host that does for it what package
// node does, over a real log, index, leader and follower.
type node struct {
	s    *sim
	i    int
	id   string
	role volume.Role
	disk

	// The run.
	gen       int
	insists   uint64 // the request of an operator who has it lead whatever gets lost; 0 if none waits
	ctx       context.Context
	cancel    context.CancelFunc
	running   bool
	machineUp bool
	paused    time.Duration
	skew      time.Duration // of the boot-time clock
	drift     int64         // of it, parts per thousand
	m         *elect.Machine
	known     []volume.Member // that the machine was told of
	obeyed    volume.Epoch    // sessions of leaders below it are refused
	busy      time.Duration   // the worker, until then
	hung      time.Duration   // the disk answers nothing until then
	hangs     time.Duration   // since when, by the machine's clock
	fuse      int             // calls to the file system until the next crash; 0: none is to come
	fused     bool            // one was set
	fusePower bool            // and that is a loss of power
	crashed   *vfs.MemFS      // the disk at the moment of a crash that has come
	refuses   time.Duration   // the disk refuses to sync until then
	refused   bool            // and has
	unfit     bool            // a leader of this run stopped by itself

	st       *storage // nil: holds no volume
	gate     *master.Gate
	gateNow  elect.Gate
	leader   *master.Leader
	follower *slave.Follower
	reign    reign
	streams  []*stream // to followers
	data     *stream   // from the leader
	through  volume.Version
	pull     *pull
	syncs    []*fsync
	fsynced  volume.Version // through which this run's fsyncs have returned, as long as the copy is the same
	calls    []call         // of clients, to the leader; one at a time
	calling  bool
	way      *lane // of the goroutine that does them
}

// pull is a catch-up.
type pull struct {
	elect.CatchUp
	began time.Duration
}

// clock is the node's boot-time clock.
func (n *node) clock() time.Duration {
	now := n.s.clock()
	return n.skew + now + now/1000*time.Duration(n.drift)
}

// wall is what the node takes for the time of day.
func (n *node) wall() volume.Time {
	return volume.TimeOf(time.Now().Add(n.skew - 30*time.Minute))
}

func (n *node) members() elect.Members {
	if n.role == volume.RoleWitness {
		return n.s.check.members
	}
	if n.st == nil {
		return n.roster
	}
	all := elect.Members(n.st.engine.Members())
	for _, m := range n.roster {
		if !slices.ContainsFunc(all, func(c volume.Member) bool { return c.ID == m.ID }) {
			all = append(all, m)
		}
	}
	return all
}

// keep makes a member durable before it is recorded.
func (n *node) keep(m volume.Member) {
	list := slices.Clone(n.members())
	if i := slices.IndexFunc(list, func(c volume.Member) bool { return c.ID == m.ID }); i >= 0 {
		list[i] = m
	} else {
		list = append(list, m)
	}
	n.roster = list
}

// copy is what package node tells the election of its copy.
func (n *node) copy() elect.Copy {
	c := elect.Copy{Founder: n.founder}
	c.Cluster[0] = 1
	if n.st == nil {
		return c
	}
	c.Voters = elect.Members(n.st.engine.Members()).Voters()
	if n.between {
		c.Volume, c.Founder = theVolume, false
		return c
	}
	c.Position, c.Lineage = n.st.position()
	if c.Position.Version == 0 {
		return c
	}
	c.Founder = false
	c.Volume, c.Durable, c.Consistent = theVolume, n.st.log.Durable(), true
	return c
}

// startAfter begins a run.
func (n *node) startAfter(d time.Duration) {
	n.s.after(d, nil, func() {
		if !n.running {
			n.start()
		}
	})
}

func (n *node) start() {
	s := n.s
	n.gen++
	n.insists = 0
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.running, n.machineUp, n.paused, n.hung, n.hangs, n.busy = true, true, 0, 0, 0, 0
	n.skew, n.drift = s.between(0, time.Hour), int64(s.rnd.IntN(21))-10
	n.fuse, n.fused, n.crashed, n.refuses, n.refused, n.unfit = 0, false, nil, 0, false, false
	n.gate, n.gateNow = master.NewGate(n.clock), elect.Gate{}
	n.leader, n.follower, n.reign, n.streams, n.data, n.through = nil, nil, reign{}, nil, nil, 0
	n.pull, n.syncs, n.calls, n.calling, n.fsynced = nil, nil, nil, false, 0
	n.state.NodeID, n.state.Store = n.id, n.store
	n.state.Cluster[0] = 1
	if n.volume {
		n.open()
	}
	s.check.remembers(n)
	n.known = n.members()
	n.obeyed = n.state.Promise
	cfg := elect.Config{ID: n.id, Role: n.role, Safety: s.safety, Reclaim: s.class != oneWay && s.seed%5 != 0, Started: int64(s.now) + int64(n.gen), Random: s.rnd.Uint64()}
	n.m = elect.New(cfg, n.state, n.copy(), n.known, n.clock())
	n.m.Plant(s.bug.machine)
	s.note("%s starts run %d at %s", n.id, n.gen, n.copy().Position)
	n.becomeFollower()
	n.tick()
	n.sync()
	n.client()
	n.joining()
}

// tick steps the machine.
func (n *node) tick() {
	if now := n.members(); !slices.Equal(now, n.known) {
		n.known, n.roster = now, now
		n.step(elect.Remembered{Members: now})
	}
	l := elect.Local{Copy: n.copy(), Failed: n.unfit || n.st != nil && n.st.log.Broken() != nil || n.leader != nil && n.leader.Failed() != nil || n.follower != nil && n.follower.Failed() != nil}
	if n.s.now < n.hung {
		l.Since = n.hangs
	}
	if n.follower != nil && n.follower.Failed() != nil {
		n.s.note("%s stops: %v", n.id, n.follower.Failed())
		n.kill(false)
		n.startAfter(n.s.between(time.Second, 3*time.Second))
		return
	}
	n.step(l)
	n.step(elect.Tick{})
	n.s.after(n.s.between(25*ms, 50*ms), n, n.tick)
}

func (n *node) step(ev elect.Event) {
	for _, e := range n.m.Step(n.clock(), ev) {
		n.do(e)
	}
}

// worker does a slow effect after those before it.
func (n *node) worker(take time.Duration, then func()) {
	n.busy = max(n.busy, n.s.now, n.hung) + take
	n.s.after(n.busy-n.s.now, n, func() {
		if n.s.now < n.hung {
			n.worker(0, then)
			return
		}
		then()
	})
}

// idle does what has to wait for the handlers of the leader.
func (n *node) idle(then func()) {
	if !n.calling {
		then()
		return
	}
	n.s.after(ms, n, func() { n.worker(0, func() { n.idle(then) }) })
}

func (n *node) do(e elect.Effect) {
	s := n.s
	switch e := e.(type) {
	case elect.Send:
		n.send(e)
	case elect.Gate:
		n.gateNow = e
		if e.Open {
			n.gate.Open(e.Until)
			synctest.Wait() // who waited there comes to rest first
		} else {
			n.gate.Shut()
			synctest.Wait() // who waited there comes to rest first
			s.note("%s shuts its gate: %s", n.id, e.Why)
		}
	case elect.Save:
		s.saves++
		n.obeyed = e.State.Promise
		n.breakOff()
		n.worker(n.diskTime(), func() {
			if s.bug.host != noFencing {
				n.leaveBelow(e.State.Promise)
			}
			n.state = e.State
			n.step(elect.Saved{Seq: e.Seq, Copy: n.copy()})
		})
	case elect.Lead:
		n.breakOff()
		n.lead(e)
	case elect.StepDown:
		s.roles++
		s.note("%s steps down from %s: %s", n.id, e.Epoch, e.Why)
		n.breakOff()
		if n.leader != nil {
			n.leader.End()
			synctest.Wait()
		}
		n.worker(0, func() { n.idle(func() { n.stepDown(e.Epoch) }) })
	case elect.Follow:
		s.roles++
		s.note("%s follows %q in %s", n.id, e.Leader, e.Epoch)
		n.breakOff()
		if e.Leader != "" {
			s.check.agree(n, e.Epoch)
		}
		n.worker(s.between(0, 5*ms), func() { n.obey(reign{e.Leader, e.Epoch}) })
	case elect.CatchUp:
		s.note("%s pulls from %s through %d", n.id, e.From, e.Through.Version)
		p := &pull{e, 0}
		n.breakOff()
		n.pull = p
		n.worker(0, func() {
			if n.pull != p {
				return
			}
			p.began = s.now
			n.retireFollower()
			n.pullMore(p)
		})
	case elect.Drain:
		n.gate.Drain()
		synctest.Wait()
		n.worker(0, func() { n.idle(func() { n.drained(e.Epoch) }) })
	case elect.Resolve:
		n.worker(s.between(5*ms, 200*ms), func() { n.resolve(e) })
	case elect.Alarm:
		s.note("%s alarm %d: %s", n.id, e.Reason, e.Text)
		if e.Reason == elect.AlarmDamaged || e.Reason == elect.AlarmOtherVolume {
			s.check.violated("I3: %s", e.Text)
		}
	case elect.Done:
		if n.insists == e.Request {
			n.insists = 0
		}
		s.note("%s request %d: %v", n.id, e.Request, e.Err)
	}
}

// breakOff ends a catch-up.
func (n *node) breakOff() {
	if p := n.pull; p != nil {
		n.pull = nil
		n.s.after(0, n, func() { n.caughtUp(p, volume.Errorf(volume.Interrupted, "the election went on")) })
	}
}

func (n *node) caughtUp(p *pull, err error) {
	if err != nil {
		n.s.note("%s could not pull from %s: %v", n.id, p.From, err)
		n.step(elect.CatchUpFailed{Epoch: p.Epoch, Err: err})
		return
	}
	n.step(elect.CaughtUp{Epoch: p.Epoch, Copy: n.copy()})
}

// diskTime is how long a sync takes.
func (n *node) diskTime() time.Duration {
	if n.s.slowDisks && n.s.load && n.s.chance(30) {
		return n.s.between(50*ms, 900*ms)
	}
	if n.s.class != handed && n.s.chance(3) {
		return n.s.between(20*ms, 300*ms)
	}
	return n.s.between(500*time.Microsecond, 8*ms)
}

// onDisk does something once a sync has had its time.
func (n *node) onDisk(then func()) {
	var end func()
	end = func() {
		if n.s.now < n.hung {
			n.s.after(n.hung-n.s.now, n, end)
			return
		}
		then()
	}
	n.s.after(n.diskTime(), n, end)
}

// send brings a message to another machine, some of them through the codec.
func (n *node) send(e elect.Send) {
	s := n.s
	if a, ok := e.Message.(*elect.ClaimAnswer); ok && a.Granted {
		s.check.agree(n, a.Epoch)
	}
	if c, ok := e.Message.(*elect.Claim); ok {
		s.check.agree(n, c.Epoch)
	}
	msg := e.Message
	if _, beat := msg.(*elect.Heartbeat); !beat || s.chance(5) {
		b, err := elect.Encode(msg)
		if err == nil {
			msg, err = elect.Decode(b)
		}
		if err != nil {
			s.check.violated("codec: %s sends %+v: %v", n.id, e.Message, err)
			return
		}
	}
	if to := s.node(e.To); to != nil {
		s.net.carry(n, to, func() { to.step(elect.Received{From: n.id, Message: msg}) })
	}
}

// leave stops following.
func (n *node) leave() {
	n.reign = reign{}
	if n.data != nil {
		n.data.end()
	}
}

func (n *node) leaveBelow(e volume.Epoch) {
	if !n.reign.epoch.IsZero() && n.reign.epoch.Compare(e) < 0 {
		n.leave()
	}
}

func (n *node) retireFollower() {
	if n.data != nil {
		n.data.end()
	}
	if n.follower != nil {
		n.follower.Stop(master.Moved)
		n.follower = nil
	}
}

// obey follows a leader, or nobody.
func (n *node) obey(r reign) {
	if n.s.bug.host == noFencing && r.leader == "" {
		return
	}
	n.leave()
	if r.leader == "" {
		return
	}
	n.becomeFollower()
	n.reign = r
}

func (n *node) becomeFollower() {
	if n.st == nil || n.follower != nil {
		return
	}
	n.follower = slave.New(slave.Options{Tree: n.st.tree, Log: n.st.log, Log0: zerolog.Nop()})
}

// lead makes this node the leader.
func (n *node) lead(e elect.Lead) {
	s := n.s
	s.roles++
	s.note("%s leads in %s at %s, with %v", n.id, e.Epoch, n.copy().Position, e.Participants)
	s.check.lead(n, e.Epoch)
	s.check.agree(n, e.Epoch)
	n.worker(s.between(ms, 30*ms), func() {
		n.leave()
		n.retireFollower()
		if n.st == nil {
			n.volume = true
			n.open()
		}
		if n.st == nil {
			return
		}
		founding := n.st.log.Last().Version == 0
		opt := master.Options{Tree: n.st.tree, Log: n.st.log, Epoch: e.Epoch, Participants: e.Participants, Now: n.wall, Log0: zerolog.Nop()}
		if !founding {
			opt.Gate = n.gate
		}
		l, err := master.New(opt)
		if err == nil && founding { // a volume is made durably
			err = n.found(l)
		}
		if err != nil && !n.sick() {
			s.check.violated("%s cannot lead: %v", n.id, err)
		}
		if err != nil {
			s.note("%s stops: %v", n.id, err)
			if n.crashed == nil {
				n.kill(false)
				n.startAfter(s.between(time.Second, 3*time.Second))
			}
			return
		}
		n.leader, n.calls = l, nil
		n.step(elect.Ready{Epoch: e.Epoch})
	})
}

func (n *node) found(l *master.Leader) error {
	n.keep(volume.Member{ID: n.id, Store: n.store, Role: n.role})
	if err := makeFirst(l, volume.Member{ID: n.id, Store: n.store, Role: n.role}); err != nil {
		return err
	}
	l.Guard(n.gate)
	n.founder = false
	return n.st.log.Sync(n.ctx, n.st.log.Last().Version)
}

// makeFirst makes the first ops of a volume.
func makeFirst(l *master.Leader, members ...volume.Member) error {
	for _, m := range members {
		if err := l.PutMember(m); err != nil {
			return err
		}
	}
	_, err := l.Do(context.Background(), &volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: tokens, Mode: volume.ModeDir | 0o755})
	return err
}

func (n *node) stepDown(e volume.Epoch) {
	if n.leader != nil {
		n.leader.End()
		synctest.Wait()
		n.leader.Stop(master.Moved)
		n.unfit = n.unfit || n.leader.Failed() != nil
		n.leader = nil
		for _, st := range slices.Clone(n.streams) {
			st.end()
		}
	}
	n.syncs, n.calls = nil, nil
	n.step(elect.SteppedDown{Epoch: e})
}

func (n *node) drained(e volume.Epoch) {
	if n.leader == nil {
		return
	}
	if _, err := n.leader.Barrier(); err != nil {
		n.step(elect.LeadFailed{Epoch: e, Err: err})
		return
	}
	n.step(elect.Drained{Epoch: e, Copy: n.copy()})
}

// gateOpen reports whether an op would enter now.
func (n *node) gateOpen() bool {
	return n.running && n.leader != nil && n.gateNow.Open && n.clock() < n.gateNow.Until
}

// kill ends a run. Power takes what is not synced with it.
func (n *node) kill(power bool) {
	if !n.running {
		return
	}
	s := n.s
	s.note("%s is killed, power %t, at %s", n.id, power, n.copy().Position)
	s.check.goes(n, power)
	n.fuse = 0
	n.fall(power, n.crash(power, s.rnd))
}

// fall ends a run with the disk as it was at a moment.
func (n *node) fall(power bool, crash *vfs.MemFS) {
	s := n.s
	n.machineUp = !power
	n.running = false
	n.cancel()
	streams := slices.Clone(n.streams)
	if n.data != nil {
		streams = append(streams, n.data)
	}
	for _, st := range streams {
		d := ms
		if power {
			d = breakAfter
		}
		st.hush()
		s.after(d, nil, st.end)
	}
	n.data = nil
	n.release()
	n.fs = crash
	s.net.died(n, power)
}

// release ends what a run has open.
func (n *node) release() {
	if n.leader != nil {
		n.leader.End()
	}
	if n.follower != nil {
		n.follower.Stop(master.Moved)
	}
	synctest.Wait()
	if n.st != nil {
		n.st.close()
	}
	n.st, n.leader, n.follower = nil, nil, nil
}
