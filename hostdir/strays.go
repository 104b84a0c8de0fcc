package hostdir

import (
	"strconv"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// strays moves every inode that is known to the index, and found where the index has not
// put it, to staging: after a power loss the directory may be ahead of a log that lost its
// last ops, also where no op of the log has touched it. From staging place and Tidy
// bring it home. What is not known is left to collect.
func (r *redo) strays() error {
	if r.home == nil {
		return nil
	}
	if err := r.walk(r.d.root, volume.RootIno, "", r.stray); err != nil {
		return err
	}
	var staged []volume.Ino // also by an earlier run
	err := r.d.listDir(r.d.staging, func(name string, _ uint64, _ uint32) error {
		if n, err := strconv.ParseUint(name, 16, 64); err == nil {
			staged = append(staged, volume.Ino(n))
		}
		return r.ctx.Err()
	})
	if err != nil {
		return err
	}
	for _, ino := range staged {
		if err := r.away(ino); err != nil {
			return err
		}
	}
	return nil
}

// away has what is in staging brought to its names as if ops had touched them: something
// that the index does not know may have taken its place.
func (r *redo) away(ino volume.Ino) error {
	attr, ok, err := r.inode(ino)
	if err != nil || !ok {
		return err
	}
	names, err := r.view.Names(ino)
	if err != nil || len(names) == 0 {
		return err
	}
	r.t.inode(ino, false)
	r.d.dirty.mark(ino, attr.Ctime)
	for _, ref := range names {
		if _, touched := r.t.Names[ref]; touched {
			continue
		}
		r.t.name(ref.Parent, ref.Name, ino)
		r.queue = append(r.queue, ref)
		r.guests[ref] = true
		if err := r.changed(ref.Parent); err != nil {
			return err
		}
	}
	return nil
}

// visit looks at one name, in a directory that the index does not have if dir is 0. It returns
// who has the name, and whether that is a directory which stays there, to be looked into.
type visit func(p place, dir volume.Ino, path string) (is volume.Ino, isDir bool, err error)

func (r *redo) walk(fd int, dir volume.Ino, path string, each visit) error {
	release, err := r.d.lease(fd, 0o700)
	if err != nil {
		return volume.Wrapf(err, "directory %q", path)
	}
	defer release()
	type below struct {
		name string
		ino  volume.Ino
	}
	var dirs []below
	err = r.d.listDir(fd, func(name string, _ uint64, _ uint32) error {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if leftAlone(dir, name) {
			return nil
		}
		is, isDir, err := each(place{fd, name}, dir, path)
		if isDir {
			dirs = append(dirs, below{name, is})
		}
		return volume.Wrapf(err, "%q", path+name)
	})
	if err != nil {
		return err
	}
	for _, b := range dirs {
		if err := r.walkBelow(place{fd, b.name}, b.ino, path, each); err != nil {
			return err
		}
	}
	return nil
}

func (r *redo) walkBelow(p place, ino volume.Ino, path string, each visit) error {
	sub, err := r.d.openAt(p.dir, p.name, oPath|unix.O_DIRECTORY)
	if err != nil {
		return volume.Wrapf(err, "directory %q", path+p.name)
	}
	defer unix.Close(sub)
	return r.walk(sub, ino, path+p.name+"/", each)
}

// entry is the inode that the index has at a name; 0 if it has none.
func (r *redo) entry(dir volume.Ino, name string) (volume.Ino, error) {
	if dir == 0 {
		return 0, nil
	}
	e, err := r.view.Entry(dir, name)
	if err != nil && volume.KindOf(err) == volume.NotFound {
		return 0, nil
	}
	return e.Ino, err
}

// stray moves what is known and belongs elsewhere.
func (r *redo) stray(p place, dir volume.Ino, path string) (is volume.Ino, isDir bool, err error) {
	st, err := statAt(p.dir, p.name)
	if err != nil {
		return 0, false, notThere(err)
	}
	isDir = st.typ() == volume.ModeDir
	want, err := r.entry(dir, p.name)
	if err != nil {
		return 0, false, err
	}
	if want != 0 {
		rec, err := r.d.recordOf(want, r.view)
		if err != nil {
			return 0, false, err
		}
		if rec == nil || rec.ino == st.Ino {
			return want, isDir, nil
		}
	}
	is, st, _, err = r.who(p)
	if err != nil || is == 0 || is == want {
		return is, isDir, notThere(err)
	}
	return is, false, r.moveHome(p, is, dir, path, &st, r.stray)
}

// moveHome moves a known inode to staging, after what is known in it.
func (r *redo) moveHome(p place, is, dir volume.Ino, path string, st *lowerStat, each visit) error {
	if st.typ() == volume.ModeDir {
		if err := r.walkBelow(p, is, path, each); err != nil {
			return err
		}
	}
	if err := r.changed(dir); err != nil {
		return err
	}
	return r.d.within(p.dir, func() error { return r.toStaging(p, is, st) })
}

// changed says that what is in a directory changes, and so its times do.
func (r *redo) changed(dir volume.Ino) error {
	attr, ok, err := r.inode(dir)
	if ok {
		r.d.dirty.mark(dir, attr.Ctime)
	}
	return err
}

// lostOps undoes what ops did that the log has lost, once everything that the index has is in its
// place: what they have made is kept aside, names that they gave to what was known by then go,
// and attributes are to be set again.
func (r *redo) lostOps() error {
	if r.home == nil {
		return nil
	}
	return r.walk(r.d.root, volume.RootIno, "", r.undo)
}

func (r *redo) undo(p place, dir volume.Ino, path string) (is volume.Ino, isDir bool, err error) {
	is, st, _, err := r.who(p)
	if err != nil {
		return 0, false, notThere(err)
	}
	isDir = st.typ() == volume.ModeDir
	want, err := r.entry(dir, p.name)
	if err != nil {
		return 0, false, err
	}
	lately := st.Ctime.Compare(*r.home) >= 0 && !r.since(&st)
	switch {
	case is != 0 && is == want:
		if lately {
			r.t.inode(is, false)
			return is, isDir, r.changed(is)
		}
	case is != 0:
		return is, false, r.moveHome(p, is, dir, path, &st, r.undo)
	case want == 0 && dir != 0 && lately:
		if isDir {
			if err := r.walkBelow(p, 0, path, r.undo); err != nil {
				return 0, false, err
			}
		}
		if err := r.changed(dir); err != nil {
			return 0, false, err
		}
		return 0, false, r.d.within(p.dir, func() error { return r.d.aside(p) })
	}
	return is, isDir, nil
}

// Doubt says that files may have been changed by ops of ours that the log has lost, and that
// come again: what their records say of them is not taken for what we left.
func (d *Dir) Doubt(inos []volume.Ino, view volume.View) error {
	for _, ino := range inos {
		attr, err := view.Inode(ino)
		if err != nil {
			if volume.KindOf(err) == volume.NotFound {
				continue
			}
			return volume.Wrap(err, "doubt the record of inode "+ino.String())
		}
		rec, err := d.recordOf(ino, view)
		if err != nil {
			return err
		}
		d.dirty.mark(ino, attr.Ctime)
		if rec != nil && rec.flags&flagClean != 0 {
			fresh := *rec
			fresh.flags &^= flagClean
			d.pending.put(ino, &fresh)
		}
	}
	return nil
}
