package fusefs

import (
	"context"
	"sync"
	"time"

	"wolfdisk/volume"
)

// maxReaders bounds the requests that are handled, or wait, at once.
const maxReaders = 128

// driver is the way to the kernel: it mounts, reads requests, calls the core and
// writes replies.
type driver interface {
	kernel
	name() string
	// serve starts to answer requests.
	serve(k *core)
	// done is closed when the kernel has gone and no request is in progress.
	done() <-chan struct{}
	// unmount takes the mount away from its directory; with lazy even while it is in
	// use. Requests go on until the last user has gone.
	unmount(lazy bool) error
	// abort breaks the connection: all requests, and all users, get errors.
	abort() error
	// close gives back what is left, after done.
	close() error
	// readers is how many readers there are, and how many handle a request.
	readers() (all, busy int)
}

// Server is one mount.
type Server struct {
	core   *core
	driver driver
	opt    Options
	cancel context.CancelFunc
	ended  chan struct{} // closed when everything is given back
	err    error         // set before ended is closed

	unmounting sync.Mutex
}

// Mount lays a volume over a directory and begins to serve it. ctx gives values to
// the requests' contexts; its end does not unmount.
func Mount(ctx context.Context, vol volume.Volume, o Options) (*Server, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	k := newCore(base, vol, o.Log)
	k.onClose = o.SyncOnClose
	d, f, err := mountDriver(&o)
	if err != nil {
		cancel()
		return nil, err
	}
	k.attach(d, f)
	s := &Server{core: k, driver: d, opt: o, cancel: cancel, ended: make(chan struct{})}
	d.serve(k)
	go s.finish()
	return s, nil
}

// finish waits for the end of the mount and cleans up behind it.
func (s *Server) finish() {
	<-s.driver.done()
	s.cancel()
	s.core.close()
	s.err = s.driver.close()
	s.opt.Log.Info().Str("dir", s.opt.Dir).Msg("unmounted")
	close(s.ended)
}

// Observer is to be told of the volume's ops; it invalidates what the kernel keeps
// and what this mount did not change itself. Ops between Mount and the observer's
// registration are made good by InvalidateAll.
func (s *Server) Observer() volume.Observer { return s.core }

// Disown makes the files that are open stale, of some inodes or of all: the volume shows others in their
// place, with the same inode IDs, because the copy that they were opened on was given up. Who has them
// open gets ESTALE; who opens them from now on sees the new ones. It is to be called between the two.
func (s *Server) Disown(inos []volume.Ino, all bool) { s.core.disown(inos, all) }

// InvalidateAll makes the kernel forget everything it keeps. It is needed after a
// change that no ops told of: another volume, another history.
func (s *Server) InvalidateAll() {
	s.core.own.clear()
	s.core.observed.Add(1)
	s.core.notify.pushAll()
}

// Settle waits until the kernel has been told of all that was observed before.
func (s *Server) Settle(ctx context.Context) error {
	accused := s.core.accused()
	if err := s.until(ctx, func() bool { return s.core.acquitted(accused) }); err != nil {
		return err
	}
	num := s.core.notify.pushed()
	return s.until(ctx, func() bool { return s.core.notify.doneThrough(num) })
}

func (s *Server) until(ctx context.Context, ok func() bool) error {
	for !ok() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.ended:
			return nil
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Dir is the mount point.
func (s *Server) Dir() string { return s.opt.Dir }

// Driver is the name of the driver in use.
func (s *Server) Driver() string { return s.driver.name() }

// Wait returns when the mount is gone, whoever unmounted it.
func (s *Server) Wait() error {
	<-s.ended
	return s.err
}

// Done is closed when the mount is gone.
func (s *Server) Done() <-chan struct{} { return s.ended }

const (
	// detachGrace is how long the users of a busy mount may go on.
	detachGrace = time.Second
	// endGrace is how long an unmounted, or aborted, mount may take to end.
	endGrace = 5 * time.Second
)

// Unmount ends the mount. If it is in use it is detached, so that nobody new can
// come; those who still use it after a second, or when ctx ends, get errors.
func (s *Server) Unmount(ctx context.Context) error {
	s.unmounting.Lock()
	defer s.unmounting.Unlock()
	if s.wait(ctx, 0) {
		return s.err
	}
	err := s.driver.unmount(false)
	if err == nil {
		if s.wait(ctx, endGrace) {
			return s.err
		}
	} else if volume.KindOf(err) == volume.Busy {
		s.opt.Log.Warn().Str("dir", s.opt.Dir).Msg("the mount is in use: detaching it")
		if err = s.driver.unmount(true); err == nil && s.wait(ctx, detachGrace) {
			return s.err
		}
	}
	if s.wait(ctx, 0) {
		return s.err // somebody else unmounted it
	}
	s.opt.Log.Warn().Err(err).Str("dir", s.opt.Dir).Msg("the mount does not end: breaking the connection")
	s.core.calls.cancelAll()
	if aerr := s.driver.abort(); aerr != nil {
		return volume.Errorf(volume.Busy, "unmount %s: it is still in use, and %w", s.opt.Dir, aerr)
	}
	s.core.calls.cancelAll()
	if !s.wait(context.WithoutCancel(ctx), endGrace) {
		return volume.Errorf(volume.Busy, "unmount %s: requests in progress do not end", s.opt.Dir)
	}
	return s.err
}

// wait waits for the end of the mount, for at most d.
func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	select {
	case <-s.ended:
		return true
	default:
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-s.ended:
		return true
	case <-ctx.Done():
	case <-t.C:
	}
	return false
}
