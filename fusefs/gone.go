package fusefs

import (
	"syscall"
	"time"

	"wolfdisk/volume"
)

// Ending implements volume.EndObserver: whoever ended it, the kernel may go on asking for the
// attributes of what it still refers to.
func (k *core) Ending(a *volume.Attr) { k.nodes.remember(*a) }

// changeGone carries out the SETATTR in c.req on an inode that has ended while the kernel
// still refers to it: as somebody's working directory, or through a path
// that was looked up just before the name went. A local file system changes such an inode;
// nobody else can see it any more, so what is remembered of it is all there is to change.
func (k *core) changeGone(c *call) bool {
	now := time.Now()
	a, ok := k.nodes.changeGone(c.req.Ino, func(a *volume.Attr) {
		r := &c.req
		at := volume.TimeOf(now)
		a.Ctime = at
		if r.KillPriv && a.IsFile() {
			a.Mode &^= volume.ModeSetUID
			if a.Mode&0o010 != 0 {
				a.Mode &^= volume.ModeSetGID
			}
		}
		for _, x := range []struct {
			bit volume.SetMask
			set func()
		}{
			{volume.SetUID, func() { a.UID = r.UID }},
			{volume.SetGID, func() { a.GID = r.GID }},
			{volume.SetMode, func() { a.Mode = a.Mode&volume.ModeType | r.Mode&volume.ModePerm }},
			{volume.SetSize, func() { a.Size, a.Mtime = r.Size, at }},
			{volume.SetAtime, func() { a.Atime = r.Atime }},
			{volume.SetMtime, func() { a.Mtime = r.Mtime }},
			{volume.SetAtimeNow, func() { a.Atime = at }},
			{volume.SetMtimeNow, func() { a.Mtime = at }},
		} {
			if r.Set&x.bit != 0 {
				x.set()
			}
		}
	})
	if ok {
		c.attr = a
	}
	return ok
}

// hasEnded reports whether an error is about an inode that has ended while the kernel
// still refers to it. Such a one has no attributes beside the remembered ones.
func (k *core) hasEnded(ino volume.Ino, err error) bool {
	if err == nil || volume.KindOf(err) != volume.Stale {
		return false
	}
	_, ok := k.nodes.remembered(ino)
	return ok
}

// failIn is fail for a request about a name in a directory: there is none in one that was removed. Where
// the kernel knows that, it does not ask.
func (k *core) failIn(c *call, what string, dir volume.Ino, err error) syscall.Errno {
	if k.hasEnded(dir, err) {
		return syscall.ENOENT
	}
	return k.fail(c, what, dir, err)
}

// changeGone changes the last attributes of an inode that has ended, if they are
// remembered, and returns them.
func (t *nodes) changeGone(ino volume.Ino, change func(*volume.Attr)) (volume.Attr, bool) {
	s := t.shard(ino)
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.gone[ino]
	if ok {
		change(&a)
		s.gone[ino] = a
	}
	return a, ok
}
