package hostdir

import (
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// maxDepth bounds the walk from a directory to the root; no path of an application
// is deeper, and an index that loops is an error instead of a hang.
const maxDepth = 1 << 16

// place is a name in an open directory.
type place struct {
	dir  int
	name string
}

// dirFD returns the descriptor of a lower directory, to be released. Missing if it is
// not where the index has it.
func (d *Dir) dirFD(ino volume.Ino, view volume.View) (int, func(), error) {
	fd, put, err := d.bareDirFD(ino, view)
	if err != nil || d.uid == 0 {
		return fd, put, err
	}
	end, err := d.lease(fd, 0o700)
	if err != nil {
		put()
		return -1, nil, volume.Wrap(err, "get at directory "+ino.String())
	}
	return fd, func() { end(); put() }, nil
}

func (d *Dir) bareDirFD(ino volume.Ino, view volume.View) (int, func(), error) {
	if ino == volume.RootIno {
		return d.root, nothing, nil
	}
	e := d.dirs.get(ino)
	if e == nil {
		var err error
		if e, err = d.openDir(ino, view, 0); err != nil {
			return -1, nil, err
		}
	}
	return e.fd, func() { d.dirs.put(e) }, nil
}

func (d *Dir) openDir(ino volume.Ino, view volume.View, depth int) (*openFD, error) {
	if depth > maxDepth {
		return nil, volume.Errorf(volume.Corrupt, "directory %s is not below the root in the index", ino)
	}
	rec, err := d.recordOf(ino, view)
	if err != nil {
		return nil, err
	}
	if fd, ok, err := d.openRecorded(rec, oPath|unix.O_DIRECTORY); err != nil {
		return nil, volume.Wrap(err, "open directory "+ino.String())
	} else if ok {
		return d.dirs.add(ino, fd, false), nil
	}
	names, err := view.Names(ino)
	if err != nil {
		return nil, volume.Wrap(err, "names of directory "+ino.String())
	}
	for _, n := range names {
		fd, err := d.openDirName(n, ino, rec, view, depth)
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
			continue
		}
		if err != nil {
			return nil, volume.Wrap(err, "open directory "+ino.String())
		}
		return d.dirs.add(ino, fd, false), nil
	}
	return nil, volume.Errorf(volume.Missing, "directory %s is not in the real directory any more: somebody moved or removed it behind the daemon", ino)
}

// openDirName opens a directory by one of its names, walking up first.
func (d *Dir) openDirName(n volume.NameRef, ino volume.Ino, rec *record, view volume.View, depth int) (int, error) {
	parent, release := d.root, func() {}
	if n.Parent != volume.RootIno {
		e := d.dirs.get(n.Parent)
		if e == nil {
			var err error
			if e, err = d.openDir(n.Parent, view, depth+1); err != nil {
				return -1, err
			}
		}
		parent, release = e.fd, func() { d.dirs.put(e) }
	}
	defer release()
	fd, err := d.openAt(parent, n.Name, oPath|unix.O_DIRECTORY)
	if err != nil {
		return -1, err
	}
	if err := d.checkFound(fd, ino, volume.ModeDir, rec, view); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// openAt opens a name, lending an unprivileged daemon search permission on its own
// directory if it lacks that.
func (d *Dir) openAt(dir int, name string, flags int) (fd int, err error) {
	err = d.within(dir, func() error {
		fd, err = d.sys.open(dir, name, flags, 0)
		return err
	})
	return fd, err
}

// openRecorded opens a file by the handle in its record; ok is false if there is none
// that leads anywhere.
func (d *Dir) openRecorded(rec *record, flags int) (fd int, ok bool, err error) {
	if !d.byHandle || rec == nil {
		return -1, false, nil
	}
	h := handleOf(rec.key)
	if h == nil {
		return -1, false, nil
	}
	fd, err = d.sys.openHandle(d.root, h, flags|unix.O_NOFOLLOW)
	switch err {
	case nil:
		return fd, true, nil
	case unix.ESTALE, unix.ENOTDIR, unix.ELOOP:
		return -1, false, nil
	}
	return -1, false, err
}

// checkFound makes sure that what was found under an inode's name is of its type, and
// notes what it is if that was not known or has changed. Another inode's file is not taken
// for its own while it has further names: what is written to the one would be the other's,
// too, but not on followers.
func (d *Dir) checkFound(fd int, ino volume.Ino, typ uint32, rec *record, view volume.View) error {
	st, err := fstat(fd)
	if err != nil {
		return err
	}
	if st.typ() != typ && !(rec != nil && rec.flags&flagStandIn != 0 && st.typ() == volume.ModeFile) {
		return unix.ENOENT // something else took the name
	}
	key, err := d.keyOf(fd, &st)
	if err != nil {
		return err
	}
	if rec != nil && rec.key == key {
		return nil
	}
	linked := typ != volume.ModeDir && st.Nlink > 1
	owner, err := d.ownerOf(key, view)
	if err != nil {
		return err
	}
	if owner != 0 && owner != ino {
		switch {
		case rec != nil && d.underWay(owner):
			return unix.ENOENT // an op may have given it the name, which the index does not show yet
		case linked && rec == nil:
			d.pending.put(ino, d.noFile(ino)) // so that Check reports the name
			return unix.ENOENT
		case linked:
			d.foreign(ino, "it was replaced by a link to inode "+owner.String())
			return unix.ENOENT
		}
	}
	fresh := &record{ino: st.Ino, ctime: st.Ctime, size: st.Size, key: key}
	if rec != nil {
		fresh.flags = rec.flags & flagsRefused
		if typ == volume.ModeFile {
			fresh.flags |= flagSuspect
		}
	}
	if linked {
		d.pending.own(key, ino)
	}
	d.pending.put(ino, fresh)
	if rec != nil {
		d.foreign(ino, "it was replaced by another file")
	}
	return nil
}

// underWay reports whether an op may be on its way that touches an inode, from below into the
// index. It was noted before it changed anything.
func (d *Dir) underWay(ino volume.Ino) bool {
	mark, dirty := d.dirty.get(ino)
	return dirty && mark.at > seconds()-idleAfter
}

// foreign reports that somebody else changed an inode's lower file.
func (d *Dir) foreign(ino volume.Ino, what string) {
	d.stats.foreign.Add(1)
	d.log.Warn().Str("code", "WD-5101").Stringer("ino", ino).Msg("the real directory was changed behind the daemon: " + what +
		"; stop writing to it below the mount, and run wolfdiskctl reconcile")
	if d.opt.OnForeign != nil {
		d.opt.OnForeign(ino)
	}
}

// places calls fn with each place an inode has below: its names, or its place in
// staging if it has none, until fn returns something else than ENOENT.
func (d *Dir) places(ino volume.Ino, view volume.View, fn func(place) error) error {
	names, err := view.Names(ino)
	if err != nil {
		return volume.Wrap(err, "names of inode "+ino.String())
	}
	if len(names) == 0 && ino != volume.RootIno {
		return fn(place{d.staging, ino.String()})
	}
	for _, n := range names {
		dir, release, err := d.dirFD(n.Parent, view)
		if volume.KindOf(err) == volume.Missing {
			continue
		}
		if err != nil {
			return err
		}
		err = fn(place{dir, n.Name})
		release()
		if err != unix.ENOENT {
			return err
		}
	}
	return unix.ENOENT
}

// object opens any inode for its attributes; release is called when done. Missing.
func (d *Dir) object(ino volume.Ino, attr *volume.Attr, view volume.View) (object, func(), error) {
	if attr.IsDir() {
		fd, release, err := d.bareDirFD(ino, view)
		return object{fd, ino != volume.RootIno}, release, err
	}
	if e := d.files.get(ino); e != nil {
		return object{e.fd, false}, func() { d.files.put(e) }, nil
	}
	fd, err := d.openPath(ino, attr, view)
	if err != nil {
		return object{}, nil, err
	}
	return object{fd, true}, func() { unix.Close(fd) }, nil
}

// openPath opens an inode that is no directory with O_PATH: by handle, else by name.
func (d *Dir) openPath(ino volume.Ino, attr *volume.Attr, view volume.View) (int, error) {
	rec, err := d.recordOf(ino, view)
	if err != nil {
		return -1, err
	}
	if fd, ok, err := d.openRecorded(rec, oPath); err != nil || ok {
		return fd, volume.Wrap(err, "open inode "+ino.String())
	}
	found := -1
	err = d.places(ino, view, func(p place) error {
		fd, err := d.openAt(p.dir, p.name, oPath)
		if err != nil {
			return err
		}
		if err := d.checkFound(fd, ino, attr.Type(), rec, view); err != nil {
			unix.Close(fd)
			return err
		}
		found = fd
		return nil
	})
	if err == unix.ENOENT {
		return -1, volume.Errorf(volume.Missing, "the file of inode %s is not in the real directory any more: somebody removed or replaced it behind the daemon", ino)
	}
	return found, volume.Wrap(err, "open inode "+ino.String())
}

// file returns the descriptor of a regular file for reading and, if asked, writing;
// it is put back when done.
func (d *Dir) file(ino volume.Ino, write bool, view volume.View) (*openFD, error) {
	if e := d.files.get(ino); e != nil {
		if !write {
			return e, nil
		}
		if e.writable {
			err := d.notice(e, view)
			if err != nil {
				d.files.put(e)
				return nil, err
			}
			return e, nil
		}
		d.files.put(e)
	} else if !write {
		if e := d.held(ino); e != nil {
			return e, nil
		}
	}
	attr, err := view.Inode(ino)
	if err != nil {
		return nil, volume.Wrap(err, "open inode "+ino.String())
	}
	if !attr.IsFile() {
		return nil, volume.Errorf(volume.Invalid, "inode %s is no regular file", ino)
	}
	fd, writable, err := d.openFile(&attr, write, view)
	if err != nil {
		return nil, volume.Wrap(err, "open file "+ino.String())
	}
	d.stats.opened.Add(1)
	if err := d.detect(fd, &attr, view); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return d.files.add(ino, fd, writable), nil
}

// openFile opens a regular file for reading and writing, or for reading only where
// writing is refused and not asked for.
func (d *Dir) openFile(attr *volume.Attr, write bool, view volume.View) (fd int, writable bool, err error) {
	rec, err := d.recordOf(attr.Ino, view)
	if err != nil {
		return -1, false, err
	}
	// Regular below as well, or the handle would be of another inode: opening it has
	// no side effects.
	fd, ok, err := d.openRecorded(rec, unix.O_RDWR|unix.O_NONBLOCK|d.noAtime)
	if ok {
		return fd, true, nil
	}
	path, err := d.openPath(attr.Ino, attr, view)
	if err != nil {
		return -1, false, err
	}
	defer unix.Close(path)
	return d.reopenFile(path, attr, write)
}

// reopenFile opens a regular file held by an O_PATH descriptor, as well as it can be.
func (d *Dir) reopenFile(path int, attr *volume.Attr, write bool) (fd int, writable bool, err error) {
	try := func(flags int) error {
		fd, err = d.sys.reopen(path, flags|unix.O_NONBLOCK|d.noAtime)
		if err == unix.EPERM && d.noAtime != 0 { // neither owner nor privileged
			fd, err = d.sys.reopen(path, flags|unix.O_NONBLOCK)
		}
		return err
	}
	if try(unix.O_RDWR) == nil {
		return fd, true, nil
	}
	if err == unix.EACCES && d.uid != 0 {
		if release, lerr := d.lease(path, 0o600); lerr == nil {
			// Its ctime below is changed by the lease, and by the end of it.
			d.dirty.mark(attr.Ino, attr.Ctime)
			defer d.dirty.mark(attr.Ino, attr.Ctime)
			defer release()
			if try(unix.O_RDWR) == nil {
				return fd, true, nil
			}
		}
	}
	refused := err
	if write || err != unix.EACCES && err != unix.EPERM && err != unix.EROFS && err != unix.ETXTBSY {
		return -1, false, err
	}
	if try(unix.O_RDONLY) == nil {
		return fd, false, nil
	}
	return -1, false, refused
}

// notice is detect for a file that has been open.
func (d *Dir) notice(e *openFD, view volume.View) error {
	if _, dirty := d.dirty.get(e.ino); dirty {
		return nil
	}
	attr, err := view.Inode(e.ino)
	if err != nil {
		return volume.Wrap(err, "open inode "+e.ino.String())
	}
	return d.detect(e.fd, &attr, view)
}

// detect compares a file just opened, or about to be changed, with its record: if we have not
// changed it since and it is different, somebody else did.
func (d *Dir) detect(fd int, attr *volume.Attr, view volume.View) error {
	if _, dirty := d.dirty.get(attr.Ino); dirty {
		return nil
	}
	rec, err := d.leftAs(attr, view, object{fd, false}.stat)
	if err != nil || rec == nil {
		return err
	}
	if _, dirty := d.dirty.get(attr.Ino); !dirty { // or an op has begun, whose doing it may be
		d.suspect(attr.Ino, rec)
	}
	return nil
}

// detectFirst does so for an op that is the first to change an inode, with what stat says of its
// file.
func (d *Dir) detectFirst(first bool, attr *volume.Attr, view volume.View, stat func() (lowerStat, error)) error {
	if !first {
		return nil
	}
	rec, err := d.leftAs(attr, view, stat)
	if err == nil && rec != nil {
		d.suspect(attr.Ino, rec)
	}
	return err
}

// detectNamed is detectFirst for an inode of which only the name of its file is known.
func (d *Dir) detectNamed(first bool, p place, ino volume.Ino, view volume.View) error {
	if !first {
		return nil
	}
	attr, err := view.Inode(ino)
	if err != nil {
		return err
	}
	return d.detectFirst(true, &attr, view, func() (lowerStat, error) { return statAt(p.dir, p.name) })
}

// leftAs is the record of a regular file that is not as that says it was left; nil if it is, if
// the record does not say, or if there is no such file.
func (d *Dir) leftAs(attr *volume.Attr, view volume.View, stat func() (lowerStat, error)) (*record, error) {
	if !attr.IsFile() {
		return nil, nil
	}
	rec, err := d.recordOf(attr.Ino, view)
	if err != nil || rec == nil || rec.flags&flagClean == 0 || rec.version != attr.Version {
		return nil, err
	}
	st, err := stat()
	if err != nil {
		return nil, volume.Wrap(notThere(err), "stat inode "+attr.Ino.String())
	}
	if st.Ino != rec.ino || st.Ctime == rec.ctime && st.Size == rec.size {
		return nil, nil
	}
	return rec, nil
}

// suspect reports that a file was changed, and remembers that its content has to be recorded,
// whatever is done to it until then.
func (d *Dir) suspect(ino volume.Ino, rec *record) {
	marked := *rec
	marked.flags |= flagSuspect
	d.pending.put(ino, &marked)
	d.foreign(ino, "its file was changed")
}

// absolve ends that, once the content is recorded.
func (d *Dir) absolve(ino volume.Ino, view volume.View) error {
	rec, err := d.recordOf(ino, view)
	if err != nil || rec == nil || rec.flags&flagSuspect == 0 {
		return err
	}
	clear := *rec
	clear.flags &^= flagSuspect | flagClean
	d.pending.put(ino, &clear)
	return nil
}
