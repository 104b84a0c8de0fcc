package wire

import (
	"net"
	"sync/atomic"

	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

func checksum(b []byte) uint32 { return uint32(xxh3.Hash(b)) }

// maxStrangerBytes is what is read from a connection before its peer is known to
// hold the cluster key, in bytes. A real handshake needs a quarter of it; TLS
// itself would collect messages of 64 KiB and certificates of 256 KiB.
const maxStrangerBytes = 16 << 10

// Stats counts what went through one session, or through all of a Config.
type Stats struct {
	BytesIn, BytesOut           uint64 // on the socket, TLS and handshake included
	FramesIn, FramesOut         uint64
	FrameBytesIn, FrameBytesOut uint64 // content of those frames
	CallsIn, CallsOut           uint64 // requests of the peer, and of this node
}

type counters struct {
	bytesIn, bytesOut           atomic.Uint64
	framesIn, framesOut         atomic.Uint64
	frameBytesIn, frameBytesOut atomic.Uint64
	callsIn, callsOut           atomic.Uint64
}

func (c *counters) stats() Stats {
	return Stats{
		BytesIn: c.bytesIn.Load(), BytesOut: c.bytesOut.Load(),
		FramesIn: c.framesIn.Load(), FramesOut: c.framesOut.Load(),
		FrameBytesIn: c.frameBytesIn.Load(), FrameBytesOut: c.frameBytesOut.Load(),
		CallsIn: c.callsIn.Load(), CallsOut: c.callsOut.Load(),
	}
}

// rawConn is the socket below TLS. It counts, and cuts off a stranger who sends
// too much. The fields of the handshake are used by its goroutine only.
type rawConn struct {
	net.Conn
	own, total *counters // of the session, and of the Config

	limit      int    // bytes that may still be read; negative: any number
	serverName string // what the dialer looked for, as far as it can be believed
}

func newRawConn(c net.Conn, total *counters) *rawConn {
	return &rawConn{Conn: c, own: &counters{}, total: total, limit: maxStrangerBytes}
}

// trust lifts the limit once the peer is authenticated.
func (c *rawConn) trust() { c.limit = -1 }

var errStranger = volume.Errorf(volume.BadFormat, "more than %d bytes before the peer showed that it holds the cluster key", maxStrangerBytes)

func (c *rawConn) Read(p []byte) (int, error) {
	if c.limit >= 0 && len(p) > c.limit {
		if c.limit == 0 {
			return 0, errStranger
		}
		p = p[:c.limit]
	}
	n, err := c.Conn.Read(p)
	if c.limit > 0 {
		c.limit -= n
	}
	c.own.bytesIn.Add(uint64(n))
	c.total.bytesIn.Add(uint64(n))
	return n, err
}

func (c *rawConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.own.bytesOut.Add(uint64(n))
	c.total.bytesOut.Add(uint64(n))
	return n, err
}
