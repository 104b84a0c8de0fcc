package chunkstore

import (
	"context"
	"errors"
	"math"

	"wolfdisk/volume"
)

const (
	// maxExtentBatch bounds the extents held while reading: a file may have one per byte.
	maxExtentBatch = 1024
	// readTries is how often a read looks at the extents again, because content moved
	// from the log to chunks (or to other chunks) under it.
	readTries = 4
)

// ReadAt reads a file's content: holes as zeros, everything else from where its
// extent says, checked. It may be called concurrently with anything.
func (c *Content) ReadAt(ctx context.Context, attr *volume.Attr, p []byte, off int64, _ volume.View) (int, error) {
	if off < 0 {
		return 0, volume.Errorf(volume.Invalid, "read inode %s at %d", attr.Ino, off)
	}
	if off >= attr.Size {
		return 0, nil
	}
	p = p[:min(int64(len(p)), attr.Size-off)]
	if err := c.readRange(ctx, attr.Ino, p, off); err != nil {
		return 0, volume.Errorf(volume.KindOf(err), "read inode %s, %d bytes at %d: %w", attr.Ino, len(p), off, err)
	}
	return len(p), nil
}

// readRange fills p with the content of a file from off, which is within its size.
func (c *Content) readRange(ctx context.Context, ino volume.Ino, p []byte, off int64) error {
	for len(p) > 0 {
		done, err := c.readBatch(ctx, ino, p, off)
		if err != nil {
			return err
		}
		p, off = p[done:], off+int64(done)
	}
	return nil
}

// readBatch reads as far into p as one batch of extents reaches. If content is not
// where its extent says and the extents have changed since, it was moved: again.
func (c *Content) readBatch(ctx context.Context, ino volume.Ino, p []byte, off int64) (int, error) {
	batch, end, err := c.list(ino, off, int64(len(p)), maxExtentBatch)
	if err != nil {
		return 0, err
	}
	for try := 1; ; try++ {
		err := c.readExtents(ctx, batch, p[:end-off], off)
		if err == nil {
			return int(end - off), nil
		}
		if try == readTries || ctx.Err() != nil {
			return 0, err
		}
		now, nowEnd, lerr := c.list(ino, off, int64(len(p)), maxExtentBatch)
		if lerr != nil {
			return 0, lerr
		}
		if equalExtents(now, batch) {
			return 0, err
		}
		batch, end = now, nowEnd
	}
}

func equalExtents(a, b []volume.Extent) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// errExtents says that the index holds a map that cannot be.
func errExtents(ino volume.Ino, e *volume.Extent) error {
	return volume.Errorf(volume.Corrupt, "inode %s: extent of %d bytes at %d does not fit where it is", ino, e.Len, e.Off)
}

// list returns the extents within [off, off+length), at most limit of them, and how
// far they describe the range. It checks that they are in order and inside.
func (c *Content) list(ino volume.Ino, off, length int64, limit int) (list []volume.Extent, end int64, err error) {
	end = off + length
	if length > math.MaxInt64-off {
		end = math.MaxInt64
	}
	at := off
	var bad error
	err = c.extents.Extents(ino, off, end-off, func(e volume.Extent) bool {
		if e.Off < at || e.Len <= 0 || e.Off > end || e.Len > end-e.Off ||
			!e.InLog && e.Chunk.Offset < 0 || e.InLog && int64(e.Log.Offset)+e.Len > math.MaxUint32 {
			bad = errExtents(ino, &e)
			return false
		}
		if len(list) == limit {
			end = at
			return false
		}
		list = append(list, e)
		at = e.Off + e.Len
		return true
	})
	return list, end, errors.Join(err, bad)
}

// readExtents fills p, which begins at off, from extents in it and zeros between them.
func (c *Content) readExtents(ctx context.Context, list []volume.Extent, p []byte, off int64) error {
	for i := range list {
		e := &list[i]
		clear(p[:e.Off-off])
		p = p[e.Off-off:]
		if err := c.readExtent(ctx, e, p[:e.Len]); err != nil {
			return err
		}
		p, off = p[e.Len:], e.Off+e.Len
	}
	clear(p)
	return nil
}

func (c *Content) readExtent(ctx context.Context, e *volume.Extent, p []byte) error {
	switch {
	case e.InLog:
		return c.log.ReadLog(ctx, e.Log, p)
	case e.Chunk.IsHole():
		clear(p)
		return nil
	}
	return c.store.ReadAt(ctx, e.Chunk.ID, p, e.Chunk.Offset)
}
