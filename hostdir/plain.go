package hostdir

import (
	"os"
	"path/filepath"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Plain writes a tree of plain files that belongs to no volume: an export. It has no
// index, no marker and no identities; what it shares with Dir is how a lower file is
// made to be what an index says. Its methods and those of its folders may be called
// concurrently, except on one name.
type Plain struct {
	d *Dir
}

// PlainFolder is an open directory of the tree. Close it.
type PlainFolder struct {
	d  *Dir
	fd int
}

// OpenPlain opens an existing directory to write a tree into.
func OpenPlain(path string, log zerolog.Logger) (*Plain, error) {
	d := &Dir{log: log, root: -1, own: -1, staging: -1, kept: -1, state: -1, uid: uint32(os.Geteuid()), noAtime: oNoAtime}
	var err error
	if d.sys, err = newSys(); err != nil {
		return nil, err
	}
	d.pending = newPending()
	d.leases.m = map[uint64]*leased{}
	if d.root, err = unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err != nil {
		d.sys.close()
		return nil, volume.Errorf(volume.KindOf(err), "open directory %s: %w", path, err)
	}
	if _, err := RaiseFileLimit(); err != nil {
		d.closeAll()
		return nil, volume.Wrap(err, "ask for the limit of open files")
	}
	return &Plain{d}, nil
}

// Close makes nothing durable.
func (p *Plain) Close() error { return p.d.closeAll() }

// Sync makes everything written so far durable.
func (p *Plain) Sync() error { return volume.Wrap(p.d.sys.syncfs(p.d.root), "sync the file system") }

// Inside reports whether the tree lies in the directory at path, or is it. A path that does
// not exist holds nothing.
func (p *Plain) Inside(path string) (bool, error) {
	if _, err := os.Lstat(path); os.IsNotExist(err) {
		return false, nil
	}
	fd, err := unix.Open(filepath.Clean(path), oPath|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false, volume.Wrap(err, "open "+path)
	}
	st, err := fstat(fd)
	unix.Close(fd)
	if err != nil {
		return false, volume.Wrap(err, "stat "+path)
	}
	up, err := unix.FcntlInt(uintptr(p.d.root), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return false, volume.Wrap(err, "compare with "+path)
	}
	inside, err := hasAncestor(up, st)
	return inside, volume.Wrap(err, "compare with "+path)
}

// Root is the top directory.
func (p *Plain) Root() (*PlainFolder, error) {
	fd, err := unix.FcntlInt(uintptr(p.d.root), unix.F_DUPFD_CLOEXEC, 0)
	return &PlainFolder{p.d, fd}, err
}

// Close lets go of the directory.
func (f *PlainFolder) Close() error { return unix.Close(f.fd) }

// Folder opens a directory in this one, never through a link.
func (f *PlainFolder) Folder(name string) (*PlainFolder, error) {
	var fd int
	err := f.d.within(f.fd, func() (err error) {
		fd, err = f.d.sys.open(f.fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		return err
	})
	if err == unix.EACCES && f.d.uid != 0 { // its mode shuts out its owner
		fd, err = f.opened(name)
	}
	if err != nil {
		return nil, err
	}
	return &PlainFolder{f.d, fd}, nil
}

func (f *PlainFolder) opened(name string) (int, error) {
	o, err := f.d.sys.open(f.fd, name, oPath|unix.O_DIRECTORY, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(o)
	if err := f.d.sys.chmod(object{o, true}, 0o700); err != nil {
		return -1, err
	}
	return f.d.sys.open(f.fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// Mkdir makes a directory that only its owner can enter.
func (f *PlainFolder) Mkdir(name string) error {
	return f.d.within(f.fd, func() error {
		return again(func() error { return unix.Mkdirat(f.fd, name, 0o700) })
	})
}

// Shut closes the directory itself to everybody but its owner, until Dress opens it.
func (f *PlainFolder) Shut() error { return f.d.sys.chmod(object{f.fd, false}, 0o700) }

// Names calls fn with each name in the directory until it fails.
func (f *PlainFolder) Names(fn func(name string) error) error {
	return f.d.within(f.fd, func() error {
		return f.d.listDir(f.fd, func(name string, _ uint64, _ uint32) error { return fn(name) })
	})
}

// Stat describes what has a name; NotFound. The inode number is the lower one.
func (f *PlainFolder) Stat(name string) (a volume.Attr, lower uint64, err error) {
	var st lowerStat
	err = f.d.within(f.fd, func() (err error) {
		st, err = statAt(f.fd, name)
		return err
	})
	if err != nil {
		return volume.Attr{}, 0, err
	}
	return st.attr(), st.Ino, nil
}

// Remove takes a name away.
func (f *PlainFolder) Remove(name string, isDir bool) error {
	return f.d.within(f.fd, func() error { return unlinkAt(f.fd, name, isDir) })
}

// Rename moves a name to another directory, over what is there.
func (f *PlainFolder) Rename(name string, to *PlainFolder, as string) error {
	return f.d.within(to.fd, func() error { return renameAt(f.fd, name, to.fd, as) })
}

// Link gives what is called name a further name in another directory.
func (f *PlainFolder) Link(name string, to *PlainFolder, as string) error {
	fd, err := f.d.sys.open(f.fd, name, oPath, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return f.d.sys.link(fd, to.fd, as)
}

// Create makes a regular file and opens it for writing. The caller closes it.
func (f *PlainFolder) Create(name string) (*os.File, error) {
	fd, err := f.d.sys.open(f.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// Make makes an empty inode that is neither a regular file nor a directory. Unsupported if
// the file system, or the system, does not let this user have one.
func (f *PlainFolder) Make(name string, attr *volume.Attr, target string) error {
	if attr.Type() == volume.ModeLink {
		return again(func() error { return unix.Symlinkat(target, f.fd, name) })
	}
	err := f.d.sys.mknod(f.fd, name, attr.Type()|0o600, attr.Rdev)
	if err == unix.EPERM || err == unix.EOPNOTSUPP || err == unix.EINVAL {
		return volume.Errorf(volume.Unsupported, "make a special file: %w", err)
	}
	return err
}

// Dress gives what has a name (of the directory itself: ".") owner, attributes, mode
// and times, in that order. It returns what the file system did not take.
func (f *PlainFolder) Dress(name string, attr *volume.Attr, view volume.View) (refused []string, err error) {
	var fd int
	if name == "." {
		fd, err = unix.FcntlInt(uintptr(f.fd), unix.F_DUPFD_CLOEXEC, 0)
	} else {
		fd, err = f.d.sys.open(f.fd, name, oPath, 0)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	o := object{fd, name != "."}
	if err := f.d.dressed(o, attr, view); err != nil {
		f.d.pending.forget(attr.Ino)
		return nil, err
	}
	flags := f.d.pending.takeRefused(attr.Ino)
	for _, k := range []struct {
		flag uint8
		text string
	}{{flagOwner, "owner"}, {flagMode, "mode"}, {flagXattr, "extended attributes"}} {
		if flags&k.flag != 0 {
			refused = append(refused, k.text)
		}
	}
	err = f.d.sys.utimes(o, attr.Atime, attr.Mtime)
	if refusal(err) {
		return append(refused, "times"), nil
	}
	return refused, err
}
