package index

import (
	"strings"

	"wolfdisk/volume"
)

// setAttr decides a change of attributes. A new size is an op of its own and comes
// first, so that times given in the same request prevail over its own.
func (d *decider) setAttr() error {
	r := d.req
	n, err := d.e.alive(r.Ino)
	if err != nil {
		return err
	}
	d.out.Subject = n.Ino
	if r.Set&volume.SetSize != 0 {
		if err := d.truncate(&n); err != nil {
			return err
		}
	}
	const attrs = volume.SetMode | volume.SetUID | volume.SetGID | volume.SetAtime | volume.SetMtime | volume.SetAtimeNow | volume.SetMtimeNow
	if r.Set == 0 && r.KillPriv {
		d.killOnly(&n)
	}
	if r.Set&attrs == 0 {
		return nil
	}
	if r.Set&volume.SetMode != 0 && n.Type() == volume.ModeLink {
		return volume.Unsupported
	}
	op := d.op(volume.OpSetAttr)
	op.Ino = n.Ino
	op.Mask = r.Set & (volume.SetMode | volume.SetUID | volume.SetGID | volume.SetAtime | volume.SetMtime)
	if r.Set&volume.SetMode != 0 {
		op.Mode = r.Mode & volume.ModePerm
	}
	if r.Set&volume.SetUID != 0 {
		op.UID = r.UID
	}
	if r.Set&volume.SetGID != 0 {
		op.GID = r.GID
	}
	if r.Set&volume.SetAtime != 0 {
		op.Atime = r.Atime
	}
	if r.Set&volume.SetMtime != 0 {
		op.Mtime = r.Mtime
	}
	if r.Set&volume.SetAtimeNow != 0 {
		op.Mask, op.Atime = op.Mask|volume.SetAtime, d.env.Now
	}
	if r.Set&volume.SetMtimeNow != 0 {
		op.Mask, op.Mtime = op.Mask|volume.SetMtime, d.env.Now
	}
	if op.Atime.Nsec >= 1e9 || op.Mtime.Nsec >= 1e9 {
		return volume.Invalid
	}
	if r.Set&(volume.SetUID|volume.SetGID) != 0 && !n.IsDir() && n.flags&fHasCaps != 0 {
		op.Flags |= volume.OpDropCaps
	}
	if r.KillPriv && r.Set&volume.SetMode == 0 {
		d.killMode(&n, op)
	}
	return nil
}

// killOnly is a request that sets nothing but takes privileges away: chown(2) with
// neither owner nor group. Without any there is nothing to record.
func (d *decider) killOnly(n *inode) {
	op := &volume.Op{Kind: volume.OpSetAttr, Time: d.env.Now, Caller: d.req.Caller, Ino: n.Ino}
	if d.killMode(n, op); op.Mask != 0 || op.Flags != 0 {
		d.out.Ops = append(d.out.Ops, op)
	}
}

// killMode clears setuid, and setgid where it means a group to run as, in an op on a
// regular file.
func (d *decider) killMode(n *inode, op *volume.Op) {
	if n.IsDir() {
		return
	}
	mode := n.Mode & volume.ModePerm &^ volume.ModeSetUID
	if mode&0o010 != 0 {
		mode &^= volume.ModeSetGID
	}
	if mode != n.Mode&volume.ModePerm {
		op.Mask, op.Mode = op.Mask|volume.SetMode, mode
	}
	if n.flags&fHasCaps != 0 {
		op.Flags |= volume.OpDropCaps
	}
}

// kill is killMode for an op on content, if the request asks for it.
func (d *decider) kill(n *inode, op *volume.Op) {
	if d.req.KillPriv {
		d.killMode(n, op)
	}
}

// file is the regular file whose content the request changes.
func (d *decider) file() (inode, error) {
	n, err := d.e.alive(d.req.Ino)
	switch {
	case err != nil:
	case n.IsDir():
		err = volume.IsDir
	case !n.IsFile():
		err = volume.Invalid
	}
	d.out.Subject = n.Ino
	return n, err
}

func (d *decider) truncate(n *inode) error {
	switch {
	case n.IsDir():
		return volume.IsDir
	case !n.IsFile() || d.req.Size < 0:
		return volume.Invalid
	case d.req.Size > volume.MaxNewSize:
		return volume.TooBig
	}
	op := d.op(volume.OpTruncate)
	op.Ino, op.Size = n.Ino, d.req.Size
	d.kill(n, op)
	return nil
}

func (d *decider) write() error {
	r := d.req
	n, err := d.file()
	if err != nil {
		return err
	}
	off := r.Offset
	if r.Append {
		off = n.Size
	}
	d.out.Offset = off
	switch {
	case off < 0 || len(r.Data) > volume.MaxWrite:
		return volume.Invalid
	case len(r.Data) == 0:
		return nil
	case off >= volume.MaxNewSize:
		return volume.TooBig
	}
	op := d.op(volume.OpWrite)
	// As write(2): what there is room for is taken.
	op.Ino, op.Offset, op.Data = n.Ino, off, r.Data[:min(int64(len(r.Data)), volume.MaxNewSize-off)]
	d.kill(&n, op)
	return nil
}

func (d *decider) fallocate() error {
	r := d.req
	n, err := d.file()
	if err != nil {
		return err
	}
	switch {
	case r.Offset < 0 || r.Length <= 0:
		return volume.Invalid
	case r.Alloc&^(volume.FallocKeepSize|volume.FallocPunchHole|volume.FallocZeroRange) != 0:
		return volume.Unsupported
	case r.Alloc&volume.FallocPunchHole != 0 && r.Alloc != volume.FallocPunchHole|volume.FallocKeepSize:
		return volume.Unsupported
	case r.Offset > volume.MaxNewSize || r.Length > volume.MaxNewSize-r.Offset:
		return volume.TooBig
	}
	op := d.op(volume.OpFallocate)
	op.Ino, op.Alloc, op.Offset, op.Length = n.Ino, r.Alloc, r.Offset, r.Length
	d.kill(&n, op)
	return nil
}

func (d *decider) copyChunks() error {
	r := d.req
	n, err := d.file()
	if err != nil {
		return err
	}
	op := d.op(volume.OpCopyChunks)
	op.Ino, op.Offset, op.Chunks = n.Ino, r.Offset, r.Chunks
	d.out.Offset = r.Offset
	d.kill(&n, op)
	if err := op.Validate(); err != nil {
		d.out.Ops = nil
		return volume.Errorf(volume.Invalid, "%w", err)
	}
	return nil
}

// checkXattr is what can be said against an attribute before looking whether it is
// there.
func checkXattr(n *inode, name string, value []byte) error {
	space, rest, _ := strings.Cut(name, ".")
	switch {
	case name == "" || len(name) > volume.MaxXattrNameLen || strings.IndexByte(name, 0) >= 0:
		return volume.OutOfRange
	case len(value) > volume.MaxXattrLen:
		return volume.XattrTooBig
	}
	switch space {
	case "user", "trusted", "security", "wolfdisk":
		if space == name {
			return volume.Unsupported
		}
		if rest == "" {
			return volume.Invalid
		}
	}
	switch space {
	case "user":
		if !n.IsFile() && !n.IsDir() {
			return volume.NotPermitted
		}
	case "trusted", "security":
	case "wolfdisk":
		if !n.IsFile() && !n.IsDir() {
			return volume.NotPermitted
		}
	case "system":
		if name != volume.XattrACLAccess && name != volume.XattrACLDefault || n.Type() == volume.ModeLink {
			return volume.Unsupported
		}
	default:
		return volume.Unsupported
	}
	return nil
}

// mayXattr is checkXattr for a request about one attribute, with what else can be said
// against it before looking whether it is there.
func (d *decider) mayXattr(n *inode, value []byte) error {
	r := d.req
	if err := checkXattr(n, r.Name, value); err != nil {
		return err
	}
	if volume.IsReservedXattr(r.Name) && r.Caller.Front == volume.FrontFUSE {
		return volume.Unsupported
	}
	if r.Match.Version != 0 && n.Version != r.Match.Version {
		return volume.Precondition
	}
	if r.Name == volume.XattrKeep && r.Kind == volume.OpSetXattr && !keepable(n) {
		return volume.Errorf(volume.Invalid, "inode %s has had a name: it cannot be kept without one", n.Ino)
	}
	return nil
}

// keepable reports whether an inode never had a name.
func keepable(n *inode) bool { return n.Nlink == 0 && n.flags&fNamelessBorn != 0 }

func (d *decider) setXattr() error {
	r := d.req
	n, err := d.e.alive(r.Ino)
	if err != nil {
		return err
	}
	d.out.Subject = n.Ino
	if err := d.mayXattr(&n, r.Data); err != nil {
		return err
	}
	there := false
	if n.flags&fHasXattrs != 0 {
		if _, there, err = d.e.get(keyInoName(kXattr, n.Ino, r.Name)); err != nil {
			return err
		}
	}
	if r.Exclusive && there {
		return volume.Exists
	}
	if r.Replace && !there {
		return volume.NoXattr
	}
	if r.Name == volume.XattrACLAccess || r.Name == volume.XattrACLDefault {
		return d.setACL(&n, there)
	}
	if !there {
		if err := d.roomForXattr(&n, r.Name); err != nil {
			return err
		}
	}
	op := d.op(volume.OpSetXattr)
	op.Ino, op.Name, op.Data = n.Ino, r.Name, r.Data
	return nil
}

// roomForXattr holds the list of names within what listxattr(2) can return.
func (d *decider) roomForXattr(n *inode, name string) error {
	names, err := d.e.ListXattr(n.Ino)
	total := len(name) + 1
	for _, s := range names {
		total += len(s) + 1
	}
	if err == nil && total > volume.MaxXattrsLen {
		err = volume.NoSpace
	}
	return err
}

// setACL decides an ACL: an access ACL sets the mode, and is not kept if the mode
// says all of it; an empty one removes.
func (d *decider) setACL(n *inode, there bool) error {
	r := d.req
	acl, err := parseACL(r.Data)
	if err != nil {
		return err
	}
	if r.Name == volume.XattrACLDefault {
		if !n.IsDir() {
			if acl == nil {
				return nil
			}
			return volume.AccessDenied
		}
		if acl == nil {
			return d.dropACL(n, there, 0, 0)
		}
		op := d.op(volume.OpSetXattr)
		op.Ino, op.Name, op.Data = n.Ino, r.Name, r.Data
		return nil
	}
	if acl == nil {
		return d.dropACL(n, there, 0, 0)
	}
	perm, equivalent := aclMode(acl)
	mode := n.Mode&volume.ModePerm&^0o777 | perm
	if r.KillPriv {
		mode &^= volume.ModeSetGID
	}
	if equivalent {
		return d.dropACL(n, there, volume.SetMode, mode)
	}
	op := d.op(volume.OpSetXattr)
	op.Ino, op.Name, op.Data, op.Mask, op.Mode = n.Ino, r.Name, r.Data, volume.SetMode, mode
	return nil
}

// dropACL removes an ACL that may not be there, and sets the mode.
func (d *decider) dropACL(n *inode, there bool, mask volume.SetMask, mode uint32) error {
	if there {
		op := d.op(volume.OpRemoveXattr)
		op.Ino, op.Name, op.Mask, op.Mode = n.Ino, d.req.Name, mask, mode
	} else if mask != 0 {
		op := d.op(volume.OpSetAttr)
		op.Ino, op.Mask, op.Mode = n.Ino, mask, mode
	}
	return nil
}

func (d *decider) removeXattr() error {
	r := d.req
	n, err := d.e.alive(r.Ino)
	if err != nil {
		return err
	}
	d.out.Subject = n.Ino
	if err := d.mayXattr(&n, nil); err != nil {
		return err
	}
	_, there, err := d.e.get(keyInoName(kXattr, n.Ino, r.Name))
	if err != nil {
		return err
	}
	if !there {
		if r.Name == volume.XattrACLAccess || r.Name == volume.XattrACLDefault {
			return nil // as Linux: removing an ACL that is not there succeeds
		}
		return volume.NoXattr
	}
	op := d.op(volume.OpRemoveXattr)
	op.Ino, op.Name = n.Ino, r.Name
	return nil
}
