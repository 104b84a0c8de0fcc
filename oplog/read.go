package oplog

import (
	"context"
	"errors"
	"io/fs"

	"wolfdisk/volume"
)

var _ volume.LogReader = (*Log)(nil)

// readFirst is what is read of a frame whose length is not known yet, in bytes:
// enough for a frame with one 4 KiB write.
const readFirst = 4<<10 + 512

// ReadLog fills p from a place in a frame's payload. The whole frame is verified
// before any of it is used. Missing if the segment is not there any more, Corrupt
// if it is damaged or ref names no frame. A damaged frame is mended first, if another
// node has it (repair.go).
func (l *Log) ReadLog(ctx context.Context, ref volume.LogRef, p []byte) error {
	if err := ctx.Err(); err != nil {
		return volume.Errorf(volume.Interrupted, "oplog %s: read: %w", l.opts.Dir, context.Cause(ctx))
	}
	raw, err := l.payload(ref)
	if err != nil && mendable(err) {
		raw, err = l.mendedPayload(ctx, ref, err)
	}
	if err != nil {
		return err
	}
	if uint64(ref.Offset)+uint64(len(p)) > uint64(len(raw)) {
		return damaged(ref.Segment, ref.Frame, volume.Errorf(volume.Corrupt, "%d bytes at %d wanted of a payload of %d", len(p), ref.Offset, len(raw)))
	}
	copy(p, raw[ref.Offset:])
	return nil
}

// payload is a frame's verified payload, not to be changed.
func (l *Log) payload(ref volume.LogRef) ([]byte, error) {
	l.mu.Lock()
	key := payloadKey{resets: l.resets, segment: ref.Segment, frame: ref.Frame}
	var b []byte
	var leader string
	if f, ok := l.ring.at(ref); ok {
		b, leader = f.Bytes, f.Epoch.Leader
	}
	l.mu.Unlock()
	var h Header
	if b != nil {
		if err := parseHeader(b, &h, leader); err != nil {
			return nil, damaged(ref.Segment, ref.Frame, err)
		}
		if !h.Compressed() { // what this process wrote itself, ready to be used
			return b[h.HeaderLen:], nil
		}
	}
	if raw, ok := l.cache.get(key); ok {
		return raw, nil
	}
	if b == nil {
		var err error
		if b, err = l.diskFrame(ref); err != nil {
			return nil, err
		}
	}
	if err := parseHeader(b, &h, ""); err != nil {
		return nil, damaged(ref.Segment, ref.Frame, err)
	}
	raw, err := openPayload(&h, b)
	if err != nil {
		return nil, damaged(ref.Segment, ref.Frame, err)
	}
	l.cache.put(key, raw)
	return raw, nil
}

// ReadFrame reads and decodes the frame at a place; ref.Offset does not matter.
func (l *Log) ReadFrame(ref volume.LogRef) (Frame, []*volume.Op, error) {
	ref.Offset = 0
	b, err := l.frameBytes(ref)
	if err != nil {
		return Frame{}, nil, err
	}
	f, ops, err := DecodeFrame(b)
	if err != nil {
		return Frame{}, nil, damaged(ref.Segment, ref.Frame, err)
	}
	f.Ref = ref
	return f, ops, nil
}

// frameBytes is the frame at a place, from memory or disk.
func (l *Log) frameBytes(ref volume.LogRef) ([]byte, error) {
	l.mu.Lock()
	f, ok := l.ring.at(ref)
	if ok {
		b := f.Bytes
		l.mu.Unlock()
		return b, nil
	}
	l.mu.Unlock()
	return l.diskFrame(ref)
}

// diskFrame reads one whole frame; its payload is not checked yet.
func (l *Log) diskFrame(ref volume.LogRef) ([]byte, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, volume.Errorf(volume.Closed, "oplog %s: closed", l.opts.Dir)
	}
	s := l.bySegmentLocked(ref.Segment)
	if s == nil || s.gone {
		l.mu.Unlock()
		return nil, volume.Errorf(volume.Missing, "oplog %s: segment %016x is not in the log", l.opts.Dir, ref.Segment)
	}
	l.acquireLocked(s)
	end := s.end
	l.mu.Unlock()
	f, err := l.openAcquired(s)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = volume.Errorf(volume.Missing, "oplog %s: %w", l.opts.Dir, err)
		}
		return nil, err
	}
	defer l.release(s)
	if ref.Frame < segmentHeaderLen || ref.Frame >= end {
		return nil, damaged(ref.Segment, ref.Frame, volume.Errorf(volume.Corrupt, "no frame there: frames lie in %d to %d", segmentHeaderLen, end))
	}
	b := make([]byte, min(readFirst, end-ref.Frame))
	if err := readFull(f, b, ref.Frame); err != nil {
		return nil, l.readFailed(ref, err)
	}
	var h Header
	if err := parseHeader(b, &h, ""); err != nil {
		return nil, damaged(ref.Segment, ref.Frame, err)
	}
	if int64(h.Len()) > end-ref.Frame {
		return nil, damaged(ref.Segment, ref.Frame, volume.Errorf(volume.Corrupt, "frame of %d bytes is cut off after %d", h.Len(), end-ref.Frame))
	}
	if have := len(b); h.Len() > have {
		whole := make([]byte, h.Len())
		copy(whole, b)
		if err := readFull(f, whole[have:], ref.Frame+int64(have)); err != nil {
			return nil, l.readFailed(ref, err)
		}
		return whole, nil
	}
	return b[:h.Len():h.Len()], nil
}

func (l *Log) readFailed(ref volume.LogRef, err error) error {
	if volume.KindOf(err) == volume.Corrupt {
		return damaged(ref.Segment, ref.Frame, err)
	}
	return volume.Errorf(volume.KindOf(err), "oplog %s: segment %016x: %w", l.opts.Dir, ref.Segment, err)
}
