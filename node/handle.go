package node

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"wolfdisk/master"
	"wolfdisk/volume"
)

// Handle is the one way front ends reach the volume: it stands for whichever volume
// is in charge, and can be switched under a live mount. What front ends have open is
// counted here and opened again on the next volume.
//
// A change that a volume answers with master.Moved waits until somebody leads again, here or
// elsewhere, and is then asked of the volume in charge, which forwards it if that only follows.
//
// So does an fsync that a leader cannot answer any more. Once this node has led it is not answered from this
// node's disk alone, if more is promised: whoever leads is asked (fsyncer). One that is under way when the
// copy here is given up fails, whatever the leader says: it does not have what was written here.
type Handle struct {
	cur     atomic.Pointer[attachment]
	vacancy *vacancy
	late    syncLimit
	led     atomic.Bool   // this node has led since it was started
	losses  atomic.Uint64 // how often a copy was given up for another history

	switchMu sync.Mutex // one Switch at a time

	opensMu sync.Mutex
	opens   map[volume.Ino]*openCount
}

// attachment is one volume with the calls at work on it.
type attachment struct {
	vol   volume.Volume
	calls atomic.Int64
}

type openCount struct{ readers, writers int }

// waiter is a volume whose calls wait for the one that takes its place. What changes something is
// asked again then: it is answered with errReplaced. Switch calls replaced, once.
type waiter interface{ replaced() }

var errReplaced = errors.New("another volume is in charge")

// forwarder is a volume that follows and can have its leader make a change.
type forwarder interface {
	// forward has the leader make a change, and returns when it is visible here.
	forward(ctx context.Context, req *volume.Request) (volume.Result, error)
}

// fsyncer is a volume that follows and can have its leader make ops as durable as is promised.
type fsyncer interface {
	// fsync returns errReplaced if this node leads, and errSyncLate if nobody has led until late
	// was over.
	fsync(ctx, late context.Context, ino volume.Ino, data bool) error
}

// syncLimit is for how long an fsync waits for somebody who can answer it.
type syncLimit struct {
	after time.Duration // 0: for as long as it takes
	then  func() error  // what it ends with
}

var (
	_ volume.Volume     = (*Handle)(nil)
	_ volume.NameReader = (*Handle)(nil)
	_ volume.KeptReader = (*Handle)(nil)
)

// NewHandle returns a handle on vol.
func NewHandle(vol volume.Volume) *Handle { return newHandle(vol, newVacancy()) }

func newHandle(vol volume.Volume, v *vacancy) *Handle {
	h := &Handle{opens: make(map[volume.Ino]*openCount), vacancy: v}
	h.cur.Store(&attachment{vol: vol})
	return h
}

// Switch puts another volume in charge. What is open is opened on it, for reading: whether it
// takes changes is said of each. Switch returns when no call is at work on the old volume
// any more, which must have been stopped, or its calls may never end; then what was
// open is closed on it. Inodes that the new volume does not have are reported; their users get
// ESTALE.
func (h *Handle) Switch(vol volume.Volume) (stale []volume.Ino) {
	h.switchMu.Lock()
	defer h.switchMu.Unlock()
	ctx := context.Background()
	// opensMu is held over the exchange, so that no Open or Close falls between what
	// is opened here and the volume it is opened on.
	h.opensMu.Lock()
	was := make(map[volume.Ino]int, len(h.opens))
	for ino, n := range h.opens {
		was[ino] = n.readers + n.writers
		for range n.readers + n.writers {
			if err := vol.Open(ctx, ino, false); err != nil {
				stale = append(stale, ino)
				break
			}
		}
	}
	old := h.cur.Swap(&attachment{vol: vol})
	h.opensMu.Unlock()
	if r, ok := old.vol.(waiter); ok {
		r.replaced()
	}
	for old.calls.Load() > 0 {
		time.Sleep(time.Millisecond)
	}
	for ino, n := range was {
		for range n {
			_ = old.vol.Close(ctx, ino) // it has it not open, if it was stale there already
		}
	}
	return stale
}

// enter returns the volume in charge, held until leave.
func (h *Handle) enter() *attachment {
	for {
		a := h.cur.Load()
		a.calls.Add(1)
		if h.cur.Load() == a {
			return a
		}
		a.calls.Add(-1)
	}
}

func (a *attachment) leave() { a.calls.Add(-1) }

// Lookup implements volume.Reader.
func (h *Handle) Lookup(ctx context.Context, parent volume.Ino, name string) (volume.Attr, error) {
	a := h.enter()
	defer a.leave()
	return a.vol.Lookup(ctx, parent, name)
}

// GetAttr implements volume.Reader.
func (h *Handle) GetAttr(ctx context.Context, ino volume.Ino) (volume.Attr, error) {
	a := h.enter()
	defer a.leave()
	return a.vol.GetAttr(ctx, ino)
}

// ReadLink implements volume.Reader.
func (h *Handle) ReadLink(ctx context.Context, ino volume.Ino) (string, error) {
	a := h.enter()
	defer a.leave()
	return a.vol.ReadLink(ctx, ino)
}

// ReadDir implements volume.Reader.
func (h *Handle) ReadDir(ctx context.Context, dir volume.Ino, after uint64, fn func(volume.DirEntry) bool) error {
	a := h.enter()
	defer a.leave()
	return a.vol.ReadDir(ctx, dir, after, fn)
}

// ReadNames implements volume.NameReader.
func (h *Handle) ReadNames(ctx context.Context, dir volume.Ino, from string, fn func(volume.DirEntry) bool) error {
	a := h.enter()
	defer a.leave()
	if r, ok := a.vol.(volume.NameReader); ok {
		return r.ReadNames(ctx, dir, from, fn)
	}
	return cannot(a.vol, "list by name")
}

// ReadKept implements volume.KeptReader.
func (h *Handle) ReadKept(ctx context.Context, after volume.Ino, fn func(volume.Ino) bool) error {
	a := h.enter()
	defer a.leave()
	if r, ok := a.vol.(volume.KeptReader); ok {
		return r.ReadKept(ctx, after, fn)
	}
	return cannot(a.vol, "list what is kept without a name")
}

func cannot(v volume.Volume, what string) error {
	return volume.Errorf(volume.Unsupported, "a %T cannot %s", v, what)
}

// ParentOf implements volume.Reader.
func (h *Handle) ParentOf(ctx context.Context, dir volume.Ino) (volume.Ino, error) {
	a := h.enter()
	defer a.leave()
	return a.vol.ParentOf(ctx, dir)
}

// GetXattr implements volume.Reader.
func (h *Handle) GetXattr(ctx context.Context, ino volume.Ino, name string) ([]byte, error) {
	a := h.enter()
	defer a.leave()
	return a.vol.GetXattr(ctx, ino, name)
}

// ListXattr implements volume.Reader.
func (h *Handle) ListXattr(ctx context.Context, ino volume.Ino) ([]string, error) {
	a := h.enter()
	defer a.leave()
	return a.vol.ListXattr(ctx, ino)
}

// ReadAt implements volume.Reader.
func (h *Handle) ReadAt(ctx context.Context, ino volume.Ino, p []byte, off int64) (int, error) {
	a := h.enter()
	defer a.leave()
	return a.vol.ReadAt(ctx, ino, p, off)
}

// Seek implements volume.Reader.
func (h *Handle) Seek(ctx context.Context, ino volume.Ino, off int64, hole bool) (int64, error) {
	a := h.enter()
	defer a.leave()
	return a.vol.Seek(ctx, ino, off, hole)
}

// StatFS implements volume.Reader.
func (h *Handle) StatFS(ctx context.Context) (volume.StatFS, error) {
	a := h.enter()
	defer a.leave()
	return a.vol.StatFS(ctx)
}

// Position implements volume.Reader.
func (h *Handle) Position() volume.Position {
	a := h.enter()
	defer a.leave()
	return a.vol.Position()
}

// Do implements volume.Volume.
func (h *Handle) Do(ctx context.Context, req *volume.Request) (volume.Result, error) {
	for waited := false; ; waited = true {
		turn := h.vacancy.turn()
		res, err := h.try(ctx, req, waited)
		if err == errReplaced {
			continue
		}
		if !errors.Is(err, master.Moved) {
			return res, err
		}
		if err := h.vacancy.wait(ctx, turn); err != nil {
			return res, err
		}
	}
}

// try asks the volume in charge. One that has waited for a leader, and finds it elsewhere, is
// forwarded: whoever asked began when it could be done here.
func (h *Handle) try(ctx context.Context, req *volume.Request, waited bool) (volume.Result, error) {
	a := h.enter()
	if f, ok := a.vol.(forwarder); ok && (waited || h.vacancy.graceful()) {
		a.leave() // it may wait for a leader, and a Switch to this node's must not wait for it
		return f.forward(ctx, req)
	}
	defer a.leave()
	return a.vol.Do(ctx, req)
}

var errSyncLate = errors.New("an fsync has waited long enough")

// Sync implements volume.Volume.
func (h *Handle) Sync(ctx context.Context, ino volume.Ino, data bool) error {
	losses := h.losses.Load()
	// It bounds the waiting for a leader, and not this node's disk, nor what a leader waits for.
	late := ctx
	if h.late.after > 0 {
		var cancel context.CancelFunc
		late, cancel = context.WithTimeoutCause(ctx, h.late.after, errSyncLate)
		defer cancel()
	}
	for waited := false; ; waited = true {
		turn := h.vacancy.turn()
		err := h.sync(ctx, late, ino, data, waited)
		if errors.Is(err, master.Moved) {
			if err = h.vacancy.await(late, turn); err == nil {
				continue
			}
			if context.Cause(late) == errSyncLate {
				err = errSyncLate
			}
		}
		switch err {
		case errReplaced:
			continue
		case errSyncLate:
			err = h.late.then()
		}
		if err == nil && h.losses.Load() != losses {
			err = volume.Errorf(volume.IO, "what was written here has lost a fork and may be kept as a conflict alone: see wolfdiskctl conflicts list")
		}
		return err
	}
}

// sync asks the volume in charge. If that only follows, its leader has to be asked for what this node
// may have written when it led itself.
func (h *Handle) sync(ctx, late context.Context, ino volume.Ino, data, waited bool) error {
	a := h.enter()
	if f, ok := a.vol.(fsyncer); ok && (waited || h.led.Load() || h.writes(ino)) {
		a.leave() // it may wait for a leader, and a Switch to this node's must not wait for it
		return f.fsync(ctx, late, ino, data)
	}
	defer a.leave()
	return a.vol.Sync(ctx, ino, data)
}

// writes reports whether an inode is open for writing, or any if it is 0.
func (h *Handle) writes(ino volume.Ino) bool {
	h.opensMu.Lock()
	defer h.opensMu.Unlock()
	if ino != 0 {
		n := h.opens[ino]
		return n != nil && n.writers > 0
	}
	for _, n := range h.opens {
		if n.writers > 0 {
			return true
		}
	}
	return false
}

// Open implements volume.Volume. The count is taken first and the volume entered
// under the same lock, so a Switch opens exactly what is counted.
func (h *Handle) Open(ctx context.Context, ino volume.Ino, write bool) error {
	for waited := false; ; waited = true {
		turn := h.vacancy.turn()
		// What has waited is opened as what was open already: for reading, where the volume in
		// charge takes no changes.
		err := h.open(ctx, ino, write)
		if err == errReplaced {
			continue
		}
		if (waited || h.vacancy.graceful()) && err == volume.ReadOnly {
			err = h.open(ctx, ino, false)
		}
		if !errors.Is(err, master.Moved) {
			return err
		}
		if err := h.vacancy.wait(ctx, turn); err != nil {
			return err
		}
	}
}

func (h *Handle) open(ctx context.Context, ino volume.Ino, write bool) error {
	for {
		h.opensMu.Lock()
		a := h.enter()
		h.count(ino, write, 1)
		h.opensMu.Unlock()
		err := a.vol.Open(ctx, ino, write)
		if err == nil {
			a.leave()
			return nil
		}
		h.opensMu.Lock()
		h.count(ino, write, -1)
		next := h.enter()
		h.opensMu.Unlock()
		a.leave()
		if next == a {
			next.leave()
			return err
		}
		// A Switch came between: it has opened the inode on the next volume, or could
		// not. That is taken back, and what counts is the next volume's answer.
		_ = next.vol.Close(ctx, ino)
		next.leave()
	}
}

// Close implements volume.Volume.
func (h *Handle) Close(ctx context.Context, ino volume.Ino) error {
	h.opensMu.Lock()
	a := h.enter()
	// A Close does not say how it was opened; readers go first, which matters only
	// for what a Switch asks of the next volume.
	n := h.opens[ino]
	h.count(ino, n != nil && n.readers == 0, -1)
	h.opensMu.Unlock()
	defer a.leave()
	return a.vol.Close(ctx, ino)
}

// count adds to the opens of an inode, with opensMu held.
func (h *Handle) count(ino volume.Ino, write bool, by int) {
	n := h.opens[ino]
	if n == nil {
		n = &openCount{}
		h.opens[ino] = n
	}
	if write {
		n.writers += by
	} else {
		n.readers += by
	}
	if n.readers <= 0 && n.writers <= 0 {
		delete(h.opens, ino)
	}
}
