package hostdir

import (
	"context"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Recheck looks at the place of a difference again and calls fn with what differs there
// now, if anything does. The caller keeps ops off diff.Parent and diff.Ino meanwhile, so
// that, unlike with Check, what it reports is no op on its way.
func (d *Dir) Recheck(ctx context.Context, view volume.View, diff Difference, fn func(Difference) error) error {
	c := &checker{d: d, ctx: ctx, view: view, fn: fn}
	wrap := func(err error) error { return volume.Wrapf(err, "check %q again", diff.Path) }
	if diff.Parent == 0 {
		st, err := fstat(d.root)
		if err != nil {
			return wrap(err)
		}
		attr, err := view.Inode(volume.RootIno)
		if err != nil {
			return wrap(err)
		}
		return wrap(c.inode(Difference{Ino: volume.RootIno}, place{d.root, "."}, &attr, &st))
	}
	if _, err := view.Inode(diff.Parent); volume.KindOf(err) == volume.NotFound {
		return nil // the directory has gone in the index, and with it the place
	}
	fd, release, err := d.dirFD(diff.Parent, view)
	if volume.KindOf(err) == volume.Missing {
		return fn(diff) // what is above differs, too
	}
	if err != nil {
		return wrap(err)
	}
	defer release()
	end, err := d.lease(fd, 0o700)
	if err != nil {
		return wrap(err)
	}
	defer end()
	if st, err := statAt(fd, diff.Name); err != unix.ENOENT {
		if err != nil {
			return wrap(err)
		}
		path := diff.Path[:len(diff.Path)-len(diff.Name)]
		_, _, err := c.name(fd, diff.Parent, path, diff.Name, &st)
		return wrap(err)
	}
	e, err := view.Entry(diff.Parent, diff.Name)
	if volume.KindOf(err) == volume.NotFound {
		return nil // neither has it
	}
	if err != nil {
		return wrap(err)
	}
	return wrap(fn(Difference{Kind: DiffMissing, Path: diff.Path, Parent: diff.Parent, Name: diff.Name, Ino: e.Ino}))
}
