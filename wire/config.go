package wire

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

const (
	// MaxFrame bounds one frame, in bytes: the largest op, and its header.
	MaxFrame = volume.MaxOpLen + 64<<10
	// MaxRequest bounds the body of a request, in bytes: the largest op, and what
	// stands around it.
	MaxRequest = MaxFrame
	// MaxAnswer bounds one message of an answer sent with Send, in bytes. Write has
	// no bound.
	MaxAnswer = 256 << 10
)

const (
	defaultHandshakeTimeout = 5 * time.Second
	defaultWriteTimeout     = 30 * time.Second
	defaultKeepAlive        = 15 * time.Second
	defaultMaxPending       = 64
	defaultWindow           = 8 << 20
	defaultRequestWindow    = 8 << 20
	defaultAnswerWindow     = 512 << 10
	defaultMaxCalls         = 32
	// minAnswerWindow keeps pieces of answers from becoming silly.
	minAnswerWindow = 4 << 10
	// maxWindow bounds what a peer may grant, in bytes.
	maxWindow = 1 << 30
)

// Config says who this node is and how its sessions behave. It is not changed
// after its first use, and not copied: one Config stands for one run of a node, and
// has one certificate. Zero values of the second part mean the defaults.
type Config struct {
	Keys    *Keys
	NodeID  string
	Role    volume.Role
	Store   volume.ID // of this node's state directory; zero without one
	NoDelay bool      // TCP_NODELAY; the daemons set it unless told -n
	Log     zerolog.Logger

	HandshakeTimeout time.Duration // for TLS and hello together; 5 s
	WriteTimeout     time.Duration // a peer that takes nothing for so long is lost; 30 s
	KeepAlive        time.Duration // of TCP, idle time before the first probe; 15 s
	MaxPending       int           // connections at once that are not authenticated; 64
	Window           int           // bytes of frames a peer may send ahead; 8 MiB
	RequestWindow    int           // bytes of requests a peer may have here; 8 MiB
	AnswerWindow     int           // bytes of one answer that wait here for its reader; 512 KiB
	MaxCalls         int           // handlers running for a peer, and calls open to it; 32

	// Dialer replaces the TCP dialer; for tests and proxies.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)

	once  sync.Once
	tls   *tls.Config
	err   error
	total counters
}

// Totals are the counters of all sessions of this Config, handshakes included.
func (c *Config) Totals() Stats { return c.total.stats() }

func (c *Config) identity() Identity {
	return Identity{Cluster: c.Keys.cluster, NodeID: c.NodeID, Role: c.Role, Store: c.Store}
}

func setDefault[T int | time.Duration](p *T, v T) {
	if *p <= 0 {
		*p = v
	}
}

// prepare fills in defaults and makes the certificate, once.
func (c *Config) prepare() error {
	c.once.Do(func() {
		if c.Keys == nil || len(c.Keys.keys) == 0 {
			c.err = volume.Errorf(volume.Invalid, "no cluster key: there is no mode without one")
			return
		}
		if c.err = volume.CheckNodeID(c.NodeID); c.err != nil {
			return
		}
		setDefault(&c.HandshakeTimeout, defaultHandshakeTimeout)
		setDefault(&c.WriteTimeout, defaultWriteTimeout)
		setDefault(&c.KeepAlive, defaultKeepAlive)
		setDefault(&c.MaxPending, defaultMaxPending)
		setDefault(&c.Window, defaultWindow)
		setDefault(&c.RequestWindow, defaultRequestWindow)
		setDefault(&c.AnswerWindow, defaultAnswerWindow)
		setDefault(&c.MaxCalls, defaultMaxCalls)
		c.Window = min(c.Window, maxWindow)
		// The largest request must fit into what is granted at rest, three quarters of
		// the window, or it would wait for ever.
		c.RequestWindow = min(max(c.RequestWindow, 2*(MaxRequest+requestCost)), maxWindow)
		c.AnswerWindow = min(max(c.AnswerWindow, minAnswerWindow), maxWindow)
		c.tls, c.err = tlsConfig(c.Keys, c.identity())
	})
	return c.err
}

// Handler is what a node decides about its sessions. Its methods are called from
// many goroutines.
type Handler interface {
	// Hello is asked what to say to a peer and whether to accept it. A listener asks
	// once, with the peer's hello. A dialer speaks first and asks twice: before,
	// with what the peer's certificate says (remote.Heard is false), and again when
	// the peer has answered; of the second call only the error counts. An error
	// refuses the session; a *Refusal travels as it is. Identity, cluster, protocol
	// version and equal node IDs are checked before.
	Hello(remote Hello) (local Hello, err error)
	// Session owns an accepted session until it returns, which closes it. It is
	// called for listeners only, each in its own goroutine, and must call Serve.
	Session(s *Session)
}

// RefusalObserver is implemented by a Handler that wants to know why sessions did
// not come about, for status. Peers that never authenticated have a zero NodeID.
type RefusalObserver interface {
	Refused(remote Hello, addr string, err error)
}
