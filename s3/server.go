package s3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"io"
	stdlog "log"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/volume"
)

const (
	headerTimeout = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeaderLen  = 64 << 10
	// closeTimeout is how long Close waits for requests at work.
	closeTimeout = 5 * time.Second
)

// Server answers S3 requests from a volume.
type Server struct {
	cfg     Config
	vol     Volume
	http    *http.Server
	buffers sync.Pool // *[]byte of blockLen
	slots   chan struct{}
	conns   chan struct{}
	rates   *rates
	uploads uploads
	hidden  atomic.Uint64 // keys that a listing could not show

	pageBudget int // pageBudget, but in tests

	stop    context.CancelFunc
	stopped chan struct{} // closed when the janitor has ended
}

// New makes a server; Close it. It begins at once to remove uploads that have expired.
func New(cfg Config) (*Server, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, vol: cfg.Volume,
		slots: make(chan struct{}, cfg.MaxRequests), conns: make(chan struct{}, cfg.MaxConnections),
		rates: newRates(cfg.Rate), stopped: make(chan struct{}), pageBudget: pageBudget,
	}
	s.buffers.New = func() any { b := make([]byte, blockLen); return &b }
	s.uploads.init()
	s.http = &http.Server{
		Handler: s, ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderLen,
		ErrorLog: stdlog.New(logWriter{s}, "", 0), TLSConfig: cfg.TLS,
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go s.janitor(ctx)
	return s, nil
}

// logWriter takes what net/http has to say of broken connections.
type logWriter struct{ s *Server }

func (l logWriter) Write(p []byte) (int, error) {
	l.s.cfg.Log.Debug().Str("what", strings.TrimSpace(string(p))).Msg("s3: connection")
	return len(p), nil
}

// Serve answers on a listener until Close; with Config.TLS it speaks TLS on it.
func (s *Server) Serve(ln net.Listener) error {
	ln = &boundedListener{Listener: ln, places: s.conns, stall: s.cfg.Stall}
	if s.cfg.TLS != nil {
		ln = tls.NewListener(ln, s.cfg.TLS)
	}
	if err := s.http.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	return nil
}

// Close ends all listeners, waits a while for requests at work, and ends the rest.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return s.Shutdown(ctx)
}

// Shutdown is Close with a wait of the caller's. What is at work for nobody, and waits for the volume
// when ctx ends, goes on until the volume answers.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		err = s.http.Close()
	}
	select {
	case <-s.stopped:
	case <-ctx.Done():
	}
	return err
}

// HiddenKeys counts the keys that were left out of listings, since XML cannot carry them
// and the client did not ask for another form.
func (s *Server) HiddenKeys() uint64 { return s.hidden.Load() }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.answer(w, r, false) }

// ServeForwarded answers a request that another node has taken from its client. It is answered
// here whatever Config.Elsewhere would say, and its rate was that node's business.
func (s *Server) ServeForwarded(w http.ResponseWriter, r *http.Request) { s.answer(w, r, true) }

func (s *Server) answer(w http.ResponseWriter, r *http.Request, forwarded bool) {
	c := &call{s: s, w: &answer{ResponseWriter: w}, r: r, h: r.Header, ctx: r.Context(), id: requestID(), forwarded: forwarded}
	c.r = r.WithContext(c.ctx) // a copy: net/http looks at the body of its own when the answer is early
	// What another node forwards comes in the blocks that it makes; it has given the client its time.
	if r.Body != nil && r.Body != http.NoBody && !forwarded {
		c.w.body = &pacedBody{ReadCloser: r.Body, conn: http.NewResponseController(w), stall: s.cfg.Stall}
		defer c.w.body.end()
		c.r.Body = c.w.body
	}
	if s.cfg.Done != nil {
		body := &countingBody{ReadCloser: c.r.Body}
		c.r.Body = body
		defer func() { s.cfg.Done(Done{Operation: c.name, Status: c.w.status, Read: body.n, Written: c.w.written}) }()
	}
	h := w.Header()
	h.Set("x-amz-request-id", c.id)
	h.Set("x-amz-id-2", c.id)
	h.Set("Server", "WolfDisk")
	if s.cors(c) {
		return
	}
	if !forwarded && !s.rates.allow(r.RemoteAddr, s.cfg.Now()) {
		c.fail(errf("SlowDown", "more than %g requests per second from one address", s.cfg.Rate))
		return
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		c.fail(errf("SlowDown", "%d requests are at work already", s.cfg.MaxRequests))
		return
	}
	if err := c.serve(); err != nil {
		c.fail(err)
	}
}

// countingBody counts what is read of a body.
type countingBody struct {
	io.ReadCloser
	n int64
}

func (b *countingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n += int64(n)
	return n, err
}

func requestID() string {
	var b [8]byte
	rand.Read(b[:])
	return strings.ToUpper(hex.EncodeToString(b[:]))
}

// caller is who the volume is told.
func (s *Server) caller() volume.Caller {
	return volume.Caller{UID: s.cfg.UID, GID: s.cfg.GID, Front: volume.FrontS3}
}

// do hands a request to the volume. One that has begun is not given up half-way because
// its client has gone.
func (s *Server) do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	if err := ctx.Err(); err != nil {
		return volume.Result{}, volume.Interrupted
	}
	req.Caller = s.caller()
	return s.vol.Do(context.WithoutCancel(ctx), req)
}

func (s *Server) buffer() *[]byte { return s.buffers.Get().(*[]byte) }
