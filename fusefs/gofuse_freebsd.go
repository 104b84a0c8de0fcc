package fusefs

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// mountHelper is what the library mounts with.
const mountHelper = "/sbin/mount_fusefs"

// fsTypePrefix begins the type of every FUSE mount.
const fsTypePrefix = "fusefs"

func mountDriver(o *Options) (driver, features, error) {
	switch o.Driver {
	case DriverAuto, DriverGofuse:
	case DriverBazil:
		return nil, features{}, volume.Errorf(volume.Unsupported, "mount driver %q: it cannot be built for FreeBSD; take %q", o.Driver, DriverGofuse)
	default:
		return nil, features{}, volume.Errorf(volume.Unsupported, "mount driver %q: known are %q and %q", o.Driver, DriverAuto, DriverGofuse)
	}
	if err := Available(); err != nil {
		return nil, features{}, err
	}
	if err := checkMountPoint(o); err != nil {
		return nil, features{}, err
	}
	d, f, err := newGofuse(o.Dir, o)
	if err != nil {
		// The helper may have mounted before the library gave up.
		_, cerr := CleanStale(o.Dir, o.Log)
		return nil, features{}, errors.Join(err, cerr)
	}
	d.mount = goPoint{o.Dir}
	d.mounted(o)
	return d, f, nil
}

// goMountOptions adds what mount_fusefs is to be told. It takes no commas in values, and
// device nodes have no effect outside devfs in any case.
func goMountOptions(opt *fuse.MountOptions, o *Options) {
	opt.FsName = strings.NewReplacer(",", "_", `\`, "_").Replace(o.FSName)
	opt.Options = []string{"default_permissions"}
	if o.ReadOnly {
		opt.Options = append(opt.Options, "ro")
	}
	if !o.SUID {
		opt.Options = append(opt.Options, "nosuid")
	}
}

// goPoint is a mount whose device the library owns.
type goPoint struct{ dir string }

// unmount: there is no detaching here. With lazy the users of the mount lose it at once.
func (p goPoint) unmount(lazy bool) error {
	flags := 0
	if lazy {
		flags = unix.MNT_FORCE
	}
	if err := unix.Unmount(p.dir, flags); err != nil {
		return volume.Errorf(volume.KindOf(err), "unmount %s: %w", p.dir, err)
	}
	return nil
}

func (p goPoint) abort() error { return p.unmount(true) }

func (p goPoint) close() error { return nil }

// incEpoch: the kernel knows no such notice, and may end a mount that sends what it
// does not know.
func (p goPoint) incEpoch() error { return syscall.EINVAL }

// killed: the kernel interrupts requests only for callers that are to be killed, unless
// the mount has the option intr.
func killed(uint32) bool { return true }

// rdevToKernel gives a device number the form of this kernel's dev_t, as far as it fits
// into the 32 bits of a message: majors up to 255, minors without the bits 8 to 15.
func rdevToKernel(dev uint32) uint32 {
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	return major&0xff<<8 | minor&0xffff00ff
}

func rdevFromKernel(dev uint32) uint32 {
	major, minor := dev>>8&0xff, dev&0xffff00ff
	return minor&0xff | major<<8 | minor&0xfff00<<12
}

// Available says whether this machine can mount, and otherwise what is missing.
func Available() error {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, unix.ENOENT):
		return volume.Errorf(volume.Unavailable, "FUSE is not usable: %w; load the kernel module (kldload fusefs)", err)
	case err != nil:
		return volume.Errorf(volume.Unavailable, "FUSE is not usable: %w; the user needs read and write access to /dev/fuse, a jail also allow.mount.fusefs", err)
	}
	f.Close() // only opened to see whether it opens
	if _, err := os.Stat(mountHelper); err != nil {
		return volume.Errorf(volume.Unavailable, "FUSE is not usable: %w", err)
	}
	return nil
}

// CleanStale removes what crashed runs left mounted on a directory: FUSE mounts
// whose daemon is dead, also several on top of each other. A live one is left alone.
func CleanStale(dir string, log zerolog.Logger) (cleaned bool, err error) {
	path, err := resolveMountPoint(dir)
	if err != nil {
		return false, volume.Wrap(err, "look for a stale mount on "+dir)
	}
	for range 1000 {
		fsType, err := topMount(path)
		if err != nil || !strings.HasPrefix(fsType, fsTypePrefix) {
			return cleaned, err
		}
		dead, err := isDead(path)
		if err != nil || !dead {
			return cleaned, err
		}
		log.Warn().Str("dir", path).Str("type", fsType).Msg("removing the mount of a crashed run")
		if err := unix.Unmount(path, unix.MNT_FORCE); err != nil {
			return cleaned, volume.Errorf(volume.KindOf(err), "remove the stale mount on %s: %w; try: umount -f %s", path, err, path)
		}
		cleaned = true
	}
	return cleaned, volume.Errorf(volume.Busy, "%s: mounts do not come to an end", path)
}

// topMount is the type of what is mounted on a directory, last and so on top; empty if
// nothing is. It asks no file system.
func topMount(dir string) (fsType string, err error) {
	const noWait = 2 // MNT_NOWAIT, which x/sys does not have
	n, err := unix.Getfsstat(nil, noWait)
	if err != nil {
		return "", volume.Errorf(volume.IO, "list mounts: %w", err)
	}
	all := make([]unix.Statfs_t, n+8) // some more, if something is mounted meanwhile
	if n, err = unix.Getfsstat(all, noWait); err != nil {
		return "", volume.Errorf(volume.IO, "list mounts: %w", err)
	}
	for i := range all[:n] {
		if unix.ByteSliceToString(all[i].Mntonname[:]) == dir {
			fsType = unix.ByteSliceToString(all[i].Fstypename[:])
		}
	}
	return fsType, nil
}

// probeTimeout is how long a mounted file system may take to show that it lives.
const probeTimeout = 3 * time.Second

// isDead reports whether the daemon of the mount on a directory has gone. The kernel
// makes up the root's own attributes then, so a name in it is asked for that nobody
// keeps.
func isDead(dir string) (bool, error) {
	answer := make(chan error, 1)
	go func() {
		var st unix.Stat_t
		answer <- unix.Lstat(dir+"/.wolfdisk-is-it-alive", &st)
	}()
	select {
	case err := <-answer:
		return errors.Is(err, unix.ENOTCONN) || errors.Is(err, unix.ENXIO), nil
	case <-time.After(probeTimeout):
		return false, volume.Errorf(volume.Busy, "the mount on %s does not answer: its daemon hangs; end it, or umount -f %s", dir, dir)
	}
}
