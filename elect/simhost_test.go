package elect_test

import (
	"errors"
	"time"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// simNode is a node: its disk, and while it runs its machine and a host that does what the
// contract of package elect demands, over a log without content.
type simNode struct {
	s    *sim
	i    int
	id   string
	role volume.Role

	// The disk.
	store      volume.ID
	disk       elect.State
	head       *simOp // the log
	durable    *simOp // and what of it survives a power cut
	consistent bool
	records_   []*simOp // heads of what lost forks, complete
	founder    bool
	replaced   bool // the disk was wiped or set back
	stale      *simNode

	// The run.
	gen       int
	running   bool
	machineUp bool
	paused    time.Duration
	skew      time.Duration // of the clock
	drift     int64         // of the clock, parts per thousand
	m         *elect.Machine
	promised  volume.Epoch // sessions below it are refused
	busy      time.Duration
	hung      time.Duration // the disk answers nothing until then
	hangs     time.Duration // since when, by the machine's clock
	known     bool          // members were told
	told      elect.Members // those that this node knows, where it does not know the present ones

	gate        elect.Gate
	leading     volume.Epoch
	ready       bool
	takers      []string
	following   string
	followEpoch volume.Epoch
	through     volume.Version // consistent from here on; while not consistent
	feeds       map[*simNode]*simFeed
	pull        *elect.CatchUp
	resolving   bool
	syncs       []*simSync
	syncing     bool // the log is being synced
	again       bool // and has to be again
}

// simFeed is what a leader knows of a follower.
type simFeed struct {
	applied, durable *simOp
	sent             *simOp
	sentAt           time.Duration
}

// simSync is an fsync that waits for stores.
type simSync struct{ head *simOp }

// clock is the node's boot-time clock.
func (n *simNode) clock() time.Duration {
	return n.skew + n.s.now + n.s.now/1000*time.Duration(n.drift)
}

func (n *simNode) position() volume.Position { return n.head.position() }

func (n *simNode) records(o *simOp) bool {
	for _, r := range n.records_ {
		if r.has(o) {
			return true
		}
	}
	return false
}

func (n *simNode) members() elect.Members {
	if n.head == nil && n.role != volume.RoleWitness {
		return nil
	}
	if n.told != nil {
		return n.told
	}
	return n.s.check.members
}

func (n *simNode) copy() elect.Copy {
	c := elect.Copy{Position: n.position(), Durable: n.durable.version(), Consistent: n.consistent && n.head != nil, Reconciling: n.resolving, Founder: n.founder && n.head == nil}
	c.Cluster[0] = 1
	if n.head != nil {
		c.Volume[0] = 2
		c.Lineage = n.head.lineage
		c.Voters = n.s.check.members.Voters()
	}
	return c
}

// startAfter begins a run.
func (n *simNode) startAfter(d time.Duration) {
	n.s.after(d, nil, func() {
		if n.running {
			return
		}
		s := n.s
		n.gen++
		n.running, n.machineUp, n.paused, n.hung, n.hangs, n.busy = true, true, 0, 0, 0, 0
		n.skew, n.drift = s.between(0, time.Hour), int64(s.rnd.IntN(21))-10
		n.gate, n.leading, n.ready, n.takers = elect.Gate{}, volume.Epoch{}, false, nil
		n.following, n.followEpoch, n.through, n.pull, n.resolving, n.syncs = "", volume.Epoch{}, 0, nil, false, nil
		n.syncing, n.again = false, false
		n.feeds = map[*simNode]*simFeed{}
		n.disk.NodeID, n.disk.Store = n.id, n.store
		n.disk.Cluster[0] = 1
		n.promised = n.disk.Promise
		s.check.remembers(n)
		n.known = n.members() != nil
		cfg := elect.Config{ID: n.id, Role: n.role, Safety: s.safety, Reclaim: s.class != oneWay && s.seed%5 != 0, Started: int64(s.now) + int64(n.gen), Random: s.rnd.Uint64()}
		n.m = elect.New(cfg, n.disk, n.copy(), n.members(), n.clock())
		n.m.Plant(s.bug)
		s.note("%s starts run %d at %s", n.id, n.gen, n.position())
		n.tick()
		n.sync()
		n.client()
	})
}

// tick steps the machine and the data sessions.
func (n *simNode) tick() {
	n.local()
	n.step(elect.Tick{})
	n.feed()
	n.s.after(n.s.between(30*ms, 50*ms), n, n.tick)
}

func (n *simNode) local() {
	if !n.known && n.members() != nil {
		n.known = true
		n.step(elect.Remembered{Members: n.members()})
	}
	since := time.Duration(0)
	if n.s.now < n.hung {
		since = n.hangs
	}
	n.step(elect.Local{Copy: n.copy(), Since: since})
}

func (n *simNode) step(ev elect.Event) {
	for _, e := range n.m.Step(n.clock(), ev) {
		n.do(e)
	}
}

// worker does a slow effect after those before it, and then what follows.
func (n *simNode) worker(take time.Duration, then func()) {
	n.busy = max(n.busy, n.s.now, n.hung) + take
	n.s.after(n.busy-n.s.now, n, func() {
		if n.s.now < n.hung {
			n.worker(0, then)
			return
		}
		then()
	})
}

func (n *simNode) do(e elect.Effect) {
	s := n.s
	switch e := e.(type) {
	case elect.Send:
		n.send(e)
	case elect.Gate:
		n.gate = e
		if !e.Open {
			s.note("%s shuts its gate: %s", n.id, e.Why)
		}
	case elect.Save:
		s.saves++
		n.promised = e.State.Promise
		n.worker(n.diskTime(), func() {
			n.disk = e.State
			n.step(elect.Saved{Seq: e.Seq, Copy: n.copy()})
		})
	case elect.Lead:
		n.lead(e)
	case elect.StepDown:
		s.roles++
		s.note("%s steps down from %s: %s", n.id, e.Epoch, e.Why)
		n.leading, n.ready, n.syncs = volume.Epoch{}, false, nil
		n.worker(0, func() { n.step(elect.SteppedDown{Epoch: e.Epoch}) })
	case elect.Follow:
		s.roles++
		s.note("%s follows %q in %s", n.id, e.Leader, e.Epoch)
		n.following, n.followEpoch, n.through, n.pull = e.Leader, e.Epoch, 0, nil
		if e.Leader != "" {
			s.check.agree(n, e.Epoch)
		}
		n.join()
	case elect.CatchUp:
		s.note("%s pulls from %s through %d", n.id, e.From, e.Through.Version)
		n.pull = &e
		n.pullMore(n.pull)
	case elect.Drain:
		n.worker(s.between(0, 20*ms), func() { n.step(elect.Drained{Epoch: e.Epoch, Copy: n.copy()}) })
	case elect.Resolve:
		n.resolveFork(e)
	case elect.Alarm:
		s.note("%s alarm %d: %s", n.id, e.Reason, e.Text)
		if e.Reason == elect.AlarmDamaged || e.Reason == elect.AlarmOtherVolume {
			s.check.violated("I3: %s", e.Text)
		}
	case elect.Done:
		s.note("%s request %d: %v", n.id, e.Request, e.Err)
	}
}

func (n *simNode) diskTime() time.Duration {
	if n.s.slowDisks && n.s.load && n.s.chance(30) {
		return n.s.between(50*ms, 900*ms)
	}
	if n.s.class != handed && n.s.chance(3) {
		return n.s.between(20*ms, 300*ms)
	}
	return n.s.between(500*time.Microsecond, 8*ms)
}

// send brings a message to another machine, some of them through the codec.
func (n *simNode) send(e elect.Send) {
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
	for _, to := range s.nodes {
		if to.id == e.To {
			s.net.carry(n, to, func() { to.step(elect.Received{From: n.id, Message: msg}) })
		}
	}
}

func (n *simNode) lead(e elect.Lead) {
	s := n.s
	s.roles++
	s.note("%s leads in %s at %s, with %v", n.id, e.Epoch, n.position(), e.Participants)
	s.check.lead(n, e.Epoch)
	n.leading, n.ready, n.takers, n.pull = e.Epoch, false, e.Participants, nil
	n.following = ""
	n.feeds = map[*simNode]*simFeed{}
	s.check.agree(n, e.Epoch)
	if s.class == faults && s.chance(2) {
		n.worker(10*ms, func() { n.step(elect.LeadFailed{Epoch: e.Epoch, Err: errors.New("it was not to be")}) })
		return
	}
	n.worker(s.between(ms, 30*ms), func() {
		if n.leading != e.Epoch {
			return
		}
		n.ready = true
		if n.head == nil { // a volume is made durably
			n.append()
			n.durable, n.founder = n.head, false
		}
		n.step(elect.Ready{Epoch: e.Epoch})
	})
}

func (n *simNode) gateOpen() bool {
	return n.running && n.gate.Open && n.clock() < n.gate.Until && n.ready
}

// append writes one op of this node's reign.
func (n *simNode) append() *simOp {
	c := n.s.check
	if n.head == nil || n.head.pos.Epoch != n.leading {
		n.head = c.makeOp(n.head, n.leading, n.takers)
		n.consistent = true
	}
	n.head = c.makeOp(n.head, n.leading, nil)
	return n.head
}

// client writes on this node whenever its gate lets it, and now and then asks for fsync.
func (n *simNode) client() {
	s := n.s
	if s.load && n.gateOpen() && s.now >= n.hung {
		s.check.apply(n, n.leading)
		s.check.ack(n, n.append())
		if s.chance(25) {
			n.fsync()
		}
	}
	n.s.after(s.between(5*ms, 60*ms), n, n.client)
}

// fsync makes what there is durable here and, on level Durable, on enough stores. It
// begins the epoch in the log, so that no older history can win from it.
func (n *simNode) fsync() {
	n.syncs = append(n.syncs, &simSync{head: n.head})
	n.syncLog()
}

// syncLog syncs what the log holds now; those who come meanwhile share the next sync.
func (n *simNode) syncLog() {
	if n.syncing {
		n.again = true
		return
	}
	n.syncing, n.again = true, false
	head := n.head
	var end func()
	end = func() {
		if n.s.now < n.hung {
			n.s.after(n.hung-n.s.now, n, end)
			return
		}
		n.syncing = false
		if n.head.has(head) && !n.durable.has(head) {
			n.durable = head
			n.progress()
		}
		n.finishSyncs()
		if n.again {
			n.syncLog()
		}
	}
	n.s.after(n.diskTime(), n, end)
}

func (n *simNode) finishSyncs() {
	left := n.syncs[:0]
	for _, f := range n.syncs {
		stores := 0
		if n.durable.has(f.head) {
			stores++
		}
		for o, feed := range n.feeds {
			known, _ := n.s.check.members.Get(o.id)
			if feed.durable != nil && feed.durable.has(f.head) && known.Store == o.store {
				stores++
			}
		}
		if stores == 0 || n.s.safety == elect.Durable && stores < n.s.check.members.DurableQuorum() {
			left = append(left, f)
			continue
		}
		n.s.check.fsynced(n, f.head)
	}
	n.syncs = left
}

// sync is the sync that a log makes by itself.
func (n *simNode) sync() {
	n.syncLog()
	n.s.after(n.s.between(100*ms, 700*ms), n, n.sync)
}

// resolveFork writes a conflict record, and only then drops what is in it.
func (n *simNode) resolveFork(e elect.Resolve) {
	s := n.s
	s.note("%s loses the fork with %s behind %d, at %s", n.id, e.With, e.Common, n.position())
	n.resolving = true
	n.worker(s.between(5*ms, 200*ms), func() {
		if !n.leading.IsZero() || n.position().Version < e.Common {
			n.resolving = false
			n.step(elect.ResolveFailed{Err: errors.New("the copy has changed")})
			return
		}
		old := n.head
		if s.bug != elect.DropFork {
			n.records_ = append(n.records_, old)
		}
		n.head = old.at(e.Common)
		s.check.dropped(n, old, n.head, false)
		if !n.head.has(n.durable) {
			n.durable = n.head
		}
		n.resolving = false
		n.step(elect.Resolved{Copy: n.copy()})
		n.join()
	})
}
