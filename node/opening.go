package node

import (
	"context"
	"time"

	"wolfdisk/volume"
)

// openFor is how long calls wait for a volume that is being opened.
const openFor = 30 * time.Second

// opening is what front ends see of a volume in a real directory until it is known what it holds. The
// mount lies over the directory from when that is open, before anything in it is compared: what
// an application writes to the directory itself after that is an edit that nobody looks for. Calls wait
// for the volume that takes this one's place, and are then its.
type opening struct {
	nothing
	h     func() *Handle
	over  chan struct{}   // closed when another volume is in charge
	ended <-chan struct{} // of the node
}

var (
	_ volume.Volume     = opening{}
	_ volume.NameReader = opening{}
	_ volume.KeptReader = opening{}
)

func (n *node) newOpening() opening {
	return opening{
		h: func() *Handle {
			n.mu.Lock()
			defer n.mu.Unlock()
			return n.handle
		},
		over: make(chan struct{}), ended: n.stop.Done(),
	}
}

// replaced implements waiter.
func (o opening) replaced() { close(o.over) }

// wait waits for the volume that comes next, and returns the handle on it.
func (o opening) wait(ctx context.Context) (*Handle, error) {
	t := time.NewTimer(openFor)
	defer t.Stop()
	select {
	case <-o.over:
		return o.h(), nil
	case <-ctx.Done():
		return nil, volume.Interrupted
	case <-o.ended:
	case <-t.C:
	}
	return nil, volume.Errorf(volume.Unavailable, "the volume is being opened: nothing is served until that is done")
}

func (o opening) Lookup(ctx context.Context, dir volume.Ino, name string) (a volume.Attr, err error) {
	h, err := o.wait(ctx)
	if err == nil {
		a, err = h.Lookup(ctx, dir, name)
	}
	return a, err
}

func (o opening) GetAttr(ctx context.Context, ino volume.Ino) (a volume.Attr, err error) {
	h, err := o.wait(ctx)
	if err == nil {
		a, err = h.GetAttr(ctx, ino)
	}
	return a, err
}

func (o opening) ReadDir(ctx context.Context, dir volume.Ino, after uint64, fn func(volume.DirEntry) bool) error {
	h, err := o.wait(ctx)
	if err == nil {
		err = h.ReadDir(ctx, dir, after, fn)
	}
	return err
}

func (o opening) GetXattr(ctx context.Context, ino volume.Ino, name string) (v []byte, err error) {
	h, err := o.wait(ctx)
	if err == nil {
		v, err = h.GetXattr(ctx, ino, name)
	}
	return v, err
}

func (o opening) ListXattr(ctx context.Context, ino volume.Ino) (names []string, err error) {
	h, err := o.wait(ctx)
	if err == nil {
		names, err = h.ListXattr(ctx, ino)
	}
	return names, err
}

func (o opening) StatFS(ctx context.Context) (s volume.StatFS, err error) {
	h, err := o.wait(ctx)
	if err == nil {
		s, err = h.StatFS(ctx)
	}
	return s, err
}

// Do and Open are asked again of the volume in charge by the Handle.

func (o opening) Do(ctx context.Context, _ *volume.Request) (volume.Result, error) {
	_, err := o.wait(ctx)
	if err == nil {
		err = errReplaced
	}
	return volume.Result{}, err
}

func (o opening) Open(ctx context.Context, _ volume.Ino, _ bool) error {
	_, err := o.wait(ctx)
	if err == nil {
		err = errReplaced
	}
	return err
}

// cover lays the mount over the directory that has just been opened, if that is where it belongs.
func (n *node) cover(ctx context.Context, st *storage) error {
	if st.dir == nil || n.cfg.Mount.Dir != n.cfg.Volume.Dir {
		return nil
	}
	n.attach(n.newOpening())
	return n.mountNow(ctx)
}
