package hostdir

import (
	"context"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// NewIno gives out an inode ID for what is found.
type NewIno func() (volume.Ino, error)

// Describe emits the ops that bring the index to what the directory has at a
// difference which Check reported: content, owner, mode, attributes and times as they
// are found, a name that is gone, or one that has come. Not all may be done at once (what is
// in a new directory, a name that now leads to another file): the caller settles and
// checks again until Check is silent. Directory and index agree better after every
// op, so it may end anywhere. Nothing below is changed.
func (d *Dir) Describe(ctx context.Context, diff Difference, view volume.View, newIno NewIno, emit Emit) error {
	w := &description{ctx: ctx, newIno: newIno}
	w.inspection = inspection{d: d, view: view, emit: func(op *volume.Op) error { return w.send(op, emit) }}
	var err error
	switch diff.Kind {
	case DiffExtra:
		err = w.extra(diff)
	case DiffChanged:
		err = w.changed(diff)
	case DiffReplaced:
		err = w.replaced(diff)
	case DiffMissing, DiffType:
		err = w.removed(diff)
	default:
		err = volume.Errorf(volume.Invalid, "unknown kind")
	}
	return volume.Wrapf(err, "describe %s", diff)
}

type description struct {
	inspection
	ctx    context.Context
	newIno NewIno
	lower  []volume.LowerRecord // go with the next op
}

func (w *description) send(op *volume.Op, emit Emit) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	op.Caller.Front = volume.FrontReconcile
	if err := op.Validate(); err != nil {
		return err
	}
	if err := emit(op, w.lower); err != nil {
		return err
	}
	w.lower = nil
	w.d.markDirty(op)
	if op.Flags&volume.OpEnds != 0 {
		w.d.forget(op.Ino)
	}
	return nil
}

// extra gives the index a name that only the directory has.
func (w *description) extra(diff Difference) error {
	if ino, err := w.indexed(diff.Parent, diff.Name); err != nil || ino != 0 {
		return err
	}
	if _, ok, err := w.inode(diff.Parent); err != nil || !ok {
		return err
	}
	p, release, err := w.d.parentOf(diff.Parent, diff.Name, 0, w.view)
	if err != nil {
		return ignoreMissing(err)
	}
	defer release()
	fd, err := w.d.openAt(p.dir, p.name, oPath)
	if err != nil {
		return notThere(err)
	}
	defer unix.Close(fd)
	st, err := fstat(fd)
	if err != nil {
		return err
	}
	key, err := w.d.keyOf(fd, &st)
	if err != nil {
		return err
	}
	known, err := w.knownAs(key, &st)
	if err != nil {
		return err
	}
	switch {
	case known.Ino != 0:
		return w.moved(diff, p, &known, &st)
	}
	return w.create(diff, object{fd, true}, &st, key)
}

// moved emits a name that a known inode has got. Its ctime below tells of that name or
// of a change: what else differs is found here, for it counts as seen from now on.
func (w *description) moved(diff Difference, p place, known *volume.Attr, st *lowerStat) error {
	also, err := w.alsoChanged(sighting{known, p, st}, diff.Path)
	if err != nil {
		return err
	}
	if known.IsDir() {
		done, err := w.movedDir(diff, known.Ino)
		if err != nil || !done {
			return err
		}
	} else if err := w.emit(&volume.Op{Kind: volume.OpLink, Ino: known.Ino, Parent: diff.Parent, Name: diff.Name}); err != nil {
		return err
	}
	if also == nil {
		return nil
	}
	return w.changed(*also)
}

// sighting is an inode, a name that its file was found at, and how it is.
type sighting struct {
	attr *volume.Attr
	at   place
	st   *lowerStat
}

// alsoChanged is what differs in a known inode's file besides its name, nil if nothing does.
func (w *description) alsoChanged(s sighting, path string) (also *Difference, err error) {
	c := &checker{d: w.d, ctx: w.ctx, view: w.view, fn: func(d Difference) error {
		if d.Kind == DiffChanged && (d.Fields != 0 || d.Why != "") {
			also = &d
		}
		return nil
	}}
	return also, c.inode(Difference{Ino: s.attr.Ino, Path: path}, s.at, s.attr, s.st)
}

// knownAs is the inode with a name that a lower file is already; its Ino is 0 if there
// is none.
func (w *description) knownAs(key string, st *lowerStat) (volume.Attr, error) {
	ino, err := w.d.ownerOf(key, w.view)
	if err != nil || ino == 0 {
		return volume.Attr{}, err
	}
	attr, ok, err := w.inode(ino)
	if err != nil || !ok || attr.Nlink == 0 || attr.Type() != st.typ() {
		return volume.Attr{}, err
	}
	return attr, nil
}

// movedDir emits the rename of a directory that is found at a new name. If it lies, by
// the index, above its new place, something else has to move first.
func (w *description) movedDir(diff Difference, ino volume.Ino) (done bool, err error) {
	if below, err := w.isBelow(diff.Parent, ino); err != nil || below {
		return false, err
	}
	names, err := w.view.Names(ino)
	if err != nil || len(names) == 0 {
		return false, err
	}
	return true, w.emit(&volume.Op{Kind: volume.OpRename, Ino: ino, Parent: names[0].Parent, Name: names[0].Name, NewParent: diff.Parent, NewName: diff.Name})
}

// isBelow reports whether a directory is another or below it in the index, or leads nowhere.
func (w *description) isBelow(dir, above volume.Ino) (bool, error) {
	for depth := 0; dir != volume.RootIno; depth++ {
		names, err := w.view.Names(dir)
		if err != nil {
			return false, err
		}
		if dir == above || len(names) == 0 || depth > maxDepth {
			return true, nil
		}
		dir = names[0].Parent
	}
	return above == volume.RootIno, nil
}

// swapped emits the exchange of two names if what was found at the difference is the file of
// another inode, and that of this one is at a name of the other; and what else of the two has changed.
func (w *description) swapped(diff Difference, attr *volume.Attr, other sighting) (done bool, err error) {
	rec, err := w.d.recordOf(diff.Ino, w.view)
	if err != nil || rec == nil {
		return false, err
	}
	if below, err := w.isBelow(diff.Parent, other.attr.Ino); err != nil || below {
		return false, err
	}
	names, err := w.view.Names(other.attr.Ino)
	if err != nil {
		return false, err
	}
	for _, ref := range names {
		if below, err := w.isBelow(ref.Parent, diff.Ino); err != nil || below {
			return false, err
		}
		there, release, err := w.d.parentOf(ref.Parent, ref.Name, 0, w.view)
		if err != nil {
			if err = ignoreMissing(err); err != nil {
				return false, err
			}
			continue
		}
		st, err := statAt(there.dir, there.name)
		if err == nil && st.Ino == rec.ino && st.Dev == w.d.rootDev {
			err = w.exchange(diff, ref, sighting{attr, there, &st}, other)
			release()
			return true, err
		}
		release()
		if err = notThere(err); err != nil {
			return false, err
		}
	}
	return false, nil
}

// exchange emits that the name of a difference and another one were exchanged. What differs
// besides is looked for first, as when a file was moved.
func (w *description) exchange(diff Difference, ref volume.NameRef, own, other sighting) error {
	var also []*Difference
	for _, s := range []sighting{own, other} {
		d, err := w.alsoChanged(s, diff.Path)
		if err != nil {
			return err
		}
		if d != nil {
			also = append(also, d)
		}
	}
	err := w.emit(&volume.Op{Kind: volume.OpRename, Ino: diff.Ino, Parent: diff.Parent, Name: diff.Name,
		NewParent: ref.Parent, NewName: ref.Name, Replaced: other.attr.Ino, Flags: volume.OpExchange})
	if err != nil {
		return err
	}
	for _, d := range also {
		if err := w.changed(*d); err != nil {
			return err
		}
	}
	return nil
}

// create emits a new inode, and its content and times.
func (w *description) create(diff Difference, o object, st *lowerStat, key string) error {
	op := &volume.Op{Kind: volume.OpCreate, Parent: diff.Parent, Name: diff.Name, Mode: st.Mode, UID: st.UID, GID: st.GID}
	switch st.typ() {
	case volume.ModeLink:
		p, release, err := w.d.parentOf(diff.Parent, diff.Name, 0, w.view)
		if err != nil {
			return err
		}
		op.Target, err = readlinkAt(p.dir, p.name)
		release()
		if err != nil {
			return err
		}
	case volume.ModeBlock, volume.ModeChar:
		op.Rdev = st.Rdev
	}
	xattrs, err := w.d.lowerXattrs(o)
	if err != nil {
		return err
	}
	n := min(len(xattrs), volume.MaxOpXattrs)
	op.Xattrs = xattrs[:n]
	if op.Ino, err = w.newIno(); err != nil {
		return err
	}
	rec := &record{ino: st.Ino, ctime: st.Ctime, size: st.Size, key: key}
	w.lower = []volume.LowerRecord{rec.encode(op.Ino)}
	if err := w.emit(op); err != nil {
		return err
	}
	for _, x := range xattrs[n:] {
		if err := w.emit(&volume.Op{Kind: volume.OpSetXattr, Ino: op.Ino, Name: x.Name, Data: x.Value}); err != nil {
			return err
		}
	}
	if st.typ() == volume.ModeFile {
		if err := w.content(op.Ino); err != nil {
			return err
		}
	}
	return w.times(op.Ino, st)
}

// lowerXattrs are the attributes of a lower file, sorted.
func (d *Dir) lowerXattrs(o object) (out []volume.Xattr, err error) {
	names, err := d.sys.listXattr(o)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if ignoredXattr(name) {
			continue
		}
		v, err := d.sys.getXattr(o, name)
		if err == errNoXattr {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, volume.Xattr{Name: name, Value: v})
	}
	return out, nil
}

// content emits the whole of a file in place, so that what is equal stays readable
// everywhere if it ends half-way.
func (w *description) content(ino volume.Ino) error {
	e, err := w.d.file(ino, false, w.view)
	if err != nil {
		return err
	}
	defer w.d.files.put(e)
	st, err := fstat(e.fd)
	if err != nil {
		return err
	}
	attr, err := w.view.Inode(ino)
	if err != nil {
		return err
	}
	if st.Size < attr.Size {
		if err := w.emit(&volume.Op{Kind: volume.OpTruncate, Ino: ino, Size: st.Size}); err != nil {
			return err
		}
	}
	err = w.pieces(w.ctx, e.fd, 0, st.Size, func(kind volume.OpKind) *volume.Op { return &volume.Op{Kind: kind, Ino: ino} })
	if err != nil {
		return err
	}
	if attr, err = w.view.Inode(ino); err == nil && attr.Size != st.Size {
		err = w.emit(&volume.Op{Kind: volume.OpTruncate, Ino: ino, Size: st.Size})
	}
	return err
}

func (w *description) times(ino volume.Ino, st *lowerStat) error {
	return w.emit(&volume.Op{Kind: volume.OpSetAttr, Ino: ino, Mask: volume.SetAtime | volume.SetMtime, Atime: st.Atime, Mtime: st.Mtime})
}

// changed emits what an inode's file has become.
func (w *description) changed(diff Difference) error {
	attr, ok, err := w.inode(diff.Ino)
	if err != nil || !ok {
		return err
	}
	w.d.dirty.mark(diff.Ino, attr.Ctime) // so that opening it is no surprise
	if diff.Fields&(FieldTarget|FieldRdev) != 0 {
		return w.removed(diff) // it is another file
	}
	o, release, err := w.d.object(diff.Ino, &attr, w.view)
	if err != nil {
		return ignoreMissing(err)
	}
	defer release()
	st, err := fstat(o.fd)
	if err != nil {
		return err
	}
	if st.typ() != attr.Type() {
		return nil // a file in place of a device node
	}
	if err := w.attributes(diff, o, &attr, &st); err != nil {
		return err
	}
	if attr.IsFile() {
		if err := w.content(diff.Ino); err != nil {
			return err
		}
		if err := w.d.absolve(diff.Ino, w.view); err != nil {
			return err
		}
	}
	return w.times(diff.Ino, &st)
}

// DescribeTimes emits the times that a directory has below, if they are not those of the
// index: names that were recorded have changed these.
func (d *Dir) DescribeTimes(ctx context.Context, ino volume.Ino, view volume.View, emit Emit) error {
	w := &description{ctx: ctx}
	w.inspection = inspection{d: d, view: view, emit: func(op *volume.Op) error { return w.send(op, emit) }}
	attr, ok, err := w.inode(ino)
	if err != nil || !ok || !attr.IsDir() {
		return err
	}
	fd, release, err := d.bareDirFD(ino, view)
	if err != nil {
		return ignoreMissing(err)
	}
	defer release()
	st, err := fstat(fd)
	if err != nil || st.Mtime == attr.Mtime {
		return volume.Wrap(err, "stat directory "+ino.String())
	}
	return w.times(ino, &st)
}

// replaced takes the name from the old file, and the new one is described as such. A
// directory that was made anew stays the same inode, and only what is in it counts.
func (w *description) replaced(diff Difference) error {
	// What was described before may have moved it: the place is no longer its own.
	if diff.Ino != volume.RootIno {
		if ino, err := w.indexed(diff.Parent, diff.Name); err != nil || ino != diff.Ino {
			return err
		}
	}
	attr, ok, err := w.inode(diff.Ino)
	if err != nil || !ok {
		return err
	}
	p, release, err := w.d.parentOf(diff.Parent, diff.Name, 0, w.view)
	if err != nil {
		return ignoreMissing(err)
	}
	defer release()
	fd, err := w.d.openAt(p.dir, p.name, oPath)
	if err != nil {
		return notThere(err)
	}
	defer unix.Close(fd)
	st, err := fstat(fd)
	if err != nil {
		return err
	}
	key, err := w.d.keyOf(fd, &st)
	if err != nil {
		return err
	}
	known, err := w.knownAs(key, &st)
	if err != nil {
		return err
	}
	if known.Ino != 0 && known.Ino != diff.Ino {
		if done, err := w.swapped(diff, &attr, sighting{&known, p, &st}); err != nil || done {
			return err
		}
		return w.removed(diff)
	}
	if !attr.IsDir() {
		return w.removed(diff)
	}
	if st.typ() != volume.ModeDir {
		return nil // it has become another thing since
	}
	w.d.dirs.drop(diff.Ino)
	w.d.pending.put(diff.Ino, &record{ino: st.Ino, ctime: st.Ctime, size: st.Size, key: key})
	c := &checker{d: w.d, ctx: w.ctx, view: w.view}
	diff.Kind = DiffChanged
	if diff.Fields, err = c.fields(p, &attr, &st, 0, true); err != nil {
		return err
	}
	if err := w.attributes(diff, object{fd, true}, &attr, &st); err != nil {
		return err
	}
	return w.times(diff.Ino, &st)
}

// attributes emits owner, mode, and extended attributes where they differ. An ACL
// brings its mode.
func (w *description) attributes(diff Difference, o object, attr *volume.Attr, st *lowerStat) error {
	mode := st.Mode & volume.ModePerm
	op := &volume.Op{Kind: volume.OpSetAttr, Ino: attr.Ino}
	if diff.Fields&FieldOwner != 0 {
		op.Mask, op.UID, op.GID = volume.SetUID|volume.SetGID, st.UID, st.GID
	}
	if diff.Fields&FieldMode != 0 {
		op.Mask |= volume.SetMode
		op.Mode = mode
	}
	if op.Mask != 0 {
		if err := w.emit(op); err != nil {
			return err
		}
	}
	if diff.Fields&FieldXattrs == 0 {
		return nil
	}
	have, err := w.d.lowerXattrs(o)
	if err != nil {
		return err
	}
	want, err := w.view.Xattrs(attr.Ino)
	if err != nil {
		return err
	}
	gone := map[string]string{}
	for _, x := range want {
		if !ignoredXattr(x.Name) {
			gone[x.Name] = string(x.Value)
		}
	}
	change := func(kind volume.OpKind, name string, value []byte) error {
		op := &volume.Op{Kind: kind, Ino: attr.Ino, Name: name, Data: value}
		if name == volume.XattrACLAccess {
			op.Mask, op.Mode = volume.SetMode, mode
		}
		return w.emit(op)
	}
	for _, x := range have {
		old, ok := gone[x.Name]
		delete(gone, x.Name)
		if ok && old == string(x.Value) {
			continue
		}
		if err := change(volume.OpSetXattr, x.Name, x.Value); err != nil {
			return err
		}
	}
	for name := range gone {
		if err := change(volume.OpRemoveXattr, name, nil); err != nil {
			return err
		}
	}
	return nil
}

// removed takes a name from the index, with all that is below it.
func (w *description) removed(diff Difference) error {
	if ino, err := w.indexed(diff.Parent, diff.Name); err != nil || ino != diff.Ino || ino == 0 {
		return err
	}
	return w.remove(diff.Parent, diff.Name, diff.Ino, 0)
}

func (w *description) remove(parent volume.Ino, name string, ino volume.Ino, depth int) error {
	attr, err := w.view.Inode(ino)
	if err != nil {
		return err
	}
	if depth > maxDepth {
		return volume.Errorf(volume.Corrupt, "directory %s is not below the root in the index", ino)
	}
	op := &volume.Op{Kind: volume.OpUnlink, Ino: ino, Parent: parent, Name: name}
	if attr.IsDir() {
		op.Kind = volume.OpRmdir
		var entries []volume.DirEntry
		if err := w.view.Entries(ino, 0, func(e volume.DirEntry) bool { entries = append(entries, e); return true }); err != nil {
			return err
		}
		for _, e := range entries {
			if err := w.remove(ino, e.Name, e.Ino, depth+1); err != nil {
				return err
			}
		}
	}
	if op.Flags, err = w.ended(ino); err != nil {
		return err
	}
	return w.emit(op)
}
