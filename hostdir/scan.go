package hostdir

import (
	"context"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Sink takes what Scan finds, in the order of the ops.
type Sink interface {
	// NewIno gives out an inode ID.
	NewIno() (volume.Ino, error)
	// Add takes an op, complete but for version, time and caller, and says the
	// version it gets. The op is the sink's from then on.
	Add(op *volume.Op) (volume.Version, error)
	// Record takes the record of an inode whose ops were added. Shared is set for
	// inodes with further names, which LowerIno must find from then on.
	Record(r volume.LowerRecord, shared bool) error
	// LowerIno is the inode of a shared record's key; NotFound.
	LowerIno(key []byte) (volume.Ino, error)
	// Found counts a name, and the bytes of a file that has no other name yet.
	Found(dir string, bytes int64)
	// Prefetch is told which names of a directory come next.
	Prefetch(dir volume.Ino, names []string) error
}

// Scan describes all that is in the directory as ops that make it from an empty volume:
// names, attributes, times, and the sizes of files, but not their content, which stays
// where it is. The records say that every file is as the index has it. Memory is bounded
// by the subdirectories of the directories it is in. Nothing below is changed.
func (d *Dir) Scan(ctx context.Context, sink Sink) error {
	s := &scan{d: d, ctx: ctx, sink: sink}
	st, err := fstat(d.root)
	if err != nil {
		return volume.Wrap(err, "scan the root directory")
	}
	xattrs, err := d.lowerXattrs(object{d.root, false})
	if err != nil {
		return volume.Wrap(err, "scan the root directory")
	}
	for _, x := range xattrs {
		op := &volume.Op{Kind: volume.OpSetXattr, Ino: volume.RootIno, Name: x.Name, Data: x.Value}
		if x.Name == volume.XattrACLAccess {
			op.Mask, op.Mode = volume.SetMode, st.Mode&volume.ModePerm
		}
		if _, err := s.add(op); err != nil {
			return err
		}
	}
	return s.dir(d.root, volume.RootIno, "", &st)
}

// Count counts the names that Scan is going to find.
func (d *Dir) Count(ctx context.Context) (uint64, error) {
	n, err := d.count(ctx, d.root, true)
	return n, volume.Wrap(err, "count the files of "+d.opt.Path)
}

// CountBelow counts the names below a name of a directory of the index; 0 if that is no
// directory.
func (d *Dir) CountBelow(ctx context.Context, view volume.View, parent volume.Ino, name string) (uint64, error) {
	fd, release, err := d.dirFD(parent, view)
	if err != nil {
		return 0, ignoreMissing(err)
	}
	defer release()
	sub, err := d.openAt(fd, name, oPath|unix.O_DIRECTORY)
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
		return 0, nil
	}
	if err != nil {
		return 0, volume.Wrapf(err, "count the files below %.300q", name)
	}
	defer unix.Close(sub)
	n, err := d.count(ctx, sub, false)
	return n, volume.Wrapf(err, "count the files below %.300q", name)
}

func (d *Dir) count(ctx context.Context, fd int, root bool) (n uint64, err error) {
	release, err := d.lease(fd, 0o700)
	if err != nil {
		return 0, err
	}
	defer release()
	var subdirs []string
	err = d.listDir(fd, func(name string, _ uint64, typ uint32) error {
		if root && leftAlone(volume.RootIno, name) {
			return nil
		}
		n++
		if typ == volume.ModeDir || typ == 0 {
			subdirs = append(subdirs, name)
		}
		return ctx.Err()
	})
	if err != nil {
		return n, err
	}
	for _, name := range subdirs {
		sub, err := d.openAt(fd, name, oPath|unix.O_DIRECTORY)
		if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP || err == unix.EXDEV {
			continue // no directory, or refused later
		}
		if err != nil {
			return n, err
		}
		m, err := d.count(ctx, sub, false)
		unix.Close(sub)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

type scan struct {
	d    *Dir
	ctx  context.Context
	sink Sink
}

// scanned is a directory that was found and is yet to be read.
type scanned struct {
	name string
	ino  volume.Ino
}

func (s *scan) add(op *volume.Op) (volume.Version, error) {
	if err := op.Validate(); err != nil {
		return 0, err
	}
	return s.sink.Add(op)
}

// dir describes what a directory holds, then what it is, since its entries change its
// times, and then the directories in it.
func (s *scan) dir(fd int, ino volume.Ino, path string, st *lowerStat) error {
	release, err := s.d.lease(fd, 0o700)
	if err != nil {
		return volume.Wrapf(err, "scan directory %q", path)
	}
	defer release()
	var subdirs []scanned
	err = s.d.listNames(s.ctx, fd, func(name string) bool { return !leftAlone(ino, name) }, func(names []string) error {
		if err := s.sink.Prefetch(ino, names); err != nil {
			return err
		}
		for _, name := range names {
			if err := s.ctx.Err(); err != nil {
				return err
			}
			sub, err := s.name(place{fd, name}, ino, path)
			if err != nil {
				return volume.Wrapf(err, "%q", path+name)
			}
			if sub != 0 {
				subdirs = append(subdirs, scanned{name, sub})
			}
		}
		return nil
	})
	if err != nil {
		return volume.Wrapf(err, "scan directory %q", path)
	}
	if err := s.finishDir(fd, ino, st); err != nil {
		return volume.Wrapf(err, "scan directory %q", path)
	}
	for _, e := range subdirs {
		if err := s.subdir(fd, e, path); err != nil {
			return err
		}
	}
	return nil
}

func (s *scan) subdir(fd int, e scanned, path string) error {
	sub, err := s.d.openAt(fd, e.name, oPath|unix.O_DIRECTORY)
	if err == unix.ENOENT || err == unix.ENOTDIR {
		return nil // gone since, as the comparison after the scan will find
	}
	if err != nil {
		return volume.Wrapf(err, "scan directory %q", path+e.name)
	}
	defer unix.Close(sub)
	st, err := fstat(sub)
	if err != nil {
		return volume.Wrapf(err, "scan directory %q", path+e.name)
	}
	return s.dir(sub, e.ino, path+e.name+"/", &st)
}

// finishDir gives a directory the times it had before its entries were made, and its
// record.
func (s *scan) finishDir(fd int, ino volume.Ino, st *lowerStat) error {
	op := &volume.Op{Kind: volume.OpSetAttr, Ino: ino, Mask: volume.SetAtime | volume.SetMtime, Atime: st.Atime, Mtime: st.Mtime}
	if ino == volume.RootIno {
		op.Mask |= volume.SetMode | volume.SetUID | volume.SetGID
		op.Mode, op.UID, op.GID = st.Mode&volume.ModePerm, st.UID, st.GID
	}
	v, err := s.add(op)
	if err != nil {
		return err
	}
	key, err := s.d.keyOf(fd, st)
	if err != nil {
		return err
	}
	return s.record(ino, v, st, key, false)
}

func (s *scan) record(ino volume.Ino, v volume.Version, st *lowerStat, key string, shared bool) error {
	rec := &record{flags: flagClean, version: v, ino: st.Ino, ctime: st.Ctime, size: st.Size, key: key}
	return s.sink.Record(rec.encode(ino), shared)
}

// name describes one name; it returns the inode of a directory, which is yet to be read.
func (s *scan) name(p place, dir volume.Ino, path string) (volume.Ino, error) {
	if len(p.name) > volume.MaxNameLen {
		return 0, volume.Errorf(volume.NameTooLong, "the name has %d bytes: at most %d can be kept; rename it", len(p.name), volume.MaxNameLen)
	}
	fd, err := s.d.openAt(p.dir, p.name, oPath)
	if err == unix.ENOENT {
		return 0, nil // gone since it was listed
	}
	if err == unix.EXDEV {
		return 0, volume.Errorf(volume.CrossDevice, "a mount point inside the directory: a volume is one file system; unmount it, or mount it elsewhere")
	}
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	st, err := fstat(fd)
	if err != nil {
		return 0, err
	}
	if err := s.readable(p, &st); err != nil {
		return 0, err
	}
	key, err := s.d.keyOf(fd, &st)
	if err != nil {
		return 0, err
	}
	if shared := st.Nlink > 1 && st.typ() != volume.ModeDir; shared {
		if ino, err := s.sink.LowerIno([]byte(key)); err == nil {
			return 0, s.link(p, dir, path, ino, &st, key)
		} else if volume.KindOf(err) != volume.NotFound {
			return 0, err
		}
	}
	return s.create(p, dir, path, fd, &st, key)
}

// readable refuses what could not be given to followers. A file of our own can be
// lent a permission, a file of others cannot.
func (s *scan) readable(p place, st *lowerStat) error {
	if s.d.uid == 0 || st.UID == s.d.uid {
		return nil
	}
	mode := uint32(unix.R_OK)
	switch st.typ() {
	case volume.ModeDir:
		mode |= unix.X_OK
	case volume.ModeFile:
	default:
		return nil
	}
	if err := unix.Faccessat(p.dir, p.name, mode, unix.AT_EACCESS); err != nil {
		return volume.Errorf(volume.AccessDenied, "this user cannot read it: %w; change its mode or owner, or run as root", err)
	}
	return nil
}

// link describes a further name of an inode.
func (s *scan) link(p place, dir volume.Ino, path string, ino volume.Ino, st *lowerStat, key string) error {
	v, err := s.add(&volume.Op{Kind: volume.OpLink, Ino: ino, Parent: dir, Name: p.name})
	if err != nil {
		return err
	}
	s.sink.Found(path, 0)
	return s.record(ino, v, st, key, true)
}

// create describes a new inode.
func (s *scan) create(p place, dir volume.Ino, path string, fd int, st *lowerStat, key string) (volume.Ino, error) {
	op := &volume.Op{Kind: volume.OpCreate, Parent: dir, Name: p.name, Mode: st.Mode, UID: st.UID, GID: st.GID}
	var err error
	switch st.typ() {
	case volume.ModeLink:
		if op.Target, err = readlinkAt(p.dir, p.name); err != nil {
			return 0, err
		}
	case volume.ModeBlock, volume.ModeChar:
		op.Rdev = st.Rdev
	}
	xattrs, err := s.d.lowerXattrs(object{fd, true})
	if err != nil {
		return 0, err
	}
	n := min(len(xattrs), volume.MaxOpXattrs)
	op.Xattrs = xattrs[:n]
	if op.Ino, err = s.sink.NewIno(); err != nil {
		return 0, err
	}
	if _, err := s.add(op); err != nil {
		return 0, err
	}
	for _, x := range xattrs[n:] {
		if _, err := s.add(&volume.Op{Kind: volume.OpSetXattr, Ino: op.Ino, Name: x.Name, Data: x.Value}); err != nil {
			return 0, err
		}
	}
	if st.typ() == volume.ModeDir {
		s.sink.Found(path, 0)
		return op.Ino, nil
	}
	if st.typ() == volume.ModeFile && st.Size > 0 {
		if _, err := s.add(&volume.Op{Kind: volume.OpTruncate, Ino: op.Ino, Size: st.Size}); err != nil {
			return 0, err
		}
	}
	v, err := s.add(&volume.Op{Kind: volume.OpSetAttr, Ino: op.Ino, Mask: volume.SetAtime | volume.SetMtime, Atime: st.Atime, Mtime: st.Mtime})
	if err != nil {
		return 0, err
	}
	size := int64(0)
	if st.typ() == volume.ModeFile {
		size = st.Size
	}
	s.sink.Found(path, size)
	return 0, s.record(op.Ino, v, st, key, st.Nlink > 1)
}
