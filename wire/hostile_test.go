package wire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wolfdisk/volume"
)

// allocated is how many bytes fn allocates, freed or not.
func allocated(fn func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	fn()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// held is the memory in use, heap and stacks, after a collection.
func held() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// hostile is an authenticated peer that has said hello, and a session that it
// shall not hurt.
func hostile(t testing.TB, tune func(c *Config), sink Sink) (c *tls.Conn, s *Session, served <-chan error) {
	t.Helper()
	k := testKeys(1, 7)
	d, l := tcpPair(t)
	lc := testConfig("node-2", k)
	if tune != nil {
		tune(lc)
	}
	if err := lc.prepare(); err != nil {
		t.Fatal(err)
	}
	done := make(chan greeted, 1)
	go func() {
		s, err := greet(t.Context(), lc, l, "hostile", &testHandler{}, false)
		done <- greeted{s, err}
	}()
	dc := testConfig("node-1", k)
	c = rawClient(t, dc, d)
	mustWrite(t, c, greeting(t, goodHello(dc)))
	if _, err := io.ReadFull(c, make([]byte, preambleLen)); err != nil {
		t.Fatal(err)
	}
	if typ, _, err := readGreeting(c); err != nil || typ != msgHello {
		t.Fatal(typ, err)
	}
	mustWrite(t, c, appendHeader(nil, msgAccept, 0, 0))
	g := <-done
	if g.err != nil {
		t.Fatal(g.err)
	}
	return c, g.s, serve(t.Context(), g.s, sink)
}

func mustWrite(t testing.TB, c net.Conn, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
}

// msg is one message with a body.
func msg(typ msgType, flags uint16, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return append(appendHeader(nil, typ, flags, len(body)), body...)
}

func TestHostilePeerEndsItsSession(t *testing.T) {
	rh := func(id uint64, kind uint16, window uint32) []byte { return requestHead(nil, id, kind, window) }
	ah := func(id uint64, seq uint32) []byte { return answerHead(nil, id, seq) }
	block := make(chan struct{})
	defer close(block)
	many := func(n int, b []byte) []byte { return bytes.Repeat(b, n) }
	for _, tc := range []struct {
		name string
		send []byte
		text string
	}{
		{"unknown type", msg(200, 0), "unknown message type 200"},
		{"type 0", msg(0, 0), "unknown message type 0"},
		{"garbage", []byte("GET / HTTP/1.1\r\n\r\n"), "begins with 0x47"},
		{"oversized", appendHeader(nil, msgFrames, 0, 1<<31-1), "2147483647 bytes"},
		{"hello again", msg(msgHello, 0, []byte{1}), "out of place"},
		{"flags", msg(msgPing, 1, make([]byte, 8)), "unknown flags"},
		{"short progress", msg(msgProgress, 0, make([]byte, 23)), "23 bytes"},
		{"frame of nothing", msg(msgFrames, 0, []byte{0}), "a frame of 0 bytes"},
		{"frame too large", msg(msgFrames, 0, []byte{0xff, 0xff, 0xff, 0x7f}), "a frame of"},
		{"endless length", msg(msgFrames, 0, []byte{0x80, 0x80, 0x80, 0x80, 0x80}), "length"},
		{"frames beyond the window", many(3, msg(msgFrames, 0, append([]byte{0x80, 0x80, 1}, make([]byte, 50000)...))), "than were granted"},
		{"request 0", msg(msgRequest, 0, rh(0, 1, 1<<20)), "request 0"},
		{"request out of order", msg(msgRequest, 0, rh(2, 1, 1<<20)), "request 2 after request 0"},
		{"request repeated", many(2, msg(msgRequest, 0, rh(1, 1, 1<<20))), "request 1 after request 1"},
		{"answer window", msg(msgRequest, 0, rh(1, 1, 10)), "answer window of 10"},
		{"mixed requests", append(msg(msgRequest, flagMore, rh(1, 1, 1<<20), []byte{1}), msg(msgRequest, 0, rh(2, 1, 1<<20), []byte{1})...), "interrupted"},
		{"changed kind", append(msg(msgRequest, flagMore, rh(1, 1, 1<<20), []byte{1}), msg(msgRequest, 0, rh(1, 2, 1<<20), []byte{1})...), "interrupted"},
		{"empty piece", append(msg(msgRequest, flagMore, rh(1, 1, 1<<20)), msg(msgRequest, flagMore, rh(1, 1, 1<<20))...), "interrupted"},
		{"request too large", many(MaxRequest/60000+1, msg(msgRequest, flagMore, rh(1, 1, 1<<20), make([]byte, 60000))), "has more than"},
		{"answer to nothing", msg(msgAnswer, flagLast, ah(1, 0)), "never made"},
		{"answer 0", msg(msgAnswer, flagLast, ah(0, 0)), "never made"},
		{"cancel of nothing", appendID(nil, msgCancel, 7), "never sent"},
		{"pong of nothing", appendID(nil, msgPong, 7), "never asked"},
		{"credit of 0", appendCredit(nil, creditFrames, 0, 0), "credit of 0"},
		{"credit beyond reason", appendCredit(nil, creditFrames, 0, 1<<31), "credit of"},
		{"credit for a request of nobody", appendCredit(nil, creditAnswer, 9, 1), "never sent"},
		{"credit scope", appendCredit(nil, 77, 0, 1), "unknown scope 77"},
		{"credit ID", appendCredit(nil, creditFrames, 5, 1), "credit of"},
		{"bye of garbage", msg(msgBye, 0, []byte{0xc1}), "decode a refusal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, _, served := hostile(t, func(c *Config) { c.Window = 100000 }, &testSink{
				frame:   func([]byte) error { <-block; return nil },
				request: func(context.Context, uint16, []byte, *AnswerWriter) error { return nil },
			})
			mustWrite(t, c, tc.send)
			said := make(chan error, 1)
			go func() { said <- readBye(c) }()
			wantKind(t, "what the peer is told", soon(t, "bye", said), volume.BadFormat, tc.text, CodeMalformed)
			c.Close()
			if tc.name != "frames beyond the window" { // its sink is stuck
				wantKind(t, "Serve", soon(t, "serve", served), volume.BadFormat, tc.text, "node-1")
			}
		})
	}
}

// readBye reads a session's messages up to its bye.
func readBye(c net.Conn) error {
	br := bufio.NewReader(c)
	for {
		head := make([]byte, headerLen)
		if _, err := io.ReadFull(br, head); err != nil {
			return err
		}
		h, err := parseHeader(head, false)
		if err != nil {
			return err
		}
		body := make([]byte, h.n)
		if _, err := io.ReadFull(br, body); err != nil {
			return err
		}
		if h.typ == msgBye {
			return peerRefusal(body)
		}
	}
}

// Answers that do not fit the call: the caller's own window and numbering.
func TestHostileAnswers(t *testing.T) {
	ah := func(seq uint32) []byte { return answerHead(nil, 1, seq) }
	piece := msg(msgAnswer, 0, ah(0), make([]byte, 5000))
	t.Parallel()
	for _, tc := range []struct {
		name string
		send []byte
		text string
	}{
		{"beyond the window", piece, "than were granted"},
		{"sequence", msg(msgAnswer, 0, ah(1), []byte{1}), "piece 1 instead of 0"},
		{"after the end", append(msg(msgAnswer, flagLast, ah(0)), msg(msgAnswer, flagLast, ah(1))...), "after its end"},
		{"empty error", msg(msgAnswer, flagLast|flagFailed, ah(0)), "error of 0 bytes"},
		{"long error", msg(msgAnswer, flagLast|flagFailed, ah(0), make([]byte, 2000)), "error of 2000 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, s, served := hostile(t, func(c *Config) { c.AnswerWindow = 1 }, &testSink{})
			mustWrite(t, c, appendCredit(nil, creditRequests, 0, 1<<20))
			r, err := s.Call(t.Context(), 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			mustWrite(t, c, tc.send)
			c.CloseWrite()
			go io.Copy(io.Discard, c)
			wantKind(t, "Serve", soon(t, "serve", served), volume.BadFormat, tc.text)
			if tc.name != "after the end" {
				_, err = r.Next()
				wantKind(t, "Next", err, volume.BadFormat)
			}
		})
	}
}

// A peer that pings and reads nothing.
func TestPingFlood(t *testing.T) {
	c, s, served := hostile(t, func(c *Config) { c.WriteTimeout = 3 * time.Second }, &testSink{})
	s.raw.Conn.(*net.TCPConn).SetWriteBuffer(4096)
	flood := bytes.Repeat(appendID(nil, msgPing, 1), 4000)
	go func() {
		for {
			if _, err := c.Write(flood); err != nil {
				return
			}
		}
	}()
	err := soon(t, "serve", served)
	if k := volume.KindOf(err); k != volume.BadFormat && k != volume.Unavailable {
		t.Errorf("Serve: %v", err)
	}
	if n := cap(s.w.small); n > 4*maxSmall {
		t.Errorf("%d bytes of answers wait", n)
	}
}

// Connections of strangers, at whatever point they stop: 64 KiB each, stacks
// included.
func TestStrangersMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is counted too")
	}
	const n = 60
	k := testKeys(1, 7)
	cfg := testConfig("node-2", k)
	cfg.HandshakeTimeout = 10 * time.Second
	l, err := Listen(cfg, "127.0.0.1:0", &testHandler{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	hello := clientHello(t)
	for _, tc := range []struct {
		name string
		send func(c net.Conn)
	}{
		{"silent", func(net.Conn) {}},
		{"half a record header", func(c net.Conn) { c.Write([]byte{22, 3, 1}) }},
		{"declares a full record", func(c net.Conn) { c.Write([]byte{22, 3, 1, 0x40, 0}) }},
		{"nearly full records", func(c net.Conn) {
			c.Write(append([]byte{22, 3, 1, 0x1f, 0xff, 1, 0, 0xff, 0xff}, make([]byte, 0x1fff-4)...))
			c.Write(append([]byte{22, 3, 1, 0x1f, 0xe0}, make([]byte, 0x1f00)...))
		}},
		{"a ClientHello and no more", func(c net.Conn) { c.Write(hello) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := held()
			var conns []net.Conn
			for range n {
				c, err := net.Dial("tcp", l.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				conns = append(conns, c)
				tc.send(c)
			}
			time.Sleep(300 * time.Millisecond)
			each := (held() - before) / n
			t.Logf("%d bytes per connection", each)
			if each > 64<<10 {
				t.Errorf("%d bytes per connection", each)
			}
			for _, c := range conns {
				c.Close()
			}
			waitFor(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.pending) == 0 })
		})
	}
}

func waitFor(t testing.TB, ok func() bool) {
	t.Helper()
	for range 2000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it does not happen")
}

// clientHello is the first flight of a real dialer.
func clientHello(t *testing.T) []byte {
	cfg := testConfig("node-1", testKeys(1, 7))
	if err := cfg.prepare(); err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	go tls.Client(a, cfg.tls).Handshake()
	buf := make([]byte, 16<<10)
	n, err := b.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// An authenticated peer that uses every window to the full, against a node that
// consumes nothing.
func TestPeerMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is counted too")
	}
	block := make(chan struct{})
	before := held()
	c, s, served := hostile(t, nil, &testSink{
		frame:   func([]byte) error { <-block; return nil },
		request: func(context.Context, uint16, []byte, *AnswerWriter) error { <-block; return nil },
	})
	var peak atomic.Int64
	stop := make(chan struct{})
	var sampling sync.WaitGroup
	sampling.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(10 * time.Millisecond):
				if m := held(); m > peak.Load() {
					peak.Store(m)
				}
			}
		}
	})
	go io.Copy(io.Discard, c)
	mustWrite(t, c, appendCredit(nil, creditRequests, 0, 1<<20))
	// Answers: as many calls as can be open, each with as much as it was granted.
	for i := range uint64(defaultMaxCalls) {
		if _, err := s.Call(t.Context(), 1, nil); err != nil {
			t.Fatal(err)
		}
		for seq := range uint32(8) {
			mustWrite(t, c, msg(msgAnswer, flagMore, answerHead(nil, i+1, seq), make([]byte, defaultAnswerWindow/8-answerCost)))
		}
	}
	// Requests: three of the largest, and small ones for the rest.
	id, left := uint64(0), defaultRequestWindow
	for range 3 {
		id++
		left -= requestCost
		for n := 0; n < MaxRequest; {
			piece := min(60000, MaxRequest-n)
			n += piece
			flags := uint16(flagMore)
			if n == MaxRequest {
				flags = 0
			}
			mustWrite(t, c, msg(msgRequest, flags, requestHead(nil, id, 1, 1<<20), make([]byte, piece)))
			left -= piece
		}
	}
	for ; left > requestCost; left -= requestCost {
		id++
		mustWrite(t, c, msg(msgRequest, 0, requestHead(nil, id, 1, 1<<20)))
	}
	// Frames: one that is delivered and blocks, the beginning of the largest behind it.
	stream := append([]byte{1, 0}, 0x80, 0x80, 0x40) // 1 MiB
	stream = append(stream, make([]byte, defaultWindow-len(stream))...)
	for len(stream) > 0 {
		n := min(len(stream), 60000)
		mustWrite(t, c, msg(msgFrames, 0, stream[:n]))
		stream = stream[n:]
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	sampling.Wait()
	over := peak.Load() - before
	t.Logf("%d KiB over idle", over>>10)
	if over > 64<<20 {
		t.Errorf("%d bytes over idle", over)
	}
	select {
	case err := <-served:
		t.Fatalf("the session ended: %v", err)
	default:
	}
	close(block)
	c.Close()
	soon(t, "serve", served)
}

// FuzzSession feeds any bytes to the reading loop of a session, behind TLS.
func FuzzSession(f *testing.F) {
	f.Add(msg(msgFrames, 0, []byte{1, 'a', 2, 'b', 'c'}))
	f.Add(appendProgress(nil, Progress{1, 2, 3}))
	f.Add(append(msg(msgRequest, flagMore, requestHead(nil, 1, 2, 5000), []byte("x")), msg(msgRequest, 0, requestHead(nil, 1, 2, 5000), []byte("y"))...))
	f.Add(msg(msgAnswer, flagLast, answerHead(nil, 1, 0), []byte("answer")))
	f.Add(appendCredit(nil, creditAnswer, 1, 10))
	f.Add(append(appendID(nil, msgPing, 1), appendID(nil, msgCancel, 1)...))
	f.Add(msg(msgBye, 0, encodeRefusal(&Refusal{Kind: volume.Fenced, Code: CodeFenced})))
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := testConfig("node-1", nil)
		cfg.Window, cfg.RequestWindow, cfg.AnswerWindow, cfg.MaxCalls = 1000, MaxRequest+requestCost, minAnswerWindow, 2
		cfg.WriteTimeout = time.Second
		conn := &script{in: bytes.NewReader(b)}
		raw := newRawConn(conn, &cfg.total)
		s := startSession(cfg, raw, conn, bufio.NewReaderSize(conn, maxMessage), "fuzz", Hello{}, Hello{})
		s.requestCredit.grant(requestCost)
		if _, err := s.Call(t.Context(), 1, nil); err != nil {
			t.Fatal(err)
		}
		err := s.Serve(t.Context(), &testSink{request: func(_ context.Context, _ uint16, body []byte, w *AnswerWriter) error {
			return w.Last(body[:min(len(body), 100)])
		}})
		if err == nil {
			t.Fatal("the end of the input went unnoticed")
		}
	})
}

// script is a connection whose input is fixed and whose output is dropped.
type script struct {
	net.Conn
	in *bytes.Reader
}

func (s *script) Read(p []byte) (int, error)       { return s.in.Read(p) }
func (s *script) Write(p []byte) (int, error)      { return len(p), nil }
func (s *script) Close() error                     { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }
