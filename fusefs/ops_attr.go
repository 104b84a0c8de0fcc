package fusefs

import (
	"strings"
	"syscall"

	"wolfdisk/volume"
)

// getattr asks the volume, or, for an inode that has ended while the kernel still
// holds it, what was remembered.
func (k *core) getattr(c *call, ino volume.Ino) syscall.Errno {
	a, err := k.vol.GetAttr(c.ctx, ino)
	if err != nil {
		if k.hasEnded(ino, err) {
			c.attr, _ = k.nodes.remembered(ino)
			return 0
		}
		return k.fail(c, "getattr", ino, err)
	}
	k.nodes.sentMode(ino, a.Mode)
	c.attr = a
	return 0
}

// setattrIn is what a SETATTR asks for; valid has the protocol's bits.
type setattrIn struct {
	valid                uint32
	size                 uint64
	atime, mtime         int64
	atimeNsec, mtimeNsec uint32
	mode, uid, gid       uint32
}

// setAttrBits pairs the protocol's bits with those of a request.
var setAttrBits = [...]struct {
	valid uint32
	set   volume.SetMask
}{
	{fattrMode, volume.SetMode}, {fattrUID, volume.SetUID}, {fattrGID, volume.SetGID}, {fattrSize, volume.SetSize},
	{fattrAtime, volume.SetAtime}, {fattrMtime, volume.SetMtime},
	{fattrAtimeNow, volume.SetAtimeNow}, {fattrMtimeNow, volume.SetMtimeNow},
}

// setattr changes attributes. One request may hold several changes; the volume
// takes them in the order of chown, chmod, truncate, utimes.
func (k *core) setattr(c *call, ino volume.Ino, in *setattrIn) syscall.Errno {
	if in.size > volume.MaxFileSize && in.valid&fattrSize != 0 {
		return syscall.EFBIG
	}
	c.req = volume.Request{Kind: volume.OpSetAttr, Ino: ino, Mode: in.mode & volume.ModePerm, UID: in.uid, GID: in.gid,
		Atime: volume.Time{Sec: in.atime, Nsec: in.atimeNsec}, Mtime: volume.Time{Sec: in.mtime, Nsec: in.mtimeNsec},
		Size: int64(in.size), KillPriv: in.valid&fattrKillSUIDGID != 0}
	for _, b := range setAttrBits {
		if in.valid&b.valid != 0 {
			c.req.Set |= b.set
		}
	}
	if c.req.Set&volume.SetAtimeNow != 0 {
		c.req.Set &^= volume.SetAtime
	}
	if c.req.Set&volume.SetMtimeNow != 0 {
		c.req.Set &^= volume.SetMtime
	}
	if c.req.Set&volume.SetSize != 0 {
		c.req.Set &^= volume.SetMtimeNow // a truncation sets it, even to the same size
	}
	if c.req.Set == 0 {
		if errno := k.getattr(c, ino); errno != 0 || !k.mayKill(c, in.valid) {
			return errno
		}
		c.req.KillPriv = true
	}
	k.nodes.markAttr(ino, k.tick())
	if c.req.KillPriv {
		req := c.req
		if err := k.killGroup(c, ino); err != nil && volume.KindOf(err) != volume.Stale {
			return k.fail(c, "setattr", ino, err)
		}
		c.req = req
	}
	if _, err := k.do(c); err != nil {
		if volume.KindOf(err) == volume.Stale && k.changeGone(c) {
			return 0
		}
		return k.fail(c, "setattr", ino, err)
	}
	k.nodes.lostPriv(ino, c.attr.Mode) // the reply says so
	k.nodes.sentMode(ino, c.attr.Mode)
	return 0
}

// mayKill reports whether a SETATTR that sets nothing takes setuid and setgid away
// from the file in c.attr. The kernel makes one of chown(2) with neither owner nor
// group, which clears them by POSIX, and looks at nobody's right to do that; and one
// before it writes to a file that has them, for anybody who may write.
func (k *core) mayKill(c *call, valid uint32) bool {
	if privBits(c.attr.Mode) == 0 {
		return false
	}
	return valid&fattrKillSUIDGID != 0 || c.caller.UID == 0 || c.caller.UID == c.attr.UID
}

// killed tells the kernel, which does not look at modes after a write, if setuid or
// setgid went: at once, so that nobody whom the write was acknowledged to sees the old
// mode, or runs the file by it. The notice in the queue meets a reply with older
// attributes that is on its way.
func (k *core) killed(c *call, mode uint32) {
	if c.req.KillPriv && k.nodes.lostPriv(c.req.Ino, mode) {
		k.notify.attrNow(c.req.Ino)
		k.staleAttr(c.req.Ino, -1)
	}
}

func (k *core) statfs(c *call) (volume.StatFS, syscall.Errno) {
	s, err := k.vol.StatFS(c.ctx)
	return s, k.fail(c, "statfs", volume.RootIno, err)
}

// Attributes of our own are as good as not there: their names are in no namespace that
// a file system without them would know.

func (k *core) getxattr(c *call, ino volume.Ino, name string) ([]byte, syscall.Errno) {
	if volume.IsReservedXattr(name) {
		return nil, syscall.EOPNOTSUPP
	}
	v, err := k.vol.GetXattr(c.ctx, ino, name)
	if k.hasEnded(ino, err) {
		err = volume.NoXattr
	}
	return v, k.fail(c, "getxattr", ino, err)
}

// listxattr appends the names, each with a NUL, to buf. The trusted ones are for the
// superuser.
func (k *core) listxattr(c *call, ino volume.Ino, buf []byte) ([]byte, syscall.Errno) {
	names, err := k.vol.ListXattr(c.ctx, ino)
	if k.hasEnded(ino, err) {
		return buf, 0
	}
	if err != nil {
		return buf, k.fail(c, "listxattr", ino, err)
	}
	for _, n := range names {
		if c.caller.UID != 0 && strings.HasPrefix(n, "trusted.") || volume.IsReservedXattr(n) {
			continue
		}
		buf = append(append(buf, n...), 0)
	}
	return buf, 0
}

func (k *core) setxattr(c *call, ino volume.Ino, name string, value []byte, flags uint32, killSGID bool) syscall.Errno {
	c.req = volume.Request{Kind: volume.OpSetXattr, Ino: ino, Name: name, Data: value, KillPriv: killSGID,
		Exclusive: flags&xattrCreate != 0, Replace: flags&xattrReplace != 0}
	if flags&^(xattrCreate|xattrReplace) != 0 {
		return syscall.EINVAL
	}
	return k.changeXattr(c)
}

func (k *core) removexattr(c *call, ino volume.Ino, name string) syscall.Errno {
	c.req = volume.Request{Kind: volume.OpRemoveXattr, Ino: ino, Name: name}
	return k.changeXattr(c)
}

func (k *core) changeXattr(c *call) syscall.Errno {
	if volume.IsReservedXattr(c.req.Name) {
		return syscall.EOPNOTSUPP
	}
	if _, err := k.do(c); err != nil {
		return k.fail(c, c.req.Kind.String(), c.req.Ino, err)
	}
	if c.req.Name == volume.XattrACLAccess && !k.features.posixACL {
		k.staleAttr(c.req.Ino, -1) // it set the mode
	}
	return 0
}
