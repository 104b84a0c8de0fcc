//go:build linux || freebsd

package fusefs

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// checkMountPoint resolves the mount point in o, which must be a directory.
func checkMountPoint(o *Options) error {
	dir, err := resolveMountPoint(o.Dir)
	if err != nil {
		return volume.Wrap(err, "mount "+o.Dir)
	}
	o.Dir = dir
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return volume.Errorf(volume.KindOf(err), "mount point %s: %w", dir, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return volume.Errorf(volume.NotDir, "mount point %s: not a directory", dir)
	}
	return nil
}

// resolveMountPoint makes a path absolute and free of symbolic links without asking
// a file system that may be mounted there.
func resolveMountPoint(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", volume.Errorf(volume.Invalid, "make the path absolute: %w", err)
	}
	for range 40 {
		parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
		if err != nil {
			return "", volume.Errorf(volume.KindOf(err), "%w", err)
		}
		dir = filepath.Join(parent, filepath.Base(dir))
		target, err := os.Readlink(dir)
		if err != nil {
			return dir, nil // no link: a directory, or something mounted, dead or alive
		}
		if !filepath.IsAbs(target) {
			target = filepath.Join(parent, target)
		}
		dir = filepath.Clean(target)
	}
	return "", volume.Errorf(volume.Invalid, "%s: %w", dir, unix.ELOOP)
}
