package fusefs

import (
	"sync"
	"syscall"

	"wolfdisk/volume"
)

// Places of the two entries that no volume lists.
const (
	cookieDot    = 1
	cookieDotDot = 2
)

// dirSink takes the entries of a listing in the driver's form, until it is full.
type dirSink interface {
	// room reports whether an entry with a name of n bytes still fits, and if so,
	// counts it in.
	room(n int) bool
	// entry adds an entry that fits. attr is nil, or what a lookup would answer.
	entry(e *volume.DirEntry, attr *volume.Attr)
}

// listings are those under way, by handle.
type listings struct {
	mu   sync.Mutex // leaf lock
	last uint64     // handle
	all  map[uint64]listing
}

// listing is where a listing ends. One state of the directory whose rest fits into an answer
// ends it: whatever was there all the time has been listed then. But an entry that is renamed, or
// replaced, takes a later cookie, so who renames what he lists puts that off for ever. So when a listing
// has passed what was there at its beginning, and then what was there when it had done that, the next
// answer is the last.
type listing struct {
	bound  uint64 // what is behind it has come since the listing began, or since it passed that
	passed bool   // it is behind the first bound
	end    uint64 // nothing behind it is listed; 0 if not known yet
}

// termShift is where in the handle of a listing the term is in which the directory was opened (handles).
const termShift = 48

// open is a new handle.
func (l *listings) open(term uint64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	return term<<termShift | l.last
}

func (l *listings) close(handle uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.all, handle)
}

func (l *listings) get(handle uint64) (listing, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at, ok := l.all[handle]
	return at, ok
}

func (l *listings) set(handle uint64, at listing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all == nil {
		l.all = map[uint64]listing{}
	}
	l.all[handle] = at
}

func (k *core) opendir(c *call, dir volume.Ino) (handle uint64, errno syscall.Errno) {
	errno = k.open(c, dir, uint32(syscall.O_RDONLY), false)
	if errno == syscall.ESTALE && k.hasEnded(dir, volume.Stale) {
		// Somebody's working directory, which the kernel knows to be removed: it asks for no entry.
		k.nodes.open(dir, false)
		errno = 0
	}
	if errno != 0 {
		return 0, errno
	}
	return k.listings.open(c.handle), 0
}

func (k *core) releasedir(c *call, dir volume.Ino, handle uint64) syscall.Errno {
	k.listings.close(handle)
	return k.release(c, dir)
}

// listingAt finds out where a listing is that goes on behind a cookie, and whether what comes
// now is the last of it. It begins, also again, at its start.
func (k *core) listingAt(c *call, dir volume.Ino, handle, after uint64) (at listing, last bool, errno syscall.Errno) {
	at, going := k.listings.get(handle)
	switch {
	case !going || after == 0:
		at = listing{}
	case after < at.bound:
		return at, false, 0
	case at.passed:
		return at, true, 0
	default:
		at.passed = true
	}
	if errno := k.getattr(c, dir); errno != 0 {
		return at, false, errno
	}
	if c.attr.Nlink == 0 {
		return at, false, syscall.ENOENT // as on a local file system, which knows that it was removed
	}
	// The last op that changed the directory made no entry behind this.
	at.bound = volume.EntryCookie(c.attr.Version, true)
	return at, false, 0
}

// readdir lists a directory from behind a cookie: 0 at the start, 1 behind ".", 2
// behind "..", then the volume's own. What is kept between calls is only where it ends,
// so a listing may go on anywhere, and takes no memory however long it is. With plus each
// entry comes with its attributes and counts as looked up.
func (k *core) readdir(c *call, dir volume.Ino, handle, after uint64, plus bool) syscall.Errno {
	at, last, errno := k.listingAt(c, dir, handle, after)
	if errno != 0 {
		return errno
	}
	if at.end != 0 && after >= at.end {
		return 0
	}
	if full, errno := k.dots(c, dir, after); full || errno != 0 {
		return errno
	}
	c.entries = c.entries[:0]
	sink, whole := c.sink, true
	err := k.vol.ReadDir(c.ctx, dir, after, func(e volume.DirEntry) bool {
		if !sink.room(len(e.Name)) {
			whole = false
			return false
		}
		c.entries = append(c.entries, e)
		return true
	})
	if err != nil {
		return k.fail(c, "readdir", dir, err)
	}
	if whole || last {
		at.end = max(after, cookieDotDot)
		if n := len(c.entries); n > 0 {
			at.end = c.entries[n-1].Cookie
		}
	}
	k.listings.set(handle, at)
	for i := range c.entries {
		e := &c.entries[i]
		if plus && k.plus(c, dir, e) {
			sink.entry(e, &c.attr)
		} else {
			sink.entry(e, nil)
		}
	}
	clear(c.entries)
	return 0
}

// plus counts an entry and gets its attributes. Without success the entry is listed
// all the same, and the kernel will look it up.
func (k *core) plus(c *call, dir volume.Ino, e *volume.DirEntry) bool {
	k.nodes.add(e.Ino, 1)
	a, err := k.vol.GetAttr(c.ctx, e.Ino)
	if err != nil {
		if _, pinned := k.nodes.forget(e.Ino, 1); pinned {
			k.closeKept(e.Ino)
		}
		return false
	}
	k.sawName(dir, e.Name)
	c.counted = append(c.counted, e.Ino)
	k.nodes.sentMode(e.Ino, a.Mode)
	k.pinSpecial(c, &a)
	c.attr = a
	return true
}

// dots lists "." and "..".
func (k *core) dots(c *call, dir volume.Ino, after uint64) (full bool, errno syscall.Errno) {
	if after < cookieDot {
		if !c.sink.room(1) {
			return true, 0
		}
		c.sink.entry(&volume.DirEntry{Name: ".", Ino: dir, Type: volume.ModeDir, Cookie: cookieDot}, nil)
	}
	if after < cookieDotDot {
		parent, err := k.vol.ParentOf(c.ctx, dir)
		if err != nil {
			if _, ok := k.nodes.remembered(dir); !ok {
				return false, k.fail(c, "readdir", dir, err)
			}
			parent = dir
		}
		if !c.sink.room(2) {
			return true, 0
		}
		c.sink.entry(&volume.DirEntry{Name: "..", Ino: parent, Type: volume.ModeDir, Cookie: cookieDotDot}, nil)
	}
	return false, 0
}
