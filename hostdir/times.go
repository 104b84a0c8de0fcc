package hostdir

import (
	"errors"
	"strings"
	"sync"
	"time"

	"wolfdisk/volume"
)

// dirtySet holds the inodes whose lower times, and record, are behind the index.
type dirtySet struct {
	shards [cacheShards]dirtyShard
}

type dirtyShard struct {
	mu sync.Mutex
	m  map[volume.Ino]dirtyMark
	n  uint64 // marks made so far
	// settling is held over setting times and what follows from it. It is taken before
	// mu and the pending records'.
	settling sync.Mutex
}

// dirtyMark is the time of the last op applied to an inode, and when (by our own
// clock, in seconds) it was applied. No two are alike: ops may have one time, if the
// clock went back.
type dirtyMark struct {
	op volume.Time
	at int64
	n  uint64
}

func newDirtySet() *dirtySet {
	s := &dirtySet{}
	for i := range s.shards {
		s.shards[i].m = map[volume.Ino]dirtyMark{}
	}
	return s
}

var started = time.Now()

// seconds is a monotonic clock.
func seconds() int64 { return int64(time.Since(started) / time.Second) }

// mark notes an inode; first says that it was as the index has it until now.
func (s *dirtySet) mark(ino volume.Ino, op volume.Time) (first bool) {
	if ino == 0 {
		return false
	}
	now := seconds()
	sh := &s.shards[uint64(ino)%cacheShards]
	sh.mu.Lock()
	old, had := sh.m[ino]
	if had && op.Compare(old.op) < 0 {
		op = old.op
	}
	sh.n++
	sh.m[ino] = dirtyMark{op, now, sh.n}
	sh.mu.Unlock()
	return !had
}

// settle keeps others from setting the times of an inode until the function it returns is
// called: what one has seen of a file after it set times would not be what the other
// leaves, and look like somebody's change.
func (s *dirtySet) settle(ino volume.Ino) (done func()) {
	mu := &s.shards[uint64(ino)%cacheShards].settling
	mu.Lock()
	return mu.Unlock
}

func (s *dirtySet) get(ino volume.Ino) (dirtyMark, bool) {
	sh := &s.shards[uint64(ino)%cacheShards]
	sh.mu.Lock()
	m, ok := sh.m[ino]
	sh.mu.Unlock()
	return m, ok
}

// clear forgets an inode if nothing was applied to it since the mark was read.
func (s *dirtySet) clear(ino volume.Ino, seen dirtyMark) {
	sh := &s.shards[uint64(ino)%cacheShards]
	sh.mu.Lock()
	if sh.m[ino] == seen {
		delete(sh.m, ino)
	}
	sh.mu.Unlock()
}

func (s *dirtySet) forget(ino volume.Ino) {
	sh := &s.shards[uint64(ino)%cacheShards]
	sh.mu.Lock()
	delete(sh.m, ino)
	sh.mu.Unlock()
}

func (s *dirtySet) len() int {
	n := 0
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		n += len(sh.m)
		sh.mu.Unlock()
	}
	return n
}

// idle returns up to max inodes that are idle, or with all every inode.
func (s *dirtySet) idle(max int, all bool) []volume.Ino {
	before := seconds() - idleAfter
	var out []volume.Ino
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for ino, m := range sh.m {
			if !all && len(out) >= max {
				break
			}
			if all || m.at <= before {
				out = append(out, ino)
			}
		}
		sh.mu.Unlock()
	}
	return out
}

// idleAfter is for how long no op was applied to what is idle, seconds.
const idleAfter = 2

// madeWithin is longer than an op takes from the directory into the index, seconds.
const madeWithin = 600

// Settle sets the lower times of an inode as the index has them and notes ctime and
// size below, by which changes of others are detected later. SettleIdle and SettleAll
// call it, for what is idle, at a checkpoint and at the end; a Sync sets times itself.
// Without anything to do it costs nothing. It takes no lock of the inode: what is applied
// meanwhile stays to be settled.
func (d *Dir) Settle(ino volume.Ino, view volume.View) error {
	if _, ok := d.dirty.get(ino); !ok {
		return nil
	}
	defer d.dirty.settle(ino)()
	mark, ok := d.dirty.get(ino)
	if !ok {
		return nil // by another meanwhile
	}
	attr, err := view.Inode(ino)
	if volume.KindOf(err) == volume.NotFound && err != nil {
		// One that ended was forgotten with its op. So this one is being made, and its op not
		// yet in the index; or that op failed long ago.
		if mark.at < seconds()-madeWithin {
			d.dirty.clear(ino, mark)
		}
		return nil
	}
	if err != nil {
		return volume.Wrap(err, "settle inode "+ino.String())
	}
	if attr.Nlink == 0 && attr.IsDir() {
		d.dirty.clear(ino, mark) // a removed directory has no lower one
		return nil
	}
	obj, release, err := d.object(ino, &attr, view)
	if volume.KindOf(err) == volume.Missing {
		if d.underWay(ino) {
			return nil // the op may be the one that ends it
		}
		if now, err := view.Inode(ino); err != nil || now.Version != attr.Version {
			return nil // it was, since the inode was looked at
		}
		d.dirty.clear(ino, mark)
		d.foreign(ino, "its file is gone")
		return nil
	}
	if err != nil {
		return volume.Wrap(err, "settle inode "+ino.String())
	}
	defer release()
	rec, err := d.settleObject(obj, &attr, view)
	if err != nil {
		return volume.Wrap(err, "settle inode "+ino.String())
	}
	if mark.op.Compare(attr.Ctime) > 0 {
		rec.flags &^= flagClean // its op is not in the index yet
		d.pending.put(ino, rec)
		return nil
	}
	d.pending.put(ino, rec)
	d.dirty.clear(ino, mark)
	return nil
}

// settleObject sets an open object's times and returns its new record. What we do not
// know to be ours is not taken for it: a file that is not as its inode gets a record that
// no file is like, so that Check reports it and opening it is noticed. If it is an op on its
// way that makes the difference, that op has it settled again.
func (d *Dir) settleObject(obj object, attr *volume.Attr, view volume.View) (*record, error) {
	if err := d.setTimes(obj, attr); err != nil {
		return nil, err
	}
	st, err := fstat(obj.fd)
	if err != nil {
		return nil, err
	}
	rec := &record{flags: flagClean, version: attr.Version, ino: st.Ino, ctime: st.Ctime, size: st.Size}
	old, err := d.recordOf(attr.Ino, view)
	if err != nil {
		return nil, err
	}
	if old != nil {
		rec.flags |= old.flags & flagsKept
	}
	if old != nil && old.ino == st.Ino {
		rec.key = old.key
	} else if rec.key, err = d.keyOf(obj.fd, &st); err != nil {
		return nil, err
	}
	rec.flags |= d.pending.refusals(attr.Ino)
	same := st.differs(attr, rec.flags) == 0
	if same && rec.flags&flagXattr == 0 {
		same, err = d.sameXattrs(obj, attr.Ino, view, rewritten)
		if err != nil && volume.KindOf(err) != volume.Stale { // which ended meanwhile
			return nil, err
		}
	}
	if !same {
		rec.ctime = volume.Time{}
		d.stats.unlike.Add(1)
	}
	return rec, nil
}

// Unlike counts the records that were made for files which are not as their inodes: what Check passed
// over while their times were still to be set, it reports from then on.
func (d *Dir) Unlike() uint64 { return d.stats.unlike.Load() }

// rewritten reports attributes that a file system may give back otherwise than it got them, as
// ACLs that say no more than the mode, and those that are not compared at all.
func rewritten(name string) bool {
	return strings.HasPrefix(name, "system.") || strings.HasPrefix(name, "security.") || ignoredXattr(name)
}

// setTimes sets the lower times; a file system that cannot hold them is counted.
func (d *Dir) setTimes(obj object, attr *volume.Attr) error {
	err := d.sys.utimes(obj, attr.Atime, attr.Mtime)
	if refusal(err) {
		d.stats.refusedTimes.Add(1)
		return nil
	}
	return err
}

// SettleIdle settles a batch of the inodes that were left alone for two seconds: at least
// batch,
// more if many wait. A caller runs it every 5 seconds. It returns how many
// still wait.
func (d *Dir) SettleIdle(view volume.View, batch int) (int, error) {
	waiting := d.dirty.len()
	var errs []error
	for _, ino := range d.dirty.idle(max(batch, waiting/4), false) {
		if err := d.Settle(ino, view); err != nil {
			errs = append(errs, err)
		}
	}
	return d.dirty.len(), errors.Join(errs...)
}

// SettleAll settles everything and returns all records that wait to be stored. After
// it, and with no op in between, the directory can be left to others: Check
// will find what they changed.
func (d *Dir) SettleAll(view volume.View) ([]volume.LowerRecord, error) {
	var errs []error
	for _, ino := range d.dirty.idle(0, true) {
		if err := d.Settle(ino, view); err != nil {
			errs = append(errs, err)
		}
	}
	return d.pending.take(), errors.Join(errs...)
}
