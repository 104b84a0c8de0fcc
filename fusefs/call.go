package fusefs

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"wolfdisk/volume"
)

// call is one request in the making. Calls are made once per reader and used again
// for each request, so that a request allocates nothing of its own.
type call struct {
	ctx    *callContext                // of the request being handled; the call's own view
	shared atomic.Pointer[callContext] // the same, for others
	caller volume.Caller

	req     volume.Request // lives here because it would escape otherwise
	attr    volume.Attr    // of the answer
	fresh   bool           // attr may be kept by the kernel
	handle  uint64         // of a file that was opened
	counted []volume.Ino   // lookups counted for this request, taken back if the reply is lost
	entries []volume.DirEntry
	sink    dirSink // of a listing

	flight flight
	stats  callStats
}

// callStats are written by the call's own goroutine only.
type callStats struct {
	byOp   [opcodeEnd]atomic.Uint64
	errors atomic.Uint64
}

// begin prepares the call for a request.
func (c *call) begin(unique uint64, uid, gid, pid uint32) {
	c.caller = volume.Caller{UID: uid, GID: gid, PID: pid, Front: volume.FrontFUSE}
	c.fresh = true
	c.counted = c.counted[:0]
	if x := c.ctx.begin(unique, pid); x != c.ctx {
		c.ctx = x
		c.shared.Store(x)
	}
}

// end closes the request; its data must no longer be used by the volume.
func (c *call) end() {
	c.ctx.end()
	c.req.Data = nil
}

// calls lists every call of a mount, so that requests in flight can be found.
type calls struct {
	mu   sync.Mutex
	list atomic.Pointer[[]*call] // replaced, never changed
	free []*call                 // guarded by mu: kept for the next reader
	base context.Context
}

func newCalls(base context.Context) *calls {
	cs := &calls{base: base}
	cs.list.Store(new([]*call))
	return cs
}

// get returns an unused call.
func (cs *calls) get() *call {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if n := len(cs.free); n > 0 {
		c := cs.free[n-1]
		cs.free = cs.free[:n-1]
		return c
	}
	c := &call{ctx: &callContext{parent: cs.base}}
	c.shared.Store(c.ctx)
	old := *cs.list.Load()
	list := append(append(make([]*call, 0, len(old)+1), old...), c)
	cs.list.Store(&list)
	return c
}

func (cs *calls) put(c *call) {
	cs.mu.Lock()
	cs.free = append(cs.free, c)
	cs.mu.Unlock()
}

func (cs *calls) all() []*call { return *cs.list.Load() }

// find returns the request with the given number, if it is still being handled.
func (cs *calls) find(unique uint64) (x *callContext, pid uint32) {
	for _, c := range cs.all() {
		x := c.shared.Load()
		if pid, ok := x.handles(unique); ok {
			return x, pid
		}
	}
	return nil, 0
}

// cancelAll cancels every request in flight.
func (cs *calls) cancelAll() {
	for _, c := range cs.all() {
		c.shared.Load().cancel(0)
	}
}

// callContext is a request's context. It makes its channel only when somebody asks
// for it: a volume that does not wait never does. One whose channel was handed out
// is not used for another request.
type callContext struct {
	parent context.Context

	mu     sync.Mutex // leaf lock; guards all below
	unique uint64     // of the request, 0 between requests
	pid    uint32     // of its caller
	done   chan struct{}
	err    error
}

func (x *callContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (x *callContext) Value(key any) any           { return x.parent.Value(key) }

func (x *callContext) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.err != nil {
			close(x.done)
		}
	}
	return x.done
}

func (x *callContext) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

// handles reports whether this is the context of the request with the given number,
// and who asks.
func (x *callContext) handles(unique uint64) (pid uint32, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.pid, unique != 0 && x.unique == unique
}

// cancel cancels the request with the given number, or any with 0.
func (x *callContext) cancel(unique uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.unique == 0 || unique != 0 && x.unique != unique || x.err != nil {
		return
	}
	x.err = context.Canceled
	if x.done != nil {
		close(x.done)
	}
}

// begin returns a context for a request: this one if nobody can hold on to it.
func (x *callContext) begin(unique uint64, pid uint32) *callContext {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil && x.err == nil {
		x.unique, x.pid = unique, pid
		return x
	}
	return &callContext{parent: x.parent, unique: unique, pid: pid}
}

func (x *callContext) end() {
	x.mu.Lock()
	x.unique = 0
	x.mu.Unlock()
}

// errnoOf is what the application sees. EINTR only if the request was interrupted.
func (c *call) errnoOf(err error) syscall.Errno {
	if err == nil {
		return 0
	}
	if c.ctx.Err() != nil && (errors.Is(err, context.Canceled) || volume.KindOf(err) == volume.Interrupted) {
		return syscall.EINTR
	}
	return volume.ErrnoOf(err)
}
