package hostdir

import (
	"iter"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// place puts every touched inode at its names, directories before what is in them.
func (r *redo) place() error {
	for _, ino := range r.sorted() {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if err := r.placeInode(ino, 0); err != nil {
			return volume.Wrap(err, "place inode "+ino.String())
		}
	}
	return nil
}

func (r *redo) placeInode(ino volume.Ino, depth int) error {
	if _, touched := r.t.Inodes[ino]; !touched || r.placed[ino] || ino == volume.RootIno {
		return nil
	}
	if depth > maxDepth {
		return volume.Errorf(volume.Corrupt, "directory %s is not below the root in the index", ino)
	}
	r.placed[ino] = true
	attr, ok, err := r.inode(ino)
	if err != nil || !ok {
		return err
	}
	names, err := r.view.Names(ino)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return r.placeNameless(&attr)
	}
	var missing []volume.NameRef
	var have *volume.NameRef
	for _, ref := range names {
		if err := r.placeInode(ref.Parent, depth+1); err != nil {
			return err
		}
		there, taken, err := r.isThere(&attr, ref)
		switch {
		case err != nil:
			return err
		case there:
			have = &ref
		case !taken:
			missing = append(missing, ref)
		}
	}
	for _, ref := range missing {
		if err := r.put(&attr, ref, have); err != nil {
			return volume.Wrapf(err, "%q in %s", ref.Name, ref.Parent)
		}
		if !r.lost[ino] {
			have = &ref
		}
	}
	return nil
}

// isThere reports whether a name leads to the inode already, or is taken by what must
// be left alone.
func (r *redo) isThere(attr *volume.Attr, ref volume.NameRef) (there, taken bool, err error) {
	dir, ok, err := r.locate(ref.Parent, 0)
	if err != nil {
		return false, false, err
	}
	if !ok {
		r.miss(attr, ref, "its directory is gone")
		return false, true, nil
	}
	defer unix.Close(dir)
	p := place{dir, ref.Name}
	is, st, key, err := r.who(p)
	if err != nil {
		return false, false, notThere(err)
	}
	if is == attr.Ino {
		return true, true, nil
	}
	if is == 0 && fits(attr, &st) {
		free, err := r.unrecorded(attr.Ino)
		if err != nil {
			return false, false, err
		}
		if free {
			r.isNow(attr.Ino, &st, key)
			return true, true, nil
		}
	}
	if _, touched := r.t.Names[ref]; touched && is != 0 {
		return false, false, r.displace(p, ref, is, &st)
	} else if touched {
		return false, false, r.keep(p, ref, &st)
	}
	// No op touched this name since the checkpoint, so it was durable: what is there
	// was put there by somebody.
	r.edited[attr.Ino] = true
	r.report(Difference{Kind: DiffReplaced, Path: r.path(ref), Parent: ref.Parent, Name: ref.Name, Ino: attr.Ino, Lower: st.attr(),
		LowerIno: st.Ino, Why: "replaced behind the daemon"})
	return false, true, nil
}

// miss notes an inode whose content is nowhere.
func (r *redo) miss(attr *volume.Attr, ref volume.NameRef, why string) {
	r.lost[attr.Ino] = true
	r.report(Difference{Kind: DiffMissing, Path: r.path(ref), Parent: ref.Parent, Name: ref.Name, Ino: attr.Ino, Why: why})
}

// put brings the inode to a name that is free below.
func (r *redo) put(attr *volume.Attr, ref volume.NameRef, have *volume.NameRef) error {
	dir, ok, err := r.locate(ref.Parent, 0)
	if err != nil {
		return err
	}
	if !ok {
		r.miss(attr, ref, "its directory is gone")
		return nil
	}
	defer unix.Close(dir)
	p := place{dir, ref.Name}
	if have == nil {
		err := r.d.sys.renameNoReplace(r.d.staging, attr.Ino.String(), p.dir, p.name)
		if err != unix.ENOENT {
			return err
		}
	} else if done, err := r.linkFrom(*have, p); err != nil || done {
		return err
	}
	if !attr.IsDir() {
		if done, err := r.linkByHandle(attr, p); err != nil || done {
			return err
		}
	}
	if attr.IsFile() && !r.t.Inodes[attr.Ino] {
		r.miss(attr, ref, "its file is gone")
		return nil
	}
	return r.makeAnew(attr, p)
}

func (r *redo) linkFrom(ref volume.NameRef, p place) (bool, error) {
	dir, ok, err := r.locate(ref.Parent, 0)
	if err != nil || !ok {
		return false, err
	}
	defer unix.Close(dir)
	err = again(func() error { return unix.Linkat(dir, ref.Name, p.dir, p.name, 0) })
	return err == nil, notThere(err)
}

func (r *redo) linkByHandle(attr *volume.Attr, p place) (bool, error) {
	rec, err := r.d.recordOf(attr.Ino, r.view)
	if err != nil {
		return false, err
	}
	fd, ok, err := r.d.openRecorded(rec, oPath)
	if err != nil || !ok {
		return false, err
	}
	defer unix.Close(fd)
	err = r.d.sys.link(fd, p.dir, p.name)
	return err == nil, notThere(err) // without a name left it cannot get one
}

// makeAnew makes an inode whose creation was lost, empty; the next steps fill it.
func (r *redo) makeAnew(attr *volume.Attr, p place) error {
	op := &volume.Op{Kind: volume.OpCreate, Ino: attr.Ino, Mode: attr.Mode, UID: attr.UID, GID: attr.GID, Rdev: attr.Rdev}
	if attr.Type() == volume.ModeLink {
		var err error
		if op.Target, err = r.view.Target(attr.Ino); err != nil {
			return err
		}
	}
	r.d.files.drop(attr.Ino)
	r.d.dirs.drop(attr.Ino)
	rec, err := r.d.make(p, op)
	if err != nil {
		return err
	}
	r.keys[rec.key] = attr.Ino
	r.d.pending.put(attr.Ino, rec)
	return nil
}

// placeNameless puts an inode that lives without a name into staging.
func (r *redo) placeNameless(attr *volume.Attr) error {
	if attr.IsDir() {
		return nil
	}
	p := place{r.d.staging, attr.Ino.String()}
	_, st, key, err := r.who(p)
	if err == nil {
		r.isNow(attr.Ino, &st, key) // its name says who it is
		return nil
	}
	if err != unix.ENOENT {
		return err
	}
	if done, err := r.linkByHandle(attr, p); err != nil || done {
		return err
	}
	if attr.IsFile() && !r.t.Inodes[attr.Ino] {
		r.miss(attr, volume.NameRef{Name: p.name}, "it has no name, and its file is gone")
		return nil
	}
	return r.makeAnew(attr, p)
}

// skip reports whether an inode's content and attributes are left as they are.
func (r *redo) skip(ino volume.Ino) bool { return r.edited[ino] || r.lost[ino] }

// content applies the content ops again.
func (r *redo) content(ops iter.Seq2[*volume.Op, error]) error {
	for _, ino := range r.sorted() {
		attr, ok, err := r.inode(ino)
		if err != nil {
			return err
		}
		if !ok || !attr.IsFile() || !r.t.Inodes[ino] || r.skip(ino) {
			continue
		}
		if err := r.goneToo(ino, r.withFile(ino, func(fd int) error {
			return again(func() error { return unix.Ftruncate(fd, 0) })
		})); err != nil {
			return err
		}
	}
	for op, err := range ops {
		if err == nil {
			err = r.ctx.Err()
		}
		if err != nil {
			return err
		}
		if _, _, ok := op.ContentRange(); !ok {
			continue
		}
		if err := r.contentOp(op); err != nil {
			return volume.Wrapf(err, "%s of %s", op.Kind, op.Ino)
		}
	}
	return nil
}

func (r *redo) withFile(ino volume.Ino, fn func(fd int) error) error {
	e, err := r.d.file(ino, true, r.view)
	if err != nil {
		return err
	}
	defer r.d.files.put(e)
	return fn(e.fd)
}

func (r *redo) contentOp(op *volume.Op) error {
	attr, ok, err := r.inode(op.Ino)
	if err != nil || !ok || !attr.IsFile() || r.skip(op.Ino) {
		return err
	}
	return r.goneToo(op.Ino, r.withFile(op.Ino, func(fd int) error {
		st, err := fstat(fd)
		if err != nil {
			return err
		}
		switch op.Kind {
		case volume.OpWrite:
			_, err = pwriteFull(fd, op.Data, op.Offset)
		case volume.OpTruncate:
			err = again(func() error { return unix.Ftruncate(fd, op.Size) })
		case volume.OpFallocate:
			err = r.d.fallocateRecorded(fd, op.Alloc, op.Offset, op.Length, st.Size)
		case volume.OpCopyChunks:
			err = r.d.copyChunks(r.ctx, fd, op, st.Size)
		}
		return err
	}))
}

// goneToo notes a file that cannot be found where place has left it, on a node that gets it
// from others.
func (r *redo) goneToo(ino volume.Ino, err error) error {
	if r.home == nil || volume.KindOf(err) != volume.Missing {
		return err
	}
	r.lost[ino] = true
	r.report(Difference{Kind: DiffMissing, Path: r.anyPath(ino), Ino: ino, Why: "its file is gone"})
	return nil
}

// attributes gives all touched inodes what the index has of them, directories last:
// their times change with what is in them.
func (r *redo) attributes() error {
	for _, dirs := range []bool{false, true} {
		for _, ino := range r.sorted() {
			attr, ok, err := r.inode(ino)
			if err != nil {
				return err
			}
			if !ok || attr.IsDir() != dirs || attr.IsDir() && attr.Nlink == 0 {
				continue
			}
			if err := r.dress(&attr); err != nil {
				return volume.Wrap(err, "inode "+ino.String())
			}
		}
	}
	return nil
}

func (r *redo) dress(attr *volume.Attr) error {
	if r.skip(attr.Ino) {
		r.d.dirty.forget(attr.Ino)
		if r.edited[attr.Ino] {
			r.reportEdit(attr)
		}
		return nil
	}
	o, release, err := r.d.object(attr.Ino, attr, r.view)
	if err != nil {
		return r.goneToo(attr.Ino, err)
	}
	defer release()
	st, err := fstat(o.fd)
	if err != nil {
		return err
	}
	if attr.IsFile() && st.Size != attr.Size {
		if st.Size < attr.Size { // never zeros in place of content
			r.report(Difference{Kind: DiffChanged, Fields: FieldSize, Path: r.anyPath(attr.Ino), Ino: attr.Ino, Lower: st.attr(), LowerIno: st.Ino,
				Why: "shorter than it was when it was last durable"})
		} else if err := r.withFile(attr.Ino, func(fd int) error {
			return again(func() error { return unix.Ftruncate(fd, attr.Size) })
		}); err != nil {
			return err
		}
	}
	if err := r.d.dressed(o, attr, r.view); err != nil {
		return err
	}
	mark, marked := r.d.dirty.get(attr.Ino)
	rec, err := r.d.settleObject(o, attr, r.view)
	if err != nil {
		return err
	}
	r.d.pending.put(attr.Ino, rec)
	if marked && !attr.IsDir() {
		r.d.dirty.clear(attr.Ino, mark)
	}
	return nil
}

// reportEdit says that an inode keeps what somebody made of it.
func (r *redo) reportEdit(attr *volume.Attr) {
	diff := Difference{Kind: DiffChanged, Path: r.anyPath(attr.Ino), Ino: attr.Ino, Why: "changed since this boot; it keeps its content"}
	if fd, err := r.d.openPath(attr.Ino, attr, r.view); err == nil {
		if st, err := fstat(fd); err == nil {
			diff.Lower, diff.LowerIno = st.attr(), st.Ino
		}
		unix.Close(fd)
	}
	r.report(diff)
}

// anyPath is one of an inode's paths.
func (r *redo) anyPath(ino volume.Ino) string {
	names, err := r.view.Names(ino)
	if err != nil || len(names) == 0 {
		return "inode " + ino.String()
	}
	return r.path(names[0])
}
