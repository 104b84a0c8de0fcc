package hostdir

import (
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// Plain is the directory's tree as it lies below, whatever the index says of it, to be read
// by names: of what the index does not know. Its folders are to be closed, and it is not.
func (d *Dir) Plain() *Plain { return &Plain{d} }

// Into opens a directory in this one to read what is in it, and changes nothing about it.
func (f *PlainFolder) Into(name string) (*PlainFolder, error) {
	fd, err := f.d.openAt(f.fd, name, oPath|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &PlainFolder{f.d, fd}, nil
}

// ReadLink is the target of a symbolic link.
func (f *PlainFolder) ReadLink(name string) (target string, err error) {
	err = f.d.within(f.fd, func() (err error) {
		target, err = readlinkAt(f.fd, name)
		return err
	})
	return target, err
}

// Xattrs are the extended attributes of what has a name, sorted, without those that
// belong to the machine. The directory itself is ".".
func (f *PlainFolder) Xattrs(name string) (list []volume.Xattr, err error) {
	fd, err := f.d.openAt(f.fd, name, oPath)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	o := object{fd, true}
	names, err := f.d.sys.listXattr(o)
	if err != nil {
		return nil, err
	}
	for _, n := range names {
		if ignoredXattr(n) {
			continue
		}
		v, err := f.d.sys.getXattr(o, n)
		if err != nil {
			return nil, err
		}
		list = append(list, volume.Xattr{Name: n, Value: v})
	}
	return list, nil
}

// PlainFile is an open regular file that is read. Close it.
type PlainFile struct {
	fd      int
	release func()
}

// Open opens a regular file for reading.
func (f *PlainFolder) Open(name string) (*PlainFile, error) {
	const flags = unix.O_RDONLY | unix.O_NONBLOCK
	fd, err := f.d.openAt(f.fd, name, flags)
	if err == nil {
		return &PlainFile{fd, nothing}, nil
	}
	if err != unix.EACCES || f.d.uid == 0 {
		return nil, err
	}
	// Its mode shuts out its owner.
	o, oerr := f.d.openAt(f.fd, name, oPath)
	if oerr != nil {
		return nil, err
	}
	release, lerr := f.d.lease(o, 0o400)
	unix.Close(o)
	if lerr != nil {
		return nil, err
	}
	if fd, err = f.d.openAt(f.fd, name, flags); err != nil {
		release()
		return nil, err
	}
	return &PlainFile{fd, release}, nil
}

// ReadAt reads until p is full or the file ends; that is no error.
func (p *PlainFile) ReadAt(b []byte, off int64) (int, error) { return preadFull(p.fd, b, off) }

// Find finds data or a hole as Seek of volume.Reader does; NotSeekable.
func (p *PlainFile) Find(off int64, hole bool) (int64, error) {
	whence := seekData
	if hole {
		whence = seekHole
	}
	n, err := unix.Seek(p.fd, off, whence)
	if err == unix.ENXIO {
		err = volume.NotSeekable
	}
	return n, err
}

// Close closes it.
func (p *PlainFile) Close() error {
	err := unix.Close(p.fd)
	p.release()
	return err
}
