package cluster

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

// Proxy forwards TCP connections to one address and counts the bytes of each
// direction. It can be shut (connections are cut and refused), stalled (they stay,
// nothing moves), and told to cut or to flip a bit at a given byte.
type Proxy struct {
	ln     net.Listener
	target string

	toTarget, fromTarget atomic.Int64

	mu    sync.Mutex
	cond  *sync.Cond
	shut  bool
	stall bool
	done  bool
	conns map[net.Conn]struct{}
	harm  func(fromTarget bool, off int64, p []byte) (cut bool)
	wg    sync.WaitGroup
}

// NewProxy listens on a free port of 127.0.0.1, open.
func NewProxy(target string) (*Proxy, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("proxy to %s: %w", target, err)
	}
	p := &Proxy{ln: ln, target: target, conns: make(map[net.Conn]struct{})}
	p.cond = sync.NewCond(&p.mu)
	p.wg.Go(p.accept)
	return p, nil
}

// Addr is where the proxy listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Bytes are the counts since the start, headers of TCP not among them.
func (p *Proxy) Bytes() (toTarget, fromTarget int64) {
	return p.toTarget.Load(), p.fromTarget.Load()
}

// Shut cuts all connections and refuses new ones until it is called with false.
func (p *Proxy) Shut(shut bool) {
	p.mu.Lock()
	p.shut = shut
	p.mu.Unlock()
	if shut {
		p.Cut()
	}
}

// Cut closes the connections there are.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.Close()
	}
	p.cond.Broadcast()
}

// Stall stops, or lets go on, all traffic without closing anything.
func (p *Proxy) Stall(stall bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stall = stall
	p.cond.Broadcast()
}

// Harm calls f with every piece that is forwarded, its offset in the bytes of that
// direction since the start, and leave to change it; if f returns true, the connection is cut
// before the piece. Nil ends it.
func (p *Proxy) Harm(f func(fromTarget bool, off int64, piece []byte) (cut bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.harm = f
}

// Close ends everything and waits for it.
func (p *Proxy) Close() error {
	p.mu.Lock()
	p.done, p.shut = true, true
	p.mu.Unlock()
	err := p.ln.Close()
	p.Cut()
	p.wg.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		c, err := p.ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.wg.Go(func() { p.serve(c) })
		}
	}
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	if !p.enter(client) {
		return
	}
	defer p.leave(client)
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		return // the client sees the end, as if the daemon had refused
	}
	defer server.Close()
	if !p.enter(server) {
		return
	}
	defer p.leave(server)
	var both sync.WaitGroup
	both.Go(func() { p.pump(server, client, false, &p.toTarget) })
	both.Go(func() { p.pump(client, server, true, &p.fromTarget) })
	both.Wait()
}

func (p *Proxy) enter(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shut {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

func (p *Proxy) leave(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// pump copies one direction until an end closes, then closes both.
func (p *Proxy) pump(dst, src net.Conn, fromTarget bool, count *atomic.Int64) {
	defer dst.Close()
	defer src.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := src.Read(buf)
		if n > 0 {
			if p.pass(fromTarget, count.Load(), buf[:n]) {
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
			count.Add(int64(n))
		}
		if err != nil {
			return
		}
	}
}

// pass waits while the proxy is stalled and does the harm that was asked for.
func (p *Proxy) pass(fromTarget bool, off int64, piece []byte) (cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stall && !p.shut {
		p.cond.Wait()
	}
	return p.harm != nil && p.harm(fromTarget, off, piece)
}
