package chunkstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

var (
	ctx     = context.Background()
	testVol = volume.ID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
)

const testDir = "/chunks"

func testOptions(fs vfs.FS) Options {
	return Options{FS: fs, Dir: testDir, Volume: testVol, ChunkSize: volume.MinChunkSize, Compress: 1, PackSize: 256 << 10, Log: zerolog.Nop()}
}

// mustOpen opens a store that is closed at the end of the test.
func mustOpen(t testing.TB, o Options) (*Store, *Recovery) {
	t.Helper()
	s, rec, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, rec
}

// wholeOpen is mustOpen of a store in which nothing may be damaged.
func wholeOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, rec := mustOpen(t, o)
	if len(rec.Damage) > 0 {
		t.Fatalf("damage: %+v", rec.Damage)
	}
	return s
}

// random is content that does not compress.
func random(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// text is content that compresses.
func text(rng *rand.Rand, n int) []byte {
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "line %d of something\n", rng.IntN(1000))
	}
	return b.Bytes()[:n]
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x77d)) }

func mustPut(t testing.TB, s *Store, content []byte) volume.ChunkID {
	t.Helper()
	id, _, err := s.Put(ctx, content)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func mustSync(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

func mustGet(t testing.TB, s *Store, id volume.ChunkID, want []byte) {
	t.Helper()
	got, err := s.Get(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("chunk %s: wrong content", id)
	}
}

func wantKind(t testing.TB, err error, kinds ...volume.Kind) {
	t.Helper()
	for _, k := range kinds {
		if err != nil && volume.KindOf(err) == k {
			return
		}
	}
	t.Fatalf("error %v (kind %v), want one of %v", err, volume.KindOf(err), kinds)
}

// audit is the check at the end of a test: the sums match the table.
func audit(t testing.TB, s *Store) {
	t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	live, chunks := map[uint32]int64{}, map[uint32]int{}
	var raw int64
	n := 0
	for p := 0; s.table.page(p, func(e *entry) {
		n++
		live[e.pack] += e.size()
		chunks[e.pack]++
		raw += int64(e.raw)
		if got := s.table.get(&e.id); got != e {
			t.Errorf("entry %s is not found by its ID", e.id)
		}
		if s.packs[e.pack] == nil {
			t.Errorf("entry %s points into pack %d, which is not there", e.id, e.pack)
		}
	}); p++ {
	}
	if n != s.table.count || raw != s.raw {
		t.Errorf("count %d and raw %d, found %d and %d", s.table.count, s.raw, n, raw)
	}
	for num, p := range s.packs {
		if p.live != live[num] || p.chunks != chunks[num] || p.live > p.size {
			t.Errorf("pack %d: %+v, found live %d in %d", num, *p, live[num], chunks[num])
		}
	}
}

// peers is a fetcher with chunks of its own.
type peers struct {
	mu     sync.Mutex
	chunks map[volume.ChunkID][]byte
	asked  int
	err    error // instead of Missing
}

func newPeers() *peers { return &peers{chunks: map[volume.ChunkID][]byte{}} }

func (p *peers) add(content []byte) volume.ChunkID {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := chunkID(content)
	p.chunks[id] = content
	return id
}

func (p *peers) FetchChunk(ctx context.Context, id volume.ChunkID) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	if c, ok := p.chunks[id]; ok {
		return c, nil
	}
	if p.err != nil {
		return nil, p.err
	}
	return nil, volume.Errorf(volume.Missing, "nobody has chunk %s", id)
}

// clock is set by hand.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Unix(1_700_000_000, 0)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// readFile and writeFile are the disk behind the store's back.
func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	t.Helper()
	f, err := fs.Open(fs.PathJoin(testDir, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if n, err := f.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, fs vfs.FS, name string, content []byte) {
	t.Helper()
	f, err := fs.Create(fs.PathJoin(testDir, name), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, werr := f.Write(bytes.Clone(content))
	if err := errors.Join(werr, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

func packNames(t testing.TB, fs vfs.FS) (names []string) {
	t.Helper()
	list, err := fs.List(testDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		if _, ok := parsePackName(name); ok {
			names = append(names, name)
		}
	}
	return names
}
