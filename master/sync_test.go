package master_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/master"
	"wolfdisk/oplog"
	"wolfdisk/slave"
	"wolfdisk/volume"
	"wolfdisk/volume/volumetest"
	"wolfdisk/wire"
)

// toHost serves snapshots, content and barriers, and feeds what comes after a snapshot,
// or after where the follower is.
type toHost struct {
	l     *master.Leader
	r     *rig
	s     *wire.Session
	c     context.Context
	ended chan error
	feed  *atomic.Pointer[master.Feed]
}

func (k toHost) Frame([]byte) error { return volume.WrongHistory }
func (k toHost) Progress(p wire.Progress) {
	if f := k.feed.Load(); f != nil {
		f.Progress(p)
	}
}
func (k toHost) Durable(volume.Version) {}

func (k toHost) begin(v volume.Version) {
	f := k.l.NewFeed(k.s, v)
	k.feed.Store(f)
	go func() { k.ended <- f.Run(k.c) }()
}

func (k toHost) Request(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	switch kind {
	case volume.RequestJoin:
		k.begin(k.s.Remote().Position.Version)
		return w.Last([]byte{volume.JoinStream})
	case volume.RequestSnapshot:
		s, err := k.r.engine.Snapshot()
		if err != nil {
			return err
		}
		defer s.Close()
		k.begin(s.Position().Version)
		return s.Export(w, func() {})
	case volume.RequestContent:
		q, err := volume.DecodeContentRequest(body)
		if err != nil {
			return err
		}
		return volume.ServeContent(ctx, &q, k.l, w, make([]byte, volume.MaxContentItem))
	case volume.RequestRanges:
		return volume.ServeRanges(ctx, body, k.l, w)
	case volume.RequestBarrier:
		v, err := k.l.Barrier()
		if err != nil {
			return err
		}
		return w.Last(binary.BigEndian.AppendUint64(nil, uint64(v)))
	}
	return volume.Unsupported
}

func serveHost(t *testing.T, k *wire.Keys, r *rig, l *master.Leader) string {
	t.Helper()
	e := newEnd(k, "a", r, l.Epoch)
	e.session = func(s *wire.Session) {
		c, cancel := context.WithCancel(context.Background())
		h := toHost{l, r, s, c, make(chan error, 2), &atomic.Pointer[master.Feed]{}}
		s.Serve(c, h)
		cancel()
		if h.feed.Load() != nil {
			<-h.ended
		}
	}
	ln, err := wire.Listen(e.cfg, "127.0.0.1:0", e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// copying is a node that makes a copy: a chunk store and what a Sync needs.
type copying struct {
	mem   *vfs.MemFS
	store *chunkstore.Store
	opt   slave.SyncOptions
	sync  *slave.Sync
	cut   *atomic.Pointer[cutter]
}

// cutter ends a session when a phase begins, or so many things have been done.
type cutter struct {
	phase string
	left  int64
	do    func()
}

func (c *copying) phase(name string, _, _ slave.Amount) func(uint64, uint64, string) {
	if k := c.cut.Load(); k != nil && k.phase == name {
		k.do()
	}
	return func(uint64, uint64, string) {
		if k := c.cut.Load(); k != nil && k.phase == "" {
			if k.left--; k.left == 0 {
				k.do()
			}
		}
	}
}

func openCopying(t *testing.T, mem *vfs.MemFS) *copying {
	t.Helper()
	c := &copying{mem: mem, cut: &atomic.Pointer[cutter]{}}
	var err error
	c.store, _, err = chunkstore.Open(chunkstore.Options{FS: diskFS{mem}, Dir: "chunks", Volume: testVolume, ChunkSize: volume.MinChunkSize, Log: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	log := oplog.DefaultOptions("", testVolume)
	log.SyncEvery, log.SegmentSize = 0, 1<<20
	c.opt = slave.SyncOptions{
		FS: diskFS{mem}, Dir: "copy", Log: log, Index: index.Options{MemTable: 1 << 20, Log: zerolog.Nop()},
		Chunks: c.store, ChunkSize: volume.MinChunkSize, Log0: zerolog.Nop(),
		Phase: c.phase,
	}
	if err := mem.MkdirAll("copy", 0o700); err != nil {
		t.Fatal(err)
	}
	if c.sync, err = slave.OpenSync(c.opt); err != nil {
		t.Fatal(err)
	}
	if c.sync == nil {
		c.sync = slave.NewSync(c.opt)
	}
	return c
}

// TestSyncFromSnapshot copies a volume while it is written, over sessions that end at
// random moments and crashes of the copying node, and compares the copy when it says
// that it is consistent.
func TestSyncFromSnapshot(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 8
	}
	resumed := 0
	for seed := range uint64(rounds) {
		resumed += syncOnce(t, seed)
		if t.Failed() {
			t.Fatal("seed", seed)
		}
	}
	if resumed == 0 {
		t.Error("no copy was ever taken up again")
	}
}

func syncOnce(t *testing.T, seed uint64) (resumed int) {
	k := testKeys(t)
	lr := newRig(t)
	defer lr.abandon()
	l := lr.lead(1)
	gen := volumetest.Random(seed)
	step := func() {
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
	}
	for range 600 {
		step()
	}
	stop, worked := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(worked)
		for {
			select {
			case <-stop:
				return
			default:
				step()
				time.Sleep(30 * time.Microsecond)
			}
		}
	}()
	addr := serveHost(t, k, lr, l)
	rng := rand.New(rand.NewPCG(seed, 9))
	c := openCopying(t, vfs.NewCrashableMem())
	var f *slave.Follower
	var fr *rig
	for try := 0; f == nil; try++ {
		if c.sync.Begun() {
			resumed++
		}
		f, fr = syncSession(t, k, addr, c, rng, try)
		if f != nil {
			break
		}
		if rng.IntN(3) == 0 { // the power goes
			mem := c.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
			c.sync.Close()
			c.store.Close()
			c = openCopying(t, mem)
		} else if !c.sync.Begun() {
			if err := c.sync.Close(); err != nil {
				t.Fatal(err)
			}
			if err := slave.RemoveSync(c.opt); err != nil {
				t.Fatal(err)
			}
			if err := c.mem.MkdirAll("copy", 0o700); err != nil {
				t.Fatal(err)
			}
			c.sync = slave.NewSync(c.opt)
		}
	}
	close(stop)
	<-worked
	// What came while it was finished reaches it as any follower.
	s, err := wire.Dial(ctx, newEnd(k, "b", fr, noEpoch).cfg, addr, newEnd(k, "b", fr, noEpoch))
	if err != nil {
		t.Fatal(err)
	}
	session := slave.NewSession(s, f, f.Answer)
	done := make(chan error, 1)
	go func() {
		done <- session.Serve(ctx, func(ctx context.Context) error {
			if _, err := session.Join(ctx, false); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
	}()
	waitFor(t, "catching up", func() bool { _, a, _ := f.Progress(); return a == lr.log.Last().Version })
	s.Close(volume.Closed)
	<-done
	equalTrees(t, "the copy", lr, fr)
	fr.engine.Close()
	fr.log.Close()
	c.store.Close()
	return resumed
}

// syncSession copies over one session, which may end at any moment. The follower is
// not nil once the copy is done.
func syncSession(t *testing.T, k *wire.Keys, addr string, c *copying, rng *rand.Rand, try int) (*slave.Follower, *rig) {
	t.Helper()
	e := newEnd(k, "b", nil, noEpoch)
	e.hello = func() wire.Hello {
		h := wire.Hello{Software: "test", Volume: testVolume, ChunkSize: volume.MinChunkSize}
		if c.sync.Begun() {
			h.Position, h.Lineage = c.sync.Position()
		}
		return h
	}
	s, err := wire.Dial(ctx, e.cfg, addr, e)
	if err != nil {
		t.Fatal(err)
	}
	if try < 6 {
		left := int64(rng.IntN(50))
		if rng.IntN(2) == 0 { // when the names are there
			c.cut.Store(&cutter{phase: "copying content", do: func() { s.Close(volume.Closed) }})
		} else {
			c.cut.Store(&cutter{left: left, do: func() { s.Close(volume.Closed) }})
		}
	} else {
		c.cut.Store(nil)
	}
	session := slave.NewSession(s, c.sync, func(context.Context, uint16, []byte, *wire.AnswerWriter) error { return volume.Unsupported })
	var f *slave.Follower
	r := &rig{t: t, mem: c.mem, store: c.store}
	err = session.Serve(ctx, func(ctx context.Context) error {
		if c.sync.Begun() {
			if _, err := session.Join(ctx, false); err != nil {
				return err
			}
		}
		if err := c.sync.Run(ctx, slave.Source{ID: "a", Caller: s}, func() []slave.Source { return nil }); err != nil {
			return err
		}
		var err error
		f, err = c.sync.Finish(context.Background(), func(log *oplog.Log, e *index.Engine) *slave.Follower {
			r.log, r.engine = log, e
			r.tree = index.NewTree(e, chunkstore.NewContent(e, log, c.store))
			return slave.New(slave.Options{Tree: r.tree, Log: log, Log0: zerolog.Nop()})
		})
		return err
	})
	if f == nil && try >= 6 {
		t.Fatal("a session that nobody ended: ", err)
	}
	return f, r
}
