package hostdir

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// IsEmpty reports whether the directory holds nothing but what every file system may
// have at its root, and our own folder.
func (d *Dir) IsEmpty() (bool, error) {
	empty := true
	err := d.listDir(d.root, func(name string, _ uint64, _ uint32) error {
		if !leftAlone(volume.RootIno, name) {
			empty = false
			return errEnough
		}
		return nil
	})
	if err == errEnough {
		err = nil
	}
	return empty, volume.Wrap(err, "list "+d.opt.Path)
}

// errEnough ends a listing.
var errEnough = fmt.Errorf("enough")

// leftAlone reports whether a name found below is no part of any volume: our own
// folder, and the one that a file system's repair uses.
func leftAlone(dir volume.Ino, name string) bool {
	return IsReserved(dir, name) || dir == volume.RootIno && name == "lost+found"
}

// checkOwn refuses a .wolfdisk without a marker that holds what is not ours.
func (d *Dir) checkOwn() error {
	return d.listDir(d.own, func(name string, _ uint64, _ uint32) error {
		switch name {
		case markerName, markerName + ".tmp", stagingName, keptName, oldName:
			return nil
		}
		return volume.Errorf(volume.NotEmpty, "%s/%s holds %q, which WolfDisk did not put there; the name %s is reserved at the root of a volume: "+
			"rename what is called so", d.opt.Path, Reserved, name, Reserved)
	})
}

// dropForeignStaging puts aside what another volume left in staging, where it would
// be taken for inodes of ours.
func (d *Dir) dropForeignStaging(have, want marker) error {
	if have.volume == want.volume {
		return nil
	}
	err := unlinkAt(d.own, stagingName, true)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err := again(func() error { return unix.Mkdirat(d.own, keptName, 0o700) }); err != nil && err != unix.EEXIST {
		return volume.Wrap(err, "create "+Reserved+"/"+keptName)
	}
	kept := fmt.Sprintf("%s/staging.%s.%s", keptName, have.volume, time.Now().UTC().Format("20060102T150405.000000000"))
	if err := renameAt(d.own, stagingName, d.own, kept); err != nil {
		return volume.Wrap(err, "put aside "+Reserved+"/"+stagingName+" of volume "+have.volume.String())
	}
	return nil
}
