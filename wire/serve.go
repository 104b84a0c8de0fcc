package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"wolfdisk/volume"
)

// Sink takes what the peer sends.
type Sink interface {
	// Frame gets the frames in order, one at a time, in the goroutine of Serve. b is
	// valid until it returns. It may take its time: the peer is held back, while
	// answers and heartbeats go on. An error ends the session.
	Frame(b []byte) error
	// Progress and Durable are called in the reading goroutine, maybe while a Frame
	// is running, and may have overtaken frames. They must not wait.
	Progress(p Progress)
	Durable(v volume.Version)
	// Request answers a call of the peer, each in its own goroutine, at most
	// Config.MaxCalls at once. body is valid until it returns. ctx ends when the
	// caller gives up or the session ends. Returning nil ends the answer, an error
	// travels to the caller as its kind and text.
	Request(ctx context.Context, kind uint16, body []byte, w *AnswerWriter) error
}

// Serve reads the session and hands to sink what arrives, until the session ends;
// then it delivers the frames that had arrived, waits for running requests, and
// returns why: nil after Close(nil) here, the cause of ctx, an error of kind Closed
// after a clean end by the peer, a *Refusal if the peer named a reason, Unavailable
// if the connection was lost. It can be called once.
func (s *Session) Serve(ctx context.Context, sink Sink) error {
	if !s.serving.CompareAndSwap(false, true) {
		return volume.Errorf(volume.Fault, "a session is served once")
	}
	stop := context.AfterFunc(ctx, func() {
		err := context.Cause(ctx)
		s.end(volume.Errorf(volume.Interrupted, "the session with %s was stopped: %w", s.name(), err), err)
		s.goodbye(nil)
	})
	defer stop()
	reqCtx, cancel := context.WithCancelCause(ctx)
	var reader sync.WaitGroup
	reader.Go(func() { s.read(reqCtx, sink) })

	if err := s.deliver(sink); err != nil {
		s.abort(err)
	}
	<-s.done
	cancel(s.cause)
	reader.Wait()
	s.in.running.Wait()
	s.goodbye(s.result) // waits for one that is under way; the connection is closed after it
	return s.result
}

// deliver hands frames to the sink until the session has ended and all that had
// arrived are delivered, or this side wants no more.
func (s *Session) deliver(sink Sink) error {
	var sinkErr error
	p := frameParser{
		consumed: func(n int) {
			if n := s.frameWindow.consume(n); n > 0 {
				s.w.post(func(w *writer) { w.frameCredit += n })
			}
		},
		frame: func(b []byte) error {
			if s.endedHere() {
				return errEnded
			}
			for _, c := range []*counters{s.raw.own, s.raw.total} {
				c.framesIn.Add(1)
				c.frameBytesIn.Add(uint64(len(b)))
			}
			sinkErr = sink.Frame(b)
			return sinkErr
		},
	}
	for {
		b := s.frames.take()
		if b == nil {
			return nil
		}
		err := p.feed(b.b[:b.n])
		s.frames.done(b)
		if err != nil {
			switch {
			case sinkErr != nil:
				return sinkErr
			case errors.Is(err, errEnded):
				return nil
			}
			return s.malformed(err)
		}
	}
}

// peerGone marks a cause that came from the other side: what had arrived before
// counts.
type peerGone struct{ error }

func (e peerGone) Unwrap() error { return e.error }

// endedHere reports whether this side has ended the session.
func (s *Session) endedHere() bool {
	select {
	case <-s.done:
		var gone peerGone
		return !errors.As(s.cause, &gone)
	default:
		return false
	}
}

// malformed is what both sides are told about bytes that are no valid message.
func (s *Session) malformed(err error) error {
	return refuse(volume.BadFormat, CodeMalformed, "%s sent: %v", s.name(), err)
}

// read is the reading loop. It never waits for the network to take something, nor
// for the sink: what flow control let in has its place in memory.
func (s *Session) read(ctx context.Context, sink Sink) {
	if err := acquire(context.Background(), s.done, s.reading); err != nil {
		return
	}
	err := s.readMessages(ctx, sink)
	release(s.reading)
	var bye peerBye
	switch {
	case errors.As(err, &bye):
		s.end(peerGone{bye.error}, bye.error)
		s.byeOnce.Do(func() { s.raw.Close() }) // nothing to answer
	case volume.KindOf(err) == volume.BadFormat:
		s.abort(s.malformed(err))
	default:
		if werr := s.lastWrite.Load(); werr != nil {
			err = *werr
		}
		err = s.lost(err)
		s.end(peerGone{err}, err)
		s.byeOnce.Do(func() { s.raw.Close() })
	}
}

// peerBye is the peer's reason to end the session.
type peerBye struct{ error }

func (e peerBye) Unwrap() error { return e.error }

func (s *Session) readMessages(ctx context.Context, sink Sink) error {
	for {
		head, err := s.br.Peek(headerLen)
		if err != nil {
			if len(head) > 0 && err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		h, err := parseHeader(head, false)
		if err != nil {
			return err
		}
		msg, err := s.br.Peek(headerLen + h.n)
		if err != nil {
			return err
		}
		if err := s.dispatch(ctx, sink, h, msg[headerLen:]); err != nil {
			return err
		}
		if _, err := s.br.Discard(headerLen + h.n); err != nil {
			return err
		}
		select {
		case <-s.done:
			return errEnded
		default:
		}
	}
}

// dispatch handles one message; body is valid until it returns.
func (s *Session) dispatch(ctx context.Context, sink Sink, h header, body []byte) error {
	switch h.typ {
	case msgFrames:
		if !s.frameWindow.receive(len(body)) {
			return volume.Errorf(volume.BadFormat, "more bytes of frames than were granted")
		}
		s.frames.add(body)
	case msgProgress:
		sink.Progress(parseProgress(body))
	case msgDurable:
		sink.Durable(volume.Version(binary.BigEndian.Uint64(body)))
	case msgRequest:
		return s.in.piece(ctx, sink, h, body)
	case msgAnswer:
		return s.gotAnswer(h, body)
	case msgCredit:
		return s.gotCredit(body)
	case msgCancel:
		return s.in.cancel(binary.BigEndian.Uint64(body))
	case msgPing:
		id := binary.BigEndian.Uint64(body)
		if !s.w.post(func(w *writer) { w.small = appendID(w.small, msgPong, id) }) {
			return volume.Errorf(volume.BadFormat, "more pings than anybody reads answers to")
		}
	case msgPong:
		return s.gotPong(body)
	case msgBye:
		return s.gotBye(body)
	case msgSignal:
		return s.gotSignal(sink, h.flags, body)
	default:
		return volume.Errorf(volume.BadFormat, "unknown message type %d", h.typ)
	}
	return nil
}

func (s *Session) gotBye(body []byte) error {
	if len(body) == 0 {
		return peerBye{volume.Errorf(volume.Closed, "%s closed the session", s.name())}
	}
	r, err := decodeRefusal(body)
	if err != nil {
		return err
	}
	return peerBye{volume.Wrap(r, s.name()+" ended the session")}
}

func (s *Session) gotCredit(body []byte) error {
	id := binary.BigEndian.Uint64(body[1:])
	n := binary.BigEndian.Uint32(body[9:])
	ok := true
	switch body[0] {
	case creditFrames:
		ok = id == 0 && s.frameCredit.grant(n)
	case creditRequests:
		ok = id == 0 && s.requestCredit.grant(n)
	case creditAnswer:
		return s.in.granted(id, n)
	default:
		return volume.Errorf(volume.BadFormat, "credit for the unknown scope %d", body[0])
	}
	if !ok {
		return volume.Errorf(volume.BadFormat, "credit of %d for scope %d, request %d", n, body[0], id)
	}
	return nil
}
