package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// testKeys are the same in every run, and used by no cluster.
func testKeys(cluster byte, keys ...byte) *Keys {
	k := &Keys{path: "/etc/wolfdisk/cluster.key"}
	for i := range k.cluster {
		k.cluster[i] = cluster
	}
	for _, b := range keys {
		var key [keyLen]byte
		for i := range key {
			key[i] = b
		}
		k.keys = append(k.keys, key)
	}
	return k
}

func storeID(b byte) (id volume.ID) { id[0] = b; return id }

func testConfig(node string, k *Keys) *Config {
	return &Config{Keys: k, NodeID: node, Store: storeID(node[len(node)-1]), Log: zerolog.Nop(), NoDelay: true}
}

// testHandler accepts everybody, unless told otherwise.
type testHandler struct {
	local   Hello
	decide  func(remote Hello) error
	session func(s *Session)

	mu      sync.Mutex
	refused []error
	heard   []Hello
}

func (h *testHandler) Hello(remote Hello) (Hello, error) {
	h.mu.Lock()
	h.heard = append(h.heard, remote)
	h.mu.Unlock()
	if h.decide != nil && remote.Heard() {
		return h.local, h.decide(remote)
	}
	return h.local, nil
}

func (h *testHandler) Session(s *Session) {
	if h.session != nil {
		h.session(s)
	}
}

func (h *testHandler) Refused(_ Hello, _ string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = append(h.refused, err)
}

// tcpPair is a loopback connection.
func tcpPair(t testing.TB) (dialer, listener net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			panic(err)
		}
		accepted <- c
	}()
	d, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l := <-accepted
	t.Cleanup(func() { d.Close(); l.Close() })
	return d, l
}

type greeted struct {
	s   *Session
	err error
}

// greetBoth runs the greeting on both ends of a connection.
func greetBoth(t testing.TB, dc, lc *Config, dh, lh Handler, d, l net.Conn) (dialer, listener greeted) {
	t.Helper()
	for _, c := range []*Config{dc, lc} {
		if err := c.prepare(); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan greeted, 1)
	go func() {
		s, err := greet(t.Context(), lc, l, "listener-side", lh, false)
		done <- greeted{s, err}
	}()
	s, err := greet(t.Context(), dc, d, "dialer-side", dh, true)
	return greeted{s, err}, <-done
}

// pair is two sessions with each other.
func pair(t testing.TB, dc, lc *Config, d, l net.Conn) (a, b *Session) {
	t.Helper()
	x, y := greetBoth(t, dc, lc, &testHandler{}, &testHandler{}, d, l)
	if x.err != nil || y.err != nil {
		t.Fatalf("greeting: %v / %v", x.err, y.err)
	}
	t.Cleanup(func() {
		var both sync.WaitGroup
		both.Go(func() { x.s.Close(nil) })
		both.Go(func() { y.s.Close(nil) })
		both.Wait()
	})
	return x.s, y.s
}

// tcpSessions is two sessions over loopback with one key; tune may change their
// configurations first.
func tcpSessions(t testing.TB, tune func(c *Config)) (a, b *Session) {
	t.Helper()
	k := testKeys(1, 7)
	ca, cb := testConfig("node-1", k), testConfig("node-2", k)
	if tune != nil {
		tune(ca)
		tune(cb)
	}
	d, l := tcpPair(t)
	return pair(t, ca, cb, d, l)
}

// testSink records what arrives; nil functions accept everything.
type testSink struct {
	frame    func(b []byte) error
	progress func(p Progress)
	durable  func(v volume.Version)
	request  func(ctx context.Context, kind uint16, body []byte, w *AnswerWriter) error
}

func (k *testSink) Frame(b []byte) error {
	if k.frame != nil {
		return k.frame(b)
	}
	return nil
}
func (k *testSink) Progress(p Progress) {
	if k.progress != nil {
		k.progress(p)
	}
}
func (k *testSink) Durable(v volume.Version) {
	if k.durable != nil {
		k.durable(v)
	}
}
func (k *testSink) Request(ctx context.Context, kind uint16, body []byte, w *AnswerWriter) error {
	if k.request != nil {
		return k.request(ctx, kind, body, w)
	}
	return volume.Errorf(volume.Unsupported, "request kind %d", kind)
}

// serve runs Serve and returns what gets its result.
func serve(ctx context.Context, s *Session, sink Sink) <-chan error {
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, sink) }()
	return done
}

// soon gets a value, or fails the test.
func soon[T any](t testing.TB, what string, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatalf("%s: nothing after 20 s", what)
		panic("unreachable")
	}
}

func wantKind(t testing.TB, what string, err error, kind volume.Kind, texts ...string) {
	t.Helper()
	if err == nil || volume.KindOf(err) != kind {
		t.Fatalf("%s: got error %v (kind %q), want kind %q", what, err, volume.KindOf(err), kind)
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%s: error %q does not mention %q", what, err, text)
		}
	}
}

// choppyConn cuts everything that goes through it into random pieces.
type choppyConn struct {
	net.Conn
	mu  sync.Mutex
	rnd *rand.Rand
}

func (c *choppyConn) n(max int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.rnd.Intn(4) == 0 {
		return 1 + c.rnd.Intn(min(max, 7))
	}
	return 1 + c.rnd.Intn(max)
}

func (c *choppyConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return c.Conn.Read(p)
	}
	return c.Conn.Read(p[:c.n(len(p))])
}

func (c *choppyConn) Write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n, err := c.Conn.Write(p[sent : sent+c.n(len(p)-sent)])
		sent += n
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// randomFrames makes frames of very different lengths, all different.
func randomFrames(rnd *rand.Rand, n, largest int) [][]byte {
	frames := make([][]byte, n)
	for i := range frames {
		size := 1 + rnd.Intn(200)
		switch rnd.Intn(50) {
		case 0:
			size = 1 + rnd.Intn(largest)
		case 1:
			size = 1
		}
		frames[i] = make([]byte, size)
		rnd.Read(frames[i])
	}
	return frames
}

// collect is a sink's frame function that compares with what must come, and a
// channel that is closed when all came.
func collect(want [][]byte) (func(b []byte) error, <-chan struct{}) {
	done := make(chan struct{})
	i := 0
	return func(b []byte) error {
		if i >= len(want) || !bytes.Equal(b, want[i]) {
			return fmt.Errorf("frame %d of %d is not what was sent", i, len(want))
		}
		if i++; i == len(want) {
			close(done)
		}
		return nil
	}, done
}

// readAnswer returns all messages of an answer.
func readAnswer(a *AnswerReader) (all [][]byte, err error) {
	for {
		m, err := a.Next()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, bytes.Clone(m))
	}
}
