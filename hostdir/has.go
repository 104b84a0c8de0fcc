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
