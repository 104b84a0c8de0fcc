package hostdir

import (
	"context"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// ReadAt implements volume.Backing.
func (d *Dir) ReadAt(ctx context.Context, attr *volume.Attr, p []byte, off int64, view volume.View) (int, error) {
	if off < 0 {
		return 0, volume.Errorf(volume.Invalid, "read %s at %d", attr.Ino, off)
	}
	if off >= attr.Size || len(p) == 0 {
		return 0, nil
	}
	p = p[:min(int64(len(p)), attr.Size-off)]
	e, err := d.file(attr.Ino, false, view)
	if err != nil {
		return 0, err
	}
	defer d.files.put(e)
	n, err := preadFull(e.fd, p, off)
	if err != nil {
		return n, volume.Wrapf(err, "read %d bytes at %d of %s", len(p), off, attr.Ino)
	}
	if n == len(p) {
		return n, nil
	}
	// Shorter than it was when the caller looked: truncated meanwhile, which the
	// index knows, or behind the daemon.
	now, err := view.Inode(attr.Ino)
	if err != nil {
		return n, volume.Wrap(err, "read "+attr.Ino.String())
	}
	if now.Size <= off+int64(n) {
		return n, nil
	}
	if !d.underWay(attr.Ino) {
		d.foreign(attr.Ino, "its file is shorter than it should be")
	}
	return n, volume.Errorf(volume.Corrupt, "the file of inode %s ends at %d, the index has %d bytes: it was cut behind the daemon", attr.Ino, off+int64(n), now.Size)
}

// Seek implements volume.Backing.
func (d *Dir) Seek(ctx context.Context, attr *volume.Attr, off int64, hole bool, view volume.View) (int64, error) {
	if off < 0 || off >= attr.Size {
		return 0, volume.NotSeekable
	}
	e, err := d.file(attr.Ino, false, view)
	if err != nil {
		return 0, err
	}
	defer d.files.put(e)
	whence := seekData
	if hole {
		whence = seekHole
	}
	at, err := unix.Seek(e.fd, off, whence)
	switch {
	case err == unix.ENXIO:
		return 0, volume.NotSeekable
	case err == unix.EINVAL || err == unix.EOPNOTSUPP: // no holes here
		if hole {
			return attr.Size, nil
		}
		return off, nil
	case err != nil:
		return 0, volume.Wrapf(err, "seek from %d in %s", off, attr.Ino)
	case hole:
		return min(at, attr.Size), nil
	case at >= attr.Size:
		return 0, volume.NotSeekable
	}
	return at, nil
}

// StatFS implements volume.Backing.
func (d *Dir) StatFS(ctx context.Context) (volume.StatFS, error) {
	st, err := statFS(d.root)
	return st, volume.Wrap(err, "ask the file system for its space")
}

// errSync is what every sync answers once one has failed.
func errSync() error {
	return volume.Errorf(volume.IO, "an earlier sync of the real directory failed, so what was written since may be lost: check the disk and restart")
}

// failSync remembers that a sync failed: trying again would prove nothing.
func (d *Dir) failSync(err error, what string) error {
	if err != nil {
		d.syncFailed.Store(true)
	}
	return volume.Wrap(err, what)
}

// Sync implements volume.Backing. Without data a file's times are made durable too.
func (d *Dir) Sync(ctx context.Context, ino volume.Ino, data bool, view volume.View) error {
	if d.syncFailed.Load() {
		return errSync()
	}
	attr, err := view.Inode(ino)
	if err != nil {
		return volume.Wrap(err, "sync "+ino.String())
	}
	what := "sync " + ino.String()
	switch {
	case attr.IsDir() && attr.Nlink == 0:
		return nil
	case attr.IsDir():
		fd, release, err := d.dirFD(ino, view)
		if err != nil {
			return err
		}
		defer release()
		return volume.Wrap(d.syncDir(fd), what)
	case !attr.IsFile():
		return nil // what it is lies in its directory
	}
	e, err := d.file(ino, false, view)
	if err != nil {
		return err
	}
	defer d.files.put(e)
	if data {
		return d.failSync(d.sys.fdatasync(e.fd), what)
	}
	if _, dirty := d.dirty.get(ino); dirty {
		done := d.dirty.settle(ino)
		if _, dirty = d.dirty.get(ino); dirty { // and is settled later, or again
			err = d.setTimes(object{e.fd, false}, &attr)
		}
		done()
		if err != nil {
			return volume.Wrap(err, what)
		}
	}
	return d.failSync(again(func() error { return unix.Fsync(e.fd) }), what)
}

// SyncAll implements volume.Backing: it syncs the whole lower file system.
func (d *Dir) SyncAll(ctx context.Context) error {
	if d.syncFailed.Load() {
		return errSync()
	}
	return d.failSync(d.sys.syncfs(d.root), "sync the real directory's file system")
}

// Checkpoint makes the directory durable as it is now. Once the index is durable
// up to an op that was applied before the call, Redo need not go further back.
func (d *Dir) Checkpoint(ctx context.Context) error { return d.SyncAll(ctx) }
