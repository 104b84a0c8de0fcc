package oplog

import (
	"errors"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

// AppendOps numbers ops, encodes them once and writes them, without waiting for
// the disk: as one frame, or as several if they exceed MaxFrameRaw together. An op
// that opens an epoch must be the first, and an epoch must be opened so. On
// success Version and DataOff of every op are set. On failure none of the ops
// behind the returned frames is in the log.
//
// Data of the ops is copied. A frame that is not kept in memory is returned without its
// Bytes. NoSpace leaves the log as it was; after any other
// failure of the disk it is broken.
func (l *Log) AppendOps(epoch volume.Epoch, ops []*volume.Op) ([]Frame, error) {
	if len(ops) == 0 {
		return nil, nil
	}
	l.w.Lock()
	defer l.w.Unlock()
	prev, err := l.follows(epoch)
	if err != nil {
		return nil, err
	}
	if err := l.encode(epoch, prev, ops); err != nil {
		return nil, err
	}
	l.markOwn(epoch)
	frames := make([]Frame, 0, 1)
	for at := 0; at < len(ops); {
		n := l.fit(at)
		f, err := l.appendEncoded(epoch, prev, at, n)
		if err != nil {
			return frames, err
		}
		start := l.opStart(at)
		for i, op := range ops[at : at+n] {
			op.Version = f.First + volume.Version(i)
			if op.DataOff >= start {
				op.DataOff -= start // from the batch's to the frame's payload
			}
		}
		frames = append(frames, f)
		prev = f.Position()
		at += n
	}
	return frames, nil
}

// follows checks that the log can be appended to in an epoch, and returns what
// the next op follows. w is held.
func (l *Log) follows(epoch volume.Epoch) (volume.Position, error) {
	if err := checkEpoch(epoch); err != nil {
		return volume.Position{}, volume.Wrap(err, "oplog "+l.opts.Dir+": append")
	}
	l.mu.Lock()
	prev, err := l.last, l.usableLocked()
	l.mu.Unlock()
	if err == nil && epoch.Compare(prev.Epoch) < 0 {
		err = volume.Errorf(volume.WrongHistory, "oplog %s: append in epoch %s behind %s", l.opts.Dir, epoch, prev)
	}
	return prev, err
}

// checkReign says whether the first of some ops can follow prev in an epoch:
// another epoch than the last begins with the op that opens it.
func (l *Log) checkReign(prev volume.Position, epoch volume.Epoch, first *volume.Op) error {
	if prev.Version > 0 && prev.Epoch != epoch && first.Kind != volume.OpReign {
		return volume.Errorf(volume.WrongHistory, "oplog %s: epoch %s begins behind %s without the op that opens it", l.opts.Dir, epoch, prev)
	}
	return nil
}

// encode encodes and checks all ops into l.enc, before anything is written.
func (l *Log) encode(epoch volume.Epoch, prev volume.Position, ops []*volume.Op) error {
	if prev.Version+volume.Version(len(ops)) < prev.Version {
		return volume.Errorf(volume.Fault, "oplog %s: versions are used up at %s", l.opts.Dir, prev)
	}
	if err := l.checkReign(prev, epoch, ops[0]); err != nil {
		return err
	}
	l.enc.Reset()
	l.ends = l.ends[:0]
	for i, op := range ops {
		if op.Kind == volume.OpReign && (i > 0 || op.Epoch != epoch) {
			return volume.Errorf(volume.Invalid, "oplog %s: append op %d that opens epoch %s inside epoch %s", l.opts.Dir, i, op.Epoch, epoch)
		}
		enc, err := l.enc.Add(op)
		if err != nil {
			return volume.Wrap(err, "oplog "+l.opts.Dir+": append")
		}
		if len(enc) > volume.MaxOpLen {
			return volume.Errorf(volume.TooBig, "oplog %s: append %s op of %d bytes: at most %d", l.opts.Dir, op.Kind, len(enc), volume.MaxOpLen)
		}
		l.ends = append(l.ends, l.enc.Len())
	}
	l.encoded.Add(uint64(len(ops)))
	return nil
}

// Encoded counts the ops that this log has encoded since it was opened: on a leader one for
// each op, however many followers there are, for they are sent the frames as they lie in the
// log; on a follower none.
func (l *Log) Encoded() uint64 { return l.encoded.Load() }

// opStart is where op i of the encoded batch begins.
func (l *Log) opStart(i int) int {
	if i == 0 {
		return 0
	}
	return l.ends[i-1]
}

// fit is how many of the encoded ops from op at on make the next frame.
func (l *Log) fit(at int) int {
	start, n := l.opStart(at), 1
	for at+n < len(l.ends) && l.ends[at+n]-start <= volume.MaxFrameRaw && n < volume.MaxFrameOps {
		n++
	}
	return n
}

// appendEncoded writes n ops of the encoded batch, from op at on, as a frame.
func (l *Log) appendEncoded(epoch volume.Epoch, prev volume.Position, at, n int) (Frame, error) {
	payload := l.enc.Bytes()
	start := l.opStart(at)
	digest := prev.Digest
	for i := at; i < at+n; i++ {
		digest = digest.Next(payload[l.opStart(i):l.ends[i]])
	}
	raw := payload[start:l.ends[at+n-1]]
	h := Header{
		First: prev.Version + 1, Last: prev.Version + volume.Version(n),
		Epoch: epoch, Prev: prev.Digest, Digest: digest,
		Durable: min(l.Durable(), prev.Version),
		Count:   n, HeaderLen: headerLen(epoch.Leader), RawLen: len(raw),
	}
	buf := l.frameBuffer(h.HeaderLen + len(raw))
	if c := l.comp.compress(buf[h.HeaderLen:], raw); c > 0 {
		h.compression, h.StoredLen = compressLZ4, c
	} else {
		h.StoredLen = copy(buf[h.HeaderLen:], raw)
	}
	h.checksum = xxh3.Hash(buf[h.HeaderLen:h.Len()])
	putHeader(buf, &h)
	return l.write(&h, l.keep(buf, h.Len()))
}

// frameBuffer is where a frame of at most n bytes is put together.
func (l *Log) frameBuffer(n int) []byte {
	if n <= tailFrame {
		return l.slab.reserve(n)
	}
	if cap(l.scratch) < n {
		l.scratch = make([]byte, n)
	}
	return l.scratch[:n]
}

// keep takes the first used bytes of what frameBuffer(n) returned.
func (l *Log) keep(b []byte, used int) []byte {
	if len(b) <= tailFrame {
		return l.slab.keep(b, used)
	}
	if cap(l.scratch) > maxScratch {
		l.scratch = nil
	}
	if used <= tailFrame { // it shrank to what is kept
		small := l.slab.reserve(used)
		copy(small, b)
		return l.slab.keep(small, used)
	}
	return b[:used]
}

// AppendFrame writes a frame that another node's log made, byte for byte, after
// it has been checked in itself, against what it follows, and op by op. The ops
// have Version and DataOff set; the Data of a frame that is not kept in memory lies
// in b. WrongHistory if it does not follow the last op.
func (l *Log) AppendFrame(b []byte) (Frame, []*volume.Op, error) {
	var h Header
	if err := parseHeader(b, &h, ""); err != nil {
		return Frame{}, nil, volume.Wrap(err, "oplog "+l.opts.Dir+": append frame")
	}
	if len(b) != h.Len() {
		return Frame{}, nil, volume.Errorf(volume.BadFormat, "oplog %s: append frame %d..%d: %d bytes instead of %d",
			l.opts.Dir, h.First, h.Last, len(b), h.Len())
	}
	l.w.Lock()
	defer l.w.Unlock()
	prev, err := l.follows(h.Epoch)
	if err != nil {
		return Frame{}, nil, err
	}
	if h.Epoch.Leader == prev.Epoch.Leader {
		h.Epoch.Leader = prev.Epoch.Leader // one string for all frames of an epoch
	}
	if h.First != prev.Version+1 || h.Prev != prev.Digest {
		return Frame{}, nil, volume.Errorf(volume.WrongHistory, "oplog %s: frame %d..%d behind digest %.8s does not follow %s",
			l.opts.Dir, h.First, h.Last, h.Prev, prev)
	}
	buf := b
	if len(b) <= tailFrame {
		buf = l.slab.reserve(len(b))
		copy(buf, b)
	}
	raw, err := openPayload(&h, buf)
	if err != nil {
		return Frame{}, nil, volume.Wrap(err, "oplog "+l.opts.Dir+": append frame")
	}
	ops, err := decodeOps(&h, raw)
	if err != nil {
		return Frame{}, nil, volume.Wrap(err, "oplog "+l.opts.Dir+": append frame")
	}
	if err := l.checkReign(prev, h.Epoch, ops[0]); err != nil {
		return Frame{}, nil, err
	}
	if len(b) <= tailFrame {
		buf = l.slab.keep(buf, len(b))
	}
	f, err := l.write(&h, buf)
	if err != nil {
		return Frame{}, nil, err
	}
	return f, ops, nil
}

// write puts a frame behind the last one and shows it to readers. w is held.
func (l *Log) write(h *Header, b []byte) (Frame, error) {
	s, off, err := l.place(len(b))
	if err != nil {
		return Frame{}, err
	}
	if err := l.zeroAhead(s, off+int64(len(b))); err != nil {
		return Frame{}, err
	}
	if n, err := s.file.WriteAt(b, off); err != nil {
		return Frame{}, l.writeFailed(s, off, n, err)
	}
	f := frameOf(h, b, volume.LogRef{Segment: s.seg(), Frame: off})
	l.publish(s, &f)
	return f, nil
}

const (
	// aheadBytes is how far zeros are written ahead of frames that are synced one by
	// one.
	aheadBytes = 256 << 10
	// aheadAlign keeps the zeros off the page that the frame ends in.
	aheadAlign = 4 << 10
)

var aheadZeros [aheadBytes]byte

// zeroAhead writes zeros behind where the next frame ends, now and then while somebody
// waits for syncs. Space that is only set aside costs a commit of the file system's
// journal with each sync of what was written into it for the first time; space that has
// been written does not. The zeros are what the file reads as there in any case.
func (l *Log) zeroAhead(s *segment, end int64) error {
	if end <= s.zeroed || !l.syncedFor.Load() {
		return nil
	}
	l.syncedFor.Store(false)
	from := (end + aheadAlign - 1) / aheadAlign * aheadAlign
	to := min(from+aheadBytes, s.size)
	if from >= to {
		return nil
	}
	if _, err := s.file.WriteAt(aheadZeros[:to-from], from); err != nil {
		return l.fail("write segment "+s.path, err)
	}
	s.zeroed = to
	return nil
}

// place finds room for a frame of n bytes, in the active segment or a new one.
func (l *Log) place(n int) (*segment, int64, error) {
	l.mu.Lock()
	s := l.active
	off, size, empty := s.end, s.size, s.lastOff == 0
	l.mu.Unlock()
	if off+int64(n) <= size {
		return s, off, nil
	}
	if !empty {
		if err := l.roll(n); err != nil {
			return nil, 0, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		return l.active, l.active.end, nil
	}
	exact, err := setAside(s.file, off+int64(n))
	if err != nil {
		return nil, 0, volume.Errorf(ioKind(err), "oplog: set aside %d bytes in %s: %w", n, s.path, err)
	}
	if !exact {
		l.inexact.Store(true)
	}
	l.mu.Lock()
	s.size = off + int64(n)
	l.mu.Unlock()
	return s, off, nil
}

// writeFailed decides what a failed write of a frame at off means, of which n
// bytes were written. A full disk is no reason to stop if the segment can be
// brought back to zeros behind its last frame; anything else is.
func (l *Log) writeFailed(s *segment, off int64, n int, err error) error {
	if volume.KindOf(err) != volume.NoSpace {
		return l.fail("write segment "+s.path, err)
	}
	if n > 0 {
		if _, zeroErr := s.file.WriteAt(make([]byte, n), off); zeroErr != nil {
			return l.fail("write segment "+s.path, errors.Join(err, zeroErr))
		}
	}
	return volume.Errorf(volume.NoSpace, "oplog: write segment %s: %w", s.path, err)
}

// publish makes a written frame the last one.
func (l *Log) publish(s *segment, f *Frame) {
	l.mu.Lock()
	s.note(f.First, f.Ref.Frame)
	s.lastOff = f.Ref.Frame
	s.end = f.Ref.Frame + int64(len(f.Bytes))
	s.tail = f.Position()
	l.last = s.tail
	l.bytes += int64(len(f.Bytes))
	if len(f.Bytes) <= tailFrame {
		l.ring.push(f)
	} else {
		f.Bytes = nil // the buffer belongs to somebody
	}
	ask := !s.asked && s.end > s.size/2
	s.asked = s.asked || ask
	wait := l.wait
	l.wait = nil
	l.mu.Unlock()
	if wait != nil {
		close(wait)
	}
	if l.wake == nil {
		return
	}
	if ask {
		l.wantSpare.Store(true)
		l.poke()
	}
	if !l.armed.Load() && l.armed.CompareAndSwap(false, true) {
		l.poke()
	}
}
