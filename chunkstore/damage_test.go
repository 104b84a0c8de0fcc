package chunkstore

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"wolfdisk/volume"
)

// smallStore makes two sealed packs and an unsealed one, all durable.
func smallStore(t *testing.T) (files map[string][]byte, chunks map[volume.ChunkID][]byte) {
	t.Helper()
	fs := vfs.NewMem()
	o := testOptions(fs)
	o.PackSize = MinPackSize
	s := wholeOpen(t, o)
	rng := newRand(5)
	chunks = map[volume.ChunkID][]byte{}
	for i := range 7 {
		content := random(rng, 1200)
		if i%2 == 0 {
			content = text(rng, 4000)
		}
		chunks[mustPut(t, s, content)] = content
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files = map[string][]byte{markName: readFile(t, fs, markName)}
	for _, name := range packNames(t, fs) {
		files[name] = readFile(t, fs, name)
	}
	if len(files) != 4 {
		t.Fatalf("%d files, want three packs and the mark", len(files))
	}
	return files, chunks
}

func restore(t *testing.T, files map[string][]byte) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll(testDir, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		writeFile(t, fs, name, content)
	}
	return fs
}

// scrub returns what Verify complains about.
func scrub(t *testing.T, s *Store) (bad []error) {
	t.Helper()
	err := s.Verify(ctx, func(_ volume.ChunkID, _ uint32, _ int64, err error) {
		if err != nil {
			bad = append(bad, err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return bad
}

// A flipped bit anywhere is noticed, content is right or an error, a peer makes it
// whole again, and after that and a compaction nothing is wrong any more.
func TestBitFlips(t *testing.T) {
	files, chunks := smallStore(t)
	step := 2
	if testing.Short() {
		step = 31
	}
	for name, content := range files {
		for at := 0; at < len(content); at += step {
			if name == markName && at%markSlot >= markLen {
				continue // between the slots is nothing
			}
			flipped := map[string][]byte{}
			for n, c := range files {
				flipped[n] = c
			}
			b := append([]byte(nil), content...)
			b[at] ^= 1 << (at % 8)
			flipped[name] = b
			if !t.Run(fmt.Sprintf("%s/%d", name, at), func(t *testing.T) { flipOne(t, flipped, chunks) }) {
				return
			}
		}
	}
}

func flipOne(t *testing.T, files map[string][]byte, chunks map[volume.ChunkID][]byte) {
	fs := restore(t, files)
	o := testOptions(fs)
	o.CacheBytes = 1

	// Nobody to ask: right or an error.
	s, rec := mustOpen(t, o)
	noticed := len(rec.Damage) + len(scrub(t, s))
	if noticed == 0 {
		t.Fatal("not noticed")
	}
	for id, content := range chunks {
		got, err := s.Get(ctx, id)
		switch {
		case err != nil:
			wantKind(t, err, volume.Corrupt, volume.Missing)
			if volume.ErrnoOf(err) != syscall.EIO {
				t.Fatal(volume.ErrnoOf(err))
			}
			if s.Has(id) {
				t.Fatal("Has a chunk that it could not read")
			}
		case string(got) != string(content):
			t.Fatal("wrong content")
		}
	}
	audit(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	// With a peer: right, and whole again.
	s, _ = mustOpen(t, o)
	p := newPeers()
	for _, content := range chunks {
		p.add(content)
	}
	s.SetFetcher(p)
	for id, content := range chunks {
		mustGet(t, s, id, content)
		if err := s.Heal(ctx, id); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Compact(ctx, CompactOptions{MinDead: 0.9}); err != nil {
		t.Fatal(err)
	}
	mustSync(t, s)
	if bad := scrub(t, s); len(bad) > 0 {
		t.Fatal("still damaged: ", errors.Join(bad...))
	}
	audit(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, rec = mustOpen(t, o)
	if len(rec.Damage) > 0 {
		t.Fatalf("still damaged: %+v", rec.Damage)
	}
	for id, content := range chunks {
		mustGet(t, s, id, content)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Files that are cut, empty or gone are noticed.
func TestLostPieces(t *testing.T) {
	files, chunks := smallStore(t)
	for name, content := range files {
		for _, length := range []int{-1, 0, 1, headerLen - 1, headerLen, headerLen + 7, len(content) / 2, len(content) - 1} {
			t.Run(fmt.Sprintf("%s/%d", name, length), func(t *testing.T) {
				cut := map[string][]byte{}
				for n, c := range files {
					cut[n] = c
				}
				if length < 0 {
					delete(cut, name)
				} else {
					cut[name] = content[:min(length, len(content))]
				}
				fs := restore(t, cut)
				s, rec := mustOpen(t, testOptions(fs))
				gone := 0
				for id, content := range chunks {
					got, err := s.Get(ctx, id)
					if err != nil {
						wantKind(t, err, volume.Missing, volume.Corrupt)
						gone++
					} else if string(got) != string(content) {
						t.Fatal("wrong content")
					}
				}
				// A sealed pack that is wholly gone is only missed by those who want its chunks.
				if len(rec.Damage) == 0 && gone == 0 && (name != markName || length < markSlot+markLen-1) {
					t.Fatal("not noticed")
				}
				if name != markName && name != packName(1) && name != packName(2) && len(rec.Damage) == 0 {
					t.Fatal("loss in the newest pack was not reported")
				}
				audit(t, s)
			})
		}
	}
}

// A peer's answer is checked; a wrong one is as good as none.
func TestLyingPeer(t *testing.T) {
	s := wholeOpen(t, testOptions(vfs.NewMem()))
	p := newPeers()
	s.SetFetcher(p)
	content := random(newRand(1), 100)
	id := chunkID(content)
	for _, lie := range [][]byte{nil, {}, content[:99], random(newRand(2), 100), make([]byte, volume.MaxChunkSize)} {
		p.chunks[id] = lie
		_, err := s.Get(ctx, id)
		wantKind(t, err, volume.Missing)
	}
	delete(p.chunks, id)
	p.err = volume.Errorf(volume.Unavailable, "no connection: %w", syscall.ECONNREFUSED)
	_, err := s.Get(ctx, id)
	wantKind(t, err, volume.Unavailable)
	if volume.ErrnoOf(err) != syscall.EIO {
		t.Fatal(volume.ErrnoOf(err))
	}
	p.add(content)
	mustGet(t, s, id, content)
	if !s.Has(id) {
		t.Fatal("fetched chunk was not stored")
	}
	asked := p.asked
	s.cache.remove(id)
	mustGet(t, s, id, content)
	if p.asked != asked {
		t.Fatal("asked again")
	}
	s.SetFetcher(nil)
	_, err = s.Get(ctx, chunkID([]byte("other")))
	wantKind(t, err, volume.Missing)
}

// A disk that cannot read a chunk is a reason to ask, too.
func TestReadError(t *testing.T) {
	inj := &oneError{err: syscall.EIO, match: func(op errorfs.Op) bool { return op.Kind == errorfs.OpFileReadAt }}
	s := wholeOpen(t, testOptions(errorfs.Wrap(vfs.NewMem(), inj)))
	content := random(newRand(1), 100)
	id := mustPut(t, s, content)
	fail := func() {
		s.cache.remove(id)
		inj.mu.Lock()
		inj.n = 1
		inj.mu.Unlock()
	}
	fail()
	_, err := s.Get(ctx, id)
	wantKind(t, err, volume.IO)
	p := newPeers()
	p.add(content)
	s.SetFetcher(p)
	fail()
	mustGet(t, s, id, content)
	if p.asked != 1 || !s.Has(id) {
		t.Fatal("not healed")
	}
}

// A Put of a chunk whose copy is known to be bad writes it again, and the newer copy
// counts from then on, also when the packs are read again.
func TestPutHeals(t *testing.T) {
	files, chunks := smallStore(t)
	b := append([]byte(nil), files[packName(1)]...)
	b[headerLen+recordLen+3] ^= 1
	files[packName(1)] = b
	o := testOptions(restore(t, files))
	o.CacheBytes = 1
	s := wholeOpen(t, o)
	var bad volume.ChunkID
	for id := range chunks {
		if _, err := s.Get(ctx, id); err != nil {
			bad = id
		}
	}
	if _, had, err := s.Put(ctx, chunks[bad]); err != nil || had {
		t.Fatal(had, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = wholeOpen(t, o)
	mustGet(t, s, bad, chunks[bad])
	// A cached chunk heals its stored copy without anybody's help.
	s.noteDamage(s.table.get(&bad))
	s.mu.Lock()
	num := s.table.get(&bad).pack
	off := int64(s.table.get(&bad).off)
	s.mu.Unlock()
	raw := readFile(t, o.FS, packName(num))
	raw[off+recordLen] ^= 1
	f, err := o.FS.OpenReadWrite(o.FS.PathJoin(testDir, packName(num)), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(raw, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Heal(ctx, bad); err != nil {
		t.Fatal(err)
	}
	s.cache.remove(bad)
	mustGet(t, s, bad, chunks[bad])
}

// A damaged chunk that nobody has keeps its pack; the others are saved from it.
func TestCompactKeepsWhatIsLost(t *testing.T) {
	files, chunks := smallStore(t)
	b := append([]byte(nil), files[packName(1)]...)
	b[headerLen+recordLen+3] ^= 1 // a payload
	b[0] ^= 1                     // and the header, so that it is rewritten
	files[packName(1)] = b
	o := testOptions(restore(t, files))
	s, rec := mustOpen(t, o)
	if len(rec.Damage) != 1 {
		t.Fatalf("%+v", rec.Damage)
	}
	st, err := s.Compact(ctx, CompactOptions{})
	wantKind(t, err, volume.Corrupt)
	if st.Kept != 1 || st.Packs != 0 {
		t.Fatalf("%+v", st)
	}
	p := newPeers()
	for _, content := range chunks {
		p.add(content)
	}
	s.SetFetcher(p)
	if st, err = s.Compact(ctx, CompactOptions{}); err != nil || st.Packs == 0 {
		t.Fatalf("%+v %v", st, err)
	}
	for id, content := range chunks {
		mustGet(t, s, id, content)
	}
	audit(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = wholeOpen(t, o)
	for id, content := range chunks {
		mustGet(t, s, id, content)
	}
}

// slowPeer answers when it is let, or when the caller gives up.
type slowPeer struct {
	content []byte
	started chan struct{}
	let     chan struct{}
}

func (p *slowPeer) FetchChunk(ctx context.Context, _ volume.ChunkID) ([]byte, error) {
	p.started <- struct{}{}
	select {
	case <-p.let:
		return p.content, nil
	case <-ctx.Done():
		return nil, volume.Errorf(volume.Unavailable, "gave up: %w", ctx.Err())
	}
}

// Who waits for a chunk that somebody else fetches, gets it even if that one gives up,
// and can give up alone.
func TestFetchShared(t *testing.T) {
	s := wholeOpen(t, testOptions(vfs.NewMem()))
	content := random(newRand(1), 100)
	p := &slowPeer{content: content, started: make(chan struct{}, 10), let: make(chan struct{})}
	s.SetFetcher(p)
	id := chunkID(content)
	get := func() (context.CancelFunc, chan error) {
		c, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() {
			got, err := s.Get(c, id)
			if err == nil && string(got) != string(content) {
				err = volume.Corrupt
			}
			done <- err
		}()
		return cancel, done
	}
	cancelFirst, first := get()
	<-p.started
	cancelSecond, second := get()
	_, third := get()
	cancelSecond()
	wantKind(t, <-second, volume.Interrupted)
	cancelFirst()
	wantKind(t, <-first, volume.Interrupted)
	<-p.started // the third asks itself
	p.let <- struct{}{}
	if err := <-third; err != nil {
		t.Fatal(err)
	}
}

// TestPutNew: a chunk whose damage nobody has noticed is written again, a good one is not.
func TestPutNew(t *testing.T) {
	files, chunks := smallStore(t)
	for name, b := range files {
		if name != markName {
			b[len(b)/2] ^= 0x40
		}
	}
	s := wholeOpen(t, testOptions(restore(t, files)))
	again := 0
	for id, content := range chunks {
		had, err := s.PutNew(ctx, id, content)
		if err != nil {
			t.Fatal(err)
		}
		if !had {
			again++
		}
	}
	if again == 0 || again == len(chunks) {
		t.Errorf("%d of %d chunks were written", again, len(chunks))
	}
	for id, content := range chunks {
		mustGet(t, s, id, content)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
