package slave

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"time"

	"wolfdisk/index"
	"wolfdisk/volume"
)

// store puts an item's content into chunks.
func (c *collector) store(it volume.ContentItem, got *gotItem) error {
	c.parts = append(c.parts, index.Content{Ino: it.Ino, Off: it.Off, Len: int64(it.Len)})
	part := len(c.parts) - 1
	if c.s.into.holds && !got.gone {
		if err := c.s.punchBetween(c.ctx, it, got.runs); err != nil {
			return err
		}
	}
	for i := range got.runs {
		run := &got.runs[i]
		if err := c.storeRun(part, it.Off+int64(run.off), run); err != nil {
			return err
		}
		unbuffer(run.data)
	}
	got.runs = nil
	return nil
}

// buffers are for large runs, of which a few are under way at any time.
var buffers = sync.Pool{New: func() any { return new([volume.MaxContentItem]byte) }}

// buffer returns n bytes; unbuffer takes them back.
func buffer(n int) []byte {
	if n < volume.MaxContentItem/4 {
		return make([]byte, n)
	}
	return buffers.Get().(*[volume.MaxContentItem]byte)[:n]
}

func unbuffer(b []byte) {
	if cap(b) == volume.MaxContentItem {
		buffers.Put((*[volume.MaxContentItem]byte)(b[:volume.MaxContentItem]))
	}
}

func (c *collector) storeRun(part int, off int64, run *gotRun) error {
	if c.s.opt.Into != nil {
		c.unsynced += len(run.data)
		return c.s.write(c.ctx, c.parts[part].Ino, off, run.data)
	}
	p := &c.parts[part]
	add := func(x volume.Extent) { p.Extents = append(p.Extents, x) }
	size := int(c.s.opt.ChunkSize)
	if run.data == nil {
		add(volume.Extent{Off: off, Len: int64(run.len), Chunk: volume.ChunkRef{ID: run.hash, Length: int64(run.len)}})
		if run.stored {
			c.unsynced += run.len
		}
		return nil
	}
	if run.len < min(ownChunk, size) {
		if len(c.shared)+run.len > min(sharedChunk, size) {
			if err := c.flushShared(); err != nil {
				return err
			}
		}
		c.inShared = append(c.inShared, sharedRun{part, len(p.Extents), int64(len(c.shared))})
		add(volume.Extent{Off: off, Len: int64(run.len)})
		c.shared = append(c.shared, run.data...)
		return nil
	}
	for data := run.data; len(data) > 0; {
		n := min(len(data), size)
		id := volume.ChunkID(sha256.Sum256(data[:n]))
		if err := c.put(c.ctx, id, data[:n]); err != nil {
			return volume.Wrap(err, "store content")
		}
		add(volume.Extent{Off: off, Len: int64(n), Chunk: volume.ChunkRef{ID: id, Length: int64(n)}})
		data, off = data[n:], off+int64(n)
		c.unsynced += n
	}
	return nil
}

// put stores a chunk whose hash is known. With Full it does not count that the store has it, unless it
// can be read.
func (c *collector) put(ctx context.Context, id volume.ChunkID, data []byte) (err error) {
	if c.s.opt.Full {
		_, err = c.s.opt.Chunks.PutNew(ctx, id, data)
	} else {
		_, err = c.s.opt.Chunks.PutAs(ctx, id, data)
	}
	return err
}

// flushShared stores the chunk of small runs, and tells their extents.
func (c *collector) flushShared() error {
	if len(c.shared) == 0 {
		return nil
	}
	id := volume.ChunkID(sha256.Sum256(c.shared))
	if err := c.put(c.ctx, id, c.shared); err != nil {
		return volume.Wrap(err, "store content")
	}
	for _, r := range c.inShared {
		x := &c.parts[r.part].Extents[r.extent]
		x.Chunk = volume.ChunkRef{ID: id, Offset: r.off, Length: x.Len}
	}
	c.unsynced += len(c.shared)
	c.shared, c.inShared = c.shared[:0], c.inShared[:0]
	return nil
}

// enter makes durable what was put, and enters it.
func (c *collector) enter() error {
	if len(c.parts) == 0 && c.end == (cursor{}) {
		return nil
	}
	if c.s.opt.Into != nil {
		// The directory has it; only how far it has come is entered.
		c.parts = c.parts[:0]
		if err := c.s.opt.Into.Checkpoint(c.ctx); err != nil {
			return err
		}
	} else if err := errors.Join(c.flushShared(), c.s.opt.Chunks.Sync(c.ctx)); err != nil {
		return err
	}
	if err := c.s.engine.SetContent(c.parts, c.end.encode()); err != nil {
		return err
	}
	c.parts, c.unsynced = nil, 0
	if time.Since(c.flushed) < flushEvery {
		return nil
	}
	c.flushed = time.Now()
	return c.s.engine.Flush()
}
