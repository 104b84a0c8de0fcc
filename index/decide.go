package index

import (
	"slices"
	"strings"

	"wolfdisk/volume"
)

// reservedName is the directory at the root that belongs to the backing; nobody can
// see or make it.
const reservedName = ".wolfdisk"

// Env is what deciding needs and the index does not hold.
type Env struct {
	// Now is the time of the op: the leader's clock, never before LastTime.
	Now volume.Time
	// InUse reports whether an inode is open somewhere at the leader.
	InUse func(volume.Ino) bool
	// Locked reports whether the caller holds the lock of an inode.
	Locked func(volume.Ino) bool
}

// Decision is what became of a request: the ops to record, none if nothing has to
// change, and the answer as far as it is known before they are entered.
type Decision struct {
	Ops []*volume.Op
	// Subject is the inode whose attributes after the op are the answer.
	Subject volume.Ino
	// Replaced is the displaced or exchanged inode, 0 if none.
	Replaced volume.Ino
	Offset   int64 // where content goes
}

// Retry says that the tree changed between Objects and Decide: lock again.
var Retry = volume.Errorf(volume.Busy, "the objects of the request have changed: lock again")

// Objects names the inodes whose locks the request needs, sorted, without 0 and
// without repeats. It looks names up, so the answer may be out of date when the
// locks are held; Decide notices.
func (e *Engine) Objects(req *volume.Request) ([]volume.Ino, error) {
	var inos [5]volume.Ino
	list := append(inos[:0], req.Ino, req.Parent, req.NewParent)
	look := func(dir volume.Ino, name string) error {
		if dir == 0 || volume.CheckName(name) != nil {
			return nil // Decide says what is wrong
		}
		d, ok, err := e.dirent(dir, name)
		if ok {
			list = append(list, d.ino)
		}
		return err
	}
	var err error
	switch req.Kind {
	case volume.OpUnlink, volume.OpRmdir, volume.OpPublish:
		err = look(req.Parent, req.Name)
	case volume.OpRename:
		if err = look(req.Parent, req.Name); err == nil {
			err = look(req.NewParent, req.NewName)
		}
	}
	if err != nil {
		return nil, err
	}
	slices.Sort(list)
	out := make([]volume.Ino, 0, len(list))
	for _, i := range list {
		if i != 0 && (len(out) == 0 || out[len(out)-1] != i) {
			out = append(out, i)
		}
	}
	return out, nil
}

// MovesDir reports whether the request is a rename that gives a directory another
// parent: it needs the volume's rename lock, so that no two of them make a loop.
func (e *Engine) MovesDir(req *volume.Request) bool {
	if req.Kind != volume.OpRename || req.Parent == req.NewParent {
		return false
	}
	for _, at := range [...]volume.NameRef{{Parent: req.Parent, Name: req.Name}, {Parent: req.NewParent, Name: req.NewName}} {
		if volume.CheckName(at.Name) != nil {
			continue
		}
		if d, ok, _ := e.dirent(at.Parent, at.Name); ok && d.typ == volume.ModeDir {
			return true
		}
	}
	return false
}

// Decide turns a request into ops. The ops have no version yet.
func (e *Engine) Decide(req *volume.Request, env Env) (Decision, error) {
	d := decider{e: e, req: req, env: env}
	var err error
	switch req.Kind {
	case volume.OpCreate:
		err = d.create()
	case volume.OpLink:
		err = d.link()
	case volume.OpUnlink, volume.OpRmdir:
		err = d.unlink()
	case volume.OpRename:
		err = d.rename()
	case volume.OpSetAttr:
		err = d.setAttr()
	case volume.OpWrite:
		err = d.write()
	case volume.OpFallocate:
		err = d.fallocate()
	case volume.OpCopyChunks:
		err = d.copyChunks()
	case volume.OpSetXattr:
		err = d.setXattr()
	case volume.OpRemoveXattr:
		err = d.removeXattr()
	case volume.OpPublish:
		err = d.publish()
	default:
		err = volume.Errorf(volume.Invalid, "%s cannot be asked for", req.Kind)
	}
	// The last op of a request says that it is done, so only that has its number: if a
	// crash comes between the two, a repeat does both.
	for i := 0; i < len(d.out.Ops)-1; i++ {
		d.out.Ops[i].Caller.Seq = 0
	}
	return d.out, err
}

type decider struct {
	e   *Engine
	req *volume.Request
	env Env
	out Decision
}

// op adds an op to the decision.
func (d *decider) op(kind volume.OpKind) *volume.Op {
	op := &volume.Op{Kind: kind, Time: d.env.Now, Caller: d.req.Caller}
	d.out.Ops = append(d.out.Ops, op)
	return op
}

// parent is a directory in which a name is going to be made or removed.
func (d *decider) parent(ino volume.Ino, name string) (inode, error) {
	p, err := d.e.dir(ino)
	if err != nil {
		return p, err
	}
	if err := volume.CheckName(name); err != nil {
		return p, err
	}
	return p, nil
}

// target is the directory of a new name: it must still have a name itself.
func (d *decider) target(ino volume.Ino, name string) (inode, error) {
	p, err := d.parent(ino, name)
	if err == nil && p.Nlink == 0 {
		err = volume.NotFound
	}
	if err == nil && ino == volume.RootIno && name == reservedName {
		err = volume.Errorf(volume.NotPermitted, "the name %s at the root is reserved", reservedName)
	}
	return p, err
}

// child finds the inode behind a name; it must be locked.
func (d *decider) child(dir volume.Ino, name string) (n inode, ok bool, err error) {
	ent, ok, err := d.e.dirent(dir, name)
	if err != nil || !ok {
		return n, false, err
	}
	if !d.env.Locked(ent.ino) {
		return n, false, Retry
	}
	n, err = d.e.inode(ent.ino)
	return n, err == nil, err
}

// endsFlag is OpEnds if the inode loses its last name and is open nowhere.
func (d *decider) endsFlag(n *inode) uint32 {
	if (n.IsDir() || n.Nlink == 1) && !d.env.InUse(n.Ino) {
		return volume.OpEnds
	}
	return 0
}

func (d *decider) create() error {
	r := d.req
	mode := r.Mode & (volume.ModeType | volume.ModePerm)
	switch mode & volume.ModeType {
	case volume.ModeFile, volume.ModeDir, volume.ModeFIFO, volume.ModeSocket, volume.ModeBlock, volume.ModeChar, volume.ModeLink:
	default:
		return volume.Invalid
	}
	isDir, isLink := mode&volume.ModeType == volume.ModeDir, mode&volume.ModeType == volume.ModeLink
	uid, gid := r.Caller.UID, r.Caller.GID
	op := &volume.Op{Kind: volume.OpCreate, Time: d.env.Now, Caller: r.Caller}
	if t := mode & volume.ModeType; t == volume.ModeBlock || t == volume.ModeChar {
		op.Rdev = r.Rdev
	}
	var p inode
	if r.Parent != 0 {
		var err error
		if r.Name == "" {
			// O_TMPFILE: Parent only lends its group and default ACL
			if p, err = d.e.dir(r.Parent); err != nil {
				return err
			}
		} else {
			if p, err = d.target(r.Parent, r.Name); err != nil {
				return err
			}
			if _, taken, err := d.e.dirent(r.Parent, r.Name); err != nil || taken {
				if err == nil {
					err = volume.Exists
				}
				return err
			}
			op.Parent, op.Name = r.Parent, r.Name
		}
		if p.Mode&volume.ModeSetGID != 0 {
			gid = p.GID
			if isDir {
				mode |= volume.ModeSetGID
			}
		}
	}
	if op.Parent == 0 && isDir {
		return volume.Invalid
	}
	if isLink {
		if r.Target == "" {
			return volume.NotFound
		}
		if len(r.Target) > volume.MaxTargetLen {
			return volume.NameTooLong
		}
		if strings.IndexByte(r.Target, 0) >= 0 {
			return volume.Invalid
		}
		mode = volume.ModeLink | 0o777
		op.Target = r.Target
	} else if err := d.inheritACL(&p, op, &mode, isDir); err != nil {
		return err
	}
	if isDir && p.Nlink >= volume.MaxDirNlink {
		return volume.TooManyLinks
	}
	if err := d.ownXattrs(op, mode); err != nil {
		return err
	}
	ino, err := d.e.allocIno()
	if err != nil {
		return err
	}
	op.Ino, op.Mode, op.UID, op.GID = ino, mode, uid, gid
	d.out.Ops = append(d.out.Ops, op)
	d.out.Subject = ino
	return nil
}

// ownXattrs adds the attributes of ours that a created inode is to have.
func (d *decider) ownXattrs(op *volume.Op, mode uint32) error {
	if len(d.req.Xattrs) == 0 {
		return nil
	}
	if len(d.req.Xattrs)+len(op.Xattrs) > volume.MaxOpXattrs {
		return volume.XattrTooBig
	}
	n := inode{Attr: volume.Attr{Mode: mode}}
	for i, x := range d.req.Xattrs {
		if !volume.IsReservedXattr(x.Name) || d.req.Caller.Front == volume.FrontFUSE {
			return volume.Unsupported
		}
		if err := checkXattr(&n, x.Name, x.Value); err != nil {
			return err
		}
		if x.Name == volume.XattrKeep && op.Parent != 0 || hasXattr(d.req.Xattrs[:i], x.Name) {
			return volume.Invalid
		}
	}
	op.Xattrs = append(op.Xattrs, d.req.Xattrs...)
	sortXattrs(op.Xattrs)
	return nil
}

func hasXattr(list []volume.Xattr, name string) bool {
	return slices.ContainsFunc(list, func(x volume.Xattr) bool { return x.Name == name })
}

func sortXattrs(list []volume.Xattr) {
	slices.SortFunc(list, func(a, b volume.Xattr) int { return strings.Compare(a.Name, b.Name) })
}

// inheritACL applies the parent's default ACL, or the umask where there is none.
func (d *decider) inheritACL(p *inode, op *volume.Op, mode *uint32, isDir bool) error {
	if p.flags&fHasDefault == 0 {
		*mode &^= d.req.Umask & 0o777
		return nil
	}
	def, ok, err := d.e.get(keyInoName(kXattr, p.Ino, volume.XattrACLDefault))
	if err != nil || !ok {
		return err
	}
	access, m, err := aclCreate(def, *mode)
	if err != nil {
		return err
	}
	*mode = m
	if access != nil {
		op.Xattrs = append(op.Xattrs, volume.Xattr{Name: volume.XattrACLAccess, Value: access})
	}
	if isDir {
		op.Xattrs = append(op.Xattrs, volume.Xattr{Name: volume.XattrACLDefault, Value: def})
	}
	return nil
}

func (d *decider) link() error {
	r := d.req
	n, err := d.e.alive(r.Ino)
	if err != nil {
		return err
	}
	p, err := d.target(r.NewParent, r.NewName)
	if err != nil {
		return err
	}
	_, taken, err := d.e.dirent(p.Ino, r.NewName)
	switch {
	case err != nil:
		return err
	case taken:
		return volume.Exists
	case n.IsDir():
		return volume.NotPermitted
	case n.Nlink == 0 && n.flags&fNamelessBorn == 0:
		return volume.NotFound
	case n.Nlink >= volume.MaxNlink:
		return volume.TooManyLinks
	}
	op := d.op(volume.OpLink)
	op.Ino, op.Parent, op.Name = r.Ino, r.NewParent, r.NewName
	d.out.Subject = r.Ino
	return nil
}

func (d *decider) unlink() error {
	r := d.req
	p, err := d.parent(r.Parent, r.Name)
	if err != nil {
		return err
	}
	n, ok, err := d.child(p.Ino, r.Name)
	if err == nil && !ok {
		err = volume.NotFound
	}
	if err != nil {
		return err
	}
	if r.Kind == volume.OpRmdir {
		switch {
		case !n.IsDir():
			return volume.NotDir
		case n.entries > 0:
			return volume.NotEmpty
		}
	} else if n.IsDir() {
		return volume.IsDir
	}
	if r.Match.Version != 0 && n.Version != r.Match.Version {
		return volume.Precondition
	}
	op := d.op(r.Kind)
	op.Ino, op.Parent, op.Name, op.Flags = n.Ino, p.Ino, r.Name, d.endsFlag(&n)
	d.out.Subject = n.Ino
	return nil
}

func (d *decider) rename() error {
	r := d.req
	if r.Exclusive && r.Exchange {
		return volume.Invalid
	}
	p1, err := d.parent(r.Parent, r.Name)
	if err != nil {
		return err
	}
	n, ok, err := d.child(p1.Ino, r.Name)
	if err == nil && !ok {
		err = volume.NotFound
	}
	if err != nil {
		return err
	}
	p2, err := d.target(r.NewParent, r.NewName)
	if err != nil {
		return err
	}
	old, taken, err := d.child(p2.Ino, r.NewName)
	if err != nil {
		return err
	}
	d.out.Subject = n.Ino
	if err := d.renameOK(&n, &p1, &p2, &old, taken); err != nil {
		return err
	}
	if taken && old.Ino == n.Ino {
		return nil // POSIX: two names of one file, nothing to do
	}
	op := d.op(volume.OpRename)
	op.Ino, op.Parent, op.Name, op.NewParent, op.NewName = n.Ino, p1.Ino, r.Name, p2.Ino, r.NewName
	if taken {
		op.Replaced, d.out.Replaced = old.Ino, old.Ino
		if r.Exchange {
			op.Flags = volume.OpExchange
		} else {
			op.Flags = d.endsFlag(&old)
		}
	}
	return nil
}

func (d *decider) renameOK(n, p1, p2, old *inode, taken bool) error {
	r := d.req
	if r.Exclusive && taken {
		return volume.Exists
	}
	if r.Exchange && !taken {
		return volume.NotFound
	}
	if n.IsDir() {
		if below, err := d.within(p2.Ino, n.Ino); err != nil || below {
			return orInvalid(err)
		}
	}
	if taken && old.IsDir() && (r.Exchange || p1.Ino != p2.Ino) {
		if below, err := d.within(p1.Ino, old.Ino); err != nil {
			return err
		} else if below && r.Exchange {
			return volume.Invalid
		} else if below {
			return volume.NotEmpty
		}
	}
	if taken && old.Ino == n.Ino {
		return nil
	}
	if n.IsDir() && p1.Ino != p2.Ino && p2.Nlink >= volume.MaxDirNlink {
		return volume.TooManyLinks
	}
	if !taken || r.Exchange {
		return nil
	}
	switch {
	case n.IsDir() && !old.IsDir():
		return volume.NotDir
	case !n.IsDir() && old.IsDir():
		return volume.IsDir
	case old.entries > 0:
		return volume.NotEmpty
	}
	return nil
}

func orInvalid(err error) error {
	if err != nil {
		return err
	}
	return volume.Invalid
}

func (d *decider) within(dir, top volume.Ino) (bool, error) { return within(dir, top, d.e.ParentOf) }

// within reports whether dir is top or lies below it.
func within(dir, top volume.Ino, parentOf func(volume.Ino) (volume.Ino, error)) (bool, error) {
	for dir != top {
		if dir == volume.RootIno {
			return false, nil
		}
		var err error
		if dir, err = parentOf(dir); err != nil {
			return false, err
		}
	}
	return true, nil
}

func (d *decider) publish() error {
	r := d.req
	n, err := d.e.alive(r.Ino)
	if err != nil {
		return err
	}
	if n.Nlink != 0 || n.flags&fNamelessBorn == 0 || !n.IsFile() {
		return volume.Errorf(volume.Invalid, "publish of inode %s, which is not staged", n.Ino)
	}
	p, err := d.target(r.Parent, r.Name)
	if err != nil {
		return err
	}
	old, taken, err := d.child(p.Ino, r.Name)
	if err != nil {
		return err
	}
	switch {
	case r.Match.Absent && taken, r.Match.Present && !taken, r.Match.Version != 0 && (!taken || old.Version != r.Match.Version):
		return volume.Precondition
	case taken && old.IsDir():
		return volume.IsDir
	}
	if len(r.Xattrs) > volume.MaxOpXattrs {
		return volume.XattrTooBig
	}
	for i, x := range r.Xattrs {
		if err := checkXattr(&n, x.Name, x.Value); err != nil {
			return err
		}
		if x.Name == volume.XattrACLAccess || x.Name == volume.XattrACLDefault {
			return volume.Unsupported
		}
		if hasXattr(r.Xattrs[:i], x.Name) || x.Name == volume.XattrKeep {
			return volume.Invalid
		}
	}
	op := d.op(volume.OpPublish)
	op.Ino, op.Parent, op.Name = n.Ino, p.Ino, r.Name
	op.Xattrs = append(op.Xattrs, r.Xattrs...)
	sortXattrs(op.Xattrs)
	if r.Set&volume.SetMode != 0 {
		op.Mask, op.Mode = volume.SetMode, r.Mode&volume.ModePerm
	}
	if taken {
		op.Replaced, d.out.Replaced, op.Flags = old.Ino, old.Ino, d.endsFlag(&old)
	}
	d.out.Subject = n.Ino
	return nil
}
