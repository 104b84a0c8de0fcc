package chunkstore

import (
	"context"
	"errors"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"wolfdisk/volume"
)

// Content is the backing of a volume whose content lies in this node's log and in
// chunks, as the index's extents say. It has no state of its own, and the store is
// the caller's: several Contents may share one, and Close does not close it.
type Content struct {
	extents volume.ExtentMap
	log     volume.LogReader
	store   *Store
}

var _ volume.Backing = (*Content)(nil)

// NewContent joins an index's extents with the places they point to.
func NewContent(extents volume.ExtentMap, log volume.LogReader, store *Store) *Content {
	return &Content{extents: extents, log: log, store: store}
}

// Apply has nothing to write: the data of an OpWrite are the log's, the map of
// extents is the index's. What asks for room is refused if there is none. The chunks of an OpCopyChunks must be here and durable before an
// extent names them; absent ones are fetched.
func (c *Content) Apply(ctx context.Context, op *volume.Op, _ volume.View) (volume.Applied, error) {
	switch op.Kind {
	case volume.OpWrite:
		return volume.Applied{N: len(op.Data)}, nil
	case volume.OpCopyChunks:
		return volume.Applied{}, c.ensure(ctx, op.Chunks)
	case volume.OpFallocate:
		if op.Version == 0 && op.Alloc&volume.FallocPunchHole == 0 {
			return volume.Applied{}, c.room(ctx, op)
		}
	}
	return volume.Applied{}, nil
}

// entering is how long an op's chunks are kept for until the index is sure to point to
// them: far longer than an op may take.
const entering = 10 * time.Minute

func (c *Content) ensure(ctx context.Context, refs []volume.ChunkRef) error {
	ids := make([]volume.ChunkID, 0, len(refs))
	for _, ref := range refs {
		if !ref.IsHole() {
			ids = append(ids, ref.ID)
		}
	}
	c.store.PinFor(entering, ids...)
	var last volume.ChunkID
	var length int64
	for _, ref := range refs {
		if ref.IsHole() {
			continue
		}
		if ref.ID != last {
			n, err := c.store.Ensure(ctx, ref.ID)
			if err != nil {
				return volume.Wrap(err, "copy chunks")
			}
			last, length = ref.ID, n
		}
		if ref.Offset < 0 || ref.Length < 0 || ref.Offset > length || ref.Length > length-ref.Offset {
			return volume.Errorf(volume.Invalid, "copy chunks: %d bytes at %d of chunk %s, which has %d", ref.Length, ref.Offset, ref.ID, length)
		}
	}
	return c.store.Sync(ctx)
}

// room is NoSpace if a fallocate asks for more than the disk can ever give. Chunks set nothing aside,
// but a program that asks has to hear it, as of a real directory.
func (c *Content) room(ctx context.Context, op *volume.Op) error {
	st, err := c.StatFS(ctx)
	if err != nil {
		if volume.KindOf(err) == volume.Unsupported {
			err = nil // nobody knows
		}
		return err
	}
	free, need := int64(st.Avail)*statBlock, op.Length
	if need > free {
		err = c.extents.Extents(op.Ino, op.Offset, op.Length, func(e volume.Extent) bool {
			if isData(&e) {
				need -= e.Len
			}
			return need > free
		})
	}
	if err == nil && need > free {
		err = volume.Errorf(volume.NoSpace, "fallocate %d bytes at %d of %s: %d more are needed, and the disk has %d", op.Length, op.Offset, op.Ino, need, free)
	}
	return err
}

// Undo has nothing to take back: a chunk that nobody uses is collected.
func (c *Content) Undo(context.Context, *volume.Op, volume.View) error { return nil }

// Sync does nothing: fresh data are durable with the log, which the caller syncs, and
// an extent names a chunk only after its pack was synced.
func (c *Content) Sync(context.Context, volume.Ino, bool, volume.View) error { return nil }

// SyncAll makes all chunks durable.
func (c *Content) SyncAll(ctx context.Context) error { return c.store.Sync(ctx) }

// Retain has nothing to do: extents live as long as the inode.
func (c *Content) Retain(volume.Ino, volume.View) error { return nil }

// Release has nothing to do.
func (c *Content) Release(volume.Ino) {}

// Close leaves the store open; see Content.
func (c *Content) Close() error { return nil }

// statBlock is the unit of StatFS, bytes.
const statBlock = 4096

// StatFS describes the disk that the store lies on. Chunks take no inodes of it, so
// those are 0, which df shows as unknown. Unsupported if the file system cannot say.
func (c *Content) StatFS(context.Context) (volume.StatFS, error) {
	u, err := c.store.opts.FS.GetDiskUsage(c.store.opts.Dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		return volume.StatFS{}, volume.Errorf(volume.Unsupported, "statfs of chunk store %s: %w", c.store.opts.Dir, err)
	}
	if err != nil {
		return volume.StatFS{}, ioError(err, "statfs of chunk store "+c.store.opts.Dir)
	}
	free := uint64(0)
	if u.TotalBytes > u.UsedBytes {
		free = u.TotalBytes - u.UsedBytes
	}
	return volume.StatFS{
		BlockSize:  statBlock,
		Blocks:     u.TotalBytes / statBlock,
		BlocksFree: free / statBlock,
		Avail:      u.AvailBytes / statBlock,
	}, nil
}

// Seek finds the next data or hole by the extents. Allocated zeros are data: they are there for blocks
// that have nothing else.
func (c *Content) Seek(_ context.Context, attr *volume.Attr, off int64, hole bool, _ volume.View) (int64, error) {
	if off < 0 || off >= attr.Size {
		return 0, volume.NotSeekable
	}
	// Data that begins or ends within a block fills it, as in a real directory: holes are the same
	// on every node.
	at, found := off, false
	from := off / volume.HoleBlock * volume.HoleBlock
	err := c.extents.Extents(attr.Ino, from, attr.Size-from, func(e volume.Extent) bool {
		begin, end := e.Off/volume.HoleBlock*volume.HoleBlock, (e.Off+e.Len+volume.HoleBlock-1)/volume.HoleBlock*volume.HoleBlock
		if end <= off {
			return true
		}
		if !hole {
			at, found = max(begin, off), true
			return false
		}
		if begin > at { // a hole before it
			return false
		}
		at = max(at, end)
		return true
	})
	if err != nil {
		return 0, err
	}
	if hole {
		return min(at, attr.Size), nil // the end of the file is a hole, too
	}
	if !found {
		return 0, volume.NotSeekable
	}
	return at, nil
}

// isData reports whether an extent has content, other than allocated zeros.
func isData(e *volume.Extent) bool { return e.InLog || !e.Chunk.IsHole() }

func isChunk(e *volume.Extent) bool { return !e.InLog && !e.Chunk.IsHole() }
