package hostdir

import (
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Has reports whether a name that the view knows exists below; of an inode without a
// name, parent is 0.
func (d *Dir) Has(parent volume.Ino, name string, ino volume.Ino, view volume.View) (bool, error) {
	p, release, err := d.parentOf(parent, name, ino, view)
	if err != nil {
		return false, err
	}
	defer release()
	if _, err := statAt(p.dir, p.name); err == unix.ENOENT {
		return false, nil
	} else if err != nil {
		return false, volume.Wrap(err, "look for "+p.name)
	}
	return true, nil
}

// Give gives an inode's file the owner and the mode that the index says, whatever it has
// now, and leaves it to be settled.
func (d *Dir) Give(ino volume.Ino, view volume.View) error {
	attr, err := view.Inode(ino)
	if err != nil {
		return err
	}
	o, release, err := d.object(ino, &attr, view)
	if err != nil {
		return volume.Wrap(err, "set attributes of "+ino.String())
	}
	defer release()
	d.dirty.mark(ino, attr.Ctime)
	if err := d.setOwner(o, ino, attr.UID, attr.GID, false); err != nil {
		return volume.Wrap(err, "set attributes of "+ino.String())
	}
	if attr.Type() == volume.ModeLink {
		return nil
	}
	return volume.Wrap(d.setMode(o, ino, attr.Mode), "set attributes of "+ino.String())
}
