package master_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
	"wolfdisk/wire"
)

// end is one side of sessions: what it says in its hello, and what it does.
type end struct {
	cfg     *wire.Config
	hello   func() wire.Hello
	session func(s *wire.Session)
}

func (e *end) Hello(wire.Hello) (wire.Hello, error) { return e.hello(), nil }
func (e *end) Session(s *wire.Session)              { e.session(s) }

func testKeys(t *testing.T) *wire.Keys {
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

func newEnd(k *wire.Keys, id string, r *rig, leading func() volume.Epoch) *end {
	e := &end{cfg: &wire.Config{Keys: k, NodeID: id, Role: volume.RoleAuto, Store: volume.ID{byte(len(id))}, Log: zerolog.Nop()}}
	e.hello = func() wire.Hello {
		return wire.Hello{Software: "test", Volume: testVolume, ChunkSize: volume.MinChunkSize, Consistent: true,
			Position: r.log.Last(), Lineage: r.engine.Lineage(), Durable: r.log.Durable(), Leading: leading()}
	}
	return e
}

// leaderSide feeds whoever dials.
type leaderSide struct {
	l    *master.Leader
	end  *end
	addr string

	mu    sync.Mutex
	feeds []*master.Feed
}

// toFeed takes what a follower sends.
type toFeed struct {
	feed *master.Feed
	r    *rig
}

func (k toFeed) Frame([]byte) error {
	return volume.Errorf(volume.WrongHistory, "frames to a leader")
}
func (k toFeed) Progress(p wire.Progress) { k.feed.Progress(p) }
func (k toFeed) Durable(volume.Version)   {}
func (k toFeed) Request(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	return k.r.log.AnswerPull(ctx, body, w)
}

func serveFeeds(t *testing.T, k *wire.Keys, r *rig, l *master.Leader) *leaderSide {
	t.Helper()
	side := &leaderSide{l: l, end: newEnd(k, "a", r, l.Epoch)}
	side.end.session = func(s *wire.Session) {
		c, cancel := context.WithCancel(context.Background())
		defer cancel()
		f := l.NewFeed(s, s.Remote().Position.Version)
		side.mu.Lock()
		side.feeds = append(side.feeds, f)
		side.mu.Unlock()
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.Close(f.Run(c))
		}()
		s.Serve(c, toFeed{f, r})
		cancel()
		<-done
	}
	ln, err := wire.Listen(side.end.cfg, "127.0.0.1:0", side.end)
	if err != nil {
		t.Fatal(err)
	}
	side.addr = ln.Addr().String()
	t.Cleanup(func() {
		if err := ln.Close(); err != nil {
			t.Error(err)
		}
	})
	return side
}

func (s *leaderSide) lastFeed() *master.Feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.feeds) == 0 {
		return nil
	}
	return s.feeds[len(s.feeds)-1]
}

func noEpoch() volume.Epoch { return volume.Epoch{} }

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func equalTrees(t *testing.T, what string, a, b *rig) {
	t.Helper()
	x, err := volumetest.Tree(ctx, a.tree)
	if err != nil {
		t.Fatal(err)
	}
	y, err := volumetest.Tree(ctx, b.tree)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range volumetest.Diff(x, y) {
		t.Errorf("%s: %s", what, d)
	}
	if a.log.Last() != b.log.Last() || a.engine.Position() != b.engine.Position() {
		t.Errorf("%s: positions %v and %v", what, a.log.Last(), b.log.Last())
	}
}

// TestFollow streams to a follower that loses its session at random moments, and is
// restarted now and then. At the end both are equal.
func TestFollow(t *testing.T) {
	k := testKeys(t)
	lr, fr := newRig(t), newRig(t)
	defer lr.abandon()
	l := lr.lead(1)
	side := serveFeeds(t, k, lr, l)
	rng := rand.New(rand.NewPCG(3, 3))
	stop := make(chan struct{})
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		gen := volumetest.Random(11)
		for {
			select {
			case <-stop:
				return
			default:
			}
			s := gen.Next()
			var res volume.Result
			var err error
			switch {
			case s.Req != nil:
				res, err = l.Do(ctx, s.Req)
			case s.Open != 0:
				err = l.Open(ctx, s.Open, false)
			default:
				err = l.Close(ctx, s.Close)
			}
			gen.Done(s, res, err)
			time.Sleep(50 * time.Microsecond)
		}
	}()
	rounds := 25
	if testing.Short() {
		rounds = 8
	}
	for i := range rounds {
		f := slave.New(slave.Options{Tree: fr.tree, Log: fr.log, Log0: zerolog.Nop()})
		if i == rounds-1 {
			close(stop)
			<-worked
		}
		c, cancel := context.WithCancel(ctx)
		s, err := wire.Dial(c, newEnd(k, "b", fr, noEpoch).cfg, side.addr, newEnd(k, "b", fr, noEpoch))
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- f.Follow(c, s) }()
		if i == rounds-1 {
			waitFor(t, "catching up", func() bool { _, a, _ := f.Progress(); return a == lr.log.Last().Version })
			waitFor(t, "lag of none", func() bool { g := side.lastFeed().Lag(); return g.Ops == 0 && g.Bytes == 0 && g.Seconds == 0 })
		} else {
			time.Sleep(time.Duration(rng.IntN(15)) * time.Millisecond)
		}
		if rng.IntN(2) == 0 {
			s.Close(volume.Closed)
		} else {
			cancel()
		}
		<-ended
		cancel()
		f.Stop(volume.Closed)
		if err := f.Failed(); err != nil {
			t.Fatal("the follower stopped:", err)
		}
		if _, a, _ := f.Progress(); a != fr.engine.Position().Version || a != fr.log.Last().Version {
			t.Fatalf("applied %d, index at %d, log at %d", a, fr.engine.Position().Version, fr.log.Last().Version)
		}
		if i%4 == 3 && i != rounds-1 { // a clean restart
			if err := fr.engine.Close(); err != nil {
				t.Fatal(err)
			}
			fr.store.Close()
			fr.log.Close()
			fr = openRig(t, fr.mem)
		}
	}
	equalTrees(t, "at the end", lr, fr)
	replayed(t, fr)
	if l.Position().Version < 20 {
		t.Error("only", l.Position().Version, "ops were made")
	}
	fr.abandon()
}

// blocking holds an observer up until it is let go.
type blocking struct {
	hold chan struct{}
	n    atomic.Int64
}

func (b *blocking) Applied([]*volume.Op) {
	b.n.Add(1)
	<-b.hold
}

// TestSlowFollower: one whose disk stands still does not hold up the leader, nor the
// other follower, and gets everything in the end.
func TestSlowFollower(t *testing.T) {
	k := testKeys(t)
	lr, slow, fast := newRig(t), newRig(t), newRig(t)
	defer lr.abandon()
	defer slow.abandon()
	defer fast.abandon()
	l := lr.lead(1)
	side := serveFeeds(t, k, lr, l)
	ino := mkFile(t, l, "a")
	b := &blocking{hold: make(chan struct{})}
	c, cancel := context.WithCancel(ctx)
	var ended sync.WaitGroup
	defer ended.Wait()
	defer cancel()
	follow := func(id string, r *rig, o volume.Observer) *slave.Follower {
		f := slave.New(slave.Options{Tree: r.tree, Log: r.log, Observer: o, Log0: zerolog.Nop()})
		e := newEnd(k, id, r, noEpoch)
		s, err := wire.Dial(c, e.cfg, side.addr, e)
		if err != nil {
			t.Fatal(err)
		}
		ended.Go(func() { f.Follow(c, s) })
		return f
	}
	fs := follow("slow", slow, b)
	waitFor(t, "the slow one's first frame", func() bool { return b.n.Load() > 0 })
	slowFeed := side.lastFeed()
	ff := follow("fast", fast, nil)
	data := make([]byte, 128<<10) // does not compress
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	var longest time.Duration
	for i := range 100 { // 12 MiB: more than the session's window
		data[0] = byte(i)
		begun := time.Now()
		mustDo(t, l, &volume.Request{Kind: volume.OpWrite, Ino: ino, Offset: int64(i) % 4 * int64(len(data)), Data: data})
		longest = max(longest, time.Since(begun))
	}
	if longest > 5*time.Second {
		t.Errorf("an op took %v while a follower stood still", longest)
	}
	waitFor(t, "the fast one", func() bool { _, a, _ := ff.Progress(); return a == lr.log.Last().Version })
	if _, a, _ := fs.Progress(); a >= lr.log.Last().Version {
		t.Error("the slow follower was not slow")
	}
	if g := slowFeed.Lag(); g.Ops < 80 || g.Bytes < 8<<20 || g.Seconds <= 0 {
		t.Errorf("lag of the slow one: %+v", g)
	}
	close(b.hold)
	waitFor(t, "the slow one", func() bool { _, a, _ := fs.Progress(); return a == lr.log.Last().Version })
	waitFor(t, "its lag", func() bool { return slowFeed.Lag().Ops == 0 })
	equalTrees(t, "slow", lr, slow)
	equalTrees(t, "fast", lr, fast)
}

// counting counts what goes through an observer.
type counting struct{ first, last volume.Version }

func (c *counting) Applied(ops []*volume.Op) {
	if c.first == 0 {
		c.first = ops[0].Version
	}
	c.last = ops[len(ops)-1].Version
}

// TestCatchUp: a leader that is behind pulls exactly what it lacks from a follower.
func TestCatchUp(t *testing.T) {
	k := testKeys(t)
	ahead, behind := newRig(t), newRig(t)
	defer ahead.abandon()
	defer behind.abandon()
	l := ahead.lead(1)
	for i := range 30 {
		mkFile(t, l, fmt.Sprint("f", i))
	}
	side := serveFeeds(t, k, ahead, l)
	// The one behind has got the first ops.
	rd, err := ahead.log.Reader(1)
	if err != nil {
		t.Fatal(err)
	}
	f := slave.New(slave.Options{Tree: behind.tree, Log: behind.log, Log0: zerolog.Nop()})
	for range 10 {
		fr, err := rd.Next(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Receive(ctx, fr.Bytes); err != nil {
			t.Fatal(err)
		}
	}
	rd.Close()
	had := behind.log.Last().Version
	e := newEnd(k, "b", behind, noEpoch)
	s, err := wire.Dial(ctx, e.cfg, side.addr, e)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		s.Serve(ctx, idleSink{})
	}()
	var seen counting
	if err := master.CatchUp(ctx, s, behind.tree, behind.log, &seen); err != nil {
		t.Fatal(err)
	}
	if seen.first != had+1 || seen.last != ahead.log.Last().Version {
		t.Errorf("pulled %d to %d, had %d, last is %d", seen.first, seen.last, had, ahead.log.Last().Version)
	}
	equalTrees(t, "after catching up", ahead, behind)
	seen = counting{}
	if err := master.CatchUp(ctx, s, behind.tree, behind.log, &seen); err != nil || seen.last != 0 {
		t.Errorf("nothing to pull: %v, %+v", err, seen)
	}
	// Another history is refused, and nothing changes.
	other := openRig(t, vfs.NewMem())
	defer other.abandon()
	ol := other.lead(1, func(o *master.Options) { o.Now = func() volume.Time { return volume.Time{Sec: 1} } })
	mkFile(t, ol, "mine")
	before := other.log.Last()
	wantKind(t, "another history", master.CatchUp(ctx, s, index.NewTree(other.engine, other.back), other.log, nil), volume.WrongHistory)
	if other.log.Last() != before || other.engine.Position() != before {
		t.Errorf("position %v, was %v", other.log.Last(), before)
	}
	s.Close(volume.Closed)
	<-served
}

// idleSink takes nothing: a puller's session.
type idleSink struct{}

func (idleSink) Frame([]byte) error     { return nil } // the feed's, which nobody waits for here
func (idleSink) Progress(wire.Progress) {}
func (idleSink) Durable(volume.Version) {}
func (idleSink) Request(context.Context, uint16, []byte, *wire.AnswerWriter) error {
	return volume.Unsupported
}
