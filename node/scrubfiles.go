package node

import (
	"context"
	"encoding/binary"
	"time"

	"wolfdisk/index"
	"wolfdisk/volume"
	"wolfdisk/wire"
)

const (
	// healBatch bounds the content that is held while the leader's version is awaited,
	// bytes.
	healBatch = 16 << 20
	// healTries is how often files are read again that were changed meanwhile.
	healTries = 3
)

// fileHealer replaces what is left in use of a chunk that nobody can give whole: the ranges
// of files that lie in it are read from the leader and put into new chunks.
//
// What the leader says cannot be held against the chunk's hash, since the rest of the chunk is
// lost. It is right all the same if the file did not change between this node's state
// and the leader's read: so the leader is asked, after the read, for a version that every
// handler which ran during it comes at or before; once this node has come that far, an inode
// that still has the version it had before the read was not changed by any op up to there.
type fileHealer struct {
	n      *node
	st     *storage
	leader *wire.Session
	id     volume.ChunkID
}

// heal replaces all that lies in the chunk.
func (h *fileHealer) heal(ctx context.Context) error {
	for range healTries {
		pieces, err := h.n.piecesOf(h.id, h.n.state.Get().ChunkSize)
		if err != nil {
			return err
		}
		if len(pieces) == 0 {
			return nil
		}
		for len(pieces) > 0 {
			size, k := int64(0), 0
			for k < len(pieces) && (k == 0 || size+pieces[k].x.Len <= healBatch) && k < volume.MaxContentItems {
				size += pieces[k].x.Len
				k++
			}
			if err := h.batch(ctx, pieces[:k]); err != nil {
				return err
			}
			pieces = pieces[k:]
		}
	}
	pieces, err := h.n.piecesOf(h.id, h.n.state.Get().ChunkSize)
	if err == nil && len(pieces) > 0 {
		err = volume.Errorf(volume.Busy, "inode %s did not stay as it was while it was read from the leader, or has ended: try again", pieces[0].ino)
	}
	return err
}

// batch replaces pieces whose files do not change meanwhile; the others are left.
func (h *fileHealer) batch(ctx context.Context, pieces []piece) error {
	before := make([]volume.Version, len(pieces))
	content := make([][]byte, len(pieces))
	for i, p := range pieces {
		a, err := h.st.engine.Inode(p.ino)
		if err != nil {
			continue // it has ended: 0 is no inode's version
		}
		content[i] = make([]byte, p.x.Len)
		if err := readFrom(ctx, h.leader, p.ino, content[i], p.x.Off); err != nil {
			if volume.KindOf(err) == volume.Missing { // on its way to ending here, too
				continue
			}
			return err
		}
		before[i] = a.Version
	}
	if err := h.await(ctx); err != nil {
		return err
	}
	var list []index.Replacement
	for i, p := range pieces {
		a, err := h.st.engine.Inode(p.ino)
		if err != nil || a.Version != before[i] {
			continue
		}
		id, _, err := h.st.chunks.Put(ctx, content[i])
		if err != nil {
			return err
		}
		defer h.st.chunks.Pin(id)()
		to := p.x
		to.Chunk = volume.ChunkRef{ID: id, Length: p.x.Len}
		list = append(list, index.Replacement{Ino: p.ino, Old: p.x, New: to})
	}
	if err := h.st.chunks.Sync(ctx); err != nil { // before an extent names them
		return err
	}
	_, err := h.st.engine.Replace(list)
	return err
}

// await waits until this node has all that the leader did before now.
func (h *fileHealer) await(ctx context.Context) error {
	b, err := askPeer(ctx, h.leader, volume.RequestBarrier, nil, 8)
	if err != nil {
		return err
	}
	if len(b) != 8 {
		return volume.Errorf(volume.BadFormat, "a barrier of %d bytes", len(b))
	}
	v := volume.Version(binary.BigEndian.Uint64(b))
	for end := time.Now().Add(askForCopy); h.st.engine.Position().Version < v; {
		if time.Now().After(end) {
			return volume.Errorf(volume.Unavailable, "this node is at version %d and has not reached the leader's %d in %v", h.st.engine.Position().Version, v, askForCopy)
		}
		select {
		case <-ctx.Done():
			return volume.Errorf(volume.Interrupted, "wait for version %d: %w", v, context.Cause(ctx))
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}
