package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strconv"
	"time"

	"wolfdisk/volume"
)

func itoa(v uint16) string { return strconv.Itoa(int(v)) }

const (
	// lingerTime is how long a connection that we end stays half open, so that the
	// peer reads why instead of a reset.
	lingerTime = time.Second
	// lingerBytes is what a stranger may still send meanwhile.
	lingerBytes = 64 << 10
)

// greeter makes one connection into a session: TLS, hello, and the agreement of
// both sides. It runs in one goroutine.
type greeter struct {
	cfg    *Config
	h      Handler
	raw    *rawConn
	tls    *tls.Conn
	br     *bufio.Reader
	addr   string
	peer   Identity // of the verified certificate
	remote Hello    // as far as it is known
	local  Hello
	stream bool // bytes are to follow, not messages: CapStream
}

// greet makes a session of conn, or closes it. dialed says which side we are.
func greet(ctx context.Context, cfg *Config, conn net.Conn, addr string, h Handler, dialed bool) (*Session, error) {
	g, err := agree(ctx, cfg, conn, addr, h, dialed, false)
	if err != nil {
		return nil, err
	}
	return newSession(g), nil
}

// agree runs the greeting, or closes the connection. stream is what a dialer wants; what a
// listener gets is in the greeter.
func agree(ctx context.Context, cfg *Config, conn net.Conn, addr string, h Handler, dialed, stream bool) (*greeter, error) {
	g := &greeter{cfg: cfg, h: h, raw: newRawConn(conn, &cfg.total), addr: addr, stream: stream}
	conn.SetDeadline(time.Now().Add(cfg.HandshakeTimeout))
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	step := g.listen
	if dialed {
		step = g.dial
	}
	err := g.secure(ctx, dialed)
	if err == nil {
		err = step()
	}
	if err != nil {
		err = cfg.greetingError(err, g.raw, addr)
		if ctx.Err() != nil {
			err = volume.Errorf(volume.Interrupted, "session with %s: %w", addr, context.Cause(ctx))
		}
		g.refuse(err)
		if o, ok := h.(RefusalObserver); ok {
			o.Refused(g.remote, addr, err)
		}
		return nil, err
	}
	if !stop() {
		conn.Close()
		return nil, volume.Errorf(volume.Interrupted, "session with %s: %w", addr, context.Cause(ctx))
	}
	conn.SetDeadline(time.Time{})
	return g, nil
}

// secure runs the TLS handshake. When it returns on the listening side, the peer
// is authenticated; on the dialing side, the peer has yet to verify us.
func (g *greeter) secure(ctx context.Context, dialed bool) error {
	if dialed {
		g.tls = tls.Client(g.raw, g.cfg.tls)
	} else {
		g.tls = tls.Server(g.raw, g.cfg.tls)
	}
	if err := g.tls.HandshakeContext(ctx); err != nil {
		return err
	}
	state := g.tls.ConnectionState()
	if state.NegotiatedProtocol != alpn {
		return refuse(volume.WrongVersion, CodeVersion, "the peer does not speak %s", alpn)
	}
	id, err := identityOf(state.PeerCertificates[0])
	if err != nil {
		return refuse(volume.Unauthorized, CodeIdentity, "%v", err)
	}
	if id.Cluster != g.cfg.Keys.cluster {
		return g.cfg.otherCluster(g.addr, id.Cluster.String())
	}
	if bytes.Equal(state.PeerCertificates[0].Raw, g.cfg.tls.Certificates[0].Certificate[0]) {
		return ErrSelf // each start of a node has a leaf of its own
	}
	g.peer = id
	g.remote.Identity = id
	g.raw.trust()
	g.br = bufio.NewReaderSize(g.tls, maxMessage)
	return nil
}

// dial speaks first: hello, the peer's hello, and then its acceptance.
func (g *greeter) dial() error {
	if err := g.ask(); err != nil {
		return err
	}
	// If the peer does not accept our certificate, writing may fail before its
	// alert is read: the alert is the better error.
	werr := g.sendHello()
	if volume.KindOf(werr) == volume.Invalid || volume.KindOf(werr) == volume.TooBig {
		return werr
	}
	if err := g.readHello(); err != nil {
		if werr != nil && !remoteAlert(err, certAlerts) && !remoteAlert(err, versionAlerts) {
			return werr
		}
		return err
	}
	if werr != nil {
		return werr
	}
	if g.stream && g.remote.Caps&CapStream == 0 {
		return refuse(volume.WrongVersion, CodeVersion, "node %s takes no streams: update it", g.remote.NodeID)
	}
	if _, err := g.h.Hello(g.remote); err != nil {
		return refusalOf(err)
	}
	_, err := g.tls.Write(appendHeader(nil, msgAccept, 0, 0))
	return err
}

// listen answers a hello, and waits until the dialer accepts the answer.
func (g *greeter) listen() error {
	if err := g.readHello(); err != nil {
		return err
	}
	if g.stream = g.remote.Caps&CapStream != 0; g.stream {
		if _, ok := g.h.(StreamHandler); !ok {
			return refuse(volume.Unsupported, CodeOther, "node %s takes no streams", g.cfg.NodeID)
		}
	}
	if err := g.ask(); err != nil {
		return err
	}
	if err := g.sendHello(); err != nil {
		return err
	}
	typ, body, err := readGreeting(g.br)
	if err != nil {
		return err
	}
	switch typ {
	case msgAccept:
		return nil
	case msgRefuse:
		return peerRefusal(body)
	}
	return volume.Errorf(volume.BadFormat, "%s message instead of accept", typ)
}

// ask gets our hello from the handler, and fills in what only we may say.
func (g *greeter) ask() error {
	local, err := g.h.Hello(g.remote)
	if err != nil {
		return refusalOf(err)
	}
	local.Identity = g.cfg.identity()
	local.ProtocolMin, local.ProtocolMax = ProtocolMin, ProtocolMax
	if local.Caps &^= CapStream; g.stream {
		local.Caps |= CapStream
	}
	g.local = local
	return nil
}

func (g *greeter) sendHello() error {
	body, err := encodeHello(&g.local)
	if err != nil {
		return err
	}
	b := appendPreamble(make([]byte, 0, preambleLen+headerLen+len(body)))
	b = appendHeader(b, msgHello, 0, len(body))
	_, err = g.tls.Write(append(b, body...))
	return err
}

// readHello reads the peer's preamble and hello, and checks what does not depend
// on the handler.
func (g *greeter) readHello() error {
	first, err := g.br.Peek(headerLen)
	if err != nil {
		return err
	}
	// A listener that refuses does so before it has said hello.
	if first[0] == msgMagic && msgType(first[1]) == msgRefuse {
		_, body, err := readGreeting(g.br)
		if err != nil {
			return err
		}
		return peerRefusal(body)
	}
	var pre [preambleLen]byte
	if _, err := io.ReadFull(g.br, pre[:]); err != nil {
		return err
	}
	if err := checkPreamble(pre[:]); err != nil {
		return err
	}
	typ, body, err := readGreeting(g.br)
	if err != nil {
		return err
	}
	if typ != msgHello {
		return volume.Errorf(volume.BadFormat, "%s message instead of hello", typ)
	}
	remote, err := decodeHello(body)
	if remote != nil && volume.KindOf(err) == volume.WrongVersion {
		// Said to both, so it names both.
		return refuse(volume.WrongVersion, CodeVersion, "no common protocol version: %s speaks %s, %s speaks %s: update the older one",
			g.peer.NodeID, versions(remote.ProtocolMin, remote.ProtocolMax), g.cfg.NodeID, versions(ProtocolMin, ProtocolMax))
	}
	if err != nil {
		return err
	}
	g.remote = *remote
	return g.checkHello()
}

func (g *greeter) checkHello() error {
	r := &g.remote
	switch {
	case r.Cluster != g.cfg.Keys.cluster:
		return g.cfg.otherCluster(g.addr, r.Cluster.String())
	case r.Identity != g.peer:
		return refuse(volume.Unauthorized, CodeIdentity, "the hello says node %s, role %s, store %s, but the certificate node %s, role %s, store %s",
			r.NodeID, r.Role, r.Store, g.peer.NodeID, g.peer.Role, g.peer.Store)
	case r.NodeID == g.cfg.NodeID && r.Store == g.cfg.Store:
		return refuse(volume.Busy, CodeCopied, "another daemon has the ID and the store of node %s: its state directory was copied; give the copy another --id and an empty --state-dir", r.NodeID)
	case r.NodeID == g.cfg.NodeID:
		return refuse(volume.Busy, CodeDuplicate, "two nodes are called %s: give one of them another --id", r.NodeID)
	}
	return nil
}

func peerRefusal(body []byte) error {
	r, err := decodeRefusal(body)
	if err != nil {
		return err
	}
	return r
}

// refuse tells an authenticated peer why there will be no session, and closes the
// connection without losing what was said, be it a refusal or a TLS alert.
func (g *greeter) refuse(err error) {
	g.raw.SetDeadline(time.Now().Add(lingerTime))
	r := refusalOf(err)
	if g.br != nil && !isPeerRefusal(err) && tells(r.Kind) {
		body := encodeRefusal(r)
		g.tls.Write(append(appendHeader(nil, msgRefuse, 0, len(body)), body...)) // best effort: the connection ends
	}
	hangUp(g.raw.Conn, g.tls, lingerBytes)
}

// tells reports whether a refusal is news to the peer: a lost connection is not.
func tells(k volume.Kind) bool { return k != volume.Unavailable && k != volume.Interrupted }

func isPeerRefusal(err error) bool {
	r := findRefusal(err)
	return r != nil && r.Peer
}

// hangUp closes our half, reads what the peer has under way, and closes.
// For how long is up to the connection's deadlines.
func hangUp(conn net.Conn, secure *tls.Conn, limit int64) {
	if secure != nil && secure.ConnectionState().HandshakeComplete {
		secure.CloseWrite() // its error is that of a connection that ends anyway
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
		io.CopyN(io.Discard, conn, limit)
	}
	conn.Close()
}
