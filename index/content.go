package index

import (
	"errors"
	"math"

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
		return t.cut(op.Ino, op.Size, size)
	case volume.OpFallocate:
		if op.Alloc&(volume.FallocPunchHole|volume.FallocZeroRange) == 0 {
			return nil
		}
		end := op.Offset + op.Length
		if op.Alloc&volume.FallocPunchHole != 0 && end > size {
			end = math.MaxInt64 / volume.HoleBlock * volume.HoleBlock // what goes beyond the end takes the whole of the last block
		}
		return t.punch(op.Ino, op.Offset, end, size, []span{{op.Offset, end}})
	case volume.OpCopyChunks:
		// All at once: a search for the second piece would not see what the first has
		// cut, since reads need not see this batch.
		off, length, _ := op.ContentRange()
		if err := t.punch(op.Ino, off, off+length, size, holesOf(op, size)); err != nil {
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

// cut ends a file of a size at off. The rest of the block there is not a hole, as in punch.
func (t *entering) cut(ino volume.Ino, off, size int64) error {
	begin, zeros := off/volume.HoleBlock*volume.HoleBlock, false
	if off < size && off > begin {
		var err error
		if zeros, err = t.emptied(ino, begin, off, size); err != nil {
			return err
		}
	}
	err := t.clear(ino, off, size, size)
	if err == nil && zeros {
		err = t.putZeros(ino, begin, off)
	}
	return err
}

// span is a range of a file, bytes.
type span struct{ off, end int64 }

// holesOf are the holes of a copy in a file of a size. Where data is next to one, the block between
// them is data anyway, and is left out.
func holesOf(op *volume.Op, size int64) (list []span) {
	data := func(i int) bool { return i >= 0 && i < len(op.Chunks) && !op.Chunks[i].IsHole() }
	end := op.Offset
	for i, c := range op.Chunks {
		h := span{end, end + c.Length}
		end = h.end
		if !c.IsHole() {
			continue
		}
		if data(i + 1) {
			h.end -= h.end % volume.HoleBlock
		}
		h.end = min(h.end, size)
		if data(i - 1) {
			h.off += min(-h.off&(volume.HoleBlock-1), max(0, h.end-h.off))
		}
		if h.off < h.end {
			list = append(list, h)
		}
	}
	return list
}

// punch clears [off, end), in which holes are made. As in a real directory they are whole blocks:
// what is punched of a part of a block becomes zeros, and a block that was data stays so.
func (t *entering) punch(ino volume.Ino, off, end, size int64, holes []span) error {
	var zeros []span
	for _, h := range holes {
		list, err := t.edges(ino, h, span{off, end}, size)
		if err != nil {
			return err
		}
		zeros = append(zeros, list...)
	}
	if err := t.clear(ino, off, end, size); err != nil {
		return err
	}
	for _, z := range zeros {
		if err := t.putZeros(ino, z.off, z.end); err != nil {
			return err
		}
	}
	return nil
}

// edges are the parts of a hole in blocks that it covers in part only, and from which nothing would be
// left outside of what is cleared.
func (t *entering) edges(ino volume.Ino, h, cleared span, size int64) (list []span, err error) {
	first, last := h.off/volume.HoleBlock*volume.HoleBlock, h.end/volume.HoleBlock*volume.HoleBlock
	blocks := make([]int64, 0, 2)
	if h.off > first {
		blocks = append(blocks, first)
	}
	if h.end > last && (last > first || h.off == first) {
		blocks = append(blocks, last)
	}
	for _, b := range blocks {
		if b >= size {
			continue
		}
		emptied, err := t.emptied(ino, b, cleared.off, cleared.end)
		if err != nil {
			return nil, err
		}
		if z := (span{max(h.off, b), min(h.end, b+volume.HoleBlock, size)}); emptied && z.off < z.end {
			list = append(list, z)
		}
	}
	return list, nil
}

// emptied reports whether the block around an offset has extents, all of them in [off, end).
func (t *entering) emptied(ino volume.Ino, at, off, end int64) (bool, error) {
	some, others := false, false
	at = at / volume.HoleBlock * volume.HoleBlock
	err := readExtents(t.r, ino, at, volume.HoleBlock, func(x volume.Extent) bool {
		some, others = true, x.Off < off || x.Off+x.Len > end
		return !others
	})
	return some && !others, err
}

// putZeros makes a range within a block, where there are no extents, zeros that are data.
func (t *entering) putZeros(ino volume.Ino, off, end int64) error {
	return t.putExtent(ino, volume.Extent{Off: off, Len: end - off})
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
