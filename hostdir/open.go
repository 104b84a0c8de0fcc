package hostdir

import (
	"context"
	"errors"
	"os"
	"sync/atomic"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Options say which directory is opened, and for whom.
type Options struct {
	Path     string    // the directory; not used again after Open
	StateDir string    // the node's state directory; it holds the intent file
	Volume   volume.ID // the volume whose content the directory holds
	Store    volume.ID // the store ID of the state directory

	// New says that the volume holds nothing yet, so an empty directory without a
	// marker may be taken for it. Otherwise an unmarked directory is refused: it
	// may be the empty mount point of a disk that is not mounted.
	New bool
	// TakeFull lets a new volume take a directory that holds files already, which the
	// caller then makes the volume's by Scan.
	TakeFull bool
	// AcceptForeign takes a directory whose marker is missing, damaged, or names
	// another volume or state directory.
	AcceptForeign bool
	// AcceptNewFS takes a directory whose marker names another file system, as after
	// it was copied to a new disk. Lower files are then found by name again.
	AcceptNewFS bool
	// AcceptEmpty takes an empty directory for a volume that holds files.
	AcceptEmpty bool

	Log zerolog.Logger
	// MaxFDs bounds the descriptors held for files and directories; 0 means half of
	// the process's limit, at most 65,536.
	MaxFDs int
	// Chunks gets a chunk's whole content for range copies, its hash checked.
	Chunks func(context.Context, volume.ChunkID) ([]byte, error)
	// OnForeign is told of an inode whose lower file was changed by somebody else,
	// or whose content an operation that failed half-way left unsure. It must
	// return soon and is called without locks of this package.
	OnForeign func(volume.Ino)

	// Boot replaces what the system says of this boot, for tests.
	Boot *Boot
}

// Boot identifies one run of the machine.
type Boot struct {
	ID    string
	Start volume.Time // by the clock of now
}

// Dir is an open directory. All methods may be called concurrently unless they say
// otherwise.
type Dir struct {
	opt  Options
	log  zerolog.Logger
	sys  *sys
	root int // the volume's root directory
	own  int // .wolfdisk
	// staging and kept are the folders in .wolfdisk.
	staging, kept int
	state         int // the state directory
	rootDev       uint64
	fsTag         [4]byte
	handles       bool // file handles can be taken
	byHandle      bool // and opened
	uid           uint32
	boot          Boot

	files, dirs *fdCache
	dirty       *dirtySet
	pending     *pending
	intents     *intentFile
	stats       counters
	noAtime     int
	syncFailed  atomic.Bool
	closed      atomic.Bool

	leases leases
	holds  holds
}

var _ volume.Backing = (*Dir)(nil)

// Open opens a directory before a mount is laid over it. It refuses what would endanger data, with
// an error that says the way out; it makes the marker of a new volume.
func Open(opt Options) (_ *Dir, err error) {
	d := &Dir{opt: opt, log: opt.Log, root: -1, own: -1, staging: -1, kept: -1, state: -1, uid: uint32(os.Geteuid()), noAtime: oNoAtime}
	if d.sys, err = newSys(); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			d.closeAll()
		}
	}()
	if err := d.openRoot(); err != nil {
		return nil, err
	}
	if err := d.openState(); err != nil {
		return nil, err
	}
	if err := d.takeDirectory(); err != nil {
		return nil, err
	}
	d.detectHandles()
	if d.boot, err = thisBoot(opt.Boot); err != nil {
		return nil, err
	}
	maxFDs := opt.MaxFDs
	if maxFDs <= 0 {
		limit, err := RaiseFileLimit()
		if err != nil {
			return nil, volume.Wrap(err, "ask for the limit of open files")
		}
		maxFDs = min(limit/2, 1<<16)
	}
	d.files, d.dirs = newFDCache(max(maxFDs*3/4, cacheShards)), newFDCache(max(maxFDs/4, cacheShards))
	d.dirty, d.pending = newDirtySet(), newPending()
	d.leases.m = map[uint64]*leased{}
	if d.intents, err = openIntents(opt.StateDir, d.state, d.boot.ID); err != nil {
		return nil, err
	}
	return d, nil
}

func thisBoot(given *Boot) (Boot, error) {
	if given != nil {
		return *given, nil
	}
	id, err := bootID()
	if err != nil {
		return Boot{}, volume.Wrap(err, "ask for the boot ID")
	}
	start, err := bootTime()
	return Boot{ID: id, Start: start}, volume.Wrap(err, "ask for the boot time")
}

// openRoot opens the directory and refuses what cannot be one.
func (d *Dir) openRoot() error {
	path := d.opt.Path
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	switch err {
	case nil:
	case unix.ENOENT:
		return volume.Errorf(volume.NotFound, "directory %s does not exist; create it, or mount the disk that holds it", path)
	case unix.ENOTDIR:
		return volume.Errorf(volume.NotDir, "%s is not a directory; name one", path)
	case unix.ENOTCONN:
		return volume.Errorf(volume.Busy, "%s is the dead mount of a daemon that is gone; unmount it (fusermount3 -u %s) and start again", path, path)
	default:
		return volume.Errorf(volume.KindOf(err), "open directory %s: %w", path, err)
	}
	d.root = fd
	fuse, readOnly, err := inspectFS(fd)
	if err != nil {
		return volume.Wrap(err, "examine the file system of "+path)
	}
	if fuse {
		return volume.Errorf(volume.Unsupported, "%s lies on a FUSE mount, which cannot hold a volume; unmount it, or choose a directory of a "+
			"local file system", path)
	}
	if readOnly {
		return volume.Errorf(volume.ReadOnly, "%s lies on a file system that is mounted read-only; remount it for writing", path)
	}
	if err := unix.Faccessat(fd, ".", unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS); err != nil {
		return volume.Errorf(volume.AccessDenied, "directory %s cannot be written by this user: %w; change its owner or mode", path, err)
	}
	points, err := mountsBelow(d.sys, fd)
	if err != nil {
		return volume.Wrap(err, "look for mount points inside "+path)
	}
	if len(points) > 0 {
		return volume.Errorf(volume.CrossDevice, "%s is a mount point inside %s (%d in all); a volume is one file system: unmount it, or mount it "+
			"elsewhere", points[0], path, len(points))
	}
	st, err := fstat(fd)
	d.rootDev = st.Dev
	return volume.Wrap(err, "stat "+path)
}

// openState opens the state directory and makes sure that neither lies in the other.
func (d *Dir) openState() error {
	path, state := d.opt.Path, d.opt.StateDir
	fd, err := unix.Open(state, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return volume.Errorf(volume.KindOf(err), "open state directory %s: %w", state, err)
	}
	d.state = fd
	for _, c := range []struct {
		inner, outer int
		text         string
	}{
		{d.state, d.root, "state directory " + state + " lies inside the volume's directory " + path},
		{d.root, d.state, "directory " + path + " lies inside the state directory " + state},
	} {
		outer, err := fstat(c.outer)
		if err != nil {
			return volume.Wrap(err, "compare "+path+" with "+state)
		}
		start, err := unix.Dup(c.inner)
		if err != nil {
			return volume.Wrap(err, "compare "+path+" with "+state)
		}
		inside, err := hasAncestor(start, outer)
		if err != nil {
			return volume.Wrap(err, "compare "+path+" with "+state)
		}
		if inside {
			return volume.Errorf(volume.Invalid, "%s: the volume would hold its own log; choose another with --state-dir", c.text)
		}
	}
	return nil
}

// hasAncestor walks up from fd, which it closes, and reports whether it meets the
// given directory; fd itself counts.
func hasAncestor(fd int, dir lowerStat) (bool, error) {
	defer func() { unix.Close(fd) }()
	prev := lowerStat{}
	for {
		st, err := fstat(fd)
		if err != nil {
			return false, err
		}
		if st.Dev == dir.Dev && st.Ino == dir.Ino {
			return true, nil
		}
		if st.Dev == prev.Dev && st.Ino == prev.Ino {
			return false, nil // the root's parent is itself
		}
		prev = st
		up, err := unix.Openat(fd, "..", oPath|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return false, err
		}
		unix.Close(fd)
		fd = up
	}
}

// takeDirectory checks or makes the marker and opens .wolfdisk.
func (d *Dir) takeDirectory() error {
	path := d.opt.Path
	fs, strong, err := fsID(d.root)
	if err != nil {
		return volume.Wrap(err, "examine the file system of "+path)
	}
	d.fsTag = fsTagOf(fs)
	want := marker{volume: d.opt.Volume, store: d.opt.Store, fs: fs}
	own, err := d.sys.open(d.root, Reserved, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err == nil {
		d.own = own
		var m marker
		if m, err = d.readMarker(own); err == nil {
			if err := d.checkMarker(m, want, strong); err != nil {
				return err
			}
			if err := d.dropForeignStaging(m, want); err != nil {
				return err
			}
			return d.openFolders(m, want)
		}
		if k := volume.KindOf(err); k != volume.NotFound && (k != volume.Corrupt || !d.opt.AcceptForeign) {
			return err
		}
		if err := d.checkOwn(); err != nil {
			return err
		}
	} else if err != unix.ENOENT {
		return volume.Errorf(volume.KindOf(err), "open %s/%s: %w; it must be a directory made by WolfDisk", path, Reserved, err)
	}
	return d.firstTime(want)
}

// checkMarker compares the marker found with the one expected.
func (d *Dir) checkMarker(m, want marker, strong bool) error {
	path := d.opt.Path
	switch {
	case (m.volume != want.volume || m.store != want.store) && d.opt.AcceptForeign:
		return nil
	case m.volume != want.volume:
		return volume.Errorf(volume.WrongVolume, "directory %s holds volume %s, not %s; start with the state directory that belongs to it, choose "+
			"another directory, or start with --adopt to take over what it holds", path, m.volume, want.volume)
	case m.store != want.store:
		return volume.Errorf(volume.WrongVolume, "directory %s belongs to another state directory (store %s, not %s); start with --state-dir of that one, "+
			"or with --adopt if that one is gone", path, m.store, want.store)
	case m.fs != want.fs && strong && !d.opt.AcceptNewFS:
		return volume.Errorf(volume.WrongVolume, "directory %s was made on another file system (%s, now %s): it looks like a copy; start with --force if the "+
			"original is gone", path, m.fs, want.fs)
	}
	return nil
}

// firstTime takes a directory without a marker.
func (d *Dir) firstTime(want marker) error {
	path := d.opt.Path
	empty, err := d.IsEmpty()
	if err != nil {
		return err
	}
	switch o := &d.opt; {
	case !empty && o.New && !o.TakeFull:
		return volume.Errorf(volume.NotEmpty, "directory %s holds files that belong to no WolfDisk volume; start with an empty directory", path)
	case !empty && !o.New && !o.AcceptForeign:
		return volume.Errorf(volume.NotEmpty, "directory %s holds files, but not the marker of volume %s: is it the right directory, on the right disk? "+
			"Start with --adopt if it is, and what it holds is to become the volume", path, want.volume)
	case empty && !o.New && !o.AcceptEmpty:
		return volume.Errorf(volume.Missing, "directory %s is empty, but the volume %s is not: is its disk mounted? Mount it and start again; "+
			"start with --force if everything in it was really deleted", path, want.volume)
	}
	root, err := fstat(d.root)
	if err != nil {
		return volume.Wrap(err, "stat "+path)
	}
	if d.own < 0 {
		if err := again(func() error { return unix.Mkdirat(d.root, Reserved, 0o700) }); err != nil {
			return volume.Wrap(err, "create "+path+"/"+Reserved)
		}
		if d.own, err = d.sys.open(d.root, Reserved, unix.O_RDONLY|unix.O_DIRECTORY, 0); err != nil {
			return volume.Wrap(err, "open "+path+"/"+Reserved)
		}
	}
	if err := d.openFolders(marker{}, want); err != nil {
		return err
	}
	// What was taken over looks as before.
	if err := d.sys.utimes(object{d.root, false}, root.Atime, root.Mtime); err != nil && !refusal(err) {
		return volume.Wrap(err, "set the times of "+path)
	}
	return nil
}

// openFolders opens or makes the folders and writes the marker if it changes.
func (d *Dir) openFolders(have, want marker) error {
	for _, f := range []struct {
		name string
		fd   *int
	}{{stagingName, &d.staging}, {keptName, &d.kept}} {
		if err := again(func() error { return unix.Mkdirat(d.own, f.name, 0o700) }); err != nil && err != unix.EEXIST {
			return volume.Wrap(err, "create "+Reserved+"/"+f.name)
		}
		fd, err := d.sys.open(d.own, f.name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			return volume.Wrap(err, "open "+Reserved+"/"+f.name)
		}
		*f.fd = fd
	}
	if have.equal(want) {
		return nil
	}
	return d.writeMarker(d.own, want)
}

// detectHandles finds out whether files can be known and reached by handle.
func (d *Dir) detectHandles() {
	h, err := d.sys.handle(d.root)
	if d.handles = err == nil; !d.handles {
		return
	}
	fd, err := d.sys.openHandle(d.root, h, oPath|unix.O_DIRECTORY)
	if d.byHandle = err == nil; d.byHandle {
		unix.Close(fd)
	}
}

// Close flushes nothing: SettleAll and SyncAll do, while the index can still be
// asked. It must not run concurrently with other methods.
func (d *Dir) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	return d.closeAll()
}

func (d *Dir) closeAll() error {
	if d.files != nil {
		d.letAll()
		d.files.dropAll()
		d.dirs.dropAll()
	}
	var errs []error
	if d.intents != nil {
		errs = append(errs, d.intents.close())
	}
	for _, fd := range []int{d.root, d.own, d.staging, d.kept, d.state} {
		if fd >= 0 {
			errs = append(errs, unix.Close(fd))
		}
	}
	if d.sys != nil {
		d.sys.close()
	}
	return errors.Join(errs...)
}
