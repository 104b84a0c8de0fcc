package s3

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"wolfdisk/s3/sig"
	"wolfdisk/volume"
)

func TestKeysAreBoundToBuckets(t *testing.T) {
	r := newRig(t)
	r.path("mine/f", "x")
	r.path("yours/f", "x")
	r.s.cfg.Auth = trusting{sig.Key{Access: "a", Buckets: []string{"mine"}}}
	r.ok("GET", "/mine/f", "")
	r.ok("PUT", "/mine/g", "x")
	r.fails("AccessDenied", "GET", "/yours/f", "")
	r.fails("AccessDenied", "PUT", "/yours/f", "x")
	r.fails("AccessDenied", "PUT", "/new-bucket", "")
	r.fails("AccessDenied", "PUT", "/mine/h", "", "x-amz-copy-source: yours/f")
	if w := r.ok("GET", "/", ""); strings.Contains(w.body, "yours") || !strings.Contains(w.body, "mine") {
		t.Error(w.body)
	}
	r.s.cfg.Auth = trusting{sig.Key{Access: "a", ReadOnly: true}}
	r.ok("GET", "/yours/f", "")
	for _, q := range []string{"PUT /mine/x", "DELETE /mine/f", "POST /mine?delete", "POST /mine/x?uploads", "PUT /mine/f?tagging", "PUT /mine?acl", "PUT /new-bucket", "DELETE /mine"} {
		method, path, _ := strings.Cut(q, " ")
		r.fails("AccessDenied", method, path, "")
	}
}

func TestVirtualHosts(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Domains = []string{"s3.wolf.test"} })
	r.path("b/dir/f", "x")
	r.same("by host", r.ok("GET", "/dir/f", "", "Host: b.s3.wolf.test:9878").body, "x")
	r.same("by path", r.ok("GET", "/b/dir/f", "", "Host: s3.wolf.test").body, "x")
	r.same("another host", r.ok("GET", "/b/dir/f", "", "Host: b.example.org").body, "x")
	r.ok("GET", "/?list-type=2", "", "Host: b.s3.wolf.test")
}

func TestCORS(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CORSOrigins = []string{"https://app.test"} })
	r.path("b/f", "x")
	w := r.ok("OPTIONS", "/b/f", "", "Origin: https://app.test", "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-amz-date")
	r.same("preflight", w.Header().Get("Access-Control-Allow-Origin")+w.Header().Get("Access-Control-Allow-Headers"), "https://app.testx-amz-date")
	r.same("credentials", w.Header().Get("Access-Control-Allow-Credentials"), "true")
	r.same("varies", w.Header()["Vary"], "[Origin, Access-Control-Request-Headers, Access-Control-Request-Method]")
	r.same("methods", w.Header().Get("Access-Control-Allow-Methods"), "GET, HEAD, PUT, POST, DELETE")
	w = r.fails("AccessForbidden", "OPTIONS", "/b/f", "", "Origin: https://evil.test", "Access-Control-Request-Method: PUT")
	r.same("refused", w.Header().Get("Access-Control-Allow-Origin")+w.Header().Get("Access-Control-Allow-Credentials"), "")
	for _, method := range []string{"", "PATCH", "put", "OPTIONS"} {
		w := r.fails("BadRequest", "OPTIONS", "/b/f", "", "Origin: https://app.test", "Access-Control-Request-Method: "+method)
		r.same("method", strings.Contains(w.body, "<Message>Invalid Access-Control-Request-Method: "+method+"</Message>"), true)
		r.same("refused", w.Header().Get("Access-Control-Allow-Origin"), "")
	}
	r.fails("BadRequest", "OPTIONS", "/b/f", "", "Origin: https://app.test")
	w = r.fails("BadRequest", "OPTIONS", "/b/f", "", "Access-Control-Request-Method: PUT")
	r.same("no origin", strings.Contains(w.body, "<Message>Insufficient information. Origin request header needed.</Message>"), true)
	r.same("allowed", r.ok("GET", "/b/f", "", "Origin: https://app.test").Header().Get("Access-Control-Allow-Origin"), "https://app.test")
	r.same("not allowed", r.ok("GET", "/b/f", "", "Origin: https://evil.test").Header().Get("Access-Control-Allow-Origin"), "")
	r.s.cfg.CORSOrigins = []string{"*"}
	w = r.ok("OPTIONS", "/b/f", "", "Origin: https://any.test", "Access-Control-Request-Method: PUT")
	r.same("all", w.Header().Get("Access-Control-Allow-Origin")+w.Header().Get("Access-Control-Allow-Credentials"), "*")
}

func TestRate(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Rate = 2 })
	r.ok("GET", "/", "")
	r.ok("GET", "/", "")
	r.fails("SlowDown", "GET", "/", "")
	r.pass(time.Second)
	r.ok("GET", "/", "")
}

// A follower reads, and says of changes that another node has to make them.
func TestReadOnly(t *testing.T) {
	r := newRig(t)
	r.path("b/f", "x")
	r.ok("PUT", "/b/k", "v")
	r.m.SetReadOnly(true)
	r.same("read", r.ok("GET", "/b/k", "").body, "v")
	r.ok("GET", "/b?list-type=2", "")
	for _, q := range []string{"PUT /b/k", "DELETE /b/k", "PUT /new-bucket", "DELETE /b", "POST /b/k?uploads", "PUT /b/d/"} {
		method, path, _ := strings.Cut(q, " ")
		w := r.fails("ServiceUnavailable", method, path, "")
		r.same("Retry-After", w.Header().Get("Retry-After"), "1")
	}
	if err := r.s.Tidy(t.Context()); err != nil {
		t.Error(err)
	}
}

// changing changes a file in place after so many reads.
type changing struct {
	Volume
	after int
	do    func()
}

func (c *changing) ReadAt(ctx context.Context, ino volume.Ino, p []byte, off int64) (int, error) {
	if c.after--; c.after == 0 {
		c.do()
	}
	return c.Volume.ReadAt(ctx, ino, p, off)
}

// A GET whose object is changed in place is cut off, never ended with a wrong body; one
// whose object is replaced or chmodded goes on with what it began.
func TestChangeDuringGet(t *testing.T) {
	body := pattern(5*blockLen, 1)
	for _, row := range []struct {
		name  string
		whole bool
		do    func(r *rig, ino volume.Ino)
	}{
		{"write", false, func(r *rig, ino volume.Ino) {
			r.do(volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: 4 * blockLen, Data: []byte("torn")})
		}},
		{"truncate", false, func(r *rig, ino volume.Ino) {
			r.do(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetSize, Size: 3 * blockLen})
		}},
		{"chmod", true, func(r *rig, ino volume.Ino) {
			r.do(volume.Request{Kind: volume.OpSetAttr, Ino: ino, Set: volume.SetMode, Mode: 0o600})
		}},
		{"replace", true, func(r *rig, ino volume.Ino) { r.ok("PUT", "/b/k", "new") }},
		{"delete", true, func(r *rig, ino volume.Ino) { r.ok("DELETE", "/b/k", "") }},
	} {
		t.Run(row.name, func(t *testing.T) {
			var c *changing
			r := newRig(t, func(cfg *Config) {
				c = &changing{Volume: cfg.Volume}
				cfg.Volume = c
			})
			r.path("b/", "")
			r.ok("PUT", "/b/k", body)
			ino := r.find("b/k").Ino
			c.after, c.do = 3, func() { row.do(r, ino) }
			w := r.send("GET", "/b/k", "")
			if row.whole != (w.body == body) || !row.whole && len(w.body) >= len(body) {
				t.Errorf("%d of %d bytes came", len(w.body), len(body))
			}
		})
	}
}

// The server over a socket: a client that goes away in mid-body leaves nothing, and Close
// ends everything.
func TestServe(t *testing.T) {
	r := newRig(t)
	r.path("b/", "")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- r.s.Serve(ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + strings.Repeat("x", 2000000))); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	res, err := http.Get("http://" + ln.Addr().String() + "/b/k")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 404 || res.Header.Get("x-amz-request-id") == "" {
		t.Errorf("%v", res)
	}
	for end := time.Now().Add(20 * time.Second); len(r.m.Inos()) > 2 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	left(r, 2)
	if err := r.s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
