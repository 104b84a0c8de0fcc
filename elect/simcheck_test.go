package elect_test

import (
	"encoding/binary"
	"fmt"
	"slices"

	"wolfdisk/elect"
	"wolfdisk/volume"
)

// simOp is one op. A log is its last op: those before hang on it.
type simOp struct {
	prev    *simOp
	pos     volume.Position
	lineage volume.Lineage
	acked   bool // a client was told
	fsynced bool // and its fsync returned
	excused bool // the last disk that held it lost it
}

func (o *simOp) position() volume.Position {
	if o == nil {
		return volume.Position{}
	}
	return o.pos
}

func (o *simOp) version() volume.Version { return o.position().Version }

// has reports whether a log holds an op.
func (o *simOp) has(x *simOp) bool {
	for o.version() > x.version() {
		o = o.prev
	}
	return o == x
}

// at is the log as it was at a version.
func (o *simOp) at(v volume.Version) *simOp {
	for o.version() > v {
		o = o.prev
	}
	return o
}

type opKey struct {
	epoch   volume.Epoch
	version volume.Version
}

// checker holds the invariants against what happens.
type checker struct {
	s       *sim
	broken  string // the first violation
	members elect.Members
	removed string // the member that is removed now
	ops     map[opKey]*simOp
	acked   []*simOp
	synced  *simOp // the last that fsync returned for, on level Durable
	tokens  uint64
	highest volume.Epoch // an op was acknowledged in
	reigns  map[volume.Epoch]string
	numbers map[string]string
	agreed  map[string]volume.Epoch // what a node has agreed to obey
}

func newChecker(s *sim) *checker {
	return &checker{s: s, ops: map[opKey]*simOp{}, reigns: map[volume.Epoch]string{}, numbers: map[string]string{}, agreed: map[string]volume.Epoch{}}
}

func (c *checker) violated(format string, args ...any) {
	if c.broken == "" {
		c.broken = fmt.Sprintf("at %.3f s: ", c.s.now.Seconds()) + fmt.Sprintf(format, args...)
		c.s.note("VIOLATED %s", c.broken)
	}
}

// makeOp is the only way to an op. I3: one epoch and version, one op.
func (c *checker) makeOp(prev *simOp, e volume.Epoch, participants []string) *simOp {
	c.tokens++
	o := &simOp{prev: prev, pos: volume.Position{Epoch: e, Version: prev.version() + 1}}
	o.pos.Digest = prev.position().Digest.Next(binary.LittleEndian.AppendUint64(nil, c.tokens))
	if prev != nil {
		o.lineage = prev.lineage
	}
	if participants != nil {
		o.lineage = append(slices.Clip(o.lineage), volume.Reign{Epoch: e, First: o.pos.Version, Participants: participants})
	}
	key := opKey{e, o.pos.Version}
	if c.ops[key] != nil {
		c.violated("I3: version %d of epoch %s was written twice", key.version, e)
	}
	c.ops[key] = o
	return o
}

// lead checks I1 and I7.
func (c *checker) lead(n *simNode, e volume.Epoch) {
	run := fmt.Sprintf("%s run %d", n.id, n.gen)
	if other, ok := c.reigns[e]; ok {
		c.violated("I1: epoch %s is led by %s and by %s", e, other, run)
	}
	c.reigns[e] = run
	number := fmt.Sprintf("%d/%s", e.Number, e.Leader)
	if other, ok := c.numbers[number]; ok && !n.replaced {
		c.violated("I1: epoch number %s is led by %s and by %s", number, other, run)
	}
	c.numbers[number] = run
	known, _ := c.members.Get(n.id)
	switch {
	case n.id == c.removed:
		c.violated("removed: %s leads in %s", n.id, e)
	case !n.head.has(c.synced):
		c.violated("I6: %s leads in %s without version %d of %s, which was fsynced", n.id, e, c.synced.pos.Version, c.synced.pos.Epoch)
	case n.head == nil && !n.founder:
		c.violated("I7: %s leads and is empty", n.id)
	case n.head != nil && known.Store != n.store:
		c.violated("I7: %s leads and was replaced", n.id)
	case n.head != nil && !n.consistent || n.resolving:
		c.violated("I7: %s leads in the middle of a sync or of a conflict record", n.id)
	}
}

// fsynced notes what a client's fsync returned for. On level Durable it stays in every
// later leader's history, so what is fsynced never parts.
func (c *checker) fsynced(n *simNode, head *simOp) {
	for o := head; o != nil && !o.fsynced; o = o.prev {
		o.fsynced = true
	}
	if c.s.safety != elect.Durable || c.synced.has(head) {
		return
	}
	if !head.has(c.synced) {
		c.violated("I6: %s fsyncs version %d of %s, whose history lacks version %d of %s, which was fsynced", n.id, head.pos.Version, head.pos.Epoch, c.synced.pos.Version, c.synced.pos.Epoch)
	}
	c.synced = head
}

// agree notes that a node said it would obey an epoch.
func (c *checker) agree(n *simNode, e volume.Epoch) {
	if e.Compare(c.agreed[n.id]) > 0 {
		c.agreed[n.id] = e
	}
}

// remembers checks I2 at a start: what was agreed to is on disk, in the state or in the log.
func (c *checker) remembers(n *simNode) {
	agreed := c.agreed[n.id]
	if agreed.Compare(n.disk.Promise) > 0 && agreed.Compare(n.position().Epoch) > 0 {
		c.violated("I2: %s has agreed to obey %s, and its disk knows %s", n.id, agreed, n.disk.Promise)
	}
}

// apply checks I2 whenever ops reach a copy in somebody's epoch.
func (c *checker) apply(n *simNode, e volume.Epoch) {
	if agreed := c.agreed[n.id]; e.Compare(agreed) < 0 {
		c.violated("I2: %s applies ops in epoch %s and has agreed to obey %s", n.id, e, agreed)
	}
}

// ack notes that a client was told of an op. On the levels above Available nobody else
// may have accepted one in a higher epoch before.
func (c *checker) ack(n *simNode, o *simOp) {
	o.acked = true
	c.acked = append(c.acked, o)
	e := n.leading
	if e.Compare(c.highest) > 0 {
		c.highest = e
	} else if e.Compare(c.highest) < 0 && c.s.safety != elect.Available {
		c.violated("fenced: %s accepts an op in epoch %s after one was accepted in %s", n.id, e, c.highest)
	}
}

// dropped is called when ops leave a node's log: by a lost disk, or because a record of
// them is complete. I9: nothing else takes ops away.
func (c *checker) dropped(n *simNode, from, to *simOp, disk bool) {
	for o := from; o.version() > to.version(); o = o.prev {
		switch {
		case disk:
			if !c.held(o, n) {
				o.excused = true
			}
		case o.acked && !n.records(o):
			c.violated("I9: version %d of %s is taken from %s without a record", o.pos.Version, o.pos.Epoch, n.id)
		}
	}
}

// held reports whether somebody's disk has an op, in its log or in a record.
func (c *checker) held(o *simOp, but *simNode) bool {
	for _, n := range c.s.nodes {
		if n != but && (n.head.has(o) || n.records(o)) {
			return true
		}
	}
	return but.records(o)
}

// account checks I5 and I6 when all is over: acknowledged ops are in the winning history,
// or in a record, or no disk that had them has survived.
func (c *checker) account(winner *simOp) (conflicts int) {
	for _, o := range c.acked {
		if winner.has(o) {
			continue
		}
		recorded := slices.ContainsFunc(c.s.nodes, func(n *simNode) bool { return n.records(o) })
		switch {
		case o.fsynced && c.s.safety == elect.Durable:
			c.violated("I6: version %d of %s was fsynced and is not in the winning history", o.pos.Version, o.pos.Epoch)
		case !recorded && !o.excused:
			c.violated("I5: version %d of %s was acknowledged and is nowhere", o.pos.Version, o.pos.Epoch)
		}
		conflicts++
	}
	return conflicts
}
