package fusefs

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

// features are what was agreed with the kernel, as far as answers depend on it.
type features struct {
	dontMask    bool // modes come without the umask taken off
	posixACL    bool // the kernel checks ACLs, and knows that they change modes
	setxattrExt bool // SETXATTR has flags of its own
}

// core answers requests from a volume. It knows no FUSE library: a driver decodes,
// calls one method, encodes. Methods return an errno and leave the answer in the
// call. Inodes they put into call.counted are known to the kernel from then on; a
// driver that could not deliver the reply says so with undo.
type core struct {
	vol      volume.Volume
	log      zerolog.Logger
	failures zerolog.Logger // of I/O errors: some of many
	features features
	epochs   bool // the kernel can be told that all names are stale
	onClose  bool // Options.SyncOnClose
	nodes    *nodes
	calls    *calls
	notify   *notifier
	stuck    atomic.Uint64 // a notice that Applying has waited for in vain; 0: none sleeps
	start    time.Time

	own           ownOps
	unseen        unseen
	repeats       repeats
	listings      listings
	handles       handles
	appends       appends
	kept          keptCloser
	observed      atomic.Uint64 // counts changes that did not come through this mount
	suspectsArmed atomic.Bool
	rootNames     nameSet // unless epochs
}

func newCore(ctx context.Context, vol volume.Volume, log zerolog.Logger) *core {
	// Who works on through errors makes thousands a second, all of one reason.
	failures := log.Sample(&zerolog.BurstSampler{Burst: 10, Period: time.Second})
	return &core{vol: vol, log: log, failures: failures, nodes: newNodes(), calls: newCalls(ctx), start: time.Now()}
}

// attach gives the core its way to the kernel, before the first request.
func (k *core) attach(to kernel, f features) {
	k.features = f
	k.epochs = to.incEpoch() == nil
	k.notify = newNotifier(k, to, k.log)
	k.notify.mu.Lock()
	k.notify.startWorker()
	k.notify.mu.Unlock()
}

// close ends everything when the kernel has gone: what it had open is closed.
func (k *core) close() {
	k.notify.close()
	k.kept.running.Wait()
	for ino, n := range k.nodes.drop() {
		for ; n > 0; n-- {
			err := k.vol.Close(context.Background(), ino)
			if kind := volume.KindOf(err); err != nil && kind != volume.Closed && kind != volume.Stale {
				k.log.Warn().Err(err).Stringer("ino", ino).Msg("close a file that was open when the mount ended")
			}
		}
	}
}

// fail turns an error into what the application sees. Of an I/O error it sees too
// little, so that is logged, ten times a second at most.
func (k *core) fail(c *call, what string, ino volume.Ino, err error) syscall.Errno {
	if err == nil {
		return 0
	}
	errno := c.errnoOf(err)
	switch errno {
	case syscall.ESTALE:
		k.repeats.note(c.caller.PID, time.Now())
	case syscall.EIO:
		k.failures.Error().Err(err).Str("op", what).Stringer("ino", ino).Msg("request failed")
	}
	return errno
}

// do hands the call's request to the volume, and keeps observed ops apart by who
// made them.
func (k *core) do(c *call) (volume.Result, error) {
	c.req.Caller = c.caller
	seen := k.observed.Load()
	c.flight.begin(requestKey(&c.req))
	res, err := k.vol.Do(c.ctx, &c.req)
	if res.Version != 0 {
		// A truncation with other attributes is two ops, and the first counts as foreign:
		// its version is not known for sure.
		k.own.add(res.Version, res.Attr.Ino)
	}
	for _, s := range c.flight.end() {
		k.judge(s)
	}
	c.attr = res.Attr
	c.fresh = k.observed.Load() == seen
	return res, err
}

// countFresh counts a lookup of the inode in c.attr, which was read when observed
// stood at seen. An op that was observed in between was perhaps not passed on to the
// kernel, since it did not know the inode: then the attributes are read again.
func (k *core) countFresh(c *call, seen uint64) error {
	ino := c.attr.Ino
	k.nodes.add(ino, 1)
	c.counted = append(c.counted, ino)
	if k.observed.Load() != seen {
		a, err := k.vol.GetAttr(c.ctx, ino)
		if err != nil {
			k.undo(c)
			return err
		}
		c.attr = a
	}
	k.nodes.sentMode(ino, c.attr.Mode)
	k.pinSpecial(c, &c.attr)
	return nil
}

// countNew counts the inode that a request just made or named.
func (k *core) countNew(c *call) {
	ino := c.attr.Ino
	k.nodes.add(ino, 1)
	c.counted = append(c.counted, ino)
	k.nodes.markAttr(ino, k.tick())
	k.nodes.sentMode(ino, c.attr.Mode)
	k.pinSpecial(c, &c.attr)
}

// pinSpecial tells the volume that a FIFO, socket or device is open for as long as the
// kernel knows it: the kernel opens such files itself and says nothing, and who has one
// open may change its attributes when its last name is gone.
func (k *core) pinSpecial(c *call, a *volume.Attr) {
	switch a.Mode & volume.ModeType {
	case volume.ModeFile, volume.ModeDir, volume.ModeLink:
		return
	}
	if !k.nodes.pin(a.Ino) {
		return
	}
	if err := k.vol.Open(c.ctx, a.Ino, false); err != nil {
		k.nodes.unpin(a.Ino) // it ended meanwhile: there is nothing left to keep
	}
}

// closeKept closes what was open for the kernel's sake.
func (k *core) closeKept(ino volume.Ino) {
	err := k.vol.Close(k.calls.base, ino)
	if kind := volume.KindOf(err); err != nil && kind != volume.Closed && kind != volume.Stale {
		k.log.Warn().Err(err).Stringer("ino", ino).Msg("close what was kept for the kernel")
	}
}

// undo takes back the lookups of a reply that did not arrive.
func (k *core) undo(c *call) {
	for _, ino := range c.counted {
		if _, pinned := k.nodes.forget(ino, 1); pinned {
			k.closeKept(ino)
		}
	}
	c.counted = c.counted[:0]
}

// keptCloser closes what was kept for the kernel, one after the other, where nobody waits for it: that
// an inode ends is a change, which may have to wait, and FORGET may have come to the only reader.
type keptCloser struct {
	mu      sync.Mutex // leaf lock; guards all below
	queue   []volume.Ino
	running sync.WaitGroup // the goroutine that closes, while there is something
	busy    bool
}

func (k *core) closeLater(ino volume.Ino) {
	q := &k.kept
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queue = append(q.queue, ino)
	if q.busy {
		return
	}
	q.busy = true
	q.running.Go(func() {
		for {
			q.mu.Lock()
			if len(q.queue) == 0 {
				q.busy = false
				q.mu.Unlock()
				return
			}
			ino := q.queue[0]
			q.queue = q.queue[1:]
			q.mu.Unlock()
			k.closeKept(ino)
		}
	})
}

// forget is FORGET: no reply, no waiting.
func (k *core) forget(node, n uint64) {
	ok, pinned := k.nodes.forget(volume.Ino(node), n)
	if pinned {
		k.closeLater(volume.Ino(node))
	}
	if !ok {
		k.log.Warn().Stringer("ino", volume.Ino(node)).Uint64("lookups", n).Msg("the kernel forgets more than it was told")
	}
}

// maybeDir reports whether an inode is a directory; true when in doubt.
func (k *core) maybeDir(ino volume.Ino) bool {
	a, err := k.vol.GetAttr(k.calls.base, ino)
	return err != nil || a.IsDir()
}

// maxRootNames bounds the names that are kept in case the kernel has to ask again.
const maxRootNames = 1 << 16

// nameSet is the set of names in the root that the kernel may keep.
type nameSet struct {
	mu sync.Mutex // leaf lock; guards all below
	m  map[string]struct{}
}

// add adds a name. If there are too many it empties the set, and returns what was in
// it.
func (s *nameSet) add(name string) (full []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.m) >= maxRootNames {
		full = slices.Collect(maps.Keys(s.m))
		clear(s.m)
	}
	if s.m == nil {
		s.m = map[string]struct{}{}
	}
	s.m[name] = struct{}{}
	return full
}

func (s *nameSet) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.m))
}

// sawName notes that the kernel may keep a name of the root, before it is told of it.
func (k *core) sawName(dir volume.Ino, name string) {
	if dir != volume.RootIno || k.epochs {
		return
	}
	for _, old := range k.rootNames.add(name) {
		k.staleName(dir, old)
	}
}
