package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"wolfdisk/s3"
	"wolfdisk/volume"
)

const (
	// continueFor is how long the leader may take to ask for a body. It comes unasked then.
	continueFor = time.Minute
	// retireAfter is how long requests that were forwarded may go on when their leader leads no more.
	retireAfter = 3 * time.Second
	// tryAgain is the first pause before a request is offered once more, tryAgainMost the longest.
	tryAgain     = 10 * time.Millisecond
	tryAgainMost = 200 * time.Millisecond
	copyLen      = 64 << 10
	keptStreams  = 32
	// maxDialling bounds the streams that are being made at once: a node lets only so many strangers
	// wait, and the sessions that everything depends on are among them.
	maxDialling = 8
)

// target is a leader that requests are forwarded to, with its streams.
type target struct {
	leader    Leader
	transport *http.Transport
	ctx       context.Context // of all requests to it
	end       context.CancelFunc
	left      context.Context // ends when it leads no more
	leave     context.CancelFunc
}

// targetOf is what to forward to a leader with.
func (g *Gateway) targetOf(l Leader) *target {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.target != nil && g.target.leader == l {
		return g.target
	}
	g.retireLocked()
	t := &target{leader: l}
	t.ctx, t.end = context.WithCancel(context.Background())
	t.left, t.leave = context.WithCancel(context.Background())
	dialling := make(chan struct{}, maxDialling)
	t.transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			select {
			case dialling <- struct{}{}:
				defer func() { <-dialling }()
			case <-ctx.Done():
				return nil, &dialError{context.Cause(ctx)}
			}
			c, err := g.node.Dial(ctx, l)
			if err != nil {
				return nil, &dialError{err}
			}
			return c, nil
		},
		DisableCompression: true, MaxConnsPerHost: g.cfg.S3.MaxRequests, MaxIdleConnsPerHost: keptStreams, IdleConnTimeout: idleStreams,
		ExpectContinueTimeout: continueFor, ReadBufferSize: copyLen, WriteBufferSize: copyLen,
	}
	if !g.closed {
		g.target = t
	}
	return t
}

// retireLocked lets go of the present target. Requests whose body it has not asked for go to the next at
// once. Others get a moment: a leader that hands over may still answer them, one that is gone never will.
func (g *Gateway) retireLocked() {
	t := g.target
	g.target = nil
	if t != nil {
		t.leave()
		time.AfterFunc(retireAfter, t.end)
		t.transport.CloseIdleConnections()
	}
}

// watch lets go of a leader when another one leads, also if no request comes.
func (g *Gateway) watch() {
	for {
		changed := g.node.Changed()
		l := g.node.Leader()
		g.mu.Lock()
		if g.target != nil && g.target.leader != l {
			g.retireLocked()
		}
		g.mu.Unlock()
		select {
		case <-changed:
		case <-g.ctx.Done():
			return
		}
	}
}

// makeBuckets makes the directories of the buckets that the configuration names, when this node leads.
func (g *Gateway) makeBuckets(srv *s3.Server) {
	for {
		changed := g.node.Changed()
		if g.node.Leader().Self {
			if err := srv.MakeBuckets(g.ctx); err != nil && g.ctx.Err() == nil {
				g.log.Warn().Err(err).Str("code", codeBuckets).Msg("a directory of [s3.buckets] could not be made")
			}
		}
		select {
		case <-changed:
		case <-g.ctx.Done():
			return
		}
	}
}

// elsewhere forwards a request to the leader, if that is another node; see s3.Config.
func (g *Gateway) elsewhere(w http.ResponseWriter, r *http.Request, anonymous bool) (answered bool, err error) {
	if g.node.Leader().Self {
		return false, nil
	}
	for name := range r.Header {
		if strings.HasPrefix(name, headerPrefix) {
			return false, refuse(http.StatusBadRequest, "InvalidRequest", fmt.Sprintf("the header %s is reserved", name))
		}
	}
	f := &forwarding{g: g, r: r, anonymous: anonymous}
	var why error
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for pause := tryAgain; ; pause = min(2*pause, tryAgainMost) {
		changed := g.node.Changed()
		l := g.node.Leader()
		if l.Self { // nothing of the body was read, or the loop had ended
			return false, nil
		}
		if l.ID != "" {
			res, err := f.try(g.targetOf(l))
			if err == nil {
				g.metrics.forwarded.Inc()
				return true, f.relay(w, res)
			}
			if !errors.Is(err, errOfferAgain) {
				return false, err
			}
			why = err
		}
		select {
		case <-changed:
		case <-time.After(pause):
		case <-r.Context().Done():
			return false, unavailable("the client has gone", r.Context().Err())
		case <-timeout.C:
			return false, unavailable("no node takes changes at the moment; send the request again", why)
		}
	}
}

// errOfferAgain says that a request was not done, and nothing of its body was read.
var errOfferAgain = errors.New("not done by that leader")

// forwarding is one request on its way to a leader.
type forwarding struct {
	g         *Gateway
	r         *http.Request
	anonymous bool
}

// try forwards the request once. errOfferAgain is in the error if another leader can be asked.
func (f *forwarding) try(t *target) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(f.r.Context())
	stop := context.AfterFunc(t.ctx, func() { cancel(errors.New("node " + t.leader.ID + " leads no more")) })
	body := &onceBody{ReadCloser: f.r.Body}
	left := context.AfterFunc(t.left, func() {
		if f.r.ContentLength != 0 && body.detach() {
			cancel(errOfferAgain)
		}
	})
	out := f.request(ctx, body)
	res, err := t.transport.RoundTrip(out)
	left()
	if err != nil {
		stop()
		cancel(nil)
		if body.stalled() {
			return nil, refuse(http.StatusBadRequest, "RequestTimeout", "Your socket connection to the server was not read from or written to within the timeout period.")
		}
		var op *dialError
		unread := f.r.ContentLength != 0 && body.detach()
		if f.r.Context().Err() == nil && (unread || errors.As(err, &op)) {
			return nil, fmt.Errorf("%w: %w", errOfferAgain, err)
		}
		f.g.log.Info().Err(err).Str("leader", t.leader.ID).Str("method", f.r.Method).Msg("a request over S3 was broken off on its way to the leader; the client is asked to send it again")
		return nil, unavailable("the connection to the leader was lost; send the request again", err)
	}
	switch res.Header.Get(headerRefusal) {
	case "":
		res.Body = &endingBody{res.Body, func() { stop(); cancel(nil) }}
		return res, nil
	case refusalNoKeys:
		err = unavailable(fmt.Sprintf("the leader, node %s, has no S3 keys: all nodes need the same", t.leader.ID), nil)
		f.g.log.Warn().Str("code", codeNoKeys).Str("leader", t.leader.ID).Msg("the leader has no S3 keys, and refuses what is forwarded: give all nodes the same [s3] keys")
	default:
		err = unavailable("the leader has just changed; send the request again", nil)
		if f.r.ContentLength == 0 || body.detach() {
			err = fmt.Errorf("%w: node %s leads no more", errOfferAgain, t.leader.ID)
		}
	}
	res.Body.Close()
	stop()
	cancel(nil)
	return nil, err
}

// request is the request as the leader gets it: as it came, but for what concerns the connection.
func (f *forwarding) request(ctx context.Context, body io.ReadCloser) *http.Request {
	r := f.r
	target, query, hasQuery := strings.Cut(r.RequestURI, "?")
	out := &http.Request{
		Method: r.Method, Host: r.Host, Header: r.Header.Clone(), Trailer: r.Trailer, ContentLength: r.ContentLength,
		URL:   &url.URL{Scheme: "http", Host: "leader", Opaque: target, RawQuery: query, ForceQuery: hasQuery},
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	h := out.Header
	if !strings.Contains(strings.ToLower(h.Get("Authorization")+query), "connection") { // unless it is signed
		h.Del("Connection")
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{""} // or one is made up
	}
	if f.anonymous {
		h.Set(headerAnonymous, "true")
	}
	if out.ContentLength == 0 {
		out.Body = http.NoBody
		return out.WithContext(ctx)
	}
	out.Body = body
	if out.ContentLength < 0 {
		out.TransferEncoding = []string{"chunked"}
	}
	// The leader asks for the body when it knows that it takes it. Signatures cover this header
	// only where the client has sent it.
	if h["Expect"] == nil {
		h.Set("Expect", "100-continue")
	}
	return out.WithContext(ctx)
}

// relay answers the client as the leader has answered.
func (f *forwarding) relay(w http.ResponseWriter, res *http.Response) error {
	defer res.Body.Close()
	h := w.Header()
	for name, values := range res.Header {
		if !strings.HasPrefix(name, headerPrefix) && name != "Connection" && name != "Trailer" {
			h[name] = values
		}
	}
	f.see(res.Header.Get(headerVersion))
	w.WriteHeader(res.StatusCode)
	flush := http.NewResponseController(w).Flush
	buf := make([]byte, min(copyLen, max(512, res.ContentLength)))
	if res.ContentLength < 0 {
		buf = make([]byte, copyLen)
	}
	for {
		n, err := res.Body.Read(buf)
		if n > 0 {
			if _, werr := w.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			f.see(res.Trailer.Get(headerVersion))
			return nil
		}
		if err != nil {
			return unavailable("the connection to the leader was lost", err)
		}
		if res.ContentLength < 0 {
			_ = flush() // a client that has gone is noticed at the next write
		}
	}
}

// see waits until a version is visible to readers of this node.
func (f *forwarding) see(text string) {
	v, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return
	}
	for deadline := time.Now().Add(seeFor); f.g.node.Visible() < volume.Version(v); time.Sleep(time.Millisecond) {
		if f.r.Context().Err() != nil || f.g.ctx.Err() != nil {
			return
		}
		if time.Now().After(deadline) {
			f.g.log.Warn().Str("code", codeNotSeen).Uint64("version", v).Uint64("visible", uint64(f.g.node.Visible())).
				Msg("a change over S3 is made, but this node is so far behind that its reads do not show it yet")
			return
		}
	}
}

// onceBody is a request's body that can be taken away again as long as nobody has read from it: the
// transport may hold on to it for a while.
type onceBody struct {
	io.ReadCloser
	mu    sync.Mutex
	taken bool // something was read, or tried to be
	gone  bool
	late  bool // the client has let its time go by
}

func (b *onceBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.gone {
		b.mu.Unlock()
		return 0, errOfferAgain
	}
	b.taken = true
	b.mu.Unlock()
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		b.mu.Lock()
		b.late = true
		b.mu.Unlock()
	}
	return n, err
}

// stalled reports whether the client has let its time go by in the middle of the body.
func (b *onceBody) stalled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.late
}

// Close leaves the body to the server that it is of.
func (b *onceBody) Close() error { return nil }

// detach takes the body away; false if it is too late.
func (b *onceBody) detach() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.gone = !b.taken
	return b.gone
}

// endingBody calls a function when it is closed.
type endingBody struct {
	io.ReadCloser
	end func()
}

func (b *endingBody) Close() error {
	err := b.ReadCloser.Close()
	b.end()
	return err
}

// dialError says that there was no stream at all.
type dialError struct{ err error }

func (e *dialError) Error() string { return e.err.Error() }
func (e *dialError) Unwrap() error { return e.err }
