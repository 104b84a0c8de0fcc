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
// included, and ends the walk with an error. Segments trimmed meanwhile are passed
// over. The result is fn's error, or a failure to read that proves no damage.
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
		if volume.KindOf(err) == volume.Missing {
			continue
		}
		if err != nil {
			return err
		}
		err = v.run(ctx, f)
		l.release(v.s)
		if err != nil {
			return err
		}
	}
	return nil
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

// report tells fn one step, with err as damage if it is not nil.
func (v *verifier) report(off, n int64, h *Header, err error) error {
	c := Checked{Segment: v.s.seg(), Offset: off, Bytes: n}
	if h != nil {
		c.First, c.Last = h.First, h.Last
	}
	if err != nil {
		c.Err = damaged(c.Segment, off, err)
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
	} else if volume.KindOf(err) != volume.Corrupt {
		return volume.Wrap(err, "verify segment "+v.s.path)
	}
	return v.report(0, segmentHeaderLen, nil, err)
}

// step checks one frame. Behind damage it goes on where the frame's header says,
// or with the next segment if that is damaged too.
func (v *verifier) step(f vfs.File) error {
	off := v.scan.off
	var h Header
	b, err := v.scan.next(f, &h)
	if err == nil {
		err = v.checkFrame(&h, b)
		v.prev = volume.Position{Epoch: h.Epoch, Version: h.Last, Digest: h.Digest}
		return v.report(off, int64(len(b)), &h, err)
	}
	var d *DamageError
	if !errors.As(err, &d) {
		return volume.Wrap(err, "verify segment "+v.s.path)
	}
	left := v.scan.end - off
	head := make([]byte, min(left, maxFrameHeader))
	if readErr := readFull(f, head, off); readErr != nil && volume.KindOf(readErr) != volume.Corrupt {
		return volume.Wrap(readErr, "verify segment "+v.s.path)
	}
	if parseHeader(head, &h, "") == nil && int64(h.Len()) <= left {
		v.scan.off += int64(h.Len())
		v.prev = volume.Position{Epoch: h.Epoch, Version: h.Last, Digest: h.Digest}
		return v.report(off, int64(h.Len()), &h, d.Err)
	}
	v.scan.off = v.scan.end
	v.prev = v.tail // reported here already
	return v.report(off, left, nil, d.Err)
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
