package wire

import (
	"bytes"
	"fmt"
	"math/rand"
	"testing"
	"time"

	"wolfdisk/volume"
)

// signalSink takes signals.
type signalSink struct {
	testSink
	got chan []byte
}

func (s *signalSink) Signal(b []byte) error {
	s.got <- bytes.Clone(b)
	return nil
}

func TestSignals(t *testing.T) {
	a, b := tcpSessions(t, nil)
	sink := &signalSink{got: make(chan []byte, 100)}
	serve(t.Context(), b, sink)
	serve(t.Context(), a, &testSink{})
	rnd := rand.New(rand.NewSource(1))
	for _, size := range []int{1, 100, maxBody - 1, maxBody, maxBody + 1, 3 * maxBody, MaxSignal, 7} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			want := make([]byte, size)
			rnd.Read(want)
			// What does not fit behind others is refused whole, and can be sent again.
			for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				err := a.SendSignal(want)
				if err == nil {
					break
				}
				if volume.KindOf(err) != volume.Busy || time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			select {
			case got := <-sink.got:
				if !bytes.Equal(got, want) {
					t.Fatalf("%d bytes arrived, not the ones that were sent", len(got))
				}
			case <-time.After(10 * time.Second):
				t.Fatal("it did not arrive")
			}
		})
	}
}

func TestSignalLengths(t *testing.T) {
	a, _ := tcpSessions(t, nil)
	for _, size := range []int{0, MaxSignal + 1} {
		if err := a.SendSignal(make([]byte, size)); volume.KindOf(err) != volume.Invalid {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// A peer that sends a signal where none is taken, or one without end, is not listened to.
func TestSignalsThatEndTheSession(t *testing.T) {
	for _, c := range []struct {
		name string
		sink Sink
		send func(s *Session)
	}{
		{"on a session for data", &testSink{}, func(s *Session) { s.SendSignal([]byte("x")) }},
		{"without end", &signalSink{got: make(chan []byte, 1)}, func(s *Session) {
			piece := make([]byte, maxBody)
			for range MaxSignal/maxBody + 2 {
				s.postOwn("send", func(w *writer) { w.small = append(appendHeader(w.small, msgSignal, flagMore, len(piece)), piece...) })
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := tcpSessions(t, nil)
			served := serve(t.Context(), b, c.sink)
			serve(t.Context(), a, &testSink{})
			c.send(a)
			select {
			case err := <-served:
				if volume.KindOf(err) != volume.BadFormat {
					t.Fatalf("ended with %v", err)
				}
			case <-time.After(10 * time.Second):
				t.Fatal("the session goes on")
			}
		})
	}
}
