package oplog

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// FrameFetcher gets frames of this history from other nodes, whose logs hold the same
// bytes.
type FrameFetcher interface {
	// FetchFrame asks for the frame that holds version v, one node after the other, until
	// take accepts what one of them says. Missing if nobody has it, Unavailable if there is
	// nobody to ask.
	FetchFrame(ctx context.Context, v volume.Version, take func(frame []byte) error) error
}

// maxMend bounds the frames that are held while a gap of unknown length is filled, bytes:
// they are written only once the last of them leads to what is intact behind it.
const maxMend = 32 << 20

// mending is what the repair of a log needs beside it.
type mending struct {
	fetcher atomic.Pointer[FrameFetcher]
	// slot is held by the one who repairs: who finds the same damage meanwhile finds it mended.
	slot chan struct{}
}

// SetFetcher says whom to ask for frames that are damaged here; nil: nobody.
func (l *Log) SetFetcher(f FrameFetcher) {
	if f == nil {
		l.mending.fetcher.Store(nil)
		return
	}
	l.mending.fetcher.Store(&f)
}

// mendable tells what another node's copy can help against: other bytes than were
// written, or a disk that does not give them.
func mendable(err error) bool {
	k := volume.KindOf(err)
	return k == volume.Corrupt || k == volume.IO
}

// Repair mends what is damaged at a place: ref.Frame is where a frame begins, or 0 for the
// segment's header. It returns how many bytes were written, 0 if nothing is wrong there.
//
// Damage is mended in place. Frames are the same bytes on every node and never move, so
// what is written is, byte for byte and at its length, what once was there: nothing that
// is intact changes, and no extent has to be told. A copy kept aside would have to be
// found again by every reader, by recovery and by trimming.
//
// What comes from elsewhere is believed only if it fits: where the frame's header is
// intact here, it must be the same header, and the payload must match its checksum; where
// it is not, the frames must follow the digest of what lies before the gap, fill it
// exactly, and lead to the digest that what lies behind it follows. If the result cannot be written,
// frames are kept in the cache of payloads, so that a reader is served all the same.
func (l *Log) Repair(ctx context.Context, ref volume.LogRef) (mended int64, err error) {
	select {
	case l.mending.slot <- struct{}{}:
		defer func() { <-l.mending.slot }()
	case <-ctx.Done():
		return 0, volume.Errorf(volume.Interrupted, "oplog %s: repair: %w", l.opts.Dir, context.Cause(ctx))
	}
	l.mu.Lock()
	s := l.bySegmentLocked(ref.Segment)
	if l.closed || s == nil || s.gone {
		l.mu.Unlock()
		return 0, volume.Errorf(volume.Missing, "oplog %s: segment %016x is not in the log", l.opts.Dir, ref.Segment)
	}
	m := &mender{l: l, s: s, end: s.end, tail: s.tail, resets: l.resets}
	l.acquireLocked(s)
	l.mu.Unlock()
	if m.f, err = l.openAcquired(s); err != nil {
		return 0, err
	}
	defer l.release(s)
	if ref.Frame == 0 {
		err = m.head()
	} else {
		err = m.frame(ctx, ref.Frame)
	}
	if err != nil {
		return 0, volume.Errorf(volume.KindOf(err), "mend segment %016x at %d: %w", ref.Segment, ref.Frame, err)
	}
	if mended = m.bytes(); mended > 0 {
		l.log.Warn().Str("code", "WD-1157").Str("segment", s.path).Int64("offset", m.parts[0].off).Int64("bytes", mended).
			Msg("the log was damaged there, and was mended; look at the disk")
	}
	return mended, nil
}

// mender repairs one place of a segment.
type mender struct {
	l      *Log
	s      *segment
	f      vfs.File
	end    int64           // of the segment's frames when the repair began
	tail   volume.Position // there
	resets uint64
	parts  []part
}

// part is a piece of the segment as it must be.
type part struct {
	off int64
	b   []byte
}

func (m *mender) bytes() (n int64) {
	for _, p := range m.parts {
		n += int64(len(p.b))
	}
	return n
}

// head mends the segment's header, which is kept in memory while the log is open.
func (m *mender) head() error {
	want := m.s.head.encode()
	b := make([]byte, segmentHeaderLen)
	if err := readFull(m.f, b, 0); err == nil && bytes.Equal(b, want) {
		return nil
	}
	m.parts = []part{{0, want}}
	return m.write()
}

// frame mends the frame that begins at off, or the gap that it lies in.
func (m *mender) frame(ctx context.Context, off int64) error {
	at, prev, err := m.before(off)
	if err != nil {
		return err
	}
	h, head := m.header(at, prev)
	if h != nil {
		if m.intact(h, at) {
			return nil
		}
		err = m.payload(ctx, h, head, at)
	} else {
		err = m.gap(ctx, at, prev)
	}
	if err != nil {
		m.parts = nil
		return err
	}
	m.keep()
	return m.write()
}

// before walks to off: at is there or, if the headers end before it, where they do; prev is
// what a frame at that place follows.
func (m *mender) before(off int64) (at int64, prev volume.Position, err error) {
	at, prev = segmentHeaderLen, m.s.head.prev
	if off < at || off >= m.end {
		return 0, prev, volume.Errorf(volume.Corrupt, "no frame there: frames lie in %d to %d", at, m.end)
	}
	err = walkHeaders(m.f, m.s.seg(), at, m.end, func(h *Header, o int64) bool {
		if o >= off || !follows(h, prev) {
			return false
		}
		at, prev = o+int64(h.Len()), positionOf(h)
		return true
	})
	if err != nil && !mendable(err) {
		return 0, prev, err
	}
	if at > off {
		return 0, prev, volume.Errorf(volume.Corrupt, "no frame begins there")
	}
	return at, prev, nil
}

func follows(h *Header, prev volume.Position) bool {
	return h.First == prev.Version+1 && h.Prev == prev.Digest && h.Epoch.Compare(prev.Epoch) >= 0
}

func positionOf(h *Header) volume.Position {
	return volume.Position{Epoch: h.Epoch, Version: h.Last, Digest: h.Digest}
}

// header is the header at off and its bytes, if it is intact, follows prev and its frame
// fits; nil otherwise.
func (m *mender) header(off int64, prev volume.Position) (*Header, []byte) {
	b := make([]byte, max(0, min(maxFrameHeader, m.end-off)))
	if readFull(m.f, b, off) != nil {
		return nil, nil
	}
	h := &Header{}
	if parseHeader(b, h, "") != nil || !follows(h, prev) || off+int64(h.Len()) > m.end {
		return nil, nil
	}
	return h, b[:h.HeaderLen]
}

// intact checks the whole frame at off.
func (m *mender) intact(h *Header, off int64) bool {
	b := make([]byte, h.Len())
	if readFull(m.f, b, off) != nil {
		return false
	}
	_, _, err := DecodeFrame(b)
	return err == nil
}

// payload gets a frame whose header is intact.
func (m *mender) payload(ctx context.Context, h *Header, head []byte, off int64) error {
	return m.fetch(ctx, h.First, func(b []byte) error {
		if len(b) != h.Len() || !bytes.Equal(b[:len(head)], head) {
			return volume.Errorf(volume.WrongHistory, "it has another frame there")
		}
		if _, _, err := DecodeFrame(b); err != nil {
			return err
		}
		m.parts = append(m.parts, part{off, b})
		return nil
	})
}

// gap gets all frames from off to where intact ones go on, or to the segment's end.
func (m *mender) gap(ctx context.Context, off int64, prev volume.Position) error {
	for total := int64(0); ; {
		err := m.fetch(ctx, prev.Version+1, func(b []byte) error {
			var h Header
			if err := parseHeader(b, &h, prev.Epoch.Leader); err != nil {
				return err
			}
			if !follows(&h, prev) || off+int64(h.Len()) > m.end {
				return volume.Errorf(volume.WrongHistory, "frame %d..%d does not fit here", h.First, h.Last)
			}
			if _, _, err := DecodeFrame(b); err != nil {
				return err
			}
			m.parts = append(m.parts, part{off, b})
			off, prev = off+int64(len(b)), positionOf(&h)
			return nil
		})
		if err != nil {
			return err
		}
		if off == m.end {
			if prev != m.tail {
				return volume.Errorf(volume.WrongHistory, "the frames from elsewhere end with %s instead of %s", prev, m.tail)
			}
			return nil
		}
		if h, _ := m.header(off, prev); h != nil {
			return nil
		}
		if total += int64(len(m.parts[len(m.parts)-1].b)); total > maxMend {
			return volume.Errorf(volume.Corrupt, "more than %d bytes are damaged in one piece: let this node sync anew", int64(maxMend))
		}
	}
}

// fetch gets the frame that holds version v from memory or from elsewhere.
func (m *mender) fetch(ctx context.Context, v volume.Version, take func([]byte) error) error {
	m.l.mu.Lock()
	var b []byte
	if f, ok := m.l.ring.find(v); ok {
		b = f.Bytes
	}
	m.l.mu.Unlock()
	if b != nil && take(b) == nil {
		return nil
	}
	f := m.l.mending.fetcher.Load()
	if f == nil {
		return volume.Errorf(volume.Unavailable, "there is nobody to ask for version %d", v)
	}
	return (*f).FetchFrame(ctx, v, take)
}

// keep puts the payloads where readers look before they look at the disk.
func (m *mender) keep() {
	for _, p := range m.parts {
		var h Header
		if parseHeader(p.b, &h, "") != nil {
			continue // checked before
		}
		if raw, err := openPayload(&h, p.b); err == nil {
			m.l.cache.put(payloadKey{resets: m.resets, segment: m.s.seg(), frame: p.off}, raw)
		}
	}
}

// write puts the parts in their places and makes them durable. A reader that sees half of
// it sees damage, and waits for its turn to repair. A crash leaves damage where there
// was damage.
func (m *mender) write() (err error) {
	l := m.l
	l.admin.Lock() // or a name that is being removed would be made again
	defer l.admin.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.mu.Lock()
	gone := m.s.gone
	l.mu.Unlock()
	if gone {
		return volume.Errorf(volume.Missing, "the segment was removed meanwhile")
	}
	fail := func(err error) error {
		return volume.Errorf(ioKind(err), "write what was mended in segment %s: %w", m.s.path, err)
	}
	if _, err := l.fs.Stat(m.s.path); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return volume.Errorf(volume.Missing, "segment %s was removed by somebody: stop the daemon, and let this node sync anew", m.s.path)
		}
		return fail(err)
	}
	f, err := l.fs.OpenReadWrite(m.s.path, writeCategory)
	if err != nil {
		return fail(err)
	}
	for _, p := range m.parts {
		if _, err = f.WriteAt(p.b, p.off); err != nil {
			break
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fail(err)
	}
	return nil
}

// mendedPayload is payload for a frame that could not be read, after it was mended. If that
// is not possible, cause is the error.
func (l *Log) mendedPayload(ctx context.Context, ref volume.LogRef, cause error) ([]byte, error) {
	ref.Offset = 0
	_, err := l.Repair(ctx, ref)
	raw, again := l.payload(ref)
	if again == nil {
		if err != nil {
			l.log.Warn().Err(err).Msg("oplog: a damaged frame was fetched but could not be written in its place")
		}
		return raw, nil
	}
	if err == nil {
		err = again
	}
	if ctx.Err() != nil {
		return nil, volume.Errorf(volume.Interrupted, "oplog %s: read: %w", l.opts.Dir, context.Cause(ctx))
	}
	return nil, volume.Errorf(volume.KindOf(cause), "%w; asking for it elsewhere: %v", cause, err)
}

// LocalFrame is the frame that holds version v, checked, from this log alone: what a node
// answers others with, so that two with the same damage do not wait for each other.
func (l *Log) LocalFrame(v volume.Version) ([]byte, error) {
	if v == 0 || v > l.Last().Version {
		return nil, volume.Errorf(volume.NotFound, "oplog %s: there is no version %d", l.opts.Dir, v)
	}
	r, err := l.Reader(v)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	f, ok, err := r.TryNext()
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, volume.Errorf(volume.NotFound, "oplog %s: there is no version %d", l.opts.Dir, v)
	}
	return f.Bytes, nil
}
