package hostdir

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// oldName is the folder in .wolfdisk that holds what a newer copy has no place for,
// until that copy is consistent.
const oldName = "old"

// Reshaping says what is known of a directory that Reshape brings towards another index.
type Reshaping struct {
	// Ours is the inode that a lower file was in the copy which the directory held
	// before, by its key; 0 if it was none.
	Ours func(key []byte) (volume.Ino, error)
	// Touched are names that ops of ours may have used without the index knowing what
	// they left there. It may be nil.
	Touched map[volume.NameRef]bool
	// Again says that an earlier Reshape was interrupted: a file that is not known may be
	// one that it had put there.
	Again bool
	// Left is told of what nobody knows and is not in the way: it stays.
	Left func(path string)
	// Seen counts what was looked at.
	Seen func(path string)
}

// Reshape takes away everything that is not where the index has it, so that the rest
// can be put in place by Place. The view has a record for each inode whose file is known.
//
//   - An inode that belongs elsewhere goes to staging, under its ID.
//   - What was part of the copy that the directory held before, and is none of this one,
//     goes to old, where it stays until DropOld.
//   - What nobody knows is somebody's work: it stays where it is, or goes to kept if it is
//     in the way, or if after an interruption it may be ours.
//
// Nothing is removed, and all of it may be interrupted and repeated.
func (d *Dir) Reshape(ctx context.Context, view volume.View, o Reshaping) error {
	old, err := d.ownFolder(oldName)
	if err != nil {
		return err
	}
	defer unix.Close(old)
	r := &reshaper{redo: redo{d: d, ctx: ctx, view: view, keys: map[string]volume.Ino{}}, o: o, old: old}
	// Numbers go on behind those of an earlier run.
	if err := d.listDir(old, func(string, uint64, uint32) error { r.n++; return ctx.Err() }); err != nil {
		return volume.Wrap(err, "list "+Reserved+"/"+oldName)
	}
	return volume.Wrap(r.dir(d.root, folder{ino: volume.RootIno}), "bring the directory into another shape")
}

// ownFolder opens a folder of ours, and makes it if it is not there.
func (d *Dir) ownFolder(name string) (int, error) {
	if err := again(func() error { return unix.Mkdirat(d.own, name, 0o700) }); err != nil && err != unix.EEXIST {
		return -1, volume.Wrap(err, "create "+Reserved+"/"+name)
	}
	fd, err := d.sys.open(d.own, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	return fd, volume.Wrap(err, "open "+Reserved+"/"+name)
}

// reshaper uses of redo what finds out who a lower file is, and moves it.
type reshaper struct {
	redo
	o   Reshaping
	old int
	n   int // of the next name in old
}

// folder is a directory below and what becomes of it.
type folder struct {
	ino   volume.Ino // 0 if the index does not have it
	stays bool       // what is not known in it stays: it is somebody's
	path  string     // ends in a slash, but for the root
}

// dir looks at everything in a directory, then into the directories in it.
func (r *reshaper) dir(fd int, f folder) error {
	release, err := r.d.lease(fd, 0o700)
	if err != nil {
		return volume.Wrapf(err, "directory %q", f.path)
	}
	defer release()
	type below struct {
		name string
		folder
	}
	var dirs []below
	err = r.d.listDir(fd, func(name string, _ uint64, _ uint32) error {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		if leftAlone(f.ino, name) {
			return nil
		}
		if r.o.Seen != nil {
			r.o.Seen(f.path + name)
		}
		next, err := r.name(place{fd, name}, f)
		if err != nil {
			return volume.Wrapf(err, "%q", f.path+name)
		}
		if next != nil {
			dirs = append(dirs, below{name, *next})
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, b := range dirs {
		sub, err := r.d.openAt(fd, b.name, oPath|unix.O_DIRECTORY)
		if err != nil {
			return volume.Wrapf(err, "directory %q", b.path)
		}
		err = r.dir(sub, b.folder)
		unix.Close(sub)
		if err != nil {
			return err
		}
	}
	return nil
}

// name decides about one name. It returns how a directory that stays at it is to be
// looked at; one that goes has been looked at before.
func (r *reshaper) name(p place, f folder) (*folder, error) {
	is, st, key, err := r.who(p)
	if err != nil {
		return nil, notThere(err)
	}
	want, err := r.wanted(f, p.name)
	if err != nil {
		return nil, err
	}
	inner := folder{path: f.path + p.name + "/"}
	if is == 0 && want != 0 && r.o.Again {
		if is, err = r.adopt(want, p, &st, key); err != nil {
			return nil, err
		}
	}
	isDir := st.typ() == volume.ModeDir
	if is != 0 {
		if isDir {
			inner.ino = is
		}
		if is != want {
			return nil, r.away(p, f, isDir, inner, func() error { return r.toStaging(p, is, &st) })
		}
		if isDir {
			return &inner, nil
		}
		return nil, nil
	}
	was, err := r.o.Ours([]byte(key))
	if err != nil {
		return nil, err
	}
	switch {
	case was != 0 || r.o.Touched[volume.NameRef{Parent: f.ino, Name: p.name}]:
		return nil, r.away(p, f, isDir, inner, func() error { return r.toOld(p, was) })
	case f.stays || want == 0 && !r.o.Again && f.ino != 0:
		if !f.stays && r.o.Left != nil {
			r.o.Left(f.path + p.name)
		}
		if inner.stays = true; isDir {
			return &inner, nil
		}
		return nil, nil
	}
	inner.stays = true // within what goes to kept as a whole
	return nil, r.away(p, f, isDir, inner, func() error { return r.d.aside(p) })
}

// wanted is the inode that the index has at a name; 0 if there is none.
func (r *reshaper) wanted(f folder, name string) (volume.Ino, error) {
	if f.ino == 0 {
		return 0, nil
	}
	e, err := r.view.Entry(f.ino, name)
	if err != nil && volume.KindOf(err) == volume.NotFound {
		return 0, nil
	}
	return e.Ino, err
}

// away takes what has a name away, after a look at what is in it.
func (r *reshaper) away(p place, f folder, isDir bool, inner folder, move func() error) error {
	if isDir {
		sub, err := r.d.openAt(p.dir, p.name, oPath|unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		err = r.dir(sub, inner)
		unix.Close(sub)
		if err != nil {
			return err
		}
	}
	if err := r.mark(f.ino); err != nil {
		return err
	}
	if err := r.mark(inner.ino); err != nil {
		return err
	}
	return r.d.within(p.dir, move)
}

// mark notes that the times below of an inode are no longer those we left.
func (r *reshaper) mark(ino volume.Ino) error {
	if ino == 0 {
		return nil
	}
	attr, ok, err := r.inode(ino)
	if ok {
		r.d.dirty.mark(ino, attr.Ctime)
	}
	return err
}

// adopt takes an unknown file for the inode that the index has at its name, if that one
// has no file and is of its kind; 0 if not. Its content is looked at by the caller.
func (r *reshaper) adopt(want volume.Ino, p place, st *lowerStat, key string) (volume.Ino, error) {
	attr, ok, err := r.inode(want)
	if err != nil || !ok || !fits(&attr, st) {
		return 0, err
	}
	if free, err := r.unrecorded(want); err != nil || !free {
		return 0, err
	}
	switch typ := st.typ(); {
	case typ == volume.ModeLink:
		target, err := readlinkAt(p.dir, p.name)
		if err != nil {
			return 0, err
		}
		should, err := r.view.Target(want)
		if err != nil || target != should {
			return 0, err
		}
	case (typ == volume.ModeBlock || typ == volume.ModeChar) && st.Rdev != attr.Rdev:
		return 0, nil
	}
	r.isNow(want, st, key)
	if st.Nlink < 2 || st.typ() == volume.ModeDir {
		delete(r.keys, key) // it is met once
	}
	return want, nil
}

// toOld moves to old what the inode was, if that is known.
func (r *reshaper) toOld(p place, was volume.Ino) error {
	base := p.name
	if len(base) > 200 {
		base = base[:200]
	}
	for {
		err := r.d.sys.renameNoReplace(p.dir, p.name, r.old, fmt.Sprintf("%d.%s", r.n, base))
		r.n++
		if err == unix.EEXIST {
			continue
		}
		if err == nil && was != 0 {
			r.d.forget(was)
		}
		return err
	}
}

// Place makes sure that a name leads to its inode if the inode's file is to be found:
// at the name, in staging, or at another name. Otherwise the file has to be made, and what
// is known of an earlier one is forgotten. It runs after Reshape, for directories first, and
// for those above before those below. Of an inode without a name, parent is 0.
func (d *Dir) Place(parent volume.Ino, name string, ino volume.Ino, view volume.View) (bool, error) {
	what := fmt.Sprintf("put inode %s in place", ino)
	p, release, err := d.parentOf(parent, name, ino, view)
	if err != nil {
		return false, volume.Wrap(err, what)
	}
	defer release()
	if _, err := statAt(p.dir, p.name); err != unix.ENOENT {
		return err == nil, volume.Wrap(err, what)
	}
	there, err := d.bring(p, ino, view)
	if err != nil {
		return false, volume.Wrap(err, what)
	}
	if !there {
		d.files.drop(ino)
		d.dirs.drop(ino)
		d.pending.forget(ino)
		return false, nil
	}
	attr, err := view.Inode(ino)
	d.dirty.mark(ino, attr.Ctime)
	return true, volume.Wrap(err, what)
}

// bring gives an inode a name from where it is otherwise.
func (d *Dir) bring(p place, ino volume.Ino, view volume.View) (bool, error) {
	err := d.within(p.dir, func() error { return d.sys.renameNoReplace(d.staging, ino.String(), p.dir, p.name) })
	if err != unix.ENOENT {
		return err == nil, err
	}
	names, err := view.Names(ino)
	if err != nil {
		return false, err
	}
	for _, ref := range names {
		dir, release, err := d.dirFD(ref.Parent, view)
		if volume.KindOf(err) == volume.Missing {
			continue
		}
		if err != nil {
			return false, err
		}
		err = d.within(p.dir, func() error { return again(func() error { return unix.Linkat(dir, ref.Name, p.dir, p.name, 0) }) })
		release()
		if err != unix.ENOENT {
			return err == nil, err
		}
	}
	return false, nil
}

// Dressed is what Dress found.
type Dressed struct {
	Same bool  // the file is as this daemon left it when the inode had its present version
	Size int64 // it had
}

// Dress gives an inode's file what the index has of it, but for content and times, and
// leaves it to be settled. Nothing is done to one that is known to have all of it
// already, unless that is not to be trusted.
func (d *Dir) Dress(ino volume.Ino, trust bool, view volume.View) (was Dressed, err error) {
	defer func() { err = volume.Wrap(err, "set attributes of inode "+ino.String()) }()
	attr, err := view.Inode(ino)
	if err != nil || attr.IsDir() && attr.Nlink == 0 {
		return was, err
	}
	o, release, err := d.object(ino, &attr, view)
	if err != nil {
		return was, err
	}
	defer release()
	st, err := fstat(o.fd)
	if err != nil {
		return was, err
	}
	was.Size = st.Size
	rec, err := d.recordOf(ino, view)
	if err != nil {
		return was, err
	}
	settled, err := d.Settled(&attr, view)
	if err != nil {
		return was, err
	}
	if trust && settled && rec.ino == st.Ino && rec.ctime == st.Ctime && rec.size == st.Size && (!attr.IsFile() || st.Size == attr.Size) {
		was.Same = true
		return was, nil
	}
	d.dirty.mark(ino, attr.Ctime)
	key, err := d.keyOf(o.fd, &st)
	if err != nil {
		return was, err
	}
	fresh := &record{ino: st.Ino, ctime: st.Ctime, size: st.Size, key: key}
	if rec != nil {
		fresh.flags = rec.flags & flagStandIn
	}
	d.pending.put(ino, fresh)
	return was, d.dressed(o, &attr, view)
}

// Settled reports whether an inode's record says that its file was brought to the inode's
// present version and left like that.
func (d *Dir) Settled(attr *volume.Attr, view volume.View) (bool, error) {
	if _, dirty := d.dirty.get(attr.Ino); dirty {
		return false, nil
	}
	rec, err := d.recordOf(attr.Ino, view)
	return rec != nil && rec.flags&(flagClean|flagSuspect) == flagClean && rec.version == attr.Version, err
}

// Inherit is a record that another index has of an inode, for an index that is to take its
// place. With trust it goes on saying that the file was left as that index had it.
func Inherit(ino volume.Ino, value []byte, trust bool) (volume.LowerRecord, error) {
	r, err := decodeRecord(value)
	if err != nil {
		return volume.LowerRecord{}, volume.Wrap(err, "inode "+ino.String())
	}
	if r.flags &^= flagSuspect; !trust {
		r.flags &^= flagClean
	}
	return r.encode(ino), nil
}

// Edited moves to kept what somebody has changed or made behind the daemon, a directory with all
// that is in it, before something else takes its place.
func (d *Dir) Edited(diff Difference, view volume.View) error {
	p, release, err := d.parentOf(diff.Parent, diff.Name, diff.Ino, view)
	if err != nil {
		return volume.Wrapf(err, "keep %q", diff.Path)
	}
	defer release()
	err = d.within(p.dir, func() error { return d.aside(p) })
	d.forget(diff.Ino)
	return volume.Wrapf(err, "keep %q", diff.Path)
}

// DropOld removes what Reshape has moved to old.
func (d *Dir) DropOld(ctx context.Context) error {
	err := d.removeAll(ctx, place{d.own, oldName})
	return volume.Wrap(notThere(err), "remove "+Reserved+"/"+oldName)
}

// removeAll removes a file, or a directory with all that is in it.
func (d *Dir) removeAll(ctx context.Context, p place) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	err := unlinkAt(p.dir, p.name, false)
	if err != unix.EISDIR && err != unix.EPERM {
		return err
	}
	fd, err := d.openAt(p.dir, p.name, oPath|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	release, err := d.lease(fd, 0o700)
	if err != nil {
		return err
	}
	err = d.listDir(fd, func(name string, _ uint64, _ uint32) error {
		return notThere(d.removeAll(ctx, place{fd, name}))
	})
	release()
	if err != nil {
		return err
	}
	return unlinkAt(p.dir, p.name, true)
}
