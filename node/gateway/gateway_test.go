package gateway

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/node/config"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
)

// cluster is nodes that share one volume, of which one leads.
type cluster struct {
	mu      sync.Mutex
	vol     *volumetest.Model
	leader  string
	changed chan struct{}
	nodes   map[string]*member
	stall   time.Duration // of members to come; see Gateway
}

type member struct {
	c   *cluster
	id  string
	g   *Gateway
	log *bytes.Buffer

	mu      sync.Mutex
	visible volume.Version // where it is; 0: where the others are
	thinks  string         // who leads, whatever is true; empty: what is true
	dials   int

	hurried atomic.Bool
}

func newCluster() *cluster {
	return &cluster{vol: volumetest.NewModel(volumetest.Options{}), changed: make(chan struct{}), nodes: map[string]*member{}}
}

func (c *cluster) lead(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = id
	close(c.changed)
	c.changed = make(chan struct{})
}

// Leader implements Node.
func (m *member) Leader() Leader {
	m.mu.Lock()
	thinks := m.thinks
	m.mu.Unlock()
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	if thinks != "" {
		return Leader{ID: thinks}
	}
	return Leader{ID: m.c.leader, Self: m.c.leader == m.id}
}

// Changed implements Node.
func (m *member) Changed() <-chan struct{} {
	m.c.mu.Lock()
	defer m.c.mu.Unlock()
	return m.c.changed
}

// Hurry implements Node.
func (m *member) Hurry() { m.hurried.Store(true) }

// Visible implements Node.
func (m *member) Visible() volume.Version {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.visible > 0 {
		return m.visible
	}
	return m.c.vol.Position().Version
}

// Dial implements Node.
func (m *member) Dial(ctx context.Context, to Leader) (net.Conn, error) {
	m.mu.Lock()
	m.dials++
	m.mu.Unlock()
	m.c.mu.Lock()
	other := m.c.nodes[to.ID]
	m.c.mu.Unlock()
	if other == nil {
		return nil, volume.Errorf(volume.Unavailable, "nobody is there")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	mine, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		return nil, err
	}
	theirs, err := ln.Accept()
	if err != nil {
		return nil, err
	}
	go func() {
		other.g.Stream(theirs)
		theirs.Close()
	}()
	return mine, nil
}

// add starts a node that serves S3 as text says.
func (c *cluster) add(t *testing.T, id, text string) *member {
	t.Helper()
	m := &member{c: c, id: id, log: &bytes.Buffer{}}
	g, err := New(Options{Config: load(t, text), Node: m, Log: zerolog.New(zerolog.SyncWriter(m.log))})
	if err != nil {
		t.Fatal(err)
	}
	m.g = g
	g.stall = c.stall
	c.mu.Lock()
	c.nodes[id] = m
	c.mu.Unlock()
	g.Open(c.vol)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := g.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return m
}

const open = "enabled = true\nbind = \"127.0.0.1:0\"\n"

func load(t *testing.T, text string) *config.Config {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte("[s3]\n"+text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load("wolfdisk-slave", []string{"--config", file, "--mount", "none"}, []string{"HOME=/nowhere"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// send makes a request at a node, and returns status and body; 0 if there is no answer.
func (m *member) send(t *testing.T, method, path string, body io.Reader, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+m.g.Address()+path, body)
	if err != nil {
		return 0, err.Error()
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}
	return res.StatusCode, string(b)
}

func (m *member) want(t *testing.T, status int, method, path, body string, headers ...string) string {
	t.Helper()
	got, text := m.send(t, method, path, strings.NewReader(body), headers...)
	if got != status {
		t.Fatalf("%s %s at %s: %d %s, want %d", method, path, m.id, got, text, status)
	}
	return text
}

// TestLeaderChanges: a change waits for a leader, and goes to the next one if the one that was
// known leads no more; here itself, if it is this node.
func TestLeaderChanges(t *testing.T) {
	c := newCluster()
	a, b, f := c.add(t, "a", open), c.add(t, "b", open), c.add(t, "f", open)
	c.lead("a")
	f.want(t, 200, "PUT", "/bucket", "")
	f.want(t, 200, "PUT", "/bucket/one", "1")
	a.want(t, 200, "GET", "/bucket/one", "")
	c.lead("b") // the stream to a is still there
	f.want(t, 200, "PUT", "/bucket/two", "2")
	c.lead("")
	answered := make(chan int, 2)
	body, feed := io.Pipe()
	go func() {
		status, _ := f.send(t, "PUT", "/bucket/three", body)
		answered <- status
	}()
	go func() {
		feed.Write([]byte("three"))
		feed.Close()
	}()
	select {
	case s := <-answered:
		t.Fatalf("answered with %d while nobody leads", s)
	case <-time.After(200 * time.Millisecond):
	}
	c.lead("a")
	if s := <-answered; s != 200 {
		t.Fatal(s)
	}
	if got := b.want(t, 200, "GET", "/bucket/three", ""); got != "three" {
		t.Fatalf("%q", got)
	}
	c.lead("gone") // nobody is there
	go func() {
		status, _ := f.send(t, "PUT", "/bucket/four", strings.NewReader("4"))
		answered <- status
	}()
	time.Sleep(100 * time.Millisecond)
	c.lead("f")
	if s := <-answered; s != 200 {
		t.Fatal(s)
	}
	if got := f.want(t, 200, "GET", "/bucket/four", ""); got != "4" {
		t.Fatalf("%q", got)
	}
}

func (m *member) think(who string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.thinks = who
}

// TestRefusedByLeader: what a node that leads no more refuses is offered again with its body, and
// no request goes in circles.
func TestRefusedByLeader(t *testing.T) {
	c := newCluster()
	a, f := c.add(t, "a", open), c.add(t, "f", open)
	c.lead("a")
	f.want(t, 200, "PUT", "/bucket", "")
	f.think("a")
	a.think("a") // as another: it does not lead, says it, and would forward to itself
	answered := make(chan int, 1)
	go func() {
		status, _ := f.send(t, "PUT", "/bucket/key", strings.NewReader("text"))
		answered <- status
	}()
	time.Sleep(150 * time.Millisecond)
	a.think("")
	if s := <-answered; s != 200 {
		t.Fatal(s)
	}
	if got := a.want(t, 200, "GET", "/bucket/key", ""); got != "text" {
		t.Fatalf("%q", got)
	}
}

// TestSees: the client is answered when this node has what it did, and the leader is told that
// somebody waits for it.
func TestSees(t *testing.T) {
	c := newCluster()
	a := c.add(t, "a", open)
	f := c.add(t, "f", open)
	c.lead("a")
	f.want(t, 200, "PUT", "/bucket", "")
	a.hurried.Store(false)
	f.mu.Lock()
	f.visible = 1
	f.mu.Unlock()
	answered := make(chan int, 1)
	go func() {
		status, _ := f.send(t, "PUT", "/bucket/key", strings.NewReader("text"))
		answered <- status
	}()
	select {
	case s := <-answered:
		t.Fatalf("answered with %d before it is visible", s)
	case <-time.After(200 * time.Millisecond):
	}
	if !a.hurried.Load() {
		t.Error("the leader does not know that the follower waits")
	}
	f.mu.Lock()
	f.visible = 0
	f.mu.Unlock()
	if s := <-answered; s != 200 {
		t.Fatal(s)
	}
}

// TestAsItCame: what is not plain in a request reaches the leader as it was.
func TestAsItCame(t *testing.T) {
	c := newCluster()
	a, f := c.add(t, "a", open), c.add(t, "f", open)
	c.lead("a")
	f.want(t, 200, "PUT", "/bucket", "")
	conn, err := net.Dial("tcp", f.g.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "PUT /bucket/%%61%%2bb%%2F~ HTTP/1.1\r\nHost: a.host:1\r\nX-Amz-Meta-Two: one\r\nX-Amz-Meta-Two: two\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || !strings.HasPrefix(string(answer), "HTTP/1.1 200 ") || strings.Contains(string(answer), "Wolfdisk-") {
		t.Fatalf("%s, %v", answer, err)
	}
	if got := a.want(t, 200, "GET", "/bucket/a+b/~", ""); got != "abcde" {
		t.Fatalf("%q", got)
	}
	if got := f.want(t, 400, "PUT", "/bucket/x", "x", "Wolfdisk-Version: 1"); !strings.Contains(got, "reserved") {
		t.Fatal(got)
	}
}

// TestContinue: a client that asks is told to go on when the leader wants the body, and not if it
// does not.
func TestContinue(t *testing.T) {
	c := newCluster()
	c.add(t, "a", open)
	f := c.add(t, "f", open)
	c.lead("a")
	f.want(t, 200, "PUT", "/bucket", "")
	f.want(t, 200, "PUT", "/bucket/there", "x")
	for _, tt := range []struct {
		key, want string
		body      bool
	}{{"new", "HTTP/1.1 100 ", true}, {"there", "HTTP/1.1 412 ", false}} {
		conn, err := net.Dial("tcp", f.g.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(conn, "PUT /bucket/%s HTTP/1.1\r\nHost: h\r\nIf-None-Match: *\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n", tt.key)
		buf := make([]byte, 4096)
		n, err := conn.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), tt.want) {
			t.Fatalf("%s: %q, %v", tt.key, buf[:n], err)
		}
		if !tt.body {
			continue
		}
		io.WriteString(conn, "text")
		if n, err = conn.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200 ") {
			t.Fatalf("%s: %q, %v", tt.key, buf[:n], err)
		}
	}
}

// TestNoLength: content of no stated length, which a hop would state to be empty, is refused where it comes in.
func TestNoLength(t *testing.T) {
	c := newCluster()
	c.lead("a")
	c.add(t, "a", open)
	f := c.add(t, "f", open)
	f.want(t, 200, "PUT", "/bucket", "")
	f.want(t, 200, "PUT", "/bucket/key", "old")
	for _, tt := range []struct{ header, want string }{{"", "HTTP/1.1 411 "}, {"Content-Length: 0\r\n", "HTTP/1.1 200 "}} {
		conn, err := net.Dial("tcp", f.g.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT /bucket/key HTTP/1.1\r\nHost: h\r\n%s\r\n", tt.header)
		buf := make([]byte, 4096)
		if n, err := conn.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), tt.want) {
			t.Fatalf("%q: %q, %v", tt.header, buf[:n], err)
		}
		if got := f.want(t, 200, "GET", "/bucket/key", ""); tt.header == "" && got != "old" {
			t.Fatalf("%q", got)
		}
	}
}

// TestStalledClient: one that stops in the middle of a body that is forwarded is told so where it is, and holds nothing
// anywhere. The leader gives a client of another node its time no second time: it sees the body in blocks, and late.
func TestStalledClient(t *testing.T) {
	const stall = time.Second
	c := newCluster()
	c.lead("a")
	c.stall = stall / 10
	c.add(t, "a", open)
	c.stall = stall
	f := c.add(t, "f", open)
	f.want(t, 200, "PUT", "/bucket", "")
	for _, sent := range []string{"some", ""} {
		conn, err := net.Dial("tcp", f.g.Address())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "PUT /bucket/key HTTP/1.1\r\nHost: h\r\nContent-Length: 3000000\r\n\r\n%s", sent)
		buf := make([]byte, 4096)
		conn.SetReadDeadline(time.Now().Add(20 * time.Second))
		if n, err := conn.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 400 ") || !strings.Contains(string(buf[:n]), "<Code>RequestTimeout<") {
			t.Fatalf("%q, %v", buf[:n], err)
		}
	}
	body, feed := io.Pipe()
	go func() {
		for range 8 {
			time.Sleep(stall / 5)
			feed.Write([]byte("x"))
		}
		feed.Close()
	}()
	if status, text := f.send(t, "PUT", "/bucket/key", body); status != 200 {
		t.Fatal(status, text)
	}
	for deadline := time.Now().Add(20 * time.Second); len(c.vol.Inos()) != 3; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("inodes %v are left", c.vol.Inos())
		}
	}
}

// TestNoKeys: a leader without keys does nothing that was asked of a node that has some.
func TestNoKeys(t *testing.T) {
	const pair = "access_key = \"main\"\nsecret_key = \"secret\"\n"
	c := newCluster()
	a := c.add(t, "a", "")
	f := c.add(t, "f", open+pair)
	c.lead("a")
	// Not signed: refused here, nobody is bothered.
	f.want(t, 403, "PUT", "/bucket", "")
	if f.dials != 0 {
		t.Error("what has no signature goes to the leader")
	}
	fwd := &forwarding{g: f.g, r: &http.Request{Method: "PUT", RequestURI: "/bucket", Host: "h", Header: http.Header{}}}
	fwd.r = fwd.r.WithContext(t.Context())
	_, err := fwd.try(f.g.targetOf(a.Leader()))
	if err == nil || !strings.Contains(err.Error(), "the leader, node a, has no S3 keys") || !strings.Contains(a.log.String(), codeNoKeys) {
		t.Errorf("%v\n%s", err, a.log)
	}
}

// TestReloadKeepsKeys: a gateway that others reach is not opened to all by a reload.
func TestReloadKeepsKeys(t *testing.T) {
	const pair = "access_key = \"main\"\nsecret_key = \"secret\"\n"
	c := newCluster()
	c.lead("a")
	a := c.add(t, "a", "enabled = true\nbind = \"0.0.0.0:0\"\n"+pair)
	b := c.add(t, "b", open+pair)
	for _, m := range []*member{a, b} {
		m.g.reload(load(t, "enabled = true\n"))
	}
	if a.g.keys.Empty() || !strings.Contains(a.log.String(), codeKeysKept) {
		t.Errorf("keys are gone from a gateway that others reach\n%s", a.log)
	}
	if !b.g.keys.Empty() {
		t.Error("keys of a gateway on loopback are kept")
	}
	a.g.reload(load(t, open+"access_key = \"other\"\nsecret_key = \"secret\"\n"))
	if _, ok := a.g.keys.Find("main"); ok {
		t.Error("the old key is still good")
	}
	if k, ok := a.g.keys.Find("other"); !ok || k.Secret != "secret" {
		t.Errorf("the new key is not known: %+v", k)
	}
}

// certificate writes a new certificate with a serial number.
func certificate(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestTLS serves with the certificate that is there, and after a reload with the next.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certificate(t, certFile, keyFile, 1)
	text := open + fmt.Sprintf("tls_cert = %q\ntls_key = %q\n", certFile, keyFile)
	c := newCluster()
	c.lead("a")
	a := c.add(t, "a", text)
	serial := func() int64 {
		t.Helper()
		conn, err := tls.Dial("tcp", a.g.Address(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if b, err := io.ReadAll(conn); err != nil || !strings.Contains(string(b), "ListAllMyBucketsResult") {
			t.Fatalf("%s, %v", b, err)
		}
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Fatalf("certificate %d", n)
	}
	certificate(t, certFile, keyFile, 2)
	a.g.reload(load(t, text))
	if n := serial(); n != 2 {
		t.Fatalf("after a reload certificate %d", n)
	}
	if err := os.WriteFile(certFile, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.g.reload(load(t, text))
	if n := serial(); n != 2 || !strings.Contains(a.log.String(), codeReloadTLS) {
		t.Fatalf("after a bad reload certificate %d\n%s", n, a.log)
	}
	if _, err := New(Options{Config: load(t, text), Node: a, Log: zerolog.Nop()}); err == nil || !strings.Contains(err.Error(), "[s3] tls_cert, tls_key") {
		t.Fatalf("started with nonsense: %v", err)
	}
}

// TestShutdownWaits: a request at work is answered, a new one is not taken.
func TestShutdownWaits(t *testing.T) {
	c := newCluster()
	c.lead("a")
	a, f := c.add(t, "a", open), c.add(t, "f", open)
	a.want(t, 200, "PUT", "/bucket", "")
	for _, m := range []*member{f, a} {
		body, feed := io.Pipe()
		answered := make(chan int, 1)
		go func() {
			status, _ := m.send(t, "PUT", "/bucket/key", body)
			answered <- status
		}()
		before := c.vol.Position().Version
		feed.Write([]byte("te"))
		for c.vol.Position().Version == before { // until it is at work
			time.Sleep(time.Millisecond)
		}
		done := make(chan error, 1)
		go func() { done <- m.g.Shutdown(t.Context()) }()
		time.Sleep(100 * time.Millisecond)
		if conn, err := net.Dial("tcp", m.g.Address()); err == nil {
			conn.Close()
			t.Errorf("%s takes connections while it stops", m.id)
		}
		feed.Write([]byte("xt"))
		feed.Close()
		if s := <-answered; s != 200 {
			t.Errorf("a request at work at %s is answered with %d", m.id, s)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

// TestBuckets: whoever begins to lead makes the buckets of the configuration.
func TestBuckets(t *testing.T) {
	c := newCluster()
	a := c.add(t, "a", open+"[s3.buckets]\nphotos = \"media/photos\"\n")
	a.want(t, 404, "GET", "/photos?list-type=2", "")
	c.lead("b")
	time.Sleep(50 * time.Millisecond)
	a.want(t, 404, "GET", "/photos?list-type=2", "")
	c.lead("a")
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if status, _ := a.send(t, "GET", "/photos?list-type=2", nil); status == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the bucket is not made")
		}
	}
	a.want(t, 200, "PUT", "/photos/a", "picture")
	if got := a.want(t, 200, "GET", "/media/photos/a", ""); got != "picture" {
		t.Fatalf("%q", got)
	}
}

// TestLongHeaders: what a client may send to one node it may send to all, whatever the node adds on the way.
func TestLongHeaders(t *testing.T) {
	c := newCluster()
	c.lead("a")
	a, f := c.add(t, "a", open), c.add(t, "f", open)
	f.want(t, 200, "PUT", "/bucket", "")
	const most = 8 << 10
	for _, m := range []*member{a, f} {
		for over, want := range []string{"HTTP/1.1 200 ", "HTTP/1.1 400 "} {
			conn, err := net.Dial("tcp", m.g.Address())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			const length, long = "Content-Length: 1\r\n", "X-Custom: "
			fmt.Fprintf(conn, "PUT /bucket/key HTTP/1.1\r\nHost: h\r\n%s%s%s\r\n\r\nx", length, long, strings.Repeat("x", most-len(length)-len(long)-len("\r\n")+over))
			buf := make([]byte, 4096)
			if n, err := conn.Read(buf); err != nil || !strings.HasPrefix(string(buf[:n]), want) {
				t.Errorf("%s, %d bytes: %q, %v", m.id, most+over, buf[:n], err)
			}
		}
	}
}
