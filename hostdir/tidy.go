package hostdir

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// relearn makes sure that an inode has a record, finding its file by name if not.
func (d *Dir) relearn(ino volume.Ino, view volume.View) error {
	if ino == volume.RootIno {
		return nil
	}
	attr, ok, err := inodeOf(view, ino)
	if err != nil || !ok {
		return err
	}
	if attr.IsDir() && attr.Nlink == 0 {
		return nil
	}
	rec, err := d.recordOf(ino, view)
	if err != nil || rec != nil {
		return err
	}
	d.dirty.mark(ino, attr.Ctime)
	if attr.IsDir() {
		_, release, err := d.dirFD(ino, view)
		if err == nil {
			release()
		}
		return ignoreMissing(err)
	}
	fd, err := d.openPath(ino, &attr, view)
	if err == nil {
		unix.Close(fd)
	}
	return ignoreMissing(err)
}

func ignoreMissing(err error) error {
	if volume.KindOf(err) == volume.Missing {
		return nil // Check reports it
	}
	return err
}

// relearnSwapped makes the record of an inode that an exchange was under way of: its file
// has its name or the other one.
func (d *Dir) relearnSwapped(in Intent, ino volume.Ino, lower uint64, view volume.View) error {
	if lower == 0 {
		return nil
	}
	if rec, err := d.recordOf(ino, view); err != nil || rec != nil {
		return err
	}
	attr, ok, err := inodeOf(view, ino)
	if err != nil || !ok {
		return err
	}
	for _, ref := range []volume.NameRef{{Parent: in.Parent, Name: in.Name}, {Parent: in.NewParent, Name: in.NewName}} {
		p, release, err := d.parentOf(ref.Parent, ref.Name, 0, view)
		if err != nil {
			if err = ignoreMissing(err); err != nil {
				return err
			}
			continue
		}
		found, err := d.recordIf(p, ino, lower, attr.Type(), view)
		release()
		if found || err != nil {
			return err
		}
	}
	return nil
}

// recordIf makes an inode's record of what has a name if its number and type are those given.
func (d *Dir) recordIf(p place, ino volume.Ino, lower uint64, typ uint32, view volume.View) (bool, error) {
	fd, err := d.openAt(p.dir, p.name, oPath)
	if err != nil {
		return false, notThere(err)
	}
	defer unix.Close(fd)
	st, err := fstat(fd)
	if err != nil || st.Ino != lower || st.typ() != typ {
		return false, err
	}
	return true, d.checkFound(fd, ino, typ, nil, view)
}

// Relearn makes records for inodes whose own were lost because the daemon died before the
// index had been flushed. After such a crash the caller runs it over what the ops since the last checkpoint
// touched, with the index at the end of the log, and stores PendingLower.
// It also leaves these inodes to be settled.
func (d *Dir) Relearn(ctx context.Context, view volume.View, t *Touched) error {
	for _, in := range d.Intents() {
		if err := errors.Join(d.relearnSwapped(in, in.Ino, in.Lower, view), d.relearnSwapped(in, in.Replaced, in.LowerReplaced, view)); err != nil {
			return volume.Wrap(err, "find what was being exchanged")
		}
	}
	for _, ino := range slices.Sorted(maps.Keys(t.Inodes)) { // the eldest of those that share a file gets it
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := d.relearn(ino, view); err != nil {
			return volume.Wrap(err, "find the file of inode "+ino.String())
		}
		attr, ok, err := inodeOf(view, ino)
		if err != nil {
			return err
		}
		if ok {
			d.dirty.mark(ino, attr.Ctime)
		}
	}
	return nil
}

// Tidy empties staging of what a crash left: files of inodes that the index does not
// have, and second names of files that have their own. It runs when directory and
// index agree otherwise, before the first op.
func (d *Dir) Tidy(ctx context.Context, view volume.View) error {
	var names []string
	err := d.listDir(d.staging, func(name string, _ uint64, _ uint32) error {
		names = append(names, name)
		return ctx.Err()
	})
	if err != nil {
		return volume.Wrap(err, "list "+Reserved+"/"+stagingName)
	}
	for last := false; len(names) > 0; {
		var waiting []string // their directories are in staging, too
		for _, name := range names {
			waits, err := d.tidyOne(name, last, view)
			if err != nil {
				return volume.Wrap(err, "tidy "+Reserved+"/"+stagingName+"/"+name)
			}
			if waits {
				waiting = append(waiting, name)
			}
		}
		last = len(waiting) == len(names)
		names = waiting
	}
	return nil
}

// tidyOne deals with one name in staging. waits says that there is no directory yet to put
// it into; the last time it is kept then.
func (d *Dir) tidyOne(name string, last bool, view volume.View) (waits bool, err error) {
	p := place{d.staging, name}
	n, nerr := strconv.ParseUint(name, 16, 64)
	ino := volume.Ino(n)
	if nerr != nil || !ino.Valid() || ino.String() != name {
		return false, d.aside(p)
	}
	attr, ok, err := inodeOf(view, ino)
	if err != nil {
		return false, err
	}
	if !ok {
		return false, d.removeTree(p) // ours, and over
	}
	if attr.Nlink == 0 {
		return false, nil
	}
	d.dirty.mark(ino, attr.Ctime) // its ctime changes below
	names, err := view.Names(ino)
	if err != nil {
		return false, err
	}
	taken := false
	for _, ref := range names {
		dir, release, err := d.dirFD(ref.Parent, view)
		if err != nil {
			if volume.KindOf(err) == volume.Missing {
				waits = true
				continue
			}
			return false, err
		}
		err = d.sys.renameNoReplace(p.dir, p.name, dir, ref.Name)
		if err == nil {
			if above, err := view.Inode(ref.Parent); err == nil {
				d.dirty.mark(ref.Parent, above.Ctime) // so do its times
			}
		}
		if err == unix.EEXIST {
			var a, b lowerStat
			if a, err = statAt(dir, ref.Name); err == nil {
				if b, err = statAt(p.dir, p.name); err == nil && a.Ino == b.Ino {
					err = unlinkAt(p.dir, p.name, false)
				} else if err == nil { // another of its names may be its own
					taken = true
					release()
					continue
				}
			}
		}
		release()
		return false, err
	}
	if taken {
		waits = false
	}
	if waits && !last {
		return true, nil
	}
	return false, d.aside(p)
}

// removeTree removes a file, or a directory with what is in it, of our own staging.
func (d *Dir) removeTree(p place) error {
	err := unlinkAt(p.dir, p.name, false)
	if err != unix.EISDIR && err != unix.EPERM {
		return notThere(err)
	}
	err = unlinkAt(p.dir, p.name, true)
	if err == unix.ENOTEMPTY || err == unix.EEXIST {
		return d.aside(p) // somebody's files: kept
	}
	return notThere(err)
}
