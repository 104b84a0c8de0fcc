package wire

import (
	"context"
	"encoding/binary"
	"io"
	"sync"

	"wolfdisk/volume"
)

// Frames travel as one stream of bytes: the length of each as a uvarint, then its
// bytes. A msgFrames carries any piece of it, so that many small frames cost three
// bytes each and a large one does not hold up the line.

// maxFrameHead is the longest length before a frame, in bytes.
const maxFrameHead = 4 // 28 bits; MaxFrame has 22

// frameSource reads the stream of a batch of frames.
type frameSource struct {
	frames [][]byte // not begun, or in progress
	head   [maxFrameHead]byte
	headN  int // of the first frame's head: its length, 0 if not made yet
	at     int // of the first frame: bytes already read, head included
	left   int // bytes left of the whole batch
}

func newFrameSource(frames [][]byte) (*frameSource, error) {
	f := &frameSource{frames: frames}
	var head [maxFrameHead]byte
	for _, b := range frames {
		if len(b) == 0 || len(b) > MaxFrame {
			return nil, volume.Errorf(volume.Invalid, "send a frame of %d bytes: must have 1 to %d", len(b), MaxFrame)
		}
		f.left += binary.PutUvarint(head[:], uint64(len(b))) + len(b)
	}
	return f, nil
}

func (f *frameSource) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		if len(f.frames) == 0 {
			break
		}
		b := f.frames[0]
		if f.headN == 0 {
			f.headN = binary.PutUvarint(f.head[:], uint64(len(b)))
		}
		if f.at < f.headN {
			c := copy(p[n:], f.head[f.at:f.headN])
			n, f.at = n+c, f.at+c
			continue
		}
		c := copy(p[n:], b[f.at-f.headN:])
		n, f.at = n+c, f.at+c
		if f.at == f.headN+len(b) {
			f.frames, f.headN, f.at = f.frames[1:], 0, 0
		}
	}
	f.left -= n
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// SendFrames sends frames in order, and returns when all are handed to the
// kernel: the caller keeps the slices. It waits while the peer does not take more.
// Batches of concurrent calls do not mix. After an error the peer may have got any
// number of the frames; if that is the context's, in the middle of a frame, the
// session ends, for what follows could not be told from the rest of it.
func (s *Session) SendFrames(ctx context.Context, frames [][]byte) error {
	if len(frames) == 0 {
		return nil
	}
	src, err := newFrameSource(frames)
	if err != nil {
		return err
	}
	if err := acquire(ctx, s.done, s.frameTurn); err != nil {
		return s.failed("send frames", err)
	}
	defer release(s.frameTurn)
	for src.left > 0 {
		n, err := s.frameCredit.take(ctx, s.done, 0, min(src.left, maxBody))
		if err == nil {
			err = s.w.write(ctx, false, header{typ: msgFrames, n: n}, nil, src)
		}
		if err != nil {
			err = s.failed("send frames", err)
			if src.at > 0 {
				s.abort(volume.Wrap(err, "a frame was sent in part"))
			}
			return err
		}
	}
	s.countFrames(frames)
	return nil
}

func (s *Session) countFrames(frames [][]byte) {
	bytes := 0
	for _, b := range frames {
		bytes += len(b)
	}
	for _, c := range []*counters{s.raw.own, s.raw.total} {
		c.framesOut.Add(uint64(len(frames)))
		c.frameBytesOut.Add(uint64(bytes))
	}
}

// block is a piece of the stream that waits to be delivered.
type block struct {
	n int // bytes in use
	b [64 << 10]byte
}

// blocks recycles blocks among all sessions; idle ones are freed by the collector.
var blocks = sync.Pool{New: func() any { return new(block) }}

// frameQueue holds what of the stream has arrived and was not delivered yet: at
// most the window, by flow control, in full blocks. The reading loop fills the last
// block, the goroutine of Serve takes the first.
type frameQueue struct {
	ready chan struct{} // capacity 1: filled after something was added, or the end

	mu    sync.Mutex
	queue []*block
	ended bool
}

func (q *frameQueue) add(b []byte) {
	q.mu.Lock()
	for len(b) > 0 {
		if len(q.queue) == 0 || q.queue[len(q.queue)-1].n == len(block{}.b) {
			q.queue = append(q.queue, blocks.Get().(*block))
		}
		last := q.queue[len(q.queue)-1]
		n := copy(last.b[last.n:], b)
		last.n += n
		b = b[n:]
	}
	q.mu.Unlock()
	q.signal()
}

func (q *frameQueue) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.signal()
}

func (q *frameQueue) signal() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take waits for something to deliver; nil at the end. done gives the block back.
func (q *frameQueue) take() *block {
	for {
		q.mu.Lock()
		if len(q.queue) > 0 {
			b := q.queue[0]
			q.queue[0] = nil
			q.queue = q.queue[1:]
			q.mu.Unlock()
			return b
		}
		q.queue = nil
		ended := q.ended
		q.mu.Unlock()
		if ended {
			return nil
		}
		<-q.ready
	}
}

func (q *frameQueue) done(b *block) {
	b.n = 0
	blocks.Put(b)
}

// keepRest is how much memory the parser keeps for frames that arrive in parts, in
// bytes: usual frames have up to volume.MaxFrameRaw.
const keepRest = 2 * volume.MaxFrameRaw

// frameParser cuts the stream into frames again.
type frameParser struct {
	frame    func(b []byte) error // b is valid until it returns
	consumed func(n int)          // told of every byte of the stream that is done with
	rest     []byte               // the beginning of a frame whose end has not arrived
}

// feed parses the next bytes of the stream. It keeps no reference to them.
func (p *frameParser) feed(b []byte) error {
	for len(b) > 0 {
		if len(p.rest) > 0 {
			n, err := p.complete(b)
			if err != nil {
				return err
			}
			b = b[n:]
			continue
		}
		head, size, err := frameHead(b)
		if err != nil {
			return err
		}
		if head == 0 || len(b) < head+size {
			p.keep(b, head+size-len(b))
			p.consumed(len(b))
			return nil
		}
		if err := p.frame(b[head : head+size]); err != nil {
			return err
		}
		p.consumed(head + size)
		b = b[head+size:]
	}
	return nil
}

// keep adds to rest, and makes room for more bytes beside.
func (p *frameParser) keep(b []byte, more int) {
	if room := len(p.rest) + len(b) + max(more, maxFrameHead); room > cap(p.rest) {
		p.rest = append(make([]byte, 0, room), p.rest...)
	}
	p.rest = append(p.rest, b...)
}

// complete adds to the frame that has begun, and returns how many bytes it took.
func (p *frameParser) complete(b []byte) (int, error) {
	head, size, err := frameHead(p.rest)
	if err != nil {
		return 0, err
	}
	need := 1 // the length is not complete either
	if head > 0 {
		need = head + size - len(p.rest)
	}
	n := min(need, len(b))
	p.keep(b[:n], need-n)
	if head == 0 {
		if _, _, err := frameHead(p.rest); err != nil {
			return 0, err
		}
	}
	if head > 0 && n == need {
		if err := p.frame(p.rest[head:]); err != nil {
			return 0, err
		}
		p.rest = p.rest[:0]
		if cap(p.rest) > keepRest {
			p.rest = nil
		}
	}
	p.consumed(n)
	return n, nil
}

// frameHead reads the length of a frame; head is 0 if b ends before it does.
func frameHead(b []byte) (head, size int, err error) {
	v, n := binary.Uvarint(b[:min(len(b), maxFrameHead)])
	if n <= 0 {
		if len(b) >= maxFrameHead {
			return 0, 0, volume.Errorf(volume.BadFormat, "a frame's length has more than %d bytes", maxFrameHead)
		}
		return 0, 0, nil
	}
	if v == 0 || v > MaxFrame {
		return 0, 0, volume.Errorf(volume.BadFormat, "a frame of %d bytes, expected 1 to %d", v, MaxFrame)
	}
	return n, int(v), nil
}
