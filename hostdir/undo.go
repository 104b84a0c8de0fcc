package hostdir

import (
	"context"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Undo implements volume.Backing. Names and attributes are put back as the index
// has them, and growth is cut off. Content that was overwritten and an inode whose
// life the op ended cannot come back: their intent stays in its slot, and the next
// start makes ops of them.
func (d *Dir) Undo(ctx context.Context, op *volume.Op, view volume.View) error {
	err := d.undo(op, view)
	return volume.Wrapf(err, "undo %s of %s", op.Kind, op.Ino)
}

func (d *Dir) undo(op *volume.Op, view volume.View) error {
	switch op.Kind {
	case volume.OpCreate:
		p, release, err := d.parentOf(op.Parent, op.Name, op.Ino, view)
		if err != nil {
			return err
		}
		defer release()
		d.forget(op.Ino)
		return unlinkAt(p.dir, p.name, op.Mode&volume.ModeType == volume.ModeDir)
	case volume.OpLink:
		return d.undoLink(op, view)
	case volume.OpUnlink, volume.OpRmdir:
		return d.undoRemove(op, view)
	case volume.OpRename:
		return d.undoRename(op, view)
	case volume.OpPublish:
		return d.undoPublish(op, view)
	case volume.OpSetAttr, volume.OpSetXattr, volume.OpRemoveXattr:
		return d.redress(op.Ino, view)
	case volume.OpWrite, volume.OpTruncate, volume.OpFallocate, volume.OpCopyChunks:
		return d.undoContent(op, view)
	case volume.OpEnd:
		return volume.Errorf(volume.Unsupported, "the content of an ended inode is gone")
	}
	return nil
}

func (d *Dir) undoLink(op *volume.Op, view volume.View) error {
	p, release, err := d.parentOf(op.Parent, op.Name, op.Ino, view)
	if err != nil {
		return err
	}
	defer release()
	attr, err := view.Inode(op.Ino)
	if err != nil {
		return err
	}
	if attr.Nlink == 0 {
		return renameAt(p.dir, p.name, d.staging, op.Ino.String())
	}
	return unlinkAt(p.dir, p.name, false)
}

// undoRemove brings a name back from staging or from another name of the inode.
func (d *Dir) undoRemove(op *volume.Op, view volume.View) error {
	p, release, err := d.parentOf(op.Parent, op.Name, op.Ino, view)
	if err != nil {
		return err
	}
	defer release()
	attr, err := view.Inode(op.Ino)
	if err != nil {
		return err
	}
	if attr.IsDir() {
		if err := again(func() error { return unix.Mkdirat(p.dir, p.name, d.bare(attr.Mode)) }); err != nil {
			return err
		}
		return d.adopt(p, &attr, view)
	}
	if attr.Nlink > 1 {
		o, put, err := d.object(op.Ino, &attr, view)
		if err != nil {
			return err
		}
		defer put()
		return d.sys.link(o.fd, p.dir, p.name)
	}
	return d.sys.renameNoReplace(d.staging, op.Ino.String(), p.dir, p.name)
}

// adopt dresses what was made anew under a name and notes which file it is.
func (d *Dir) adopt(p place, attr *volume.Attr, view volume.View) error {
	fd, err := d.openAt(p.dir, p.name, oPath)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := d.dressed(object{fd, true}, attr, view); err != nil {
		return err
	}
	st, err := fstat(fd)
	if err != nil {
		return err
	}
	key, err := d.keyOf(fd, &st)
	if err != nil {
		return err
	}
	rec := &record{ino: st.Ino, ctime: st.Ctime, size: st.Size, key: key}
	if st.typ() != attr.Type() {
		rec.flags |= flagStandIn
	}
	d.files.drop(attr.Ino)
	d.dirs.drop(attr.Ino)
	d.pending.put(attr.Ino, rec)
	d.dirty.mark(attr.Ino, attr.Ctime)
	return nil
}

func (d *Dir) undoRename(op *volume.Op, view volume.View) error {
	from, release, err := d.parentOf(op.Parent, op.Name, op.Ino, view)
	if err != nil {
		return err
	}
	defer release()
	to, release2, err := d.parentOf(op.NewParent, op.NewName, op.Ino, view)
	if err != nil {
		return err
	}
	defer release2()
	if op.Flags&volume.OpExchange != 0 {
		return d.exchange(from, to, op.Ino)
	}
	if op.Replaced == op.Ino {
		return again(func() error { return unix.Linkat(to.dir, to.name, from.dir, from.name, 0) })
	}
	if err := d.sys.renameNoReplace(to.dir, to.name, from.dir, from.name); err != nil {
		return err
	}
	return d.undoDisplaced(to, op, view)
}

// undoDisplaced brings back what a rename or publish displaced.
func (d *Dir) undoDisplaced(to place, op *volume.Op, view volume.View) error {
	if op.Replaced == 0 {
		return nil
	}
	u := &volume.Op{Kind: volume.OpUnlink, Ino: op.Replaced, Parent: op.NewParent, Name: to.name}
	if op.Kind == volume.OpPublish {
		u.Parent = op.Parent
	}
	return d.undoRemove(u, view)
}

func (d *Dir) undoPublish(op *volume.Op, view volume.View) error {
	to, release, err := d.parentOf(op.Parent, op.Name, op.Ino, view)
	if err != nil {
		return err
	}
	defer release()
	if err := d.sys.renameNoReplace(to.dir, to.name, d.staging, op.Ino.String()); err != nil {
		return err
	}
	if err := d.redress(op.Ino, view); err != nil {
		return err
	}
	return d.undoDisplaced(to, op, view)
}

// redress gives an inode the owner, mode and attributes that the index has.
func (d *Dir) redress(ino volume.Ino, view volume.View) error {
	attr, err := view.Inode(ino)
	if err != nil {
		return err
	}
	if attr.IsDir() && attr.Nlink == 0 {
		return nil
	}
	o, put, err := d.object(ino, &attr, view)
	if err != nil {
		return err
	}
	defer put()
	d.dirty.mark(ino, attr.Ctime)
	return d.dressed(o, &attr, view)
}

func (d *Dir) undoContent(op *volume.Op, view volume.View) error {
	attr, err := view.Inode(op.Ino)
	if err != nil {
		return err
	}
	e, err := d.file(op.Ino, true, view)
	if err != nil {
		return err
	}
	defer d.files.put(e)
	st, err := fstat(e.fd)
	if err != nil {
		return err
	}
	if st.Size > attr.Size {
		if err := again(func() error { return unix.Ftruncate(e.fd, attr.Size) }); err != nil {
			return err
		}
	}
	if op.Mask&volume.SetMode != 0 || op.Flags&volume.OpDropCaps != 0 {
		return d.dressed(object{e.fd, false}, &attr, view)
	}
	return nil
}
