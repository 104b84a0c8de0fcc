package node

import (
	"context"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/master"
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
		started: time.Now(),
		vacancy: newVacancy(), gate: master.NewGate(bootClock)}
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	n.stop, n.halt = context.WithCancelCause(n.ctx)
	n.control, n.dials = newControl(n), newDials(n)
	if n.roster, err = openRoster(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	n.elector = newElector(n)
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

// A leader below what is obeyed is refused, and told why, whatever it says else.
func TestObeyed(t *testing.T) {
	n := bareNode(t, "b")
	obey := func(e volume.Epoch) { n.elector.obeyed.Store(&e) }
	obey(epoch(5, "c"))
	for _, c := range []struct {
		leads volume.Epoch
		ok    bool
	}{
		{volume.Epoch{}, true},
		{epoch(5, "c"), true},
		{epoch(2, "z"), false},
		{epoch(5, "d"), false}, // of one number, the lower ID is above
		{epoch(5, "a"), true},
		{epoch(6, "z"), true},
	} {
		err := n.accept(greeting("x", 1, wire.Hello{Leading: c.leads}))
		if c.ok && err != nil {
			t.Errorf("leader in %v: %v", c.leads, err)
		} else if !c.ok {
			if r := refusal(t, c.leads.String(), err, volume.Fenced, wire.CodeFenced); r.Promise != epoch(5, "c") {
				t.Errorf("told of promise %v", r.Promise)
			}
		}
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
	for _, err := range []error{
		n.accept(greeting("a", 1, wire.Hello{Volume: volume.ID{9}, Leading: epoch(7, "a")})),
		n.acceptIdentity(greeting("a", 1, wire.Hello{Volume: volume.ID{9}})),
	} {
		refusal(t, "other volume", err, volume.WrongVolume, wire.CodeVolume)
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

// A leader takes a follower whose copy is a prefix, and keeps one out that went apart until the
// election has brought the two together.
func TestAcceptFollower(t *testing.T) {
	n, l := leadingNode(t)
	ahead := greeting("c", 1, wire.Hello{Position: volume.Position{Epoch: epoch(1, "c"), Version: 3, Digest: volume.Digest{1}},
		Lineage: volume.Lineage{{Epoch: epoch(1, "c"), First: 1}}})
	refusal(t, "one that is ahead of an empty leader", n.accept(ahead), volume.Busy, "WD-1310")
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
		{"other epochs", *ahead, volume.Busy, "WD-1310"},
		{"ahead of a leader that wrote", wire.Hello{Position: beyond, Lineage: lineage}, volume.Busy, "WD-1310"},
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
		err := replay(ctx, c.log.log, c.engine.engine, c.log.log.Last().Version)
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
