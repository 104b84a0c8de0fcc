package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"wolfdisk/volume"
)

// Call sends a request and returns the reader of its answer. It waits while the
// peer holds as many requests as it wants, or MaxCalls answers are open. Ending ctx
// cancels the call, whatever it is doing. The answer must be read to its end or
// closed. It must not be called from Sink.Progress or Sink.Durable.
func (s *Session) Call(ctx context.Context, kind uint16, body []byte) (*AnswerReader, error) {
	if len(body) > MaxRequest {
		return nil, volume.Errorf(volume.TooBig, "call %s with %d bytes: at most %d can be sent", s.name(), len(body), MaxRequest)
	}
	if err := acquire(ctx, s.done, s.callSlots); err != nil {
		return nil, s.failed("call", err)
	}
	cost := len(body) + requestCost
	if _, err := s.requestCredit.take(ctx, s.done, cost, cost); err != nil {
		release(s.callSlots)
		return nil, s.failed("call", err)
	}
	a := &AnswerReader{s: s, ctx: ctx, window: window{size: s.cfg.AnswerWindow}, more: make(chan struct{}, 1)}
	if err := s.sendRequest(a, kind, body); err != nil {
		return nil, err
	}
	a.stop.Store(new(context.AfterFunc(ctx, func() {
		a.release(true, volume.Errorf(volume.Interrupted, "call %s: %w", s.name(), context.Cause(ctx)))
	})))
	for _, c := range []*counters{s.raw.own, s.raw.total} {
		c.callsOut.Add(1)
	}
	return a, nil
}

// sendRequest numbers and sends a request, whole before the next one begins.
func (s *Session) sendRequest(a *AnswerReader, kind uint16, body []byte) error {
	cost := uint32(len(body) + requestCost)
	if err := acquire(a.ctx, s.done, s.requestTurn); err != nil {
		s.requestCredit.grant(cost)
		release(s.callSlots)
		return s.failed("call", err)
	}
	defer release(s.requestTurn)
	s.callMu.Lock()
	a.id = s.lastCall + 1
	s.calls[a.id] = a
	s.callMu.Unlock()
	src := bytes.NewReader(body)
	var fixed [requestHeadLen]byte
	head := requestHead(fixed[:0], a.id, kind, uint32(a.window.size))
	for begun := false; ; begun = true {
		left := src.Len()
		h := header{typ: msgRequest, n: min(src.Len(), maxBody-requestHeadLen)}
		if h.n < src.Len() {
			h.flags = flagMore
		}
		if !begun {
			// From here on the peer may know the ID, and answer it.
			s.callMu.Lock()
			s.lastCall = a.id
			s.callMu.Unlock()
		}
		err := s.w.write(a.ctx, true, h, head, src)
		if err != nil {
			err = s.failed("call", err)
			s.unsent(a, begun, uint32(left), cost, err)
			return err
		}
		if h.flags == 0 {
			return nil
		}
	}
}

// unsent takes back a call of whose request left bytes were not sent. If the peer
// has seen nothing of it, the next call gets its ID; else the cancel makes the peer
// grant again what it got.
func (s *Session) unsent(a *AnswerReader, begun bool, left, cost uint32, err error) {
	if !begun {
		s.callMu.Lock()
		s.lastCall--
		s.callMu.Unlock()
		left = cost
	}
	s.requestCredit.grant(left)
	a.release(begun, err)
}

// AnswerReader reads the messages of one answer. It is used by one goroutine at a
// time; Close may be called from another.
type AnswerReader struct {
	s      *Session
	id     uint64
	ctx    context.Context
	window window
	more   chan struct{} // capacity 1: filled when something has arrived
	cur    []byte        // for Read: the rest of the current message
	once   sync.Once     // of release
	stop   atomic.Pointer[func() bool]

	mu     sync.Mutex
	pieces []piece // arrived and not taken
	seq    uint32  // of the next piece
	ended  bool    // the last piece has arrived
	closed bool    // nobody reads any more: what still arrives is dropped
	err    error   // behind the last piece; nil is io.EOF
}

type piece struct {
	data []byte
	more bool
}

// Next returns the next message, valid until the call after it; io.EOF behind the
// last one. Every other error is that of the peer's handler, with its kind, or that
// of the session or of the call's context.
func (a *AnswerReader) Next() ([]byte, error) {
	var whole []byte
	for {
		p, err := a.take()
		if err != nil {
			if len(whole) > 0 && err == io.EOF {
				err = volume.Errorf(volume.BadFormat, "%s: the answer ends within a message", a.s.name())
			}
			a.release(true, err)
			return nil, err
		}
		if n := a.window.consume(len(p.data) + answerCost); n > 0 {
			a.s.w.post(func(w *writer) { w.small = appendCredit(w.small, creditAnswer, a.id, n) })
		}
		if whole == nil && !p.more {
			return p.data, nil
		}
		if len(whole)+len(p.data) > MaxAnswer {
			err := volume.Errorf(volume.BadFormat, "%s: a message of an answer has more than %d bytes", a.s.name(), MaxAnswer)
			a.release(true, err)
			return nil, err
		}
		whole = append(whole, p.data...)
		if !p.more {
			return whole, nil
		}
	}
}

// take waits for the next piece.
func (a *AnswerReader) take() (piece, error) {
	for {
		p, ok, err := a.poll()
		if ok || err != nil {
			return p, err
		}
		select {
		case <-a.more: // or released, by the context too
		case <-a.s.done:
			// What arrived before the end still counts.
			if p, ok, err := a.poll(); ok || err != nil {
				return p, err
			}
			return piece{}, a.s.failed("call", errEnded)
		}
	}
}

func (a *AnswerReader) poll() (piece, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case len(a.pieces) > 0:
		p := a.pieces[0]
		a.pieces[0] = piece{}
		a.pieces = a.pieces[1:]
		return p, true, nil
	case a.ended && a.err != nil:
		return piece{}, false, a.err
	case a.ended:
		return piece{}, false, io.EOF
	}
	return piece{}, false, nil
}

// Read reads the answer as a stream of bytes, whatever its messages.
func (a *AnswerReader) Read(p []byte) (int, error) {
	for len(a.cur) == 0 {
		m, err := a.Next()
		if err != nil {
			return 0, err
		}
		a.cur = m
	}
	n := copy(p, a.cur)
	a.cur = a.cur[n:]
	return n, nil
}

// Close ends the call: if the answer is not complete, the peer is told that
// nobody waits for it. It is safe to call it again, and after the end.
func (a *AnswerReader) Close() error {
	a.release(true, volume.Errorf(volume.Closed, "read an answer after closing it"))
	return nil
}

// release gives the call's slot and memory back; if there was more to read, reading
// fails with err from now on. tell says that the peer may know of the call.
func (a *AnswerReader) release(tell bool, err error) {
	a.once.Do(func() {
		a.mu.Lock()
		ended := a.ended
		if !ended || len(a.pieces) > 0 {
			a.ended, a.err = true, err
		}
		a.closed, a.pieces = true, nil
		a.mu.Unlock()
		if stop := a.stop.Load(); stop != nil {
			(*stop)()
		}
		a.s.callMu.Lock()
		delete(a.s.calls, a.id)
		a.s.callMu.Unlock()
		if tell && !ended {
			a.s.w.post(func(w *writer) { w.small = appendID(w.small, msgCancel, a.id) })
		}
		release(a.s.callSlots)
		select {
		case a.more <- struct{}{}: // a reader in another goroutine
		default:
		}
	})
}

// gotAnswer takes one piece of an answer. A call that has ended is no error: its
// cancel and the answer have crossed.
func (s *Session) gotAnswer(h header, body []byte) error {
	id := binary.BigEndian.Uint64(body)
	s.callMu.Lock()
	a, last := s.calls[id], s.lastCall
	s.callMu.Unlock()
	if id == 0 || id > last {
		return volume.Errorf(volume.BadFormat, "answer to call %d, which was never made", id)
	}
	if a == nil {
		return nil
	}
	return a.got(h.flags, binary.BigEndian.Uint32(body[8:]), body[answerHeadLen:])
}

func (a *AnswerReader) got(flags uint16, seq uint32, data []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.closed:
		return nil
	case a.ended:
		return volume.Errorf(volume.BadFormat, "answer to call %d after its end", a.id)
	case seq != a.seq:
		return volume.Errorf(volume.BadFormat, "answer to call %d: piece %d instead of %d", a.id, seq, a.seq)
	case flags&flagFailed != 0 && (len(data) == 0 || len(data) > 1+maxTextLen):
		return volume.Errorf(volume.BadFormat, "answer to call %d with an error of %d bytes", a.id, len(data))
	}
	a.seq++
	a.ended = flags&flagLast != 0
	if flags&flagFailed != 0 {
		a.err = &volume.Error{Kind: volume.Kind(data[0]), Text: a.s.name() + ": " + cleanText(string(data[1:]))}
	} else if len(data) > 0 || !a.ended || flags&flagMore != 0 {
		if !a.window.receive(len(data) + answerCost) {
			return volume.Errorf(volume.BadFormat, "more bytes of the answer to call %d than were granted", a.id)
		}
		a.pieces = append(a.pieces, piece{data: bytes.Clone(data), more: flags&flagMore != 0})
	}
	select {
	case a.more <- struct{}{}:
	default:
	}
	return nil
}

// CallAll is a call whose whole answer has at most max bytes: TooBig otherwise.
func (s *Session) CallAll(ctx context.Context, kind uint16, body []byte, max int) ([]byte, error) {
	a, err := s.Call(ctx, kind, body)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	var all []byte
	for {
		m, err := a.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(all)+len(m) > max {
			return nil, volume.Errorf(volume.TooBig, "call %s: the answer has more than %d bytes", s.name(), max)
		}
		if all == nil {
			all = m
		} else {
			all = append(all, m...)
		}
	}
}
