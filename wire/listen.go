package wire

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"wolfdisk/volume"
)

// Listener accepts sessions. Close ends it.
type Listener struct {
	cfg    *Config
	h      Handler
	ln     net.Listener
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	all    sync.WaitGroup
	log    refusalLog

	mu       sync.Mutex
	pending  []net.Conn // not authenticated yet, oldest first
	sessions map[*Session]bool
	streams  map[net.Conn]bool
	closed   bool
}

// Listen takes the address, host:port, and begins to accept. A port in use is of
// kind Unavailable.
func Listen(cfg *Config, bind string, h Handler) (*Listener, error) {
	if err := cfg.prepare(); err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", bind)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, volume.Errorf(volume.Unavailable, "listen on %s: the port is in use: stop the daemon that has it, or give another address with --bind", bind)
	}
	if err != nil {
		return nil, volume.Errorf(volume.Unavailable, "listen on %s: %w: give another address with --bind", bind, err)
	}
	return listenOn(cfg, ln, h), nil
}

func listenOn(cfg *Config, ln net.Listener, h Handler) *Listener {
	l := &Listener{cfg: cfg, h: h, ln: ln, sessions: map[*Session]bool{}, streams: map[net.Conn]bool{}, log: refusalLog{log: cfg.Log}}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.all.Go(l.accept)
	return l
}

// Addr is the address that was taken.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// accept takes connections until the listener is closed. No other failure ends it:
// a machine that is out of descriptors may have some again.
func (l *Listener) accept() {
	failing := false
	for {
		conn, err := l.ln.Accept()
		if err == nil {
			failing = false
			l.begin(conn)
			continue
		}
		if l.ctx.Err() != nil {
			return
		}
		if !failing {
			l.cfg.Log.Error().Err(err).Msg("cannot accept connections, will keep trying")
			failing = true
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-l.ctx.Done():
			return
		}
	}
}

// begin greets a connection in its own goroutine. Of too many strangers the one
// that has been silent longest has to go: a real node needs milliseconds, so it gets
// through while somebody holds connections open.
func (l *Listener) begin(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		conn.Close()
		return
	}
	if len(l.pending) >= l.cfg.MaxPending {
		l.pending[0].Close()
		l.pending = l.pending[1:]
	}
	l.pending = append(l.pending, conn)
	l.all.Go(func() { l.serve(conn) })
}

func (l *Listener) serve(conn net.Conn) {
	addr := conn.RemoteAddr().String()
	g, err := l.greet(conn, addr)
	if err == nil && g.stream {
		err = l.stream(g)
	} else if err == nil {
		err = l.session(g)
	}
	if err != nil {
		l.log.refused(addr, err)
	}
}

// greet runs the greeting of a connection.
func (l *Listener) greet(conn net.Conn, addr string) (*greeter, error) {
	defer l.settle(conn)
	if err := l.cfg.tune(conn); err != nil {
		conn.Close()
		return nil, volume.Errorf(volume.Unavailable, "set up the connection of %s: %w", addr, err)
	}
	return agree(l.ctx, l.cfg, conn, addr, l.h, false, false)
}

var errListenerClosed = volume.Errorf(volume.Interrupted, "the listener is closed")

// session has the handler run a session.
func (l *Listener) session(g *greeter) error {
	s := newSession(g)
	l.mu.Lock()
	if l.closed {
		l.all.Go(func() { s.Close(volume.Errorf(volume.Closed, "node %s is stopping", l.cfg.NodeID)) })
		l.mu.Unlock()
		return errListenerClosed
	}
	l.sessions[s] = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.sessions, s)
	}()
	l.h.Session(s)
	s.Close(nil)
	return nil
}

// stream has the handler use a stream.
func (l *Listener) stream(g *greeter) error {
	conn := newStream(g)
	defer conn.Close()
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errListenerClosed
	}
	l.streams[conn] = true
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.streams, conn)
	}()
	l.h.(StreamHandler).Stream(conn, g.remote) // it was asked for before the greeting went on
	return nil
}

// settle takes a connection off the list of strangers.
func (l *Listener) settle(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, c := range l.pending {
		if c == conn {
			l.pending = append(l.pending[:i:i], l.pending[i+1:]...)
			return
		}
	}
}

// Close stops accepting, ends all sessions of the listener with a bye and its streams without,
// and returns when their handlers have.
func (l *Listener) Close() error {
	l.mu.Lock()
	l.closed = true
	var bye sync.WaitGroup
	for s := range l.sessions {
		bye.Go(func() { s.Close(volume.Errorf(volume.Closed, "node %s is stopping", l.cfg.NodeID)) })
	}
	for conn := range l.streams {
		bye.Go(func() { conn.Close() })
	}
	l.mu.Unlock()
	l.cancel()
	err := l.ln.Close()
	bye.Wait()
	l.all.Wait()
	if err != nil {
		return volume.Wrap(err, "close listener")
	}
	return nil
}
