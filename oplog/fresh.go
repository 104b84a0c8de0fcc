package oplog

import (
	"context"

	"wolfdisk/volume"
)

// DiskReader reads content from the segment files themselves, past all that the log
// keeps in memory, and checks it: for whoever wants to know what is on the disk. It
// remembers the frame it read last. It is used by one goroutine at a time.
type DiskReader struct {
	l    *Log
	at   volume.LogRef
	last []byte // payload of the frame at at; nil at first
}

var _ volume.LogReader = (*DiskReader)(nil)

// DiskReader makes one.
func (l *Log) DiskReader() *DiskReader { return &DiskReader{l: l} }

// ReadLog implements volume.LogReader, as Log.ReadLog.
func (r *DiskReader) ReadLog(ctx context.Context, ref volume.LogRef, p []byte) error {
	if err := ctx.Err(); err != nil {
		return volume.Errorf(volume.Interrupted, "oplog %s: read: %w", r.l.opts.Dir, context.Cause(ctx))
	}
	at := volume.LogRef{Segment: ref.Segment, Frame: ref.Frame}
	if r.last == nil || r.at != at {
		raw, err := r.payload(at)
		if err != nil {
			r.last = nil
			return err
		}
		r.at, r.last = at, raw
	}
	if uint64(ref.Offset)+uint64(len(p)) > uint64(len(r.last)) {
		return damaged(ref.Segment, ref.Frame, volume.Errorf(volume.Corrupt, "%d bytes at %d wanted of a payload of %d", len(p), ref.Offset, len(r.last)))
	}
	copy(p, r.last[ref.Offset:])
	return nil
}

func (r *DiskReader) payload(at volume.LogRef) ([]byte, error) {
	b, err := r.l.diskFrame(at)
	if err != nil {
		return nil, err
	}
	var h Header
	if err := parseHeader(b, &h, ""); err != nil {
		return nil, damaged(at.Segment, at.Frame, err)
	}
	raw, err := openPayload(&h, b)
	if err != nil {
		return nil, damaged(at.Segment, at.Frame, err)
	}
	return raw, nil
}
