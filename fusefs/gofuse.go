//go:build linux || freebsd

package fusefs

import (
	"bytes"
	"fmt"
	"log"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// gofuse mounts and speaks to the kernel through github.com/hanwen/go-fuse, whose
// server reads and decodes requests, calls rawFS, and encodes replies. What that server
// does differently from the other driver, and what follows from it, is in
// docs/decisions/0019-second-driver.md.
type gofuse struct {
	server *fuse.Server
	mount  goMount // the platform's part
	log    zerolog.Logger

	k    *core
	gone chan struct{}

	// gate is held for reading by every request, so that the last of them has ended
	// when it can be had for writing: the library waits for its readers only, and
	// where it has but one, requests run behind that one's back.
	gate  sync.RWMutex
	ended bool // guarded by gate

	busy  atomic.Int32 // requests being handled
	armed atomic.Bool  // a sweep is going to come

	slotMu sync.Mutex              // leaf lock; guards free and the making of slots
	free   []*slot                 //
	slots  atomic.Pointer[[]*slot] // all; replaced, never changed
}

// goMount is what a platform does to mount, and to end a mount.
type goMount interface {
	unmount(lazy bool) error
	abort() error
	incEpoch() error
	// close gives back what is left when the library has closed the device.
	close() error
}

// goMaxData is the largest content of a request or reply, bytes; the kernel may
// allow less (max_pages_limit).
const goMaxData = 1 << 20

// goMaxInflight bounds the requests with content that are handled at once. The library reads nothing
// more beyond that, not even what could be answered, so it is more than wait together; of the others,
// which take little, there may be thousands.
const goMaxInflight = 4 * maxReaders

// goExtraCaps are what the kernel is asked for beyond the library's own set and
// options. FreeBSD's offers none of them.
const goExtraCaps = initAtomicTrunc | initExportSupport | initDontMask | initReaddirplusAuto | initAsyncDIO | initKillPrivV2 | initSetxattrExt

// goOptions are what the library is to negotiate: the same as the other driver's, with
// larger requests.
func goOptions(o *Options) *fuse.MountOptions {
	return &fuse.MountOptions{
		AllowOther:              o.AllowOther,
		FsName:                  o.FSName,
		Name:                    fsSubtype,
		MaxBackground:           o.MaxBackground,
		CongestionThreshold:     max(1, o.MaxBackground*3/4),
		MaxWrite:                goMaxData,
		MaxReadAhead:            o.ReadAhead,
		MaxInflightRequestBytes: goMaxInflight * (goMaxData + 1<<16),
		EnableSymlinkCaching:    true,
		// Without it the library asks for the opposite, AUTO_INVAL_DATA.
		ExplicitDataCacheControl: true,
		EnableAcl:                !o.NoACL,
		// Data is read into the library's buffer: there is no descriptor to splice from.
		DisableSplice:        true,
		ExtraCapabilities:    goExtraCaps,
		DisabledCapabilities: fuse.CAP_FILE_OPS | fuse.CAP_NO_OPEN_SUPPORT | fuse.CAP_PASSTHROUGH,
		Logger:               log.New(goLog{o.Log}, "", 0),
		// The library would answer EIO and go on, with whatever the request holds.
		PanicHandler: func(x any) fuse.Status { panic(x) },
	}
}

// goLog passes on what the library has to say.
type goLog struct{ log zerolog.Logger }

func (l goLog) Write(p []byte) (int, error) {
	l.log.Warn().Str("driver", DriverGofuse).Msg(string(bytes.TrimSpace(p)))
	return len(p), nil
}

// newGofuse negotiates on a mount point, or on a device in the form /dev/fd/N.
func newGofuse(where string, o *Options) (*gofuse, features, error) {
	d := &gofuse{log: o.Log, gone: make(chan struct{})}
	d.slots.Store(new([]*slot))
	opt := goOptions(o)
	goMountOptions(opt, o)
	server, err := fuse.NewServer(&rawFS{RawFileSystem: fuse.NewDefaultRawFileSystem(), d: d}, where, opt)
	if err != nil {
		return nil, features{}, volume.Errorf(volume.Unavailable, "mount %s: %w", o.Dir, err)
	}
	d.server = server
	// What was asked for and offered is what was agreed on.
	agreed := server.KernelSettings().Flags64() & opt.ExtraCapabilities
	acl := opt.EnableAcl && server.KernelSettings().Flags64()&fuse.CAP_POSIX_ACL != 0
	return d, features{dontMask: agreed&initDontMask != 0, posixACL: acl, setxattrExt: agreed&initSetxattrExt != 0}, nil
}

func (d *gofuse) mounted(o *Options) {
	in := d.server.KernelSettings()
	o.Log.Info().Str("dir", o.Dir).Str("driver", d.name()).Str("protocol", fmt.Sprintf("%d.%d", in.Major, in.Minor)).
		Str("offered", fmt.Sprintf("%#x", in.Flags64())).Msg("mounted")
}

func (d *gofuse) name() string { return DriverGofuse }

func (d *gofuse) done() <-chan struct{} { return d.gone }

func (d *gofuse) serve(k *core) {
	d.k = k
	go func() {
		d.server.Serve()
		d.gate.Lock() // after the requests in progress
		d.ended = true
		d.gate.Unlock()
		close(d.gone)
	}()
}

func (d *gofuse) unmount(lazy bool) error { return d.mount.unmount(lazy) }
func (d *gofuse) abort() error            { return d.mount.abort() }
func (d *gofuse) close() error            { return d.mount.close() }

// readers counts as a reader each request in progress, and those that wait for one.
func (d *gofuse) readers() (all, busy int) {
	busy = int(d.busy.Load())
	var waiting int
	if _, err := fmt.Sscanf(d.server.DebugData(), "readers: %d", &waiting); err != nil {
		waiting = 0
	}
	return busy + waiting, busy
}

func (d *gofuse) invalInode(ino volume.Ino, off, n int64) error {
	return statusError(d.server.InodeNotify(uint64(ino), off, n))
}

func (d *gofuse) invalEntry(dir volume.Ino, name string) error {
	return statusError(d.server.EntryNotify(uint64(dir), name))
}

func (d *gofuse) incEpoch() error { return d.mount.incEpoch() }

func statusError(s fuse.Status) error {
	if s.Ok() {
		return nil
	}
	return syscall.Errno(s)
}

// slot is what a request needs while it is handled.
type slot struct {
	c       *call
	dirents goDirents

	mu     sync.Mutex      // leaf lock; guards all below
	signal <-chan struct{} // closed when the caller got a signal; nil between requests
	unique uint64
}

// interrupted returns the number of the request if its caller got a signal.
func (s *slot) interrupted() (unique uint64, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.signal == nil {
		return 0, false
	}
	select {
	case <-s.signal:
		return s.unique, true
	default:
		return 0, false
	}
}

func (s *slot) watch(signal <-chan struct{}, unique uint64) {
	s.mu.Lock()
	s.signal, s.unique = signal, unique
	s.mu.Unlock()
}

func (d *gofuse) takeSlot() *slot {
	d.slotMu.Lock()
	defer d.slotMu.Unlock()
	if n := len(d.free); n > 0 {
		s := d.free[n-1]
		d.free = d.free[:n-1]
		return s
	}
	s := &slot{c: d.k.calls.get()}
	old := *d.slots.Load()
	all := append(append(make([]*slot, 0, len(old)+1), old...), s)
	d.slots.Store(&all)
	return s
}

func (d *gofuse) putSlot(s *slot) {
	d.slotMu.Lock()
	d.free = append(d.free, s)
	d.slotMu.Unlock()
}

// handle answers a request. That its reply is lost cannot be seen here, but the kernel
// takes every reply to what it has sent, unless the mount is over.
func (d *gofuse) handle(signal <-chan struct{}, h *fuse.InHeader, answer func(*slot) syscall.Errno) fuse.Status {
	d.gate.RLock()
	defer d.gate.RUnlock()
	if d.ended {
		return fuse.Status(syscall.ENOTCONN)
	}
	s := d.takeSlot()
	op := h.Opcode
	if op >= opcodeEnd || opcodeNames[op] == "" {
		op = 0
	}
	s.c.stats.byOp[op].Add(1)
	s.c.begin(h.Unique, h.Uid, h.Gid, h.Pid)
	s.watch(signal, h.Unique)
	d.busy.Add(1)
	d.arm()
	errno := answer(s)
	d.busy.Add(-1)
	s.watch(nil, 0)
	s.c.end()
	if errno != 0 {
		s.c.stats.errors.Add(1)
	}
	d.putSlot(s)
	return fuse.Status(errno)
}

// handleOf handles a request on an open file.
func (d *gofuse) handleOf(signal <-chan struct{}, h *fuse.InHeader, handle uint64, answer func(*slot) syscall.Errno) fuse.Status {
	return d.handle(signal, h, func(s *slot) syscall.Errno {
		if errno := d.k.owned(volume.Ino(h.NodeId), handle); errno != 0 {
			return errno
		}
		return answer(s)
	})
}

// sweepEvery is how soon a killed caller is noticed.
const sweepEvery = 20 * time.Millisecond

// arm sees to it that somebody looks after interrupted requests, while there are
// requests: the library closes a channel, for which nobody can wait without a goroutine
// of its own for each request.
func (d *gofuse) arm() {
	if !d.armed.Load() && d.armed.CompareAndSwap(false, true) {
		time.AfterFunc(sweepEvery, d.sweep)
	}
}

// sweep cancels the requests whose callers are to be killed; other signals do not end
// an operation on a file.
func (d *gofuse) sweep() {
	d.armed.Store(false) // before busy is looked at: see handle
	for _, s := range *d.slots.Load() {
		unique, ok := s.interrupted()
		if !ok {
			continue
		}
		if x, pid := d.k.calls.find(unique); x != nil && killed(pid) {
			x.cancel(unique)
		}
	}
	if d.busy.Load() > 0 {
		d.arm()
	}
}
