package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"wolfdisk/elect"
	"wolfdisk/node/conflict"
	"wolfdisk/oplog"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// acked is an op that a client was told of.
type acked struct {
	epoch   volume.Epoch
	version volume.Version
	token   string // "" for one that made no token
	content bool   // the token's file has its name as content
	fsynced bool   // and an fsync after it returned
	excused bool   // the last disk that held it lost it
}

// history is what a copy holds: its lineage, through a version.
type history struct {
	lineage volume.Lineage
	version volume.Version
}

// has reports whether a copy holds an op. An epoch's ops have one writer, so epoch and
// version name it; that this is so is checked by saw.
func (h *history) has(o *acked) bool {
	r, ok := h.lineage.At(o.version)
	return ok && o.version <= h.version && r.Epoch == o.epoch
}

// history is what a node holds now, or when it last ran.
func (n *node) history() history {
	switch {
	case !n.running:
		return n.was
	case n.st == nil || n.between:
		return history{}
	}
	pos, lineage := n.st.position()
	return history{lineage, pos.Version}
}

// durableHistory is what of it is known to be on the disk.
func (n *node) durableHistory() history {
	h := n.history()
	if n.st != nil {
		h.version = min(h.version, n.st.log.Durable())
	}
	return h
}

// holds reports whether a node has an op, in its copy or in a record.
func (n *node) holds(o *acked) bool {
	h := n.history()
	return h.has(o) || slices.ContainsFunc(n.kept, func(k kept) bool { return k.has(o) })
}

type opKey struct {
	epoch   volume.Epoch
	version volume.Version
}

// checker holds the invariants against what happens.
type checker struct {
	s       *sim
	broken  string        // the first violation
	members elect.Members // as they were at the beginning
	digests map[opKey]volume.Digest
	acked   []*acked
	synced  *acked  // the last that fsync returned for, on level Durable
	within  history // that had it then
	tokens  uint64
	highest volume.Epoch // an op was acknowledged in
	reigns  map[volume.Epoch]string
	numbers map[string]string
	agreed  map[string]volume.Epoch // what a node has agreed to obey
	killed  map[string]killed       // how the last run of a node ended
	old     bool                    // what is acknowledged was done by an earlier leader
	applied int                     // frames
	looked  int                     // comparisons of trees
}

// killed is what is known of a copy at the end of a run.
type killed struct {
	pos     volume.Position
	durable volume.Version
	fsynced volume.Version // an fsync of a client has returned for
	power   bool           // it went with what was not synced
	amid    bool           // it went while something was written, which may be there
}

func newChecker(s *sim) *checker {
	return &checker{
		s: s, digests: map[opKey]volume.Digest{}, reigns: map[volume.Epoch]string{}, numbers: map[string]string{},
		agreed: map[string]volume.Epoch{}, killed: map[string]killed{},
	}
}

func (c *checker) violated(format string, args ...any) {
	if c.broken == "" {
		c.broken = fmt.Sprintf("at %.3f s: ", c.s.now.Seconds()) + fmt.Sprintf(format, args...)
		c.s.note("VIOLATED %s", c.broken)
	}
}

func (c *checker) token() string {
	c.tokens++
	return tokenName(c.tokens)
}

// lead checks I1, I6 and I7.
func (c *checker) lead(n *node, e volume.Epoch) {
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
	known, ok := n.members().Get(n.id) // not a member: its copy ends before the op that made it one
	h := n.history()
	switch {
	case c.synced != nil && !h.has(c.synced):
		c.violated("I6: %s leads in %s without version %d of %s, which was fsynced", n.id, e, c.synced.version, c.synced.epoch)
	case n.between:
		c.violated("I7: %s leads and its copy is not whole", n.id)
	case h.version == 0 && !n.founder:
		c.violated("I7: %s leads and is empty", n.id)
	case h.version != 0 && ok && known.Store != n.store && n.insists == 0:
		c.violated("I7: %s leads and was replaced", n.id)
	}
}

// saw notes the end of a copy that has grown. I3: one epoch and version, one history.
func (c *checker) saw(n *node) {
	if n.sick() { // its tree may lack what its log has, until it is opened again
		return
	}
	c.applied++
	pos, log := n.st.engine.Position(), n.st.log.Last()
	if pos != log {
		c.violated("I3: the tree of %s is at %s, its log at %s", n.id, pos, log)
		return
	}
	c.position(n, pos)
}

func (c *checker) position(n *node, pos volume.Position) {
	if pos.Version == 0 {
		return
	}
	key := opKey{pos.Epoch, pos.Version}
	if d, ok := c.digests[key]; !ok {
		c.digests[key] = pos.Digest
	} else if d != pos.Digest {
		c.violated("I3: %s holds %s, and another copy %.8s there", n.id, pos, d)
	}
	if r, ok := n.st.engine.Lineage().At(pos.Version); !ok || r.Epoch != pos.Epoch {
		c.violated("I3: %s is at %s, and its lineage says epoch %s", n.id, pos, r.Epoch)
	}
}

// fsynced notes what a client's fsync returned for. On level Durable it stays in every
// later leader's history, so what is fsynced never parts.
func (c *checker) fsynced(n *node, v volume.Version) {
	all := n.history()
	h := history{all.lineage, min(all.version, v)}
	var last *acked
	for _, o := range c.acked {
		if o.fsynced || !h.has(o) {
			continue
		}
		o.fsynced = true
		if last == nil || o.version > last.version {
			last = o
		}
	}
	if last == nil || c.s.safety != elect.Durable {
		return
	}
	if c.synced != nil && !all.has(c.synced) && c.within.has(last) {
		return // of an earlier reign, and all later ones have it
	}
	if c.synced != nil && !all.has(c.synced) {
		c.violated("I6: %s fsyncs version %d, and its history lacks version %d of %s, which was fsynced", n.id, v, c.synced.version, c.synced.epoch)
	}
	if c.synced == nil || last.version > c.synced.version {
		c.synced, c.within = last, all
	}
}

// agree notes that a node said it would obey an epoch.
func (c *checker) agree(n *node, e volume.Epoch) {
	if e.Compare(c.agreed[n.id]) > 0 {
		c.agreed[n.id] = e
	}
}

// remembers checks I2 at a start: what was agreed to is on disk, in the state or in the log.
func (c *checker) remembers(n *node) {
	agreed := c.agreed[n.id]
	if agreed.Compare(n.state.Promise) > 0 && agreed.Compare(n.copy().Position.Epoch) > 0 {
		c.violated("I2: %s has agreed to obey %s, and its disk knows %s", n.id, agreed, n.state.Promise)
	}
}

// apply checks I2 whenever ops reach a copy in somebody's epoch.
func (c *checker) apply(n *node, e volume.Epoch) {
	if agreed := c.agreed[n.id]; e.Compare(agreed) < 0 {
		c.violated("I2: %s applies ops in epoch %s and has agreed to obey %s", n.id, e, agreed)
	}
}

// ack notes that a client was told of an op. On the levels above Available nobody else
// may have accepted one in a higher epoch before.
func (c *checker) ack(n *node, o *acked) {
	c.acked = append(c.acked, o)
	if o.epoch.Compare(c.highest) > 0 {
		c.highest = o.epoch
	} else if o.epoch.Compare(c.highest) < 0 && c.s.safety != elect.Available && !c.old {
		c.violated("fenced: %s accepts an op in epoch %s after one was accepted in %s", n.id, o.epoch, c.highest)
	}
	if h := n.history(); !h.has(o) {
		c.violated("I5: %s acknowledges version %d of %s, which it does not hold", n.id, o.version, o.epoch)
	}
}

// sound looks at an error that a client was given.
func (c *checker) sound(n *node, err error) {
	if n.sick() {
		return
	}
	switch volume.KindOf(err) {
	case volume.Corrupt, volume.Missing, volume.Fault, volume.BadFormat, volume.WrongHistory, volume.TooOld:
		c.violated("a client of %s gets %v", n.id, err)
	}
}

// wellFed looks at why a follower did not take a frame: a stream begins at its position and keeps
// the order.
func (c *checker) wellFed(n *node, err error) {
	if n.sick() {
		return
	}
	switch volume.KindOf(err) {
	case volume.Fenced, volume.Interrupted, volume.Closed:
	default:
		c.violated("I4: %s cannot take a frame: %v", n.id, err)
	}
}

// goes notes how far a copy is when its run ends.
func (c *checker) goes(n *node, power bool) {
	n.was = n.history()
	if n.st == nil || n.between {
		delete(c.killed, n.id)
		return
	}
	c.killed[n.id] = killed{n.st.log.Last(), n.st.log.Durable(), n.fsynced, power, n.fuse == 0 && n.fused}
}

// comes checks what a crash left of a copy: after kill -9 all of it, after a loss of power what was
// durable, and no other history.
func (c *checker) comes(n *node) {
	k, ok := c.killed[n.id]
	delete(c.killed, n.id)
	pos := n.st.log.Last()
	c.position(n, pos)
	if !ok || n.between {
		c.lost()
		return
	}
	switch {
	case !k.power && pos != k.pos && (!k.amid || pos.Version < k.pos.Version):
		c.violated("promise 1: %s was killed at %s and comes back at %s", n.id, k.pos, pos)
	case pos.Version < k.durable:
		c.violated("promise 3: %s comes back at %s, and version %d had been durable", n.id, pos, k.durable)
	case pos.Version < k.fsynced:
		c.violated("promise 3: %s comes back at %s, and fsync had returned for version %d", n.id, pos, k.fsynced)
	case pos.Version > k.pos.Version && !k.amid:
		c.violated("I3: %s was at %s and comes back at %s", n.id, k.pos, pos)
	}
	c.lost()
}

// lost excuses what no disk holds any more, after disks have lost something.
func (c *checker) lost() {
	for _, o := range c.acked {
		if !o.excused && !slices.ContainsFunc(c.s.nodes, func(n *node) bool { return n.holds(o) }) {
			o.excused = true
			if o.fsynced && c.s.safety == elect.Durable {
				c.violated("I6: version %d of %s was fsynced and no disk holds it", o.version, o.epoch)
			}
		}
	}
}

// dropped is called when ops leave a node's copy because a record of them is complete. I9: nothing
// but a lost disk takes ops away otherwise.
func (c *checker) dropped(n *node, from, to history, disk bool) {
	if disk {
		c.lost()
		return
	}
	for _, o := range c.acked {
		if from.has(o) && !to.has(o) && !slices.ContainsFunc(n.kept, func(k kept) bool { return k.has(o) }) {
			c.violated("I9: version %d of %s is taken from %s without a record", o.version, o.epoch, n.id)
		}
	}
}

// compare checks I3 on the trees of those that are at one position now.
func (c *checker) compare() {
	at := map[volume.Position]*node{}
	trees := map[*node]volumetest.Snapshot{}
	look := func(n *node) volumetest.Snapshot {
		if trees[n] == nil {
			t, err := n.tree()
			if err != nil {
				c.violated("the tree of %s cannot be read: %v", n.id, err)
			}
			trees[n] = t
			c.looked++
		}
		return trees[n]
	}
	for _, n := range c.s.nodes {
		if !n.running || n.st == nil || n.between || n.calling {
			continue
		}
		pos := n.st.position1()
		if o := at[pos]; o == nil {
			at[pos] = n
		} else if d := volumetest.Diff(look(o), look(n)); len(d) > 0 {
			c.violated("I3: %s and %s are both at %s: %v", o.id, n.id, pos, d)
		}
	}
}

// account checks I3 to I6 and I9 when all is over: the winner's tree is what its log makes, every
// acknowledged op is in the winning history, or in a record, or no disk that had it has
// survived. The winner is nil if no disk holds a copy.
func (c *checker) account(winner *node) (conflicts int) {
	c.compare()
	var tree volumetest.Snapshot
	var h history
	if winner != nil {
		var err error
		tree, err = winner.tree()
		if err == nil {
			err = c.replayed(winner, tree)
		}
		if err != nil {
			c.violated("I4: %v", err)
			return 0
		}
		h = winner.history()
	}
	recorded, err := c.recorded()
	if err != nil {
		c.violated("I5: a record cannot be read: %v", err)
		return 0
	}
	for _, o := range c.acked {
		if h.has(o) {
			if why := visible(tree, o); why != "" {
				c.violated("I9: version %d of %s made %s, is in the winning history, and %s", o.version, o.epoch, o.token, why)
			}
			continue
		}
		switch {
		case o.fsynced && c.s.safety == elect.Durable:
			c.violated("I6: version %d of %s was fsynced and is not in the winning history", o.version, o.epoch)
		case !recorded[opKey{o.epoch, o.version}] && !o.excused:
			c.violated("I5: version %d of %s was acknowledged and is nowhere", o.version, o.epoch)
		}
		conflicts++
	}
	return conflicts
}

// visible says what is wrong with a token's file, "" if nothing.
func visible(tree volumetest.Snapshot, o *acked) string {
	if o.token == "" {
		return ""
	}
	f := tree[tokens+"/"+o.token]
	switch {
	case f == nil:
		return "it is not in the tree"
	case o.content && f.Attr.Size != int64(len(o.token)):
		return fmt.Sprintf("its file has %d bytes", f.Attr.Size)
	}
	return ""
}

// replayed replays the winner's log on the model.
func (c *checker) replayed(n *node, tree volumetest.Snapshot) error {
	m := volumetest.NewModel(volumetest.Options{})
	err := slave.EachFrame(n.ctx, n.st.log, 1, func(_ oplog.Frame, ops []*volume.Op) error {
		for _, op := range ops {
			if err := m.Apply(n.ctx, op); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return volume.Wrap(err, "replay the log of "+n.id)
	}
	want, err := volumetest.Tree(n.ctx, m)
	if err != nil {
		return err
	}
	if d := volumetest.Diff(want, tree); len(d) > 0 {
		return fmt.Errorf("the tree of %s is not what its log makes: %v", n.id, d)
	}
	return nil
}

// recorded are the ops in all conflict records.
func (c *checker) recorded() (map[opKey]bool, error) {
	ops := map[opKey]bool{}
	for _, n := range c.s.nodes {
		if n.st == nil {
			continue
		}
		list, err := n.st.conflicts.List()
		if err != nil {
			return nil, err
		}
		for _, l := range list {
			r, err := n.st.conflicts.Open(l.ID)
			if err != nil {
				return nil, err
			}
			if err := errors.Join(readRecord(r, ops), r.Close()); err != nil {
				return nil, err
			}
		}
	}
	return ops, nil
}

func readRecord(r *conflict.Reader, ops map[opKey]bool) error {
	err := r.Each(context.Background(), func(*conflict.Entry) error { return nil })
	if err != nil {
		return err
	}
	return r.Frames(context.Background(), func(f oplog.Frame, list []*volume.Op) error {
		for _, op := range list {
			ops[opKey{f.Epoch, op.Version}] = true
		}
		return nil
	})
}
