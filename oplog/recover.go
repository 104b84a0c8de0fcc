package oplog

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// recover finds where the log ends, and cuts off what does not belong to it.
//
// All segments but the last two are durable since the log was rolled, and only
// their links are checked; the last two are read whole. What cannot be read as the
// continuation of the log is either a torn tail, which nobody was told was
// durable, or damage to what somebody was. The difference is made by evidence: the
// durable mark, and every later segment header and frame of this log's own, which
// name the version that was durable when they were written. (A frame from another
// node says what was durable there.) That an intact frame follows damaged bytes
// proves nothing by itself: a kernel writes pages back in any order.
func (o *opener) recover() error {
	at, off, err := o.findEnd()
	if err != nil && !isDamage(err) {
		return err
	}
	if err == nil {
		last := o.segs[len(o.segs)-1].tail
		if o.marked.version == last.Version && o.marked.version > 0 && o.marked.digest != last.Digest {
			return volume.Errorf(volume.Corrupt, "the durable mark says that version %d has digest %s, the log ends with %s", o.marked.version, o.marked.digest, last)
		}
		if o.marked.version <= last.Version || o.l.opts.AllowCut {
			return nil
		}
		s := o.segs[len(o.segs)-1]
		return o.refuse(damaged(s.seg(), s.end, volume.Errorf(volume.Corrupt, "the log ends here")), last, o.marked.version)
	}
	if at == 0 && off == 0 {
		return volume.Wrap(err, "the oldest segment cannot be used at all: fetch a snapshot from another node")
	}
	kept := o.segs[max(at-1, 0)].tail
	if off > 0 {
		kept = o.segs[at].tail
	}
	durable, evErr := o.evidence(at, off, kept)
	if evErr != nil {
		return evErr
	}
	if durable > kept.Version && !o.l.opts.AllowCut {
		return o.refuse(err, kept, durable)
	}
	return o.cutAt(at, off, kept, durable, err)
}

func (o *opener) refuse(err error, kept volume.Position, durable volume.Version) error {
	return volume.Errorf(volume.Corrupt, "%w; ops through version %d were durable, but the log is intact only through %s: "+
		"nothing was changed; fetch the rest from another node, or allow the cut", err, durable, kept)
}

// findEnd reads the log up to its end. If that is not clean it returns the damage,
// and where the log is to be cut: a segment's index, and an offset, which is 0 if
// the whole segment goes.
func (o *opener) findEnd() (at int, off int64, err error) {
	for i, s := range o.segs {
		if s.headErr != nil {
			return i, 0, damaged(uint64(s.name), 0, s.headErr)
		}
		if i > 0 {
			if at, off, err := o.checkLink(i); err != nil {
				return at, off, err
			}
		}
		if i+2 < len(o.segs) && o.segs[i+1].headErr == nil {
			ok, err := o.skim(s, &o.segs[i+1].head)
			if err != nil {
				return i, 0, err
			}
			if ok {
				continue
			}
		}
		if err := o.read(s); err != nil {
			return i, max(s.end, segmentHeaderLen), err
		}
	}
	return 0, 0, nil
}

// checkLink checks that segment i follows the one before, whose end is known.
func (o *opener) checkLink(i int) (at int, off int64, err error) {
	before, s := o.segs[i-1], o.segs[i]
	switch {
	case s.head.prevFirst != before.head.first:
		return i, 0, damaged(s.seg(), 0, volume.Errorf(volume.Corrupt, "follows segment %s, which is missing", segmentName(s.head.prevFirst)))
	case before.end < s.head.prevEnd:
		return i - 1, before.end, damaged(before.seg(), before.end, volume.Errorf(volume.Corrupt,
			"ends with version %d, but the next segment follows %s at offset %d", before.tail.Version, s.head.prev, s.head.prevEnd))
	case before.end != s.head.prevEnd || before.tail != s.head.prev || before.lastOff != s.head.prevLast:
		return i, 0, damaged(s.seg(), 0, volume.Errorf(volume.Corrupt, "follows %s at offset %d, but the segment before ends with %s at offset %d",
			s.head.prev, s.head.prevEnd, before.tail, before.end))
	}
	return 0, 0, nil
}

// skim checks only that a segment ends as the next one says.
func (o *opener) skim(s *found, next *segmentHeader) (bool, error) {
	if next.prevFirst != s.head.first || next.prevEnd > s.length {
		return false, nil
	}
	f, err := o.l.fs.Open(s.path)
	if err != nil {
		return false, volume.Errorf(ioKind(err), "open segment %s: %w", s.path, err)
	}
	defer o.l.closeRead(f)
	b := make([]byte, min(maxFrameHeader, next.prevEnd-next.prevLast))
	if err := readFull(f, b, next.prevLast); err != nil {
		if volume.KindOf(err) == volume.Corrupt {
			return false, nil
		}
		return false, err
	}
	var h Header
	if parseHeader(b, &h, "") != nil {
		return false, nil
	}
	end := volume.Position{Epoch: h.Epoch, Version: h.Last, Digest: h.Digest}
	if end != next.prev || next.prevLast+int64(h.Len()) != next.prevEnd {
		return false, nil
	}
	s.end, s.lastOff, s.tail = next.prevEnd, next.prevLast, next.prev
	return true, nil
}

// read reads a segment whole: its end is behind the last frame that is intact and
// follows the one before. It returns nil if nothing but zeros comes behind.
func (o *opener) read(s *found) error {
	f, err := o.l.fs.Open(s.path)
	if err != nil {
		return volume.Errorf(ioKind(err), "open segment %s: %w", s.path, err)
	}
	defer o.l.closeRead(f)
	s.scanned, s.indexed = true, true
	s.end, s.lastOff, s.tail, s.index = segmentHeaderLen, 0, s.head.prev, nil
	sc := scanner{segment: s.seg(), off: segmentHeaderLen, end: s.length, leader: s.tail.Epoch.Leader, reuse: true}
	var h Header
	for {
		off := sc.off
		b, err := sc.next(f, &h)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = o.continues(s, &h, off)
		}
		if err != nil {
			if !isDamage(err) {
				return err
			}
			end, zeroErr := lastNonZero(f, off, s.length)
			if zeroErr != nil {
				return zeroErr
			}
			if end == off {
				return nil // set aside and never written
			}
			return err
		}
		s.note(h.First, off)
		s.lastOff, s.end = off, off+int64(len(b))
		s.tail = volume.Position{Epoch: h.Epoch, Version: h.Last, Digest: h.Digest}
	}
}

// continues checks that a frame at off follows the tail of its segment.
func (o *opener) continues(s *found, h *Header, off int64) error {
	if h.First != s.tail.Version+1 || h.Prev != s.tail.Digest || h.Epoch.Compare(s.tail.Epoch) < 0 {
		return damaged(s.seg(), off, volume.Errorf(volume.Corrupt, "frame %d..%d of epoch %s does not follow %s", h.First, h.Last, h.Epoch, s.tail))
	}
	return nil
}

// lastNonZero is the end of the last byte in [off, end) that is not zero; off if
// there is none.
func lastNonZero(f vfs.File, off, end int64) (int64, error) {
	last := off
	zeros := make([]byte, min(readAhead, max(end-off, 0)))
	buf := make([]byte, min(readAhead, max(end-off, 0)))
	for at := off; at < end; at += int64(len(buf)) {
		p := buf[:min(int64(len(buf)), end-at)]
		if err := readFull(f, p, at); err != nil {
			return 0, err
		}
		if !bytes.Equal(p, zeros[:len(p)]) {
			last = at + int64(len(bytes.TrimRight(p, "\x00")))
		}
	}
	return last, nil
}

// evidence is the highest version that is known to have been durable, from the
// mark and from all that lies behind the cut.
func (o *opener) evidence(at int, off int64, kept volume.Position) (volume.Version, error) {
	durable := o.marked.version
	room := int64(0) // bytes behind the cut that were passed
	for i := at; i < len(o.segs); i++ {
		s := o.segs[i]
		from := int64(segmentHeaderLen)
		if i == at && off > 0 {
			from = off
		} else if s.headErr == nil && s.head.first > kept.Version {
			durable = max(durable, s.head.durable)
		}
		v, err := o.search(s, from, room, kept)
		if err != nil {
			return 0, err
		}
		durable = max(durable, v)
		room += s.length
	}
	return durable, nil
}

// search looks for intact frame headers in a segment from an offset on, wherever
// they begin, and returns the highest version they say is durable. What lies in
// the payload of a frame with an intact header is passed over, because a file in
// the volume may hold a log of its own; and a header counts only if the ops it
// says came between could have been in the bytes between, and if it was made here.
func (o *opener) search(s *found, from, room int64, kept volume.Position) (volume.Version, error) {
	f, err := o.l.fs.Open(s.path)
	if err != nil {
		return 0, volume.Errorf(ioKind(err), "open segment %s: %w", s.path, err)
	}
	defer o.l.closeRead(f)
	var durable volume.Version
	var h Header
	buf := make([]byte, readAhead)
	for at := from; at < s.length; {
		p := buf[:min(int64(len(buf)), s.length-at)]
		if err := readFull(f, p, at); err != nil {
			return 0, err
		}
		i := bytes.Index(p, []byte(frameMagic))
		if i < 0 { // a magic may straddle the end
			at += max(int64(len(p)-len(frameMagic)+1), 1)
			continue
		}
		if i > 0 && len(p)-i < maxFrameHeader && at+int64(len(p)) < s.length {
			at += int64(i)
			continue
		}
		at += int64(i)
		if parseHeader(p[i:], &h, h.Epoch.Leader) != nil {
			at++
			continue
		}
		possible := volume.Version((room + at - from) * lz4MaxRatio / minOpLen)
		if h.Epoch == o.marked.own && h.First > kept.Version && h.First-1-kept.Version <= possible {
			durable = max(durable, h.Durable)
		}
		at += int64(h.Len())
	}
	return durable, nil
}

// cutAt takes off everything from a place on. What is taken off is kept beside, and
// durable there before anything is changed. The damage goes last, so that a crash on
// the way is followed by the same again.
func (o *opener) cutAt(at int, off int64, kept volume.Position, durable volume.Version, cause error) error {
	l := o.l
	s := o.segs[at]
	o.cut = &Cut{Segment: uint64(s.name), Offset: off, Kept: kept, Durable: durable, Err: cause}
	first := at
	if off > 0 {
		if err := o.saveTail(s, off, kept); err != nil {
			return err
		}
		first = at + 1
	}
	for i := len(o.segs) - 1; i >= first; i-- {
		path, err := o.freePath(uint64(o.segs[i].name), 0)
		if err == nil {
			err = l.fs.Rename(o.segs[i].path, path)
		}
		if err == nil {
			err = l.dir.Sync()
		}
		if err != nil {
			return volume.Errorf(ioKind(err), "put segment %s aside: %w", o.segs[i].path, err)
		}
		o.cut.Bytes += o.segs[i].length
		o.cut.Paths = append(o.cut.Paths, path)
	}
	o.segs = o.segs[:first]
	if off == 0 {
		return nil
	}
	return o.zeroTail(s, off)
}

// freePath is a path for cut bytes that is not taken.
func (o *opener) freePath(version uint64, off int64) (string, error) {
	l := o.l
	name := fmt.Sprintf("%s%d-%d", cutPrefix, version, off)
	for i := 1; ; i++ {
		path := l.fs.PathJoin(l.opts.Dir, name)
		if i > 1 {
			path = l.fs.PathJoin(l.opts.Dir, fmt.Sprintf("%s.%d", name, i))
		}
		_, err := l.fs.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			return path, nil
		}
		if err != nil {
			return "", err
		}
	}
}

// saveTail copies a segment's bytes from off on to a file of their own.
func (o *opener) saveTail(s *found, off int64, kept volume.Position) error {
	l := o.l
	fail := func(err error) error {
		return volume.Errorf(ioKind(err), "keep the bytes of segment %s behind offset %d: %w", s.path, off, err)
	}
	in, err := l.fs.Open(s.path)
	if err != nil {
		return fail(err)
	}
	defer l.closeRead(in)
	end, err := lastNonZero(in, off, s.length)
	if err != nil {
		return fail(err)
	}
	if end == off { // zeros where the next segment says that frames were
		return nil
	}
	path, err := o.freePath(uint64(kept.Version+1), off)
	if err != nil {
		return fail(err)
	}
	tmp := path + tmpSuffix
	out, err := l.fs.Create(tmp, writeCategory)
	if err != nil {
		return fail(err)
	}
	_, err = io.Copy(out, io.NewSectionReader(in, off, end-off))
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fail(err)
	}
	if err := l.fs.Rename(tmp, path); err != nil {
		return fail(err)
	}
	if err := l.dir.Sync(); err != nil {
		return fail(err)
	}
	o.cut.Bytes += end - off
	o.cut.Paths = append(o.cut.Paths, path)
	return nil
}

// zeroTail brings a segment back to zeros from off on: the seam has no truncation.
func (o *opener) zeroTail(s *found, off int64) error {
	l := o.l
	fail := func(err error) error {
		return volume.Errorf(ioKind(err), "cut segment %s at offset %d: %w", s.path, off, err)
	}
	f, err := l.fs.OpenReadWrite(s.path, writeCategory)
	if err != nil {
		return fail(err)
	}
	end, err := lastNonZero(f, off, s.length)
	zeros := make([]byte, min(readAhead, max(end-off, 0)))
	for at := off; err == nil && at < end; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), end-at)], at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fail(err)
	}
	return nil
}
