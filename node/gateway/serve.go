package gateway

import (
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"wolfdisk/s3"
)

// Headers between two gateways. No client sees or sends them.
const (
	headerPrefix    = "Wolfdisk-"
	headerAnonymous = "Wolfdisk-Anonymous" // of a request: there were no keys to verify it with
	headerRefusal   = "Wolfdisk-Refusal"   // of an answer: the request was not looked at, and why
	headerVersion   = "Wolfdisk-Version"   // of an answer, or behind it: the volume's version then

	refusalNotLeading = "not-leading"
	refusalNoKeys     = "no-keys"
)

const (
	headerTimeout = 30 * time.Second
	// streamIdle is how long an unused stream stays, idleStreams how long its other end keeps it: less, so that
	// no request meets a stream that is just being closed.
	streamIdle  = 5 * time.Minute
	idleStreams = time.Minute
	maxHeader   = 80 << 10 // more than a client may send to the other node
)

// leaderSide answers what other nodes forward.
type leaderSide struct {
	conns chan net.Conn // streams on their way to http
	http  *http.Server  // nil until the first stream; guarded by Gateway.mu
}

// Stream answers the requests that another node forwards on a stream, until that ends.
func (g *Gateway) Stream(conn net.Conn) {
	if !g.beginLeaderSide() {
		return
	}
	c := &streamConn{Conn: conn, closed: make(chan struct{})}
	select {
	case g.leader.conns <- c:
	case <-g.ctx.Done():
		return
	}
	<-c.closed
}

// beginLeaderSide makes what answers streams, if there is none yet.
func (g *Gateway) beginLeaderSide() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.vol == nil {
		return false
	}
	if g.leader.http != nil {
		return true
	}
	srv, err := g.serverLocked()
	if err != nil {
		g.log.Error().Err(err).Msg("requests that other nodes forward cannot be answered")
		return false
	}
	g.leader.http = &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.answerForwarded(srv, w, r) }),
		ReadHeaderTimeout: headerTimeout, IdleTimeout: streamIdle, MaxHeaderBytes: maxHeader,
	}
	hs := g.leader.http
	g.group.Go(func() { _ = hs.Serve(&streamListener{g: g, closed: make(chan struct{})}) })
	return true
}

// answerForwarded answers a request that another node has forwarded.
func (g *Gateway) answerForwarded(srv *s3.Server, w http.ResponseWriter, r *http.Request) {
	anonymous := r.Header.Get(headerAnonymous) != ""
	r.Header.Del(headerAnonymous)
	refusal := ""
	switch {
	case !g.node.Leader().Self:
		refusal = refusalNotLeading
	case !anonymous && g.keys.Empty():
		refusal = refusalNoKeys
		g.log.Warn().Str("code", codeNoKeys).Str("from", r.RemoteAddr).Msg("an S3 request that another node has forwarded is refused, because this node has no S3 keys: give all nodes the same [s3] keys")
	}
	if refusal != "" {
		w.Header().Set(headerRefusal, refusal)
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	v := &versioned{ResponseWriter: w, g: g}
	srv.ServeForwarded(v, r)
	if v.status/100 == 2 { // what was sent first may be from before the change: see slowly in package s3
		w.Header().Set(http.TrailerPrefix+headerVersion, v.version())
	}
}

// versioned adds the volume's version to what succeeds.
type versioned struct {
	http.ResponseWriter
	g      *Gateway
	status int
}

// version is what the node that has forwarded the request waits for.
func (v *versioned) version() string {
	at := v.g.node.Visible()
	v.g.node.Hurry()
	return strconv.FormatUint(uint64(at), 10)
}

func (v *versioned) WriteHeader(status int) {
	v.status = status
	if status/100 == 2 {
		v.Header().Set(headerVersion, v.version())
	}
	v.ResponseWriter.WriteHeader(status)
}

func (v *versioned) Write(p []byte) (int, error) {
	if v.status == 0 {
		v.WriteHeader(http.StatusOK)
	}
	return v.ResponseWriter.Write(p)
}

// Flush implements http.Flusher.
func (v *versioned) Flush() { _ = http.NewResponseController(v.ResponseWriter).Flush() }

// streamListener gives streams to an http.Server as if they were accepted.
type streamListener struct {
	g      *Gateway
	once   sync.Once
	closed chan struct{}
}

func (l *streamListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.g.leader.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *streamListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *streamListener) Addr() net.Addr { return &net.UnixAddr{Name: "stream", Net: "wolfdisk"} }

// streamConn tells when it is closed.
type streamConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *streamConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}
