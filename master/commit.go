package master

import (
	"context"

	"wolfdisk/index"
	"wolfdisk/volume"
)

// commit puts a handler's ops into the log and the index. Of several that arrive
// together, the first to get commitMu writes all that wait, in one frame; the
// others find theirs done. Nobody waits for company.
func (l *Leader) commit(t *ticket) error {
	l.queueMu.Lock()
	l.queue = append(l.queue, t)
	l.queueMu.Unlock()

	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	if t.done {
		return t.err
	}
	l.queueMu.Lock()
	batch := l.queue
	l.queue = nil
	l.queueMu.Unlock()
	err := l.write(batch)
	for _, w := range batch {
		w.done, w.err = true, err
	}
	return err
}

// write records the ops of all tickets and enters them.
func (l *Leader) write(batch []*ticket) error {
	if err := l.Failed(); err != nil {
		return err
	}
	if l.opt.Gate != nil {
		if err := l.opt.Gate.enter(l.over); err != nil {
			return err
		}
	}
	defer l.busy.begin().end()
	ops := make([]*volume.Op, 0, len(batch)+1)
	last := l.LastTime()
	for _, t := range batch {
		last = t.notBefore(last)
	}
	if !l.opened {
		first, ending, err := l.openEpoch(batch[0].ops[0].Time)
		for _, ino := range ending {
			defer l.locks.unlock([]volume.Ino{ino})
		}
		if err != nil {
			return l.fail(err)
		}
		ops = append(ops, first...)
	}
	var lower []volume.LowerRecord
	for _, t := range batch {
		ops = append(ops, t.ops...)
		lower = append(lower, t.lower...)
	}
	if l.opt.Log == nil {
		return l.enterUnrecorded(ops, lower)
	}
	frames, err := l.opt.Log.AppendOps(l.Epoch(), ops)
	if len(frames) > 0 {
		markRecorded(batch, frames[len(frames)-1].Last, l.Position().Version+volume.Version(len(ops)))
	}
	if err != nil {
		return l.fail(err)
	}
	rest := ops
	for i, f := range frames {
		n := int(f.Last-f.First) + 1
		b := index.Batch{
			Ops: rest[:n], Frame: f.Ref,
			After: volume.Position{Epoch: f.Epoch, Version: f.Last, Digest: f.Digest},
		}
		rest = rest[n:]
		if i == len(frames)-1 {
			b.Lower = lower
		}
		if err := l.Enter(b); err != nil {
			return l.fail(err)
		}
	}
	l.opened = true
	if l.opt.Observer != nil {
		l.opt.Observer.Applied(ops)
	}
	return nil
}

// notBefore moves the time of the ops to that of the one before if they were decided
// earlier than it, and returns their time. Times that mean "now" move along.
func (t *ticket) notBefore(last volume.Time) volume.Time {
	at := t.ops[0].Time
	if at.Compare(last) >= 0 {
		return at
	}
	for _, op := range t.ops {
		if op.Atime == at && op.Mask&volume.SetAtime != 0 {
			op.Atime = last
		}
		if op.Mtime == at && op.Mask&volume.SetMtime != 0 {
			op.Mtime = last
		}
		op.Time = last
	}
	return last
}

// enterUnrecorded numbers and enters ops without a log.
func (l *Leader) enterUnrecorded(ops []*volume.Op, lower []volume.LowerRecord) error {
	pos := l.Position()
	for _, op := range ops {
		pos.Version++
		op.Version = pos.Version
	}
	pos.Epoch = l.Epoch()
	if err := l.Enter(index.Batch{Ops: ops, After: pos, Lower: lower}); err != nil {
		return l.fail(err)
	}
	l.opened = true
	return nil
}

// markRecorded notes whose ops are in the log, which ends at last instead of at end if
// writing failed on the way.
func markRecorded(batch []*ticket, last, end volume.Version) {
	for i := len(batch) - 1; i >= 0; i-- {
		batch[i].recorded = end <= last
		end -= volume.Version(len(batch[i].ops))
	}
}

// openEpoch makes the ops an epoch begins with: its OpReign, and the end of inodes
// that lost their last name and their last user under an earlier leader. It returns
// these locked. One that a handler has locked is left alone: its op is decided, and may
// be in this very frame. It ends with its last Close, or in the next epoch.
func (l *Leader) openEpoch(t volume.Time) (ops []*volume.Op, ending []volume.Ino, err error) {
	ops = []*volume.Op{{Kind: volume.OpReign, Time: t, Epoch: l.Epoch(), Participants: l.opt.Participants}}
	for _, ino := range l.orphans {
		if !l.locks.tryLock(ino) {
			continue
		}
		ending = append(ending, ino)
		if l.opens.has(ino) {
			continue // ends with its last Close
		}
		if a, err := l.Inode(ino); err != nil || a.Nlink != 0 {
			if err == volume.NotFound || err == nil {
				continue
			}
			return nil, ending, err
		}
		if kept, err := l.Kept(ino); err != nil {
			return nil, ending, err
		} else if kept {
			continue
		}
		op := &volume.Op{Kind: volume.OpEnd, Ino: ino, Time: t}
		if _, err := l.Backing.Apply(context.Background(), op, l.Engine); err != nil {
			return nil, ending, volume.Wrap(err, "end inode "+ino.String())
		}
		ops = append(ops, op)
	}
	l.orphans = nil
	return ops, ending, nil
}
