package oplog

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// Checked is one step of Verify: an intact frame, or damage.
type Checked struct {
	Segment uint64 // its first version
	Offset  int64  // in the segment file, bytes
	Bytes   int64  // how many were covered by this step
	First   volume.Version
	Last    volume.Version // First and Last are 0 where the damage hides them
	Err     error          // nil if intact; Corrupt with a DamageError
}

// Verify reads everything that the log holds at the time of the call from disk, and
// checks every frame, every op and every link. fn is told each step, damage
// included, and ends the walk with an error. It may Repair what it is told of: the walk
// goes on with what is there then. Segments trimmed meanwhile are passed over. What
// the disk does not give is damage like any other. The result is fn's error.
func (l *Log) Verify(ctx context.Context, fn func(Checked) error) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return volume.Errorf(volume.Closed, "oplog %s: closed", l.opts.Dir)
	}
	todo := make([]verifier, len(l.segs))
	for i, s := range l.segs {
		todo[i] = verifier{s: s, tail: s.tail, fn: fn, scan: scanner{segment: s.seg(), off: segmentHeaderLen, end: s.end}}
	}
	l.mu.Unlock()
	for i := range todo {
		v := &todo[i]
		f, err := l.acquire(v.s)
		if volume.KindOf(err) == volume.Missing && l.isGone(v.s) {
			continue
		}
		if volume.KindOf(err) == volume.Closed {
			return err
		}
		if err != nil {
			if err = v.report(0, v.scan.end, nil, err); err != nil {
				return err
			}
			continue
		}
		err = v.run(ctx, f)
		l.release(v.s)
		if err != nil {
			return err
		}
	}
	return nil
}

// isGone tells a segment that was trimmed from one whose file somebody removed.
func (l *Log) isGone(s *segment) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return s.gone
}

// verifier checks one segment.
type verifier struct {
	s    *segment
	tail volume.Position // where the segment must end
	fn   func(Checked) error
	scan scanner
	prev volume.Position // what the next frame must follow
}

func (v *verifier) run(ctx context.Context, f vfs.File) error {
	if err := v.checkHead(f); err != nil {
		return err
	}
	v.prev = v.s.head.prev
	for v.scan.off < v.scan.end {
		if ctx.Err() != nil {
			return volume.Errorf(volume.Interrupted, "verify segment %s: %w", v.s.path, context.Cause(ctx))
		}
		if err := v.step(f); err != nil {
			return err
		}
	}
	if v.prev != v.tail {
		return v.report(v.scan.end, 0, nil, volume.Errorf(volume.Corrupt, "ends with %s instead of %s", v.prev, v.tail))
	}
	return nil
}

// report tells fn one step, with err as damage if it is not nil. An error of the disk
// keeps its kind.
func (v *verifier) report(off, n int64, h *Header, err error) error {
	c := Checked{Segment: v.s.seg(), Offset: off, Bytes: n}
	if h != nil {
		c.First, c.Last = h.First, h.Last
	}
	if err != nil {
		c.Err = &volume.Error{Kind: volume.Corrupt, Err: &DamageError{Segment: c.Segment, Offset: off, Err: err}}
		if volume.KindOf(err) == volume.IO {
			c.Err = &volume.Error{Kind: volume.IO, Err: &DamageError{Segment: c.Segment, Offset: off, Err: err}}
		}
	}
	return v.fn(c)
}

func (v *verifier) checkHead(f vfs.File) error {
	var b [segmentHeaderLen]byte
	err := readFull(f, b[:], 0)
	if err == nil {
		var head segmentHeader
		if head, err = parseSegmentHeader(b[:]); err == nil && head != v.s.head {
			err = volume.Errorf(volume.Corrupt, "segment header: not the one that was written")
		}
	}
	return v.report(0, segmentHeaderLen, nil, err)
}

// step checks one frame. Behind damage it goes on where the frame's header says,
// or with the next segment if that is damaged too.
func (v *verifier) step(f vfs.File) error {
	off := v.scan.off
	var h Header
	n, err := v.next(f, &h)
	if err == nil {
		v.prev = positionOf(&h)
		return v.report(off, n, &h, nil)
	}
	left := v.scan.end - off
	if known := v.headerAt(f, off, &h); known {
		if err := v.report(off, int64(h.Len()), &h, err); err != nil {
			return err
		}
		left = int64(h.Len())
	} else if err := v.report(off, left, nil, err); err != nil {
		return err
	}
	// fn may have mended it.
	var again Header
	v.scan.off, v.scan.buf = off, nil
	if _, err := v.next(f, &again); err == nil {
		v.prev = positionOf(&again)
		return nil
	}
	v.scan.off, v.scan.buf = off+left, nil
	if v.prev = positionOf(&h); v.scan.off == v.scan.end {
		v.prev = v.tail // reported here already
	}
	return nil
}

// next reads and checks the frame at scan.off, of n bytes, and steps behind it.
func (v *verifier) next(f vfs.File, h *Header) (n int64, err error) {
	off := v.scan.off
	b, err := v.scan.next(f, h)
	if err != nil && !isDamage(err) {
		// The disk did not give all that was to be read ahead: the frame alone, then.
		v.scan.off, v.scan.buf = off, nil
		b, err = v.alone(f, off, h)
	}
	if err == nil {
		err = v.checkFrame(h, b)
	}
	var d *DamageError
	if errors.As(err, &d) {
		err = d.Err
	}
	return int64(len(b)), err
}

func (v *verifier) alone(f vfs.File, off int64, h *Header) ([]byte, error) {
	head := make([]byte, min(v.scan.end-off, maxFrameHeader))
	if err := readFull(f, head, off); err != nil {
		return nil, err
	}
	if err := parseHeader(head, h, ""); err != nil {
		return nil, err
	}
	if off+int64(h.Len()) > v.scan.end {
		return nil, volume.Errorf(volume.Corrupt, "frame %d..%d is cut off", h.First, h.Last)
	}
	b := make([]byte, h.Len())
	if err := readFull(f, b, off); err != nil {
		return nil, err
	}
	v.scan.off += int64(len(b))
	return b, checkPayload(h, b)
}

// headerAt reports whether the header at off is one whose length can be believed.
func (v *verifier) headerAt(f vfs.File, off int64, h *Header) bool {
	left := v.scan.end - off
	head := make([]byte, min(left, maxFrameHeader))
	if readFull(f, head, off) != nil {
		return false
	}
	return parseHeader(head, h, "") == nil && int64(h.Len()) <= left
}

func (v *verifier) checkFrame(h *Header, b []byte) error {
	if h.First != v.prev.Version+1 || h.Prev != v.prev.Digest {
		return volume.Errorf(volume.Corrupt, "frame %d..%d does not follow %s", h.First, h.Last, v.prev)
	}
	raw, err := inflate(h, b[h.HeaderLen:])
	if err != nil {
		return err
	}
	_, err = decodeOps(h, raw)
	return err
}
