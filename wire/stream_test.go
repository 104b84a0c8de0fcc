package wire

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"wolfdisk/volume"
)

// streamHandler echoes streams.
type streamHandler struct {
	testHandler
	ended chan Hello
}

func (h *streamHandler) Stream(conn net.Conn, remote Hello) {
	io.Copy(conn, conn)
	h.ended <- remote
}

// TestStream: what is sent right behind the greeting, and what is too long for one read, comes
// whole and in order; sessions go on beside it.
func TestStream(t *testing.T) {
	k := testKeys(1, 7)
	lc, dc := testConfig("node-2", k), testConfig("node-1", k)
	h := &streamHandler{ended: make(chan Hello, 2)}
	h.session = func(s *Session) { s.Serve(context.Background(), &testSink{}) }
	l, err := Listen(lc, "127.0.0.1:0", h)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := DialStream(t.Context(), dc, l.Addr().String(), &testHandler{})
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("0123456789abcdef"), 40<<10)
	go conn.Write(want)
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("what came back differs, %v", err)
	}
	s, err := Dial(t.Context(), dc, l.Addr().String(), &testHandler{})
	if err != nil {
		t.Fatal(err)
	}
	serve(t.Context(), s, &testSink{})
	if _, err := s.Heartbeat(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Close(nil)
	// A read that runs into its deadline does not spoil the stream.
	conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if _, err := conn.Read(got); err == nil {
		t.Fatal("something came that nobody sent")
	}
	conn.SetReadDeadline(time.Time{})
	conn.Write([]byte("x"))
	if n, err := conn.Read(got); n != 1 || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
	conn.Close()
	if remote := <-h.ended; remote.NodeID != "node-1" || remote.Caps&CapStream == 0 {
		t.Errorf("the other side was said to be %+v", remote)
	}
	other, err := DialStream(t.Context(), dc, l.Addr().String(), &testHandler{})
	if err != nil {
		t.Fatal(err)
	}
	other.Write([]byte("y"))
	if _, err := io.ReadFull(other, got[:1]); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	<-h.ended
	if _, err := other.Read(got); err == nil {
		t.Error("a stream outlives its listener")
	}
}

// TestStreamRefused: a node that takes no streams, and one that does not want this one.
func TestStreamRefused(t *testing.T) {
	k := testKeys(1, 7)
	dc := testConfig("node-1", k)
	l, err := Listen(testConfig("node-2", k), "127.0.0.1:0", &testHandler{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, err = DialStream(t.Context(), dc, l.Addr().String(), &testHandler{})
	wantKind(t, "a node without streams", err, volume.Unsupported, "node-2 takes no streams")
	h := &streamHandler{ended: make(chan Hello, 1)}
	h.decide = func(Hello) error { return volume.Errorf(volume.Unauthorized, "not you") }
	l2, err := Listen(testConfig("node-3", k), "127.0.0.1:0", h)
	if err != nil {
		t.Fatal(err)
	}
	defer l2.Close()
	_, err = DialStream(t.Context(), dc, l2.Addr().String(), &testHandler{})
	wantKind(t, "a node that refuses", err, volume.Unauthorized, "not you")
	// An older node does not know the bit, and answers with a session.
	d, lst := tcpPair(t)
	lc := testConfig("node-4", k)
	if err := lc.prepare(); err != nil {
		t.Fatal(err)
	}
	go func() {
		g := &greeter{cfg: lc, h: &streamHandler{}, raw: newRawConn(lst, &lc.total)}
		if g.secure(context.Background(), false) == nil && g.readHello() == nil && g.ask() == nil {
			g.sendHello()
			readGreeting(g.br)
		}
		lst.Close()
	}()
	_, err = agree(t.Context(), dc, d, "node-4", &testHandler{}, true, true)
	wantKind(t, "an older node", err, volume.WrongVersion, "node-4 takes no streams: update it")
}
