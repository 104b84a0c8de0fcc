package s3

import (
	"net"
	"sync"
	"time"
)

// boundedListener accepts a connection only when there is a place for it.
type boundedListener struct {
	net.Listener
	places chan struct{}
	stall  time.Duration // see boundedConn
	once   sync.Once
	closed chan struct{}
}

func (l *boundedListener) done() chan struct{} {
	l.once.Do(func() { l.closed = make(chan struct{}) })
	return l.closed
}

func (l *boundedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.done():
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &boundedConn{Conn: c, places: l.places, stall: l.stall}, nil
}

func (l *boundedListener) Close() error {
	err := l.Listener.Close()
	done := l.done()
	select {
	case <-done:
	default:
		close(done)
	}
	return err
}

// boundedConn gives its place back when it is closed, and ends a write of which nothing goes out for a time.
type boundedConn struct {
	net.Conn
	places chan struct{}
	stall  time.Duration
	once   sync.Once
}

func (c *boundedConn) Close() error {
	c.once.Do(func() { <-c.places })
	return c.Conn.Close()
}

// maxRated bounds the addresses whose rate is remembered.
const maxRated = 1 << 14

// rates bounds the requests per second of each client address: a bucket that holds what
// may come within a second, and fills at the rate.
type rates struct {
	perSecond float64 // 0: no bound

	mu sync.Mutex // leaf lock; guards all below
	m  map[string]*level
}

type level struct {
	tokens float64
	at     time.Time
}

func newRates(perSecond float64) *rates {
	return &rates{perSecond: perSecond, m: map[string]*level{}}
}

func (r *rates) allow(addr string, now time.Time) bool {
	if r.perSecond == 0 {
		return true
	}
	if host, _, err := net.SplitHostPort(addr); err == nil {
		addr = host
	}
	most := max(r.perSecond, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.m[addr]
	if l == nil {
		if len(r.m) >= maxRated {
			r.forget(now)
		}
		l = &level{tokens: most, at: now}
		r.m[addr] = l
	}
	l.tokens = min(most, l.tokens+max(0, now.Sub(l.at).Seconds())*r.perSecond)
	l.at = now
	if l.tokens < 1 {
		return false
	}
	l.tokens--
	return true
}

// forget makes room: those that have been silent for a second are as good as new; if
// there are none, all are.
func (r *rates) forget(now time.Time) {
	for addr, l := range r.m {
		if now.Sub(l.at) > time.Second {
			delete(r.m, addr)
		}
	}
	if len(r.m) >= maxRated {
		clear(r.m)
	}
}
