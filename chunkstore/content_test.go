package chunkstore

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// bench is a chunk volume in pieces: index and log are fakes, files a model.
type bench struct {
	t     testing.TB
	clk   *clock
	opts  Options
	mem   *vfs.MemFS
	store *Store
	log   *fakeLog
	index *fakeIndex
	c     *Content
	files map[volume.Ino][]byte
}

func newBench(t testing.TB) *bench { return newBenchOf(t, volume.MinChunkSize) }

func newBenchOf(t testing.TB, chunkSize int64) *bench {
	b := &bench{t: t, clk: newClock(), mem: vfs.NewMem(), log: newFakeLog(), index: newFakeIndex(), files: map[volume.Ino][]byte{}}
	b.opts = testOptions(b.mem)
	b.opts.Now, b.opts.ChunkSize = b.clk.now, chunkSize
	b.open()
	return b
}

func (b *bench) open() {
	b.store = wholeOpen(b.t, b.opts)
	b.c = NewContent(b.index, b.log, b.store)
}

func (b *bench) attr(ino volume.Ino) *volume.Attr {
	return &volume.Attr{Ino: ino, Mode: volume.ModeFile | 0o644, Size: int64(len(b.files[ino]))}
}

func (b *bench) write(ino volume.Ino, off int, data []byte) {
	b.t.Helper()
	op := &volume.Op{Kind: volume.OpWrite, Ino: ino, Offset: int64(off), Data: data}
	got, err := b.c.Apply(ctx, op, nil)
	if err != nil || got.N != len(data) || len(got.Lower) != 0 {
		b.t.Fatal(got, err)
	}
	b.index.set(ino, volume.Extent{Off: int64(off), Len: int64(len(data)), InLog: true, Log: b.log.add(data)})
	f := b.files[ino]
	if grow := off + len(data) - len(f); grow > 0 {
		f = append(f, make([]byte, grow)...)
	}
	copy(f[off:], data)
	b.files[ino] = f
}

func (b *bench) truncate(ino volume.Ino, size int) {
	b.index.clear(ino, int64(size), 1<<62)
	f := b.files[ino]
	if size < len(f) {
		f = bytes.Clone(f[:size])
	}
	b.files[ino] = append(f, make([]byte, size-len(f))...)
}

// zero makes a range zeros: a hole, or allocated.
func (b *bench) zero(ino volume.Ino, off, end int, allocated bool) {
	end = min(end, len(b.files[ino]))
	if off >= end {
		return
	}
	clear(b.files[ino][off:end])
	b.index.clear(ino, int64(off), int64(end))
	if allocated {
		b.index.set(ino, volume.Extent{Off: int64(off), Len: int64(end - off)})
	}
}

func (b *bench) read(ino volume.Ino, off, n int) {
	b.t.Helper()
	p := bytes.Repeat([]byte{0xaa}, n)
	got, err := b.c.ReadAt(ctx, b.attr(ino), p, int64(off), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	want := b.files[ino]
	want = want[min(off, len(want)):min(off+n, len(want))]
	if got != len(want) || !bytes.Equal(p[:got], want) {
		b.t.Fatalf("inode %s, %d bytes at %d: wrong content (%d bytes, want %d)", ino, n, off, got, len(want))
	}
}

func (b *bench) readAll() {
	b.t.Helper()
	for ino, f := range b.files {
		b.read(ino, 0, len(f)+100)
	}
}

// logged is how much of the content lies in the log, bytes.
func (b *bench) logged() (bytes int64) {
	for _, list := range b.index.files {
		for _, e := range list {
			if e.InLog {
				bytes += e.Len
			}
		}
	}
	return bytes
}

// seal seals and trims everything written so far.
func (b *bench) seal() SealStats {
	b.t.Helper()
	through := b.log.roll()
	st, err := b.c.Seal(ctx, b.index, through, b.enter)
	if err != nil {
		b.t.Fatal(err)
	}
	for ino, list := range b.index.files {
		for _, e := range list {
			if e.InLog && e.Log.Segment <= through {
				b.t.Fatalf("inode %s: extent at %d is still in segment %d", ino, e.Off, e.Log.Segment)
			}
		}
	}
	b.log.trim(through)
	return st
}

// enter checks that what it is given is durable, and enters it.
func (b *bench) enter(list []Replacement) error {
	for _, r := range list {
		if r.Old.Off != r.New.Off || r.Old.Len != r.New.Len || r.New.InLog || r.New.Chunk.Length != r.New.Len {
			b.t.Errorf("replacement %+v", r)
		}
		if n, ok := b.store.Len(r.New.Chunk.ID); !ok || r.New.Chunk.Offset+r.New.Len > n {
			b.t.Errorf("replacement points to what is not there: %+v", r)
		}
	}
	b.store.writeMu.Lock()
	if b.store.appended != b.store.durable {
		b.t.Error("replacement is handed over before its chunk is durable")
	}
	b.store.writeMu.Unlock()
	b.index.replace(list)
	return nil
}

func (b *bench) sweep() {
	b.t.Helper()
	b.clk.add(5 * time.Second)
	live := b.index.live()
	if _, err := b.store.Sweep(ctx, func(id volume.ChunkID) bool { return live[id] }, SweepOptions{}); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.store.Compact(ctx, CompactOptions{MinDead: 0.3, Active: true}); err != nil {
		b.t.Fatal(err)
	}
}

// Random writes, truncations, holes, copies, seals, compactions and restarts against
// plain byte slices.
func TestContentModel(t *testing.T) {
	seeds, steps := 12, 300
	if testing.Short() {
		seeds = 3
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			b := newBenchOf(t, volume.MinChunkSize<<(seed%3))
			rng := newRand(seed)
			const size = 5 * volume.MinChunkSize
			for range steps {
				ino := volume.Ino(1 + rng.IntN(4))
				off := rng.IntN(size)
				switch n := rng.IntN(100); {
				case n < 40:
					b.write(ino, off, random(rng, 1+rng.IntN(3000)))
				case n < 50:
					b.write(ino, off-off%4096, text(rng, 1+rng.IntN(3*volume.MinChunkSize)))
				case n < 55:
					b.truncate(ino, off)
				case n < 65:
					b.zero(ino, off, off+rng.IntN(100_000), n%2 == 0)
				case n < 70:
					b.copyChunk(ino, off, rng.IntN(1000))
				case n < 76:
					b.seal()
				case n < 80:
					if _, err := b.c.CompactFile(ctx, ino, b.enter); err != nil {
						t.Fatal(err)
					}
				case n < 83:
					b.sweep()
				case n < 85:
					if err := b.c.SyncAll(ctx); err != nil {
						t.Fatal(err)
					}
					if err := b.store.Close(); err != nil {
						t.Fatal(err)
					}
					b.open()
				default:
					b.read(ino, off, rng.IntN(200_000))
				}
				b.checkSeek(ino, off)
			}
			b.readAll()
			b.seal()
			b.sweep()
			b.readAll()
			audit(t, b.store)
		})
	}
}

// copyChunk shares a piece of a chunk that the index names, if there is one.
func (b *bench) copyChunk(ino volume.Ino, off, skip int) {
	b.t.Helper()
	for id := range b.index.live() {
		content, err := b.store.Get(ctx, id)
		if err != nil {
			b.t.Fatal(err)
		}
		skip = min(skip, len(content)-1)
		ref := volume.ChunkRef{ID: id, Offset: int64(skip), Length: int64(len(content) - skip)}
		op := &volume.Op{Kind: volume.OpCopyChunks, Ino: ino, Offset: int64(off), Chunks: []volume.ChunkRef{{Length: 10}, ref}}
		if _, err := b.c.Apply(ctx, op, nil); err != nil {
			b.t.Fatal(err)
		}
		f := b.files[ino]
		if grow := off + 10 + int(ref.Length) - len(f); grow > 0 {
			b.files[ino] = append(f, make([]byte, grow)...)
		}
		b.zero(ino, off, off+10, false)
		b.index.set(ino, volume.Extent{Off: int64(off + 10), Len: ref.Length, Chunk: ref})
		copy(b.files[ino][off+10:], content[skip:])
		return
	}
}

// checkSeek compares Seek with the extents seen one by one, each as the blocks that it touches.
func (b *bench) checkSeek(ino volume.Ino, off int) {
	b.t.Helper()
	size := int64(len(b.files[ino]))
	data := func(at int64) bool {
		for _, e := range b.index.files[ino] {
			if e.Off/volume.HoleBlock <= at/volume.HoleBlock && at/volume.HoleBlock <= (e.Off+e.Len-1)/volume.HoleBlock {
				return true
			}
		}
		return false
	}
	for _, hole := range []bool{false, true} {
		got, err := b.c.Seek(ctx, b.attr(ino), int64(off), hole, nil)
		want := int64(-1)
		if int64(off) < size {
			// The answer is off itself or where an extent begins or ends.
			edges := []int64{int64(off), size}
			for _, e := range b.index.files[ino] {
				edges = append(edges, e.Off/volume.HoleBlock*volume.HoleBlock, (e.Off+e.Len+volume.HoleBlock-1)/volume.HoleBlock*volume.HoleBlock)
			}
			for _, at := range edges {
				if at >= int64(off) && (at < size && data(at) != hole || hole && at == size) && (want < 0 || at < want) {
					want = at
				}
			}
		}
		if want < 0 {
			if err != volume.NotSeekable {
				b.t.Fatalf("seek from %d of %d, hole %v: %d, %v, want NotSeekable", off, size, hole, got, err)
			}
		} else if err != nil || got != want {
			b.t.Fatalf("seek from %d of %d, hole %v: %d, %v, want %d", off, size, hole, got, err, want)
		}
	}
}

func TestReadEdges(t *testing.T) {
	b := newBench(t)
	b.write(1, 1000, []byte("hello"))
	for _, r := range [][2]int{{0, 10}, {995, 10}, {1000, 5}, {1003, 100}, {1005, 1}, {5000, 1}, {0, 0}} {
		b.read(1, r[0], r[1])
	}
	_, err := b.c.ReadAt(ctx, b.attr(1), make([]byte, 1), -1, nil)
	wantKind(t, err, volume.Invalid)
	// A file whose size is less than its extents reach.
	p := make([]byte, 10)
	if n, err := b.c.ReadAt(ctx, &volume.Attr{Ino: 1, Size: 1002}, p, 1000, nil); n != 2 || err != nil || string(p[:2]) != "he" {
		t.Fatal(n, err)
	}
	// A hole of any size costs nothing.
	if n, err := b.c.ReadAt(ctx, &volume.Attr{Ino: 9, Size: volume.MaxFileSize}, p, volume.MaxFileSize-5, nil); n != 5 || err != nil || !bytes.Equal(p[:5], make([]byte, 5)) {
		t.Fatal(n, err)
	}
	if at, err := b.c.Seek(ctx, &volume.Attr{Ino: 9, Size: volume.MaxFileSize}, 7, true, nil); at != 7 || err != nil {
		t.Fatal(at, err)
	}
}

// An index that is wrong about extents gets an error, not a crash and not zeros.
func TestBadExtents(t *testing.T) {
	for name, list := range map[string][]volume.Extent{
		"overlap":         {{Off: 0, Len: 10}, {Off: 5, Len: 10}},
		"order":           {{Off: 20, Len: 10}, {Off: 0, Len: 10}},
		"empty":           {{Off: 0, Len: 0}},
		"negative":        {{Off: 0, Len: -5}},
		"negative chunk":  {{Off: 0, Len: 5, Chunk: volume.ChunkRef{ID: volume.ChunkID{1}, Offset: -1}}},
		"log beyond":      {{Off: 0, Len: 50, InLog: true, Log: volume.LogRef{Segment: 1, Offset: 1<<32 - 10}}},
		"not in the log":  {{Off: 0, Len: 50, InLog: true, Log: volume.LogRef{Segment: 77}}},
		"no such chunk":   {{Off: 0, Len: 50, Chunk: volume.ChunkRef{ID: volume.ChunkID{1}}}},
		"beyond a length": {{Off: 0, Len: 1 << 40, Chunk: volume.ChunkRef{ID: volume.ChunkID{1}}}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.c.extents = rawExtents(list)
			_, err := b.c.ReadAt(ctx, &volume.Attr{Ino: 1, Size: 100}, make([]byte, 100), 0, nil)
			wantKind(t, err, volume.Corrupt, volume.Missing)
		})
	}
}

// rawExtents answers with its list whatever is asked.
type rawExtents []volume.Extent

func (r rawExtents) Extents(_ volume.Ino, _, _ int64, fn func(volume.Extent) bool) error {
	for _, e := range r {
		if !fn(e) {
			break
		}
	}
	return nil
}

// Equal files are stored once, whatever the sizes of their writes; small ones share.
func TestSealDedup(t *testing.T) {
	b := newBench(t)
	rng := newRand(1)
	big := random(rng, 3*volume.MinChunkSize)
	for ino := range volume.Ino(3) {
		step := 4096 << ino
		for off := 0; off < len(big); off += step {
			b.write(ino+1, off, big[off:min(off+step, len(big))])
		}
	}
	st := b.seal()
	if st.Chunks != 9 || st.Deduped != 6 || b.store.Stats().RawBytes != int64(len(big)) {
		t.Fatalf("%+v, %+v", st, b.store.Stats())
	}
	b.readAll()
	for ino := range volume.Ino(50) {
		b.write(100+ino, 0, random(rng, 1000))
	}
	if st := b.seal(); st.Chunks != 1 || st.Replaced != 50 {
		t.Fatalf("%+v", st)
	}
	b.readAll()
}

// A piece that was sealed while it was being written is stored as if it had not been, once
// it is whole: where a seal cut it depends on chance, and equal files have to meet.
func TestSealGrown(t *testing.T) {
	const size = volume.MinChunkSize
	for name, parts := range map[string][][2]int{
		"in halves":           {{0, size / 2}, {size / 2, size}},
		"the most at once":    {{0, size - 5000}, {size - 5000, size}},
		"a little at a time":  {{0, size / 4}, {size / 4, size / 2}, {size / 2, size * 7 / 8}, {size * 7 / 8, size}},
		"from the end":        {{size * 7 / 8, size}, {size / 4, size * 7 / 8}, {0, size / 4}},
		"with a hole at last": {{0, size / 2}, {size/2 + 10, size}, {size / 2, size/2 + 10}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			content := random(newRand(1), size)
			b.write(1, 0, content)
			b.seal()
			var st SealStats
			for _, p := range parts {
				b.write(2, p[0], content[p[0]:p[1]])
				st = b.seal()
			}
			if st.Deduped != 1 || len(b.index.live()) != 1 {
				t.Fatalf("the two are not stored once: %+v, %d chunks in use", st, len(b.index.live()))
			}
			b.readAll()
			// Whole, it is not made again for a small write, wherever that is.
			for _, off := range []int{0, size / 2, size - 100} {
				b.write(2, off, content[100:200])
				if st := b.seal(); st.Bytes != 100 {
					t.Fatalf("a write of 100 bytes at %d moved %+v", off, st)
				}
			}
			b.readAll()
		})
	}
}

// A small write into a large sealed file moves little; when most of a piece is new the
// piece is made whole.
func TestSealAmplification(t *testing.T) {
	b := newBench(t)
	rng := newRand(1)
	b.write(1, 0, random(rng, 4*volume.MinChunkSize))
	b.seal()
	before := b.store.Stats()
	b.write(1, 70_000, random(rng, 4096))
	if st := b.seal(); st.Bytes != 4096 {
		t.Fatalf("%+v", st)
	}
	if n := b.store.Stats().RawBytes - before.RawBytes; n != 4096 {
		t.Fatalf("a write of 4 KiB became %d bytes of chunks", n)
	}
	b.readAll()
	b.write(1, volume.MinChunkSize, random(rng, volume.MinChunkSize*3/4))
	if st := b.seal(); st.Chunks != 1 || st.Bytes != volume.MinChunkSize {
		t.Fatalf("%+v", st)
	}
	b.readAll()
	list := b.index.snapshot(1)
	for _, e := range list {
		if e.Off >= volume.MinChunkSize && e.Off < 2*volume.MinChunkSize && e.Chunk.Offset != e.Off-volume.MinChunkSize {
			t.Fatalf("piece is not whole: %+v", e)
		}
	}
	// What was overwritten before sealing is never stored.
	before = b.store.Stats()
	for range 10 {
		b.write(2, 0, random(rng, 10_000))
	}
	b.seal()
	if n := b.store.Stats().RawBytes - before.RawBytes; n != 10_000 {
		t.Fatalf("%d bytes stored", n)
	}
}

// An extent that is overwritten while it is sealed is left alone.
func TestSealRace(t *testing.T) {
	b := newBench(t)
	rng := newRand(1)
	b.write(1, 0, random(rng, volume.MinChunkSize))
	b.write(1, volume.MinChunkSize, random(rng, 1000))
	through := b.log.roll()
	st, err := b.c.Seal(ctx, b.index, through, func(list []Replacement) error {
		b.write(1, 10, []byte("overwritten"))
		b.truncate(1, volume.MinChunkSize+500)
		return b.enter(list)
	})
	if err != nil || st.Replaced != 2 {
		t.Fatal(st, err)
	}
	b.readAll()
	b.seal()
	b.readAll()
}

// Content that cannot be read stays, the rest is sealed, and the caller is told.
func TestSealUnreadable(t *testing.T) {
	b := newBench(t)
	rng := newRand(1)
	b.write(1, 0, random(rng, volume.MinChunkSize))
	b.write(2, 0, random(rng, 100))
	bad := b.log.roll()
	b.write(3, 0, random(rng, volume.MinChunkSize))
	b.write(4, 0, random(rng, 100))
	through := b.log.roll()
	b.log.bad[bad] = true
	st, err := b.c.Seal(ctx, b.index, through, b.enter)
	wantKind(t, err, volume.Corrupt)
	if st.Lost != 2 || st.Replaced != 2 {
		t.Fatalf("%+v", st)
	}
	for _, ino := range []volume.Ino{3, 4} {
		b.read(ino, 0, 100)
	}
	_, err = b.c.ReadAt(ctx, b.attr(1), make([]byte, 10), 0, nil)
	wantKind(t, err, volume.Corrupt)
	delete(b.log.bad, bad)
	b.seal()
	b.readAll()
}

// A damaged chunk does not keep what is in the log from being sealed.
func TestSealNextToDamage(t *testing.T) {
	b := newBench(t)
	rng := newRand(1)
	b.write(1, 0, random(rng, volume.MinChunkSize))
	b.index.set(1, volume.Extent{Off: 0, Len: 4096, Chunk: volume.ChunkRef{ID: volume.ChunkID{9}, Length: 4096}})
	through := b.log.roll()
	st, err := b.c.Seal(ctx, b.index, through, b.enter)
	if err != nil || st.Lost != 0 {
		t.Fatal(st, err)
	}
	b.log.trim(through)
	b.read(1, 4096, volume.MinChunkSize)
	_, err = b.c.ReadAt(ctx, b.attr(1), make([]byte, 10), 0, nil)
	wantKind(t, err, volume.Missing)
}

// Errors of the caller and of the store end a seal; what was entered stays entered.
func TestSealErrors(t *testing.T) {
	b := newBench(t)
	b.write(1, 0, random(newRand(1), 5000))
	through := b.log.roll()
	refused := volume.Errorf(volume.NoSpace, "the index is full")
	_, err := b.c.Seal(ctx, b.index, through, func([]Replacement) error { return refused })
	wantKind(t, err, volume.NoSpace)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, err = b.c.Seal(gone, b.index, through, b.enter)
	wantKind(t, err, volume.Interrupted)
	if len(b.store.pins) != 0 {
		t.Fatal("pins left")
	}
	b.readAll()
	b.seal()
	b.readAll()
	if len(b.store.pins) != 0 {
		t.Fatal("pins left")
	}
}

// A file of many tiny extents is sealed in bounded memory, and compacted.
func TestManyExtents(t *testing.T) {
	b := newBench(t)
	rng := newRand(1)
	const n = maxPieceExtents + 500
	data := random(rng, 2*n)
	ref := b.log.add(data)
	list := make([]volume.Extent, n)
	for i := range list { // 1 byte, 1 byte of hole
		list[i] = volume.Extent{Off: int64(2 * i), Len: 1, InLog: true, Log: ref}
		list[i].Log.Offset += uint32(2 * i)
		data[2*i+1] = 0
	}
	b.index.files[1], b.files[1] = list, data
	through := b.log.roll()
	batches, replaced := 0, map[int64]volume.Extent{}
	_, err := b.c.Seal(ctx, b.index, through, func(list []Replacement) error {
		batches++
		for _, r := range list {
			replaced[r.Old.Off] = r.New
		}
		return nil
	})
	if err != nil || batches < 3 || len(replaced) != n {
		t.Fatal(batches, len(replaced), err)
	}
	for i := range list {
		list[i] = replaced[list[i].Off]
	}
	b.log.trim(through)
	b.readAll()
}

// CompactFile makes aligned pieces whole and leaves alone what is.
func TestCompactFile(t *testing.T) {
	b := newBench(t)
	rng := newRand(1)
	want := random(rng, 3*volume.MinChunkSize+500)
	const pieces = 3 * volume.MinChunkSize
	b.write(1, 0, want[:pieces])
	b.seal()
	for off := 0; off+1000 < pieces; off += 20_000 {
		copy(want[off:], random(rng, 1000))
		b.write(1, off, want[off:off+1000])
		b.seal()
	}
	b.write(1, pieces, want[pieces:])
	far := []byte("far away")
	b.index.set(1, volume.Extent{Off: 1 << 40, Len: int64(len(far)), InLog: true, Log: b.log.add(far)})
	b.seal()
	st, err := b.c.CompactFile(ctx, 1, b.enter)
	if err != nil || st.Replaced == 0 {
		t.Fatal(st, err)
	}
	chunks := map[volume.ChunkID]bool{}
	for _, e := range b.index.snapshot(1) {
		chunks[e.Chunk.ID] = true
	}
	if len(chunks) != 4 {
		t.Fatalf("%d chunks, want 3 pieces and a shared one", len(chunks))
	}
	got := make([]byte, len(want))
	if _, err := b.c.ReadAt(ctx, &volume.Attr{Ino: 1, Size: 1 << 41}, got, 0, nil); err != nil || !bytes.Equal(got, want) {
		t.Fatal("wrong content", err)
	}
	if st, err := b.c.CompactFile(ctx, 1, b.enter); err != nil || st.Replaced != 0 {
		t.Fatal("done twice", st, err)
	}
}

// Reads go on, and are right, while content moves from the log to chunks and on, and
// chunks are collected.
func TestReadWhileSealing(t *testing.T) {
	b := newBench(t)
	rng := newRand(1)
	const size = 4 * volume.MinChunkSize
	want := random(rng, size)
	b.write(1, 0, want)
	var stop atomic.Bool
	var wg sync.WaitGroup
	for n := range 3 {
		wg.Go(func() {
			rng := newRand(uint64(n))
			attr := &volume.Attr{Ino: 1, Size: size}
			p := make([]byte, 20_000)
			for !stop.Load() {
				off := rng.IntN(size)
				got, err := b.c.ReadAt(ctx, attr, p, int64(off), nil)
				if err != nil || !bytes.Equal(p[:got], want[off:off+got]) || got != min(len(p), size-off) {
					t.Errorf("read %d at %d: %v", got, off, err)
					return
				}
			}
		})
	}
	for range 30 {
		off := rng.IntN(size - 5000)
		data := want[off : off+1+rng.IntN(5000)] // the same bytes, elsewhere
		b.index.set(1, volume.Extent{Off: int64(off), Len: int64(len(data)), InLog: true, Log: b.log.add(data)})
		b.seal()
		if _, err := b.c.CompactFile(ctx, 1, b.enter); err != nil {
			t.Fatal(err)
		}
		b.clk.add(5 * time.Second)
		live := b.index.live()
		// Readers hold no pins here: only what is long unused may go.
		if _, err := b.store.Sweep(ctx, func(id volume.ChunkID) bool { return live[id] }, SweepOptions{Grace: 20 * time.Second}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.store.Compact(ctx, CompactOptions{MinDead: 0.2}); err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	audit(t, b.store)
}

func TestCopyChunks(t *testing.T) {
	b := newBench(t)
	p := newPeers()
	b.store.SetFetcher(p)
	content := random(newRand(1), 5000)
	apply := func(refs ...volume.ChunkRef) error {
		_, err := b.c.Apply(ctx, &volume.Op{Kind: volume.OpCopyChunks, Ino: 1, Chunks: refs}, nil)
		return err
	}
	id := chunkID(content)
	wantKind(t, apply(volume.ChunkRef{ID: id, Length: 5000}), volume.Missing)
	p.add(content)
	if err := apply(volume.ChunkRef{ID: id, Length: 5000}, volume.ChunkRef{Length: 1 << 30}, volume.ChunkRef{ID: id, Offset: 4999, Length: 1}); err != nil {
		t.Fatal(err)
	}
	if !b.store.Has(id) || b.store.appended != b.store.durable {
		t.Fatal("chunk is not here and durable")
	}
	for _, r := range []volume.ChunkRef{{ID: id, Length: 5001}, {ID: id, Offset: 5000, Length: 1}, {ID: id, Offset: 1 << 62, Length: 1 << 62}, {ID: id, Offset: -1, Length: 1}} {
		wantKind(t, apply(r), volume.Invalid)
	}
}

func TestContentRest(t *testing.T) {
	b := newBench(t)
	for _, op := range []volume.OpKind{volume.OpCreate, volume.OpTruncate, volume.OpFallocate, volume.OpRename, volume.OpEnd} {
		if got, err := b.c.Apply(ctx, &volume.Op{Kind: op, Ino: 1}, nil); err != nil || got.N != 0 || got.Lower != nil {
			t.Fatal(op, got, err)
		}
	}
	if _, err := b.c.StatFS(ctx); volume.KindOf(err) != volume.Unsupported {
		t.Fatal(err)
	}
	b.mem.TestingSetDiskUsage(vfs.DiskUsage{AvailBytes: 40 << 20, TotalBytes: 100 << 20, UsedBytes: 50 << 20})
	st, err := b.c.StatFS(ctx)
	if err != nil || st != (volume.StatFS{BlockSize: 4096, Blocks: 25600, BlocksFree: 12800, Avail: 10240}) {
		t.Fatal(st, err)
	}
	if err := b.c.Retain(1, nil); err != nil {
		t.Fatal(err)
	}
	b.c.Release(1)
	if err := b.c.Undo(ctx, &volume.Op{}, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.c.Sync(ctx, 1, true, nil); err != nil {
		t.Fatal(err)
	}
	if err := b.c.Close(); err != nil {
		t.Fatal(err)
	}
	mustPut(t, b.store, []byte("the store is still open"))
}

// saysRoom is a file system that can say how much is left, bytes.
type saysRoom struct {
	vfs.FS
	avail uint64
}

func (s saysRoom) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: s.avail, TotalBytes: 1 << 30, UsedBytes: 1<<30 - s.avail}, nil
}

// A fallocate is refused if it asks for more than the disk has. What the file has already, and holes, need
// nothing; what was recorded is not refused.
func TestFallocateNeedsRoom(t *testing.T) {
	b := newBench(t)
	b.opts.FS = saysRoom{b.mem, 1 << 20}
	b.opts.Dir = "/small"
	b.open()
	b.write(2, 0, make([]byte, 300<<10))
	b.write(2, 600<<10, make([]byte, 100<<10))
	for _, row := range []struct {
		op   volume.Op
		fits bool
	}{
		{volume.Op{Length: 1 << 20}, true},
		{volume.Op{Ino: 9, Length: 1 << 20}, true},
		{volume.Op{Ino: 9, Length: 1<<20 + 1}, false},
		{volume.Op{Length: 1<<20 + 400<<10}, true},
		{volume.Op{Length: 1<<20 + 400<<10 + 1}, false},
		{volume.Op{Offset: 1, Length: 1<<20 + 400<<10}, false},
		{volume.Op{Offset: 700 << 10, Length: 1<<20 + 1}, false},
		{volume.Op{Length: 10 << 40}, false},
		{volume.Op{Length: 10 << 40, Alloc: volume.FallocKeepSize}, false},
		{volume.Op{Length: 10 << 40, Alloc: volume.FallocZeroRange}, false},
		{volume.Op{Length: 10 << 40, Alloc: volume.FallocPunchHole | volume.FallocKeepSize}, true},
		{volume.Op{Length: 10 << 40, Version: 7}, true},
	} {
		op := row.op
		op.Kind = volume.OpFallocate
		if op.Ino == 0 {
			op.Ino = 2
		}
		_, err := b.c.Apply(ctx, &op, nil)
		if row.fits && err != nil || !row.fits && volume.KindOf(err) != volume.NoSpace {
			t.Errorf("%d bytes at %d of inode %s, mode %#x, version %d: %v", op.Length, op.Offset, op.Ino, op.Alloc, op.Version, err)
		}
	}
	b = newBench(t) // one that cannot say
	if _, err := b.c.Apply(ctx, &volume.Op{Kind: volume.OpFallocate, Ino: 2, Length: 10 << 40}, nil); err != nil {
		t.Error(err)
	}
}
