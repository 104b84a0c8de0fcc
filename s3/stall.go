package s3

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

// stallTimeout is how long a client may send nothing of a body that it has begun, or take nothing of its answer.
// Amazon S3 documents that there is such a time (RequestTimeout, in its list of error codes), and not how long it is.
// This is what nginx has by default for both (client_body_timeout and send_timeout), and how long boto3 waits for us
// (read_timeout).
const stallTimeout = 60 * time.Second

// pacedBody gives a client a time for each read of its body. The time that the gateway takes for what was read does
// not count.
type pacedBody struct {
	io.ReadCloser
	conn  *http.ResponseController
	stall time.Duration

	mu sync.Mutex // leaf; guards over
	// over says that nothing more is read here, and that deadlines are net/http's again.
	over bool
}

func (b *pacedBody) Read(p []byte) (int, error) {
	b.extend()
	n, err := b.ReadCloser.Read(p)
	if err == nil {
		return n, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over && err == io.EOF {
		// From here on net/http reads to see whether the client goes away.
		_ = b.conn.SetReadDeadline(time.Time{})
	}
	b.over = true
	return n, err
}

// extend gives the client its time anew.
func (b *pacedBody) extend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.over {
		_ = b.conn.SetReadDeadline(time.Now().Add(b.stall)) // cannot be done only where there is no connection
	}
}

// end is for when the request has been answered. What is left of the body net/http reads, up to a bound, and gets the
// time for one read for it.
func (b *pacedBody) end() {
	b.extend()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.over = true
}

// Write gives the client a time for whatever part of p goes out at once. It is here, and not where answers are made,
// since only here is it known how much has gone out.
func (c *boundedConn) Write(p []byte) (n int, err error) {
	for {
		if err := c.Conn.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
			return n, err
		}
		k, err := c.Conn.Write(p[n:])
		n += k
		if k == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}
