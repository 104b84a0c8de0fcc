package chunkstore

import (
	"crypto/sha256"
	"sync"

	"github.com/pierrec/lz4/v4"
	"github.com/zeebo/xxh3"

	"wolfdisk/volume"
)

var (
	fastPool = sync.Pool{New: func() any { return new(lz4.Compressor) }}
	highPool = sync.Pool{New: func() any { return new(lz4.CompressorHC) }}
)

// compress packs src into dst as one LZ4 block and returns its length; 0 if that does
// not pay, which is: saves less than a sixteenth. level is that of Options.Compress.
func compress(dst, src []byte, level int) int {
	if level == 0 || len(src) < 64 {
		return 0
	}
	dst = dst[:len(src)-len(src)/16-1]
	var n int
	var err error
	if level == 1 {
		c := fastPool.Get().(*lz4.Compressor)
		n, err = c.CompressBlock(src, dst)
		fastPool.Put(c)
	} else {
		c := highPool.Get().(*lz4.CompressorHC)
		c.Level = lz4.CompressionLevel(1 << (8 + level))
		n, err = c.CompressBlock(src, dst)
		highPool.Put(c)
	}
	if err != nil {
		return 0 // it does not fit: the content is stored as it is
	}
	return n
}

// decode turns a record's payload into its content and compares that with the ID. The
// payload's own checksum comes first: the decompressor sees nothing that is damaged, and
// a flipped bit that happens to decode to the same content is noticed as well.
// The result is payload itself if that is not compressed.
func decode(r *record, payload []byte) ([]byte, error) {
	if xxh3.Hash(payload) != r.sum {
		return nil, volume.Errorf(volume.Corrupt, "payload does not match its checksum")
	}
	content := payload
	if r.kind == kindLZ4 {
		content = make([]byte, r.raw)
		n, err := lz4.UncompressBlock(payload, content)
		if err != nil || n != len(content) {
			return nil, volume.Errorf(volume.Corrupt, "payload is no LZ4 block of %d bytes", r.raw)
		}
	}
	if sha256.Sum256(content) != r.id {
		return nil, volume.Errorf(volume.Corrupt, "content does not match its SHA-256")
	}
	return content, nil
}

// chunkID names content.
func chunkID(content []byte) volume.ChunkID { return sha256.Sum256(content) }
