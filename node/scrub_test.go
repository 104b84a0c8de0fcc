package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/chunkstore"
	"wolfdisk/index"
	"wolfdisk/node/admin"
	"wolfdisk/node/config"
	"wolfdisk/oplog"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

// copyOf is a node with a real log, index and chunk store on disks in memory that keep
// nothing in memory, so that every read meets the disk.
type copyOf struct {
	t     *testing.T
	n     *node
	id    string
	mem   *vfs.MemFS
	leads volume.Epoch // what its hello says
	// barrier is called before a barrier is answered; may be nil.
	barrier func()
}

var scrubVolume = volume.ID{7, 7}

func newCopy(t *testing.T, id string, leads volume.Epoch) *copyOf {
	t.Helper()
	c := &copyOf{t: t, id: id, mem: vfs.NewMem(), leads: leads}
	state, _, err := openState(t.TempDir())
	if err == nil {
		err = state.Update(func(s *State) { s.Volume, s.ChunkSize = scrubVolume, volume.MinChunkSize })
	}
	if err != nil {
		t.Fatal(err)
	}
	cfg := &config.Config{}
	cfg.Node.ID = id
	c.n = &node{
		cfg: cfg, log: zerolog.Nop(), peers: newPeers(), state: state, observer: &observers{},
		served: make(chan struct{}, maxServed), pace: newPace(),
	}
	c.open()
	t.Cleanup(func() {
		if err := errors.Join(c.n.store.abandon(), state.Close()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// open opens what lies on the disk.
func (c *copyOf) open() {
	c.t.Helper()
	st := &storage{zlog: zerolog.Nop()}
	opt := oplog.DefaultOptions("oplog", scrubVolume)
	opt.FS, opt.SyncEvery, opt.SegmentSize, opt.CacheBytes, opt.TailBytes, opt.Compress = c.mem, 0, 64<<10, 1, 1, 0
	var err error
	if st.log, _, err = oplog.Open(opt); err != nil {
		c.t.Fatal(err)
	}
	if st.engine, err = index.Open(index.Options{FS: c.mem, Dir: "index", Extents: true, MemTable: 1 << 20, Log: zerolog.Nop()}); err != nil {
		c.t.Fatal(err)
	}
	if st.chunks, _, err = chunkstore.Open(chunkstore.Options{FS: c.mem, Dir: "chunks", Volume: scrubVolume, ChunkSize: volume.MinChunkSize, CacheBytes: 1, PackSize: chunkstore.MinPackSize, Log: zerolog.Nop()}); err != nil {
		c.t.Fatal(err)
	}
	st.tree = index.NewTree(st.engine, chunkstore.NewContent(st.engine, st.log, st.chunks))
	c.n.store = st
	c.n.follower = c.n.newFollower(st)
}

// take records and replays a frame.
func (c *copyOf) take(f oplog.Frame) {
	c.t.Helper()
	if err := c.n.follower.Receive(context.Background(), f.Bytes); err != nil {
		c.t.Fatal(err)
	}
}

// seal moves all content from the log to chunks.
func (c *copyOf) seal() {
	c.t.Helper()
	st := c.n.store
	_, err := st.tree.Backing.(*chunkstore.Content).Seal(context.Background(), st.engine, 1<<60, func(list []chunkstore.Replacement) error {
		var in []index.Replacement
		for _, r := range list {
			in = append(in, index.Replacement(r))
		}
		_, err := st.engine.Replace(in)
		return err
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// read is a file's content as the mount shows it.
func (c *copyOf) read(ino volume.Ino, n int) ([]byte, error) {
	p := make([]byte, n)
	k, err := c.n.follower.ReadAt(context.Background(), ino, p, 0)
	return p[:k], err
}

// flip changes a byte of a file on the disk.
func (c *copyOf) flip(path string, off int64) {
	c.t.Helper()
	f, err := c.mem.OpenReadWrite(path, "test")
	if err != nil {
		c.t.Fatal(err)
	}
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, off); err != nil {
		c.t.Fatal(err)
	}
	b[0] ^= 0x55
	if _, err := f.WriteAt(b, off); err != nil {
		c.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		c.t.Fatal(err)
	}
}

// harm flips the middle byte of wherever the beginning of a file's content lies.
func (c *copyOf) harm(ino volume.Ino) {
	c.t.Helper()
	var at *volume.Extent
	err := c.n.store.engine.Extents(ino, 0, 1, func(x volume.Extent) bool { at = &x; return false })
	if err != nil || at == nil {
		c.t.Fatal(err, at)
	}
	if at.InLog {
		c.flip(fmt.Sprintf("oplog/%016x.seg", at.Log.Segment), at.Log.Frame+300)
		return
	}
	found := false
	err = c.n.store.chunks.Verify(context.Background(), func(id volume.ChunkID, pack uint32, off int64, _ error) {
		if id == at.Chunk.ID {
			found = true
			c.flip(fmt.Sprintf("chunks/%08d.pack", pack), off+200)
		}
	})
	if err != nil || !found {
		c.t.Fatal(err, found)
	}
	// The store keeps the chunk it read last: this one, from now on.
	other, _, err := c.n.store.chunks.Put(context.Background(), []byte("another"))
	if err == nil {
		_, err = c.n.store.chunks.Get(context.Background(), other)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// scrub runs a scrub and returns the lines about damage and the result.
func (c *copyOf) scrub(o scrubOptions) ([]admin.ScrubDamage, admin.ScrubResult) {
	c.t.Helper()
	var list []admin.ScrubDamage
	r, err := c.n.scrub(context.Background(), o, func(l admin.ScrubLine) error {
		if l.Damage != nil {
			list = append(list, *l.Damage)
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
	if int(r.Damaged) != len(list) || r.Left != r.Damaged-r.Repaired {
		c.t.Errorf("the result does not count what was told: %+v", r)
	}
	return list, r
}

func (c *copyOf) Hello(wire.Hello) (wire.Hello, error) {
	return wire.Hello{Software: "test", Volume: scrubVolume, Leading: c.leads, Promise: c.leads, Consistent: true}, nil
}

func (c *copyOf) Session(s *wire.Session) { c.run(s, false) }

func (c *copyOf) run(s *wire.Session, dialled bool) {
	if r := s.Remote(); !r.Leading.IsZero() {
		c.n.mu.Lock()
		c.n.reign = reign{r.NodeID, r.Leading}
		c.n.mu.Unlock()
	}
	c.n.peers.attach(c.id, s, dialled)
	defer c.n.peers.detach(s)
	_ = s.Serve(context.Background(), &leaderSink{chunks: c.n.answerChunk, answer: c.answer})
}

func (c *copyOf) answer(ctx context.Context, kind uint16, body []byte, w *wire.AnswerWriter) error {
	if kind != volume.RequestBarrier {
		return c.n.answer(ctx, kind, body, w)
	}
	if c.barrier != nil {
		c.barrier()
	}
	return w.Last(binary.BigEndian.AppendUint64(nil, uint64(c.n.store.engine.Position().Version)))
}

// join connects two nodes until the returned function is called.
func join2(t *testing.T, a, b *copyOf) (part func()) {
	t.Helper()
	keys, err := wire.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	cfg := func(c *copyOf) *wire.Config {
		return &wire.Config{Keys: keys, NodeID: c.id, Role: volume.RoleAuto, Store: volume.ID{c.id[0]}, NoDelay: true, Log: zerolog.Nop()}
	}
	l, err := wire.Listen(cfg(a), net.JoinHostPort("127.0.0.1", "0"), a)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, err := wire.Dial(ctx, cfg(b), l.Addr().String(), b)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); b.run(s, true) }()
	for !a.n.peers.connected(b.id) || !b.n.peers.connected(a.id) {
		time.Sleep(time.Millisecond)
	}
	return func() {
		s.Close(nil)
		<-done
		l.Close()
	}
}

// scrubbed is a leader and a follower of one volume: the follower has sealed some files,
// others came later and lie in its log. The leader has everything in its log.
type healRig struct {
	a, b    *copyOf
	content map[volume.Ino][]byte
	sealed  []volume.Ino
	fresh   []volume.Ino
	// record has both nodes take ops.
	record func(ops ...*volume.Op)
}

func newHealRig(t *testing.T) *healRig {
	t.Helper()
	epoch := volume.Epoch{Number: 1, Leader: "a"}
	r := &healRig{a: newCopy(t, "a", epoch), b: newCopy(t, "b", volume.Epoch{}), content: map[volume.Ino][]byte{}}
	log := r.made(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	sec := int64(0)
	record := func(ops ...*volume.Op) {
		for _, op := range ops {
			sec++
			op.Time = volume.Time{Sec: sec}
		}
		frames, err := log.AppendOps(epoch, ops)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			r.a.take(f)
			r.b.take(f)
		}
	}
	r.record = record
	record(&volume.Op{Kind: volume.OpReign, Epoch: epoch, Participants: []string{"a"}})
	record(&volume.Op{Kind: volume.OpCreate, Ino: 2, Parent: volume.RootIno, Name: "dir", Mode: volume.ModeDir | 0o755})
	ino := volume.Ino(2)
	files := func(n, size int) (list []volume.Ino) {
		for range n {
			ino++
			b := make([]byte, size)
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			r.content[ino] = b
			list = append(list, ino)
			record(&volume.Op{Kind: volume.OpCreate, Ino: ino, Parent: 2, Name: fmt.Sprintf("f%d", ino), Mode: volume.ModeFile | 0o644},
				&volume.Op{Kind: volume.OpWrite, Ino: ino, Data: b})
		}
		return list
	}
	r.sealed = append(files(3, 40_000), files(4, 3000)...)
	r.b.seal()
	r.fresh = files(6, 20_000)
	return r
}

// made is a log that makes frames, on no node's disk.
func (r *healRig) made(t *testing.T) *oplog.Log {
	t.Helper()
	opt := oplog.DefaultOptions("made", scrubVolume)
	opt.FS, opt.SyncEvery, opt.Compress = vfs.NewMem(), 0, 0
	l, _, err := oplog.Open(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// intact fails the test unless the follower shows what was written.
func (r *healRig) intact(t *testing.T) {
	t.Helper()
	for ino, want := range r.content {
		if got, err := r.b.read(ino, len(want)+10); err != nil || !bytes.Equal(got, want) {
			t.Errorf("inode %s: %d bytes, %v", ino, len(got), err)
		}
	}
}

// TestHealOnRead: content that is damaged on a follower's disk, in a chunk or in the log, is
// an error while nobody has it, never other bytes and never zeros; once the leader is there
// reads get what was written, and the disk holds it again.
func TestHealOnRead(t *testing.T) {
	r := newHealRig(t)
	r.intact(t)
	harmed := []volume.Ino{r.sealed[0], r.sealed[4], r.fresh[0], r.fresh[3]}
	for _, ino := range harmed {
		r.b.harm(ino)
		got, err := r.b.read(ino, 100)
		if k := volume.KindOf(err); len(got) > 0 || k != volume.Corrupt && k != volume.Missing {
			t.Errorf("inode %s damaged and nobody there: %d bytes, %v", ino, len(got), err)
		}
	}
	part := join2(t, r.a, r.b)
	r.intact(t)
	part()
	r.intact(t) // from its own disk
	if list, result := r.b.scrub(scrubOptions{}); len(list) > 0 || result.Frames < 10 || result.Chunks < 3 || result.Records < 30 || result.Extents < 10 {
		t.Errorf("after everything was healed: %+v %+v", list, result)
	}
}

// TestScrub: a scrub finds what is damaged, says whose it is, changes nothing unless told
// to, heals what somebody has, and remembers what is left.
func TestScrub(t *testing.T) {
	r := newHealRig(t)
	if list, _ := r.b.scrub(scrubOptions{readFiles: true}); len(list) > 0 {
		t.Fatalf("before any harm: %+v", list)
	}
	chunk, fresh := r.sealed[1], r.fresh[2]
	r.b.harm(chunk)
	r.b.harm(fresh)
	look := func(when string, repaired bool) {
		t.Helper()
		list, result := r.b.scrub(scrubOptions{repair: repaired})
		kinds := map[string]bool{}
		var paths []string
		for _, d := range list {
			kinds[d.Kind] = true
			paths = append(paths, d.Paths...)
			if d.Repaired != repaired || d.Error == "" || d.Where == "" {
				t.Errorf("%s: %+v", when, d)
			}
		}
		if !kinds["chunk"] || !kinds["log"] || !slices.Contains(paths, fmt.Sprintf("dir/f%d", chunk)) {
			t.Errorf("%s: %+v", when, list)
		}
		if !repaired && !slices.Contains(paths, fmt.Sprintf("dir/f%d", fresh)) {
			t.Errorf("%s: nothing is said of the file in the damaged frame: %+v", when, list)
		}
		warned := r.b.n.warnings.states[codeDamaged].Code == codeDamaged
		if left := result.Left > 0; left == repaired || warned != left {
			t.Errorf("%s: %+v, warned %t", when, result, warned)
		}
	}
	look("alone", false)
	list, result := r.b.scrub(scrubOptions{repair: true})
	if result.Repaired > 0 || result.Left < 2 {
		t.Errorf("repaired by nobody: %+v", list)
	}
	part := join2(t, r.a, r.b)
	look("without repair", false)
	look("with repair", true)
	part()
	if list, _ := r.b.scrub(scrubOptions{readFiles: true}); len(list) > 0 {
		t.Errorf("after the repair: %+v", list)
	}
	r.intact(t)
}

// TestScrubSharedChunk: a chunk that cannot be made whole any more, because a file that lay in
// it is gone, is given up, and what is still used of it comes from the leader's files; not
// what is written at that very moment, before it rests.
func TestScrubSharedChunk(t *testing.T) {
	r := newHealRig(t)
	gone, written := r.sealed[4], r.sealed[5]
	r.record(&volume.Op{Kind: volume.OpUnlink, Parent: 2, Name: fmt.Sprintf("f%d", gone), Ino: gone, Flags: volume.OpEnds})
	delete(r.content, gone)
	r.b.harm(r.sealed[3])
	part := join2(t, r.a, r.b)
	defer part()
	if _, err := r.b.read(r.sealed[3], 100); err == nil || volume.KindOf(err).Errno() != volume.Corrupt.Errno() {
		t.Errorf("read of what nobody can prove: %v", err)
	}
	tries := 0
	r.a.barrier = func() {
		if tries++; tries > 1 {
			return
		}
		// Between the read and the barrier.
		r.record(&volume.Op{Kind: volume.OpWrite, Ino: written, Offset: 10, Data: []byte("newer")})
		copy(r.content[written][10:], "newer")
	}
	list, result := r.b.scrub(scrubOptions{repair: true})
	if len(list) != 1 || result.Left > 0 || tries < 2 {
		t.Fatalf("%d tries, %+v", tries, list)
	}
	r.intact(t)
	if list, _ := r.b.scrub(scrubOptions{readFiles: true}); len(list) > 0 {
		t.Errorf("left: %+v", list)
	}
	st := r.b.n.store // and it does not come back
	if err := errors.Join(st.engine.Close(), st.chunks.Close(), st.log.Close()); err != nil {
		t.Fatal(err)
	}
	r.b.open()
	r.intact(t)
	if list, _ := r.b.scrub(scrubOptions{}); len(list) > 0 {
		t.Errorf("left after a restart: %+v", list)
	}
}

// TestScrubLeader: a leader's damaged log gets its frames from a follower.
func TestScrubLeader(t *testing.T) {
	r := newHealRig(t)
	for _, ino := range []volume.Ino{r.sealed[0], r.fresh[1]} {
		r.a.harm(ino)
	}
	if list, _ := r.a.scrub(scrubOptions{repair: true}); len(list) < 2 {
		t.Fatalf("found %+v", list)
	}
	part := join2(t, r.a, r.b)
	defer part()
	if list, result := r.a.scrub(scrubOptions{repair: true}); len(list) < 2 || result.Left > 0 {
		t.Errorf("%+v: %+v", result, list)
	}
	if list, _ := r.a.scrub(scrubOptions{}); len(list) > 0 {
		t.Errorf("after the repair: %+v", list)
	}
}

// TestBothDamaged: what is damaged on both sides stays an error, and nobody waits for the
// other for ever.
func TestBothDamaged(t *testing.T) {
	r := newHealRig(t)
	r.a.seal()
	part := join2(t, r.a, r.b)
	defer part()
	for _, ino := range []volume.Ino{r.sealed[0], r.fresh[0]} {
		r.b.harm(ino)
		r.a.harm(ino)
	}
	for _, c := range []*copyOf{r.a, r.b} {
		if _, err := c.read(r.sealed[0], 100); err == nil || volume.KindOf(err).Errno() != volume.Corrupt.Errno() {
			t.Errorf("node %s: %v", c.id, err)
		}
		if _, result := c.scrub(scrubOptions{repair: true}); result.Left == 0 {
			t.Errorf("node %s repaired what nobody has: %+v", c.id, result)
		}
	}
}

// TestScrubPack: a pack whose header or index is damaged is found, and written anew from
// what is in it.
func TestScrubPack(t *testing.T) {
	for name, place := range map[string]func(size int64) int64{
		"header": func(int64) int64 { return 3 },
		"index":  func(size int64) int64 { return size - 60 },
	} {
		t.Run(name, func(t *testing.T) {
			r := newHealRig(t)
			rnd, b := rand.New(rand.NewPCG(3, 4)), make([]byte, volume.MinChunkSize)
			for range 2 { // so that the first pack is sealed
				for i := range b {
					b[i] = byte(rnd.Uint32())
				}
				if _, _, err := r.b.n.store.chunks.Put(context.Background(), b); err != nil {
					t.Fatal(err)
				}
			}
			if packs := r.b.n.store.chunks.Stats().Packs; packs < 2 {
				t.Fatalf("%d packs", packs)
			}
			info, err := r.b.mem.Stat("chunks/00000001.pack")
			if err != nil {
				t.Fatal(err)
			}
			r.b.flip("chunks/00000001.pack", place(info.Size()))
			if list, _ := r.b.scrub(scrubOptions{}); len(list) != 1 || list[0].Kind != "pack" || list[0].Repaired {
				t.Fatalf("found %+v", list)
			}
			if list, _ := r.b.scrub(scrubOptions{repair: true}); len(list) != 1 || !list[0].Repaired {
				t.Fatalf("repaired %+v", list)
			}
			if list, _ := r.b.scrub(scrubOptions{}); len(list) > 0 {
				t.Fatalf("left %+v", list)
			}
			r.intact(t)
		})
	}
}

// TestScrubOnce: one at a time, and whoever asked can end it.
func TestScrubOnce(t *testing.T) {
	r := newHealRig(t)
	ctx, cancel := context.WithCancel(context.Background())
	began := make(chan struct{})
	ended := make(chan error)
	go func() {
		first := true
		_, err := r.b.n.scrub(ctx, scrubOptions{rate: minScrubRate}, func(admin.ScrubLine) error {
			if first {
				close(began)
			}
			first = false
			return nil
		})
		ended <- err
	}()
	<-began
	if _, err := r.b.n.scrub(context.Background(), scrubOptions{}, nil); volume.KindOf(err) != volume.Busy {
		t.Errorf("a second scrub: %v", err)
	}
	cancel()
	if err := <-ended; volume.KindOf(err) != volume.Interrupted {
		t.Errorf("ended with %v", err)
	}
	if list, _ := r.b.scrub(scrubOptions{}); len(list) > 0 {
		t.Error(list)
	}
}

func TestScrubParams(t *testing.T) {
	r := newHealRig(t)
	for _, q := range []map[string][]string{{"repair": {"maybe"}}, {"rate": {"fast"}}, {"rate": {"1"}}, {"read_files": {"2"}}} {
		err := r.b.n.scrubVerb(context.Background(), q, func(any) error { return nil })
		var e *admin.Error
		if !errors.As(err, &e) || !strings.Contains(e.Text, "must be") {
			t.Errorf("%v: %v", q, err)
		}
	}
}
