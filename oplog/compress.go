package oplog

import (
	"github.com/pierrec/lz4/v4"

	"wolfdisk/volume"
)

const (
	// compressMin is the payload below which compression is not tried: what it
	// could save is less than a header.
	compressMin = 512
	// compressSaving is the part of a payload that must be saved, or every reader
	// would pay for next to nothing.
	compressSaving = 16
	// compressMaxSkip bounds how many frames in a row are not tried after misses.
	compressMaxSkip = 64
)

// compressor compresses payloads at one level. It belongs to the appender.
type compressor struct {
	level int // 0 none, 1 LZ4, 2 to 9 LZ4 HC
	fast  lz4.Compressor
	high  lz4.CompressorHC
	// misses counts payloads in a row that did not shrink; skip, those that
	// are not tried for it.
	misses, skip int
}

func newCompressor(level int) (*compressor, error) {
	if level < 0 || level > 9 {
		return nil, volume.Errorf(volume.Invalid, "compression level %d: must be 0 to 9", level)
	}
	levels := [...]lz4.CompressionLevel{2: lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9}
	c := &compressor{level: level}
	if level >= 2 {
		c.high.Level = levels[level]
	}
	return c, nil
}

// compress writes raw compressed to dst, which is at least as long, and returns
// the length, or 0 if it does not pay.
func (c *compressor) compress(dst, raw []byte) int {
	if c.level == 0 || len(raw) < compressMin {
		return 0
	}
	if c.skip > 0 {
		c.skip--
		return 0
	}
	// The library reports too short a dst by 0 or an error, which mean the same
	// here: the payload does not shrink enough.
	dst = dst[:len(raw)-len(raw)/compressSaving]
	var n int
	var err error
	if c.level == 1 {
		n, err = c.fast.CompressBlock(raw, dst)
	} else {
		n, err = c.high.CompressBlock(raw, dst)
	}
	if err == nil && n > 0 && n <= len(dst) {
		c.misses = 0
		return n
	}
	// A stream that does not shrink is tried ever more rarely. The HC levels
	// were asked for by somebody who wants every byte, so they always try.
	if c.level == 1 {
		c.misses++
		c.skip = min(1<<min(c.misses, 10)-1, compressMaxSkip)
	}
	return 0
}
