package wire

import (
	"bufio"
	"context"
	"crypto/tls"
	"net"
)

// CapStream in a hello says that no messages follow the greeting but a plain stream of bytes each
// way, for another protocol. The dialer asks for it, and the listener answers in kind.
const CapStream uint64 = 1 << 1

// StreamHandler is a Handler that takes streams; without it they are refused.
type StreamHandler interface {
	Handler
	// Stream owns an accepted stream until it returns, which closes it. It is called in a
	// goroutine of its own.
	Stream(conn net.Conn, remote Hello)
}

// DialStream connects to a node, host:port, and agrees on a stream with it, which belongs to
// the caller. Of h only Hello is called. Errors are those of Dial; WrongVersion if the node
// takes no streams.
func DialStream(ctx context.Context, cfg *Config, addr string, h Handler) (net.Conn, error) {
	g, err := dial(ctx, cfg, addr, h, true)
	if err != nil {
		return nil, err
	}
	return newStream(g), nil
}

// stream is TLS, behind what the greeting has read ahead. The counters of its Config count it.
type stream struct {
	*tls.Conn
	br *bufio.Reader // nil once it is empty; of the reading goroutine
}

func newStream(g *greeter) net.Conn { return &stream{g.tls, g.br} }

// Read implements net.Conn.
func (s *stream) Read(p []byte) (int, error) {
	if s.br != nil {
		if n := min(s.br.Buffered(), len(p)); n > 0 {
			return s.br.Read(p[:n])
		}
		if len(p) == 0 {
			return 0, nil
		}
		s.br = nil
	}
	return s.Conn.Read(p)
}
