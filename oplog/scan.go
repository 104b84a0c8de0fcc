package oplog

import (
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// DamageError says where in the log the bytes are not those that were written.
// Errors of kind Corrupt that come from segments hold one.
type DamageError struct {
	Segment uint64 // its first version
	Offset  int64  // in the segment file, bytes
	Err     error  // what is wrong there
}

func (e *DamageError) Error() string {
	return fmt.Sprintf("segment %016x damaged at offset %d: %v", e.Segment, e.Offset, e.Err)
}

func (e *DamageError) Unwrap() error { return e.Err }

func damaged(segment uint64, off int64, err error) error {
	return &volume.Error{Kind: volume.Corrupt, Err: &DamageError{Segment: segment, Offset: off, Err: err}}
}

// isDamage tells damage from a failure to read, which proves nothing.
func isDamage(err error) bool {
	var d *DamageError
	return errors.As(err, &d)
}

// readAhead is what is read from a segment at once, in bytes.
const readAhead = 512 << 10

// scanner reads whole, verified frames of one segment file, in order.
type scanner struct {
	segment  uint64
	off, end int64 // of the next frame; where the last one ends
	leader   string
	reuse    bool     // frames are valid until the next call only
	windows  *windows // frames are valid until these are recycled; nil for ever

	buf []byte // the file's bytes from at on
	at  int64
}

// next returns the next frame and its header; io.EOF at the end, Corrupt with a
// DamageError, or a failure of the disk.
func (s *scanner) next(f vfs.File, h *Header) ([]byte, error) {
	left := s.end - s.off
	if left <= 0 {
		return nil, io.EOF
	}
	head, err := s.window(f, int(min(left, maxFrameHeader)))
	if err != nil {
		return nil, err
	}
	if err := parseHeader(head, h, s.leader); err != nil {
		return nil, damaged(s.segment, s.off, err)
	}
	s.leader = h.Epoch.Leader
	if int64(h.Len()) > left {
		return nil, damaged(s.segment, s.off, volume.Errorf(volume.Corrupt, "frame %d..%d of %d bytes is cut off after %d", h.First, h.Last, h.Len(), left))
	}
	b, err := s.window(f, h.Len())
	if err != nil {
		return nil, err
	}
	if err := checkPayload(h, b); err != nil {
		return nil, damaged(s.segment, s.off, err)
	}
	s.off += int64(h.Len())
	return b, nil
}

// window is the n bytes of the file from off on, n <= end-off.
func (s *scanner) window(f vfs.File, n int) ([]byte, error) {
	if from := s.off - s.at; s.buf == nil || from < 0 || from+int64(n) > int64(len(s.buf)) {
		ahead := int64(readAhead)
		if s.windows != nil {
			ahead = windowLen
		}
		want := int(min(max(int64(n), ahead), s.end-s.off))
		if s.windows != nil {
			s.buf = s.windows.take(want)
		} else if s.reuse && cap(s.buf) >= want {
			s.buf = s.buf[:want]
		} else {
			s.buf = make([]byte, want)
		}
		s.at = s.off
		if err := readFull(f, s.buf, s.off); err != nil {
			s.buf = nil
			if volume.KindOf(err) == volume.Corrupt {
				err = damaged(s.segment, s.off, err)
			}
			return nil, err
		}
	}
	from := int(s.off - s.at)
	return s.buf[from : from+n : from+n], nil
}

// headWindow is what walkHeaders reads at once, in bytes: several small frames.
const headWindow = 4 << 10

// walkHeaders calls fn with the header of each frame from off to end until it
// returns false. Payloads are neither read nor checked.
func walkHeaders(f vfs.File, segment uint64, off, end int64, fn func(h *Header, off int64) bool) error {
	var h Header
	var at int64
	var buf []byte
	space := make([]byte, headWindow)
	for off < end {
		n := min(end-off, maxFrameHeader)
		if off < at || off+n > at+int64(len(buf)) {
			buf, at = space[:min(headWindow, end-off)], off
			if err := readFull(f, buf, off); err != nil {
				if volume.KindOf(err) == volume.Corrupt {
					err = damaged(segment, off, err)
				}
				return err
			}
		}
		if err := parseHeader(buf[off-at:][:n], &h, h.Epoch.Leader); err != nil {
			return damaged(segment, off, err)
		}
		if off+int64(h.Len()) > end {
			return damaged(segment, off, volume.Errorf(volume.Corrupt, "frame %d..%d of %d bytes is cut off after %d", h.First, h.Last, h.Len(), end-off))
		}
		if !fn(&h, off) {
			return nil
		}
		off += int64(h.Len())
	}
	return nil
}
