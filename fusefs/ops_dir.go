package fusefs

import (
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

// readdir lists a directory from behind a cookie: 0 at the start, 1 behind ".", 2
// behind "..", then the volume's own. There is no state between calls, so a listing
// may begin anywhere, and takes no memory however long it is. With plus each entry
// comes with its attributes and counts as looked up.
func (k *core) readdir(c *call, dir volume.Ino, after uint64, plus bool) syscall.Errno {
	if full, errno := k.dots(c, dir, after); full || errno != 0 {
		return errno
	}
	c.entries = c.entries[:0]
	sink := c.sink
	err := k.vol.ReadDir(c.ctx, dir, after, func(e volume.DirEntry) bool {
		if !sink.room(len(e.Name)) {
			return false
		}
		c.entries = append(c.entries, e)
		return true
	})
	if err != nil {
		return k.fail(c, "readdir", dir, err)
	}
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
