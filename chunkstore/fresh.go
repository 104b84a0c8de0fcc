package chunkstore

import (
	"context"

	"wolfdisk/volume"
)

// DiskReader reads content from the packs and the log themselves, past what is kept in
// memory, checks it, and asks nobody for what is damaged: for whoever wants to know
// what is on this disk. It remembers the chunk it read last. It is used by one
// goroutine at a time.
type DiskReader struct {
	content Content
	id      volume.ChunkID
	last    []byte // the chunk id; nil at first
}

// NewDiskReader reads where extents say: from a log that should not remember either, and
// from the store.
func NewDiskReader(extents volume.ExtentMap, log volume.LogReader, store *Store) *DiskReader {
	return &DiskReader{content: Content{extents: extents, log: log, store: store}}
}

// ReadAt is Content.ReadAt. The extents must not change meanwhile.
func (r *DiskReader) ReadAt(ctx context.Context, attr *volume.Attr, p []byte, off int64) (int, error) {
	if off < 0 || off >= attr.Size {
		return 0, nil
	}
	p = p[:min(int64(len(p)), attr.Size-off)]
	for at, left := off, p; len(left) > 0; {
		list, end, err := r.content.list(attr.Ino, at, int64(len(left)), maxExtentBatch)
		if err == nil {
			err = r.fill(ctx, list, left[:end-at], at)
		}
		if err != nil {
			return 0, volume.Errorf(volume.KindOf(err), "read inode %s, %d bytes at %d: %w", attr.Ino, len(p), off, err)
		}
		at, left = end, left[end-at:]
	}
	return len(p), nil
}

// Seek is Content.Seek.
func (r *DiskReader) Seek(ctx context.Context, attr *volume.Attr, off int64, hole bool) (int64, error) {
	return r.content.Seek(ctx, attr, off, hole, nil)
}

// fill fills p, which begins at off, from extents in it and zeros between them.
func (r *DiskReader) fill(ctx context.Context, list []volume.Extent, p []byte, off int64) error {
	clear(p)
	for i := range list {
		e := &list[i]
		if !isData(e) {
			continue
		}
		part := p[e.Off-off:][:e.Len]
		if e.InLog {
			if err := r.content.log.ReadLog(ctx, e.Log, part); err != nil {
				return err
			}
			continue
		}
		chunk, err := r.chunk(ctx, e.Chunk.ID)
		if err != nil {
			return err
		}
		if e.Chunk.Offset > int64(len(chunk)) || e.Len > int64(len(chunk))-e.Chunk.Offset {
			return volume.Errorf(volume.Corrupt, "chunk %s has %d bytes, %d at %d were asked for", e.Chunk.ID, len(chunk), e.Len, e.Chunk.Offset)
		}
		copy(part, chunk[e.Chunk.Offset:])
	}
	return nil
}

func (r *DiskReader) chunk(ctx context.Context, id volume.ChunkID) ([]byte, error) {
	if r.last != nil && r.id == id {
		return r.last, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, interrupted(err)
	}
	if r.content.store.closed.Load() {
		return nil, errClosed()
	}
	r.last = nil // before the next one is in memory too
	chunk, err := r.content.store.readLocal(id)
	if err != nil {
		return nil, err
	}
	r.id, r.last = id, chunk
	return chunk, nil
}
