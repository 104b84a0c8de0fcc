package chunkstore

import (
	"errors"
	"testing"

	"wolfdisk/volume"
)

// A damaged chunk that nobody uses can be forgotten, and does not come back at the next
// Open; an intact or a pinned one cannot.
func TestForget(t *testing.T) {
	files, chunks := smallStore(t)
	fs := restore(t, files)
	o := testOptions(fs)
	o.CacheBytes = 1
	s := wholeOpen(t, o)
	var victim entry
	for id := range chunks {
		if n, here := s.Held(id); !here || n != int64(len(chunks[id])) {
			t.Fatalf("chunk %s: %d bytes, %t", id, n, here)
		}
		if s.Forget(id) {
			t.Fatal("an intact chunk was forgotten")
		}
		if e := s.table.get(&id); s.packs[e.pack].sealed {
			victim = *e
		}
	}
	name, at := packName(victim.pack), int64(victim.off)+recordLen
	f, err := fs.OpenReadWrite(fs.PathJoin(testDir, name), "test") // the store has it open
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{files[name][at] ^ 1}, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	if len(scrub(t, s)) != 1 {
		t.Fatal("not noticed")
	}
	if _, here := s.Held(victim.id); here {
		t.Error("a damaged chunk is held")
	}
	unpin := s.Pin(victim.id)
	if s.Forget(victim.id) {
		t.Error("a pinned chunk was forgotten")
	}
	unpin()
	if !s.Forget(victim.id) || !s.Forget(volume.ChunkID{1}) {
		t.Error("not forgotten")
	}
	audit(t, s)
	if _, err := s.Compact(ctx, CompactOptions{MinDead: 2}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Sync(ctx), s.Close()); err != nil {
		t.Fatal(err)
	}
	s = wholeOpen(t, o)
	defer s.Close()
	if bad := scrub(t, s); len(bad) > 0 || s.Stats().Chunks != len(chunks)-1 {
		t.Errorf("after another open: %d chunks of %d, %v", s.Stats().Chunks, len(chunks)-1, bad)
	}
	delete(chunks, victim.id)
	for id, content := range chunks {
		mustGet(t, s, id, content)
	}
	audit(t, s)
}
