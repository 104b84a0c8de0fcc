package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"wolfdisk/chunkstore"
	"wolfdisk/node/admin"
	"wolfdisk/node/config"
	"wolfdisk/volume"
)

// tiny makes a node trim and collect all the time.
func tiny(c *config.Config) {
	c.Oplog.SegmentSize, c.Oplog.RetainBytes = 64<<10, 256<<10
	c.Chunks.PackSize = 128 << 10
}

// overwriter overwrites files of a machine and knows what is in them.
type overwriter struct {
	m     *machine
	rng   *rand.Rand
	files []written
	made  int
}

type written struct {
	ino  volume.Ino
	name string
	data []byte
}

func newOverwriter(m *machine, seed uint64) *overwriter {
	return &overwriter{m: m, rng: rand.New(rand.NewPCG(seed, 7))}
}

// step does one change.
func (w *overwriter) step() {
	w.m.t.Helper()
	if len(w.files) < 12 {
		w.made++
		name := fmt.Sprint("file", w.made)
		w.files = append(w.files, written{ino: w.m.file(volume.RootIno, name, ""), name: name})
		return
	}
	f := &w.files[w.rng.IntN(len(w.files))]
	switch n := w.rng.IntN(40); {
	case n == 0:
		w.m.do(volume.Request{Kind: volume.OpUnlink, Parent: volume.RootIno, Name: f.name})
		*f = w.files[len(w.files)-1]
		w.files = w.files[:len(w.files)-1]
	case n == 1:
		f.data = f.data[:w.rng.IntN(len(f.data)+1)]
		w.m.do(volume.Request{Kind: volume.OpSetAttr, Set: volume.SetSize, Ino: f.ino, Size: int64(len(f.data))})
	case n == 2: // the same content again
		w.write(f, 0, w.files[w.rng.IntN(len(w.files))].data)
	case n < 8:
		w.write(f, w.rng.IntN(len(f.data)+1), w.random(40<<10))
	default:
		w.write(f, w.rng.IntN(min(len(f.data)+1, 150<<10)), w.random(3<<10))
	}
}

func (w *overwriter) random(most int) []byte {
	b := make([]byte, 1+w.rng.IntN(most))
	for i := range b {
		b[i] = byte(w.rng.Uint32())
	}
	return b
}

func (w *overwriter) write(f *written, off int, data []byte) {
	w.m.t.Helper()
	data = bytes.Clone(data)
	for pos := 0; pos < len(data); pos += 128 << 10 {
		w.m.do(volume.Request{Kind: volume.OpWrite, Ino: f.ino, Offset: int64(off + pos), Data: data[pos:min(pos+128<<10, len(data))]})
	}
	if more := off + len(data) - len(f.data); more > 0 {
		f.data = append(f.data, make([]byte, more)...)
	}
	copy(f.data[off:], data)
}

func (w *overwriter) check(what string) {
	w.m.t.Helper()
	for _, f := range w.files {
		readsAs(w.m.t, what+": "+f.name, w.m.n.leading(), f.ino, f.data)
	}
}

func readsAs(t *testing.T, what string, r volume.Reader, ino volume.Ino, want []byte) {
	t.Helper()
	got := make([]byte, len(want)+1)
	n, err := r.ReadAt(context.Background(), ino, got, 0)
	if err != nil || !bytes.Equal(got[:n], want) {
		t.Fatalf("%s: %d bytes, want %d, equal %v: %v", what, n, len(want), bytes.Equal(got[:n], want), err)
	}
}

// houseRound is what the node does by itself, at once.
func (m *machine) houseRound(now bool) admin.GCResult {
	m.t.Helper()
	ctx := context.Background()
	st := m.n.storage()
	m.must(m.n.retainOnce(ctx, st))
	if st.chunks == nil {
		return admin.GCResult{}
	}
	res, err := m.n.gc(ctx, gcOptions{now: now, idle: !now, bound: moveBytes}, func(admin.GCLine) error { return nil })
	m.must(err)
	return res
}

// used is what a folder takes on the disk.
func used(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		i, err := d.Info()
		if err == nil {
			bytes += i.Size()
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return bytes
}

// TestRetainChunks overwrites files of a leader with chunks that is killed again and again,
// while the log is trimmed and chunks are collected: everything reads back, and the disk
// does not fill.
func TestRetainChunks(t *testing.T) {
	runs := 6
	if testing.Short() {
		runs = 3
	}
	m := newMachine(t)
	m.tune = func(c *config.Config) { tiny(c); c.Volume.Storage, c.Volume.Dir = config.StorageChunks, "" }
	w := newOverwriter(m, 1)
	first := volume.Version(0)
	for run := range runs {
		m.must(m.lead(context.Background()))
		w.check(fmt.Sprint("start ", run))
		for i := range 600 {
			w.step()
			if i%20 == 0 {
				m.houseRound(false)
			}
		}
		w.check(fmt.Sprint("end ", run))
		st := m.n.storage()
		if st.log.First() <= first {
			t.Fatalf("run %d: the log still begins with %d", run, st.log.First())
		}
		first = st.log.First()
		if n := st.log.Bytes(); n > 512<<10 {
			t.Errorf("run %d: the log has %d bytes", run, n)
		}
		m.kill()
	}
	m.must(m.lead(context.Background()))
	defer m.kill()
	m.houseRound(true)
	w.check("collected")
	var live int64
	for _, f := range w.files {
		live += int64(len(f.data))
	}
	st := m.n.storage()
	if n := st.chunks.FileBytes(); float64(n) > 1.5*float64(live)+256<<10 {
		t.Errorf("packs take %d bytes, %d are in use", n, live)
	}
	// Deleted space comes back, all of it.
	for _, f := range w.files {
		m.do(volume.Request{Kind: volume.OpUnlink, Parent: volume.RootIno, Name: f.name})
	}
	time.Sleep(1100 * time.Millisecond) // the clock of chunks has seconds
	if res := m.houseRound(true); res.Removed == 0 || res.Live != 0 || res.FreedBytes == 0 {
		t.Errorf("with nothing left: %+v", res)
	}
	if n := used(t, filepath.Join(m.data, "chunks")); n > 64<<10 {
		t.Errorf("%d bytes of chunks are left", n)
	}
}

// TestRetainDir does the same with a real directory, which needs the log since its last
// checkpoint: also after a power loss.
func TestRetainDir(t *testing.T) {
	m := newMachine(t)
	m.tune = tiny
	w := newOverwriter(m, 2)
	for run := range 4 {
		m.must(m.lead(context.Background()))
		w.check(fmt.Sprint("start ", run))
		for i := range 300 {
			w.step()
			if i%20 == 0 {
				m.houseRound(false)
			}
			if i%100 == 0 { // as if time passed
				m.n.checkpointMu.Lock()
				m.n.checkpointAt = time.Time{}
				m.n.checkpointMu.Unlock()
			}
		}
		w.check(fmt.Sprint("end ", run))
		st := m.n.storage()
		if st.log.First() == 1 || st.log.First() > m.n.state.Get().Checkpoint+1 {
			t.Fatalf("the log begins with %d, the checkpoint is %d", st.log.First(), m.n.state.Get().Checkpoint)
		}
		if run%2 == 0 {
			m.kill()
		} else {
			m.powerLoss()
			m.up()
		}
	}
	m.must(m.lead(context.Background()))
	w.check("the last start")
	m.kill()
	for _, f := range w.files {
		got, err := os.ReadFile(m.in(f.name))
		if err != nil || !bytes.Equal(got, f.data) {
			t.Fatalf("%s in the directory: %v", f.name, err)
		}
	}
}

// TestHeldSnapshot: what a snapshot shows stays readable however much is overwritten, and
// goes when it is released; ops that are held stay in the log.
func TestHeldSnapshot(t *testing.T) {
	ctx := context.Background()
	m := newMachine(t)
	m.tune = func(c *config.Config) { tiny(c); c.Volume.Storage, c.Volume.Dir = config.StorageChunks, "" }
	m.must(m.lead(ctx))
	defer m.kill()
	w := newOverwriter(m, 3)
	var then []written
	sealed := w.random(100 << 10)
	a := m.file(volume.RootIno, "sealed", "")
	then = append(then, written{ino: a, data: sealed})
	w.write(&then[0], 0, sealed)
	for range 200 { // so that it is sealed
		w.step()
	}
	m.houseRound(true)
	fresh := w.random(100 << 10)
	then = append(then, written{ino: m.file(volume.RootIno, "fresh", "")})
	w.write(&then[1], 0, fresh)
	st := m.n.storage()
	snap, release, err := m.n.holds.take(st.engine)
	m.must(err)
	old := chunkstore.NewContent(snap, st.log, st.chunks)
	at := snap.Position().Version
	read := func(what string) {
		t.Helper()
		for _, f := range then {
			attr, err := snap.Inode(f.ino)
			m.must(err)
			got := make([]byte, attr.Size)
			if _, err := old.ReadAt(ctx, &attr, got, 0, snap); err != nil || !bytes.Equal(got, f.data) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	for _, name := range []string{"sealed", "fresh"} {
		m.do(volume.Request{Kind: volume.OpUnlink, Parent: volume.RootIno, Name: name})
	}
	time.Sleep(1100 * time.Millisecond)
	for range 10 {
		for range 100 {
			w.step()
		}
		m.houseRound(true)
		read("held")
	}
	if first := st.log.First(); first > at {
		t.Fatalf("the log begins with %d, the snapshot is of %d", first, at)
	}
	w.check("with a snapshot held")
	m.must(release())
	keep := m.n.holds.log(st.log.Last().Version - 1)
	kept := st.log.Last().Version
	m.houseRound(true)
	if first := st.log.First(); first <= at {
		t.Fatalf("released: the log still begins with %d", first)
	}
	for range 300 {
		w.step()
	}
	m.houseRound(true)
	if first := st.log.First(); first > kept {
		t.Fatalf("the log begins with %d, ops from %d on are held", first, kept)
	}
	keep()
	m.houseRound(true)
	if first := st.log.First(); first <= kept {
		t.Fatalf("the log still begins with %d", first)
	}
	w.check("in the end")
}

// TestNoCollectionDuringSync: chunks that nothing points to yet are the copy's.
func TestNoCollectionDuringSync(t *testing.T) {
	ctx := context.Background()
	m := newMachine(t)
	m.tune = func(c *config.Config) { tiny(c); c.Volume.Storage, c.Volume.Dir = config.StorageChunks, "" }
	m.must(m.lead(ctx))
	defer m.kill()
	st := m.n.storage()
	id, _, err := st.chunks.Put(ctx, []byte("content of a copy"))
	m.must(err)
	time.Sleep(1100 * time.Millisecond)
	gc := func() error {
		_, err := m.n.gc(ctx, gcOptions{now: true}, func(admin.GCLine) error { return nil })
		return err
	}
	release := m.n.holds.sync()
	if err := gc(); !errors.Is(err, errSyncing) || !m.n.holds.syncing() {
		t.Fatalf("during a sync: %v", err)
	}
	release()
	m.must(os.Mkdir(filepath.Join(m.data, syncDirPrefix+"00000001"), 0o700))
	if err := gc(); !errors.Is(err, errSyncing) || !st.chunks.Has(id) {
		t.Fatalf("with a copy that waits: %v", err)
	}
	m.must(os.Remove(filepath.Join(m.data, syncDirPrefix+"00000001")))
	if err := gc(); err != nil || st.chunks.Has(id) {
		t.Fatalf("without one: %v, still there: %v", err, st.chunks.Has(id))
	}
}

// TestSealWhileCut: extents that are cut while they are sealed stay in the log, and then the
// log stays, too.
func TestSealWhileCut(t *testing.T) {
	ctx := context.Background()
	m := newMachine(t)
	m.tune = func(c *config.Config) { tiny(c); c.Volume.Storage, c.Volume.Dir = config.StorageChunks, "" }
	m.must(m.lead(ctx))
	defer m.kill()
	st := m.n.storage()
	w := newOverwriter(m, 4)
	f := written{ino: m.file(volume.RootIno, "f", "")}
	const size = 2 << 20
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	defer func(n int) { sealTries = n }(sealTries)
	missed := 0
	for round := range rounds {
		sealTries = 4 * (round % 2)
		for off := 0; off < size; off += 32 << 10 {
			b := make([]byte, 32<<10)
			copy(b, w.random(100))
			w.write(&f, off, b)
		}
		m.file(volume.RootIno, fmt.Sprint("another", round), string(w.random(100<<10)))
		want := st.log.Last().Version - 2
		done := make(chan volume.Version)
		go func() {
			v, err := m.n.settled(ctx, st, want)
			if err != nil {
				t.Error(err)
			}
			done <- v
		}()
		var got volume.Version
		for running := true; running; {
			select {
			case got = <-done:
				running = false
			default:
				w.write(&f, w.rng.IntN(size-10), w.random(10))
			}
		}
		free, err := unreferenced(st.engine)
		if err != nil || free < got {
			t.Fatalf("round %d: said to be independent of the log through %d, but %d is in use: %v", round, got, free+1, err)
		}
		if got < want {
			missed++
		}
	}
	if missed == 0 {
		t.Error("nothing was ever cut while it was sealed")
	}
	readsAs(t, "f", m.n.leading(), f.ino, f.data)
}
