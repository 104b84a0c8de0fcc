package slave

import (
	"context"
	"errors"

	"wolfdisk/hostdir"
	"wolfdisk/volume"
)

// shaper makes a real directory what the index of a copy says, names and attributes
// first: parents before children, by the ops that would have made them. A directory
// that was begun is completed: what exists is taken for what it should be, and given
// its attributes again; its content is written in any case.
type shaper struct {
	s     *Sync
	ctx   context.Context
	dir   *hostdir.Dir
	count func(files, bytes uint64, path string)
}

// shape is what comes before the content of a copy in a directory.
func (s *Sync) shape(ctx context.Context) error {
	files, _ := s.engine.Counts()
	h := &shaper{s: s, ctx: ctx, dir: s.opt.Into, count: s.opt.Phase("making files", files, 0)}
	root, err := s.engine.Inode(volume.RootIno)
	if err != nil {
		return err
	}
	if err := h.attributes(&root); err != nil {
		return err
	}
	for todo := []volume.Ino{volume.RootIno}; len(todo) > 0; {
		dir := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		var failed error
		err := s.engine.Entries(dir, 0, func(e volume.DirEntry) bool {
			if failed = ctx.Err(); failed == nil {
				failed = h.entry(dir, e.Name, e.Ino)
			}
			if e.Type == volume.ModeDir {
				todo = append(todo, e.Ino)
			}
			return failed == nil
		})
		if failed != nil {
			err = failed
		}
		if err != nil {
			return volume.Wrap(err, "make the files of the copy")
		}
	}
	orphans, err := s.engine.Orphans()
	if err != nil {
		return err
	}
	for _, ino := range orphans {
		if err := h.entry(0, "", ino); err != nil {
			return volume.Wrap(err, "make the files of the copy")
		}
	}
	return nil
}

// entry makes one name.
func (h *shaper) entry(parent volume.Ino, name string, ino volume.Ino) error {
	exists, err := h.dir.Has(parent, name, ino, h.s.engine)
	if err != nil {
		return err
	}
	lower, err := h.s.engine.Lower(ino)
	if err != nil {
		return err
	}
	a, err := h.s.engine.Inode(ino)
	if err != nil {
		return err
	}
	h.count(1, 0, name)
	switch {
	case exists && lower == nil:
		t := hostdir.NewTouched()
		t.Inodes[ino] = true
		if err := h.dir.Relearn(h.ctx, h.s.engine, t); err != nil {
			return err
		}
		if err := h.s.engine.PutLower(h.dir.PendingLower()); err != nil {
			return err
		}
		return h.attributes(&a)
	case exists:
		return h.dir.Give(ino, h.s.engine)
	case lower != nil:
		return h.apply(&volume.Op{Kind: volume.OpLink, Ino: ino, Parent: parent, Name: name})
	}
	return h.create(parent, name, &a)
}

func (h *shaper) create(parent volume.Ino, name string, a *volume.Attr) error {
	op := &volume.Op{Kind: volume.OpCreate, Ino: a.Ino, Parent: parent, Name: name, Mode: a.Mode, UID: a.UID, GID: a.GID, Rdev: a.Rdev}
	if a.Type() == volume.ModeLink {
		target, err := h.s.engine.Target(a.Ino)
		if err != nil {
			return err
		}
		op.Target = target
	}
	xattrs, err := h.s.engine.Xattrs(a.Ino)
	if err != nil {
		return err
	}
	n := min(len(xattrs), volume.MaxOpXattrs)
	op.Xattrs = xattrs[:n]
	if err := h.apply(op); err != nil {
		return err
	}
	if err := h.xattrs(a.Ino, xattrs[n:]); err != nil || !a.IsFile() || a.Size == 0 {
		return err
	}
	return h.apply(&volume.Op{Kind: volume.OpTruncate, Ino: a.Ino, Size: a.Size})
}

// attributes gives a file that is there what it should have.
func (h *shaper) attributes(a *volume.Attr) error {
	// Not as an op: the index has what it would say, and nothing would be done.
	if err := h.dir.Give(a.Ino, h.s.engine); err != nil {
		return err
	}
	xattrs, err := h.s.engine.Xattrs(a.Ino)
	if err != nil {
		return err
	}
	if err := h.xattrs(a.Ino, xattrs); err != nil || !a.IsFile() {
		return err
	}
	return h.apply(&volume.Op{Kind: volume.OpTruncate, Ino: a.Ino, Size: a.Size})
}

func (h *shaper) xattrs(ino volume.Ino, list []volume.Xattr) error {
	for _, x := range list {
		if err := h.apply(&volume.Op{Kind: volume.OpSetXattr, Ino: ino, Name: x.Name, Data: x.Value}); err != nil {
			return err
		}
	}
	return nil
}

// apply brings the directory to what an op says, which the index says already.
func (h *shaper) apply(op *volume.Op) error {
	done, err := h.dir.Apply(h.ctx, op, h.s.engine)
	if err != nil {
		return err
	}
	return h.s.engine.PutLower(append(done.Lower, h.dir.PendingLower()...))
}

// write puts content into a file of the directory.
func (s *Sync) write(ctx context.Context, ino volume.Ino, off int64, data []byte) error {
	for len(data) > 0 {
		n := min(len(data), volume.MaxWrite)
		done, err := s.opt.Into.Apply(ctx, &volume.Op{Kind: volume.OpWrite, Ino: ino, Offset: off, Data: data[:n]}, s.engine)
		if err == nil && done.N != n {
			err = volume.Errorf(volume.NoSpace, "wrote %d of %d bytes", done.N, n)
		}
		if err != nil {
			return volume.Wrap(err, "store content of inode "+ino.String())
		}
		data, off = data[n:], off+int64(n)
	}
	return nil
}

// settle gives the files of the directory their times, and makes all of it durable.
func (s *Sync) settle(ctx context.Context) error {
	records, err := s.opt.Into.SettleAll(s.engine)
	if err := errors.Join(err, s.engine.PutLower(records)); err != nil {
		return err
	}
	return s.opt.Into.Checkpoint(ctx)
}
