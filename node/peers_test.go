package node

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
	"wolfdisk/wire"
)

// side is a node that only says hello and hands its sessions over.
type side struct {
	cfg      *wire.Config
	started  int64
	listener *wire.Listener
	accepted chan *wire.Session
}

func (s *side) Hello(wire.Hello) (wire.Hello, error) {
	return wire.Hello{Software: "test", Boot: wire.Boot{ID: "boot", Started: s.started}}, nil
}

// Session implements wire.Handler.
func (s *side) Session(ws *wire.Session) {
	s.accepted <- ws
	ws.Serve(context.Background(), &leaderSink{})
}

func newSide(t *testing.T, k *wire.Keys, id string, started int64) *side {
	t.Helper()
	s := &side{started: started, accepted: make(chan *wire.Session, 4),
		cfg: &wire.Config{Keys: k, NodeID: id, Role: volume.RoleAuto, Store: volume.ID{id[0]}, Log: zerolog.Nop()}}
	l, err := wire.Listen(s.cfg, "127.0.0.1:0", s)
	if err != nil {
		t.Fatal(err)
	}
	s.listener = l
	t.Cleanup(func() { l.Close() })
	return s
}

// connect lets from dial to; it returns both ends.
func connect(t *testing.T, from, to *side) (dialler, listener *wire.Session) {
	t.Helper()
	s, err := wire.Dial(context.Background(), from.cfg, to.listener.Addr().String(), from)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(context.Background(), &leaderSink{})
	t.Cleanup(func() { s.Close(volume.Closed) })
	select {
	case other := <-to.accepted:
		return s, other
	case <-time.After(10 * time.Second):
		t.Fatal("the other end did not come")
		return nil, nil
	}
}

func clusterKeys(t *testing.T) *wire.Keys {
	t.Helper()
	k, err := wire.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Save(filepath.Join(t.TempDir(), "key")); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestSimultaneousDials: of the sessions that two nodes dial at once, both keep the one
// that the lower ID dialled, in whatever order they see them.
func TestSimultaneousDials(t *testing.T) {
	k := clusterKeys(t)
	low, high := newSide(t, k, "node-9", 1), newSide(t, k, "node-10", 1)
	for _, c := range []struct {
		name              string
		lowFirst, highToo bool // whether a node sees the lower's session first
	}{{"lower's first at both", true, true}, {"higher's first at both", false, false}, {"crosswise", true, false}, {"own last", false, true}} {
		t.Run(c.name, func(t *testing.T) {
			lowOut, highIn := connect(t, low, high) // dialled by the lower
			highOut, lowIn := connect(t, high, low)
			pl, ph := newPeers(), newPeers()
			attach := func(p *peers, self string, byLow, byHigh *wire.Session, lowFirst bool) {
				isLow := self == "node-9"
				if lowFirst {
					if !p.attach(self, byLow, isLow) {
						t.Error(self, "does not take the first")
					}
					if p.attach(self, byHigh, !isLow) {
						t.Error(self, "takes the higher's in the place of the lower's")
					}
					return
				}
				if !p.attach(self, byHigh, !isLow) || !p.attach(self, byLow, isLow) {
					t.Error(self, "does not take the lower's in the place of the higher's")
				}
			}
			attach(pl, "node-9", lowOut, lowIn, c.lowFirst)
			attach(ph, "node-10", highIn, highOut, c.highToo)
			if pl.byID["node-10"].session != lowOut || ph.byID["node-9"].session != highIn {
				t.Error("they keep different sessions")
			}
			if !pl.connected("node-10") || len(pl.list()) != 1 {
				t.Error("peers:", pl.list())
			}
			// The end of the session that lost changes nothing; that of the other does.
			pl.detach(lowIn)
			if !pl.connected("node-10") {
				t.Error("the loser's end counts")
			}
			pl.detach(lowOut)
			if pl.connected("node-10") || pl.byID["node-10"].lost.IsZero() {
				t.Error("the session's end does not count")
			}
		})
	}
}

// A peer that was started again replaces its old session, whoever dialled.
func TestRestartedPeer(t *testing.T) {
	k := clusterKeys(t)
	a := newSide(t, k, "a", 1)
	for _, firstOurs := range []bool{true, false} {
		b1, b2 := newSide(t, k, "b", 100), newSide(t, k, "b", 200)
		p := newPeers()
		var old *wire.Session
		if firstOurs {
			old, _ = connect(t, a, b1)
		} else {
			_, old = connect(t, b1, a)
		}
		if !p.attach("a", old, firstOurs) {
			t.Fatal("the first session is not taken")
		}
		_, fresh := connect(t, b2, a)
		if !p.attach("a", fresh, false) || p.byID["b"].session != fresh {
			t.Errorf("first dialled by us %t: a new run of the peer is kept out by its old session", firstOurs)
		}
	}
}

// Two nodes with one ID are told apart by their stores.
func TestDuplicateID(t *testing.T) {
	k := clusterKeys(t)
	a, b := newSide(t, k, "a", 1), newSide(t, k, "b", 1)
	n := bareNode(t, "a")
	other := greeting("b", 99, wire.Hello{})
	if err := n.accept(other); err != nil {
		t.Error("nobody of that ID is here:", err)
	}
	s, _ := connect(t, a, b)
	n.peers.attach("a", s, true)
	refusal(t, "another store", n.accept(other), volume.Busy, wire.CodeDuplicate)
	if err := n.accept(greeting("b", 'b', wire.Hello{})); err != nil {
		t.Error("the same store:", err)
	}
	n.peers.detach(s)
	if err := n.accept(other); err != nil {
		t.Error("after the first has gone:", err)
	}
}
