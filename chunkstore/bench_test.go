package chunkstore

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

func benchStore(b *testing.B) *Store {
	o := testOptions(vfs.Default)
	o.Dir, o.ChunkSize, o.PackSize = b.TempDir(), volume.DefaultChunkSize, 0
	return wholeOpen(b, o)
}

func BenchmarkPut(b *testing.B) {
	for name, make := range map[string]func(n int) []byte{
		"noise": func(n int) []byte { return random(newRand(1), n) },
		"text":  func(n int) []byte { return text(newRand(1), n) },
	} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b)
			content := make(volume.DefaultChunkSize)
			b.SetBytes(int64(len(content)))
			for i := 0; b.Loop(); i++ {
				content[0], content[1], content[2] = byte(i), byte(i>>8), byte(i>>16)
				if _, had, err := s.Put(ctx, content); err != nil || had {
					b.Fatal(had, err)
				}
			}
			mustSync(b, s)
		})
	}
}

// BenchmarkGet reads past the cache: disk cache, decoding, SHA-256.
func BenchmarkGet(b *testing.B) {
	for name, content := range map[string][]byte{
		"noise": random(newRand(1), volume.DefaultChunkSize),
		"text":  text(newRand(1), volume.DefaultChunkSize),
	} {
		b.Run(name, func(b *testing.B) {
			s := benchStore(b)
			id := mustPut(b, s, content)
			b.SetBytes(int64(len(content)))
			for b.Loop() {
				s.cache.remove(id)
				if _, err := s.Get(ctx, id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRead is a sequential reader with 128 KiB requests.
func BenchmarkRead(b *testing.B) {
	s := benchStore(b)
	content := text(newRand(1), volume.DefaultChunkSize)
	id := mustPut(b, s, content)
	x := newFakeIndex()
	x.set(1, volume.Extent{Len: int64(len(content)), Chunk: volume.ChunkRef{ID: id, Length: int64(len(content))}})
	c := NewContent(x, newFakeLog(), s)
	attr := &volume.Attr{Ino: 1, Size: int64(len(content))}
	p := make([]byte, 128<<10)
	b.SetBytes(int64(len(p)))
	for off := 0; b.Loop(); off = (off + len(p)) % len(content) {
		if off == 0 {
			s.cache.remove(id)
		}
		if _, err := c.ReadAt(ctx, attr, p, int64(off), nil); err != nil {
			b.Fatal(err)
		}
	}
}
