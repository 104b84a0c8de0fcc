package hostdir

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// bare is the mode a lower file is born with: nobody gets in before it has its owner.
// A daemon that is not root must get in itself.
func (d *Dir) bare(mode uint32) uint32 {
	if d.uid == 0 {
		return 0
	}
	if mode&volume.ModeType == volume.ModeDir {
		return 0o700
	}
	return 0o600
}

// parentOf opens the directory that holds a name; of a nameless inode, staging.
func (d *Dir) parentOf(parent volume.Ino, name string, ino volume.Ino, view volume.View) (place, func(), error) {
	if parent == 0 {
		return place{d.staging, ino.String()}, func() {}, nil
	}
	if IsReserved(parent, name) {
		return place{}, nil, volume.Errorf(volume.NotPermitted, "the name %s at the root is reserved", Reserved)
	}
	fd, release, err := d.dirFD(parent, view)
	return place{fd, name}, release, err
}

func (d *Dir) applyCreate(op *volume.Op, view volume.View) ([]volume.LowerRecord, error) {
	p, release, err := d.parentOf(op.Parent, op.Name, op.Ino, view)
	if err != nil {
		return nil, err
	}
	defer release()
	var rec *record
	err = d.clearing(p, func() error {
		rec, err = d.make(p, op)
		return err
	})
	if err != nil {
		return nil, volume.Wrapf(err, "create %.300q in %s", op.Name, op.Parent)
	}
	return []volume.LowerRecord{rec.encode(op.Ino)}, nil
}

// clearing runs a call that needs the name p to be free, or to be what it replaces. If
// something is there that the index does not know, it is moved to kept and
// the call repeated, once.
func (d *Dir) clearing(p place, call func() error) error {
	err := d.within(p.dir, call)
	switch err {
	case unix.EEXIST, unix.ENOTEMPTY, unix.ENOTDIR, unix.EISDIR:
		if aerr := d.aside(p); aerr != nil {
			return fmt.Errorf("%w, and it cannot be moved to %s/%s: %w", err, Reserved, keptName, aerr)
		}
		return d.within(p.dir, call)
	}
	return err
}

// aside moves what has a name to kept, under a name that tells when and which.
func (d *Dir) aside(p place) error {
	if _, err := statAt(p.dir, p.name); err != nil {
		if err == unix.ENOENT {
			return nil
		}
		return err
	}
	base := p.name
	if len(base) > 200 {
		base = base[:200]
	}
	for i := range 1000 {
		kept := fmt.Sprintf("%s.%03d.%s", time.Now().UTC().Format("20060102T150405"), i, base)
		err := d.sys.renameNoReplace(p.dir, p.name, d.kept, kept)
		if err == unix.EEXIST {
			continue
		}
		if err != nil {
			return err
		}
		d.stats.kept.Add(1)
		d.log.Warn().Str("code", "WD-5102").Str("name", p.name).Str("kept", Reserved+"/"+keptName+"/"+kept).
			Msg("a file that the volume does not know was in the way and has been moved aside; take from it what you need and remove it")
		return nil
	}
	return unix.EEXIST
}

// make creates a lower inode and gives it what the op says; after a failure nothing is left.
func (d *Dir) make(p place, op *volume.Op) (*record, error) {
	o, standIn, err := d.born(p, op)
	if err != nil {
		return nil, err
	}
	rec, err := d.finish(o, op)
	if err == nil && standIn {
		rec.flags |= flagStandIn
	}
	if err != nil {
		unix.Close(o.fd)
		if uerr := unlinkAt(p.dir, p.name, op.Mode&volume.ModeType == volume.ModeDir); uerr != nil {
			d.log.Error().Err(uerr).Str("name", p.name).Msg("an unfinished file could not be removed")
		}
		return nil, err
	}
	switch op.Mode & volume.ModeType {
	case volume.ModeFile:
		d.files.put(d.files.add(op.Ino, o.fd, true))
	case volume.ModeDir:
		d.dirs.put(d.dirs.add(op.Ino, o.fd, false))
	default:
		unix.Close(o.fd)
	}
	return rec, nil
}

// born makes the bare inode and opens it.
func (d *Dir) born(p place, op *volume.Op) (o object, standIn bool, err error) {
	bare := d.bare(op.Mode)
	switch typ := op.Mode & volume.ModeType; typ {
	case volume.ModeFile:
		fd, err := d.sys.open(p.dir, p.name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL|d.noAtime, bare)
		return object{fd, false}, false, err
	case volume.ModeDir:
		err = again(func() error { return unix.Mkdirat(p.dir, p.name, bare) })
	case volume.ModeLink:
		err = again(func() error { return unix.Symlinkat(op.Target, p.dir, p.name) })
	default:
		err = d.sys.mknod(p.dir, p.name, typ|bare, op.Rdev)
		if err == unix.EPERM || err == unix.EOPNOTSUPP || err == unix.EINVAL {
			d.stats.refusedNode.Add(1)
			standIn = true
			var fd int
			if fd, err = d.sys.open(p.dir, p.name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, bare); err == nil {
				unix.Close(fd)
			}
		}
	}
	if err != nil {
		return object{}, false, err
	}
	flags := oPath
	if op.Mode&volume.ModeType == volume.ModeDir {
		flags |= unix.O_DIRECTORY
	}
	fd, err := d.sys.open(p.dir, p.name, flags, 0)
	if err != nil {
		if uerr := unlinkAt(p.dir, p.name, op.Mode&volume.ModeType == volume.ModeDir); uerr != nil {
			d.log.Error().Err(uerr).Str("name", p.name).Msg("an unfinished file could not be removed")
		}
		return object{}, false, err
	}
	return object{fd, true}, standIn, nil
}

// finish sets owner, attributes and mode of a new inode, leaving out the calls that
// would change nothing, and identifies it.
func (d *Dir) finish(o object, op *volume.Op) (*record, error) {
	st, err := fstat(o.fd)
	if err != nil {
		return nil, err
	}
	if st.UID != op.UID || st.GID != op.GID {
		if err := d.refused(op.Ino, flagOwner, d.sys.chown(o, op.UID, op.GID)); err != nil {
			return nil, err
		}
	}
	for _, x := range op.Xattrs {
		if err := d.setXattr(o, op.Ino, x.Name, x.Value); err != nil {
			return nil, err
		}
	}
	if op.Mode&volume.ModeType != volume.ModeLink && (len(op.Xattrs) > 0 || st.Mode&volume.ModePerm != op.Mode&volume.ModePerm) {
		if err := d.setMode(o, op.Ino, op.Mode); err != nil {
			return nil, err
		}
	}
	key, err := d.keyOf(o.fd, &st)
	if err != nil {
		return nil, err
	}
	return &record{flags: d.pending.takeRefused(op.Ino), ino: st.Ino, ctime: st.Ctime, size: st.Size, key: key}, nil
}
