package wire

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// tune sets the socket options of a TCP connection.
func (c *Config) tune(conn net.Conn) error {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil // a pipe or proxy of a test
	}
	if err := tcp.SetNoDelay(c.NoDelay); err != nil {
		return err
	}
	err := tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: c.KeepAlive, Interval: c.KeepAlive / 3, Count: 3})
	if err != nil {
		return err
	}
	return setUserTimeout(tcp, c.WriteTimeout)
}

// Dial connects to a node, host:port, and agrees on a session with it. Of h only
// Hello is called: the session belongs to the caller, who must Serve it. Errors:
// Unavailable if nobody answers, the kind of a *Refusal if either side refused.
func Dial(ctx context.Context, cfg *Config, addr string, h Handler) (*Session, error) {
	g, err := dial(ctx, cfg, addr, h, false)
	if err != nil {
		return nil, err
	}
	return newSession(g), nil
}

// dial connects, and runs the greeting.
func dial(ctx context.Context, cfg *Config, addr string, h Handler, stream bool) (*greeter, error) {
	if err := cfg.prepare(); err != nil {
		return nil, err
	}
	connect := cfg.Dialer
	if connect == nil {
		d := net.Dialer{Timeout: cfg.HandshakeTimeout}
		connect = func(ctx context.Context, addr string) (net.Conn, error) { return d.DialContext(ctx, "tcp", addr) }
	}
	conn, err := connect(ctx, addr)
	if err != nil {
		if ctx.Err() != nil {
			return nil, volume.Errorf(volume.Interrupted, "dial %s: %w", addr, context.Cause(ctx))
		}
		return nil, volume.Errorf(volume.Unavailable, "connect to %s: %w", addr, err)
	}
	if err := cfg.tune(conn); err != nil {
		conn.Close()
		return nil, volume.Errorf(volume.Unavailable, "set up the connection to %s: %w", addr, err)
	}
	return agree(ctx, cfg, conn, addr, h, true, stream)
}

const (
	minBackOff = 50 * time.Millisecond
	maxBackOff = 5 * time.Second
	// settled is how long a session must have lived to count as a success: one
	// that ends at once is not redialled at full speed.
	settled = time.Second
	// nobodyWait is how often addrs is asked again after it returned nothing: soon
	// enough to redial within a failover, seldom enough to cost nothing.
	nobodyWait = 250 * time.Millisecond
	// SelfWait is how long an address at which this node itself answered is left alone. It may
	// be one that moves from node to node.
	SelfWait = time.Minute
)

// DialLoop keeps a session with the node behind addrs: it dials them in turn until
// one agrees, calls run with the session, and begins again when run returns, for
// ever, until ctx ends. Between rounds it waits 50 ms, doubling to 5 s, with
// jitter, and from the start again after a session that lived for a second. The
// session is closed with what run returned. It logs changes of state, not attempts.
// An address at which this node itself answers is tried again after SelfWait.
// addrs may return nothing while there is nothing to dial, and is asked again every
// 250 ms.
func DialLoop(ctx context.Context, cfg *Config, addrs func() []string, h Handler, run func(ctx context.Context, s *Session) error) error {
	d := dialLoop{cfg: cfg, h: h, run: run, log: dialLog{log: cfg.Log, state: map[string]string{}}}
	for wait := minBackOff; ctx.Err() == nil; {
		all := addrs()
		if len(all) == 0 {
			wait = minBackOff
			pause(ctx, nobodyWait)
			continue
		}
		begin := time.Now()
		if d.round(ctx, all) && time.Since(begin) >= settled {
			wait = minBackOff
		}
		if d.self == len(all) {
			pause(ctx, SelfWait)
			continue
		}
		// Half of it at least, so that two nodes that fail together do not go on
		// doing so.
		pause(ctx, wait/2+rand.N(wait/2))
		wait = min(2*wait, maxBackOff)
	}
	return context.Cause(ctx)
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

type dialLoop struct {
	cfg  *Config
	h    Handler
	run  func(ctx context.Context, s *Session) error
	log  dialLog
	self int // addresses of the last round at which this node itself answered
}

// round dials every address until one session came about and has ended again.
func (d *dialLoop) round(ctx context.Context, all []string) bool {
	d.log.only(all)
	d.self = 0
	for _, addr := range all {
		s, err := Dial(ctx, d.cfg, addr, d.h)
		if err != nil {
			if ctx.Err() != nil {
				return false
			}
			if errors.Is(err, ErrSelf) {
				d.self++
			}
			d.log.failed(addr, err)
			continue
		}
		d.log.connected(addr, s)
		err = d.run(ctx, s)
		s.Close(err)
		if ctx.Err() == nil {
			d.log.ended(addr, s, err)
		}
		return true
	}
	return false
}

// dialLog remembers what was said last about each address.
type dialLog struct {
	log   zerolog.Logger
	state map[string]string
}

// only forgets the addresses that are not dialled any more.
func (l *dialLog) only(addrs []string) {
	keep := map[string]bool{}
	for _, a := range addrs {
		keep[a] = true
	}
	for a := range l.state {
		if !keep[a] {
			delete(l.state, a)
		}
	}
}

// failed says so once per address and kind of failure: the texts may differ in
// port numbers.
func (l *dialLog) failed(addr string, err error) {
	r := refusalOf(err)
	state := r.Kind.Error() + r.Code
	if l.state[addr] == state {
		return
	}
	l.state[addr] = state
	if errors.Is(err, ErrSelf) {
		l.log.Info().Str("addr", addr).Msg("this node itself answers there: no session")
		return
	}
	level := zerolog.WarnLevel
	if r.Kind == volume.Busy && r.Code == CodeOther { // both have dialled, or one is about to be ready
		level = zerolog.InfoLevel
	}
	l.log.WithLevel(level).Str("code", r.Code).Str("addr", addr).Err(err).Msg("no session, will keep trying")
}

func (l *dialLog) connected(addr string, s *Session) {
	state := "connected to " + s.remote.NodeID
	if l.state[addr] != state {
		l.log.Info().Str("addr", addr).Str("peer", s.remote.NodeID).Msg("session established")
	}
	l.state[addr] = state
}

// ended reports a session that had been up.
func (l *dialLog) ended(addr string, s *Session, err error) {
	state := "ended"
	if err != nil {
		state += volume.KindOf(err).Error()
	}
	if l.state[addr] == state {
		return
	}
	l.state[addr] = state
	l.log.Warn().Str("addr", addr).Str("peer", s.remote.NodeID).AnErr("cause", err).Msg("session ended, will redial")
}
