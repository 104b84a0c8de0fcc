package hostdir

import (
	"sync"

	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// leases lend a daemon that is not root permissions on its own lower files for as long
// as it works with them: the index may have given a directory or file a mode that
// shuts out its owner. Root needs none of this.
type leases struct {
	mu sync.Mutex
	m  map[uint64]*leased // by lower inode number
}

type leased struct {
	refs int
	back uint32 // the mode to return to
}

func nothing() {}

// lease adds permission bits to an open file of our own until release is called. It
// does nothing where nothing is missing, or is not ours to give.
func (d *Dir) lease(fd int, bits uint32) (release func(), err error) {
	if d.uid == 0 {
		return nothing, nil
	}
	l := &d.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	st, err := fstat(fd)
	if err != nil {
		return nil, err
	}
	have := l.m[st.Ino]
	if st.UID != d.uid || have == nil && st.Mode&bits == bits {
		return nothing, nil
	}
	if st.Mode&bits != bits {
		if err := d.sys.chmod(object{fd, true}, st.Mode&volume.ModePerm|bits); err != nil {
			return nil, err
		}
	}
	if have == nil {
		have = &leased{back: st.Mode & volume.ModePerm}
		l.m[st.Ino] = have
	}
	have.refs++
	// The caller may close its descriptor first, so the lease has its own.
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		have.refs--
		return nil, err
	}
	return func() { d.endLease(own, st.Ino) }, nil
}

func (d *Dir) endLease(fd int, ino uint64) {
	defer unix.Close(fd)
	l := &d.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	have := l.m[ino]
	if have.refs--; have.refs > 0 {
		return
	}
	delete(l.m, ino)
	if err := d.sys.chmod(object{fd, true}, have.back); err != nil {
		d.log.Error().Err(err).Msg("a mode that was lent could not be put back")
	}
}

// chmod sets a mode, or what a lease will return to.
func (d *Dir) chmod(o object, mode uint32) error {
	if d.uid == 0 {
		return d.sys.chmod(o, mode)
	}
	l := &d.leases
	l.mu.Lock()
	defer l.mu.Unlock()
	st, err := fstat(o.fd)
	if err != nil {
		return err
	}
	if have := l.m[st.Ino]; have != nil {
		have.back = mode
		return nil
	}
	return d.sys.chmod(o, mode)
}

// within runs a call in a directory, and again with permissions lent if they lack.
func (d *Dir) within(dir int, call func() error) error {
	err := call()
	if err != unix.EACCES || d.uid == 0 {
		return err
	}
	release, lerr := d.lease(dir, 0o700)
	if lerr != nil {
		return err
	}
	defer release()
	return call()
}
