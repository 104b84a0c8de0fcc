package wire

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// logBuffer collects log lines.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Split(strings.TrimSpace(l.b.String()), "\n")
}

func TestListenAndDial(t *testing.T) {
	k := testKeys(1, 7)
	lc, dc := testConfig("node-2", k), testConfig("node-1", k)
	ended := make(chan error, 1)
	l, err := Listen(lc, "127.0.0.1:0", &testHandler{session: func(s *Session) {
		ended <- s.Serve(context.Background(), &testSink{request: func(_ context.Context, _ uint16, body []byte, w *AnswerWriter) error {
			return w.Last(body)
		}})
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = Listen(lc, l.Addr().String(), &testHandler{})
	_, port, _ := net.SplitHostPort(l.Addr().String())
	wantKind(t, "busy port", err, volume.Unavailable, port, "in use", "--bind")
	_, err = Listen(lc, "192.0.2.1:1", &testHandler{})
	wantKind(t, "foreign address", err, volume.Unavailable, "192.0.2.1:1")

	s, err := Dial(t.Context(), dc, l.Addr().String(), &testHandler{})
	if err != nil {
		t.Fatal(err)
	}
	served := serve(t.Context(), s, &testSink{})
	if got, err := s.CallAll(t.Context(), 1, []byte("hi"), 10); err != nil || string(got) != "hi" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	wantKind(t, "listener's Serve", soon(t, "serve", ended), volume.Closed)
	wantKind(t, "dialer's Serve", soon(t, "serve", served), volume.Closed, "node node-2 is stopping")
	if in, out := dc.Totals(), lc.Totals(); in.BytesOut == 0 || in.BytesOut != out.BytesIn || in.CallsOut != 1 || out.CallsIn != 1 {
		t.Errorf("totals %+v, %+v", in, out)
	}
	_, err = Dial(t.Context(), dc, l.Addr().String(), &testHandler{})
	wantKind(t, "dial a closed port", err, volume.Unavailable, "connect to", port)
}

// Somebody who opens connections and says nothing does not keep a node out.
func TestStrangersMakeRoom(t *testing.T) {
	k := testKeys(1, 7)
	lc := testConfig("node-2", k)
	lc.MaxPending = 4
	l, err := Listen(lc, "127.0.0.1:0", &testHandler{session: func(s *Session) { s.Serve(context.Background(), &testSink{}) }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for range 30 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	begin := time.Now()
	s, err := Dial(t.Context(), testConfig("node-1", k), l.Addr().String(), &testHandler{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(nil)
	serve(t.Context(), s, &testSink{})
	if _, err := s.Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	if d := time.Since(begin); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) > lc.MaxPending {
		t.Errorf("%d strangers", len(l.pending))
	}
}

func TestRefusalsAreLoggedOnce(t *testing.T) {
	var log logBuffer
	lc := testConfig("node-2", testKeys(1, 7))
	lc.Log = zerolog.New(&log)
	l, err := Listen(lc, "127.0.0.1:0", &testHandler{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dc := testConfig("node-1", testKeys(1, 8))
	for range 5 {
		_, err := Dial(t.Context(), dc, l.Addr().String(), &testHandler{})
		wantKind(t, "other key", err, volume.Unauthorized)
	}
	waitFor(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.pending) == 0 })
	if lines := log.lines(); len(lines) != 1 || !strings.Contains(lines[0], CodeUnauthorized) {
		t.Errorf("log:\n%s", strings.Join(lines, "\n"))
	}
	var r refusalLog
	for i := range 1000 {
		r.first(string(rune(i)))
	}
	if len(r.seen) > maxRefusals {
		t.Errorf("%d refusals remembered", len(r.seen))
	}
}

func TestDialLoop(t *testing.T) {
	k := testKeys(1, 7)
	lc, dc := testConfig("node-2", k), testConfig("node-1", k)
	var log logBuffer
	dc.Log = zerolog.New(&log)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := free.Addr().String()
	free.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	sessions := make(chan *Session, 10)
	over := make(chan error, 1)
	go func() {
		over <- DialLoop(ctx, dc, func() []string { return []string{"127.0.0.1:1", addr} }, &testHandler{}, func(ctx context.Context, s *Session) error {
			sessions <- s
			return s.Serve(ctx, &testSink{})
		})
	}()
	time.Sleep(300 * time.Millisecond) // some attempts in vain
	for round := range 2 {
		l, err := Listen(lc, addr, &testHandler{session: func(s *Session) { s.Serve(context.Background(), &testSink{}) }})
		if err != nil {
			t.Fatal(err)
		}
		s := soon(t, "session", sessions)
		if s.Remote().NodeID != "node-2" {
			t.Errorf("round %d: %+v", round, s.Remote())
		}
		if round == 1 {
			cause := errors.New("stop")
			cancel(cause)
			if err := soon(t, "the end", over); err != cause {
				t.Errorf("DialLoop returned %v", err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	count := map[string]int{}
	for _, line := range log.lines() {
		for _, word := range []string{"no session", "established", "ended"} {
			if strings.Contains(line, word) && strings.Contains(line, addr) {
				count[word]++
			}
		}
	}
	// Failing, established, ended, (failing again,) established.
	if count["established"] != 2 || count["ended"] != 1 || count["no session"] < 1 || count["no session"] > 2 {
		t.Errorf("log lines %v:\n%s", count, strings.Join(log.lines(), "\n"))
	}
}

// One list of addresses for all nodes holds each node's own, too.
func TestDialLoopToItself(t *testing.T) {
	t.Parallel()
	cfg := testConfig("node-1", testKeys(1, 7))
	var log logBuffer
	cfg.Log = zerolog.New(&log)
	l, err := Listen(cfg, "127.0.0.1:0", &testHandler{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dials := 0
	cfg.Dialer = func(_ context.Context, addr string) (net.Conn, error) {
		dials++
		return net.Dial("tcp", addr)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	DialLoop(ctx, cfg, func() []string { return []string{l.Addr().String()} }, &testHandler{}, nil)
	if lines := log.lines(); dials != 1 || len(lines) != 1 || !strings.Contains(lines[0], "itself") || strings.Contains(lines[0], "warn") {
		t.Errorf("%d dials:\n%s", dials, strings.Join(lines, "\n"))
	}
}

// An address that is not to be dialled for now is dialled soon after it is again.
func TestDialLoopWithNobodyToDial(t *testing.T) {
	t.Parallel()
	dc := testConfig("node-1", testKeys(1, 7))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	begin, dialled := time.Now(), time.Time{}
	dc.Dialer = func(context.Context, string) (net.Conn, error) {
		dialled = time.Now()
		cancel()
		return nil, errors.New("no way")
	}
	DialLoop(ctx, dc, func() []string {
		if time.Since(begin) < time.Second {
			return nil
		}
		return []string{"x"}
	}, &testHandler{}, nil)
	if d := dialled.Sub(begin); d < time.Second || d > 4*time.Second {
		t.Errorf("dialled after %v", d)
	}
}

func TestDialLoopBacksOff(t *testing.T) {
	t.Parallel()
	dc := testConfig("node-1", testKeys(1, 7))
	var attempts []time.Time
	dc.Dialer = func(context.Context, string) (net.Conn, error) {
		attempts = append(attempts, time.Now())
		return nil, errors.New("no way")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 1300*time.Millisecond)
	defer cancel()
	DialLoop(ctx, dc, func() []string { return []string{"x"} }, &testHandler{}, nil)
	// 50, 100, 200, 400, 800 ms, each between half and whole.
	if n := len(attempts); n < 4 || n > 7 {
		t.Errorf("%d attempts in 1.3 s", n)
	}
}
