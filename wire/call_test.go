package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"wolfdisk/volume"
)

func TestCallsAnswerKinds(t *testing.T) {
	a, b := tcpSessions(t, nil)
	big := make([]byte, 5<<20)
	rand.New(rand.NewSource(1)).Read(big)
	serve(t.Context(), a, &testSink{})
	serve(t.Context(), b, &testSink{request: func(ctx context.Context, kind uint16, body []byte, w *AnswerWriter) error {
		switch kind {
		case 1: // several messages, one of them empty, one as large as allowed
			for _, m := range [][]byte{[]byte("one"), {}, big[:MaxAnswer]} {
				if err := w.Send(m); err != nil {
					return err
				}
			}
			return w.Last(body)
		case 2:
			return nil
		case 3:
			if err := w.Send([]byte("half")); err != nil {
				return err
			}
			return volume.Errorf(volume.Missing, "chunk %s is nowhere", body)
		case 4:
			_, err := w.Write(big)
			return err
		case 5:
			return w.Send(make([]byte, MaxAnswer+1))
		case 6:
			if err := w.Last(nil); err != nil {
				return err
			}
			if err := w.Send([]byte("more")); volume.KindOf(err) != volume.Fault {
				t.Errorf("Send after Last: %v", err)
			}
			return errors.New("ignored")
		case 7:
			return w.Last([]byte(fmt.Sprint(len(body), w.Peer().NodeID)))
		}
		return errors.New("what?\n\x1b[31m")
	}})
	ctx := t.Context()

	call := func(kind uint16, body []byte) ([][]byte, error) {
		t.Helper()
		r, err := a.Call(ctx, kind, body)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		return readAnswer(r)
	}
	got, err := call(1, []byte("echo"))
	if err != nil || len(got) != 4 || string(got[0]) != "one" || len(got[1]) != 0 || !bytes.Equal(got[2], big[:MaxAnswer]) || string(got[3]) != "echo" {
		t.Errorf("messages: %d, %v", len(got), err)
	}
	if got, err := call(2, nil); err != nil || len(got) != 0 {
		t.Errorf("empty answer: %v, %v", got, err)
	}
	got, err = call(3, []byte("abc"))
	if len(got) != 1 {
		t.Errorf("%d messages before the error", len(got))
	}
	wantKind(t, "failed request", err, volume.Missing, "chunk abc is nowhere", "node-2")
	_, err = call(5, nil)
	wantKind(t, "answer too large", err, volume.TooBig)
	if got, err := call(6, nil); err != nil || len(got) != 0 {
		t.Errorf("Last(nil): %v, %v", got, err)
	}
	_, err = call(99, nil)
	wantKind(t, "unknown kind", err, volume.Unknown, "what???[31m")
	if got, err := call(7, make([]byte, MaxRequest)); err != nil || string(got[0]) != fmt.Sprint(MaxRequest, "node-1") {
		t.Errorf("largest request: %q, %v", got, err)
	}
	_, err = a.Call(ctx, 1, make([]byte, MaxRequest+1))
	wantKind(t, "request too large", err, volume.TooBig)

	r, err := a.Call(ctx, 4, nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(stream, big) {
		t.Errorf("stream of %d bytes, %v", len(stream), err)
	}
	if _, err := r.Next(); err != io.EOF {
		t.Errorf("Next after the end: %v", err)
	}
	all, err := a.CallAll(ctx, 4, nil, len(big))
	if err != nil || !bytes.Equal(all, big) {
		t.Errorf("CallAll: %d bytes, %v", len(all), err)
	}
	_, err = a.CallAll(ctx, 4, nil, len(big)-1)
	wantKind(t, "CallAll with a bound", err, volume.TooBig)
	// Everything was given back: the windows are whole again.
	if _, err := a.Heartbeat(ctx); err != nil {
		t.Fatal(err)
	}
	if n := len(a.callSlots); n != 0 {
		t.Errorf("%d slots are taken", n)
	}
	if n := len(a.calls); n != 0 {
		t.Errorf("%d calls are open", n)
	}
}

func TestCancelReachesTheHandler(t *testing.T) {
	for _, how := range []string{"context", "close"} {
		t.Run(how, func(t *testing.T) {
			a, b := tcpSessions(t, nil)
			started, ended := make(chan struct{}), make(chan error, 1)
			serve(t.Context(), a, &testSink{})
			serve(t.Context(), b, &testSink{request: func(ctx context.Context, kind uint16, _ []byte, w *AnswerWriter) error {
				if kind == 2 {
					return w.Last([]byte("alive"))
				}
				close(started)
				<-ctx.Done()
				ended <- w.Send([]byte("late"))
				return nil
			}})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r, err := a.Call(ctx, 1, nil)
			if err != nil {
				t.Fatal(err)
			}
			soon(t, "handler", started)
			kind := volume.Closed
			if how == "context" {
				cancel()
				kind = volume.Interrupted
			} else {
				r.Close()
			}
			wantKind(t, "late Send", soon(t, "end of the handler", ended), volume.Interrupted)
			_, err = r.Next()
			wantKind(t, "Next", err, kind)
			if got, err := a.CallAll(t.Context(), 2, nil, 100); err != nil || string(got) != "alive" {
				t.Errorf("after the cancel: %q, %v", got, err)
			}
		})
	}
}

// Requests given up at any moment, also half sent, leave the session sound.
func TestCancelAtAnyMoment(t *testing.T) {
	a, b := tcpSessions(t, func(c *Config) { c.RequestWindow, c.AnswerWindow, c.MaxCalls = 1, 1, 4 })
	serve(t.Context(), a, &testSink{})
	served := serve(t.Context(), b, &testSink{request: func(_ context.Context, _ uint16, body []byte, w *AnswerWriter) error {
		_, err := w.Write(body)
		return err
	}})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewSource(int64(i)))
			for range 60 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rnd.Intn(3000))*time.Microsecond)
				body := make([]byte, rnd.Intn(MaxRequest))
				got, err := a.CallAll(ctx, 1, body, MaxRequest)
				cancel()
				if err == nil && len(got) != len(body) {
					t.Errorf("%d bytes instead of %d", len(got), len(body))
				}
				if err != nil && volume.KindOf(err) != volume.Interrupted {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// Only if every byte of credit came back can a request of full size pass.
	body := make([]byte, MaxRequest)
	for range 6 {
		if got, err := a.CallAll(ctx, 1, body, MaxRequest); err != nil || len(got) != len(body) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	select {
	case err := <-served:
		t.Fatal(err)
	default:
	}
}

func TestSlowCallerHoldsUpNobody(t *testing.T) {
	a, b := tcpSessions(t, nil)
	serve(t.Context(), a, &testSink{})
	var sent atomic.Int64
	frames := randomFrames(rand.New(rand.NewSource(1)), 2000, 10000)
	frame, all := collect(frames)
	serve(t.Context(), b, &testSink{frame: frame, request: func(_ context.Context, kind uint16, body []byte, w *AnswerWriter) error {
		if kind == 2 {
			return w.Last(body)
		}
		for {
			n, err := w.Write(make([]byte, 64<<10))
			sent.Add(int64(n))
			if err != nil {
				return err
			}
		}
	}})
	var slow []*AnswerReader
	for range 5 {
		r, err := a.Call(t.Context(), 1, nil) // an endless answer that nobody reads
		if err != nil {
			t.Fatal(err)
		}
		slow = append(slow, r)
	}
	for range 500 {
		if got, err := a.CallAll(t.Context(), 2, []byte("x"), 10); err != nil || string(got) != "x" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	if err := a.SendFrames(t.Context(), frames); err != nil {
		t.Fatal(err)
	}
	soon(t, "frames", all)
	if n := sent.Load(); n > 5*defaultAnswerWindow {
		t.Errorf("%d bytes were sent to callers that read nothing", n)
	}
	for _, r := range slow {
		r.Close()
	}
}

func TestRequestsBeyondMaxCallsWait(t *testing.T) {
	const limit = 3
	a, b := tcpSessions(t, nil)
	b.cfg.MaxCalls = limit // the caller thinks that 32 are fine
	serve(t.Context(), a, &testSink{})
	var running, most atomic.Int32
	serve(t.Context(), b, &testSink{request: func(_ context.Context, _ uint16, body []byte, w *AnswerWriter) error {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		time.Sleep(time.Millisecond)
		running.Add(-1)
		return w.Last(body)
	}})
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			body := []byte(fmt.Sprint(i))
			if got, err := a.CallAll(t.Context(), 1, body, 10); err != nil || !bytes.Equal(got, body) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
	wg.Wait()
	if most.Load() > limit {
		t.Errorf("%d handlers at once", most.Load())
	}
}

func TestServeWaitsForHandlers(t *testing.T) {
	a, b := tcpSessions(t, nil)
	started := make(chan struct{})
	var ended atomic.Bool
	serve(t.Context(), a, &testSink{})
	bs := serve(t.Context(), b, &testSink{request: func(ctx context.Context, _ uint16, _ []byte, _ *AnswerWriter) error {
		close(started)
		<-ctx.Done()
		time.Sleep(50 * time.Millisecond)
		ended.Store(true)
		return nil
	}})
	r, err := a.Call(t.Context(), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "handler", started)
	a.Close(nil)
	soon(t, "serve", bs)
	if !ended.Load() {
		t.Error("Serve returned while a handler was running")
	}
	_, err = r.Next()
	wantKind(t, "Next after the end of the session", err, volume.Closed)
}

// Answers that arrived whole can be read after the session has ended.
func TestAnswerOutlivesSession(t *testing.T) {
	a, b := tcpSessions(t, nil)
	serve(t.Context(), b, &testSink{request: func(_ context.Context, _ uint16, body []byte, w *AnswerWriter) error {
		return w.Last(body)
	}})
	serve(t.Context(), a, &testSink{})
	r, err := a.Call(t.Context(), 1, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	for {
		r.mu.Lock()
		ended := r.ended
		r.mu.Unlock()
		if ended {
			break
		}
		time.Sleep(time.Millisecond)
	}
	b.Close(nil)
	<-a.Done()
	if got, err := readAnswer(r); err != nil || len(got) != 1 {
		t.Errorf("%q, %v", got, err)
	}
}
