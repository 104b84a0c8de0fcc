package admin

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"wolfdisk/node/exit"
)

const (
	maxConns       = 64 // of each listener
	maxRequests    = 32
	maxStreams     = 16
	maxHeaderBytes = 16 << 10
	maxBodyBytes   = 64 << 10
	headerTimeout  = 5 * time.Second
	idleTimeout    = 2 * time.Minute
	writeTimeout   = 30 * time.Second // of an answer, or of one piece of a stream
)

// Options say what to serve, and where.
type Options struct {
	Program  string // for /version
	StateDir string // holds the socket
	// Bind is a TCP address for what reads only; empty for none. BindIsDefault says
	// that nobody asked for it: if it is in use there is a warning and no more.
	Bind          string
	BindIsDefault bool
	Source        Source
	// Verbs are served on the socket under /v1/ and their names.
	Verbs map[string]Verb
	Log   zerolog.Logger
	// Collectors are metrics of the daemon's own, beside those from its status.
	Collectors []prometheus.Collector
}

// Server answers until it is closed.
type Server struct {
	opts     Options
	started  time.Time
	metrics  http.Handler
	requests chan struct{} // slots
	streams  chan struct{}

	ctx    context.Context // ends streams
	cancel context.CancelFunc
	local  *http.Server
	remote *http.Server // nil without a TCP address
	addr   string
	wg     sync.WaitGroup
}

// Start listens and serves. It returns when both listeners stand.
func Start(opts Options) (*Server, error) {
	metrics, err := metricsHandler(opts)
	if err != nil {
		return nil, err
	}
	s := &Server{opts: opts, started: time.Now(), metrics: metrics,
		requests: make(chan struct{}, maxRequests), streams: make(chan struct{}, maxStreams)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	sock, err := listenSocket(opts.StateDir)
	if err != nil {
		s.cancel()
		return nil, err
	}
	tcp, err := listenTCP(opts)
	if err != nil {
		s.cancel()
		return nil, errors.Join(err, sock.Close())
	}
	s.local = s.serve(sock, s.localRoutes())
	if tcp != nil {
		s.addr = tcp.Addr().String()
		s.remote = s.serve(tcp, s.remoteRoutes(tcp.Addr()))
	}
	return s, nil
}

// listenTCP returns nil if there is to be none.
func listenTCP(opts Options) (net.Listener, error) {
	if opts.Bind == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", opts.Bind)
	if err == nil {
		return l, nil
	}
	if opts.BindIsDefault && errors.Is(err, syscall.EADDRINUSE) {
		opts.Log.Warn().Str("address", opts.Bind).Str("socket", SocketPath(opts.StateDir)).
			Msg("metrics address is in use, probably by another daemon: serving on the socket only; set [admin] bind to another address, or to none")
		return nil, nil
	}
	return nil, exit.With(exit.Unavailable, fmt.Errorf("serve metrics on %s: %w: set [admin] bind to another address, or to none", opts.Bind, err))
}

func (s *Server) serve(l net.Listener, h http.Handler) *http.Server {
	srv := &http.Server{
		Handler: h, MaxHeaderBytes: maxHeaderBytes,
		// No ReadTimeout: it would end the context of long answers.
		ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return s.ctx },
		ErrorLog:    log.New(s.opts.Log.With().Str("part", "admin").Logger().Level(zerolog.DebugLevel), "", 0),
	}
	s.wg.Go(func() {
		if err := srv.Serve(newLimitListener(l, maxConns)); !errors.Is(err, http.ErrServerClosed) {
			s.opts.Log.Error().Err(err).Str("address", l.Addr().String()).Msg("the admin server stopped")
		}
	})
	return srv
}

// Addr is the TCP address that is served; empty without one.
func (s *Server) Addr() string { return s.addr }

// Close takes the socket away and ends streams. Other answers may finish until ctx
// ends; then they are broken off.
func (s *Server) Close(ctx context.Context) error {
	s.cancel()
	var errs []error
	for _, srv := range []*http.Server{s.local, s.remote} {
		if srv == nil {
			continue
		}
		err := srv.Shutdown(ctx)
		if err != nil && ctx.Err() != nil {
			err = srv.Close()
		}
		errs = append(errs, err)
	}
	s.wg.Wait()
	return errors.Join(errs...)
}
