package fusefs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// drivers mount by name. The automatic choice is the one that needs the least of the
// machine's time: docs/decisions/0019-second-driver.md.
var drivers = map[string]func(*Options) (driver, features, error){
	DriverAuto:   mountBazil,
	DriverBazil:  mountBazil,
	DriverGofuse: mountGofuse,
}

func mountDriver(o *Options) (driver, features, error) {
	mount, ok := drivers[o.Driver]
	if !ok {
		return nil, features{}, volume.Errorf(volume.Unsupported, "mount driver %q: known are %q, %q and %q", o.Driver, DriverAuto, DriverBazil, DriverGofuse)
	}
	if err := Available(); err != nil {
		return nil, features{}, err
	}
	if err := checkMountPoint(o); err != nil {
		return nil, features{}, err
	}
	return mount(o)
}

// mountPointOps are what can be done to a mount without its device.
type mountPointOps struct {
	dir string
	id  string // "major:minor" of the mount, empty if unknown
	log zerolog.Logger
}

func newMountPointOps(dir string, log zerolog.Logger) mountPointOps {
	return mountPointOps{dir: dir, id: mountID(dir), log: log}
}

func (p *mountPointOps) unmount(lazy bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if lazy {
		flags |= unix.MNT_DETACH
	}
	err := unix.Unmount(p.dir, flags)
	if errors.Is(err, unix.EPERM) {
		err = helperUnmount(p.dir, lazy)
	}
	if err == nil {
		return nil
	}
	return volume.Errorf(volume.KindOf(err), "unmount %s: %w", p.dir, err)
}

// detach takes away a mount that nobody serves.
func detach(dir string) error {
	p := mountPointOps{dir: dir}
	return p.unmount(true)
}

// helperUnmount unmounts with the rights of fusermount3, for users who are not root.
func helperUnmount(dir string, lazy bool) error {
	args := []string{"-u", "--", dir}
	if lazy {
		args = []string{"-u", "-z", "--", dir}
	}
	out, err := exec.Command("fusermount3", args...).CombinedOutput()
	if err == nil {
		return nil
	}
	if strings.Contains(string(out), "busy") {
		return syscall.EBUSY
	}
	return volume.Errorf(volume.IO, "fusermount3: %w: %s", err, bytes.TrimSpace(out))
}

// abort breaks the connection through the kernel's control file system, where that
// is mounted or else where only this call sees it.
func (p *mountPointOps) abort() error {
	_, minor, ok := strings.Cut(p.id, ":")
	if !ok {
		return volume.Errorf(volume.NotFound, "the number of its connection is not known")
	}
	file := minor + "/abort"
	err := os.WriteFile("/sys/fs/fuse/connections/"+file, []byte("1"), 0)
	if errors.Is(err, unix.ENOENT) {
		err = abortPrivately(file)
	}
	if errors.Is(err, unix.ENOENT) {
		return nil // the connection has ended meanwhile
	}
	if err != nil {
		return volume.Errorf(volume.KindOf(err), "break the connection: %w", err)
	}
	return nil
}

func abortPrivately(file string) error {
	fs, err := unix.Fsopen("fusectl", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open the control file system: %w", err)
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return fmt.Errorf("configure the control file system: %w", err)
	}
	root, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("mount the control file system: %w", err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat(root, file, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", file, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("1")); err != nil {
		return fmt.Errorf("write %s: %w", file, err)
	}
	return nil
}

// tuneReadAhead widens the window: INIT can only narrow it.
func (p *mountPointOps) tuneReadAhead(bytes int) {
	if p.id == "" {
		return
	}
	path := "/sys/class/bdi/" + p.id + "/read_ahead_kb"
	if err := os.WriteFile(path, fmt.Appendf(nil, "%d", bytes>>10), 0); err != nil {
		p.log.Debug().Err(err).Msg("widen the read-ahead window; it stays at the kernel's default")
	}
}
