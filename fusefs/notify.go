package fusefs

import (
	"errors"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"wolfdisk/volume"
)

const (
	// maxNotices is how many notices wait before everything is invalidated at once,
	// on kernels that can.
	maxNotices = 1 << 18
	// stuckAfter is how long a notice may take before another worker goes on with
	// those behind it: the kernel waits for locks of files and directories whose
	// requests are in progress.
	stuckAfter = 100 * time.Millisecond
	maxWorkers = 16
	// A notice about an inode that the kernel has been told of, but does not know
	// yet, is repeated: after 1 ms, then four times as long, up to 1 s.
	firstRetry = time.Millisecond
	maxRetry   = time.Second
	maxTries   = 12
	// maxWaiting is how many requests wait for the kernel to drop pages, of maxReaders.
	maxWaiting = 32
	// movePatience is how long the rename of a directory waits until its listing is
	// invalidated; awaitEvery, how often it looks.
	movePatience = 20 * time.Millisecond
	awaitEvery   = 50 * time.Microsecond
	// attrRepeat is when an invalidation is repeated because a reply with older
	// attributes may have been on its way.
	attrRepeat = 500 * time.Millisecond
)

// notice tells the kernel that something it may keep is no longer so.
type notice struct {
	ino      volume.Ino // the directory, if there is a name
	name     string     // empty: about the inode itself
	off, end int64      // content of the inode; off -1: attributes only
	ifDir    bool       // attributes only, unless ino is a directory
	tries    uint8
	repeat   bool   // sent before, to be sure
	num      uint64 // counts what was pushed; of merged notices, the first
}

type noticeKey struct {
	ino  volume.Ino
	name string
}

// kernel is what a driver can tell the kernel. Each call may sleep for as long as a
// request on the same inode or directory is in progress. ENOENT: it does not know.
type kernel interface {
	invalEntry(dir volume.Ino, name string) error
	// invalInode drops attributes, and with off >= 0 the pages of [off, off+n), n 0
	// for all from off on.
	invalInode(ino volume.Ino, off, n int64) error
	// incEpoch makes the kernel ask again for every name; EINVAL on those before 6.16.
	incEpoch() error
}

// notifier sends notices in order from goroutines of its own, which hold no lock.
// Nobody waits for it. One worker sends; only if it is stuck in the kernel for long
// does another go on with the notices behind.
type notifier struct {
	core   *core
	kernel kernel
	log    zerolog.Logger

	waiting atomic.Int32 // in pagesNow

	mu      sync.Mutex // leaf lock; guards all below
	more    sync.Cond
	queue   []notice             // queue[head:] wait
	head    int                  //
	base    uint64               // number of queue[0]
	last    map[noticeKey]uint64 // number of the last notice of a key, if it still waits
	all     bool                 // everything is stale
	worker  int                  // the worker whose turn it is; others end
	workers int
	num     uint64         // of the notice pushed last
	undone  map[uint64]int // numbers being sent
	again   map[uint64]int // numbers waiting to be sent again
	retries int            // waiting for their timer
	closed  bool
	stats   notifyStats
}

type notifyStats struct{ sent, unknown, repeated, failed, everything, stuck uint64 }

func newNotifier(k *core, to kernel, log zerolog.Logger) *notifier {
	n := &notifier{core: k, kernel: to, log: log, last: map[noticeKey]uint64{}, undone: map[uint64]int{}, again: map[uint64]int{}}
	n.more.L = &n.mu
	return n
}

func (n *notifier) startWorker() {
	n.workers++
	go n.run(n.worker)
}

// push queues a notice, into one that waits if that says the same.
func (n *notifier) push(x notice) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.all {
		return
	}
	if x.num == 0 {
		n.num++
		x.num = n.num
	}
	key := noticeKey{x.ino, x.name}
	if num, ok := n.last[key]; ok && merge(&n.queue[num-n.base], x) {
		return
	}
	if len(n.queue)-n.head >= maxNotices && n.core.epochs {
		n.pushAllLocked()
		return
	}
	n.queue = append(n.queue, x)
	n.last[key] = n.base + uint64(len(n.queue)) - 1
	n.more.Signal()
}

// pushAll says that everything is stale.
func (n *notifier) pushAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		n.pushAllLocked()
	}
}

func (n *notifier) pushAllLocked() {
	n.all = true
	n.base += uint64(len(n.queue))
	n.queue, n.head = nil, 0
	clear(n.last)
	n.more.Signal()
}

// merge adds x to a waiting notice of the same key, if what lies between is small.
func merge(into *notice, x notice) bool {
	switch {
	case x.name != "":
	case x.off < 0:
		into.ifDir = into.ifDir || x.ifDir
	case into.off < 0:
		into.off, into.end = x.off, x.end
	case x.off > into.end || into.off > x.end:
		return false
	default:
		into.off, into.end = min(into.off, x.off), max(into.end, x.end)
	}
	into.tries = min(into.tries, x.tries)
	into.repeat = into.repeat && x.repeat
	into.num = min(into.num, x.num)
	return true
}

// run is a worker, until another has taken its turn or all is closed.
func (n *notifier) run(id int) {
	timer := time.AfterFunc(time.Hour, func() { n.replaceStuck(id) })
	defer timer.Stop()
	n.mu.Lock()
	defer n.mu.Unlock()
	defer func() { n.workers-- }()
	for {
		for n.head == len(n.queue) && !n.all && !n.closed && n.worker == id {
			n.more.Wait()
		}
		if n.closed || n.worker != id {
			n.more.Broadcast() // the signal may have been for another worker
			return
		}
		if n.all {
			n.all = false
			n.stats.everything++
			num := n.num
			n.beginLocked(num)
			n.mu.Unlock()
			n.sendAll()
			n.mu.Lock()
			n.endLocked(num)
			continue
		}
		x := n.popLocked()
		n.beginLocked(x.num)
		n.mu.Unlock()
		timer.Reset(stuckAfter)
		n.send(x)
		timer.Stop()
		n.mu.Lock()
		n.endLocked(x.num)
	}
}

// beginLocked and endLocked bracket the time in which a notice is neither waiting
// in the queue nor done.
func (n *notifier) beginLocked(num uint64) { n.undone[num]++ }

func (n *notifier) endLocked(num uint64) {
	if n.undone[num]--; n.undone[num] == 0 {
		delete(n.undone, num)
	}
}

func (n *notifier) popLocked() notice {
	x := n.queue[n.head]
	key := noticeKey{x.ino, x.name}
	if n.last[key] == n.base+uint64(n.head) {
		delete(n.last, key)
	}
	n.queue[n.head] = notice{}
	n.head++
	if n.head == len(n.queue) {
		n.base += uint64(n.head)
		n.queue, n.head = n.queue[:0], 0
	} else if n.head >= 1024 && n.head > len(n.queue)/2 {
		rest := copy(n.queue, n.queue[n.head:])
		clear(n.queue[rest:])
		n.base += uint64(n.head)
		n.queue, n.head = n.queue[:rest], 0
	}
	return x
}

// attrNow drops an inode's attributes from the kernel before it returns. Only for a
// request on that very inode: the kernel then takes no lock for it that the request
// holds, and no page is touched. Where it does take one, the notice in the queue has to
// do.
func (n *notifier) attrNow(ino volume.Ino) { n.now(ino, -1, 0) }

func (n *notifier) now(ino volume.Ino, off, length int64) {
	if noticeLocksFile {
		return
	}
	err := n.kernel.invalInode(ino, off, length)
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err == nil:
		n.stats.sent++
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENOTCONN), errors.Is(err, syscall.EBADF):
		n.stats.unknown++
	default:
		n.stats.failed++
		n.log.Warn().Err(err).Stringer("ino", ino).Msg("invalidate the kernel's cache")
	}
}

// contentNow has the kernel write what was stored through mappings of a file, and drop its
// pages, before it returns: the kernel does not do so for LSEEK, and then data would be
// taken for a hole. Only for a request that holds none of the pages.
func (n *notifier) contentNow(ino volume.Ino) { n.now(ino, 0, 0) }

// pagesNow drops the pages of a range of a file before it returns. For a request that holds none
// of them. It waits for requests that do, which others have to answer: so not too many wait
// here at once, and for those beyond, the notice in the queue has to do.
func (n *notifier) pagesNow(ino volume.Ino, off, length int64) {
	defer n.waiting.Add(-1)
	if n.waiting.Add(1) > maxWaiting {
		n.push(notice{ino: ino, off: off, end: off + length})
		return
	}
	n.now(ino, off, length)
}

// noticeLocksFile: FreeBSD's kernel locks the file that a notice is about, as the request
// on it already does.
const noticeLocksFile = runtime.GOOS == "freebsd"

// replaceStuck lets another worker go on behind a notice that sleeps in the kernel.
func (n *notifier) replaceStuck(id int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.worker != id || n.workers >= maxWorkers {
		return
	}
	n.worker++
	n.stats.stuck++
	n.startWorker()
}

// send tells the kernel, and sees to it that it is told again where it must be.
func (n *notifier) send(x notice) {
	var err error
	if x.name != "" {
		err = n.kernel.invalEntry(x.ino, x.name)
	} else {
		off, length := x.off, int64(0)
		if x.ifDir && off < 0 && n.core.maybeDir(x.ino) {
			off, x.end = 0, math.MaxInt64
		}
		if off >= 0 && x.end != math.MaxInt64 {
			length = x.end - off
		}
		err = n.kernel.invalInode(x.ino, off, length)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case err == nil:
		n.stats.sent++
		// The kernel takes the attributes of some replies as they are, even if it was
		// told in the meantime that they are stale.
		if x.name == "" && !x.repeat && n.core.nodes.recentAttr(x.ino, n.core.tick()) {
			n.againLocked(notice{ino: x.ino, off: -1, repeat: true}, attrRepeat)
		}
	case errors.Is(err, syscall.ENOENT):
		n.stats.unknown++
		// It was told of the inode, so either the reply that does is still on its
		// way, or the FORGET is.
		if x.name == "" && n.core.nodes.known(x.ino) {
			n.retryLocked(x)
		}
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENOTCONN), errors.Is(err, syscall.EBADF):
		// The mount is gone, and the caches with it.
	default:
		n.stats.failed++
		n.log.Warn().Err(err).Stringer("ino", x.ino).Str("name", x.name).Msg("invalidate the kernel's cache")
		n.retryLocked(x)
	}
}

func (n *notifier) retryLocked(x notice) {
	if x.tries >= maxTries {
		n.stats.failed++
		n.log.Warn().Stringer("ino", x.ino).Str("name", x.name).Int("tries", int(x.tries)).Msg("gave up invalidating")
		return
	}
	delay := min(firstRetry<<(2*x.tries), maxRetry)
	x.tries++
	n.againLocked(x, delay)
}

// againLocked pushes a notice later. A repeat, which is only to be sure, is not
// waited for.
func (n *notifier) againLocked(x notice, delay time.Duration) {
	n.stats.repeated++
	n.retries++
	if !x.repeat {
		n.again[x.num]++
	}
	time.AfterFunc(delay, func() {
		n.push(x)
		n.mu.Lock()
		n.retries--
		if !x.repeat {
			if n.again[x.num]--; n.again[x.num] == 0 {
				delete(n.again, x.num)
			}
		}
		n.mu.Unlock()
	})
}

// sendAll makes the kernel ask again for everything.
func (n *notifier) sendAll() {
	if n.core.epochs {
		if err := n.kernel.incEpoch(); err != nil {
			n.log.Warn().Err(err).Msg("invalidate all names")
		}
	} else {
		// Dropping a directory's name drops all cached names below it.
		for _, name := range n.core.rootNames.all() {
			n.send(notice{ino: volume.RootIno, name: name})
		}
	}
	n.core.nodes.each(func(ino volume.Ino, _ node) {
		n.send(notice{ino: ino, off: 0, end: math.MaxInt64})
	})
}

// pushed is the number of the last notice.
func (n *notifier) pushed() uint64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.num
}

// await waits until everything up to a number has been sent, but not for long: a
// request must not depend on what the kernel may answer only after it.
func (n *notifier) await(num uint64, atMost time.Duration) {
	for deadline := time.Now().Add(atMost); !n.doneThrough(num) && time.Now().Before(deadline); {
		time.Sleep(awaitEvery)
	}
}

// awaitTried is await for what was pushed after number first, and for its first attempt
// only: what the kernel does not know then it does not keep yet. It reports whether there has been one.
func (n *notifier) awaitTried(first, num uint64, atMost time.Duration) bool {
	deadline := time.Now().Add(atMost)
	for !n.tried(first, num) {
		if !time.Now().Before(deadline) {
			return false
		}
		time.Sleep(awaitEvery)
	}
	return true
}

// doneThrough reports whether everything up to a number has been sent.
func (n *notifier) doneThrough(num uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for u := range n.again {
		if u <= num {
			return false
		}
	}
	return n.triedLocked(0, num)
}

func (n *notifier) tried(first, num uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.triedLocked(first, num)
}

func (n *notifier) triedLocked(first, num uint64) bool {
	for u := range n.undone {
		if u > first && u <= num {
			return false
		}
	}
	for _, x := range n.queue[n.head:] {
		if x.num <= num { // it may have taken up one behind first
			return false
		}
	}
	return !n.all
}

// close ends the workers; those that sleep in the kernel end when it lets them.
func (n *notifier) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.queue, n.head = nil, 0
	clear(n.last)
	n.more.Broadcast()
}
