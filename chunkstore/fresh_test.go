package chunkstore

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// TestDiskReader: it reads what Content reads, in any pieces, and sees damage that a
// cache hides and another node could mend.
func TestDiskReader(t *testing.T) {
	b := newBench(t)
	r := newRand(7)
	b.write(2, 0, random(r, 300_000))
	b.write(2, 1_000_000, text(r, 100_000)) // a hole before it
	b.write(3, 0, []byte("in the log"))
	chunk := random(r, 20_000)
	id := mustPut(t, b.store, chunk)
	mustSync(t, b.store)
	b.index.set(4, volume.Extent{Off: 100, Len: 10_000, Chunk: volume.ChunkRef{ID: id, Offset: 5_000}})
	b.files[4] = append(make([]byte, 100), chunk[5_000:15_000]...)
	for ino, want := range b.files {
		for _, piece := range []int{1 << 20, 77_777, 4096} {
			d := NewDiskReader(b.index, b.log, b.store)
			var got []byte
			for off := int64(0); ; {
				p := make([]byte, piece)
				for i := range p {
					p[i] = 0xee
				}
				n, err := d.ReadAt(ctx, b.attr(ino), p, off)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				got, off = append(got, p[:n]...), off+int64(n)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("inode %s in pieces of %d: other content", ino, piece)
			}
		}
	}
	if at, err := NewDiskReader(b.index, b.log, b.store).Seek(ctx, b.attr(4), 0, false); err != nil || at != 0 { // it begins at 100, in the first block
		t.Errorf("data at %d, %v", at, err)
	}
	mustGet(t, b.store, id, chunk) // now it is cached
	b.store.mu.RLock()
	place := *b.store.table.get(&id)
	b.store.mu.RUnlock()
	f, err := b.mem.OpenReadWrite(b.mem.PathJoin(testDir, packName(place.pack)), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt([]byte{chunk[50] ^ 1}, int64(place.off)+recordLen+50)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	all := newPeers()
	all.add(chunk)
	b.store.SetFetcher(all)
	if _, err := NewDiskReader(b.index, b.log, b.store).ReadAt(ctx, b.attr(4), make([]byte, 200), 0); volume.KindOf(err) != volume.Corrupt {
		t.Errorf("damage on the disk: %v", err)
	}
	if all.asked > 0 {
		t.Error("others were asked")
	}
	mustGet(t, b.store, id, chunk)
}
