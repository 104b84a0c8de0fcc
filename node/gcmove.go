package node

import (
	"context"
	"errors"
	"time"

	"wolfdisk/chunkstore"
	"wolfdisk/node/admin"
	"wolfdisk/volume"
)

const (
	// maxCandidates bounds the files that one collection puts together.
	maxCandidates = 4096
	// leastPieces and piecesPerMiB say when a file is scattered: it lies in more pieces than
	// the first, and in more than the second for each MiB of it.
	leastPieces  = 8
	piecesPerMiB = 4
)

// survey is what a look at all extents finds.
type survey struct {
	use     *chunkstore.Use
	stats   chunkstore.UseStats
	garbage int64        // bytes of packs that hold nothing in use
	files   []volume.Ino // that are scattered
	held    bool         // somebody reads an older state: moving would only add to it
}

// survey looks at all extents. It decides about nothing that removes anything.
func (n *node) survey(ctx context.Context, st *storage) (*survey, error) {
	v := &survey{use: st.chunks.NewUse()}
	s, err := st.engine.Snapshot()
	if err != nil {
		return nil, err
	}
	var f fragments
	err = s.EachExtent(func(ino volume.Ino, x volume.Extent) bool {
		addUse(v.use, &x)
		if ino != f.ino {
			v.note(&f)
			f = fragments{ino: ino}
		}
		f.add(&x)
		return ctx.Err() == nil
	})
	v.note(&f)
	if ctx.Err() != nil {
		err = errors.Join(err, volume.Errorf(volume.Interrupted, "look at all extents: %w", context.Cause(ctx)))
	}
	if err = errors.Join(err, s.Close()); err != nil {
		return nil, err
	}
	v.stats = v.use.Stats(sparsePart)
	v.garbage = st.chunks.FileBytes() - v.stats.Used
	v.held = n.holds.reading()
	return v, nil
}

func (v *survey) note(f *fragments) {
	if f.scattered() && len(v.files) < maxCandidates {
		v.files = append(v.files, f.ino)
	}
}

// fragments counts the pieces in which a file lies.
type fragments struct {
	ino    volume.Ino
	last   volume.Extent
	pieces int64
	bytes  int64
}

func (f *fragments) add(x *volume.Extent) {
	if !x.InLog && x.Chunk.IsHole() {
		return
	}
	if !f.goesOn(x) {
		f.pieces++
	}
	f.bytes += x.Len
	f.last = *x
}

// goesOn reports whether x is no piece of its own: it lies where the last one ends, or
// begins anew behind a hole.
func (f *fragments) goesOn(x *volume.Extent) bool {
	l := &f.last
	switch {
	case f.bytes == 0:
		return false
	case l.Off+l.Len != x.Off:
		return true
	case x.InLog || l.InLog:
		return false
	}
	return l.Chunk.ID == x.Chunk.ID && l.Chunk.Offset+l.Len == x.Chunk.Offset
}

func (f *fragments) scattered() bool {
	return f.pieces > leastPieces && f.pieces > piecesPerMiB*(f.bytes>>20+1)
}

// moveContent puts cold scattered files together, and empties chunks that are mostly unused.
func (n *node) moveContent(ctx context.Context, st *storage, look *survey, hurry bool, bound int64, res *admin.GCResult) error {
	content := chunkstore.NewContent(st.engine, st.log, st.chunks)
	emit := replacer(st.engine)
	for _, ino := range look.files {
		if bound > 0 && res.MovedBytes >= bound {
			return nil
		}
		cold, err := n.cold(st, ino)
		if err != nil {
			return err
		}
		if !cold {
			continue
		}
		s, err := content.CompactFile(ctx, ino, emit)
		if res.MovedBytes += s.Bytes; s.Replaced > 0 {
			res.Files++
		}
		if err != nil {
			return err
		}
	}
	if look.stats.Sparse == 0 || !hurry && look.stats.Sparse < st.chunks.FileBytes()/10 {
		return nil
	}
	snap, err := st.engine.Snapshot()
	if err != nil {
		return err
	}
	from := func(id volume.ChunkID) bool { return look.use.Sparse(id, sparsePart) }
	left := int64(0)
	if bound > 0 {
		left = max(bound-res.MovedBytes, 1)
	}
	s, err := content.Repack(ctx, snap.EachExtent, from, left, emit)
	res.MovedBytes += s.Bytes
	return errors.Join(err, snap.Close())
}

// cold reports whether a file has not been written for a while.
func (n *node) cold(st *storage, ino volume.Ino) (bool, error) {
	a, err := st.engine.Inode(ino)
	if errors.Is(err, volume.NotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return time.Since(time.Unix(a.Ctime.Sec, int64(a.Ctime.Nsec))) > n.cfg.Chunks.CompactAfter, nil
}
