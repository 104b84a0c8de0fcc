package hostdir

import (
	"golang.org/x/sys/unix"

	"wolfdisk/volume"
)

// refusal reports whether a lower file system said that it does not take an
// attribute: nothing broke, and the index still has it.
func refusal(err error) bool {
	switch err {
	case unix.EPERM, unix.EACCES, unix.EOPNOTSUPP, unix.EINVAL, unix.ENOSPC, unix.E2BIG, unix.ERANGE, unix.EOVERFLOW, unix.ENOSYS, unix.EDQUOT:
		return true
	}
	return false
}

// refused counts and notes a refusal and turns it into success.
func (d *Dir) refused(ino volume.Ino, flag uint8, err error) error {
	if !refusal(err) {
		return err
	}
	switch flag {
	case flagOwner:
		d.stats.refusedOwner.Add(1)
	case flagMode:
		d.stats.refusedMode.Add(1)
	case flagXattr:
		d.stats.refusedXattr.Add(1)
	}
	d.pending.refuse(ino, flag)
	return nil
}

// setOwner changes the owner and puts back what the kernel takes away with it:
// setuid and setgid bits, and file capabilities if keepCaps.
func (d *Dir) setOwner(o object, ino volume.Ino, uid, gid uint32, keepCaps bool) error {
	var caps []byte
	if keepCaps {
		if v, err := d.sys.getXattr(o, volume.XattrCapability); err == nil {
			caps = v
		}
	}
	if err := d.refused(ino, flagOwner, d.sys.chown(o, uid, gid)); err != nil {
		return err
	}
	if caps != nil {
		return d.refused(ino, flagXattr, d.sys.setXattr(o, volume.XattrCapability, caps))
	}
	return nil
}

func (d *Dir) setMode(o object, ino volume.Ino, mode uint32) error {
	return d.refused(ino, flagMode, d.chmod(o, mode&volume.ModePerm))
}

// setXattr mirrors an attribute; those of ours are the index's alone.
func (d *Dir) setXattr(o object, ino volume.Ino, name string, value []byte) error {
	if volume.IsReservedXattr(name) {
		return nil
	}
	err := d.within(o.fd, func() error { return d.sys.setXattr(o, name, value) })
	if refusal(err) && err != unix.EOPNOTSUPP {
		// The old value must not stand in for the new one.
		if rerr := d.sys.removeXattr(o, name); rerr != nil && rerr != errNoXattr && !refusal(rerr) {
			return rerr
		}
	}
	return d.refused(ino, flagXattr, err)
}

func (d *Dir) removeXattr(o object, ino volume.Ino, name string) error {
	if volume.IsReservedXattr(name) {
		return nil
	}
	err := d.within(o.fd, func() error { return d.sys.removeXattr(o, name) })
	if err == errNoXattr || err == unix.EOPNOTSUPP {
		return nil
	}
	return d.refused(ino, flagXattr, err)
}

// applySetAttr applies owner, then mode; times wait until the inode is settled.
func (d *Dir) applySetAttr(op *volume.Op, first firstMarks, view volume.View) error {
	attr, err := view.Inode(op.Ino)
	if err != nil {
		return volume.Wrap(err, "set attributes of "+op.Ino.String())
	}
	if attr.Nlink == 0 && attr.IsDir() {
		return nil
	}
	want := attr
	if op.Mask&volume.SetUID != 0 {
		want.UID = op.UID
	}
	if op.Mask&volume.SetGID != 0 {
		want.GID = op.GID
	}
	if op.Mask&volume.SetMode != 0 {
		want.Mode = attr.Type() | op.Mode
	}
	same := want == attr && op.Flags&volume.OpDropCaps == 0 // tar and cp -a chown every file to its owner
	if same && !(first.ino && attr.IsFile()) {
		return nil
	}
	o, release, err := d.object(op.Ino, &attr, view)
	if err != nil {
		return err
	}
	defer release()
	if err := d.detectFirst(first.ino, &attr, view, o.stat); err != nil || same {
		return err
	}
	err = d.changeAttr(o, op, &attr, &want)
	if err != nil {
		d.restoreBasics(o, &attr)
	}
	return volume.Wrap(err, "set attributes of "+op.Ino.String())
}

func (d *Dir) changeAttr(o object, op *volume.Op, old, want *volume.Attr) error {
	chown := op.Mask&(volume.SetUID|volume.SetGID) != 0
	if chown {
		keep := op.Flags&volume.OpDropCaps == 0 && old.IsFile()
		if err := d.setOwner(o, op.Ino, want.UID, want.GID, keep); err != nil {
			return err
		}
	}
	special := want.Mode & (volume.ModeSetUID | volume.ModeSetGID)
	if old.Type() != volume.ModeLink && (op.Mask&volume.SetMode != 0 || chown && special != 0) {
		if err := d.setMode(o, op.Ino, want.Mode); err != nil {
			return err
		}
	}
	if op.Flags&volume.OpDropCaps != 0 {
		return d.removeXattr(o, op.Ino, volume.XattrCapability)
	}
	return nil
}

// restoreBasics puts owner and mode back after a failure; it can fail only with the
// file system, whose first error the caller reports.
func (d *Dir) restoreBasics(o object, attr *volume.Attr) {
	if err := d.setOwner(o, attr.Ino, attr.UID, attr.GID, true); err != nil {
		d.log.Error().Err(err).Stringer("ino", attr.Ino).Msg("owner could not be put back")
	}
	if attr.Type() == volume.ModeLink {
		return
	}
	if err := d.setMode(o, attr.Ino, attr.Mode); err != nil {
		d.log.Error().Err(err).Stringer("ino", attr.Ino).Msg("mode could not be put back")
	}
}

// applyXattr sets or removes one attribute, and the mode that an ACL brings.
func (d *Dir) applyXattr(op *volume.Op, first firstMarks, view volume.View) error {
	if volume.IsReservedXattr(op.Name) {
		return nil
	}
	attr, err := view.Inode(op.Ino)
	if err != nil {
		return volume.Wrap(err, "set attribute "+op.Name)
	}
	if attr.Nlink == 0 && attr.IsDir() {
		return nil
	}
	o, release, err := d.object(op.Ino, &attr, view)
	if err != nil {
		return err
	}
	defer release()
	if err := d.detectFirst(first.ino, &attr, view, o.stat); err != nil {
		return err
	}
	if op.Kind == volume.OpSetXattr {
		err = d.setXattr(o, op.Ino, op.Name, op.Data)
	} else {
		err = d.removeXattr(o, op.Ino, op.Name)
	}
	if err == nil && op.Mask&volume.SetMode != 0 && attr.Type() != volume.ModeLink {
		err = d.setMode(o, op.Ino, op.Mode)
	}
	return volume.Wrap(err, "set attribute "+op.Name+" of "+op.Ino.String())
}

// dressed gives a lower file everything the index has of it but its times: owner,
// attributes, mode, in the order in which one does not undo the other.
func (d *Dir) dressed(o object, attr *volume.Attr, view volume.View) error {
	st, err := fstat(o.fd)
	if err != nil {
		return err
	}
	if st.UID != attr.UID || st.GID != attr.GID {
		if err := d.setOwner(o, attr.Ino, attr.UID, attr.GID, false); err != nil {
			return err
		}
	}
	xattrs, err := view.Xattrs(attr.Ino)
	if err != nil {
		return err
	}
	if err := d.setXattrs(o, attr.Ino, xattrs); err != nil {
		return err
	}
	if attr.Type() == volume.ModeLink {
		return nil
	}
	return d.setMode(o, attr.Ino, attr.Mode)
}

// setXattrs makes an object's attributes those given and no others.
func (d *Dir) setXattrs(o object, ino volume.Ino, want []volume.Xattr) error {
	have, err := d.sys.listXattr(o)
	if err != nil && !refusal(err) {
		return err
	}
	keep := map[string]bool{}
	for _, x := range want {
		if volume.IsReservedXattr(x.Name) {
			continue
		}
		keep[x.Name] = true
		if v, err := d.sys.getXattr(o, x.Name); err == nil && string(v) == string(x.Value) {
			continue
		}
		if err := d.setXattr(o, ino, x.Name, x.Value); err != nil {
			return err
		}
	}
	for _, name := range have {
		if !keep[name] && !ignoredXattr(name) {
			if err := d.removeXattr(o, ino, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// ignoredXattr reports attributes that are not compared: labels that a security module
// gives by itself belong to the machine, and those of ours are not mirrored.
func ignoredXattr(name string) bool {
	if volume.IsReservedXattr(name) {
		return true
	}
	switch name {
	case "security.selinux", "security.SMACK64", "security.ima", "security.evm", "security.apparmor":
		return true
	}
	return false
}
