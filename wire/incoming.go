package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"sync"

	"wolfdisk/volume"
)

const (
	// requestCost is what a request takes of the window beside its body, in bytes:
	// so that a great many empty ones are bounded too.
	requestCost = 1 << 10
	// answerCost is the same for a piece of an answer.
	answerCost = 64
	// maxAnswerPiece is the most of an answer that goes into one message.
	maxAnswerPiece = maxBody - answerHeadLen
)

// incoming holds the requests of the peer, from their first piece until their
// handler has returned.
type incoming struct {
	s       *Session
	window  window
	running sync.WaitGroup

	// Only the reading loop uses these.
	last    uint64   // ID of the last request that began
	partial *request // its pieces have not all arrived

	mu      sync.Mutex
	active  map[uint64]*request // partial, waiting and running ones
	waiting []*request          // for a handler, in order
	busy    int                 // running handlers
}

type request struct {
	id     uint64
	kind   uint16
	body   []byte
	cost   int // of the request window, not granted again yet
	ctx    context.Context
	cancel context.CancelFunc
	credit *credit // for its answer
}

// piece takes one message of a request. Pieces of one request follow each other,
// and IDs count up, because the peer sends one request after the other.
func (in *incoming) piece(ctx context.Context, sink Sink, h header, body []byte) error {
	id := binary.BigEndian.Uint64(body)
	kind := binary.BigEndian.Uint16(body[8:])
	answer := binary.BigEndian.Uint32(body[10:])
	data := body[requestHeadLen:]
	r := in.partial
	cost := len(data)
	if r == nil {
		if id != in.last+1 {
			return volume.Errorf(volume.BadFormat, "request %d after request %d", id, in.last)
		}
		if answer < minAnswerWindow || answer > maxWindow {
			return volume.Errorf(volume.BadFormat, "request %d with an answer window of %d bytes", id, answer)
		}
		r = &request{id: id, kind: kind, credit: newCredit(int64(answer))}
		r.ctx, r.cancel = context.WithCancel(ctx)
		in.last, in.partial = id, r
		cost += requestCost
		in.mu.Lock()
		in.active[id] = r
		in.mu.Unlock()
	} else if r.id != id || r.kind != kind || len(data) == 0 {
		return volume.Errorf(volume.BadFormat, "request %d interrupted by a piece of request %d", r.id, id)
	}
	if len(r.body)+len(data) > MaxRequest {
		return volume.Errorf(volume.BadFormat, "request %d has more than %d bytes", id, MaxRequest)
	}
	r.cost += cost
	if !in.window.receive(cost) {
		return volume.Errorf(volume.BadFormat, "more bytes of requests than were granted")
	}
	r.body = append(r.body, data...)
	if h.flags&flagMore == 0 {
		in.partial = nil
		in.start(sink, r)
	}
	return nil
}

// start runs a request, or lets it wait for a handler to return.
func (in *incoming) start(sink Sink, r *request) {
	for _, c := range []*counters{in.s.raw.own, in.s.raw.total} {
		c.callsIn.Add(1)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.busy == in.s.cfg.MaxCalls {
		in.waiting = append(in.waiting, r)
		return
	}
	in.busy++
	in.running.Go(func() {
		for r != nil {
			in.run(sink, r)
			r = in.next()
		}
	})
}

func (in *incoming) next() *request {
	in.mu.Lock()
	defer in.mu.Unlock()
	if len(in.waiting) == 0 {
		in.busy--
		return nil
	}
	r := in.waiting[0]
	in.waiting[0] = nil
	in.waiting = in.waiting[1:]
	return r
}

// run calls the handler and ends the answer.
func (in *incoming) run(sink Sink, r *request) {
	if r.ctx.Err() == nil {
		w := &AnswerWriter{s: in.s, r: r}
		w.finish(sink.Request(r.ctx, r.kind, r.body, w))
	}
	in.forget(r)
}

// forget frees a request and lets the peer send that many bytes more.
func (in *incoming) forget(r *request) {
	r.cancel()
	in.mu.Lock()
	delete(in.active, r.id)
	in.mu.Unlock()
	r.body = nil
	if n := in.window.consume(r.cost); n > 0 {
		in.s.w.post(func(w *writer) { w.requestCredit += n })
	}
}

// cancel tells a handler that nobody waits for its answer. A request that is
// finished already is no error: the two messages have crossed.
func (in *incoming) cancel(id uint64) error {
	if id > in.last {
		return volume.Errorf(volume.BadFormat, "cancel of request %d, which was never sent", id)
	}
	if in.partial != nil && in.partial.id == id {
		r := in.partial
		in.partial = nil
		in.forget(r)
		return nil
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if r := in.active[id]; r != nil {
		r.cancel()
	}
	return nil
}

// granted adds to what the handler of a request may send.
func (in *incoming) granted(id uint64, n uint32) error {
	if id > in.last {
		return volume.Errorf(volume.BadFormat, "credit for request %d, which was never sent", id)
	}
	in.mu.Lock()
	r := in.active[id]
	in.mu.Unlock()
	if r != nil && !r.credit.grant(n) {
		return volume.Errorf(volume.BadFormat, "credit of %d for request %d", n, id)
	}
	return nil
}

// AnswerWriter sends the answer to one request: any number of messages, in order.
// It is used by one goroutine at a time, and not after the handler has returned.
type AnswerWriter struct {
	s    *Session
	r    *request
	seq  uint32
	last bool // the answer is complete
}

// Peer is what the caller said of itself when the session began.
func (w *AnswerWriter) Peer() Hello { return w.s.remote }

// Send sends one message of at most MaxAnswer bytes, which Next returns whole. It
// waits while the caller does not take more. The caller keeps b.
func (w *AnswerWriter) Send(b []byte) error { return w.send(b, 0) }

// Last sends the last message: cheaper than Send and then returning.
func (w *AnswerWriter) Last(b []byte) error { return w.send(b, flagLast) }

// Write sends any number of bytes, for a caller who uses Read.
func (w *AnswerWriter) Write(b []byte) (int, error) {
	n := 0
	for len(b) > n {
		piece := min(len(b)-n, maxAnswerPiece)
		if err := w.send(b[n:n+piece], 0); err != nil {
			return n, err
		}
		n += piece
	}
	return n, nil
}

func (w *AnswerWriter) send(b []byte, flags uint16) error {
	if len(b) > MaxAnswer {
		return volume.Errorf(volume.TooBig, "answer with a message of %d bytes, at most %d are allowed", len(b), MaxAnswer)
	}
	if w.last {
		return volume.Errorf(volume.Fault, "answer after the last message")
	}
	w.last = flags&flagLast != 0
	src := bytes.NewReader(b)
	for {
		want := min(src.Len(), maxAnswerPiece)
		n, err := w.r.credit.take(w.r.ctx, w.s.done, 0, want+answerCost)
		if err != nil {
			return w.s.failed("answer", err)
		}
		f := flags
		if n = max(n-answerCost, 0); n < src.Len() {
			f = flagMore
		}
		if err := w.piece(f, n, src); err != nil || f != flagMore {
			return err
		}
	}
}

func (w *AnswerWriter) piece(flags uint16, n int, src io.Reader) error {
	var fixed [answerHeadLen]byte
	head := answerHead(fixed[:0], w.r.id, w.seq)
	w.seq++
	err := w.s.w.write(w.r.ctx, true, header{typ: msgAnswer, flags: flags, n: n}, head, src)
	if err != nil {
		return w.s.failed("answer", err)
	}
	return nil
}

// finish ends the answer as the handler has said. If the caller is gone, or the
// session, there is nobody left to tell.
func (w *AnswerWriter) finish(err error) {
	if w.last || w.r.ctx.Err() != nil {
		return
	}
	flags, text := uint16(flagLast), []byte(nil)
	if err != nil {
		flags |= flagFailed
		text = append([]byte{byte(volume.KindOf(err))}, cleanText(err.Error())...)
	}
	w.piece(flags, len(text), bytes.NewReader(text)) // its error has ended the session
}
