package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/config"
	"wolfdisk/node/exit"
	"wolfdisk/s3"
	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

// Codes of what operators are told.
const (
	codeKeysKept  = "WD-1601" // a reload that would leave the gateway open to all
	codeReadable  = "WD-1602" // secrets that others can read
	codeNoKeys    = "WD-1603" // the leader has no keys
	codeNotSeen   = "WD-1604" // a change is made, but not visible here yet
	codeBuckets   = "WD-1607" // a directory of [s3.buckets] that could not be made
	codeReloadTLS = "WD-1605" // a certificate that could not be read again
)

// Node is the node as the gateway sees it. Its methods are called by many requests at once.
type Node interface {
	// Leader says who leads, as far as this node knows.
	Leader() Leader
	// Changed is closed when somebody begins to lead.
	Changed() <-chan struct{}
	// Visible is the version that readers of this node see.
	Visible() volume.Version
	// Hurry has the followers brought at once to what is visible here: one of them waits for it.
	Hurry()
	// Dial makes a stream to a leader.
	Dial(ctx context.Context, to Leader) (net.Conn, error)
}

// Leader is who leads.
type Leader struct {
	ID    string // empty: nobody is known
	Epoch volume.Epoch
	Self  bool // this node
}

// Options say what to serve.
type Options struct {
	Config *config.Config
	Node   Node
	Log    zerolog.Logger
}

// Gateway serves S3 until it is shut down.
type Gateway struct {
	cfg     *config.Config
	node    Node
	log     zerolog.Logger
	keys    keySet
	cert    atomic.Pointer[tls.Certificate]
	tls     bool
	metrics *metrics
	leader  leaderSide
	stall   time.Duration // s3.Config.Stall; 0: as there

	ctx    context.Context // ends with Shutdown
	cancel context.CancelFunc
	group  sync.WaitGroup

	mu       sync.Mutex
	listener net.Listener // nil if clients are not served
	vol      s3.Volume    // nil until there is one
	srv      *s3.Server   // nil until it is needed
	target   *target      // whom requests are forwarded to; nil
	closed   bool
}

// New takes the gateway's port, if it is to serve clients, and reads keys and certificate. Nobody is
// answered before Open.
func New(opts Options) (*Gateway, error) {
	g := &Gateway{cfg: opts.Config, node: opts.Node, log: opts.Log, metrics: newMetrics()}
	g.ctx, g.cancel = context.WithCancel(context.Background())
	g.leader.conns = make(chan net.Conn)
	s := &g.cfg.S3
	g.keys.set(s.Pairs)
	if s.Enabled || len(s.Pairs) > 0 {
		g.warnReadable(g.cfg)
	}
	if s.Enabled && s.TLSCert != "" {
		cert, err := loadCertificate(s)
		if err != nil {
			return nil, exit.With(exit.Config, err)
		}
		g.cert.Store(cert)
		g.tls = true
	}
	if s.Enabled {
		ln, err := net.Listen("tcp", s.Bind)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			return nil, exit.Errorf(exit.Unavailable, "serve S3 on %s: the port is in use: stop what has it, or give another address with [s3] bind", s.Bind)
		case err != nil:
			return nil, exit.Errorf(exit.Unavailable, "serve S3 on %s: %w: give another address with [s3] bind", s.Bind, err)
		}
		g.listener = ln
	}
	g.cfg.OnReload(g.reload)
	return g, nil
}

// Address is where clients are served; empty if they are not.
func (g *Gateway) Address() string {
	if g.listener == nil {
		return ""
	}
	return g.listener.Addr().String()
}

// TLS reports whether clients are served over TLS.
func (g *Gateway) TLS() bool { return g.tls }

// Open has requests answered from a volume, which lasts as long as the gateway.
func (g *Gateway) Open(vol s3.Volume) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.vol != nil {
		return
	}
	g.vol = vol
	if g.listener == nil && len(g.cfg.S3.Buckets) == 0 {
		return
	}
	srv, err := g.serverLocked()
	if err != nil {
		g.log.Error().Err(err).Msg("the S3 gateway cannot be started")
		return
	}
	g.group.Go(g.watch)
	if len(g.cfg.S3.Buckets) > 0 {
		g.group.Go(func() { g.makeBuckets(srv) })
	}
	if g.listener == nil {
		return
	}
	ln := &countingListener{Listener: g.listener, n: &g.metrics.connections}
	g.group.Go(func() {
		if err := srv.Serve(ln); err != nil && g.ctx.Err() == nil {
			g.log.Error().Err(err).Msg("the S3 gateway serves no more clients")
		}
	})
	ev := g.log.Info().Str("address", g.listener.Addr().String()).Bool("tls", g.tls).Int("keys", len(g.cfg.S3.Pairs))
	if g.keys.Empty() {
		ev = ev.Bool("anonymous", true)
	}
	ev.Msg("serving S3")
}

// serverLocked is the S3 server, made if there is none yet.
func (g *Gateway) serverLocked() (*s3.Server, error) {
	if g.srv != nil {
		return g.srv, nil
	}
	s := &g.cfg.S3
	cfg := s3.DefaultConfig()
	cfg.Volume, cfg.Auth = g.vol, &sig.Verifier{Keys: &g.keys, Domains: s.Domains}
	cfg.Region, cfg.Domains, cfg.Buckets = s.Region, s.Domains, s.Buckets
	cfg.UID, cfg.GID, cfg.FileMode, cfg.DirMode = uint32(s.UID), uint32(s.GID), uint32(s.FileMode), uint32(s.DirMode)
	cfg.UploadExpiry, cfg.OpaqueETags, cfg.CORSOrigins = s.UploadExpiry, s.OpaqueETags, s.CORSOrigins
	cfg.MaxConnections, cfg.MaxRequests, cfg.Rate = s.MaxConnections, s.MaxRequests, float64(s.Rate)
	cfg.Stall = g.stall
	cfg.Log, cfg.Elsewhere, cfg.Done = g.log, g.elsewhere, g.metrics.done
	if g.tls {
		cfg.TLS = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return g.cert.Load(), nil
		}}
	}
	srv, err := s3.New(cfg)
	g.srv = srv
	return srv, err
}

// Shutdown takes no more requests, waits for those at work until ctx ends, and ends the rest. It can
// be called more than once.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	closed := g.closed
	g.closed = true
	srv, ln, t, inner := g.srv, g.listener, g.target, g.leader.http
	g.target = nil
	g.mu.Unlock()
	if closed {
		return nil
	}
	var errs []error
	var both sync.WaitGroup
	if inner != nil {
		both.Go(func() {
			if inner.Shutdown(ctx) != nil {
				inner.Close()
			}
		})
	}
	if srv != nil {
		err := srv.Shutdown(ctx)
		if err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	} else if ln != nil {
		errs = append(errs, ln.Close())
	}
	both.Wait()
	if t != nil {
		t.end()
	}
	g.cancel()
	ended := make(chan struct{})
	go func() {
		g.group.Wait()
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done(): // a bucket that is being made while the volume lets no change in
	}
	return errors.Join(errs...)
}

// Stopping reports whether no more requests are taken.
func (g *Gateway) Stopping() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// countingListener counts the connections that are open.
type countingListener struct {
	net.Listener
	n *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	l.n.Add(1)
	return &countedConn{Conn: c, n: l.n}, nil
}

type countedConn struct {
	net.Conn
	n    *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.n.Add(-1) })
	return c.Conn.Close()
}

// refuse is an answer of the S3 protocol.
func refuse(status int, code, message string) error {
	return &sig.Error{Code: code, Status: status, Message: message}
}

// unavailable has the client send its request again. Its kind keeps the log from filling up with what
// passes.
func unavailable(message string, why error) error {
	e := &sig.Error{Code: "ServiceUnavailable", Status: http.StatusServiceUnavailable, Message: message, Err: why}
	return volume.Errorf(volume.ReadOnly, "%w", e)
}

const (
	// patience is how long a change waits for a leader: as long as at a mount.
	patience = 10 * time.Second
	// seeFor is how long the answer to a change waits until it is visible here.
	seeFor = 5 * time.Second
)
