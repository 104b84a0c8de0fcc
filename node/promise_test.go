package node

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/master"
	"wolfdisk/node/admin"
	"wolfdisk/node/config"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// bareNode is a node that runs nothing: for decisions.
func bareNode(t *testing.T, id string) *node {
	t.Helper()
	s, _, err := openState(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{}
	cfg.Node.ID = id
	n := &node{cfg: cfg, log: zerolog.Nop(), state: s, peers: newPeers(), observer: &observers{},
		dialled: map[string]bool{}, warnings: map[string]admin.Warning{}, started: time.Now()}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	t.Cleanup(func() {
		n.cancel(nil)
		s.Close() // one test does that before
	})
	return n
}

func epoch(number uint64, leader string) volume.Epoch {
	return volume.Epoch{Number: number, Leader: leader, Tag: uint32(number)}
}

func greeting(id string, store byte, h wire.Hello) *wire.Hello {
	h.NodeID, h.Store = id, volume.ID{store}
	return &h
}

func refusal(t *testing.T, what string, err error, k volume.Kind, code string) *wire.Refusal {
	t.Helper()
	r, ok := err.(*wire.Refusal)
	if !ok || r.Kind != k || r.Code != code || r.Text == "" {
		t.Errorf("%s: %#v, want %v, %s", what, err, k, code)
		return &wire.Refusal{}
	}
	return r
}

// A promise only grows, is on disk before it counts, and a leader below it is refused.
func TestPromise(t *testing.T) {
	n := bareNode(t, "b")
	for _, c := range []struct {
		leads   volume.Epoch
		ok      bool
		promise volume.Epoch
	}{
		{volume.Epoch{}, true, volume.Epoch{}},
		{epoch(3, "a"), true, epoch(3, "a")},
		{epoch(3, "a"), true, epoch(3, "a")},
		{epoch(2, "z"), false, epoch(3, "a")},
		{epoch(5, "c"), true, epoch(5, "c")},
		{epoch(3, "a"), false, epoch(5, "c")},
		{epoch(5, "d"), false, epoch(5, "c")}, // of one number, the lower ID is above
		{epoch(5, "a"), true, epoch(5, "a")},
		{volume.Epoch{}, true, epoch(5, "a")},
	} {
		err := n.accept(greeting("x", 1, wire.Hello{Leading: c.leads}))
		if c.ok && err != nil {
			t.Errorf("leader in %v: %v", c.leads, err)
		} else if !c.ok {
			if r := refusal(t, c.leads.String(), err, volume.Fenced, wire.CodeFenced); r.Promise != c.promise {
				t.Errorf("told of promise %v, want %v", r.Promise, c.promise)
			}
		}
		if got := n.state.Get().Promise; got != c.promise {
			t.Fatalf("after %v: promise %v, want %v", c.leads, got, c.promise)
		}
		b, err := n.state.f.Stat()
		if err != nil || b.Size() != 2*stateSlot {
			t.Fatal(err)
		}
	}
	// What was promised is what the disk says.
	buf := make([]byte, stateSlot)
	if _, err := n.state.f.ReadAt(buf, int64(n.state.seq%2)*stateSlot); err != nil {
		t.Fatal(err)
	}
	if _, st, err := decodeState(buf); err != nil || st.Promise != epoch(5, "a") {
		t.Errorf("on disk: %+v, %v", st, err)
	}
	// If the promise cannot be written, it is not given.
	n2 := bareNode(t, "c")
	n2.state.f.Close()
	if err := n2.accept(greeting("x", 1, wire.Hello{Leading: epoch(1, "x")})); err == nil || !n2.state.Get().Promise.IsZero() {
		t.Errorf("%v, %v", err, n2.state.Get().Promise)
	}
}

func TestOtherVolume(t *testing.T) {
	n := bareNode(t, "b")
	if err := n.accept(greeting("a", 1, wire.Hello{Volume: volume.ID{9}})); err != nil {
		t.Error("to a node without a volume:", err)
	}
	if err := n.state.Update(func(s *State) { s.Volume = volume.ID{1} }); err != nil {
		t.Fatal(err)
	}
	r := refusal(t, "other volume", n.accept(greeting("a", 1, wire.Hello{Volume: volume.ID{9}, Leading: epoch(7, "a")})), volume.WrongVolume, wire.CodeVolume)
	if r.Kind != volume.WrongVolume || !n.state.Get().Promise.IsZero() {
		t.Error("a leader of another volume was promised", n.state.Get().Promise)
	}
	for _, id := range []volume.ID{{}, {1}} {
		if err := n.accept(greeting("a", 1, wire.Hello{Volume: id})); err != nil {
			t.Errorf("volume %v: %v", id, err)
		}
	}
}

// leadingNode is a bare node with a chunk volume that leads in epoch 4.
func leadingNode(t *testing.T) (*node, *master.Leader) {
	t.Helper()
	n := bareNode(t, "b")
	v, err := openMem(vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.abandon)
	e := epoch(4, "b")
	if err := n.state.Update(func(s *State) { s.Promise, s.Volume = e, volume.ID{7} }); err != nil {
		t.Fatal(err)
	}
	l, err := master.New(master.Options{Tree: v.tree, Log: v.log, Epoch: e, Log0: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	n.store, n.leader = &storage{log: v.log, engine: v.engine, tree: v.tree, zlog: zerolog.Nop()}, l
	return n, l
}

func makeFile(v volume.Volume, name string) error {
	_, err := v.Do(context.Background(), &volume.Request{Kind: volume.OpCreate, Parent: volume.RootIno, Name: name, Mode: volume.ModeFile})
	return err
}

// A leader that hears of a higher epoch writes no more, and says so.
func TestLeaderIsFenced(t *testing.T) {
	n, l := leadingNode(t)
	if err := makeFile(l, "a"); err != nil {
		t.Fatal(err)
	}
	refusal(t, "a lower leader", n.accept(greeting("a", 1, wire.Hello{Leading: epoch(3, "a")})), volume.Fenced, wire.CodeFenced)
	if err := makeFile(l, "b"); err != nil {
		t.Error("after a lower one:", err)
	}
	if err := n.accept(greeting("a", 1, wire.Hello{Leading: epoch(5, "a")})); err != nil {
		t.Error("a higher leader:", err)
	}
	wantKind(t, "write of the fenced leader", makeFile(l, "c"), volume.Fenced)
	if len(n.warnings) != 1 {
		t.Error("warnings:", n.warnings)
	}
	if _, err := l.Lookup(context.Background(), volume.RootIno, "b"); err != nil {
		t.Error("reading:", err)
	}
}

// A leader takes a follower whose copy is a prefix, and refuses one that went apart,
// that promised somebody else, or that holds what the leader can no longer take.
func TestAcceptFollower(t *testing.T) {
	n, l := leadingNode(t)
	promised := greeting("c", 1, wire.Hello{Promise: epoch(9, "z")})
	if err := n.accept(promised); err != nil {
		t.Error("before anything is written a higher promise only makes a new epoch:", err)
	}
	ahead := greeting("c", 1, wire.Hello{Position: volume.Position{Epoch: epoch(1, "c"), Version: 3, Digest: volume.Digest{1}},
		Lineage: volume.Lineage{{Epoch: epoch(1, "c"), First: 1}}})
	if err := n.accept(ahead); err != nil {
		t.Error("one that is ahead of an empty leader is pulled from:", err)
	}
	for _, name := range []string{"a", "b", "c"} {
		if err := makeFile(l, name); err != nil {
			t.Fatal(err)
		}
	}
	last, lineage := n.store.log.Last(), n.store.engine.Lineage()
	at := func(v volume.Version) volume.Position {
		p, err := n.store.log.PositionAt(v)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	damaged := at(2)
	damaged.Digest[0]++
	beyond := last
	beyond.Version++
	for _, c := range []struct {
		name string
		h    wire.Hello
		kind volume.Kind
		code string
	}{
		{"empty", wire.Hello{}, 0, ""},
		{"prefix", wire.Hello{Position: at(2), Lineage: lineage}, 0, ""},
		{"equal", wire.Hello{Position: last, Lineage: lineage}, 0, ""},
		{"other ops", wire.Hello{Position: damaged, Lineage: lineage}, volume.WrongHistory, "WD-1311"},
		{"other epochs", *ahead, volume.WrongHistory, "WD-1310"},
		{"ahead of a leader that wrote", wire.Hello{Position: beyond, Lineage: lineage}, volume.WrongHistory, "WD-1310"},
		{"promised to a higher epoch", wire.Hello{Position: at(2), Lineage: lineage, Promise: epoch(9, "z")}, volume.Fenced, wire.CodeFenced},
	} {
		err := n.accept(greeting("c", 1, c.h))
		if c.code == "" {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		refusal(t, c.name, err, c.kind, c.code)
	}
	client := wire.Hello{Position: damaged, Lineage: lineage}
	client.Role = volume.RoleClient
	if err := n.accept(greeting("d", 1, client)); err != nil {
		t.Error("a client holds no copy:", err)
	}
	if n.store.log.Last() != last {
		t.Error("deciding changed the log")
	}
}

// The index and the log must belong together.
func TestReplayRefuses(t *testing.T) {
	ctx := context.Background()
	lead := func(v *memVolume, seconds int64, files ...string) {
		t.Helper()
		l, err := master.New(master.Options{Tree: v.tree, Log: v.log, Epoch: epoch(1, "a"), Log0: zerolog.Nop(),
			Now: func() volume.Time { return volume.Time{Sec: seconds} }})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if err := makeFile(l, f); err != nil {
				t.Fatal(err)
			}
		}
	}
	open := func() *memVolume {
		t.Helper()
		v, err := openMem(vfs.NewMem())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(v.abandon)
		return v
	}
	long, short, other, empty := open(), open(), open(), open()
	lead(long, 5, "a", "b", "c")
	lead(short, 5, "a", "b")
	lead(other, 6, "a", "b", "x", "y")
	for _, c := range []struct {
		name          string
		engine, log   *memVolume
		refused       bool
		wantedVersion volume.Version
	}{
		{"index ahead of the log", long, short, true, 4},
		{"index ahead of an empty log", short, empty, true, 3},
		{"another history", short, other, true, 3},
		{"same length, other ops", other, other, false, 5},
		{"index behind its log", short, long, false, 4},
		{"empty index", empty, other, false, 5},
	} {
		err := replay(ctx, c.log.log, c.engine.engine)
		if c.refused {
			wantKind(t, c.name, err, volume.Corrupt)
		} else if err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if v := c.engine.engine.Position().Version; v != c.wantedVersion {
			t.Errorf("%s: index at %d, want %d", c.name, v, c.wantedVersion)
		}
	}
}
