package s3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"wolfdisk/volume"
)

// serve has a rig's gateway answer on a port.
func (r *rig) serve() (addr string) {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	go r.s.Serve(ln)
	return ln.Addr().String()
}

func (r *rig) dial(addr string) *net.TCPConn {
	r.t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn.(*net.TCPConn)
}

// idle waits until no request is at work.
func (r *rig) idle() {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); len(r.s.slots) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatal("a request is still at work")
		}
	}
}

// A client that stops in the middle of a body is answered so, and holds nothing.
func TestStalledBody(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Stall = 100 * time.Millisecond })
	r.path("b/", "")
	addr := r.serve()
	for _, row := range []struct {
		what, head, body string
		status           int
		code             string
	}{
		{"PUT", "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n", strings.Repeat("x", 2000000), 400, "RequestTimeout"},
		{"chunked", "PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhel", 400, "RequestTimeout"},
		{"aws-chunked", "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\nContent-Encoding: aws-chunked\r\nx-amz-decoded-content-length: 50\r\n" +
			"x-amz-content-sha256: STREAMING-UNSIGNED-PAYLOAD-TRAILER\r\n\r\n", "32\r\nhel", 400, "RequestTimeout"},
		{"document", "POST /b?delete HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n", "<Delete>", 400, "RequestTimeout"},
		// Refused before its body came, which net/http waits for to be rid of it; the second answer is longer than
		// what it keeps until the request is over.
		{"refused", "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\nIf-None-Match: y\r\n\r\n", "x", 501, "NotImplemented"},
		{"refused at length", "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\nx-amz-if-match-size: " + strings.Repeat("y", 5000) + "\r\n\r\n", "x", 400, "InvalidArgument"},
	} {
		conn := r.dial(addr)
		if _, err := io.WriteString(conn, row.head+row.body); err != nil {
			t.Fatal(err)
		}
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		br := bufio.NewReader(conn)
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(row.what, err)
		}
		b, err := io.ReadAll(res.Body)
		if res.StatusCode != row.status || !strings.Contains(string(b), "<Code>"+row.code+"<") || err != nil || !res.Close {
			t.Errorf("%s: %d %s, %v, closes: %v", row.what, res.StatusCode, b, err, res.Close)
		}
		r.idle()
	}
	left(r, 2)
}

// slow takes its time over a change of content and of a name.
type slow struct {
	Volume
	by time.Duration
}

func (s *slow) Do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	if req.Kind == volume.OpWrite || req.Kind == volume.OpPublish {
		time.Sleep(s.by)
	}
	return s.Volume.Do(ctx, req)
}

// Who goes on, however slowly, is not cut off, nor is one who waits for us.
func TestSlowBody(t *testing.T) {
	const stall = 500 * time.Millisecond
	r := newRig(t, func(c *Config) {
		c.Stall = stall
		c.Volume = &slow{c.Volume, stall + stall/4}
	})
	r.path("b/", "")
	conn := r.dial(r.serve())
	br := bufio.NewReader(conn)
	for range 2 { // on one connection, which is as good as new
		const body = "so slow!"
		fmt.Fprintf(conn, "PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", len(body))
		for i := range len(body) {
			time.Sleep(stall / 5)
			io.WriteString(conn, body[i:i+1])
		}
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		if res.StatusCode != 200 || err != nil {
			t.Fatal(res.StatusCode, string(b), err)
		}
		r.same("object", r.ok("GET", "/b/k", "").body, body)
	}
}

// A body that nobody wants has no effect on an answer that takes longer than a body may stall: net/http, which finds
// its end and waits from then on for the client to go away, takes the deadline back.
func TestLongAnswer(t *testing.T) {
	const stall, size = 300 * time.Millisecond, 32 * blockLen // more than two sockets keep
	r := newRig(t, func(c *Config) {
		c.Stall = stall
		c.Volume = &cancelled{c.Volume}
	})
	ino := r.path("b/k", "x")
	r.do(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize, Size: size})
	addr := r.serve()
	for name, body := range map[string]string{"length": "Content-Length: 1\r\n\r\nx", "chunked": "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := r.dial(addr)
			if err := conn.SetReadBuffer(256 << 10); err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(conn, "GET /b/k HTTP/1.1\r\nHost: h\r\n"+body); err != nil {
				t.Fatal(err)
			}
			conn.SetReadDeadline(time.Now().Add(60 * time.Second))
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			n := int64(0)
			for err == nil {
				time.Sleep(stall / 10)
				var k int64
				k, err = io.CopyN(io.Discard, res.Body, blockLen)
				n += k
			}
			if res.StatusCode != 200 || n != size || err != io.EOF || res.Close {
				t.Errorf("%d, %d bytes, %v, closes: %v", res.StatusCode, n, err, res.Close)
			}
		})
	}
}

// cancelled reads nothing for a request that is over, as a volume does that reads from another node.
type cancelled struct{ Volume }

func (v *cancelled) ReadAt(ctx context.Context, ino volume.Ino, p []byte, off int64) (int, error) {
	if ctx.Err() != nil {
		return 0, volume.Interrupted
	}
	return v.Volume.ReadAt(ctx, ino, p, off)
}

// A client that does not read its answer holds nothing for long.
func TestStalledReader(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Stall = 100 * time.Millisecond })
	ino := r.path("b/k", "x")
	r.do(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize, Size: 16 * blockLen}) // more than two sockets keep
	conn := r.dial(r.serve())
	if err := conn.SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n")
	if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	r.idle()
}

// A write goes on for as long as some of it is read.
func TestSlowReader(t *testing.T) {
	const stall = time.Second
	mine, theirs := net.Pipe()
	defer theirs.Close()
	c := &boundedConn{Conn: mine, places: make(chan struct{}, 1), stall: stall}
	const text = "so slow!"
	read := make(chan string)
	go func() {
		got, b := "", make([]byte, 1)
		for range text {
			time.Sleep(stall / 5)
			theirs.Read(b)
			got += string(b)
		}
		read <- got
	}()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		t.Fatal(n, err)
	}
	if got := <-read; got != text {
		t.Fatalf("%q", got)
	}
	c.stall = 10 * time.Millisecond
	if n, err := c.Write([]byte(text)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(n, err)
	}
}
