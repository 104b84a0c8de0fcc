package oplog

import (
	"errors"
	"io/fs"
	"sort"

	"wolfdisk/volume"
)

// segmentOf is the segment that holds version v, which must be held. mu is held.
func (l *Log) segmentOfLocked(v volume.Version) *segment {
	i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].head.first > v })
	return l.segs[i-1]
}

// bySegmentLocked is the segment with a number; nil if it is not there.
func (l *Log) bySegmentLocked(number uint64) *segment {
	i := sort.Search(len(l.segs), func(i int) bool { return l.segs[i].seg() >= number })
	if i == len(l.segs) || l.segs[i].seg() != number {
		return nil
	}
	return l.segs[i]
}

// heldLocked is nil if op v is in the log.
func (l *Log) heldLocked(v volume.Version) error {
	if l.closed {
		return volume.Errorf(volume.Closed, "oplog %s: closed", l.opts.Dir)
	}
	if first := l.segs[0].head.first; v < first {
		return volume.Errorf(volume.TooOld, "oplog %s: version %d: the log begins with %d", l.opts.Dir, v, first)
	}
	if v > l.last.Version {
		return volume.Errorf(volume.NotFound, "oplog %s: version %d: the last is %d", l.opts.Dir, v, l.last.Version)
	}
	return nil
}

// locate finds the frame that holds version v, which must be held, on disk. The
// segment is acquired on success.
func (l *Log) locate(v volume.Version) (s *segment, h Header, off int64, err error) {
	l.mu.Lock()
	if err := l.heldLocked(v); err != nil {
		l.mu.Unlock()
		return nil, h, 0, err
	}
	s = l.segmentOfLocked(v)
	l.acquireLocked(s)
	end, indexed, from := s.end, s.indexed, s.near(v)
	l.mu.Unlock()
	f, err := l.openAcquired(s)
	if err != nil {
		return nil, h, 0, l.vanished(err, v)
	}
	found := false
	var index segment // collects the sparse index of a segment that has none
	if !indexed {
		from = segmentHeaderLen
	}
	err = walkHeaders(f, s.seg(), from, end, func(fh *Header, at int64) bool {
		index.note(fh.First, at)
		if !found && fh.Last >= v {
			h, off, found = *fh, at, fh.First <= v
			return !indexed && found
		}
		return true
	})
	if err == nil && !found {
		err = damaged(s.seg(), end, volume.Errorf(volume.Corrupt, "no frame holds version %d", v))
	}
	if err != nil {
		l.release(s)
		return nil, h, 0, volume.Wrap(err, "oplog "+l.opts.Dir)
	}
	if !indexed {
		l.mu.Lock()
		s.index, s.indexed = index.index, true
		l.mu.Unlock()
	}
	return s, h, off, nil
}

// vanished turns the failure to open a segment that Trim removed at the same
// time into what it means.
func (l *Log) vanished(err error, v volume.Version) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		if held := l.heldLocked(v); held != nil {
			return held
		}
		return volume.Errorf(volume.Missing, "oplog %s: version %d: %w", l.opts.Dir, v, err)
	}
	return err
}

// PositionAt is the position after op v, which may be inside a frame: TooOld if it
// lies before what the log begins behind, NotFound if it is not written yet.
func (l *Log) PositionAt(v volume.Version) (volume.Position, error) {
	l.mu.Lock()
	if v == l.last.Version && !l.closed {
		defer l.mu.Unlock()
		return l.last, nil
	}
	if first := l.segs[0]; v == first.head.prev.Version && !l.closed {
		defer l.mu.Unlock()
		return first.head.prev, nil
	}
	if err := l.heldLocked(v); err != nil {
		l.mu.Unlock()
		return volume.Position{}, err
	}
	if f, ok := l.ring.find(v); ok {
		frame := *f
		l.mu.Unlock()
		return l.positionIn(v, frame.Bytes, frame.Ref)
	}
	l.mu.Unlock()
	s, h, off, err := l.locate(v)
	if err != nil {
		return volume.Position{}, err
	}
	l.release(s)
	if h.Last == v {
		return volume.Position{Epoch: h.Epoch, Version: v, Digest: h.Digest}, nil
	}
	ref := volume.LogRef{Segment: s.seg(), Frame: off}
	b, err := l.frameBytes(ref)
	if err != nil {
		return volume.Position{}, err
	}
	return l.positionIn(v, b, ref)
}

// positionIn is the position after op v of the frame b.
func (l *Log) positionIn(v volume.Version, b []byte, ref volume.LogRef) (volume.Position, error) {
	var h Header
	if err := parseHeader(b, &h, ""); err != nil {
		return volume.Position{}, damaged(ref.Segment, ref.Frame, err)
	}
	p := volume.Position{Epoch: h.Epoch, Version: v, Digest: h.Digest}
	if v == h.Last {
		return p, nil
	}
	raw, err := openPayload(&h, b)
	if err == nil {
		p.Digest, err = digestAt(&h, raw, v)
	}
	if err != nil {
		return volume.Position{}, damaged(ref.Segment, ref.Frame, err)
	}
	return p, nil
}
