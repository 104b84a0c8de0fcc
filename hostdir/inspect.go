package hostdir

import (
	"context"
	"math"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Emit takes an op that brings the index to what the directory already is, with the
// records that go with it. The op is complete but for Version, Time and caller's
// identity; it is valid only during the call. The caller numbers, logs and enters it, and does
// not apply it.
type Emit func(op *volume.Op, lower []volume.LowerRecord) error

// Inspect looks at the objects of one intent and makes directory and index agree
// again. The index must stand at the end of the log. What was applied and
// cannot be taken back becomes ops: content as it is found, names moved and removed.
// What was not acknowledged and holds nothing is taken back below: a new file, an
// attribute. It may be repeated, if a crash comes between. After the last
// intent the caller runs Tidy, then ClearIntents.
func (d *Dir) Inspect(ctx context.Context, in Intent, view volume.View, emit Emit) error {
	i := &inspection{d, in, view, func(op *volume.Op) error {
		op.Caller.Front = volume.FrontReconcile
		if err := op.Validate(); err != nil {
			return err
		}
		d.markDirty(op)
		return emit(op, nil)
	}}
	var err error
	switch in.Kind {
	case volume.OpCreate:
		err = i.create()
	case volume.OpLink:
		err = i.link()
	case volume.OpUnlink, volume.OpRmdir:
		err = i.remove()
	case volume.OpRename:
		err = i.rename()
	case volume.OpPublish:
		err = i.publish()
	case volume.OpWrite, volume.OpTruncate, volume.OpFallocate, volume.OpCopyChunks:
		err = i.content(ctx)
	case volume.OpSetAttr, volume.OpSetXattr, volume.OpRemoveXattr:
		if err = d.redress(in.Ino, view); volume.KindOf(err) == volume.NotFound || volume.KindOf(err) == volume.Missing {
			err = nil
		}
	case volume.OpEnd:
		err = i.end()
	}
	return volume.Wrap(err, "inspect an interrupted "+in.Kind.String()+" of "+in.Ino.String())
}

type inspection struct {
	d    *Dir
	in   Intent
	view volume.View
	emit func(*volume.Op) error
}

// place opens the directory of a name of the intent; ok is false if the index or the
// directory has it no more, so that nothing is left to agree upon.
func (i *inspection) place(parent volume.Ino, name string) (p place, release func(), ok bool, err error) {
	p, release, err = i.d.parentOf(parent, name, i.in.Ino, i.view)
	switch volume.KindOf(err) {
	case volume.NotFound, volume.Missing, volume.NotPermitted:
		if err != nil {
			return place{}, nil, false, nil
		}
	}
	return p, release, err == nil, err
}

// indexed is the inode that the index has at a name, 0 if none.
func (i *inspection) indexed(parent volume.Ino, name string) (volume.Ino, error) {
	e, err := i.view.Entry(parent, name)
	if err != nil && volume.KindOf(err) == volume.NotFound {
		return 0, nil
	}
	return e.Ino, err
}

// inode is the index's inode; ok is false if it has none.
func (i *inspection) inode(ino volume.Ino) (attr volume.Attr, ok bool, err error) {
	return inodeOf(i.view, ino)
}

func inodeOf(view volume.View, ino volume.Ino) (attr volume.Attr, ok bool, err error) {
	attr, err = view.Inode(ino)
	if err != nil && volume.KindOf(err) == volume.NotFound {
		return attr, false, nil
	}
	return attr, err == nil, err
}

func (d *Dir) isStaged(ino volume.Ino) (bool, error) {
	_, err := statAt(d.staging, ino.String())
	if err == unix.ENOENT {
		return false, nil
	}
	return err == nil, err
}

// create takes back a creation that is not in the index: nobody was told of it.
func (i *inspection) create() error {
	if _, ok, err := i.inode(i.in.Ino); err != nil {
		return err
	} else if ok {
		return i.d.relearn(i.in.Ino, i.view)
	}
	p, release, ok, err := i.place(i.in.Parent, i.in.Name)
	if err != nil || !ok {
		return err
	}
	defer release()
	if i.in.Parent != 0 {
		if ino, err := i.indexed(i.in.Parent, i.in.Name); err != nil || ino != 0 {
			return err
		}
	}
	st, err := statAt(p.dir, p.name)
	if err != nil {
		return notThere(err)
	}
	if st.typ() != i.in.Mode&volume.ModeType || st.typ() == volume.ModeFile && st.Size > 0 {
		return i.d.aside(p)
	}
	err = unlinkAt(p.dir, p.name, st.typ() == volume.ModeDir)
	if err == unix.ENOTEMPTY {
		return i.d.aside(p)
	}
	return notThere(err)
}

func notThere(err error) error {
	if err == unix.ENOENT {
		return nil
	}
	return err
}

func (i *inspection) link() error {
	p, release, ok, err := i.place(i.in.Parent, i.in.Name)
	if err != nil || !ok {
		return err
	}
	defer release()
	if ino, err := i.indexed(i.in.Parent, i.in.Name); err != nil || ino != 0 {
		return err
	}
	if _, ok, err := i.inode(i.in.Ino); err != nil || !ok {
		return err
	}
	if w, err := i.d.look(p, i.in.Ino, i.view); err != nil || w != ours {
		return err
	}
	return i.emit(&volume.Op{Kind: volume.OpLink, Ino: i.in.Ino, Parent: i.in.Parent, Name: i.in.Name})
}

func (i *inspection) remove() error {
	p, release, ok, err := i.place(i.in.Parent, i.in.Name)
	if err != nil || !ok {
		return err
	}
	defer release()
	if ino, err := i.indexed(i.in.Parent, i.in.Name); err != nil || ino != i.in.Ino {
		return err
	}
	if w, err := i.d.look(p, i.in.Ino, i.view); err != nil || w != gone {
		return err
	}
	flags, err := i.ended(i.in.Ino)
	if err != nil {
		return err
	}
	return i.emit(&volume.Op{Kind: i.in.Kind, Ino: i.in.Ino, Parent: i.in.Parent, Name: i.in.Name, Flags: flags})
}

// ended says with what flag an inode loses a name below: OpEnds if nothing of it is left.
func (i *inspection) ended(ino volume.Ino) (uint32, error) {
	attr, ok, err := i.inode(ino)
	if err != nil || !ok {
		return 0, err
	}
	if attr.IsDir() {
		return volume.OpEnds, nil
	}
	if attr.Nlink > 1 {
		return 0, nil
	}
	staged, err := i.d.isStaged(ino)
	if err != nil || staged {
		return 0, err
	}
	return volume.OpEnds, nil
}

func (i *inspection) rename() error {
	from, release, ok, err := i.place(i.in.Parent, i.in.Name)
	if err != nil || !ok {
		return err
	}
	defer release()
	to, release2, ok, err := i.place(i.in.NewParent, i.in.NewName)
	if err != nil || !ok {
		return err
	}
	defer release2()
	if ino, err := i.indexed(i.in.Parent, i.in.Name); err != nil || ino != i.in.Ino {
		return err
	}
	if err := i.finishSwap(from, to); err != nil {
		return err
	}
	op := &volume.Op{Kind: volume.OpRename, Ino: i.in.Ino, Parent: i.in.Parent, Name: i.in.Name,
		NewParent: i.in.NewParent, NewName: i.in.NewName, Replaced: i.in.Replaced}
	w, err := i.d.look(from, i.in.Ino, i.view)
	if err != nil {
		return err
	}
	if w == ours {
		return i.putBack(to)
	}
	if there, err := i.d.look(to, i.in.Ino, i.view); err != nil || there != ours {
		return err
	}
	if i.in.Flags&volume.OpExchange != 0 {
		op.Flags = volume.OpExchange
	} else if i.in.Replaced != 0 && i.in.Replaced != i.in.Ino {
		if op.Flags, err = i.ended(i.in.Replaced); err != nil {
			return err
		}
	}
	return i.emit(op)
}

// finishSwap ends an exchange that was made in steps: back after the first, forward
// after the second.
func (i *inspection) finishSwap(a, b place) error {
	tmp := place{i.d.staging, "swap-" + i.in.Ino.String()}
	if _, err := statAt(tmp.dir, tmp.name); err != nil {
		return notThere(err)
	}
	target := b
	if w, err := i.d.look(b, i.in.Ino, i.view); err != nil {
		return err
	} else if w == ours {
		target = a
	}
	return i.d.sys.renameNoReplace(tmp.dir, tmp.name, target.dir, target.name)
}

// putBack restores what a rename that did not happen had already moved to staging.
func (i *inspection) putBack(to place) error {
	if i.in.Replaced == 0 || i.in.Flags&volume.OpExchange != 0 {
		return nil
	}
	staged, err := i.d.isStaged(i.in.Replaced)
	if err == nil && staged {
		i.d.unstage(to, i.in.Replaced)
	}
	return err
}

func (i *inspection) publish() error {
	attr, ok, err := i.inode(i.in.Ino)
	if err != nil || !ok || attr.Nlink > 0 {
		return err
	}
	to, release, ok, err := i.place(i.in.Parent, i.in.Name)
	if err != nil || !ok {
		return err
	}
	defer release()
	staged, err := i.d.isStaged(i.in.Ino)
	if err != nil {
		return err
	}
	if staged {
		if err := i.d.redress(i.in.Ino, i.view); err != nil {
			return err
		}
		return i.putBack(to)
	}
	if w, err := i.d.look(to, i.in.Ino, i.view); err != nil || w != ours {
		return err
	}
	op := &volume.Op{Kind: volume.OpPublish, Ino: i.in.Ino, Parent: i.in.Parent, Name: i.in.Name, Replaced: i.in.Replaced,
		Mask: i.in.Mask, Mode: i.in.Mode, Flags: i.in.Flags &^ volume.OpEnds}
	if i.in.Replaced != 0 {
		ended, err := i.ended(i.in.Replaced)
		if err != nil {
			return err
		}
		op.Flags |= ended
	}
	if op.Xattrs, err = i.published(to); err != nil {
		return err
	}
	return i.emit(op)
}

// published reads the attributes that a publish set, which were on the file before it
// took its name: those that differ from the index.
func (i *inspection) published(to place) ([]volume.Xattr, error) {
	fd, err := i.d.openAt(to.dir, to.name, oPath)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	o := object{fd, true}
	known, err := i.view.Xattrs(i.in.Ino)
	if err != nil {
		return nil, err
	}
	have := map[string]string{}
	for _, x := range known {
		have[x.Name] = string(x.Value)
	}
	names, err := i.d.sys.listXattr(o)
	if err != nil {
		return nil, err
	}
	var out []volume.Xattr
	for _, name := range names {
		v, err := i.d.sys.getXattr(o, name)
		if err != nil {
			return nil, err
		}
		if old, ok := have[name]; (!ok || old != string(v)) && !ignoredXattr(name) && len(out) < volume.MaxOpXattrs {
			out = append(out, volume.Xattr{Name: name, Value: v})
		}
	}
	return out, nil
}

func (i *inspection) end() error {
	attr, ok, err := i.inode(i.in.Ino)
	if err != nil || !ok || attr.Nlink > 0 {
		return err
	}
	if staged, err := i.d.isStaged(i.in.Ino); err != nil || staged {
		return err
	}
	return i.emit(&volume.Op{Kind: volume.OpEnd, Ino: i.in.Ino})
}

// content reads the range again and proposes what is there.
func (i *inspection) content(ctx context.Context) error {
	attr, ok, err := i.inode(i.in.Ino)
	if err != nil || !ok || !attr.IsFile() {
		return err
	}
	e, err := i.d.file(i.in.Ino, false, i.view)
	if volume.KindOf(err) == volume.Missing {
		return nil
	}
	if err != nil {
		return err
	}
	defer i.d.files.put(e)
	st, err := fstat(e.fd)
	if err != nil {
		return err
	}
	// The first op carries the cleared mode, which may not have come below.
	base := volume.Op{Ino: i.in.Ino, Mask: i.in.Mask & volume.SetMode, Flags: i.in.Flags & volume.OpDropCaps}
	if base.Mask != 0 {
		base.Mode = i.in.Mode
	}
	if base.Mask != 0 || base.Flags != 0 {
		if err := i.d.clearPrivileges(e, &base); err != nil {
			return err
		}
	}
	next := func(kind volume.OpKind) *volume.Op {
		op := base
		op.Kind = kind
		return &op
	}
	if st.Size != attr.Size {
		op := next(volume.OpTruncate)
		op.Size = st.Size
		if err := i.emit(op); err != nil {
			return err
		}
	}
	if i.in.Kind == volume.OpTruncate {
		return nil
	}
	return i.pieces(ctx, e.fd, i.in.Offset, min(i.in.Offset+i.in.Length, st.Size), next)
}

// pieces emits the content of a range: data as writes, holes as holes.
func (i *inspection) pieces(ctx context.Context, fd int, off, end int64, next func(volume.OpKind) *volume.Op) error {
	buf := make([]byte, min(volume.MaxWrite, max(end-off, 0)))
	for off < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		data, err := unix.Seek(fd, off, seekData)
		if err == unix.ENXIO {
			data = math.MaxInt64
		} else if err != nil {
			data = off // no holes on this file system
		}
		if data > off {
			op := next(volume.OpFallocate)
			op.Alloc = volume.FallocPunchHole | volume.FallocKeepSize
			op.Offset, op.Length = wholeHole(fd, off, min(data, end), data)
			if err := i.emit(op); err != nil {
				return err
			}
			off = min(data, end)
			continue
		}
		hole, err := unix.Seek(fd, off, seekHole)
		if err != nil {
			hole = end
		}
		n, err := preadFull(fd, buf[:min(int64(len(buf)), min(hole, end)-off)], off)
		if err != nil {
			return err
		}
		if n == 0 {
			return volume.Errorf(volume.IO, "the file became shorter while it was read")
		}
		op := next(volume.OpWrite)
		op.Offset, op.Data = off, buf[:n]
		if err := i.emit(op); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// wholeHole is the range of a hole [off, end) behind which there is data at next, in whole blocks as far
// as they are holes: of what is punched in part, nodes keep the block.
func wholeHole(fd int, off, end, next int64) (begin, length int64) {
	begin = off / volume.HoleBlock * volume.HoleBlock
	if data, err := unix.Seek(fd, begin, seekData); err != unix.ENXIO && (err != nil || data < next) {
		begin = off
	}
	end += min(-end&(volume.HoleBlock-1), next-end)
	return begin, end - begin
}
