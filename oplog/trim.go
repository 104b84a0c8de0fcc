package oplog

import (
	"errors"

	"wolfdisk/volume"
)

// Trim removes whole segments whose last op is at most through, oldest first, and
// returns how many bytes that freed. The active segment stays. Readers that are in
// the midst of a frame finish it.
func (l *Log) Trim(through volume.Version) (freed int64, err error) {
	l.admin.Lock()
	defer l.admin.Unlock()
	for {
		l.mu.Lock()
		if err := l.usableLocked(); err != nil {
			l.mu.Unlock()
			return freed, err
		}
		if len(l.segs) < 2 || l.segs[1].head.prev.Version > through {
			l.mu.Unlock()
			return freed, nil
		}
		s := l.segs[0]
		unsure := l.segs[1].synced < segmentHeaderLen
		l.mu.Unlock()
		if unsure { // or a power loss would leave neither of the two
			if err := l.syncAll(); err != nil {
				return freed, err
			}
			continue
		}
		if err := l.removeOldest(s); err != nil {
			return freed, err
		}
		freed += s.end
	}
}

// removeOldest removes the oldest segment. One at a time is made durable, so that
// what is left after a crash has no holes. admin is held.
func (l *Log) removeOldest(s *segment) error {
	l.mu.Lock()
	l.segs = append([]*segment(nil), l.segs[1:]...)
	l.bytes -= s.end
	s.gone = true
	l.mu.Unlock()
	if err := l.fs.Remove(s.path); err != nil {
		l.mu.Lock()
		l.segs = append([]*segment{s}, l.segs...)
		l.bytes += s.end
		s.gone = false
		l.mu.Unlock()
		return volume.Errorf(ioKind(err), "oplog: remove segment %s: %w", s.path, err)
	}
	l.mu.Lock()
	f := l.detachGoneLocked(s)
	l.mu.Unlock()
	l.closeRead(f)
	if err := l.dir.Sync(); err != nil {
		return l.fail("sync directory after removing segment "+s.path, err)
	}
	return nil
}

// Reset drops everything and starts over, empty, behind a position: what a
// snapshot sync ends with. After a crash either the old log or the new one is
// there. Readers get WrongHistory.
func (l *Log) Reset(pos volume.Position) error {
	if err := checkPosition(pos); err != nil {
		return volume.Wrap(err, "oplog "+l.opts.Dir+": reset")
	}
	l.admin.Lock()
	defer l.admin.Unlock()
	l.w.Lock()
	defer l.w.Unlock()
	l.lockSync()
	defer l.unlockSync()
	if err := l.usable(); err != nil {
		return err
	}
	s, err := l.writeReset(pos)
	if err != nil {
		return err
	}
	l.own = volume.Epoch{}
	l.switchTo(s, pos)
	if err := l.finishReset(); err != nil {
		return l.fail("reset to "+pos.String(), err)
	}
	l.mu.Lock()
	s.synced = s.end
	l.mu.Unlock()
	return nil
}

// writeReset makes the segment that replaces all others. With its name, reset, the
// old log has ended.
func (l *Log) writeReset(pos volume.Position) (*segment, error) {
	head := segmentHeader{volume: l.opts.Volume, first: pos.Version + 1, prev: pos, durable: pos.Version}
	path := l.fs.PathJoin(l.opts.Dir, resetName)
	fail := func(err error) error {
		return volume.Errorf(ioKind(err), "oplog %s: reset to %s: %w", l.opts.Dir, pos, err)
	}
	f, err := l.fs.Create(path+tmpSuffix, writeCategory)
	if err != nil {
		return nil, fail(err)
	}
	exact, err := setAside(f, l.opts.SegmentSize)
	if err == nil {
		_, err = f.WriteAt(head.encode(), 0)
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = l.fs.Rename(path+tmpSuffix, path)
	}
	if err != nil {
		return nil, fail(errors.Join(err, f.Close(), l.fs.Remove(path+tmpSuffix)))
	}
	if err := l.dir.Sync(); err != nil { // whether it was begun is not known
		return nil, errors.Join(l.fail("reset to "+pos.String(), err), f.Close())
	}
	if !exact {
		l.inexact.Store(true)
	}
	return &segment{
		head: head, path: l.fs.PathJoin(l.opts.Dir, segmentName(head.first)), file: f,
		end: segmentHeaderLen, size: l.opts.SegmentSize, tail: pos, indexed: true,
	}, nil
}

// switchTo replaces all segments by one, in memory.
func (l *Log) switchTo(s *segment, pos volume.Position) {
	l.mu.Lock()
	for _, old := range l.segs {
		old.gone = true
		defer l.closeRead(l.detachGoneLocked(old))
	}
	l.segs, l.active = []*segment{s}, s
	l.openFiles++
	l.last, l.bytes = pos, s.end
	l.ring.clear()
	l.resets++
	l.dirDirty = false
	l.durable.Store(uint64(pos.Version))
	wait := l.wait
	l.wait = nil
	l.mu.Unlock()
	l.cache.clear()
	if wait != nil {
		close(wait)
	}
}

// finishReset brings the files to what a begun reset wants. It can be repeated.
func (l *Log) finishReset() error {
	path := l.fs.PathJoin(l.opts.Dir, resetName)
	head, err := l.readResetHead(path)
	if err != nil {
		return err
	}
	names, err := l.fs.List(l.opts.Dir)
	if err != nil {
		return volume.Errorf(ioKind(err), "list: %w", err)
	}
	for _, name := range names {
		if _, ok := parseSegmentName(name); ok {
			if err := l.fs.Remove(l.fs.PathJoin(l.opts.Dir, name)); err != nil {
				return volume.Errorf(ioKind(err), "remove segment %s: %w", name, err)
			}
		}
	}
	if err := l.dir.Sync(); err != nil {
		return volume.Errorf(ioKind(err), "sync directory: %w", err)
	}
	if err := l.remark(head.prev); err != nil {
		return err
	}
	if err := l.fs.Rename(path, l.fs.PathJoin(l.opts.Dir, segmentName(head.first))); err != nil {
		return volume.Errorf(ioKind(err), "end reset: %w", err)
	}
	if err := l.dir.Sync(); err != nil {
		return volume.Errorf(ioKind(err), "sync directory: %w", err)
	}
	return nil
}

func (l *Log) readResetHead(path string) (segmentHeader, error) {
	f, err := l.fs.Open(path)
	if err != nil {
		return segmentHeader{}, volume.Errorf(ioKind(err), "open %s: %w", path, err)
	}
	defer l.closeRead(f)
	var b [segmentHeaderLen]byte
	if err := readFull(f, b[:], 0); err != nil {
		return segmentHeader{}, volume.Wrap(err, "read "+path)
	}
	head, err := parseSegmentHeader(b[:])
	if err != nil {
		return head, volume.Errorf(volume.Corrupt, "%s: %w", path, err)
	}
	if head.volume != l.opts.Volume {
		return head, volume.Errorf(volume.WrongVolume, "%s belongs to volume %s, not to %s", path, head.volume, l.opts.Volume)
	}
	return head, nil
}
