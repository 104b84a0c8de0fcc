package hostdir

import (
	"context"

	"wolfdisk/volume"
)

// Apply implements volume.Backing.
func (d *Dir) Apply(ctx context.Context, op *volume.Op, view volume.View) (volume.Applied, error) {
	applied := volume.Applied{N: len(op.Data)}
	if d.closed.Load() {
		return applied, volume.Errorf(volume.Closed, "apply %s: the directory is closed", op.Kind)
	}
	// Before anything changes below, or who opens the file meanwhile takes that for somebody
	// else's change; content ops do so when they have opened it.
	var first firstMarks
	switch op.Kind {
	case volume.OpWrite, volume.OpTruncate, volume.OpFallocate, volume.OpCopyChunks, volume.OpEnd:
	default:
		first = d.markDirty(op)
	}
	var err error
	switch op.Kind {
	case volume.OpCreate:
		applied.Lower, err = d.applyCreate(op, view)
	case volume.OpLink:
		err = d.applyLink(op, first, view)
	case volume.OpUnlink, volume.OpRmdir:
		err = d.applyRemove(op, first, view)
	case volume.OpRename:
		err = d.applyRename(op, first, view)
	case volume.OpPublish:
		err = d.applyPublish(op, first, view)
	case volume.OpSetAttr:
		err = d.applySetAttr(op, first, view)
	case volume.OpWrite:
		applied.N, err = d.applyWrite(op, view)
	case volume.OpTruncate, volume.OpFallocate, volume.OpCopyChunks:
		err = d.applyContent(ctx, op, view)
	case volume.OpSetXattr, volume.OpRemoveXattr:
		err = d.applyXattr(op, first, view)
	case volume.OpEnd:
		err = d.applyEnd(op)
	case volume.OpReign, volume.OpMember:
		return applied, nil
	default:
		err = volume.Errorf(volume.Unsupported, "apply an op of unknown kind %d", uint8(op.Kind))
	}
	if op.Kind == volume.OpEnd {
		d.forget(op.Ino)
		return applied, err
	}
	d.markDirty(op)
	return applied, err
}

// firstMarks says of an op's inodes that they were as the index has them until now: the last
// moment to see that somebody else has changed them.
type firstMarks struct{ ino, replaced bool }

// markDirty notes the inodes whose times an op changes, also after a failure: what was
// undone has a new ctime below.
func (d *Dir) markDirty(op *volume.Op) (first firstMarks) {
	ends := op.Flags&volume.OpEnds != 0
	d.dirty.mark(op.Parent, op.Time)
	if removes := op.Kind == volume.OpUnlink || op.Kind == volume.OpRmdir; !removes || !ends {
		first.ino = d.dirty.mark(op.Ino, op.Time)
	}
	if op.Kind == volume.OpRename || op.Kind == volume.OpPublish {
		d.dirty.mark(op.NewParent, op.Time)
		if !ends {
			first.replaced = d.dirty.mark(op.Replaced, op.Time)
		}
	}
	return first
}

// forget drops all that is held of an inode whose life has ended.
func (d *Dir) forget(ino volume.Ino) {
	d.files.drop(ino)
	d.dirs.drop(ino)
	d.dirty.forget(ino)
	d.pending.forget(ino)
}
