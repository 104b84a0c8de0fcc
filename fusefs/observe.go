package fusefs

import (
	"math"
	"time"

	"wolfdisk/volume"
)

const (
	tickLength = 100 * time.Millisecond
	// suspectPatience is how long an observed op may wait for the Do that may have
	// made it, ticks.
	suspectPatience = 2
	// attrTicks is how long after a reply with attributes an invalidation is repeated.
	attrTicks = 10
)

// tick is a coarse clock, never 0.
func (k *core) tick() uint16 {
	return max(1, uint16(time.Since(k.start)/tickLength))
}

// change is what an op may have made stale.
type change struct {
	names [2]nameRef // names that came, went or stand for something else
	inos  [2]volume.Ino
	// off and end are the content that changed in inos[0], bytes; off -1 for none.
	off, end int64
	// moved: if inos are directories, their ".." has changed.
	moved bool
}

type nameRef struct {
	dir  volume.Ino
	name string
}

// changeOf says what an op makes stale; false if nothing.
func changeOf(op *volume.Op) (ch change, ok bool) {
	ch = change{inos: [2]volume.Ino{op.Ino, op.Replaced}, off: -1}
	switch op.Kind {
	case volume.OpCreate, volume.OpLink, volume.OpUnlink, volume.OpRmdir, volume.OpPublish:
		if op.Parent == 0 {
			return ch, false // nameless: nobody can know it
		}
		ch.names[0] = nameRef{op.Parent, op.Name}
		if op.Kind == volume.OpRmdir {
			ch.off, ch.end = 0, math.MaxInt64 // of what it listed nothing is left, not even "."
		}
	case volume.OpRename:
		ch.names = [2]nameRef{{op.Parent, op.Name}, {op.NewParent, op.NewName}}
		ch.moved = op.Parent != op.NewParent
	case volume.OpEnd, volume.OpReign, volume.OpMember:
		return ch, false
	default:
		if off, n, has := op.ContentRange(); has {
			ch.off, ch.end = off, math.MaxInt64
			if off <= math.MaxInt64-n {
				ch.end = off + n
			}
		}
	}
	return ch, true
}

// Applied implements volume.Observer.
func (k *core) Applied(ops []*volume.Op) {
	for _, op := range ops {
		ch, ok := changeOf(op)
		if !ok {
			continue
		}
		if f := op.Caller.Front; f != volume.FrontFUSE && f != volume.FrontForward {
			k.stale(ch)
			continue
		}
		k.judge(suspect{op.Version, op.Ino, opKey(op), ch, k.tick()})
	}
	if len(ops) > 0 {
		k.mark(ops[0].Version)
	}
}

// judge decides whether an op came through this mount, now or when a Do that may have
// made it has returned.
func (k *core) judge(s suspect) {
	if k.own.has(s.version, s.ino) {
		return
	}
	for _, c := range k.calls.all() {
		if c.flight.accuse(s) {
			k.armSuspects()
			return
		}
	}
	if !k.own.has(s.version, s.ino) {
		k.stale(s.change)
	}
}

// accused lists the flights that have suspects, acquitted whether those have been
// judged.
func (k *core) accused() map[*call]uint64 {
	m := map[*call]uint64{}
	for _, c := range k.calls.all() {
		if ends, ok := c.flight.waiting(); ok {
			m[c] = ends
		}
	}
	return m
}

func (k *core) acquitted(m map[*call]uint64) bool {
	for c, then := range m {
		if ends, ok := c.flight.waiting(); ok && ends == then {
			return false
		}
	}
	return true
}

// armSuspects makes sure that somebody looks after suspects whose Do takes long.
func (k *core) armSuspects() {
	if k.suspectsArmed.CompareAndSwap(false, true) {
		time.AfterFunc(suspectPatience*tickLength, k.sweepSuspects)
	}
}

func (k *core) sweepSuspects() {
	k.suspectsArmed.Store(false)
	waiting := false
	for _, c := range k.calls.all() {
		old, more := c.flight.overdue(k.tick(), suspectPatience)
		for _, ch := range old {
			k.stale(ch)
		}
		waiting = waiting || more
	}
	if waiting {
		k.armSuspects()
	}
}

// stale queues the invalidations of a change, leaving out what the kernel does not
// know.
func (k *core) stale(ch change) {
	k.observed.Add(1) // before known is asked: see countFresh
	for _, n := range ch.names {
		if n.dir != 0 && k.nodes.known(n.dir) {
			k.notify.push(notice{ino: n.dir, name: n.name})
			k.notify.push(notice{ino: n.dir, off: 0, end: math.MaxInt64})
		}
	}
	for i, ino := range ch.inos {
		if ino == 0 || !k.nodes.known(ino) {
			continue
		}
		n := notice{ino: ino, off: -1, ifDir: ch.moved}
		if i == 0 && ch.off >= 0 {
			n.off, n.end = ch.off, ch.end
		}
		k.notify.push(n)
	}
}

// staleAttr queues the invalidation of an inode's attributes, and of its content
// from off on if that is not negative.
func (k *core) staleAttr(ino volume.Ino, off int64) {
	n := notice{ino: ino, off: -1}
	if off >= 0 {
		n.off, n.end = off, math.MaxInt64
	}
	k.notify.push(n)
}
