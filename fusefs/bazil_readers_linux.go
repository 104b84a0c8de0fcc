package fusefs

import (
	"errors"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// How many goroutines read the device.
//
// Each reader handles what it has read itself, so no request changes threads. At rest one
// reader waits in read(2), and under one client it stays the only one: the kernel wakes
// readers in turn, and with two of them each would find its thread cold and its P taken
// away, which halves the rate of small requests.
//
// Another is started
//
//   - before a request is handled that as a rule takes long (expect);
//   - if requests of several threads are found waiting again and again (crowd), as long as
//     there is a processor for it;
//   - by the watch, if from one of its looks to the next nobody has waited for a request,
//     and nobody took one either: what is being handled takes longer than it should.
//
// So whatever a request waits for, a lock, a disk, another request of the kernel's, a reader
// is there for the next one within some milliseconds. Of what may wait for other nodes, and then as long as
// they are away, only so many are handled at once that some readers are left for the rest
// (bazil_parked_linux.go).
const (
	// The watch looks more and more seldom while nothing takes long: each look costs
	// what a request does.
	minPatience, maxPatience = time.Millisecond, 8 * time.Millisecond
	// watchQuiet is after how many looks without a request the watch goes to sleep.
	watchQuiet = 20
	// crowdRun is how many requests in a row must be found waiting.
	crowdRun = 4
	// calmRun is after how many requests a reader ends if another one was waiting after
	// each of them; maxIdle is how many may wait at once.
	calmRun, maxIdle = 64, 4
)

// serve starts the watch and the first reader, without which the watch does not end.
func (d *bazil) serve(k *core) {
	d.k = k
	d.wg.Add(1)
	go d.watch()
	d.startReader()
	go func() {
		d.wg.Wait()
		close(d.gone)
	}()
}

// startReader is called while the watch or a reader runs, so the group is not empty.
func (d *bazil) startReader() {
	if d.total.Add(1) > maxReaders {
		d.total.Add(-1)
		return
	}
	d.idle.Add(1)
	d.wg.Add(1)
	go d.reader()
}

func (d *bazil) readers() (all, busy int) {
	all = int(d.total.Load())
	return all, max(0, all-int(d.idle.Load()))
}

// reader reads and answers requests until the mount is gone, or enough others wait.
func (d *bazil) reader() {
	buf := d.buffers.Get().(*buffers)
	c := d.k.calls.get()
	defer func() {
		d.k.calls.put(c)
		d.buffers.Put(buf)
		d.total.Add(-1)
		d.wg.Done()
	}()
	var crowd crowd
	for failures, calm := 0, 0; ; {
		crowd.look(d.fd)
		n, err := unix.Read(d.fd, buf.in)
		switch {
		case err == nil:
			failures = 0
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT):
			continue // ENOENT: the request was given up while it was read
		default:
			if failures++; !errors.Is(err, unix.ENODEV) && failures < 100 {
				d.log.Error().Err(err).Msg("read from the FUSE device")
				time.Sleep(10 * time.Millisecond)
				continue
			}
			d.idle.Add(-1)
			d.over.Do(func() {
				d.parked.end()
				close(d.ended)
			})
			return
		}
		d.taken.Add(1)
		answered, long := d.expect(buf.in[:n])
		crowded := answered && crowd.met(buf.in[:n])
		if last := d.idle.Add(-1) == 0; last && answered {
			switch {
			case long, crowded && int(d.total.Load()-d.long.Load()) < runtime.NumCPU():
				d.startReader()
			case !d.watched.Load() && d.watched.CompareAndSwap(false, true):
				d.wakeWatch <- struct{}{}
			}
		}
		if long {
			d.long.Add(1)
		}
		if mayWait(buf.in[:n]) {
			d.handleWaiting(c, buf, n)
		} else {
			d.handle(c, buf, n)
		}
		if long {
			d.long.Add(-1)
		}
		switch idle := d.idle.Add(1); {
		case idle <= 1 || long:
			calm = 0
		default:
			if calm++; calm < calmRun && idle <= maxIdle {
				break
			}
			if d.idle.Add(-1) > 0 {
				return
			}
			d.idle.Add(1) // the others have just taken requests
			calm = 0
		}
	}
}

// handleWaiting handles a message that may wait, and then others of which there were too many, or
// leaves it to those who are at work.
func (d *bazil) handleWaiting(c *call, buf *buffers, n int) {
	if d.parked.begin(buf.in[:n]) {
		d.handle(c, buf, n)
	}
	for n = d.parked.next(buf.in); n > 0; n = d.parked.next(buf.in) {
		d.handle(c, buf, n)
	}
}

// expect says whether a message is a request that is answered, and whether handling it
// takes long as a rule: what reads or syncs the disk, or moves content about. A write goes to
// memory below; one to a file that is open for synchronous writing the kernel has followed by an fsync.
func (d *bazil) expect(msg []byte) (answered, long bool) {
	if len(msg) < inHeaderLen {
		return false, false
	}
	switch native.Uint32(msg[4:]) {
	case opForget, opBatchForget, opInterrupt:
		return false, false
	case opRead, opFsync, opFsyncdir, opFallocate, opCopyRange, opCopyRange64:
		return true, true
	case opFlush:
		return true, d.opt.SyncOnClose
	}
	return true, false
}

// watch starts a reader when the ones there are have been busy for too long.
func (d *bazil) watch() {
	defer d.wg.Done()
	for {
		select {
		case <-d.ended:
			return
		case <-d.wakeWatch:
		}
		patience, last := minPatience, d.taken.Load()
		for quiet := 0; quiet < watchQuiet && !d.hasEnded(); {
			time.Sleep(patience)
			switch taken := d.taken.Load(); {
			case taken != last:
				patience = min(2*patience, maxPatience)
				last, quiet = taken, 0
			case d.idle.Load() > 0:
				quiet++
			default:
				patience = minPatience
				d.startReader()
			}
		}
		d.watched.Store(false)
		// A reader that took the last place before it could see that wakes nobody.
		if d.idle.Load() == 0 && d.watched.CompareAndSwap(false, true) {
			d.wakeWatch <- struct{}{}
		}
	}
}

func (d *bazil) hasEnded() bool {
	select {
	case <-d.ended:
		return true
	default:
		return false
	}
}

// crowd finds out whether a reader is one too few: each request is there before
// the one before it is answered, and they are of different threads. One thread alone
// waits for each answer, so it looks only if the last two requests were of two.
type crowd struct {
	pid     uint32
	several bool
	waiting bool // the next request was there already
	run     int
}

// look is called before a request is read.
func (c *crowd) look(fd int) {
	c.waiting = false
	if c.several {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		c.waiting = err == nil && n == 1
	}
}

// met takes note of a request that was read, and reports whether there have been enough.
func (c *crowd) met(msg []byte) bool {
	pid := native.Uint32(msg[32:])
	c.several, c.pid = pid != c.pid && c.pid != 0, pid
	if !c.waiting {
		c.run = 0
		return false
	}
	if c.run++; c.run < crowdRun {
		return false
	}
	c.run = 0
	return true
}
