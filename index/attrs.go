package index

import (
	"wolfdisk/volume"
)

func (t *entering) setAttr(op *volume.Op) error {
	n, err := t.inode(op.Ino)
	if err != nil {
		return err
	}
	if op.Mask&volume.SetUID != 0 {
		n.UID = op.UID
	}
	if op.Mask&volume.SetGID != 0 {
		n.GID = op.GID
	}
	if op.Mask&volume.SetAtime != 0 {
		n.Atime = op.Atime
	}
	if op.Mask&volume.SetMtime != 0 {
		n.Mtime = op.Mtime
	}
	touch(op, n)
	return t.sideEffects(op, n)
}

// setMode sets the mode an op says, and lets an access ACL follow it.
func (t *entering) setMode(op *volume.Op, n *inode) error {
	if op.Mask&volume.SetMode == 0 {
		return nil
	}
	n.Mode = n.Mode&volume.ModeType | op.Mode
	if n.flags&fHasACL == 0 {
		return nil
	}
	acl, ok, err := get(t.r, keyInoName(kXattr, n.Ino, volume.XattrACLAccess))
	if err != nil || !ok {
		return err
	}
	changed, err := aclChmod(acl, n.Mode)
	if err != nil {
		return misfit("chmod of inode %s: %v", n.Ino, err)
	}
	return t.b.Set(keyInoName(kXattr, n.Ino, volume.XattrACLAccess), changed, nil)
}

func (t *entering) xattr(op *volume.Op) error {
	n, err := t.inode(op.Ino)
	if err != nil {
		return err
	}
	touch(op, n)
	if op.Mask&volume.SetMode != 0 {
		n.Mode = n.Mode&volume.ModeType | op.Mode
	}
	if op.Kind == volume.OpSetXattr {
		return t.putXattr(n, op.Name, op.Data)
	}
	if _, ok, err := get(t.r, keyInoName(kXattr, n.Ino, op.Name)); err != nil || !ok {
		if err == nil {
			err = misfit("inode %s has no attribute %q", n.Ino, op.Name)
		}
		return err
	}
	if f := xattrFlag(op.Name); f != fHasObject { // others of that kind may be left
		n.flags &^= f
	}
	return t.b.Delete(keyInoName(kXattr, n.Ino, op.Name), nil)
}

func (t *entering) putXattr(n *inode, name string, value []byte) error {
	n.flags |= fHasXattrs | xattrFlag(name)
	return t.b.Set(keyInoName(kXattr, n.Ino, name), value, nil)
}

func xattrFlag(name string) uint8 {
	switch name {
	case volume.XattrACLAccess:
		return fHasACL
	case volume.XattrACLDefault:
		return fHasDefault
	case volume.XattrCapability:
		return fHasCaps
	}
	if volume.IsObjectXattr(name) {
		return fHasObject
	}
	return 0
}
