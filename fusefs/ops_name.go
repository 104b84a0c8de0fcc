package fusefs

import (
	"context"
	"syscall"

	"wolfdisk/volume"
)

// lookup finds a name. A name that does not exist is an answer, with inode 0, which
// the kernel keeps too.
func (k *core) lookup(c *call, dir volume.Ino, name string) syscall.Errno {
	find := k.vol.Lookup
	if name == "." || name == ".." {
		find = k.byHandle
	} else {
		k.sawName(dir, name)
	}
	for {
		seen := k.observed.Load()
		a, err := find(c.ctx, dir, name)
		if err != nil {
			if volume.KindOf(err) == volume.NotFound {
				c.attr = volume.Attr{}
				return 0
			}
			if name == "." || name == ".." {
				return k.fail(c, "lookup", dir, err)
			}
			errno := k.failIn(c, "lookup", dir, err)
			if errno == syscall.ENOENT {
				k.staleName(dir, name) // the kernel keeps that it is not there, and for that the directory
			}
			return errno
		}
		c.attr = a
		if err = k.countFresh(c, seen); err == nil {
			err = k.keepRepeated(c)
		}
		if volume.KindOf(err) != volume.Stale || err == nil {
			return k.fail(c, "lookup", a.Ino, err)
		}
		// It ended while the name was looked up: the name tells what is there now.
	}
}

// byHandle finds what the kernel has forgotten, and has a file handle of (name_to_handle_at(2), NFS): by
// ".", any inode, and by "..", the parent of a directory. Inode numbers are never used again, so
// the generation is always 0.
func (k *core) byHandle(ctx context.Context, ino volume.Ino, name string) (volume.Attr, error) {
	if name == ".." {
		parent, err := k.vol.ParentOf(ctx, ino)
		if err != nil {
			return volume.Attr{}, err
		}
		ino = parent
	}
	a, err := k.vol.GetAttr(ctx, ino)
	if err == nil && a.Nlink == 0 {
		err = volume.Stale // somebody has it open elsewhere; of what is open here the kernel does not ask
	}
	return a, err
}

// make does an OpCreate; its Parent, Name, Mode and the rest are in c.req.
func (k *core) make(c *call, umask uint32) syscall.Errno {
	c.req.Kind = volume.OpCreate
	if k.features.dontMask {
		c.req.Umask = umask
	}
	k.sawName(c.req.Parent, c.req.Name)
	if _, err := k.do(c); err != nil {
		return k.failIn(c, "create", c.req.Parent, err)
	}
	k.countNew(c)
	return 0
}

func (k *core) mkdir(c *call, dir volume.Ino, name string, mode, umask uint32) syscall.Errno {
	c.req = volume.Request{Parent: dir, Name: name, Mode: volume.ModeDir | mode&volume.ModePerm, Exclusive: true}
	return k.make(c, umask)
}

func (k *core) mknod(c *call, dir volume.Ino, name string, mode, umask, rdev uint32) syscall.Errno {
	if mode&volume.ModeType == 0 {
		mode |= volume.ModeFile
	}
	c.req = volume.Request{Parent: dir, Name: name, Mode: mode, Rdev: rdev, Exclusive: true}
	return k.make(c, umask)
}

func (k *core) symlink(c *call, dir volume.Ino, name, target string) syscall.Errno {
	c.req = volume.Request{Parent: dir, Name: name, Mode: volume.ModeLink | 0o777, Target: target, Exclusive: true}
	return k.make(c, 0)
}

// create makes a file and opens it, or opens what another front end made meanwhile.
func (k *core) create(c *call, dir volume.Ino, name string, flags, mode, umask uint32, kill bool) syscall.Errno {
	excl := flags&uint32(syscall.O_EXCL) != 0
	for range 3 {
		c.req = volume.Request{Parent: dir, Name: name, Mode: volume.ModeFile | mode&volume.ModePerm, Exclusive: excl}
		errno := k.make(c, umask)
		switch {
		case errno == 0:
			if errno = k.opened(c, flags&^uint32(syscall.O_TRUNC), false); errno != 0 {
				k.staleName(dir, name) // it is there, and the kernel holds that it is not
				k.staleAttr(dir, 0)
			}
			return errno
		case errno != syscall.EEXIST || excl:
			return errno
		}
		if errno = k.lookup(c, dir, name); errno != 0 {
			return errno
		}
		if c.attr.Ino == 0 {
			continue // gone again
		}
		if !c.attr.IsFile() {
			// The kernel cannot open it by this answer; asked again it looks first.
			k.undo(c)
			k.staleName(dir, name)
			return syscall.ESTALE
		}
		return k.opened(c, flags, kill)
	}
	return syscall.ESTALE
}

// tmpfile makes a file without a name and opens it.
func (k *core) tmpfile(c *call, dir volume.Ino, flags, mode, umask uint32) syscall.Errno {
	c.req = volume.Request{Parent: dir, Mode: volume.ModeFile | mode&volume.ModePerm}
	if errno := k.make(c, umask); errno != 0 {
		return errno
	}
	return k.opened(c, flags&^uint32(syscall.O_TRUNC), false)
}

// opened opens the inode just counted; if that fails, the lookup is taken back.
func (k *core) opened(c *call, flags uint32, kill bool) syscall.Errno {
	a := c.attr
	errno := k.open(c, a.Ino, flags, kill)
	if errno != 0 {
		k.undo(c)
		return errno
	}
	if flags&uint32(syscall.O_TRUNC) == 0 {
		c.attr = a
	}
	return 0
}

func (k *core) link(c *call, ino, dir volume.Ino, name string) syscall.Errno {
	k.sawName(dir, name)
	k.nodes.markAttr(ino, k.tick())
	c.req = volume.Request{Kind: volume.OpLink, Ino: ino, NewParent: dir, NewName: name, Exclusive: true}
	if _, err := k.do(c); err != nil {
		return k.fail(c, "link", ino, err)
	}
	k.countNew(c)
	return 0
}

func (k *core) unlink(c *call, dir volume.Ino, name string) syscall.Errno {
	return k.remove(c, volume.OpUnlink, dir, name)
}

func (k *core) rmdir(c *call, dir volume.Ino, name string) syscall.Errno {
	return k.remove(c, volume.OpRmdir, dir, name)
}

func (k *core) remove(c *call, kind volume.OpKind, dir volume.Ino, name string) syscall.Errno {
	c.req = volume.Request{Kind: kind, Parent: dir, Name: name}
	res, err := k.do(c)
	if err != nil {
		return k.fail(c, kind.String(), dir, err)
	}
	k.ended(&res.Attr)
	return 0
}

// ended remembers an inode that may just have lost its last name, since the kernel
// can still ask for its attributes. A volume that tells of what ends has told before, and
// they may have been changed since.
func (k *core) ended(a *volume.Attr) {
	if a.Ino != 0 && a.Nlink == 0 && !k.nodes.flagged(a.Ino, nodeGone) {
		k.nodes.remember(*a)
	}
}

func (k *core) rename(c *call, dir volume.Ino, name string, newDir volume.Ino, newName string, flags uint32) syscall.Errno {
	if flags&^(renameNoReplace|renameExchange) != 0 || flags == renameNoReplace|renameExchange {
		return syscall.EINVAL
	}
	k.sawName(newDir, newName)
	c.req = volume.Request{Kind: volume.OpRename, Parent: dir, Name: name, NewParent: newDir, NewName: newName,
		Exclusive: flags&renameNoReplace != 0, Exchange: flags&renameExchange != 0}
	res, err := k.do(c)
	if err != nil {
		return k.fail(c, "rename", dir, err)
	}
	k.ended(&res.Replaced)
	if dir == newDir || res.Version == 0 {
		return 0
	}
	// The kernel keeps the listings of directories that moved, with the old "..". Who
	// is answered shall not find it any more.
	if res.Attr.IsDir() {
		k.staleAttr(res.Attr.Ino, 0)
	}
	if c.req.Exchange && res.Replaced.IsDir() {
		k.staleAttr(res.Replaced.Ino, 0)
	}
	if res.Attr.IsDir() || c.req.Exchange && res.Replaced.IsDir() {
		k.notify.await(k.notify.pushed(), movePatience)
	}
	return 0
}

// staleName makes the kernel ask for a name again.
func (k *core) staleName(dir volume.Ino, name string) {
	k.notify.push(notice{ino: dir, name: name})
}

func (k *core) readlink(c *call, ino volume.Ino) (string, syscall.Errno) {
	target, err := k.vol.ReadLink(c.ctx, ino)
	return target, k.fail(c, "readlink", ino, err)
}
