package hostdir

import (
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// whose says whether a name below is the inode's own file, gone, or another's.
type whose int

const (
	ours whose = iota
	gone
	others
)

// look compares what has a name with the inode that the index has there, before it
// is removed or replaced.
func (d *Dir) look(p place, ino volume.Ino, view volume.View) (whose, error) {
	w, _, err := d.lookAt(p, ino, view)
	return w, err
}

// lookAt is look that also says what is there.
func (d *Dir) lookAt(p place, ino volume.Ino, view volume.View) (whose, lowerStat, error) {
	st, err := statAt(p.dir, p.name)
	if err != nil {
		return gone, st, notThere(err)
	}
	rec, err := d.recordOf(ino, view)
	if err != nil {
		return gone, st, err
	}
	if rec != nil {
		if rec.ino == st.Ino && st.Dev == d.rootDev {
			return ours, st, nil
		}
		return others, st, nil
	}
	attr, err := view.Inode(ino)
	if err != nil {
		return gone, st, err
	}
	if attr.Type() == st.typ() {
		return ours, st, nil
	}
	return others, st, nil
}

// applyLink gives an inode a further name, or a nameless one its first.
func (d *Dir) applyLink(op *volume.Op, first firstMarks, view volume.View) error {
	p, release, err := d.parentOf(op.Parent, op.Name, op.Ino, view)
	if err != nil {
		return err
	}
	defer release()
	attr, err := view.Inode(op.Ino)
	if err != nil {
		return volume.Wrap(err, "link "+op.Ino.String())
	}
	wrap := func(err error) error { return volume.Wrapf(err, "link %s as %.300q in %s", op.Ino, op.Name, op.Parent) }
	if attr.Nlink == 0 {
		return wrap(d.clearing(p, func() error {
			return d.sys.renameNoReplace(d.staging, op.Ino.String(), p.dir, p.name)
		}))
	}
	o, put, err := d.object(op.Ino, &attr, view)
	if err != nil {
		return wrap(err)
	}
	defer put()
	if err := d.detectFirst(first.ino, &attr, view, o.stat); err != nil {
		return wrap(err)
	}
	return wrap(d.clearing(p, func() error {
		err := d.sys.link(o.fd, p.dir, p.name)
		if err == unix.EEXIST && d.leadsTo(p, o.fd) {
			return nil // the name was there before an op that a power loss took from the log
		}
		return err
	}))
}

// leadsTo reports whether a name below is one of an open file's.
func (d *Dir) leadsTo(p place, fd int) bool {
	there, err := statAt(p.dir, p.name)
	if err != nil {
		return false
	}
	st, err := fstat(fd)
	return err == nil && there.Ino == st.Ino && there.Dev == st.Dev
}

// applyRemove takes a name away; an inode that lives on without one goes to staging.
func (d *Dir) applyRemove(op *volume.Op, first firstMarks, view volume.View) error {
	p, release, err := d.parentOf(op.Parent, op.Name, op.Ino, view)
	if err != nil {
		return err
	}
	defer release()
	wrap := func(err error) error { return volume.Wrapf(err, "remove %.300q from %s", op.Name, op.Parent) }
	w, st, err := d.lookAt(p, op.Ino, view)
	if err == nil && first.ino {
		var attr volume.Attr
		if attr, err = view.Inode(op.Ino); err == nil {
			err = d.detectFirst(true, &attr, view, func() (lowerStat, error) { return st, nil })
		}
	}
	if err != nil {
		return wrap(err)
	}
	ends := op.Flags&volume.OpEnds != 0
	switch {
	case w == gone:
		d.stats.healed.Add(1)
	case w == others:
		d.foreign(op.Ino, "another file has its name")
		err = d.aside(p)
	case op.Kind == volume.OpRmdir:
		err = d.clearing(p, func() error {
			if err := unlinkAt(p.dir, p.name, true); err != unix.ENOENT {
				return err
			}
			return nil // it held what the index does not know, and was moved to kept
		})
	case ends:
		err = d.within(p.dir, func() error { return unlinkAt(p.dir, p.name, false) })
	default:
		err = d.dropName(p, op.Ino, view)
	}
	if err != nil {
		return wrap(err)
	}
	if op.Kind == volume.OpRmdir {
		d.dirs.drop(op.Ino)
	}
	if ends {
		d.forget(op.Ino)
	}
	return nil
}

// dropName removes one name of an inode that lives on.
func (d *Dir) dropName(p place, ino volume.Ino, view volume.View) error {
	attr, err := view.Inode(ino)
	if err != nil {
		return err
	}
	return d.within(p.dir, func() error {
		if attr.Nlink <= 1 {
			return renameAt(p.dir, p.name, d.staging, ino.String())
		}
		return unlinkAt(p.dir, p.name, false)
	})
}

func (d *Dir) applyRename(op *volume.Op, first firstMarks, view volume.View) error {
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
	err = d.detectNamed(first.ino, from, op.Ino, view)
	switch {
	case err != nil:
	case op.Flags&volume.OpExchange != 0:
		if err = d.detectNamed(first.replaced, to, op.Replaced, view); err == nil {
			err = d.exchange(from, to, op.Ino)
		}
	case op.Replaced == op.Ino: // two names of one file: the old one goes
		err = d.within(from.dir, func() error { return unlinkAt(from.dir, from.name, false) })
	default:
		err = d.move(from, to, op, first, view)
	}
	if err == unix.ENOENT {
		err = volume.Errorf(volume.Missing, "it is not in the real directory any more: somebody moved or removed it behind the daemon: %w", unix.EIO)
	}
	return volume.Wrapf(err, "rename %.300q in %s to %.300q in %s", op.Name, op.Parent, op.NewName, op.NewParent)
}

// move renames a lower file over a name that must be free or that of op.Replaced. What
// is displaced and lives on is linked into staging first, so that the name
// is never missing.
func (d *Dir) move(from, to place, op *volume.Op, first firstMarks, view volume.View) error {
	ends := op.Flags&volume.OpEnds != 0
	if op.Replaced == 0 {
		return d.clearing(to, func() error {
			return d.within(from.dir, func() error { return d.sys.renameNoReplace(from.dir, from.name, to.dir, to.name) })
		})
	}
	w, st, err := d.lookAt(to, op.Replaced, view)
	if err != nil {
		return err
	}
	attr, err := view.Inode(op.Replaced)
	if err == nil {
		err = d.detectFirst(first.replaced, &attr, view, func() (lowerStat, error) { return st, nil })
	}
	if err != nil {
		return err
	}
	staged := false
	switch {
	case w == others:
		d.foreign(op.Replaced, "another file has its name")
		if err := d.aside(to); err != nil {
			return err
		}
	case w == ours && !ends && !attr.IsDir() && attr.Nlink <= 1:
		if err := d.stage(to, op.Replaced); err != nil {
			return err
		}
		staged = true
	}
	err = d.clearing(to, func() error {
		return d.within(from.dir, func() error { return renameAt(from.dir, from.name, to.dir, to.name) })
	})
	if err != nil {
		if staged {
			d.unstage(to, op.Replaced)
		}
		return err
	}
	if attr.IsDir() {
		d.dirs.drop(op.Replaced)
	}
	if ends {
		d.forget(op.Replaced)
	}
	return nil
}

// stage gives what has a name a second one in staging, or, on a file system without
// hard links or for want of permission, moves it there.
func (d *Dir) stage(p place, ino volume.Ino) error {
	err := again(func() error { return unix.Linkat(p.dir, p.name, d.staging, ino.String(), 0) })
	if err == unix.EPERM || err == unix.EOPNOTSUPP || err == unix.EMLINK {
		err = renameAt(p.dir, p.name, d.staging, ino.String())
	}
	return err
}

// unstage takes a stage back.
func (d *Dir) unstage(p place, ino volume.Ino) {
	err := d.sys.renameNoReplace(d.staging, ino.String(), p.dir, p.name)
	if err == unix.EEXIST {
		err = unlinkAt(d.staging, ino.String(), false)
	}
	if err != nil {
		d.log.Error().Err(err).Str("name", p.name).Msg("a displaced file could not be put back from " + Reserved + "/" + stagingName)
	}
}

// exchange swaps two names; where the file system cannot, by way of staging, putting
// everything back if a step fails.
func (d *Dir) exchange(a, b place, ino volume.Ino) error {
	err := d.within(a.dir, func() error {
		return d.within(b.dir, func() error { return d.sys.exchange(a.dir, a.name, b.dir, b.name) })
	})
	if err != unix.EOPNOTSUPP {
		return err
	}
	tmp := place{d.staging, "swap-" + ino.String()}
	steps := [][2]place{{b, tmp}, {a, b}, {tmp, a}}
	for i, s := range steps {
		if err = renameAt(s[0].dir, s[0].name, s[1].dir, s[1].name); err == nil {
			continue
		}
		for i--; i >= 0; i-- {
			s := steps[i]
			if rerr := renameAt(s[1].dir, s[1].name, s[0].dir, s[0].name); rerr != nil {
				d.log.Error().Err(rerr).Str("name", s[0].name).Msg("an exchange of names could not be taken back")
			}
		}
		return err
	}
	return nil
}

// applyPublish dresses a nameless file and gives it its name, displacing what had it.
func (d *Dir) applyPublish(op *volume.Op, first firstMarks, view volume.View) error {
	to, release, err := d.parentOf(op.Parent, op.Name, op.Ino, view)
	if err != nil {
		return err
	}
	defer release()
	wrap := func(err error) error {
		return volume.Wrapf(err, "publish %s as %.300q in %s", op.Ino, op.Name, op.Parent)
	}
	attr, err := view.Inode(op.Ino)
	if err != nil {
		return wrap(err)
	}
	o, put, err := d.object(op.Ino, &attr, view)
	if err != nil {
		return wrap(err)
	}
	defer put()
	err = d.dressForPublish(o, op)
	if err == nil {
		err = d.move(place{d.staging, op.Ino.String()}, to, op, first, view)
	}
	if err != nil {
		if derr := d.dressed(o, &attr, view); derr != nil {
			d.log.Error().Err(derr).Stringer("ino", op.Ino).Msg("attributes could not be put back")
		}
	}
	return wrap(err)
}

func (d *Dir) dressForPublish(o object, op *volume.Op) error {
	for _, x := range op.Xattrs {
		if err := d.setXattr(o, op.Ino, x.Name, x.Value); err != nil {
			return err
		}
	}
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

// applyEnd removes what staging holds of an inode.
func (d *Dir) applyEnd(op *volume.Op) error {
	err := unlinkAt(d.staging, op.Ino.String(), false)
	if err == unix.ENOENT {
		return nil // a directory, or gone with a crash
	}
	return volume.Wrap(err, "end "+op.Ino.String())
}
