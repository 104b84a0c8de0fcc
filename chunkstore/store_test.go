package chunkstore

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

func TestOptions(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no directory":     func(o *Options) { o.Dir = "" },
		"no volume":        func(o *Options) { o.Volume = volume.ID{} },
		"chunk size":       func(o *Options) { o.ChunkSize = 100_000 },
		"small chunks":     func(o *Options) { o.ChunkSize = 4096 },
		"large chunks":     func(o *Options) { o.ChunkSize = 1 << 30 },
		"compression":      func(o *Options) { o.Compress = 10 },
		"pack size":        func(o *Options) { o.PackSize = 100 },
		"pack size beyond": func(o *Options) { o.PackSize = MaxPackSize + 1 },
	} {
		o := testOptions(vfs.NewMem())
		change(&o)
		_, _, err := Open(o)
		t.Run(name, func(t *testing.T) { wantKind(t, err, volume.Invalid) })
	}
}

// Everything that was put and synced is there with every compression, before and
// after opening again, over several packs.
func TestRoundTrip(t *testing.T) {
	for level := 0; level <= 9; level++ {
		if testing.Short() && level > 2 && level < 9 {
			continue
		}
		fs := vfs.NewMem()
		o := testOptions(fs)
		o.Compress = level
		s := wholeOpen(t, o)
		rng := newRand(uint64(level))
		want := map[volume.ChunkID][]byte{}
		for i := range 40 {
			content := text(rng, 1+rng.IntN(volume.MinChunkSize))
			if i%2 == 0 {
				content = random(rng, 1+rng.IntN(volume.MinChunkSize))
			}
			want[mustPut(t, s, content)] = content
		}
		want[mustPut(t, s, []byte{7})] = []byte{7}
		full := random(rng, volume.MinChunkSize)
		want[mustPut(t, s, full)] = full
		check := func(s *Store) {
			t.Helper()
			for id, content := range want {
				mustGet(t, s, id, content)
				if n, ok := s.Len(id); !ok || n != int64(len(content)) {
					t.Fatalf("length %d, want %d", n, len(content))
				}
			}
			audit(t, s)
		}
		check(s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if len(packNames(t, fs)) < 3 {
			t.Fatal("test is to fill several packs")
		}
		s, rec := mustOpen(t, o)
		if rec.Scanned != 1 || rec.Chunks != len(want) || rec.CutBytes != 0 || rec.Kept != 0 || len(rec.Damage) != 0 {
			t.Fatalf("recovery %+v", rec)
		}
		check(s)
		// The unsealed pack goes on.
		more := random(rng, 5000)
		want[mustPut(t, s, more)] = more
		check(s)
	}
}

func TestDedup(t *testing.T) {
	s := wholeOpen(t, testOptions(vfs.NewMem()))
	content := random(newRand(1), 10_000)
	id, had, err := s.Put(ctx, content)
	if err != nil || had {
		t.Fatal(had, err)
	}
	before := s.Stats()
	again, had, err := s.Put(ctx, bytes.Clone(content))
	if err != nil || !had || again != id {
		t.Fatal(had, err)
	}
	st := s.Stats()
	if st.DedupHits != 1 || st.FileBytes != before.FileBytes || st.Chunks != 1 || st.RawBytes != 10_000 || st.DeadBytes != 0 {
		t.Fatalf("%+v", st)
	}
}

func TestCompressionPays(t *testing.T) {
	s := wholeOpen(t, testOptions(vfs.NewMem()))
	rng := newRand(1)
	stored := func(content []byte) int64 {
		before := s.Stats().StoredBytes
		mustPut(t, s, content)
		return s.Stats().StoredBytes - before - recordLen
	}
	if n := stored(text(rng, 60_000)); n > 40_000 {
		t.Errorf("text takes %d bytes", n)
	}
	if n := stored(random(rng, 60_000)); n != 60_000 {
		t.Errorf("noise takes %d bytes", n)
	}
	// Saving less than a sixteenth is not worth decoding for.
	if n := stored(append(random(rng, 58_000), make([]byte, 2_000)...)); n != 60_000 {
		t.Errorf("noise with a few zeros takes %d bytes", n)
	}
}

func TestPutRefuses(t *testing.T) {
	s := wholeOpen(t, testOptions(vfs.NewMem()))
	_, _, err := s.Put(ctx, nil)
	wantKind(t, err, volume.Invalid)
	_, _, err = s.Put(ctx, make([]byte, volume.MinChunkSize+1))
	wantKind(t, err, volume.Invalid)
	gone, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err = s.Put(gone, []byte("x"))
	wantKind(t, err, volume.Interrupted)
	_, err = s.Get(gone, chunkID([]byte("x")))
	wantKind(t, err, volume.Interrupted)
	wantKind(t, s.Sync(gone), volume.Interrupted)
}

func TestReadAt(t *testing.T) {
	s := wholeOpen(t, testOptions(vfs.NewMem()))
	content := text(newRand(3), 50_000)
	id := mustPut(t, s, content)
	p := make([]byte, 1000)
	for _, off := range []int64{0, 1, 49_000} {
		if err := s.ReadAt(ctx, id, p, off); err != nil || !bytes.Equal(p, content[off:off+1000]) {
			t.Fatal(off, err)
		}
	}
	for _, off := range []int64{-1, 49_001, 50_001, 1 << 62} {
		wantKind(t, s.ReadAt(ctx, id, p, off), volume.Corrupt)
	}
}

func TestClosed(t *testing.T) {
	s := wholeOpen(t, testOptions(vfs.NewMem()))
	id := mustPut(t, s, []byte("hello"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Put(ctx, []byte("other"))
	wantKind(t, err, volume.Closed)
	_, err = s.Get(ctx, id)
	wantKind(t, err, volume.Closed)
	wantKind(t, s.Sync(ctx), volume.Closed)
	wantKind(t, s.Verify(ctx, func(volume.ChunkID, uint32, int64, error) {}), volume.Closed)
	_, err = s.Sweep(ctx, func(volume.ChunkID) bool { return true }, SweepOptions{})
	wantKind(t, err, volume.Closed)
}

func TestForeignStore(t *testing.T) {
	fs := vfs.NewMem()
	s := wholeOpen(t, testOptions(fs))
	mustPut(t, s, []byte("hello"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o := testOptions(fs)
	o.Volume[0]++
	_, _, err := Open(o)
	wantKind(t, err, volume.WrongVolume)
	if err := fs.Remove(fs.PathJoin(testDir, markName)); err != nil {
		t.Fatal(err)
	}
	_, _, err = Open(o) // a pack says so, too
	wantKind(t, err, volume.WrongVolume)

	o = testOptions(fs)
	if err := fs.Remove(fs.PathJoin(testDir, markName)); err != nil {
		t.Fatal(err)
	}
	o.ChunkSize *= 2
	_, _, err = Open(o)
	wantKind(t, err, volume.Invalid)
}

func TestNewerFormat(t *testing.T) {
	fs := vfs.NewMem()
	s := wholeOpen(t, testOptions(fs))
	mustPut(t, s, []byte("hello"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := packName(1)
	b := readFile(t, fs, name)
	b[8]++
	salt{testVol, 1}.sealBytes(0, b[:headerLen])
	writeFile(t, fs, name, b)
	_, _, err := Open(testOptions(fs))
	wantKind(t, err, volume.WrongVersion)
}

// The descriptors are bounded however many packs are read.
func TestManyPacks(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs)
	o.PackSize, o.CacheBytes = MinPackSize, 1
	s := wholeOpen(t, o)
	rng := newRand(1)
	want := map[volume.ChunkID][]byte{}
	for range maxOpenPacks + 40 {
		content := random(rng, 4000)
		want[mustPut(t, s, content)] = content
	}
	for id, content := range want {
		mustGet(t, s, id, content)
	}
	if n := len(s.files.open); n > maxOpenPacks {
		t.Fatalf("%d packs open", n)
	}
	if n := s.Stats().Packs; n < maxOpenPacks+40 {
		t.Fatalf("%d packs", n)
	}
}

// A pack of many tiny chunks is sealed when its index becomes long.
func TestManyItems(t *testing.T) {
	o := testOptions(vfs.NewMem())
	o.PackSize = MaxPackSize
	s := wholeOpen(t, o)
	content := make([]byte, 4)
	for i := range maxPackItems + 1 {
		content[0], content[1], content[2] = byte(i), byte(i>>8), byte(i>>16)
		mustPut(t, s, content)
	}
	if n := s.Stats().Packs; n != 2 {
		t.Fatalf("%d packs", n)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = wholeOpen(t, o)
	if n := s.Stats().Chunks; n != maxPackItems+1 {
		t.Fatalf("%d chunks", n)
	}
	audit(t, s)
}

// A chunk is decoded once for all who read it at the same time, and once for a loop
// of small reads, even if it is larger than the cache.
func TestDecodeOnce(t *testing.T) {
	fs := vfs.NewMem()
	counter := &readCounter{FS: fs}
	o := testOptions(counter)
	o.CacheBytes = 1
	s := wholeOpen(t, o)
	content := text(newRand(1), volume.MinChunkSize)
	id := mustPut(t, s, content)
	p := make([]byte, 4096)
	for off := 0; off < len(content); off += len(p) {
		if err := s.ReadAt(ctx, id, p, int64(off)); err != nil || !bytes.Equal(p, content[off:off+len(p)]) {
			t.Fatal(err)
		}
	}
	if n := counter.reads.Load(); n != 1 {
		t.Fatalf("%d reads of the pack", n)
	}
	s.cache.remove(id)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if got, err := s.Get(ctx, id); err != nil || !bytes.Equal(got, content) {
				t.Error("wrong content", err)
			}
		})
	}
	wg.Wait()
	if n := counter.reads.Load(); n != 2 {
		t.Fatalf("%d reads of the pack", n)
	}
}

func TestCacheBound(t *testing.T) {
	c := newCache(100)
	for i := range 20 {
		c.add(volume.ChunkID{byte(i)}, make([]byte, 30))
	}
	if c.bytes != 90 || c.order.Len() != 3 || len(c.items) != 3 {
		t.Fatalf("%d bytes in %d", c.bytes, c.order.Len())
	}
	c.get(volume.ChunkID{17})
	c.add(volume.ChunkID{50}, make([]byte, 30))
	if _, ok := c.get(volume.ChunkID{17}); !ok {
		t.Fatal("recently used chunk was dropped")
	}
	c.add(volume.ChunkID{60}, make([]byte, 500))
	if c.bytes != 500 || c.order.Len() != 1 {
		t.Fatalf("%d bytes in %d", c.bytes, c.order.Len())
	}
	c.remove(volume.ChunkID{60})
	if c.bytes != 0 {
		t.Fatal("bytes left")
	}
}
