package index

import (
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"wolfdisk/volume"
)

// maxExtentLen bounds an extent: a whole chunk, or the content of one op. So the
// extent that covers an offset is found by looking back this far at most.
const maxExtentLen = max(volume.MaxChunkSize, volume.MaxWrite)

// content enters an op that changes a file's content or size.
func (t *entering) content(op *volume.Op) error {
	n, err := t.inode(op.Ino)
	if err != nil {
		return err
	}
	if !n.IsFile() {
		return misfit("inode %s is not a regular file", n.Ino)
	}
	size := n.Size
	off, length, _ := op.ContentRange()
	switch op.Kind {
	case volume.OpTruncate:
		size = op.Size
	case volume.OpFallocate:
		if op.Alloc&volume.FallocKeepSize == 0 {
			size = max(size, off+length)
		}
	default:
		size = max(size, off+length)
	}
	if t.e.opt.Extents {
		if err := t.extents(op, n.Size); err != nil {
			return err
		}
	}
	if n.Nlink > 0 {
		t.m.bytes += uint64(size - n.Size)
	}
	n.Holes = size > 0 && (n.Holes || makesHole(op, n.Size))
	n.Size = size
	n.Mtime = op.Time
	touch(op, n)
	if err := t.voidObject(n); err != nil {
		return err
	}
	return t.sideEffects(op, n)
}

// voidObject removes the attributes that tell of the content as it was.
func (t *entering) voidObject(n *inode) error {
	if n.flags&fHasObject == 0 {
		return nil
	}
	n.flags &^= fHasObject
	return dropAll(t.r, t.b, keyInoName(kXattr, n.Ino, volume.XattrObject))
}

// makesHole reports whether an op leaves a hole in a file of a size.
func makesHole(op *volume.Op, size int64) bool {
	switch op.Kind {
	case volume.OpTruncate:
		return op.Size > size
	case volume.OpFallocate:
		return op.Alloc&(volume.FallocPunchHole|volume.FallocZeroRange) != 0
	case volume.OpCopyChunks:
		for _, c := range op.Chunks {
			if c.IsHole() {
				return true
			}
		}
	}
	off, _, _ := op.ContentRange()
	return off > size
}

// sideEffects clears what a change by somebody else clears.
func (t *entering) sideEffects(op *volume.Op, n *inode) error {
	if err := t.setMode(op, n); err != nil {
		return err
	}
	if op.Flags&volume.OpDropCaps != 0 && n.flags&fHasCaps != 0 {
		n.flags &^= fHasCaps
		return t.b.Delete(keyInoName(kXattr, n.Ino, volume.XattrCapability), nil)
	}
	return nil
}

// extents enters what the op does to the map of content; size is the file's before
// the op.
func (t *entering) extents(op *volume.Op, size int64) error {
	switch op.Kind {
	case volume.OpWrite:
		if len(op.Data) == 0 {
			return nil
		}
		if err := t.clear(op.Ino, op.Offset, op.Offset+int64(len(op.Data)), size); err != nil {
			return err
		}
		ref := t.frame
		ref.Offset = uint32(op.DataOff)
		return t.putExtent(op.Ino, volume.Extent{Off: op.Offset, Len: int64(len(op.Data)), InLog: true, Log: ref})
	case volume.OpTruncate:
		return t.clear(op.Ino, op.Size, size, size)
	case volume.OpFallocate:
		if op.Alloc&(volume.FallocPunchHole|volume.FallocZeroRange) == 0 {
			return nil
		}
		return t.clear(op.Ino, op.Offset, op.Offset+op.Length, size)
	case volume.OpCopyChunks:
		// All at once: a search for the second piece would not see what the first has
		// cut, since reads need not see this batch.
		off, length, _ := op.ContentRange()
		if err := t.clear(op.Ino, off, off+length, size); err != nil {
			return err
		}
		for _, c := range op.Chunks {
			if !c.IsHole() {
				if err := t.putExtent(op.Ino, volume.Extent{Off: off, Len: c.Length, Chunk: c}); err != nil {
					return err
				}
			}
			off += c.Length
		}
	}
	return nil
}

func (t *entering) putExtent(ino volume.Ino, x volume.Extent) error {
	return t.b.Set(keyInoNum(kExtent, ino, uint64(x.Off)), encodeExtent(x), nil)
}

// clear makes [off, end) a hole, cutting the extents that reach into it. There are
// none at or beyond size, which spares appends the search.
func (t *entering) clear(ino volume.Ino, off, end, size int64) (err error) {
	end = min(end, size)
	if off >= end {
		return nil
	}
	it, err := t.r.NewIter(&pebble.IterOptions{
		LowerBound: keyInoNum(kExtent, ino, uint64(max(0, off-maxExtentLen))),
		UpperBound: keyInoNum(kExtent, ino, uint64(end)),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	ok := it.SeekLT(keyInoNum(kExtent, ino, uint64(off)+1))
	if !ok {
		ok = it.First()
	}
	var put []volume.Extent
	for ; ok; ok = it.Next() {
		val, err := it.ValueAndErr()
		if err != nil {
			return err
		}
		x, err := decodeExtent(int64(beUint64(it.Key()[9:])), val)
		if err != nil {
			return err
		}
		if x.Off+x.Len <= off {
			continue
		}
		if x.Off < off {
			put = append(put, cutExtent(x, x.Off, off))
		} else if err := t.b.Delete(it.Key(), nil); err != nil {
			return err
		}
		if x.Off+x.Len > end {
			put = append(put, cutExtent(x, end, x.Off+x.Len))
		}
	}
	if err := it.Error(); err != nil {
		return err
	}
	for _, x := range put {
		if err := t.putExtent(ino, x); err != nil {
			return err
		}
	}
	return nil
}
