package node

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// chunkPeer is a node as far as chunks are concerned.
type chunkPeer struct {
	n *node
}

func newChunkPeer(t *testing.T, id string) *chunkPeer {
	t.Helper()
	store, _, err := chunkstore.Open(chunkstore.Options{FS: vfs.NewMem(), Dir: "chunks", Volume: volume.ID{1}, ChunkSize: volume.MinChunkSize, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	n := &node{peers: newPeers(), store: &storage{chunks: store}}
	store.SetFetcher(n)
	return &chunkPeer{n}
}

func (p *chunkPeer) Hello(wire.Hello) (wire.Hello, error) {
	return wire.Hello{Software: "test", Volume: volume.ID{1}}, nil
}

func (p *chunkPeer) Session(s *wire.Session) { p.run(s, false) }

func (p *chunkPeer) run(s *wire.Session, dialled bool) {
	p.n.peers.attach("x", s, dialled)
	defer p.n.peers.detach(s)
	_ = s.Serve(context.Background(), &leaderSink{chunks: p.n.answerChunk})
}

// TestFetchChunk: a chunk that is absent on one node is read from another; one that
// both lack is Missing at once, although each asks the other.
func TestFetchChunk(t *testing.T) {
	keys, err := wire.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	a, b := newChunkPeer(t, "a"), newChunkPeer(t, "b")
	cfg := func(id string) *wire.Config {
		return &wire.Config{Keys: keys, NodeID: id, Store: volume.ID{id[0]}, NoDelay: true, Log: zerolog.Nop()}
	}
	l, err := wire.Listen(cfg("a"), net.JoinHostPort("127.0.0.1", "0"), a)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := wire.Dial(ctx, cfg("b"), l.Addr().String(), b)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); b.run(s, true) }()
	defer func() { s.Close(nil); <-done }()
	for !a.n.peers.connected("b") || !b.n.peers.connected("a") {
		time.Sleep(time.Millisecond)
	}
	id, _, err := a.n.store.chunks.Put(ctx, []byte("what a has"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.n.store.chunks.Get(ctx, id)
	if err != nil || string(got) != "what a has" {
		t.Errorf("fetched %q, %v", got, err)
	}
	if _, err := b.n.store.chunks.Get(ctx, volume.ChunkID{9}); volume.KindOf(err) != volume.Missing {
		t.Errorf("a chunk that nobody has: %v", err)
	}
}
