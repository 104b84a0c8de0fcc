package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"wolfdisk/volume"
)

func TestFramesArriveInOrderAndEqual(t *testing.T) {
	for _, choppy := range []bool{false, true} {
		t.Run(fmt.Sprintf("choppy=%v", choppy), func(t *testing.T) {
			rnd := rand.New(rand.NewSource(1))
			k := testKeys(1, 7)
			d, l := tcpPair(t)
			n := 10000
			if choppy {
				d = &choppyConn{Conn: d, rnd: rand.New(rand.NewSource(2))}
				l = &choppyConn{Conn: l, rnd: rand.New(rand.NewSource(3))}
			}
			a, b := pair(t, testConfig("node-1", k), testConfig("node-2", k), d, l)
			frames := randomFrames(rnd, n, 30000)
			frames[n/2] = bytes.Repeat([]byte{0xab}, MaxFrame)
			frame, all := collect(frames)
			served := serve(t.Context(), b, &testSink{frame: frame})
			serve(t.Context(), a, &testSink{})
			for rest := frames; len(rest) > 0; {
				batch := min(1+rnd.Intn(300), len(rest))
				if err := a.SendFrames(t.Context(), rest[:batch]); err != nil {
					t.Fatal(err)
				}
				rest = rest[batch:]
			}
			select {
			case <-all:
			case err := <-served:
				t.Fatalf("session ended: %v", err)
			case <-time.After(30 * time.Second):
				t.Fatal("frames are missing")
			}
			if got := b.Stats(); got.FramesIn != uint64(n) || got.FrameBytesIn != a.Stats().FrameBytesOut {
				t.Errorf("counters: %+v", got)
			}
		})
	}
}

// The demo fails if more than 1.05 x the missed frames come in.
func TestFramingOverheadIsSmall(t *testing.T) {
	for _, size := range []int{100, 4096, 200000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			a, b := tcpSessions(t, nil)
			frames := make([][]byte, 8<<20/size)
			for i := range frames {
				frames[i] = bytes.Repeat([]byte{byte(i)}, size)
			}
			frame, all := collect(frames)
			serve(t.Context(), b, &testSink{frame: frame})
			serve(t.Context(), a, &testSink{})
			before := b.Stats().BytesIn
			if err := a.SendFrames(t.Context(), frames); err != nil {
				t.Fatal(err)
			}
			soon(t, "frames", all)
			got := float64(b.Stats().BytesIn-before) / float64(len(frames)*size)
			t.Logf("%d byte frames: %.4f bytes on the socket per byte", size, got)
			if got > 1.03 {
				t.Errorf("overhead %.4f", got)
			}
		})
	}
}

func TestProgressDurableHeartbeat(t *testing.T) {
	a, b := tcpSessions(t, nil)
	progress, durable := make(chan Progress, 1), make(chan volume.Version, 1)
	serve(t.Context(), a, &testSink{progress: func(p Progress) { progress <- p }})
	serve(t.Context(), b, &testSink{durable: func(v volume.Version) { durable <- v }})
	if err := b.SendProgress(Progress{3, 2, 1}); err != nil {
		t.Fatal(err)
	}
	if p := soon(t, "progress", progress); p != (Progress{3, 2, 1}) {
		t.Errorf("progress %v", p)
	}
	if err := a.SendDurable(1 << 60); err != nil {
		t.Fatal(err)
	}
	if v := soon(t, "durable", durable); v != 1<<60 {
		t.Errorf("durable %v", v)
	}
	rtt, err := a.Heartbeat(t.Context())
	if err != nil || rtt <= 0 || rtt > 10*time.Second {
		t.Errorf("heartbeat %v, %v", rtt, err)
	}
}

func TestHeartbeatWhileSinkIsStuck(t *testing.T) {
	a, b := tcpSessions(t, nil)
	stuck, entered := make(chan struct{}), make(chan struct{})
	serve(t.Context(), b, &testSink{
		frame: func([]byte) error { close(entered); <-stuck; return nil },
		request: func(_ context.Context, _ uint16, body []byte, w *AnswerWriter) error {
			return w.Last(body)
		},
	})
	defer close(stuck)
	serve(t.Context(), a, &testSink{})
	if err := a.SendFrames(t.Context(), [][]byte{{1}}); err != nil {
		t.Fatal(err)
	}
	soon(t, "frame", entered)
	if _, err := a.Heartbeat(t.Context()); err != nil {
		t.Error(err)
	}
	if got, err := a.CallAll(t.Context(), 1, []byte("x"), 10); err != nil || string(got) != "x" {
		t.Errorf("call: %q, %v", got, err)
	}
}

func TestCloseTellsThePeer(t *testing.T) {
	fenced := &Refusal{Kind: volume.Fenced, Text: "go away", Promise: volume.Epoch{Number: 9, Leader: "node-0", Tag: 5}}
	for _, tc := range []struct {
		name  string
		err   error
		kind  volume.Kind
		texts []string
	}{
		{"clean", nil, volume.Closed, []string{"node-1", "closed the session"}},
		{"fenced", fenced, volume.Fenced, []string{CodeFenced, "go away", "9/node-0/00005"}},
		{"plain", volume.Errorf(volume.Corrupt, "the disk is bad"), volume.Corrupt, []string{"the disk is bad"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := tcpSessions(t, nil)
			as, bs := serve(t.Context(), a, &testSink{}), serve(t.Context(), b, &testSink{})
			// Data under way must not turn the bye into a reset.
			if err := b.SendFrames(t.Context(), [][]byte{make([]byte, 100000)}); err != nil {
				t.Fatal(err)
			}
			begin := time.Now()
			a.Close(tc.err)
			if d := time.Since(begin); d > 900*time.Millisecond {
				t.Errorf("Close took %v", d)
			}
			if err := soon(t, "own serve", as); err != tc.err {
				t.Errorf("own Serve returned %v", err)
			}
			err := soon(t, "peer's serve", bs)
			wantKind(t, "peer's Serve", err, tc.kind, tc.texts...)
			if tc.err == fenced {
				if r := findRefusal(err); r == nil || !r.Peer || r.Promise != fenced.Promise {
					t.Errorf("refusal %+v", r)
				}
			}
			wantKind(t, "send after the end", b.SendFrames(t.Context(), [][]byte{{1}}), tc.kind)
			_, err = a.Call(t.Context(), 1, nil)
			if err == nil {
				t.Error("Call on a closed session succeeded")
			}
			wantKind(t, "progress", b.SendProgress(Progress{}), tc.kind)
			_, err = b.Heartbeat(t.Context())
			wantKind(t, "heartbeat", err, tc.kind)
		})
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	a, b := tcpSessions(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	as, bs := serve(ctx, a, &testSink{}), serve(t.Context(), b, &testSink{})
	cause := errors.New("role lost")
	cancel(cause)
	if err := soon(t, "serve", as); err != cause {
		t.Errorf("Serve returned %v", err)
	}
	wantKind(t, "peer", soon(t, "peer", bs), volume.Closed)
	if err := a.Serve(t.Context(), &testSink{}); volume.KindOf(err) != volume.Fault {
		t.Errorf("second Serve: %v", err)
	}
}

func TestSinkErrorEndsTheSession(t *testing.T) {
	a, b := tcpSessions(t, nil)
	bad := volume.Errorf(volume.WrongHistory, "frame does not fit")
	as := serve(t.Context(), a, &testSink{})
	bs := serve(t.Context(), b, &testSink{frame: func([]byte) error { return bad }})
	if err := a.SendFrames(t.Context(), [][]byte{{1}, {2}}); err != nil {
		t.Fatal(err)
	}
	if err := soon(t, "serve", bs); err != bad {
		t.Errorf("Serve returned %v", err)
	}
	wantKind(t, "peer", soon(t, "peer", as), volume.WrongHistory, "frame does not fit")
}

// A leader that is killed has sent frames; those that arrived count.
func TestFramesBeforeALostConnectionAreDelivered(t *testing.T) {
	t.Parallel()
	a, b := tcpSessions(t, nil)
	frames := randomFrames(rand.New(rand.NewSource(4)), 3000, 1000)
	frame, all := collect(frames)
	slow := func(b []byte) error { time.Sleep(time.Microsecond); return frame(b) }
	serve(t.Context(), a, &testSink{})
	bs := serve(t.Context(), b, &testSink{frame: slow})
	if err := a.SendFrames(t.Context(), frames); err != nil {
		t.Fatal(err)
	}
	if tcp, ok := a.raw.Conn.(*net.TCPConn); ok {
		tcp.CloseWrite() // no close_notify, no bye
	}
	soon(t, "frames", all)
	wantKind(t, "serve", soon(t, "serve", bs), volume.Unavailable, "node-1", "lost")
}

// Both sides send frames and call each other through windows of a few bytes,
// with sinks that call back from within Frame.
func TestTinyWindowsNeverDeadlock(t *testing.T) {
	for _, size := range []int{1, 3, 100, 5000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			a, b := tcpSessions(t, func(c *Config) {
				c.Window, c.AnswerWindow, c.RequestWindow, c.MaxCalls = size, 1, 1, 2
			})
			for _, s := range []*Session{a, b} {
				tcp := s.raw.Conn.(*net.TCPConn)
				tcp.SetReadBuffer(64 << 10)
				tcp.SetWriteBuffer(64 << 10)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 40
			if size > 50 {
				n = 300
			}
			frames := randomFrames(rand.New(rand.NewSource(5)), n, 3000)
			errs := make(chan error, 100)
			var work sync.WaitGroup
			echo := func(_ context.Context, _ uint16, body []byte, w *AnswerWriter) error {
				if _, err := w.Write(body); err != nil {
					return err
				}
				return w.Last(body[:min(10, len(body))])
			}
			call := func(s *Session, body []byte) {
				got, err := s.CallAll(ctx, 1, body, 1<<20)
				if err == nil && !bytes.Equal(got, append(bytes.Clone(body), body[:min(10, len(body))]...)) {
					err = fmt.Errorf("answer of %d bytes to %d", len(got), len(body))
				}
				if err != nil {
					errs <- err
				}
			}
			for _, s := range []*Session{a, b} {
				frame, all := collect(frames)
				i := 0
				serve(ctx, s, &testSink{request: echo, frame: func(p []byte) error {
					if i++; i%20 == 0 {
						call(s, bytes.Repeat([]byte{7}, 20000)) // a replay that fetches a chunk
					}
					return frame(p)
				}})
				work.Go(func() {
					if err := s.SendFrames(ctx, frames); err != nil {
						errs <- err
					}
				})
				work.Go(func() { <-all })
				for j := range 4 {
					work.Go(func() {
						for range 5 {
							call(s, bytes.Repeat([]byte{byte(j)}, 1+j*30000))
						}
					})
				}
			}
			done := make(chan struct{})
			go func() { work.Wait(); close(done) }()
			select {
			case <-done:
			case err := <-errs:
				t.Fatal(err)
			case <-time.After(20 * time.Second):
				t.Fatal("deadlock")
			}
			if len(errs) > 0 {
				t.Fatal(<-errs)
			}
		})
	}
}

func TestSendFramesHonoursContext(t *testing.T) {
	a, b := tcpSessions(t, func(c *Config) { c.Window = 1000 })
	block := make(chan struct{})
	serve(t.Context(), a, &testSink{})
	bs := serve(t.Context(), b, &testSink{frame: func([]byte) error { <-block; return nil }})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := a.SendFrames(ctx, [][]byte{make([]byte, 400), make([]byte, 400), make([]byte, 400)})
	wantKind(t, "blocked SendFrames", err, volume.Interrupted)
	close(block)
	// It stopped within the third frame, so the stream is useless.
	if err := soon(t, "serve", bs); err == nil {
		t.Error("the session outlived half a frame")
	}
	for _, bad := range [][][]byte{{{}}, {make([]byte, MaxFrame+1)}} {
		wantKind(t, "bad frame", a.SendFrames(t.Context(), bad), volume.Invalid)
	}
}

// Every goroutine of a session ends with it, however it ends.
func TestNoGoroutineOutlivesItsSession(t *testing.T) {
	before := runtime.NumGoroutine()
	for i := range 6 {
		a, b := tcpSessions(t, nil)
		ctx, cancel := context.WithCancel(t.Context())
		as := serve(ctx, a, &testSink{})
		bs := serve(t.Context(), b, &testSink{request: func(ctx context.Context, _ uint16, _ []byte, _ *AnswerWriter) error {
			<-ctx.Done()
			return nil
		}})
		if _, err := a.Call(t.Context(), 1, nil); err != nil {
			t.Fatal(err)
		}
		if err := a.SendFrames(t.Context(), [][]byte{make([]byte, 1000)}); err != nil {
			t.Fatal(err)
		}
		switch i % 3 {
		case 0:
			a.Close(nil)
		case 1:
			cancel()
		case 2:
			b.raw.Conn.Close() // the cable is cut
		}
		soon(t, "serve", as)
		soon(t, "serve", bs)
		cancel()
	}
	waitFor(t, func() bool { return runtime.NumGoroutine() <= before })
}
