package oplog

import (
	"context"
	"errors"
	"io"
	"time"

	"wolfdisk/volume"
)

// Reader reads frames in order, from memory while it is near the end of the log and
// from disk otherwise. It is not safe for concurrent use; a log can have many.
type Reader struct {
	l      *Log
	next   volume.Version // the op wanted next
	digest volume.Digest  // before it
	chain  bool           // digest is known
	resets uint64
	closed bool

	s    *segment // of scan; acquired only during a read
	scan scanner
	// windows is what frames from disk lie in if the caller recycles them, else nil.
	windows *windows
}

// Reader returns a reader of the frames from version from on. If from is inside a
// frame, the first frame is that one, whole. from may be Last's + 1: TooOld if it
// is trimmed, NotFound if it lies further ahead.
func (l *Log) Reader(from volume.Version) (*Reader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := &Reader{l: l, next: from, resets: l.resets}
	if from != l.last.Version+1 || l.closed {
		if err := l.heldLocked(from); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// Recycle makes the memory of frames from disk used again: all that were returned so
// far are not to be touched any more. Without it they may be kept.
func (r *Reader) Recycle() {
	if r.windows == nil {
		r.windows = &windows{}
		r.forget()
		return
	}
	if r.scan.off >= r.scan.at+int64(len(r.scan.buf)) {
		r.scan.buf = nil
		r.windows.leave()
	}
	r.windows.recycle()
}

// forget drops what was read ahead, and where.
func (r *Reader) forget() {
	r.s, r.scan = nil, scanner{leader: r.scan.leader}
	if r.windows != nil {
		r.windows.leave()
	}
}

// Version is the op that the next frame begins with, or holds.
func (r *Reader) Version() volume.Version { return r.next }

// Next returns the next frame, and waits for it if there is none yet. TooOld if it
// was trimmed, Closed once the log or the reader is closed, Corrupt,
// WrongHistory if the log was reset.
func (r *Reader) Next(ctx context.Context) (Frame, error) {
	var tried DamageError // where mending was tried: once is enough
	for {
		f, ok, err := r.TryNext()
		if err != nil && r.mended(ctx, err, &tried) {
			continue
		}
		if ok || err != nil {
			return f, err
		}
		l := r.l
		l.mu.Lock()
		if l.last.Version >= r.next || l.closed || l.resets != r.resets {
			l.mu.Unlock()
			continue
		}
		if l.broken != nil { // nothing will ever come
			err := l.broken
			l.mu.Unlock()
			return Frame{}, err
		}
		if l.wait == nil {
			l.wait = make(chan struct{})
		}
		wait := l.wait
		l.mu.Unlock()
		if err := r.wait(ctx, wait); err != nil {
			return Frame{}, err
		}
	}
}

// mended mends the damage that err is about, if it is the first time. Whether that
// helped is for the next try to say: it has the better error.
func (r *Reader) mended(ctx context.Context, err error, tried *DamageError) bool {
	var d *DamageError
	if !errors.As(err, &d) || d.Segment == tried.Segment && d.Offset == tried.Offset {
		return false
	}
	*tried = *d
	_, err = r.l.Repair(ctx, volume.LogRef{Segment: d.Segment, Frame: d.Offset})
	r.forget()
	return err == nil
}

// wait waits for a frame, and gives memory back that is not needed meanwhile.
func (r *Reader) wait(ctx context.Context, appended <-chan struct{}) error {
	var idle <-chan time.Time
	if r.windows != nil && len(r.windows.free) > 0 {
		t := time.NewTimer(windowsKept)
		defer t.Stop()
		idle = t.C
	}
	for {
		select {
		case <-appended:
			return nil
		case <-ctx.Done():
			return volume.Errorf(volume.Interrupted, "oplog %s: wait for version %d: %w", r.l.opts.Dir, r.next, context.Cause(ctx))
		case <-idle:
			r.forget()
			r.windows.free = nil
		}
	}
}

// TryNext is Next without waiting: ok is false if there is no frame yet.
func (r *Reader) TryNext() (f Frame, ok bool, err error) {
	if r.closed {
		return f, false, volume.Errorf(volume.Closed, "oplog %s: reader is closed", r.l.opts.Dir)
	}
	l := r.l
	l.mu.Lock()
	switch {
	case l.closed:
		err = volume.Errorf(volume.Closed, "oplog %s: closed", l.opts.Dir)
	case l.resets != r.resets:
		err = r.resetLocked()
	case r.next == l.last.Version+1:
		l.mu.Unlock()
		return f, false, nil
	}
	if err == nil {
		err = l.heldLocked(r.next)
	}
	if err != nil {
		l.mu.Unlock()
		return f, false, err
	}
	if found, ok := l.ring.find(r.next); ok {
		f = *found
		l.mu.Unlock()
		r.forget()
		err = r.took(&f)
		return f, err == nil, err
	}
	l.mu.Unlock()
	if f, err = r.fromDisk(); err == nil {
		err = r.took(&f)
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.resets != r.resets { // which explains any error
			err = r.resetLocked()
		}
		return Frame{}, false, err
	}
	return f, true, nil
}

func (r *Reader) resetLocked() error {
	return volume.Errorf(volume.WrongHistory, "oplog %s: was reset to %s while it was read at %d", r.l.opts.Dir, r.l.segs[0].head.prev, r.next)
}

// took checks that a frame follows the one before, and steps behind it.
func (r *Reader) took(f *Frame) error {
	if r.chain && (f.First != r.next || f.Prev != r.digest) || f.First > r.next || f.Last < r.next {
		return damaged(f.Ref.Segment, f.Ref.Frame, volume.Errorf(volume.Corrupt, "frame %d..%d where %d is due does not follow the one before", f.First, f.Last, r.next))
	}
	r.next, r.digest, r.chain = f.Last+1, f.Digest, true
	return nil
}

// fromDisk reads the frame that holds r.next from its segment.
func (r *Reader) fromDisk() (Frame, error) {
	l := r.l
	if r.s == nil || r.scan.off >= r.scan.end {
		if err := r.seek(); err != nil {
			return Frame{}, err
		}
	}
	var h Header
	b, err := r.fromWindow(&h)
	if b == nil && err == nil {
		f, openErr := l.acquire(r.s)
		if openErr != nil {
			return Frame{}, l.vanished(openErr, r.next)
		}
		b, err = r.scan.next(f, &h)
		l.release(r.s)
	}
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = damaged(r.s.seg(), r.scan.off, volume.Errorf(volume.Corrupt, "no frame holds version %d", r.next))
		}
		return Frame{}, volume.Wrap(err, "oplog "+l.opts.Dir)
	}
	return frameOf(&h, b, volume.LogRef{Segment: r.s.seg(), Frame: r.scan.off - int64(len(b))}), nil
}

// fromWindow takes the next frame out of what was read ahead, if it is there whole.
func (r *Reader) fromWindow(h *Header) ([]byte, error) {
	s := &r.scan
	have := int64(len(s.buf)) - (s.off - s.at)
	if s.buf == nil || have < min(maxFrameHeader, s.end-s.off) {
		return nil, nil
	}
	if err := parseHeader(s.buf[s.off-s.at:], h, s.leader); err != nil || int64(h.Len()) > have {
		return nil, nil // the scanner reads it again, and says what is wrong
	}
	return s.next(nil, h)
}

// seek sets the scanner to the frame that holds r.next.
func (r *Reader) seek() error {
	l := r.l
	l.mu.Lock()
	if err := l.heldLocked(r.next); err != nil {
		l.mu.Unlock()
		return err
	}
	s := l.segmentOfLocked(r.next)
	same := s == r.s // more has come since the scanner's end was set
	if same {
		r.scan.end = s.end
	}
	begins := s.head.first == r.next
	end := s.end
	l.mu.Unlock()
	switch {
	case same:
		return nil
	case begins:
		r.s, r.scan = s, r.scanner(s, segmentHeaderLen, end)
		return nil
	}
	s, _, off, err := l.locate(r.next)
	if err != nil {
		return err
	}
	l.mu.Lock()
	end = s.end
	l.mu.Unlock()
	l.release(s)
	r.s, r.scan = s, r.scanner(s, off, end)
	return nil
}

func (r *Reader) scanner(s *segment, off, end int64) scanner {
	return scanner{segment: s.seg(), off: off, end: end, leader: r.scan.leader, windows: r.windows}
}

// Close ends the reader. It does not wake a Next that waits: cancel its context.
func (r *Reader) Close() error {
	r.closed = true
	r.forget()
	return nil
}
