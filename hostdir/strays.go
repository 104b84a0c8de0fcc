package hostdir

import (
	"fmt"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// strays moves every inode that is known to the index, and found where the index has not
// put it, to staging: after a power loss the directory may be ahead of a log that lost its
// last ops, also where no op of the log has touched it. From staging place and Tidy
// bring it home. What is not known is left to collect.
func (r *redo) strays() error {
	if !r.home {
		return nil
	}
	return r.straysIn(r.d.root, volume.RootIno, "")
}

func (r *redo) straysIn(fd int, dir volume.Ino, path string) error {
	release, err := r.d.lease(fd, 0o700)
	if err != nil {
		return volume.Wrap(err, fmt.Sprintf("directory %q", path))
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
		is, isDir, err := r.stray(place{fd, name}, dir, path)
		if isDir {
			dirs = append(dirs, below{name, is})
		}
		return volume.Wrap(err, fmt.Sprintf("%q", path+name))
	})
	if err != nil {
		return err
	}
	for _, b := range dirs {
		if err := r.straysBelow(place{fd, b.name}, b.ino, path); err != nil {
			return err
		}
	}
	return nil
}

func (r *redo) straysBelow(p place, ino volume.Ino, path string) error {
	sub, err := r.d.openAt(p.dir, p.name, oPath|unix.O_DIRECTORY)
	if err != nil {
		return volume.Wrap(err, fmt.Sprintf("directory %q", path+p.name))
	}
	defer unix.Close(sub)
	return r.straysIn(sub, ino, path+p.name+"/")
}

// stray looks at one name. It returns who has it, and whether that is a directory which
// stays there, to be looked into.
func (r *redo) stray(p place, dir volume.Ino, path string) (is volume.Ino, isDir bool, err error) {
	st, err := statAt(p.dir, p.name)
	if err != nil {
		return 0, false, notThere(err)
	}
	isDir = st.typ() == volume.ModeDir
	var want volume.Ino
	if dir != 0 {
		e, err := r.view.Entry(dir, p.name)
		if err != nil && volume.KindOf(err) != volume.NotFound {
			return 0, false, err
		}
		if err == nil {
			want = e.Ino
		}
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
	if isDir {
		if err := r.straysBelow(p, is, path); err != nil {
			return 0, false, err
		}
	}
	if attr, ok, err := r.inode(dir); err != nil {
		return 0, false, err
	} else if ok {
		r.d.dirty.mark(dir, attr.Ctime)
	}
	return is, false, r.d.within(p.dir, func() error { return r.toStaging(p, is, &st) })
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
