package hostdir

import (
	"context"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// applyWrite writes content: one pwrite on a descriptor that is already open. It
// returns how much was taken; less than all is no error.
func (d *Dir) applyWrite(op *volume.Op, view volume.View) (int, error) {
	e, err := d.file(op.Ino, true, view)
	if err != nil {
		return 0, err
	}
	defer d.files.put(e)
	d.dirty.mark(op.Ino, op.Time)
	n, err := pwriteFull(e.fd, op.Data, op.Offset)
	if err != nil && n == 0 {
		return 0, volume.Wrapf(err, "write %d bytes at %d of %s", len(op.Data), op.Offset, op.Ino)
	}
	if op.Mask&volume.SetMode != 0 || op.Flags&volume.OpDropCaps != 0 {
		// The content is in: an error now would deny it, so what cannot be
		// cleared below is reported.
		if err := d.clearPrivileges(e, op); err != nil {
			d.log.Error().Err(err).Stringer("ino", op.Ino).Msg("mode or capabilities could not be cleared after a write")
		}
	}
	return n, nil
}

// clearPrivileges clears setuid, setgid and capabilities as the op says.
func (d *Dir) clearPrivileges(e *openFD, op *volume.Op) error {
	o := object{e.fd, false}
	if op.Flags&volume.OpDropCaps != 0 {
		if err := d.removeXattr(o, op.Ino, volume.XattrCapability); err != nil {
			return err
		}
	}
	if op.Mask&volume.SetMode != 0 {
		return d.setMode(o, op.Ino, op.Mode)
	}
	return nil
}

// applyContent applies the other ops that change content.
func (d *Dir) applyContent(ctx context.Context, op *volume.Op, view volume.View) error {
	e, err := d.file(op.Ino, true, view)
	if err != nil {
		return err
	}
	defer d.files.put(e)
	d.dirty.mark(op.Ino, op.Time)
	attr, err := view.Inode(op.Ino)
	if err != nil {
		return volume.Wrap(err, op.Kind.String()+" "+op.Ino.String())
	}
	switch op.Kind {
	case volume.OpTruncate:
		err = again(func() error { return unix.Ftruncate(e.fd, op.Size) })
	case volume.OpFallocate:
		allocate := d.fallocate
		if op.Version != 0 {
			allocate = d.fallocateRecorded
		}
		err = allocate(e.fd, op.Alloc, op.Offset, op.Length, attr.Size)
	case volume.OpCopyChunks:
		err = d.copyChunks(ctx, e.fd, op, attr.Size)
	}
	cut := false
	if err == nil {
		cut = op.Kind == volume.OpTruncate && op.Size < attr.Size
		err = d.clearPrivileges(e, op)
	}
	if err == nil {
		return nil
	}
	d.shrinkBack(e.fd, op.Ino, attr.Size)
	if cut || op.Kind == volume.OpFallocate && op.Alloc&(volume.FallocPunchHole|volume.FallocZeroRange) != 0 {
		// Something may have happened inside the file that the index does not have: it is read again.
		d.foreign(op.Ino, "a "+op.Kind.String()+" failed half-way")
	}
	return volume.Wrap(err, op.Kind.String()+" of "+op.Ino.String())
}

// shrinkBack takes back what a failed op added at the end of a file.
func (d *Dir) shrinkBack(fd int, ino volume.Ino, size int64) {
	st, err := fstat(fd)
	if err == nil && st.Size != size {
		err = again(func() error { return unix.Ftruncate(fd, size) })
	}
	if err != nil {
		d.log.Error().Err(err).Stringer("ino", ino).Msg("the size of a file could not be put back")
	}
}

// fallocate does what the lower file system can do itself, and the rest by hand. size
// is the file's size in the index.
func (d *Dir) fallocate(fd int, mode uint32, off, length, size int64) error {
	err := d.sys.fallocate(fd, mode, off, length)
	if err != unix.EOPNOTSUPP && err != unix.ENOSYS {
		return err
	}
	return d.withoutRoom(fd, mode, off, length, size)
}

// fallocateRecorded is fallocate for an op that was recorded before: the file has to become here what
// it is everywhere, also where the disk is smaller than that of who made the op. Where there is no room, none is
// set aside; the writes that need it say NoSpace.
func (d *Dir) fallocateRecorded(fd int, mode uint32, off, length, size int64) error {
	if mode&volume.FallocPunchHole != 0 {
		return d.fallocate(fd, mode, off, length, size)
	}
	// Asked before: ext4 fills the disk first, and then says that it is full.
	st, err := statFS(fd)
	if err != nil {
		return err
	}
	if uint64(length) > st.Avail*uint64(st.BlockSize) {
		return d.withoutRoom(fd, mode, off, length, size)
	}
	return d.fallocateIfRoom(fd, mode, off, length, size)
}

// fallocateIfRoom is fallocate, without setting room aside if there is too little.
func (d *Dir) fallocateIfRoom(fd int, mode uint32, off, length, size int64) error {
	err := d.fallocate(fd, mode, off, length, size)
	if k := volume.KindOf(err); err == nil || k != volume.NoSpace && k != volume.Quota {
		return err
	}
	// What it got behind the end until then is given back.
	if err := again(func() error { return unix.Ftruncate(fd, size) }); err != nil {
		return err
	}
	return d.withoutRoom(fd, mode, off, length, size)
}

// withoutRoom is what a fallocate does to content and size.
func (d *Dir) withoutRoom(fd int, mode uint32, off, length, size int64) error {
	end := off + length
	if mode&(volume.FallocPunchHole|volume.FallocZeroRange) != 0 && off < size {
		if err := d.zero(fd, off, min(end, size)-off); err != nil {
			return err
		}
	}
	if mode&volume.FallocKeepSize == 0 && end > size {
		return again(func() error { return unix.Ftruncate(fd, end) })
	}
	return nil // space that is promised cannot be reserved here: a write may say NoSpace
}

// zero makes a range inside a file read as zeros, with a hole where that is possible.
func (d *Dir) zero(fd int, off, length int64) error {
	err := d.sys.fallocate(fd, volume.FallocPunchHole|volume.FallocKeepSize, off, length)
	if err != unix.EOPNOTSUPP && err != unix.ENOSYS {
		return err
	}
	zeros := make([]byte, min(length, 1<<20))
	for length > 0 {
		n := min(length, int64(len(zeros)))
		if _, err := pwriteFull(fd, zeros[:n], off); err != nil {
			return err
		}
		off, length = off+n, length-n
	}
	return nil
}

// copyChunks writes pieces of chunks one after the other. A failure in between leaves
// content that the index does not have: it is reported as foreign, to be read again.
func (d *Dir) copyChunks(ctx context.Context, fd int, op *volume.Op, size int64) error {
	off := op.Offset
	for i, c := range op.Chunks {
		if err := d.copyChunk(ctx, fd, c, off, size); err != nil {
			if i > 0 {
				d.foreign(op.Ino, "a copy of chunks failed half-way")
			}
			return err
		}
		off += c.Length
	}
	if off > size {
		st, err := fstat(fd)
		if err != nil {
			return err
		}
		if st.Size < off { // it ends in a hole
			return again(func() error { return unix.Ftruncate(fd, off) })
		}
	}
	return nil
}

func (d *Dir) copyChunk(ctx context.Context, fd int, c volume.ChunkRef, off, size int64) error {
	if c.IsHole() {
		if off >= size {
			return nil
		}
		return d.zero(fd, off, min(c.Length, size-off))
	}
	if d.opt.Chunks == nil {
		return volume.Errorf(volume.Missing, "chunk %s: this directory has no source of chunks", c.ID)
	}
	content, err := d.opt.Chunks(ctx, c.ID)
	if err != nil {
		return volume.Wrap(err, "get chunk "+c.ID.String())
	}
	if c.Offset+c.Length > int64(len(content)) {
		return volume.Errorf(volume.Corrupt, "chunk %s has %d bytes, the op wants %d from %d", c.ID, len(content), c.Length, c.Offset)
	}
	_, err = pwriteFull(fd, content[c.Offset:c.Offset+c.Length], off)
	return err
}
