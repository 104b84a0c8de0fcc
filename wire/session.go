package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/volume"
)

// Session is an established connection between two nodes. Its methods may be
// called from any goroutine. Somebody must call Serve, or nothing is ever read.
type Session struct {
	cfg    *Config
	raw    *rawConn
	conn   net.Conn // what messages are read from and written to: TLS over raw
	br     *bufio.Reader
	addr   string
	local  Hello
	remote Hello
	w      *writer

	reading chan struct{} // held by whoever reads conn
	serving atomic.Bool

	lastWrite atomic.Pointer[error] // the first failure to write

	// Ending. cause is what methods fail with, result what Serve returns; both are
	// written once, before done is closed.
	done    chan struct{}
	endOnce sync.Once
	byeOnce sync.Once
	cause   error
	result  error

	// Frames.
	frameTurn   chan struct{}
	frameCredit *credit
	frameWindow window
	frames      frameQueue

	// Calls of this node.
	requestTurn   chan struct{} // requests are sent one after the other
	requestCredit *credit
	callSlots     chan struct{}
	callMu        sync.Mutex
	calls         map[uint64]*AnswerReader
	lastCall      uint64 // ID of the last call that was begun

	// Requests of the peer; see incoming.go.
	in incoming

	signal []byte // the pieces of one that is not whole yet; of the reading goroutine

	// Pings.
	pingMu   sync.Mutex
	pings    map[uint64]chan struct{}
	lastPing uint64
}

// newSession begins a session on a connection that was greeted.
func newSession(g *greeter) *Session {
	return startSession(g.cfg, g.raw, g.tls, g.br, g.addr, g.local, g.remote)
}

func startSession(cfg *Config, raw *rawConn, conn net.Conn, br *bufio.Reader, addr string, local, remote Hello) *Session {
	s := &Session{
		cfg: cfg, raw: raw, conn: conn, br: br, addr: addr, local: local, remote: remote,
		reading: make(chan struct{}, 1), done: make(chan struct{}),
		frameTurn: make(chan struct{}, 1), frameCredit: newCredit(0), frameWindow: window{size: cfg.Window},
		frames:      frameQueue{ready: make(chan struct{}, 1)},
		requestTurn: make(chan struct{}, 1), requestCredit: newCredit(0),
		callSlots: make(chan struct{}, cfg.MaxCalls), calls: map[uint64]*AnswerReader{},
		pings: map[uint64]chan struct{}{},
	}
	s.in = incoming{s: s, window: window{size: cfg.RequestWindow}, active: map[uint64]*request{}}
	s.w = newWriter(conn, cfg.WriteTimeout, s.done)
	s.w.post(func(w *writer) {
		w.frameCredit, w.requestCredit = uint32(cfg.Window), uint32(cfg.RequestWindow)
	})
	go func() {
		if err := s.w.run(); err != nil {
			s.writeFailed(err)
		}
	}()
	return s
}

// Remote is what the peer said of itself when the session began.
func (s *Session) Remote() Hello { return s.remote }

// Local is what this node said of itself.
func (s *Session) Local() Hello { return s.local }

// Protocol is the version of the protocol that the session runs.
func (s *Session) Protocol() uint16 {
	v, _ := s.local.protocolWith(&s.remote) // was checked in the greeting
	return v
}

// Addr is the peer's address: as it was dialled, or as it came in.
func (s *Session) Addr() string { return s.addr }

// Stats counts what went through the session so far.
func (s *Session) Stats() Stats { return s.raw.own.stats() }

// Done is closed when the session has ended.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is why the session has ended; nil while it lives and after Close(nil).
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.result
	default:
		return nil
	}
}

// end makes the session's end known, once; result is what Serve returns.
func (s *Session) end(cause, result error) {
	s.endOnce.Do(func() {
		s.cause, s.result = cause, result
		close(s.done)
		s.frames.end()
	})
}

// name is the peer in error messages.
func (s *Session) name() string { return s.remote.NodeID + " (" + s.addr + ")" }

// lost explains the failure of the connection.
func (s *Session) lost(err error) error {
	return volume.Errorf(volume.Unavailable, "connection to %s lost: %w", s.name(), err)
}

// failed is the error of a method: what it did, and if the session has ended, why.
func (s *Session) failed(what string, err error) error {
	var werr *writeError
	switch {
	case errors.As(err, &werr):
		select {
		case <-s.done: // the connection was closed for a better reason
			return volume.Wrap(s.cause, what)
		default:
		}
		s.writeFailed(werr.err)
		return volume.Wrap(s.lost(werr.err), what)
	case errors.Is(err, errEnded):
		return volume.Wrap(s.cause, what)
	}
	return volume.Wrap(err, what+" to "+s.name())
}

// writeFailed deals with a connection that takes nothing more. What the peer sent
// before is worth having, frames above all: the reading loop gets a moment to read
// it, and then ends the session.
func (s *Session) writeFailed(err error) {
	s.lastWrite.CompareAndSwap(nil, &err)
	s.raw.SetReadDeadline(time.Now().Add(lingerTime))
	if !s.serving.Load() {
		err = s.lost(err)
		s.end(err, err)
		s.raw.Close()
	}
}

// abort ends the session because of an error found here, and tells the peer.
func (s *Session) abort(err error) {
	s.end(err, err)
	s.goodbye(err)
}

// Close ends the session: it tells the peer why, nil meaning that all is well, and
// returns when the peer has taken note or a second has passed. It is safe to call
// it again. It must not be called from Sink.Progress or Sink.Durable.
func (s *Session) Close(err error) error {
	cause := err
	if cause == nil {
		cause = volume.Errorf(volume.Closed, "the session with %s was closed here", s.name())
	}
	s.end(cause, err)
	s.goodbye(err)
	return nil
}

// goodbye sends a bye and closes the connection; it can be called more than once.
func (s *Session) goodbye(err error) {
	s.byeOnce.Do(func() {
		var body []byte
		if err != nil {
			body = encodeRefusal(refusalOf(err))
		}
		// Whatever hangs below, this ends it.
		timer := time.AfterFunc(2*lingerTime, func() { s.raw.Close() })
		defer timer.Stop()
		s.w.last(append(appendHeader(nil, msgBye, 0, len(body)), body...))
		// Closing with unread input would reset the connection and take the bye
		// with it; so read on until the peer hangs up.
		s.raw.SetReadDeadline(time.Now().Add(lingerTime))
		s.reading <- struct{}{} // the reading loop gives it back, by the deadline at the latest
		hangUp(s.raw.Conn, tlsOf(s.conn), maxWindow)
		release(s.reading)
	})
}

func tlsOf(c net.Conn) *tls.Conn {
	t, _ := c.(*tls.Conn)
	return t
}

// SendProgress tells a leader how far this node is. It never waits; of several
// that were not written yet, the last one counts.
func (s *Session) SendProgress(p Progress) error {
	return s.postOwn("send progress", func(w *writer) { w.progress, w.hasProgress = p, true })
}

// SendDurable tells a follower that the ops through v are to be durable. It never
// waits; of several that were not written yet, the last one counts. It may
// overtake frames.
func (s *Session) SendDurable(v volume.Version) error {
	return s.postOwn("send durable version", func(w *writer) { w.durable, w.hasDurable = v, true })
}

func (s *Session) postOwn(what string, add func(w *writer)) error {
	select {
	case <-s.done:
		return s.failed(what, errEnded)
	default:
		s.w.post(add)
		return nil
	}
}

// Heartbeat measures the time to the peer and back. The peer answers from its
// reading loop: a busy disk does not delay it, but data under way does, so that
// liveness wants a session of its own.
func (s *Session) Heartbeat(ctx context.Context) (time.Duration, error) {
	pong := make(chan struct{})
	s.pingMu.Lock()
	s.lastPing++
	id := s.lastPing
	s.pings[id] = pong
	s.pingMu.Unlock()
	defer func() {
		s.pingMu.Lock()
		delete(s.pings, id)
		s.pingMu.Unlock()
	}()
	begin := time.Now()
	err := s.postOwn("heartbeat", func(w *writer) { w.small = appendID(w.small, msgPing, id) })
	if err != nil {
		return 0, err
	}
	select {
	case <-pong:
		return time.Since(begin), nil
	case <-s.done:
		return 0, s.failed("heartbeat", errEnded)
	case <-ctx.Done():
		return 0, volume.Errorf(volume.Interrupted, "heartbeat to %s: %w", s.name(), context.Cause(ctx))
	}
}

// gotPong wakes the heartbeat of a nonce. One that has given up is no error; one
// that was never sent is.
func (s *Session) gotPong(body []byte) error {
	id := binary.BigEndian.Uint64(body)
	s.pingMu.Lock()
	defer s.pingMu.Unlock()
	if id > s.lastPing {
		return volume.Errorf(volume.BadFormat, "pong %d was never asked for", id)
	}
	if pong := s.pings[id]; pong != nil {
		close(pong)
		delete(s.pings, id)
	}
	return nil
}
